//! Who runs background work: the system's threads, or nobody.

use std::io;
use std::thread;

use super::{Join, Spawn};

/// The threads of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Threads;

impl Spawn for Threads {
    fn can_spawn(&self) -> bool {
        true
    }

    fn waits_to_be_told(&self) -> bool {
        false
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Join>> {
        // The builder panics on such a name; here every refusal is an error.
        if name.contains('\0') {
            let message = "a thread name cannot contain a zero byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let handle = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Box::new(Running { handle }))
    }
}

#[derive(Debug)]
struct Running {
    handle: thread::JoinHandle<()>,
}

impl Join for Running {
    fn join(self: Box<Self>) {
        // A thread that closes the log it serves must not wait for itself.
        if self.handle.thread().id() == thread::current().id() {
            return;
        }
        // A panic in background work has been printed by its own thread; what matters to the one
        // who waits is that the thread has ended, and it has.
        drop(self.handle.join());
    }
}

/// A world without threads: callers do the work inline.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoThreads;

impl Spawn for NoThreads {
    fn can_spawn(&self) -> bool {
        false
    }

    fn waits_to_be_told(&self) -> bool {
        false
    }

    fn spawn(&self, _name: &str, _work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Join>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this environment has no threads"))
    }
}

/// A world without threads, in which background work waits until the log is told to do it.
#[cfg(feature = "testing")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WhenTold;

#[cfg(feature = "testing")]
impl Spawn for WhenTold {
    fn can_spawn(&self) -> bool {
        false
    }

    fn waits_to_be_told(&self) -> bool {
        true
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Join>> {
        NoThreads.spawn(name, work)
    }
}
