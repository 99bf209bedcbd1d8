//! Reading and committing from tasks: no file on their threads, nothing lost with a future.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use brooklet::testing::{OpKind, SimDisk, open};
use brooklet::{
    Consumer, Log, LogOptions, PartitionId, Record, TopicConfig, TopicName, TopicPartition,
};

mod channel;
mod dropping;
mod gate;
mod held;
mod runtimes;
#[cfg(feature = "stream")]
mod streams;

use held::{Gate, gated};

const NOW: Duration = Duration::ZERO;

/// A log with threads on a simulated disk, whose readers find nothing in memory.
struct Scene {
    disk: SimDisk,
    log: Log,
    /// Every read of a file goes through it.
    reads: Arc<Gate>,
}

impl Scene {
    fn new(partitions: u32) -> Self {
        Self::with(LogOptions::new().tail_bytes(0), partitions)
    }

    fn with(options: LogOptions, partitions: u32) -> Self {
        let scene = Self::on(SimDisk::new(23), options);
        scene.log.create_topic("orders", TopicConfig::new().partitions(partitions)).unwrap();
        scene.disk.clear_log();
        scene
    }

    /// Opens what is on a disk.
    fn on(disk: SimDisk, options: LogOptions) -> Self {
        let (env, reads) = gated(disk.env_with_threads());
        let log = open(&env, disk.root().join("log"), options.manual_maintenance(true)).unwrap();
        disk.clear_log();
        Self { disk, log, reads }
    }

    /// Sends records whose keys and values are these numbers.
    fn send(&self, numbers: std::ops::Range<u32>) {
        let producer = self.log.producer("orders").unwrap();
        for number in numbers {
            let number = number.to_string();
            producer.send(Record::new(&number).key(&number)).unwrap();
        }
    }

    fn consumer(&self) -> Consumer {
        self.log.consumer("billing").topics(["orders"]).open().unwrap()
    }

    /// Which file calls there were on these threads since the log of operations was cleared.
    fn calls_on(&self, threads: &BTreeSet<String>) -> Vec<OpKind> {
        let ops = self.disk.log().into_iter();
        ops.filter(|op| threads.contains(&name(op.thread))).map(|op| op.kind).collect()
    }

    fn read_calls(&self) -> usize {
        self.disk.log().iter().filter(|op| op.kind == OpKind::Read).count()
    }
}

fn name(thread: ThreadId) -> String {
    format!("{thread:?}")
}

fn place(partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("orders").unwrap(), PartitionId::new(partition))
}

fn number(value: Option<&[u8]>) -> u32 {
    std::str::from_utf8(value.unwrap()).unwrap().parse().unwrap()
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicU64);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Bell {
    fn rung(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Polls a future once and drops it.
fn poll_once<F: Future>(future: F, bell: &Arc<Bell>) -> Poll<F::Output> {
    poll_pinned(pin!(future), bell)
}

fn poll_pinned<F: Future>(future: Pin<&mut F>, bell: &Arc<Bell>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

/// Goes on once `condition` holds, which other threads bring about.
fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// A future could not be given to an executor, or an acker not to another thread.
#[test]
fn what_is_awaited_can_go_to_other_threads() {
    fn is_send<T: Send>(_: &T) {}
    fn are_send<T: Send>() {}
    fn are_shared<T: Send + Sync>() {}
    are_shared::<brooklet::Acker>();
    are_shared::<brooklet::PendingCommit>();
    are_send::<Consumer>();
    let log = Log::in_memory().unwrap();
    log.create_topic("orders", TopicConfig::new()).unwrap();
    let mut reader = log.reader("orders").open().unwrap();
    is_send(&reader.next_batch_async());
    is_send(&log.reader("orders").open_async());
    let builder = log.consumer("billing").topics(["orders"]);
    let mut consumer = builder.open().unwrap();
    is_send(&consumer.poll_async());
    is_send(&consumer.commit_async());
    is_send(&consumer.leave_async());
    is_send(&log.close_async());
}
