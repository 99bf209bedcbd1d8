//! Files as growable memory, for logs that need not outlive the process.
//!
//! Others may rely on this: reads and writes of different files share no lock; a file that was only
//! made long costs no memory; an open handle goes on reading a file whose name is gone. Nothing is
//! durable, so every sync succeeds at once.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::chance::ProcessEntropy;
use super::clock::SystemClock;
use super::pages::{Pages, checked_end};
use super::threads::NoThreads;
use super::{Access, DirEntry, EntryKind, Env, File, Fs, Lock};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Rank, ranked};

/// A new, empty world in memory: the system's clocks, no threads.
#[must_use]
pub fn env() -> Env {
    Env {
        fs: Arc::new(MemoryFs::new()),
        clock: Arc::new(SystemClock::new()),
        spawn: Arc::new(NoThreads),
        entropy: Arc::new(ProcessEntropy::default()),
    }
}

/// A file system in memory.
///
/// The directories `/` and the empty path exist from the start; a path with `..` is refused.
///
/// **Invariants**: every directory but those two has an entry in its parent, and every entry of
/// kind directory has its own list.
#[derive(Debug)]
struct MemoryFs {
    directories: Mutex<HashMap<PathBuf, Entries>>,
}

type Entries = BTreeMap<OsString, Node>;

#[derive(Clone, Debug)]
enum Node {
    File(Arc<Data>),
    Directory,
}

#[derive(Debug)]
struct Data {
    bytes: Mutex<Pages>,
    locked: AtomicBool,
}

impl Default for Data {
    fn default() -> Self {
        Self { bytes: ranked(Rank::World, Pages::default()), locked: AtomicBool::default() }
    }
}

impl MemoryFs {
    fn new() -> Self {
        let roots = ["", "/"].map(|root| (PathBuf::from(root), Entries::new()));
        Self { directories: ranked(Rank::World, HashMap::from(roots)) }
    }
}

impl Fs for MemoryFs {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut directories = self.directories.lock();
        let (entries, name) = siblings(&mut directories, path)?;
        if entries.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let data = Arc::new(Data::default());
        entries.insert(name.to_owned(), Node::File(Arc::clone(&data)));
        Ok(Arc::new(MemoryFile { data, access: Access::ReadWrite }))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut directories = self.directories.lock();
        if directories.contains_key(path) {
            return Err(not_a_file());
        }
        let (entries, name) = siblings(&mut directories, path)?;
        match entries.get(name) {
            Some(Node::File(data)) => Ok(Arc::new(MemoryFile { data: Arc::clone(data), access })),
            Some(Node::Directory) => Err(not_a_file()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from.parent() != to.parent() {
            return Err(invalid("a rename stays within one directory"));
        }
        let mut directories = self.directories.lock();
        let target = siblings(&mut directories, to)?.1;
        let (entries, name) = siblings(&mut directories, from)?;
        let node = match entries.get(name) {
            Some(Node::File(data)) => Node::File(Arc::clone(data)),
            Some(Node::Directory) => return Err(invalid("directories are not renamed")),
            None => return Err(ErrorKind::NotFound.into()),
        };
        if matches!(entries.get(target), Some(Node::Directory)) {
            return Err(ErrorKind::IsADirectory.into());
        }
        entries.remove(name);
        entries.insert(target.to_owned(), node);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut directories = self.directories.lock();
        let (entries, name) = siblings(&mut directories, path)?;
        match entries.get(name) {
            Some(Node::File(_)) => entries.remove(name),
            Some(Node::Directory) => return Err(ErrorKind::IsADirectory.into()),
            None => return Err(ErrorKind::NotFound.into()),
        };
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut directories = self.directories.lock();
        if directories.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (entries, name) = siblings(&mut directories, path)?;
        if entries.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        entries.insert(name.to_owned(), Node::Directory);
        directories.insert(path.to_owned(), Entries::new());
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut directories = self.directories.lock();
        let name = siblings(&mut directories, path)?.1;
        match directories.get(path) {
            Some(entries) if !entries.is_empty() => Err(ErrorKind::DirectoryNotEmpty.into()),
            Some(_) => {
                directories.remove(path);
                siblings(&mut directories, path)?.0.remove(name);
                Ok(())
            }
            None => Err(no_directory(&directories, path)),
        }
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let directories = self.directories.lock();
        let Some(entries) = directories.get(path) else {
            return Err(no_directory(&directories, path));
        };
        let described = entries.iter().map(|(name, node)| DirEntry {
            name: name.to_string_lossy().into_owned(),
            kind: match node {
                Node::File(_) => EntryKind::File,
                Node::Directory => EntryKind::Directory,
            },
        });
        Ok(described.collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let directories = self.directories.lock();
        if directories.contains_key(path) { Ok(()) } else { Err(no_directory(&directories, path)) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut directories = self.directories.lock();
        let (entries, name) = siblings(&mut directories, path)?;
        let node = entries.entry(name.to_owned()).or_insert_with(|| Node::File(Arc::default()));
        let Node::File(data) = node else { return Err(not_a_file()) };
        if data.locked.swap(true, Ordering::Acquire) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock { data: Arc::clone(data) }))
    }

    /// Memory has no limit that could be asked for: this is as good as endless.
    fn available_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX / 2)
    }
}

#[derive(Debug)]
struct MemoryFile {
    data: Arc<Data>,
    access: Access,
}

impl MemoryFile {
    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::Read => {
                Err(io::Error::new(ErrorKind::PermissionDenied, "opened for reading only"))
            }
        }
    }
}

impl File for MemoryFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        Ok(self.data.bytes.lock().read(buf, position))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.check_writable()?;
        checked_end(position, bytes.len())?;
        self.data.bytes.lock().write(bytes, position);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        checked_end(len, 0)?;
        self.data.bytes.lock().set_len(len);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        checked_end(len, 0)?;
        let mut bytes = self.data.bytes.lock();
        let grown = bytes.len().max(len);
        bytes.set_len(grown);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.data.bytes.lock().len())
    }

    fn drop_cache(&self) {}
}

#[derive(Debug)]
struct MemoryLock {
    data: Arc<Data>,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.data.locked.store(false, Ordering::Release);
    }
}

/// The entries of the directory that `path` stands in, and its name there.
fn siblings<'a, 'b>(
    directories: &'a mut HashMap<PathBuf, Entries>,
    path: &'b Path,
) -> io::Result<(&'a mut Entries, &'b OsStr)> {
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(invalid("a path may not contain `..`"));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(invalid("the path names no entry of a directory"));
    };
    // Looked up twice because the error needs the whole map that the entries would borrow.
    if !directories.contains_key(parent) {
        return Err(no_directory(directories, parent));
    }
    directories.get_mut(parent).map(|entries| (entries, name)).ok_or(ErrorKind::NotFound.into())
}

/// Why there is no directory: nothing is there, or a file stands in the way.
fn no_directory(directories: &HashMap<PathBuf, Entries>, path: &Path) -> io::Error {
    let blocked = path.ancestors().any(|part| {
        let entries = part.parent().and_then(|parent| directories.get(parent));
        let node = entries.zip(part.file_name()).and_then(|(entries, name)| entries.get(name));
        matches!(node, Some(Node::File(_)))
    });
    if blocked { ErrorKind::NotADirectory.into() } else { ErrorKind::NotFound.into() }
}

fn not_a_file() -> io::Error {
    invalid("not a regular file")
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}
