//! The order of the locks, and locks that insist on it.
//!
//! Two threads that take the same two locks in different orders can wait for each other for ever. So
//! each lock has a [`Rank`], and a thread takes only locks of a later rank than those it holds. Files
//! and wake-ups have the first rank: whoever holds any lock may neither touch a file nor wake anybody.
//!
//! A debug build checks that at every lock and panics at the first that is out of order, so that the
//! tests find it wherever they come by, without the other thread that it takes to wait for ever. Each
//! thread keeps in mind what it holds, in the crate's only static, which release builds do not have.

/// The place of a lock in the order, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// A simulated file system, and the slot of somebody who waits: nothing else may be held.
    World,
    /// The lock of a group.
    Group,
    /// The lock of a partition or a journal.
    Shard,
    /// A table or a value that is looked at for an instant.
    Value,
    /// A clock that is moved by hand.
    #[cfg(any(test, feature = "testing"))]
    Clock,
}

#[cfg(all(not(any(loom, shuttle)), debug_assertions))]
pub(crate) use self::checked::{Condvar, Mutex, MutexGuard};

#[cfg(all(not(any(loom, shuttle)), debug_assertions))]
mod checked {
    use std::cell::Cell;
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    use super::Rank;

    thread_local! {
        /// The ranks of the locks that this thread holds, one bit for each.
        static HELD: Cell<u8> = const { Cell::new(0) };
    }

    /// A lock with a rank.
    #[derive(Debug)]
    pub(crate) struct Mutex<T> {
        rank: Rank,
        inner: parking_lot::Mutex<T>,
    }

    /// A lock that is held. The lock is released before it is forgotten.
    pub(crate) struct MutexGuard<'a, T> {
        inner: parking_lot::MutexGuard<'a, T>,
        held: Held,
    }

    /// A note that this thread holds a lock.
    struct Held(Rank);

    /// Where threads wait for a lock's value to change.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl<T> Mutex<T> {
        pub(crate) fn new(rank: Rank, value: T) -> Self {
            Self { rank, inner: parking_lot::Mutex::new(value) }
        }

        #[track_caller]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            // Before the lock is waited for: if it is held by this very thread, nobody would tell.
            let held = Held::note(self.rank);
            MutexGuard { inner: self.inner.lock(), held }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.inner
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.inner
        }
    }

    impl Held {
        #[track_caller]
        fn note(rank: Rank) -> Self {
            let held = HELD.get();
            assert!(
                held >> (rank as u8) == 0,
                "lock order: {rank:?} is taken while the ranks {held:#b} are held"
            );
            HELD.set(held | 1 << (rank as u8));
            Self(rank)
        }

        #[track_caller]
        fn is_alone(&self) {
            let held = HELD.get();
            let rank = self.0;
            assert!(
                held == 1 << (rank as u8),
                "lock order: parked on {rank:?} while the ranks {held:#b} are held"
            );
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            HELD.set(HELD.get() & !(1 << (self.0 as u8)));
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        #[track_caller]
        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            guard.held.is_alone();
            self.0.wait(&mut guard.inner);
        }

        #[track_caller]
        pub(crate) fn wait_while_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            condition: impl FnMut(&mut T) -> bool,
            timeout: Duration,
        ) -> bool {
            guard.held.is_alone();
            self.0.wait_while_for(&mut guard.inner, condition, timeout).timed_out()
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        #[cfg(any(test, feature = "testing"))]
        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    #[cfg(test)]
    mod tests {
        use std::panic::{AssertUnwindSafe, catch_unwind};

        use super::{Condvar, Mutex, Rank};

        /// Whether taking `second` is refused to who holds `first`.
        fn is_refused(first: Rank, second: Rank) -> bool {
            let (outer, inner) = (Mutex::new(first, ()), Mutex::new(second, ()));
            let held = outer.lock();
            let refused = catch_unwind(AssertUnwindSafe(|| drop(inner.lock()))).is_err();
            drop(held);
            refused
        }

        /// Two threads could wait for each other for ever, and no test would tell before they do.
        #[test]
        fn locks_are_taken_in_their_order_alone() {
            let ranks = [Rank::World, Rank::Group, Rank::Shard, Rank::Value, Rank::Clock];
            for first in ranks {
                for second in ranks {
                    assert_eq!(is_refused(first, second), second <= first, "{first:?}, {second:?}");
                }
            }
        }

        /// A lock would count as held after it was let go of, in whichever order that happens.
        #[test]
        fn what_is_let_go_of_is_forgotten() {
            let (group, shard) = (Mutex::new(Rank::Group, ()), Mutex::new(Rank::Shard, ()));
            let outer = group.lock();
            let inner = shard.lock();
            drop(outer);
            drop(group.lock_after(inner));
            assert!(!is_refused(Rank::World, Rank::Clock));
        }

        /// A thread would sleep with a lock that whoever is to wake it needs.
        #[test]
        fn nobody_parks_with_another_lock() {
            let (outer, inner) = (Mutex::new(Rank::Group, ()), Mutex::new(Rank::Shard, ()));
            let held = outer.lock();
            let mut parked = inner.lock();
            let condvar = Condvar::new();
            let refused = catch_unwind(AssertUnwindSafe(|| condvar.wait(&mut parked)));
            assert!(refused.is_err());
            drop((parked, held));
        }

        impl<T> Mutex<T> {
            /// Takes the lock once `other` was let go of.
            fn lock_after<U>(&self, other: super::MutexGuard<'_, U>) -> super::MutexGuard<'_, T> {
                drop(other);
                self.lock()
            }
        }
    }
}
