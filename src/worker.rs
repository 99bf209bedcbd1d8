//! The loop that everybody writes around a consumer, once.

#![allow(dead_code, reason = "the engine that drives the ledger is not written yet")]

mod failure;
mod ledger;
mod metadata;
mod rules;
mod status;

pub use failure::{Failure, Reason};
pub use rules::CommitEvery;
pub use status::{Blocked, Counts, PartitionStatus, RunningRecord, State, Status, Why};
