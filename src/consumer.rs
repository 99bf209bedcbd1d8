//! Reading as a member of a group: poll, handle, commit.
//!
//! A consumer holds a cursor for each partition that its group has given it. What is handed out is
//! admitted by the group at the last moment, so that no record reaches two members at once, and
//! partitions that are to leave are let go of between polls, while the others go on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::catalog::Topics;
use crate::cursor::{Batch, Cursor, Fetched};
use crate::env::Clock;
use crate::error::{Error, ErrorKind};
use crate::group::assign::MemberId;
use crate::group::coordinator::commit::Proposed;
use crate::group::coordinator::{Group, News};
use crate::group::hand_over::RebalanceListener;
use crate::group::membership::{Leaving, Share};
use crate::group::offsets::CommittedOffset;
use crate::name::GroupName;
use crate::offset::{Offset, StartAt, TopicPartition};
use crate::record::Located;
use crate::storage::waiter::{Waiter, Woken};
use crate::sync::Arc;

pub(crate) mod builder;
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
    clock: Arc<dyn Clock>,
    /// In the order of their turns.
    lanes: VecDeque<Lane>,
    /// The version of the group that the lanes are up to date with.
    seen: u64,
    limits: Limits,
    listener: Option<Box<dyn RebalanceListener>>,
    on_out_of_range: Option<StartAt>,
}

/// How much one poll hands out.
#[derive(Clone, Copy, Debug)]
struct Limits {
    records: usize,
    bytes: usize,
}

/// One partition that the consumer owns.
#[derive(Debug)]
struct Lane {
    share: Share,
    cursor: Cursor,
    /// Where the next record to be handed out stands; none until the partition was looked at.
    position: Option<Offset>,
    /// Fetched, and not handed out yet.
    rest: Option<Fetched>,
    is_paused: bool,
}

impl Lane {
    fn is_readable(&self) -> bool {
        !self.is_paused && self.share.leaving == Leaving::No
    }

    /// Goes on from `position`; what was fetched and not handed out is fetched again.
    fn rewind(&mut self, position: Option<Offset>) {
        self.rest = None;
        if let Some(position) = position {
            self.cursor.seek(position);
            self.position = Some(position);
        }
    }

    /// What comes next, up to `limits`; the cursor then stands behind it.
    fn fetch(&mut self, limits: Limits) -> Result<Option<Fetched>, Error> {
        let mut next = match self.rest.take() {
            Some(rest) => rest,
            None => match self.cursor.fetch(None, limits.bytes)? {
                Some(fetched) => fetched,
                None => return Ok(None),
            },
        };
        self.rest = next.split_off(limits.records);
        Ok(Some(next))
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
        let deadline = self.clock.monotonic().saturating_add(timeout);
        loop {
            self.catch_up().map_err(|error| self.told(error, "poll"))?;
            let batch = self.collect().map_err(|error| self.told(error, "poll"))?;
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
        let parts = self.lanes.iter().filter_map(|lane| Some(self.part(lane, lane.position?)));
        let parts = parts.collect::<Result<Vec<_>, _>>();
        parts
            .and_then(|parts| self.group.commit_owned(self.member, &parts))
            .map_err(|error| self.told(error, "commit"))
    }

    /// Commits everything of a record's partition up to this record, itself included.
    ///
    /// # Errors
    /// As for [`commit_offsets`](Self::commit_offsets).
    pub fn commit_through(&self, record: &impl Located) -> Result<(), Error> {
        let next = Offset::new(record.offset().value().saturating_add(1));
        self.commit_offsets([(record.topic_partition().clone(), CommittedOffset::at(next))])
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
        let part = |(place, at): (TopicPartition, C)| self.propose(&place, at.into());
        let parts = offsets.into_iter().map(part).collect::<Result<Vec<_>, _>>();
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
        self.lane_mut(partition)?.rewind(Some(offset));
        Ok(())
    }

    /// Leaves a partition out of polls until it is resumed, or moves to another member.
    ///
    /// # Errors
    /// `NotOwner`.
    pub fn pause(&mut self, partition: &TopicPartition) -> Result<(), Error> {
        self.lane_mut(partition)?.is_paused = true;
        Ok(())
    }

    /// Takes a paused partition into polls again.
    ///
    /// # Errors
    /// `NotOwner`.
    pub fn resume(&mut self, partition: &TopicPartition) -> Result<(), Error> {
        self.lane_mut(partition)?.is_paused = false;
        Ok(())
    }

    /// The offset that is handed out next in a partition.
    ///
    /// None if the partition is not this member's, or begins at its earliest record and was not
    /// looked at yet.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.lane(partition).and_then(|lane| lane.position)
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
        let owned = self.lanes.iter().map(|lane| lane.cursor.partition().clone());
        owned.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How many records each owned partition has that were not handed out yet.
    ///
    /// # Errors
    /// What recovery meets on a partition's first use.
    pub fn lag(&self) -> Result<BTreeMap<TopicPartition, u64>, Error> {
        let lag = |lane: &Lane| {
            let (start, end) = lane.cursor.bounds()?;
            let position = lane.position.unwrap_or(start);
            let place = lane.cursor.partition().clone();
            Ok((place, end.value().saturating_sub(position.value())))
        };
        self.lanes.iter().map(lag).collect()
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
    /// Dropping a consumer does the same and does not tell.
    ///
    /// # Errors
    /// `Fenced` if it was no member any more.
    pub fn leave(self) -> Result<(), Error> {
        match self.group.leave(self.member) {
            true => Ok(()),
            false => Err(self.told(Error::bare(ErrorKind::Fenced), "leave")),
        }
    }

    /// Takes note of what the group has decided since the last poll.
    fn catch_up(&mut self) -> Result<(), Error> {
        if let Some(News { version, shares }) = self.group.enter(self.member, self.seen)? {
            self.follow(shares)?;
            self.seen = version;
        }
        Ok(())
    }

    /// Takes what the lanes have, each in its turn.
    fn collect(&mut self) -> Result<Batch, Error> {
        let mut left = self.limits;
        let mut batch = Batch::default();
        for _ in 0..self.lanes.len() {
            let Some(mut lane) = self.lanes.pop_front() else { break };
            let fetched = if lane.is_readable() { self.fetch(&mut lane, left) } else { Ok(None) };
            match fetched {
                Ok(Some(part)) => {
                    left.records = left.records.saturating_sub(part.len());
                    left.bytes = left.bytes.saturating_sub(part.bytes());
                    batch.add(part);
                }
                Ok(None) => {}
                // What was taken from others is handed out first; this one has the next turn.
                Err(_) if !batch.is_empty() => {
                    self.lanes.push_front(lane);
                    break;
                }
                Err(error) => {
                    let error = error.of_partition(lane.cursor.partition());
                    self.lanes.push_back(lane);
                    return Err(error);
                }
            }
            self.lanes.push_back(lane);
            if left.records == 0 || left.bytes == 0 {
                break;
            }
        }
        Ok(batch)
    }

    /// What a lane has, if it is still this member's to hand out.
    fn fetch(&self, lane: &mut Lane, limits: Limits) -> Result<Option<Fetched>, Error> {
        let fetched = match lane.fetch(limits) {
            // The group is about to say that it is not as it was.
            Err(_) if !self.group.reads(self.member, lane.share) => Ok(None),
            Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => {
                let Some(start) = self.on_out_of_range else { return Err(error) };
                let position = lane.cursor.find(start)?;
                lane.rewind(Some(position));
                lane.fetch(limits)
            }
            // The group is about to say that the topic is gone.
            Err(error) if error.kind() == ErrorKind::UnknownTopic => Ok(None),
            fetched => fetched,
        };
        let Some(part) = fetched? else {
            lane.position = Some(lane.cursor.position());
            return Ok(None);
        };
        if !self.group.admit(self.member, lane.share, part.end()) {
            lane.rewind(lane.position);
            return Ok(None);
        }
        lane.position = Some(part.end());
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
        let mut lanes = self.lanes.iter().filter(|lane| lane.is_readable());
        self.group.park(self.member, self.seen, waiter)
            && lanes.all(|lane| lane.rest.is_none() && lane.cursor.watch(waiter))
    }

    /// Undoes a watch, whatever it said.
    pub(crate) fn unwatch(&self, waiter: &Arc<Waiter<()>>) {
        self.lanes.iter().for_each(|lane| lane.cursor.unwatch(waiter));
        self.group.unpark(self.member);
    }

    fn lane(&self, partition: &TopicPartition) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.cursor.partition() == partition)
    }

    fn lane_mut(&mut self, partition: &TopicPartition) -> Result<&mut Lane, Error> {
        let lane = self.lanes.iter_mut().find(|lane| lane.cursor.partition() == partition);
        lane.ok_or_else(|| Error::new(ErrorKind::NotOwner, partition.to_string()))
    }

    fn propose(&self, partition: &TopicPartition, at: CommittedOffset) -> Result<Proposed, Error> {
        let lane = self.lane(partition);
        let lane = lane.ok_or_else(|| Error::new(ErrorKind::NotOwner, partition.to_string()))?;
        Ok(Proposed { at, ..self.part(lane, Offset::ZERO)? })
    }

    fn part(&self, lane: &Lane, position: Offset) -> Result<Proposed, Error> {
        let at = CommittedOffset::at(position);
        let place = lane.cursor.partition().clone();
        let Share { shard: id, epoch, .. } = lane.share;
        Ok(Proposed { place, id, epoch, shard: lane.cursor.shard(), at })
    }

    fn told(&self, error: Error, verb: &str) -> Error {
        error.during(format_args!("{verb} as {}", self.group.name()))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.group.leave(self.member);
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("group", &self.group)
            .field("member", &self.member)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}
