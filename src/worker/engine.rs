//! The worker around its ledger: one state under a short lock, and errands done without it.
//!
//! Whoever has time, a thread or a task, asks for the next step. An errand is done by the one who
//! asked; it takes what it needs out of the state, above all the consumer, and puts it back.
//! Possession is the duty: who has the consumer polls or commits, and nobody else can. Nobody waits
//! for a lock while somebody touches a file.
//!
//! **Invariants**: a caller that finds nothing to do leaves its waker, and one of those that left
//! theirs is woken whenever there is more to do than its finder does itself.

use std::collections::BTreeMap;
use std::task::{Wake, Waker};
use std::time::Duration;

use crate::dlq::DeadLetters;
use crate::error::Error;
use crate::group::hand_over::HandOver;
use crate::group::offsets::CommittedOffset;
use crate::log::Log;
use crate::name::GroupName;
use crate::offset::{Offset, Timestamp, TopicPartition};
use crate::record::StoredRecord;
use crate::sync::{Arc, Shared, Weak};

use super::errand::{Errand, Seat};
use super::failure::{Answer, Reason};
use super::handler::Handler;
use super::ledger::{Attempt, Ledger, Means, Next, Now, Run};
use super::rules::{Rules, patience};
use super::source::Source;
use super::status::{State as Doing, Status};

mod membership;
mod records;

/// What a worker is made of.
pub(super) struct Engine {
    pub(super) log: Log,
    pub(super) group: GroupName,
    pub(super) handler: Arc<dyn Handler>,
    /// Whether the session before this one did not close the log.
    was_cut_short: bool,
    source: Source,
    letters: DeadLetters,
    bell: Waker,
    state: Shared<State>,
}

/// What the next step is.
pub(super) enum Step {
    Handle(Attempt<StoredRecord>),
    Errand(Errand),
    /// Nothing until the waker is woken, or until this time.
    Idle(Option<Duration>),
    /// It is over.
    Ended,
}

/// How a worker has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    /// Whether everything that was begun was finished.
    pub(super) is_drained: bool,
    /// What made it end, if it was not asked to.
    pub(super) error: Option<Error>,
    /// The records that handlers still had.
    pub(super) abandoned: Vec<(TopicPartition, Offset)>,
}

struct State {
    ledger: Ledger<StoredRecord>,
    membership: Membership,
    /// The right to commit for partitions that are to leave.
    tokens: BTreeMap<TopicPartition, HandOver>,
    /// Tokens of assignments that others have come after.
    loose: Vec<HandOver>,
    /// Where partitions began that were not opened yet.
    begins: BTreeMap<TopicPartition, Begin>,
    has_joined: bool,
    should_poll: bool,
    /// The last commit named a partition that is not the worker's any more.
    is_refused: bool,
    /// Why polls fail, how often in a row, and when to try again.
    poll_failure: Option<(Reason, u32, Duration)>,
    /// Those who have time.
    idle: Vec<Waker>,
    is_stopping: bool,
    end: Option<End>,
}

/// Where the worker's membership is.
enum Membership {
    /// It has none; it asks for one from this time on.
    None { join_at: Duration },
    /// At hand.
    Here(Box<Seat>),
    /// In somebody's hands.
    Away,
}

/// What was committed of a partition when it was assigned.
#[derive(Clone, Debug, Default)]
struct Begin {
    committed: Option<CommittedOffset>,
    at_open: Option<Offset>,
}

impl Engine {
    pub(super) fn new(
        log: Log,
        group: GroupName,
        source: Source,
        handler: Arc<dyn Handler>,
        (rules, letters): (Rules, DeadLetters),
    ) -> Arc<Self> {
        let was_cut_short = log.was_cut_short();
        let state = State {
            ledger: Ledger::new(rules),
            membership: Membership::None { join_at: Duration::ZERO },
            tokens: BTreeMap::new(),
            loose: Vec::new(),
            begins: BTreeMap::new(),
            has_joined: false,
            should_poll: false,
            is_refused: false,
            poll_failure: None,
            idle: Vec::new(),
            is_stopping: false,
            end: None,
        };
        Arc::new_cyclic(|me| Self {
            log,
            group,
            handler,
            was_cut_short,
            source,
            letters,
            bell: Waker::from(Arc::new(Bell { engine: Weak::clone(me) })),
            state: Shared::new(state),
        })
    }

    /// This moment, for the ledger.
    pub(super) fn now(&self) -> Now {
        let env = self.log.env();
        Now {
            monotonic: env.clock.monotonic(),
            wall: Timestamp::from_millis(env.clock.wall_millis()),
            chance: env.entropy.next_u64(),
        }
    }

    /// What to do next; who finds nothing is woken by `waker` when there is something.
    pub(super) fn step(&self, can_handle: bool, waker: &Waker) -> Step {
        let now = self.now();
        let (step, released, helper) = self.state.with(|state| {
            state.ledger.expire(now);
            let released = state.release();
            let step = state.step(can_handle, now);
            let helper = match &step {
                Step::Idle(_) => {
                    state.note_idle(waker);
                    None
                }
                Step::Ended => None,
                Step::Handle(_) | Step::Errand(_) => {
                    state.has_more(now).then(|| state.idle.pop()).flatten()
                }
            };
            (step, released, helper)
        });
        drop(released);
        if let Some(helper) = helper {
            helper.wake();
        }
        step
    }

    /// A handler has answered.
    pub(super) fn finish(&self, run: Run, answer: Answer) {
        let now = self.now();
        self.state.with(|state| {
            // What comes after its time is late, even if nobody has noticed yet.
            state.ledger.expire(now);
            state.ledger.finish(run, answer, now);
        });
    }

    /// A handler was stopped half-way: no attempt is spent, unless its time was over.
    pub(super) fn abandon(&self, run: Run) {
        let now = self.now();
        self.state.with(|state| {
            state.ledger.expire(now);
            state.ledger.abandon(run, now);
        });
    }

    /// Begins nothing any more; what was begun is finished.
    pub(super) fn stop(&self) {
        let now = self.now();
        self.state.with(|state| {
            state.is_stopping = true;
            state.ledger.stop(now);
        });
        self.ring_all();
    }

    pub(super) fn set_paused(&self, is_paused: bool) {
        let now = self.now();
        self.state.with(|state| state.ledger.set_paused(is_paused, now));
        self.ring_all();
    }

    /// Ends at once, whatever is under way; tells the records that handlers still have.
    pub(super) fn cut_off(&self, error: Option<Error>) -> End {
        let now = self.now();
        let (end, gone) = self.state.with(|state| {
            if let Some(end) = &state.end {
                return (end.clone(), None);
            }
            let running = state.ledger.status(now).partitions.into_iter().flat_map(|partition| {
                let place = partition.partition;
                partition.running.into_iter().map(move |running| (place.clone(), running.offset))
            });
            let end = End { is_drained: false, error, abandoned: running.collect() };
            let gone = state.end(end.clone());
            (end, Some(gone))
        });
        drop(gone);
        self.ring_all();
        end
    }

    pub(super) fn status(&self) -> Status {
        let now = self.now();
        self.state.with(|state| {
            state.ledger.expire(now);
            let mut status = state.ledger.status(now);
            if state.end.is_some() {
                status.state = Doing::Stopped;
            }
            status.poll_failure = state.poll_failure.as_ref().map(|(reason, ..)| reason.clone());
            status
        })
    }

    /// Wakes one of those who have time.
    pub(super) fn ring(&self) {
        if let Some(idle) = self.state.with(|state| state.idle.pop()) {
            idle.wake();
        }
    }

    fn ring_all(&self) {
        for idle in self.state.with(|state| std::mem::take(&mut state.idle)) {
            idle.wake();
        }
    }

    /// The group or a partition has something new.
    fn hear(&self) {
        let helper = self.state.with(|state| {
            state.should_poll = true;
            state.idle.pop()
        });
        if let Some(helper) = helper {
            helper.wake();
        }
    }
}

impl State {
    fn step(&mut self, can_handle: bool, now: Now) -> Step {
        if self.end.is_some() {
            return Step::Ended;
        }
        if let Some(errand) = self.errand_of_member(now) {
            return Step::Errand(errand);
        }
        if self.end.is_some() {
            return Step::Ended;
        }
        let commit = matches!(self.membership, Membership::Here(_));
        match self.ledger.next(Means { commit, handle: can_handle }, now) {
            Next::Open(opening) => Step::Errand(Errand::Open(opening)),
            Next::Letter(letter) => Step::Errand(Errand::Letter(letter)),
            Next::Handle(attempt) => Step::Handle(attempt),
            Next::Commit(plan) => match std::mem::replace(&mut self.membership, Membership::Away) {
                Membership::Here(seat) => Step::Errand(Errand::Commit(seat, plan)),
                // Nobody else could take it since it was looked for.
                other => {
                    self.membership = other;
                    self.ledger.commit_refused(&plan, now);
                    Step::Idle(None)
                }
            },
            Next::Idle(date) => Step::Idle(self.date(date)),
        }
    }

    /// What is to be done by whoever has the membership.
    fn errand_of_member(&mut self, now: Now) -> Option<Errand> {
        match &self.membership {
            Membership::None { .. } if self.is_stopping => {
                self.end = Some(End { is_drained: true, ..End::default() });
                None
            }
            Membership::None { join_at } if *join_at <= now.monotonic => {
                self.membership = Membership::Away;
                Some(Errand::Join)
            }
            Membership::Here(_) => {
                let is_done = self.ledger.is_stopped();
                let may_poll =
                    self.poll_failure.as_ref().is_none_or(|(_, _, at)| *at <= now.monotonic);
                let wants_poll = may_poll && (self.should_poll || self.ledger.has_taps_to_turn());
                if !is_done && !wants_poll {
                    return None;
                }
                let Membership::Here(seat) =
                    std::mem::replace(&mut self.membership, Membership::Away)
                else {
                    return None;
                };
                if is_done {
                    return Some(Errand::Leave(seat));
                }
                self.should_poll = false;
                Some(Errand::Poll(seat, self.ledger.turn_taps()))
            }
            Membership::None { .. } | Membership::Away => None,
        }
    }

    /// When somebody has to look again, if nothing happens before.
    fn date(&self, date: Option<Duration>) -> Option<Duration> {
        let join_at = match &self.membership {
            Membership::None { join_at } => Some(*join_at),
            Membership::Here(_) | Membership::Away => None,
        };
        let poll_at = self.poll_failure.as_ref().filter(|_| self.should_poll);
        let poll_at = poll_at.map(|(_, _, at)| *at);
        [date, join_at, poll_at].into_iter().flatten().min()
    }

    fn has_more(&self, now: Now) -> bool {
        let can_poll = self.should_poll && matches!(self.membership, Membership::Here(_));
        can_poll || self.ledger.has_more(now)
    }

    fn note_idle(&mut self, waker: &Waker) {
        if !self.idle.iter().any(|idle| idle.will_wake(waker)) {
            self.idle.push(waker.clone());
        }
    }

    /// The tokens of partitions that nothing keeps here any more, to be dropped without the lock.
    fn release(&mut self) -> Vec<HandOver> {
        while let Some(place) = self.ledger.release() {
            self.begins.remove(&place);
        }
        let mut released = std::mem::take(&mut self.loose);
        let (ledger, tokens) = (&self.ledger, std::mem::take(&mut self.tokens));
        for (place, token) in tokens {
            match ledger.has(&place) {
                true => drop(self.tokens.insert(place, token)),
                false => released.push(token),
            }
        }
        released
    }

    /// Ends; what is returned is dropped without the lock.
    fn end(&mut self, end: End) -> (Membership, Vec<HandOver>) {
        self.end.get_or_insert(end);
        let membership = std::mem::replace(&mut self.membership, Membership::Away);
        (membership, self.take_tokens())
    }

    /// All tokens, to be dropped without the lock.
    fn take_tokens(&mut self) -> Vec<HandOver> {
        let tokens = std::mem::take(&mut self.tokens).into_values();
        tokens.chain(self.loose.drain(..)).collect()
    }

    /// A poll, or joining, has failed; it is tried again later.
    fn note_poll_failure(&mut self, error: Error, now: Now) -> Duration {
        let tries = self.poll_failure.as_ref().map_or(0, |(_, tries, _)| *tries).saturating_add(1);
        let retry_at = now.monotonic.saturating_add(patience(tries, now.chance));
        self.poll_failure = Some((error.into(), tries, retry_at));
        retry_at
    }
}

/// Tells the engine that a poll may find something.
struct Bell {
    engine: Weak<Engine>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(engine) = self.engine.upgrade() {
            engine.hear();
        }
    }
}
