//! The simulated disk itself: that it loses, refuses and hides exactly what it says.

mod crash;
mod edits;
mod faults;
mod syncs;

use std::path::PathBuf;
use std::sync::Arc;

use brooklet::testing::{Access, File, Fs, SimDisk};

/// A disk and its file system.
struct Sim {
    disk: SimDisk,
    fs: Arc<dyn Fs>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        Self::on(SimDisk::new(seed))
    }

    fn on(disk: SimDisk) -> Self {
        let fs = disk.env().fs;
        Self { disk, fs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.root().join(name)
    }

    fn create(&self, name: &str) -> Arc<dyn File> {
        self.fs.create_new(&self.path(name)).unwrap()
    }

    fn open(&self, name: &str) -> Arc<dyn File> {
        self.fs.open(&self.path(name), Access::ReadWrite).unwrap()
    }

    fn sync_root(&self) {
        self.fs.sync_dir(self.disk.root()).unwrap();
    }

    /// A file whose content and name are durable.
    fn durable(&self, name: &str, bytes: &[u8]) -> Arc<dyn File> {
        let file = self.create(name);
        file.write_at(bytes, 0).unwrap();
        file.sync_data().unwrap();
        self.sync_root();
        file
    }

    fn rename(&self, from: &str, to: &str) {
        self.fs.rename(&self.path(from), &self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        self.fs.remove_file(&self.path(name)).unwrap();
    }
}

/// What a disk holds: names below the root, and bytes.
fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let below = |path: PathBuf| path.strip_prefix(disk.root()).unwrap().display().to_string();
    disk.snapshot().into_iter().map(|(path, bytes)| (below(path), bytes)).collect()
}

fn has(disk: &SimDisk, expected: &[(&str, &[u8])]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    assert_eq!(contents(disk), expected);
}
