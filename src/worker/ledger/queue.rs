//! The records of one partition that were fetched and not settled, and which of them may start.
//!
//! Records of one key start strictly in their order: the next one when the one before it is
//! settled *and* no handler has it any more. Records of other keys, and those without a key, do
//! not wait for each other. Pure: times come from outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use crate::offset::{Offset, Timestamp};
use crate::worker::failure::Reason;

/// What keeps records in order: the hash of their key.
///
/// Two keys that share a hash wait for each other, which costs time and breaks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        Self(hasher.finish())
    }
}

/// One record as it comes from the log.
#[derive(Clone, Debug)]
pub(crate) struct Item<R> {
    pub(crate) offset: Offset,
    pub(crate) key: Option<Key>,
    /// The memory it takes.
    pub(crate) bytes: usize,
    pub(crate) record: R,
}

/// What there is between a record's arrival and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It can start as soon as nothing is before it.
    Ready,
    /// It failed, and its next attempt is not due.
    Sleeping(Duration),
    /// It was given up, and its letter is not written.
    Condemned,
    /// It is done with; only a handler that came too late may still have it.
    Settled,
}

/// An attempt that a handler has in its hands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    /// When it started, on the monotonic clock.
    pub(super) since: Duration,
    /// When it is overdue.
    pub(super) deadline: Option<Duration>,
    /// Whether its time was over: what it says now is not listened to.
    pub(super) is_overdue: bool,
}

/// What the failed attempts of a record left behind.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) attempts: u32,
    pub(super) first_failed: Timestamp,
    pub(super) last_failed: Timestamp,
    pub(super) reason: Reason,
}

impl Past {
    /// What is known of attempts that ended with their process: how many there were.
    pub(super) fn of_crashes(attempts: u32, at: Timestamp, reason: Reason) -> Self {
        Self { attempts, first_failed: at, last_failed: at, reason }
    }
}

/// One record that is not settled.
#[derive(Clone, Debug)]
pub(super) struct Entry<R> {
    pub(super) record: R,
    pub(super) stage: Stage,
    pub(super) busy: Option<Busy>,
    /// When its first attempt began, in working time.
    pub(super) begun: Option<Duration>,
    pub(super) past: Option<Box<Past>>,
    key: Option<Key>,
    bytes: usize,
}

impl<R> Entry<R> {
    /// How many attempts have failed.
    pub(super) fn failed_attempts(&self) -> u32 {
        self.past.as_ref().map_or(0, |past| past.attempts)
    }

    /// Counts one more failed attempt.
    pub(super) fn note_failure(&mut self, reason: Reason, at: Timestamp) {
        let past = self.past.take();
        let attempts = past.as_ref().map_or(0, |past| past.attempts).saturating_add(1);
        let first_failed = past.map_or(at, |past| past.first_failed);
        self.past = Some(Box::new(Past { attempts, first_failed, last_failed: at, reason }));
    }
}

/// The unsettled records of one partition.
///
/// **Invariants**: `keys` has each keyed entry once, in the order of offsets; an entry is in
/// `ready`, `sleeping`, `condemned` and `deadlines` exactly if [`Queue::index`] says so; an entry
/// that is settled is there only while a handler has it.
#[derive(Debug)]
pub(super) struct Queue<R> {
    entries: BTreeMap<Offset, Entry<R>>,
    keys: BTreeMap<Key, VecDeque<Offset>>,
    ready: BTreeSet<Offset>,
    sleeping: BTreeSet<(Duration, Offset)>,
    condemned: BTreeSet<Offset>,
    deadlines: BTreeSet<(Duration, Offset)>,
    busy: usize,
    bytes: usize,
}

impl<R> Queue<R> {
    pub(super) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            keys: BTreeMap::new(),
            ready: BTreeSet::new(),
            sleeping: BTreeSet::new(),
            condemned: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            busy: 0,
            bytes: 0,
        }
    }

    /// Takes a record behind all that are there.
    pub(super) fn push(&mut self, item: Item<R>) {
        let Item { offset, key, bytes, record } = item;
        if let Some(key) = key {
            self.keys.entry(key).or_default().push_back(offset);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let stage = Stage::Ready;
        let entry = Entry { record, stage, busy: None, begun: None, past: None, key, bytes };
        self.entries.insert(offset, entry);
        self.index(offset);
    }

    pub(super) fn get(&self, offset: Offset) -> Option<&Entry<R>> {
        self.entries.get(&offset)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Offset, &Entry<R>)> {
        self.entries.iter().map(|(offset, entry)| (*offset, entry))
    }

    /// Changes an entry, and what it stands in the way of.
    pub(super) fn update<T>(
        &mut self,
        offset: Offset,
        change: impl FnOnce(&mut Entry<R>) -> T,
    ) -> Option<T> {
        self.unindex(offset);
        let changed = self.entries.get_mut(&offset).map(change);
        self.index(offset);
        changed
    }

    /// The first record that could start, at or behind `from`.
    pub(super) fn first_ready(&self, from: Offset) -> Option<Offset> {
        self.ready.range(from..).next().copied()
    }

    /// The first record whose letter is to be written.
    pub(super) fn first_condemned(&self) -> Option<Offset> {
        self.condemned.first().copied()
    }

    /// The first record that is not settled: nothing from there on can be committed.
    pub(super) fn first_unsettled(&self) -> Option<Offset> {
        let mut unsettled = self.entries.iter().filter(|(_, entry)| entry.stage != Stage::Settled);
        unsettled.next().map(|(offset, _)| *offset)
    }

    /// When the next sleeper is due.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.sleeping.first().map(|(at, _)| *at)
    }

    /// When the next attempt is overdue.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Lets those start whose time has come.
    pub(super) fn wake(&mut self, now: Duration) {
        while let Some((at, offset)) = self.sleeping.first().copied() {
            if at > now {
                return;
            }
            self.update(offset, |entry| entry.stage = Stage::Ready);
        }
    }

    /// The next attempt whose time is over.
    pub(super) fn first_overdue(&self, now: Duration) -> Option<Offset> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, offset)| *offset)
    }

    /// How many records handlers have in their hands, late ones included.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// How many records are held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory that the records take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn unindex(&mut self, offset: Offset) {
        let Some(entry) = self.entries.get(&offset) else { return };
        match entry.stage {
            Stage::Ready => drop(self.ready.remove(&offset)),
            Stage::Sleeping(until) => drop(self.sleeping.remove(&(until, offset))),
            Stage::Condemned => drop(self.condemned.remove(&offset)),
            Stage::Settled => {}
        }
        if let Some(busy) = entry.busy {
            self.busy = self.busy.saturating_sub(1);
            if let Some(deadline) = busy.deadline {
                self.deadlines.remove(&(deadline, offset));
            }
        }
    }

    fn index(&mut self, offset: Offset) {
        let Some(entry) = self.entries.get(&offset) else { return };
        if let Some(busy) = entry.busy {
            self.busy += 1;
            if let Some(deadline) = busy.deadline.filter(|_| !busy.is_overdue) {
                self.deadlines.insert((deadline, offset));
            }
        }
        match entry.stage {
            Stage::Ready if entry.busy.is_none() && self.is_head(entry.key, offset) => {
                self.ready.insert(offset);
            }
            Stage::Ready => {}
            Stage::Sleeping(until) => drop(self.sleeping.insert((until, offset))),
            Stage::Condemned => drop(self.condemned.insert(offset)),
            Stage::Settled if entry.busy.is_none() => self.remove(offset),
            Stage::Settled => {}
        }
    }

    fn is_head(&self, key: Option<Key>, offset: Offset) -> bool {
        let line = key.and_then(|key| self.keys.get(&key));
        line.is_none_or(|line| line.front() == Some(&offset))
    }

    fn remove(&mut self, offset: Offset) {
        let Some(entry) = self.entries.remove(&offset) else { return };
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        let Some(key) = entry.key else { return };
        let Some(line) = self.keys.get_mut(&key) else { return };
        // Only the head of a line is ever started, but one behind it can be settled unhandled.
        line.retain(|waiting| *waiting != offset);
        match line.front().copied() {
            Some(next) => self.index_again(next),
            None => drop(self.keys.remove(&key)),
        }
    }

    fn index_again(&mut self, offset: Offset) {
        self.unindex(offset);
        self.index(offset);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Busy, Item, Key, Queue, Stage};
    use crate::offset::Offset;

    const BUSY: Busy = Busy { since: Duration::ZERO, deadline: None, is_overdue: false };

    fn queue(keys: &[Option<&str>]) -> Queue<()> {
        let mut queue = Queue::new();
        for (key, offset) in keys.iter().zip(0..) {
            let key = key.map(|key| Key::of(key.as_bytes()));
            queue.push(Item { offset: Offset::new(offset), key, bytes: 10, record: () });
        }
        queue
    }

    fn ready(queue: &Queue<()>) -> Vec<u64> {
        queue.ready.iter().map(|offset| offset.value()).collect()
    }

    fn set(queue: &mut Queue<()>, offset: u64, stage: Stage, busy: Option<Busy>) {
        queue.update(Offset::new(offset), |entry| {
            entry.stage = stage;
            entry.busy = busy;
        });
    }

    /// Two records of a key would be in two handlers at once, or a keyless one would wait.
    #[test]
    fn only_records_of_one_key_wait_for_each_other() {
        let mut queue = queue(&[Some("a"), Some("b"), Some("a"), None, None]);
        assert_eq!(ready(&queue), [0, 1, 3, 4]);
        set(&mut queue, 0, Stage::Ready, Some(BUSY));
        assert_eq!(ready(&queue), [1, 3, 4]);
        set(&mut queue, 0, Stage::Sleeping(Duration::from_secs(1)), None);
        assert_eq!(ready(&queue), [1, 3, 4]);
        queue.wake(Duration::from_secs(1));
        assert_eq!(ready(&queue), [0, 1, 3, 4]);
        set(&mut queue, 0, Stage::Settled, None);
        assert_eq!((ready(&queue), queue.len()), (vec![1, 2, 3, 4], 4));
    }

    /// The next record of a key would start beside a handler that does not know it is late.
    #[test]
    fn a_late_handler_keeps_its_key_but_not_the_commit() {
        let mut queue = queue(&[Some("a"), Some("a")]);
        set(&mut queue, 0, Stage::Settled, Some(BUSY));
        assert_eq!((ready(&queue), queue.busy()), (vec![], 1));
        assert_eq!(queue.first_unsettled(), Some(Offset::new(1)));
        set(&mut queue, 0, Stage::Settled, None);
        assert_eq!((ready(&queue), queue.busy(), queue.bytes()), (vec![1], 0, 10));
    }

    /// A record that a letter was found for would stay in its line and stop its key.
    #[test]
    fn a_record_settled_behind_another_leaves_the_line() {
        let mut queue = queue(&[Some("a"), Some("a"), Some("a")]);
        set(&mut queue, 1, Stage::Settled, None);
        assert_eq!(ready(&queue), [0]);
        set(&mut queue, 0, Stage::Settled, None);
        assert_eq!(ready(&queue), [2]);
        set(&mut queue, 2, Stage::Settled, None);
        assert!(queue.keys.is_empty() && queue.entries.is_empty() && queue.bytes() == 0);
    }
}
