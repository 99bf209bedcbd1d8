//! The workers of a bus: who gives them time, until none of them has anything to do.
//!
//! They are the workers that run on threads and in tasks elsewhere; only the time is given by hand,
//! a turn each, in the order in which they were attached, so that the same test runs the same way.

use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::sync::{Arc, AtomicBool, Ordering, Shared};
use crate::testing::probe::fail;
use crate::worker::driver::{Driver, Turn};
use crate::worker::{Control, Counts, ReadyWorker};

/// What the workers of a bus have done since it settled last, and what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// Records that a handler was done with.
    pub handled: u64,
    /// Attempts that failed and are followed by another one; timeouts included.
    pub retried: u64,
    /// Records that were given up and have a letter.
    pub dead: u64,
    /// Records that were given up and whose letter could not be written, where that is allowed.
    pub dropped: u64,
    /// Attempts that said that something they need is unavailable.
    pub unavailable: u64,
    /// Records that handlers have now: futures that wait for something outside of the bus.
    pub running: usize,
    /// Workers that have ended since.
    pub stopped: usize,
    /// How far the clock must go until a worker does something by itself; none if no worker waits
    /// for it.
    pub sleeping_for: Option<Duration>,
}

/// The workers of a bus.
#[derive(Default)]
pub(super) struct Crew {
    hands: Vec<Hand>,
    /// What was done and not told yet.
    untold: Counts,
    stopped: usize,
}

/// One worker.
struct Hand {
    control: Control,
    driver: Driver,
    flag: Arc<Flag>,
    /// What it had done when that was last asked.
    counted: Counts,
    /// When it does something by itself.
    date: Option<Duration>,
    has_ended: bool,
}

/// How many turns workers have taken without coming to rest, and how many they may take.
pub(super) struct Turns {
    taken: u64,
    max: u64,
}

impl Turns {
    pub(super) fn at_most(max: u64) -> Self {
        Self { taken: 0, max }
    }

    pub(super) fn take(&mut self, turns: u64) {
        self.taken = self.taken.saturating_add(turns);
    }
}

impl Crew {
    /// Has a worker join its group; it is given time later.
    ///
    /// # Errors
    /// `InvalidConfig` if it is a worker of another log; as for [`ReadyWorker::spawn`].
    pub(super) fn add(&mut self, worker: ReadyWorker, log: &Log) -> Result<Control, Error> {
        let control = worker.control();
        let driver = worker.drive()?;
        if !std::ptr::eq(driver.log().env(), log.env()) {
            let error = Error::new(ErrorKind::InvalidConfig, "it is a worker of another log");
            return Err(error.during("attach a worker"));
        }
        self.hands.push(Hand {
            control: control.clone(),
            driver,
            flag: Arc::default(),
            counted: Counts::default(),
            date: None,
            has_ended: false,
        });
        Ok(control)
    }

    /// Gives all workers time until none has anything to do now.
    ///
    /// # Panics
    /// If that takes more turns than there are left.
    #[track_caller]
    pub(super) fn settle(&mut self, log: &Log, turns: &mut Turns) {
        let now = log.env().clock.monotonic();
        while self.round(now) {
            turns.take(self.hands.len() as u64);
            if turns.taken > turns.max {
                let what = format!("workers do not come to rest within {} turns", turns.max);
                fail(&what, &[], &self.describe());
            }
        }
    }

    /// Gives each worker a turn; whether anything was done, or may be done now.
    fn round(&mut self, now: Duration) -> bool {
        self.hands.iter().for_each(|hand| hand.flag.lower());
        let mut has_worked = false;
        for hand in self.hands.iter_mut().filter(|hand| !hand.has_ended) {
            let waker = Waker::from(Arc::clone(&hand.flag));
            match hand.driver.turn(&mut Context::from_waker(&waker)) {
                Turn::Worked => has_worked = true,
                Turn::Idle(date) => {
                    hand.date = date;
                    has_worked |= date.is_some_and(|date| date <= now);
                }
                Turn::Ended => {
                    hand.date = None;
                    hand.has_ended = true;
                    self.stopped += 1;
                }
            }
        }
        has_worked || !self.is_at_rest()
    }

    /// Whether nobody was woken since all were found to have nothing to do.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.hands.iter().any(|hand| !hand.has_ended && hand.flag.is_raised())
    }

    /// Whom to wake when a handler that waits can go on; none from now on if there is nobody.
    pub(super) fn report_to(&self, waker: Option<&Waker>) {
        self.hands.iter().for_each(|hand| hand.flag.outer.with(|outer| *outer = waker.cloned()));
    }

    /// How many records handlers have.
    pub(super) fn running(&self) -> usize {
        let partitions = self.hands.iter().flat_map(|hand| hand.control.status().partitions);
        partitions.map(|partition| partition.running.len()).sum()
    }

    /// When the first worker does something by itself.
    pub(super) fn date(&self) -> Option<Duration> {
        self.hands.iter().filter_map(|hand| hand.date).min()
    }

    /// Tells what was done since that was told last.
    pub(super) fn tell(&mut self, now: Duration) -> Settled {
        self.count();
        let Counts { handled, retried, dead, dropped, unavailable } =
            std::mem::take(&mut self.untold);
        Settled {
            handled,
            retried,
            dead,
            dropped,
            unavailable,
            running: self.running(),
            stopped: std::mem::take(&mut self.stopped),
            sleeping_for: self.date().map(|date| date.saturating_sub(now)),
        }
    }

    /// Asks all workers to finish what they have begun, and to begin nothing more.
    pub(super) fn stop(&self) {
        self.hands.iter().for_each(|hand| hand.control.stop());
    }

    /// Lets all workers go, whatever they were doing.
    pub(super) fn dismiss(&mut self) {
        self.count();
        self.hands.clear();
    }

    fn count(&mut self) {
        for hand in &mut self.hands {
            let now = hand.control.status().counts;
            let before = std::mem::replace(&mut hand.counted, now);
            self.untold.handled += now.handled.saturating_sub(before.handled);
            self.untold.retried += now.retried.saturating_sub(before.retried);
            self.untold.dead += now.dead.saturating_sub(before.dead);
            self.untold.dropped += now.dropped.saturating_sub(before.dropped);
            self.untold.unavailable += now.unavailable.saturating_sub(before.unavailable);
        }
    }

    /// A line for each worker, and one for each of its partitions that is held up.
    fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, hand) in self.hands.iter().enumerate() {
            let status = hand.control.status();
            lines.push(format!("worker {number}: {:?}", status.counts));
            for partition in status.partitions {
                if let Some(blocked) = partition.blocked {
                    let (at, why) = (blocked.at, blocked.why);
                    lines.push(format!("  {}@{at}: {why:?}", partition.partition));
                }
            }
        }
        lines
    }
}

/// Settles again and again until no handler waits for anything outside.
pub(super) fn poll_settled(
    crew: &mut Crew,
    context: &Context<'_>,
    settle: impl FnOnce(&mut Crew) -> Result<(), Error>,
) -> Poll<Result<(), Error>> {
    crew.report_to(Some(context.waker()));
    let settled = settle(crew);
    if settled.is_ok() && crew.running() > 0 {
        return Poll::Pending;
    }
    crew.report_to(None);
    Poll::Ready(settled)
}

/// Says that a worker has something to do.
#[derive(Default)]
struct Flag {
    is_up: AtomicBool,
    outer: Shared<Option<Waker>>,
}

impl Flag {
    fn lower(&self) {
        self.is_up.store(false, Ordering::Release);
    }

    fn is_raised(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.is_up.store(true, Ordering::Release);
        if let Some(outer) = self.outer.get() {
            outer.wake();
        }
    }
}
