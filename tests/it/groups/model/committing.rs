//! Commits of every kind, seeks, and groups that are put elsewhere or deleted.

use std::collections::BTreeSet;

use brooklet::{CommittedOffset, Error, PartitionReset, StartAt, TopicPartition};

use super::super::dice::Dice;
use super::reference::{At, Key, Verdict};
use super::world::{GROUPS, World, is, offset};

/// The offsets that a commit is tried with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Position,
    BeforePosition,
    BehindPosition,
    Zero,
    Start,
    End,
    BehindEnd,
    Max,
}

pub(super) const WHICH: [Which; 8] = [
    Which::Position,
    Which::BeforePosition,
    Which::BehindPosition,
    Which::Zero,
    Which::Start,
    Which::End,
    Which::BehindEnd,
    Which::Max,
];

impl World {
    /// Commits everything that was handed out.
    pub(super) fn commit(&mut self, group: usize, seat: usize) -> Verdict {
        let Some(at_seat) = self.seats.get(&(group, seat)) else { return Ok(()) };
        let member = self.model.groups[&group].members[&seat].clone();
        // These stand where a commit stood before the crash; the commit finds out, and leaves them.
        let is_ahead = |key: &&Key| {
            let position = at_seat.consumer.position(&self.place(**key));
            let end = self.model.part(**key).map_or(0, |part| part.visible);
            self.is_lazy && position.is_some_and(|position| position.value() > end)
        };
        let ahead = member.lanes.keys().filter(is_ahead).copied().collect::<BTreeSet<_>>();
        let result = at_seat.consumer.commit();
        if member.is_out {
            return self.refused(result, &["Fenced"]);
        }
        result.map_err(|error| format!("a commit of everything: {error}"))?;
        let mut entry = Vec::new();
        let mut is_durable = false;
        for (key, lane) in &member.lanes {
            let Some(position) = lane.position else { continue };
            if self.model.judge(group, seat, Some(*key), position).is_some() {
                continue;
            }
            let is_doubtful = lane.is_doubtful && !self.stands(group, *key, (position, 0));
            if is_doubtful || ahead.contains(key) {
                continue;
            }
            let was_told = lane.delivered.is_none_or(|end| end < position);
            self.model.skip(group, *key, if was_told { position } else { lane.sought });
            if self.model.committed(group, *key) != Some((position, 0)) {
                entry.push(((group, *key), Some((position, 0))));
                is_durable |= self.model.topic_of(key.0).is_some_and(|topic| topic.is_always);
            }
        }
        self.model.write(entry, is_durable);
        self.count("commits");
        Ok(())
    }

    fn stands(&self, group: usize, key: Key, at: At) -> bool {
        let all = self.log.group(GROUPS[group]).map(|found| found.partitions);
        let all = all.unwrap_or_default();
        let found = all.iter().find(|found| found.partition == self.place(key));
        let committed = found.and_then(|found| found.committed.clone());
        committed.is_some_and(|found| (found.offset().value(), found.metadata().len()) == at)
    }

    /// Commits one offset of one partition, or of two at once.
    pub(super) fn commit_at(&mut self, group: usize, seat: usize, dice: &mut Dice) -> Verdict {
        if !self.seats.contains_key(&(group, seat)) {
            return Ok(());
        }
        let count = if dice.one_in(3) { 2 } else { 1 };
        let mut parts = Vec::<(TopicPartition, At, Option<Key>)>::new();
        for _ in 0..count {
            let Some(place) = self.some_place(group, seat, dice) else { return Ok(()) };
            let key = self.lane_key(group, seat, &place);
            let at = self.offset_for(group, seat, key, dice.pick(&WHICH));
            if parts.iter().all(|(other, ..)| *other != place) {
                parts.push((place, (at, dice.pick(&[0, 0, 0, 5, 4_096, 4_097])), key));
            }
        }
        let note = |len: usize| vec![b'n'; len];
        let offsets = parts.iter().map(|(place, (at, len), _)| {
            (place.clone(), CommittedOffset::at(offset(*at)).with_metadata(note(*len)))
        });
        let result = self.seats[&(group, seat)].consumer.commit_offsets(offsets);
        self.judge(group, seat, &parts, result)
    }

    fn judge(
        &mut self,
        group: usize,
        seat: usize,
        parts: &[(TopicPartition, At, Option<Key>)],
        result: Result<(), Error>,
    ) -> Verdict {
        let member = &self.model.groups[&group].members[&seat];
        let unheld = parts.iter().any(|(.., key)| key.is_none());
        if unheld {
            return self.refused(result, &["NotOwner"]);
        }
        if parts.iter().any(|(_, at, _)| at.1 > 4_096) {
            return self.refused(result, &["InvalidRecord"]);
        }
        let is_doubtful = parts.iter().any(|(.., key)| {
            key.and_then(|key| member.lanes.get(&key)).is_some_and(|lane| lane.is_doubtful)
        });
        if is_doubtful && result.as_ref().is_err_and(|error| is(error, "NotOwner")) {
            return Ok(());
        }
        let judged =
            parts.iter().filter_map(|(_, at, key)| self.model.judge(group, seat, *key, at.0));
        if let Some(kind) = judged.collect::<Vec<_>>().first() {
            return self.refused(result, &[kind]);
        }
        result.map_err(|error| format!("{parts:?} was refused: {error}"))?;
        let mut entry = Vec::new();
        let mut is_durable = false;
        for (_, at, key) in parts {
            let key = key.expect("held");
            let lane = self.model.groups[&group].members[&seat].lanes[&key];
            let was_told = lane.delivered.is_none_or(|end| end < at.0);
            self.model.skip(group, key, if was_told { at.0 } else { lane.sought });
            if self.model.committed(group, key) != Some(*at) {
                entry.push(((group, key), Some(*at)));
                is_durable |= self.model.topic_of(key.0).is_some_and(|topic| topic.is_always);
            }
        }
        self.model.write(entry, is_durable);
        self.count("commits");
        Ok(())
    }

    fn refused(&mut self, result: Result<(), Error>, kinds: &[&'static str]) -> Verdict {
        match result {
            Err(error) if kinds.iter().any(|kind| is(&error, kind)) => {
                self.count(kinds[0]);
                Ok(())
            }
            result => Err(format!("{result:?}, and {kinds:?} is due")),
        }
    }

    fn offset_for(&self, group: usize, seat: usize, key: Option<Key>, which: Which) -> u64 {
        let lane = key.and_then(|key| self.model.groups[&group].members[&seat].lanes.get(&key));
        let part = key.and_then(|key| self.model.part(key)).cloned().unwrap_or_default();
        let position = lane.and_then(|lane| lane.position).unwrap_or(part.start);
        match which {
            Which::Position => position,
            Which::BeforePosition => position.saturating_sub(1),
            Which::BehindPosition => position.saturating_add(1),
            Which::Zero => 0,
            Which::Start => part.start,
            Which::End => part.visible,
            Which::BehindEnd => part.visible + 1,
            Which::Max => u64::MAX,
        }
    }

    /// A partition, mostly one that the member holds.
    pub(super) fn some_place(
        &self,
        group: usize,
        seat: usize,
        dice: &mut Dice,
    ) -> Option<TopicPartition> {
        let held = self.model.groups.get(&group)?.members.get(&seat)?.lanes.keys();
        let held = held.copied().collect::<Vec<_>>();
        let all = self.model.keys();
        let from = if dice.one_in(5) || held.is_empty() { &all } else { &held };
        (!from.is_empty()).then(|| self.place(dice.pick(from)))
    }

    pub(super) fn seek(&mut self, group: usize, seat: usize, dice: &mut Dice) -> Verdict {
        let Some(place) = self.some_place(group, seat, dice) else { return Ok(()) };
        let key = self.lane_key(group, seat, &place);
        let to = match dice.within(0..3) {
            0 => dice.within(0..20),
            _ => self.offset_for(group, seat, key, dice.pick(&WHICH)),
        };
        let Some(at_seat) = self.seats.get_mut(&(group, seat)) else { return Ok(()) };
        let result = at_seat.consumer.seek(&place, offset(to));
        let Some(key) = key else { return self.refused(result, &["NotOwner"]) };
        result.map_err(|error| error.to_string())?;
        self.model.skip(group, key, to);
        let members = &mut self.model.groups.get_mut(&group).expect("a group").members;
        let lane = members.get_mut(&seat).and_then(|member| member.lanes.get_mut(&key));
        let lane = lane.expect("a lane");
        lane.position = Some(to);
        lane.sought = lane.sought.max(to);
        Ok(())
    }

    pub(super) fn pause(&mut self, group: usize, seat: usize, dice: &mut Dice) -> Verdict {
        let Some(place) = self.some_place(group, seat, dice) else { return Ok(()) };
        let key = self.lane_key(group, seat, &place);
        let pauses = dice.one_in(3);
        let Some(at_seat) = self.seats.get_mut(&(group, seat)) else { return Ok(()) };
        let result = match pauses {
            true => at_seat.consumer.pause(&place),
            false => at_seat.consumer.resume(&place),
        };
        let Some(key) = key else { return self.refused(result, &["NotOwner"]) };
        let members = &mut self.model.groups.get_mut(&group).expect("a group").members;
        let lane = members.get_mut(&seat).and_then(|member| member.lanes.get_mut(&key));
        lane.expect("a lane").is_paused = pauses;
        result.map_err(|error| error.to_string())
    }

    pub(super) fn reset(&mut self, group: usize, dice: &mut Dice) -> Verdict {
        let to = match dice.within(0..3) {
            0 => StartAt::Latest,
            1 => StartAt::Offset(offset(dice.within(0..8))),
            _ => StartAt::Earliest,
        };
        let fences = dice.one_in(2);
        let mut reset = self.log.reset_group(GROUPS[group]).to(to);
        if fences {
            reset = reset.fence_members();
        }
        let planned = reset.dry_run();
        if let Err(text) = self.check_positions() {
            return Err(format!("a dry run of a reset: {text}"));
        }
        let applied = reset.apply();
        if !self.model.is_known(group) {
            return self.refused(applied.map(|_| ()), &["UnknownGroup"]);
        }
        let Some(plan) = self.plan(group, to) else {
            self.refused(planned.map(|_| ()), &["OffsetOutOfRange"])?;
            return self.refused(applied.map(|_| ()), &["OffsetOutOfRange"]);
        };
        let planned = planned.map_err(|error| format!("a dry run: {error}"))?;
        let told = |reset: &PartitionReset| {
            (reset.partition.clone(), reset.from.map(|at| at.value()), reset.to.value())
        };
        let expected = plan.iter().map(|(key, from, to)| (self.place(*key), *from, *to));
        let expected = expected.collect::<Vec<_>>();
        if planned.iter().map(told).collect::<Vec<_>>() != expected {
            return Err(format!("planned {planned:?}, and {expected:?} is due"));
        }
        if !fences {
            let fenced = self.model.tick(group);
            self.count_by("fencings", fenced);
            if self.model.live(group).next().is_some() {
                return self.refused(applied.map(|_| ()), &["GroupActive"]);
            }
        }
        let applied = applied.map_err(|error| format!("a reset: {error}"))?;
        if applied != planned {
            return Err(format!("did {applied:?}, and planned {planned:?}"));
        }
        let members = self.model.groups.entry(group).or_default().members.values_mut();
        members.for_each(|member| member.is_out = true);
        for (key, _, to) in &plan {
            self.model.skip(group, *key, *to);
        }
        let entry = plan.iter().map(|(key, _, to)| ((group, *key), Some((*to, 0))));
        self.model.write(entry.collect(), true);
        self.count("resets");
        Ok(())
    }

    /// From where to where a group goes in each partition; none if one of them does not have it.
    fn plan(&self, group: usize, to: StartAt) -> Option<Vec<(Key, Option<u64>, u64)>> {
        let mut plan = Vec::new();
        for key in self.model.keys() {
            let of_topic = |(of, committed): &(usize, Key)| *of == group && committed.0 == key.0;
            if !self.model.positions.keys().any(of_topic) {
                continue;
            }
            let part = self.model.part(key)?;
            let to = match to {
                StartAt::Latest => part.visible,
                StartAt::Offset(offset) => offset.value(),
                _ => part.start,
            };
            if !(part.start..=part.visible).contains(&to) {
                return None;
            }
            plan.push((key, self.model.committed(group, key).map(|(at, _)| at), to));
        }
        plan.sort_by_key(|(key, ..)| *key);
        Some(plan)
    }

    pub(super) fn delete_group(&mut self, group: usize) -> Verdict {
        let deleted = self.log.delete_group(GROUPS[group]);
        if !self.model.is_known(group) {
            return self.refused(deleted, &["UnknownGroup"]);
        }
        let fenced = self.model.tick(group);
        self.count_by("fencings", fenced);
        if self.model.live(group).next().is_some() {
            return self.refused(deleted, &["GroupActive"]);
        }
        deleted.map_err(|error| format!("a group was not deleted: {error}"))?;
        let of_group = self.model.positions.keys().filter(|place| place.0 == group);
        let entry = of_group.map(|place| (*place, None)).collect();
        self.model.write(entry, true);
        let seen = &mut self.model.groups.entry(group).or_default().seen;
        seen.clear();
        self.count("groups deleted");
        Ok(())
    }
}
