//! One way to wait, for threads and for async tasks alike.
//!
//! A [`Waiter`] is a slot that is filled once. Threads park on it; a task leaves its `Waker`. Whoever fills it does
//! so outside every other lock, and pays for a wake only where somebody sleeps.

use std::task::{Poll, Waker};
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// A slot that is filled once and emptied once.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    parked: bool,
    waker: Option<Waker>,
}

impl<T> Default for Waiter<T> {
    fn default() -> Self {
        let state = State { value: None, parked: false, waker: None };
        Self { state: Mutex::new(state), filled: Condvar::new() }
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
            waker.wake();
        }
    }

    /// Parks until the slot is filled, and empties it.
    pub(crate) fn wait(&self) -> T {
        let mut state = self.state.lock();
        loop {
            if let Some(value) = state.value.take() {
                state.parked = false;
                return value;
            }
            state.parked = true;
            self.filled.wait(&mut state);
        }
    }

    /// Parks until the slot is filled or `timeout` has passed.
    pub(crate) fn wait_for(&self, timeout: Duration) -> Option<T> {
        let mut state = self.state.lock();
        if state.value.is_none() && !timeout.is_zero() {
            state.parked = true;
            let _ = self.filled.wait_while_for(&mut state, |state| state.value.is_none(), timeout);
            state.parked = false;
        }
        state.value.take()
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
