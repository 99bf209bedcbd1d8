//! Errors that a traced child is given by its kernel, at one system call after the other.
//!
//! A rehearsal writes down the calls of a scripted life that touch its directory. Each of them then
//! fails in a life of its own, with an error that the real call gives on real machines.

use std::collections::BTreeMap;
use std::path::Path;

use brooklet::Log;

use super::child::child;
use super::told::{After, Told, goes_on};
use super::tools::{Need, able, aloud, in_memory, is_long, sample};
use crate::processes::child::Process;

/// Every call by which a log may reach its directory; those of other machines' kernels included.
const CALLS: &str = "openat,?open,pread64,pwrite64,fdatasync,fsync,ftruncate,fallocate,\
     ?rename,?renameat,?renameat2,?unlink,?unlinkat,?mkdir,?mkdirat,?rmdir,getdents64,flock";

/// One line of a trace: who called what, on what, and what was injected.
#[derive(Debug)]
struct Call {
    name: String,
    /// Which of the thread's calls of that name it is, counted from 1 as strace does.
    ordinal: usize,
    text: String,
}

/// The calls of a trace, those that it shows in two parts once.
fn calls_of(trace: &str) -> Vec<Call> {
    let mut counts = BTreeMap::<(String, String), usize>::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        let Some((name, _)) = text.split_once('(') else { continue };
        if name.contains(' ') {
            continue;
        }
        let count = counts.entry((thread.to_owned(), name.to_owned())).or_default();
        *count += 1;
        calls.push(Call { name: name.to_owned(), ordinal: *count, text: text.to_owned() });
    }
    calls
}

/// A life under strace, with `extra` arguments.
fn start(dir: &Path, extra: &[&str]) -> Process {
    let log = dir.join("log");
    let trace = dir.join("trace");
    let calls = format!("trace={CALLS}");
    let trace = trace.to_str().unwrap();
    let mut before = vec!["strace", "-f", "-y", "-o", trace, "-e", &calls];
    before.extend(extra);
    Process::spawn(&mut child(&before, "life", (&log, "first")))
}

/// Lives a life under strace to its end; returns what was said and the trace.
fn traced(dir: &Path, extra: &[&str]) -> (Told, String) {
    let mut told = Told::default();
    // Faster, and of no use where a signal is injected.
    told.note_all(&start(dir, &[&["--seccomp-bpf"], extra].concat()).finish());
    assert_eq!(told.other, ["end"], "the child said nothing that is understood");
    (told, std::fs::read_to_string(dir.join("trace")).unwrap())
}

/// The calls of these names that touch the log, in a life in which nothing fails.
fn rehearse(names: &[&str]) -> Vec<Call> {
    let dir = in_memory();
    let (told, trace) = traced(dir.path(), &[]);
    assert_eq!(told.failures, [], "a life without failures fails");
    let here = dir.path().join("log").to_str().unwrap().to_owned();
    let ours = |call: &Call| names.contains(&call.name.as_str()) && call.text.contains(&here);
    let targets = calls_of(&trace).into_iter().filter(ours).collect::<Vec<_>>();
    assert!(!targets.is_empty(), "no {names:?} in a life");
    targets
}

/// What the child has left is what it said; the log goes on, and ends cleanly.
fn settle(dir: &Path, told: &mut Told, case: &str) {
    let log = Log::open(dir.join("log")).unwrap();
    told.check(&log, After::Process);
    goes_on(&log, told, "after");
    drop(log);
    let log = Log::open(dir.join("log")).unwrap();
    assert!(log.recovery().was_clean, "{case}");
    told.check(&log, After::Process);
}

/// Fails call by call of these names with `error`; returns how many failures fired.
fn sweep(test: &str, names: &[&str], error: &str, step: usize) {
    if !able(test, &[Need::Trace]) {
        return;
    }
    let mut noticed = 0;
    let all = sample(rehearse(names), step);
    for Call { name, ordinal, .. } in &all {
        let dir = in_memory();
        let inject = format!("inject={name}:error={error}:when={ordinal}");
        let (mut told, trace) = traced(dir.path(), &["-e", &inject]);
        let fired = trace.lines().filter(|line| line.contains("(INJECTED)")).collect::<Vec<_>>();
        assert!(fired.iter().any(|line| line.contains("/log")), "{inject}: nothing fired");
        if error == "EINTR" {
            assert_eq!(told.failures, [], "{inject}: an interrupted call is gone on with");
        }
        noticed += usize::from(!told.failures.is_empty());
        settle(dir.path(), &mut told, &inject);
    }
    if error != "EINTR" && !names.contains(&"fallocate") {
        assert!(noticed > 0, "{names:?}: nobody noticed any of {} failures", all.len());
    }
    if is_long() {
        aloud(&format!("{test}: {} failures by {error}, {noticed} of them told", all.len()));
    }
}

/// A sync that fails would be answered with an acknowledgement, or cost what was acknowledged.
#[test]
fn any_sync_of_a_file_can_fail() {
    let test = "any_sync_of_a_file_can_fail";
    sweep(test, &["fdatasync"], "EIO", 9);
    sweep(test, &["fdatasync"], "ENOSPC", 14);
}

/// A directory's sync that fails would leave a file that is believed to be there.
#[test]
fn any_sync_of_a_directory_can_fail() {
    sweep("any_sync_of_a_directory_can_fail", &["fsync"], "EIO", 7);
}

/// A write that fails would leave a record behind that its sender was told is not there.
#[test]
fn any_write_can_fail() {
    let test = "any_write_can_fail";
    sweep(test, &["pwrite64"], "EIO", 17);
    sweep(test, &["pwrite64"], "ENOSPC", 16);
}

/// A signal that interrupts a call would be taken for a failure.
#[test]
fn an_interrupted_call_is_gone_on_with() {
    let test = "an_interrupted_call_is_gone_on_with";
    for (name, step) in [("pwrite64", 60), ("pread64", 40), ("fdatasync", 50), ("openat", 50)] {
        sweep(test, &[name], "EINTR", step);
    }
}

/// A step on names that fails would leave neither the old state nor the new one.
#[test]
fn any_step_on_names_can_fail() {
    let test = "any_step_on_names_can_fail";
    sweep(test, &["rename", "renameat", "renameat2"], "EIO", 3);
    sweep(test, &["unlink", "unlinkat"], "EIO", 7);
    sweep(test, &["mkdir", "mkdirat"], "ENOSPC", 3);
    sweep(test, &["ftruncate", "fallocate"], "EIO", 7);
}

/// An open or a listing that is refused would be taken for damage, or for a file that is not there.
#[test]
fn any_open_and_listing_can_fail() {
    let test = "any_open_and_listing_can_fail";
    sweep(test, &["openat"], "EMFILE", 15);
    sweep(test, &["openat"], "EACCES", 19);
    sweep(test, &["getdents64"], "EIO", 7);
    sweep(test, &["pread64"], "EIO", 13);
    sweep(test, &["flock"], "EIO", 2);
}

/// A process that is killed in the middle of a step would leave a directory that is no log.
#[test]
fn a_process_can_be_killed_at_any_call() {
    if !able("a_process_can_be_killed_at_any_call", &[Need::Trace]) {
        return;
    }
    let names = [
        "openat",
        "pwrite64",
        "fdatasync",
        "fsync",
        "ftruncate",
        "fallocate",
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "mkdir",
        "mkdirat",
        "rmdir",
    ];
    let mut acked = 0;
    for Call { name, ordinal, .. } in sample(rehearse(&names), 13) {
        let dir = in_memory();
        let inject = format!("inject={name}:signal=KILL:when={ordinal}");
        let mut process = start(dir.path(), &["-e", &inject]);
        let mut told = Told::default();
        while let Some(line) = process.line() {
            told.note(&line);
        }
        assert_eq!(told.other, [""; 0], "{inject}: it was not killed");
        acked += told.acked();
        settle(dir.path(), &mut told, &inject);
    }
    assert!(acked > 0, "all were killed before the first ack");
}
