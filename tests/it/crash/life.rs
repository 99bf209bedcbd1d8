//! A life of a log as a list of steps, run on a simulated disk until the power goes off.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use brooklet::partitioner::{Choice, Partitioner};
use brooklet::testing::{Clock, CrashPolicy, SimDisk, open};
use brooklet::{
    Acks, BatchReceipt, Error, ErrorKind, Fate, Log, LogOptions, Offset, PartitionId, Producer,
    Receipt, Record, SendError, TopicConfig, TopicName, TopicPartition,
};

use super::oracle::{Book, Change, End, Verdict};

/// One thing that a program does with a log.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Open,
    Close,
    /// The process dies, and the system lives on.
    Kill,
    Create(&'static str, TopicConfig),
    Delete(&'static str),
    Grow(&'static str, u32),
    Alter(&'static str, TopicConfig),
    /// One record of so many bytes.
    Send(&'static str, u32, Acks, usize),
    Submit(&'static str, u32, Acks, usize),
    /// So many records of so many bytes to every partition.
    SendAll(&'static str, Acks, usize, usize),
    /// One record to every partition of every topic.
    SendEverywhere(Acks),
    Trim(&'static str, u32, u64),
    Pass(Duration),
    Maintain,
    /// Notes what the log says is durable.
    Look,
    /// Looks which topics there are.
    List,
    /// Reads everything there is.
    Read,
}

/// A log on a simulated disk, and the book that is kept of it.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) disk: SimDisk,
    pub(super) book: Book,
    log: Option<Log>,
    /// A closing session would end cleanly: it has written, or found a clean end itself.
    ends_cleanly: bool,
    /// The session before this one must be found clean.
    was_closed: bool,
    /// The steps that were done.
    pub(super) done: usize,
}

/// Why a step did not come to its end.
enum Stop {
    Refused(Error),
    Broken(String),
}

impl Life {
    pub(super) fn new(disk: SimDisk) -> Self {
        Self::continued(disk, Book::default())
    }

    pub(super) fn continued(disk: SimDisk, book: Book) -> Self {
        Self { disk, book, log: None, ends_cleanly: false, was_closed: false, done: 0 }
    }

    /// Does the steps in order; ends early, and well, when the power goes off.
    pub(super) fn run(&mut self, steps: &[Step]) -> Verdict {
        for step in steps {
            match self.step(step) {
                Ok(()) => self.done += 1,
                Err(Stop::Broken(text)) => return Err(format!("{step:?}: {text}")),
                Err(Stop::Refused(error)) => {
                    let blames_data =
                        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::MissingSegment);
                    if blames_data || !self.disk.is_off() {
                        return Err(format!("{step:?}: {error}"));
                    }
                    return self.check_paths();
                }
            }
        }
        self.check_paths()
    }

    fn check_paths(&self) -> Verdict {
        match self.disk.escapes() {
            0 => Ok(()),
            escapes => Err(format!("{escapes} paths led out of the root")),
        }
    }

    /// The disk and the book as they are found after the power was lost, or the process killed.
    pub(super) fn crash(&self, policy: CrashPolicy, seed: u64) -> Self {
        let mut book = self.book.clone();
        book.session_ended(End::Crash(policy));
        Self::continued(self.disk.crash(policy, seed), book)
    }

    /// The same moment once more.
    pub(super) fn fork(&self) -> Self {
        Self::continued(self.disk.fork(), self.book.clone())
    }

    /// Whether recovery has cut nothing off and set nothing aside so far.
    pub(super) fn is_whole(&self) -> bool {
        self.log().recovery().is_whole()
    }

    /// Whether files are left of topics that are not there any more.
    pub(super) fn check_remains(&self) -> Verdict {
        let topics = self.disk.root().join("log").join("topics");
        let files = self.disk.files();
        let dirs = files.iter().filter_map(|file| file.strip_prefix(&topics).ok()?.iter().next());
        let dirs = dirs.collect::<BTreeSet<_>>();
        match dirs.len() <= self.book.partitions().len() {
            true => Ok(()),
            false => Err(format!("{dirs:?} hold files, topics are {:?}", self.book.partitions())),
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the script opens the log first")
    }

    fn now(&self) -> i64 {
        self.disk.clock().wall_millis()
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Open => self.open()?,
            Step::Close => {
                self.log().close()?;
                self.log = None;
                self.book.session_ended(End::Clean);
                self.was_closed = self.ends_cleanly;
            }
            Step::Kill => {
                self.log = None;
                self.book.session_ended(End::Crash(CrashPolicy::KeepAll));
            }
            Step::Create(topic, config) => {
                let result = self.log().create_topic(topic, config.clone());
                self.changed(topic, Change::Create(config.clone()), result)?;
            }
            Step::Delete(topic) => {
                let result = self.log().delete_topic(topic);
                self.changed(topic, Change::Delete, result)?;
            }
            Step::Grow(topic, count) => {
                let config = self.book.config(topic).clone().partitions(*count);
                let result = self.log().add_partitions(topic, *count);
                self.changed(topic, Change::Alter(config), result)?;
            }
            Step::Alter(topic, config) => {
                let config = config.clone().partitions(self.book.config(topic).partition_count());
                let result = self.log().alter_topic(topic, config.clone());
                self.changed(topic, Change::Alter(config), result)?;
            }
            Step::Send(topic, partition, acks, bytes) => {
                self.send((topic, *partition), *acks, *bytes, |producer, record| {
                    producer.send(record)
                })?;
            }
            Step::Submit(topic, partition, acks, bytes) => {
                self.send((topic, *partition), *acks, *bytes, |producer, record| {
                    producer.submit(record).wait()
                })?;
            }
            Step::SendAll(topic, acks, count, bytes) => {
                self.send_all(topic, *acks, *count, *bytes)?;
            }
            Step::SendEverywhere(acks) => {
                for (topic, partition) in self.places() {
                    let send = |producer: Producer, record: Record<'_>| producer.send(record);
                    self.send((&topic, partition), *acks, 40, send)?;
                }
            }
            Step::Trim(topic, partition, before) => self.trim((topic, *partition), *before)?,
            Step::Pass(time) => self.disk.clock().advance(*time),
            Step::Maintain => self.maintain()?,
            Step::Look => self.look()?,
            Step::List => self.list()?,
            Step::Read => self.read()?,
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), Stop> {
        let dir = self.disk.root().join("log");
        let log = open(&self.disk.env(), dir, LogOptions::new())?;
        let was_clean = log.recovery().was_clean;
        self.log = Some(log);
        self.ends_cleanly = was_clean;
        if std::mem::take(&mut self.was_closed) && !was_clean {
            return Err(Stop::Broken("a closed log was not found closed".to_owned()));
        }
        Ok(())
    }

    fn changed(
        &mut self,
        topic: &str,
        change: Change,
        result: Result<(), Error>,
    ) -> Result<(), Stop> {
        self.book.changed(topic, change, result.is_ok());
        Ok(result?)
    }

    fn producer(&self, topic: &str, acks: Acks) -> Result<Producer, Stop> {
        Ok(self.log().producer(topic)?.acks(acks).partitioner(KeyIsPartition))
    }

    fn send(
        &mut self,
        place: (&str, u32),
        acks: Acks,
        bytes: usize,
        send: impl FnOnce(Producer, Record<'_>) -> Result<Receipt, SendError>,
    ) -> Result<(), Stop> {
        let producer = self.producer(place.0, acks)?;
        let value = self.book.value(place.0, place.1, bytes);
        let key = place.1.to_le_bytes();
        let result = send(producer, Record::new(&*value).key(&key));
        let now = self.now();
        match result {
            Ok(receipt) => {
                self.ends_cleanly = true;
                let told = (receipt.offset().value(), acks);
                Ok(self.book.appended(place, &[value], told, now)?)
            }
            Err(error) => {
                self.refused(place, &[value], error.fate())?;
                Err(Stop::Refused(error.into()))
            }
        }
    }

    fn send_all(
        &mut self,
        topic: &str,
        acks: Acks,
        count: usize,
        bytes: usize,
    ) -> Result<(), Stop> {
        let producer = self.producer(topic, acks)?;
        let partitions = self.book.config(topic).partition_count();
        let mut values = vec![Vec::new(); partitions as usize];
        for (partition, values) in (0..).zip(&mut values) {
            values.extend((0..count).map(|_| self.book.value(topic, partition, bytes)));
        }
        let keys = (0..partitions).map(u32::to_le_bytes).collect::<Vec<_>>();
        let records = (0..count).flat_map(|number| {
            let records = keys.iter().zip(&values);
            records.map(move |(key, values)| Record::new(&*values[number]).key(key))
        });
        let (results, failure) = match producer.send_all(records) {
            Ok(receipts) => (receipts.into_iter().map(Ok).collect(), None),
            Err(error) => (error.results().to_vec(), Some(Error::from(error))),
        };
        // So few records make one batch per partition, in the order of the partitions.
        for ((partition, values), result) in (0..).zip(&values).zip(results) {
            self.note_batch((topic, partition), values, acks, result)?;
        }
        failure.map_or(Ok(()), |error| Err(Stop::Refused(error)))
    }

    fn note_batch(
        &mut self,
        place: (&str, u32),
        values: &[Arc<str>],
        acks: Acks,
        result: Result<BatchReceipt, SendError>,
    ) -> Verdict {
        let now = self.now();
        match result {
            Ok(receipt) => {
                let start = receipt.offsets().start.value();
                let end = start + values.len() as u64;
                if receipt.topic_partition().partition().value() != place.1
                    || receipt.offsets().end.value() != end
                {
                    return Err(format!("the batch for {place:?} got {receipt:?}"));
                }
                self.book.appended(place, values, (start, acks), now)
            }
            Err(error) => self.refused(place, values, error.fate()),
        }
    }

    fn refused(&mut self, at: (&str, u32), values: &[Arc<str>], fate: Fate) -> Verdict {
        if fate == Fate::Unknown {
            // It was tried, so the partition is open, and where it was found to end can be asked.
            let offsets = self.log().offsets(&place(at.0, at.1)).map_err(|error| error.to_string());
            self.book.in_doubt(at, values, (offsets?.durable_end.value(), self.now()))?;
        }
        Ok(())
    }

    fn trim(&mut self, (topic, partition): (&str, u32), before: u64) -> Result<(), Stop> {
        let place = place(topic, partition);
        let result = self.log().trim(&place, Offset::new(before));
        let start = result.as_ref().ok().map(|start| start.value());
        self.book.trimmed((topic, partition), before, start)?;
        result.map(|_| ()).map_err(Stop::from)
    }

    fn maintain(&mut self) -> Result<(), Stop> {
        self.book.may_expire(self.now());
        self.log().maintain()?;
        for (topic, partition) in self.places() {
            let offsets = self.log().offsets(&place(&topic, partition))?;
            let range = (offsets.start.value(), offsets.end.value());
            self.book.expired((&topic, partition), range)?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), Stop> {
        for (topic, partition) in self.places() {
            let offsets = self.log().offsets(&place(&topic, partition))?;
            let range = (offsets.start.value(), offsets.end.value());
            self.book.see_range((&topic, partition), range)?;
            self.book.told_durable((&topic, partition), offsets.durable_end.value())?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(), Stop> {
        let topics = self.log().topics()?;
        Ok(self.book.see_topics(&topics)?)
    }

    fn read(&mut self) -> Result<(), Stop> {
        self.list()?;
        for (topic, partition) in self.places() {
            self.read_partition(&topic, partition)?;
        }
        let recovery = self.log().recovery();
        match recovery.partitions.iter().find(|found| found.damage.is_some()) {
            Some(damaged) => Err(Stop::Broken(format!("damage reported: {damaged:?}"))),
            None if !recovery.pending.is_empty() => {
                Err(Stop::Broken(format!("read and still pending: {:?}", recovery.pending)))
            }
            None => Ok(()),
        }
    }

    fn read_partition(&mut self, topic: &str, partition: u32) -> Result<(), Stop> {
        let reader = self.log().reader(topic).partition(partition).stop_at_end().open()?;
        let offsets = self.log().offsets(&place(topic, partition))?;
        let (start, end) = (offsets.start.value(), offsets.end.value());
        let mut next = start;
        for record in reader {
            let record = record?;
            if record.offset().value() != next {
                let offset = record.offset();
                return Err(Stop::Broken(format!("{topic}/{partition}: {offset} at {next}")));
            }
            self.book.see_record((topic, partition), next, record.value())?;
            next += 1;
        }
        if next != end {
            let text = format!("{topic}/{partition}: reading {start}..{end} stopped at {next}");
            return Err(Stop::Broken(text));
        }
        Ok(self.book.see_range((topic, partition), (start, end))?)
    }

    fn places(&self) -> Vec<(String, u32)> {
        let topics = self.book.partitions().into_iter();
        topics.flat_map(|(topic, count)| (0..count).map(move |at| (topic.clone(), at))).collect()
    }
}

fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(partition))
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<String> for Stop {
    fn from(text: String) -> Self {
        Self::Broken(text)
    }
}

/// Keys are partition numbers.
#[derive(Debug)]
struct KeyIsPartition;

impl Partitioner for KeyIsPartition {
    fn partition(&self, key: Option<&[u8]>, _: Option<&[u8]>, _: NonZeroU32) -> Choice {
        let number = key.and_then(|key| key.try_into().ok()).map(u32::from_le_bytes);
        Choice::from(number.expect("every record here has its partition for a key"))
    }
}
