//! What a program was told of its records, and whether the log keeps to it.

use std::collections::BTreeMap;

use brooklet::partitioner::Fixed;
use brooklet::{
    Acks, ErrorKind, Fate, Log, Offset, PartitionId, Record, TopicName, TopicPartition,
};

/// A topic and a partition of it.
pub(super) type Place = (&'static str, u32);

/// What is known of one record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact {
    Acked { offset: Offset, acks: Acks },
    NotAppended,
    Unknown,
}

/// Whether a topic is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Sure,
    /// Its creation or deletion failed.
    Open,
    Gone,
}

/// How much of what was acknowledged has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Every record that was acknowledged: no sync has failed and no power was lost.
    Acked,
    /// What was acknowledged as durable; the rest may be there or not.
    Durable,
}

/// Everything a program was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    facts: BTreeMap<String, (Place, Fact)>,
    topics: BTreeMap<&'static str, Presence>,
    /// The lowest and the highest start that a partition may have.
    starts: BTreeMap<Place, (Offset, Offset)>,
    /// How many sends failed.
    failures: BTreeMap<Place, u32>,
    values: u64,
}

impl Told {
    /// A value that no other record has.
    pub(super) fn fresh_value(&mut self, (topic, partition): Place) -> String {
        self.values += 1;
        format!("{topic}/{partition}#{}{}", self.values, "x".repeat(200))
    }

    pub(super) fn note(&mut self, place: Place, value: String, fact: Fact) {
        if matches!(fact, Fact::Acked { .. }) {
            // A topic that takes records after its deletion has failed was not deleted.
            self.topic(place.0, Presence::Sure);
        } else {
            *self.failures.entry(place).or_default() += 1;
        }
        let before = self.facts.insert(value, (place, fact));
        assert!(before.is_none(), "a value was used twice");
    }

    pub(super) fn failed(&mut self, place: Place, value: String, fate: Fate) {
        let fact = match fate {
            Fate::NotAppended => Fact::NotAppended,
            Fate::Unknown => Fact::Unknown,
        };
        self.note(place, value, fact);
    }

    /// Records accepted without waiting turned out to be lost: they were written in part or not at
    /// all.
    pub(super) fn voided(&mut self, partition: &TopicPartition, lost: &std::ops::Range<Offset>) {
        for (place, fact) in self.facts.values_mut() {
            let is_there = place_of(*place) == *partition;
            if let Fact::Acked { offset, acks: Acks::None } = fact
                && is_there
                && lost.contains(offset)
            {
                *fact = Fact::Unknown;
            }
        }
    }

    pub(super) fn topic(&mut self, name: &'static str, presence: Presence) {
        self.topics.insert(name, presence);
    }

    pub(super) fn may_start_at(&mut self, place: Place, lowest: Offset, highest: Offset) {
        self.starts.insert(place, (lowest, highest));
    }

    pub(super) fn start(&self, place: Place) -> (Offset, Offset) {
        self.starts.get(&place).copied().unwrap_or_default()
    }

    pub(super) fn failures(&self, place: Place) -> u32 {
        self.failures.get(&place).copied().unwrap_or_default()
    }

    /// How many records were acknowledged.
    pub(super) fn acked(&self) -> usize {
        self.facts.values().filter(|(_, fact)| matches!(fact, Fact::Acked { .. })).count()
    }

    /// Appends a durable record to every partition, which must work.
    pub(super) fn append_everywhere(&mut self, log: &Log) {
        let there = self.topics.iter().filter(|(_, presence)| **presence == Presence::Sure);
        for name in there.map(|(name, _)| *name).collect::<Vec<_>>() {
            let producer = log.producer(name).unwrap().acks(Acks::Durable);
            for partition in 0..log.topic(name).unwrap().config.partition_count() {
                let place = (name, partition);
                let value = self.fresh_value(place);
                let producer = producer.clone().partitioner(Fixed(PartitionId::new(partition)));
                let offset = producer.send(Record::new(&value)).unwrap().offset();
                self.note(place, value, Fact::Acked { offset, acks: Acks::Durable });
            }
        }
    }

    /// Reads everything and compares; forgets topics that have turned out not to be there.
    pub(super) fn check(&mut self, log: &Log, demand: Demand) {
        let listed = log.topics().unwrap();
        for (name, presence) in &mut self.topics {
            let is_there = listed.iter().any(|info| info.name.as_str() == *name);
            match presence {
                Presence::Sure => assert!(is_there, "{name} is lost"),
                Presence::Gone => assert!(!is_there, "{name} is back"),
                Presence::Open if is_there => *presence = Presence::Sure,
                Presence::Open => *presence = Presence::Gone,
            }
        }
        for info in listed {
            let name = self.topics.keys().find(|name| **name == info.name.as_str());
            let name = *name.unwrap_or_else(|| panic!("nobody made {}", info.name));
            for partition in 0..info.config.partition_count() {
                self.check_partition(log, (name, partition), demand);
            }
        }
    }

    fn check_partition(&mut self, log: &Log, place: Place, demand: Demand) {
        let offsets = log.offsets(&place_of(place)).unwrap();
        let (lowest, highest) = self.start(place);
        let start = offsets.start;
        assert!(lowest <= start && start <= highest, "{place:?} starts at {start}: {offsets:?}");
        self.starts.insert(place, (start, start.max(highest)));
        let found = read(log, place);
        let last =
            found.last_key_value().map_or(start, |(offset, _)| Offset::new(offset.value() + 1));
        assert_eq!(last, offsets.end, "{place:?} ends elsewhere than it says");
        let mut seen = BTreeMap::new();
        for (number, (offset, value)) in found.iter().enumerate() {
            assert_eq!(offset.value(), start.value() + number as u64, "{place:?} has a hole");
            let again = seen.insert(value.as_str(), *offset);
            assert!(again.is_none(), "{place:?}@{offset} was there before: {again:?}");
            let fact = self.facts.get(value);
            let (known, fact) = fact.unwrap_or_else(|| panic!("{place:?}@{offset}: {value}"));
            assert_eq!(*known, place, "a record is in the wrong partition");
            assert!(!matches!(fact, Fact::NotAppended), "{place:?}@{offset} was not appended");
        }
        let expected = self.facts.iter().filter(|(_, (known, _))| *known == place);
        for (value, (_, fact)) in expected {
            let Fact::Acked { offset, acks } = fact else { continue };
            let is_due = demand == Demand::Acked || *acks == Acks::Durable;
            match seen.get(value.as_str()) {
                Some(found) => assert_eq!(found, offset, "{place:?}: a record has moved"),
                None if *offset < start => {}
                None => assert!(!is_due, "{place:?}@{offset}, {acks:?}, is lost: {offsets:?}"),
            }
        }
    }
}

/// All records of a partition by offset. A failed read is tried again.
fn read(log: &Log, (topic, partition): Place) -> BTreeMap<Offset, String> {
    let reader = |_| log.reader(topic).partition(partition).stop_at_end().open();
    let reader = (0..2).map(reader).find_map(Result::ok).unwrap();
    let mut found = BTreeMap::new();
    let mut failures = 0;
    for record in reader {
        match record {
            Ok(record) => {
                let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                found.insert(record.offset(), value);
            }
            Err(error) => {
                failures += 1;
                let once = error.kind() == ErrorKind::Io && failures == 1;
                assert!(once, "{topic}/{partition}: {error}");
            }
        }
    }
    found
}

pub(super) fn place_of((topic, partition): Place) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(partition))
}
