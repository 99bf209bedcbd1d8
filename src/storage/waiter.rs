//! One way to wait, for threads and for async tasks alike.
//!
//! A [`Waiter`] is a slot that is filled once. Threads park on it; a task leaves its `Waker`. A
//! parked thread can also be nudged: there is work that it could do while it waits. Whoever fills
//! or nudges does so outside every other lock, and pays for a wake only where somebody sleeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::sync::{Condvar, Mutex, Rank, ranked};

/// Why a thread is awake again.
#[derive(Debug)]
pub(crate) enum Woken<T> {
    Filled(T),
    Nudged,
    TimedOut,
}

/// A slot that is filled once and emptied once.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    nudged: bool,
    parked: bool,
    waker: Option<Waker>,
}

impl<T> Default for Waiter<T> {
    fn default() -> Self {
        let state = State { value: None, nudged: false, parked: false, waker: None };
        Self { state: ranked(Rank::World, state), filled: Condvar::new() }
    }
}

impl<T> Waiter<T> {
    /// Fills the slot and wakes whoever waits; a slot that is already filled keeps its first value.
    pub(crate) fn fill(&self, value: T) {
        let mut state = self.state.lock();
        if state.value.is_some() {
            return;
        }
        state.value = Some(value);
        let parked = state.parked;
        let waker = state.waker.take();
        drop(state);
        if parked {
            self.filled.notify_one();
        }
        if let Some(waker) = waker {
            // An executor's code: if it panics, there may be others who are still to be woken.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Tells a parked thread that there is work for it; a task is not disturbed.
    pub(crate) fn nudge(&self) {
        let mut state = self.state.lock();
        state.nudged = true;
        let parked = state.parked;
        drop(state);
        if parked {
            self.filled.notify_one();
        }
    }

    /// Parks until the slot is filled, and empties it; none if the thread was nudged instead.
    pub(crate) fn wait(&self) -> Option<T> {
        let mut state = self.state.lock();
        state.parked = true;
        while state.value.is_none() && !state.nudged {
            self.filled.wait(&mut state);
        }
        state.parked = false;
        state.nudged = false;
        state.value.take()
    }

    /// Parks until the slot is filled, the thread is nudged, or `timeout` has passed.
    pub(crate) fn wait_for(&self, timeout: Duration) -> Woken<T> {
        let mut state = self.state.lock();
        let idle = |state: &mut State<T>| state.value.is_none() && !state.nudged;
        if idle(&mut state) && !timeout.is_zero() {
            state.parked = true;
            let _ = self.filled.wait_while_for(&mut state, idle, timeout);
            state.parked = false;
        }
        match state.value.take() {
            Some(value) => Woken::Filled(value),
            None if std::mem::take(&mut state.nudged) => Woken::Nudged,
            None => Woken::TimedOut,
        }
    }

    /// Empties the slot if it is filled; otherwise `waker` is woken when it is.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<T> {
        let mut state = self.state.lock();
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                    state.waker = Some(waker.clone());
                }
                Poll::Pending
            }
        }
    }

    /// Empties the slot if it is filled.
    pub(crate) fn take(&self) -> Option<T> {
        self.state.lock().value.take()
    }
}
