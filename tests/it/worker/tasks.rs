//! Workers in tasks: on a runtime's thread, without a file call there.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use brooklet::dlq::{Filter, Letters};
use brooklet::retry::Retry;
use brooklet::testing::{SimDisk, open};
use brooklet::worker::{Failure, Worker};
use brooklet::{Log, LogOptions, Record, TopicConfig};
use futures_lite::future::or;
use parking_lot::Mutex;

use super::{committed, ms, place};

/// Goes on once `condition` holds, which another task brings about.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Is given once; whoever waits for it is woken then and not before.
#[derive(Default)]
struct Signal(Mutex<(bool, Option<Waker>)>);

impl Signal {
    fn give(&self) {
        let mut state = self.0.lock();
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        state.1 = Some(context.waker().clone());
        if state.0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}

/// An executor would stand still while a worker reads, commits or writes letters.
#[test]
fn a_worker_in_a_task_touches_no_file_on_its_thread() {
    let disk = SimDisk::new(31);
    let options = LogOptions::new().tail_bytes(0).manual_maintenance(true);
    let log = open(&disk.env_with_threads(), disk.root().join("log"), options).unwrap();
    log.create_topic("t", TopicConfig::new().partitions(3)).unwrap();
    log.create_topic("out", TopicConfig::new()).unwrap();
    let numbers: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    log.producer("t").unwrap().send_all(numbers.iter().map(|n| Record::new(n).key(n))).unwrap();
    let out = log.producer("out").unwrap();
    disk.clear_log();

    let threads = Arc::new(Mutex::new(BTreeSet::<String>::new()));
    let name = |id: ThreadId| format!("{id:?}");
    let life = {
        let (log, threads) = (log.clone(), Arc::clone(&threads));
        async move {
            let retry = Retry::exponential(Duration::ZERO).max_attempts(3);
            let worker = Worker::new(&log, "g").topics(["t"]).threads(5).retry(retry);
            let worker = worker.handle_async(move |delivery| {
                threads.lock().insert(name(thread::current().id()));
                let out = out.clone();
                async move {
                    tokio::task::yield_now().await;
                    let number: u32 = super::text(&delivery).parse()?;
                    if number.is_multiple_of(10) {
                        return Err(Failure::retry("round"));
                    }
                    delivery.emit(&out, Record::new("out"))?;
                    Ok(())
                }
            });
            let control = worker.control();
            let is_done =
                || control.status().counts.handled == 54 && control.status().counts.dead == 6;
            let report = worker.run(until(is_done)).await;
            assert!(report.unwrap().is_drained);
            let counts = control.status().counts;
            assert_eq!((counts.handled, counts.retried, counts.dead), (54, 12, 6));
        }
    };
    block_on(life);
    let seen = threads.lock().clone();
    assert_eq!(seen, BTreeSet::from([name(thread::current().id())]));
    let ops = disk.log();
    let here: Vec<_> = ops.iter().filter(|op| seen.contains(&name(op.thread))).collect();
    assert!(here.is_empty(), "file calls on the executor: {here:?}");
    assert!(!ops.is_empty());
    assert_eq!(log.reader("out").stop_at_end().open().unwrap().count(), 54);
    assert_eq!(Letters::of(&log).list(&Filter::new()).unwrap().len(), 6);
    assert_eq!((0..3).map(|n| committed(&log, "g", &place("t", n))).sum::<u64>(), 60);
}

/// A back-off would never end where no thread of the log watches the clock, or only with a nudge.
#[test]
fn back_offs_end_by_themselves_on_a_disk_and_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    for log in [Log::open(dir.path()).unwrap(), Log::in_memory().unwrap()] {
        log.create_topic("t", TopicConfig::new()).unwrap();
        log.producer("t").unwrap().send(Record::new("again")).unwrap();
        let worker = Worker::new(&log, "g").topics(["t"]).retry(Retry::exponential(ms(5)));
        let signal = Arc::new(Signal::default());
        let done = Arc::clone(&signal);
        let worker = worker.handle(move |delivery| match delivery.attempt() {
            1..=2 => Err(Failure::retry("not yet")),
            _ => {
                done.give();
                Ok(())
            }
        });
        // Nobody wakes the task but the worker's own timers.
        let report = block_on(worker.run(poll_fn(|context| signal.poll(context))));
        assert!(report.unwrap().is_drained);
        assert_eq!(committed(&log, "g", &place("t", 0)), 1);
    }
}

/// Counts the ends of what it is moved into.
struct End(Arc<AtomicU64>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a dropped task had would be lost, or kept from everybody else.
#[test]
fn a_task_that_is_dropped_leaves_its_records_to_the_next_worker() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    log.producer("t").unwrap().send(Record::new("held")).unwrap();
    let arrived = Arc::new(AtomicU64::new(0));
    let gone = Arc::new(AtomicU64::new(0));
    let (inside, arrive) = (Arc::clone(&gone), Arc::clone(&arrived));
    let worker = Worker::new(&log, "g").topics(["t"]).handle_async(move |_| {
        let end = End(Arc::clone(&inside));
        arrive.fetch_add(1, Ordering::SeqCst);
        async move {
            std::future::pending::<()>().await;
            drop(end);
            Ok(())
        }
    });
    let run = async { drop(worker.run(std::future::pending()).await) };
    block_on(or(run, until(|| arrived.load(Ordering::SeqCst) == 1)));
    assert_eq!(gone.load(Ordering::SeqCst), 1, "the handler's future lives on");
    let worker = Worker::new(&log, "g").topics(["t"]).handle(|_| Ok(()));
    let control = worker.control();
    let report = block_on(worker.run(until(|| control.status().counts.handled == 1)));
    assert!(report.unwrap().is_drained);
    assert_eq!(committed(&log, "g", &place("t", 0)), 1);
}
