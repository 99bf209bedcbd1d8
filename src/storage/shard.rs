//! **The concurrency file**: one lock, one leader, and everybody who waits.
//!
//! A [`Shard`] drives the commit protocol of [`crate::storage::commit`] over anything that can be
//! appended to and synced, a [`Tail`]; it knows neither partitions nor journals. The lock holds for
//! tens of nanoseconds: whoever needs the file takes the tail out of the state, works without the
//! lock, and puts the tail back. Possession of the tail is leadership; there is no other flag for
//! it. A thread that waits is nudged when there is work it could do, and does it only if nobody
//! else was faster: a nudge that comes too late costs a look under the lock and nothing more.
//!
//! **Invariants**: no file is touched, nobody is woken and no callback is called while the lock is
//! held. Whoever takes the tail puts it back, and whoever puts it back or ends a sync sees to it
//! that somebody does what is left.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::config::SyncPolicy;
use crate::env::Clock;
use crate::error::{Error, ErrorKind, Fate};
use crate::format::batch::Batch;
use crate::format::frame::FrameHeader;
use crate::offset::{Offset, ShardId};
use crate::storage::commit::{
    Budget, Commit, Ends, Entry, Outcome, Refusal, Sender, SyncTarget, Waiting, Wakes, Want,
    no_room,
};
use crate::storage::ring::Ring;
use crate::storage::waiter::{Waiter, Woken};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, Weak};

/// What a shard appends to. All calls come from one thread at a time: the leader's.
pub(crate) trait Tail: Send + Sized + 'static {
    /// What readers see of the files.
    type View: Clone + Default + Debug + Send + Sync + 'static;

    /// Looks at the files before anything else is asked, and again after a failure.
    ///
    /// `durable_end` is what this session knows to be durable.
    fn open(&mut self, durable_end: Offset) -> Result<Opened<Self::View>, Error>;

    /// Lays the batches down in order from `at.written_end` on, and writes them.
    fn write(&mut self, round: Vec<Batch>, at: Ends) -> Result<Laid<Self::View>, WriteFailure>;
}

/// What opening found.
#[derive(Debug)]
pub(crate) struct Opened<V> {
    pub(crate) end: Offset,
    pub(crate) view: V,
    /// Why nothing may be appended, though what is there can be read.
    pub(crate) stopped: Option<Error>,
}

/// A round that stands in the file.
#[derive(Debug)]
pub(crate) struct Laid<V> {
    pub(crate) frames: Vec<(FrameHeader, Bytes)>,
    /// Set where readers must see another set of files.
    pub(crate) view: Option<V>,
    pub(crate) target: Arc<dyn SyncTarget>,
    /// Everything before this round was made durable on the way.
    pub(crate) synced_before: bool,
}

/// A round that does not.
#[derive(Debug)]
pub(crate) struct WriteFailure {
    pub(crate) error: Error,
    /// Whether the file may hold a part of the round; then nothing more can be appended to it.
    pub(crate) in_doubt: bool,
}

/// Who does what nobody waits for.
pub(crate) trait Background: Debug + Send + Sync {
    /// Has `job` served soon, on another thread.
    fn request(&self, job: Arc<dyn Serve>);

    /// Has `job` served once `delay` has passed.
    fn request_after(&self, delay: Duration, job: Arc<dyn Serve>);

    /// Tells the log's owner of a failure that nobody waits for.
    fn report(&self, failure: BackgroundFailure);

    /// A sync has made more of some partition durable.
    fn became_durable(&self) {}
}

/// A failure with nobody to tell it to.
#[derive(Clone, Debug)]
pub(crate) struct BackgroundFailure {
    pub(crate) id: ShardId,
    pub(crate) error: Error,
    /// Records that were accepted without waiting and are lost.
    pub(crate) void: Option<Range<Offset>>,
}

/// Something the background can serve.
pub(crate) trait Serve: Send + Sync {
    /// Writes and syncs what is due.
    fn serve(&self);
}

/// What a shard is made with.
#[derive(Clone, Debug)]
pub(crate) struct ShardOptions {
    pub(crate) id: ShardId,
    pub(crate) policy: SyncPolicy,
    pub(crate) budget: Budget,
    pub(crate) ring_bytes: usize,
}

/// Counters of one shard, as `stats()` shows them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) syncs: u64,
    pub(crate) sync_time: Duration,
    pub(crate) longest_sync: Duration,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// A tail that many threads append to and many read.
#[derive(Debug)]
pub(crate) struct Shard<T: Tail> {
    id: ShardId,
    me: Weak<Self>,
    clock: Arc<dyn Clock>,
    background: Arc<dyn Background>,
    opened: AtomicBool,
    incarnation: AtomicU64,
    state: Mutex<State<T>>,
}

struct State<T: Tail> {
    commit: Commit,
    /// None while somebody leads.
    tail: Option<T>,
    /// Threads that need the tail for something else than appending.
    tail_waiters: VecDeque<Arc<Waiter<Outcome>>>,
    view: T::View,
    ring: Ring,
    requested: bool,
    counters: Counters,
}

impl<T: Tail> Debug for State<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let commit = &self.commit;
        f.debug_struct("State")
            .field("assigned_end", &commit.assigned_end)
            .field("written_end", &commit.written_end)
            .field("durable_end", &commit.durable_end)
            .field("stopped", &commit.stopped())
            .finish_non_exhaustive()
    }
}

/// On whose behalf work is done, which decides how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A sender that waits: it leads one round, and syncs only if it waits for durability.
    Sender(Want),
    /// The background, or anybody where there is none: it goes on until nothing is due.
    Background,
}

impl<T: Tail> Shard<T> {
    pub(crate) fn new(
        tail: T,
        options: &ShardOptions,
        clock: Arc<dyn Clock>,
        background: Arc<dyn Background>,
    ) -> Arc<Self> {
        let state = State {
            commit: Commit::new(options.policy, options.budget),
            tail: Some(tail),
            tail_waiters: VecDeque::new(),
            view: T::View::default(),
            ring: Ring::with_limit(options.ring_bytes),
            requested: false,
            counters: Counters::default(),
        };
        Arc::new_cyclic(|me| Self {
            id: options.id,
            me: Weak::clone(me),
            clock,
            background,
            opened: AtomicBool::new(false),
            incarnation: AtomicU64::new(0),
            state: Mutex::new(state),
        })
    }

    /// Appends and waits as far as `want` says; `timeout` bounds the wait for room alone.
    pub(crate) fn append(&self, batch: Batch, want: Want, timeout: Option<Duration>) -> Outcome {
        self.ensure_open().map_err(Refusal::not_appended)?;
        let mut state = self.state.lock();
        if let Some(error) = state.commit.refuses() {
            return Err(Refusal::not_appended(error.clone()));
        }
        if !state.commit.has_room(batch.len()) {
            let sender = Sender { waiter: Arc::default(), is_thread: true };
            state.commit.take_ticket(batch, want, sender.clone(), None);
            self.ask_for_service(state);
            return self.await_room(&sender.waiter, want, timeout);
        }
        if let Some(tail) = state.idle_tail() {
            let range = state.commit.enqueue(batch, want, None);
            drop(state);
            return self.lead_own(tail, range, want);
        }
        if want == Want::Nothing {
            return Ok(state.commit.enqueue(batch, want, None));
        }
        let sender = Sender { waiter: Arc::default(), is_thread: true };
        state.commit.enqueue(batch, want, Some(sender.clone()));
        drop(state);
        self.follow(&sender.waiter, want)
    }

    /// Appends without waiting or touching a file; the outcome comes to the returned slot.
    pub(crate) fn submit(
        &self,
        batch: Batch,
        want: Want,
        timeout: Option<Duration>,
    ) -> Arc<Waiter<Outcome>> {
        let sender = Sender { waiter: Arc::default(), is_thread: false };
        let waiter = Arc::clone(&sender.waiter);
        let mut state = self.state.lock();
        if let Some(error) = state.commit.refuses() {
            waiter.fill(Err(Refusal::not_appended(error.clone())));
            return waiter;
        }
        if !self.is_opened() || !state.commit.has_room(batch.len()) {
            let deadline = timeout.map(|timeout| self.clock.monotonic().saturating_add(timeout));
            state.commit.take_ticket(batch, want, sender, deadline);
            if let (Some(timeout), Some(me)) = (timeout, self.me.upgrade()) {
                self.background.request_after(timeout, me);
            }
        } else if want == Want::Nothing {
            waiter.fill(Ok(state.commit.enqueue(batch, want, None)));
        } else {
            state.commit.enqueue(batch, want, Some(sender));
        }
        self.ask_for_service(state);
        waiter
    }

    /// Takes a submitted batch back, if it has no offsets yet.
    pub(crate) fn withdraw(&self, waiter: &Arc<Waiter<Outcome>>) {
        self.state.lock().commit.withdraw(waiter);
    }

    /// Waits until everything written before the call is durable, and says up to where that is.
    pub(crate) fn sync_written(&self) -> Result<Offset, Error> {
        self.ensure_open()?;
        let end = self.ends().written_end;
        self.until_durable(end..end).map(|range| range.end).map_err(|refusal| refusal.error)
    }

    /// Has everything written synced soon, without waiting for it.
    pub(crate) fn start_sync(&self) {
        let mut state = self.state.lock();
        state.commit.sync_at = Some(Duration::ZERO);
        self.ask_for_service(state);
    }

    /// Runs `act` with the tail in hand and no append under way; readers see the view it returns.
    pub(crate) fn exclusive<R>(
        &self,
        act: impl FnOnce(&mut T, Ends) -> (R, Option<T::View>),
    ) -> Result<R, Error> {
        self.ensure_open()?;
        let mut tail = self.take_tail();
        let (result, view) = act(&mut tail, self.ends());
        let mut state = self.state.lock();
        if let Some(view) = view {
            state.view = view;
        }
        self.release(state, Some(tail), Role::Sender(Want::Nothing), Wakes::default());
        Ok(result)
    }

    /// Opens the tail anew: after a failure, or to see what another process has added.
    pub(crate) fn reopen(&self) -> Result<(), Error> {
        let tail = self.take_tail();
        self.open_tail(tail)
    }

    /// Refuses all further appends with `error`; what is queued is written, and readers look again.
    pub(crate) fn close(&self, error: &Error) {
        let mut wakes = Wakes::default();
        self.state.lock().commit.close(error, &mut wakes);
        self.fire(wakes);
        if !self.is_opened() {
            return;
        }
        let mut tail = self.take_tail();
        loop {
            let mut wakes = Wakes::default();
            let (state, progress) = self.write_round(&mut tail, &mut wakes);
            if matches!(progress, Progress::Nothing { .. }) {
                self.release(state, Some(tail), Role::Sender(Want::Nothing), wakes);
                return;
            }
            drop(state);
            self.fire(wakes);
        }
    }

    /// Opens the tail if nobody has.
    pub(crate) fn ensure_open(&self) -> Result<(), Error> {
        if self.is_opened() {
            return Ok(());
        }
        let tail = self.take_tail();
        if self.is_opened() {
            self.release(
                self.state.lock(),
                Some(tail),
                Role::Sender(Want::Nothing),
                Wakes::default(),
            );
            return Ok(());
        }
        self.open_tail(tail)
    }

    /// Whether the tail was opened; until then nothing is known of its ends.
    pub(crate) fn is_opened(&self) -> bool {
        self.opened.load(Ordering::Acquire)
    }

    /// Changes with every opening; what was learnt before must then be looked at again.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    pub(crate) fn ends(&self) -> Ends {
        self.state.lock().commit.ends()
    }

    /// Runs `look` on what there is to see, under the lock: it must be short.
    pub(crate) fn observe<R>(&self, look: impl FnOnce(&Commit, &T::View, &Ring) -> R) -> R {
        let state = self.state.lock();
        look(&state.commit, &state.view, &state.ring)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// Registers a reader that has seen everything below `seen`; false if there is more to see
    /// already.
    pub(crate) fn watch(&self, seen: Offset, watcher: &Arc<Waiter<()>>) -> bool {
        let mut state = self.state.lock();
        let commit = &mut state.commit;
        let nothing_new = commit.visible_end() <= seen && commit.closed().is_none();
        if nothing_new {
            commit.watchers.push(Arc::clone(watcher));
        }
        nothing_new
    }

    /// Forgets a reader that has stopped waiting.
    pub(crate) fn unwatch(&self, watcher: &Arc<Waiter<()>>) {
        self.state.lock().commit.watchers.retain(|other| !Arc::ptr_eq(other, watcher));
    }

    /// Takes another sync policy; the caller has synced first where the new one is stricter.
    pub(crate) fn set_policy(&self, policy: SyncPolicy) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        state.commit.policy = policy;
        wakes.watchers.append(&mut state.commit.watchers);
        drop(state);
        self.fire(wakes);
    }

    fn open_tail(&self, mut tail: T) -> Result<(), Error> {
        let opened = tail.open(self.ends().durable_end);
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        let result = match opened {
            Ok(Opened { end, view, stopped }) => {
                state.commit.reset(end);
                state.view = view;
                state.ring.clear();
                if let Some(error) = &stopped {
                    state.commit.stop(error, &mut wakes);
                }
                self.incarnation.fetch_add(1, Ordering::AcqRel);
                self.opened.store(true, Ordering::Release);
                state.commit.grant(&mut wakes);
                wakes.watchers.append(&mut state.commit.watchers);
                Ok(())
            }
            Err(error) => {
                // Those who submitted before the first opening have nothing to wait for any more.
                state.commit.refuse_tickets(&error, &mut wakes);
                Err(error)
            }
        };
        self.release(state, Some(tail), Role::Sender(Want::Nothing), wakes);
        result
    }

    /// Waits until nobody leads, and takes the tail.
    fn take_tail(&self) -> T {
        let waiter = Arc::new(Waiter::default());
        let mut state = self.state.lock();
        if state.tail_waiters.is_empty()
            && let Some(tail) = state.tail.take()
        {
            return tail;
        }
        state.tail_waiters.push_back(Arc::clone(&waiter));
        loop {
            let is_next = state.tail_waiters.front().is_some_and(|next| Arc::ptr_eq(next, &waiter));
            if is_next && let Some(tail) = state.tail.take() {
                state.tail_waiters.pop_front();
                return tail;
            }
            drop(state);
            let _ = waiter.wait();
            state = self.state.lock();
        }
    }

    /// Lets go of the lock, and of the tail, and sees to it that somebody does what is left.
    fn release(
        &self,
        mut state: MutexGuard<'_, State<T>>,
        tail: Option<T>,
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
        if let Some(me) = self.me.upgrade().filter(|_| asks || delay.is_some()) {
            if let Some(delay) = delay {
                self.background.request_after(delay, Arc::clone(&me) as Arc<dyn Serve>);
            }
            if asks {
                self.background.request(me);
            }
        }
    }

    fn fire(&self, mut wakes: Wakes) {
        let void = wakes.void.take();
        let failure = wakes.failure.take();
        wakes.fire();
        if let Some(error) = failure {
            let void = void.map(|(range, _)| range);
            self.background.report(BackgroundFailure { id: self.id, error, void });
        } else if let Some((range, error)) = void {
            let void = Some(range);
            self.background.report(BackgroundFailure { id: self.id, error, void });
        }
    }

    /// Waits for room, then for the outcome.
    fn await_room(
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

    /// Waits for the outcome, and does what it is nudged to do in the meantime.
    fn follow(&self, waiter: &Arc<Waiter<Outcome>>, want: Want) -> Outcome {
        loop {
            match waiter.wait() {
                Some(outcome) => return outcome,
                None => self.work(Role::Sender(want)),
            }
        }
    }

    /// Writes rounds until the leader's own append stands or has failed, then waits as far as it
    /// wants.
    fn lead_own(&self, mut tail: T, own: Range<Offset>, want: Want) -> Outcome {
        let outcome = loop {
            let mut wakes = Wakes::default();
            let (state, progress) = self.write_round(&mut tail, &mut wakes);
            if let Some(outcome) = progress.outcome_of(&own) {
                // A leader whose append failed does not come back to sync for the others.
                let role = Role::Sender(if outcome.is_ok() { want } else { Want::Nothing });
                self.release(state, Some(tail), role, wakes);
                break outcome;
            }
            drop(state);
            self.fire(wakes);
        };
        match outcome {
            Ok(range) if want == Want::Durable => self.until_durable(range),
            outcome => outcome,
        }
    }

    /// Takes a round off the queue, writes it, and settles what came of it; the lock is held again
    /// afterwards.
    fn write_round(&self, tail: &mut T, wakes: &mut Wakes) -> (MutexGuard<'_, State<T>>, Progress) {
        let (round, ends) = {
            let mut state = self.state.lock();
            (state.commit.take_round(), state.commit.ends())
        };
        let (batches, waiting): (Vec<_>, Vec<_>) = round.into_iter().map(Entry::split).unzip();
        if batches.is_empty() {
            let state = self.state.lock();
            let stopped = state.commit.stopped().cloned();
            return (state, Progress::Nothing { stopped });
        }
        let laid = tail.write(batches, ends);
        let mut state = self.state.lock();
        let progress = state.settle(waiting, laid, wakes);
        (state, progress)
    }

    /// Does what is due: writes what is queued, then syncs what is to be synced.
    fn work(&self, role: Role) {
        loop {
            let mut wakes = Wakes::default();
            let mut state = self.state.lock();
            state.requested = false;
            state.commit.expire(self.clock.monotonic(), &mut wakes);
            if !state.commit.is_queue_empty()
                && let Some(mut tail) = state.idle_tail()
            {
                drop(state);
                let (state, _) = self.write_round(&mut tail, &mut wakes);
                self.release(state, Some(tail), role, wakes);
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
            if role != Role::Background {
                let _ = self.sync(Role::Sender(Want::Nothing));
                return;
            }
            let _ = self.sync(role);
        }
    }

    /// Waits until `range` is durable, and syncs for all who wait if nobody else does.
    fn until_durable(&self, range: Range<Offset>) -> Outcome {
        loop {
            let mut state = self.state.lock();
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
        let result = targets.iter().try_for_each(|target| target.sync());
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
        result
    }

    fn ask_for_service(&self, mut state: MutexGuard<'_, State<T>>) {
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
    fn idle_tail(&mut self) -> Option<T> {
        if self.tail_waiters.is_empty() { self.tail.take() } else { None }
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
        waiting: Vec<Waiting>,
        laid: Result<Laid<T::View>, WriteFailure>,
        wakes: &mut Wakes,
    ) -> Progress {
        let range = waiting.first().map(|first| first.range.start).unwrap_or_default()
            ..waiting.last().map(|last| last.range.end).unwrap_or_default();
        let failure = match (laid, self.commit.stopped()) {
            (Ok(laid), None) => {
                self.stands(waiting, laid, wakes);
                return Progress::Written { range };
            }
            // A sync failed while the round was written: whether it is in the file is anybody's
            // guess.
            (Ok(_), Some(stopped)) => WriteFailure { error: stopped.clone(), in_doubt: true },
            (Err(failure), _) => failure,
        };
        let WriteFailure { error, in_doubt } = failure;
        let fate = if in_doubt { Fate::Unknown } else { Fate::NotAppended };
        self.commit.round_failed(waiting, &error, fate, wakes);
        if in_doubt {
            self.commit.poison(&error, wakes);
        }
        Progress::Failed { range, refusal: Refusal { error, fate } }
    }

    /// A round stands in the file.
    fn stands(&mut self, waiting: Vec<Waiting>, laid: Laid<T::View>, wakes: &mut Wakes) {
        if laid.synced_before {
            self.commit.synced_all(wakes);
        }
        if let Some(view) = laid.view {
            self.view = view;
        }
        let mut bytes = 0;
        for (header, frame) in laid.frames {
            bytes += frame.len();
            self.counters.records += u64::from(header.count);
            self.ring.push(header, frame);
        }
        self.counters.bytes += bytes as u64;
        self.commit.written(waiting, (bytes, laid.target), wakes);
    }
}

impl Counters {
    fn note_sync(&mut self, took: Duration) {
        self.syncs += 1;
        self.sync_time += took;
        self.longest_sync = self.longest_sync.max(took);
    }
}

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
