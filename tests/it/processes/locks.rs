//! Only one process at a time has the directory for writing.

use std::time::Duration;

use brooklet::{ErrorKind, Log, LogOptions, Record, TopicConfig};

use super::child::{CONTESTS, Process, TOPIC};

fn made() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path().join("log")).unwrap();
    log.create_topic(TOPIC, TopicConfig::new().segment_bytes(2048)).unwrap();
    log.close().unwrap();
    dir
}

/// Two processes would write the same files.
#[test]
fn a_second_opener_is_refused_and_the_lock_dies_with_its_process() {
    let dir = made();
    let log = dir.path().join("log");
    let mut writer = Process::start("writer", &log);
    writer.until("ready");
    for _ in 0..3 {
        assert_eq!(Log::open(&log).unwrap_err().kind(), ErrorKind::AlreadyOpen);
    }
    writer.tell("append 1");
    writer.until("done");
    writer.kill();
    let mine = Log::open(&log).unwrap();
    mine.producer(TOPIC).unwrap().send(Record::new("mine")).unwrap();
    mine.close().unwrap();
    let mut next = Process::start("writer", &log);
    next.until("ready");
    assert_eq!(Log::open(&log).unwrap_err().kind(), ErrorKind::AlreadyOpen);
    next.finish();
    drop(Log::open(&log).unwrap());
}

/// A rolling deploy would need a pause between the old process and the new one.
#[test]
fn a_waiting_opener_gets_the_log_when_the_first_process_leaves() {
    let dir = made();
    let log = dir.path().join("log");
    let mut first = Process::start("writer", &log);
    first.until("ready");
    assert_eq!(Log::open(&log).unwrap_err().kind(), ErrorKind::AlreadyOpen);
    let (waits, opened) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            waits.send(()).unwrap();
            let options = LogOptions::new().wait_for_lock(Duration::from_secs(3600));
            let log = options.open(&log).unwrap();
            let found = log.offsets(&super::child::place()).unwrap().end;
            drop(log);
            found
        });
        opened.recv().unwrap();
        // What the first process still does is seen by the one that waited, or it did not wait.
        first.tell("append 7");
        first.tell("close");
        let said = first.finish();
        assert!(said.iter().any(|line| line == "ack 6"), "{said:?}");
        assert_eq!(waiter.join().unwrap().value(), 7);
    });
}

/// Two processes that come and go at once would both believe to be alone.
#[test]
fn two_processes_that_race_for_the_lock_take_turns() {
    let dir = made();
    let log = dir.path().join("log");
    let mut contenders = [Process::start("contender", &log), Process::start("contender", &log)];
    let mut acked = Vec::new();
    for contender in &mut contenders {
        let said = contender.finish();
        assert_eq!(said.len(), CONTESTS, "{said:?}");
        acked.extend(said.iter().map(|line| {
            let offset = line.strip_prefix("ack ").unwrap();
            offset.parse::<usize>().unwrap()
        }));
    }
    acked.sort_unstable();
    assert_eq!(acked, (0..2 * CONTESTS).collect::<Vec<_>>());
    let log = Log::open(&log).unwrap();
    assert!(log.recovery().was_clean);
    let all = log.reader(TOPIC).stop_at_end().open().unwrap();
    assert_eq!(all.collect::<Result<Vec<_>, _>>().unwrap().len(), acked.len());
}
