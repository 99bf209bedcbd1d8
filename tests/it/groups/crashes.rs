//! Commits and the loss of power: nothing is committed that is not there, and nothing is skipped.

use std::collections::{BTreeMap, BTreeSet};

use brooklet::testing::{CrashPolicy, Fault, Op, Repeat, SimDisk, open};
use brooklet::{
    Acks, CommittedOffset, Consumer, Error, ErrorKind, Log, LogOptions, Offset, Record, SyncPolicy,
    TopicConfig, TopicPartition,
};

use super::NOW;
use crate::pace::{share, some};

/// A log on a simulated disk, and what its group was told.
struct Life {
    disk: SimDisk,
    log: Option<Log>,
    sent: u64,
    /// Every record that was handed out, by its number.
    seen: BTreeSet<u64>,
    /// What a commit was answered with `Ok` for, of topics that sync.
    firm: BTreeMap<TopicPartition, u64>,
    /// The highest offset that a commit was tried with.
    tried: BTreeMap<TopicPartition, u64>,
}

type Step = fn(&mut Life) -> Result<(), Error>;

impl Life {
    fn new(disk: SimDisk) -> Self {
        let (log, sent, seen, firm, tried) = Default::default();
        Self { disk, log, sent, seen, firm, tried }
    }

    fn after(&self, policy: CrashPolicy, seed: u64) -> Self {
        Self {
            disk: self.disk.crash(policy, seed),
            log: None,
            sent: self.sent,
            seen: self.seen.clone(),
            firm: self.firm.clone(),
            tried: self.tried.clone(),
        }
    }

    fn open(&mut self) -> Result<(), Error> {
        self.log = Some(open(&self.disk.env(), self.disk.root().join("log"), LogOptions::new())?);
        Ok(())
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is open")
    }

    fn create(&mut self) -> Result<(), Error> {
        let loose = TopicConfig::new().sync(SyncPolicy::Never).segment_bytes(4_096);
        self.log().create_topic("loose", loose)?;
        self.log().create_topic("strict", TopicConfig::new().partitions(2))
    }

    fn send(&mut self, topic: &str, acks: Acks, count: u64) -> Result<(), Error> {
        let producer = self.log().producer(topic)?.acks(acks);
        for _ in 0..count {
            self.sent += 1;
            let value = self.sent.to_le_bytes();
            producer.send(Record::new(&value).key(&value)).map_err(Error::from)?;
        }
        Ok(())
    }

    fn join(&self) -> Result<Consumer, Error> {
        self.log().consumer("billing").topics(["loose", "strict"]).max_records(7).open()
    }

    /// Hands out what there is; each partition goes on where its last commit stands.
    fn read(&mut self, consumer: &mut Consumer) -> Result<(), Error> {
        loop {
            let batch = consumer.poll(NOW)?;
            if batch.is_empty() {
                return Ok(());
            }
            for record in &batch {
                let value = record.value().unwrap().try_into().unwrap();
                self.seen.insert(u64::from_le_bytes(value));
            }
        }
    }

    fn commit(&mut self, consumer: &Consumer) -> Result<(), Error> {
        let positions = consumer.assignment().into_iter();
        let positions = positions.filter_map(|place| {
            let position = consumer.position(&place)?.value();
            Some((place, position))
        });
        let positions = positions.collect::<Vec<_>>();
        for (place, position) in &positions {
            let tried = self.tried.entry(place.clone()).or_default();
            *tried = (*tried).max(*position);
        }
        consumer.commit()?;
        self.firm
            .extend(positions.into_iter().filter(|(place, _)| place.topic().as_str() == "strict"));
        Ok(())
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            if let Err(error) = step(self) {
                assert!(self.disk.is_off(), "{error}");
                return;
            }
        }
    }

    /// What is committed is there, is what was tried, and was handed out before.
    fn check(&self) {
        let log = self.log();
        if log.groups().unwrap().is_empty() {
            assert!(self.firm.is_empty(), "{:?} was forgotten", self.firm);
            return;
        }
        for partition in log.group("billing").unwrap().partitions {
            let place = &partition.partition;
            let end = log.offsets(place).unwrap().end.value();
            let committed = partition.committed.map_or(0, |at| at.offset().value());
            let (firm, tried) = (self.firm.get(place), self.tried.get(place));
            assert!(committed <= end, "{place}: {committed} is committed of {end}");
            assert!(committed >= firm.copied().unwrap_or(0), "{place}: {committed}, not {firm:?}");
            assert!(committed <= tried.copied().unwrap_or(0), "{place}: {committed} of {tried:?}");
            let reader = log.reader(place.topic().as_str()).partition(place.partition().value());
            for record in reader.stop_at_end().open().unwrap() {
                let record = record.unwrap();
                let number = u64::from_le_bytes(record.value().unwrap().try_into().unwrap());
                let is_skipped =
                    record.offset().value() < committed && !self.seen.contains(&number);
                assert!(!is_skipped, "{place}@{} was skipped", record.offset());
            }
        }
    }
}

/// Two sessions of a service, with commits of everything there is to commit.
const WHOLE: &[Step] = &[
    Life::open,
    Life::create,
    |life| life.send("loose", Acks::Durable, 10),
    |life| life.send("loose", Acks::Written, 5),
    |life| life.send("strict", Acks::Durable, 10),
    |life| {
        let mut consumer = life.join()?;
        life.read(&mut consumer)?;
        life.commit(&consumer)?;
        life.send("loose", Acks::Written, 5)?;
        life.send("strict", Acks::Durable, 5)?;
        life.read(&mut consumer)?;
        let mut other = life.join()?;
        life.commit(&consumer)?;
        life.send("strict", Acks::Durable, 5)?;
        life.read(&mut consumer)?;
        life.read(&mut other)?;
        life.commit(&other)?;
        other.leave()?;
        life.commit(&consumer)
    },
    |life| {
        life.log().delete_topic("loose")?;
        life.seen.clear();
        life.seen.extend(0..=life.sent);
        let loose = TopicConfig::new().sync(SyncPolicy::Never);
        life.tried.retain(|place, _| place.topic().as_str() == "strict");
        life.log().create_topic("loose", loose)?;
        life.send("loose", Acks::Written, 3)
    },
    |life| life.log().close(),
    Life::open,
    RETURN[1],
];

/// What a service does when it is back.
const RETURN: &[Step] = &[Life::open, |life| {
    let mut consumer = life.join()?;
    life.read(&mut consumer)?;
    life.commit(&consumer)?;
    life.send("loose", Acks::Written, 2)?;
    life.send("strict", Acks::Durable, 2)?;
    life.read(&mut consumer)?;
    life.commit(&consumer)
}];

fn interrupted(steps: &[Step], at: u64) -> Life {
    let mut life = Life::new(SimDisk::new(3));
    life.disk.power_off_at(at);
    life.run(steps);
    life
}

/// Everything must be there to go on with; if the topics are, the service goes on.
fn back(mut life: Life) -> Life {
    life.run(&[Life::open]);
    life.check();
    if life.log().topics().unwrap().len() == 2 {
        life.run(&RETURN[1..]);
        life.check();
    }
    life
}

/// A commit could be lost, or point behind what a crash has left, and records be skipped.
#[test]
fn a_crash_at_every_operation_skips_nothing_and_forgets_no_commit() {
    let ops = interrupted(WHOLE, u64::MAX).disk.ops();
    assert!(ops > 80, "a life of {ops} operations shows nothing");
    let mut tried = 0;
    for at in some(0..ops, 13) {
        let life = interrupted(WHOLE, at);
        assert!(life.disk.is_off(), "the crash at operation {at} did not happen");
        for policy in CrashPolicy::ALL {
            let again = back(life.after(*policy, at));
            back(again.after(CrashPolicy::LoseAll, 0));
            tried += 1;
        }
    }
    assert!(tried > share(800, 20), "only {tried} crashes were tried");
}

/// What was read after a kill could be committed, and then be gone with the power.
#[test]
fn a_kill_a_commit_and_a_power_cut_leave_no_commit_behind_the_end() {
    for at in some(0..interrupted(WHOLE, u64::MAX).disk.ops(), 11) {
        let killed = interrupted(WHOLE, at).after(CrashPolicy::KeepAll, 0);
        let mut read = killed;
        read.run(&[Life::open]);
        if read.log().topics().unwrap().len() == 2 {
            read.run(&[|life| {
                let mut consumer = life.join()?;
                life.read(&mut consumer)?;
                life.commit(&consumer)
            }]);
        }
        for policy in [CrashPolicy::LoseAll, CrashPolicy::PrefixPerFile, CrashPolicy::UnlinkFirst] {
            back(read.after(policy, at));
        }
    }
}

/// A topic that is not synced has 120 records, of which the group has committed all, durably; the
/// power goes off, and 100 are left.
fn cut_back() -> Life {
    let mut life = Life::new(SimDisk::new(9));
    life.run(&[
        Life::open,
        Life::create,
        |life| life.send("loose", Acks::Durable, 100),
        |life| life.send("loose", Acks::Written, 20),
        |life| life.send("strict", Acks::Durable, 4),
        |life| {
            let mut consumer = life.join()?;
            life.read(&mut consumer)?;
            // One entry that a synced topic has a part in, so that all of it is durable.
            life.commit(&consumer)
        },
    ]);
    life.after(CrashPolicy::LoseAll, 0)
}

fn loose() -> TopicPartition {
    use brooklet::{PartitionId, TopicName};
    TopicPartition::new(TopicName::new("loose").unwrap(), PartitionId::ZERO)
}

/// Records that take the place of lost ones would be skipped.
#[test]
fn commits_behind_the_end_are_lowered_and_what_comes_there_is_read() {
    for sends_first in [true, false] {
        let mut life = cut_back();
        life.run(&[Life::open]);
        let mut consumer = (!sends_first).then(|| life.join().unwrap());
        if let Some(consumer) = &mut consumer {
            // The first look at the partition recovers it, under the consumer's hands.
            life.read(consumer).unwrap();
            assert_eq!(consumer.position(&loose()), Some(Offset::new(100)));
        }
        life.send("loose", Acks::Durable, 30).unwrap();
        let lowered = life.log().recovery().lowered_commits;
        assert_eq!(lowered.len(), 1, "{lowered:?}");
        assert_eq!((&lowered[0].partition, lowered[0].group.as_str()), (&loose(), "billing"));
        assert_eq!((lowered[0].from.value(), lowered[0].to.value()), (120, 100));
        drop(consumer);
        let mut last = life.after(CrashPolicy::LoseAll, 0);
        last.run(&[Life::open]);
        assert_eq!(last.log().recovery().lowered_commits, []);
        let mut consumer = last.join().unwrap();
        let mut offsets = Vec::new();
        loop {
            let batch = consumer.poll(NOW).unwrap();
            if batch.is_empty() {
                break;
            }
            let batch = batch.iter().filter(|record| *record.topic_partition() == loose());
            offsets.extend(batch.map(|record| record.offset().value()));
        }
        assert_eq!(offsets, (100..130).collect::<Vec<_>>(), "sends first: {sends_first}");
    }
}

/// The same, if the power goes off once more at any moment of it.
#[test]
fn a_crash_at_every_operation_after_a_power_cut_skips_nothing() {
    let again: &[Step] = &[
        Life::open,
        |life| life.send("loose", Acks::Written, 10),
        |life| life.send("loose", Acks::Durable, 20),
        RETURN[1],
    ];
    let mut healthy = cut_back();
    healthy.run(again);
    let ops = healthy.disk.ops();
    for at in some(0..ops, 13) {
        let mut life = cut_back();
        life.disk.power_off_at(at);
        life.run(again);
        assert!(life.disk.is_off(), "the crash at operation {at} did not happen");
        for policy in CrashPolicy::ALL {
            let end = back(life.after(*policy, at));
            assert_eq!(end.log().group("billing").unwrap().lag(), 0, "{policy:?} at {at}");
        }
    }
}

/// A commit that failed could count all the same, or keep all later ones from succeeding.
#[test]
fn a_commit_can_fail_at_any_operation_and_the_next_one_heals_it() {
    for is_first in [true, false] {
        let start = || {
            let mut life = Life::new(SimDisk::new(5));
            let until = if is_first { 5 } else { 6 };
            life.run(&WHOLE[..until]);
            let mut consumer = life.join().unwrap();
            if !is_first {
                life.send("strict", Acks::Durable, 3).unwrap();
            }
            life.read(&mut consumer).unwrap();
            (life, consumer)
        };
        let (mut life, consumer) = start();
        let before = life.disk.ops();
        life.commit(&consumer).unwrap();
        let ops = before..life.disk.ops();
        assert!(!ops.is_empty(), "a commit that touches no file");
        for at in ops {
            for (fault, repeat) in [
                (Fault::Eio, Repeat::Once),
                (Fault::StorageFull, Repeat::Once),
                (Fault::Eio, Repeat::Forever),
                (Fault::StorageFull, Repeat::Forever),
            ] {
                let (mut life, consumer) = start();
                let place = consumer.assignment().pop().unwrap();
                let position = consumer.position(&place);
                let old = consumer.committed(&place);
                life.disk.fail_at(at, fault, repeat);
                let result = consumer.commit();
                assert!(life.disk.fired() > 0, "the fault never fired");
                let stands = consumer.committed(&place);
                match &result {
                    Ok(()) => assert_eq!(stands.map(|at| at.offset()), position),
                    Err(_) => assert_eq!(stands, old, "the state is ahead of the disk"),
                }
                assert!(repeat == Repeat::Once || result.is_err(), "{fault:?} at {at}");
                life.disk.clear_faults();
                life.commit(&consumer).unwrap();
                assert_eq!(consumer.committed(&place).map(|at| at.offset()), position);
                drop(consumer);
                back(life.after(CrashPolicy::LoseAll, 0));
            }
        }
    }
}

/// A member would take for committed what was not, because it had let the partition go over it.
#[test]
fn a_commit_that_fails_while_a_partition_waits_to_move_is_not_told_as_done() {
    let start = || {
        let mut life = Life::new(SimDisk::new(5));
        life.run(&WHOLE[..5]);
        let mut first = life.join().unwrap();
        life.read(&mut first).unwrap();
        let second = life.join().unwrap();
        assert!(second.assignment().len() < 3, "nothing waits to move");
        (life, first, second)
    };
    let (mut life, first, _second) = start();
    let before = life.disk.ops();
    life.commit(&first).unwrap();
    let ops = before..life.disk.ops();
    let mut refused = 0;
    for (at, repeat) in ops.flat_map(|at| [(at, Repeat::Once), (at, Repeat::Forever)]) {
        let (life, first, _second) = start();
        let positions = first.assignment().into_iter();
        let positions = positions.map(|place| (first.position(&place), place)).collect::<Vec<_>>();
        life.disk.fail_at(at, Fault::Eio, repeat);
        let result = first.commit();
        assert!(life.disk.fired() > 0, "the fault never fired");
        assert!(repeat == Repeat::Once || result.is_err(), "the disk refused {at} for good");
        refused += u32::from(result.is_err());
        let group = life.log().group("billing").unwrap();
        for (position, place) in &positions {
            let of_group = group.partitions.iter().find(|of| of.partition == *place).unwrap();
            let committed = of_group.committed.as_ref().map(CommittedOffset::offset);
            let is_done = committed == *position;
            assert!(result.is_err() || is_done, "{place}: {committed:?} of {position:?} at {at}");
        }
    }
    assert!(refused > 0, "no commit was refused");
}

/// The next owner would skip what the journal has refused to note.
#[test]
fn the_next_owner_begins_where_the_commit_that_stands_is() {
    let mut life = Life::new(SimDisk::new(7));
    life.run(&WHOLE[..5]);
    let mut consumer = life.join().unwrap();
    life.read(&mut consumer).unwrap();
    let is_offsets = |op: &Op| op.path.starts_with("/sim/log/offsets");
    life.disk.fail_when(is_offsets, Fault::Eio, Repeat::Forever);
    life.commit(&consumer).unwrap_err();
    assert!(life.disk.fired() > 0, "the fault never fired");
    life.disk.clear_faults();
    let read = std::mem::take(&mut life.seen);
    drop(consumer);
    let mut next = life.join().unwrap();
    life.read(&mut next).unwrap();
    assert_eq!((life.seen.len(), &life.seen), (25, &read));
}

/// A full disk would keep everybody from committing what is done.
#[test]
fn commits_go_on_while_the_disk_is_full() {
    let mut life = Life::new(SimDisk::new(6));
    life.run(&WHOLE[..5]);
    let mut consumer = life.join().unwrap();
    life.read(&mut consumer).unwrap();
    life.disk.set_capacity(Some(0));
    let producer = life.log().producer("strict").unwrap();
    let large = vec![0; 256 * 1_024];
    let full = (0..1_000).find_map(|_| producer.send(Record::new(&large)).err()).unwrap();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    for partition in consumer.assignment() {
        let end = consumer.position(&partition).unwrap().value();
        for offset in 0..=end {
            let at = CommittedOffset::at(Offset::new(offset));
            consumer.commit_offsets([(partition.clone(), at)]).unwrap();
        }
    }
    assert_eq!(life.log().group("billing").unwrap().lag(), 0);
}
