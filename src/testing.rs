//! Test doubles for the world: a simulated disk, a manual clock, files in memory.
//!
//! [`TestBus`] is for the tests of programs that use the log: the production log and the production
//! workers, without files or threads, with a clock that is moved by hand, faults and crashes.
//!
//! A log reaches files, time, threads and chance only through an [`Env`]. This module offers the
//! environments there are, the traits to write another one, and the instruments to break them:
//!
//! * [`disk_env`]: the real world;
//! * [`memory_env`]: files in memory, nothing durable;
//! * [`SimDisk`]: a disk that knows what is durable, and can lose power, fail any operation, fill
//!   up, lie about a sync, hold syncs at a gate, and be damaged while nobody looks. The same seed
//!   and the same calls give the same bytes.
//!
//! [`checker`] judges what a log did against what it promises.
//!
//! # Examples
//! A file that was synced in a directory that was not is lost with the power:
//! ```
//! use brooklet::testing::{CrashPolicy, SimDisk};
//!
//! let disk = SimDisk::new(7);
//! let fs = disk.env().fs;
//! let file = fs.create_new(&disk.root().join("kept"))?;
//! file.write_at(b"hello", 0)?;
//! file.sync_data()?;
//! fs.sync_dir(disk.root())?;
//! let file = fs.create_new(&disk.root().join("lost"))?;
//! file.write_at(b"world", 0)?;
//! file.sync_data()?;
//!
//! let after = disk.crash(CrashPolicy::LoseAll, 1);
//! assert_eq!(after.files(), [after.root().join("kept")]);
//! assert_eq!(after.read_file("kept")?, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```

mod bus;
pub mod checker;
mod crew;
mod faults;
mod letters;
mod options;
mod probe;

use std::path::Path;
use std::time::Duration;

use crate::config::LogOptions;
use crate::error::Error;
use crate::log::Log;
use crate::log::repair::RepairPlan;
use crate::report::verification::Verification;

pub use self::bus::{TestBus, wait_for};
pub use self::crew::Settled;
pub use self::faults::{Failing, Step};
pub use self::letters::LettersProbe;
pub use self::options::BusOptions;
pub use self::probe::{GroupProbe, TopicProbe};
pub use crate::env::disk::env as disk_env;
pub use crate::env::manual::ManualClock;
pub use crate::env::memory::env as memory_env;
pub use crate::env::sim::{CrashPolicy, FailedSync, Fault, Op, OpKind, Repeat, SimDisk};
pub use crate::env::{
    Access, Clock, DirEntry, Entropy, EntryKind, Env, File, Fs, Join, Lock, Spawn,
};

/// Checks a directory in a world of the caller's choice, as [`Log::verify_dir`] does on a disk.
///
/// # Errors
/// As for [`Log::verify_dir`].
pub fn verify(env: &Env, dir: impl AsRef<Path>) -> Result<Verification, Error> {
    Log::verify_in(env, dir.as_ref())
}

/// Plans a repair in a world of the caller's choice, as [`LogOptions::repair`] does on a disk.
///
/// # Errors
/// As for [`LogOptions::repair`].
pub fn repair(env: &Env, dir: impl AsRef<Path>) -> Result<RepairPlan, Error> {
    RepairPlan::make(env, dir.as_ref(), Duration::ZERO)
}

/// Opens a log in a world of the caller's choice.
///
/// # Errors
/// As for [`Log::open`], and `InvalidConfig`.
///
/// # Examples
/// ```
/// use brooklet::testing::{SimDisk, open};
/// use brooklet::LogOptions;
///
/// let disk = SimDisk::new(7);
/// let log = open(&disk.env(), disk.root().join("log"), LogOptions::new())?;
/// log.close()?;
/// # Ok::<(), brooklet::Error>(())
/// ```
pub fn open(env: &Env, dir: impl AsRef<Path>, options: LogOptions) -> Result<Log, Error> {
    Log::open_in(env, dir.as_ref(), options)
}
