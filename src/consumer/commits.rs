//! Commits that nobody blocks for: done by the background, one after the other.
//!
//! They are done in the order of the calls, so that a later one is never overtaken by an earlier
//! one, and the member leaves behind them. Others may rely on this: every commit is answered, if the
//! log is closed as well.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::away::Away;
use crate::error::{Error, ErrorKind};
use crate::group::assign::MemberId;
use crate::group::coordinator::Group;
use crate::group::coordinator::commit::Proposed;
use crate::storage::store::Store;
use crate::storage::waiter::Waiter;
use crate::sync::{Arc, Shared, Weak};

/// A commit on its way: await it, wait for it, or drop it.
///
/// It was begun by the call that returned this, and dropping it undoes nothing.
#[must_use = "a commit can still fail"]
pub struct PendingCommit {
    slot: Arc<Waiter<Result<(), Error>>>,
}

impl PendingCommit {
    /// Parks until the outcome is known.
    ///
    /// # Errors
    /// As for the verb of the same name that blocks.
    pub fn wait(self) -> Result<(), Error> {
        loop {
            if let Some(outcome) = self.slot.wait() {
                return outcome;
            }
        }
    }

    pub(super) fn of(outcome: Result<(), Error>) -> Self {
        let slot = Arc::new(Waiter::default());
        slot.fill(outcome);
        Self { slot }
    }
}

impl Future for PendingCommit {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.slot.poll(context.waker())
    }
}

impl fmt::Debug for PendingCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingCommit").finish_non_exhaustive()
    }
}

/// The commits of one member.
#[derive(Debug)]
pub(super) struct Commits {
    group: Arc<Group>,
    member: MemberId,
    store: Arc<Store>,
    me: Weak<Self>,
    queue: Shared<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    errands: VecDeque<Errand>,
    /// Somebody is at it.
    is_served: bool,
}

#[derive(Debug)]
struct Errand {
    what: What,
    slot: Arc<Waiter<Result<(), Error>>>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum What {
    /// Commits all of this or nothing.
    Commit(Vec<Proposed>),
    /// Commits what of this is still the member's.
    CommitOwned(Vec<Proposed>),
    Leave,
}

impl Commits {
    pub(super) fn new(group: &Arc<Group>, member: MemberId, store: &Arc<Store>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            group: Arc::clone(group),
            member,
            store: Arc::clone(store),
            me: Weak::clone(me),
            queue: Shared::default(),
        })
    }

    /// Has something done behind everything that was begun before.
    pub(super) fn begin(&self, what: What) -> PendingCommit {
        let slot = Arc::new(Waiter::default());
        let errand = Errand { what, slot: Arc::clone(&slot) };
        let is_served = self.queue.with(|queue| {
            queue.errands.push_back(errand);
            std::mem::replace(&mut queue.is_served, true)
        });
        if !is_served && let Some(commits) = self.me.upgrade() {
            let round = Round { commits, is_done: false };
            let _nobody_waits = Away::start(&self.store, move || round.serve());
        }
        PendingCommit { slot }
    }

    /// Leaves the group, at once unless commits are under way.
    pub(super) fn leave(&self) -> PendingCommit {
        match self.queue.with(|queue| queue.is_served) {
            true => self.begin(What::Leave),
            false => PendingCommit::of(self.perform(What::Leave)),
        }
    }

    fn perform(&self, what: What) -> Result<(), Error> {
        let told = |verb: &'static str| {
            move |error: Error| error.during(format_args!("{verb} as {}", self.group.name()))
        };
        match what {
            What::Commit(parts) => self.group.commit(self.member, &parts).map_err(told("commit")),
            What::CommitOwned(parts) => {
                self.group.commit_owned(self.member, &parts).map_err(told("commit"))
            }
            What::Leave if self.group.leave(self.member) => Ok(()),
            What::Leave => Err(Error::bare(ErrorKind::Fenced)).map_err(told("leave")),
        }
    }

    /// The next errand; whoever finds none is at it no more.
    fn next(&self) -> Option<Errand> {
        self.queue.with(|queue| {
            let next = queue.errands.pop_front();
            queue.is_served = next.is_some();
            next
        })
    }
}

/// One go through the queue, until it is empty.
struct Round {
    commits: Arc<Commits>,
    is_done: bool,
}

impl Round {
    fn serve(mut self) {
        while let Some(Errand { what, slot }) = self.commits.next() {
            slot.fill(self.commits.perform(what));
        }
        self.is_done = true;
    }
}

impl Drop for Round {
    /// A closing log drops what it has not begun.
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        while let Some(Errand { what, slot }) = self.commits.next() {
            slot.fill(match what {
                // No file is needed to leave.
                What::Leave => self.commits.perform(What::Leave),
                _ => Err(Error::bare(ErrorKind::Closed)),
            });
        }
    }
}
