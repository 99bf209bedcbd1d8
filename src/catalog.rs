//! Topics: a name, a number that no other topic ever has, and how it is kept.
//!
//! A state machine over a journal, keyed by name. The journal's entry is the commit point of a
//! creation and of a deletion: partitions are listed before it, and unlinked after it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Retention, SyncPolicy, TopicConfig};
use crate::error::{Error, ErrorKind};
use crate::name::{GroupName, TopicName};
use crate::offset::{Offset, PartitionId, ShardId, TopicId, TopicPartition};
use crate::role::TopicRole;
use crate::storage::commit::{Refusal, Want};
use crate::storage::journal::Journal;
use crate::storage::store::{PartitionShard, Store};
use crate::sync::{Arc, Shared};

/// The topics of an open log, by name and by number.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: Shared<BTreeMap<TopicName, Arc<Topic>>>,
    names: Shared<BTreeMap<TopicId, TopicName>>,
}

impl Topics {
    pub(crate) fn add(&self, topic: Arc<Topic>) {
        self.names.with(|names| names.insert(topic.id, topic.name.clone()));
        self.by_name.with(|topics| topics.insert(topic.name.clone(), topic));
    }

    /// Takes a topic out of use; messages can still name it.
    pub(crate) fn remove(&self, name: &TopicName) {
        self.by_name.with(|topics| topics.remove(name));
    }

    /// Forgets the name of a topic that is gone.
    pub(crate) fn forget(&self, id: TopicId) {
        self.names.with(|names| names.remove(&id));
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.by_name.with(|topics| topics.get(name).cloned())
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        let name = self.names.with(|names| names.get(&id).cloned())?;
        self.find(name.as_str()).filter(|topic| topic.id == id)
    }

    /// All topics, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.by_name.with(|topics| topics.values().cloned().collect())
    }

    /// The name of a partition, if its topic was not deleted.
    pub(crate) fn place(&self, id: ShardId) -> Option<TopicPartition> {
        let name = self.names.with(|names| names.get(&id.topic).cloned())?;
        Some(TopicPartition::new(name, id.partition))
    }
}

/// One topic, as all handles to it share it.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    /// Keeps the files and threads alive for as long as anybody has a handle.
    store: Arc<Store>,
    current: Shared<Arc<TopicState>>,
}

/// What of a topic can change.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub(crate) config: TopicConfig,
    pub(crate) shards: Vec<Arc<PartitionShard>>,
}

impl Topic {
    pub(crate) fn new(
        (name, id): (TopicName, TopicId),
        store: Arc<Store>,
        config: TopicConfig,
        shards: Vec<Arc<PartitionShard>>,
    ) -> Self {
        let current = Shared::new(Arc::new(TopicState { config, shards }));
        Self { name, id, store, current }
    }

    /// What the topic stands in.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The topic as it is now.
    pub(crate) fn state(&self) -> Arc<TopicState> {
        self.current.get()
    }

    pub(crate) fn set_state(&self, config: TopicConfig, shards: Vec<Arc<PartitionShard>>) {
        let state = Arc::new(TopicState { config, shards });
        self.current.with(|current| *current = state);
    }

    /// How many partitions it has.
    pub(crate) fn partition_count(&self) -> u32 {
        self.state().config.partitions
    }

    /// What it is for; no pattern means one that serves a group.
    pub(crate) fn role(&self) -> TopicRole {
        self.state().config.role.clone()
    }

    /// The number of one of its partitions.
    pub(crate) fn shard_id(&self, partition: PartitionId) -> ShardId {
        ShardId { topic: self.id, partition }
    }

    /// The name of one of its partitions.
    pub(crate) fn partition(&self, partition: PartitionId) -> TopicPartition {
        TopicPartition::new(self.name.clone(), partition)
    }

    /// One of its partitions.
    pub(crate) fn shard(&self, partition: PartitionId) -> Result<Arc<PartitionShard>, Error> {
        let state = self.state();
        let index = usize::try_from(partition.value()).unwrap_or(usize::MAX);
        state.shards.get(index).cloned().ok_or_else(|| {
            let text = format!("{} has {} partitions", self.name, state.shards.len());
            Error::new(ErrorKind::UnknownPartition, text)
        })
    }
}

/// The identities of a topic's partitions from `first` on.
pub(crate) fn shard_ids(topic: TopicId, first: u32, until: u32) -> Vec<ShardId> {
    let id = |partition| ShardId { topic, partition: PartitionId::new(partition) };
    (first..until).map(id).collect()
}

/// Writes the entry of a topic, durably.
pub(crate) fn write_topic(
    journal: &Journal,
    name: &TopicName,
    id: TopicId,
    config: &TopicConfig,
) -> Result<Offset, Error> {
    let (name, value) = topic_entry(name, id, config);
    journal.append(&[(name, Some(value))], Want::Durable)
}

/// The entry of a topic: its name, and what is known of it.
pub(crate) fn topic_entry(
    name: &TopicName,
    id: TopicId,
    config: &TopicConfig,
) -> (Vec<u8>, Vec<u8>) {
    (name.as_str().as_bytes().to_vec(), encode(id, config))
}

/// Removes the entry of a topic, durably.
///
/// # Errors
/// What the system says, and whether the entry may be gone all the same.
pub(crate) fn remove_topic(journal: &Journal, name: &TopicName) -> Result<(), Refusal> {
    journal.remove(name.as_str().as_bytes())
}

/// Reads all topics from the catalog's entries.
///
/// # Errors
/// `Corrupt` if an entry that passed its checksum makes no sense.
pub(crate) fn read_topics(
    entries: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<Vec<(TopicName, TopicId, TopicConfig)>, Error> {
    let unreadable = || Error::new(ErrorKind::Corrupt, "an entry of the catalog cannot be read");
    let topics = entries.iter().map(|(name, value)| read_topic(name, value));
    topics.map(|topic| topic.ok_or_else(unreadable)).collect()
}

/// Reads one entry; none if it makes no sense.
pub(crate) fn read_topic(name: &[u8], value: &[u8]) -> Option<(TopicName, TopicId, TopicConfig)> {
    let name = TopicName::new(std::str::from_utf8(name).ok()?).ok()?;
    let (id, config) = decode(value)?;
    Some((name, id, config))
}

/// ```text
///  topic id | partitions | sync kind, interval | segment bytes | age: set, ms | max age: set, ms
///  | max bytes: set, bytes | hold uncommitted | max record bytes            all as u64
///
///  of a topic that is not plain also:
///  role u8 | length of topic u8 | length of group u8 | topic … | group …
/// ```
pub(crate) fn encode(id: TopicId, config: &TopicConfig) -> Vec<u8> {
    let (kind, interval) = match config.sync_policy() {
        SyncPolicy::Always => (0, 0),
        SyncPolicy::Every(interval) => (1, millis(interval)),
        SyncPolicy::Never => (2, 0),
    };
    let optional = |value: Option<u64>| [u64::from(value.is_some()), value.unwrap_or(0)];
    let [has_age, age] = optional(config.segment_age.map(millis));
    let [has_max_age, max_age] = optional(config.retention.max_age.map(millis));
    let [has_max_bytes, max_bytes] = optional(config.retention.max_bytes);
    let words: [u64; WORDS] = [
        id.value(),
        u64::from(config.partitions),
        kind,
        interval,
        config.segment_bytes,
        has_age,
        age,
        has_max_age,
        max_age,
        has_max_bytes,
        max_bytes,
        u64::from(config.retention.hold_uncommitted),
        config.max_record_bytes as u64,
    ];
    let mut value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    encode_role(&config.role, &mut value);
    value
}

const WORDS: usize = 13;

/// Reads the value of an entry; none if it makes no sense.
pub(crate) fn decode(value: &[u8]) -> Option<(TopicId, TopicConfig)> {
    let (words, role) = value.split_at_checked(WORDS * size_of::<u64>())?;
    let (slots, []) = words.as_chunks::<8>() else { return None };
    let slots: &[[u8; 8]; WORDS] = slots.try_into().ok()?;
    let [
        id,
        partitions,
        kind,
        interval,
        segment_bytes,
        has_age,
        age,
        has_max_age,
        max_age,
        has_max_bytes,
        max_bytes,
        hold,
        max_record_bytes,
    ] = slots.map(u64::from_le_bytes);
    let sync = match kind {
        0 => SyncPolicy::Always,
        1 => SyncPolicy::Every(Duration::from_millis(interval)),
        2 => SyncPolicy::Never,
        _ => return None,
    };
    let config = TopicConfig {
        partitions: u32::try_from(partitions).ok()?,
        sync: Some(sync),
        segment_bytes,
        segment_age: (has_age == 1).then(|| Duration::from_millis(age)),
        retention: Retention {
            max_age: (has_max_age == 1).then(|| Duration::from_millis(max_age)),
            max_bytes: (has_max_bytes == 1).then_some(max_bytes),
            hold_uncommitted: hold == 1,
        },
        max_record_bytes: usize::try_from(max_record_bytes).ok()?,
        role: decode_role(role)?,
    };
    config.check().ok()?;
    Some((TopicId::new(id), config))
}

const DEAD_LETTERS: u8 = 1;
const REDRIVE: u8 = 2;
const LETTER_STATES: u8 = 3;

fn encode_role(role: &TopicRole, value: &mut Vec<u8>) {
    let (kind, topic, group) = match role {
        TopicRole::Plain => return,
        TopicRole::DeadLetters { topic, group } => (DEAD_LETTERS, topic, group),
        TopicRole::Redrive { topic, group } => (REDRIVE, topic, group),
        TopicRole::LetterStates { topic, group } => (LETTER_STATES, topic, group),
    };
    let names = [topic.as_str(), group.as_str()];
    // A name is never longer than a byte can count; see the limits.
    let lengths = names.map(|name| u8::try_from(name.len()).unwrap_or(u8::MAX));
    value.push(kind);
    value.extend(lengths);
    value.extend(names.iter().flat_map(|name| name.bytes()));
}

fn decode_role(bytes: &[u8]) -> Option<TopicRole> {
    let [kind, topic, group, names @ ..] = bytes else {
        return bytes.is_empty().then_some(TopicRole::Plain);
    };
    let (topic, rest) = names.split_at_checked(usize::from(*topic))?;
    if rest.len() != usize::from(*group) {
        return None;
    }
    let topic = TopicName::new(std::str::from_utf8(topic).ok()?).ok()?;
    let group = GroupName::new(std::str::from_utf8(rest).ok()?).ok()?;
    match *kind {
        DEAD_LETTERS => Some(TopicRole::DeadLetters { topic, group }),
        REDRIVE => Some(TopicRole::Redrive { topic, group }),
        LETTER_STATES => Some(TopicRole::LetterStates { topic, group }),
        _ => None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::config::TopicConfig;
    use crate::name::{GroupName, TopicName};
    use crate::offset::TopicId;
    use crate::role::TopicRole;

    fn roles() -> Vec<TopicRole> {
        let topic = TopicName::new(&"t".repeat(249)).unwrap();
        let group = GroupName::new("g").unwrap();
        vec![
            TopicRole::Plain,
            TopicRole::DeadLetters { topic: topic.clone(), group: group.clone() },
            TopicRole::Redrive { topic: topic.clone(), group: group.clone() },
            TopicRole::LetterStates { topic, group },
        ]
    }

    /// Dead letters would be taken for somebody's own records after a restart.
    #[test]
    fn roles_are_kept_and_plain_topics_take_no_room_for_them() {
        for role in roles() {
            let config = TopicConfig::new().sync(Default::default()).role(role.clone());
            let bytes = encode(TopicId::new(7), &config);
            assert_eq!(bytes.len() == 13 * 8, role.is_plain());
            assert_eq!(decode(&bytes), Some((TopicId::new(7), config)));
        }
    }

    /// An entry that makes no sense would be believed, or stop the program.
    #[test]
    fn entries_that_are_cut_or_grown_are_refused() {
        for role in roles() {
            let bytes = encode(TopicId::new(7), &TopicConfig::new().role(role));
            for len in (0..bytes.len()).filter(|len| *len != 13 * 8) {
                assert_eq!(decode(&bytes[..len]), None, "{len} of {} bytes", bytes.len());
            }
            let grown = [bytes.as_slice(), &[0]].concat();
            assert_eq!(decode(&grown), None);
            let mut unknown = bytes.clone();
            if let Some(kind) = unknown.get_mut(13 * 8) {
                *kind = 9;
                assert_eq!(decode(&unknown), None);
            }
        }
    }
}
