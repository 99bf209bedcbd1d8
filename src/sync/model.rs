//! The primitives of a model checker, with the faces of those they stand in for.
//!
//! [loom](https://docs.rs/loom) tries every order in which a few threads can run, and what each may
//! see of atomics; [shuttle](https://docs.rs/shuttle) tries many orders of larger programs. Both
//! offer what `std` has; the crate uses what `parking_lot` and `crossbeam` have. This is the
//! difference, and no more of it than is used.
//!
//! Time does not pass by itself under a checker. A wait of a second or more never ends by itself, so
//! that a wake-up that is lost is found as a deadlock; under shuttle a shorter one ends at any moment.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(loom)]
use loom as checker;
#[cfg(all(shuttle, not(loom)))]
use shuttle as checker;

pub(crate) use checker::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A lock that a panic does not poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

/// A lock that is held; there is nothing inside for as long as its holder waits.
pub(crate) struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    held: Option<checker::sync::MutexGuard<'a, T>>,
}

/// Where threads wait for a lock's value to change.
#[derive(Debug, Default)]
pub(crate) struct Condvar(checker::sync::Condvar);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(checker::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, held: Some(self.inner()) }
    }

    fn inner(&self) -> checker::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::expect_used, reason = "nobody looks at a lock while waiting for it")]
impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("the lock is held")
    }
}

#[expect(clippy::expect_used, reason = "nobody looks at a lock while waiting for it")]
impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("the lock is held")
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.held = guard.held.take().map(|held| {
            let woken = self.0.wait(held);
            woken.unwrap_or_else(PoisonError::into_inner)
        });
    }

    /// Whether the wait has ended by itself.
    pub(crate) fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) -> bool {
        while condition(&mut *guard) {
            if timeout >= A_LONG_TIME {
                self.wait(guard);
                continue;
            }
            if ends_now() {
                return true;
            }
            // It goes on or ends by itself; nobody need wake it.
            guard.held = None;
            checker::thread::yield_now();
            guard.held = Some(guard.lock.inner());
        }
        false
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A wait of this length never ends by itself.
const A_LONG_TIME: Duration = Duration::from_secs(1);

/// Whether a short wait is over now. Under loom it always is: every choice is a whole tree of orders.
fn ends_now() -> bool {
    #[cfg(all(shuttle, not(loom)))]
    return shuttle::rand::Rng::r#gen(&mut shuttle::rand::thread_rng());

    #[cfg(loom)]
    return true;
}

/// A queue with many ends, of which none is ever found cut off.
pub(crate) mod channel {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Condvar, Mutex};

    struct Queue<T> {
        items: Mutex<VecDeque<T>>,
        filled: Condvar,
    }

    pub(crate) struct Sender<T>(Arc<Queue<T>>);

    pub(crate) struct Receiver<T>(Arc<Queue<T>>);

    /// The other end is gone, or there is nothing.
    #[derive(Debug)]
    pub(crate) struct Nothing;

    /// Why a wait has ended; what is never found here is still matched.
    #[derive(Debug)]
    pub(crate) enum RecvTimeoutError {
        Timeout,
        Disconnected,
    }

    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        let queue = Queue { items: Mutex::default(), filled: Condvar::default() };
        let queue = Arc::new(queue);
        (Sender(Arc::clone(&queue)), Receiver(queue))
    }

    /// Its users never send more than there is room for.
    pub(crate) fn bounded<T>(_room: usize) -> (Sender<T>, Receiver<T>) {
        unbounded()
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, item: T) -> Result<(), Nothing> {
            self.0.items.lock().push_back(item);
            self.0.filled.notify_one();
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn recv(&self) -> Result<T, Nothing> {
            self.recv_timeout(Duration::MAX).map_err(|_| Nothing)
        }

        pub(crate) fn try_recv(&self) -> Result<T, Nothing> {
            self.0.items.lock().pop_front().ok_or(Nothing)
        }

        pub(crate) fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
            let mut items = self.0.items.lock();
            let _ = self.0.filled.wait_while_for(&mut items, |items| items.is_empty(), timeout);
            items.pop_front().ok_or(RecvTimeoutError::Timeout)
        }
    }

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }
}
