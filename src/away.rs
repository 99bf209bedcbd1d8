//! Work that the background of a log does for whoever must not wait for a file.
//!
//! The work begins at once, and ends whether anybody still waits for it or not. Where there are no
//! threads it is done before [`Away::start`] returns. Others may rely on this: the result comes
//! exactly once, and work that a closing log drops says so.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, ErrorKind};
use crate::storage::store::Store;
use crate::storage::tail::Serve;
use crate::storage::waiter::Waiter;
use crate::sync::{Arc, Shared};

/// Work on its way; a future of its result.
///
/// It fails with `Closed` if the log was closed before the work began. A panic of the work goes on
/// where its result is taken.
#[must_use = "the result is lost"]
pub(crate) struct Away<T> {
    slot: Arc<Waiter<Ended<T>>>,
}

/// How work has ended.
enum Ended<T> {
    Done(T),
    Panicked(Box<dyn Any + Send>),
    NeverBegun,
}

impl<T: Send + 'static> Away<T> {
    /// Has `work` done by the background of `store`.
    pub(crate) fn start(store: &Store, work: impl FnOnce() -> T + Send + 'static) -> Self {
        let slot = Arc::new(Waiter::default());
        let work = Shared::new(Some(work));
        let job = Arc::new(Work { work, slot: Arc::clone(&slot) });
        match store.env().spawn.can_spawn() {
            true => store.run(job),
            // Whoever waits would wait for itself.
            false => job.serve(),
        }
        Self { slot }
    }

    /// Parks until the work is done.
    pub(crate) fn wait(&self) -> Result<T, Error> {
        loop {
            if let Some(ended) = self.slot.wait() {
                return ended.result();
            }
        }
    }

    /// The result if the work is done; otherwise `waker` is woken when it is.
    pub(crate) fn poll_result(&self, waker: &Waker) -> Poll<Result<T, Error>> {
        self.slot.poll(waker).map(Ended::result)
    }
}

impl<T: Send + 'static> Future for Away<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_result(context.waker())
    }
}

impl<T> fmt::Debug for Away<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Away").finish_non_exhaustive()
    }
}

impl<T> Ended<T> {
    fn result(self) -> Result<T, Error> {
        match self {
            Self::Done(result) => Ok(result),
            Self::Panicked(cause) => resume_unwind(cause),
            Self::NeverBegun => Err(Error::bare(ErrorKind::Closed)),
        }
    }
}

/// The work as the background sees it.
struct Work<T, F> {
    work: Shared<Option<F>>,
    slot: Arc<Waiter<Ended<T>>>,
}

impl<T: Send, F: FnOnce() -> T + Send> Serve for Work<T, F> {
    fn serve(&self) {
        let Some(work) = self.work.with(Option::take) else { return };
        // A caller's own code may run in here, and its panic is not the background's.
        let ended = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Ended::Done(result),
            Err(cause) => Ended::Panicked(cause),
        };
        self.slot.fill(ended);
    }
}

impl<T, F> Drop for Work<T, F> {
    fn drop(&mut self) {
        let work = self.work.with(Option::take);
        if work.is_some() {
            // What the work holds may tell somebody of its end when it goes: first it goes.
            drop(work);
            self.slot.fill(Ended::NeverBegun);
        }
    }
}
