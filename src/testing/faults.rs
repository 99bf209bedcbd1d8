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
    /// A dead letter is written.
    DeadLetter,
    /// A topic is made, changed or deleted.
    Catalog,
}

impl Step {
    /// The journal or folder whose files it touches, and how.
    fn place(self) -> (&'static str, OpKind) {
        match self {
            Self::Append | Self::DeadLetter => ("topics", OpKind::Write),
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

    /// Only for this topic, or dead letters about its records; by default for all.
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
        if self.step == Step::DeadLetter {
            let topic = self.topic.as_deref();
            let is_for_letters = self.log.letter_folders(topic)?;
            let fits =
                move |op: &Op| op.kind == kind && is_inside(&op.path, &under, &is_for_letters);
            self.disk.fail_when(fits, fault, repeat);
            return Ok(());
        }
        if let Some(topic) = &self.topic {
            under.push(self.log.topic_folder(topic)?);
        }
        let fits = move |op: &Op| op.kind == kind && op.path.starts_with(&under);
        self.disk.fail_when(fits, fault, repeat);
        Ok(())
    }
}

/// Whether `path` lies in a folder below `folder` that is as asked for.
fn is_inside(path: &Path, folder: &Path, is_asked_for: &dyn Fn(&str) -> bool) -> bool {
    let Ok(rest) = path.strip_prefix(folder) else { return false };
    let topic = rest.iter().next().and_then(|topic| topic.to_str());
    topic.is_some_and(is_asked_for)
}
