//! Looking at files, and damaging them, while no log has them open.
//!
//! None of this is an operation: nothing is numbered and no fault fires. Paths are below the root,
//! or absolute and inside it. An edit first brings what it touches to rest, so that it is durable
//! and visible at once.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::SimDisk;
use super::inode::{FileNode, Node, NodeId};
use super::state::State;
use super::tree::{Tree, invalid};
use crate::env::pages::Pages;

impl SimDisk {
    /// The visible bytes of a file.
    ///
    /// # Errors
    /// As opening it would fail.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        self.look(path.as_ref(), |tree, path| {
            let id = tree.find(path)?;
            Ok(tree.file(id)?.visible.to_vec())
        })
    }

    /// Every file, in the order of their paths.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let files = self.shared.state.lock().tree.files();
        files.into_iter().map(|(path, _)| self.root().join(path)).collect()
    }

    /// Every file and its visible bytes.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.shared.state.lock();
        let files = state.tree.files().into_iter();
        let bytes = |id| state.tree.file(id).map(|file| file.visible.to_vec()).unwrap_or_default();
        files.map(|(path, id)| (self.root().join(path), bytes(id))).collect()
    }

    /// Gives a file this content, creating it in an existing directory if needed.
    ///
    /// # Errors
    /// As creating or opening it would fail.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        self.edit(path.as_ref(), |tree, path| {
            let id = match tree.find(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => tree.create_file(path)?,
                found => found?,
            };
            let file = tree.file_mut(id)?;
            let errors = file.errors;
            *file = FileNode::at_rest(Pages::from_bytes(bytes), bytes.len() as u64);
            file.errors = errors;
            Ok(())
        })
    }

    /// Turns one bit over; bit 8 is the lowest of the second byte.
    ///
    /// # Errors
    /// `InvalidInput` past the end of the file; otherwise as opening it would fail.
    pub fn flip_bit(&self, path: impl AsRef<Path>, bit: u64) -> io::Result<()> {
        self.edit(path.as_ref(), |tree, path| {
            let id = tree.find(path)?;
            let file = tree.file_mut(id)?;
            file.settle();
            let mut byte = [0];
            if file.durable.read(&mut byte, bit / 8) == 0 {
                return Err(invalid("the bit lies past the end of the file"));
            }
            file.durable.write(&byte.map(|byte| byte ^ (1 << (bit % 8))), bit / 8);
            file.drop_cache();
            Ok(())
        })
    }

    /// Removes a file, or an empty directory.
    ///
    /// # Errors
    /// As removing it through the traits would fail.
    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.edit(path.as_ref(), |tree, path| {
            let id = tree.find(path)?;
            match tree.node(id)? {
                Node::File(_) => tree.remove_file(path),
                Node::Dir(_) => tree.remove_dir(path),
            }
        })
    }

    /// Gives a file another name in its directory, replacing what stood there.
    ///
    /// # Errors
    /// As renaming it through the traits would fail.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        let to = self.root().join(to);
        let to = to.strip_prefix(self.root()).map_err(|_| invalid("not inside the root"))?;
        self.edit(from.as_ref(), |tree, from| {
            let id = tree.find(from)?;
            tree.file_mut(id)?.settle();
            tree.rename(from, to)
        })
    }

    fn look<T>(
        &self,
        path: &Path,
        look: impl FnOnce(&Tree, &Path) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = self.root().join(path);
        let mut state = self.shared.state.lock();
        let inside = self.shared.inside(&mut state, &path)?;
        look(&state.tree, inside)
    }

    fn edit(
        &self,
        path: &Path,
        edit: impl FnOnce(&mut Tree, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self.root().join(path);
        let mut state = self.shared.state.lock();
        let inside = self.shared.inside(&mut state, &path)?;
        edit(&mut state.tree, inside)?;
        settle_directories(&mut state, inside)
    }
}

/// Makes durable the entries of every directory on the way to a path.
fn settle_directories(state: &mut State, path: &Path) -> io::Result<()> {
    for directory in path.ancestors().skip(1) {
        let id: NodeId = state.tree.find(directory)?;
        state.tree.dir_mut(id)?.sync();
    }
    Ok(())
}
