//! Each crash policy loses exactly what it should.

use std::collections::BTreeSet;

use brooklet::testing::{Access, CrashPolicy, SimDisk};

use super::{Sim, contents, has};

/// A disk with every kind of loose end:
///
/// * `grown`: "old" is durable, "+new" behind it is not;
/// * `fresh`: created and synced, its name is not durable;
/// * `target`: durable as "before"; the durable file `source` ("after") was renamed over it;
/// * `doomed`: durable, then removed.
fn loose_ends() -> Sim {
    let sim = Sim::new(3);
    let grown = sim.durable("grown", b"old");
    sim.durable("target", b"before");
    sim.durable("source", b"after");
    sim.durable("doomed", b"doomed");
    grown.write_at(b"+new", 3).unwrap();
    let fresh = sim.create("fresh");
    fresh.write_at(b"fresh", 0).unwrap();
    fresh.sync_data().unwrap();
    sim.rename("source", "target");
    sim.remove("doomed");
    sim
}

fn crashed(policy: CrashPolicy) -> SimDisk {
    loose_ends().disk.crash(policy, 5)
}

/// Breaks if anything unsynced can survive where nothing may, or anything synced is lost.
#[test]
fn lose_all_keeps_what_was_synced() {
    has(
        &crashed(CrashPolicy::LoseAll),
        &[("doomed", b"doomed"), ("grown", b"old"), ("source", b"after"), ("target", b"before")],
    );
}

/// Breaks if the death of the process alone loses anything, or makes anything durable.
#[test]
fn keep_all_keeps_all_but_only_until_the_power_goes() {
    let killed = crashed(CrashPolicy::KeepAll);
    has(&killed, &[("fresh", b"fresh"), ("grown", b"old+new"), ("target", b"after")]);
    has(
        &killed.crash(CrashPolicy::LoseAll, 1),
        &[("doomed", b"doomed"), ("grown", b"old"), ("source", b"after"), ("target", b"before")],
    );
}

/// Breaks if changes made before a process died cannot be synced by the next one.
#[test]
fn what_a_killed_process_left_can_be_synced() {
    let killed = Sim::on(crashed(CrashPolicy::KeepAll));
    killed.open("grown").sync_data().unwrap();
    killed.sync_root();
    has(
        &killed.disk.crash(CrashPolicy::LoseAll, 1),
        &[("fresh", b"fresh"), ("grown", b"old+new"), ("target", b"after")],
    );
}

/// Breaks if sizes change or unsynced bytes survive; synced files must be whole.
#[test]
fn zeroed_tail_keeps_names_and_sizes() {
    has(
        &crashed(CrashPolicy::ZeroedTail),
        &[("fresh", b"fresh"), ("grown", b"old\0\0\0\0"), ("target", b"after")],
    );
}

/// Breaks if garbage is not garbage, or never shows bytes of deleted files.
#[test]
fn garbage_tail_keeps_names_and_sizes_and_shows_old_bytes() {
    let mut stale = 0;
    for seed in 0..64 {
        let after = loose_ends().disk.crash(CrashPolicy::GarbageTail, seed);
        let found = contents(&after);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["fresh", "grown", "target"]);
        let (old, new) = found[1].1.split_at(3);
        assert_eq!(old, b"old");
        assert_eq!(new.len(), 4);
        assert_ne!(new, b"+new");
        stale += usize::from(b"doomeddoomed".windows(4).any(|part| part == new));
    }
    assert!((16..=48).contains(&stale), "{stale} of 64 showed the deleted file");
}

/// Breaks if a name that is durable too early is never tried without its data.
#[test]
fn rename_without_data_keeps_names_alone() {
    let sim = loose_ends();
    sim.create("hollow").write_at(b"unsynced", 0).unwrap();
    has(
        &sim.disk.crash(CrashPolicy::RenameWithoutData, 5),
        &[("fresh", b"fresh"), ("grown", b"old"), ("hollow", b""), ("target", b"after")],
    );
}

/// Breaks if a forgotten sync of a directory goes unnoticed.
#[test]
fn rename_lost_keeps_data_and_removals() {
    has(
        &crashed(CrashPolicy::RenameLost),
        &[("grown", b"old+new"), ("source", b"after"), ("target", b"before")],
    );
}

/// Breaks if deleted files never come back.
#[test]
fn unlink_lost_keeps_all_but_removals() {
    has(
        &crashed(CrashPolicy::UnlinkLost),
        &[("doomed", b"doomed"), ("fresh", b"fresh"), ("grown", b"old+new"), ("target", b"after")],
    );
}

/// Breaks if a removal never overtakes the changes that allowed it.
#[test]
fn unlink_first_keeps_removals_alone() {
    has(
        &crashed(CrashPolicy::UnlinkFirst),
        &[("grown", b"old"), ("source", b"after"), ("target", b"before")],
    );
}

/// Breaks if prefixes have holes, or files are not cut independently.
#[test]
fn prefix_per_file_cuts_each_file_at_its_own_point() {
    let mut seen = BTreeSet::new();
    for seed in 0..256 {
        let sim = Sim::new(1);
        let files = [sim.durable("a", b""), sim.durable("b", b"")];
        for at in 0..4 {
            files.iter().for_each(|file| file.write_at(&[b'0' + at], u64::from(at)).unwrap());
        }
        let found = contents(&sim.disk.crash(CrashPolicy::PrefixPerFile, seed));
        assert!(found.iter().all(|(_, bytes)| b"0123".starts_with(bytes)), "{found:?}");
        seen.insert((found[0].1.len(), found[1].1.len()));
    }
    assert_eq!(seen.len(), 25, "every pair of prefixes");
}

/// Breaks if later blocks never survive earlier ones, or blocks are not of the grain.
#[test]
fn subset_per_file_scatters_blocks_of_its_grain() {
    for grain in [1_usize, 512, 4_096] {
        let (mut holes, mut early_ends) = (0, 0);
        for seed in 0..32 {
            let sim = Sim::new(1);
            let file = sim.durable("f", b"");
            file.write_at(&[1; 20_000], 100).unwrap();
            let policy = CrashPolicy::SubsetPerFile { grain: grain as u32 };
            let bytes = sim.disk.crash(policy, seed).read_file("f").unwrap();
            let lost = |at: usize| bytes.get(at) != Some(&1);
            for at in 100..20_100 {
                // Inside a block all bytes share one fate.
                assert!(at % grain == 0 || at == 100 || lost(at) == lost(at - 1), "byte {at}");
            }
            early_ends += usize::from(bytes.len() < 20_100);
            holes += usize::from(bytes.get(100..).unwrap_or_default().contains(&0));
        }
        assert!(holes > 16 && early_ends > 4, "grain {grain}: {holes} holes, {early_ends} ends");
    }
}

/// Breaks if a torn operation is torn at whole writes only, or in the middle of the order.
#[test]
fn torn_op_cuts_the_order_of_the_whole_disk_at_a_byte() {
    let mut lengths = BTreeSet::new();
    for seed in 0..400 {
        let sim = Sim::new(1);
        let (a, b) = (sim.durable("a", b""), sim.durable("b", b""));
        a.write_at(b"0123", 0).unwrap();
        b.write_at(b"4567", 0).unwrap();
        a.write_at(b"89", 4).unwrap();
        let found = contents(&sim.disk.crash(CrashPolicy::TornOp, seed));
        let (a, b) = (&found[0].1, &found[1].1);
        assert!(b"012389".starts_with(a) && b"4567".starts_with(b), "{found:?}");
        assert!(b.is_empty() || a.len() >= 4, "{found:?}");
        assert!(a.len() <= 4 || b.len() == 4, "{found:?}");
        lengths.insert(a.len() + b.len());
    }
    assert_eq!(lengths, (0..=10).collect());
}

/// Breaks if the write during which the power goes off can never be torn, or is whole too early.
#[test]
fn the_write_in_flight_is_invisible_but_may_have_landed() {
    let mut lengths = BTreeSet::new();
    for seed in 0..200 {
        let sim = Sim::new(1);
        let file = sim.durable("f", b"");
        sim.disk.power_off_at(sim.disk.ops());
        file.write_at(b"torn", 0).unwrap_err();
        file.write_at(b"late", 4).unwrap_err();
        assert!(sim.disk.is_off());
        assert_eq!(sim.disk.read_file("f").unwrap(), b"");
        let found = sim.disk.crash(CrashPolicy::TornOp, seed).read_file("f").unwrap();
        assert!(b"torn".starts_with(&found));
        lengths.insert(found.len());
    }
    assert_eq!(lengths, (0..=4).collect());
}

/// Breaks if a crash yields a state that no order of the changes can explain.
#[test]
fn every_crash_leaves_a_possible_directory() {
    for (number, policy) in CrashPolicy::ALL.iter().enumerate() {
        for seed in 0..200 {
            let sim = Sim::new(1);
            sim.durable("current", b"one");
            for (name, bytes) in [("tmp", b"two"), ("tmp", b"thr")] {
                let file = sim.create(name);
                file.write_at(bytes, 0).unwrap();
                file.sync_data().unwrap();
                sim.rename("tmp", "current");
            }
            sim.rename("current", "moved");
            sim.create("current");
            let after = sim.disk.crash(*policy, seed * 31 + number as u64);
            let found = contents(&after);
            let names: BTreeSet<_> = found.iter().map(|(name, _)| name.as_str()).collect();
            // A file is renamed away or it is not: it never has two names, and is never gone.
            let full: Vec<_> = found.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
            assert!(!full.is_empty(), "{policy:?} {seed}: {found:?}");
            let distinct: BTreeSet<_> = full.iter().map(|(_, bytes)| bytes).collect();
            assert_eq!(distinct.len(), full.len(), "{policy:?} {seed}: {found:?}");
            assert!(names.contains("current") || names.contains("moved"), "{policy:?}: {found:?}");
        }
    }
}

/// Breaks if a file survives in a directory that did not.
#[test]
fn a_lost_directory_takes_its_files_along() {
    let sim = Sim::new(1);
    sim.fs.create_dir(&sim.path("d")).unwrap();
    let file = sim.create("d/f");
    file.write_at(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    sim.fs.sync_dir(&sim.path("d")).unwrap();
    has(&sim.disk.fork().crash(CrashPolicy::LoseAll, 1), &[]);
    sim.sync_root();
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("d/f", b"synced")]);
}

/// Breaks if reserved room, cuts and lengths are durable without a sync.
#[test]
fn lengths_need_a_sync_too() {
    let sim = Sim::new(1);
    let file = sim.durable("f", b"0123456789");
    file.set_len(4).unwrap();
    file.allocate(6).unwrap();
    has(&sim.disk.fork().crash(CrashPolicy::LoseAll, 1), &[("f", b"0123456789")]);
    file.sync_data().unwrap();
    has(&sim.disk.crash(CrashPolicy::LoseAll, 1), &[("f", b"0123\0\0")]);
}

/// Breaks if a handle, a lock or a held clock of the old life reaches into the new one.
#[test]
fn the_old_disk_is_dead_and_the_new_one_is_fresh() {
    let sim = Sim::new(9);
    let file = sim.durable("f", b"kept");
    let held = sim.fs.lock(&sim.path("LOCK")).unwrap();
    sim.sync_root();
    sim.disk.clock().advance(std::time::Duration::from_secs(5));
    let after = Sim::on(sim.disk.crash(CrashPolicy::LoseAll, 1));

    file.write_at(b"DEAD", 0).unwrap_err();
    file.sync_data().unwrap_err();
    sim.fs.read_dir(sim.disk.root()).unwrap_err();
    assert!(sim.disk.is_off() && !after.disk.is_off());
    assert_eq!(sim.disk.fired(), 3);
    assert_eq!((after.disk.ops(), after.disk.fired()), (0, 0));
    after.fs.lock(&after.path("LOCK")).unwrap();
    drop(held);
    assert_eq!(after.disk.read_file("f").unwrap(), b"kept");
    let (old, new) = (sim.disk.env().clock, after.disk.env().clock);
    assert_eq!(old.wall_millis(), new.wall_millis());
    assert_ne!(sim.disk.env().entropy.next_u64(), after.disk.env().entropy.next_u64());
}

/// Breaks if a failure cannot be replayed from its seed.
#[test]
fn the_same_seed_and_calls_give_the_same_bytes() {
    for policy in CrashPolicy::ALL {
        for seed in 0..20 {
            let run = || contents(&loose_ends().disk.crash(*policy, seed));
            assert_eq!(run(), run(), "{policy:?} {seed}");
        }
    }
}

/// Breaks if forks share more than bytes that neither has written since.
#[test]
fn a_fork_is_independent() {
    let sim = loose_ends();
    let before = contents(&sim.disk);
    let fork = Sim::on(sim.disk.fork());
    fork.open("grown").write_at(b"FORK", 0).unwrap();
    fork.remove("target");
    fork.disk.flip_bit("fresh", 3).unwrap();
    assert_eq!(contents(&sim.disk), before);
    sim.open("grown").write_at(b"SIM", 0).unwrap();
    has(&fork.disk, &[("fresh", b"nresh"), ("grown", b"FORKnew")]);
    // What was pending is pending in the fork as well.
    let lost = sim.disk.fork().crash(CrashPolicy::LoseAll, 1);
    assert_eq!(lost.read_file("grown").unwrap(), b"old");
}

/// Breaks if forking or crashing an image costs so much that a sweep over all bits is out of reach.
#[test]
fn thousands_of_forks_of_an_image_share_its_bytes() {
    let sim = Sim::new(1);
    for name in ["a", "b", "c", "d"] {
        sim.durable(name, &vec![0x5A; 25_000]);
    }
    let image = sim.disk.crash(CrashPolicy::LoseAll, 1);
    let mut forks = Vec::new();
    for bit in 0..20_000 {
        let fork = Sim::on(image.fork());
        fork.disk.flip_bit("c", bit * 10).unwrap();
        let file = fork.fs.open(&fork.path("c"), Access::Read).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, bit * 10 / 8).unwrap();
        assert_eq!(byte[0], 0x5A ^ (1 << (bit * 10 % 8)));
        if bit % 1_000 == 0 {
            forks.push((bit, fork));
        }
    }
    for (bit, fork) in forks {
        let bytes = fork.disk.read_file("c").unwrap();
        let changed = bytes.iter().filter(|byte| **byte != 0x5A).count();
        assert_eq!(changed, 1, "bit {bit}");
    }
    assert!(image.read_file("c").unwrap().iter().all(|byte| *byte == 0x5A));
}
