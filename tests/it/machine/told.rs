//! What the children have said, and whether the log that they leave agrees.

use std::collections::{BTreeMap, BTreeSet};

use brooklet::{ErrorKind, Log, Offset, PartitionId, TopicPartition};

use super::child::{FIRM, GROUP, LOOSE, value_of};

/// What the log must have kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The process died or ended: every acknowledgement stands.
    Process,
    /// The power went: what was acknowledged as durable stands.
    Power,
}

/// How a send ended, as its sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was begun, and nothing was heard of its end.
    Open,
    Durable(u32, u64),
    Written(u32, u64),
    NotAppended,
    Unknown,
}

/// A send: its topic, its sender and the sender's own count.
type Send = (String, String, u64);

/// Everything that was said.
#[derive(Debug, Default)]
pub(super) struct Told {
    sends: BTreeMap<Send, Outcome>,
    trimming: BTreeSet<u64>,
    trimmed: u64,
    committing: BTreeSet<u64>,
    committed: u64,
    /// Steps that failed: what was done, the kind of the error, and its text.
    pub(super) failures: Vec<(String, String, String)>,
    /// Everything else that was said.
    pub(super) other: Vec<String>,
}

impl Told {
    pub(super) fn note_all(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| self.note(line));
    }

    /// Takes note of one line; see [`super::child`] for what is said when.
    pub(super) fn note(&mut self, line: &str) {
        let words = line.split(' ').collect::<Vec<_>>();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let send = || (words[1].to_owned(), words[2].to_owned(), number(3));
        let place = || (u32::try_from(number(4)).unwrap(), number(5));
        match words[0] {
            "try" => self.begin(send()),
            "durable" => self.end(send(), Outcome::Durable(place().0, place().1)),
            "written" => self.end(send(), Outcome::Written(place().0, place().1)),
            "not" => {
                self.fail("send", &words[4..]);
                self.end(send(), Outcome::NotAppended);
            }
            "unknown" => {
                self.fail("send", &words[4..]);
                self.end(send(), Outcome::Unknown);
            }
            "trimming" => _ = self.trimming.insert(number(1)),
            "trimmed" => self.trimmed = number(1),
            "committing" => _ = self.committing.insert(number(1)),
            "committed" => self.committed = self.committed.max(number(1)),
            "failed" => self.fail(words[1], &words[2..]),
            _ => self.other.push(line.to_owned()),
        }
    }

    fn begin(&mut self, send: Send) {
        let before = self.sends.insert(send.clone(), Outcome::Open);
        assert_eq!(before, None, "{send:?} was sent twice");
    }

    fn end(&mut self, send: Send, outcome: Outcome) {
        let before = self.sends.insert(send.clone(), outcome);
        assert_eq!(before, Some(Outcome::Open), "{send:?} was not begun, or ended twice");
    }

    fn fail(&mut self, step: &str, words: &[&str]) {
        let (kind, text) = (words[0].to_owned(), words[1..].join(" "));
        self.failures.push((step.to_owned(), kind, text));
    }

    /// How many sends were acknowledged.
    pub(super) fn acked(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Durable(..) | Outcome::Written(..)))
    }

    pub(super) fn not_appended(&self) -> usize {
        self.count(|outcome| outcome == Outcome::NotAppended)
    }

    pub(super) fn unknown(&self) -> usize {
        self.count(|outcome| outcome == Outcome::Unknown)
    }

    fn count(&self, wanted: impl Fn(Outcome) -> bool) -> usize {
        self.sends.values().filter(|outcome| wanted(**outcome)).count()
    }

    /// Compares the whole log with what was said.
    pub(super) fn check(&self, log: &Log, after: After) {
        let topics = self.sends.keys().map(|(topic, ..)| topic.as_str()).collect::<BTreeSet<_>>();
        for topic in topics {
            self.check_topic(log, topic, after);
        }
        self.check_group(log);
        for found in log.recovery().partitions {
            assert!(found.damage.is_none(), "{found:?}");
        }
    }

    fn check_topic(&self, log: &Log, topic: &str, after: After) {
        let mut found = BTreeMap::new();
        let mut starts = BTreeMap::new();
        match log.topic(topic) {
            Ok(info) => {
                for partition in (0..info.config.partition_count()).map(PartitionId::new) {
                    let place = TopicPartition::new(info.name.clone(), partition);
                    let start = log.offsets(&place).unwrap().start.value();
                    starts.insert(partition.value(), start);
                    self.check_start(topic, start);
                    self.read(log, (topic, partition, start), &mut found);
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error}"),
        }
        for (send, outcome) in self.sends.iter().filter(|((own, ..), _)| own == topic) {
            let at = found.remove(send);
            match *outcome {
                Outcome::NotAppended => assert_eq!(at, None, "{send:?}, which was not appended"),
                Outcome::Open | Outcome::Unknown => {}
                Outcome::Written(..) if after == After::Power => {}
                Outcome::Durable(partition, offset) | Outcome::Written(partition, offset) => {
                    let start = starts.get(&partition).copied().unwrap_or(0);
                    let expected = (offset >= start).then_some((partition, offset));
                    assert_eq!(at, expected, "{send:?}, which was acknowledged as {outcome:?}");
                }
            }
        }
        assert_eq!(found, BTreeMap::new(), "records that nobody has sent to {topic}");
    }

    fn check_start(&self, topic: &str, start: u64) {
        let wanted = start == 0 || start == self.trimmed || self.trimming.contains(&start);
        let kept = start >= self.trimmed || topic != FIRM;
        assert!(wanted && kept, "{topic} starts at {start}, not {}", self.trimmed);
    }

    /// Reads one partition: dense, each record once, in its sender's order, with its sender's bytes.
    fn read(
        &self,
        log: &Log,
        (topic, partition, start): (&str, PartitionId, u64),
        found: &mut BTreeMap<Send, (u32, u64)>,
    ) {
        let records = log.reader(topic).partition(partition).stop_at_end().open().unwrap();
        let mut last = BTreeMap::new();
        for (record, offset) in records.zip(start..) {
            let record = record.unwrap();
            assert_eq!(record.offset(), Offset::new(offset), "a hole in {topic}");
            let value = record.value().unwrap();
            let text = std::str::from_utf8(value).unwrap();
            let mut words = text.split(' ');
            let (sender, number) = (words.next().unwrap(), words.next().unwrap());
            let (sender, number) = (sender.to_owned(), number.parse::<u64>().unwrap());
            assert_eq!(value, value_of(&sender, number), "other bytes than were sent");
            let before = last.insert(sender.clone(), number);
            assert!(before.is_none_or(|before| before < number), "{text} is out of order");
            let send = (topic.to_owned(), sender, number);
            let twice = found.insert(send.clone(), (partition.value(), offset));
            assert_eq!(twice, None, "{send:?} is there twice");
        }
    }

    fn check_group(&self, log: &Log) {
        let Ok(group) = log.group(GROUP) else {
            assert_eq!(self.committed, 0, "the group is gone");
            return;
        };
        let place = place(FIRM);
        let mut partitions = group.partitions.iter();
        let known = partitions.find(|found| found.partition == place);
        let committed = known.and_then(|found| found.committed.clone());
        let committed = committed.map_or(0, |committed| committed.offset().value());
        assert!(committed >= self.committed, "committed {committed}, not {}", self.committed);
        let is_known = committed == self.committed || self.committing.contains(&committed);
        // The first commit is the group's own, of where it begins.
        let begins = committed == self.trimmed || self.trimming.contains(&committed);
        assert!(is_known || begins || committed == 0, "nobody has committed {committed}");
        if committed > 0 {
            let end = log.offsets(&place).unwrap().durable_end.value();
            assert!(committed <= end, "committed {committed} behind the end, {end}");
        }
    }
}

/// The only partition of a topic.
pub(super) fn place(topic: &str) -> TopicPartition {
    TopicPartition::new(topic.parse().unwrap(), PartitionId::new(0))
}

/// After whatever has happened, the log goes on: it takes records, and ends cleanly.
pub(super) fn goes_on(log: &Log, told: &mut Told, sender: &str) {
    for topic in [FIRM, LOOSE] {
        let config = super::child::config_of(topic);
        log.ensure_topic(topic, config).unwrap();
        let producer = log.producer(topic).unwrap();
        for number in 0..3 {
            let send = format!("{topic} {sender} {number}");
            told.note(&format!("try {send}"));
            let receipt = producer.send(brooklet::Record::new(&value_of(sender, number))).unwrap();
            let (partition, offset) = (receipt.partition(), receipt.offset());
            let ack = if topic == FIRM { "durable" } else { "written" };
            told.note(&format!("{ack} {send} {partition} {offset}"));
        }
    }
    log.close().unwrap();
}
