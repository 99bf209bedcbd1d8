//! Syncs that fail, lie, and wait at the gate.

use std::sync::Arc;
use std::thread;

use brooklet::testing::{Access, CrashPolicy, FailedSync, Fault, OpKind, Repeat};

use super::{Sim, has};

fn fail_next_sync(sim: &Sim) {
    sim.disk.fail_when(|op| op.kind == OpKind::Sync, Fault::Eio, Repeat::Once);
}

/// Breaks if a second sync makes durable what the first one failed to, as few real disks do.
#[test]
fn a_failed_sync_loses_its_bytes_to_every_later_sync() {
    for shows in [FailedSync::KeepsNew, FailedSync::ShowsOld] {
        let sim = Sim::new(1);
        sim.disk.set_failed_sync(shows);
        let file = sim.durable("f", b"old");
        file.write_at(b"new!", 0).unwrap();
        fail_next_sync(&sim);
        file.sync_data().unwrap_err();
        assert_eq!(sim.disk.fired(), 1);
        file.sync_data().unwrap();
        let seen: &[u8] = if shows == FailedSync::KeepsNew { b"new!" } else { b"old" };
        has(&sim.disk, &[("f", seen)]);
        // A new process is lied to as well, as long as the system lives.
        let killed = sim.disk.crash(CrashPolicy::KeepAll, 1);
        has(&killed, &[("f", seen)]);
        let reopened = Sim::on(killed.fork()).open("f");
        reopened.sync_data().unwrap();
        reopened.drop_cache();
        assert_eq!(reopened.len().unwrap(), 3);
        has(&killed.crash(CrashPolicy::LoseAll, 1), &[("f", b"old")]);
    }
}

/// Breaks if dropping the cache hides the truth, or throws away what can still be written.
#[test]
fn dropping_the_cache_reveals_what_was_lost() {
    let sim = Sim::new(1);
    let file = sim.durable("f", b"....");
    file.write_at(b"lost", 0).unwrap();
    fail_next_sync(&sim);
    file.sync_data().unwrap_err();
    file.write_at(b"E", 3).unwrap();
    has(&sim.disk, &[("f", b"losE")]);
    file.drop_cache();
    has(&sim.disk, &[("f", b"...E")]);
    file.sync_data().unwrap();
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("f", b"...E")]);
}

/// Breaks if bytes written again after a failed sync cannot become durable elsewhere.
#[test]
fn a_copy_in_a_new_file_is_durable() {
    let sim = Sim::new(1);
    let file = sim.durable("f", b"");
    file.write_at(b"data", 0).unwrap();
    fail_next_sync(&sim);
    file.sync_data().unwrap_err();
    sim.durable("copy", b"data");
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("copy", b"data"), ("f", b"")]);
}

/// Breaks if the failure of a directory's sync loses or keeps anything by itself.
#[test]
fn a_failed_directory_sync_can_be_repeated() {
    let sim = Sim::new(1);
    sim.create("f");
    sim.disk.fail_at(sim.disk.ops(), Fault::Eio, Repeat::Once);
    sim.fs.sync_dir(sim.disk.root()).unwrap_err();
    has(&sim.disk.fork().crash(CrashPolicy::LoseAll, 1), &[]);
    sim.sync_root();
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("f", b"")]);
}

/// Breaks if a failure behind the log's back is reported never, twice, or to the wrong descriptor.
#[test]
fn a_lost_write_back_is_told_once_to_each_descriptor_open_then() {
    let sim = Sim::new(1);
    let (writer, clean) = (sim.durable("f", b"old"), sim.durable("clean", b"clean"));
    let reader = sim.fs.open(&sim.path("f"), Access::Read).unwrap();
    writer.write_at(b"new", 0).unwrap();
    assert_eq!(sim.disk.writeback_fails(|_| true), 1);
    let later = sim.open("f");

    later.sync_data().unwrap();
    clean.sync_data().unwrap();
    assert_eq!(sim.disk.fired(), 0);
    writer.sync_data().unwrap_err();
    writer.sync_data().unwrap();
    reader.sync_data().unwrap_err();
    reader.sync_data().unwrap();
    assert_eq!(sim.disk.fired(), 2);
    has(&sim.disk, &[("clean", b"clean"), ("f", b"new")]);
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("clean", b"clean"), ("f", b"old")]);
}

/// Breaks if closing the last descriptor does not lose the error, as it does on Linux.
#[test]
fn nobody_learns_of_a_lost_write_back_when_all_descriptors_were_closed() {
    let sim = Sim::new(1);
    let file = sim.durable("f", b"old");
    file.write_at(b"new", 0).unwrap();
    let path = sim.path("f");
    assert_eq!(sim.disk.writeback_fails(|other| other == path), 1);
    drop(file);
    let file = sim.open("f");
    file.sync_data().unwrap();
    assert_eq!(sim.disk.fired(), 0);
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("f", b"old")]);
}

/// Breaks if only some files can be hit, or files without unsynced bytes are.
#[test]
fn a_lost_write_back_hits_the_files_picked() {
    let sim = Sim::new(1);
    let (a, b) = (sim.durable("a", b""), sim.durable("b", b""));
    sim.durable("c", b"");
    a.write_at(b"a", 0).unwrap();
    b.write_at(b"b", 0).unwrap();
    assert_eq!(sim.disk.writeback_fails(|path| !path.ends_with("b")), 1);
    a.sync_data().unwrap_err();
    b.sync_data().unwrap();
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("a", b""), ("b", b"b"), ("c", b"")]);
}

/// Breaks if what is written after a lost write-back, and synced, is not durable.
#[test]
fn a_sync_that_reports_an_old_error_still_syncs() {
    let sim = Sim::new(1);
    let file = sim.durable("f", b"....");
    file.write_at(b"a", 0).unwrap();
    assert_eq!(sim.disk.writeback_fails(|_| true), 1);
    file.write_at(b"b", 1).unwrap();
    file.sync_data().unwrap_err();
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("f", b".b..")]);
}

/// Breaks if a sync passes a closed gate, or covers what was written while it waited.
#[test]
fn held_syncs_wait_and_cover_only_what_came_before() {
    let sim = Sim::new(1);
    let (f, g) = (sim.durable("f", b""), sim.durable("g", b""));
    f.write_at(b"before", 0).unwrap();
    g.write_at(b"g", 0).unwrap();
    sim.disk.hold_syncs();
    thread::scope(|scope| {
        let held = [scope.spawn(|| f.sync_data()), scope.spawn(|| g.sync_data())];
        sim.disk.wait_for_waiting_syncs(2);
        assert_eq!(sim.disk.syncs_waiting(), 2);
        f.write_at(b" after", 6).unwrap();
        has(&sim.disk.fork().crash(CrashPolicy::LoseAll, 1), &[("f", b""), ("g", b"")]);
        sim.disk.release_syncs();
        held.into_iter().for_each(|sync| sync.join().unwrap().unwrap());
    });
    assert_eq!(sim.disk.syncs_waiting(), 0);
    has(&sim.disk.fork().crash(CrashPolicy::LoseAll, 1), &[("f", b"before"), ("g", b"g")]);
    f.sync_data().unwrap();
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("f", b"before after"), ("g", b"g")]);
}

/// Breaks if a gate closed again catches syncs that it had let go.
#[test]
fn a_gate_closed_again_holds_only_later_syncs() {
    let sim = Sim::new(1);
    let file = sim.durable("f", b"");
    for _ in 0..200 {
        sim.disk.hold_syncs();
        thread::scope(|scope| {
            let first = scope.spawn(|| file.sync_data());
            sim.disk.wait_for_waiting_syncs(1);
            sim.disk.release_syncs();
            sim.disk.hold_syncs();
            first.join().unwrap().unwrap();
            let second = scope.spawn(|| file.sync_data());
            sim.disk.wait_for_waiting_syncs(1);
            sim.disk.release_syncs();
            second.join().unwrap().unwrap();
        });
    }
}

/// Breaks if a sync that is held when the power goes off hangs, or succeeds.
#[test]
fn held_syncs_fail_when_the_power_goes_off() {
    for crash in [true, false] {
        let sim = Sim::new(1);
        let file = sim.durable("f", b"");
        file.write_at(b"x", 0).unwrap();
        sim.disk.hold_syncs();
        thread::scope(|scope| {
            let held = scope.spawn(|| file.sync_data());
            sim.disk.wait_for_waiting_syncs(1);
            if crash {
                has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("f", b"")]);
            } else {
                sim.disk.power_off_at(sim.disk.ops());
                sim.fs.read_dir(sim.disk.root()).unwrap_err();
            }
            held.join().unwrap().unwrap_err();
        });
        assert!(sim.disk.is_off());
    }
}

/// Breaks if a sync cannot be made to fail after it has waited.
#[test]
fn a_held_sync_meets_its_fault_when_it_is_let_go() {
    let sim = Sim::new(1);
    let file = Arc::clone(&sim.durable("f", b""));
    file.write_at(b"x", 0).unwrap();
    sim.disk.hold_syncs();
    thread::scope(|scope| {
        let held = scope.spawn(|| file.sync_data());
        sim.disk.wait_for_waiting_syncs(1);
        fail_next_sync(&sim);
        sim.disk.release_syncs();
        held.join().unwrap().unwrap_err();
    });
    assert_eq!(sim.disk.fired(), 1);
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("f", b"")]);
}
