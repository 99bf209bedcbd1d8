//! What the partitions hold, what of it must survive, and what was ever sent to them.

use std::collections::BTreeMap;

use super::anomaly::AnomalyKind as Kind;
use super::event::{Crash, Place};
use super::report::{Report, Spot};
use super::value::{Seen, Value};
use crate::producer::Acks;

/// All topics, and all values that may still be seen.
///
/// **Invariants**: a value whose fate is an offset is the record of that offset, and every record is
/// such a value.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    topics: BTreeMap<u32, Topic>,
    places: BTreeMap<Place, Partition>,
    values: BTreeMap<Value, Sent>,
    verified: u64,
}

#[derive(Clone, Copy, Debug)]
struct Topic {
    is_synced: bool,
    expires: bool,
    presence: Presence,
    /// It was there when the log was opened again.
    was_listed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It may be there, and being seen once proves nothing: its making was never answered.
    Asked,
    There,
    /// It may be gone, likewise.
    Deleting,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    place: Place,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No answer yet, or none that tells.
    Open,
    Failed,
    /// The log has taken it, and will put it there, but it is covered by nothing.
    Promised(u64),
    At(u64),
}

#[derive(Clone, Debug, Default)]
struct Partition {
    records: BTreeMap<u64, Value>,
    /// Everything below survives the death of the process.
    written: u64,
    /// Everything below survives a power cut.
    durable: u64,
    /// Behind the last record that anybody has seen.
    top: u64,
    /// What lies below is forgotten.
    start: u64,
    /// The partition may start anywhere up to here.
    may_start: u64,
    /// Not looked at since a crash.
    is_unseen: bool,
    /// Not read through since a crash.
    was_crashed: bool,
}

impl Records {
    pub(super) fn verified(&self) -> u64 {
        self.verified
    }

    pub(super) fn is_synced(&self, place: Place) -> bool {
        self.topics.get(&place.topic).is_some_and(|topic| topic.is_synced)
    }

    /// The offset behind the last record that anybody has seen.
    pub(super) fn top(&self, place: Place) -> u64 {
        self.places.get(&place).map_or(0, |partition| partition.top)
    }

    /// Where the partition starts, as far as is known.
    pub(super) fn start(&self, place: Place) -> u64 {
        self.places.get(&place).map_or(0, |partition| partition.start)
    }

    /// The first offset that must still be there.
    pub(super) fn must_start(&self, place: Place) -> u64 {
        self.places.get(&place).map_or(0, |partition| partition.may_start.max(partition.start))
    }

    pub(super) fn value_at(&self, place: Place, offset: u64) -> Option<Value> {
        self.places.get(&place)?.records.get(&offset).copied()
    }

    pub(super) fn topic(&mut self, topic: u32, is_synced: bool, expires: bool) {
        let (presence, was_listed) = (Presence::Asked, false);
        self.topics.insert(topic, Topic { is_synced, expires, presence, was_listed });
    }

    pub(super) fn created(&mut self, topic: u32) {
        self.set_presence(topic, Presence::There);
    }

    pub(super) fn deleting(&mut self, topic: u32) {
        self.set_presence(topic, Presence::Deleting);
    }

    pub(super) fn deleted(&mut self, topic: u32) {
        self.set_presence(topic, Presence::Gone);
        self.places.retain(|place, _| place.topic != topic);
        self.values.retain(|_, sent| sent.place.topic != topic);
    }

    fn set_presence(&mut self, topic: u32, presence: Presence) {
        if let Some(topic) = self.topics.get_mut(&topic) {
            topic.presence = presence;
            topic.was_listed = false;
        }
    }

    /// Compares the topics that are there with those that must and may be.
    pub(super) fn topics(&mut self, found: &[u32], report: &mut Report) {
        let mut lost = Vec::new();
        for (topic, state) in &mut self.topics {
            state.was_listed = found.contains(topic);
            match (state.was_listed, state.presence) {
                (true, Presence::Gone) => {
                    report.note_topic(Kind::TopicBack, *topic, "it was deleted");
                }
                (false, Presence::There) => {
                    report.note_topic(Kind::TopicLost, *topic, "nobody has deleted it");
                    lost.push(*topic);
                }
                _ => {}
            }
        }
        lost.into_iter().for_each(|topic| self.deleted(topic));
    }

    pub(super) fn send(&mut self, place: Place, value: Value) {
        self.partition(place);
        self.values.insert(value, Sent { place, fate: Fate::Open });
    }

    pub(super) fn failed(&mut self, value: Value, report: &mut Report) {
        let Some(sent) = self.values.get_mut(&value) else { return };
        if let Fate::At(offset) = sent.fate {
            let spot = Spot::at(sent.place, offset).value(Some(value));
            report.note(Kind::AbortedRead, spot, "it was read before its send failed".to_owned());
        }
        sent.fate = Fate::Failed;
    }

    pub(super) fn sent(&mut self, value: Value, offset: u64, acks: Acks, report: &mut Report) {
        let Some(sent) = self.values.get(&value) else { return };
        let place = sent.place;
        if acks == Acks::None && sent.fate == Fate::Open {
            // If it cannot be written after all, its offset goes to another record.
            self.values.insert(value, Sent { place, fate: Fate::Promised(offset) });
            return;
        }
        self.meet(place, offset, value, report);
        if acks == Acks::None {
            return;
        }
        // What was made or half deleted before a crash is there for good once it has taken a record.
        if let Some(topic) = self.topics.get_mut(&place.topic).filter(|topic| topic.was_listed) {
            topic.presence = Presence::There;
        }
        let partition = self.partition(place);
        let covered = offset.saturating_add(1);
        partition.written = partition.written.max(covered);
        if acks == Acks::Durable {
            partition.durable = partition.durable.max(covered);
        }
    }

    /// A record was served.
    pub(super) fn read(&mut self, place: Place, offset: u64, seen: Seen, report: &mut Report) {
        self.verified += 1;
        let value = match seen {
            Ok(value) => value,
            Err(mangled) => {
                let detail = format!("{} bytes that nobody has sent", mangled.bytes);
                return report.note(Kind::CorruptValue, Spot::at(place, offset), detail);
            }
        };
        self.meet(place, offset, value, report);
        let is_synced = self.is_synced(place);
        let partition = self.partition(place);
        let covered = offset.saturating_add(1);
        partition.written = partition.written.max(covered);
        if is_synced {
            partition.durable = partition.durable.max(covered);
        }
    }

    /// A value stands at an offset: compares that with everything that was known.
    fn meet(&mut self, place: Place, offset: u64, value: Value, report: &mut Report) {
        let topic = self.topics.get(&place.topic);
        let is_gone = topic.is_none_or(|topic| topic.presence == Presence::Gone);
        if is_gone || self.partition(place).start > offset {
            return;
        }
        let spot = Spot::at(place, offset).value(Some(value));
        match self.values.get_mut(&value) {
            None => {
                let detail = "nobody sent it, or it was gone before".to_owned();
                return report.note(Kind::Phantom, spot, detail);
            }
            Some(sent) if sent.place != place => {
                let detail = format!("it was sent to partition {}", sent.place.partition);
                return report.note(Kind::Phantom, spot, detail);
            }
            Some(sent) => match sent.fate {
                Fate::Open => sent.fate = Fate::At(offset),
                Fate::Promised(other) => {
                    if other != offset {
                        let detail = format!("its sender was told {other}");
                        report.note(Kind::InconsistentOffset, spot, detail);
                    }
                    sent.fate = Fate::At(offset);
                }
                Fate::At(other) if other == offset => {}
                Fate::At(other) => {
                    let detail = format!("it stands at {other} as well");
                    report.note(Kind::Duplicate, spot, detail);
                }
                Fate::Failed => {
                    let detail = "its send was answered with NotAppended".to_owned();
                    report.note(Kind::AbortedRead, spot, detail);
                }
            },
        }
        let partition = self.partition(place);
        partition.top = partition.top.max(offset.saturating_add(1));
        let known = *partition.records.entry(offset).or_insert(value);
        if known != value {
            report.note(Kind::InconsistentOffset, spot, format!("it held {known} before"));
        }
    }

    pub(super) fn trim(&mut self, place: Place, before: u64) {
        let partition = self.partition(place);
        partition.may_start = partition.may_start.max(before);
    }

    pub(super) fn closed(&mut self) {
        for partition in self.places.values_mut() {
            if !partition.is_unseen {
                partition.written = partition.top.max(partition.written);
                partition.durable = partition.written;
            }
        }
    }

    pub(super) fn crashed(&mut self, crash: Crash) {
        for partition in self.places.values_mut() {
            if crash == Crash::Power {
                partition.written = partition.durable;
            }
            (partition.is_unseen, partition.was_crashed) = (true, true);
        }
    }

    /// The first look at a partition since a session ended: what is there is there for good.
    pub(super) fn recovered(&mut self, place: Place, range: (u64, u64), report: &mut Report) {
        let (start, end) = range;
        self.starts(place, start, report);
        let partition = self.partition(place);
        lost(partition.written, partition, (place, end), report);
        let gone = partition.records.split_off(&end);
        partition.top = end;
        (partition.written, partition.durable) = (end, end);
        partition.is_unseen = false;
        gone.values().for_each(|value| _ = self.values.remove(value));
    }

    fn starts(&mut self, place: Place, start: u64, report: &mut Report) {
        let partition = self.partition(place);
        if start <= partition.start {
            return;
        }
        if start > partition.may_start {
            let from = partition.start.max(partition.may_start);
            let value = partition.records.get(&from).copied();
            let detail = format!("it starts at {start}, and was not trimmed that far");
            report.note(Kind::LostPrefix, Spot::at(place, from).value(value), detail);
        }
        partition.start = start;
        let kept = partition.records.split_off(&start);
        let gone = std::mem::replace(&mut partition.records, kept);
        gone.values().for_each(|value| _ = self.values.remove(value));
    }

    /// A partition was read through, and nobody was sending.
    pub(super) fn drained(
        &mut self,
        place: Place,
        range: (u64, u64),
        records: &[(u64, Seen)],
        report: &mut Report,
    ) {
        let (start, end) = range;
        if self.partition(place).is_unseen {
            self.recovered(place, range, report);
        }
        self.starts(place, start, report);
        let is_synced = self.is_synced(place);
        let partition = self.partition(place);
        // What is written and not synced is not shown everywhere.
        lost(
            if is_synced { partition.durable } else { partition.written },
            partition,
            (place, end),
            report,
        );
        let mut next = start;
        let mut counters = BTreeMap::new();
        for (offset, seen) in records {
            self.expect(place, (next, *offset), report);
            self.read(place, *offset, *seen, report);
            if let Ok(value) = seen {
                let last = counters.insert(value.producer, value.counter);
                if let Some(last) = last.filter(|last| *last > value.counter) {
                    let detail = format!("it was sent before {}:{last}", value.producer);
                    let spot = Spot::at(place, *offset).value(Some(*value));
                    report.note(Kind::Reordered, spot, detail);
                }
            }
            next = offset.saturating_add(1);
        }
        self.expect(place, (next, end), report);
        if std::mem::take(&mut self.partition(place).was_crashed) {
            // Sends without an answer: what is not there now will never be.
            let is_over = |fate| matches!(fate, Fate::Open | Fate::Promised(_));
            self.values.retain(|_, sent| sent.place != place || !is_over(sent.fate));
        }
    }

    /// The next record stands where it should; if not, why not.
    fn expect(&mut self, place: Place, (next, found): (u64, u64), report: &mut Report) {
        if found == next {
            return;
        }
        let missing = self.partition(place).records.range(next..found.max(next)).next();
        match missing.map(|(offset, value)| (*offset, *value)) {
            Some((offset, value)) => {
                let detail = format!("the record behind it stands at {found}");
                report.note(Kind::LostMiddle, Spot::at(place, offset).value(Some(value)), detail);
            }
            None => {
                let detail = format!("the next record stands at {found}");
                report.note(Kind::Gap, Spot::at(place, next), detail);
            }
        }
    }

    fn partition(&mut self, place: Place) -> &mut Partition {
        let topic = self.topics.get(&place.topic);
        let expires = topic.is_some_and(|topic| topic.expires);
        self.places.entry(place).or_insert_with(|| Partition {
            may_start: if expires { u64::MAX } else { 0 },
            ..Partition::default()
        })
    }
}

/// Notes what should be there and is behind the end.
fn lost(covered: u64, partition: &Partition, (place, end): (Place, u64), report: &mut Report) {
    if end < covered {
        let value = partition.records.get(&end).copied();
        let count = covered - end;
        let detail = format!("{count} covered up to offset {covered}, and it ends at {end}");
        report.note(Kind::LostPostfix, Spot::at(place, end).value(value), detail);
    }
}
