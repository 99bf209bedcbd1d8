//! The log under test, its consumers, and the model that they are compared with.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use brooklet::partitioner::{Choice, Partitioner};
use brooklet::testing::{SimDisk, open};
use brooklet::{
    Consumer, Error, HandOver, Log, LogOptions, Offset, PartitionId, RebalanceListener, TopicName,
    TopicPartition,
};
use parking_lot::Mutex;

use super::reference::{Key, Model, Verdict};

pub(super) const TOPICS: [&str; 3] = ["orders", "clicks", "beats"];
pub(super) const GROUPS: [&str; 2] = ["billing", "shipping"];

pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) log: Log,
    pub(super) model: Model,
    /// By group and number of the seat.
    pub(super) seats: BTreeMap<(usize, usize), Seat>,
    /// How often something was seen that the test would be worth little without.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// The journal of commits that the last crash has left; the first write begins another one.
    pub(super) found_file: Option<PathBuf>,
    /// Partitions may not have been looked at since a crash.
    pub(super) is_lazy: bool,
    /// What was done, to which topic, group and seat.
    pub(super) trail: Vec<(&'static str, [usize; 3])>,
}

/// A consumer, and what its listener was told.
pub(super) struct Seat {
    pub(super) consumer: Consumer,
    pub(super) told: Arc<Mutex<Told>>,
}

#[derive(Default)]
pub(super) struct Told {
    /// Partitions are kept when they are to go.
    pub(super) keeps: bool,
    pub(super) news: Vec<News>,
    pub(super) kept: Vec<HandOver>,
}

#[derive(Clone, Debug)]
pub(super) enum News {
    Assigned(TopicPartition),
    Revoked(TopicPartition),
    Lost(TopicPartition),
}

/// Notes what it is told.
pub(super) struct Listener(pub(super) Arc<Mutex<Told>>);

impl RebalanceListener for Listener {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        let news = partitions.iter().cloned().map(News::Assigned);
        self.0.lock().news.extend(news);
    }

    fn revoked(&mut self, partitions: Vec<HandOver>) {
        let mut told = self.0.lock();
        let news = partitions.iter().map(|token| News::Revoked(token.partition().clone()));
        told.news.extend(news);
        if told.keeps {
            told.kept.extend(partitions);
        }
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        let news = partitions.iter().cloned().map(News::Lost);
        self.0.lock().news.extend(news);
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let log = opened(&disk);
        let model = Model::default();
        let (seats, counts, found_file, trail) = Default::default();
        Self { disk, log, model, seats, counts, found_file, is_lazy: false, trail }
    }

    /// The newest file of the journal of commits.
    pub(super) fn offsets_file(&self) -> Option<PathBuf> {
        let dir = self.disk.root().join("log/offsets");
        let is_journal = |path: &PathBuf| {
            path.starts_with(&dir) && path.file_name() != Some("next.jnl".as_ref())
        };
        self.disk.files().into_iter().filter(is_journal).max()
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn count_by(&mut self, what: &'static str, by: usize) {
        *self.counts.entry(what).or_default() += by as u64;
    }

    /// What a partition is called, also one whose topic is gone.
    pub(super) fn place(&self, key: Key) -> TopicPartition {
        let name = TOPICS[self.model.names[&key.0]];
        TopicPartition::new(TopicName::new(name).unwrap(), PartitionId::new(key.1))
    }

    /// The partition of that name in the present life of its topic.
    pub(super) fn key(&self, place: &TopicPartition) -> Option<Key> {
        let number = TOPICS.iter().position(|name| *name == place.topic().as_str())?;
        let topic = self.model.topics.get(&number)?;
        let part = place.partition().value();
        ((part as usize) < topic.parts.len()).then_some((topic.life, part))
    }

    /// A member's lane of that name, whichever life of the topic it is of.
    pub(super) fn lane_key(
        &self,
        group: usize,
        seat: usize,
        place: &TopicPartition,
    ) -> Option<Key> {
        let lanes = &self.model.groups[&group].members[&seat].lanes;
        lanes.keys().copied().find(|key| self.place(*key) == *place)
    }

    /// Takes note of where all partitions end now, as the log says.
    pub(super) fn observe_ends(&mut self) -> Verdict {
        for key in self.model.keys() {
            let place = self.place(key);
            let offsets = self.log.offsets(&place).map_err(|error| error.to_string())?;
            let part = self.model.part_mut(key);
            let end = part.records.len() as u64;
            let (visible, durable) = (offsets.end.value(), offsets.durable_end.value());
            let is_sane = offsets.start.value() == part.start
                && (part.visible..=end).contains(&visible)
                && (part.durable..=end).contains(&durable);
            if !is_sane {
                return Err(format!("{place}: {offsets:?}, where the model has {part:?}"));
            }
            part.visible = visible;
            part.durable = durable;
        }
        Ok(())
    }
}

pub(super) fn opened(disk: &SimDisk) -> Log {
    open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap()
}

/// Keys are partition numbers.
#[derive(Debug)]
pub(super) struct KeyIsPartition;

impl Partitioner for KeyIsPartition {
    fn partition(&self, key: Option<&[u8]>, _: Option<&[u8]>, _: NonZeroU32) -> Choice {
        let number = key.and_then(|key| key.try_into().ok()).map(u32::from_le_bytes);
        Choice::from(number.expect("every record here has its partition for a key"))
    }
}

pub(super) fn is(error: &Error, kind: &str) -> bool {
    format!("{:?}", error.kind()) == kind
}

pub(super) fn offset(value: u64) -> Offset {
    Offset::new(value)
}
