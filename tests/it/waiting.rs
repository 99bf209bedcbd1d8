//! Who waits for what, who is woken, and in which order: promises that only threads can break.

mod ends;
mod room;
mod sharing;

use std::sync::Arc;
use std::thread;

use brooklet::testing::{SimDisk, open};
use brooklet::{
    Acks, Batch, Error, Log, LogOptions, Offset, PartitionId, Pending, Producer, Reader, Receipt,
    Record, SendError, StoredRecord, TopicConfig, TopicName, TopicPartition,
};

/// A handle could not be given to another thread, or a future not to an executor.
#[test]
fn handles_and_values_can_go_to_other_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Log>();
    is_send_and_sync::<LogOptions>();
    is_send_and_sync::<TopicConfig>();
    is_send_and_sync::<Producer>();
    is_send_and_sync::<Pending>();
    is_send_and_sync::<Receipt>();
    is_send_and_sync::<Reader>();
    is_send_and_sync::<Batch>();
    is_send_and_sync::<StoredRecord>();
    is_send_and_sync::<Error>();
    is_send_and_sync::<SendError>();
}

/// A log with threads on a simulated disk, and a topic `t` whose partition 0 has been used.
struct Scene {
    disk: SimDisk,
    log: Log,
}

impl Scene {
    /// Without maintenance, which comes by every second and would help out where a wake-up is lost.
    fn new(options: LogOptions, config: TopicConfig) -> Self {
        Self::maintained(options.manual_maintenance(true), config)
    }

    fn maintained(options: LogOptions, config: TopicConfig) -> Self {
        let disk = SimDisk::new(11);
        let log = open(&disk.env_with_threads(), disk.root().join("log"), options).unwrap();
        log.create_topic("t", config).unwrap();
        let scene = Self { disk, log };
        scene.producer(Acks::Durable).send(Record::new("first")).unwrap();
        scene
    }

    fn producer(&self, acks: Acks) -> Producer {
        self.log.producer("t").unwrap().acks(acks).timeout(None)
    }

    /// The next sync is held until the gate is opened, and everything that waits for it waits.
    fn hold_syncs(&self) {
        self.disk.hold_syncs();
        self.disk.clear_log();
    }

    /// The values of partition 0 by offset.
    fn values(&self) -> Vec<String> {
        let reader = self.log.reader("t").partition(0).stop_at_end().open().unwrap();
        let records = reader.map(Result::unwrap);
        let values = records.enumerate().map(|(number, record)| {
            assert_eq!(record.offset(), Offset::new(number as u64), "the offsets have a hole");
            String::from_utf8(record.value().unwrap().to_vec()).unwrap()
        });
        values.collect()
    }

    fn written_end(&self) -> u64 {
        self.log.offsets(&place()).unwrap().written_end.value()
    }

    fn syncs(&self) -> u64 {
        self.log.stats().syncs()
    }
}

/// A test that fails while it holds syncs says so, and does not wait for the threads that are held.
impl Drop for Scene {
    fn drop(&mut self) {
        self.disk.release_syncs();
    }
}

fn place() -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::ZERO)
}

/// Goes on once `condition` holds, which other threads bring about.
fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// Runs a future to its end on this thread.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match std::pin::Pin::new(&mut future).poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => thread::park(),
        }
    }
}
