//! Where a worker puts the records that it gives up, and finds those that it has given up before.

use std::collections::BTreeSet;

use super::letter::{Draft, Letter, take_apart};
use super::places::{Subject, grow};
use super::policy::{DeadLetters, OnWriteFailure};
use super::provenance::{Failure, Provenance, Spot};
use super::walk::Walk;
use crate::config::TopicConfig;
use crate::error::{Error, ErrorKind};
use crate::limits::LETTER_BYTES_MAX;
use crate::log::Log;
use crate::name::{GroupName, TopicName};
use crate::offset::{Offset, PartitionId, Timestamp, TopicId, TopicPartition};
use crate::partitioner::Fixed;
use crate::producer::Acks;
use crate::record::StoredRecord;
use crate::report::TopicInfo;
use crate::role::TopicRole;

/// The dead letters of one group about one topic that it reads.
///
/// For the group's redrive topic these are the letters of the topic that was redriven: a record that
/// fails again is a letter beside the one it came from. Nothing is made before the first letter.
///
/// **Invariants**: letters of one source partition go to the partition of the same number, in the
/// order in which they are written.
#[derive(Clone, Debug)]
pub(crate) struct LetterBox {
    log: Log,
    source: TopicInfo,
    is_redrive: bool,
    subject: Subject,
    policy: DeadLetters,
}

/// A record that a group gives up, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed<'a> {
    /// The record as the group consumed it, from the topic of the box.
    pub(crate) record: &'a StoredRecord,
    /// How often the handler tried, at least once.
    pub(crate) attempts: u32,
    pub(crate) first_failed: Timestamp,
    pub(crate) last_failed: Timestamp,
    /// What kind of error it was last, such as the name of its type.
    pub(crate) error_type: &'a str,
    /// What it said.
    pub(crate) error: &'a str,
}

impl LetterBox {
    /// The box of `group` for the records of `source`.
    ///
    /// # Errors
    /// `InvalidConfig` if the policy is that of another group, `InvalidName` if its pattern makes
    /// no name; `UnknownTopic`, `Closed`.
    pub(crate) fn open(
        log: &Log,
        group: &GroupName,
        source: &str,
        policy: &DeadLetters,
    ) -> Result<Self, Error> {
        let source = log.topic(source)?;
        if policy.group != group.as_str() {
            let text = format!("dead letters of group {}, not of {group}", policy.group);
            return Err(Error::new(ErrorKind::InvalidConfig, text));
        }
        let (topic, is_redrive) = match source.role() {
            TopicRole::Redrive { topic, group: reader } if reader == group => (topic.clone(), true),
            _ => (source.name.clone(), false),
        };
        let subject = Subject { topic, group: group.clone() };
        subject.names(&policy.topic_name)?;
        Ok(Self { log: log.clone(), source, is_redrive, subject, policy: policy.clone() })
    }

    /// What the worker does if a letter cannot be written.
    pub(crate) fn on_write_failure(&self) -> OnWriteFailure {
        self.policy.on_write_failure
    }

    /// The id of the topic whose records this box takes.
    pub(crate) fn source_id(&self) -> TopicId {
        self.source.id
    }

    /// Writes a letter, and returns its offset once it is durable.
    ///
    /// # Errors
    /// What making the topic or the send meets. The letter may be there all the same, so that
    /// [`known_since`](Self::known_since) is to be asked before it is written again; a partition
    /// that is `Poisoned` has to be reopened first.
    pub(crate) fn write(&self, failed: Failed<'_>) -> Result<Offset, Error> {
        let record = failed.record;
        let (user, history) =
            if self.is_redrive { take_apart(record) } else { (record.headers().into(), None) };
        let source = Spot {
            place: record.topic_partition().clone(),
            topic: self.source.id,
            offset: record.offset(),
        };
        let provenance = Provenance {
            source,
            timestamp: record.timestamp(),
            group: self.subject.group.clone(),
            attempts: failed.attempts,
            first_failed: failed.first_failed,
            last_failed: failed.last_failed,
            error: Failure::new(failed.error_type, failed.error),
            history,
        };
        let told = |error: Error| {
            let Spot { place, offset, .. } = &provenance.source;
            error.during(format_args!("write the dead letter of {place}@{offset}"))
        };
        let draft = Draft::new(record, &user, &provenance);
        let letters = self.ensure(record.partition()).map_err(told)?;
        let sent = match self.send(&letters.name, record.partition(), &draft) {
            Err(error) if error.kind() == ErrorKind::InvalidRecord && has_room(&letters) => {
                // The source has come to take larger records since its letters had a topic.
                let config = letters.config.clone().max_record_bytes(LETTER_BYTES_MAX);
                self.log.alter_topic(letters.name.as_str(), config).map_err(told)?;
                self.send(&letters.name, record.partition(), &draft)
            }
            sent => sent,
        };
        sent.map_err(told)
    }

    /// The topic of the letters, if there is one.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn letters(&self) -> Result<Option<TopicInfo>, Error> {
        self.log.topic_of(&self.subject.letters_role())
    }

    /// The group's redrive topic for this box's topic, if there is one.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn redrive(&self) -> Result<Option<TopicInfo>, Error> {
        self.log.topic_of(&self.subject.redrive_role())
    }

    /// The place of the letters about a source partition; it is there with the first of them.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn place(&self, partition: PartitionId) -> Result<Option<TopicPartition>, Error> {
        let found = self.letters()?.filter(|found| partition.value() < found.config.partitions);
        Ok(found.map(|found| TopicPartition::new(found.name, partition)))
    }

    /// Where the next letter about a source partition will stand, or a later one.
    ///
    /// # Errors
    /// What recovery meets on the partition's first use; `Closed`.
    pub(crate) fn end(&self, partition: PartitionId) -> Result<Offset, Error> {
        match self.place(partition)? {
            Some(place) => self.log.offsets(&place).map(|offsets| offsets.end),
            None => Ok(Offset::ZERO),
        }
    }

    /// The offsets of a source partition, `committed` or later, that have a letter at `from` or
    /// later.
    ///
    /// A `from` that the partition does not hold, because the topic was made anew or retention has
    /// passed it, stands for its start.
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub(crate) fn known_since(
        &self,
        partition: PartitionId,
        from: Offset,
        committed: Offset,
    ) -> Result<BTreeSet<Offset>, Error> {
        let Some(place) = self.place(partition)? else { return Ok(BTreeSet::new()) };
        let mut known = BTreeSet::new();
        for record in Walk::open(&self.log, &place, from)? {
            let Ok(letter) = Letter::read(record?) else { continue };
            let source = letter.provenance().source.identity();
            let is_ours = (source.topic, source.partition) == (self.source.id, partition);
            if is_ours && source.offset >= committed && *letter.group() == self.subject.group {
                known.insert(source.offset);
            }
        }
        Ok(known)
    }

    /// The topic of the letters, with room for those about `partition`.
    fn ensure(&self, partition: PartitionId) -> Result<TopicInfo, Error> {
        let source = self.source_config();
        let found = match self.letters()? {
            Some(found) => found,
            None => self.subject.ensure_letters(&self.log, &source, &self.policy)?,
        };
        let least = partition.value().saturating_add(1);
        grow(&self.log, found, source.partitions.max(least))
    }

    /// How the source is kept now, or was when the box was opened if it is gone.
    fn source_config(&self) -> TopicConfig {
        match self.log.topic(self.source.name.as_str()) {
            Ok(now) if now.id == self.source.id => now.config,
            _ => self.source.config.clone(),
        }
    }

    fn send(
        &self,
        letters: &TopicName,
        partition: PartitionId,
        draft: &Draft<'_>,
    ) -> Result<Offset, Error> {
        let producer = self.log.producer(letters.as_str())?;
        let producer = producer.acks(Acks::Durable).partitioner(Fixed(partition));
        Ok(producer.send(draft.record())?.offset())
    }
}

fn has_room(letters: &TopicInfo) -> bool {
    letters.config.max_record_bytes < LETTER_BYTES_MAX
}
