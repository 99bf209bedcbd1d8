//! Letters that shall be handled again: copies are sent first, then the letters marked.

use std::collections::BTreeMap;

use super::filter::Filter;
use super::headers::Sheet;
use super::letter::Letter;
use super::marker::State;
use super::scan::{Collection, Scan};
use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::name::TopicName;
use crate::offset::{Offset, PartitionId, TopicPartition};
use crate::partitioner::Fixed;
use crate::producer::{Acks, Producer};
use crate::record::Record;
use crate::report::TopicInfo;

/// Letters that shall be handled again; [`run`](Self::run) sends them.
///
/// Made by [`Letters::redrive`](crate::dlq::Letters::redrive). By default they go to the group that
/// failed, and to nobody else: to the group's redrive topic, which its workers read beside the
/// source, into the partition of the same number. A copy is the record as it was, with headers
/// behind its own that tell its origin and which redrive it is. Its attempts begin anew.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before it is run"]
pub struct Redrive {
    log: Log,
    filter: Filter,
    to: Target,
}

#[derive(Clone, Debug)]
enum Target {
    Group,
    Origin,
    Topic(String),
}

/// What a redrive did, or would do.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Redriven {
    /// How many letters were sent.
    pub letters: u64,
    /// How many of them went to which topic.
    pub topics: BTreeMap<TopicName, u64>,
    /// Letters that their target does not take; they are as they were.
    pub refused: Vec<Refused>,
}

/// A letter that could not be redriven.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Where the letter stands.
    pub partition: TopicPartition,
    /// The letter's offset there.
    pub offset: Offset,
    /// Why its target does not take it.
    pub error: Error,
}

impl Redrive {
    pub(crate) fn new(log: &Log, filter: &Filter) -> Self {
        Self { log: log.clone(), filter: filter.clone(), to: Target::Group }
    }

    /// Sends the records to the topic that they were first sent to, where **every** group reads
    /// them again.
    ///
    /// They are sent as they were, without a word about their origin, so that one which fails again
    /// is a letter without a history. They keep their partition if it is there.
    pub fn to_origin(mut self) -> Self {
        self.to = Target::Origin;
        self
    }

    /// Sends the records to a topic of the user's, as they were.
    pub fn to_topic(mut self, topic: &str) -> Self {
        self.to = Target::Topic(topic.to_owned());
        self
    }

    /// What [`run`](Self::run) would do now; nothing is sent or made.
    ///
    /// # Errors
    /// `UnknownTopic`, `InvalidConfig`, `Closed`, and what reading meets.
    pub fn dry_run(&self) -> Result<Redriven, Error> {
        self.go(false).map_err(|error| error.during("plan a redrive"))
    }

    /// Sends a copy of each letter, durably, and then marks the letter as redriven.
    ///
    /// Letters that come while this runs are not taken, so that it ends even if every copy fails
    /// again at once. A crash between the two steps has a copy sent again by the next run, with the
    /// same redrive number: at least once.
    ///
    /// # Errors
    /// `UnknownTopic` or `InvalidConfig` if the letters cannot go where they shall; `ReadOnly`,
    /// `Closed`, and what reading and writing meet. Letters that are marked by then are redriven, the
    /// others still wait.
    pub fn run(&self) -> Result<Redriven, Error> {
        let told = |error: Error| error.during("redrive letters");
        let _turn = self.log.begin_settling().map_err(told)?;
        self.go(true).map_err(told)
    }

    fn go(&self, sends: bool) -> Result<Redriven, Error> {
        if let Target::Topic(name) = &self.to {
            check_target(&self.log.topic(name)?)?;
        }
        let mut report = Redriven::default();
        let mut left = self.filter.most();
        for collection in Collection::all(&self.log, &self.filter)? {
            for partition in collection.partitions() {
                let scan = collection.scan(&self.log, partition)?;
                let lane = Lane { redrive: self, collection: &collection, partition, sends };
                left = lane.go(scan, left, &mut report)?;
            }
        }
        Ok(report)
    }
}

/// The letters of one partition on their way.
struct Lane<'a> {
    redrive: &'a Redrive,
    collection: &'a Collection,
    partition: PartitionId,
    sends: bool,
}

impl Lane<'_> {
    /// Redrives at most `left` letters, and returns how many of those are left.
    fn go(
        &self,
        mut scan: Scan<'_>,
        mut left: usize,
        report: &mut Redriven,
    ) -> Result<usize, Error> {
        let log = &self.redrive.log;
        let mut has_marked = false;
        while left > 0 {
            let chunk = scan.chunk(left, |letter| self.redrive.filter.takes(letter))?;
            if chunk.is_empty() {
                break;
            }
            left = left.saturating_sub(chunk.len());
            let mut routes: BTreeMap<TopicName, Vec<&Letter>> = BTreeMap::new();
            for letter in &chunk {
                match self.target_of(letter) {
                    Ok(topic) => routes.entry(topic).or_default().push(letter),
                    Err(error) if is_about_target(&error) => report.refuse(letter, error),
                    Err(error) => return Err(error),
                }
            }
            for (topic, letters) in routes {
                let (sent, failed) = match self.sends {
                    true => self.send(&topic, &letters, report)?,
                    false => (letters, None),
                };
                if self.sends {
                    let of = (&self.collection.subject, &self.collection.letters);
                    scan.book.mark(log, of, &sent, State::Redriven)?;
                    has_marked |= !sent.is_empty();
                }
                report.letters += sent.len() as u64;
                *report.topics.entry(topic).or_default() += sent.len() as u64;
                if let Some(error) = failed {
                    return Err(error);
                }
            }
        }
        if has_marked {
            scan.book.let_go(log, &self.collection.subject, self.partition, scan.start);
        }
        Ok(left)
    }

    /// The topic that a letter goes to.
    ///
    /// # Errors
    /// Why there is none for this letter.
    fn target_of(&self, letter: &Letter) -> Result<TopicName, Error> {
        let Collection { subject, letters, .. } = self.collection;
        let log = &self.redrive.log;
        match &self.redrive.to {
            Target::Topic(name) => Ok(log.topic(name)?.name),
            Target::Origin => {
                let origin = log.topic(letter.origin().topic().as_str())?;
                check_target(&origin)?;
                Ok(origin.name)
            }
            Target::Group if self.sends => Ok(subject.ensure_redrive(log, &letters.config)?.name),
            Target::Group => match log.topic_of(&subject.redrive_role())? {
                Some(topic) => Ok(topic.name),
                None => subject.redrive_name(log),
            },
        }
    }

    /// Sends copies; returns the letters whose copies are durable, and what stopped the rest.
    fn send<'l>(
        &self,
        topic: &TopicName,
        letters: &[&'l Letter],
        report: &mut Redriven,
    ) -> Result<(Vec<&'l Letter>, Option<Error>), Error> {
        let producer = self.producer(topic)?;
        let to_group = matches!(self.redrive.to, Target::Group);
        let sheets: Vec<Option<Sheet<'_>>> =
            letters.iter().map(|letter| to_group.then(|| letter.redrive_sheet())).collect();
        let copies = || letters.iter().zip(&sheets).map(|(letter, sheet)| copy(letter, sheet));
        let Err(error) = producer.send_all(copies()) else { return Ok((letters.to_vec(), None)) };
        if !error.results().is_empty() {
            return Err(error.into());
        }
        // One of them is invalid, so that nothing was tried. The others go one by one.
        let mut sent = Vec::new();
        for (letter, copy) in letters.iter().zip(copies()) {
            match producer.send(copy).map_err(Error::from) {
                Ok(_) => sent.push(*letter),
                Err(error) if error.kind() == ErrorKind::InvalidRecord => {
                    report.refuse(letter, error);
                }
                Err(error) => return Ok((sent, Some(error))),
            }
        }
        Ok((sent, None))
    }

    /// Keeps the partition where it can, and leaves it to the key in a topic of another shape.
    fn producer(&self, topic: &TopicName) -> Result<Producer, Error> {
        let log = &self.redrive.log;
        let producer = log.producer(topic.as_str())?.acks(Acks::Durable);
        let count = log.topic(topic.as_str())?.config.partitions;
        let keeps = match self.redrive.to {
            Target::Group | Target::Origin => self.partition.value() < count,
            Target::Topic(_) => false,
        };
        Ok(if keeps { producer.partitioner(Fixed(self.partition)) } else { producer })
    }
}

impl Redriven {
    fn refuse(&mut self, letter: &Letter, error: Error) {
        let partition = letter.topic_partition().clone();
        self.refused.push(Refused { partition, offset: letter.offset(), error });
    }
}

fn copy<'a>(letter: &'a Letter, sheet: &'a Option<Sheet<'_>>) -> Record<'a> {
    match sheet {
        Some(sheet) => sheet.put_on(letter.bare()),
        None => letter.to_record(),
    }
}

/// Whether a letter has nowhere to go, while others may have.
fn is_about_target(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownTopic | ErrorKind::InvalidConfig)
}

/// Topics that the log makes for itself take no records of users, or nobody could read them.
fn check_target(topic: &TopicInfo) -> Result<(), Error> {
    if topic.role().is_plain() {
        return Ok(());
    }
    let text = format!("{} is not a topic for records of users", topic.name);
    Err(Error::new(ErrorKind::InvalidConfig, text))
}

#[cfg(test)]
mod tests {
    use super::Redriven;
    use crate::config::TopicConfig;
    use crate::dlq::fixture::{failed, give_up, letter_box, list, records, reopen, sent, values};
    use crate::dlq::{Filter, Letters, State};
    use crate::error::{Error, ErrorKind};
    use crate::limits::RECORD_BYTES_DEFAULT;
    use crate::log::Log;
    use crate::offset::{PartitionId, Timestamp};
    use crate::record::{Record, StoredRecord};
    use crate::testing::{CrashPolicy, SimDisk};

    fn log_on(disk: &SimDisk) -> Log {
        let log = reopen(disk);
        log.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
        log
    }

    fn redrive(log: &Log, filter: &Filter) -> Redriven {
        Letters::of(log).redrive(filter).run().unwrap()
    }

    fn header<'a>(record: &'a StoredRecord, name: &str) -> &'a str {
        std::str::from_utf8(record.headers().last(name).unwrap().unwrap()).unwrap()
    }

    fn text(record: &StoredRecord) -> String {
        String::from_utf8(record.value().unwrap().to_vec()).unwrap()
    }

    /// Another group would see the record, or the failing one get it changed or elsewhere.
    #[test]
    fn letters_go_to_the_failing_group_alone_as_they_were() {
        let disk = SimDisk::new(1);
        let log = log_on(&disk);
        let given_up = [give_up(&log, 0, "a"), give_up(&log, 1, "b"), give_up(&log, 1, "c")];
        let report = redrive(&log, &Filter::new().group("g"));
        assert_eq!(report.letters, 3);
        let topics: Vec<_> = report.topics.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        assert_eq!(topics, [("t.g.redrive", 3)]);
        assert!(report.refused.is_empty());
        assert_eq!(records(&log, "t").len(), 3, "nothing went to the source");
        let made = letter_box(&log, "t", "g").redrive().unwrap().unwrap();
        assert_eq!((made.name.as_str(), made.config.partition_count()), ("t.g.redrive", 2));
        for (copy, record) in records(&log, "t.g.redrive").iter().zip(&given_up) {
            assert_eq!((copy.key(), copy.value()), (record.key(), record.value()));
            assert_eq!(
                (copy.partition(), copy.timestamp()),
                (record.partition(), record.timestamp())
            );
            assert_eq!(copy.headers().iter().next(), record.headers().iter().next());
            assert_eq!(header(copy, "brooklet-dlq-origin-topic"), "t");
            assert_eq!(header(copy, "brooklet-dlq-redrive"), "1");
        }
        // What became of them survives, and nothing is sent twice unasked.
        let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
        assert_eq!(records(&log, "t.g.redrive").len(), 3);
        let counts = Letters::of(&log).count(&Filter::new()).unwrap();
        assert_eq!((counts.waiting, counts.redriven), (0, 3));
        assert!(list(&log, &Filter::new()).iter().all(|letter| letter.state_since().is_some()));
        assert_eq!(redrive(&log, &Filter::new()).letters, 0);
        assert_eq!(records(&log, "t.g.redrive").len(), 3);
    }

    /// A record that fails once more would lose its origin, or take its first letter's place.
    #[test]
    fn a_redriven_record_that_fails_again_is_a_letter_with_a_history() {
        let log = log_on(&SimDisk::new(1));
        let record = give_up(&log, 1, "a");
        redrive(&log, &Filter::new());
        for round in 1..=3_u32 {
            let copy = records(&log, "t.g.redrive").pop().unwrap();
            letter_box(&log, "t.g.redrive", "g").write(failed(&copy)).unwrap();
            let waiting = list(&log, &Filter::new().topic("t").state(State::Waiting));
            let [letter] = waiting.as_slice() else { panic!("{} letters", waiting.len()) };
            assert_eq!(letter.topic_partition().to_string(), "t.g.dlq/1");
            assert_eq!(letter.source(), copy.topic_partition());
            assert_eq!(letter.source_offset(), copy.offset());
            assert_eq!(letter.origin(), record.topic_partition());
            assert_eq!(letter.origin_offset(), record.offset());
            assert_eq!((letter.value(), letter.timestamp()), (record.value(), record.timestamp()));
            assert!(letter.headers().iter().eq(record.headers().iter()), "the user's alone");
            assert_eq!((letter.redrives(), letter.attempts()), (round, 3));
            assert_eq!(letter.earlier_attempts(), u64::from(round) * 3);
            assert_eq!(letter.first_failed(), Timestamp::from_millis(1000));
            assert_eq!(redrive(&log, &Filter::new()).letters, 1);
        }
        let counts = Letters::of(&log).count(&Filter::new()).unwrap();
        assert_eq!((counts.waiting, counts.redriven), (0, 4));
        assert!(
            letter_box(&log, "t", "g")
                .known_since(
                    PartitionId::new(1),
                    crate::offset::Offset::ZERO,
                    crate::offset::Offset::ZERO,
                )
                .unwrap()
                .len()
                == 1,
            "the letters of copies are none of the source"
        );
    }

    /// Sending a letter again would be impossible, or not to be told from the first time.
    #[test]
    fn a_letter_can_be_sent_again_if_that_is_said() {
        let log = log_on(&SimDisk::new(1));
        give_up(&log, 0, "a");
        for number in ["1", "2", "3"] {
            let state = if number == "1" { State::Waiting } else { State::Redriven };
            assert_eq!(redrive(&log, &Filter::new().state(state)).letters, 1);
            let copy = records(&log, "t.g.redrive").pop().unwrap();
            assert_eq!(header(&copy, "brooklet-dlq-redrive"), number);
            assert_eq!(redrive(&log, &Filter::new()).letters, 0);
        }
        let plan = Letters::of(&log).discard(&Filter::new().state(State::Redriven)).unwrap();
        assert_eq!(plan.confirm(1).unwrap(), 1);
        assert_eq!(redrive(&log, &Filter::new().state(State::Discarded)).letters, 1);
        let counts = Letters::of(&log).count(&Filter::new()).unwrap();
        assert_eq!((counts.redriven, counts.discarded, counts.expired_unread), (1, 0, 0));
    }

    /// A dry run would send something, or tell something else than the run then does.
    #[test]
    fn a_dry_run_tells_what_the_run_does_and_changes_nothing() {
        let disk = SimDisk::new(1);
        let log = log_on(&disk);
        for (partition, value) in [(0, "a"), (1, "b"), (1, "c")] {
            give_up(&log, partition, value);
        }
        log.create_topic("t.g.redrive", TopicConfig::new()).unwrap();
        let before = disk.snapshot();
        let redrive = Letters::of(&log).redrive(&Filter::new().limit(2));
        let planned = redrive.dry_run().unwrap();
        assert_eq!(disk.snapshot(), before);
        let done = redrive.run().unwrap();
        assert_eq!((planned.letters, planned.topics), (2, done.topics.clone()));
        assert_eq!(done.letters, 2);
        assert_eq!(values(&log, &Filter::new().state(State::Waiting)), ["c"]);
        assert_eq!(records(&log, "t.g.redrive").len(), 0, "that topic is the user's");
    }

    /// A redrive elsewhere would be silent about what does not fit, or stop at the first of it.
    #[test]
    fn letters_go_elsewhere_only_if_it_is_said() {
        let log = log_on(&SimDisk::new(1));
        give_up(&log, 1, "a");
        give_up(&log, 1, &"b".repeat(500));
        give_up(&log, 1, "c");
        let letters = Letters::of(&log);
        let report = letters.redrive(&Filter::new().limit(1)).to_origin().run().unwrap();
        assert_eq!(report.letters, 1);
        let back = records(&log, "t").pop().unwrap();
        assert_eq!((back.partition().value(), text(&back)), (1, "a".into()));
        assert_eq!(back.headers().len(), 1, "as it was");

        log.create_topic("small", TopicConfig::new().max_record_bytes(100)).unwrap();
        let report = letters.redrive(&Filter::new()).to_topic("small").run().unwrap();
        assert_eq!((report.letters, report.refused.len()), (1, 1));
        assert_eq!(report.refused[0].error.kind(), ErrorKind::InvalidRecord);
        assert_eq!(report.refused[0].partition.to_string(), "t.g.dlq/1");
        assert_eq!(records(&log, "small").iter().map(text).collect::<Vec<_>>(), ["c"]);
        assert_eq!(values(&log, &Filter::new().state(State::Waiting)), ["b".repeat(500)]);

        let to = |name| letters.redrive(&Filter::new()).to_topic(name).run().unwrap_err().kind();
        assert_eq!(to("none"), ErrorKind::UnknownTopic);
        assert_eq!(to("t.g.dlq"), ErrorKind::InvalidConfig);
        assert_eq!(to("t.g.dlq-states"), ErrorKind::InvalidConfig);
        log.delete_topic("t").unwrap();
        let report = letters.redrive(&Filter::new()).to_origin().run().unwrap();
        assert_eq!((report.letters, report.refused.len()), (0, 1));
        assert_eq!(report.refused[0].error.kind(), ErrorKind::UnknownTopic);
        // The group itself can have it all the same.
        assert_eq!(redrive(&log, &Filter::new()).letters, 1);
    }

    /// Letters would be lost or forgotten where one chunk of them ends.
    #[test]
    fn many_and_large_letters_are_redriven_in_order() {
        let log = log_on(&SimDisk::new(1));
        log.alter_topic("t", TopicConfig::new().partitions(2)).unwrap();
        let large = "x".repeat(RECORD_BYTES_DEFAULT - 400);
        for number in 0..1500 {
            give_up(&log, 0, &number.to_string());
        }
        let big = sent(&log, "t", 0, Record::new(&large));
        letter_box(&log, "t", "g").write(failed(&big)).unwrap();
        assert_eq!(redrive(&log, &Filter::new().limit(700)).letters, 700);
        assert_eq!(redrive(&log, &Filter::new()).letters, 801);
        let copies = records(&log, "t.g.redrive");
        assert_eq!(copies.len(), 1501);
        for (number, copy) in copies.iter().take(1500).enumerate() {
            assert_eq!(text(copy), number.to_string());
        }
        assert_eq!(copies[1500].value(), big.value());
    }

    fn run_once(log: &Log) -> Result<u64, Error> {
        Letters::of(log).redrive(&Filter::new()).run().map(|report| report.letters)
    }

    /// A crash in the middle would lose a letter, or have one marked whose copy is not there.
    #[test]
    fn a_crash_at_any_operation_sends_every_letter_at_least_once() {
        let prepare = || {
            let disk = SimDisk::new(5);
            let log = log_on(&disk);
            for (partition, value) in [(0, "a"), (1, "b"), (0, "c")] {
                give_up(&log, partition, value);
            }
            (disk, log)
        };
        let (disk, log) = prepare();
        let first = disk.ops();
        assert_eq!(run_once(&log).unwrap(), 3);
        let ops = first..disk.ops();
        assert!(ops.end - ops.start > 20, "a redrive without work shows nothing: {ops:?}");
        let (mut sent_twice, mut in_between) = (0, 0);
        for number in ops {
            for policy in CrashPolicy::ALL {
                let (disk, log) = prepare();
                disk.power_off_at(number);
                let report = run_once(&log);
                assert!(disk.is_off(), "the power stayed on at {number}");
                let log = reopen(&disk.crash(*policy, number));
                let case = format!("{number}, {policy:?}");
                let copies =
                    |log: &Log| records(log, "t.g.redrive").iter().map(text).collect::<Vec<_>>();
                let redriven = values(&log, &Filter::new().state(State::Redriven));
                let found = copies(&log);
                assert!(redriven.iter().all(|value| found.contains(value)), "{case}");
                assert!(
                    report.is_err() || redriven.len() == 3,
                    "{case}: acknowledged and forgotten"
                );
                in_between += usize::from((1..3).contains(&redriven.len()));
                assert_eq!(run_once(&log).unwrap() as usize, 3 - redriven.len(), "{case}");
                let mut found = copies(&log);
                sent_twice += usize::from(found.len() > 3);
                found.sort();
                found.dedup();
                assert_eq!(found, ["a", "b", "c"], "{case}");
                let counts = Letters::of(&log).count(&Filter::new()).unwrap();
                assert_eq!((counts.redriven, counts.letters()), (3, 3), "{case}");
            }
        }
        assert!(in_between > 0 && sent_twice > 0, "no crash came in between");
    }
}
