//! What a test says about topics and groups, with failures that can be read.
//!
//! An assertion that does not hold panics at the line of the test that made it.

use std::fmt::Write;

use crate::error::Error;
use crate::log::Log;
use crate::offset::{Offset, PartitionId};
use crate::record::StoredRecord;

/// Looks at the records of a topic.
#[derive(Clone, Debug)]
#[must_use]
pub struct TopicProbe<'a> {
    log: &'a Log,
    topic: String,
}

impl<'a> TopicProbe<'a> {
    pub(super) fn new(log: &'a Log, topic: &str) -> Self {
        Self { log, topic: topic.to_owned() }
    }

    /// All records that can be read, partition by partition.
    ///
    /// # Errors
    /// `UnknownTopic`, and what reading meets.
    pub fn records(&self) -> Result<Vec<StoredRecord>, Error> {
        let count = self.log.topic(&self.topic)?.config.partitions;
        let mut records = Vec::new();
        for partition in (0..count).map(PartitionId::new) {
            let reader = self.log.reader(&self.topic).partition(partition);
            for record in reader.stop_at_end().open()? {
                records.push(record?);
            }
        }
        Ok(records)
    }

    /// The topic has these values, in the order of partitions and offsets, and no others.
    ///
    /// # Panics
    /// If it does not, with both lists side by side.
    #[track_caller]
    pub fn assert_values<V: AsRef<[u8]>>(&self, values: impl IntoIterator<Item = V>) {
        let found = self.read();
        let found = found.iter().map(|record| shown(record.value())).collect::<Vec<_>>();
        let expected = values.into_iter().map(|value| shown(Some(value.as_ref())));
        let expected = expected.collect::<Vec<_>>();
        if found != expected {
            fail(&format!("{} does not have the values expected", self.topic), &expected, &found);
        }
    }

    /// The topic has so many records.
    ///
    /// # Panics
    /// If it does not, with what it has.
    #[track_caller]
    pub fn assert_len(&self, count: usize) {
        let found = self.read();
        if found.len() != count {
            let found = found.iter().map(|record| shown(record.value())).collect::<Vec<_>>();
            let what = format!("{} has {} records, not {count}", self.topic, found.len());
            fail(&what, &[], &found);
        }
    }

    /// The topic has no records.
    ///
    /// # Panics
    /// If it has some, with what they are.
    #[track_caller]
    pub fn assert_empty(&self) {
        self.assert_len(0);
    }

    #[track_caller]
    fn read(&self) -> Vec<StoredRecord> {
        match self.records() {
            Ok(records) => records,
            Err(error) => fail(&format!("{} cannot be read: {error}", self.topic), &[], &[]),
        }
    }
}

/// Looks at a group.
#[derive(Clone, Debug)]
#[must_use]
pub struct GroupProbe<'a> {
    log: &'a Log,
    group: String,
}

impl<'a> GroupProbe<'a> {
    pub(super) fn new(log: &'a Log, group: &str) -> Self {
        Self { log, group: group.to_owned() }
    }

    /// How many records the group has not committed.
    ///
    /// # Errors
    /// `UnknownGroup`, and what recovery meets.
    pub fn lag(&self) -> Result<u64, Error> {
        Ok(self.log.group(&self.group)?.lag())
    }

    /// The group has committed everything that there is.
    ///
    /// # Panics
    /// If it has not, with each partition that it is behind in.
    #[track_caller]
    pub fn assert_caught_up(&self) {
        let partitions = match self.log.group(&self.group) {
            Ok(group) => group.partitions,
            Err(error) => fail(&format!("{} cannot be described: {error}", self.group), &[], &[]),
        };
        let behind = partitions.iter().filter(|partition| partition.lag > 0);
        let behind = behind.map(|partition| {
            let committed = partition.committed.as_ref().map(|at| at.offset().to_string());
            let committed = committed.unwrap_or_else(|| "nothing".to_owned());
            format!("{}: {} behind, committed: {committed}", partition.partition, partition.lag)
        });
        let behind = behind.collect::<Vec<_>>();
        if !behind.is_empty() {
            fail(&format!("{} is behind", self.group), &[], &behind);
        }
    }

    /// The group has committed up to this offset of a partition, which is the next one it reads.
    ///
    /// # Panics
    /// If it has not, with what it has committed.
    #[track_caller]
    pub fn assert_committed(&self, topic: &str, partition: u32, offset: u64) {
        let group = match self.log.group(&self.group) {
            Ok(group) => group,
            Err(error) => fail(&format!("{} cannot be described: {error}", self.group), &[], &[]),
        };
        let of_partition = group.partitions.iter().find(|found| {
            found.partition.topic().as_str() == topic
                && found.partition.partition().value() == partition
        });
        let committed = of_partition.and_then(|found| found.committed.as_ref());
        let committed = committed.map(|at| at.offset());
        if committed != Some(Offset::new(offset)) {
            let shown = |at: Option<Offset>| at.map_or("nothing".to_owned(), |at| at.to_string());
            let what =
                format!("{} has committed another offset of {topic}/{partition}", self.group);
            fail(&what, &[offset.to_string()], &[shown(committed)]);
        }
    }
}

/// A value as a line of text: as it is where it is text, escaped where it is not.
pub(super) fn shown(value: Option<&[u8]>) -> String {
    match value {
        None => "no value".to_owned(),
        Some(value) => format!("\"{}\"", value.escape_ascii()),
    }
}

/// Ends the test with what was expected and what was found, line by line.
#[track_caller]
#[expect(clippy::panic, reason = "an assertion of a test that does not hold")]
pub(super) fn fail(what: &str, expected: &[String], found: &[String]) -> ! {
    let mut text = what.to_owned();
    let lines = expected.len().max(found.len()).min(LINES_SHOWN);
    for line in 0..lines {
        let (wanted, is) = (expected.get(line), found.get(line));
        let mark = if wanted == is || expected.is_empty() { ' ' } else { '!' };
        let is = is.map_or("-", String::as_str);
        let _ = match wanted {
            Some(wanted) => write!(text, "\n{mark} {line:>4}: found {is}, expected {wanted}"),
            None => write!(text, "\n{mark} {line:>4}: found {is}"),
        };
    }
    let left = expected.len().max(found.len()) - lines;
    if left > 0 {
        let _ = write!(text, "\n  and {left} more");
    }
    panic!("{text}")
}

/// More lines than this say no more about what is wrong.
const LINES_SHOWN: usize = 50;
