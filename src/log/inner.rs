//! What all handles of a log share: its topics, and the changes of its catalog.

use std::collections::BTreeMap;

use crate::catalog::{Topic, Topics, read_topics, remove_topic, shard_ids, write_topic};
use crate::config::{LogOptions, SyncPolicy, TopicConfig};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Fate};
use crate::group::registry::Groups;
use crate::name::TopicName;
use crate::offset::{TopicId, TopicPartition};
use crate::storage::commit::Refusal;
use crate::storage::journal::Journal;
use crate::storage::opening::Opening;
use crate::storage::partition::Keeping;
use crate::storage::store::{PartitionShard, Store};
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::sync::{Arc, AtomicBool, Ordering, Shared};

/// What all handles of a log share.
pub(super) struct Inner {
    pub(super) store: Arc<Store>,
    /// The world that backups go to, if it is not the disk.
    pub(super) elsewhere: Option<Env>,
    pub(super) options: LogOptions,
    pub(super) topics: Arc<Topics>,
    pub(super) groups: Arc<Groups>,
    pub(super) opening: Opening,
    pub(super) closed: AtomicBool,
    /// Topics whose deletion was begun, and that the catalog has or not.
    pub(super) half_deleted: Shared<BTreeMap<TopicId, TopicName>>,
    pub(super) turn: Turn,
    /// Whose turn it is to say what becomes of dead letters.
    pub(super) settling: Turn,
}

/// Lets one change happen after another: whoever holds the baton may.
pub(super) struct Turn {
    give: Sender<()>,
    take: Receiver<()>,
}

impl Inner {
    pub(super) fn load_topics(&self) -> Result<(), Error> {
        let topics = read_topics(&self.opening.catalog)?;
        let partitions =
            topics.iter().flat_map(|(_, id, config)| shard_ids(*id, 0, config.partitions));
        self.store.check_agreement(&self.opening, &partitions.collect())?;
        for (name, id, config) in topics {
            self.store.know_topic_id(id);
            let shards = self.add_shards(id, 0, &config);
            self.add_topic(name, id, config, shards);
        }
        // What cannot be removed now takes up room and nothing else; the next open tries again.
        self.store.tell(self.store.drop_orphans());
        Ok(())
    }

    fn add_shards(
        &self,
        id: TopicId,
        first: u32,
        config: &TopicConfig,
    ) -> Vec<Arc<PartitionShard>> {
        let ids = shard_ids(id, first, config.partitions);
        let policy = config.sync_policy();
        ids.into_iter().map(|id| self.store.add_shard(id, policy, Keeping::from(config))).collect()
    }

    fn add_topic(
        &self,
        name: TopicName,
        id: TopicId,
        config: TopicConfig,
        shards: Vec<Arc<PartitionShard>>,
    ) {
        let topic = Topic::new((name, id), Arc::clone(&self.store), config, shards);
        self.topics.add(Arc::new(topic));
    }

    pub(super) fn with_defaults(&self, mut config: TopicConfig) -> TopicConfig {
        config.sync.get_or_insert(self.options.default_sync);
        config
    }

    /// The partitions are listed before the catalog's entry, which is what makes the topic.
    pub(super) fn create(&self, name: TopicName, config: TopicConfig) -> Result<(), Error> {
        let config = self.with_defaults(config);
        config.check()?;
        let catalog = self.catalog()?;
        let id = self.store.next_topic_id()?;
        self.store.create_partitions(&shard_ids(id, 0, config.partitions))?;
        write_topic(catalog, &name, id, &config)?;
        let shards = self.add_shards(id, 0, &config);
        self.add_topic(name, id, config, shards);
        self.groups.notice_topics();
        Ok(())
    }

    pub(super) fn grow(&self, topic: &Topic, count: u32) -> Result<(), Error> {
        let state = topic.state();
        let before = state.config.partitions;
        let config = TopicConfig { partitions: count, ..state.config.clone() };
        config.check()?;
        if count < before {
            let text = format!("{count} partitions, where there are {before} already");
            return Err(Error::new(ErrorKind::InvalidConfig, text));
        }
        if count == before {
            return Ok(());
        }
        let catalog = self.catalog()?;
        self.store.create_partitions(&shard_ids(topic.id, before, count))?;
        write_topic(catalog, &topic.name, topic.id, &config)?;
        let mut shards = state.shards.clone();
        shards.extend(self.add_shards(topic.id, before, &config));
        topic.set_state(config, shards);
        self.groups.notice_topics();
        Ok(())
    }

    pub(super) fn alter(&self, topic: &Topic, config: TopicConfig) -> Result<(), Error> {
        let state = topic.state();
        let config = self.with_defaults(config).role(state.config.role.clone());
        config.check()?;
        if config.partitions != state.config.partitions {
            let text = "the number of partitions is changed by add_partitions";
            return Err(Error::new(ErrorKind::InvalidConfig, text));
        }
        let old = state.config.sync_policy();
        let altered = set_policies(&state.shards, config.sync_policy())
            .and_then(|()| write_topic(self.catalog()?, &topic.name, topic.id, &config));
        if let Err(error) = altered {
            // The catalog still says the old one, and so must they all.
            let _ = set_policies(&state.shards, old);
            return Err(error);
        }
        for shard in &state.shards {
            let keeping = Keeping::from(&config);
            shard.exclusive(|log, _| (log.set_keeping(keeping), None))?;
        }
        self.store.schedule_retention();
        topic.set_state(config, state.shards.clone());
        Ok(())
    }

    pub(super) fn delete(&self, topic: &Topic) -> Result<(), Error> {
        if let Err(Refusal { error, fate }) = remove_topic(self.catalog()?, &topic.name) {
            if fate == Fate::Unknown {
                self.disown(topic);
            }
            return Err(error);
        }
        self.topics.remove(&topic.name);
        // Consumers are told before anything of it is taken away: a poll that finds it gone counts on
        // its group to say so, whatever becomes of the files.
        self.groups.notice_topics();
        self.remove_remains(topic.id)
    }

    /// Removes what is left of a topic that the catalog does not have any more.
    fn remove_remains(&self, topic: TopicId) -> Result<(), Error> {
        let reason = Error::new(ErrorKind::UnknownTopic, "the topic was deleted");
        self.store.drop_topic(topic, &reason)?;
        self.topics.forget(topic);
        self.groups.forget_topic(topic)
    }

    /// The catalog, to be changed: deletions that went half-way are brought to their end first.
    fn catalog(&self) -> Result<&Journal, Error> {
        let catalog = self.store.catalog();
        for (topic, name) in self.half_deleted.get() {
            remove_topic(catalog, &name).map_err(|refusal| refusal.error)?;
            self.half_deleted.with(|topics| topics.remove(&topic));
            // What cannot be removed now takes up room and nothing else; the next open tries again.
            self.store.tell(self.remove_remains(topic));
        }
        self.store.take_back_orphans()?;
        Ok(catalog)
    }

    /// Takes a topic out of use that may be deleted or not; it must not take records any more.
    fn disown(&self, topic: &Topic) {
        self.topics.remove(&topic.name);
        self.half_deleted.with(|topics| topics.insert(topic.id, topic.name.clone()));
        self.groups.notice_topics();
        let reason = Error::new(ErrorKind::UnknownTopic, "the topic was deleted half-way");
        for shard in &topic.state().shards {
            shard.close(&reason);
        }
    }

    pub(super) fn topic(&self, name: &str) -> Result<Arc<Topic>, Error> {
        self.check_open()?;
        self.topics.find(name).ok_or_else(|| Error::bare(ErrorKind::UnknownTopic))
    }

    pub(super) fn shard(&self, partition: &TopicPartition) -> Result<Arc<PartitionShard>, Error> {
        self.topic(partition.topic().as_str())?.shard(partition.partition())
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::bare(ErrorKind::Closed)),
            false => Ok(()),
        }
    }

    pub(super) fn check_writable(&self) -> Result<(), Error> {
        self.check_open()?;
        match self.options.read_only {
            true => Err(Error::bare(ErrorKind::ReadOnly)),
            false => Ok(()),
        }
    }

    pub(super) fn begin_change(&self) -> Result<TurnGuard<'_>, Error> {
        self.check_writable()?;
        let turn = self.turn.take();
        self.check_open()?;
        Ok(turn)
    }
}

impl Default for Turn {
    fn default() -> Self {
        let (give, take) = bounded(1);
        let turn = Self { give, take };
        turn.give_back();
        turn
    }
}

impl Turn {
    pub(super) fn take(&self) -> TurnGuard<'_> {
        // Both ends live as long as the turn, so that there is nothing to fail.
        let _ = self.take.recv();
        TurnGuard(self)
    }

    fn give_back(&self) {
        let _ = self.give.send(());
    }
}

/// Held by whoever makes a change.
pub(crate) struct TurnGuard<'a>(&'a Turn);

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

fn set_policies(shards: &[Arc<PartitionShard>], policy: SyncPolicy) -> Result<(), Error> {
    shards.iter().try_for_each(|shard| shard.set_policy(policy))
}
