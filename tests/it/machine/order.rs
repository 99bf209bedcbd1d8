//! The order of the system calls that a log makes, as its kernel sees it.
//!
//! No real file system shows that a directory was not synced, or a file was renamed too early: the
//! entry comes along with something else. What can be seen is whether the call was made in time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use brooklet::Log;

use super::child::{FIRM, LOOSE, child, config_of};
use super::told::{After, Told, goes_on};
use super::tools::{Need, able, in_memory, run, tool};
use crate::processes::child::Process;

/// A step of the child, in the order in which its kernel saw them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Create(String),
    MakeDir(String),
    Write(String),
    Sync(String),
    SyncDir(String),
    Rename(String, String),
    Unlink(String),
    Said(String),
}

/// Takes a trace apart: only what touches `dir`, with paths below it, and what was said.
fn steps(trace: &str, dir: &Path) -> Vec<Step> {
    let root = dir.to_str().unwrap();
    let below = |text: &str| {
        let at = text.find(root)? + root.len();
        let end = text[at..].find(['>', '"']).unwrap();
        Some(text[at..at + end].trim_start_matches('/').to_owned())
    };
    let mut steps = Vec::new();
    for line in trace.lines() {
        let Some((_, call)) = line.split_once(' ') else { continue };
        let Some((name, rest)) = call.trim_start().split_once('(') else { continue };
        assert!(!line.contains("<unfinished"), "two threads at once: {line}");
        if name == "write" && rest.starts_with("1<") {
            let said = rest.split_once("\"> ").and_then(|(_, said)| said.split_once("\\n"));
            steps.extend(said.map(|(said, _)| Step::Said(said.to_owned())));
            continue;
        }
        let Some(path) = below(rest).filter(|_| !rest.contains(") = -1 ")) else { continue };
        steps.push(match name {
            "openat" if rest.contains("O_CREAT") => Step::Create(path),
            "mkdir" | "mkdirat" => Step::MakeDir(path),
            "pwrite64" | "ftruncate" | "fallocate" => Step::Write(path),
            "fdatasync" => Step::Sync(path),
            "fsync" => Step::SyncDir(path),
            "unlink" | "unlinkat" => Step::Unlink(path),
            "rename" | "renameat" | "renameat2" => {
                let (_, to) = rest.split_once(&path).unwrap();
                Step::Rename(path.clone(), below(to).unwrap())
            }
            _ => continue,
        });
    }
    steps
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// What the kernel knows at one moment of a walk through the steps.
#[derive(Default)]
struct Kernel {
    /// Files with writes behind their last sync.
    dirty: BTreeSet<String>,
    /// Names of files and directories whose directory was not synced since.
    unlisted: BTreeSet<String>,
    /// The newest segment of each topic.
    newest: BTreeMap<String, String>,
    /// Topics that have begun a segment since their last durable ack.
    rolled: BTreeSet<String>,
    /// How often each rule was looked at.
    looked: BTreeMap<&'static str, usize>,
}

impl Kernel {
    fn rule(&mut self, rule: &'static str, holds: bool, step: &Step) {
        *self.looked.entry(rule).or_default() += 1;
        assert!(holds, "{rule}: {step:?}; dirty {:?}, unlisted {:?}", self.dirty, self.unlisted);
    }

    fn is_clean(&self, under: &str) -> bool {
        let is_under = |path: &&String| path.starts_with(under) && !path.ends_with("next.jnl");
        !self.dirty.iter().any(|path| is_under(&path))
            && !self.unlisted.iter().any(|path| is_under(&path))
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create(path) if path.ends_with(".seg") => {
                self.unlisted.insert(path.clone());
                self.dirty.insert(path.clone());
                let topic = parent(parent(path)).to_owned();
                self.rolled.insert(topic.clone());
                self.newest.insert(topic, path.clone());
            }
            Step::Create(path) if path != "LOCK" => _ = self.dirty.insert(path.clone()),
            Step::Create(_) => {}
            Step::MakeDir(path) => _ = self.unlisted.insert(path.clone()),
            Step::Write(path) => {
                if path.starts_with("manifest/0") {
                    // Every segment and directory that a row may name is there before the row.
                    let there = |kernel: &Self| {
                        kernel.unlisted.iter().all(|path| !path.starts_with("topics"))
                    };
                    self.rule("a row names only what is listed", there(self), step);
                }
                self.dirty.insert(path.clone());
            }
            Step::Sync(path) => _ = self.dirty.remove(path),
            Step::SyncDir(dir) => self.unlisted.retain(|path| parent(path) != dir),
            Step::Rename(from, to) => {
                let is_synced = !self.dirty.contains(from);
                self.rule("a file is synced before it gets its name", is_synced, step);
                self.unlisted.insert(to.clone());
            }
            Step::Unlink(path) => {
                if path.ends_with(".seg") {
                    let is_durable = self.is_clean("manifest/");
                    self.rule("a row is durable before its file goes", is_durable, step);
                }
                self.dirty.remove(path);
                self.unlisted.remove(path);
            }
            Step::Said(said) => self.take_said(said, step),
        }
    }

    fn take_said(&mut self, said: &str, step: &Step) {
        let words = said.split(' ').collect::<Vec<_>>();
        match words[0] {
            "durable" => {
                let topic = if words[1] == FIRM { "topics/1" } else { "topics/2" };
                let newest = self.newest[topic].clone();
                let is_synced = self.is_clean(&newest);
                self.rule("a record is synced before its ack", is_synced, step);
                if self.rolled.remove(topic) {
                    let is_listed = self.is_clean("manifest/") && self.unlisted.is_empty();
                    self.rule("a segment is listed durably before its first ack", is_listed, step);
                }
            }
            "committed" => {
                let is_synced = self.is_clean("offsets/");
                self.rule("a commit is synced before its ack", is_synced, step);
            }
            "end" => {
                let is_clean = self.is_clean("manifest/") && self.is_clean("catalog/");
                self.rule("a close syncs the books", is_clean, step);
            }
            _ => {}
        }
    }
}

/// A sync would be forgotten where no crash of a real machine shows it.
#[test]
fn everything_is_synced_before_it_is_relied_on() {
    if !able("everything_is_synced_before_it_is_relied_on", &[Need::Trace]) {
        return;
    }
    let dir = in_memory();
    let (log, trace) = (dir.path().join("log"), dir.path().join("trace"));
    let calls = "trace=openat,pwrite64,fdatasync,fsync,ftruncate,fallocate,write,\
         ?rename,?renameat,?renameat2,?unlink,?unlinkat,?mkdir,?mkdirat";
    let output = trace.to_str().unwrap();
    let before = ["strace", "-f", "-y", "-s", "200", "-o", output, "-e", calls];
    let mut told = Told::default();
    told.note_all(&Process::spawn(&mut child(&before, "life", (&log, "first"))).finish());
    assert_eq!(told.failures, []);
    let trace = fs::read_to_string(trace).unwrap();
    let mut kernel = Kernel::default();
    for step in steps(&trace, &log) {
        kernel.take(&step);
    }
    let least = [
        ("a row names only what is listed", 20),
        ("a file is synced before it gets its name", 6),
        ("a row is durable before its file goes", 3),
        ("a record is synced before its ack", 50),
        ("a segment is listed durably before its first ack", 4),
        ("a commit is synced before its ack", 3),
        ("a close syncs the books", 1),
    ];
    for (rule, least) in least {
        let looked = kernel.looked.get(rule).copied().unwrap_or(0);
        assert!(looked >= least, "{rule}: looked at {looked} times, not {least}");
    }
    told.check(&Log::open(&log).unwrap(), After::Process);
}

/// One slow disk sync would keep everybody waiting, or be told as something that did not happen.
#[test]
fn a_sync_that_does_not_end_keeps_only_its_own_partition_waiting() {
    if !able("a_sync_that_does_not_end_keeps_only_its_own_partition_waiting", &[Need::Trace]) {
        return;
    }
    let dir = in_memory();
    let log = dir.path().join("log");
    let made = Log::open(&log).unwrap();
    for topic in [FIRM, LOOSE] {
        made.create_topic(topic, config_of(topic).segment_bytes(1 << 20)).unwrap();
    }
    let mut told = Told::default();
    for topic in [FIRM, LOOSE] {
        told.note(&format!("try {topic} made 0"));
        let value = super::child::value_of("made", 0);
        let producer = made.producer(topic).unwrap();
        producer.send(brooklet::Record::new(&value)).unwrap();
        told.note(&format!("durable {topic} made 0 0 0"));
    }
    made.close().unwrap();
    // The session goes on in the segment that is there, so that its name is known beforehand.
    let segments = fs::read_dir(log.join("topics/1/0")).unwrap();
    let segment = segments.map(|entry| entry.unwrap().path()).next().unwrap();
    let trace = dir.path().join("trace");
    let (segment, output) = (segment.to_str().unwrap(), trace.to_str().unwrap());
    // An hour, in microseconds: nobody waits for it.
    let inject = "inject=fdatasync:delay_exit=3600000000";
    let before = ["strace", "-f", "-y", "-P", segment, "-o", output, "-e", inject];
    let mut command = child(&before, "hang", (&log, "first"));
    // The tracer complains of the hour.
    let mut process = Process::spawn(command.stderr(std::process::Stdio::null()));
    told.note_all(&process.until("progressed"));
    // First the child, which its tracer holds; then the tracer, which would wait for the hour to end.
    let pid = told.other.iter().find_map(|line| line.strip_prefix("pid ")).unwrap();
    run(tool("kill").args(["-KILL", pid]));
    told.note_all(&process.kill());
    assert!(!told.other.contains(&"the sync has ended".to_owned()), "{:?}", told.other);
    assert!(told.acked() > 20, "{} acks", told.acked());
    let [(step, kind, _)] = told.failures.as_slice() else { panic!("{:?}", told.failures) };
    assert_eq!((step.as_str(), kind.as_str()), ("send", "Timeout"));
    assert_eq!(told.not_appended(), 1, "what found no room was not appended");
    // The kernel may take a moment to let go of the lock of a process that was traced.
    let options = brooklet::LogOptions::new().wait_for_lock(std::time::Duration::from_secs(600));
    let log = options.open(&log).unwrap();
    told.check(&log, After::Process);
    goes_on(&log, &mut told, "after");
}
