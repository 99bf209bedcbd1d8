//! The world: the only door to files, clocks, threads and chance.
//!
//! Everything above this floor reaches the outside through an [`Env`], a bundle of trait objects.
//! A log on a real disk, a log in memory and a log on the simulated disk therefore run the very
//! same code.
//!
//! Implementations may rely on this: a file has one writer at a time, every position and length
//! that reaches them was bounded before, and paths never leave the directory that the log was
//! opened in.
//! Callers may rely on this: a successful [`File::sync_data`] covers all bytes and the length
//! written through that handle before the call; a directory entry is durable only after
//! [`Fs::sync_dir`] of its directory.
#![cfg_attr(
    not(feature = "testing"),
    allow(unreachable_pub, reason = "public only through `testing`, which this build leaves out")
)]

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod chance;
mod clock;
#[cfg(feature = "testing")]
pub(crate) mod manual;
mod pages;
mod threads;

pub(crate) mod disk;
pub(crate) mod memory;
#[cfg(feature = "testing")]
pub(crate) mod sim;

/// One outside world, bundled: files, clocks, threads and chance.
#[derive(Clone, Debug)]
pub struct Env {
    /// Where files live.
    pub fs: Arc<dyn Fs>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who runs background work.
    pub spawn: Arc<dyn Spawn>,
    /// Where random numbers come from.
    pub entropy: Arc<dyn Entropy>,
}

/// The file operations that the log uses, and no others.
pub trait Fs: Debug + Send + Sync {
    /// Creates a regular file and opens it for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` if anything stands at `path`; otherwise what the system says.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing regular file, without following a final symbolic link.
    ///
    /// # Errors
    /// `NotFound` if nothing is there, `InvalidInput` if it is not a regular file; otherwise what
    /// the system says.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name in the same directory, replacing the file that stood there.
    ///
    /// One directory, so that one [`sync_dir`](Self::sync_dir) makes the step durable; directories
    /// themselves are not renamed.
    ///
    /// # Errors
    /// `InvalidInput` if the directories differ; otherwise what the system says; the old name then
    /// still stands.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name; open handles go on reading it.
    ///
    /// # Errors
    /// `NotFound` if nothing is there; otherwise what the system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Creates one directory whose parent exists.
    ///
    /// # Errors
    /// `AlreadyExists` if anything stands at `path`; otherwise what the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `DirectoryNotEmpty`, `NotFound`; otherwise what the system says.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists a directory, in no particular order.
    ///
    /// # Errors
    /// `NotFound` if nothing is there; otherwise what the system says.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes the entries of a directory durable: creations, renames and removals before this call.
    ///
    /// # Errors
    /// What the system says; the entries may then be durable or not.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of a file, creating the file if needed.
    ///
    /// It is held until the guard is dropped. The file is a lock and nothing else: its content is
    /// never read.
    ///
    /// # Errors
    /// `WouldBlock` if another handle, in this process or another, holds it; `InvalidInput` if it
    /// is not a regular file; otherwise what the system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// How many bytes can still be written to the file system that holds `path`.
    ///
    /// # Errors
    /// What the system says.
    fn available_space(&self, path: &Path) -> io::Result<u64>;
}

/// One open file, read and written at explicit positions.
#[expect(clippy::len_without_is_empty, reason = "the length is a question to the system")]
pub trait File: Debug + Send + Sync {
    /// Reads into `buf` from byte `position`.
    ///
    /// Fewer bytes than asked means that the file ends there.
    ///
    /// # Errors
    /// What the system says; interrupted and short system calls are gone on with inside.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at byte `position`, growing the file as needed.
    ///
    /// # Errors
    /// What the system says; a part of the bytes may then have been written.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file to `len` bytes.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves room for `len` bytes from the start.
    ///
    /// Writing below `len` then needs no more space. The file is at least `len` bytes long
    /// afterwards; what was not written reads as zeros.
    ///
    /// # Errors
    /// `StorageFull` if there is no room, `Unsupported` if the file system reserves none; otherwise
    /// what the system says.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes all bytes and the length of the file durable.
    ///
    /// # Errors
    /// What the system says. Nothing about the unsynced bytes of this file can be trusted
    /// afterwards.
    fn sync_data(&self) -> io::Result<()>;

    /// How many bytes the file has.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Asks the system to forget cached pages of this file, as far as it can.
    fn drop_cache(&self);
}

/// A held lock; dropping it releases the lock.
pub trait Lock: Debug + Send + Sync {}

/// The two clocks. They are separate, and neither is ever trusted for order.
pub trait Clock: Debug + Send + Sync {
    /// Wall clock: milliseconds since 1970-01-01 00:00 UTC; may jump either way.
    fn wall_millis(&self) -> i64;

    /// Time since some fixed point; never goes backward.
    fn monotonic(&self) -> Duration;

    /// Whether time moves only when a test moves it. Nothing may then park for time to pass.
    fn is_manual(&self) -> bool;
}

/// Starts background threads, where this world has any.
pub trait Spawn: Debug + Send + Sync {
    /// Whether [`spawn`](Self::spawn) works; where it does not, callers do the work inline.
    fn can_spawn(&self) -> bool;

    /// Whether background work waits until the log is told to do it, where there are no threads.
    ///
    /// Otherwise it is done inline, by whoever asks for it.
    fn waits_to_be_told(&self) -> bool;

    /// Runs `work` on a new thread named `name`.
    ///
    /// # Errors
    /// `Unsupported` if this world has no threads; otherwise what the system says.
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Join>>;
}

/// A running background thread.
pub trait Join: Debug + Send + Sync {
    /// Waits until the thread has ended. Called from that very thread it returns at once.
    fn join(self: Box<Self>);
}

/// A source of random numbers; not for secrets.
pub trait Entropy: Debug + Send + Sync {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The entry's name inside its directory; lossily decoded where it is not UTF-8.
    pub name: String,
    /// What it is, without following links.
    pub kind: EntryKind,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a link, a pipe, a device, a socket.
    Other,
}
