//! The commit protocol as plain data: who waits for what, which offsets are given, and what each
//! event changes.
//!
//! Nothing here locks, parks, or touches a file. [`crate::storage::shard`] puts one [`Commit`]
//! behind its lock, does the writing and syncing outside of it, and reports back. Whatever is to be
//! woken is collected in [`Wakes`] and woken after the lock.
//!
//! `durable end <= written end <= assigned end` always holds.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::config::SyncPolicy;
use crate::error::{Error, ErrorKind, Fate};
use crate::format::batch::Batch;
use crate::limits::{BACKGROUND_SYNC_BYTES, ROUND_BYTES_MAX};
use crate::offset::Offset;
use crate::storage::waiter::Waiter;
use crate::sync::Arc;

/// What became of an append.
pub(crate) type Outcome = Result<Range<Offset>, Refusal>;

/// Why an append failed, and what became of its records.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) fate: Fate,
}

impl Refusal {
    pub(crate) fn not_appended(error: Error) -> Self {
        Self { error, fate: Fate::NotAppended }
    }
}

/// How far an append is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    Nothing,
    Written,
    Durable,
}

/// A sender's slot, and whether a thread is parked on it that could be nudged to write or sync.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) waiter: Arc<Waiter<Outcome>>,
    pub(crate) is_thread: bool,
}

/// One batch in the queue.
#[derive(Debug)]
struct Entry {
    batch: Batch,
    waiting: Waiting,
}

/// Who waits for a batch that has its offsets.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) range: Range<Offset>,
    want: Want,
    /// None where nobody waits, or where the waiting thread is the one that leads.
    sender: Option<Sender>,
}

/// What a leader writes at once. Its memory goes from round to round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) batches: Vec<Batch>,
    waiting: Vec<Waiting>,
}

impl Round {
    /// The offsets of all its batches.
    pub(crate) fn range(&self) -> Range<Offset> {
        let start = self.waiting.first().map(|first| first.range.start);
        let end = self.waiting.last().map(|last| last.range.end);
        start.unwrap_or_default()..end.unwrap_or_default()
    }
}

/// A batch that waits for room.
#[derive(Debug)]
struct Ticket {
    batch: Batch,
    want: Want,
    sender: Sender,
    deadline: Option<Duration>,
}

#[derive(Debug)]
struct DurableWaiter {
    range: Range<Offset>,
    sender: Sender,
}

/// What must be synced before written offsets are durable.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub(crate) target: Arc<dyn SyncTarget>,
    pub(crate) end: Offset,
}

/// A file, or what else stands between written and durable.
pub(crate) trait SyncTarget: std::fmt::Debug + Send + Sync {
    /// Makes everything durable that was written before the call.
    fn sync(&self) -> Result<(), Error>;
}

/// Those to wake once the lock is released, and what to let go of then.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    outcomes: Vec<(Sender, Outcome)>,
    /// Threads that wait and could do something in the meantime.
    pub(crate) nudges: Vec<Arc<Waiter<Outcome>>>,
    pub(crate) watchers: Vec<Arc<Waiter<()>>>,
    /// Records that were accepted with no one waiting and then lost their offsets.
    pub(crate) void: Option<(Range<Offset>, Error)>,
    /// Why nothing can be appended from now on.
    pub(crate) failure: Option<Error>,
    /// Files that await no sync any more: the last handle of one closes it.
    released: Vec<Unsynced>,
}

impl Wakes {
    fn tell(&mut self, sender: Sender, outcome: Outcome) {
        self.outcomes.push((sender, outcome));
    }

    fn add_void(&mut self, range: Range<Offset>, error: &Error) {
        match &mut self.void {
            Some((void, _)) => void.end = range.end,
            None => self.void = Some((range, error.clone())),
        }
    }

    /// Whether nobody is to be woken or told anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
            && self.nudges.is_empty()
            && self.watchers.is_empty()
            && self.void.is_none()
            && self.failure.is_none()
    }

    /// Wakes everybody; no lock may be held.
    pub(crate) fn fire(self) {
        for (sender, outcome) in self.outcomes {
            sender.waiter.fill(outcome);
        }
        for waiter in self.nudges {
            waiter.nudge();
        }
        for watcher in self.watchers {
            watcher.fill(());
        }
    }
}

/// How much may be on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) queue_bytes: usize,
    pub(crate) unsynced_bytes: u64,
}

/// Where a partition or journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) written_end: Offset,
    pub(crate) durable_end: Offset,
}

/// The bookkeeping of one partition or journal.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) policy: SyncPolicy,
    budget: Budget,
    queue: VecDeque<Entry>,
    /// Bytes queued and in the round that is being written.
    queue_bytes: usize,
    tickets: VecDeque<Ticket>,
    pub(crate) assigned_end: Offset,
    pub(crate) written_end: Offset,
    pub(crate) durable_end: Offset,
    unsynced: Vec<Unsynced>,
    unsynced_bytes: u64,
    durable_waiters: VecDeque<DurableWaiter>,
    /// Somebody is syncing, or was just told to.
    pub(crate) syncing: bool,
    /// When an `Every` policy asks for the next sync.
    pub(crate) sync_at: Option<Duration>,
    pub(crate) watchers: Vec<Arc<Waiter<()>>>,
    /// Why nothing may be appended any more: the first failure.
    stopped: Option<Error>,
    /// Why nothing new is let in, though what is queued goes on: the end of the log or of the
    /// topic.
    closed: Option<Error>,
}

impl Commit {
    pub(crate) fn new(policy: SyncPolicy, budget: Budget) -> Self {
        Self {
            policy,
            budget,
            queue: VecDeque::new(),
            queue_bytes: 0,
            tickets: VecDeque::new(),
            assigned_end: Offset::ZERO,
            written_end: Offset::ZERO,
            durable_end: Offset::ZERO,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            durable_waiters: VecDeque::new(),
            syncing: false,
            sync_at: None,
            watchers: Vec::new(),
            stopped: None,
            closed: None,
        }
    }

    /// Starts anew at a recovered end, all of which is durable.
    pub(crate) fn reset(&mut self, end: Offset, wakes: &mut Wakes) {
        self.assigned_end = end;
        self.written_end = end;
        self.durable_end = end;
        wakes.released.append(&mut self.unsynced);
        self.unsynced_bytes = 0;
        self.sync_at = None;
        self.stopped = None;
    }

    /// Consumers see records below this offset.
    pub(crate) fn visible_end(&self) -> Offset {
        match self.policy {
            SyncPolicy::Always => self.durable_end,
            SyncPolicy::Every(_) | SyncPolicy::Never => self.written_end,
        }
    }

    pub(crate) fn ends(&self) -> Ends {
        Ends { written_end: self.written_end, durable_end: self.durable_end }
    }

    pub(crate) fn stopped(&self) -> Option<&Error> {
        self.stopped.as_ref()
    }

    /// Why an append is refused now, if it is.
    pub(crate) fn refuses(&self) -> Option<&Error> {
        self.closed.as_ref().or(self.stopped.as_ref())
    }

    pub(crate) fn closed(&self) -> Option<&Error> {
        self.closed.as_ref()
    }

    /// Lets nothing new in; what is queued goes on, and parked readers look again.
    pub(crate) fn close(&mut self, error: &Error, wakes: &mut Wakes) {
        self.closed.get_or_insert_with(|| error.clone());
        self.refuse_tickets(error, wakes);
        wakes.watchers.append(&mut self.watchers);
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    pub(crate) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    pub(crate) fn is_queue_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a batch of `bytes` may be queued at once, with nobody before it.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.tickets.is_empty() && self.fits(bytes)
    }

    fn fits(&self, bytes: usize) -> bool {
        // A batch larger than the whole budget must pass when it is alone.
        let queue = self.queue_bytes == 0 || self.queue_bytes + bytes <= self.budget.queue_bytes;
        queue && self.unsynced_bytes < self.budget.unsynced_bytes
    }

    /// Gives offsets to a batch and puts it last in the queue.
    pub(crate) fn enqueue(
        &mut self,
        batch: Batch,
        want: Want,
        sender: Option<Sender>,
    ) -> Range<Offset> {
        let start = self.assigned_end;
        // Two to the power of 64 records are never reached; a stop at the end is still better than
        // a reuse.
        let end = start.checked_add(batch.count()).unwrap_or(start);
        self.assigned_end = end;
        self.queue_bytes += batch.len();
        let waiting = Waiting { range: start..end, want, sender };
        self.queue.push_back(Entry { batch, waiting });
        start..end
    }

    /// Puts a batch last in the line for room.
    pub(crate) fn take_ticket(
        &mut self,
        batch: Batch,
        want: Want,
        sender: Sender,
        deadline: Option<Duration>,
    ) {
        self.tickets.push_back(Ticket { batch, want, sender, deadline });
    }

    /// Takes a batch out of the line for room; false if it is not there any more.
    pub(crate) fn withdraw(&mut self, waiter: &Arc<Waiter<Outcome>>) -> bool {
        let before = self.tickets.len();
        self.tickets.retain(|ticket| !Arc::ptr_eq(&ticket.sender.waiter, waiter));
        self.tickets.len() < before
    }

    /// Lets the batches at the head of the line in, as far as there is room.
    pub(crate) fn grant(&mut self, wakes: &mut Wakes) {
        while let Some(ticket) = self.tickets.front() {
            if self.refuses().is_none() && !self.fits(ticket.batch.len()) {
                return;
            }
            let Some(Ticket { batch, want, sender, .. }) = self.tickets.pop_front() else { return };
            match self.refuses().cloned() {
                Some(error) => wakes.tell(sender, refused(error, Fate::NotAppended)),
                None if want == Want::Nothing => {
                    let range = self.enqueue(batch, want, None);
                    wakes.tell(sender, Ok(range));
                }
                None => {
                    self.enqueue(batch, want, Some(sender));
                }
            }
        }
    }

    /// Turns away those whose time in the line for room is over.
    pub(crate) fn expire(&mut self, now: Duration, wakes: &mut Wakes) {
        let mut waiting = VecDeque::with_capacity(self.tickets.len());
        for ticket in self.tickets.drain(..) {
            if ticket.deadline.is_some_and(|deadline| deadline <= now) {
                wakes.tell(ticket.sender, refused(no_room(), Fate::NotAppended));
            } else {
                waiting.push_back(ticket);
            }
        }
        self.tickets = waiting;
    }

    /// Takes the next round off the queue: as many batches as fit one write, and at least one.
    pub(crate) fn take_round(&mut self, round: &mut Round) {
        let mut bytes = 0;
        while let Some(entry) = self.queue.front() {
            bytes += entry.batch.len();
            if !round.batches.is_empty() && bytes > ROUND_BYTES_MAX {
                break;
            }
            let Some(Entry { batch, waiting }) = self.queue.pop_front() else { break };
            round.batches.push(batch);
            round.waiting.push(waiting);
        }
    }

    /// A thread in the queue that could lead, so that leadership can be handed on to it.
    pub(crate) fn next_leader(&self) -> Option<Arc<Waiter<Outcome>>> {
        let mut senders = self.queue.iter().filter_map(|entry| entry.waiting.sender.as_ref());
        senders.find(|sender| sender.is_thread).map(|sender| Arc::clone(&sender.waiter))
    }

    /// A round stands in the file: its offsets are written, and its bytes await a sync.
    pub(crate) fn written(
        &mut self,
        round: &mut Round,
        (bytes, target): (usize, Arc<dyn SyncTarget>),
        wakes: &mut Wakes,
    ) {
        self.queue_bytes = self.queue_bytes.saturating_sub(bytes);
        let end = round.range().end;
        self.written_end = end;
        self.unsynced_bytes += bytes as u64;
        match self.unsynced.last_mut() {
            Some(last) if Arc::ptr_eq(&last.target, &target) => last.end = end,
            _ => self.unsynced.push(Unsynced { target, end }),
        }
        for Waiting { range, want, sender } in round.waiting.drain(..) {
            match (want, sender) {
                (Want::Durable, Some(sender)) => {
                    self.durable_waiters.push_back(DurableWaiter { range, sender });
                }
                (_, Some(sender)) => wakes.tell(sender, Ok(range)),
                (_, None) => {}
            }
        }
        if self.policy != SyncPolicy::Always {
            wakes.watchers.append(&mut self.watchers);
        }
        self.grant(wakes);
    }

    /// A round failed and left nothing behind: it and the queue give their offsets back.
    pub(crate) fn round_failed(
        &mut self,
        round: &mut Round,
        error: &Error,
        fate: Fate,
        wakes: &mut Wakes,
    ) {
        let queued = std::mem::take(&mut self.queue);
        let queued = queued.into_iter().map(|entry| (entry.waiting, Fate::NotAppended));
        round.batches.clear();
        for (entry, fate) in round.waiting.drain(..).map(|entry| (entry, fate)).chain(queued) {
            match entry.sender {
                Some(sender) => wakes.tell(sender, refused(error.clone(), fate)),
                None if entry.want == Want::Nothing => wakes.add_void(entry.range, error),
                None => {}
            }
        }
        self.queue_bytes = 0;
        self.assigned_end = self.written_end;
        self.grant(wakes);
    }

    /// Nothing is appended from now on: whoever waits is answered.
    ///
    /// A round that is being written is not answered here, but by whoever is writing it.
    pub(crate) fn stop(&mut self, error: &Error, wakes: &mut Wakes) {
        self.stopped.get_or_insert_with(|| error.clone());
        for waiting in self.durable_waiters.drain(..) {
            wakes.tell(waiting.sender, refused(error.clone(), Fate::Unknown));
        }
        self.round_failed(&mut Round::default(), error, Fate::NotAppended, wakes);
        wakes.watchers.append(&mut self.watchers);
    }

    /// A write or a sync failed, and what the file holds is in doubt.
    pub(crate) fn poison(&mut self, error: &Error, wakes: &mut Wakes) {
        if self.stopped.is_none() {
            wakes.failure = Some(error.clone());
        }
        self.stopped.get_or_insert_with(|| Error::poisoned(error));
        self.stop(error, wakes);
    }

    /// Adds a waiter for the durability of offsets that are written already.
    pub(crate) fn await_durable(&mut self, range: Range<Offset>, sender: Sender) {
        let behind = self.durable_waiters.partition_point(|other| other.range.end <= range.end);
        self.durable_waiters.insert(behind, DurableWaiter { range, sender });
    }

    /// Whether a sync is asked for by policy, by a waiter, by time or by the bytes at stake.
    pub(crate) fn needs_sync(&self, now: impl FnOnce() -> Duration) -> bool {
        self.written_end > self.durable_end
            && self.stopped.is_none()
            && (self.policy == SyncPolicy::Always
                || !self.durable_waiters.is_empty()
                || self.unsynced_bytes >= BACKGROUND_SYNC_BYTES.min(self.budget.unsynced_bytes)
                || self.sync_at.is_some_and(|at| at <= now()))
    }

    /// What a sync that starts now covers: the targets, the end they prove, and the bytes.
    pub(crate) fn begin_sync(&self) -> (Vec<Arc<dyn SyncTarget>>, Offset, u64) {
        let targets = self.unsynced.iter().map(|unsynced| Arc::clone(&unsynced.target)).collect();
        (targets, self.written_end, self.unsynced_bytes)
    }

    /// Gives up what awaits a sync: the files are gone, and nothing in them can be lost any more.
    pub(crate) fn forget_unsynced(&mut self) -> Vec<Unsynced> {
        std::mem::take(&mut self.unsynced)
    }

    /// Sets the time of the next sync where the policy asks for one; how far off it is, if it was
    /// not set before.
    pub(crate) fn arm_interval(&mut self, now: impl FnOnce() -> Duration) -> Option<Duration> {
        let SyncPolicy::Every(interval) = self.policy else { return None };
        if self.sync_at.is_some() || self.written_end <= self.durable_end || self.stopped.is_some()
        {
            return None;
        }
        self.sync_at = Some(now().saturating_add(interval));
        Some(interval)
    }

    /// Everything written was made durable on the way to something else.
    pub(crate) fn synced_all(&mut self, wakes: &mut Wakes) {
        wakes.released.append(&mut self.unsynced);
        self.synced(self.written_end, self.unsynced_bytes, wakes);
    }

    /// A sync has made everything below `end` durable; whoever synced still holds what it synced.
    pub(crate) fn synced(&mut self, end: Offset, bytes: u64, wakes: &mut Wakes) {
        self.unsynced.retain(|unsynced| unsynced.end > end);
        self.unsynced_bytes = self.unsynced_bytes.saturating_sub(bytes);
        self.sync_at = None;
        if end <= self.durable_end {
            return;
        }
        self.durable_end = end;
        while let Some(waiting) = self.durable_waiters.front() {
            if waiting.range.end > end {
                break;
            }
            let Some(DurableWaiter { range, sender }) = self.durable_waiters.pop_front() else {
                break;
            };
            wakes.tell(sender, Ok(range));
        }
        wakes.watchers.append(&mut self.watchers);
        self.grant(wakes);
    }

    /// A thread that waits for durability and could sync for all who do.
    pub(crate) fn next_syncer(&self) -> Option<Arc<Waiter<Outcome>>> {
        let mut waiting = self.durable_waiters.iter().map(|waiting| &waiting.sender);
        waiting.find(|sender| sender.is_thread).map(|sender| Arc::clone(&sender.waiter))
    }

    /// Turns away everybody in the line for room.
    pub(crate) fn refuse_tickets(&mut self, error: &Error, wakes: &mut Wakes) {
        for ticket in self.tickets.drain(..) {
            wakes.tell(ticket.sender, refused(error.clone(), Fate::NotAppended));
        }
    }
}

fn refused(error: Error, fate: Fate) -> Outcome {
    Err(Refusal { error, fate })
}

/// The answer to whoever found no room in time.
pub(crate) fn no_room() -> Error {
    Error::new(ErrorKind::Timeout, "no room in the send budget")
}
