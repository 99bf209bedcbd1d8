//! Reading as a member of a group: poll, handle, commit.
//!
//! A consumer holds a cursor for each partition that its group has given it. What is handed out is
//! admitted by the group at the last moment, so that no record reaches two members at once, and
//! partitions that are to leave are let go of between polls, while the others go on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::Poll;
use std::time::Duration;

use crate::catalog::Topics;
use crate::consumer::commits::Commits;
use crate::cursor::{Batch, Fetched, Wanted};
use crate::env::Clock;
use crate::error::{Error, ErrorKind};
use crate::group::assign::MemberId;
use crate::group::coordinator::commit::Proposed;
use crate::group::coordinator::{Group, News};
use crate::group::hand_over::RebalanceListener;
use crate::group::membership::{Leaving, Share};
use crate::group::offsets::CommittedOffset;
use crate::lane::{Brought, Lane};
use crate::name::GroupName;
use crate::offset::{Offset, StartAt, TopicPartition};
use crate::record::Located;
use crate::storage::store::Store;
use crate::storage::waiter::{Waiter, Woken};
use crate::sync::Arc;

mod awaiting;
pub(crate) mod builder;
pub(crate) mod channel;
pub(crate) mod commits;
mod feed;
mod rebalance;

/// One member of a group.
///
/// The partitions of its topics are shared out among the members; each record goes to one of them.
/// A consumer polls, handles what it was given, and commits; what it has not committed when it ends
/// is given to another member, or to the next one that comes. It is made by
/// [`Log::consumer`](crate::Log::consumer), and leaves its group when it is dropped.
///
/// It must poll again within the
/// [`max_poll_interval`](crate::ConsumerBuilder::max_poll_interval), or it is fenced: the group goes on
/// without it, and all it does from then on is `Fenced`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brooklet::{Log, Record, TopicConfig};
///
/// let log = Log::in_memory()?;
/// log.create_topic("orders", TopicConfig::new().partitions(3))?;
/// log.producer("orders")?.send(Record::new("created").key("order-42"))?;
///
/// let mut consumer = log.consumer("billing").topics(["orders"]).open()?;
/// for record in &consumer.poll(Duration::from_secs(1))? {
///     assert_eq!(record.value(), Some(&b"created"[..]));
/// }
/// consumer.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Consumer {
    group: Arc<Group>,
    member: MemberId,
    topics: Arc<Topics>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    /// Commits that nobody blocks for.
    commits: Arc<Commits>,
    /// In the order of their turns.
    owned: VecDeque<Owned>,
    /// The version of the group that the partitions are up to date with.
    seen: u64,
    limits: Limits,
    listener: Option<Box<dyn RebalanceListener>>,
    on_out_of_range: Option<StartAt>,
    /// What the group and the partitions wake for a task that waits.
    watcher: Option<Arc<Waiter<()>>>,
}

/// How much one poll hands out.
#[derive(Clone, Copy, Debug)]
struct Limits {
    records: usize,
    bytes: usize,
}

/// One partition that the consumer owns.
#[derive(Debug)]
struct Owned {
    share: Share,
    lane: Lane,
    /// Where the next record to be handed out stands; none until the partition was looked at.
    position: Option<Offset>,
    /// Fetched, and not handed out yet.
    rest: Option<Fetched>,
    is_paused: bool,
}

impl Owned {
    fn is_readable(&self) -> bool {
        !self.is_paused && self.share.leaving == Leaving::No
    }

    /// Goes on from `position`; what was fetched and not handed out is fetched again.
    fn rewind(&mut self, position: Option<Offset>) {
        self.rest = None;
        self.lane.stay();
        if let Some(position) = position {
            self.lane.seek(position);
            self.position = Some(position);
        }
    }

    /// A commit of this partition.
    fn propose(&self, at: CommittedOffset) -> Proposed {
        let place = self.lane.partition().clone();
        let Share { shard: id, epoch, .. } = self.share;
        Proposed { place, id, epoch, shard: self.lane.shard(), at }
    }

    /// What comes next, up to `limits`; the lane then stands behind it.
    fn fetch(
        &mut self,
        limits: Limits,
        on_out_of_range: Option<StartAt>,
        fetch: &mut impl FnMut(&mut Lane, Wanted) -> Poll<Brought>,
    ) -> Poll<Brought> {
        let wanted = Wanted { max_bytes: limits.bytes, until: None, on_out_of_range };
        let mut next = match self.rest.take() {
            Some(rest) => rest,
            None => match fetch(&mut self.lane, wanted) {
                Poll::Ready(Ok(Some(fetched))) => fetched,
                nothing => return nothing,
            },
        };
        self.rest = next.split_off(limits.records);
        Poll::Ready(Ok(Some(next)))
    }
}

impl Consumer {
    /// The next records, waited for no longer than `timeout`; an empty batch if there are none.
    ///
    /// Partitions take turns, so that a busy one does not keep the others waiting; one batch may
    /// hold records of several. While a poll waits, the member cannot be late. Under a manual clock
    /// nothing waits.
    ///
    /// # Errors
    /// `Fenced`, `Closed`. `OffsetOutOfRange`, `Corrupt`, `MissingSegment` and `Io` are about one
    /// partition, which [`Error::partition`] names: it says so again each time it has its turn, until
    /// [`seek`](Self::seek) leads past it, and the others go on.
    pub fn poll(&mut self, timeout: Duration) -> Result<Batch, Error> {
        self.stop_watching();
        let deadline = self.clock.monotonic().saturating_add(timeout);
        loop {
            self.catch_up().map_err(|error| self.told(error, "poll"))?;
            let batch = self.collect(|lane, wanted| Poll::Ready(lane.fetch(wanted)));
            let batch = batch.map_err(|error| self.told(error, "poll"))?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            // The first look at a partition may recover it, and lower what was committed.
            let has_news = self.group.has_news(self.member, self.seen);
            if !has_news && !self.wait(deadline) {
                return Ok(batch);
            }
        }
    }

    /// Commits everything that was handed out of the partitions that are still this member's.
    ///
    /// It survives as the records of each topic do. Partitions that were handed over since are left
    /// out: whoever has them begins where the last commit stands.
    ///
    /// # Errors
    /// `Fenced`, `Closed`, and what the system says; the commit may then be found after a restart
    /// all the same.
    pub fn commit(&self) -> Result<(), Error> {
        let result = self.group.commit_owned(self.member, &self.handed_out());
        result.map_err(|error| self.told(error, "commit"))
    }

    /// Commits everything of a record's partition up to this record, itself included.
    ///
    /// # Errors
    /// As for [`commit_offsets`](Self::commit_offsets).
    pub fn commit_through(&self, record: &impl Located) -> Result<(), Error> {
        self.commit_offsets([behind(record)])
    }

    /// Commits these offsets as one entry: all of them or none.
    ///
    /// An offset is the next one to read. Something may be noted beside it.
    ///
    /// # Errors
    /// `NotOwner` if a partition is not this member's, or not any more; `OffsetRegression` below
    /// what is committed; `OffsetOutOfRange` behind the visible end; `InvalidRecord` for too much
    /// metadata; `Fenced`, `Closed`. Nothing is committed then. What the system says; the commit may
    /// then be found after a restart all the same.
    pub fn commit_offsets<C: Into<CommittedOffset>>(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, C)>,
    ) -> Result<(), Error> {
        let parts = self.propose_all(offsets);
        parts
            .and_then(|parts| self.group.commit(self.member, &parts))
            .map_err(|error| self.told(error, "commit"))
    }

    /// Goes on from `offset` in a partition; what is committed does not change.
    ///
    /// Whether the partition holds it is found out by the next poll.
    ///
    /// # Errors
    /// `NotOwner`.
    pub fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<(), Error> {
        self.owned_mut(partition)?.rewind(Some(offset));
        Ok(())
    }

    /// Leaves a partition out of polls until it is resumed, or moves to another member.
    ///
    /// # Errors
    /// `NotOwner`.
    pub fn pause(&mut self, partition: &TopicPartition) -> Result<(), Error> {
        let owned = self.owned_mut(partition)?;
        owned.is_paused = true;
        owned.lane.stay();
        Ok(())
    }

    /// Takes a paused partition into polls again.
    ///
    /// # Errors
    /// `NotOwner`.
    pub fn resume(&mut self, partition: &TopicPartition) -> Result<(), Error> {
        self.owned_mut(partition)?.is_paused = false;
        Ok(())
    }

    /// The offset that is handed out next in a partition.
    ///
    /// None if the partition is not this member's, or begins at its earliest record and was not
    /// looked at yet.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.owned(partition).and_then(|owned| owned.position)
    }

    /// What the group has committed of a partition, whoever owns it.
    #[must_use]
    pub fn committed(&self, partition: &TopicPartition) -> Option<CommittedOffset> {
        let topic = self.topics.find(partition.topic().as_str())?;
        self.group.committed(topic.shard_id(partition.partition()))
    }

    /// What the group had committed of a partition when the log was opened.
    pub(crate) fn committed_at_open(&self, partition: &TopicPartition) -> Option<Offset> {
        let topic = self.topics.find(partition.topic().as_str())?;
        self.group.committed_at_open(topic.shard_id(partition.partition()))
    }

    /// The partitions that this member owns, in order, as far as its last poll knows.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        let owned = self.owned.iter().map(|owned| owned.lane.partition().clone());
        owned.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How many records each owned partition has that were not handed out yet.
    ///
    /// # Errors
    /// What recovery meets on a partition's first use.
    pub fn lag(&self) -> Result<BTreeMap<TopicPartition, u64>, Error> {
        let lag = |owned: &Owned| {
            let (start, end) = owned.lane.bounds()?;
            let position = owned.position.unwrap_or(start);
            let place = owned.lane.partition().clone();
            Ok((place, end.value().saturating_sub(position.value())))
        };
        self.owned.iter().map(lag).collect()
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        self.group.name()
    }

    /// Which member of the group this is.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// Leaves the group; what was not committed is given to others.
    ///
    /// Commits that are under way come to their end first. Dropping a consumer does the same and
    /// does not tell.
    ///
    /// # Errors
    /// `Fenced` if it was no member any more.
    pub fn leave(mut self) -> Result<(), Error> {
        self.stop_watching();
        self.commits.leave().wait()
    }

    /// Takes note of what the group has decided since the last poll.
    fn catch_up(&mut self) -> Result<(), Error> {
        if let Some(News { version, shares }) = self.group.enter(self.member, self.seen)? {
            self.follow(shares)?;
            self.seen = version;
        }
        Ok(())
    }

    /// Takes what the partitions have, each in its turn.
    fn collect(
        &mut self,
        mut fetch: impl FnMut(&mut Lane, Wanted) -> Poll<Brought>,
    ) -> Result<Batch, Error> {
        let mut left = self.limits;
        let mut batch = Batch::default();
        for _ in 0..self.owned.len() {
            let Some(mut owned) = self.owned.pop_front() else { break };
            let fetched = match owned.is_readable() {
                true => self.fetch(&mut owned, left, &mut fetch),
                false => Ok(None),
            };
            match fetched {
                Ok(Some(part)) => {
                    left.records = left.records.saturating_sub(part.len());
                    left.bytes = left.bytes.saturating_sub(part.bytes());
                    batch.add(part);
                }
                Ok(None) => {}
                // What was taken from others is handed out first; this one has the next turn.
                Err(_) if !batch.is_empty() => {
                    self.owned.push_front(owned);
                    break;
                }
                Err(error) => {
                    let error = error.of_partition(owned.lane.partition());
                    self.owned.push_back(owned);
                    return Err(error);
                }
            }
            self.owned.push_back(owned);
            if left.records == 0 || left.bytes == 0 {
                break;
            }
        }
        Ok(batch)
    }

    /// What a partition has, if it is still this member's to hand out.
    fn fetch(
        &self,
        owned: &mut Owned,
        limits: Limits,
        fetch: &mut impl FnMut(&mut Lane, Wanted) -> Poll<Brought>,
    ) -> Brought {
        let part = match owned.fetch(limits, self.on_out_of_range, fetch) {
            Poll::Ready(Ok(Some(part))) => part,
            // The group is about to say that it is not as it was.
            Poll::Ready(Err(_)) if !self.group.reads(self.member, owned.share) => return Ok(None),
            // The group is about to say that the topic is gone.
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::UnknownTopic => return Ok(None),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(Ok(None)) => {
                owned.position = Some(owned.lane.position());
                return Ok(None);
            }
            Poll::Pending => return Ok(None),
        };
        if !self.group.admit(self.member, owned.share, part.end()) {
            // It may come to stay after all, and then goes on here.
            owned.rewind(owned.position.or(Some(part.from())));
            return Ok(None);
        }
        owned.position = Some(part.end());
        Ok(Some(part))
    }

    /// Parks until there may be something to do; false if the time is over.
    fn wait(&self, deadline: Duration) -> bool {
        let left = deadline.saturating_sub(self.clock.monotonic());
        if self.clock.is_manual() || left.is_zero() {
            return false;
        }
        let waiter = Arc::new(Waiter::default());
        let nothing_new = self.watch(&waiter);
        let in_time = !nothing_new || !matches!(waiter.wait_for(left), Woken::TimedOut);
        self.unwatch(&waiter);
        in_time
    }

    /// Has `waiter` filled when a poll may find something; false if one may now.
    pub(crate) fn watch(&self, waiter: &Arc<Waiter<()>>) -> bool {
        self.group.park(self.member, self.seen, waiter) && self.watch_all(waiter)
    }

    /// Undoes a watch, whatever it said; the member may be late again.
    pub(crate) fn unwatch(&self, waiter: &Arc<Waiter<()>>) {
        self.owned.iter().for_each(|owned| owned.lane.unwatch(waiter));
        self.group.unpark(self.member);
    }

    /// Has `waiter` filled when some partition has more; false if one has already.
    fn watch_all(&self, waiter: &Arc<Waiter<()>>) -> bool {
        let mut readable = self.owned.iter().filter(|owned| owned.is_readable());
        readable.all(|owned| owned.rest.is_none() && owned.lane.watch(waiter))
    }

    fn stop_watching(&mut self) {
        if let Some(waiter) = self.watcher.take() {
            self.unwatch(&waiter);
        }
    }

    fn owned(&self, partition: &TopicPartition) -> Option<&Owned> {
        self.owned.iter().find(|owned| owned.lane.partition() == partition)
    }

    fn owned_mut(&mut self, partition: &TopicPartition) -> Result<&mut Owned, Error> {
        let owned = self.owned.iter_mut().find(|owned| owned.lane.partition() == partition);
        owned.ok_or_else(|| Error::new(ErrorKind::NotOwner, partition.to_string()))
    }

    /// Everything that was handed out, as a commit of it would say.
    fn handed_out(&self) -> Vec<Proposed> {
        let parts = self.owned.iter();
        parts.filter_map(|owned| Some(owned.propose(owned.position?.into()))).collect()
    }

    fn propose_all<C: Into<CommittedOffset>>(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, C)>,
    ) -> Result<Vec<Proposed>, Error> {
        let propose = |(partition, at): (TopicPartition, C)| {
            let owned = self.owned(&partition);
            let owned =
                owned.ok_or_else(|| Error::new(ErrorKind::NotOwner, partition.to_string()))?;
            Ok(owned.propose(at.into()))
        };
        offsets.into_iter().map(propose).collect()
    }

    fn told(&self, error: Error, verb: &str) -> Error {
        error.during(format_args!("{verb} as {}", self.group.name()))
    }
}

/// What is committed with a record: the offset behind it.
fn behind(record: &impl Located) -> (TopicPartition, CommittedOffset) {
    let next = Offset::new(record.offset().value().saturating_add(1));
    (record.topic_partition().clone(), CommittedOffset::at(next))
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop_watching();
        let _left = self.commits.leave();
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("group", &self.group)
            .field("member", &self.member)
            .field("owned", &self.owned)
            .finish_non_exhaustive()
    }
}
