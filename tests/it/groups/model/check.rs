//! What must hold after every step, and what may be found after a crash.

use std::collections::{BTreeMap, BTreeSet};

use brooklet::GroupDescription;
use brooklet::assignor::MemberId;

use super::reference::{Key, Positions, Verdict};
use super::world::{GROUPS, World, opened};

/// Of each group, who was in it and which partitions it read.
pub(super) type Memberships = Vec<(BTreeSet<MemberId>, BTreeSet<Key>, bool)>;

impl World {
    pub(super) fn memberships(&self) -> Memberships {
        (0..GROUPS.len()).map(|group| self.membership(group)).collect()
    }

    fn membership(&self, group: usize) -> (BTreeSet<MemberId>, BTreeSet<Key>, bool) {
        let live = self.model.live(group);
        let ids = live.map(|(seat, _)| self.seats[&(group, seat)].consumer.member()).collect();
        (ids, self.wanted(group), self.model.positions.keys().any(|(of, _)| *of == group))
    }

    fn wanted(&self, group: usize) -> BTreeSet<Key> {
        let live = self.model.live(group).flat_map(|(_, member)| member.topics.iter());
        live.flat_map(|topic| self.model.keys_of(*topic)).collect()
    }

    pub(super) fn check(&mut self, before: &Memberships) -> Verdict {
        let known = self.log.groups().map_err(|error| error.to_string())?;
        let known = known.iter().map(|name| name.as_str()).collect::<BTreeSet<_>>();
        for (group, name) in GROUPS.iter().enumerate() {
            let told = |text| format!("{name}: {text}");
            if !known.contains(name) {
                self.model.forget_the_dead(group);
            }
            if known.contains(name) != self.model.is_known(group) {
                return Err(told("is known or not, and ought to be the opposite".to_owned()));
            }
            if known.contains(name) {
                let found = self.log.group(name).map_err(|error| error.to_string())?;
                self.check_members(group, &found, &before[group]).map_err(told)?;
            } else {
                self.model.groups.entry(group).or_default().owners.clear();
            }
            self.check_seats(group).map_err(told)?;
            self.check_nothing_missed(group).map_err(told)?;
        }
        self.check_positions()
    }

    /// One owner at most and one at least; nothing moves that is outstanding, or without a reason.
    fn check_members(
        &mut self,
        group: usize,
        found: &GroupDescription,
        before: &(BTreeSet<MemberId>, BTreeSet<Key>, bool),
    ) -> Verdict {
        let live = self.model.live(group);
        let ids = live.map(|(seat, _)| (self.seats[&(group, seat)].consumer.member(), seat));
        let ids = ids.collect::<BTreeMap<_, _>>();
        if found.members.iter().map(|member| member.id).collect::<BTreeSet<_>>()
            != ids.keys().copied().collect()
        {
            return Err(format!("members are {:?}, not {ids:?}", found.members));
        }
        let mut owners = BTreeMap::new();
        for member in &found.members {
            for place in &member.assignment {
                let key = self.key(place).ok_or_else(|| format!("{place} is owned and gone"))?;
                if let Some(other) = owners.insert(key, ids[&member.id]) {
                    return Err(format!("{place} has two owners, {other} and {:?}", member.id));
                }
            }
        }
        let wanted = self.wanted(group);
        if owners.keys().copied().collect::<BTreeSet<_>>() != wanted {
            return Err(format!("owned are {owners:?}, wanted {wanted:?}"));
        }
        let of_group = &self.model.groups[&group];
        let is_same = before.0 == ids.keys().copied().collect() && before.1 == wanted;
        let is_later = found.generation > of_group.generation;
        let is_first = of_group.generation == 0;
        if found.generation < of_group.generation || !(is_same || is_later || is_first) {
            return Err(format!("generation {}, {of_group:?}", found.generation));
        }
        if is_same && is_later && !ids.is_empty() && !is_first {
            return Err(format!("generation {} began for nothing", found.generation));
        }
        self.check_moves(group, &owners, is_later)?;
        let of_group = self.model.groups.entry(group).or_default();
        of_group.generation = found.generation;
        of_group.owners = owners;
        Ok(())
    }

    fn check_moves(
        &mut self,
        group: usize,
        owners: &BTreeMap<Key, usize>,
        is_new: bool,
    ) -> Verdict {
        let committed = self.model.positions.clone();
        let of_group = self.model.groups.entry(group).or_default();
        let mut moves = 0;
        for (seat, member) in of_group.members.iter_mut().filter(|(_, member)| !member.is_out) {
            for (key, lane) in &mut member.lanes {
                let committed = committed.get(&(group, *key)).copied();
                let is_outstanding = lane.is_outstanding(committed);
                let is_owner = owners.get(key) == Some(seat);
                let is_there = owners.contains_key(key);
                if !is_owner && !lane.is_stale {
                    moves += 1;
                    if is_outstanding && !lane.is_leaving && is_there {
                        return Err(format!("{key:?} was taken from {seat}: {lane:?}"));
                    }
                }
                lane.is_stale |= !is_owner;
                lane.is_doubtful |= is_new && (!is_outstanding || lane.is_leaving);
            }
        }
        self.count_by("moves", moves);
        Ok(())
    }

    /// A consumer says of itself what the model says.
    fn check_seats(&self, group: usize) -> Verdict {
        for (seat, member) in &self.model.groups.get(&group).cloned().unwrap_or_default().members {
            let consumer = &self.seats[&(group, *seat)].consumer;
            let lanes = member.lanes.iter().map(|(key, lane)| (self.place(*key), lane));
            let lanes = lanes.collect::<BTreeMap<_, _>>();
            if consumer.assignment() != lanes.keys().cloned().collect::<Vec<_>>() {
                return Err(format!("{seat} has {:?}, not {lanes:?}", consumer.assignment()));
            }
            for (place, lane) in lanes {
                let position = consumer.position(&place).map(brooklet::Offset::value);
                if position != lane.position {
                    return Err(format!("{seat} is at {position:?} of {place}: {lane:?}"));
                }
            }
        }
        Ok(())
    }

    /// What is committed was handed out, or skipped because somebody said so.
    fn check_nothing_missed(&self, group: usize) -> Verdict {
        for ((of, key), (at, _)) in &self.model.positions {
            let Some(part) = self.model.part(*key).filter(|_| *of == group) else { continue };
            if *at > part.visible {
                return Err(format!(
                    "{at} is committed of {key:?}, which ends at {}",
                    part.visible
                ));
            }
            let seen = self.model.groups.get(&group).and_then(|group| group.seen.get(key));
            let range = part.start.min(*at) as usize..*at as usize;
            let missed = part.records[range]
                .iter()
                .find(|record| seen.is_none_or(|seen| !seen.contains(record)));
            if let Some(record) = missed {
                return Err(format!("record {record} of {key:?} was never handed out"));
            }
        }
        Ok(())
    }

    /// Exactly what was committed is committed, in all groups.
    pub(super) fn check_positions(&self) -> Verdict {
        let found = self.found_positions(&self.log)?;
        let live = self.model.positions.iter();
        let live = live.filter(|((_, key), _)| self.model.part(*key).is_some());
        let live = live.map(|(place, at)| (*place, *at)).collect::<Positions>();
        match found == live {
            true => Ok(()),
            false => Err(format!("committed is {found:?}, not {live:?}")),
        }
    }

    fn found_positions(&self, log: &brooklet::Log) -> Result<Positions, String> {
        let mut found = Positions::new();
        for name in log.groups().map_err(|error| error.to_string())? {
            let number = GROUPS.iter().position(|group| *group == name.as_str());
            let number = number.ok_or_else(|| format!("who is {name}?"))?;
            let group = log.group(name.as_str()).map_err(|error| error.to_string())?;
            for partition in &group.partitions {
                let place = &partition.partition;
                let key = self.key(place).ok_or_else(|| format!("{place} is not there"))?;
                let part = self.model.part(key).cloned().unwrap_or_default();
                let committed = partition.committed.as_ref();
                let next = committed.map_or(part.start, |at| at.offset().value());
                if partition.lag != part.visible.saturating_sub(next) {
                    return Err(format!("{name} lags {partition:?} in {part:?}"));
                }
                let at = committed.map(|at| (at.offset().value(), at.metadata().len()));
                found.extend(at.map(|at| ((number, key), at)));
            }
        }
        Ok(found)
    }

    /// Learns from a copy of the disk what a crash has left, and judges it.
    pub(super) fn learn(&mut self, keeps_all: bool) -> Verdict {
        let disk = self.disk.fork();
        let log = opened(&disk);
        let known = log.groups().map_err(|error| error.to_string())?;
        let known = known.iter().map(|name| name.as_str().to_owned()).collect::<BTreeSet<_>>();
        for key in self.model.keys() {
            let place = self.place(key);
            let found = log.offsets(&place).map_err(|error| error.to_string())?;
            let part = self.model.part_mut(key);
            let end = found.end.value();
            let least = if keeps_all { part.visible } else { part.durable };
            let range = least.max(part.start)..=part.records.len() as u64;
            if !range.contains(&end) || found.start.value() != part.start {
                return Err(format!("{place}: {found:?} after a crash of {part:?}"));
            }
            part.records.truncate(end as usize);
            part.visible = end;
            part.durable = end;
        }
        let found = self.found_positions(&log)?;
        let mut candidates = self.model.journal.candidates();
        if keeps_all {
            candidates.drain(..candidates.len() - 1);
        }
        let told = log.recovery().lowered_commits;
        let told = told.iter().map(|lowered| {
            let place = lowered.partition.to_string();
            (lowered.group.to_string(), place, lowered.from.value(), lowered.to.value())
        });
        let told = told.collect::<BTreeSet<_>>();
        let fitting = candidates.into_iter().filter(|candidate| {
            let names = candidate.keys().map(|(group, _)| GROUPS[*group].to_owned());
            names.collect::<BTreeSet<_>>() == known
                && self.lowered(candidate) == found
                && self.lowerings(candidate) == told
        });
        // They may differ in commits for topics that are gone, which nobody can see.
        let Some(fitting) = fitting.max_by_key(Positions::len) else {
            let journal = &self.model.journal;
            return Err(format!("{found:?} is committed, {told:?} lowered; may be: {journal:?}"));
        };
        self.count_by("lowered", told.len());
        self.model.positions = fitting;
        let lowered = self.model.positions.iter().filter_map(|(place, at)| {
            let part = self.model.part(place.1)?;
            (at.0 > part.visible).then_some((*place, Some((part.visible, at.1))))
        });
        let lowered = lowered.collect::<Vec<_>>();
        match keeps_all && lowered.is_empty() {
            true => self.model.journal.note_kill(),
            false => {
                self.model.write(lowered, true);
                self.model.make_durable();
            }
        }
        Ok(())
    }

    /// What is left of commits once no partition ends before them, topics that are gone left out.
    fn lowered(&self, positions: &Positions) -> Positions {
        let live = positions.iter().filter_map(|(place, at)| {
            let end = self.model.part(place.1)?.visible;
            Some((*place, (at.0.min(end), at.1)))
        });
        live.collect()
    }

    /// The commits that are lowered if these were found.
    fn lowerings(&self, found: &Positions) -> BTreeSet<(String, String, u64, u64)> {
        let due = found.iter().filter_map(|((group, key), at)| {
            let end = self.model.part(*key)?.visible;
            let place = self.place(*key).to_string();
            (at.0 > end).then(|| (GROUPS[*group].to_owned(), place, at.0, end))
        });
        due.collect()
    }
}
