//! A disk whose reads wait at a gate, so that a test says how long one takes.

use std::io;
use std::path::Path;

use brooklet::testing::{Access, DirEntry, Env, File, Fs, Lock};
use parking_lot::{Condvar, Mutex};

use super::Arc;

/// The gate that all reads of files go through.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_shut: bool,
    waiting: usize,
}

impl Gate {
    pub(super) fn shut(&self) {
        self.state.lock().is_shut = true;
    }

    pub(super) fn open(&self) {
        self.state.lock().is_shut = false;
        self.moved.notify_all();
    }

    /// Blocks until so many reads stand at the gate.
    pub(super) fn wait_for(&self, count: usize) {
        let mut state = self.state.lock();
        self.moved.wait_while(&mut state, |state| state.waiting < count);
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.moved.notify_all();
        self.moved.wait_while(&mut state, |state| state.is_shut);
        state.waiting -= 1;
    }
}

/// The same world with a gate before its reads.
pub(super) fn gated(env: Env) -> (Env, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let fs = Arc::new(GatedFs { fs: Arc::clone(&env.fs), gate: Arc::clone(&gate) });
    (Env { fs, ..env }, gate)
}

#[derive(Debug)]
struct GatedFs {
    fs: Arc<dyn Fs>,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl GatedFs {
    fn gated(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(GatedFile { file, gate: Arc::clone(&self.gate) })
    }
}

impl Fs for GatedFs {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.fs.create_new(path).map(|file| self.gated(file))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        self.fs.open(path, access).map(|file| self.gated(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.fs.read_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.fs.lock(path)
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        self.fs.available_space(path)
    }
}

impl File for GatedFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.gate.pass();
        self.file.read_at(buf, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn drop_cache(&self) {
        self.file.drop_cache();
    }
}
