//! What a check of a whole directory found.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::offset::{Offset, TopicPartition};

/// What [`Log::verify`](crate::Log::verify) found: how much was read, and everything that is not as
/// it should be or that somebody may want to know of.
///
/// # Examples
/// ```
/// use brooklet::{Log, Record, TopicConfig};
///
/// let log = Log::in_memory()?;
/// log.create_topic("orders", TopicConfig::new())?;
/// log.producer("orders")?.send(Record::new("created"))?;
/// let found = log.verify()?;
/// assert!(found.is_whole() && found.records == 1);
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Verification {
    /// Files that were read.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Batches and entries of journals whose two checksums are good.
    pub frames: u64,
    /// Records in good batches of the topics' partitions.
    pub records: u64,
    /// What was found, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Whether nothing of the log is damaged, missing or could not be read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damage().next().is_none()
    }

    /// The findings that mean a loss.
    pub fn damage(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.kind.is_damage())
    }
}

/// One thing that was found in a directory.
///
/// Its text names partition, file, byte and offsets, as far as there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The partition it is about; none for a journal.
    pub partition: Option<TopicPartition>,
    /// The file or directory it is about.
    pub path: PathBuf,
    /// Where in the file.
    pub byte: Option<u64>,
    /// The offsets that cannot be read because of it.
    pub offsets: Option<Range<Offset>>,
    /// What is wrong, in words.
    pub detail: String,
}

/// What a finding is, most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// Bytes that were known to be durable are not what they were.
    Damaged,
    /// A file that the log lists is not there, or offsets that no file holds.
    Missing,
    /// Two of the log's own books say different things.
    Contradiction,
    /// The system refused to read it; whether it is good is not known.
    Unreadable,
    /// Offsets that a repair has given up.
    GivenUp,
    /// The end of a write that was under way: the next open cuts it off, and says so.
    TornTail,
    /// A head, a footer or an index is wrong; it is made again from the frames where it is needed.
    Derived,
    /// A group's commit is behind the end of its partition: it is lowered when that is opened.
    CommitAhead,
    /// A file that was set aside by a recovery or a repair.
    Aside,
    /// A file of the log's own that is not needed any more, and is removed in time.
    Leftover,
    /// A file that the log does not know; it is left alone.
    Unknown,
}

impl FindingKind {
    /// Whether something of the log is lost, or may be.
    #[must_use]
    pub fn is_damage(self) -> bool {
        self <= Self::Unreadable
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Contradiction => "contradiction",
            Self::Unreadable => "unreadable",
            Self::GivenUp => "given up",
            Self::TornTail => "torn tail",
            Self::Derived => "to be made again",
            Self::CommitAhead => "commit ahead",
            Self::Aside => "set aside",
            Self::Leftover => "left over",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(partition) = &self.partition {
            write!(f, "{partition}: ")?;
        }
        write!(f, "{}: {}", self.kind, self.path.display())?;
        if let Some(byte) = self.byte {
            write!(f, " at byte {byte}")?;
        }
        if let Some(offsets) = &self.offsets {
            write!(f, ", offsets {}..{}", offsets.start, offsets.end)?;
        }
        write!(f, ": {}", self.detail)
    }
}
