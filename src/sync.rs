//! The synchronisation primitives that the crate uses, named once so that a model checker can stand
//! in.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Weak};

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

/// A value that the control path shares: looked up or changed for an instant.
///
/// It is reached through a closure alone, so that no lock outlives one look; nobody may touch a file
/// or wake anybody inside.
#[derive(Debug, Default)]
pub(crate) struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Looks at the value or changes it.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.0.lock())
    }
}

impl<T: Clone> Shared<T> {
    /// A copy of the value as it is now.
    pub(crate) fn get(&self) -> T {
        self.with(|value| value.clone())
    }
}
