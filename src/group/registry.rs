//! The groups of a log, and what storage must know of all of them.

use std::collections::BTreeMap;

use crate::catalog::Topics;
use crate::error::{Error, ErrorKind};
use crate::group::coordinator::{Group, GroupHome};
use crate::group::offsets::{GroupEntries, read_groups};
use crate::name::GroupName;
use crate::offset::{Offset, ShardId, TopicId};
use crate::storage::journal::Entries;
use crate::storage::store::Store;
use crate::storage::tail::Positions;
use crate::sync::{Arc, Shared};

/// The groups of an open log.
#[derive(Debug)]
pub(crate) struct Groups {
    home: GroupHome,
    by_name: Shared<BTreeMap<GroupName, Arc<Group>>>,
    lowered: Shared<Vec<Lowered>>,
}

/// A commit that was behind the end of a recovered partition.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    pub(crate) group: GroupName,
    pub(crate) shard: ShardId,
    pub(crate) from: Offset,
    pub(crate) to: Offset,
}

impl Groups {
    /// The groups that the journal has.
    ///
    /// What they committed for topics that are gone stays without effect: no topic has its number.
    ///
    /// # Errors
    /// `Corrupt` if an entry makes no sense.
    pub(crate) fn open(
        entries: &Entries,
        store: &Arc<Store>,
        topics: &Arc<Topics>,
    ) -> Result<Arc<Self>, Error> {
        let home = GroupHome {
            store: Arc::downgrade(store),
            topics: Arc::downgrade(topics),
            journal: Arc::clone(store.offsets()),
            clock: Arc::clone(&store.env().clock),
        };
        let groups = read_groups(entries)?;
        // Commits for a topic that is gone must never be found by a topic of a later life.
        let known = groups.values().flat_map(|group| group.committed.keys());
        known.for_each(|shard| store.know_topic_id(shard.topic));
        let groups = groups.into_iter();
        let groups = groups.map(|(name, found)| (name.clone(), Group::new(name, found, &home)));
        let by_name = Shared::new(groups.collect());
        Ok(Arc::new(Self { home, by_name, lowered: Shared::default() }))
    }

    /// The group of that name, made if nobody has asked for it before.
    pub(crate) fn get_or_make(&self, name: &GroupName) -> Arc<Group> {
        self.by_name.with(|groups| {
            let make = || Group::new(name.clone(), GroupEntries::default(), &self.home);
            Arc::clone(groups.entry(name.clone()).or_insert_with(make))
        })
    }

    /// The group of that name, if anybody has ever read under it.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Group>, Error> {
        let group = self.by_name.with(|groups| groups.get(name).cloned());
        let group = group.filter(|group| group.is_known());
        group.ok_or_else(|| Error::bare(ErrorKind::UnknownGroup))
    }

    /// All groups that anybody has ever read under, by name.
    pub(crate) fn known(&self) -> Vec<Arc<Group>> {
        let mut groups = self.all();
        groups.retain(|group| group.is_known());
        groups
    }

    /// Tells all groups that topics were made, grown or deleted.
    pub(crate) fn notice_topics(&self) {
        self.all().iter().for_each(|group| group.notice_topics());
    }

    /// Forgets what was committed for a topic that was deleted.
    ///
    /// # Errors
    /// The first failure; what is left is ignored from the next open on, because no topic has its
    /// number any more.
    pub(crate) fn forget_topic(&self, topic: TopicId) -> Result<(), Error> {
        let forgotten = self.all().into_iter().map(|group| group.forget_topic(topic));
        forgotten.fold(Ok(()), Result::and)
    }

    /// Fences members that have stayed away for too long.
    pub(crate) fn tick(&self) {
        self.all().iter().for_each(|group| group.tick());
    }

    /// Ends all groups, with the log.
    pub(crate) fn close(&self, error: &Error) {
        self.all().iter().for_each(|group| group.close(error));
    }

    /// The commits that recovery has lowered in this session.
    pub(crate) fn lowered(&self) -> Vec<Lowered> {
        self.lowered.get()
    }

    fn all(&self) -> Vec<Arc<Group>> {
        self.by_name.with(|groups| groups.values().cloned().collect())
    }
}

impl Positions for Groups {
    fn floor(&self, id: ShardId) -> Option<Offset> {
        self.all().iter().filter_map(|group| group.floor(id)).min()
    }

    fn recovered(&self, id: ShardId, end: Offset) -> Result<(), Error> {
        for group in self.all() {
            if let Some(from) = group.lower(id, end)? {
                let lowered = Lowered { group: group.name().clone(), shard: id, from, to: end };
                self.lowered.with(|all| all.push(lowered));
            }
        }
        Ok(())
    }
}
