//! A worker from outside: how it is doing, and when it shall rest.

use std::fmt;

use crate::error::Error;
use crate::sync::Arc;

use super::engine::Engine;
use super::status::{Status, nothing_of};

/// A handle to a worker, whoever runs it. Clones are handles to the same worker.
///
/// It does not keep the worker going, and can be asked before the worker is started and after it
/// has ended. Like any other handle it keeps the log open.
#[derive(Clone)]
pub struct Control {
    engine: Result<Arc<Engine>, Error>,
}

impl Control {
    pub(super) fn new(engine: Result<Arc<Engine>, Error>) -> Self {
        Self { engine }
    }

    /// How the worker is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.engine {
            Ok(engine) => engine.status(),
            Err(error) => nothing_of(error.clone()),
        }
    }

    /// Begins no record until it is resumed; what was begun is finished and committed.
    pub fn pause(&self) {
        if let Ok(engine) = &self.engine {
            engine.set_paused(true);
        }
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        if let Ok(engine) = &self.engine {
            engine.set_paused(false);
        }
    }

    /// Begins nothing more; the worker ends when what was begun is finished and committed.
    ///
    /// Nobody waits for that here: [`Running::stop`](super::Running::stop) does, and the future of
    /// [`ReadyWorker::run`](super::ReadyWorker::run) is ready then.
    pub fn stop(&self) {
        if let Ok(engine) = &self.engine {
            engine.stop();
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("status", &self.status()).finish()
    }
}
