//! What a worker calls for each record, whether it answers at once or later.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::delivery::Delivery;
use super::failure::{Failure, Reason};

/// What a handler says in the end.
pub(super) type Answer = Result<(), Failure>;

/// An answer on its way.
pub(super) type LaterAnswer = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a call comes to.
pub(super) enum Call {
    Answered(Answer),
    Later(LaterAnswer),
}

/// The user's handler, of either kind.
pub(super) trait Handler: Send + Sync {
    fn call(&self, delivery: Delivery) -> Call;
}

/// A handler that answers before it returns.
pub(super) struct Blocking<F>(pub(super) F);

impl<F> Handler for Blocking<F>
where
    F: Fn(Delivery) -> Answer + Send + Sync,
{
    fn call(&self, delivery: Delivery) -> Call {
        Call::Answered(guarded(|| (self.0)(delivery)).unwrap_or_else(Err))
    }
}

/// A handler that returns a future of its answer.
pub(super) struct Awaited<F>(pub(super) F);

impl<F, A> Handler for Awaited<F>
where
    F: Fn(Delivery) -> A + Send + Sync,
    A: Future<Output = Answer> + Send + 'static,
{
    fn call(&self, delivery: Delivery) -> Call {
        match guarded(|| (self.0)(delivery)) {
            Ok(future) => Call::Later(Box::pin(Guarded { future: Box::pin(future) })),
            Err(failure) => Call::Answered(Err(failure)),
        }
    }
}

/// A future whose panic is a failure.
struct Guarded<A> {
    future: Pin<Box<A>>,
}

impl<A: Future<Output = Answer>> Future for Guarded<A> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        match guarded(|| self.future.as_mut().poll(context)) {
            Ok(poll) => poll,
            // It is not polled again, as a future that is ready is not.
            Err(failure) => Poll::Ready(Err(failure)),
        }
    }
}

/// Drops what the user's code has left behind, which can panic as well.
pub(super) fn let_go(answer: LaterAnswer) {
    let _ = guarded(|| drop(answer));
}

/// Calls the user's code; its panic is a failure of the record, not of the worker.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = text_of(&*panic).unwrap_or("a panic without a text");
        Failure::Retry(Reason::of_worker("panic", text))
    })
}

fn text_of(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}
