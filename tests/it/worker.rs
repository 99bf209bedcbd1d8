//! Workers through the public API: what they handle, try again, give up and commit.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use brooklet::testing::{Entropy, Env, ManualClock, memory_env, open};
use brooklet::worker::{Control, Delivery, ReadyWorker, StopReport};
use brooklet::{
    Error, Log, LogOptions, PartitionId, Record, TopicConfig, TopicName, TopicPartition,
};
use parking_lot::Mutex;

mod abort;
mod crashes;
mod failing;
mod letters;
mod outages;
mod pace;
mod payloads;
mod sharing;
mod tasks;
mod threads;

/// A log with a clock of its own, and workers that have time when the test gives it to them.
struct Bench {
    log: Log,
    clock: Arc<ManualClock>,
    hands: Vec<Hand>,
}

/// One worker and the task that runs it.
struct Hand {
    control: Control,
    flag: Arc<Flag>,
    run: Pin<Box<dyn Future<Output = Result<StopReport, Error>>>>,
    report: Option<Result<StopReport, Error>>,
}

/// Says that a task has something to do.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Draws numbers near the largest one, so that every back-off takes as long as it can.
#[derive(Debug, Default)]
struct Most(AtomicU64);

impl Entropy for Most {
    fn next_u64(&self) -> u64 {
        u64::MAX - self.0.fetch_add(1, Ordering::SeqCst)
    }
}

impl Bench {
    /// A log in memory with one topic.
    fn with(topic: &str, config: TopicConfig) -> Self {
        let clock = Arc::new(ManualClock::new());
        let entropy = Arc::new(Most::default());
        let env = Env { clock: Arc::clone(&clock) as _, entropy, ..memory_env() };
        let log = open(&env, "/log", LogOptions::new()).unwrap();
        log.create_topic(topic, config).unwrap();
        Self::over(log, clock)
    }

    fn over(log: Log, clock: Arc<ManualClock>) -> Self {
        Self { log, clock, hands: Vec::new() }
    }

    /// Takes a worker on, and gives it time.
    fn attach(&mut self, worker: ReadyWorker) -> Control {
        let control = worker.control();
        self.hands.push(Hand {
            control: control.clone(),
            flag: Arc::new(Flag(AtomicBool::new(true))),
            run: Box::pin(worker.run(pending())),
            report: None,
        });
        self.settle();
        control
    }

    /// Gives all workers time until none has anything to do now.
    fn settle(&mut self) {
        while let Some(hand) = self.hands.iter_mut().find(|hand| hand.is_ready()) {
            hand.flag.0.store(false, Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(&hand.flag));
            if let Poll::Ready(report) = hand.run.as_mut().poll(&mut Context::from_waker(&waker)) {
                hand.report = Some(report);
            }
        }
    }

    /// Lets time pass, and the workers do what was waiting for it.
    fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.hands.iter().for_each(|hand| hand.flag.0.store(true, Ordering::SeqCst));
        self.settle();
    }

    /// Asks all workers to stop, and gives them time; whether each has finished what it had begun.
    fn stop(&mut self) -> Vec<bool> {
        self.hands.iter().for_each(|hand| hand.control.stop());
        self.settle();
        let drained = |hand: &Hand| matches!(&hand.report, Some(Ok(report)) if report.is_drained && report.error.is_none());
        self.hands.iter().map(drained).collect()
    }

    fn send(&self, topic: &str, value: &str, key: Option<&str>) {
        let record = Record::new(value);
        let record = match key {
            Some(key) => record.key(key),
            None => record,
        };
        self.log.producer(topic).unwrap().send(record).unwrap();
    }

    fn committed(&self, group: &str, place: &TopicPartition) -> u64 {
        committed(&self.log, group, place)
    }
}

impl Hand {
    fn is_ready(&self) -> bool {
        self.report.is_none() && self.flag.0.load(Ordering::SeqCst)
    }
}

/// What a handler was given, in order: value and attempt.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, u32)>>>);

impl Seen {
    fn note(&self, delivery: &Delivery) -> String {
        let value = text(delivery);
        self.0.lock().push((value.clone(), delivery.attempt()));
        value
    }

    /// All since it was last asked.
    fn take(&self) -> Vec<(String, u32)> {
        std::mem::take(&mut self.0.lock())
    }

    fn values(&self) -> Vec<String> {
        self.take().into_iter().map(|(value, _)| value).collect()
    }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.value().unwrap_or_default().to_vec()).unwrap()
}

fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(partition))
}

fn committed(log: &Log, group: &str, place: &TopicPartition) -> u64 {
    let described = log.group(group).unwrap();
    let partition = described.partitions.iter().find(|partition| partition.partition == *place);
    partition.and_then(|partition| partition.committed.as_ref()).map_or(0, |at| at.offset().value())
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
