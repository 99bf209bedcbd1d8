//! One error type for the whole crate: a kind to branch on, and a sentence to read.
//!
//! Programs look at [`Error::kind`]; people read the `Display` text, which names the operation, the
//! topic and partition, what failed, the file and byte where that is known, and the cause. Text is
//! never meant to be matched on. Errors are cheap to clone, because one failed sync answers every
//! sender that waited for it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::offset::{Offset, TopicPartition};

/// What went wrong, in few words, for programs to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A topic or group name breaks the rules; nothing was done.
    InvalidName,
    /// An option is out of its range; nothing was done.
    InvalidConfig,
    /// A record, key or header is larger than its limit, or a partitioner named no existing
    /// partition.
    InvalidRecord,
    /// A topic of that name exists already.
    TopicExists,
    /// No topic of that name exists, or it was deleted while a handle to it was in use.
    UnknownTopic,
    /// The topic has no such partition.
    UnknownPartition,
    /// Nobody has ever read under that group's name, or the group was deleted.
    UnknownGroup,
    /// The group has members; what was asked for would pull their positions from under them.
    GroupActive,
    /// The member is not part of its group any more: it has left, or did not poll for too long, or
    /// the group was reset or deleted. Open another consumer.
    Fenced,
    /// The member does not own the partition, or not any more; nothing was committed.
    NotOwner,
    /// The offset lies below what is committed; only a reset of the group goes backward.
    OffsetRegression,
    /// The log was closed.
    Closed,
    /// Another handle or process has the directory open for writing.
    AlreadyOpen,
    /// The directory holds something that is not a log.
    NotALog,
    /// The directory has to be empty, and is not.
    NotEmpty,
    /// The files were written by a version of the format that this build cannot read.
    UnsupportedVersion,
    /// Stored bytes fail their checksum below what was known durable.
    Corrupt,
    /// A segment file that the manifest lists is not there.
    MissingSegment,
    /// The offset lies outside what the partition holds; [`Error::valid_range`] says what that is.
    OffsetOutOfRange,
    /// The disk is full; nothing was appended, and sending resumes by itself when there is room.
    StorageFull,
    /// The partition stopped accepting writes after a failure; the source is the first cause.
    Poisoned,
    /// No room in the send budget within the timeout; nothing was appended.
    Timeout,
    /// The log was opened read-only.
    ReadOnly,
    /// The system refused a file operation.
    Io,
}

impl ErrorKind {
    /// The kind in a few words, as [`Error`] prints it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidName => "invalid name",
            Self::InvalidConfig => "invalid configuration",
            Self::InvalidRecord => "invalid record",
            Self::TopicExists => "topic exists already",
            Self::UnknownTopic => "unknown topic",
            Self::UnknownPartition => "unknown partition",
            Self::UnknownGroup => "unknown group",
            Self::GroupActive => "group has active members",
            Self::Fenced => "no longer a member of the group",
            Self::NotOwner => "partition is owned by another member",
            Self::OffsetRegression => "offset below the committed one",
            Self::Closed => "log is closed",
            Self::AlreadyOpen => "directory is already open",
            Self::NotALog => "not a log",
            Self::NotEmpty => "directory is not empty",
            Self::UnsupportedVersion => "unsupported format version",
            Self::Corrupt => "corrupt data",
            Self::MissingSegment => "missing segment",
            Self::OffsetOutOfRange => "offset out of range",
            Self::StorageFull => "storage full",
            Self::Poisoned => "partition stopped accepting writes",
            Self::Timeout => "timed out",
            Self::ReadOnly => "log is read-only",
            Self::Io => "i/o error",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a record whose send failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The record is not in the log and never will be by this send; it can be sent again.
    NotAppended,
    /// The record may be in the log or not; only reading it back, after a reopen, can tell.
    Unknown,
}

/// Any failure of the log.
///
/// # Examples
/// ```
/// use brooklet::{ErrorKind, Log};
///
/// let log = Log::in_memory()?;
/// let error = log.producer("orders").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::UnknownTopic);
/// assert_eq!(error.to_string(), "open producer for orders: unknown topic");
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone)]
pub struct Error {
    operation: Option<Arc<str>>,
    partition: Option<Arc<TopicPartition>>,
    cause: Arc<Cause>,
}

struct Cause {
    kind: ErrorKind,
    detail: Option<String>,
    path: Option<PathBuf>,
    byte: Option<u64>,
    offsets: Option<Range<Offset>>,
    source: Option<Source>,
}

enum Source {
    Io(io::Error),
    Error(Error),
}

impl Error {
    /// What went wrong, for programs to branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind
    }

    /// The partition the failure is about, where an operation spans several.
    #[must_use]
    pub fn partition(&self) -> Option<&TopicPartition> {
        self.partition.as_deref()
    }

    /// The file the failure is about, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.cause.path.as_deref()
    }

    /// The position in that file, in bytes, where it is known.
    #[must_use]
    pub fn byte(&self) -> Option<u64> {
        self.cause.byte
    }

    /// The offsets that [`Corrupt`](ErrorKind::Corrupt) or
    /// [`MissingSegment`](ErrorKind::MissingSegment) concern.
    ///
    /// Reading can go on at the end of this range.
    #[must_use]
    pub fn lost_range(&self) -> Option<Range<Offset>> {
        match self.cause.kind {
            ErrorKind::Corrupt | ErrorKind::MissingSegment => self.cause.offsets.clone(),
            _ => None,
        }
    }

    /// The offsets that can be read, for [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange).
    #[must_use]
    pub fn valid_range(&self) -> Option<Range<Offset>> {
        match self.cause.kind {
            ErrorKind::OffsetOutOfRange => self.cause.offsets.clone(),
            _ => None,
        }
    }

    /// What is wrong, without where; for whoever tells the rest in a form of its own.
    pub(crate) fn reason(&self) -> String {
        match (&self.cause.detail, self.io_error()) {
            (Some(detail), Some(error)) => format!("{detail}: {error}"),
            (Some(detail), None) => detail.clone(),
            (None, _) => self.cause.kind.to_string(),
        }
    }

    /// The error of the system behind this one, where there is one.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        match &self.cause.source {
            Some(Source::Io(error)) => Some(error),
            Some(Source::Error(error)) => error.io_error(),
            None => None,
        }
    }

    pub(crate) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let detail = (!detail.is_empty()).then_some(detail);
        Self::from_cause(Cause { detail, ..Cause::bare(kind) })
    }

    pub(crate) fn bare(kind: ErrorKind) -> Self {
        Self::from_cause(Cause::bare(kind))
    }

    /// A refusal of the system: `what` names the step, such as `write failed`.
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
            _ => ErrorKind::Io,
        };
        Self::refused(kind, what, path, source)
    }

    /// A failure that leaves a file in doubt: never told as a full disk, which would promise that
    /// nothing was appended.
    pub(crate) fn in_doubt(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::refused(ErrorKind::Io, what, path, source)
    }

    fn refused(kind: ErrorKind, what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::from_cause(Cause {
            detail: Some(what.to_owned()),
            path: Some(path.to_path_buf()),
            source: Some(Source::Io(source)),
            ..Cause::bare(kind)
        })
    }

    pub(crate) fn corrupt(
        path: &Path,
        byte: u64,
        offsets: Range<Offset>,
        detail: impl Into<String>,
    ) -> Self {
        Self::from_cause(Cause {
            detail: Some(detail.into()),
            path: Some(path.to_path_buf()),
            byte: Some(byte),
            offsets: Some(offsets),
            ..Cause::bare(ErrorKind::Corrupt)
        })
    }

    pub(crate) fn missing_segment(path: &Path, offsets: Range<Offset>) -> Self {
        Self::from_cause(Cause {
            path: Some(path.to_path_buf()),
            offsets: Some(offsets),
            ..Cause::bare(ErrorKind::MissingSegment)
        })
    }

    pub(crate) fn out_of_range(asked: Offset, valid: Range<Offset>) -> Self {
        Self::from_cause(Cause {
            detail: Some(format!("{asked} is not in {}..{}", valid.start, valid.end)),
            offsets: Some(valid),
            ..Cause::bare(ErrorKind::OffsetOutOfRange)
        })
    }

    /// Whether this tells of the same trouble in the same place as another error.
    pub(crate) fn is_about_the_same(&self, other: &Self) -> bool {
        let place = |error: &Self| (error.kind(), error.cause.path.clone(), error.byte());
        place(self) == place(other)
    }

    pub(crate) fn poisoned(first_cause: &Self) -> Self {
        Self::from_cause(Cause {
            path: first_cause.cause.path.clone(),
            source: Some(Source::Error(first_cause.clone())),
            ..Cause::bare(ErrorKind::Poisoned)
        })
    }

    /// The same error, told with the file it is about.
    pub(crate) fn at_path(kind: ErrorKind, path: &Path, detail: impl Into<String>) -> Self {
        Self::from_cause(Cause {
            detail: Some(detail.into()),
            path: Some(path.to_path_buf()),
            ..Cause::bare(kind)
        })
    }

    /// The same error, told as the failure of an operation such as `append to orders/3`.
    pub(crate) fn during(mut self, operation: impl fmt::Display) -> Self {
        self.operation = Some(operation.to_string().into());
        self
    }

    /// The same error, told with the partition it is about.
    pub(crate) fn of_partition(mut self, partition: &TopicPartition) -> Self {
        self.partition = Some(Arc::new(partition.clone()));
        self
    }

    fn from_cause(cause: Cause) -> Self {
        Self { operation: None, partition: None, cause: Arc::new(cause) }
    }
}

impl Cause {
    fn bare(kind: ErrorKind) -> Self {
        Self { kind, detail: None, path: None, byte: None, offsets: None, source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = &*self.cause;
        if let Some(operation) = &self.operation {
            write!(f, "{operation}: ")?;
        }
        // An i/o failure is best told by the step that failed; everything else by its kind.
        match (&cause.detail, cause.kind) {
            (Some(detail), ErrorKind::Io | ErrorKind::StorageFull) => f.write_str(detail)?,
            (Some(detail), kind) => write!(f, "{kind}: {detail}")?,
            (None, kind) => write!(f, "{kind}")?,
        }
        if let Some(path) = &cause.path {
            write!(f, ": {}", path.display())?;
        }
        if let Some(byte) = cause.byte {
            write!(f, " at byte {byte}")?;
        }
        if let Some(offsets) = self.lost_range() {
            write!(f, ", offsets {}..{}", offsets.start, offsets.end)?;
        }
        match &cause.source {
            Some(Source::Io(source)) => write!(f, ": {source}"),
            Some(Source::Error(source)) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}, \"{self}\")", self.cause.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause.source {
            Some(Source::Io(source)) => Some(source),
            Some(Source::Error(source)) => Some(source),
            None => None,
        }
    }
}

impl From<Error> for io::Error {
    /// Keeps the system's own error kind where there is one.
    fn from(error: Error) -> Self {
        let kind = error.io_error().map_or(io::ErrorKind::Other, io::Error::kind);
        Self::new(kind, error)
    }
}
