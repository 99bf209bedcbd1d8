//! The example's program, run as a child.
#![expect(clippy::disallowed_methods, reason = "the input of a program, and what it leaves behind")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The data that the example embeds.
pub(super) const WEEK: &str = include_str!("../../../examples/data/usgs-quakes-week.jsonl");

/// How a run ended.
pub(super) struct Run {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The program stands beside the directory of the test's own; `cargo test` builds both.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let name = format!("quakes{}", std::env::consts::EXE_SUFFIX);
    let program = own.ancestors().nth(2).unwrap().join("examples").join(name);
    let hint = "`cargo test` builds the examples; `cargo test --test it` alone does not";
    assert!(program.exists(), "{} is missing: {hint}", program.display());
    program
}

/// Runs the program to its end.
pub(super) fn quakes<A: AsRef<OsStr>>(args: &[A]) -> Run {
    let output = Command::new(program()).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run {
        success: output.status.success(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// Runs the program and kills it behind its line number `lines`; false if it ended well before.
pub(super) fn run_until_killed(dir: &Path, lines: usize) -> bool {
    let mut child = Command::new(program());
    let mut child = child.arg(dir).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let told = output.lines().take(lines).collect::<Result<Vec<_>, _>>().unwrap();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    // The program may have come to its end between its last line and the kill.
    let was_killed = status.code().is_none_or(|code| cfg!(windows) && code != 0);
    assert!(was_killed || status.success(), "it failed by itself: {status}, {told:?}");
    was_killed
}

pub(super) fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

/// Every file of segments below a directory, with its bytes.
pub(super) fn listing(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(listing(&path));
        } else if path.extension().is_some_and(|extension| extension == "seg") {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Copies a directory and everything below it.
pub(super) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            std::fs::create_dir(to.join(&name)).unwrap();
            copy(&path, &to.join(&name));
        } else {
            std::fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}
