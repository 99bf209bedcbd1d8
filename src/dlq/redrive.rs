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
                    Err(error) => report.refuse(letter, error),
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

/// Topics that the log makes for itself take no records of users, or nobody could read them.
fn check_target(topic: &TopicInfo) -> Result<(), Error> {
    if topic.role().is_plain() {
        return Ok(());
    }
    let text = format!("{} is not a topic for records of users", topic.name);
    Err(Error::new(ErrorKind::InvalidConfig, text))
}
