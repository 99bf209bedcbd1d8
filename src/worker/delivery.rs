//! A record in a handler's hands, and what the handler sends on because of it.

use std::fmt;

use crate::config::SyncPolicy;
use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::offset::{Offset, TopicPartition};
use crate::producer::{Acks, Pending, Producer};
use crate::record::{Record, StoredRecord};
use crate::sync::{Arc, Shared};

use super::failure::{Answer, Failure};

/// A record in a handler's hands.
///
/// It is the handler's own: it can be moved into a task or taken apart. Whether the record is
/// settled is decided by what the handler returns, not by what becomes of the delivery.
pub struct Delivery {
    record: StoredRecord,
    attempt: u32,
    emitted: Emitted,
}

impl Delivery {
    pub(super) fn new(record: StoredRecord, attempt: u32, emitted: Emitted) -> Self {
        Self { record, attempt, emitted }
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &StoredRecord {
        &self.record
    }

    /// The record, for good.
    #[must_use]
    pub fn into_record(self) -> StoredRecord {
        self.record
    }

    /// The topic and partition that the record was read from.
    ///
    /// For a record that was redriven this is the group's redrive topic.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        self.record.topic_partition()
    }

    /// The record's offset in its partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.record.offset()
    }

    /// The key, if the record has one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key()
    }

    /// The value, if the record has one.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.record.value()
    }

    /// The value, read as JSON.
    ///
    /// # Errors
    /// `Dead` if it is not the JSON of a `T`: no attempt could read it. The letter has its bytes as
    /// they are.
    ///
    /// # Examples
    /// ```
    /// use brooklet::worker::{Delivery, Failure};
    ///
    /// fn handle(delivery: Delivery) -> Result<(), Failure> {
    ///     let order: serde_json::Value = delivery.json()?;
    ///     assert!(order.is_object());
    ///     Ok(())
    /// }
    /// ```
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        self.record.json().map_err(Failure::dead)
    }

    /// Which attempt at the record this is, from 1.
    ///
    /// Attempts are counted in memory: a new owner of the partition, or a new process, begins at 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Sends a record because of this one.
    ///
    /// It is as durable as the topic of this record demands, whatever the producer's acks are: synced
    /// if that topic is synced always, written otherwise. This record is not settled before; if the
    /// send fails, so does the attempt, with a retry. An attempt that is repeated emits again.
    ///
    /// # Errors
    /// What is wrong with the record at once; `Closed` if the handler has returned already.
    pub fn emit(&self, producer: &Producer, record: Record<'_>) -> Result<(), Error> {
        self.emitted.emit(producer, record, self.topic_partition())
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("record", &self.record)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// What one attempt has sent on; the delivery and the worker share it.
#[derive(Clone)]
pub(super) struct Emitted {
    log: Log,
    /// None once the handler has returned.
    pending: Arc<Shared<Option<Vec<Pending>>>>,
}

impl Emitted {
    pub(super) fn new(log: &Log) -> Self {
        Self { log: log.clone(), pending: Arc::new(Shared::new(Some(Vec::new()))) }
    }

    fn emit(
        &self,
        producer: &Producer,
        record: Record<'_>,
        source: &TopicPartition,
    ) -> Result<(), Error> {
        if self.pending.with(|pending| pending.is_none()) {
            return Err(late());
        }
        let config = self.log.topic(source.topic().as_str())?.config;
        let acks = match config.sync_policy() {
            SyncPolicy::Always => Acks::Durable,
            SyncPolicy::Every(_) | SyncPolicy::Never => Acks::Written,
        };
        let mut sent = producer.clone().acks(acks).submit(record);
        match sent.try_wait() {
            Some(outcome) => {
                outcome?;
                Ok(())
            }
            None => self.pending.with(|pending| {
                pending.as_mut().ok_or_else(late)?.push(sent);
                Ok(())
            }),
        }
    }

    /// What is on its way still; nothing is emitted any more.
    pub(super) fn close(&self) -> Vec<Pending> {
        self.pending.with(Option::take).unwrap_or_default()
    }
}

/// Waits for what was sent on; the attempt has succeeded if all of it has.
pub(super) async fn all_sent(pending: Vec<Pending>) -> Answer {
    for sent in pending {
        sent.await.map_err(Failure::from)?;
    }
    Ok(())
}

fn late() -> Error {
    let text = "the handler has returned, and nobody would wait for what is emitted";
    Error::new(ErrorKind::Closed, text)
}
