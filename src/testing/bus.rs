//! A log for the tests of event-driven code: no files, no threads, and a clock that is moved by hand.

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use crate::config::TopicConfig;
use crate::env::Clock;
use crate::env::manual::ManualClock;
use crate::env::sim::{CrashPolicy, SimDisk};
use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::producer::Receipt;
use crate::record::Record;
use crate::sync::Arc;
use crate::testing::crew::{Crew, Settled, poll_settled};
use crate::testing::faults::{Failing, Step};
use crate::testing::letters::LettersProbe;
use crate::testing::options::BusOptions;
use crate::testing::probe::{GroupProbe, TopicProbe};
use crate::worker::{Control, ReadyWorker};

/// A log on a simulated disk, for the tests of code that sends and handles events.
///
/// It is the production log, and they are the production workers; only the world is another one, in
/// which nothing happens that a test did not ask for. Workers that are [attached](Self::attach) get
/// time when the bus [settles](Self::settle), the clock stands still until it is to
/// [advance](Self::advance), what fails is what was made to [`fail`](Self::fail), and a
/// [`crash`](Self::crash) loses what a power cut would. Two buses share nothing, so that tests can
/// run side by side.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brooklet::Record;
/// use brooklet::testing::TestBus;
/// use brooklet::worker::{Failure, Worker};
///
/// let mut bus = TestBus::new()?;
/// bus.publish("orders", Record::new("created").key("order-42"))?;
/// let worker = Worker::new(bus.log(), "billing").topics(["orders"]);
/// bus.attach(worker.handle(|delivery| match delivery.attempt() {
///     1 => Err(Failure::Retry("no answer".into())),
///     _ => Ok(()),
/// }))?;
///
/// let settled = bus.settle()?;
/// assert_eq!((settled.handled, settled.retried), (0, 1));
/// let backed_off = settled.sleeping_for.expect("the record is tried again");
/// assert_eq!(bus.advance(backed_off)?.handled, 1);
/// bus.group("billing").assert_caught_up();
/// bus.dead_letters().assert_none();
/// # Ok::<(), brooklet::Error>(())
/// ```
pub struct TestBus {
    disk: SimDisk,
    log: Log,
    options: BusOptions,
    crew: Crew,
    crashes: u64,
    /// Whether the log has to be opened again before anything else.
    is_down: bool,
}

impl BusOptions {
    /// Makes the bus.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub fn open(self) -> Result<TestBus, Error> {
        let disk = SimDisk::new(self.seed);
        let log = self.open_on(&disk)?;
        Ok(TestBus { disk, log, options: self, crew: Crew::default(), crashes: 0, is_down: false })
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
    pub fn fail(&self, step: Step) -> Failing<'_> {
        Failing::new(&self.disk, &self.log, step)
    }

    /// Takes a worker of this bus's log on, and has it join its group.
    ///
    /// It gets time when the bus [settles](Self::settle), as many records at once as it has
    /// [threads](crate::worker::Worker::threads). The handle tells how it is doing.
    ///
    /// # Errors
    /// As for [`ReadyWorker::spawn`]; `InvalidConfig` if it is a worker of another log; `Closed`
    /// between a crash and the restart.
    pub fn attach(&mut self, worker: ReadyWorker) -> Result<Control, Error> {
        if self.is_down {
            let error = Error::new(ErrorKind::Closed, "the bus has crashed and was not restarted");
            return Err(error.during("attach a worker"));
        }
        self.crew.add(worker, &self.log)
    }

    /// Gives all workers time until none of them has anything to do now, and tells what was done.
    ///
    /// Time stands still: what waits for it is left to [`advance`](Self::advance). A future of a
    /// handler that waits for something outside of the bus is not waited for: it is among those that
    /// are [`running`](Settled::running).
    ///
    /// # Errors
    /// With [`delayed_visibility`](BusOptions::delayed_visibility) the first failure of what was
    /// left undone; the workers have got their time all the same.
    ///
    /// # Panics
    /// If the workers do not come to rest within [`max_turns`](BusOptions::max_turns), with what
    /// each of them is at.
    #[track_caller]
    pub fn settle(&mut self) -> Result<Settled, Error> {
        self.rest()?;
        Ok(self.tell())
    }

    /// Settles, and waits for handlers that wait for something outside of the bus.
    ///
    /// For handlers that need a runtime, which has to poll this future. A handler that waits for
    /// the clock of the bus, or for a test that waits here, keeps it waiting for ever. Dropped, the
    /// future leaves the workers where they are.
    ///
    /// # Errors
    /// As for [`settle`](Self::settle).
    ///
    /// # Panics
    /// As [`settle`](Self::settle) does.
    ///
    /// # Examples
    /// ```
    /// use brooklet::Record;
    /// use brooklet::testing::TestBus;
    /// use brooklet::worker::Worker;
    ///
    /// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// runtime.block_on(async {
    ///     let mut bus = TestBus::new()?;
    ///     bus.publish("orders", Record::new("created"))?;
    ///     let worker = Worker::new(bus.log(), "billing").topics(["orders"]);
    ///     bus.attach(worker.handle_async(|_| async {
    ///         tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    ///         Ok(())
    ///     }))?;
    ///     assert_eq!(bus.settle_async().await?.handled, 1);
    ///     Ok::<(), brooklet::Error>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn settle_async(&mut self) -> Result<Settled, Error> {
        let Self { crew, log, options, .. } = self;
        let settle = |crew: &mut Crew| options.rest(crew, log);
        poll_fn(|context| poll_settled(crew, context, settle)).await?;
        Ok(self.tell())
    }

    /// Lets time pass, and settles whenever something comes due: back-offs, intervals, timeouts.
    ///
    /// The clock stops at each of these moments, so that what happens in an hour happens as it would
    /// in an hour. At each stop the log does what time asks of it: late syncs, retention, the
    /// fencing of members that are late.
    ///
    /// # Errors
    /// The first failure of what time asks of the log; time passes all the same.
    ///
    /// # Panics
    /// As [`settle`](Self::settle) does, for each stop.
    #[track_caller]
    pub fn advance(&mut self, by: Duration) -> Result<Settled, Error> {
        let clock = self.disk.clock();
        let start = clock.monotonic();
        let end = start.saturating_add(by);
        // What can happen now happens before time passes.
        let mut first = self.rest();
        let mut millis = 0;
        loop {
            let stop = self.crew.date().map_or(end, |date| date.min(end));
            clock.set_monotonic(stop);
            // The wall clock shows whole milliseconds; many short steps must not slow it down.
            let passed = u64::try_from(stop.saturating_sub(start).as_millis()).unwrap_or(u64::MAX);
            clock.advance_wall(Duration::from_millis(passed.saturating_sub(millis)));
            millis = passed.max(millis);
            first = first.and(self.log.maintain());
            first = first.and(self.rest());
            if stop >= end {
                break;
            }
        }
        first?;
        Ok(self.tell())
    }

    /// Cuts the power, or kills the process with [`CrashPolicy::KeepAll`].
    ///
    /// Everything that was made of the log is dead from then on and says so, and what is attached
    /// is gone, half-way through what it did. [`restart`](Self::restart) opens what is left.
    ///
    /// # Examples
    /// ```
    /// use brooklet::Record;
    /// use brooklet::testing::{CrashPolicy, TestBus};
    /// use brooklet::worker::Worker;
    ///
    /// let mut bus = TestBus::new()?;
    /// let build = |log: &brooklet::Log| {
    ///     Ok([Worker::new(log, "billing").topics(["orders"]).handle(|_| Ok(()))])
    /// };
    /// bus.publish("orders", Record::new("created"))?;
    /// bus.attach(build(bus.log())?.into_iter().next().expect("one worker"))?;
    /// bus.crash(CrashPolicy::LoseAll);
    /// bus.restart(build)?;
    /// assert_eq!(bus.settle()?.handled, 1);
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn crash(&mut self, policy: CrashPolicy) {
        self.crashes += 1;
        let seed = self.options.seed.wrapping_add(self.crashes);
        // The power goes first, so that no handler that is dropped half-way can do anything more.
        let disk = self.disk.crash(policy, seed);
        self.crew.dismiss();
        self.disk = disk;
        self.is_down = true;
    }

    /// Starts the program again: opens the log, and attaches what `build` makes of it.
    ///
    /// Without a [crash](Self::crash) before, it is stopped in good order first: the workers finish
    /// and commit what they have begun, and the log is closed. The clock goes on.
    ///
    /// # Errors
    /// What closing and opening the log meet, and what `build` says; then it is to be restarted
    /// again.
    ///
    /// # Panics
    /// As [`settle`](Self::settle) does.
    #[track_caller]
    pub fn restart<W>(&mut self, build: impl FnOnce(&Log) -> Result<W, Error>) -> Result<(), Error>
    where
        W: IntoIterator<Item = ReadyWorker>,
    {
        self.shut_down()?;
        self.log = self.options.open_on(&self.disk)?;
        self.is_down = false;
        for worker in build(&self.log)? {
            self.attach(worker)?;
        }
        Ok(())
    }

    #[track_caller]
    fn shut_down(&mut self) -> Result<(), Error> {
        if self.is_down {
            return Ok(());
        }
        self.crew.stop();
        let rested = self.rest();
        self.crew.dismiss();
        // Closed in any case, and not to be closed again.
        self.is_down = true;
        rested.and(self.log.close())
    }

    #[track_caller]
    fn rest(&mut self) -> Result<(), Error> {
        self.options.rest(&mut self.crew, &self.log)
    }

    fn tell(&mut self) -> Settled {
        self.crew.tell(self.log.env().clock.monotonic())
    }

    /// Looks at a topic.
    pub fn topic(&self, topic: &str) -> TopicProbe<'_> {
        TopicProbe::new(&self.log, topic)
    }

    /// Looks at a group.
    pub fn group(&self, group: &str) -> GroupProbe<'_> {
        GroupProbe::new(&self.log, group)
    }

    /// Looks at the dead letters that wait to be looked after.
    pub fn dead_letters(&self) -> LettersProbe {
        LettersProbe::new(&self.log)
    }
}

impl fmt::Debug for TestBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("TestBus");
        told.field("options", &self.options).field("crashes", &self.crashes);
        told.finish_non_exhaustive()
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
