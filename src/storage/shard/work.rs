//! Leading, syncing and waiting: what threads do for a shard, with its lock let go.
//!
//! Whoever writes takes the tail and puts it back; whoever syncs has set `syncing` under the lock and
//! clears it there. [`Shard::release`] is where everybody lets go, and sees to it that what is left to
//! do is somebody's.
//!
//! A panic below leaves the files in doubt as a failed write does: the shard stops, everybody who
//! waits is answered, and the panic goes on in the thread that it struck.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Fate};
use crate::offset::Offset;
use crate::storage::commit::{Ends, Outcome, Refusal, Round, Sender, Wakes, Want, no_room};
use crate::storage::shard::{Enqueued, Shard, State};
use crate::storage::tail::{BackgroundFailure, Laid, Serve, Tail, WriteFailure};
use crate::storage::waiter::{Waiter, Woken};
use crate::sync::{Arc, MutexGuard};

/// On whose behalf work is done, which decides how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A sender that waits: it leads one round, and syncs only if it waits for durability.
    Sender(Want),
    /// The background, or anybody where there is none: it goes on until nothing is due.
    Background,
}

impl<T: Tail> Shard<T> {
    /// Puts the tail back after something else than appending.
    pub(super) fn put_back(&self, state: MutexGuard<'_, State<T>>, tail: Box<T>, wakes: Wakes) {
        self.release(state, Some(tail), Role::Sender(Want::Nothing), wakes);
    }

    /// Writes everything that is queued, then puts the tail back.
    pub(super) fn drain(&self, mut tail: Box<T>) {
        loop {
            let mut wakes = Wakes::default();
            let begun = self.state.lock().begin_round();
            let (state, progress);
            (state, tail, progress) = self.write_round(tail, begun, &mut wakes);
            if matches!(progress, Progress::Nothing { .. }) {
                return self.put_back(state, tail, wakes);
            }
            drop(state);
            self.fire(wakes);
        }
    }

    /// Lends the tail to `act`, which may panic.
    pub(super) fn lend<R>(&self, mut tail: Box<T>, act: impl FnOnce(&mut T) -> R) -> (Box<T>, R) {
        match catch_unwind(AssertUnwindSafe(|| act(&mut tail))) {
            Ok(result) => (tail, result),
            Err(panic) => self.give_up(tail, (&mut Round::default(), Wakes::default()), panic),
        }
    }

    /// Stops the shard for a panic of whoever had the tail, and lets it go on.
    fn give_up(
        &self,
        tail: Box<T>,
        (round, mut wakes): (&mut Round, Wakes),
        panic: Box<dyn Any + Send>,
    ) -> ! {
        let mut state = self.state.lock();
        let error = panicked();
        state.commit.round_failed(round, &error, Fate::Unknown, &mut wakes);
        state.commit.poison(&error, &mut wakes);
        self.put_back(state, tail, wakes);
        resume_unwind(panic)
    }

    /// Lets go of the lock, and of the tail, and sees to it that somebody does what is left.
    fn release(
        &self,
        mut state: MutexGuard<'_, State<T>>,
        tail: Option<Box<T>>,
        role: Role,
        mut wakes: Wakes,
    ) {
        if tail.is_some() {
            state.tail = tail;
        }
        let asks = state.pass_on(role, &mut wakes);
        let delay = state.commit.arm_interval(|| self.clock.monotonic());
        drop(state);
        self.fire(wakes);
        if let Some(delay) = delay
            && let Some(me) = self.me.upgrade()
        {
            self.background.request_after(delay, me);
        }
        if asks && let Some(me) = self.me.upgrade() {
            self.background.request(me);
        }
    }

    pub(super) fn fire(&self, mut wakes: Wakes) {
        if wakes.is_empty() {
            return;
        }
        let void = wakes.void.take();
        let failure = wakes.failure.take();
        wakes.fire();
        let (void, error) = match (void, failure) {
            (void, Some(error)) => (void.map(|(range, _)| range), error),
            (Some((range, error)), None) => (Some(range), error),
            (None, None) => return,
        };
        self.background.report(BackgroundFailure { id: self.id, error, void });
    }

    /// Waits for room, then for the outcome.
    pub(super) fn await_room(
        &self,
        waiter: &Arc<Waiter<Outcome>>,
        want: Want,
        timeout: Option<Duration>,
    ) -> Outcome {
        // Under a manual clock no time passes by itself.
        let timeout = if self.clock.is_manual() { Some(Duration::ZERO) } else { timeout };
        let Some(timeout) = timeout else { return self.follow(waiter, want) };
        let deadline = self.clock.monotonic().saturating_add(timeout);
        loop {
            let left = deadline.saturating_sub(self.clock.monotonic());
            match waiter.wait_for(left) {
                Woken::Filled(outcome) => return outcome,
                Woken::Nudged => self.work(Role::Sender(want)),
                Woken::TimedOut if self.state.lock().commit.withdraw(waiter) => {
                    return Err(Refusal::not_appended(no_room()));
                }
                // It was let in at the last moment, and its outcome is on the way.
                Woken::TimedOut => return self.follow(waiter, want),
            }
        }
    }

    /// Sees to it that what was queued is written, and waits for the outcome.
    pub(crate) fn finish(&self, enqueued: Enqueued) -> Outcome {
        self.work(Role::Sender(enqueued.want));
        self.follow(&enqueued.waiter, enqueued.want)
    }

    /// Waits for the outcome, and does what it is nudged to do in the meantime.
    pub(super) fn follow(&self, waiter: &Arc<Waiter<Outcome>>, want: Want) -> Outcome {
        loop {
            match waiter.wait() {
                Some(outcome) => return outcome,
                None => self.work(Role::Sender(want)),
            }
        }
    }

    /// Writes rounds until the leader's own append stands or has failed, then waits as far as it
    /// wants.
    ///
    /// The first round was begun when the leader took the tail, under the same lock.
    pub(super) fn lead_own(
        &self,
        (mut tail, mut begun): (Box<T>, Begun),
        own: Range<Offset>,
        want: Want,
    ) -> Outcome {
        let incarnation = self.incarnation();
        let outcome = loop {
            let mut wakes = Wakes::default();
            let (state, progress);
            (state, tail, progress) = self.write_round(tail, begun, &mut wakes);
            if let Some(outcome) = progress.outcome_of(&own) {
                // A leader whose append failed does not come back to sync for the others.
                let role = Role::Sender(if outcome.is_ok() { want } else { Want::Nothing });
                self.release(state, Some(tail), role, wakes);
                break outcome;
            }
            drop(state);
            self.fire(wakes);
            begun = self.state.lock().begin_round();
        };
        match outcome {
            Ok(range) if want == Want::Durable => self.until_durable(range, incarnation),
            outcome => outcome,
        }
    }

    /// Writes a round that was taken off the queue, and settles what came of it; the lock is held
    /// again afterwards.
    fn write_round(
        &self,
        mut tail: Box<T>,
        (mut round, ends): Begun,
        wakes: &mut Wakes,
    ) -> (MutexGuard<'_, State<T>>, Box<T>, Progress) {
        if round.batches.is_empty() {
            let state = self.state.lock();
            let stopped = state.commit.stopped().cloned();
            return (state, tail, Progress::Nothing { stopped });
        }
        match catch_unwind(AssertUnwindSafe(|| tail.write(&mut round.batches, ends))) {
            Ok(laid) => {
                let mut state = self.state.lock();
                let progress = state.settle(&mut round, laid, wakes);
                state.spare = round;
                (state, tail, progress)
            }
            Err(panic) => self.give_up(tail, (&mut round, std::mem::take(wakes)), panic),
        }
    }

    /// Does what is due: writes what is queued, then syncs what is to be synced.
    fn work(&self, role: Role) {
        // A sender goes back to waiting, be it for a sync: what is left is for others, or for a nudge.
        let leaves_as = match role {
            Role::Sender(_) => Role::Sender(Want::Nothing),
            Role::Background => role,
        };
        loop {
            let mut wakes = Wakes::default();
            let mut state = self.state.lock();
            state.requested = false;
            state.commit.expire(self.clock.monotonic(), &mut wakes);
            if !state.commit.is_queue_empty()
                && let Some(tail) = state.idle_tail()
            {
                let begun = state.begin_round();
                drop(state);
                let (state, tail, _) = self.write_round(tail, begun, &mut wakes);
                self.release(state, Some(tail), leaves_as, wakes);
                if role == Role::Background {
                    continue;
                }
                return;
            }
            let syncs = role != Role::Sender(Want::Written)
                && !state.commit.syncing
                && state.commit.needs_sync(|| self.clock.monotonic());
            state.commit.syncing |= syncs;
            drop(state);
            self.fire(wakes);
            if !syncs {
                return;
            }
            let _ = self.sync(leaves_as);
            if role != Role::Background {
                return;
            }
        }
    }

    /// Waits until `range` is durable, and syncs for all who wait if nobody else does.
    ///
    /// Offsets are those of `incarnation`: a later one may have given them to other records.
    pub(super) fn until_durable(&self, range: Range<Offset>, incarnation: u64) -> Outcome {
        loop {
            let mut state = self.state.lock();
            if self.incarnation() != incarnation {
                let text = "it was opened anew before the records were durable";
                let error = Error::new(ErrorKind::Poisoned, text);
                return Err(Refusal { error, fate: Fate::Unknown });
            }
            let commit = &mut state.commit;
            if commit.durable_end >= range.end {
                return Ok(range);
            }
            if let Some(error) = commit.stopped() {
                return Err(Refusal { error: error.clone(), fate: Fate::Unknown });
            }
            if commit.syncing {
                let sender = Sender { waiter: Arc::default(), is_thread: true };
                commit.await_durable(range, sender.clone());
                drop(state);
                return self.follow(&sender.waiter, Want::Durable);
            }
            commit.syncing = true;
            drop(state);
            self.sync(Role::Sender(Want::Nothing))
                .map_err(|error| Refusal { error, fate: Fate::Unknown })?;
        }
    }

    /// Syncs everything written so far; the caller has set `syncing`.
    fn sync(&self, role: Role) -> Result<(), Error> {
        let incarnation = self.incarnation();
        let (targets, end, bytes) = self.state.lock().commit.begin_sync();
        let before = self.clock.monotonic();
        let sync = || targets.iter().try_for_each(|target| target.sync());
        let (result, panic) = match catch_unwind(AssertUnwindSafe(sync)) {
            Ok(result) => (result, None),
            Err(panic) => (Err(panicked()), Some(panic)),
        };
        let took = self.clock.monotonic().saturating_sub(before);
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        state.commit.syncing = false;
        // What was recovered in the meantime stands in other files.
        if incarnation == self.incarnation() {
            state.counters.note_sync(took);
            match &result {
                Ok(()) => state.commit.synced(end, bytes, &mut wakes),
                Err(error) => state.commit.poison(error, &mut wakes),
            }
        }
        self.release(state, None, role, wakes);
        self.background.became_durable();
        match panic {
            Some(panic) => resume_unwind(panic),
            None => result,
        }
    }

    pub(super) fn ask_for_service(&self, mut state: MutexGuard<'_, State<T>>) {
        let asks = !std::mem::replace(&mut state.requested, true);
        drop(state);
        if asks && let Some(me) = self.me.upgrade() {
            self.background.request(me);
        }
    }
}

impl<T: Tail> Serve for Shard<T> {
    fn serve(&self) {
        // An error is told to those who submitted; the next sender meets it again.
        if self.ensure_open().is_ok() {
            self.work(Role::Background);
        }
    }
}

impl<T: Tail> State<T> {
    /// The tail, if nobody leads and nobody waits to.
    pub(super) fn idle_tail(&mut self) -> Option<Box<T>> {
        if self.tail_waiters.is_empty() { self.tail.take() } else { None }
    }

    /// Takes the next round off the queue, for whoever has the tail.
    pub(super) fn begin_round(&mut self) -> Begun {
        let mut round = std::mem::take(&mut self.spare);
        self.commit.take_round(&mut round);
        (round, self.commit.ends())
    }

    /// Finds somebody for what is left to do; true asks for the background.
    fn pass_on(&mut self, role: Role, wakes: &mut Wakes) -> bool {
        if role == Role::Background && self.tail_waiters.is_empty() {
            return false;
        }
        let mut asks = false;
        if self.tail.is_some() {
            if let Some(next) = self.tail_waiters.front() {
                wakes.nudges.push(Arc::clone(next));
            } else if !self.commit.is_queue_empty() {
                match self.commit.next_leader() {
                    Some(leader) => wakes.nudges.push(leader),
                    None => asks = true,
                }
            }
        }
        let due = !self.commit.syncing && self.commit.needs_sync(|| Duration::ZERO);
        if due && role != Role::Sender(Want::Durable) {
            match self.commit.next_syncer() {
                Some(syncer) => wakes.nudges.push(syncer),
                None => asks = true,
            }
        }
        asks && !std::mem::replace(&mut self.requested, true)
    }

    /// Takes note of what came of a round.
    fn settle(
        &mut self,
        round: &mut Round,
        laid: Result<Laid<T::View>, WriteFailure>,
        wakes: &mut Wakes,
    ) -> Progress {
        let range = round.range();
        let failure = match (laid, self.commit.stopped()) {
            (Ok(laid), None) => {
                self.stands(round, laid, wakes);
                return Progress::Written { range };
            }
            // A sync failed while the round was written: whether it is in the file is anybody's
            // guess.
            (Ok(_), Some(stopped)) => WriteFailure { error: stopped.clone(), in_doubt: true },
            (Err(failure), _) => failure,
        };
        let WriteFailure { error, in_doubt } = failure;
        let fate = if in_doubt { Fate::Unknown } else { Fate::NotAppended };
        self.commit.round_failed(round, &error, fate, wakes);
        if in_doubt {
            self.commit.poison(&error, wakes);
        }
        Progress::Failed { range, refusal: Refusal { error, fate } }
    }

    /// A round stands in the file.
    fn stands(&mut self, round: &mut Round, laid: Laid<T::View>, wakes: &mut Wakes) {
        if laid.synced_before {
            self.commit.synced_all(wakes);
        }
        if let Some(view) = laid.view {
            self.view = view;
        }
        let mut bytes = 0;
        for batch in round.batches.drain(..) {
            bytes += batch.len();
            self.counters.records += batch.count();
            self.ring.push(batch);
        }
        self.counters.bytes += bytes as u64;
        self.commit.written(round, (bytes, laid.target), wakes);
    }
}

/// What those are told who wait for somebody that panics.
fn panicked() -> Error {
    Error::new(ErrorKind::Io, "whoever had the files panicked")
}

/// A round to be written, and where its partition stood when it was begun.
pub(super) type Begun = (Round, Ends);

/// What a leader achieved with one round.
#[derive(Debug)]
enum Progress {
    Written {
        range: Range<Offset>,
    },
    Failed {
        range: Range<Offset>,
        refusal: Refusal,
    },
    /// The queue was empty: what the leader had in it was answered by whoever stopped the shard.
    Nothing {
        stopped: Option<Error>,
    },
}

impl Progress {
    /// What this means for the leader's own append; none if its turn has not come.
    fn outcome_of(self, own: &Range<Offset>) -> Option<Outcome> {
        match self {
            Self::Written { range } => (own.end <= range.end).then(|| Ok(own.clone())),
            Self::Failed { range, refusal } if own.end <= range.end => Some(Err(refusal)),
            // The queue failed with the round, and nothing of it was ever written.
            Self::Failed { refusal, .. } => Some(Err(Refusal::not_appended(refusal.error))),
            Self::Nothing { stopped } => {
                let error = stopped.unwrap_or_else(|| Error::bare(ErrorKind::Closed));
                Some(Err(Refusal::not_appended(error)))
            }
        }
    }
}
