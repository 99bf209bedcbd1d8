//! One file operation fails, once or for good: what was told still holds, and the rest goes on.

mod life;
mod panics;
mod rolls;
mod told;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brooklet::testing::{CrashPolicy, FailedSync, Fault, Op, OpKind, Repeat, SimDisk, open};
use brooklet::{LogOptions, Record, SyncPolicy, TopicConfig};

use crate::pace::some;
use life::Life;
use told::{Demand, Place, Told};

/// The operations of a life in which nothing fails.
fn healthy_ops(mends: bool) -> Vec<Op> {
    let disk = SimDisk::new(SEED);
    let told = Life::live(&disk, mends);
    assert_eq!(disk.fired(), 0);
    assert!(told.acked() > 30, "a life without work shows nothing: {}", told.acked());
    disk.log()
}

const SEED: u64 = 5;

/// What the log holds now, and after a loss of power, must be what the program was told.
fn settle(disk: &SimDisk, mut told: Told, demand: Demand) {
    disk.clear_faults();
    assert!(disk.fired() > 0, "the fault never fired");
    assert_eq!(disk.escapes(), 0);
    let dark = disk.fork().crash(CrashPolicy::LoseAll, 1);
    reopened(&dark, &mut told.clone(), Demand::Durable);
    reopened(disk, &mut told, demand);
}

/// Opens, compares, appends to everything, closes and compares again.
fn reopened(disk: &SimDisk, told: &mut Told, demand: Demand) {
    let dir = disk.root().join("log");
    let log = open(&disk.env(), &dir, LogOptions::new()).unwrap();
    told.check(&log, demand);
    let damage = log.recovery().partitions.into_iter().find_map(|found| found.damage);
    assert!(damage.is_none(), "a failure was taken for damage: {damage:?}");
    told.append_everywhere(&log);
    log.close().unwrap();
    let log = open(&disk.env(), &dir, LogOptions::new()).unwrap();
    assert!(log.recovery().was_clean);
    told.check(&log, demand);
    log.close().unwrap();
}

/// Runs one case, and names it if it fails.
fn case(op: &Op, fault: Fault, run: impl FnOnce()) -> Option<String> {
    let caught = std::panic::catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = caught.downcast_ref::<String>().map(String::as_str);
    let text = text.or(caught.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    Some(format!("{} {:?} {} {fault:?}: {text}", op.number, op.kind, op.path.display()))
}

fn report(failures: &[String], cases: usize) {
    assert!(cases > 0, "nothing was tried");
    let shown = failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {cases} cases failed:\n{shown}", failures.len());
}

/// The faults that an operation can meet.
fn faults_of(kind: OpKind) -> &'static [Fault] {
    use Fault::{
        Eio, PermissionDenied, QuotaExceeded, ReadOnly, ShortWrite, StorageFull, TooManyFiles,
        UnconfirmedWrite,
    };
    match kind {
        OpKind::Write => &[
            Eio,
            ShortWrite,
            UnconfirmedWrite,
            StorageFull,
            QuotaExceeded,
            ReadOnly,
            PermissionDenied,
        ],
        OpKind::Sync | OpKind::SyncDir => &[Eio, StorageFull, QuotaExceeded],
        OpKind::SetLen | OpKind::Allocate => &[Eio, StorageFull, ReadOnly],
        OpKind::Read | OpKind::Len | OpKind::Space => &[Eio],
        OpKind::Open | OpKind::ReadDir => &[Eio, TooManyFiles, PermissionDenied],
        OpKind::Lock => &[Eio, TooManyFiles, ReadOnly],
        OpKind::CreateNew | OpKind::CreateDir | OpKind::Rename => {
            &[Eio, StorageFull, TooManyFiles, ReadOnly]
        }
        OpKind::Remove | OpKind::RemoveDir => &[Eio, ReadOnly, PermissionDenied],
    }
}

/// A single failure would cost a record that was acknowledged, a session, or the truth of an error.
#[test]
fn any_operation_can_fail_once_and_the_session_goes_on() {
    let mut failures = Vec::new();
    let mut cases = 0;
    let ops = healthy_ops(true);
    let reopens = ops.iter().filter(|op| op.kind == OpKind::Lock).nth(1).unwrap().number;
    for op in some(&ops, 23) {
        let demand = if op.kind == OpKind::Sync { Demand::Durable } else { Demand::Acked };
        for fault in faults_of(op.kind) {
            cases += 1;
            failures.extend(case(op, *fault, || {
                let disk = SimDisk::new(SEED);
                disk.fail_at(op.number, *fault, Repeat::Once);
                let told = Life::live(&disk, true);
                // But for the first write of a session, which makes its journals anew.
                if is_journal(op) && op.number < reopens {
                    for place in [("strict", 0), ("strict", 1), ("loose", 0)] {
                        assert_eq!(told.failures(place), 0, "{place:?} felt it");
                    }
                }
                settle(&disk, told, demand);
            }));
        }
    }
    report(&failures, cases);
}

/// Whether it is the work of a journal, which heals itself without anybody noticing.
fn is_journal(op: &Op) -> bool {
    let is_file = op.path.extension().is_some_and(|extension| extension == "jnl");
    is_file && matches!(op.kind, OpKind::Write | OpKind::Sync)
}

/// A disk that fails for good would turn an acknowledgement or a fate into a lie.
#[test]
fn a_disk_can_fail_for_good_at_any_operation() {
    let mut failures = Vec::new();
    let mut cases = 0;
    for op in some(&healthy_ops(false), 29) {
        for fault in [Fault::Eio, Fault::StorageFull, Fault::UnconfirmedWrite] {
            cases += 1;
            failures.extend(case(op, fault, || {
                let disk = SimDisk::new(SEED);
                disk.fail_at(op.number, fault, Repeat::Forever);
                settle(&disk, Life::live(&disk, false), Demand::Durable);
            }));
        }
    }
    report(&failures, cases);
}

/// What fails half-way and is gone on with after a bad spell would contradict itself.
#[test]
fn a_disk_can_fail_for_a_while_at_any_operation() {
    let mut failures = Vec::new();
    let mut cases = 0;
    for op in some(&healthy_ops(false), 29) {
        for spell in [2, 9] {
            cases += 1;
            failures.extend(case(op, Fault::Eio, || {
                let disk = SimDisk::new(SEED);
                let fails = op.number..op.number + spell;
                let fits = move |op: &Op| fails.contains(&op.number);
                disk.fail_when(fits, Fault::Eio, Repeat::Forever);
                settle(&disk, Life::live(&disk, false), Demand::Durable);
            }));
        }
    }
    report(&failures, cases);
}

/// One bad file would stop partitions that have nothing to do with it, or turn fates into lies.
#[test]
fn a_file_can_fail_for_good_and_the_other_partitions_go_on() {
    let mut failures = Vec::new();
    let mut cases = 0;
    let mut others = 0;
    for op in some(&healthy_ops(false), 29) {
        for fault in [Fault::Eio, Fault::StorageFull] {
            cases += 1;
            failures.extend(case(op, fault, || {
                let disk = SimDisk::new(SEED);
                let (number, path) = (op.number, op.path.clone());
                let fits = move |op: &Op| op.number >= number && op.path == path;
                disk.fail_when(fits, fault, Repeat::Forever);
                let told = Life::live(&disk, false);
                for place in unharmed_by(&op.path) {
                    others += 1;
                    assert_eq!(told.failures(place), 0, "{place:?} failed with another's file");
                }
                settle(&disk, told, Demand::Durable);
            }));
        }
    }
    assert!(others > 0, "no other partition was looked at");
    report(&failures, cases);
}

/// The partitions that do without this file, if it is a segment.
fn unharmed_by(path: &Path) -> Vec<Place> {
    let numbers = path.strip_prefix("/sim/log/topics").ok().filter(|_| path.extension().is_some());
    let Some(owner) = numbers.and_then(Path::parent) else { return Vec::new() };
    let partitions = [("1/0", ("strict", 0)), ("1/1", ("strict", 1)), ("2/0", ("loose", 0))];
    let others = partitions.iter().filter(|(dir, _)| owner != Path::new(dir));
    others.map(|(_, place)| *place).collect()
}

/// Bytes that only the page cache has would be taken for durable after a failed sync.
#[test]
fn a_failed_sync_is_believed_whatever_reads_show_afterwards() {
    let mut failures = Vec::new();
    let mut cases = 0;
    for repeat in [Repeat::Once, Repeat::Forever] {
        let mends = repeat == Repeat::Once;
        for op in some(healthy_ops(mends).iter().filter(|op| op.kind == OpKind::Sync), 5) {
            for shows in [FailedSync::KeepsNew, FailedSync::ShowsOld] {
                cases += 1;
                failures.extend(case(op, Fault::Eio, || {
                    let disk = SimDisk::new(SEED);
                    disk.set_failed_sync(shows);
                    let (number, path) = (op.number, op.path.clone());
                    let fits = move |op: &Op| {
                        op.number >= number && op.path == path && op.kind == OpKind::Sync
                    };
                    disk.fail_when(fits, Fault::Eio, repeat);
                    settle(&disk, Life::live(&disk, mends), Demand::Durable);
                }));
            }
        }
    }
    report(&failures, cases);
}

/// Partitions would stop with the manifest, or litter the disk with segments that came to nothing.
#[test]
fn appends_go_on_in_the_segments_that_exist_while_the_manifest_is_out_of_order() {
    let disk = SimDisk::new(SEED);
    let log = open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap();
    let config = TopicConfig::new().segment_bytes(16 * 1024).sync(SyncPolicy::Never);
    log.create_topic("t", config).unwrap();
    let producer = log.producer("t").unwrap();
    producer.send(Record::new("first")).unwrap();
    let is_manifest = |op: &Op| op.path.starts_with("/sim/log/manifest");
    disk.fail_when(is_manifest, Fault::Eio, Repeat::Forever);
    for _ in 0..1000 {
        producer.send(Record::new(&[b'x'; 100])).unwrap();
    }
    assert!(log.create_topic("other", TopicConfig::new()).is_err());
    let segments = || {
        let files = disk.files();
        files.iter().filter(|path| path.extension().is_some_and(|end| end == "seg")).count()
    };
    assert!(disk.fired() > 0);
    assert!((2..30).contains(&segments()), "{} segments", segments());

    disk.clear_faults();
    log.create_topic("other", TopicConfig::new()).unwrap();
    for _ in 0..100 {
        producer.send(Record::new(&[b'x'; 100])).unwrap();
    }
    log.maintain().unwrap();
    assert_eq!(log.stats().partitions[1].segments, segments(), "what came to nothing is unlinked");
    let read = log.reader("t").stop_at_end().open().unwrap();
    assert_eq!(read.map(Result::unwrap).count(), 1101);
}

/// A write-back that failed behind the log's back would be covered up by the next sync.
#[test]
fn a_lost_write_back_costs_nothing_that_is_durable() {
    let mut hits = 0;
    let mut heard = 0;
    for shows in [FailedSync::KeepsNew, FailedSync::ShowsOld] {
        for step in some(0..u32::MAX, 3) {
            let disk = SimDisk::new(SEED);
            disk.set_failed_sync(shows);
            let (lost, reached) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (lost_then, reached_then) = (Arc::clone(&lost), Arc::clone(&reached));
            let cache = disk.clone();
            let mut told = Life::live_with(&disk, true, move |now| {
                if now == step {
                    reached_then.store(1, Ordering::Relaxed);
                    lost_then.store(cache.writeback_fails(|_| true), Ordering::Relaxed);
                }
            });
            if reached.load(Ordering::Relaxed) == 0 {
                break;
            }
            hits += lost.load(Ordering::Relaxed);
            heard += disk.fired();
            let dark = disk.fork().crash(CrashPolicy::LoseAll, 1);
            reopened(&dark, &mut told.clone(), Demand::Durable);
            reopened(&disk, &mut told, Demand::Durable);
        }
    }
    assert!(hits > 0 && heard > 0, "{hits} write-backs were lost and {heard} noticed");
}
