//! What a loss of power leaves of a tree.
//!
//! Every policy yields a state that POSIX allows: what was synced is there, and of what was not,
//! anything may be. A policy picks which part; a seed decides what the policy leaves open.

use std::io;
use std::ops::Range;

use super::chance::SeededEntropy;
use super::inode::{Change, DirChange, DirNode, Entries, FileNode, Node, NodeId};
use super::tree::{ROOT, Tree};
use crate::env::Entropy;
use crate::env::pages::Pages;

/// What survives of the changes that no sync had covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPolicy {
    /// Nothing.
    LoseAll,
    /// Everything, still unsynced: the process was killed and the system lives on.
    ///
    /// A failed sync goes on being hidden by the cache, and a second crash can lose what this one
    /// kept.
    KeepAll,
    /// Of each file and each directory the changes up to some point.
    PrefixPerFile,
    /// Of each file and each directory any of the changes, whatever their order.
    SubsetPerFile {
        /// Writes are taken apart into blocks of so many bytes; zero means one.
        grain: u32,
    },
    /// All names and sizes, but unsynced bytes are zero.
    ZeroedTail,
    /// All names and sizes, but unsynced bytes are garbage or a deleted file's.
    ///
    /// The same goes for synced bytes that were being overwritten.
    GarbageTail,
    /// All names, but of the content only what was synced.
    RenameWithoutData,
    /// All content and all removals, but no unsynced creation or rename.
    RenameLost,
    /// Everything but unsynced removals: deleted files come back.
    UnlinkLost,
    /// Unsynced removals and nothing else.
    UnlinkFirst,
    /// All changes of the whole disk up to some point, the last one torn.
    ///
    /// A write is cut at any byte; other changes happen or do not.
    TornOp,
}

impl CrashPolicy {
    /// Every policy, with three grains of the one that has any.
    pub const ALL: &[Self] = &[
        Self::LoseAll,
        Self::KeepAll,
        Self::PrefixPerFile,
        Self::SubsetPerFile { grain: 1 },
        Self::SubsetPerFile { grain: 512 },
        Self::SubsetPerFile { grain: 4096 },
        Self::ZeroedTail,
        Self::GarbageTail,
        Self::RenameWithoutData,
        Self::RenameLost,
        Self::UnlinkLost,
        Self::UnlinkFirst,
        Self::TornOp,
    ];
}

/// A write during which the power went off.
pub(super) type InFlight = Option<(NodeId, Change)>;

/// The tree as it is found after the power came back.
pub(super) fn survivors(
    tree: &Tree,
    in_flight: &InFlight,
    policy: CrashPolicy,
    seed: u64,
) -> io::Result<Tree> {
    if policy == CrashPolicy::KeepAll {
        return Ok(tree.clone());
    }
    let mut tree = tree.clone();
    if let Some((node, change)) = in_flight {
        let sequence = tree.sequence();
        // It was asked for, so a part of it may have landed, although no program has seen it do so.
        tree.file_mut(*node)?.pending.push((sequence, change.clone()));
    }
    let mut wreck = Wreck { policy, dice: Dice::new(seed), cut: 0, stale: Vec::new() };
    let pending = tree.pending_sequences();
    let whole = wreck.dice.up_to(pending.len() as u64) as usize;
    wreck.cut = pending.get(whole).copied().unwrap_or(u64::MAX);
    wreck.stale = deleted_bytes(&tree);
    let mut found = Tree::new();
    let root = wreck.salvage_dir(tree.dir(ROOT)?);
    let mut left = vec![(ROOT, root)];
    while let Some((at, names)) = left.pop() {
        let mut entries = Entries::new();
        for (name, old) in names {
            let id = match tree.node(old)? {
                Node::File(file) => {
                    let content = wreck.salvage_file(file);
                    found.add(Node::File(FileNode::at_rest(content, file.charged)))
                }
                Node::Dir(dir) => {
                    let id = found.add(Node::Dir(DirNode::default()));
                    left.push((id, wreck.salvage_dir(dir)));
                    id
                }
            };
            entries.insert(name, id);
        }
        found.replace(at, Node::Dir(DirNode::at_rest(entries)));
    }
    Ok(found)
}

/// What deleted files left on the disk, as far as garbage needs it.
fn deleted_bytes(tree: &Tree) -> Vec<u8> {
    let deleted = tree.all_files().filter(|(_, file)| !file.linked && file.visible.len() > 0);
    let mut bytes = deleted.last().map(|(_, file)| file.visible.to_vec()).unwrap_or_default();
    bytes.truncate(STALE_BYTES);
    bytes
}

struct Wreck {
    policy: CrashPolicy,
    dice: Dice,
    /// For a torn operation: the first sequence number that did not land whole.
    cut: u64,
    stale: Vec<u8>,
}

impl Wreck {
    fn salvage_dir(&mut self, dir: &DirNode) -> Entries {
        let prefix = self.dice.up_to(dir.pending.len() as u64) as usize;
        let mut entries = dir.durable.clone();
        for (index, (sequence, change)) in dir.pending.iter().enumerate() {
            let removal = matches!(change, DirChange::Unlink { .. });
            let survives = match self.policy {
                CrashPolicy::LoseAll => false,
                CrashPolicy::KeepAll
                | CrashPolicy::ZeroedTail
                | CrashPolicy::GarbageTail
                | CrashPolicy::RenameWithoutData => true,
                CrashPolicy::PrefixPerFile => index < prefix,
                CrashPolicy::SubsetPerFile { .. } => self.dice.coin(),
                CrashPolicy::RenameLost | CrashPolicy::UnlinkFirst => removal,
                CrashPolicy::UnlinkLost => !removal,
                CrashPolicy::TornOp => *sequence < self.cut,
            };
            if survives {
                change.apply(&mut entries);
            }
        }
        entries
    }

    fn salvage_file(&mut self, file: &FileNode) -> Pages {
        let prefix = self.dice.up_to(file.pending.len() as u64) as usize;
        // One file shows one kind of garbage.
        let stale = !self.stale.is_empty() && self.dice.coin();
        let mut pages = file.durable.clone();
        for (index, (sequence, change)) in file.pending.iter().enumerate() {
            match self.policy {
                CrashPolicy::LoseAll
                | CrashPolicy::RenameWithoutData
                | CrashPolicy::UnlinkFirst => {}
                CrashPolicy::KeepAll | CrashPolicy::RenameLost | CrashPolicy::UnlinkLost => {
                    change.apply(&mut pages);
                }
                CrashPolicy::PrefixPerFile if index < prefix => change.apply(&mut pages),
                CrashPolicy::PrefixPerFile => {}
                CrashPolicy::SubsetPerFile { grain } => self.scatter(&mut pages, change, grain),
                CrashPolicy::ZeroedTail => spoil(&mut pages, change, |bytes| bytes.fill(0)),
                CrashPolicy::GarbageTail => {
                    spoil(&mut pages, change, |bytes| self.fill_with_garbage(bytes, stale));
                }
                CrashPolicy::TornOp => self.tear(&mut pages, *sequence, change),
            }
        }
        pages
    }

    /// Applies any of the blocks of a change.
    fn scatter(&mut self, pages: &mut Pages, change: &Change, grain: u32) {
        let Change::Write { at, bytes } = change else {
            if self.dice.coin() {
                change.apply(pages);
            }
            return;
        };
        let grain = u64::from(grain.max(1));
        let mut landed = 0..0;
        while landed.end < bytes.len() {
            // Blocks lie on multiples of their size, as sectors and pages do.
            let block_at = at + landed.end as u64;
            let to_edge = usize::try_from(grain - block_at % grain).unwrap_or(usize::MAX);
            let end = landed.end.saturating_add(to_edge).min(bytes.len());
            if self.dice.coin() {
                landed.end = end;
            } else {
                write_part(pages, *at, bytes, landed);
                landed = end..end;
            }
        }
        write_part(pages, *at, bytes, landed);
    }

    fn tear(&mut self, pages: &mut Pages, sequence: u64, change: &Change) {
        match change {
            _ if sequence < self.cut => change.apply(pages),
            Change::Write { at, bytes } if sequence == self.cut => {
                let landed = self.dice.up_to(bytes.len() as u64) as usize;
                pages.write(bytes.split_at(landed).0, *at);
            }
            _ => {}
        }
    }

    fn fill_with_garbage(&mut self, bytes: &mut [u8], stale: bool) {
        if stale {
            let skip = self.dice.up_to(self.stale.len() as u64) as usize;
            let source = self.stale.iter().cycle().skip(skip);
            bytes.iter_mut().zip(source).for_each(|(byte, old)| *byte = *old);
        } else {
            bytes.iter_mut().for_each(|byte| *byte = self.dice.bits(8) as u8);
        }
    }
}

/// Writes a part of the bytes that were to be written at `at`.
fn write_part(pages: &mut Pages, at: u64, bytes: &[u8], part: Range<usize>) {
    let start = at + part.start as u64;
    pages.write(bytes.get(part).unwrap_or_default(), start);
}

/// Applies a change with other bytes in place of the written ones.
fn spoil(pages: &mut Pages, change: &Change, spoil: impl FnOnce(&mut [u8])) {
    match change {
        Change::Write { at, bytes } => {
            let mut bytes = bytes.to_vec();
            spoil(&mut bytes);
            pages.write(&bytes, *at);
        }
        Change::SetLen(_) | Change::Extend(_) => change.apply(pages),
    }
}

/// Random decisions, cheap enough to make one per byte.
struct Dice {
    source: SeededEntropy,
    bits: u64,
    left: u32,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { source: SeededEntropy::new(seed), bits: 0, left: 0 }
    }

    fn bits(&mut self, count: u32) -> u64 {
        if self.left < count {
            self.bits = self.source.next_u64();
            self.left = u64::BITS;
        }
        let bits = self.bits & ((1 << count) - 1);
        self.bits >>= count;
        self.left -= count;
        bits
    }

    fn coin(&mut self) -> bool {
        self.bits(1) == 1
    }

    /// A number from zero to `most`, both included.
    fn up_to(&mut self, most: u64) -> u64 {
        // The slight bias of the remainder does not matter for numbers this small.
        self.source.next_u64() % most.saturating_add(1)
    }
}

/// Enough of a deleted file to fool a reader that trusts its looks.
const STALE_BYTES: usize = 64 * 1024;
