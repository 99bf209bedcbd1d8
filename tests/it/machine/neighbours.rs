//! Other processes: those that want the same directory, and those that a program starts.

use std::fs;
use std::process::{Command, Stdio};

use brooklet::{ErrorKind, Log};

use super::child::{FIRM, child, config_of};
use super::tools::{in_memory, is_long};
use crate::processes::child::Process;

/// Two processes, or two handles, would write the same files.
#[test]
fn of_two_that_race_for_the_lock_one_has_it() {
    let rounds = if is_long() { 1000 } else { 300 };
    let dir = in_memory();
    let log = dir.path().join("log");
    Log::open(&log).unwrap().create_topic(FIRM, config_of(FIRM)).unwrap();
    let start = || Process::spawn(&mut child(&[], "grab", (&log, "racer")));
    let mut racers = [start(), start()];
    let mut won = [0, 0];
    for round in 0..rounds {
        // Whoever is told first has a start, so that they take turns at that.
        racers[round % 2].tell("grab");
        racers[1 - round % 2].tell("grab");
        let said = racers.each_mut().map(|racer| racer.line().unwrap());
        let winner = match said.each_ref().map(String::as_str) {
            ["got, and nobody else", "AlreadyOpen"] => 0,
            ["AlreadyOpen", "got, and nobody else"] => 1,
            other => panic!("round {round}: {other:?}"),
        };
        won[winner] += 1;
        assert_eq!(Log::open(&log).unwrap_err().kind(), ErrorKind::AlreadyOpen);
        if round % 25 == 24 {
            // Whoever is killed takes its lock along.
            racers[winner].kill();
            racers[winner] = start();
        } else {
            racers[winner].tell("leave");
            assert_eq!(racers[winner].line().unwrap(), "left");
        }
    }
    assert_eq!(won[0] + won[1], rounds);
    assert!(won[0] > 0 && won[1] > 0, "there was no race: {won:?}");
    racers.iter_mut().for_each(|racer| _ = racer.finish());
    let log = Log::open(&log).unwrap();
    let records = log.reader(FIRM).stop_at_end().open().unwrap();
    assert_eq!(records.map(Result::unwrap).count(), rounds, "each winner has sent one record");
}

/// A program that a service starts would keep the log's files open, and its lock taken, for ever.
#[test]
fn children_inherit_neither_files_nor_the_lock() {
    let dir = in_memory();
    let path = dir.path().join("log");
    let log = Log::open(&path).unwrap();
    log.create_topic(FIRM, config_of(FIRM)).unwrap();
    log.producer(FIRM).unwrap().send(brooklet::Record::new("one")).unwrap();
    let here = path.to_str().unwrap();
    let open_in = |process: &str| {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|target| target.to_str().unwrap().starts_with(here)).count()
    };
    assert!(open_in("self") > 3, "the log has nothing open");
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    assert_eq!(open_in(&child.id().to_string()), 0);
    log.close().unwrap();
    drop(log);
    let log = Log::open(&path).unwrap();
    assert!(log.recovery().was_clean);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
