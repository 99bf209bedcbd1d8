//! Injected faults, the power, free space, and the record of the operations.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use brooklet::testing::{Access, CrashPolicy, Fault, OpKind, Repeat, SimDisk};

use super::{Sim, contents, has};

/// One call of every kind, in the order of the list.
fn every_kind(sim: &Sim, tag: &str) -> Vec<(OpKind, io::Result<()>)> {
    let (fs, path) = (&sim.fs, |name: &str| sim.path(name));
    let file = fs.open(&path("file"), Access::ReadWrite);
    let opened = file.as_ref().map(drop).map_err(|error| error.kind().into());
    let mut results = vec![(OpKind::Open, opened)];
    if let Ok(file) = file {
        results.extend([
            (OpKind::Read, file.read_at(&mut [0; 4], 0).map(drop)),
            (OpKind::Write, file.write_at(b"ab", 0)),
            (OpKind::SetLen, file.set_len(3)),
            (OpKind::Allocate, file.allocate(10)),
            (OpKind::Sync, file.sync_data()),
            (OpKind::Len, file.len().map(drop)),
        ]);
    }
    let (made, dir, lock) = (format!("made{tag}"), format!("dir{tag}"), format!("lock{tag}"));
    results.extend([
        (OpKind::CreateNew, fs.create_new(&path(&made)).map(drop)),
        (OpKind::Rename, fs.rename(&path("file"), &path("file"))),
        (OpKind::CreateDir, fs.create_dir(&path(&dir))),
        (OpKind::Lock, fs.lock(&path(&lock)).map(drop)),
        (OpKind::ReadDir, fs.read_dir(sim.disk.root()).map(drop)),
        (OpKind::Space, fs.available_space(sim.disk.root()).map(drop)),
        (OpKind::SyncDir, fs.sync_dir(sim.disk.root())),
        (OpKind::RemoveDir, fs.remove_dir(&path(&dir))),
        (OpKind::Remove, fs.remove_file(&path(&made))),
    ]);
    results
}

/// Breaks if an operation is not counted, or written down as what it is not.
#[test]
fn every_call_is_one_numbered_operation() {
    let sim = Sim::new(1);
    sim.durable("file", b"content");
    let before = sim.disk.ops();
    sim.disk.clear_log();
    let kinds: Vec<_> = every_kind(&sim, "").into_iter().map(|(kind, _)| kind).collect();
    let log = sim.disk.log();
    assert_eq!(log.iter().map(|op| op.kind).collect::<Vec<_>>(), kinds);
    let numbers: Vec<_> = log.iter().map(|op| op.number).collect();
    assert_eq!(numbers, (before..sim.disk.ops()).collect::<Vec<_>>());
    assert!(log[..7].iter().all(|op| *op.path == *sim.path("file")));
    assert!(log.iter().all(|op| op.thread == std::thread::current().id()));
    assert_eq!(kinds.len(), 16, "one of every kind");
}

/// Breaks if some operation cannot be made to fail, or fails otherwise than it was told to.
#[test]
fn every_operation_can_fail_in_every_way() {
    for fault in Fault::ALL {
        for number in 0..16 {
            let sim = Sim::new(1);
            sim.durable("file", b"content");
            sim.disk.fail_at(sim.disk.ops() + number, *fault, Repeat::Once);
            let results = every_kind(&sim, "");
            let (kind, failed) = &results[usize::try_from(number).unwrap()];
            let failed = failed.as_ref().unwrap_err();
            assert_eq!(failed.kind(), fault.error().kind(), "{fault:?} at {kind:?}");
            if number != 0 {
                assert_eq!(failed.raw_os_error(), fault.error().raw_os_error());
            }
            assert_eq!(sim.disk.fired(), 1, "{fault:?} at {kind:?}");
            // And only once.
            let again = every_kind(&sim, "again");
            assert!(
                again.iter().all(|(_, result)| result.is_ok()),
                "{fault:?} {kind:?}: {again:?}"
            );
        }
    }
}

/// Breaks if the errors are not those of the system that they stand for.
#[cfg(target_os = "linux")]
#[test]
fn faults_carry_the_codes_of_the_system() {
    let codes: Vec<_> = Fault::ALL.iter().map(|fault| fault.error().raw_os_error()).collect();
    assert_eq!(codes, [5, 28, 122, 30, 24, 13, 5, 5, 2].map(Some));
    assert_eq!(Fault::StorageFull.error().kind(), ErrorKind::StorageFull);
    assert_eq!(Fault::QuotaExceeded.error().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(Fault::ReadOnly.error().kind(), ErrorKind::ReadOnlyFilesystem);
}

/// Breaks if a failed operation leaves traces, other than a short write and a failed sync do.
#[test]
fn a_failed_operation_changes_nothing() {
    let sim = Sim::new(1);
    let file = sim.durable("file", b"content");
    let before = contents(&sim.disk);
    sim.disk.fail_when(|op| op.kind != OpKind::Open, Fault::Eio, Repeat::Forever);
    for (kind, result) in every_kind(&sim, "") {
        assert_eq!(result.is_ok(), kind == OpKind::Open);
    }
    assert_eq!(sim.disk.fired(), 15);
    assert_eq!(contents(&sim.disk), before);
    sim.disk.clear_faults();
    file.sync_data().unwrap_err();
    assert_eq!(contents(&sim.disk.crash(CrashPolicy::LoseAll, 1)), before);
}

/// Breaks if a short write is all or nothing, or an unconfirmed one leaves anything out.
#[test]
fn as_much_of_a_failed_write_lands_as_its_fault_says() {
    for (fault, left) in [
        (Fault::Eio, b"....".as_slice()),
        (Fault::ShortWrite, b"..abc"),
        (Fault::UnconfirmedWrite, b"..abcdefg"),
    ] {
        let sim = Sim::new(1);
        let file = sim.durable("f", b"....");
        sim.disk.fail_at(sim.disk.ops(), fault, Repeat::Once);
        let failed = file.write_at(b"abcdefg", 2).unwrap_err();
        assert_eq!(failed.to_string(), Fault::Eio.error().to_string());
        has(&sim.disk, &[("f", left)]);
        assert_eq!(sim.disk.fired(), 1);
    }
}

/// Breaks if "from here on" ends, or filters are not asked.
#[test]
fn faults_repeat_or_not_and_follow_their_filter() {
    let sim = Sim::new(1);
    let (a, b) = (sim.create("a"), sim.create("b"));
    let of_a = sim.path("a");
    let filter = move |op: &brooklet::testing::Op| op.kind == OpKind::Write && *op.path == *of_a;
    sim.disk.fail_when(filter.clone(), Fault::Eio, Repeat::Once);
    b.write_at(b"x", 0).unwrap();
    a.write_at(b"x", 0).unwrap_err();
    a.write_at(b"x", 0).unwrap();
    sim.disk.fail_when(filter, Fault::Eio, Repeat::Forever);
    for _ in 0..3 {
        a.write_at(b"x", 0).unwrap_err();
        b.write_at(b"x", 0).unwrap();
    }
    assert_eq!(sim.disk.fired(), 4);
    sim.disk.clear_faults();
    sim.disk.fail_at(sim.disk.ops() + 1, Fault::Eio, Repeat::Forever);
    a.write_at(b"x", 0).unwrap();
    a.write_at(b"x", 0).unwrap_err();
    b.write_at(b"x", 0).unwrap_err();
    assert_eq!(sim.disk.fired(), 6);
}

/// Breaks if anything happens without power.
#[test]
fn nothing_happens_from_the_operation_at_which_the_power_goes_off() {
    let sim = Sim::new(1);
    let file = sim.durable("f", b"kept");
    sim.disk.power_off_at(sim.disk.ops() + 2);
    file.write_at(b"K", 0).unwrap();
    file.sync_data().unwrap();
    assert!(!sim.disk.is_off() && sim.disk.fired() == 0);
    file.set_len(0).unwrap_err();
    assert!(sim.disk.is_off());
    sim.fs.remove_file(&sim.path("f")).unwrap_err();
    file.read_at(&mut [0], 0).unwrap_err();
    assert_eq!(sim.disk.fired(), 3);
    has(&sim.disk.crash(CrashPolicy::KeepAll, 1), &[("f", b"Kept")]);
}

/// Breaks if a full disk takes more than it has, or refuses what it has room for.
#[test]
fn a_full_disk_takes_what_there_is_room_for() {
    let sim = Sim::new(1);
    sim.disk.set_capacity(Some(10));
    let file = sim.create("f");
    let space = || sim.fs.available_space(sim.disk.root()).unwrap();
    file.write_at(b"123456", 0).unwrap();
    assert_eq!(space(), 4);
    let full = file.write_at(b"abcdefgh", 6).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    has(&sim.disk, &[("f", b"123456abcd")]);
    assert_eq!(space(), 0);
    file.write_at(b"overwritten", 0).unwrap_err();
    file.write_at(b"OVERWRITE!", 0).unwrap();
    file.set_len(3).unwrap();
    assert_eq!(space(), 7);
    file.set_len(1_000).unwrap();
    assert_eq!(space(), 7, "a hole costs nothing");
    sim.disk.set_capacity(None);
    assert!(space() > 1 << 40);
    assert_eq!(sim.disk.fired(), 0, "a full disk is not a fault");
}

/// Breaks if reserved room is given to another file, or a reservation is made by halves.
#[test]
fn reserved_room_is_kept() {
    let sim = Sim::new(1);
    sim.disk.set_capacity(Some(100));
    let (reserved, other) = (sim.create("reserved"), sim.create("other"));
    reserved.allocate(60).unwrap();
    assert_eq!(other.allocate(41).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(other.len().unwrap(), 0);
    other.allocate(40).unwrap();
    reserved.write_at(&[1; 60], 0).unwrap();
    other.write_at(&[1; 40], 0).unwrap();
    assert_eq!(reserved.write_at(b"x", 60).unwrap_err().kind(), ErrorKind::StorageFull);
}

/// Breaks if removing a file does not make room, or makes it while the file is still open.
#[test]
fn removing_makes_room_when_the_last_handle_is_gone() {
    let sim = Sim::new(1);
    sim.disk.set_capacity(Some(10));
    let file = sim.create("f");
    file.write_at(&[1; 10], 0).unwrap();
    let second = sim.open("f");
    sim.remove("f");
    let space = || sim.fs.available_space(sim.disk.root()).unwrap();
    drop(file);
    assert_eq!(space(), 0);
    drop(second);
    assert_eq!(space(), 10);
    sim.create("a").write_at(&[1; 6], 0).unwrap();
    sim.create("b").write_at(&[1; 4], 0).unwrap();
    sim.rename("a", "b");
    assert_eq!(space(), 4, "what a rename replaces is removed");
    assert_eq!(
        sim.disk.crash(CrashPolicy::KeepAll, 1).env().fs.available_space(sim.disk.root()).unwrap(),
        4,
        "the new disk is as large"
    );
}

/// Breaks if a path can lead out of the root without anybody noticing.
#[test]
fn paths_that_leave_the_root_are_refused_and_counted() {
    let disk = SimDisk::with_root(1, "/data/log");
    let fs = disk.env().fs;
    for path in ["/etc/passwd", "/data", "/data/logs", "relative", "/data/log/../x", ""] {
        let refused = fs.create_new(path.as_ref()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{path}");
    }
    assert_eq!(disk.escapes(), 6);
    assert_eq!(disk.ops(), 0);
    let file = fs.create_new(&disk.root().join("f")).unwrap();
    file.write_at(b"x", 0).unwrap();
    fs.rename(&disk.root().join("f"), "/tmp/f".as_ref()).unwrap_err();
    assert_eq!(disk.escapes(), 7);
    assert_eq!(disk.files(), [disk.root().join("f")]);
}

/// Breaks if clones are not the same disk, or its parts cannot cross threads.
#[test]
fn clones_are_one_disk_across_threads() {
    let disk = SimDisk::new(1);
    let env = disk.clone().env_with_threads();
    let file = env.fs.create_new(&disk.root().join("f")).unwrap();
    let other = Arc::clone(&file);
    let work = Box::new(move || other.write_at(b"x", 0).unwrap());
    env.spawn.spawn("writer", work).unwrap().join();
    assert_eq!(disk.read_file("f").unwrap(), b"x");
    let log = disk.log();
    assert_ne!(log[0].thread, log[1].thread);
}
