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
//! held. Whoever takes the tail puts it back, also when it panics, and whoever puts it back or ends a
//! sync sees to it that somebody does what is left.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::time::Duration;

use crate::config::SyncPolicy;
use crate::env::Clock;
use crate::error::Error;
use crate::format::batch::Batch;
use crate::offset::{Offset, ShardId};
use crate::storage::commit::{Commit, Ends, Outcome, Refusal, Round, Sender, Wakes, Want, no_room};
use crate::storage::ring::Ring;
use crate::storage::tail::{Background, Counters, Opened, ShardOptions, Tail};
use crate::storage::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Rank, Weak, ranked};

mod work;

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
    tail: Option<Box<T>>,
    /// Threads that need the tail for something else than appending.
    tail_waiters: VecDeque<Arc<Waiter<Outcome>>>,
    view: T::View,
    ring: Ring,
    requested: bool,
    /// The memory of the last round.
    spare: Round,
    counters: Counters,
}

/// Something in the queue; the outcome comes to its slot.
#[derive(Debug)]
#[must_use]
pub(crate) struct Enqueued {
    waiter: Arc<Waiter<Outcome>>,
    want: Want,
}

impl<T: Tail> Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = &self.commit;
        f.debug_struct("State")
            .field("assigned_end", &commit.assigned_end)
            .field("written_end", &commit.written_end)
            .field("durable_end", &commit.durable_end)
            .field("stopped", &commit.stopped())
            .finish_non_exhaustive()
    }
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
            tail: Some(Box::new(tail)),
            tail_waiters: VecDeque::new(),
            view: T::View::default(),
            ring: Ring::with_limit(options.ring_bytes),
            requested: false,
            spare: Round::default(),
            counters: Counters::default(),
        };
        Arc::new_cyclic(|me| Self {
            id: options.id,
            me: Weak::clone(me),
            clock,
            background,
            opened: AtomicBool::new(false),
            incarnation: AtomicU64::new(0),
            state: ranked(Rank::Shard, state),
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
            let begun = state.begin_round();
            drop(state);
            return self.lead_own((tail, begun), range, want);
        }
        if want == Want::Nothing {
            return Ok(state.commit.enqueue(batch, want, None));
        }
        let sender = Sender { waiter: Arc::default(), is_thread: true };
        state.commit.enqueue(batch, want, Some(sender.clone()));
        drop(state);
        self.follow(&sender.waiter, want)
    }

    /// Queues a batch and does nothing else: no file is touched, and nobody is woken.
    ///
    /// The same thread must [`finish`](Self::finish) it.
    pub(crate) fn enqueue(&self, batch: Batch, want: Want) -> Result<Enqueued, Refusal> {
        let mut state = self.state.lock();
        if let Some(error) = state.commit.refuses() {
            return Err(Refusal::not_appended(error.clone()));
        }
        if !self.is_opened() || !state.commit.has_room(batch.len()) {
            return Err(Refusal::not_appended(no_room()));
        }
        let sender = Sender { waiter: Arc::default(), is_thread: true };
        state.commit.enqueue(batch, want, Some(sender.clone()));
        Ok(Enqueued { waiter: sender.waiter, want })
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
            let refusal = Refusal::not_appended(error.clone());
            drop(state);
            waiter.fill(Err(refusal));
            return waiter;
        }
        let (mut expiry, mut queued) = (None, None);
        if !self.is_opened() || !state.commit.has_room(batch.len()) {
            let deadline = timeout.map(|timeout| self.clock.monotonic().saturating_add(timeout));
            state.commit.take_ticket(batch, want, sender, deadline);
            expiry = timeout.zip(self.me.upgrade());
        } else if want == Want::Nothing {
            queued = Some(state.commit.enqueue(batch, want, None));
        } else {
            state.commit.enqueue(batch, want, Some(sender));
        }
        self.ask_for_service(state);
        if let Some((timeout, me)) = expiry {
            self.background.request_after(timeout, me);
        }
        if let Some(range) = queued {
            waiter.fill(Ok(range));
        }
        waiter
    }

    /// Has the background do what waits to be done, where that has to be said.
    pub(crate) fn catch_up(&self) {
        self.background.catch_up();
    }

    /// Takes a submitted batch back, if it has no offsets yet.
    pub(crate) fn withdraw(&self, waiter: &Arc<Waiter<Outcome>>) {
        self.state.lock().commit.withdraw(waiter);
    }

    /// Waits until everything written before the call is durable, and says up to where that is.
    pub(crate) fn sync_written(&self) -> Result<Offset, Error> {
        self.ensure_open()?;
        self.sync_written_in(self.incarnation()).map_err(|refusal| refusal.error)
    }

    /// The same for who has written in this incarnation: what came before a later one may be lost.
    pub(crate) fn sync_written_in(&self, incarnation: u64) -> Result<Offset, Refusal> {
        let end = self.ends().written_end;
        self.until_durable(end..end, incarnation).map(|range| range.end)
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
        let tail = self.take_tail();
        let (tail, (result, view)) = self.lend(tail, |tail| act(tail, self.ends()));
        let mut state = self.state.lock();
        if let Some(view) = view {
            state.view = view;
        }
        self.put_back(state, tail, Wakes::default());
        Ok(result)
    }

    /// Closes it for good, and has `act` take the tail apart, which is not opened for that.
    pub(crate) fn retire<R>(&self, error: &Error, act: impl FnOnce(&mut T) -> R) -> R
    where
        T::View: Default,
    {
        self.close(error);
        let tail = self.take_tail();
        let (tail, result) = self.lend(tail, act);
        let mut state = self.state.lock();
        state.view = T::View::default();
        state.ring.clear();
        let unsynced = state.commit.forget_unsynced();
        // There is nothing to be opened any more.
        self.opened.store(true, Ordering::Release);
        self.put_back(state, tail, Wakes::default());
        drop(unsynced);
        result
    }

    /// Opens the tail anew: after a failure, or to see what another process has added.
    ///
    /// A shard that has not failed stays as it is.
    pub(crate) fn reopen(&self) -> Result<(), Error> {
        let tail = self.take_tail();
        let state = self.state.lock();
        if self.is_opened() && state.commit.stopped().is_none() {
            self.put_back(state, tail, Wakes::default());
            return Ok(());
        }
        drop(state);
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
        let tail = self.take_tail();
        self.drain(tail);
    }

    /// Opens the tail if nobody has.
    pub(crate) fn ensure_open(&self) -> Result<(), Error> {
        if self.is_opened() {
            return Ok(());
        }
        let tail = self.take_tail();
        if self.is_opened() {
            self.put_back(self.state.lock(), tail, Wakes::default());
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

    /// Takes another sync policy.
    ///
    /// Everything written is made durable first, with no append under way: what readers have seen
    /// under a weaker policy is never hidden again by a stricter one.
    pub(crate) fn set_policy(&self, policy: SyncPolicy) -> Result<(), Error> {
        self.ensure_open()?;
        let tail = self.take_tail();
        let (tail, synced) = self.lend(tail, |_| self.sync_written());
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        if synced.is_ok() {
            state.commit.policy = policy;
            wakes.watchers.append(&mut state.commit.watchers);
        }
        self.put_back(state, tail, wakes);
        synced.map(|_| ())
    }

    fn open_tail(&self, tail: Box<T>) -> Result<(), Error> {
        let (mut tail, opened) = self.lend(tail, |tail| tail.open(self.ends().durable_end));
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        let result = match opened {
            Ok(Opened { end, view, stopped }) => {
                state.commit.reset(end, &mut wakes);
                state.view = view;
                state.ring.clear();
                if let Some(error) = &stopped {
                    state.commit.stop(error, &mut wakes);
                }
                self.incarnation.fetch_add(1, Ordering::AcqRel);
                drop(state);
                // The tail is still in hand: nothing is appended before this has succeeded.
                let recovered;
                (tail, recovered) = self.lend(tail, |_| self.background.recovered(self.id, end));
                state = self.state.lock();
                self.opened.store(recovered.is_ok(), Ordering::Release);
                match &recovered {
                    Ok(()) => state.commit.grant(&mut wakes),
                    Err(error) => state.commit.stop(&Error::poisoned(error), &mut wakes),
                }
                wakes.watchers.append(&mut state.commit.watchers);
                recovered
            }
            Err(error) => {
                // Those who submitted before the first opening have nothing to wait for any more.
                state.commit.refuse_tickets(&error, &mut wakes);
                Err(error)
            }
        };
        self.put_back(state, tail, wakes);
        result
    }

    /// Waits until nobody leads, and takes the tail.
    fn take_tail(&self) -> Box<T> {
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
}
