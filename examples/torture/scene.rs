//! An open log, the topics that are sent to, and the history that all who use it write.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brooklet::partitioner::{Choice, Partitioner};
use brooklet::testing::checker::{Event, Place};
use brooklet::{Error, Log, PartitionId, Producer, TopicName, TopicPartition};
use parking_lot::Mutex;

use crate::dice::Dice;
use crate::plan::{
    LASTING, Lasting, lasting_number, passing_config, passing_is_synced, passing_name,
};

/// Takes down what happens, in one order for all.
pub(crate) trait Recorder: Debug + Send + Sync {
    fn note(&self, event: Event);
}

/// What all who use a log in one session share.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) log: Log,
    recorder: Arc<dyn Recorder>,
    topics: Mutex<Vec<Open>>,
    next_id: AtomicU64,
}

/// A topic that is sent to. The producer is of this very topic, not of a later namesake.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) producer: Producer,
}

impl Scene {
    /// Sessions have numbers, so that what they number is told from what others do.
    pub(crate) fn new(log: Log, recorder: Arc<dyn Recorder>, session: u32) -> Arc<Self> {
        let next_id = AtomicU64::new(u64::from(session) << 32);
        Arc::new(Self { log, recorder, topics: Mutex::default(), next_id })
    }

    pub(crate) fn note(&self, event: Event) {
        self.recorder.note(event);
    }

    /// A number that nobody else gets.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes sure of a lasting topic.
    pub(crate) fn ensure(&self, lasting: &Lasting) -> Result<(), Error> {
        let Some(number) = lasting_number(lasting.name) else { return Ok(()) };
        let name = lasting.name.to_owned();
        if self.log.topic(&name).is_err() {
            let (is_synced, expires) = (lasting.is_synced(), lasting.expires());
            let name = name.clone();
            self.note(Event::Topic { topic: number, name, is_synced, expires });
            self.log.create_topic(lasting.name, lasting.config())?;
            self.note(Event::Created(number));
        }
        self.open(number, name, lasting.partitions)
    }

    /// Makes a topic that is deleted later; another one of its name is not there.
    pub(crate) fn create_passing(&self, number: u32) -> Result<(), Error> {
        let name = passing_name(number);
        let is_synced = passing_is_synced(number);
        let asked = Event::Topic { topic: number, name: name.clone(), is_synced, expires: false };
        self.note(asked);
        self.log.create_topic(&name, passing_config(number))?;
        self.note(Event::Created(number));
        self.open(number, name, 1)
    }

    /// Deletes a passing topic; whoever is sending to it is told so.
    pub(crate) fn delete_passing(&self, topic: &Open) -> Result<(), Error> {
        self.topics.lock().retain(|open| open.number != topic.number);
        self.note(Event::Deleting(topic.number));
        self.log.delete_topic(&topic.name)?;
        self.note(Event::Deleted(topic.number));
        Ok(())
    }

    /// Has a topic sent to.
    pub(crate) fn open(&self, number: u32, name: String, partitions: u32) -> Result<(), Error> {
        let producer = self.log.producer(&name)?.partitioner(KeyIsPartition);
        self.topics.lock().push(Open { number, name, partitions, producer });
        Ok(())
    }

    /// The topics that are sent to.
    pub(crate) fn topics(&self) -> Vec<Open> {
        self.topics.lock().clone()
    }

    /// A topic to send to, and a partition of it.
    pub(crate) fn any_place(&self, dice: &mut Dice) -> Option<(Open, Place)> {
        let open = dice.pick(&self.topics.lock()).cloned()?;
        let partition = dice.within(0..u64::from(open.partitions));
        let place = Place { topic: open.number, partition: u32::try_from(partition).ok()? };
        Some((open, place))
    }
}

/// The place of a partition of a lasting topic.
pub(crate) fn place_of(partition: &TopicPartition) -> Option<Place> {
    let topic = lasting_number(partition.topic().as_str())?;
    Some(Place { topic, partition: partition.partition().value() })
}

/// The name of a place in a topic of a name.
pub(crate) fn partition_of(name: &str, partition: u32) -> Option<TopicPartition> {
    Some(TopicPartition::new(TopicName::new(name).ok()?, PartitionId::new(partition)))
}

/// The name of a place in a lasting topic.
pub(crate) fn lasting_partition(place: Place) -> Option<TopicPartition> {
    let lasting = LASTING.get(usize::try_from(place.topic).ok()?)?;
    partition_of(lasting.name, place.partition)
}

/// Keys are the numbers of partitions.
#[derive(Debug)]
struct KeyIsPartition;

impl Partitioner for KeyIsPartition {
    fn partition(&self, key: Option<&[u8]>, _: Option<&[u8]>, _: NonZeroU32) -> Choice {
        let number = key.and_then(|key| key.try_into().ok()).map(u32::from_le_bytes);
        number.map_or(Choice::Sticky, |number| PartitionId::new(number).into())
    }
}
