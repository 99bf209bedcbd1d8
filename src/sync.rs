//! The synchronisation primitives that the crate uses, named once so that a model checker can stand in.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

pub(crate) use parking_lot::{Condvar, Mutex};
