//! Members that join, poll and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use brooklet::{Batch, Error, StartAt};
use parking_lot::Mutex;

use super::super::NOW;
use super::super::dice::Dice;
use super::reference::{Jump, Key, Lane, Member, Part, Verdict};
use super::world::{GROUPS, Listener, News, Seat, TOPICS, Told, World, is, offset};

/// No fetch in these cases has as many records.
const FETCHED_MAX: usize = 500;

/// What gave nothing to a poll.
#[derive(Debug, Default)]
struct Silent {
    /// How many partitions must have said why.
    erring: usize,
    /// Partitions that have something to give.
    left: Vec<(Key, Lane, Part)>,
}

impl World {
    pub(super) fn join(&mut self, group: usize, seat: usize, dice: &mut Dice) -> Verdict {
        let topics = self.model.topics.keys().copied().filter(|_| !dice.one_in(3));
        let topics = topics.collect::<BTreeSet<_>>();
        if topics.is_empty() {
            return Ok(());
        }
        let start = match dice.within(0..5) {
            0 => StartAt::Latest,
            1 => StartAt::Offset(offset(dice.within(0..12))),
            _ => StartAt::Earliest,
        };
        let patience =
            dice.pick(&[None, Some(Duration::from_secs(10)), Some(Duration::from_secs(60))]);
        let max_records = dice.pick(&[1, 3, 500]);
        let jump = dice.pick(&[None, None, Some(Jump::Earliest), Some(Jump::Latest)]);
        let told = Arc::new(Mutex::new(Told { keeps: dice.one_in(4), ..Told::default() }));
        let mut builder = self.log.consumer(GROUPS[group]);
        builder = builder.topics(topics.iter().map(|topic| TOPICS[*topic])).start_at(start);
        builder = builder.max_records(max_records).max_poll_interval(patience);
        builder = builder.listener(Listener(Arc::clone(&told)));
        if let Some(jump) = jump {
            let jump = if jump == Jump::Latest { StartAt::Latest } else { StartAt::Earliest };
            builder = builder.on_out_of_range(jump);
        }
        let seeds = self.seeds(group, &topics, start);
        let consumer = match (builder.open(), seeds) {
            (Ok(consumer), Some(seeds)) => {
                for (key, at) in &seeds {
                    self.model.skip(group, *key, *at);
                }
                let entry = seeds.iter().map(|(key, at)| ((group, *key), Some((*at, 0))));
                self.model.write(entry.collect(), true);
                consumer
            }
            (Err(error), None) if is(&error, "OffsetOutOfRange") => return Ok(()),
            (result, seeds) => return Err(format!("opened {result:?}, where {seeds:?} is due")),
        };
        self.count("joins");
        let deadline = patience.map(|patience| self.model.now + patience);
        let lanes = BTreeMap::new();
        let is_out = false;
        let member = Member { topics, patience, deadline, max_records, jump, is_out, lanes };
        self.model.groups.entry(group).or_default().members.insert(seat, member);
        let fenced = self.model.tick(group);
        self.count_by("fencings", fenced);
        self.seats.insert((group, seat), Seat { consumer, told });
        self.follow(group, seat)
    }

    /// The first positions that are due; none if one of them is refused.
    fn seeds(
        &self,
        group: usize,
        topics: &BTreeSet<usize>,
        start: StartAt,
    ) -> Option<Vec<(Key, u64)>> {
        let mut seeds = Vec::new();
        for topic in topics.iter().filter_map(|topic| self.model.topics.get(topic)) {
            if self.model.knows(group, topic.life) {
                continue;
            }
            for (number, part) in (0..).zip(&topic.parts) {
                let at = match start {
                    StartAt::Latest => part.visible,
                    StartAt::Offset(offset) => offset.value(),
                    _ => part.start,
                };
                if !(part.start..=part.visible).contains(&at) {
                    return None;
                }
                seeds.push(((topic.life, number), at));
            }
        }
        Some(seeds)
    }

    /// A member goes, with a word or without one.
    pub(super) fn leave(&mut self, group: usize, seat: usize, says_so: bool) -> Verdict {
        let Some(left) = self.seats.remove(&(group, seat)) else { return Ok(()) };
        let member = self.model.groups.get_mut(&group).and_then(|of| of.members.remove(&seat));
        let is_out = member.is_some_and(|member| member.is_out);
        if !says_so {
            return Ok(());
        }
        match left.consumer.leave() {
            Ok(()) if !is_out => Ok(()),
            Err(error) if is_out && is(&error, "Fenced") => Ok(()),
            result => Err(format!("left with {result:?}, out: {is_out}")),
        }
    }

    pub(super) fn poll(&mut self, group: usize, seat: usize) -> Verdict {
        let Some(polling) = self.seats.get_mut(&(group, seat)) else { return Ok(()) };
        let polled = polling.consumer.poll(NOW);
        let now = self.model.now;
        let member = self.member(group, seat);
        if !member.is_out {
            member.deadline = member.patience.map(|patience| now + patience);
            let fenced = self.model.tick(group);
            self.count_by("fencings", fenced);
        } else {
            return match polled {
                Err(error) if is(&error, "Fenced") => {
                    self.count("polls refused");
                    Ok(())
                }
                polled => Err(format!("a member that is out polled {polled:?}")),
            };
        }
        self.follow(group, seat)?;
        match polled {
            Ok(batch) => self.handed_out(group, seat, &batch),
            Err(error) => self.out_of_range(group, seat, &error),
        }
    }

    fn member(&mut self, group: usize, seat: usize) -> &mut Member {
        let group = self.model.groups.get_mut(&group).expect("a group");
        group.members.get_mut(&seat).expect("a member")
    }

    /// Takes note of what the listener of a member was told since the last look.
    pub(super) fn follow(&mut self, group: usize, seat: usize) -> Verdict {
        let at_seat = &self.seats[&(group, seat)];
        let news = std::mem::take(&mut at_seat.told.lock().news);
        let assignment = at_seat.consumer.assignment();
        for news in news {
            match news {
                News::Lost(place) => {
                    let key = self.lane_key(group, seat, &place);
                    let key = key.ok_or_else(|| format!("{place} was lost, and not held"))?;
                    self.member(group, seat).lanes.remove(&key);
                }
                News::Revoked(place) => {
                    let key = self.lane_key(group, seat, &place);
                    let key = key.ok_or_else(|| format!("{place} was revoked, and not held"))?;
                    let committed = self.model.committed(group, key);
                    let lane = self.member(group, seat).lanes.get_mut(&key).expect("found");
                    if !lane.is_outstanding(committed) || lane.is_leaving {
                        return Err(format!("{place} was revoked with nothing outstanding"));
                    }
                    lane.is_leaving = true;
                    self.count("revocations");
                }
                News::Assigned(place) => {
                    let key = self.key(&place).ok_or_else(|| format!("{place} is not there"))?;
                    let position = self.model.committed(group, key).map(|(at, _)| at);
                    let lane = Lane { position, ..Lane::default() };
                    let before = self.member(group, seat).lanes.insert(key, lane);
                    if before.is_some_and(|lane| !lane.is_leaving) {
                        return Err(format!("{place} was assigned to who had it"));
                    }
                }
            }
        }
        // What was on its way goes without a word.
        let places = self.model.groups[&group].members[&seat].lanes.keys();
        let places = places.map(|key| (*key, self.place(*key))).collect::<BTreeMap<_, _>>();
        let lanes = &mut self.member(group, seat).lanes;
        lanes.retain(|key, lane| !lane.is_leaving || assignment.contains(&places[key]));
        for lane in lanes.values_mut() {
            if std::mem::take(&mut lane.is_stale) && !lane.is_leaving {
                return Err("a partition went and came back without a word".to_owned());
            }
            lane.is_doubtful = false;
        }
        Ok(())
    }

    fn handed_out(&mut self, group: usize, seat: usize, batch: &Batch) -> Verdict {
        let max = self.model.groups[&group].members[&seat].max_records;
        let mut count = 0;
        let mut gave = BTreeSet::new();
        for record in batch {
            count += 1;
            let place = record.topic_partition();
            let at = record.offset().value();
            let key = self.lane_key(group, seat, place);
            let key = key.ok_or_else(|| format!("{place}@{at} went to who has it not"))?;
            let part = self.model.part(key).ok_or_else(|| format!("{place} is gone"))?;
            let value = record.value().and_then(|value| value.try_into().ok());
            let number = value.map(u64::from_le_bytes);
            if number.is_none() || part.records.get(at as usize) != number.as_ref() {
                return Err(format!("{place}@{at} is {number:?}, not that of {part:?}"));
            }
            if at >= part.visible {
                return Err(format!("{place}@{at} was not to be seen yet: {part:?}"));
            }
            self.may_come_next(group, seat, key, at)?;
            gave.insert(key);
            let lane = self.member(group, seat).lanes.get_mut(&key).expect("found");
            lane.position = Some(at + 1);
            lane.delivered = lane.delivered.max(Some(at + 1));
            let seen = &mut self.model.groups.get_mut(&group).expect("a group").seen;
            seen.entry(key).or_default().extend(number);
        }
        if count > max {
            return Err(format!("{count} records in one poll, and at most {max} were asked for"));
        }
        self.count_by("records", count);
        let silent = self.remainder(group, seat, &gave)?;
        match silent {
            _ if count == max => Ok(()),
            Silent { erring: 0, left } if !left.is_empty() => {
                Err(format!("{left:?} were left, and there was room"))
            }
            Silent { erring: 1.., .. } if count == 0 => {
                Err("a partition is out of range, and nobody was told".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether a lane may be read, and goes on at `at`.
    fn may_come_next(&mut self, group: usize, seat: usize, key: Key, at: u64) -> Verdict {
        let part = self.model.part(key).cloned().unwrap_or_default();
        let member = self.member(group, seat);
        let lane = member.lanes[&key];
        if lane.is_leaving || lane.is_paused {
            return Err(format!("{key:?} was read as {lane:?}"));
        }
        let position = lane.position.unwrap_or(part.start);
        // What a poll has fetched and not handed out is handed out by the next one, trimmed or not.
        let is_fetched = position < part.start && member.max_records < FETCHED_MAX;
        let is_there = (part.start..=part.visible).contains(&position) || is_fetched;
        if is_there && at == position {
            return Ok(());
        }
        let to = jumped(member.jump, &part).filter(|_| position < part.start || !is_there);
        if to != Some(at) {
            return Err(format!("{key:?}@{at} was handed out, and {position} is due: {lane:?}"));
        }
        self.model.skip(group, key, at);
        Ok(())
    }

    /// Looks after the partitions that gave nothing, and takes note of where they stand.
    fn remainder(
        &mut self,
        group: usize,
        seat: usize,
        gave: &BTreeSet<Key>,
    ) -> Result<Silent, String> {
        let member = &self.model.groups[&group].members[&seat];
        let (lanes, jump) = (member.lanes.clone(), member.jump);
        let readable = lanes.iter().filter(|(_, lane)| !lane.is_paused && !lane.is_leaving);
        let mut silent = Silent::default();
        for (key, lane) in readable.filter(|(key, _)| !gave.contains(key)) {
            let Some(part) = self.model.part(*key).cloned() else { continue };
            let position = lane.position.unwrap_or(part.start);
            let is_within = (part.start..=part.visible).contains(&position);
            silent.erring += usize::from(!is_within && jump.is_none());
            let real = self.seats[&(group, seat)].consumer.position(&self.place(*key));
            let real = real.map(brooklet::Offset::value);
            let jumped = jumped(jump, &part).filter(|_| !is_within);
            if real.is_some() && real != lane.position {
                // It was looked at and has nothing to give.
                if self.is_lazy && part.visible < real.unwrap_or_default() {
                    // It had no turn, and still stands where a commit stood before the crash.
                    continue;
                }
                if real != jumped && real != Some(position) {
                    return Err(format!("{key:?} stands at {real:?}, not {position} of {part:?}"));
                }
                self.model.skip(group, *key, real.filter(|_| jumped.is_some()).unwrap_or(0));
                self.member(group, seat).lanes.get_mut(key).expect("found").position = real;
            }
            if real.or(lane.position).unwrap_or(part.start) != part.visible {
                silent.left.push((*key, *lane, part));
            }
        }
        Ok(silent)
    }

    fn out_of_range(&mut self, group: usize, seat: usize, error: &Error) -> Verdict {
        let place = error.partition().filter(|_| is(error, "OffsetOutOfRange"));
        let place = place.ok_or_else(|| format!("a poll failed: {error}"))?;
        let key = self.lane_key(group, seat, place).ok_or_else(|| format!("not its: {error}"))?;
        let member = &self.model.groups[&group].members[&seat];
        let lane = member.lanes[&key];
        let part = self.model.part(key).cloned().unwrap_or_default();
        let position = lane.position.unwrap_or(part.start);
        let range = offset(part.start)..offset(part.visible);
        let is_due = member.jump.is_none() && !lane.is_leaving && !lane.is_paused;
        let is_out = !(part.start..=part.visible).contains(&position);
        self.count("out of range");
        match is_due && is_out && error.valid_range() == Some(range) {
            true => self.remainder(group, seat, &BTreeSet::new()).map(|_| ()),
            false => Err(format!("{error}, and {lane:?} of {part:?}")),
        }
    }
}

fn jumped(jump: Option<Jump>, part: &Part) -> Option<u64> {
    jump.map(|jump| if jump == Jump::Latest { part.visible } else { part.start })
}
