//! Committed offsets as entries of a journal, keyed by group, topic id and partition.
//!
//! A second kind of entry notes that a group has resolved a pattern: topics that match it later
//! begin at their first record, whatever the group's first position was.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::error::{Error, ErrorKind};
use crate::limits::COMMIT_METADATA_BYTES_MAX;
use crate::name::GroupName;
use crate::offset::{Offset, PartitionId, ShardId, TopicId};
use crate::storage::journal::{Change, Entries};

/// A committed offset: the next one to read, and what whoever committed it noted beside it.
///
/// # Examples
/// ```
/// use brooklet::{CommittedOffset, Offset};
///
/// let at = CommittedOffset::at(Offset::new(42)).with_metadata("half of the file");
/// assert_eq!(at.offset().value(), 42);
/// assert_eq!(&at.metadata()[..], b"half of the file");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    offset: Offset,
    metadata: Bytes,
}

impl CommittedOffset {
    /// Everything below `offset` is done with.
    #[must_use]
    pub fn at(offset: Offset) -> Self {
        Self { offset, metadata: Bytes::new() }
    }

    /// Notes something beside the offset, 4 KiB at most; by default nothing.
    ///
    /// The limit is that of Kafka's `offset.metadata.max.bytes`.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// The next offset to read.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// What was noted beside it; empty if nothing was.
    #[must_use]
    pub fn metadata(&self) -> &Bytes {
        &self.metadata
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let len = self.metadata.len();
        if len <= COMMIT_METADATA_BYTES_MAX {
            return Ok(());
        }
        let text = format!("{len} bytes of metadata, not up to {COMMIT_METADATA_BYTES_MAX}");
        Err(Error::new(ErrorKind::InvalidRecord, text))
    }
}

impl From<Offset> for CommittedOffset {
    fn from(offset: Offset) -> Self {
        Self::at(offset)
    }
}

/// What the journal holds of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupEntries {
    pub(crate) committed: BTreeMap<ShardId, CommittedOffset>,
    pub(crate) patterns: BTreeSet<String>,
}

/// ```text
///  key      kind 1 | length of the group | group | topic id, big endian | partition, big endian
///  value    offset, little endian | metadata
/// ```
pub(crate) fn commit_change(
    group: &GroupName,
    shard: ShardId,
    at: Option<&CommittedOffset>,
) -> Change {
    let mut key = group_key(KIND_COMMIT, group);
    key.extend_from_slice(&shard.topic.value().to_be_bytes());
    key.extend_from_slice(&shard.partition.value().to_be_bytes());
    let value = at.map(|at| [&at.offset.value().to_le_bytes()[..], &at.metadata[..]].concat());
    (key, value)
}

/// ```text
///  key      kind 2 | length of the group | group | pattern
///  value    version of this entry, one byte
/// ```
pub(crate) fn pattern_change(group: &GroupName, pattern: &str, is_known: bool) -> Change {
    let mut key = group_key(KIND_PATTERN, group);
    key.extend_from_slice(pattern.as_bytes());
    (key, is_known.then(|| vec![PATTERN_VERSION]))
}

/// Reads the entries of all groups.
///
/// # Errors
/// `Corrupt` if an entry that passed its checksum makes no sense.
pub(crate) fn read_groups(entries: &Entries) -> Result<BTreeMap<GroupName, GroupEntries>, Error> {
    let mut groups = BTreeMap::new();
    for (key, value) in entries {
        read_entry(&mut groups, key, value).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "an entry of the journal of offsets cannot be read")
        })?;
    }
    Ok(groups)
}

/// Leaves out what was committed for topics that are not to be kept, and what makes no sense.
pub(crate) fn retain_topics(entries: &mut Entries, keeps: impl Fn(TopicId) -> bool) {
    entries.retain(|key, value| {
        let mut groups = BTreeMap::new();
        let is_read = read_entry(&mut groups, key, value).is_some();
        let mut committed = groups.values().flat_map(|group| group.committed.keys());
        is_read && committed.all(|shard| keeps(shard.topic))
    });
}

/// Reads the entries that can be read, and counts those that cannot.
pub(crate) fn read_groups_leniently(
    entries: &Entries,
) -> (BTreeMap<GroupName, GroupEntries>, usize) {
    let mut groups = BTreeMap::new();
    let mut read = |(key, value): (&Vec<u8>, &Vec<u8>)| read_entry(&mut groups, key, value);
    let senseless = entries.iter().filter(|entry| read(*entry).is_none()).count();
    (groups, senseless)
}

const KIND_COMMIT: u8 = 1;
const KIND_PATTERN: u8 = 2;
const PATTERN_VERSION: u8 = 1;

fn group_key(kind: u8, group: &GroupName) -> Vec<u8> {
    let name = group.as_str().as_bytes();
    // Names have at most 249 bytes.
    let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[kind, len], name].concat()
}

fn read_entry(
    groups: &mut BTreeMap<GroupName, GroupEntries>,
    key: &[u8],
    value: &[u8],
) -> Option<()> {
    let (kind, rest) = key.split_first()?;
    let (len, rest) = rest.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*len))?;
    let name = GroupName::new(std::str::from_utf8(name).ok()?).ok()?;
    let group = groups.entry(name).or_default();
    match *kind {
        KIND_COMMIT => {
            let (topic, rest) = rest.split_first_chunk::<8>()?;
            let partition = u32::from_be_bytes(rest.try_into().ok()?);
            let shard = ShardId {
                topic: TopicId::new(u64::from_be_bytes(*topic)),
                partition: PartitionId::new(partition),
            };
            let (offset, metadata) = value.split_first_chunk::<8>()?;
            let at = CommittedOffset::at(Offset::new(u64::from_le_bytes(*offset)));
            let at = at.with_metadata(Bytes::copy_from_slice(metadata));
            group.committed.insert(shard, at);
        }
        KIND_PATTERN => {
            group.patterns.insert(std::str::from_utf8(rest).ok()?.to_owned());
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{
        CommittedOffset, Entries, GroupEntries, commit_change, pattern_change, read_groups,
        read_groups_leniently, retain_topics,
    };
    use crate::name::GroupName;
    use crate::offset::{Offset, PartitionId, ShardId, TopicId};

    /// A commit would be read back as that of another group, partition or offset.
    #[test]
    fn entries_are_read_back_as_they_were_written() {
        let shard = ShardId { topic: TopicId::new(7), partition: PartitionId::new(3) };
        let at = CommittedOffset::at(Offset::new(42)).with_metadata("note");
        let names = ["a", "ab", &"x".repeat(249)].map(|name| GroupName::new(name).unwrap());
        let mut entries = Entries::new();
        for name in &names {
            for (key, value) in
                [commit_change(name, shard, Some(&at)), pattern_change(name, "orders.*", true)]
            {
                entries.insert(key, value.unwrap());
            }
        }
        let groups = read_groups(&entries).unwrap();
        let expected = GroupEntries {
            committed: [(shard, at)].into(),
            patterns: ["orders.*".to_owned()].into(),
        };
        assert_eq!(groups.len(), names.len());
        assert!(names.iter().all(|name| groups.get(name) == Some(&expected)));
    }

    /// Bytes that passed their checksum and make no sense would panic or be skipped in silence.
    #[test]
    fn senseless_entries_are_told() {
        let name = GroupName::new("billing").unwrap();
        let shard = ShardId { topic: TopicId::new(7), partition: PartitionId::new(3) };
        let (key, value) = commit_change(&name, shard, Some(&Offset::new(1).into()));
        let value = value.unwrap();
        for cut in 0..key.len() {
            let entries = Entries::from([(key[..cut].to_vec(), value.clone())]);
            assert!(read_groups(&entries).is_err(), "a key of {cut} bytes");
        }
        let entries = Entries::from([(key, value[..7].to_vec())]);
        assert!(read_groups(&entries).is_err(), "a value that is too short");
    }

    /// A backup would keep commits for topics that it does not have, or lose those of the others.
    #[test]
    fn only_what_is_kept_or_makes_sense_is_retained() {
        let name = GroupName::new("billing").unwrap();
        let shard = |topic| ShardId { topic: TopicId::new(topic), partition: PartitionId::ZERO };
        let commit = |topic| commit_change(&name, shard(topic), Some(&Offset::new(1).into()));
        let changes = [commit(7), commit(8), pattern_change(&name, "orders.*", true)];
        let mut entries = changes.map(|(key, value)| (key, value.unwrap())).into_iter().collect();
        let senseless = |entries: &mut Entries| entries.insert(b"senseless".to_vec(), Vec::new());
        senseless(&mut entries);
        let (groups, count) = read_groups_leniently(&entries);
        assert_eq!((groups.get(&name).map(|group| group.committed.len()), count), (Some(2), 1));
        retain_topics(&mut entries, |topic| topic == TopicId::new(7));
        let kept = [commit(7).0, pattern_change(&name, "orders.*", true).0];
        assert!(entries.keys().eq(kept.iter()), "{entries:?}");
        assert_eq!(read_groups_leniently(&entries).1, 0);
    }
}
