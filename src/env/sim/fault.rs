//! Which operation fails, and how: the numbered operations, injected faults, the power.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread::{self, ThreadId};

use crate::sync::Arc;

/// One call that reached the simulated disk.
#[derive(Clone, Debug)]
pub struct Op {
    /// Its number, counted from zero since the disk was made.
    pub number: u64,
    /// What was asked.
    pub kind: OpKind,
    /// The path it was asked of; for open files, the path they were opened by.
    pub path: Arc<Path>,
    /// The thread that asked.
    pub thread: ThreadId,
}

/// What a call asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Create a file.
    CreateNew,
    /// Open a file.
    Open,
    /// Read from an open file.
    Read,
    /// Write to an open file.
    Write,
    /// Cut or extend an open file.
    SetLen,
    /// Reserve room for an open file.
    Allocate,
    /// Make an open file durable.
    Sync,
    /// Make the entries of a directory durable.
    SyncDir,
    /// Rename a file; the path is the old name.
    Rename,
    /// Remove a file's name.
    Remove,
    /// Create a directory.
    CreateDir,
    /// Remove a directory.
    RemoveDir,
    /// List a directory.
    ReadDir,
    /// Take a lock.
    Lock,
    /// Ask for free space.
    Space,
    /// Ask for an open file's length.
    Len,
}

impl OpKind {
    /// Whether success changes files, directories or what of them is durable.
    #[must_use]
    pub fn is_change(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::ReadDir | Self::Space | Self::Len)
    }
}

/// What goes wrong when an operation is made to fail.
///
/// The operation changes nothing, with these exceptions: half of a [`ShortWrite`](Self::ShortWrite)
/// lands, all of an [`UnconfirmedWrite`](Self::UnconfirmedWrite) does, and a failed sync loses what it
/// should have made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device failed (`EIO`).
    Eio,
    /// The disk is full (`ENOSPC`).
    StorageFull,
    /// The user's quota is used up (`EDQUOT`).
    QuotaExceeded,
    /// The file system is mounted for reading only (`EROFS`).
    ReadOnly,
    /// The process has too many open files (`EMFILE`).
    TooManyFiles,
    /// The user may not do this (`EACCES`).
    PermissionDenied,
    /// Half of the bytes land, then the device fails (`EIO`).
    ///
    /// At operations other than a write the same as `Eio`.
    ShortWrite,
    /// All bytes land, and the answer is that the device failed (`EIO`).
    ///
    /// At operations other than a write the same as `Eio`.
    UnconfirmedWrite,
    /// Nothing is there (`ENOENT`).
    NotFound,
}

impl Fault {
    /// Every fault.
    pub const ALL: &[Self] = &[
        Self::Eio,
        Self::StorageFull,
        Self::QuotaExceeded,
        Self::ReadOnly,
        Self::TooManyFiles,
        Self::PermissionDenied,
        Self::ShortWrite,
        Self::UnconfirmedWrite,
        Self::NotFound,
    ];

    /// The error as the operating system would report it.
    #[must_use]
    pub fn error(self) -> io::Error {
        // Numbers of Linux, include/uapi/asm-generic/errno{-base,}.h.
        let (code, kind) = match self {
            Self::Eio | Self::ShortWrite | Self::UnconfirmedWrite => (5, ErrorKind::Other),
            Self::StorageFull => (28, ErrorKind::StorageFull),
            Self::QuotaExceeded => (122, ErrorKind::QuotaExceeded),
            Self::ReadOnly => (30, ErrorKind::ReadOnlyFilesystem),
            Self::TooManyFiles => (24, ErrorKind::Other),
            Self::PermissionDenied => (13, ErrorKind::PermissionDenied),
            Self::NotFound => (2, ErrorKind::NotFound),
        };
        if cfg!(target_os = "linux") {
            io::Error::from_raw_os_error(code)
        } else {
            io::Error::new(kind, format!("simulated fault: {self:?}"))
        }
    }
}

/// How often an injected fault fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// At the first operation it fits, and never again.
    Once,
    /// At every operation it fits.
    Forever,
}

/// Why an operation does not happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denial {
    /// This operation is the one during which the power went off.
    PowerGoesOff,
    /// The power was off before.
    PowerIsOff,
    /// An injected fault.
    Fault(Fault),
}

impl Denial {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::PowerGoesOff | Self::PowerIsOff => io::Error::other("the power is off"),
            Self::Fault(fault) => fault.error(),
        }
    }
}

/// The operations so far, and what shall happen to the next ones.
#[derive(Debug, Default)]
pub(super) struct Plan {
    count: u64,
    log: Vec<Op>,
    rules: Vec<Rule>,
    off_at: Option<u64>,
    off: bool,
    fired: u64,
}

struct Rule {
    fits: Box<dyn Fn(&Op) -> bool + Send + Sync>,
    fault: Fault,
    repeat: Repeat,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fits: _, fault, repeat } = self;
        f.debug_struct("Rule").field("fault", fault).field("repeat", repeat).finish()
    }
}

impl Plan {
    /// Gives an operation its number and writes it down.
    pub(super) fn number(&mut self, kind: OpKind, path: Arc<Path>) -> Op {
        let op = Op { number: self.count, kind, path, thread: thread::current().id() };
        self.count += 1;
        self.log.push(op.clone());
        op
    }

    /// Decides whether an operation happens.
    pub(super) fn judge(&mut self, op: &Op) -> Result<(), Denial> {
        let denial = if self.off {
            Denial::PowerIsOff
        } else if self.ends_with(op) {
            self.off = true;
            Denial::PowerGoesOff
        } else if let Some(rule) = self.rules.iter().position(|rule| (rule.fits)(op)) {
            Denial::Fault(self.fire(rule))
        } else {
            return Ok(());
        };
        self.fired += 1;
        Err(denial)
    }

    /// Whether the power does not outlast this operation.
    pub(super) fn ends_with(&self, op: &Op) -> bool {
        self.off || self.off_at.is_some_and(|number| op.number >= number)
    }

    fn fire(&mut self, rule: usize) -> Fault {
        match self.rules.get(rule) {
            Some(Rule { fault, repeat: Repeat::Forever, .. }) => *fault,
            _ => self.rules.remove(rule).fault,
        }
    }

    pub(super) fn inject(
        &mut self,
        fits: impl Fn(&Op) -> bool + Send + Sync + 'static,
        fault: Fault,
        repeat: Repeat,
    ) {
        self.rules.push(Rule { fits: Box::new(fits), fault, repeat });
    }

    pub(super) fn clear_rules(&mut self) {
        self.rules.clear();
    }

    pub(super) fn power_off_at(&mut self, number: u64) {
        self.off_at = Some(number);
    }

    pub(super) fn power_off(&mut self) {
        self.off = true;
    }

    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    /// Counts a fault that was not decided here.
    pub(super) fn count_fired(&mut self) {
        self.fired += 1;
    }

    pub(super) fn fired(&self) -> u64 {
        self.fired
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn log(&self) -> &[Op] {
        &self.log
    }

    pub(super) fn clear_log(&mut self) {
        self.log.clear();
    }
}
