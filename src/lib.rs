//! An event log that a Rust program embeds: Kafka's model in one directory, inside one process.
//!
//! A [`Log`] holds topics, a topic has partitions, and a partition is a sequence of records that
//! only grows at its end and is let go of at its beginning. Producers append, and say how long they
//! wait for it; readers replay from any offset or time, or follow. There is no server: the log is a
//! directory, or memory, and lives as long as your program has it open.
//!
//! # A program
//!
//! ```
//! use brooklet::{Log, Record, StartAt, TopicConfig};
//!
//! # let dir = tempfile::tempdir()?;
//! # let data = dir.path();
//! let log = Log::open(data)?; // a directory; made if it is not there
//! log.ensure_topic("orders", TopicConfig::new().partitions(3))?;
//!
//! let producer = log.producer("orders")?;
//! let receipt = producer.send(Record::new("created").key("order-42"))?;
//! assert_eq!(receipt.to_string(), "orders/0@0"); // topic/partition@offset, and it is on disk
//!
//! for record in log.reader("orders").start_at(StartAt::Earliest).stop_at_end().open()? {
//!     let record = record?;
//!     assert_eq!(record.value(), Some(&b"created"[..]));
//! }
//! log.close()?; // syncs, and reports what went wrong
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In a test, [`Log::in_memory`] takes the place of [`Log::open`]: the same code over files in
//! memory, without a thread.
//!
//! # What a send stands for
//!
//! The topic decides when records are made durable ([`SyncPolicy`]); the sender decides how long it
//! waits ([`Acks`]). A cell says what a record survives once the call has returned, and what the
//! call costs; **bold** is what a producer gets without asking.
//!
//! | | [`Acks::None`] | [`Acks::Written`] | [`Acks::Durable`] |
//! | --- | --- | --- | --- |
//! | [`Always`](SyncPolicy::Always) | nothing yet; waits for nobody | the process; one write | **a power cut**; one write and one sync, shared by all who wait |
//! | [`Every`](SyncPolicy::Every) | nothing yet; waits for nobody | **the process**, and a power cut once the interval is over; one write | a power cut; a sync now |
//! | [`Never`](SyncPolicy::Never) | nothing yet; waits for nobody | **the process**; one write | a power cut; a sync now |
//!
//! A durable record makes every earlier one of its partition durable. Readers of an `Always` topic
//! see a record when it is durable, so that nobody acts on what a power cut can take back; readers
//! of the other topics see it when it is written.
//!
//! # When something goes wrong
//!
//! Every error is an [`Error`] with a small [`ErrorKind`] to branch on and a sentence to read; one
//! from a send also has a [`Fate`]: the record was not appended, or nobody can tell. A failed write
//! or sync stops that one partition until [`Log::reopen_partition`] has looked at its files again;
//! a full disk stops nothing for good. After a crash a log opens at once and recovers each
//! partition on first use; [`Log::recovery`] tells what was found. Damage to what was durable is an
//! error that names its file, byte and offsets, and is never repaired by forgetting.
//!
//! # Where to go
//!
//! * [`Log`] makes topics and everything else; [`LogOptions`] and [`TopicConfig`] say how.
//! * [`Producer`]: `send`, `send_all`, and `submit`, which is for async code and touches no file.
//! * [`Reader`], made by a [`ReaderBuilder`]: replay from a [`StartAt`], or follow.
//! * [`Retention`] and [`Log::trim`] let records go; [`Log::stats`] and [`Log::offsets`] show where
//!   things stand.
//! * [`partitioner`] says which partition a key goes to: by default the one that Kafka's Java client
//!   would choose.
//! * [`Consumer`], made by a [`ConsumerBuilder`]: reading as a member of a group, which shares out
//!   partitions and remembers how far it is. [`assignor`] says which member reads what.
//! * Async code: verbs that may wait have a twin that ends in `_async`, for any runtime. Feature `stream`
//!   makes streams of readers and consumers; [`Consumer::into_channel`] puts one behind a channel.
//! * [`dlq`] shows the records that a group could not handle, and has them handled again;
//!   [`retry`] says how long to wait between two attempts.
#![cfg_attr(
    feature = "testing",
    doc = "* [`testing`] (feature `testing`): a simulated disk that loses power, tears writes and fails on demand."
)]
//!
//! The repository has runnable `examples`, and in `docs` the file format, the architecture, and the
//! decisions behind them.
#![forbid(unsafe_code)]

mod away;
mod catalog;
mod config;
mod consumer;
mod cursor;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "letters are written by workers, which come next")
)]
pub mod dlq;
mod env;
mod error;
mod format;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod glob;
mod group;
#[cfg(feature = "json")]
mod json;
mod lane;
mod limits;
mod log;
mod name;
mod offset;
pub mod partitioner;
mod producer;
mod reader;
mod record;
mod report;
mod reset;
pub mod retry;
mod role;
mod storage;
#[cfg(feature = "stream")]
mod stream;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod worker;

pub use config::{BackgroundError, LogOptions, Retention, SyncPolicy, TopicConfig};
pub use consumer::Consumer;
pub use consumer::builder::ConsumerBuilder;
pub use consumer::channel::Acker;
pub use consumer::commits::PendingCommit;
pub use cursor::{Batch, BatchIter};
pub use error::{Error, ErrorKind, Fate};
pub use glob::{InvalidGlob, TopicGlob};
pub use group::assign as assignor;
pub use group::description::{GroupDescription, GroupMember, GroupPartition};
pub use group::hand_over::{HandOver, RebalanceListener};
pub use group::offsets::CommittedOffset;
pub use log::Log;
pub use log::repair::RepairPlan;
pub use name::{GroupName, InvalidName, TopicName};
pub use offset::{Offset, PartitionId, StartAt, Timestamp, TopicPartition};
pub use producer::{Acks, BatchReceipt, Pending, Producer, Receipt, SendAllError, SendError};
pub use reader::{Reader, ReaderBuilder};
pub use record::{Header, Headers, HeadersIter, Located, Record, RecordRef, StoredRecord};
pub use report::backup::BackupReport;
pub use report::repair::{Loss, Repair, RepairReport};
pub use report::verification::{Finding, FindingKind, Verification};
pub use report::{
    Ensured, LoweredCommit, Offsets, PartitionRecovery, PartitionStats, RecoveryReport, Stats,
    TopicInfo,
};
pub use reset::{GroupReset, PartitionReset};
pub use role::TopicRole;
#[cfg(feature = "stream")]
pub use stream::{BatchStream, RecordStream};

/// The programs in the README, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
