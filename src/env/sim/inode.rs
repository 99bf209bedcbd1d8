//! One simulated file or directory: what programs see, what is durable, and what lies between.
//!
//! Others may rely on this: nothing becomes durable but by a sync, and a sync of a file makes
//! nothing of its directory durable.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::mem;

use crate::env::pages::Pages;
use crate::sync::Arc;

/// What reading gives after a sync has failed.
///
/// Either way the unsynced bytes are lost to every later sync, which says that all is well; real
/// file systems differ in what they show (Rebello et al., "Can Applications Recover from fsync
/// Failures?", USENIX ATC 2020).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailedSync {
    /// Reads give the new bytes until the cache is dropped; ext4 and XFS do so.
    #[default]
    KeepsNew,
    /// Reads give the old bytes at once; Btrfs does so.
    ShowsOld,
}

/// A name for a node that stays the same when the node is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) usize);

/// A file or a directory.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// A change to a file that no sync has covered yet.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write {
        at: u64,
        bytes: Arc<[u8]>,
    },
    SetLen(u64),
    /// Makes the file at least this long.
    Extend(u64),
}

impl Change {
    pub(super) fn apply(&self, pages: &mut Pages) {
        match self {
            Self::Write { at, bytes } => pages.write(bytes, *at),
            Self::SetLen(len) => pages.set_len(*len),
            Self::Extend(len) => {
                let grown = pages.len().max(*len);
                pages.set_len(grown);
            }
        }
    }
}

/// A file.
///
/// **Invariants**: `pending` is in order of its sequence numbers. As long as no write-back failed,
/// `visible` is `durable` with `pending` applied.
#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    pub(super) visible: Pages,
    pub(super) durable: Pages,
    pub(super) pending: Vec<(u64, Change)>,
    /// How many bytes from the start the file has room for without asking the disk.
    pub(super) charged: u64,
    /// Whether a name leads here.
    pub(super) linked: bool,
    /// How many write-backs have failed; a descriptor reports those after its own opening once.
    pub(super) errors: u64,
}

impl FileNode {
    /// A durable file with this content.
    pub(super) fn at_rest(content: Pages, charged: u64) -> Self {
        Self {
            charged: charged.min(content.len()),
            visible: content.clone(),
            durable: content,
            linked: true,
            ..Self::default()
        }
    }

    /// Makes a change that programs see at once and that the disk may lose.
    pub(super) fn change(&mut self, sequence: u64, change: Change) {
        change.apply(&mut self.visible);
        match &change {
            Change::Write { at, bytes } if !bytes.is_empty() => {
                self.charged = self.charged.max(at.saturating_add(bytes.len() as u64));
            }
            Change::Write { .. } => return,
            Change::SetLen(len) => self.charged = self.charged.min(*len),
            Change::Extend(len) => self.charged = self.charged.max(*len),
        }
        self.pending.push((sequence, change));
    }

    /// Makes durable what was changed before `sequence`.
    pub(super) fn sync(&mut self, sequence: u64) {
        for change in self.take_pending(sequence) {
            change.apply(&mut self.durable);
        }
    }

    /// Forgets, as a failed write-back does, that what was changed before `sequence` is unsynced.
    pub(super) fn fail_write_back(&mut self, sequence: u64, shows: FailedSync) {
        drop(self.take_pending(sequence));
        self.errors += 1;
        if shows == FailedSync::ShowsOld {
            self.drop_cache();
        }
    }

    /// Shows what the disk really has; what is still to be written cannot be dropped.
    pub(super) fn drop_cache(&mut self) {
        self.visible = self.truth();
    }

    /// What the disk will have once all that is still pending is written.
    pub(super) fn truth(&self) -> Pages {
        let mut pages = self.durable.clone();
        self.pending.iter().for_each(|(_, change)| change.apply(&mut pages));
        pages
    }

    /// Brings the file to rest: all that can become durable is durable, and visible.
    pub(super) fn settle(&mut self) {
        self.sync(u64::MAX);
        self.drop_cache();
    }

    fn take_pending(&mut self, sequence: u64) -> impl Iterator<Item = Change> + use<> {
        let count = self.pending.partition_point(|(number, _)| *number < sequence);
        let kept = self.pending.split_off(count);
        mem::replace(&mut self.pending, kept).into_iter().map(|(_, change)| change)
    }
}

/// A change to a directory that no sync of the directory has covered yet.
#[derive(Clone, Debug)]
pub(super) enum DirChange {
    Link { name: OsString, node: NodeId },
    Unlink { name: OsString, node: NodeId },
    Rename { to: OsString, node: NodeId, replaced: Option<NodeId> },
}

/// The names in a directory.
pub(super) type Entries = BTreeMap<OsString, NodeId>;

impl DirChange {
    /// Makes the change where it is possible.
    ///
    /// In order and without gaps every change is possible. After a crash that lost earlier changes
    /// some are not: what took a name that was never freed, for one, did not happen either.
    pub(super) fn apply(&self, entries: &mut Entries) {
        match self {
            Self::Link { name, node } => {
                entries.entry(name.clone()).or_insert(*node);
            }
            Self::Unlink { name, node } => {
                if entries.get(name) == Some(node) {
                    entries.remove(name);
                }
            }
            Self::Rename { to, node, replaced } => {
                let occupant = entries.get(to).copied();
                if occupant.is_none() || occupant == *replaced {
                    entries.retain(|_, other| other != node);
                    entries.insert(to.clone(), *node);
                }
            }
        }
    }
}

/// A directory. **Invariant**: `visible` is `durable` with `pending` applied.
#[derive(Clone, Debug, Default)]
pub(super) struct DirNode {
    pub(super) visible: Entries,
    pub(super) durable: Entries,
    pub(super) pending: Vec<(u64, DirChange)>,
}

impl DirNode {
    /// A durable directory with these entries.
    pub(super) fn at_rest(entries: Entries) -> Self {
        Self { visible: entries.clone(), durable: entries, pending: Vec::new() }
    }

    pub(super) fn get(&self, name: &OsStr) -> Option<NodeId> {
        self.visible.get(name).copied()
    }

    /// Makes a change that programs see at once and that the disk may lose.
    pub(super) fn change(&mut self, sequence: u64, change: DirChange) {
        change.apply(&mut self.visible);
        self.pending.push((sequence, change));
    }

    /// Makes every entry durable as it is now.
    pub(super) fn sync(&mut self) {
        self.pending.clear();
        self.durable = self.visible.clone();
    }
}
