//! Several workers of one group: who handles what while partitions move.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use brooklet::worker::{ReadyWorker, State, Worker};
use brooklet::{Log, StartAt, TopicConfig};
use parking_lot::Mutex;

use super::{Bench, Seen, ms, place, secs};

/// A worker whose handlers wait until their value is let go.
fn waiting(log: &Log, seen: &Seen, free: &Arc<Mutex<Vec<String>>>) -> ReadyWorker {
    let (seen, free) = (seen.clone(), Arc::clone(free));
    Worker::new(log, "g").topics(["t"]).threads(8).handle_async(move |delivery| {
        let value = seen.note(&delivery);
        let free = Arc::clone(&free);
        poll_fn(move |_| match free.lock().contains(&value) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        })
    })
}

/// A record would be in two handlers, be handled twice, or its partition never move.
#[test]
fn a_partition_moves_when_its_last_record_is_settled_and_not_before() {
    let mut bench = Bench::with("t", TopicConfig::new().partitions(2));
    let mut of_partition = BTreeMap::new();
    for number in 0..8 {
        bench.send("t", &number.to_string(), Some(&number.to_string()));
    }
    for record in bench.log.reader("t").stop_at_end().open().unwrap() {
        let record = record.unwrap();
        let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
        of_partition.insert(value, record.partition().value());
    }
    let free = Arc::new(Mutex::new(Vec::new()));
    let (one, two) = (Seen::default(), Seen::default());
    let first = bench.attach(waiting(&bench.log, &one, &free));
    assert_eq!(one.take().len(), 8);
    let second = bench.attach(waiting(&bench.log, &two, &free));
    bench.settle();
    let leaving = first.status().partitions.into_iter().find(|partition| partition.is_revoked);
    let leaving = leaving.expect("nothing is to move").partition;
    let stays = place("t", 1 - leaving.partition().value());
    assert!(second.status().partitions.is_empty() && two.take().is_empty());

    // The partition that stays goes on: what is settled there is committed, and new is handled.
    let number_of = |value: &str| of_partition[value];
    let is_leaving = |value: &str| number_of(value) == leaving.partition().value();
    let staying: Vec<String> = of_partition.keys().filter(|v| !is_leaving(v)).cloned().collect();
    free.lock().extend(staying.iter().cloned());
    bench.advance(ms(1));
    assert_eq!(bench.committed("g", &stays), staying.len() as u64);
    assert_eq!(bench.committed("g", &leaving), 0);
    assert!(two.take().is_empty(), "it was given away with records in handlers");

    // What the other one does not finish is not waited for: only the records in handlers are.
    let mut left: Vec<String> = of_partition.keys().filter(|v| is_leaving(v)).cloned().collect();
    let last = left.pop().unwrap();
    free.lock().extend(left);
    bench.advance(ms(1));
    assert!(second.status().partitions.is_empty(), "{last} is still in a handler");
    free.lock().push(last);
    bench.advance(ms(1));
    let partitions = second.status().partitions;
    assert_eq!((partitions.len(), &partitions[0].partition), (1, &leaving));
    assert!(two.take().is_empty(), "a settled record is handled again");
    assert_eq!(bench.committed("g", &leaving), 8 - staying.len() as u64);
    assert_eq!(bench.stop(), [true, true]);
}

/// A worker that was thrown out would stand still, or go on from where the group is no more.
#[test]
fn a_worker_that_is_fenced_joins_again_where_the_group_was_put() {
    let mut bench = Bench::with("t", TopicConfig::new());
    for number in 0..5 {
        bench.send("t", &number.to_string(), None);
    }
    let seen = Seen::default();
    let handler = seen.clone();
    let control =
        bench.attach(Worker::new(&bench.log, "g").topics(["t"]).handle(move |delivery| {
            handler.note(&delivery);
            Ok(())
        }));
    assert_eq!(seen.take().len(), 5);
    let reset = bench.log.reset_group("g").to(StartAt::Earliest).fence_members();
    assert_eq!(reset.apply().unwrap().len(), 1);
    bench.advance(secs(1));
    assert_eq!(seen.take().len(), 5, "{:?}", control.status());
    assert_eq!(bench.committed("g", &place("t", 0)), 5);
    assert!(matches!(control.status().state, State::Running));
}

/// A topic that is deleted would stop the worker, or keep its partitions for ever.
#[test]
fn a_deleted_topic_leaves_the_worker_to_the_others() {
    let mut bench = Bench::with("t", TopicConfig::new());
    bench.log.create_topic("u", TopicConfig::new()).unwrap();
    let free = Arc::new(Mutex::new(Vec::new()));
    let seen = Seen::default();
    let (handler, gate) = (seen.clone(), Arc::clone(&free));
    let worker = Worker::new(&bench.log, "g").matching("*").threads(4);
    let control = bench.attach(worker.handle_async(move |delivery| {
        let (value, free) = (handler.note(&delivery), Arc::clone(&gate));
        poll_fn(move |_| match free.lock().contains(&value) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        })
    }));
    bench.send("t", "a", None);
    bench.settle();
    assert_eq!(seen.values(), ["a"]);
    bench.log.delete_topic("t").unwrap();
    bench.log.create_topic("t", TopicConfig::new()).unwrap();
    bench.send("t", "new", None);
    bench.send("u", "b", None);
    bench.settle();
    // The new topic's record has the place of one that a handler still has.
    assert_eq!(seen.values(), ["b"]);
    free.lock().extend(["a".to_owned(), "b".to_owned(), "new".to_owned()]);
    bench.advance(ms(1));
    assert_eq!(seen.values(), ["new"]);
    bench.advance(ms(1));
    assert_eq!(bench.committed("g", &place("t", 0)), 1);
    assert_eq!(bench.committed("g", &place("u", 0)), 1);
    assert_eq!(control.status().partitions.len(), 2);
    assert_eq!(bench.stop(), [true]);
}
