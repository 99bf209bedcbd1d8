//! What a listener is told, when, and what it may do then.

use std::sync::Arc;

use super::{Consumer, Log, NOW, Record, TopicConfig, log_with, send, values};
use brooklet::{HandOver, RebalanceListener, TopicPartition};
use parking_lot::Mutex;

/// Writes down what it is told, keeps what is revoked if it shall, and asks the log meanwhile.
#[derive(Clone)]
struct Notes {
    log: Log,
    told: Arc<Mutex<Vec<String>>>,
    kept: Option<Arc<Mutex<Vec<HandOver>>>>,
}

impl Notes {
    fn new(log: &Log) -> Self {
        Self { log: log.clone(), told: Arc::default(), kept: None }
    }

    fn note(&self, what: &str, count: usize) {
        // With a lock held any of these would wait for ever.
        let group = self.log.group("billing").unwrap();
        assert!(!group.members.is_empty());
        self.log.producer("notes").unwrap().send(Record::new(what)).unwrap();
        let other = self.log.consumer("other").topics(["notes"]).open().unwrap();
        other.commit().unwrap();
        self.told.lock().push(format!("{what} {count}"));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock())
    }
}

impl RebalanceListener for Notes {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        self.note("assigned", partitions.len());
    }

    fn revoked(&mut self, partitions: Vec<HandOver>) {
        self.note("revoked", partitions.len());
        if let Some(kept) = &self.kept {
            kept.lock().extend(partitions);
        }
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.note("lost", partitions.len());
    }
}

fn scene() -> Log {
    let log = log_with("orders", 4);
    log.create_topic("notes", TopicConfig::new()).unwrap();
    log
}

fn join(log: &Log, notes: &Notes) -> Consumer {
    log.consumer("billing").topics(["orders"]).listener(notes.clone()).open().unwrap()
}

/// A program would not learn of partitions that come and go, or stand still while it is told.
#[test]
fn a_listener_is_told_of_all_that_comes_and_goes_and_may_use_the_log() {
    let log = scene();
    let (first_notes, second_notes) = (Notes::new(&log), Notes::new(&log));
    let mut first = join(&log, &first_notes);
    assert_eq!(first_notes.take(), ["assigned 4"]);
    first.poll(NOW).unwrap();
    let mut second = join(&log, &second_notes);
    assert_eq!(second_notes.take(), ["assigned 2"]);
    assert!(first_notes.take().is_empty(), "told outside of a poll");
    first.poll(NOW).unwrap();
    assert_eq!(first_notes.take(), ["lost 2"]);
    send(&log, "orders", 0..40);
    values(&mut second);
    second.leave().unwrap();
    first.poll(NOW).unwrap();
    assert_eq!(first_notes.take(), ["assigned 2"]);
    values(&mut first);
    let mut third = join(&log, &second_notes);
    assert!(second_notes.take().is_empty(), "given before it was handed over");
    first.poll(NOW).unwrap();
    assert_eq!(first_notes.take(), ["revoked 2"]);
    third.poll(NOW).unwrap();
    assert_eq!(second_notes.take(), ["assigned 2"]);
    first.poll(NOW).unwrap();
    assert!(first_notes.take().is_empty(), "what was revoked goes without another word");
    log.delete_topic("orders").unwrap();
    first.poll(NOW).unwrap();
    assert_eq!(first_notes.take(), ["lost 2"]);
}

/// A partition would go while somebody works on its records, or its last commit be refused.
#[test]
fn a_partition_stays_as_long_as_its_hand_over_is_kept_and_can_be_committed() {
    let log = scene();
    send(&log, "orders", 0..40);
    let kept = Arc::default();
    let notes = Notes { kept: Some(Arc::clone(&kept)), ..Notes::new(&log) };
    let mut first = join(&log, &notes);
    assert_eq!(values(&mut first).len(), 40);
    let mut second = log.consumer("billing").topics(["orders"]).open().unwrap();
    first.poll(NOW).unwrap();
    assert_eq!(kept.lock().len(), 2);
    send(&log, "orders", 40..80);
    // What stays is not interrupted, and what is to go is read by nobody.
    let read = values(&mut first).len();
    assert!(0 < read && read < 40, "{read} of 40");
    assert!(values(&mut second).is_empty());
    first.commit().unwrap();
    assert!(values(&mut second).is_empty(), "a commit does not end what is kept");
    for token in kept.lock().drain(..) {
        assert!(first.position(token.partition()).is_some());
    }
    assert_eq!(values(&mut second).len(), 40 - read);
    second.commit().unwrap();
    assert_eq!(log.group("billing").unwrap().lag(), 0);
}

/// Who leaves, or is fenced, would keep partitions by what is left of its hand-overs.
#[test]
fn a_hand_over_that_outlives_its_member_keeps_nothing() {
    let log = scene();
    send(&log, "orders", 0..40);
    let kept = Arc::default();
    let notes = Notes { kept: Some(Arc::clone(&kept)), ..Notes::new(&log) };
    let mut first = join(&log, &notes);
    values(&mut first);
    let mut second = log.consumer("billing").topics(["orders"]).open().unwrap();
    first.poll(NOW).unwrap();
    first.leave().unwrap();
    assert_eq!(values(&mut second).len(), 40);
    let group = log.group("billing").unwrap().generation;
    kept.lock().clear();
    assert_eq!(second.assignment().len(), 4);
    assert_eq!(log.group("billing").unwrap().generation, group);
    second.commit().unwrap();
}
