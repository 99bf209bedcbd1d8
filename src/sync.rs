//! The synchronisation primitives that the crate uses, named once so that others can stand in.
//!
//! A release build has those of `std`, `parking_lot` and `crossbeam` as they are. A debug build has
//! locks that panic when they are taken out of their order ([`order`]). Under `--cfg loom` and
//! `--cfg shuttle` a model checker decides who runs next, and stands in for all of them ([`model`]);
//! `tests/models.sh` builds and runs the models.
//!
//! Two things stay as they are under a checker. `Arc` does: it is `std`'s whoever checks, because
//! loom's has neither `Weak` nor unsized values, and no code here counts references to synchronise.
//! And so do channels that users hold the other end of, which are not modelled.

pub(crate) use std::sync::{Arc, Weak};

pub(crate) use self::order::Rank;

pub(crate) mod order;

#[cfg(any(loom, shuttle))]
pub(crate) mod model;

#[cfg(any(loom, shuttle))]
pub(crate) use self::model::{
    AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, channel,
};

#[cfg(not(any(loom, shuttle)))]
pub(crate) use {
    crossbeam_channel as channel,
    std::sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

#[cfg(all(not(any(loom, shuttle)), debug_assertions))]
pub(crate) use self::order::{Condvar, Mutex, MutexGuard};

#[cfg(all(not(any(loom, shuttle)), not(debug_assertions)))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

/// A lock that has its place in the order.
pub(crate) fn ranked<T>(rank: Rank, value: T) -> Mutex<T> {
    #[cfg(all(not(any(loom, shuttle)), debug_assertions))]
    return Mutex::new(rank, value);

    #[cfg(any(loom, shuttle, not(debug_assertions)))]
    {
        let _ = rank;
        Mutex::new(value)
    }
}

/// A value that the control path shares: looked up or changed for an instant.
///
/// It is reached through a closure alone, so that no lock outlives one look; nobody may touch a file
/// or wake anybody inside.
#[derive(Debug)]
pub(crate) struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self::ranked(Rank::Value, value)
    }

    /// One whose closures may take other locks, of a later rank.
    pub(crate) fn ranked(rank: Rank, value: T) -> Self {
        Self(ranked(rank, value))
    }

    /// Looks at the value or changes it.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.0.lock())
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Clone> Shared<T> {
    /// A copy of the value as it is now.
    pub(crate) fn get(&self) -> T {
        self.with(|value| value.clone())
    }
}
