//! Putting a group elsewhere: the one way in which a committed offset goes backward.

use std::collections::BTreeSet;

use crate::catalog::{Topic, Topics};
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind};
use crate::group::coordinator::Group;
use crate::group::offsets::CommittedOffset;
use crate::group::registry::Groups;
use crate::offset::{Offset, PartitionId, ShardId, StartAt, TopicPartition};
use crate::sync::Arc;

/// Says where a group shall go on, before it is put there.
///
/// # Examples
/// ```
/// use brooklet::{Log, Offset, Record, StartAt, TopicConfig};
///
/// let log = Log::in_memory()?;
/// log.create_topic("orders", TopicConfig::new())?;
/// log.producer("orders")?.send(Record::new("created"))?;
/// log.consumer("billing").topics(["orders"]).start_at(StartAt::Latest).open()?.leave()?;
///
/// let reset = log.reset_group("billing").to(StartAt::Earliest);
/// let planned = reset.dry_run()?;
/// assert_eq!((planned[0].from, planned[0].to), (Some(Offset::new(1)), Offset::ZERO));
/// assert_eq!(reset.apply()?, planned);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct GroupReset {
    home: Result<(Arc<Group>, Arc<Topics>), Error>,
    groups: Arc<Groups>,
    topics: Vec<String>,
    target: Target,
    fences: bool,
}

#[derive(Clone, Debug)]
enum Target {
    Start(StartAt),
    Group(String),
}

/// Where a group goes on in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionReset {
    /// The partition.
    pub partition: TopicPartition,
    /// What was committed before.
    pub from: Option<Offset>,
    /// What is committed now, or would be.
    pub to: Offset,
}

impl GroupReset {
    pub(crate) fn new(home: Result<(Arc<Group>, Arc<Topics>), Error>, groups: Arc<Groups>) -> Self {
        let target = Target::Start(StartAt::Earliest);
        Self { home, groups, topics: Vec::new(), target, fences: false }
    }

    /// Resets these topics only; by default all that the group has committed for.
    pub fn topics<T: AsRef<str>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(topics.into_iter().map(|topic| topic.as_ref().to_owned()));
        self
    }

    /// Goes on at this place of each partition; by default at the earliest record.
    pub fn to(mut self, start: StartAt) -> Self {
        self.target = Target::Start(start);
        self
    }

    /// Goes on where another group is now; partitions that it has not committed for stay as they
    /// are.
    pub fn to_group(mut self, group: impl Into<String>) -> Self {
        self.target = Target::Group(group.into());
        self
    }

    /// Resets the group although it has members, which are fenced; by default that is refused.
    pub fn fence_members(mut self) -> Self {
        self.fences = true;
        self
    }

    /// What [`apply`](Self::apply) would do, without doing it.
    ///
    /// # Errors
    /// `UnknownGroup`, `UnknownTopic`, `OffsetOutOfRange` with the range that a partition has,
    /// `Closed`, and what recovery meets on a partition's first use.
    pub fn dry_run(&self) -> Result<Vec<PartitionReset>, Error> {
        let plan = self.plan()?;
        Ok(plan.into_iter().map(|(_, reset)| reset).collect())
    }

    /// Puts the group there, durably and as one entry; says from where to where.
    ///
    /// # Errors
    /// As for [`dry_run`](Self::dry_run); `GroupActive` while the group has members, unless they are
    /// to be fenced; `ReadOnly`, and what the system says.
    pub fn apply(&self) -> Result<Vec<PartitionReset>, Error> {
        let plan = self.plan()?;
        let (group, _) = self.home.clone()?;
        let changes =
            plan.iter().map(|(shard, reset)| (*shard, Some(CommittedOffset::at(reset.to))));
        let changes = changes.collect::<Vec<_>>();
        let told = |error: Error| error.during(format_args!("reset {}", group.name()));
        group.reset(&changes, self.fences).map_err(told)?;
        Ok(plan.into_iter().map(|(_, reset)| reset).collect())
    }

    fn plan(&self) -> Result<Vec<(ShardId, PartitionReset)>, Error> {
        let (group, topics) = self.home.clone()?;
        let told = |error: Error| error.during(format_args!("reset {}", group.name()));
        let mut plan = Vec::new();
        for topic in self.chosen(&group, &topics).map_err(told)? {
            for partition in (0..topic.partition_count()).map(PartitionId::new) {
                let shard = topic.shard_id(partition);
                let place = topic.partition(partition);
                let to = self.position(&topic, partition);
                let to = to.map_err(|error| told(error.of_partition(&place)))?;
                let from = group.committed(shard).map(|committed| committed.offset());
                if let Some(to) = to {
                    plan.push((shard, PartitionReset { partition: place, from, to }));
                }
            }
        }
        Ok(plan)
    }

    fn chosen(&self, group: &Group, topics: &Topics) -> Result<Vec<Arc<Topic>>, Error> {
        if self.topics.is_empty() {
            let known = group.positions().into_iter().map(|(shard, _)| shard.topic);
            let known = known.collect::<BTreeSet<_>>();
            return Ok(known.into_iter().filter_map(|id| topics.by_id(id)).collect());
        }
        let find = |name: &String| {
            let topic = topics.find(name);
            topic.ok_or_else(|| Error::new(ErrorKind::UnknownTopic, name.as_str()))
        };
        self.topics.iter().map(find).collect()
    }

    /// Where the group goes on in a partition; none if the group to follow has no position there.
    fn position(&self, topic: &Topic, partition: PartitionId) -> Result<Option<Offset>, Error> {
        match &self.target {
            Target::Start(start) => {
                let place = topic.partition(partition);
                let cursor = Cursor::open(place, topic.shard(partition)?, *start)?;
                Ok(Some(cursor.position()))
            }
            Target::Group(group) => {
                let group = self.groups.find(group)?;
                let committed = group.committed(topic.shard_id(partition));
                Ok(committed.map(|committed| committed.offset()))
            }
        }
    }
}
