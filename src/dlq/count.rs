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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Counts;
    use crate::config::TopicConfig;
    use crate::dlq::fixture::{give_up, list, records, reopen};
    use crate::dlq::{Filter, Letters, State};
    use crate::log::Log;
    use crate::offset::{Offset, PartitionId, TopicPartition};
    use crate::testing::{CrashPolicy, SimDisk};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn counts(log: &Log) -> Counts {
        Letters::of(log).count(&Filter::new()).unwrap()
    }

    fn pass(disk: &SimDisk, log: &Log, time: Duration) {
        disk.clock().advance(time);
        // The first look after an opening spares what would empty a partition.
        log.maintain().unwrap();
        log.maintain().unwrap();
    }

    fn settle(log: &Log, redriven: usize, discarded: usize) {
        let letters = Letters::of(log);
        letters.redrive(&Filter::new().limit(redriven)).run().unwrap();
        let plan = letters.discard(&Filter::new().limit(discarded)).unwrap();
        assert_eq!(plan.confirm(discarded as u64).unwrap(), discarded as u64);
    }

    /// Failures that nobody has looked at would be gone without a trace.
    #[test]
    fn letters_that_expire_unread_are_counted() {
        let disk = SimDisk::new(1);
        let log = reopen(&disk);
        log.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
        for number in 0..10 {
            give_up(&log, number % 2, &number.to_string());
        }
        settle(&log, 2, 3);
        pass(&disk, &log, DAY * 20);
        for number in 10..14 {
            give_up(&log, number % 2, &number.to_string());
        }
        let all = Counts { waiting: 9, redriven: 2, discarded: 3, ..Counts::default() };
        assert_eq!(counts(&log), all);
        pass(&disk, &log, DAY * 5);
        assert_eq!(counts(&log), all, "nothing is old enough");

        pass(&disk, &log, DAY * 10);
        assert_eq!(list(&log, &Filter::new()).len(), 4, "the first ten are gone");
        let some = Counts { waiting: 4, expired_unread: 5, ..Counts::default() };
        assert_eq!(counts(&log), some);
        let waiting = Filter::new().state(State::Waiting);
        assert_eq!(Letters::of(&log).count(&waiting).unwrap(), some);
        assert_eq!(
            Letters::of(&log).count(&Filter::new().group("other")).unwrap(),
            Counts::default()
        );

        pass(&disk, &log, DAY * 40);
        assert_eq!(counts(&log), Counts { expired_unread: 9, ..Counts::default() });
        let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
        assert_eq!(counts(&log), Counts { expired_unread: 9, ..Counts::default() });
    }

    /// A letter that was looked after would count as unread once it and its marker are gone.
    #[test]
    fn markers_go_with_their_letters_and_the_count_stays() {
        let disk = SimDisk::new(1);
        let log = reopen(&disk);
        log.create_topic("t", TopicConfig::new()).unwrap();
        let mut expected = 0;
        for round in 0..5 {
            for number in 0..10 {
                give_up(&log, 0, &format!("{round}/{number}"));
            }
            settle(&log, 4, 3);
            // Sent again: the same letters are not settled twice.
            let again = Filter::new().state(State::Redriven);
            assert_eq!(Letters::of(&log).redrive(&again).run().unwrap().letters, 4);
            let found = counts(&log);
            assert_eq!((found.waiting, found.redriven, found.discarded), (3, 4, 3));
            assert_eq!(found.expired_unread, expected);
            assert!(records(&log, "t.g.dlq-states").len() <= 12, "markers pile up");
            expected += 3;
            pass(&disk, &log, DAY * 40);
            assert_eq!(counts(&log), Counts { expired_unread: expected, ..Counts::default() });
        }
        let states =
            TopicPartition::new(log.topic("t.g.dlq-states").unwrap().name, PartitionId::ZERO);
        assert!(log.offsets(&states).unwrap().start > Offset::new(30));
    }

    /// Letters that somebody trims away would vanish from the books.
    #[test]
    fn trimmed_letters_are_counted_like_expired_ones() {
        let disk = SimDisk::new(1);
        let log = reopen(&disk);
        log.create_topic("t", TopicConfig::new()).unwrap();
        for number in 0..6 {
            give_up(&log, 0, &number.to_string());
        }
        settle(&log, 1, 1);
        let place = TopicPartition::new(log.topic("t.g.dlq").unwrap().name, PartitionId::ZERO);
        log.trim(&place, Offset::new(4)).unwrap();
        let expected = Counts { waiting: 2, expired_unread: 2, ..Counts::default() };
        assert_eq!(counts(&log), expected);
    }
}
