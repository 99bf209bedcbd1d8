//! What a worker does with records that it gives up.

use std::time::Duration;

use crate::config::Retention;

/// Where a group's dead letters go, and how long they are kept.
///
/// The topic is made with the first letter: one for each topic that the group reads, with as many
/// partitions, synced always.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brooklet::Retention;
/// use brooklet::dlq::DeadLetters;
///
/// let week = Duration::from_secs(7 * 24 * 3600);
/// let policy = DeadLetters::default_for("billing")
///     .retention(Retention::forever().max_age(week).max_bytes(1 << 30))
///     .topic_name("failed.{topic}.{group}");
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct DeadLetters {
    pub(crate) group: String,
    pub(crate) retention: Retention,
    pub(crate) topic_name: String,
    pub(crate) on_write_failure: OnWriteFailure,
}

impl DeadLetters {
    /// `<topic>.<group>.dlq`, kept for 30 days; a letter that cannot be written blocks its
    /// partition.
    pub fn default_for(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            retention: Retention::forever().max_age(RETENTION_DEFAULT),
            topic_name: "{topic}.{group}.dlq".to_owned(),
            on_write_failure: OnWriteFailure::Block,
        }
    }

    /// How long letters are kept; by default 30 days, however many they are.
    ///
    /// A shorter time loses failures that nobody has looked at; they are counted. It is taken when
    /// the topic is made, and changed later by [`Log::alter_topic`](crate::Log::alter_topic).
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// How a topic of dead letters is called: `{topic}` and `{group}` stand for the two names.
    ///
    /// If the name is too long, or that of another topic, one is made of it that is not. A topic of
    /// dead letters that is there keeps its name.
    pub fn topic_name(mut self, pattern: &str) -> Self {
        self.topic_name = pattern.to_owned();
        self
    }

    /// What happens if a letter cannot be written; by default its partition waits.
    pub fn on_write_failure(mut self, choice: OnWriteFailure) -> Self {
        self.on_write_failure = choice;
        self
    }
}

/// What happens to a record that was given up and whose letter cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnWriteFailure {
    /// Its partition waits and tries again until the letter is written. The default.
    #[default]
    Block,
    /// The record is dropped, and nothing of it is kept.
    Drop,
}

/// How long letters are kept unless a policy says otherwise.
const RETENTION_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
