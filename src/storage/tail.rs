//! What a shard needs from below and from beside it.
//!
//! A [`Tail`] is what is appended to: a partition or a journal. A [`Background`] does what nobody
//! waits for. The shard names neither of those who implement them.

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use crate::config::SyncPolicy;
use crate::error::Error;
use crate::format::batch::Batch;
use crate::offset::{Offset, ShardId};
use crate::storage::commit::{Budget, Ends, SyncTarget};
use crate::sync::Arc;

/// What a shard appends to. All calls come from one thread at a time: the leader's.
pub(crate) trait Tail: Send + Sized + 'static {
    /// What readers see of the files.
    type View: Clone + Default + Debug + Send + Sync + 'static;

    /// Looks at the files before anything else is asked, and again after a failure.
    ///
    /// `durable_end` is what this session knows to be durable.
    fn open(&mut self, durable_end: Offset) -> Result<Opened<Self::View>, Error>;

    /// Lays the batches down in order from `at.written_end` on, and writes them.
    ///
    /// The batches are left as they stand in the file.
    fn write(&mut self, round: &mut [Batch], at: Ends) -> Result<Laid<Self::View>, WriteFailure>;
}

/// What opening found.
#[derive(Debug)]
pub(crate) struct Opened<V> {
    pub(crate) end: Offset,
    pub(crate) view: V,
    /// Why nothing may be appended, though what is there can be read.
    pub(crate) stopped: Option<Error>,
}

/// A round that stands in the file.
#[derive(Debug)]
pub(crate) struct Laid<V> {
    /// Set where readers must see another set of files.
    pub(crate) view: Option<V>,
    pub(crate) target: Arc<dyn SyncTarget>,
    /// Everything before this round was made durable on the way.
    pub(crate) synced_before: bool,
}

/// A round that does not.
#[derive(Debug)]
pub(crate) struct WriteFailure {
    pub(crate) error: Error,
    /// Whether the file may hold a part of the round; then nothing more can be appended to it.
    pub(crate) in_doubt: bool,
}

/// Who does what nobody waits for.
pub(crate) trait Background: Debug + Send + Sync {
    /// Has `job` served soon, on another thread.
    fn request(&self, job: Arc<dyn Serve>);

    /// Has `job` served once `delay` has passed.
    fn request_after(&self, delay: Duration, job: Arc<dyn Serve>);

    /// Tells the log's owner of a failure that nobody waits for.
    fn report(&self, failure: BackgroundFailure);

    /// Does what waits to be done, where that has to be said.
    fn catch_up(&self) {}

    /// A sync has made more of some partition durable.
    fn became_durable(&self) {}

    /// A partition was opened and ends at `end`; it accepts appends once this has succeeded.
    fn recovered(&self, _id: ShardId, _end: Offset) -> Result<(), Error> {
        Ok(())
    }
}

/// A failure with nobody to tell it to.
#[derive(Clone, Debug)]
pub(crate) struct BackgroundFailure {
    pub(crate) id: ShardId,
    pub(crate) error: Error,
    /// Records that were accepted without waiting and are lost.
    pub(crate) void: Option<Range<Offset>>,
}

/// Something the background can serve.
pub(crate) trait Serve: Send + Sync {
    /// Writes and syncs what is due.
    fn serve(&self);
}

/// Who has positions in the log's partitions, as far as storage must know: by number alone.
pub(crate) trait Positions: Send + Sync {
    /// The lowest offset of a partition that is still needed; none if nobody has a position in it.
    fn floor(&self, id: ShardId) -> Option<Offset>;

    /// A partition was opened and ends at `end`: positions behind it are lowered, durably.
    fn recovered(&self, id: ShardId, end: Offset) -> Result<(), Error>;
}

/// What a shard is made with.
#[derive(Clone, Debug)]
pub(crate) struct ShardOptions {
    pub(crate) id: ShardId,
    pub(crate) policy: SyncPolicy,
    pub(crate) budget: Budget,
    pub(crate) ring_bytes: usize,
}

/// Counters of one shard, as `stats()` shows them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) syncs: u64,
    pub(crate) sync_time: Duration,
    pub(crate) longest_sync: Duration,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Counters {
    pub(crate) fn note_sync(&mut self, took: Duration) {
        self.syncs += 1;
        self.sync_time += took;
        self.longest_sync = self.longest_sync.max(took);
    }
}
