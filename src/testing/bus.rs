//! A log for the tests of event-driven code: no files, no threads, and a clock that is moved by hand.

use std::time::Duration;

use crate::config::{LogOptions, TopicConfig};
use crate::env::manual::ManualClock;
use crate::env::sim::{CrashPolicy, SimDisk};
use crate::error::Error;
use crate::log::Log;
use crate::producer::Receipt;
use crate::record::Record;
use crate::sync::Arc;
use crate::testing::faults::{Failing, Step};
use crate::testing::probe::{GroupProbe, TopicProbe};

/// A log on a simulated disk, for the tests of code that sends and handles events.
///
/// It is the production log over other files: nothing happens that a test did not ask for. Time
/// stands still until [`advance`](Self::advance), what fails is what was made to
/// [`fail`](Self::fail), and a [`crash`](Self::crash) loses what a power cut would. Two buses share
/// nothing, so that tests can run side by side.
///
/// # Examples
/// ```
/// use brooklet::testing::TestBus;
/// use brooklet::{Record, TopicConfig};
///
/// let bus = TestBus::new()?;
/// bus.log().create_topic("orders", TopicConfig::new())?;
/// bus.publish("orders", Record::new("created").key("order-42"))?;
/// bus.topic("orders").assert_values(["created"]);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Debug)]
pub struct TestBus {
    disk: SimDisk,
    log: Log,
    options: BusOptions,
    crashes: u64,
}

/// How a [`TestBus`] is made.
#[derive(Clone, Debug)]
#[must_use]
pub struct BusOptions {
    seed: u64,
    is_delayed: bool,
    log: LogOptions,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self { seed: 1, is_delayed: false, log: LogOptions::new().manual_maintenance(true) }
    }
}

impl BusOptions {
    /// Seed 1, records visible at once, the log's default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// What chance begins with: salts, jitter, and what a torn crash leaves; by default 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Leaves what nobody waits for undone until the bus settles.
    ///
    /// On a disk, a record that was sent without waiting for its sync is not visible yet when the
    /// call returns. Code that reads it all the same fails under this option, and only under it: by
    /// default there is nobody to be late.
    pub fn delayed_visibility(mut self) -> Self {
        self.is_delayed = true;
        self
    }

    /// The options of the log; by default those of [`LogOptions::new`].
    pub fn log(mut self, options: LogOptions) -> Self {
        self.log = options.manual_maintenance(true);
        self
    }

    /// Makes the bus.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub fn open(self) -> Result<TestBus, Error> {
        let disk = SimDisk::new(self.seed);
        let log = self.open_on(&disk)?;
        Ok(TestBus { disk, log, options: self, crashes: 0 })
    }

    fn open_on(&self, disk: &SimDisk) -> Result<Log, Error> {
        let env = if self.is_delayed { disk.env_when_told() } else { disk.env() };
        Log::open_in(&env, &disk.root().join("log"), self.log.clone())
    }
}

impl TestBus {
    /// A bus with the default options.
    ///
    /// # Errors
    /// None are expected.
    pub fn new() -> Result<Self, Error> {
        BusOptions::new().open()
    }

    /// The log, to make topics, producers, consumers and workers of.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The disk under the log, for faults that [`fail`](Self::fail) has no word for.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The clock of the log.
    #[must_use]
    pub fn clock(&self) -> Arc<ManualClock> {
        self.disk.clock()
    }

    /// Sends one record to a topic, which is made with one partition if it is not there.
    ///
    /// # Errors
    /// As for [`Producer::send`](crate::Producer::send), and as for making a topic.
    pub fn publish(&self, topic: &str, record: Record<'_>) -> Result<Receipt, Error> {
        if self.log.topic(topic).is_err() {
            self.log.create_topic(topic, TopicConfig::new())?;
        }
        Ok(self.log.producer(topic)?.send(record)?)
    }

    /// Makes a step of the log fail on this bus alone.
    ///
    /// # Examples
    /// ```
    /// use brooklet::testing::{Fault, Step, TestBus};
    /// use brooklet::{ErrorKind, Record};
    ///
    /// let bus = TestBus::new()?;
    /// bus.publish("orders", Record::new("kept"))?;
    /// bus.fail(Step::Append).on("orders").once(Fault::StorageFull)?;
    /// let error = bus.publish("orders", Record::new("lost")).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::StorageFull);
    /// bus.publish("orders", Record::new("kept too"))?;
    /// bus.topic("orders").assert_values(["kept", "kept too"]);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    #[must_use]
    pub fn fail(&self, step: Step) -> Failing<'_> {
        Failing::new(&self.disk, &self.log, step)
    }

    /// Cuts the power and starts again from what the disk has kept.
    ///
    /// Everything that was made of the log before is dead and says so; what is attached is gone.
    /// `build` makes the program's parts anew from the log that was opened.
    ///
    /// # Errors
    /// What opening the log after the crash meets, and what `build` says.
    pub fn crash(
        &mut self,
        policy: CrashPolicy,
        build: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.crashes += 1;
        self.disk = self.disk.crash(policy, self.options.seed.wrapping_add(self.crashes));
        self.log = self.options.open_on(&self.disk)?;
        build(self)
    }

    /// Looks at a topic.
    #[must_use]
    pub fn topic(&self, topic: &str) -> TopicProbe<'_> {
        TopicProbe::new(&self.log, topic)
    }

    /// Looks at a group.
    #[must_use]
    pub fn group(&self, group: &str) -> GroupProbe<'_> {
        GroupProbe::new(&self.log, group)
    }

    /// Lets time pass, and does what it asks for: syncs, retention, the fencing of late members.
    ///
    /// # Errors
    /// The first failure of what time asks for.
    pub fn advance(&self, by: Duration) -> Result<(), Error> {
        self.disk.clock().advance(by);
        self.log.maintain()
    }
}

/// Waits until a topic has `count` records that can be read, or the time is over.
///
/// For tests with real threads: it is parked until records arrive, and does not look again and again.
/// True if they are there.
///
/// # Errors
/// What reading meets.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brooklet::testing::wait_for;
/// use brooklet::{Log, Record, TopicConfig};
///
/// let log = Log::in_memory()?;
/// log.create_topic("orders", TopicConfig::new())?;
/// let producer = log.producer("orders")?;
/// let sender = std::thread::spawn(move || producer.send(Record::new("created")));
/// assert!(wait_for(&log, "orders", 1, Duration::from_secs(60))?);
/// sender.join().expect("no panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait_for(log: &Log, topic: &str, count: usize, timeout: Duration) -> Result<bool, Error> {
    let clock = Arc::clone(&log.env().clock);
    let deadline = clock.monotonic().saturating_add(timeout);
    let mut reader = log.reader(topic).open()?;
    let mut seen = 0;
    while seen < count {
        let left = deadline.saturating_sub(clock.monotonic());
        match reader.poll(left) {
            Some(batch) => seen += batch?.len(),
            None => return Ok(false),
        }
    }
    Ok(true)
}
