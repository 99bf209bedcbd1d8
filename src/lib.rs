//! brooklet: an event log that a Rust program embeds.
#![forbid(unsafe_code)]

mod catalog;
mod config;
mod cursor;
mod env;
mod error;
mod format;
mod limits;
mod log;
mod name;
mod offset;
pub mod partitioner;
mod producer;
mod reader;
mod record;
mod report;
mod storage;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;

pub use config::{BackgroundError, LogOptions, Retention, SyncPolicy, TopicConfig};
pub use cursor::{Batch, BatchIter};
pub use error::{Error, ErrorKind, Fate};
pub use log::Log;
pub use name::{InvalidName, TopicName};
pub use offset::{Offset, PartitionId, StartAt, Timestamp, TopicPartition};
pub use producer::{Acks, BatchReceipt, Pending, Producer, Receipt, SendAllError, SendError};
pub use reader::{Reader, ReaderBuilder};
pub use record::{Header, Headers, HeadersIter, Record, RecordRef, StoredRecord};
pub use report::{
    Ensured, Offsets, PartitionRecovery, PartitionStats, RecoveryReport, Stats, TopicInfo,
};
