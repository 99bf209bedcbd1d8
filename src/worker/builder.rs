//! How a worker is made: what it reads, what it goes by, and what it calls.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::dlq::DeadLetters;
use crate::dlq::letterbox::LetterBox;
use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::name::GroupName;
use crate::offset::StartAt;
use crate::retry::Retry;
use crate::sync::Arc;

use super::control::Control;
use super::delivery::Delivery;
#[cfg(feature = "testing")]
use super::driver::Driver;
use super::engine::Engine;
use super::failure::Failure;
use super::handler::{Awaited, Blocking, Handler};
use super::rules::{CommitEvery, Rules};
use super::running::{Running, StopReport, start_threads};
use super::source::{Changes, Source};
use super::task::run;

/// Says what a worker reads and how it goes about it.
///
/// A worker is a member of a group that polls, calls a handler for each record, tries again what
/// fails, writes dead letters, and commits. Records of one key are handled strictly one after
/// another, also while one of them is tried again; other keys, and records without a key, do not
/// wait for them. Every record is handled at least once.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brooklet::worker::{Delivery, Failure, Worker};
/// use brooklet::{Log, Record, TopicConfig};
///
/// # let dir = tempfile::tempdir()?;
/// let log = Log::open(dir.path())?;
/// log.create_topic("orders", TopicConfig::new().partitions(3))?;
/// log.producer("orders")?.send(Record::new("42").key("order-42"))?;
///
/// let (seen, numbers) = std::sync::mpsc::channel();
/// let worker = Worker::new(&log, "billing").topics(["orders"]).threads(2).handle(
///     move |delivery: Delivery| {
///         let text = std::str::from_utf8(delivery.value().unwrap_or_default())?;
///         let number: i64 = text.parse().map_err(Failure::dead)?;
///         seen.send(number)?;
///         Ok(())
///     },
/// );
/// let running = worker.spawn()?;
/// assert_eq!(numbers.recv()?, 42);
/// assert!(running.stop(Duration::from_secs(10)).is_drained);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Worker {
    log: Log,
    source: Source,
    rules: Rules,
    letters: Option<DeadLetters>,
    threads: usize,
}

impl Worker {
    /// A worker that reads as a member of `group`; what is wrong is told when it is started.
    pub fn new(log: &Log, group: &str) -> Self {
        Self {
            log: log.clone(),
            source: Source {
                group: group.to_owned(),
                topics: Vec::new(),
                patterns: Vec::new(),
                start: StartAt::Earliest,
                on_out_of_range: None,
                changes: Changes::default(),
            },
            rules: Rules::default(),
            letters: None,
            threads: 1,
        }
    }

    /// Reads these topics, which must exist; more calls add more.
    ///
    /// What is redriven to the group from dead letters about them is read as well.
    pub fn topics<T: AsRef<str>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.source.topics.extend(topics.into_iter().map(|topic| topic.as_ref().to_owned()));
        self
    }

    /// Reads all topics whose names match a glob such as `orders.*`, those made later included.
    pub fn matching(mut self, pattern: impl Into<String>) -> Self {
        self.source.patterns.push(pattern.into());
        self
    }

    /// Where the group begins in topics that it has never read; by default at the earliest record.
    pub fn start_at(mut self, start: StartAt) -> Self {
        self.source.start = start;
        self
    }

    /// Where to go on when retention has passed the position.
    ///
    /// By default the partition is left alone, and [`Running::status`] says why: somebody has to
    /// know that records went unhandled.
    pub fn on_out_of_range(mut self, start: StartAt) -> Self {
        self.source.on_out_of_range = Some(start);
        self
    }

    /// How many records are in handlers at the same time: 1 or more, by default 1.
    ///
    /// So many threads when it is [spawned](ReadyWorker::spawn), so many futures in one task when
    /// it is [run](ReadyWorker::run).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// When a record is tried again, and when it is given up; by default [`Retry::default`].
    ///
    /// Times in which the worker is paused, or finds something unavailable, do not count.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.rules.retry = retry;
        self
    }

    /// Where records go that are given up; by default [`DeadLetters::default_for`] the group.
    pub fn dead_letters(mut self, letters: DeadLetters) -> Self {
        self.letters = Some(letters);
        self
    }

    /// How long one attempt may take; by default as long as it likes.
    ///
    /// An attempt that takes longer has failed. A future is dropped then. A thread cannot be
    /// stopped: what its handler says later is not listened to, and the record is not tried again
    /// before the handler has returned.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.rules.handler_timeout = Some(timeout);
        self
    }

    /// When to commit; by default when the records that were fetched together are settled.
    pub fn commit_every(mut self, commit_every: CommitEvery) -> Self {
        self.rules.commit_every = commit_every;
        self
    }

    /// How many records past its partition's committed offset a record may be started: 1 or more,
    /// by default 1,000.
    ///
    /// A partition whose commit is held up by one record goes on so far and then waits. After a
    /// crash, so many records of a partition may be handled again, and are handled one at a time,
    /// so that one that ends the process is found.
    pub fn max_ahead(mut self, records: u64) -> Self {
        self.rules.max_ahead = records;
        self
    }

    /// Handles each record by a function that answers when it returns.
    pub fn handle<F>(self, handler: F) -> ReadyWorker
    where
        F: Fn(Delivery) -> Result<(), Failure> + Send + Sync + 'static,
    {
        self.with(Arc::new(Blocking(handler)))
    }

    /// Handles each record by a future.
    ///
    /// A future that waits for a runtime's timers or sockets must be polled by that runtime:
    /// [`run`](ReadyWorker::run) the worker there.
    pub fn handle_async<F, A>(self, handler: F) -> ReadyWorker
    where
        F: Fn(Delivery) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.with(Arc::new(Awaited(handler)))
    }

    fn with(self, handler: Arc<dyn Handler>) -> ReadyWorker {
        let threads = self.threads;
        let group = self.source.group.clone();
        let engine = self.engine(handler);
        let engine =
            engine.map_err(|error| error.during(format_args!("start a worker of {group}")));
        ReadyWorker { engine, threads }
    }

    fn engine(self, handler: Arc<dyn Handler>) -> Result<Arc<Engine>, Error> {
        self.check()?;
        let Self { log, source, rules, letters, .. } = self;
        let group = GroupName::new(&source.group);
        let group = group.map_err(|error| Error::new(ErrorKind::InvalidName, error.to_string()))?;
        let letters = letters.unwrap_or_else(|| DeadLetters::default_for(&source.group));
        for topic in &source.topics {
            LetterBox::open(&log, &group, topic, &letters)?;
        }
        Ok(Engine::new(log, group, source, handler, (rules, letters)))
    }

    fn check(&self) -> Result<(), Error> {
        let refused = |text: &str| Err(Error::new(ErrorKind::InvalidConfig, text));
        if self.threads == 0 {
            return refused("a worker that handles no record at a time");
        }
        if self.rules.max_ahead == 0 {
            return refused("no record may be started, not even the first one");
        }
        if self.rules.handler_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return refused("a handler that may take no time");
        }
        Ok(())
    }
}

/// A worker that can be started: on threads of its own, or in a task.
#[must_use = "a worker that is not started does nothing"]
pub struct ReadyWorker {
    engine: Result<Arc<Engine>, Error>,
    threads: usize,
}

impl ReadyWorker {
    /// A handle to the worker, to look at it while somebody else runs it.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(self.engine.clone())
    }

    /// Joins the group and handles records on threads of its own.
    ///
    /// # Errors
    /// As for [`ConsumerBuilder::open`](crate::ConsumerBuilder::open), `InvalidConfig`, and what the
    /// system says when a thread is started. A log in memory has no threads: [`run`](Self::run) the
    /// worker there.
    pub fn spawn(self) -> Result<Running, Error> {
        let engine = self.engine?;
        engine.join()?;
        start_threads(&engine, self.threads)
    }

    /// Joins the group and handles records in this task, until `stop` is ready.
    ///
    /// What was begun is finished then. Dropped before, the future leaves its group at once, and
    /// what its handlers had is handled again by somebody else. No file is touched by the task
    /// itself.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), but for threads; `Closed` if the log was closed before `stop`
    /// was ready.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<StopReport, Error> {
        run(&self.engine?, self.threads, stop).await
    }

    /// Joins the group; whoever has the driver gives it time.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), but for threads.
    #[cfg(feature = "testing")]
    pub(crate) fn drive(self) -> Result<Driver, Error> {
        let engine = self.engine?;
        engine.join()?;
        Ok(Driver::new(&engine, self.threads))
    }
}

impl fmt::Debug for ReadyWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyWorker").field("control", &self.control()).finish_non_exhaustive()
    }
}
