//! Dead letters: records that a group could not handle, kept where somebody can look after them.
//!
//! A worker that gives a record up writes it, byte for byte, to a topic of dead letters, with
//! headers behind the record's own that tell where it came from and why it failed; then it goes on.
//! [`DeadLetters`] says where and for how long. [`Letters`] shows what is there, has it handled
//! again, or discards it.
//!
//! Each topic and group has its own topic of dead letters, `<topic>.<group>.dlq` unless that name
//! is taken. A letter is about one record as one group consumed it; if there are two about the same
//! one, the first counts. Letters are never changed: what becomes of them is written beside them,
//! in a topic of its own, and survives everything that they do.
//!
//! # Examples
//! ```
//! use brooklet::Log;
//! use brooklet::dlq::{Filter, Letters, State};
//!
//! let log = Log::in_memory()?;
//! let letters = Letters::of(&log);
//! let waiting = Filter::new().group("billing").state(State::Waiting);
//! for group in letters.failure_groups(&waiting)? {
//!     println!("{} times {}: {}", group.count, group.sample.error_type(), group.sample.error());
//! }
//! let sent = letters.redrive(&waiting.error_contains("timeout")).run()?;
//! assert_eq!(sent.letters, letters.count(&Filter::new())?.redriven);
//! # Ok::<(), brooklet::Error>(())
//! ```

use std::fmt;

use crate::error::Error;
use crate::log::Log;

mod book;
mod count;
mod discard;
mod filter;
mod fingerprint;
mod headers;
mod letter;
pub(crate) mod letterbox;
mod marker;
mod places;
mod policy;
mod provenance;
mod redrive;
mod scan;
mod walk;

pub use count::{Counts, FailureGroup};
pub use discard::Discard;
pub use filter::Filter;
pub use fingerprint::Fingerprint;
pub use letter::{Letter, Unreadable};
pub use marker::State;
pub use policy::{DeadLetters, OnWriteFailure};
pub use redrive::{Redrive, Redriven, Refused};

use scan::{Collection, Found};

/// The dead letters of a log, to look at and to look after.
///
/// Every call reads the letters that the filter's topic and group name, up to where they end when
/// it begins; nothing is kept in between.
#[derive(Clone)]
pub struct Letters {
    log: Log,
}

impl Letters {
    /// The dead letters of `log`.
    #[must_use]
    pub fn of(log: &Log) -> Self {
        Self { log: log.clone() }
    }

    /// The letters that a filter shows, by topic, partition and offset.
    ///
    /// They are all in memory at once: give the filter a [`limit`](Filter::limit) where there may be
    /// many.
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Letter>, Error> {
        let mut list = Vec::new();
        self.read(filter, |found| {
            let has_room = list.len() < filter.most();
            match found {
                Found::Letter(letter) if has_room && filter.shows(&letter) => list.push(*letter),
                Found::Letter(_) | Found::Unreadable(_) => {}
            }
            has_room
        })?;
        Ok(list)
    }

    /// Records among the letters that are none, or that this version cannot read.
    ///
    /// Of the filter only topic, group and limit count.
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn unreadable(&self, filter: &Filter) -> Result<Vec<Unreadable>, Error> {
        let mut list = Vec::new();
        self.read(filter, |found| {
            let has_room = list.len() < filter.most();
            match found {
                Found::Unreadable(record) if has_room => list.push(*record),
                Found::Letter(_) | Found::Unreadable(_) => {}
            }
            has_room
        })?;
        Ok(list)
    }

    /// How many letters a filter shows, by state.
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn count(&self, filter: &Filter) -> Result<Counts, Error> {
        Counts::of(&self.log, filter).map_err(|error| error.during("count letters"))
    }

    /// The causes of the letters that a filter shows, the most frequent first.
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn failure_groups(&self, filter: &Filter) -> Result<Vec<FailureGroup>, Error> {
        FailureGroup::all(&self.log, filter).map_err(|error| error.during("group letters"))
    }

    /// Has letters handled again: those that wait, unless the filter names another state.
    ///
    /// Nothing happens before [`Redrive::run`]. A letter that was redriven before is sent again, with
    /// the next redrive number; one that was discarded counts as redriven from then on.
    pub fn redrive(&self, filter: &Filter) -> Redrive {
        Redrive::new(&self.log, filter)
    }

    /// Counts letters to discard: those that wait, unless the filter names another state.
    ///
    /// Nothing happens before [`Discard::confirm`].
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn discard(&self, filter: &Filter) -> Result<Discard, Error> {
        let plan = Discard::plan(&self.log, filter);
        plan.map_err(|error| error.during("plan to discard letters"))
    }

    /// Shows everything to `see` until it has enough.
    fn read(&self, filter: &Filter, mut see: impl FnMut(Found) -> bool) -> Result<(), Error> {
        let told = |error: Error| error.during("list letters");
        for collection in Collection::all(&self.log, filter).map_err(told)? {
            for partition in collection.partitions() {
                for found in collection.scan(&self.log, partition).map_err(told)? {
                    if !see(found.map_err(told)?) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters").finish_non_exhaustive()
    }
}

/// What the tests of dead letters share.
#[cfg(test)]
mod fixture {
    use super::letterbox::{Failed, LetterBox};
    use super::{DeadLetters, Filter, Letter, Letters};
    use crate::config::LogOptions;
    use crate::error::Error;
    use crate::log::Log;
    use crate::name::GroupName;
    use crate::offset::{PartitionId, StartAt, Timestamp};
    use crate::partitioner::Fixed;
    use crate::record::{Record, StoredRecord};
    use crate::testing::SimDisk;

    pub(super) fn reopen(disk: &SimDisk) -> Log {
        let options = LogOptions::new().manual_maintenance(true);
        Log::open_in(&disk.env(), &disk.root().join("log"), options).unwrap()
    }

    pub(super) fn try_box(log: &Log, topic: &str, group: &str) -> Result<LetterBox, Error> {
        let group = GroupName::new(group).unwrap();
        LetterBox::open(log, &group, topic, &DeadLetters::default_for(group.as_str()))
    }

    pub(super) fn letter_box(log: &Log, topic: &str, group: &str) -> LetterBox {
        try_box(log, topic, group).unwrap()
    }

    /// Sends a record to a partition and reads it back.
    pub(super) fn sent(log: &Log, topic: &str, partition: u32, record: Record<'_>) -> StoredRecord {
        let producer = log.producer(topic).unwrap().partitioner(Fixed(PartitionId::new(partition)));
        let at = producer.send(record).unwrap().offset();
        let reader = log.reader(topic).partition(partition).start_at(StartAt::Offset(at));
        reader.stop_at_end().open().unwrap().next().unwrap().unwrap()
    }

    pub(super) fn failed(record: &StoredRecord) -> Failed<'_> {
        Failed {
            record,
            attempts: 3,
            first_failed: Timestamp::from_millis(1000),
            last_failed: Timestamp::from_millis(2000),
            error_type: "Timeout",
            error: "no answer",
        }
    }

    /// Sends a record with this value to `t/partition`, has group `g` give it up, and returns it.
    pub(super) fn give_up(log: &Log, partition: u32, value: &str) -> StoredRecord {
        let record = Record::new(value).key("k").header("h", value);
        let record = sent(log, "t", partition, record.timestamp(Timestamp::from_millis(77)));
        letter_box(log, "t", "g").write(failed(&record)).unwrap();
        record
    }

    pub(super) fn list(log: &Log, filter: &Filter) -> Vec<Letter> {
        Letters::of(log).list(filter).unwrap()
    }

    /// The values of the letters that a filter shows.
    pub(super) fn values(log: &Log, filter: &Filter) -> Vec<String> {
        let text = |letter: &Letter| String::from_utf8(letter.value().unwrap().to_vec()).unwrap();
        list(log, filter).iter().map(text).collect()
    }

    /// Everything in a topic.
    pub(super) fn records(log: &Log, topic: &str) -> Vec<StoredRecord> {
        let Ok(reader) = log.reader(topic).stop_at_end().open() else { return Vec::new() };
        reader.map(Result::unwrap).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{failed, letter_box, list, reopen, sent, values};
    use super::letterbox::Failed;
    use super::scan::Collection;
    use super::{Counts, Filter, Letters, State};
    use crate::config::{LogOptions, TopicConfig};
    use crate::error::ErrorKind;
    use crate::log::Log;
    use crate::offset::{PartitionId, Timestamp};
    use crate::record::Record;
    use crate::testing::SimDisk;

    /// Five letters of two groups and topics with different errors, as `(topic, group, n)`.
    fn several() -> Log {
        let log = Log::in_memory().unwrap();
        for topic in ["orders", "users"] {
            log.create_topic(topic, TopicConfig::new().partitions(2)).unwrap();
        }
        let failures = [
            ("orders", "billing", "a", "Timeout", "no answer after 31 ms", 100),
            ("orders", "billing", "b", "Timeout", "no answer after 7 ms", 200),
            ("orders", "billing", "c", "Unknown", "no such customer: 12", 300),
            ("orders", "shipping", "d", "Timeout", "no answer after 9 ms", 400),
            ("users", "billing", "e", "Invalid", "not a name", 500),
        ];
        for (number, (topic, group, value, error_type, error, time)) in (0..).zip(failures) {
            let record = sent(&log, topic, number % 2, Record::new(value).key(value));
            let last_failed = Timestamp::from_millis(time);
            let failed = Failed { error_type, error, last_failed, ..failed(&record) };
            letter_box(&log, topic, group).write(failed).unwrap();
        }
        log
    }

    fn time(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// An operator would see, redrive or discard other letters than were meant.
    #[test]
    fn every_filter_shows_what_it_says() {
        let log = several();
        let all = list(&log, &Filter::new());
        let letter = |value: &[u8]| all.iter().find(|l| l.value() == Some(value)).unwrap();
        let timeout = letter(b"a").fingerprint();
        let any = Filter::new;
        let cases = [
            (any(), "acbde"),
            (any().topic("orders"), "acbd"),
            (any().topic("users"), "e"),
            (any().topic("none"), ""),
            (any().group("billing"), "acbe"),
            (any().topic("orders").group("shipping"), "d"),
            (any().key("c"), "c"),
            (any().key(""), ""),
            (any().error_type("Timeout"), "abd"),
            (any().error_type("Time"), ""),
            (any().error_contains("no such"), "c"),
            (any().error_contains("no "), "acbd"),
            (any().fingerprint(timeout), "abd"),
            (any().failed_from(time(300)), "cde"),
            (any().failed_before(time(300)), "ab"),
            (any().failed_from(time(200)).failed_before(time(201)), "b"),
            (any().state(State::Waiting), "acbde"),
            (any().state(State::Discarded), ""),
            (any().letter(letter(b"d")), "d"),
            (any().limit(2), "ac"),
            (any().limit(0), ""),
            (any().error_type("Timeout").limit(2), "ab"),
            (any().group("billing").error_type("Timeout").failed_from(time(150)), "b"),
        ];
        for (filter, expected) in cases {
            assert_eq!(values(&log, &filter).concat(), expected, "{filter:?}");
            let counts = Letters::of(&log).count(&filter.clone().limit(usize::MAX)).unwrap();
            if !format!("{filter:?}").contains("limit: Some") {
                assert_eq!(counts.letters(), expected.len() as u64, "{filter:?}");
            }
        }
    }

    /// One cause would hide behind another, or each failure stand alone.
    #[test]
    fn failures_are_grouped_by_their_cause() {
        let log = several();
        let groups = Letters::of(&log).failure_groups(&Filter::new()).unwrap();
        let shown: Vec<_> = groups
            .iter()
            .map(|g| (g.count, g.first.as_millis(), g.last.as_millis(), g.sample.error()))
            .collect();
        let expected = [
            (3, 100, 400, "no answer after 9 ms"),
            (1, 500, 500, "not a name"),
            (1, 300, 300, "no such customer: 12"),
        ];
        assert_eq!(shown, expected);
        let filter = Filter::new().fingerprint(groups[0].fingerprint).group("billing");
        assert_eq!(values(&log, &filter), ["a", "b"]);
        let groups = Letters::of(&log).failure_groups(&filter).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].count, 2);
    }

    /// A record that is no letter would stop the list, or be lost without a word.
    #[test]
    fn what_is_no_letter_is_listed_and_passed_over() {
        let log = several();
        sent(&log, "orders.billing.dlq", 0, Record::new("foreign").header("brooklet-dlq-end", "x"));
        // A letter of another group, copied by hand.
        let other = list(&log, &Filter::new().group("shipping"));
        let stored = super::fixture::records(&log, "orders.shipping.dlq");
        sent(&log, "orders.billing.dlq", 0, stored[0].to_record());
        assert_eq!(other.len(), 1);
        let letters = Letters::of(&log);
        assert_eq!(values(&log, &Filter::new()).concat(), "acbde");
        let unreadable = letters.unreadable(&Filter::new()).unwrap();
        let found: Vec<_> =
            unreadable.iter().map(|u| (u.record.value().unwrap(), u.reason)).collect();
        let expected: [(&[u8], _); 2] =
            [(b"foreign", "no or another last header"), (b"d", "the letter of another group")];
        assert_eq!(found, expected);
        assert_eq!(letters.unreadable(&Filter::new().limit(1)).unwrap().len(), 1);
        assert_eq!(letters.unreadable(&Filter::new().topic("users")).unwrap().len(), 0);
        let counts = letters.count(&Filter::new()).unwrap();
        assert_eq!(counts, Counts { waiting: 5, unreadable: 2, ..Counts::default() });
    }

    /// A fenced member's late letter would be shown, counted and handled beside the first one.
    #[test]
    fn the_first_letter_about_a_record_counts() {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new()).unwrap();
        let letters = letter_box(&log, "t", "g");
        let record = sent(&log, "t", 0, Record::new("v"));
        letters.write(Failed { error: "first", ..failed(&record) }).unwrap();
        letters.write(Failed { error: "late", ..failed(&record) }).unwrap();
        let shown = list(&log, &Filter::new());
        assert_eq!(shown.iter().map(super::Letter::error).collect::<Vec<_>>(), ["first"]);
        assert_eq!(Letters::of(&log).count(&Filter::new()).unwrap().waiting, 1);
        let redriven = Letters::of(&log).redrive(&Filter::new()).run().unwrap();
        assert_eq!(redriven.letters, 1);
        assert_eq!(Letters::of(&log).count(&Filter::new()).unwrap().letters(), 1);
    }

    /// A run that makes new letters would take them as well, and never end.
    #[test]
    fn letters_that_come_later_are_not_seen() {
        let log = several();
        let collections = Collection::all(&log, &Filter::new().topic("users")).unwrap();
        let late = sent(&log, "users", 1, Record::new("late"));
        letter_box(&log, "users", "billing").write(failed(&late)).unwrap();
        let early = sent(&log, "users", 0, Record::new("early"));
        letter_box(&log, "users", "billing").write(failed(&early)).unwrap();
        let seen = |partition| {
            let scan = collections[0].scan(&log, PartitionId::new(partition)).unwrap();
            scan.map(Result::unwrap).count()
        };
        assert_eq!((seen(0), seen(1)), (1, 0));
        assert_eq!(list(&log, &Filter::new().topic("users")).len(), 3);
    }

    /// A process that may only look could not see what failed, or change it.
    #[test]
    fn a_read_only_log_shows_its_letters_and_keeps_them() {
        let disk = SimDisk::new(1);
        let log = reopen(&disk);
        log.create_topic("t", TopicConfig::new()).unwrap();
        for value in ["a", "b"] {
            super::fixture::give_up(&log, 0, value);
        }
        Letters::of(&log).redrive(&Filter::new().limit(1)).run().unwrap();
        log.close().unwrap();
        let options = LogOptions::new().read_only(true);
        let log = Log::open_in(&disk.env(), &disk.root().join("log"), options).unwrap();
        let letters = Letters::of(&log);
        let counts = letters.count(&Filter::new()).unwrap();
        assert_eq!((counts.waiting, counts.redriven), (1, 1));
        assert_eq!(letters.redrive(&Filter::new()).dry_run().unwrap().letters, 1);
        let error = letters.redrive(&Filter::new()).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
        assert_eq!(error.to_string(), "redrive letters: log is read-only");
        let plan = letters.discard(&Filter::new()).unwrap();
        assert_eq!(plan.confirm(1).unwrap_err().kind(), ErrorKind::ReadOnly);
    }

    /// Two members that fail at once would make two topics, or two operators send a letter twice.
    #[test]
    fn many_threads_write_to_one_topic_and_redrive_each_letter_once() {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new().partitions(4)).unwrap();
        let barrier = std::sync::Barrier::new(4);
        let sent: u64 = std::thread::scope(|scope| {
            let work = |partition: u32| {
                let (log, barrier) = (&log, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for number in 0..50 {
                        super::fixture::give_up(log, partition, &format!("{partition}/{number}"));
                    }
                    barrier.wait();
                    Letters::of(log).redrive(&Filter::new()).run().unwrap().letters
                })
            };
            let threads: Vec<_> = (0..4).map(work).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(sent, 200);
        let names: Vec<_> = log.topics().unwrap().into_iter().map(|topic| topic.name).collect();
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        assert_eq!(names, ["t", "t.g.dlq", "t.g.dlq-states", "t.g.redrive"]);
        let copies = super::fixture::records(&log, "t.g.redrive");
        let values: std::collections::BTreeSet<_> =
            copies.iter().map(|copy| copy.value().unwrap().to_vec()).collect();
        assert_eq!((copies.len(), values.len()), (200, 200));
        let counts = Letters::of(&log).count(&Filter::new()).unwrap();
        assert_eq!(counts, Counts { redriven: 200, ..Counts::default() });
    }

    /// Whoever asks a closed log would get an empty answer.
    #[test]
    fn a_closed_log_says_so() {
        let log = several();
        log.close().unwrap();
        let letters = Letters::of(&log);
        let filter = Filter::new();
        assert_eq!(letters.list(&filter).unwrap_err().to_string(), "list letters: log is closed");
        assert_eq!(letters.unreadable(&filter).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(letters.count(&filter).unwrap_err().to_string(), "count letters: log is closed");
        assert_eq!(letters.failure_groups(&filter).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(letters.redrive(&filter).run().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(letters.redrive(&filter).dry_run().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(letters.discard(&filter).unwrap_err().kind(), ErrorKind::Closed);
    }
}
