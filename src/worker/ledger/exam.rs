//! The one suspect that is looked at: first its start is marked, then it runs. Pure.

use super::run::Run;

/// How far the one suspect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its mark is not durable yet.
    Marking,
    /// It can start.
    Marked,
    /// A handler has it.
    Running,
}

/// A suspect on its way through a handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exam {
    pub(super) run: Run,
    step: Step,
}

impl Exam {
    /// A suspect whose mark is to be written.
    pub(super) fn new(run: Run) -> Self {
        Self { run, step: Step::Marking }
    }

    /// Its mark is durable.
    pub(super) fn note_marked(&mut self) {
        if self.step == Step::Marking {
            self.step = Step::Marked;
        }
    }

    /// The suspect, if it can start; it is running then.
    pub(super) fn begin(&mut self) -> Option<Run> {
        (self.step == Step::Marked).then(|| {
            self.step = Step::Running;
            self.run
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.step == Step::Running
    }
}
