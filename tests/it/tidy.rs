//! The shape of the source: floors, doors, locks, sizes. What a reviewer would otherwise check.

mod checks;
mod documents;
mod ladder;
mod source;

use std::io;
use std::path::{Path, PathBuf};

use checks::{check, edge_count};
use source::Source;

/// The house would lose its order: see the findings, each with its file and line.
#[test]
fn the_source_keeps_its_shape() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    let mut sources = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&root).map_err(io::Error::other)?;
        let path = path.to_string_lossy().replace('\\', "/");
        sources.push(Source::new(&path, &std::fs::read_to_string(file)?));
    }
    assert!(sources.iter().any(|source| source.path == "lib.rs"), "no lib.rs among {files:?}");
    assert!(edge_count(&sources) > 0, "no file names another: nothing was checked");

    let findings: Vec<String> = check(&sources).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the test reads the source tree, not a log")]
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// A tidy crate in small, which each bad file below is put into.
const GOOD: [(&str, &str); 8] = [
    ("lib.rs", "#![forbid(unsafe_code)]\nmod offset;\npub use offset::Offset;\n"),
    ("sync.rs", "pub(crate) use parking_lot::Mutex;\n"),
    ("env/mod.rs", "pub mod disk;\npub trait Fs { fn len(&self) -> u64; }\n"),
    ("env/disk.rs", "use std::{fs, thread};\nuse super::Fs;\nfn now() { Instant::now(); }\n"),
    ("limits.rs", "pub(crate) const MAX: u8 = 1; // std::fs is not named here\n"),
    ("offset.rs", "use crate::limits::MAX;\nfn f(x: &'static str) { \"println!\"; }\n"),
    ("storage/mod.rs", "mod segment;\nmod view;\n"),
    ("storage/segment.rs", "use crate::offset::Offset;\n#[cfg(test)]\nmod tests { use super::*; }"),
];

/// What `check` says about the tidy crate with `files` put in or in place of its own.
fn findings_with(files: &[(&str, &str)]) -> Vec<String> {
    let kept = GOOD.iter().filter(|(path, _)| files.iter().all(|(other, _)| other != path));
    let sources: Vec<Source> =
        kept.chain(files).map(|(path, text)| Source::new(path, text)).collect();
    check(&sources).iter().map(ToString::to_string).collect()
}

/// The checks would complain about what is in order, and be switched off.
#[test]
fn a_tidy_crate_has_no_findings() {
    assert_eq!(findings_with(&[]), [""; 0]);
    let allowed = [
        ("storage/view.rs", "use super::segment::Segment;\n"),
        ("storage/shard.rs", "use crate::sync::Mutex;\nmod held { use super::Shard; }\n"),
        ("env/sim.rs", "mod crash;\nfn f() { crash::run(); }\n"),
        ("env/sim/crash.rs", "use crate::sync::Mutex;\nfn f() -> impl A + use<> { *g() }\n"),
        ("testing.rs", "pub use crate::env::disk::Disk;\n"),
    ];
    assert_eq!(findings_with(&allowed), [""; 0]);
}

/// A check that cannot fail would guard nothing: each bad file has exactly the finding it should.
#[test]
fn every_check_finds_what_it_is_for() {
    let cases = [
        ("utils.rs", "", "has no place on the ladder"),
        ("storage/extra.rs", "", "has no place on the ladder"),
        ("lib.rs", "mod offset;\n", "must say #![forbid(unsafe_code)]"),
        ("lib.rs", "#![forbid(unsafe_code)]\nfn f() {}\n", "src/lib.rs:2: holds logic"),
        ("storage/mod.rs", "mod view;\nfn f() {\n}\n", "src/storage/mod.rs:2: holds logic"),
        ("offset.rs", "use crate::record::Record;\n", "imported from the crate root"),
        ("offset.rs", "use crate::Offset;\n", "imported from the crate root"),
        ("offset.rs", "use super::Offset;\n", "imported from the crate root"),
        ("offset.rs", "\nuse crate::storage::segment::S;\n", "src/offset.rs:2: must not name"),
        ("limits.rs", "fn f() { crate::offset::Offset::new(1); }\n", "it stands to the left"),
        ("limits.rs", "use crate::{sync::Atomic as A, offset::O};\n", "offset: on floor 1 it"),
        ("storage/view.rs", "use crate::storage::Segment;\n", "names the folder storage"),
        ("storage/view.rs", "use super::{Segment};\n", "names the folder storage"),
        ("storage/view.rs", "use crate::offset::*;\n", "imports by glob"),
        ("storage/view.rs", "use std::fs::File;\n", "`std::fs` is named only in env"),
        ("storage/view.rs", "use std::{io, fs};\n", "`std::fs` is named only in env"),
        ("storage/view.rs", "fn f() { Instant::now(); }\n", "`Instant::now` is named only"),
        ("storage/view.rs", "fn f() { SystemTime::now(); }\n", "`SystemTime::now` is named"),
        ("storage/view.rs", "fn f() { std::thread::spawn(g); }\n", "`thread::spawn` is named"),
        ("storage/view.rs", "fn f() { thread::sleep(d); }\n", "`thread::sleep` is named"),
        ("storage/view.rs", "fn f() { thread::Builder::new(); }\n", "`thread::Builder` is"),
        ("storage/view.rs", "use std::hash::RandomState;\n", "`RandomState` is named only"),
        ("storage/view.rs", "fn f() { println!(); }\n", "`println!` is used nowhere"),
        ("storage/view.rs", "fn f() { eprintln!(); }\n", "`eprintln!` is used nowhere"),
        ("env/disk.rs", "fn f() { dbg!(1); }\n", "`dbg!` is used nowhere"),
        ("storage/view.rs", "static A: u8 = 1;\n", "no statics"),
        ("env/disk.rs", "pub static mut A: u8 = 1;\n", "no statics"),
        ("env/disk.rs", "use std::env;\n", "`std::env` is used nowhere"),
        ("env/disk.rs", "fn f() { env::var(\"A\"); }\n", "`env::var` is used nowhere"),
        ("storage/view.rs", "struct A(Mutex<u8>);\n", "`Mutex`: this file may not"),
        ("storage/view.rs", "struct A(Condvar);\n", "`Condvar`: this file may not"),
        ("env/mod.rs", "pub use disk::Disk;\n", "env/disk: on floor 1 it stands to the left"),
        ("lib.rs", "#![forbid(unsafe_code)]\npub use storage::S;\n", "names the folder storage"),
        ("worker.rs", "use crate::env::Fs;\n", "only testing may open the door"),
        ("dlq.rs", "use crate::env::disk::Disk;\n", "only testing may open the door"),
    ];
    for (path, text, expected) in cases {
        let mut findings = findings_with(&[(path, text)]);
        // A step up the ladder usually closes a circle as well, which is checked below.
        findings.retain(|finding| !finding.ends_with("a circle of files"));
        let found = findings.len() == 1 && findings.iter().all(|one| one.contains(expected));
        assert!(found, "{path}: {text:?} should give {expected:?} alone, gave {findings:#?}");
    }
}

/// An edge that leads downward, but into what a floor must not know, would pass.
#[test]
fn forbidden_edges_are_found() {
    let name = ("name.rs", "pub struct TopicName;\n");
    let findings = findings_with(&[name, ("storage/view.rs", "use crate::name::TopicName;\n")]);
    assert_eq!(
        findings,
        ["src/storage/view.rs:1: must not name name: storage knows topics by number"]
    );
}

/// Files could grow without end, or hide behind their tests.
#[test]
fn sizes_are_counted_without_tests() {
    let line = "const A: u8 = 1;\n";
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(700));
    let fits = line.repeat(600) + &tests;
    assert_eq!(findings_with(&[("offset.rs", &fits)]), [""; 0]);
    let over = line.repeat(601) + &tests;
    assert_eq!(
        findings_with(&[("offset.rs", &over)]),
        ["src/offset.rs:1: has 601 lines, at most 600 are allowed"]
    );

    let function = |lines: usize| format!("\nfn f()\n{{\n{}}}\n", "    a();\n".repeat(lines - 3));
    assert_eq!(findings_with(&[("offset.rs", &function(80))]), [""; 0]);
    assert_eq!(
        findings_with(&[("offset.rs", &function(81))]),
        ["src/offset.rs:2: this function has 81 lines, not 80"]
    );
}

/// Files of one family, whose order is free, could name each other in a circle.
#[test]
fn circles_are_found_even_within_a_family() {
    let circle = [
        ("env/sim.rs", "mod crash;\nuse crash::Crash;\n"),
        ("env/sim/crash.rs", "use super::fault::Fault;\n"),
        ("env/sim/fault.rs", "\nuse super::super::sim::crash::Crash;\n"),
    ];
    let findings = findings_with(&circle);
    assert_eq!(
        findings,
        [
            "src/env/sim/crash.rs:1: names env/sim/fault, which leads back here: a circle of files",
            "src/env/sim/fault.rs:2: names env/sim/crash, which leads back here: a circle of files",
        ]
    );
}
