//! A worker on threads of its own.

use std::fmt;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::error::Error;
use crate::offset::{Offset, TopicPartition};
use crate::storage::waiter::{Waiter, Woken};
use crate::sync::{Arc, AtomicU64, Ordering};

use super::control::Control;
use super::driver::{Driver, Turn};
use super::engine::{End, Engine};
use super::status::Status;

/// A worker that handles records on threads of its own.
///
/// Dropped, it begins nothing more, finishes what it has begun, and ends, without anybody waiting
/// for it.
pub struct Running {
    engine: Arc<Engine>,
    crew: Arc<Crew>,
    joins: Vec<Box<dyn FnOnce() + Send>>,
}

/// How a worker has ended.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct StopReport {
    /// Whether everything that was begun was finished and committed.
    pub is_drained: bool,
    /// The records that handlers had not returned in time; they are handled again by somebody else.
    pub abandoned: Vec<(TopicPartition, Offset)>,
    /// What made the worker end, if it was not asked to.
    pub error: Option<Error>,
}

impl From<End> for StopReport {
    fn from(end: End) -> Self {
        let is_drained = end.is_drained;
        Self { is_drained, abandoned: end.abandoned, error: end.error }
    }
}

impl Running {
    /// How the worker is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.engine.status()
    }

    /// Begins no record until it is resumed; what was begun is finished and committed.
    pub fn pause(&self) {
        self.engine.set_paused(true);
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.engine.set_paused(false);
    }

    /// A handle to the worker for others.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(Ok(Arc::clone(&self.engine)))
    }

    /// Begins nothing more, and waits until what was begun is finished and committed.
    ///
    /// After `within` it waits no longer: the worker leaves its group, and handlers that have not
    /// returned are left to themselves, because a thread cannot be stopped.
    pub fn stop(mut self, within: Duration) -> StopReport {
        self.engine.stop();
        if !self.crew.wait(within) {
            return self.engine.cut_off(None).into();
        }
        for join in self.joins.drain(..) {
            join();
        }
        self.engine.cut_off(None).into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// The threads of one worker.
#[derive(Default)]
struct Crew {
    at_work: AtomicU64,
    done: Waiter<()>,
}

impl Crew {
    /// Waits until all threads have ended; false if the time is over before.
    fn wait(&self, within: Duration) -> bool {
        matches!(self.done.wait_for(within), Woken::Filled(()))
    }
}

/// A thread's place in the crew; the last one to go says so, however it goes.
struct Shift(Arc<Crew>);

impl Shift {
    fn begin(crew: &Arc<Crew>) -> Self {
        crew.at_work.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(crew))
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        if self.0.at_work.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.done.fill(());
        }
    }
}

/// Gives an engine so many threads.
///
/// # Errors
/// What the system says; the worker has then ended.
pub(super) fn start_threads(engine: &Arc<Engine>, threads: usize) -> Result<Running, Error> {
    let crew = Arc::new(Crew::default());
    // So that it is not done before all have begun.
    let shift = Shift::begin(&crew);
    let mut joins: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for _ in 0..threads {
        let engine_of_thread = Arc::clone(engine);
        let shift = Shift::begin(&crew);
        let work = move || {
            work_on(&engine_of_thread);
            drop(shift);
        };
        match engine.log.env().spawn.spawn("brooklet-worker", Box::new(work)) {
            Ok(join) => joins.push(Box::new(move || join.join())),
            Err(source) => {
                engine.cut_off(None);
                return Err(no_thread(&source));
            }
        }
    }
    drop(shift);
    Ok(Running { engine: Arc::clone(engine), crew, joins })
}

fn no_thread(source: &std::io::Error) -> Error {
    let text = format!("no thread for the worker: {source}");
    Error::new(crate::error::ErrorKind::Io, text)
}

/// Gives the worker a thread's time until it ends.
fn work_on(engine: &Arc<Engine>) {
    let parking = Arc::new(Parking(Waiter::default()));
    let waker = Waker::from(Arc::clone(&parking));
    let mut context = Context::from_waker(&waker);
    let mut driver = Driver::new(engine, 1);
    loop {
        match driver.turn(&mut context) {
            Turn::Worked => {}
            Turn::Idle(date) => parking.wait(engine, date),
            Turn::Ended => return,
        }
    }
}

/// Where a thread waits that has nothing to do.
struct Parking(Waiter<()>);

impl Parking {
    fn wait(&self, engine: &Engine, until: Option<Duration>) {
        let clock = &engine.log.env().clock;
        match until {
            // Nobody can wait for a clock that somebody else turns.
            Some(until) if !clock.is_manual() => {
                let _ = self.0.wait_for(until.saturating_sub(clock.monotonic()));
            }
            _ => drop(self.0.wait()),
        }
    }
}

impl Wake for Parking {
    fn wake(self: Arc<Self>) {
        self.0.nudge();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.nudge();
    }
}
