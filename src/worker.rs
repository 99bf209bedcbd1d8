//! The loop that everybody writes around a consumer, once.
//!
//! A [`Worker`] says what to read and how to go about it, and is given a handler; the
//! [`ReadyWorker`] that comes of it is started on threads or in a task. The handler gets a
//! [`Delivery`] at a time, and says with a [`Failure`] what shall become of a record that it could
//! not handle. [`Running::status`] tells how it all is going.

mod builder;
mod control;
mod delivery;
pub(crate) mod driver;
mod engine;
mod errand;
mod failure;
mod handler;
mod ledger;
mod metadata;
mod rules;
mod running;
mod source;
mod status;
mod task;

pub use builder::{ReadyWorker, Worker};
pub use control::Control;
pub use delivery::Delivery;
#[allow(unused_imports, reason = "the test bus drives workers by hand")]
pub(crate) use driver::{Driver, Turn};
pub use failure::{Failure, Reason};
pub use rules::CommitEvery;
pub use running::{Running, StopReport};
pub use status::{Blocked, Counts, PartitionStatus, RunningRecord, State, Status, Why};
