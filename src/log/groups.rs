//! Groups as the log's owner sees them: who reads, how far they are, and how to change that.

use std::collections::{BTreeMap, BTreeSet};

use crate::consumer::builder::{ConsumerBuilder, Home};
use crate::error::{Error, ErrorKind};
use crate::group::coordinator::Group;
use crate::group::description::{GroupDescription, GroupMember, GroupPartition};
use crate::log::Log;
use crate::name::GroupName;
use crate::offset::{Offset, PartitionId, ShardId, TopicId};
use crate::reset::GroupReset;
use crate::sync::Arc;

impl Log {
    /// A consumer of a group; what is wrong with the name is told when it is opened.
    ///
    /// A group is made by its first consumer, and is there until it is deleted.
    pub fn consumer(&self, group: &str) -> ConsumerBuilder {
        let told = |error: Error| error.during(format_args!("join {group}"));
        let home = self.inner.check_writable().and_then(|()| {
            let name = GroupName::new(group);
            let name =
                name.map_err(|error| Error::new(ErrorKind::InvalidName, error.to_string()))?;
            Ok(Home {
                group: self.inner.groups.get_or_make(&name),
                topics: Arc::clone(&self.inner.topics),
                store: Arc::clone(&self.inner.store),
                clock: Arc::clone(&self.inner.store.env().clock),
            })
        });
        ConsumerBuilder::new(home.map_err(told))
    }

    /// All groups that have members or a committed offset, by name.
    ///
    /// # Errors
    /// `Closed`.
    pub fn groups(&self) -> Result<Vec<GroupName>, Error> {
        self.inner.check_open()?;
        Ok(self.inner.groups.known().iter().map(|group| group.name().clone()).collect())
    }

    /// One group: its members and what they own, and for each partition how far the group is.
    ///
    /// # Errors
    /// `UnknownGroup`, `Closed`, and what recovery meets on a partition's first use.
    pub fn group(&self, name: &str) -> Result<GroupDescription, Error> {
        let told = |error: Error| error.during(format_args!("describe {name}"));
        self.inner.check_open().map_err(told)?;
        let group = self.inner.groups.find(name).map_err(told)?;
        self.describe_group(&group).map_err(told)
    }

    /// Forgets a group and everything that it has committed, durably.
    ///
    /// # Errors
    /// `GroupActive` while it has members; `UnknownGroup`, `ReadOnly`, `Closed`, and what the system
    /// says.
    pub fn delete_group(&self, name: &str) -> Result<(), Error> {
        let told = |error: Error| error.during(format_args!("delete group {name}"));
        self.inner.check_writable().map_err(told)?;
        let group = self.inner.groups.find(name).map_err(told)?;
        group.erase().map_err(told)
    }

    /// Puts a group elsewhere: back for a replay, or forward past what is not wanted.
    pub fn reset_group(&self, name: &str) -> GroupReset {
        let told = |error: Error| error.during(format_args!("reset {name}"));
        let home = self
            .inner
            .check_writable()
            .and_then(|()| Ok((self.inner.groups.find(name)?, Arc::clone(&self.inner.topics))));
        let groups = Arc::clone(&self.inner.groups);
        GroupReset::new(home.map_err(told), groups)
    }

    fn describe_group(&self, group: &Group) -> Result<GroupDescription, Error> {
        let topics = &self.inner.topics;
        let (generation, members) = group.members();
        // The first look at a partition recovers it, and may lower what was committed.
        for topic in known_topics(group).into_iter().filter_map(|id| topics.by_id(id)) {
            for partition in (0..topic.partition_count()).map(PartitionId::new) {
                let opened = topic.shard(partition)?.ensure_open();
                opened.map_err(|error| error.of_partition(&topic.partition(partition)))?;
            }
        }
        let committed = group.positions().into_iter().collect::<BTreeMap<_, _>>();
        let owners = members
            .iter()
            .flat_map(|(member, shards)| shards.iter().map(|shard| (*shard, *member)));
        let owners = owners.collect::<BTreeMap<_, _>>();
        let known = committed.keys().chain(owners.keys()).map(|shard| shard.topic);
        let known = known.collect::<BTreeSet<_>>();
        let mut partitions = Vec::new();
        for topic in known.into_iter().filter_map(|id| topics.by_id(id)) {
            for partition in (0..topic.partition_count()).map(PartitionId::new) {
                let (id, place) = (topic.shard_id(partition), topic.partition(partition));
                let shard = topic.shard(partition)?;
                shard.ensure_open().map_err(|error| error.of_partition(&place))?;
                let (start, end) =
                    shard.observe(|commit, view, _| (view.start, commit.visible_end()));
                let committed = committed.get(&id).cloned();
                let next = committed.as_ref().map_or(start, |committed| committed.offset());
                partitions.push(GroupPartition {
                    partition: place,
                    committed,
                    lag: lag(next, end),
                    owner: owners.get(&id).copied(),
                });
            }
        }
        let place = |shard: &ShardId| topics.place(*shard);
        let members = members.iter().map(|(id, shards)| GroupMember {
            id: *id,
            assignment: shards.iter().filter_map(place).collect(),
        });
        let name = group.name().clone();
        Ok(GroupDescription { name, generation, members: members.collect(), partitions })
    }
}

/// The topics that a group has committed for.
fn known_topics(group: &Group) -> BTreeSet<TopicId> {
    group.positions().into_iter().map(|(shard, _)| shard.topic).collect()
}

fn lag(next: Offset, end: Offset) -> u64 {
    end.value().saturating_sub(next.value())
}
