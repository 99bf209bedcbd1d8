//! The async face of a consumer: the same verbs, for tasks instead of threads.
//!
//! While a task waits for records, the member is parked in its group and cannot be late; when it
//! stops waiting the member is unparked. Records that are not in memory and commits are the work of
//! the log's own threads.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::consumer::Consumer;
use crate::consumer::commits::{PendingCommit, What};
use crate::cursor::Batch;
use crate::error::Error;
use crate::group::offsets::CommittedOffset;
use crate::lane::Trips;
use crate::offset::TopicPartition;
use crate::record::Located;
use crate::storage::waiter::Waiter;
use crate::sync::Arc;

impl Consumer {
    /// The next records, awaited.
    ///
    /// No file is touched on the caller's thread. The future can be dropped at any time, by the
    /// time limit of a runtime for example: nothing is lost, and what is being read then is found by
    /// the next poll, async or not. While it waits the member cannot be late; dropped, it can. A
    /// [`RebalanceListener`](crate::RebalanceListener) is called on the caller's thread.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll).
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Record, TopicConfig};
    ///
    /// # pollster::block_on(async {
    /// let log = Log::in_memory()?;
    /// log.create_topic("orders", TopicConfig::new())?;
    /// log.producer("orders")?.submit(Record::new("created")).await?;
    ///
    /// let mut consumer = log.consumer("billing").topics(["orders"]).open_async().await?;
    /// assert_eq!(consumer.poll_async().await?.len(), 1);
    /// consumer.commit_async().await?;
    /// consumer.leave_async().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn poll_async(&mut self) -> Result<Batch, Error> {
        let waiting = Waiting(self);
        poll_fn(|context| waiting.0.poll_batch(context)).await
    }

    /// Commits everything that was handed out so far, without blocking.
    ///
    /// It is begun by the call, with the positions of this moment, and goes on if the future is
    /// dropped. Commits that are begun like this are done in their order. Await it before the next
    /// poll: partitions that are handed over in between are left out.
    ///
    /// # Errors
    /// The future's, as for [`commit`](Self::commit).
    pub fn commit_async(&self) -> PendingCommit {
        self.commits.begin(What::CommitOwned(self.handed_out()))
    }

    /// Commits everything of a record's partition up to this record, without blocking.
    ///
    /// # Errors
    /// The future's, as for [`commit_through`](Self::commit_through).
    pub fn commit_through_async(&self, record: &impl Located) -> PendingCommit {
        self.commit_offsets_async([super::behind(record)])
    }

    /// Commits these offsets as one entry, without blocking.
    ///
    /// # Errors
    /// The future's, as for [`commit_offsets`](Self::commit_offsets).
    pub fn commit_offsets_async<C: Into<CommittedOffset>>(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, C)>,
    ) -> PendingCommit {
        match self.propose_all(offsets) {
            Ok(parts) => self.commits.begin(What::Commit(parts)),
            Err(error) => PendingCommit::of(Err(self.told(error, "commit"))),
        }
    }

    /// Leaves the group behind the commits that are under way.
    ///
    /// # Errors
    /// As for [`leave`](Self::leave).
    pub async fn leave_async(mut self) -> Result<(), Error> {
        self.stop_watching();
        self.commits.leave().await
    }

    /// The next records, if there are any now; otherwise the task of `context` is woken once there
    /// may be, and the member is parked.
    pub(crate) fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Result<Batch, Error>> {
        self.stop_watching();
        loop {
            if let Err(error) = self.catch_up() {
                return Poll::Ready(Err(self.told(error, "poll")));
            }
            let readable = self.owned.iter().filter(|owned| owned.is_readable());
            let mut trips = Trips::among(&self.store, readable.map(|owned| &owned.lane));
            let batch = self.collect(|lane, wanted| lane.poll_fetch(context, wanted, &mut trips));
            match batch {
                Ok(batch) if batch.is_empty() => {}
                result => return Poll::Ready(result.map_err(|error| self.told(error, "poll"))),
            }
            if self.start_watching(context, Self::watch_lanes) {
                return Poll::Pending;
            }
        }
    }

    /// Follows the group without taking records; it ends with an error alone.
    pub(super) fn poll_group(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        self.stop_watching();
        loop {
            if let Err(error) = self.catch_up() {
                return Poll::Ready(self.told(error, "poll"));
            }
            if self.start_watching(context, |_, _| true) {
                return Poll::Pending;
            }
        }
    }

    /// Parks the member and has the task of `context` woken; false if there is something to do.
    fn start_watching(
        &mut self,
        context: &mut Context<'_>,
        watch: impl FnOnce(&Self, &Arc<Waiter<()>>) -> bool,
    ) -> bool {
        let waiter = Arc::new(Waiter::default());
        let _not_yet = waiter.poll(context.waker());
        let is_quiet = self.group.park(self.member, self.seen, &waiter) && watch(self, &waiter);
        self.watcher = Some(waiter);
        if !is_quiet {
            self.stop_watching();
        }
        is_quiet
    }

    fn watch_lanes(&self, waiter: &Arc<Waiter<()>>) -> bool {
        let readable = self.owned.iter().filter(|owned| owned.is_readable());
        !Trips::are_missed(readable.map(|owned| &owned.lane)) && self.watch_all(waiter)
    }
}

/// A task that waits; the member is unparked when it stops.
struct Waiting<'a>(&'a mut Consumer);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.stop_watching();
    }
}
