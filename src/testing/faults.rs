//! Making a step of the log fail, in the words of its users.

use std::path::{Path, PathBuf};

use crate::env::sim::{Fault, Op, OpKind, Repeat, SimDisk};
use crate::error::Error;
use crate::log::Log;

/// A step of the log that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Records are written to a partition.
    Append,
    /// Records are synced.
    Sync,
    /// Records are read from a file; what memory still has is read without it.
    Read,
    /// A committed offset is written.
    Commit,
    /// A topic is made, changed or deleted.
    Catalog,
}

impl Step {
    /// The journal or folder whose files it touches, and how.
    fn place(self) -> (&'static str, OpKind) {
        match self {
            Self::Append => ("topics", OpKind::Write),
            Self::Sync => ("topics", OpKind::Sync),
            Self::Read => ("topics", OpKind::Read),
            Self::Commit => ("offsets", OpKind::Write),
            Self::Catalog => ("catalog", OpKind::Write),
        }
    }
}

/// Says which step fails, before it is made to.
#[derive(Debug)]
#[must_use]
pub struct Failing<'a> {
    disk: &'a SimDisk,
    log: &'a Log,
    step: Step,
    topic: Option<String>,
}

impl<'a> Failing<'a> {
    pub(super) fn new(disk: &'a SimDisk, log: &'a Log, step: Step) -> Self {
        Self { disk, log, step, topic: None }
    }

    /// Only for this topic; by default for all.
    pub fn on(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// The next time.
    ///
    /// # Errors
    /// `UnknownTopic`.
    pub fn once(self, fault: Fault) -> Result<(), Error> {
        self.inject(fault, Repeat::Once)
    }

    /// Every time, until [`SimDisk::clear_faults`].
    ///
    /// # Errors
    /// `UnknownTopic`.
    pub fn always(self, fault: Fault) -> Result<(), Error> {
        self.inject(fault, Repeat::Forever)
    }

    fn inject(self, fault: Fault, repeat: Repeat) -> Result<(), Error> {
        let (folder, kind) = self.step.place();
        let mut under: PathBuf = self.disk.root().join("log").join(folder);
        if let Some(topic) = &self.topic {
            under.push(self.log.topic_folder(topic)?);
        }
        let fits = move |op: &Op| op.kind == kind && is_under(&op.path, &under);
        self.disk.fail_when(fits, fault, repeat);
        Ok(())
    }
}

fn is_under(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder)
}
