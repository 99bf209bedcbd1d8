//! The simulated disk: files that know what of them is durable, and ways to fail.
//!
//! Strict POSIX. A write is visible at once and durable after a sync of its file; a name is visible
//! at once and durable after a sync of its directory; neither sync does the other's work. Between
//! the two a crash may lose anything, and [`CrashPolicy`] says what.
//!
//! Others may rely on this: the same seed and the same calls give the same bytes; every call
//! through the traits is one numbered [`Op`], except dropping a cache, a handle or a lock.

mod chance;
mod crash;
mod edit;
mod fault;
mod files;
mod inode;
mod state;
mod tree;

use std::path::{Path, PathBuf};

use self::chance::{SeededEntropy, mix};
pub use self::crash::CrashPolicy;
pub use self::fault::{Fault, Op, OpKind, Repeat};
use self::files::SimFs;
pub use self::inode::FailedSync;
use self::state::{Shared, State};
use self::tree::Tree;
use super::Env;
use super::clock::SystemClock;
use super::manual::ManualClock;
use super::threads::{NoThreads, Threads, WhenTold};
use crate::sync::{Arc, Condvar, Rank, ranked};

/// A seeded simulated disk.
///
/// A cheap handle: clones are the same disk. [`fork`](Self::fork) and [`crash`](Self::crash) make
/// new ones.
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

impl SimDisk {
    /// An empty disk whose root is `/sim`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_root(seed, "/sim")
    }

    /// An empty disk with another root; paths outside of it are refused and counted.
    #[must_use]
    pub fn with_root(seed: u64, root: impl Into<PathBuf>) -> Self {
        Self {
            shared: Arc::new(Shared {
                seed,
                root: root.into(),
                clock: Arc::new(ManualClock::new()),
                entropy: Arc::new(SeededEntropy::new(seed)),
                state: ranked(Rank::World, State::new(Tree::new())),
                gate: Condvar::new(),
            }),
        }
    }

    /// The directory that everything lies in; it exists from the start, and is durable.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// The seed the disk was made with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The clock of [`env`](Self::env).
    #[must_use]
    pub fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.shared.clock)
    }

    /// A world on this disk: a manual clock, seeded chance, no threads.
    #[must_use]
    pub fn env(&self) -> Env {
        Env {
            fs: Arc::new(SimFs { shared: Arc::clone(&self.shared) }),
            clock: self.clock(),
            spawn: Arc::new(NoThreads),
            entropy: Arc::clone(&self.shared.entropy) as Arc<_>,
        }
    }

    /// The same, but background work waits until the log is told to do it.
    ///
    /// What nobody waits for is then as late as it can be: a record that was written and not waited
    /// for is not durable, and on an `Always` topic not visible, until
    /// [`Log::maintain`](crate::Log::maintain).
    #[must_use]
    pub fn env_when_told(&self) -> Env {
        Env { spawn: Arc::new(WhenTold), ..self.env() }
    }

    /// A world on this disk with the system's threads and clocks.
    #[must_use]
    pub fn env_with_threads(&self) -> Env {
        Env { clock: Arc::new(SystemClock::new()), spawn: Arc::new(Threads), ..self.env() }
    }

    /// How many operations there were; the next one gets this number.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.shared.state.lock().plan.count()
    }

    /// The operations since the start or the last [`clear_log`](Self::clear_log), failed ones too.
    #[must_use]
    pub fn log(&self) -> Vec<Op> {
        self.shared.state.lock().plan.log().to_vec()
    }

    /// Forgets the operations so far; the counting goes on.
    pub fn clear_log(&self) {
        self.shared.state.lock().plan.clear_log();
    }

    /// How many paths were refused because they lead out of the root.
    #[must_use]
    pub fn escapes(&self) -> u64 {
        self.shared.state.lock().escapes
    }

    /// Makes the operation of this number, and all that follow, fail for want of power.
    ///
    /// They change nothing; if the first of them is a write, a crash may find parts of it.
    pub fn power_off_at(&self, number: u64) {
        self.shared.state.lock().plan.power_off_at(number);
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.shared.state.lock().plan.is_off()
    }

    /// Turns the power off and gives the disk that is found when it comes back.
    ///
    /// Handles of this disk stay dead and its locks are gone. The new disk has no faults, counts
    /// from zero, keeps the capacity, and its clocks go on from the same time. Where the policy
    /// leaves something open, the seed decides.
    #[must_use]
    pub fn crash(&self, policy: CrashPolicy, seed: u64) -> Self {
        let mut state = self.shared.state.lock();
        state.plan.power_off();
        self.shared.gate.notify_all();
        let tree = crash::survivors(&state.tree, &state.in_flight, policy, seed);
        let entropy = SeededEntropy::new(mix(self.shared.seed ^ mix(seed)));
        match tree {
            Ok(tree) => self.reborn(&state, tree, entropy),
            // A name without a node: a defect of the simulation itself. An empty disk could pass
            // for an answer; one that is off cannot.
            Err(_) => {
                let dead = self.reborn(&state, Tree::new(), entropy);
                dead.power_off_at(0);
                dead
            }
        }
    }

    /// An independent copy: what is visible, what is durable, and what lies between.
    ///
    /// The copy has no handles, locks or faults and counts from zero. It shares bytes with the
    /// original until either writes them, so that forking is cheap.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.shared.state.lock();
        self.reborn(&state, state.tree.clone(), SeededEntropy::clone(&self.shared.entropy))
    }

    fn reborn(&self, state: &State, tree: Tree, entropy: SeededEntropy) -> Self {
        let mut reborn = State::new(tree);
        reborn.capacity = state.capacity;
        reborn.failed_sync = state.failed_sync;
        Self {
            shared: Arc::new(Shared {
                seed: self.shared.seed,
                root: self.shared.root.clone(),
                clock: Arc::new(ManualClock::clone(&self.shared.clock)),
                entropy: Arc::new(entropy),
                state: ranked(Rank::World, reborn),
                gate: Condvar::new(),
            }),
        }
    }

    /// Makes the operation of this number fail, or it and all that follow.
    pub fn fail_at(&self, number: u64, fault: Fault, repeat: Repeat) {
        let fits = move |op: &Op| match repeat {
            Repeat::Once => op.number == number,
            Repeat::Forever => op.number >= number,
        };
        self.fail_when(fits, fault, repeat);
    }

    /// Makes operations fail that the filter picks, the next one or all of them.
    ///
    /// The filter runs while the disk is locked: it must not ask the disk anything.
    pub fn fail_when(
        &self,
        filter: impl Fn(&Op) -> bool + Send + Sync + 'static,
        fault: Fault,
        repeat: Repeat,
    ) {
        self.shared.state.lock().plan.inject(filter, fault, repeat);
    }

    /// Withdraws the faults that have not fired; the power stays as it is.
    pub fn clear_faults(&self) {
        self.shared.state.lock().plan.clear_rules();
    }

    /// How many operations failed because of a fault, a lost write-back, or the power.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.shared.state.lock().plan.fired()
    }

    /// Chooses what reads give after a sync has failed.
    pub fn set_failed_sync(&self, shows: FailedSync) {
        self.shared.state.lock().failed_sync = shows;
    }

    /// Lets the write-back of unsynced bytes fail in the background.
    ///
    /// Tells how many of the files picked had any, so that a test can demand some. The bytes can
    /// no longer become durable. Each descriptor that has the file open now reports the failure at
    /// its next sync, once; when all of them are closed before, nobody learns of it (Linux keeps
    /// such errors the same way, in its `errseq`). The filter runs while the disk is locked.
    #[must_use]
    pub fn writeback_fails(&self, filter: impl Fn(&Path) -> bool) -> usize {
        let mut state = self.shared.state.lock();
        let shows = state.failed_sync;
        let files = state.tree.files();
        let mut failed = 0;
        for (path, id) in files {
            match state.tree.file_mut(id) {
                Ok(file) if !file.pending.is_empty() && filter(&self.shared.root.join(path)) => {
                    file.fail_write_back(u64::MAX, shows);
                    failed += 1;
                }
                _ => {}
            }
        }
        failed
    }

    /// Bounds the bytes that files may take, or takes the bound away.
    ///
    /// Room is charged up to the highest byte written or allocated, holes included. A write that
    /// finds no room lands as far as there is some.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.state.lock().capacity = bytes;
    }

    /// Holds every sync of a file from now on until [`release_syncs`](Self::release_syncs).
    ///
    /// For worlds with threads: a held sync blocks the thread that asked for it.
    pub fn hold_syncs(&self) {
        self.shared.state.lock().gate.held = true;
    }

    /// Lets the held syncs go on, and all later ones pass.
    pub fn release_syncs(&self) {
        let mut state = self.shared.state.lock();
        state.gate.held = false;
        state.gate.opened += 1;
        self.shared.gate.notify_all();
    }

    /// How many syncs are held just now.
    #[must_use]
    pub fn syncs_waiting(&self) -> usize {
        self.shared.state.lock().gate.waiting
    }

    /// Blocks until so many syncs are held at once.
    pub fn wait_for_waiting_syncs(&self, count: usize) {
        let mut state = self.shared.state.lock();
        while state.gate.waiting < count {
            self.shared.gate.wait(&mut state);
        }
    }
}
