//! A short life of a log, step by step, by a program that believes what it is told.
//!
//! A program that mends opens a partition anew once it has stopped, and then tries again, which must
//! work. One that does not goes on to its next step.

use std::sync::Arc;
use std::time::Duration;

use brooklet::partitioner::{ByFn, Fixed};
use brooklet::testing::{SimDisk, open};
use brooklet::{
    Acks, BackgroundError, Error, ErrorKind, Fate, Log, LogOptions, Offset, PartitionId, Record,
    Retention, SendError, SyncPolicy, TopicConfig,
};
use parking_lot::Mutex;

use super::told::{Demand, Fact, Place, Presence, Told, place_of};

/// The program, and what it knows.
pub(super) struct Life {
    disk: SimDisk,
    pub(super) told: Told,
    mends: bool,
    /// What the log says of failures that nobody waited for.
    heard: Arc<Mutex<Vec<BackgroundError>>>,
    /// Called before each step with its number.
    between: Box<dyn FnMut(u32)>,
    steps: u32,
}

impl Life {
    /// Lives from the creation of the log to its last close.
    pub(super) fn live(disk: &SimDisk, mends: bool) -> Told {
        Self::live_with(disk, mends, |_| {})
    }

    /// The same, with something happening between the steps.
    pub(super) fn live_with(
        disk: &SimDisk,
        mends: bool,
        between: impl FnMut(u32) + 'static,
    ) -> Told {
        let mut life = Self {
            disk: disk.clone(),
            told: Told::default(),
            mends,
            heard: Arc::default(),
            between: Box::new(between),
            steps: 0,
        };
        life.first_session();
        life.second_session();
        life.third_session();
        life.told
    }

    /// Everything there is to do, and a clean end.
    fn first_session(&mut self) {
        let Some(log) = self.open() else { return };
        let small = TopicConfig::new().segment_bytes(1024);
        let loose = small.clone().sync(SyncPolicy::Never);
        self.create(&log, "strict", small.clone().partitions(2));
        self.create(&log, "loose", loose.retention(Retention::forever().max_bytes(1500)));
        self.create(&log, "short", small);
        for acks in [Acks::None, Acks::Written, Acks::Durable, Acks::Durable] {
            self.send(&log, ("strict", 0), acks);
            self.send(&log, ("strict", 1), acks);
            self.send(&log, ("loose", 0), acks);
        }
        self.send(&log, ("short", 0), Acks::Durable);
        self.submit(&log, ("strict", 1), Acks::None);
        self.submit(&log, ("strict", 1), Acks::Durable);
        self.send_all(&log);
        for acks in [Acks::Written, Acks::Written, Acks::None, Acks::Durable, Acks::Written] {
            self.send(&log, ("loose", 0), acks);
        }
        self.trim(&log, ("strict", 0), Offset::new(5));
        self.disk.clock().advance(Duration::from_secs(60));
        self.maintain(&log);
        self.delete(&log, "short");
        self.send(&log, ("short", 0), Acks::Durable);
        self.send(&log, ("strict", 0), Acks::Durable);
        self.look(&log);
        self.close(&log);
    }

    /// Goes on behind a clean end, and just stops.
    fn second_session(&mut self) {
        let Some(log) = self.open() else { return };
        self.send(&log, ("strict", 0), Acks::Durable);
        self.send(&log, ("loose", 0), Acks::Durable);
        self.send(&log, ("strict", 1), Acks::Written);
        self.look(&log);
        self.send(&log, ("loose", 0), Acks::Written);
    }

    /// Goes on behind a sudden end.
    fn third_session(&mut self) {
        let Some(log) = self.open() else { return };
        self.look(&log);
        for place in [("strict", 0), ("strict", 1), ("loose", 0)] {
            self.send(&log, place, Acks::Written);
            self.send(&log, place, Acks::Durable);
        }
        self.maintain(&log);
        self.look(&log);
        self.close(&log);
    }

    fn step(&mut self) {
        (self.between)(self.steps);
        self.steps += 1;
    }

    fn open(&mut self) -> Option<Log> {
        self.step();
        let heard = Arc::clone(&self.heard);
        let hook = move |error| heard.lock().push(error);
        let opened = || {
            let options = LogOptions::new().on_background_error(hook.clone());
            open(&self.disk.env(), self.disk.root().join("log"), options)
        };
        opened()
            .or_else(|error| {
                self.blame(&error, "open ");
                if self.mends { Ok(opened().unwrap()) } else { Err(error) }
            })
            .ok()
    }

    fn create(&mut self, log: &Log, name: &'static str, config: TopicConfig) {
        self.step();
        self.told.topic(name, Presence::Sure);
        if name == "loose" {
            self.told.may_start_at((name, 0), Offset::ZERO, Offset::new(u64::MAX));
        }
        if let Err(error) = log.create_topic(name, config.clone()) {
            self.blame(&error, &format!("create topic {name}: "));
            match self.mends {
                true => log.create_topic(name, config).unwrap(),
                false => self.told.topic(name, Presence::Open),
            }
        }
    }

    fn send(&mut self, log: &Log, place: Place, acks: Acks) {
        self.step();
        if self.try_send(log, place, acks) == Some(false) && self.mends {
            self.mend(log, place);
            assert_eq!(self.try_send(log, place, acks), Some(true), "{place:?} is not mended");
        }
    }

    /// Sends one record; none if the topic is not there.
    fn try_send(&mut self, log: &Log, place: Place, acks: Acks) -> Option<bool> {
        let producer = self.producer(log, place)?.acks(acks);
        let value = self.told.fresh_value(place);
        match producer.send(Record::new(&value)) {
            Ok(receipt) => {
                self.told.note(place, value, Fact::Acked { offset: receipt.offset(), acks });
                Some(true)
            }
            Err(error) => {
                self.blame_send(log, place, &error);
                self.told.failed(place, value, error.fate());
                Some(false)
            }
        }
    }

    fn submit(&mut self, log: &Log, place: Place, acks: Acks) {
        self.step();
        let Some(producer) = self.producer(log, place) else { return };
        let value = self.told.fresh_value(place);
        let told = producer.acks(acks).submit(Record::new(&value)).wait();
        match told {
            Ok(receipt) => {
                self.told.note(place, value, Fact::Acked { offset: receipt.offset(), acks });
            }
            Err(error) => {
                self.blame_send(log, place, &error);
                self.told.failed(place, value, error.fate());
            }
        }
        for failure in self.heard.lock().drain(..) {
            if let (Some(partition), Some(lost)) = (failure.partition, failure.lost) {
                self.told.voided(&partition, &lost);
            }
        }
        if self.mends {
            self.mend(log, place);
        }
    }

    /// One batch to each partition of one topic.
    fn send_all(&mut self, log: &Log) {
        self.step();
        let Some(producer) = self.producer(log, ("strict", 0)) else { return };
        let by_key = ByFn::new(|key: Option<&[u8]>, _, _| u32::from(key == Some(b"1")));
        let producer = producer.partitioner(by_key).acks(Acks::Durable);
        let mut values = [Vec::new(), Vec::new()];
        for number in 0..6 {
            let partition = number % 2;
            values[partition as usize].push(self.told.fresh_value(("strict", partition)));
        }
        let keyed = values.iter().zip(["0", "1"]);
        let records = keyed.flat_map(|(values, key)| {
            values.iter().map(move |value| Record::new(value.as_str()).key(key))
        });
        let results = match producer.send_all(records) {
            Ok(receipts) => receipts.into_iter().map(Ok).collect(),
            Err(error) => error.results().to_vec(),
        };
        assert_eq!(results.len(), 2, "one batch per partition");
        for ((partition, values), result) in (0..).zip(values).zip(results) {
            let place = ("strict", partition);
            match result {
                Ok(receipt) => {
                    let offsets = receipt.offsets().start.value()..;
                    for (offset, value) in offsets.zip(values) {
                        let offset = Offset::new(offset);
                        self.told.note(place, value, Fact::Acked { offset, acks: Acks::Durable });
                    }
                }
                Err(error) => {
                    self.blame_send(log, place, &error);
                    for value in values {
                        self.told.failed(place, value, error.fate());
                    }
                }
            }
            if self.mends {
                self.mend(log, place);
            }
        }
    }

    fn trim(&mut self, log: &Log, place: Place, before: Offset) {
        self.step();
        let Err(error) = self.try_trim(log, place, before) else { return };
        if error.kind() == ErrorKind::UnknownTopic {
            return;
        }
        self.blame(&error, &format!("trim {}: ", place_of(place)));
        if self.mends {
            self.mend(log, place);
            self.try_trim(log, place, before).unwrap();
        }
    }

    fn try_trim(&mut self, log: &Log, place: Place, before: Offset) -> Result<(), Error> {
        let (lowest, highest) = self.told.start(place);
        match log.trim(&place_of(place), before) {
            Ok(start) => {
                assert!(start <= before);
                self.told.may_start_at(place, start, start);
                Ok(())
            }
            Err(error) => {
                self.told.may_start_at(place, lowest, highest.max(before));
                Err(error)
            }
        }
    }

    fn maintain(&mut self, log: &Log) {
        self.step();
        let Err(error) = log.maintain() else { return };
        self.blame(&error, "maintain the log: ");
        if self.mends {
            for partition in log.stats().partitions {
                log.reopen_partition(&partition.partition).unwrap();
            }
            log.maintain().unwrap();
        }
    }

    fn delete(&mut self, log: &Log, name: &'static str) {
        self.step();
        let is_there = log.topic(name).is_ok();
        match log.delete_topic(name) {
            Ok(()) => self.told.topic(name, Presence::Gone),
            Err(_) if !is_there => {}
            Err(error) => {
                self.blame(&error, &format!("delete topic {name}: "));
                self.told.topic(name, Presence::Open);
                if self.mends {
                    let again = log.delete_topic(name).map_err(|error| error.kind());
                    assert!(matches!(again, Ok(()) | Err(ErrorKind::UnknownTopic)), "{again:?}");
                    self.told.topic(name, Presence::Gone);
                }
            }
        }
    }

    fn close(&mut self, log: &Log) {
        self.step();
        if let Err(error) = log.close() {
            self.blame(&error, "close the log: ");
        }
    }

    /// Reads everything while the log is open, unless the program lives with failures.
    fn look(&mut self, log: &Log) {
        if !self.mends {
            return;
        }
        for partition in log.stats().partitions {
            let (topic, number) = (partition.partition.topic(), partition.partition.partition());
            let name =
                ["strict", "loose", "short"].into_iter().find(|name| *name == topic.as_str());
            self.mend(log, (name.unwrap(), number.value()));
        }
        self.told.check(log, Demand::Durable);
    }

    fn producer(&self, log: &Log, (topic, partition): Place) -> Option<brooklet::Producer> {
        match log.producer(topic) {
            Ok(producer) => Some(producer.partitioner(Fixed(PartitionId::new(partition)))),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::UnknownTopic);
                None
            }
        }
    }

    /// Opens a partition anew if it has stopped; that must work the second time at the latest.
    fn mend(&self, log: &Log, place: Place) {
        let place = place_of(place);
        if let Err(error) = log.reopen_partition(&place) {
            self.blame(&error, &format!("reopen {place}: "));
            log.reopen_partition(&place).unwrap();
        }
        let stats = log.stats();
        let found = stats.partitions.iter().find(|known| known.partition == place);
        assert!(found.unwrap().stopped.is_none(), "{place} is still stopped");
    }

    fn blame_send(&self, log: &Log, place: Place, error: &SendError) {
        let place = place_of(place);
        self.blame(error.error(), &format!("append to {place}: "));
        if error.kind() == ErrorKind::StorageFull {
            assert_eq!(error.fate(), Fate::NotAppended, "{error}");
            let stats = log.stats();
            let found = stats.partitions.iter().find(|known| known.partition == place).unwrap();
            assert!(found.stopped.is_none(), "a full disk has stopped {place}: {error}");
        }
    }

    /// An error says what was tried, on which file, and what the system said.
    fn blame(&self, error: &Error, operation: &str) {
        let text = error.to_string();
        assert!(text.starts_with(operation), "{text:?} does not say {operation:?}");
        let path = error.path().unwrap_or_else(|| panic!("no path: {text}"));
        assert!(path.starts_with(self.disk.root()), "{text}");
        assert!(error.io_error().is_some(), "no cause: {text}");
        assert!(text.contains(&path.display().to_string()), "{text}");
    }
}
