//! What groups were given, what they have committed, and what became of what they could not handle.

use std::collections::{BTreeMap, BTreeSet};

use super::anomaly::AnomalyKind as Kind;
use super::event::{Crash, LetterSeen, Part, Place};
use super::records::Records;
use super::report::{Report, Spot};
use super::value::{Seen, Value};

/// All groups, by their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    positions: BTreeMap<(u32, Place), Position>,
    /// The assignments that have not ended.
    cursors: BTreeMap<u64, Cursor>,
    /// How many assignments were told of.
    told: u64,
    /// The commits that are under way.
    commits: BTreeMap<u64, Asked>,
    /// Those whose commits are not in the history.
    workers: BTreeSet<u32>,
    letters: BTreeMap<u32, BTreeSet<Value>>,
    handled: BTreeSet<(u32, Place, u64)>,
    /// The power went since positions were last looked at.
    lost_power: bool,
    /// And nothing has happened since.
    only_power: bool,
    was_looked_at: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    /// A commit of this much survives the death of the process.
    firm: u64,
    /// And this much a power cut.
    durable: u64,
    /// Nobody has tried to commit more, but for what is under way.
    tried: u64,
    /// The latest assignment by which records were handed out.
    owner: Option<u64>,
    /// Everything below was found handled.
    settled: u64,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    group: u32,
    /// How many assignments were told of before this one.
    order: u64,
    next: Option<u64>,
}

#[derive(Clone, Debug)]
struct Asked {
    group: u32,
    parts: Vec<AskedPart>,
}

#[derive(Clone, Copy, Debug)]
struct AskedPart {
    part: Part,
    /// What was committed when it was asked.
    firm: u64,
    /// Another member had been given records of the partition by then.
    is_stale: bool,
}

impl Groups {
    pub(super) fn worker(&mut self, group: u32) {
        self.workers.insert(group);
    }

    pub(super) fn assigned(&mut self, group: u32, place: Place, assignment: u64) {
        // Members are told one by one, and not in the order in which they are given something: who
        // owns the partition is certain once it hands out records.
        self.positions.entry((group, place)).or_default();
        self.cursors.insert(assignment, Cursor { group, order: self.told, next: None });
        self.told += 1;
    }

    /// A poll of records that are compared with what was sent elsewhere.
    pub(super) fn polled(
        &mut self,
        assignment: u64,
        (place, polled): (Place, &[(u64, Seen)]),
        records: &Records,
        report: &mut Report,
    ) {
        let Some(cursor) = self.cursors.get_mut(&assignment) else { return };
        let position = self.positions.entry((cursor.group, place)).or_default();
        let before = position.owner.replace(assignment).filter(|before| *before != assignment);
        let tried = tried(&self.positions, &self.commits, (cursor.group, place));
        // Where the log itself starts later, records are passed over with everybody's knowledge.
        let start = records.must_start(place);
        for (offset, seen) in polled {
            let spot = Spot::at(place, *offset).value(seen.ok());
            let furthest = cursor.next.unwrap_or(tried).max(start);
            if *offset > furthest {
                let detail = format!("group {} was to go on at {furthest}", cursor.group);
                report.note(Kind::SkippedPoll, spot, detail);
            }
            if let Some(next) = cursor.next.filter(|next| offset < next) {
                let detail = format!("group {} was to go on at {next}", cursor.group);
                report.note(Kind::NonmonotonicPoll, spot, detail);
            }
            cursor.next = Some(offset.saturating_add(1));
        }
        before.map(|before| self.cursors.remove(&before));
    }

    pub(super) fn commit(&mut self, commit: u64, group: u32, parts: &[Part]) {
        let ask = |part: &Part| {
            let position = self.positions.entry((group, part.place)).or_default();
            // Who was told of the partition behind the one that has read it last may be its owner.
            let order = |assignment| self.cursors.get(&assignment).map(|cursor| cursor.order);
            let is_stale =
                position.owner.is_some_and(|owner| order(part.assignment) < order(owner));
            AskedPart { part: *part, firm: position.firm, is_stale }
        };
        let parts = parts.iter().map(ask).collect();
        self.commits.insert(commit, Asked { group, parts });
    }

    pub(super) fn committed(&mut self, commit: u64, records: &Records, report: &mut Report) {
        let Some(Asked { group, parts }) = self.commits.remove(&commit) else { return };
        for AskedPart { part: Part { place, offset, assignment }, firm, is_stale } in parts {
            let spot = Spot::at(place, offset);
            if is_stale {
                let detail = format!("group {group}, by assignment {assignment} that was over");
                report.note(Kind::ZombieCommit, spot, detail);
            }
            if offset < firm {
                let detail = format!("group {group} had committed {firm}");
                report.note(Kind::CommitRegress, spot, detail);
            }
            let _ = past_end(group, spot, records, report);
            let is_synced = records.is_synced(place);
            let position = self.positions.entry((group, place)).or_default();
            position.firm = position.firm.max(offset);
            position.tried = position.tried.max(offset);
            if is_synced {
                position.durable = position.durable.max(offset);
            }
        }
    }

    pub(super) fn refused(&mut self, commit: u64) {
        self.commits.remove(&commit);
    }

    pub(super) fn disowned(&mut self, commit: u64, report: &mut Report) {
        let Some(Asked { group, parts }) = self.commits.remove(&commit) else { return };
        if let Some(AskedPart { part, .. }) = parts.first() {
            let detail =
                format!("group {group}, by assignment {} that was not over", part.assignment);
            report.note(Kind::OwnerRefused, Spot::at(part.place, part.offset), detail);
        }
    }

    pub(super) fn handled(&mut self, group: u32, place: Place, offset: u64) {
        self.handled.insert((group, place, offset));
    }

    pub(super) fn closed(&mut self) {
        self.positions.values_mut().for_each(|position| position.durable = position.firm);
        self.session_ended();
    }

    pub(super) fn crashed(&mut self, crash: Crash) {
        self.only_power = crash == Crash::Power;
        self.lost_power = self.only_power || (self.lost_power && !self.was_looked_at);
        self.was_looked_at = false;
        if self.only_power {
            self.positions.values_mut().for_each(|position| position.firm = position.durable);
        }
        self.session_ended();
    }

    fn session_ended(&mut self) {
        self.cursors.clear();
        for Asked { group, parts } in std::mem::take(&mut self.commits).into_values() {
            for AskedPart { part, .. } in parts {
                let position = self.positions.entry((group, part.place)).or_default();
                position.tried = position.tried.max(part.offset);
            }
        }
        self.positions.values_mut().for_each(|position| position.owner = None);
    }

    /// A partition ends here now: what was committed or handled behind it is over.
    pub(super) fn recovered(&mut self, place: Place, end: u64) {
        for ((_, at), position) in &mut self.positions {
            if *at == place {
                position.firm = position.firm.min(end);
                position.durable = position.durable.min(end);
                position.tried = position.tried.min(end);
                position.settled = position.settled.min(end);
            }
        }
        self.handled.retain(|(_, at, offset)| *at != place || *offset < end);
    }

    pub(super) fn lowered(
        &mut self,
        place: Place,
        (from, to): (u64, u64),
        records: &Records,
        report: &mut Report,
    ) {
        if records.is_synced(place) || !self.lost_power {
            let detail = format!("it was lowered to {to}, and nothing that was read can be lost");
            report.note(Kind::CommitPastEnd, Spot::at(place, from), detail);
        }
    }

    pub(super) fn letters(&mut self, group: u32, letters: &[LetterSeen], report: &mut Report) {
        let mut listed = BTreeSet::new();
        for letter in letters {
            let spot = Spot::at(letter.place, letter.offset);
            match letter.value {
                Err(mangled) => {
                    let detail = format!("a letter of {} bytes", mangled.bytes);
                    report.note(Kind::CorruptValue, spot, detail);
                }
                Ok(value) if !listed.insert(value) => {
                    let detail = format!("two letters of group {group}");
                    report.note(Kind::LetterDuplicated, spot.value(Some(value)), detail);
                }
                Ok(_) => {}
            }
        }
        let before = self.letters.insert(group, listed.clone()).unwrap_or_default();
        if let Some(missing) = before.difference(&listed).next() {
            report.note_letter(group, *missing);
        }
    }

    pub(super) fn position(
        &mut self,
        (group, place): (u32, Place),
        committed: Option<u64>,
        records: &Records,
        report: &mut Report,
    ) {
        self.was_looked_at = true;
        let is_worker = self.workers.contains(&group);
        let position = self.positions.entry((group, place)).or_default();
        let at = committed.unwrap_or(0);
        let spot = Spot::at(place, at);
        if at < position.firm {
            let detail = format!("group {group} had committed {}", position.firm);
            report.note(Kind::CommitLost, spot, detail);
        }
        let is_past_end = past_end(group, spot, records, report);
        let start = records.must_start(place);
        if !is_past_end && !is_worker && at > position.tried.max(start) {
            let detail = format!("group {group} has tried {} at most", position.tried);
            report.note(Kind::CommitInvented, spot, detail);
        }
        position.firm = at;
        position.tried = position.tried.max(at);
        if self.only_power && records.is_synced(place) {
            position.durable = at;
        }
        if is_worker {
            let from = std::mem::replace(&mut position.settled, at);
            let done = from.max(start)..at.min(records.top(place));
            self.settle((group, place), done, records, report);
        }
    }

    /// Everything that a worker has committed was handled, or is a letter.
    fn settle(
        &mut self,
        (group, place): (u32, Place),
        offsets: std::ops::Range<u64>,
        records: &Records,
        report: &mut Report,
    ) {
        let letters = self.letters.get(&group);
        for offset in offsets.clone() {
            let value = records.value_at(place, offset);
            let is_letter = value.zip(letters).is_some_and(|(value, all)| all.contains(&value));
            if !self.handled.contains(&(group, place, offset)) && !is_letter {
                let detail = format!("group {group} has committed {}", offsets.end);
                report.note(Kind::Unhandled, Spot::at(place, offset).value(value), detail);
            }
        }
        let done = (group, place, 0)..(group, place, offsets.end);
        let done: Vec<_> = self.handled.range(done).copied().collect();
        done.iter().for_each(|one| _ = self.handled.remove(one));
    }
}

/// How far anybody has tried to commit.
fn tried(
    positions: &BTreeMap<(u32, Place), Position>,
    commits: &BTreeMap<u64, Asked>,
    (group, place): (u32, Place),
) -> u64 {
    let settled = positions.get(&(group, place)).map_or(0, |position| position.tried);
    let asked = commits.values().filter(|asked| asked.group == group);
    let parts = asked.flat_map(|asked| &asked.parts).filter(|asked| asked.part.place == place);
    parts.map(|asked| asked.part.offset).fold(settled, u64::max)
}

fn past_end(group: u32, spot: Spot, records: &Records, report: &mut Report) -> bool {
    let end = records.top(spot.place).max(records.start(spot.place));
    let is_past_end = spot.offset.is_some_and(|offset| offset > end);
    if is_past_end {
        report.note(Kind::CommitPastEnd, spot, format!("group {group}, and it ends at {end}"));
    }
    is_past_end
}
