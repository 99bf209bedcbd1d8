//! One file operation fails, once or for good: what was told still holds, and the rest goes on.

mod life;
mod told;

use brooklet::testing::{CrashPolicy, FailedSync, Fault, Op, OpKind, Repeat, SimDisk, open};
use brooklet::{Acks, LogOptions, Record};

use life::Life;
use told::{Demand, Told};

/// The operations of a life in which nothing fails.
fn healthy_ops() -> Vec<Op> {
    let disk = SimDisk::new(SEED);
    let told = Life::live(&disk, true);
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
fn case(name: &str, run: impl FnOnce() + std::panic::UnwindSafe) -> Option<String> {
    let caught = std::panic::catch_unwind(run).err()?;
    let text = caught.downcast_ref::<String>().map(String::as_str);
    let text = text.or(caught.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    Some(format!("{name}: {text}"))
}

fn report(failures: Vec<String>, cases: usize) {
    let shown = failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {cases} cases failed:\n{shown}", failures.len());
}

/// The faults that an operation can meet.
fn faults_of(kind: OpKind) -> &'static [Fault] {
    use Fault::{
        Eio, PermissionDenied, QuotaExceeded, ReadOnly, ShortWrite, StorageFull, TooManyFiles,
    };
    match kind {
        OpKind::Write => &[Eio, ShortWrite, StorageFull, QuotaExceeded, ReadOnly, PermissionDenied],
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
    let ops = healthy_ops();
    let mut failures = Vec::new();
    let mut cases = 0;
    for op in &ops {
        for fault in faults_of(op.kind) {
            cases += 1;
            let name = format!("{} {:?} {} {fault:?}", op.number, op.kind, op.path.display());
            let number = op.number;
            failures.extend(case(&name, || {
                let disk = SimDisk::new(SEED);
                disk.fail_at(number, *fault, Repeat::Once);
                let told = Life::live(&disk, true);
                let demand = if op.kind == OpKind::Sync { Demand::Durable } else { Demand::Acked };
                settle(&disk, told, demand);
            }));
        }
    }
    report(failures, cases);
}
