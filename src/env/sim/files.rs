//! The simulated disk as the log sees it: the traits of the world.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::fault::{Denial, Fault, OpKind};
use super::inode::{Change, Node, NodeId};
use super::state::{Shared, State};
use crate::env::pages::checked_end;
use crate::env::{Access, DirEntry, EntryKind, File, Fs, Lock};
use crate::sync::{Arc, AtomicU64, Ordering};

/// The file system of a simulated disk.
#[derive(Debug)]
pub(super) struct SimFs {
    pub(super) shared: Arc<Shared>,
}

impl SimFs {
    fn handle(
        &self,
        state: &mut State,
        id: NodeId,
        (path, access): (&Path, Access),
    ) -> io::Result<Arc<dyn File>> {
        let errors = state.tree.file(id)?.errors;
        *state.open.entry(id).or_default() += 1;
        Ok(Arc::new(SimFile {
            shared: Arc::clone(&self.shared),
            id,
            path: Arc::from(path),
            access,
            reported: AtomicU64::new(errors),
        }))
    }
}

impl Fs for SimFs {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.shared.at(OpKind::CreateNew, path, |state, inside| {
            let id = state.tree.create_file(inside)?;
            self.handle(state, id, (path, Access::ReadWrite))
        })
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        self.shared.at(OpKind::Open, path, |state, inside| {
            let id = state.tree.find_file(inside)?;
            self.handle(state, id, (path, access))
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.shared.at(OpKind::Rename, from, |state, inside| {
            let to = self.shared.inside(state, to)?;
            state.tree.rename(inside, to)
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.shared.at(OpKind::Remove, path, |state, inside| state.tree.remove_file(inside))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.shared
            .at(OpKind::CreateDir, path, |state, inside| state.tree.create_dir(inside).map(|_| ()))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.shared.at(OpKind::RemoveDir, path, |state, inside| state.tree.remove_dir(inside))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.shared.at(OpKind::ReadDir, path, |state, inside| {
            let tree = &state.tree;
            let entries = &tree.dir(tree.find(inside)?)?.visible;
            let described = entries.iter().map(|(name, id)| {
                let kind = match tree.node(*id)? {
                    Node::File(_) => EntryKind::File,
                    Node::Dir(_) => EntryKind::Directory,
                };
                Ok(DirEntry { name: name.to_string_lossy().into_owned(), kind })
            });
            described.collect()
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.shared.at(OpKind::SyncDir, path, |state, inside| {
            let id = state.tree.find(inside)?;
            state.tree.dir_mut(id)?.sync();
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.shared.at(OpKind::Lock, path, |state, inside| {
            let id = match state.tree.find(inside) {
                Ok(id) => state.tree.file(id).map(|_| id)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    state.tree.create_file(inside)?
                }
                Err(error) => return Err(error),
            };
            if !state.locked.insert(id) {
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(Box::new(SimLock { shared: Arc::clone(&self.shared), id }) as Box<dyn Lock>)
        })
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        self.shared
            .at(OpKind::Space, path, |state, inside| state.tree.find(inside).map(|_| state.free()))
    }
}

#[derive(Debug)]
struct SimFile {
    shared: Arc<Shared>,
    id: NodeId,
    path: Arc<Path>,
    access: Access,
    /// How many failed write-backs of this file were reported here or happened before the opening.
    reported: AtomicU64,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::Read => {
                Err(io::Error::new(ErrorKind::PermissionDenied, "opened for reading only"))
            }
        }
    }

    /// Reports what went wrong behind this descriptor's back since it last reported, once.
    fn report_write_back(&self, state: &mut State) -> io::Result<()> {
        let errors = state.tree.file(self.id)?.errors;
        if self.reported.swap(errors, Ordering::Relaxed) == errors {
            return Ok(());
        }
        state.plan.count_fired();
        Err(Fault::Eio.error())
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.shared.on(OpKind::Read, &self.path, |state| {
            Ok(state.tree.file(self.id)?.visible.read(buf, position))
        })
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let op = state.plan.number(OpKind::Write, Arc::clone(&self.path));
        if let Err(denial) = self.shared.judge(&mut state, &op) {
            if self.check_writable().is_ok() {
                state.half_happens(denial, self.id, (bytes, position))?;
            }
            return Err(denial.error());
        }
        self.check_writable()?;
        state.write(self.id, bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.shared.on(OpKind::SetLen, &self.path, |state| {
            self.check_writable()?;
            checked_end(len, 0)?;
            state.tree.change_file(self.id, Change::SetLen(len))
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.shared.on(OpKind::Allocate, &self.path, |state| {
            self.check_writable()?;
            state.allocate(self.id, len)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let op = state.plan.number(OpKind::Sync, Arc::clone(&self.path));
        // What others write while this sync waits at the gate is not covered by it.
        let covers = state.tree.sequence();
        if state.gate.held && !state.plan.ends_with(&op) {
            let opened = state.gate.opened;
            state.gate.waiting += 1;
            self.shared.gate.notify_all();
            while state.gate.opened == opened && !state.plan.is_off() {
                self.shared.gate.wait(&mut state);
            }
            state.gate.waiting -= 1;
            self.shared.gate.notify_all();
        }
        match self.shared.judge(&mut state, &op) {
            Ok(()) => {
                state.tree.file_mut(self.id)?.sync(covers);
                self.report_write_back(&mut state)
            }
            Err(denial) => {
                if let Denial::Fault(_) = denial {
                    let shows = state.failed_sync;
                    let file = state.tree.file_mut(self.id)?;
                    file.fail_write_back(covers, shows);
                    // Other descriptors of this file will hear of it at their next sync.
                    self.reported.store(file.errors, Ordering::Relaxed);
                }
                Err(denial.error())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.shared.on(OpKind::Len, &self.path, |state| {
            state.tree.file(self.id).map(|file| file.visible.len())
        })
    }

    fn drop_cache(&self) {
        if let Ok(file) = self.shared.state.lock().tree.file_mut(self.id) {
            file.drop_cache();
        }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(count) = state.open.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.id);
            }
        }
    }
}

#[derive(Debug)]
struct SimLock {
    shared: Arc<Shared>,
    id: NodeId,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.shared.state.lock().locked.remove(&self.id);
    }
}
