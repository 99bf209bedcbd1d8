//! Files and threads: how a partition's bytes reach the disk, and how they come back.

pub(crate) mod backup;
pub(crate) mod beside;
pub(crate) mod buffer;
pub(crate) mod commit;
pub(crate) mod committer;
pub(crate) mod copies;
pub(crate) mod disposal;
pub(crate) mod files;
pub(crate) mod journal;
pub(crate) mod judge;
pub(crate) mod manifest;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod opening;
pub(crate) mod partition;
pub(crate) mod recovery;
pub(crate) mod repair;
pub(crate) mod rescue;
pub(crate) mod ring;
pub(crate) mod salvage;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod shard;
pub(crate) mod store;
pub(crate) mod tail;
pub(crate) mod verify;
pub(crate) mod view;
pub(crate) mod waiter;
pub(crate) mod walk;
