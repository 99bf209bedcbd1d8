//! The real world: files of the operating system.
//!
//! A thin face over `std::fs`. The crate fs2 does what std does not: the lock on the directory,
//! reserving space, and free space. Its methods are called by their full path, because std has
//! grown methods of the same names.
//!
//! Others may rely on this: no open follows a final symbolic link, waits for the other end of a
//! pipe, or hands out anything but a regular file; nothing below the directory of the log is
//! reached through a link; descriptors are not inherited by child processes; interrupted and short
//! system calls are gone on with.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this file is the door to the real file system"
)]

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chance::ProcessEntropy;
use super::clock::SystemClock;
use super::threads::Threads;
use super::{Access, DirEntry, EntryKind, Env, File, Fs, Lock};

/// The real world: this machine's files, clocks and threads.
#[cfg(feature = "testing")]
#[must_use]
pub fn env() -> Env {
    with(DiskFs { root: None })
}

/// The real world, where no link below `root` leads anywhere; `root` itself may be reached by links.
pub(crate) fn env_within(root: &Path) -> Env {
    with(DiskFs { root: Some(root.to_owned()) })
}

fn with(fs: DiskFs) -> Env {
    Env {
        fs: Arc::new(fs),
        clock: Arc::new(SystemClock::new()),
        spawn: Arc::new(Threads),
        entropy: Arc::new(ProcessEntropy::default()),
    }
}

/// The file system of the operating system.
#[derive(Debug)]
struct DiskFs {
    /// Below this, directories are directories and not links to some.
    root: Option<PathBuf>,
}

impl DiskFs {
    /// Refuses a path that a link below the root would lead elsewhere, its last part aside.
    fn stay(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |parent| self.stay_in(parent))
    }

    /// The same for the path of a directory, its last part included.
    fn stay_in(&self, dir: &Path) -> io::Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        let inside = dir.ancestors().take_while(|dir| *dir != root && dir.starts_with(root));
        for dir in inside {
            if fs::symlink_metadata(dir).is_ok_and(|found| found.is_symlink()) {
                return Err(invalid("a link in place of a directory"));
            }
        }
        Ok(())
    }
}

impl Fs for DiskFs {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.stay(path)?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(DiskFile { file, path: path.to_owned() }))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        self.stay(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite);
        let file = open_regular(path, &mut options)?;
        Ok(Arc::new(DiskFile { file, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from.parent() != to.parent() {
            return Err(invalid("a rename stays within one directory"));
        }
        self.stay(from)?;
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.stay(path)?;
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.stay(path)?;
        fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.stay(path)?;
        fs::remove_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.stay_in(path)?;
        let mut entries = Vec::new();
        for entry in uninterrupted(|| fs::read_dir(path))? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) if kind.is_file() => EntryKind::File,
                Ok(kind) if kind.is_dir() => EntryKind::Directory,
                Ok(_) => EntryKind::Other,
                // Removed by another process between the listing and this look.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.push(DirEntry { name: entry.file_name().to_string_lossy().into_owned(), kind });
        }
        Ok(entries)
    }

    #[cfg(not(windows))]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.stay_in(path)?;
        open_dir(path)?.sync_all()
    }

    /// Windows has no flush of a directory; NTFS journals its entries.
    #[cfg(windows)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::metadata(path).map(|_| ())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = open_regular(path, &mut options)?;
        match fs2::FileExt::try_lock_exclusive(&file) {
            Ok(()) => Ok(Box::new(DiskLock { file })),
            Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
                Err(io::Error::new(ErrorKind::WouldBlock, error))
            }
            Err(error) => Err(error),
        }
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        fs2::available_space(path)
    }
}

#[derive(Debug)]
struct DiskFile {
    file: fs::File,
    path: PathBuf,
}

impl File for DiskFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match read_once(&self.file, rest, position.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match write_once(&self.file, rest, position.saturating_add(done as u64)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        // The system call refuses to reserve nothing.
        if len == 0 {
            return Ok(());
        }
        let before = self.len()?;
        // The second try is for a call that a signal interrupted, which cannot be told apart here.
        let refused = match self.allocate_once(len) {
            Ok(()) => return Ok(()),
            Err(error) if is_telling(&error) => error,
            Err(_) if self.has_room(len)? => match self.allocate_once(len) {
                Ok(()) => return Ok(()),
                Err(error) if is_telling(&error) => error,
                Err(_) => unsupported(),
            },
            Err(_) => io::Error::new(ErrorKind::StorageFull, "no room left to reserve"),
        };
        // What was reserved before the end of the room is given back.
        if self.len()? > before {
            self.file.set_len(before)?;
        }
        Err(refused)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Does nothing.
    ///
    /// The advice to the kernel would be an `unsafe` call, and this crate has none.
    fn drop_cache(&self) {}
}

impl DiskFile {
    fn allocate_once(&self, len: u64) -> io::Result<()> {
        fs2::FileExt::allocate(&self.file, len)?;
        if self.len()? < len {
            return Err(unsupported());
        }
        Ok(())
    }

    /// Whether the disk has room for what `len` bytes need beyond the blocks already given.
    fn has_room(&self, len: u64) -> io::Result<bool> {
        let missing = len.saturating_sub(stored_bytes(&self.file.metadata()?));
        Ok(fs2::available_space(&self.path)? >= missing)
    }
}

/// Whether an error of fs2's `allocate` can be believed.
///
/// It calls `posix_fallocate`, which returns its error, but reports `errno`, which that function
/// does not set: the code is 0 or left over from an earlier call. Only kinds that an earlier call
/// can hardly have left are taken at their word.
fn is_telling(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::Unsupported
    )
}

fn unsupported() -> io::Error {
    io::Error::new(ErrorKind::Unsupported, "the file system reserves no room")
}

/// How much of the disk a file takes; holes take nothing.
#[cfg(unix)]
fn stored_bytes(metadata: &fs::Metadata) -> u64 {
    // POSIX leaves the unit open; it is 512 bytes everywhere this compiles.
    std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512)
}

#[cfg(not(unix))]
fn stored_bytes(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

#[derive(Debug)]
struct DiskLock {
    file: fs::File,
}

impl Lock for DiskLock {}

impl Drop for DiskLock {
    fn drop(&mut self) {
        // Closing releases the lock too, unless a child process was forked meanwhile: its copy of
        // the descriptor would hold the lock on. There is nobody to tell if this fails.
        drop(fs2::FileExt::unlock(&self.file));
    }
}

/// Opens what stands at `path` if it is a regular file and no link.
fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<fs::File> {
    if !never_follow_nor_wait(options) && is_something_else(path) {
        return Err(invalid("not a regular file"));
    }
    match options.open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(invalid("not a regular file")),
        // Systems refuse links, directories and sockets each with another code.
        Err(_) if is_something_else(path) => Err(invalid("not a regular file")),
        Err(error) => Err(error),
    }
}

/// Opens a directory, which may be reached through links, and nothing else.
#[cfg(not(windows))]
fn open_dir(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    // A pipe is looked at before it could be waited for.
    if !never_wait(&mut options) && !fs::metadata(path)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let dir = options.read(true).open(path)?;
    if dir.metadata()?.is_dir() { Ok(dir) } else { Err(ErrorKind::NotADirectory.into()) }
}

/// Asks again for as long as signals get in the way.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn is_something_else(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_file())
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}

/// Asks for opens that refuse links and never wait for a pipe.
///
/// False where the flags that do so are unknown.
#[cfg(unix)]
fn never_follow_nor_wait(options: &mut OpenOptions) -> bool {
    use std::os::unix::fs::OpenOptionsExt;

    if let Some((no_follow, no_wait)) = NO_FOLLOW_NO_WAIT {
        options.custom_flags(no_follow | no_wait);
    }
    NO_FOLLOW_NO_WAIT.is_some()
}

#[cfg(not(unix))]
fn never_follow_nor_wait(_options: &mut OpenOptions) -> bool {
    false
}

/// Asks for opens that follow links, and never wait for a pipe; false where the flag is unknown.
#[cfg(unix)]
fn never_wait(options: &mut OpenOptions) -> bool {
    use std::os::unix::fs::OpenOptionsExt;

    if let Some((_, no_wait)) = NO_FOLLOW_NO_WAIT {
        options.custom_flags(no_wait);
    }
    NO_FOLLOW_NO_WAIT.is_some()
}

#[cfg(not(any(unix, windows)))]
fn never_wait(_options: &mut OpenOptions) -> bool {
    false
}

/// `O_NOFOLLOW` and `O_NONBLOCK`; std itself adds `O_CLOEXEC`.
///
/// Linux: `include/uapi/asm-generic/fcntl.h`, and `asm/fcntl.h` of ARM and PowerPC, which have an
/// `O_NOFOLLOW` of their own. Apple and FreeBSD: `sys/fcntl.h`.
#[cfg(unix)]
const NO_FOLLOW_NO_WAIT: Option<(i32, i32)> = {
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    let generic = cfg!(any(
        target_arch = "x86",
        target_arch = "x86_64",
        target_arch = "riscv32",
        target_arch = "riscv64",
        target_arch = "s390x",
        target_arch = "loongarch64"
    ));
    let own = cfg!(any(
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "powerpc",
        target_arch = "powerpc64"
    ));
    if linux && generic {
        Some((0o400_000, 0o4_000))
    } else if linux && own {
        Some((0o100_000, 0o4_000))
    } else if cfg!(any(target_vendor = "apple", target_os = "freebsd")) {
        Some((0x0100, 0x0004))
    } else {
        None
    }
};

#[cfg(unix)]
fn read_once(file: &fs::File, buf: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, position)
}

#[cfg(unix)]
fn write_once(file: &fs::File, bytes: &[u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, position)
}

#[cfg(windows)]
fn read_once(file: &fs::File, buf: &mut [u8], position: u64) -> io::Result<usize> {
    match std::os::windows::fs::FileExt::seek_read(file, buf, position) {
        // Windows reports the end of the file (ERROR_HANDLE_EOF) as an error.
        Err(error) if error.raw_os_error() == Some(38) => Ok(0),
        read => read,
    }
}

#[cfg(windows)]
fn write_once(file: &fs::File, bytes: &[u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, position)
}
