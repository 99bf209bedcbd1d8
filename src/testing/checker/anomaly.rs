//! What a history must not show, and which promise it breaks.

use std::fmt;

use super::value::Value;

/// A kind of thing that must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AnomalyKind {
    /// Records at the start of a partition are gone, and nobody asked for that.
    LostPrefix,
    /// Covered records are gone, and records behind them are there.
    LostMiddle,
    /// Covered records at the end of a partition are gone.
    LostPostfix,
    /// A topic is gone that nobody has deleted.
    TopicLost,
    /// A topic is there again that was deleted.
    TopicBack,
    /// One value stands at two offsets.
    Duplicate,
    /// A value was read that nobody has sent there, or that was gone before.
    Phantom,
    /// A value was read whose send has failed.
    AbortedRead,
    /// One offset had two values.
    InconsistentOffset,
    /// The bytes of a value are not those that were sent.
    CorruptValue,
    /// An offset between the start and the end of a partition has no record.
    Gap,
    /// The values of one producer stand in another order than it has sent them.
    Reordered,
    /// A member was not given a record that its group had not committed.
    SkippedPoll,
    /// A member was given a record again within one assignment.
    NonmonotonicPoll,
    /// A member has committed for a partition that another one had been given.
    ZombieCommit,
    /// A member could not commit for a partition that it had kept.
    OwnerRefused,
    /// A commit went backward.
    CommitRegress,
    /// A commit points behind the end of its partition.
    CommitPastEnd,
    /// A commit is gone that a crash must leave.
    CommitLost,
    /// An offset is committed that nobody has committed.
    CommitInvented,
    /// A worker has committed a record that was neither handled nor made a letter of.
    Unhandled,
    /// Two letters are listed about one record of one group.
    LetterDuplicated,
    /// A letter is gone that was there.
    LetterLost,
}

impl AnomalyKind {
    /// The number of the promise that this breaks, of those in docs/GUARANTEES.md.
    #[must_use]
    pub fn promise(self) -> u8 {
        match self {
            Self::LostPostfix | Self::TopicLost | Self::LetterLost => 1,
            Self::LostPrefix
            | Self::LostMiddle
            | Self::TopicBack
            | Self::Duplicate
            | Self::Phantom
            | Self::AbortedRead
            | Self::Reordered => 2,
            Self::CorruptValue | Self::SkippedPoll | Self::NonmonotonicPoll => 3,
            Self::InconsistentOffset | Self::Gap => 4,
            Self::CommitRegress
            | Self::CommitPastEnd
            | Self::CommitLost
            | Self::CommitInvented
            | Self::Unhandled
            | Self::LetterDuplicated => 7,
            Self::ZombieCommit | Self::OwnerRefused => 8,
        }
    }

    /// The kind in a few words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LostPrefix => "lost at the start",
            Self::LostMiddle => "lost in the middle",
            Self::LostPostfix => "lost at the end",
            Self::TopicLost => "topic lost",
            Self::TopicBack => "deleted topic is back",
            Self::Duplicate => "duplicate",
            Self::Phantom => "phantom",
            Self::AbortedRead => "aborted read",
            Self::InconsistentOffset => "inconsistent offset",
            Self::CorruptValue => "corrupt value",
            Self::Gap => "gap",
            Self::Reordered => "reordered",
            Self::SkippedPoll => "skipped poll",
            Self::NonmonotonicPoll => "nonmonotonic poll",
            Self::ZombieCommit => "zombie commit",
            Self::OwnerRefused => "commit of an owner refused",
            Self::CommitRegress => "commit regress",
            Self::CommitPastEnd => "commit past end",
            Self::CommitLost => "commit lost",
            Self::CommitInvented => "invented commit",
            Self::Unhandled => "committed and not handled",
            Self::LetterDuplicated => "duplicated letter",
            Self::LetterLost => "letter lost",
        }
    }
}

/// One thing that must not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What kind of thing.
    pub kind: AnomalyKind,
    /// The name of the topic.
    pub topic: String,
    /// The partition; none if it is about the whole topic.
    pub partition: Option<u32>,
    /// The offset, where there is one.
    pub offset: Option<u64>,
    /// The value, where it is known.
    pub value: Option<Value>,
    /// The rest of the story.
    pub detail: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.topic)?;
        if let Some(partition) = self.partition {
            write!(f, "/{partition}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, "@{offset}")?;
        }
        if let Some(value) = self.value {
            write!(f, ", value {value}")?;
        }
        write!(f, ": {} (breaks promise {})", self.detail, self.kind.promise())
    }
}
