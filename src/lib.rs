//! brooklet: an event log that a Rust program embeds.
#![forbid(unsafe_code)]

mod config;
mod env;
mod error;
mod format;
mod limits;
mod name;
mod offset;
pub mod partitioner;
mod record;
mod storage;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;

pub use config::{Retention, SyncPolicy, TopicConfig};
pub use error::{Error, ErrorKind, Fate};
pub use name::{InvalidName, TopicName};
pub use offset::{Offset, PartitionId, StartAt, Timestamp, TopicPartition};
pub use record::{Header, Headers, HeadersIter, Record, RecordRef, StoredRecord};
