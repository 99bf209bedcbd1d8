//! A full disk: nothing is lost, nothing stops for good, and room that returns is used by itself.

use std::path::Path;

use brooklet::testing::{Env, Fault, Op, OpKind, Repeat, SimDisk, open};
use brooklet::{
    Acks, ErrorKind, Fate, Log, LogOptions, Offset, PartitionId, Producer, Record, Retention,
    SendError, StoredRecord, SyncPolicy, TopicConfig, TopicName, TopicPartition,
};

const KIB: u64 = 1024;

/// A log on a disk that can be filled, with a topic `t` to send to.
struct Scene {
    disk: SimDisk,
    env: Env,
    log: Log,
    producer: Producer,
    /// What the topic must hold.
    acked: Vec<String>,
}

impl Scene {
    fn new(policy: SyncPolicy, acks: Acks) -> Self {
        Self::with_segments((policy, acks), 16 * KIB)
    }

    fn with_segments((policy, acks): (SyncPolicy, Acks), bytes: u64) -> Self {
        let disk = SimDisk::new(23);
        let env = disk.env();
        let log = open(&env, disk.root().join("log"), LogOptions::new()).unwrap();
        let config = TopicConfig::new().sync(policy).segment_bytes(bytes);
        log.create_topic("t", config).unwrap();
        let producer = log.producer("t").unwrap().acks(acks);
        let mut scene = Self { disk, env, log, producer, acked: Vec::new() };
        scene.send().unwrap();
        scene
    }

    fn free(&self) -> u64 {
        self.env.fs.available_space(self.disk.root()).unwrap()
    }

    /// Leaves `free` bytes of room on the disk.
    fn leave(&self, free: u64) {
        let large = 1 << 40;
        self.disk.set_capacity(Some(large));
        self.disk.set_capacity(Some(large - self.free() + free));
        assert_eq!(self.free(), free);
    }

    /// Sends one record; an acknowledged one stands behind all that were acknowledged before.
    fn send(&mut self) -> Result<(), SendError> {
        let value = format!("{:01000}", self.acked.len());
        let receipt = self.producer.send(Record::new(&value))?;
        assert_eq!(receipt.offset(), Offset::new(self.acked.len() as u64), "an offset was skipped");
        self.acked.push(value);
        Ok(())
    }

    /// Sends until the disk is full, and says what that looks like.
    fn fill(&mut self) -> SendError {
        loop {
            if let Err(error) = self.send() {
                return error;
            }
        }
    }

    /// The disk is full, the partition has not stopped, and whoever tries again is told the same.
    fn stays_full(&mut self) {
        self.disk.clear_log();
        for _ in 0..3 {
            let error = self.send().unwrap_err();
            assert_full(&error);
            let submitted = self.producer.submit(Record::new("submitted")).wait();
            assert_full(&submitted.unwrap_err());
            let error = self.producer.send_all([Record::new("batch")]).unwrap_err();
            assert_full(error.first());
        }
        let ops = self.disk.log();
        let probes = ops.iter().filter(|op| op.kind == OpKind::Space).count();
        assert_eq!(probes, 9, "one look at the free space for each try: {ops:?}");
        let touched = ops.iter().find(|op| op.kind != OpKind::Space);
        assert!(touched.is_none(), "a full disk was touched: {touched:?}");
        assert!(self.log.stats().partitions.iter().all(|partition| partition.stopped.is_none()));
    }

    /// Room has returned: sends go on without any help, and exactly what was told is there.
    fn resumes(mut self) {
        for _ in 0..40 {
            self.send().unwrap();
        }
        self.check();
        self.log.close().unwrap();
        self.disk.set_capacity(None);
        let dir = self.disk.root().join("log");
        self.log = open(&self.env, &dir, LogOptions::new()).unwrap();
        assert!(self.log.recovery().was_clean);
        self.check();
    }

    fn check(&self) {
        let start = self.log.offsets(&partition("t")).unwrap().start.value() as usize;
        assert_eq!(self.read("t"), self.acked[start..]);
    }

    fn read(&self, topic: &str) -> Vec<String> {
        let reader = self.log.reader(topic).stop_at_end().open().unwrap();
        let value = |record: StoredRecord| String::from_utf8(record.value().unwrap().to_vec());
        reader.map(|record| value(record.unwrap()).unwrap()).collect()
    }
}

fn assert_full(error: &SendError) {
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::StorageFull, Fate::NotAppended),
        "{error}"
    );
    assert!(error.error().path().is_some_and(|path| path.starts_with("/sim/log")), "{error}");
    assert!(error.to_string().starts_with("append to t/0: "), "{error}");
}

fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::ZERO)
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

const KINDS: [(SyncPolicy, Acks); 3] = [
    (SyncPolicy::Always, Acks::Durable),
    (SyncPolicy::Never, Acks::Written),
    (SyncPolicy::Never, Acks::Durable),
];

/// A full disk would cost records, offsets, or a restart.
#[test]
fn sends_fail_while_the_disk_is_full_and_resume_when_it_is_not() {
    for (policy, acks) in KINDS {
        // Every remainder: the room ends within a frame, between two, and during a roll.
        for free in (100 * KIB..118 * KIB).step_by(173) {
            let mut scene = Scene::new(policy, acks);
            scene.leave(free);
            assert_full(&scene.fill());
            assert!(scene.acked.len() > 80, "the room was not used: {}", scene.acked.len());
            scene.stays_full();
            scene.check();
            scene.leave(200 * KIB);
            scene.resumes();
        }
    }
}

/// Room that is made ahead would be missing where records still fit, or be kept from others.
#[test]
fn room_that_is_made_ahead_is_used_up_and_given_back() {
    for kind in KINDS {
        for free in (250 * KIB..400 * KIB).step_by(1733) {
            let mut scene = Scene::with_segments(kind, KIB * KIB);
            scene.leave(free);
            assert_full(&scene.fill());
            let held = scene.acked.len() as u64 * 1080;
            assert!(
                held > free - 8 * KIB,
                "{held} bytes of records where there was room for {free}"
            );
            scene.stays_full();
            scene.check();
            scene.leave(600 * KIB);
            scene.resumes();
        }
    }
}

/// A send would fail because of room that nobody needs yet.
#[test]
fn room_that_cannot_be_made_costs_no_record() {
    for kind in KINDS {
        // The send that makes room writes twice: the room, then its own frame.
        let mut rehearsal = Scene::with_segments(kind, KIB * KIB);
        while segment_writes(&mut rehearsal) < 2 {}
        for fault in [Fault::Eio, Fault::ShortWrite, Fault::StorageFull] {
            let mut scene = Scene::with_segments(kind, KIB * KIB);
            while scene.acked.len() + 1 < rehearsal.acked.len() {
                scene.send().unwrap();
            }
            let writes = |op: &Op| op.kind == OpKind::Write && is_segment(&op.path);
            scene.disk.fail_when(writes, fault, Repeat::Once);
            scene.send().unwrap();
            assert_eq!(scene.disk.fired(), 1);
            scene.resumes();
        }
    }
}

/// How often one send writes to a segment.
fn segment_writes(scene: &mut Scene) -> usize {
    scene.disk.clear_log();
    scene.send().unwrap();
    let ops = scene.disk.log();
    ops.iter().filter(|op| op.kind == OpKind::Write && is_segment(&op.path)).count()
}

/// The bytes of a send that did not fit would stay behind, and be found after a crash.
#[test]
fn what_did_not_fit_is_cut_off_durably() {
    for (policy, acks) in KINDS {
        let mut scene = Scene::new(policy, acks);
        scene.leave(5 * KIB);
        scene.fill();
        let found = scene.disk.fork();
        // What recovery keeps it copies, and that takes room.
        found.set_capacity(None);
        let log = open(&found.env(), found.root().join("log"), LogOptions::new()).unwrap();
        let reader = log.reader("t").stop_at_end().open().unwrap();
        assert_eq!(reader.map(Result::unwrap).count(), scene.acked.len());
        assert!(log.recovery().is_whole(), "{:?}", log.recovery());
    }
}

/// A topic could not be deleted when that is most needed, or its room would not come back.
#[test]
fn deleting_a_topic_on_a_full_disk_makes_room() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let mut scene = Scene::new(SyncPolicy::Always, Acks::Durable);
        let config = TopicConfig::new().sync(policy).segment_bytes(64 * KIB);
        scene.log.create_topic("filler", config).unwrap();
        // Handles to it stay, and have its files open.
        let filler = scene.log.producer("filler").unwrap().acks(Acks::Written);
        for _ in 0..200 {
            filler.send(Record::new(&[b'f'; 1000])).unwrap();
        }
        let mut reader = scene.log.reader("filler").stop_at_end().open().unwrap();
        assert_eq!(reader.by_ref().count(), 200);
        scene.leave(5 * KIB);
        scene.fill();
        scene.stays_full();
        scene.log.delete_topic("filler").unwrap();
        assert!(scene.free() >= 200 * KIB, "{policy:?}: only {} bytes came back", scene.free());
        assert_eq!(filler.send(Record::new("")).unwrap_err().kind(), ErrorKind::UnknownTopic);
        drop(reader);
        scene.resumes();
    }
}

/// Records could not be removed when that is most needed.
#[test]
fn trimming_on_a_full_disk_makes_room() {
    let mut scene = Scene::new(SyncPolicy::Always, Acks::Durable);
    scene.leave(300 * KIB);
    scene.fill();
    scene.check();
    let before = Offset::new(150);
    assert_eq!(scene.log.trim(&partition("t"), before).unwrap(), before);
    assert!(scene.free() >= 130 * KIB, "only {} bytes came back", scene.free());
    scene.resumes();
}

/// Retention would need room to make room.
#[test]
fn retention_on_a_full_disk_makes_room() {
    let mut scene = Scene::new(SyncPolicy::Always, Acks::Durable);
    scene.leave(300 * KIB);
    scene.fill();
    let keeps = Retention::forever().max_bytes(100 * KIB);
    let config = TopicConfig::new().segment_bytes(16 * KIB).retention(keeps);
    scene.log.alter_topic("t", config).unwrap();
    scene.log.maintain().unwrap();
    assert!(scene.free() >= 150 * KIB, "only {} bytes came back", scene.free());
    scene.resumes();
}

/// Topics could not be made or changed although their books have room of their own.
#[test]
fn the_catalog_works_on_a_full_disk() {
    let mut scene = Scene::new(SyncPolicy::Always, Acks::Durable);
    scene.leave(0);
    assert_full(&scene.fill());
    for number in 0..50 {
        let name = format!("made-{number}");
        scene.log.create_topic(&name, TopicConfig::new().partitions(2)).unwrap();
        scene.log.add_partitions(&name, 3).unwrap();
        if number % 2 == 0 {
            scene.log.delete_topic(&name).unwrap();
        }
    }
    let refused = scene.log.producer("made-1").unwrap().send(Record::new("first")).unwrap_err();
    assert_eq!((refused.kind(), refused.fate()), (ErrorKind::StorageFull, Fate::NotAppended));
    scene.log.close().unwrap();
    let dir = scene.disk.root().join("log");
    scene.log = open(&scene.env, &dir, LogOptions::new()).unwrap();
    assert!(scene.log.recovery().was_clean);
    assert_eq!(scene.log.topics().unwrap().len(), 26);
    scene.check();
    scene.producer = scene.log.producer("t").unwrap();
    scene.leave(200 * KIB);
    scene.resumes();
}

/// A log whose process was killed on a full disk could not be opened again.
#[test]
fn a_full_disk_can_be_opened_after_a_sudden_end() {
    for (policy, acks) in KINDS {
        let mut scene = Scene::new(policy, acks);
        scene.leave(50 * KIB);
        scene.fill();
        let Scene { disk, env, log, producer, acked } = scene;
        drop((log, producer));
        let log = open(&env, disk.root().join("log"), LogOptions::new()).unwrap();
        let producer = log.producer("t").unwrap().acks(acks);
        let mut scene = Scene { disk, env, log, producer, acked };
        scene.leave(200 * KIB);
        scene.check();
        scene.send().unwrap();
        scene.resumes();
    }
}

/// A recovery that finds no room would leave less of it for the next try.
#[test]
fn a_recovery_without_room_can_be_tried_again() {
    let Scene { disk, env, log, producer, acked } = {
        let mut scene = Scene::new(SyncPolicy::Never, Acks::Written);
        for _ in 0..100 {
            scene.send().unwrap();
        }
        scene
    };
    drop((log, producer));
    let log = open(&env, disk.root().join("log"), LogOptions::new()).unwrap();
    let producer = log.producer("t").unwrap().acks(Acks::Written);
    let mut scene = Scene { disk, env, log, producer, acked };
    scene.leave(40 * KIB);
    // The first try also writes the journals anew.
    assert_eq!(scene.log.offsets(&partition("t")).unwrap_err().kind(), ErrorKind::StorageFull);
    let (files, free) = (scene.disk.files(), scene.free());
    for _ in 0..3 {
        let error = scene.log.offsets(&partition("t")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        assert_full(&scene.send().unwrap_err());
    }
    assert_eq!(scene.disk.files(), files);
    assert_eq!(scene.free(), free);
    scene.leave(300 * KIB);
    scene.resumes();
}

/// A partition would go on behind bytes that it could not take back.
#[test]
fn a_cut_that_fails_stops_the_partition() {
    for kind in [OpKind::SetLen, OpKind::Sync] {
        let mut scene = Scene::new(SyncPolicy::Always, Acks::Durable);
        scene.leave(5 * KIB);
        for _ in 0..4 {
            scene.send().unwrap();
        }
        let cuts = move |op: &Op| op.kind == kind && is_segment(&op.path);
        scene.disk.fail_when(cuts, Fault::Eio, Repeat::Once);
        let error = scene.send().unwrap_err();
        assert_eq!(scene.disk.fired(), 1);
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Io, Fate::Unknown), "{error}");
        let error = scene.send().unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Poisoned, Fate::NotAppended));
        scene.leave(200 * KIB);
        scene.log.reopen_partition(&partition("t")).unwrap();
        scene.check();
        scene.resumes();
    }
}
