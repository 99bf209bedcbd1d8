//! A cursor that can be waited for in two ways: by a thread, and by a task.
//!
//! A thread reads files itself. A task must not: what is in memory is taken at once, and for
//! everything else the cursor sends a copy of itself to the background, which returns with what it
//! has read. Until then the position stays where it was, so that a task that stops waiting loses
//! nothing: whoever fetches next, thread or task, takes what has been brought.
//!
//! **Invariants**: a lane has one read under way at most, and it began at the lane's position; a
//! seek forgets it.

use std::task::{Context, Poll};

use crate::away::Away;
use crate::cursor::{Cursor, Fetched, Wanted};
use crate::error::Error;
use crate::offset::{Offset, TopicPartition};
use crate::storage::store::{PartitionShard, Store};
use crate::storage::waiter::Waiter;
use crate::sync::Arc;

/// What a fetch comes to.
pub(crate) type Brought = Result<Option<Fetched>, Error>;

/// One partition that somebody reads.
#[derive(Debug)]
pub(crate) struct Lane {
    cursor: Cursor,
    /// A read that the background does.
    trip: Option<Away<(Cursor, Brought)>>,
    /// It has something to read, and too many other lanes are being read already.
    is_queued: bool,
}

/// How many reads may begin at once, on whose behalf.
///
/// What comes back is kept in memory until its turn, so that there must be few of them.
#[derive(Debug)]
pub(crate) struct Trips {
    store: Arc<Store>,
    left: usize,
}

impl Trips {
    /// So many that no more than four of `lanes` are away.
    pub(crate) fn among<'a>(store: &Arc<Store>, lanes: impl Iterator<Item = &'a Lane>) -> Self {
        Self { store: Arc::clone(store), left: TRIPS_MAX.saturating_sub(count_away(lanes)) }
    }

    /// Whether one of `lanes` waits for a trip although there is one left by now.
    pub(crate) fn are_missed<'a>(lanes: impl Iterator<Item = &'a Lane> + Clone) -> bool {
        count_away(lanes.clone()) < TRIPS_MAX && { lanes }.any(|lane| lane.is_queued)
    }
}

/// Enough to keep a disk busy, and little beside the memory of a batch.
const TRIPS_MAX: usize = 4;

fn count_away<'a>(lanes: impl Iterator<Item = &'a Lane>) -> usize {
    lanes.filter(|lane| lane.trip.is_some()).count()
}

impl Lane {
    pub(crate) fn new(cursor: Cursor) -> Self {
        Self { cursor, trip: None, is_queued: false }
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        self.cursor.partition()
    }

    pub(crate) fn shard(&self) -> Arc<PartitionShard> {
        self.cursor.shard()
    }

    /// The offset that is fetched next.
    pub(crate) fn position(&self) -> Offset {
        self.cursor.position()
    }

    /// The first offset that can be read, and the end of what can be seen.
    pub(crate) fn bounds(&self) -> Result<(Offset, Offset), Error> {
        self.cursor.bounds()
    }

    /// Goes on from another offset.
    pub(crate) fn seek(&mut self, position: Offset) {
        self.trip = None;
        self.cursor.seek(position);
    }

    /// Lets go of what is being read; it is read again when somebody fetches.
    pub(crate) fn stay(&mut self) {
        self.trip = None;
        self.is_queued = false;
    }

    /// The next batches, read on this thread, as [`Cursor::fetch`].
    pub(crate) fn fetch(&mut self, wanted: Wanted) -> Brought {
        self.is_queued = false;
        match self.trip.take() {
            None => self.cursor.fetch(wanted),
            Some(trip) => trip.wait().and_then(|returned| self.take_back(returned)),
        }
    }

    /// The next batches, without touching a file.
    ///
    /// What is not in memory is read by the background, and the task of `context` woken when it is
    /// there, or when another lane is that had the last trip.
    pub(crate) fn poll_fetch(
        &mut self,
        context: &mut Context<'_>,
        wanted: Wanted,
        trips: &mut Trips,
    ) -> Poll<Brought> {
        self.is_queued = false;
        let trip = match self.trip.take() {
            Some(trip) => trip,
            None => {
                if let Some(brought) = self.cursor.fetch_from_memory(wanted) {
                    return Poll::Ready(brought);
                }
                let Some(left) = trips.left.checked_sub(1) else {
                    self.is_queued = true;
                    return Poll::Pending;
                };
                trips.left = left;
                let mut cursor = self.cursor.clone();
                Away::start(&trips.store, move || {
                    let brought = cursor.fetch(wanted);
                    (cursor, brought)
                })
            }
        };
        match trip.poll_result(context.waker()) {
            Poll::Ready(returned) => {
                trips.left += 1;
                Poll::Ready(returned.and_then(|returned| self.take_back(returned)))
            }
            Poll::Pending => {
                self.trip = Some(trip);
                Poll::Pending
            }
        }
    }

    /// Wakes `watcher` once there is more to see; false if there is already.
    ///
    /// A lane that is away, or queued behind others that are, is woken by the one that returns.
    pub(crate) fn watch(&self, watcher: &Arc<Waiter<()>>) -> bool {
        self.trip.is_some() || self.is_queued || self.cursor.watch(watcher)
    }

    pub(crate) fn unwatch(&self, watcher: &Arc<Waiter<()>>) {
        self.cursor.unwatch(watcher);
    }

    fn take_back(&mut self, (cursor, brought): (Cursor, Brought)) -> Brought {
        self.cursor = cursor;
        brought
    }
}
