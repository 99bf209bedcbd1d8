//! Does what the engine says, a turn at a time: for a thread, for a task, and for a test.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
#[cfg(feature = "testing")]
use crate::log::Log;
use crate::record::StoredRecord;
use crate::storage::tail::Serve;
use crate::sync::{Arc, Shared};

use super::delivery::{Delivery, Emitted, all_sent};
use super::engine::{Engine, Step};
use super::errand::Errand;
use super::failure::Answer;
use super::handler::{Call, LaterAnswer, let_go};
use super::ledger::{Attempt, Run};

/// Somebody who has time for a worker.
pub(crate) struct Driver {
    engine: Arc<Engine>,
    /// Handlers that have not answered yet.
    tasks: Vec<Task>,
    /// How many of them there may be.
    width: usize,
    /// Whether errands are left to the background, because this one must not touch files.
    is_task: bool,
}

struct Task {
    run: Run,
    deadline: Option<Duration>,
    answer: LaterAnswer,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something was done, and there may be more.
    Worked,
    /// There is nothing to do until the waker is woken, or until this time.
    Idle(Option<Duration>),
    /// The worker has ended.
    Ended,
}

impl Driver {
    /// Has time for so many handlers at once.
    pub(super) fn new(engine: &Arc<Engine>, width: usize) -> Self {
        Self { engine: Arc::clone(engine), tasks: Vec::new(), width, is_task: false }
    }

    /// The same, without touching files.
    pub(super) fn of_task(engine: &Arc<Engine>, width: usize) -> Self {
        let mut driver = Self::new(engine, width);
        driver.is_task = true;
        driver
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The log that the worker reads.
    #[cfg(feature = "testing")]
    pub(crate) fn log(&self) -> &Log {
        &self.engine.log
    }

    /// Does one thing.
    pub(crate) fn turn(&mut self, context: &mut Context<'_>) -> Turn {
        let has_answers = self.poll_tasks(context);
        match self.engine.step(self.tasks.len() < self.width, context.waker()) {
            Step::Handle(attempt) => self.handle(attempt),
            Step::Errand(errand) => self.perform(errand),
            Step::Idle(_) if has_answers => {}
            Step::Idle(date) => return Turn::Idle(date),
            Step::Ended => {
                self.let_all_go();
                return Turn::Ended;
            }
        }
        Turn::Worked
    }

    /// Whether any handler answered, or ran out of time.
    fn poll_tasks(&mut self, context: &mut Context<'_>) -> bool {
        if self.tasks.is_empty() {
            return false;
        }
        let before = self.tasks.len();
        let now = self.engine.now().monotonic;
        let engine = &self.engine;
        self.tasks.retain_mut(|task| {
            if task.deadline.is_some_and(|deadline| deadline <= now) {
                // Dropped with the task, and then reported, so that it never runs beside the next
                // attempt.
                let_go(std::mem::replace(&mut task.answer, Box::pin(std::future::pending())));
                engine.abandon(task.run);
                return false;
            }
            match task.answer.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    engine.finish(task.run, answer);
                    false
                }
                Poll::Pending => true,
            }
        });
        self.tasks.len() < before
    }

    fn handle(&mut self, attempt: Attempt<StoredRecord>) {
        let Attempt { run, number, deadline, record } = attempt;
        let emitted = Emitted::new(&self.engine.log);
        let delivery = Delivery::new(record, number, emitted.clone());
        let answer: LaterAnswer = match self.engine.handler.call(delivery) {
            Call::Answered(answer) => {
                let sent = emitted.close();
                if answer.is_err() || sent.is_empty() {
                    self.engine.finish(run, answer);
                    return;
                }
                Box::pin(all_sent(sent))
            }
            Call::Later(answer) => Box::pin(with_emitted(answer, emitted)),
        };
        self.tasks.push(Task { run, deadline, answer });
    }

    fn perform(&self, errand: Errand) {
        if self.is_task {
            let errand = Shared::new(Some(errand));
            let job = Aside { engine: Arc::clone(&self.engine), errand };
            self.engine.log.run_aside(Arc::new(job));
        } else {
            self.engine.perform(errand);
        }
    }
}

impl Driver {
    /// Stops all handlers half-way.
    fn let_all_go(&mut self) {
        for task in self.tasks.drain(..) {
            let Task { run, answer, .. } = task;
            let_go(answer);
            self.engine.abandon(run);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.let_all_go();
    }
}

async fn with_emitted(answer: LaterAnswer, emitted: Emitted) -> Answer {
    let answer = answer.await;
    let sent = emitted.close();
    answer?;
    all_sent(sent).await
}

/// An errand that the background of the log does for a task.
struct Aside {
    engine: Arc<Engine>,
    errand: Shared<Option<Errand>>,
}

impl Serve for Aside {
    fn serve(&self) {
        if let Some(errand) = self.errand.with(Option::take) {
            self.engine.perform(errand);
            self.engine.ring();
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.errand.with(Option::take).is_some() {
            // A log that closes drops what its background has not begun.
            self.engine.cut_off(Some(Error::bare(ErrorKind::Closed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::{Driver, Turn};
    use crate::config::TopicConfig;
    use crate::log::Log;
    use crate::record::Record;
    use crate::worker::Worker;

    fn drive(driver: &mut Driver) -> Turn {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match driver.turn(&mut context) {
                Turn::Worked => {}
                rest => return rest,
            }
        }
    }

    /// A test that drives a worker by hand would wait for a thread that is not there.
    #[test]
    fn a_driven_worker_does_everything_in_its_turns() {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new()).unwrap();
        let (seen, values) = std::sync::mpsc::channel();
        let worker = Worker::new(&log, "g").topics(["t"]).handle(move |delivery| {
            seen.send(delivery.offset().value())?;
            Ok(())
        });
        let control = worker.control();
        let mut driver = worker.drive().unwrap();
        assert_eq!(drive(&mut driver), Turn::Idle(None));
        log.producer("t").unwrap().send_all([Record::new("a"), Record::new("b")]).unwrap();
        assert_eq!(drive(&mut driver), Turn::Idle(None));
        assert_eq!(values.try_iter().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(log.group("g").unwrap().lag(), 0);
        control.stop();
        assert_eq!(drive(&mut driver), Turn::Ended);
        assert!(log.group("g").unwrap().members.is_empty());
    }
}
