//! A worker in a task of somebody else's executor.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::Error;
use crate::sync::Arc;

use super::driver::{Driver, Turn};
use super::engine::Engine;
use super::running::StopReport;

/// Gives an engine a task's time until `stop` is ready and everything that was begun is finished.
///
/// # Errors
/// Why it could not join its group; what made it end before it was asked to.
pub(super) async fn run(
    engine: &Arc<Engine>,
    width: usize,
    stop: impl Future<Output = ()>,
) -> Result<StopReport, Error> {
    let mut stop = pin!(stop);
    let mut task = Task { driver: Driver::of_task(engine, width), alarm: None };
    let mut is_stopping = false;
    poll_fn(|context| {
        if !is_stopping && stop.as_mut().poll(context).is_ready() {
            is_stopping = true;
            engine.stop();
        }
        task.poll(context)
    })
    .await;
    let report = StopReport::from(engine.cut_off(None));
    match &report.error {
        Some(error) => Err(error.clone()),
        None => Ok(report),
    }
}

struct Task {
    driver: Driver,
    /// The alarm that is set, and whom it wakes.
    alarm: Option<(Duration, Waker)>,
}

impl Task {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS_PER_POLL {
            match self.driver.turn(context) {
                Turn::Worked => {}
                Turn::Idle(date) => {
                    self.set_alarm(date, context.waker());
                    return Poll::Pending;
                }
                Turn::Ended => return Poll::Ready(()),
            }
        }
        // The executor has other tasks.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn set_alarm(&mut self, date: Option<Duration>, waker: &Waker) {
        let Some(date) = date else { return };
        let log = &self.driver.engine().log;
        let env = log.env();
        if env.clock.is_manual() {
            return;
        }
        if !env.spawn.can_spawn() {
            // Nobody else watches the clock for a log in memory.
            waker.wake_by_ref();
            return;
        }
        let is_set = |(at, whom): &(Duration, Waker)| *at == date && whom.will_wake(waker);
        if !self.alarm.as_ref().is_some_and(is_set) {
            log.wake_after(date.saturating_sub(env.clock.monotonic()), waker.clone());
            self.alarm = Some((date, waker.clone()));
        }
    }
}

impl Drop for Task {
    /// A task that is dropped half-way leaves the group at once.
    fn drop(&mut self) {
        self.driver.engine().cut_off(None);
    }
}

/// So many turns of a busy worker, before it is another task's turn.
const TURNS_PER_POLL: usize = 64;
