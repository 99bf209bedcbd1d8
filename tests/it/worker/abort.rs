//! A process that a handler ends for good: the system's own way, not a simulated one.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;

use brooklet::dlq::{Filter, Letters};
use brooklet::worker::Worker;
use brooklet::{Log, Record, TopicConfig};

use super::{committed, place, secs, text};

const DIR: &str = "BROOKLET_ABORT_DIR";

/// Not a test: the service that aborts, which returns at once in an ordinary run.
#[test]
fn serve() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let log = Log::open(Path::new(&dir)).unwrap();
    let (done, handled) = channel();
    let worker = Worker::new(&log, "g").topics(["t"]).threads(2).handle(move |delivery| {
        let value = text(&delivery);
        if value == "poison" {
            std::process::abort();
        }
        done.send(value)?;
        Ok(())
    });
    let running = worker.spawn().unwrap();
    // It gets here at the restart at which the poison is not handled any more.
    while handled.recv().unwrap() != "last" {}
    assert!(running.stop(secs(600)).is_drained);
    log.close().unwrap();
}

/// A service would crash for ever on a record whose handler aborts.
#[test]
fn a_handler_that_aborts_is_given_up_after_three_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", TopicConfig::new().partitions(1)).unwrap();
    let values = ["first", "poison", "between", "last"];
    log.producer("t").unwrap().send_all(values.iter().map(Record::new)).unwrap();
    log.close().unwrap();
    drop(log);
    let service = || {
        let mut service = Command::new(std::env::current_exe().unwrap());
        service.args(["worker::abort::serve", "--exact", "--test-threads=1"]).env(DIR, dir.path());
        service.output().unwrap().status.success()
    };
    // The first start has not met it yet; two restarts gather the marks that the third one reads.
    let outcomes: Vec<bool> = (0..4).map(|_| service()).collect();
    assert_eq!(outcomes, [false, false, false, true]);
    let log = Log::open(dir.path()).unwrap();
    let letters = Letters::of(&log).list(&Filter::new()).unwrap();
    let [letter] = letters.as_slice() else { panic!("{} letters", letters.len()) };
    assert_eq!((letter.value(), letter.error_type()), (Some(&b"poison"[..]), "crash"));
    assert_eq!(committed(&log, "g", &place("t", 0)), 4);
}
