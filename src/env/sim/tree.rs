//! The simulated directory tree: nodes, and the paths that lead to them.
//!
//! Paths here are relative to the root of the disk and free of `..`; whoever calls saw to that.
//!
//! Others may rely on this: copying a tree copies no content; a node stays until a crash, even when
//! no name leads to it, because its name may come back.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::inode::{Change, DirChange, DirNode, FileNode, Node, NodeId};
use crate::sync::Arc;

/// All nodes of a disk. **Invariant**: node 0 is the root directory; ids are never given twice.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Arc<Node>>,
    sequence: u64,
}

impl Tree {
    /// A tree of a root directory alone.
    pub(super) fn new() -> Self {
        Self { nodes: vec![Arc::new(Node::Dir(DirNode::default()))], sequence: 0 }
    }

    /// The number that the next change will get.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Adds a node that no name leads to yet.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(Arc::new(node));
        NodeId(self.nodes.len() - 1)
    }

    /// Puts another node in the place of one.
    pub(super) fn replace(&mut self, id: NodeId, node: Node) {
        if let Some(place) = self.nodes.get_mut(id.0) {
            *place = Arc::new(node);
        }
    }

    pub(super) fn node(&self, id: NodeId) -> io::Result<&Node> {
        self.nodes.get(id.0).map(Arc::as_ref).ok_or(ErrorKind::NotFound.into())
    }

    /// Every file, with a name or without.
    pub(super) fn all_files(&self) -> impl Iterator<Item = (NodeId, &FileNode)> {
        self.nodes.iter().enumerate().filter_map(|(id, node)| match node.as_ref() {
            Node::File(file) => Some((NodeId(id), file)),
            Node::Dir(_) => None,
        })
    }

    /// The numbers of all changes that are not durable, in order.
    pub(super) fn pending_sequences(&self) -> Vec<u64> {
        let mut sequences = Vec::new();
        for node in &self.nodes {
            match node.as_ref() {
                Node::File(file) => sequences.extend(file.pending.iter().map(|(number, _)| number)),
                Node::Dir(dir) => sequences.extend(dir.pending.iter().map(|(number, _)| number)),
            }
        }
        sequences.sort_unstable();
        sequences
    }

    pub(super) fn file(&self, id: NodeId) -> io::Result<&FileNode> {
        match self.node(id)? {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(not_a_file()),
        }
    }

    pub(super) fn file_mut(&mut self, id: NodeId) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(id.0).map(Arc::make_mut) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(not_a_file()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn dir(&self, id: NodeId) -> io::Result<&DirNode> {
        match self.node(id)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn dir_mut(&mut self, id: NodeId) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(id.0).map(Arc::make_mut) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// The node that a path leads to.
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                at = self.dir(at)?.get(name).ok_or(ErrorKind::NotFound)?;
            }
        }
        Ok(at)
    }

    /// The regular file that a path leads to.
    pub(super) fn find_file(&self, path: &Path) -> io::Result<NodeId> {
        let id = self.find(path)?;
        self.file(id).map(|_| id)
    }

    /// Creates an empty file.
    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        self.link_new(path, Node::File(FileNode { linked: true, ..FileNode::default() }))
    }

    /// Creates an empty directory.
    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<NodeId> {
        self.link_new(path, Node::Dir(DirNode::default()))
    }

    fn link_new(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        if self.find(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (parent, name) = self.parent(path)?;
        let node = self.add(node);
        self.change_dir(parent, DirChange::Link { name: name.to_owned(), node })?;
        Ok(node)
    }

    /// Gives a file another name in its directory.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(from)?;
        let (target_parent, to) = self.parent(to)?;
        if parent != target_parent {
            return Err(invalid("a rename stays within one directory"));
        }
        let dir = self.dir(parent)?;
        let node = dir.get(name).ok_or(ErrorKind::NotFound)?;
        let replaced = dir.get(to);
        if matches!(self.node(node)?, Node::Dir(_)) {
            return Err(invalid("directories are not renamed"));
        }
        match replaced {
            Some(same) if same == node => return Ok(()),
            Some(other) if matches!(self.node(other)?, Node::Dir(_)) => {
                return Err(ErrorKind::IsADirectory.into());
            }
            Some(other) => self.file_mut(other)?.linked = false,
            None => {}
        }
        self.change_dir(parent, DirChange::Rename { to: to.to_owned(), node, replaced })
    }

    /// Removes the name of a file.
    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let node = self.dir(parent)?.get(name).ok_or(ErrorKind::NotFound)?;
        match self.node(node)? {
            Node::Dir(_) => return Err(ErrorKind::IsADirectory.into()),
            Node::File(_) => self.file_mut(node)?.linked = false,
        }
        self.change_dir(parent, DirChange::Unlink { name: name.to_owned(), node })
    }

    /// Removes an empty directory.
    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let node = self.dir(parent)?.get(name).ok_or(ErrorKind::NotFound)?;
        if !self.dir(node)?.visible.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        self.change_dir(parent, DirChange::Unlink { name: name.to_owned(), node })
    }

    /// Every file that a path leads to, in the order of the paths.
    pub(super) fn files(&self) -> Vec<(PathBuf, NodeId)> {
        let mut files = Vec::new();
        let mut left = vec![(PathBuf::new(), ROOT)];
        while let Some((path, id)) = left.pop() {
            match self.node(id) {
                Ok(Node::Dir(dir)) => {
                    left.extend(dir.visible.iter().map(|(name, id)| (path.join(name), *id)));
                }
                Ok(Node::File(_)) => files.push((path, id)),
                Err(_) => {}
            }
        }
        files.sort();
        files
    }

    /// The directory that a path's last name stands in, and that name.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(NodeId, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(invalid("the path names no entry of a directory"));
        };
        let parent = self.find(parent)?;
        self.dir(parent).map(|_| (parent, name))
    }

    /// Makes a change to a file under the next sequence number.
    pub(super) fn change_file(&mut self, id: NodeId, change: Change) -> io::Result<()> {
        let sequence = self.next_sequence();
        self.file_mut(id)?.change(sequence, change);
        Ok(())
    }

    fn change_dir(&mut self, id: NodeId, change: DirChange) -> io::Result<()> {
        let sequence = self.next_sequence();
        self.dir_mut(id)?.change(sequence, change);
        Ok(())
    }

    fn next_sequence(&mut self) -> u64 {
        let sequence = self.sequence;
        self.sequence += 1;
        sequence
    }
}

pub(super) const ROOT: NodeId = NodeId(0);

fn not_a_file() -> io::Error {
    invalid("not a regular file")
}

pub(super) fn invalid(message: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}
