//! Models: small programs over the real shard, waiter and committer, run by loom in every order that
//! their threads can take.
//!
//! They are there under `--cfg loom` alone; `tests/models.sh` runs them. A [`Tape`] stands in for the
//! files: it counts what was written and what was synced, and fails or panics where it is told to. An
//! order in which somebody waits for ever is found by loom itself.

use std::any::Any;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::SyncPolicy;
use crate::env::Clock;
use crate::error::{Error, ErrorKind, Fate};
use crate::format::batch::{Batch, BatchBuilder};
use crate::offset::{Offset, PartitionId, ShardId, TopicId};
use crate::storage::commit::{Budget, Ends, Outcome, SyncTarget, Want};
use crate::storage::shard::Shard;
use crate::storage::tail::{
    Background, BackgroundFailure, Laid, Opened, Serve, ShardOptions, Tail, WriteFailure,
};
use crate::sync::{Arc, Rank, Shared};

mod background;
mod barrier;
mod turns;
mod wakes;

/// Runs `model` in every order there is.
fn check(model: impl Fn() + Send + Sync + 'static) {
    explore(None, model);
}

/// Runs `model` in every order in which its threads are interrupted no more than `preemptions` times.
fn check_up_to(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    explore(Some(preemptions), model);
}

/// How many orders there are is printed: one alone would show nothing.
fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = 10_000;
    let orders = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&orders);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let orders = orders.load(Ordering::Relaxed);
    let bound = builder.preemption_bound.map(|most| format!(" of at most {most} interruptions"));
    writeln!(io::stdout(), "{orders} orders{}", bound.unwrap_or_default()).unwrap();
    assert!(orders > 1, "the threads had no choice");
}

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    None,
    /// The first write fails and leaves the file as it was.
    WriteFails,
    /// The first write fails, and may have left a part of the round.
    WriteInDoubt,
    WritePanics,
    SyncFails,
    SyncPanics,
}

/// What all see of a tape.
#[derive(Debug)]
struct World {
    mishap: Mishap,
    /// Looked at twice in a write and in a sync, so that others get a turn in the middle.
    numbers: Shared<Numbers>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    written: u64,
    synced: u64,
    writes: u64,
    syncs: u64,
}

impl World {
    fn new(mishap: Mishap) -> Arc<Self> {
        let numbers = Shared::ranked(Rank::World, Numbers::default());
        Arc::new(Self { mishap, numbers })
    }

    /// An acknowledged record is durable, whoever has synced it.
    fn check_ack(&self, outcome: &Outcome) {
        if let Ok(range) = outcome {
            let Numbers { synced, .. } = self.numbers.get();
            assert!(range.end.value() <= synced, "{range:?} was acknowledged, {synced} are synced");
        }
    }
}

/// A file that remembers numbers alone.
#[derive(Debug)]
struct Tape(Arc<World>);

#[derive(Debug)]
struct Head(Arc<World>);

impl Tail for Tape {
    type View = ();

    fn open(&mut self, _durable_end: Offset) -> Result<Opened<()>, Error> {
        let end = self.0.numbers.with(|numbers| {
            numbers.written = numbers.synced;
            numbers.synced
        });
        Ok(Opened { end: Offset::new(end), view: (), stopped: None })
    }

    fn write(&mut self, round: &mut [Batch], at: Ends) -> Result<Laid<()>, WriteFailure> {
        let world = &self.0;
        let Numbers { writes, written, .. } = world.numbers.with(|numbers| {
            numbers.writes += 1;
            *numbers
        });
        assert_eq!(at.written_end.value(), written, "a gap");
        let is_first = writes == 1;
        match world.mishap {
            Mishap::WritePanics if is_first => resume_unwind(Box::new("while it wrote")),
            Mishap::WriteFails | Mishap::WriteInDoubt if is_first => {
                let in_doubt = world.mishap == Mishap::WriteInDoubt;
                return Err(WriteFailure { error: Error::bare(ErrorKind::Io), in_doubt });
            }
            _ => {}
        }
        let count: u64 = round.iter().map(Batch::count).sum();
        world.numbers.with(|numbers| numbers.written += count);
        let target = Arc::new(Head(Arc::clone(world)));
        Ok(Laid { view: None, target, synced_before: false })
    }
}

impl SyncTarget for Head {
    fn sync(&self) -> Result<(), Error> {
        let world = &self.0;
        let Numbers { syncs, written: covered, .. } = world.numbers.with(|numbers| {
            numbers.syncs += 1;
            *numbers
        });
        let is_first = syncs == 1;
        match world.mishap {
            Mishap::SyncFails if is_first => return Err(Error::bare(ErrorKind::Io)),
            Mishap::SyncPanics if is_first => resume_unwind(Box::new("while it synced")),
            _ => {}
        }
        world.numbers.with(|numbers| numbers.synced = numbers.synced.max(covered));
        Ok(())
    }
}

/// A clock that stands still, and that nobody moves by hand.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn wall_millis(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn is_manual(&self) -> bool {
        false
    }
}

/// A background that is whoever asks.
#[derive(Debug)]
struct Inline;

impl Background for Inline {
    fn request(&self, job: Arc<dyn Serve>) {
        job.serve();
    }

    fn request_after(&self, _delay: Duration, _job: Arc<dyn Serve>) {}

    fn report(&self, _failure: BackgroundFailure) {}
}

/// A shard over a tape, opened.
fn shard(world: &Arc<World>, policy: SyncPolicy) -> Arc<Shard<Tape>> {
    shard_with(world, policy, Budget { queue_bytes: 1 << 20, unsynced_bytes: 1 << 20 })
}

fn shard_with(world: &Arc<World>, policy: SyncPolicy, budget: Budget) -> Arc<Shard<Tape>> {
    let shard = unopened(world, policy, budget, Arc::new(Inline));
    shard.ensure_open().unwrap();
    shard
}

fn unopened(
    world: &Arc<World>,
    policy: SyncPolicy,
    budget: Budget,
    background: Arc<dyn Background>,
) -> Arc<Shard<Tape>> {
    let id = ShardId { topic: TopicId::new(1), partition: PartitionId::ZERO };
    let options = ShardOptions { id, policy, budget, ring_bytes: 0 };
    Shard::new(Tape(Arc::clone(world)), &options, Arc::new(Still), background)
}

/// One record.
fn batch() -> Batch {
    let mut builder = BatchBuilder::with_capacity(64);
    let _ = builder.push_entry(b"k", Some(b"v"), 64).unwrap();
    builder.finish()
}

/// Appends one record and checks what comes back.
fn append(world: &World, shard: &Shard<Tape>, want: Want) -> Outcome {
    let outcome = shard.append(batch(), want, None);
    if want == Want::Durable {
        world.check_ack(&outcome);
    }
    outcome
}

/// The same where the thread may be struck by a panic.
fn append_caught(world: &World, shard: &Shard<Tape>) -> Result<Outcome, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| append(world, shard, Want::Durable)))
}

/// Whether an outcome says that nobody knows what became of the record.
fn is_unknown(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|refusal| refusal.fate == Fate::Unknown)
}
