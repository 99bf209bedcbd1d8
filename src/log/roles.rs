//! What only the log's own helpers ask for: topics that are found by what they are for, and the turn
//! to say what becomes of dead letters.

use super::inner::TurnGuard;
use super::{Log, describe};
use crate::config::TopicConfig;
use crate::error::{Error, ErrorKind};
use crate::name::TopicName;
use crate::offset::{Offset, TopicPartition};
use crate::report::TopicInfo;
use crate::role::TopicRole;

impl Log {
    /// The topic of a role that is not plain, if it was made already.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn topic_of(&self, role: &TopicRole) -> Result<Option<TopicInfo>, Error> {
        self.inner.check_open()?;
        let topics = self.inner.topics.all();
        let found = topics.iter().find(|topic| topic.state().config.role == *role);
        Ok(found.map(|topic| describe(topic)))
    }

    /// The topic of a role that is not plain; made under the first of `names` that is free if there
    /// is none, so that there is never a second one.
    ///
    /// # Errors
    /// `TopicExists` if none of the names is free, and those of [`create_topic`](Log::create_topic).
    pub(crate) fn ensure_topic_of(
        &self,
        role: &TopicRole,
        names: impl IntoIterator<Item = TopicName>,
        config: TopicConfig,
    ) -> Result<TopicInfo, Error> {
        let _turn = self.inner.begin_change()?;
        if let Some(found) = self.topic_of(role)? {
            return Ok(found);
        }
        let is_free = |name: &TopicName| self.inner.topics.find(name.as_str()).is_none();
        let name = names.into_iter().find(is_free);
        let name = name.ok_or_else(|| Error::bare(ErrorKind::TopicExists))?;
        let told = |error: Error| error.during(format_args!("create topic {name}"));
        self.inner.create(name.clone(), config.role(role.clone())).map_err(told)?;
        self.inner.topic(name.as_str()).map(|topic| describe(&topic))
    }

    /// Makes what is written to a partition durable, and returns the offset behind it.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `Poisoned`, `Closed`, and what the system says.
    pub(crate) fn make_durable(&self, partition: &TopicPartition) -> Result<Offset, Error> {
        let told = |error: Error| error.during(format_args!("sync {partition}"));
        let shard = self.inner.shard(partition).map_err(told)?;
        shard.sync_written().map_err(told)
    }

    /// Waits until nobody else says what becomes of dead letters, and has them wait until the guard
    /// is dropped.
    ///
    /// # Errors
    /// `ReadOnly`, `Closed`.
    pub(crate) fn begin_settling(&self) -> Result<TurnGuard<'_>, Error> {
        self.inner.check_writable()?;
        let turn = self.inner.settling.take();
        self.inner.check_open()?;
        Ok(turn)
    }
}
