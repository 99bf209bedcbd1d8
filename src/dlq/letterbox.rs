//! Where a worker puts the records that it gives up, and finds those that it has given up before.

use std::collections::BTreeSet;

use super::letter::{Draft, Letter, take_apart};
use super::places::{Subject, grow};
use super::policy::{DeadLetters, OnWriteFailure};
use super::provenance::{Failure, Provenance, Spot};
use super::walk::Walk;
use crate::config::TopicConfig;
use crate::error::{Error, ErrorKind};
use crate::limits::{LETTER_BYTES_MAX, LETTER_OVERHEAD_BYTES_MAX};
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
    /// What making the topic, syncing the source or sending meets. The letter may be there all the same, so that
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
        // Or a power cut could give the offset to another record, which would then seem given up.
        self.keep(&provenance.source.place).map_err(told)?;
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

    /// Makes the group's redrive topic for this box's topic unless it is there.
    ///
    /// # Errors
    /// Those of [`create_topic`](Log::create_topic).
    pub(crate) fn ensure_redrive(&self) -> Result<TopicInfo, Error> {
        let source = self.source_config();
        let most = source.max_record_bytes.saturating_add(LETTER_OVERHEAD_BYTES_MAX);
        let most = source.max_record_bytes(most.min(LETTER_BYTES_MAX));
        self.subject.ensure_redrive(&self.log, &most)
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

    /// Makes the records of a source partition as durable as the letters about them.
    fn keep(&self, place: &TopicPartition) -> Result<(), Error> {
        match self.log.make_durable(place) {
            // Nothing takes the offsets of a topic that is gone.
            Err(error) if error.kind() != ErrorKind::UnknownTopic => Err(error),
            _ => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Failed, LetterBox};
    use crate::config::{Retention, SyncPolicy, TopicConfig};
    use crate::dlq::fixture::{failed, letter_box, reopen, sent, try_box};
    use crate::dlq::policy::{DeadLetters, OnWriteFailure};
    use crate::dlq::{Filter, Letters};
    use crate::error::{Error, ErrorKind};
    use crate::log::Log;
    use crate::name::GroupName;
    use crate::offset::{Offset, PartitionId, Timestamp, TopicPartition};
    use crate::record::{Record, StoredRecord};
    use crate::role::TopicRole;
    use crate::testing::{CrashPolicy, Fault, OpKind, Repeat, SimDisk};

    fn names(log: &Log) -> Vec<String> {
        log.topics().unwrap().iter().map(|topic| topic.name.to_string()).collect()
    }

    fn offsets(values: &[u64]) -> BTreeSet<Offset> {
        values.iter().copied().map(Offset::new).collect()
    }

    const ZERO: Offset = Offset::ZERO;

    /// A letter would be lost with the power, changed, or made where nothing failed.
    #[test]
    fn a_letter_is_durable_and_whole_and_nothing_is_made_before_it() {
        let disk = SimDisk::new(1);
        let log = reopen(&disk);
        log.create_topic("orders", TopicConfig::new().partitions(3).sync(SyncPolicy::Never))
            .unwrap();
        let letters = letter_box(&log, "orders", "billing");
        assert_eq!(names(&log), ["orders"]);
        assert_eq!(letters.letters().unwrap(), None);
        assert_eq!(letters.end(PartitionId::new(2)).unwrap(), ZERO);
        assert_eq!(letters.known_since(PartitionId::new(2), ZERO, ZERO).unwrap(), offsets(&[]));

        let record = Record::new("v").key("k").header("a", "1").header_without_value("a");
        let record = sent(&log, "orders", 2, record.timestamp(Timestamp::from_millis(7)));
        assert_eq!(letters.write(failed(&record)).unwrap(), ZERO);
        let made = log.topic("orders.billing.dlq").unwrap();
        assert_eq!(made, letters.letters().unwrap().unwrap());
        assert_eq!(made.config.partition_count(), 3);
        assert_eq!(made.config.sync_policy(), SyncPolicy::Always);
        let month = std::time::Duration::from_secs(30 * 24 * 3600);
        assert_eq!(made.config.retention_policy(), &Retention::forever().max_age(month));

        let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
        let list = Letters::of(&log).list(&Filter::new()).unwrap();
        let [letter] = list.as_slice() else { panic!("{} letters", list.len()) };
        assert_eq!(letter.topic_partition().to_string(), "orders.billing.dlq/2");
        assert_eq!(
            (letter.source().to_string(), letter.source_offset()),
            ("orders/2".into(), ZERO)
        );
        assert_eq!((letter.key(), letter.value()), (Some(&b"k"[..]), Some(&b"v"[..])));
        assert_eq!(format!("{:?}", letter.headers()), format!("{:?}", record.headers()));
        assert_eq!(letter.timestamp(), Timestamp::from_millis(7));
        assert_eq!((letter.attempts(), letter.redrives()), (3, 0));
        assert_eq!((letter.error_type(), letter.error()), ("Timeout", "no answer"));
        assert_eq!(
            (letter.first_failed().as_millis(), letter.last_failed().as_millis()),
            (1000, 2000)
        );
    }

    /// A worker that takes a partition over would handle again what was given up, or skip a record.
    #[test]
    fn what_was_given_up_is_known_by_source_and_place() {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
        let letters = letter_box(&log, "t", "g");
        let other = letter_box(&log, "t", "other");
        let records: Vec<_> = (0..5).map(|_| sent(&log, "t", 1, Record::new("v"))).collect();
        for index in [1, 2, 4] {
            letters.write(failed(&records[index])).unwrap();
        }
        other.write(failed(&records[3])).unwrap();
        letters.write(failed(&sent(&log, "t", 0, Record::new("v")))).unwrap();
        let known = |from: u64, committed: u64| {
            let (from, committed) = (Offset::new(from), Offset::new(committed));
            letters.known_since(PartitionId::new(1), from, committed).unwrap()
        };
        assert_eq!(letters.end(PartitionId::new(1)).unwrap(), Offset::new(3));
        assert_eq!(known(0, 0), offsets(&[1, 2, 4]));
        assert_eq!(known(1, 0), offsets(&[2, 4]));
        assert_eq!(known(0, 2), offsets(&[2, 4]));
        assert_eq!(known(3, 0), offsets(&[]));
        assert_eq!(
            known(99, 2),
            offsets(&[2, 4]),
            "an offset of another topic stands for the start"
        );
        // The rest of the letters is behind the point from which others are asked for.
        let place = letters.place(PartitionId::new(1)).unwrap().unwrap();
        log.trim(&place, Offset::new(2)).unwrap();
        assert_eq!(known(0, 0), offsets(&[4]));
        // A foreign record in between is passed over.
        sent(&log, "t.g.dlq", 1, Record::new("not a letter"));
        assert_eq!(known(0, 0), offsets(&[4]));
        // The offsets of a topic made anew are other records.
        log.delete_topic("t").unwrap();
        log.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
        let anew = letter_box(&log, "t", "g");
        assert_ne!(anew.source_id(), letters.source_id());
        assert_eq!(anew.known_since(PartitionId::new(1), ZERO, ZERO).unwrap(), offsets(&[]));
        assert_eq!(anew.letters().unwrap(), letters.letters().unwrap());
    }

    /// A power cut would give an offset to another record, which would then be skipped as given up.
    #[test]
    fn no_letter_is_more_durable_than_its_record() {
        let disk = SimDisk::new(1);
        let log = reopen(&disk);
        log.create_topic("t", TopicConfig::new().sync(SyncPolicy::Never)).unwrap();
        let records: Vec<_> = (0..3).map(|_| sent(&log, "t", 0, Record::new("v"))).collect();
        letter_box(&log, "t", "g").write(failed(&records[1])).unwrap();
        sent(&log, "t", 0, Record::new("lost"));
        let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
        let next = sent(&log, "t", 0, Record::new("w"));
        assert_eq!(next.offset(), Offset::new(3), "the last record is lost, the others are not");
        let known = letter_box(&log, "t", "g").known_since(PartitionId::ZERO, ZERO, ZERO).unwrap();
        assert_eq!(known, offsets(&[1]));
    }

    /// Letters of one partition would be scattered, or those of an added one have no place.
    #[test]
    fn letters_keep_the_number_of_their_partition() {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
        let letters = letter_box(&log, "t", "g");
        letters.write(failed(&sent(&log, "t", 1, Record::new("v")))).unwrap();
        log.add_partitions("t", 5).unwrap();
        assert_eq!(letters.place(PartitionId::new(4)).unwrap(), None);
        assert_eq!(letters.end(PartitionId::new(4)).unwrap(), ZERO);
        letters.write(failed(&sent(&log, "t", 4, Record::new("v")))).unwrap();
        letters.write(failed(&sent(&log, "t", 1, Record::new("v")))).unwrap();
        let list = Letters::of(&log).list(&Filter::new()).unwrap();
        let places: Vec<_> = list
            .iter()
            .map(|l| (l.topic_partition().partition().value(), l.source().partition().value()))
            .collect();
        assert_eq!(places, [(1, 1), (1, 1), (4, 4)]);
        // A source that is gone still has its letters written.
        let record = sent(&log, "t", 0, Record::new("v"));
        log.delete_topic("t").unwrap();
        letters.write(failed(&record)).unwrap();
        assert_eq!(Letters::of(&log).count(&Filter::new()).unwrap().waiting, 4);
    }

    /// Somebody's own topic would be filled with letters, or letters of two groups be mixed.
    #[test]
    fn names_that_are_taken_do_not_matter() {
        let disk = SimDisk::new(1);
        let log = reopen(&disk);
        let long = "x".repeat(249);
        for topic in ["a", "a.b", "orders", "orders.billing.dlq", &long] {
            log.create_topic(topic, TopicConfig::new()).unwrap();
        }
        let subjects = [("a", "b.c"), ("a.b", "c"), ("orders", "billing"), (&*long, "g")];
        let write = |log: &Log, (topic, group): (&str, &str)| {
            let letters = letter_box(log, topic, group);
            letters.write(failed(&sent(log, topic, 0, Record::new("v")))).unwrap();
            letters.letters().unwrap().unwrap()
        };
        let made: Vec<_> = subjects.iter().map(|subject| write(&log, *subject)).collect();
        let distinct: BTreeSet<_> = made.iter().map(|topic| topic.name.clone()).collect();
        assert_eq!(distinct.len(), 4);
        assert_eq!(made[0].name.as_str(), "a.b.c.dlq");
        assert!(made[1].name.as_str().starts_with("a.b.c.dlq-"), "{}", made[1].name);
        assert!(log.topic("orders.billing.dlq").unwrap().role().is_plain());
        assert_eq!(made[3].name.as_str().len(), 246);
        // The same topics are found after a restart, even where the wanted name is free by now.
        log.delete_topic("orders.billing.dlq").unwrap();
        let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
        let found: Vec<_> = subjects.iter().map(|subject| write(&log, *subject)).collect();
        assert_eq!(found, made);
        for (topic, group) in subjects {
            let filter = Filter::new().topic(topic).group(group);
            assert_eq!(Letters::of(&log).count(&filter).unwrap().waiting, 2, "{topic} {group}");
        }
    }

    /// A topic would stop being one of letters when it is altered, or another pass for one.
    #[test]
    fn the_role_stays_and_cannot_be_copied() {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new()).unwrap();
        let letters = letter_box(&log, "t", "g");
        letters.write(failed(&sent(&log, "t", 0, Record::new("v")))).unwrap();
        let made = log.topic("t.g.dlq").unwrap();
        let (topic, group) = (made.name.clone(), GroupName::new("g").unwrap());
        let role = TopicRole::DeadLetters { topic: log.topic("t").unwrap().name, group };
        assert_eq!(made.role(), &role);
        log.alter_topic(topic.as_str(), TopicConfig::new()).unwrap();
        assert_eq!(log.topic("t.g.dlq").unwrap().role(), &role);
        log.create_topic("copy", made.config.clone()).unwrap();
        assert!(log.topic("copy").unwrap().role().is_plain());
        log.ensure_topic("copy2", made.config.clone()).unwrap();
        assert!(log.topic("copy2").unwrap().role().is_plain());
        assert_eq!(
            log.ensure_topic("copy", made.config).unwrap(),
            crate::report::Ensured::Unchanged
        );
    }

    /// The largest record a topic takes could not be given up, and would block its partition.
    #[test]
    fn every_record_of_the_source_fits() {
        let log = Log::in_memory().unwrap();
        let header = "h".repeat(100);
        for (topic, most) in [("small", 64), ("usual", 100_000), ("huge", 64 << 20)] {
            log.create_topic(topic, TopicConfig::new().max_record_bytes(most)).unwrap();
            let letters = letter_box(&log, topic, "g");
            let value = vec![7; most - 12];
            let record = sent(&log, topic, 0, Record::new(&value));
            let long = "e".repeat(1 << 20);
            let failed = Failed { error: &long, error_type: &long, ..failed(&record) };
            letters.write(failed).unwrap();
        }
        // So do as many headers as there can be, and records that became larger since.
        let letters = letter_box(&log, "small", "g");
        log.alter_topic("small", TopicConfig::new().max_record_bytes(1 << 20)).unwrap();
        let full = (0..255).fold(Record::new("v"), |record, _| record.header(&header, "v"));
        let record = sent(&log, "small", 0, full);
        letters.write(failed(&record)).unwrap();
        let list = Letters::of(&log).list(&Filter::new().topic("small")).unwrap();
        assert_eq!(list[1].headers().len(), 255);
        assert!(list[1].headers().iter().eq(record.headers().iter()));
    }

    /// A policy that cannot work would be found out when the first record fails.
    #[test]
    fn boxes_that_could_not_write_are_refused_at_once() {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new()).unwrap();
        let group = GroupName::new("g").unwrap();
        let open = |topic: &str, policy: &DeadLetters| {
            LetterBox::open(&log, &group, topic, policy).unwrap_err().kind()
        };
        let good = DeadLetters::default_for("g");
        assert_eq!(letter_box(&log, "t", "g").on_write_failure(), OnWriteFailure::Block);
        assert_eq!(open("none", &good), ErrorKind::UnknownTopic);
        assert_eq!(open("t", &DeadLetters::default_for("h")), ErrorKind::InvalidConfig);
        assert_eq!(open("t", &good.topic_name("{topic}/{group}")), ErrorKind::InvalidName);
        assert_eq!(names(&log), ["t"]);
    }

    /// A worker could not read beside its topic what is redriven later, or a pattern would.
    #[test]
    fn the_redrive_topic_can_be_there_before_anything_is_redriven() {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new().partitions(3)).unwrap();
        let letters = letter_box(&log, "t", "g");
        assert_eq!(letters.redrive().unwrap(), None);
        let made = letters.ensure_redrive().unwrap();
        assert_eq!(letters.redrive().unwrap(), Some(made.clone()));
        assert_eq!(made.config.partition_count(), 3);
        letters.write(failed(&sent(&log, "t", 2, Record::new("v")))).unwrap();
        let report = Letters::of(&log).redrive(&Filter::new()).run().unwrap();
        assert!(report.topics.contains_key(&made.name));
        assert_eq!(log.topic(made.name.as_str()).unwrap(), made);
        // Its own box, and the one for what was redriven, have the same letters.
        let of_redriven = letter_box(&log, made.name.as_str(), "g");
        assert_eq!(of_redriven.letters().unwrap(), letters.letters().unwrap());
        assert_eq!(of_redriven.redrive().unwrap(), Some(made));
        let consumer = log.consumer("other").matching("t*").open().unwrap();
        let read: BTreeSet<_> =
            consumer.assignment().iter().map(|place| place.topic().to_string()).collect();
        assert_eq!(read, BTreeSet::from(["t".to_owned()]));
    }

    /// What writes a letter as a worker does: after a failure it looks before it writes again.
    fn write_once(log: &Log, record: &StoredRecord) -> Result<(), Error> {
        let letters = try_box(log, "t", "g")?;
        if !letters.known_since(record.partition(), ZERO, ZERO)?.contains(&record.offset()) {
            letters.write(failed(record))?;
        }
        Ok(())
    }

    fn disk_with_a_record() -> (SimDisk, Log, StoredRecord) {
        let disk = SimDisk::new(3);
        let log = reopen(&disk);
        log.create_topic("t", TopicConfig::new()).unwrap();
        let record = sent(&log, "t", 0, Record::new("v"));
        (disk, log, record)
    }

    fn assert_one_letter(log: &Log, case: &str) {
        let list = Letters::of(log).list(&Filter::new()).unwrap();
        assert_eq!(list.len(), 1, "{case}");
        assert_eq!(list[0].value(), Some(&b"v"[..]), "{case}");
    }

    /// The operations that the first letter of a group takes.
    fn ops_of_a_letter() -> std::ops::Range<u64> {
        let (disk, log, record) = disk_with_a_record();
        let before = disk.ops();
        write_once(&log, &record).unwrap();
        assert_one_letter(&log, "undisturbed");
        before..disk.ops()
    }

    /// A crash at some moment would lose a letter that was acknowledged, or make a second one.
    #[test]
    fn a_crash_at_any_operation_leaves_one_letter() {
        let mut found_at_once = 0;
        let ops = ops_of_a_letter();
        assert!(ops.end - ops.start > 10, "a letter without work shows nothing: {ops:?}");
        for number in ops.clone() {
            for policy in CrashPolicy::ALL {
                let (disk, log, record) = disk_with_a_record();
                disk.power_off_at(number);
                let written = write_once(&log, &record);
                // The last operations come behind the letter, and fail unnoticed.
                assert!(disk.is_off(), "the power stayed on at {number}");
                let log = reopen(&disk.crash(*policy, number));
                let found = Letters::of(&log).list(&Filter::new()).unwrap().len();
                assert!(found == 1 || written.is_err(), "lost at {number}, {policy:?}");
                found_at_once += found;
                write_once(&log, &record).unwrap();
                assert_one_letter(&log, &format!("{number}, {policy:?}"));
            }
        }
        assert!(found_at_once > 0, "no crash came behind a letter");
    }

    /// A disk that fails once would leave a record without a letter, or with two.
    #[test]
    fn a_failure_at_any_operation_leaves_one_letter() {
        let mut failures = 0;
        for number in ops_of_a_letter() {
            for fault in [Fault::Eio, Fault::StorageFull] {
                let (disk, log, record) = disk_with_a_record();
                disk.fail_at(number, fault, Repeat::Once);
                if let Err(error) = write_once(&log, &record) {
                    failures += 1;
                    let letters = letter_box(&log, "t", "g");
                    if error.kind() != ErrorKind::StorageFull
                        && let Some(place) = letters.place(record.partition()).unwrap()
                    {
                        log.reopen_partition(&place).unwrap();
                    }
                    write_once(&log, &record).unwrap();
                }
                assert!(disk.fired() > 0, "the fault at {number} never fired");
                assert_one_letter(&log, &format!("{number}, {fault:?}"));
                let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
                assert_one_letter(&log, &format!("{number}, {fault:?}, after a power cut"));
            }
        }
        assert!(failures > 0, "no fault was felt");
    }

    /// A poisoned partition of letters would take letters unsafely, or never again.
    #[test]
    fn a_poisoned_partition_takes_letters_again_once_it_is_reopened() {
        let (disk, log, record) = disk_with_a_record();
        let letters = letter_box(&log, "t", "g");
        letters.write(failed(&record)).unwrap();
        let next = sent(&log, "t", 0, Record::new("w"));
        let place: TopicPartition = letters.place(PartitionId::ZERO).unwrap().unwrap();
        disk.fail_when(
            |op| op.kind == OpKind::Sync && op.path.to_string_lossy().contains("topics/2/"),
            Fault::Eio,
            Repeat::Once,
        );
        letters.write(failed(&next)).unwrap_err();
        assert_eq!(disk.fired(), 1);
        assert_eq!(letters.write(failed(&next)).unwrap_err().kind(), ErrorKind::Poisoned);
        log.reopen_partition(&place).unwrap();
        let known = letters.known_since(PartitionId::ZERO, ZERO, ZERO).unwrap();
        if !known.contains(&next.offset()) {
            letters.write(failed(&next)).unwrap();
        }
        assert_eq!(Letters::of(&log).list(&Filter::new()).unwrap().len(), 2);
    }
}
