//! brooklet: an event log that a Rust program embeds.
#![forbid(unsafe_code)]

mod env;
mod limits;
mod name;
mod offset;
pub mod partitioner;
mod sync;

pub use name::{InvalidName, TopicName};
pub use offset::{Offset, PartitionId, StartAt, Timestamp, TopicPartition};
