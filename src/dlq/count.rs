//! How many letters there are, in which state, and for which causes.

use std::collections::BTreeMap;

use super::filter::Filter;
use super::fingerprint::Fingerprint;
use super::letter::Letter;
use super::marker::State;
use super::scan::{Collection, Found};
use crate::error::Error;
use crate::log::Log;
use crate::offset::Timestamp;

/// How many letters there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Letters that nothing was done with yet.
    pub waiting: u64,
    /// Letters of which a copy was sent to be handled again.
    pub redriven: u64,
    /// Letters that were discarded.
    pub discarded: u64,
    /// Letters that retention let go of while they waited.
    ///
    /// What they held cannot be asked any more, so that of a filter only topic and group count here.
    /// Trimmed letters are among them, and everything that is no letter but stood where letters do.
    pub expired_unread: u64,
    /// Records that are no letters, or that this version cannot read; see
    /// [`unreadable`](crate::dlq::Letters::unreadable).
    ///
    /// Of a filter only topic and group count here.
    pub unreadable: u64,
}

impl Counts {
    /// How many letters there are now, in any state.
    #[must_use]
    pub fn letters(&self) -> u64 {
        self.waiting.saturating_add(self.redriven).saturating_add(self.discarded)
    }

    pub(crate) fn of(log: &Log, filter: &Filter) -> Result<Self, Error> {
        let mut counts = Self::default();
        for collection in Collection::all(log, filter)? {
            for partition in collection.partitions() {
                let mut scan = collection.scan(log, partition)?;
                let mut settled_here = 0_u64;
                while let Some(found) = scan.next().transpose()? {
                    match found {
                        Found::Unreadable(_) => counts.unreadable += 1,
                        Found::Letter(letter) => {
                            settled_here += u64::from(letter.state() != State::Waiting);
                            counts.add(filter, &letter);
                        }
                    }
                }
                // Offsets count what ever stood there, and the book what of it stopped waiting.
                let settled_and_gone = scan.book.settled.saturating_sub(settled_here);
                let unread = scan.start.value().saturating_sub(settled_and_gone);
                counts.expired_unread = counts.expired_unread.saturating_add(unread);
            }
        }
        Ok(counts)
    }

    fn add(&mut self, filter: &Filter, letter: &Letter) {
        if filter.shows(letter) {
            match letter.state() {
                State::Waiting => self.waiting += 1,
                State::Redriven => self.redriven += 1,
                State::Discarded => self.discarded += 1,
            }
        }
    }
}

/// Letters with the same cause.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailureGroup {
    /// What they have in common; a [`Filter`] takes it.
    pub fingerprint: Fingerprint,
    /// How many letters there are.
    pub count: u64,
    /// When the first of them failed last.
    pub first: Timestamp,
    /// When the last of them failed last.
    pub last: Timestamp,
    /// The one that failed last.
    pub sample: Letter,
}

impl FailureGroup {
    /// The groups of all letters that a filter shows, the largest first.
    pub(crate) fn all(log: &Log, filter: &Filter) -> Result<Vec<Self>, Error> {
        let mut groups: BTreeMap<Fingerprint, Self> = BTreeMap::new();
        for collection in Collection::all(log, filter)? {
            for partition in collection.partitions() {
                for found in collection.scan(log, partition)? {
                    let Found::Letter(letter) = found? else { continue };
                    if !filter.shows(&letter) {
                        continue;
                    }
                    match groups.get_mut(&letter.fingerprint()) {
                        Some(group) => group.add(*letter),
                        None => _ = groups.insert(letter.fingerprint(), Self::of(*letter)),
                    }
                }
            }
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.last)));
        Ok(groups)
    }

    fn of(sample: Letter) -> Self {
        let (fingerprint, time) = (sample.fingerprint(), sample.last_failed());
        Self { fingerprint, count: 1, first: time, last: time, sample }
    }

    fn add(&mut self, letter: Letter) {
        let time = letter.last_failed();
        self.count += 1;
        self.first = self.first.min(time);
        if time >= self.last {
            self.last = time;
            self.sample = letter;
        }
    }
}
