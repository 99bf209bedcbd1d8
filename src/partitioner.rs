//! Which partition a record goes to: pure functions of the record and the number of partitions.
//!
//! A partitioner decides about records, the producer about batches: it keeps the partition that
//! [`Choice::Sticky`] means for now, and refuses a choice outside the topic.

use std::any::type_name;
use std::fmt;
use std::num::NonZeroU32;

use crate::offset::PartitionId;

/// Chooses a partition for each record that a producer sends.
///
/// It is asked on the sender's thread and should be quick. To keep the records of one key in
/// order, answer alike for equal keys; adding partitions to a topic usually moves keys.
///
/// # Examples
/// ```
/// use std::num::NonZeroU32;
///
/// use brooklet::partitioner::{Choice, Partitioner};
///
/// /// Gives the records of key `vip` a partition to themselves.
/// #[derive(Debug)]
/// struct FastLane;
///
/// impl Partitioner for FastLane {
///     fn partition(&self, key: Option<&[u8]>, _: Option<&[u8]>, partitions: NonZeroU32) -> Choice {
///         match (key, NonZeroU32::new(partitions.get() - 1)) {
///             (Some(b"vip"), _) | (_, None) => Choice::from(0),
///             (Some(key), Some(rest)) => Choice::from(1 + key.len() as u32 % rest),
///             (None, Some(_)) => Choice::Sticky,
///         }
///     }
/// }
///
/// let three = NonZeroU32::MIN.saturating_add(2);
/// assert_eq!(FastLane.partition(Some(b"vip"), None, three), Choice::from(0));
/// ```
pub trait Partitioner: fmt::Debug + Send + Sync {
    /// Chooses among the partitions 0 up to, but without, `partitions`.
    ///
    /// A choice outside them fails the send of that record.
    fn partition(&self, key: Option<&[u8]>, value: Option<&[u8]>, partitions: NonZeroU32)
    -> Choice;
}

/// What a [`Partitioner`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// This very partition.
    Partition(PartitionId),
    /// Any: the producer stays with one partition for a batch, then takes the next.
    Sticky,
}

impl From<PartitionId> for Choice {
    fn from(partition: PartitionId) -> Choice {
        Choice::Partition(partition)
    }
}

impl From<u32> for Choice {
    fn from(partition: u32) -> Choice {
        Choice::Partition(PartitionId::new(partition))
    }
}

/// The default: keyed records by the hash of their key, the others sticky.
///
/// A key goes to the partition that Kafka's Java client would give it among as many, an empty key
/// included. (librdkafka does the same only with its partitioner `murmur2_random`.)
#[derive(Clone, Copy, Debug, Default)]
pub struct Murmur2;

impl Partitioner for Murmur2 {
    fn partition(&self, key: Option<&[u8]>, _: Option<&[u8]>, partitions: NonZeroU32) -> Choice {
        // Java has no unsigned integers: Kafka drops the sign bit before it takes the remainder.
        key.map_or(Choice::Sticky, |key| Choice::from((murmur2(key) & 0x7fff_ffff) % partitions))
    }
}

/// Takes no notice of keys: every record is sticky.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sticky;

impl Partitioner for Sticky {
    fn partition(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: NonZeroU32) -> Choice {
        Choice::Sticky
    }
}

/// Sends every record to one partition.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub PartitionId);

impl Partitioner for Fixed {
    fn partition(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: NonZeroU32) -> Choice {
        Choice::Partition(self.0)
    }
}

/// Lets a closure choose; it answers a number, a [`PartitionId`] or a [`Choice`].
///
/// # Examples
/// ```
/// use brooklet::partitioner::ByFn;
///
/// let by_length = ByFn::new(|key, _value, partitions| {
///     key.map_or(0, |key| key.len() as u32 % partitions)
/// });
/// # let _ = by_length;
/// ```
#[derive(Clone, Copy)]
pub struct ByFn<F>(F);

impl<F> ByFn<F> {
    /// A partitioner that asks `choose` with key, value and number of partitions.
    pub const fn new<C>(choose: F) -> ByFn<F>
    where
        F: Fn(Option<&[u8]>, Option<&[u8]>, NonZeroU32) -> C + Send + Sync,
        C: Into<Choice>,
    {
        ByFn(choose)
    }
}

impl<F, C> Partitioner for ByFn<F>
where
    F: Fn(Option<&[u8]>, Option<&[u8]>, NonZeroU32) -> C + Send + Sync,
    C: Into<Choice>,
{
    fn partition(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        partitions: NonZeroU32,
    ) -> Choice {
        (self.0)(key, value, partitions).into()
    }
}

impl<F> fmt::Debug for ByFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByFn({})", type_name::<F>())
    }
}

/// MurmurHash2, 32 bits, by Austin Appleby, with the seed of Kafka (`common.utils.Utils.murmur2`).
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MIX: u32 = 0x5bd1_e995;

    let (blocks, tail) = key.as_chunks::<4>();
    // The hash is defined over the length's low 32 bits; keys are far shorter.
    let mut hash = SEED ^ key.len() as u32;
    for block in blocks {
        let word = u32::from_le_bytes(*block).wrapping_mul(MIX);
        let word = (word ^ (word >> 24)).wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ word;
    }
    if !tail.is_empty() {
        let word = tail.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(MIX);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::{ByFn, Choice, Fixed, Murmur2, Partitioner, Sticky, murmur2};
    use crate::offset::PartitionId;

    const THREE: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

    /// Keys would change partition when a user moves to Kafka (vectors of its `UtilsTest`).
    #[test]
    fn murmur2_agrees_with_the_java_client() {
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    /// Keys would change partition in a bridge built on librdkafka (vectors of its `rdmurmur2.c`).
    #[test]
    fn murmur2_agrees_with_librdkafka() {
        let vectors = [
            ("kafka", 0xd067_cf64),
            ("giberish123456789", 0x8f55_2b0c),
            ("1234", 0x9fc9_7b14),
            ("", 0x106e_08d9),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    /// A negative hash would choose another partition than Kafka does, or none at all.
    #[test]
    fn the_sign_bit_is_dropped_before_the_remainder() {
        let choice = Murmur2.partition(Some(b"21"), None, THREE);
        let positive = (-973_932_308_i32).cast_unsigned() & 0x7fff_ffff;
        assert_eq!(choice, Choice::from(positive % 3));
        assert_ne!(choice, Choice::from((-973_932_308_i32).cast_unsigned() % 3));
    }

    /// Records without a key would be hashed, or records with an empty key scattered.
    #[test]
    fn only_a_missing_key_is_sticky() {
        assert_eq!(Murmur2.partition(None, Some(b"v"), THREE), Choice::Sticky);
        assert_eq!(Murmur2.partition(Some(b""), None, THREE), Choice::from(0x106e_08d9 % 3));
        assert_eq!(Sticky.partition(Some(b"k"), None, THREE), Choice::Sticky);
    }

    /// A record would go elsewhere than its sender said; a wrong choice is the producer's to
    /// refuse.
    #[test]
    fn own_choices_are_passed_on_unchanged() {
        let far = PartitionId::new(9);
        assert_eq!(Fixed(far).partition(Some(b"k"), None, THREE), Choice::Partition(far));
        let last = ByFn::new(|_, _, partitions: NonZeroU32| partitions.get() - 1);
        assert_eq!(last.partition(None, None, THREE), Choice::from(2));
        let never = ByFn::new(|_, _, _| Choice::Sticky);
        assert_eq!(never.partition(Some(b"k"), None, THREE), Choice::Sticky);
        assert!(format!("{last:?}").starts_with("ByFn("));
    }
}
