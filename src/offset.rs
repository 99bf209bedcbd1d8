//! Where a record stands: topics, partitions, offsets and times as types of their own.
//!
//! Plain values: nothing here does I/O or reads a clock. A position in a file is never one of
//! these.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::name::TopicName;

/// The place of a record in its partition: the first is 0, each next one is one more.
///
/// A range of offsets is half-open, and an end is the offset that the next record will get.
///
/// # Examples
/// ```
/// use brooklet::Offset;
///
/// let end = Offset::new(17);
/// assert_eq!(end.checked_add(1), Some(Offset::new(18)));
/// assert_eq!(end.to_string(), "17");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The offset of a partition's first record.
    pub const ZERO: Offset = Offset(0);

    /// The offset `value`.
    #[must_use]
    pub const fn new(value: u64) -> Offset {
        Offset(value)
    }

    /// The offset as a number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The offset `records` further on, or `None` past the largest number.
    #[must_use]
    pub const fn checked_add(self, records: u64) -> Option<Offset> {
        match self.0.checked_add(records) {
            Some(value) => Some(Offset(value)),
            None => None,
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for Offset {
    fn from(value: u64) -> Offset {
        Offset(value)
    }
}

impl From<Offset> for u64 {
    fn from(offset: Offset) -> u64 {
        offset.0
    }
}

/// The number of a partition within its topic, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(u32);

impl PartitionId {
    /// The first partition, and the only one of a topic made with the defaults.
    pub const ZERO: PartitionId = PartitionId(0);

    /// The partition `value`.
    #[must_use]
    pub const fn new(value: u32) -> PartitionId {
        PartitionId(value)
    }

    /// The partition as a number.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u32> for PartitionId {
    fn from(value: u32) -> PartitionId {
        PartitionId(value)
    }
}

impl From<PartitionId> for u32 {
    fn from(partition: PartitionId) -> u32 {
        partition.0
    }
}

/// A point in time: milliseconds since 1970-01-01 00:00 UTC, negative before it.
///
/// Timestamps say when something happened; the log never trusts them for order.
///
/// # Examples
/// ```
/// use brooklet::Timestamp;
///
/// let moment = Timestamp::from_millis(1_517_363_399_650);
/// let system = moment.to_system_time().ok_or("not a time of this system")?;
/// assert_eq!(Timestamp::from(system), moment);
/// # Ok::<(), &str>(())
/// ```
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point `millis` milliseconds after 1970-01-01 00:00 UTC.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// Milliseconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The same point as the standard library has it, or `None` where the system cannot.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_millis(self.0.unsigned_abs());
        if self.0 < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }
}

impl fmt::Display for Timestamp {
    /// Writes the milliseconds as a plain number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<SystemTime> for Timestamp {
    /// Rounds down to a millisecond; what lies outside the range becomes its nearest end.
    fn from(time: SystemTime) -> Timestamp {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Timestamp(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
            Err(error) => {
                // Rounding towards the past on both sides of the epoch keeps the order of times.
                let millis_up = error.duration().as_nanos().div_ceil(1_000_000);
                Timestamp(i64::try_from(millis_up).map_or(i64::MIN, |millis| -millis))
            }
        }
    }
}

/// One partition of one topic; prints `orders/3`.
///
/// # Examples
/// ```
/// use brooklet::{PartitionId, TopicName, TopicPartition};
///
/// let place = TopicPartition::new(TopicName::new("orders")?, PartitionId::new(3));
/// assert_eq!(place.to_string(), "orders/3");
/// # Ok::<(), brooklet::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    topic: TopicName,
    partition: PartitionId,
}

impl TopicPartition {
    /// The partition `partition` of `topic`; whether it exists is another question.
    #[must_use]
    pub const fn new(topic: TopicName, partition: PartitionId) -> TopicPartition {
        TopicPartition { topic, partition }
    }

    /// The topic's name.
    #[must_use]
    pub const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The partition within the topic.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Where reading a partition begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartAt {
    /// At the oldest record that is still kept. The default, because it skips nothing.
    #[default]
    Earliest,
    /// At the end: only records that become visible from now on.
    Latest,
    /// At this offset, in every partition that is read.
    Offset(Offset),
    /// At the first offset whose record's timestamp is this one or later, as Kafka searches it.
    ///
    /// Timestamps may go backward along a partition, so records from there on can be older too.
    /// If no record is that late, reading begins at the end.
    Timestamp(Timestamp),
}

/// The number that stands for a topic on disk; never given twice in one directory.
///
/// The first topic of a name and one made under that name after its deletion differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TopicId(u64);

impl TopicId {
    /// The topic `value`.
    pub(crate) const fn new(value: u64) -> TopicId {
        TopicId(value)
    }

    /// The topic as a number.
    pub(crate) const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition as the storage floor knows it, without names; prints `7/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ShardId {
    /// The topic it belongs to.
    pub(crate) topic: TopicId,
    /// Which of the topic's partitions it is.
    pub(crate) partition: PartitionId,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Offset, PartitionId, ShardId, StartAt, Timestamp, TopicId, TopicPartition};
    use crate::name::TopicName;

    /// Receipts, errors and logs would print something else than `orders/3@17`.
    #[test]
    fn values_print_as_the_documents_say() {
        let topic = TopicName::new("orders").unwrap();
        let place = TopicPartition::new(topic, PartitionId::new(3));
        assert_eq!(format!("{place}@{}", Offset::new(17)), "orders/3@17");
        assert_eq!(format!("{:?}", Offset::new(17)), "Offset(17)");
        assert_eq!(format!("{:>4}", PartitionId::new(3)), "   3");
        let shard = ShardId { topic: TopicId::new(7), partition: PartitionId::new(3) };
        assert_eq!(shard.to_string(), "7/3");
        assert_eq!(shard.topic.value(), 7);
    }

    /// An offset past the largest number would wrap round to an old record.
    #[test]
    fn offsets_never_wrap() {
        assert_eq!(Offset::ZERO.checked_add(5), Some(Offset::from(5)));
        assert_eq!(Offset::new(u64::MAX).checked_add(0), Some(Offset::new(u64::MAX)));
        assert_eq!(Offset::new(u64::MAX).checked_add(1), None);
    }

    /// Two times in order would become two timestamps out of order around the epoch.
    #[test]
    fn system_times_round_down_on_both_sides_of_the_epoch() {
        let epoch = SystemTime::UNIX_EPOCH;
        let cases = [
            (epoch, 0),
            (epoch + Duration::from_micros(1_999), 1),
            (epoch - Duration::from_nanos(100), -1),
            (epoch - Duration::from_millis(1), -1),
            (epoch - Duration::from_micros(1_001), -2),
        ];
        for (time, millis) in cases {
            assert_eq!(Timestamp::from(time).as_millis(), millis, "{time:?}");
        }
    }

    /// A time would change by being carried through the standard library and back.
    #[test]
    fn timestamps_survive_the_way_to_the_system_and_back() {
        for millis in [0, 1, -1, 1_517_363_399_650, -62_135_596_800_000, i64::MAX, i64::MIN + 1] {
            let stamp = Timestamp::from_millis(millis);
            if let Some(system) = stamp.to_system_time() {
                assert_eq!(Timestamp::from(system), stamp);
            } else {
                assert!(millis.unsigned_abs() > 1 << 60, "{millis} must be representable");
            }
        }
    }

    /// Someone who names no start would silently skip records.
    #[test]
    fn reading_starts_at_the_earliest_record_by_default() {
        assert_eq!(StartAt::default(), StartAt::Earliest);
    }
}
