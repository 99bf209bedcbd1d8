//! Damage at rest: what a test does to files while nobody has them open.

use std::io::ErrorKind;
use std::path::PathBuf;

use brooklet::testing::{CrashPolicy, SimDisk};

use super::{Sim, has};

/// Breaks if an edit is lost with the power, or does not show at once.
#[test]
fn edits_are_visible_and_durable_at_once() {
    let disk = SimDisk::new(1);
    disk.write_file("a", b"first, longer").unwrap();
    disk.write_file("a", b"second").unwrap();
    disk.write_file("b", b"b").unwrap();
    disk.write_file(disk.root().join("c"), b"c").unwrap();
    disk.flip_bit("a", 8).unwrap();
    disk.rename("b", "moved").unwrap();
    disk.remove("c").unwrap();
    assert_eq!(disk.ops(), 0, "an edit is not an operation");
    has(&disk, &[("a", b"sdcond"), ("moved", b"b")]);
    has(&disk.crash(CrashPolicy::LoseAll, 1), &[("a", b"sdcond"), ("moved", b"b")]);
}

/// Breaks if an edit of one file changes what is durable of another.
#[test]
fn an_edit_brings_only_what_it_touches_to_rest() {
    let sim = Sim::new(1);
    let (touched, other) = (sim.durable("touched", b""), sim.durable("other", b"synced"));
    touched.write_at(b"unsynced", 0).unwrap();
    other.write_at(b"UNSYNC", 0).unwrap();
    sim.disk.flip_bit("touched", 5).unwrap();
    has(
        &sim.disk.crash(CrashPolicy::LoseAll, 1),
        &[("other", b"synced"), ("touched", b"Unsynced")],
    );
}

/// Breaks if a handle opened before an edit reads something else than the file.
#[test]
fn open_handles_see_edits() {
    let sim = Sim::new(1);
    let file = sim.durable("f", b"before");
    sim.disk.write_file("f", b"af").unwrap();
    let mut buf = [0; 8];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 2);
    assert_eq!(&buf[..2], b"af");
    file.sync_data().unwrap();
}

/// Breaks if a wrong path or bit passes for an edit made.
#[test]
fn impossible_edits_are_refused() {
    let disk = SimDisk::new(1);
    disk.write_file("f", b"ab").unwrap();
    assert_eq!(disk.flip_bit("f", 16).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(disk.flip_bit("no", 0).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.read_file("no").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.remove("no").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.rename("no", "f").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.write_file("no/f", b"").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.write_file("/elsewhere", b"").unwrap_err().kind(), ErrorKind::InvalidInput);
    has(&disk, &[("f", b"ab")]);
}

/// Breaks if a listing is not in order, or leaves out what lies deeper.
#[test]
fn files_are_listed_in_order_and_in_depth() {
    let sim = Sim::new(1);
    for dir in ["b", "b/c", "a"] {
        sim.fs.create_dir(&sim.path(dir)).unwrap();
    }
    for name in ["b/c/2", "z", "b/1", "a/0"] {
        sim.create(name);
    }
    let expected: Vec<PathBuf> =
        ["a/0", "b/1", "b/c/2", "z"].iter().map(|name| sim.path(name)).collect();
    assert_eq!(sim.disk.files(), expected);
    assert_eq!(sim.disk.snapshot().into_keys().collect::<Vec<_>>(), expected);
    sim.disk.remove("b/c/2").unwrap();
    sim.disk.remove("b/c").unwrap();
    assert_eq!(sim.disk.files().len(), 3);
}
