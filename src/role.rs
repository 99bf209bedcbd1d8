//! What a topic is for: the user's own records, or the failures of a group.
//!
//! The role is kept with the topic in the catalog, and given when the topic is made. What belongs
//! together is found by role, so that it does not matter how a topic is called.

use crate::name::{GroupName, TopicName};

/// What a topic is for.
///
/// Users make plain topics. The others are made by the log when they are first needed, and keep
/// their role as long as they live, however they are altered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopicRole {
    /// It holds what the user sends.
    #[default]
    Plain,
    /// It holds the records of a topic that a group could not handle: see [`dlq`](crate::dlq).
    DeadLetters {
        /// The topic whose records failed.
        topic: TopicName,
        /// The group that could not handle them.
        group: GroupName,
    },
    /// It holds dead letters that the group shall handle again, and is read by that group alone.
    Redrive {
        /// The topic whose records failed.
        topic: TopicName,
        /// The group that shall handle them again.
        group: GroupName,
    },
    /// It says what became of the dead letters of a group.
    LetterStates {
        /// The topic whose records failed.
        topic: TopicName,
        /// The group that could not handle them.
        group: GroupName,
    },
}

impl TopicRole {
    /// Whether the topic holds what the user sends.
    ///
    /// Patterns of consumers match such topics only.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }
}
