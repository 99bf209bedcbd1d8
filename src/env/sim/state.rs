//! Everything a simulated disk knows, behind one lock.
//!
//! One lock, because the order of the operations is the point of the simulation. Nothing is called
//! under it but the filters that tests give.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::chance::SeededEntropy;
use super::crash::InFlight;
use super::fault::{Denial, Fault, Op, OpKind, Plan};
use super::inode::{Change, FailedSync, NodeId};
use super::tree::{Tree, invalid};
use crate::env::manual::ManualClock;
use crate::env::pages::checked_end;
use crate::sync::{Arc, Condvar, Mutex};

/// A simulated disk, shared by its handles.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) seed: u64,
    pub(super) root: PathBuf,
    pub(super) clock: Arc<ManualClock>,
    pub(super) entropy: Arc<SeededEntropy>,
    pub(super) state: Mutex<State>,
    /// Notified when syncs begin or end to wait, and when they are let go.
    pub(super) gate: Condvar,
}

/// What changes with every operation.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) plan: Plan,
    pub(super) gate: Gate,
    pub(super) failed_sync: FailedSync,
    pub(super) capacity: Option<u64>,
    pub(super) open: HashMap<NodeId, usize>,
    pub(super) locked: HashSet<NodeId>,
    pub(super) in_flight: InFlight,
    pub(super) escapes: u64,
}

/// Whether syncs are held up, and how many are.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) held: bool,
    pub(super) waiting: usize,
    /// How often the gate was opened; a sync waits for the next time.
    pub(super) opened: u64,
}

impl State {
    pub(super) fn new(tree: Tree) -> Self {
        Self {
            tree,
            plan: Plan::default(),
            gate: Gate::default(),
            failed_sync: FailedSync::default(),
            capacity: None,
            open: HashMap::new(),
            locked: HashSet::new(),
            in_flight: None,
            escapes: 0,
        }
    }

    /// How many bytes files can still take.
    pub(super) fn free(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX / 2 };
        // A deleted file gives its room back when its last handle is gone.
        let kept = |id: &NodeId| self.open.contains_key(id);
        let files = self.tree.all_files().filter(|(id, file)| file.linked || kept(id));
        capacity.saturating_sub(files.map(|(_, file)| file.charged).sum())
    }

    /// Writes as many bytes as there is room for.
    pub(super) fn write(&mut self, id: NodeId, bytes: &[u8], at: u64) -> io::Result<()> {
        let end = checked_end(at, bytes.len())?;
        let charged = self.tree.file(id)?.charged;
        let room = if end <= charged { end } else { charged.saturating_add(self.free()) };
        let lands = usize::try_from(room.saturating_sub(at)).unwrap_or(usize::MAX);
        if lands >= bytes.len() {
            return self.tree.change_file(id, Change::Write { at, bytes: bytes.into() });
        }
        // What a real disk does: the call is cut short where the room ends.
        let bytes = bytes.split_at(lands).0.into();
        self.tree.change_file(id, Change::Write { at, bytes })?;
        Err(Fault::StorageFull.error())
    }

    /// Reserves room, all of it or none.
    pub(super) fn allocate(&mut self, id: NodeId, len: u64) -> io::Result<()> {
        checked_end(len, 0)?;
        let missing = len.saturating_sub(self.tree.file(id)?.charged);
        if missing > 0 && missing > self.free() {
            return Err(Fault::StorageFull.error());
        }
        self.tree.change_file(id, Change::Extend(len))
    }

    /// What an operation does that was denied, as far as it does anything.
    pub(super) fn half_happens(
        &mut self,
        denial: Denial,
        id: NodeId,
        (bytes, at): (&[u8], u64),
    ) -> io::Result<()> {
        match denial {
            Denial::PowerGoesOff => {
                self.in_flight = Some((id, Change::Write { at, bytes: bytes.into() }));
                Ok(())
            }
            Denial::Fault(Fault::ShortWrite) => {
                self.write(id, bytes.split_at(bytes.len() / 2).0, at)
            }
            Denial::Fault(Fault::UnconfirmedWrite) => self.write(id, bytes, at),
            Denial::Fault(_) | Denial::PowerIsOff => Ok(()),
        }
    }
}

impl Shared {
    /// Does what an operation on a path does, unless it is denied.
    pub(super) fn at<T>(
        &self,
        kind: OpKind,
        path: &Path,
        act: impl FnOnce(&mut State, &Path) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let inside = self.inside(&mut state, path)?;
        let op = state.plan.number(kind, Arc::from(path));
        self.judge(&mut state, &op).map_err(Denial::error)?;
        act(&mut state, inside)
    }

    /// Does what an operation on an open file does, unless it is denied.
    pub(super) fn on<T>(
        &self,
        kind: OpKind,
        path: &Arc<Path>,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let op = state.plan.number(kind, Arc::clone(path));
        self.judge(&mut state, &op).map_err(Denial::error)?;
        act(&mut state)
    }

    /// Decides whether an operation happens; syncs that wait learn that the power is off.
    pub(super) fn judge(&self, state: &mut State, op: &Op) -> Result<(), Denial> {
        state.plan.judge(op).inspect_err(|denial| {
            if matches!(denial, Denial::PowerGoesOff) {
                self.gate.notify_all();
            }
        })
    }

    /// The path below the root, or an error and a mark against the caller.
    pub(super) fn inside<'a>(&self, state: &mut State, path: &'a Path) -> io::Result<&'a Path> {
        let climbs = path.components().any(|part| part == Component::ParentDir);
        match path.strip_prefix(&self.root) {
            Ok(inside) if !climbs => Ok(inside),
            _ => {
                state.escapes += 1;
                Err(invalid("the path leaves the root of the simulated disk"))
            }
        }
    }
}
