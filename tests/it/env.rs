//! One conformance suite for the three file systems: the disk, memory, the simulated disk.
//!
//! What the log learns on one of them must hold on the others. Every case gets a fresh directory
//! on each; a failure names the file system and the case.
#![expect(
    clippy::disallowed_methods,
    reason = "the real disk is prepared and checked behind the back of the traits"
)]

mod directories;
mod files;
mod world;

use std::io::{self, ErrorKind};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brooklet::testing::{Access, Env, File, Fs, SimDisk, disk_env, memory_env};

/// A directory to try one case in.
struct Place {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

/// A name and what must hold.
type Case = (&'static str, fn(&Place) -> io::Result<()>);

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.fs.create_new(&self.path(name))
    }

    fn create_with(&self, name: &str, bytes: &[u8]) -> io::Result<Arc<dyn File>> {
        let file = self.create(name)?;
        file.write_at(bytes, 0)?;
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.fs.open(&self.path(name), Access::ReadWrite)
    }

    fn content(&self, name: &str) -> io::Result<Vec<u8>> {
        content(self.fs.open(&self.path(name), Access::Read)?.as_ref())
    }

    /// The names in a directory, sorted.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names: Vec<_> =
            self.fs.read_dir(dir)?.into_iter().map(|entry| entry.name).collect();
        names.sort();
        Ok(names)
    }
}

/// All bytes of an open file, which must be as many as it says.
fn content(file: &dyn File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?).unwrap();
    let mut bytes = vec![0xEE; len + 1];
    assert_eq!(file.read_at(&mut bytes, 0)?, len, "length and readable bytes differ");
    bytes.truncate(len);
    Ok(bytes)
}

/// The kind of the error that must have come.
fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("must fail"),
        Err(error) => error.kind(),
    }
}

/// Runs every case on a file system, in directories below `root`.
fn conforms(name: &str, env: &Env, root: &Path) {
    let mut failed = Vec::new();
    let cases = || files::CASES.iter().chain(directories::CASES);
    for (case, run) in cases() {
        let place = Place { fs: Arc::clone(&env.fs), dir: root.join(case.replace(' ', "-")) };
        place.fs.create_dir(&place.dir).unwrap();
        match panic::catch_unwind(AssertUnwindSafe(|| run(&place))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{name}: {case}: {error:?}")),
            Err(_) => failed.push(format!("{name}: {case}: see the panic above")),
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases().count(), failed.join("\n"));
}

/// Breaks if the real disk behaves in a way that the log was not tried with.
#[test]
fn the_disk_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conforms("disk", &disk_env(), directory.path());
}

/// Breaks if a log in memory runs on other rules than a log on disk.
#[test]
fn memory_conforms() {
    conforms("memory", &memory_env(), Path::new("/"));
}

/// Breaks if the simulated disk is not like a disk, so that tests on it prove nothing.
#[test]
fn the_simulated_disk_conforms() {
    let disk = SimDisk::new(1);
    conforms("sim", &disk.env(), disk.root());
    assert_eq!(disk.escapes(), 0);
    assert!(disk.ops() > 200);
}
