//! A worker whose handler does what the value asks for, and takes down what it has handled.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use brooklet::retry::Retry;
use brooklet::testing::checker::{Event, Value};
use brooklet::worker::{Delivery, Failure, ReadyWorker, StopReport, Worker};
use brooklet::{Error, StartAt};

use crate::plan::{Handling, WORKED, handling};
use crate::scene::{Scene, place_of};

/// A worker of those of its topics that are there; none if none is.
pub(crate) fn worker(scene: &Arc<Scene>) -> Option<ReadyWorker> {
    let there = scene.topics();
    let is_there = |name: &&&str| there.iter().any(|open| open.name == **name);
    let topics: Vec<_> = WORKED.topics.iter().filter(is_there).collect();
    if topics.is_empty() {
        return None;
    }
    let retry = Retry::exponential(Duration::from_millis(1)).max_attempts(3);
    let worker = Worker::new(&scene.log, WORKED.name).topics(topics).threads(2).retry(retry);
    let scene = Arc::clone(scene);
    Some(worker.on_out_of_range(StartAt::Earliest).handle_async(move |delivery| {
        let answer = handle(&scene, &delivery);
        async move { answer }
    }))
}

fn handle(scene: &Scene, delivery: &Delivery) -> Result<(), Failure> {
    let value = Value::decode(delivery.value().unwrap_or_default());
    let asks = value.map_or(Handling::FailsForGood, handling);
    match asks {
        Handling::FailsForGood => return Err(Failure::dead("a value that nobody can handle")),
        Handling::FailsOnce if delivery.attempt() == 1 => return Err(Failure::retry("not yet")),
        Handling::FailsOnce | Handling::Succeeds => {}
    }
    if let Some(place) = place_of(delivery.topic_partition()) {
        let offset = delivery.offset().value();
        scene.note(Event::Handled { group: WORKED.number, place, offset });
    }
    Ok(())
}

/// A worker as a task that has time when it is given some.
pub(crate) struct Task {
    run: Pin<Box<dyn Future<Output = Result<StopReport, Error>>>>,
    flag: Arc<Flag>,
}

/// Says that a task has something to do.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Task {
    pub(crate) fn new(worker: ReadyWorker) -> Self {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        Self { run: Box::pin(worker.run(pending())), flag }
    }

    /// Gives it time, but not for ever.
    pub(crate) fn step(&mut self) -> Result<(), Error> {
        self.flag.0.store(true, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.flag));
        for _ in 0..POLLS_MAX {
            if !self.flag.0.swap(false, Ordering::SeqCst) {
                break;
            }
            match self.run.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(report) => return report?.error.map_or(Ok(()), Err),
                Poll::Pending => {}
            }
        }
        Ok(())
    }
}

const POLLS_MAX: u32 = 20;
