//! Commits: what may be committed, and in which order it stands.
//!
//! A commit is checked and queued in one critical section, then written with no lock held. A write
//! that fails takes the commit back, unless a newer one has taken its place: the group never counts
//! on what its journal has refused.

use std::time::Duration;

use crate::config::SyncPolicy;
use crate::error::{Error, ErrorKind};
use crate::group::assign::MemberId;
use crate::group::coordinator::{Committed, Group, Position, State, fenced};
use crate::group::membership::Event;
use crate::group::offsets::{CommittedOffset, commit_change, pattern_change};
use crate::offset::{Offset, ShardId, TopicId, TopicPartition};
use crate::storage::commit::{Refusal, Want};
use crate::storage::journal::{Change, Enqueued};
use crate::storage::store::PartitionShard;
use crate::storage::waiter::Waiter;
use crate::sync::Arc;

/// One partition's part of a commit.
#[derive(Clone, Debug)]
pub(crate) struct Proposed {
    pub(crate) place: TopicPartition,
    pub(crate) id: ShardId,
    /// That of the assignment under which it was read.
    pub(crate) epoch: u64,
    pub(crate) shard: Arc<PartitionShard>,
    pub(crate) at: CommittedOffset,
}

/// What a partition allows a commit to be, and under which incarnation that was so.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    incarnation: u64,
    start: Offset,
    end: Offset,
    is_always: bool,
}

/// What becomes of a commit of which a part is not the member's.
#[derive(Debug)]
enum Strictness {
    /// Nothing is committed.
    All,
    /// The other parts are committed; but a part that was queued once, and came to nothing, counts as
    /// asked for: by queueing it the member may have let the partition go.
    Owned { queued: Vec<ShardId> },
}

/// What the critical section came to.
enum Verdict {
    /// Everything stands already.
    Nothing,
    /// A partition was opened anew since its bounds were read.
    LookAgain,
    Queued(Enqueued, Ticket),
}

/// The parts of one commit that were queued, to be confirmed or taken back.
struct Ticket {
    number: u64,
    positions: Vec<(ShardId, Option<CommittedOffset>)>,
    /// Patterns that are known from now on, or not any more.
    patterns: Vec<(String, bool)>,
}

impl Group {
    /// Commits for a member, all parts as one entry; they survive as the topics' records do.
    ///
    /// # Errors
    /// `Fenced`, `NotOwner`, `OffsetRegression`, `OffsetOutOfRange` behind the visible end,
    /// `InvalidRecord` for too much metadata; nothing is committed then. What the system says; the
    /// commit may then be found after a restart all the same.
    pub(crate) fn commit(&self, member: MemberId, parts: &[Proposed]) -> Result<(), Error> {
        parts.iter().try_for_each(|part| part.at.check())?;
        self.written(|group| group.propose(member, parts, &mut Strictness::All))
    }

    /// The same for what of `parts` is the member's and goes forward; the others are left out.
    pub(crate) fn commit_owned(&self, member: MemberId, parts: &[Proposed]) -> Result<(), Error> {
        let mut strictness = Strictness::Owned { queued: Vec::new() };
        self.written(|group| group.propose(member, parts, &mut strictness))
    }

    /// Commits first positions for partitions that have none, as one entry, with the patterns they
    /// were found by.
    pub(crate) fn seed(
        &self,
        positions: &[(ShardId, Offset)],
        patterns: &[String],
    ) -> Result<(), Error> {
        self.written(|group| {
            group.state.with(|state| {
                state.check_open()?;
                // One that somebody else has queued is waited for: it may come to nothing.
                let new = positions.iter().filter(|(shard, _)| !state.is_confirmed(*shard));
                let new = new.map(|(shard, at)| {
                    let queued = state.queued(*shard);
                    (*shard, Some(queued.unwrap_or_else(|| CommittedOffset::at(*at))))
                });
                let new = new.collect::<Vec<_>>();
                let known = patterns.iter().filter(|pattern| !state.patterns.contains(*pattern));
                let known = known.map(|pattern| (pattern.clone(), true)).collect();
                group.queue(state, new, known, Want::Durable)
            })
        })
    }

    /// Lowers what is committed of a partition behind `end`; from where it was, if it was.
    ///
    /// Who owns the partition and has seen more begins anew there: other records come where those
    /// were that it has seen.
    pub(crate) fn lower(&self, shard: ShardId, end: Offset) -> Result<Option<Offset>, Error> {
        if !self.state.with(|state| state.is_ahead(shard, end)) {
            // Nothing is written for a partition that is merely opened.
            return Ok(None);
        }
        let mut from = None;
        self.written(|group| {
            let now = group.now();
            let (verdict, wakes) = group.state.with(|state| {
                let wakes = state.begin_anew(shard, end, now);
                let queued = state.queued(shard).filter(|at| at.offset() > end);
                let Some(at) = queued else { return Ok((Verdict::Nothing, wakes)) };
                from = from.max(Some(at.offset()));
                let lowered = CommittedOffset::at(end).with_metadata(at.metadata().clone());
                let lowered = vec![(shard, Some(lowered))];
                let verdict = group.queue(state, lowered, Vec::new(), Want::Durable)?;
                Ok::<_, Error>((verdict, wakes))
            })?;
            wakes.iter().for_each(|waiter| waiter.fill(()));
            Ok(verdict)
        })?;
        Ok(from)
    }

    /// Puts the group elsewhere, durably; a partition without an offset is forgotten.
    ///
    /// # Errors
    /// `GroupActive` if there are members and they are not to be fenced.
    pub(crate) fn reset(
        &self,
        changes: &[(ShardId, Option<CommittedOffset>)],
        fences: bool,
    ) -> Result<(), Error> {
        // Who has stayed away for too long does not keep anybody from it.
        self.apply(Event::Tick);
        self.written(|group| {
            let now = group.now();
            let (verdict, wakes) = group.state.with(|state| {
                let mut wakes = Vec::new();
                // In one go with the entry: nobody may join in between and go on from before it.
                if fences {
                    let effects = state.membership.apply(Event::Disband, now);
                    wakes = state.wakes(&effects);
                }
                state.check_idle()?;
                let verdict = group.queue(state, changes.to_vec(), Vec::new(), Want::Durable)?;
                Ok::<_, Error>((verdict, wakes))
            })?;
            wakes.iter().for_each(|waiter| waiter.fill(()));
            Ok(verdict)
        })
    }

    /// Forgets everything that the group has committed, durably.
    ///
    /// # Errors
    /// `GroupActive` if there are members.
    pub(crate) fn erase(&self) -> Result<(), Error> {
        self.apply(Event::Tick);
        self.written(|group| {
            group.state.with(|state| {
                state.check_idle()?;
                let all = state.positions.keys().map(|shard| (*shard, None)).collect();
                let patterns = state.patterns.iter().map(|known| (known.clone(), false)).collect();
                group.queue(state, all, patterns, Want::Durable)
            })
        })
    }

    /// Forgets a topic that was deleted.
    pub(crate) fn forget_topic(&self, topic: TopicId) -> Result<(), Error> {
        self.written(|group| {
            group.state.with(|state| {
                let of_topic = state.positions.keys().filter(|shard| shard.topic == topic);
                let of_topic = of_topic.map(|shard| (*shard, None)).collect();
                group.queue(state, of_topic, Vec::new(), Want::Written)
            })
        })
    }

    /// Runs a critical section that queues something, writes it with no lock held, and settles what
    /// came of it.
    ///
    /// A journal that has failed is healed by a new file, so that a second attempt is worth it; the
    /// section runs again, because the world may have changed. Where the second attempt is refused, the
    /// first failure is told: a commit that was queued can have let a partition go that it names.
    fn written(
        &self,
        mut section: impl FnMut(&Self) -> Result<Verdict, Error>,
    ) -> Result<(), Error> {
        let mut first_failure = None;
        loop {
            let prepared = self.home.journal.prepare().and_then(|()| section(self));
            let (enqueued, ticket) =
                match prepared.map_err(|error| first_failure.clone().unwrap_or(error))? {
                    Verdict::Nothing => return Ok(()),
                    Verdict::LookAgain => continue,
                    Verdict::Queued(enqueued, ticket) => (enqueued, ticket),
                };
            let outcome = self.home.journal.finish(enqueued);
            self.settle(ticket, outcome.is_ok());
            match (outcome, first_failure.take()) {
                (Ok(()), _) => return Ok(()),
                (Err(Refusal { error, .. }), None) => first_failure = Some(error),
                (Err(_), Some(first)) => return Err(first),
            }
        }
    }

    /// The critical section of a commit.
    fn propose(
        &self,
        member: MemberId,
        parts: &[Proposed],
        strictness: &mut Strictness,
    ) -> Result<Verdict, Error> {
        let bounds = parts.iter().map(Bounds::read).collect::<Result<Vec<_>, _>>()?;
        let now = self.now();
        let (verdict, wakes) = self.state.with(|state| {
            state.check_open()?;
            if !state.membership.is_member(member) {
                return Err(fenced());
            }
            let mut changes = Vec::with_capacity(parts.len());
            let mut want = Want::Written;
            for (part, bounds) in parts.iter().zip(&bounds) {
                if part.shard.incarnation() != bounds.incarnation {
                    return Ok((Verdict::LookAgain, Vec::new()));
                }
                match state.check(member, part, bounds) {
                    Ok(()) => {}
                    Err(_) if strictness.leaves_out(part.id) => continue,
                    Err(error) => return Err(error.of_partition(&part.place)),
                }
                if !state.stands(part.id, &part.at) {
                    changes.push((part.id, Some(part.at.clone())));
                    want = if bounds.is_always { Want::Durable } else { want };
                }
            }
            let verdict = self.queue(state, changes, Vec::new(), want)?;
            strictness.note(&verdict);
            let mut wakes = Vec::new();
            for part in parts {
                if state.is_covered_now(part.id) {
                    let effects = state.membership.apply(Event::Covered(part.id), now);
                    wakes.extend(state.wakes(&effects));
                }
            }
            Ok((verdict, wakes))
        })?;
        wakes.iter().for_each(|waiter| waiter.fill(()));
        Ok(verdict)
    }

    /// Queues changes as one entry and notes them in the state.
    fn queue(
        &self,
        state: &mut State,
        positions: Vec<(ShardId, Option<CommittedOffset>)>,
        patterns: Vec<(String, bool)>,
        want: Want,
    ) -> Result<Verdict, Error> {
        let of_pattern = patterns
            .iter()
            .map(|(pattern, is_known)| pattern_change(&self.name, pattern, *is_known));
        let of_position = positions.iter();
        let of_position =
            of_position.map(|(shard, at)| commit_change(&self.name, *shard, at.as_ref()));
        let changes = of_pattern.chain(of_position).collect::<Vec<Change>>();
        if changes.is_empty() {
            return Ok(Verdict::Nothing);
        }
        let enqueued = self.home.journal.enqueue(&changes, want);
        let enqueued = enqueued.map_err(|refusal| refusal.error)?;
        state.last_commit += 1;
        let number = state.last_commit;
        for (shard, at) in &positions {
            let position = state.positions.entry(*shard).or_default();
            position.queued = at.clone().map(|at| Committed { at, number });
            if at.is_none() {
                position.delivered = None;
            }
        }
        Ok(Verdict::Queued(enqueued, Ticket { number, positions, patterns }))
    }

    fn settle(&self, ticket: Ticket, is_written: bool) {
        let Ticket { number, positions, patterns } = ticket;
        self.state.with(|state| {
            for (pattern, is_known) in patterns.into_iter().filter(|_| is_written) {
                match is_known {
                    true => state.patterns.insert(pattern),
                    false => state.patterns.remove(&pattern),
                };
            }
            for (shard, at) in positions {
                let Some(position) = state.positions.get_mut(&shard) else { continue };
                match is_written {
                    true => position.confirm(at.map(|at| Committed { at, number })),
                    false => position.take_back(number),
                }
                if position.is_blank() {
                    state.positions.remove(&shard);
                }
            }
        });
    }
}

impl Strictness {
    fn leaves_out(&self, shard: ShardId) -> bool {
        matches!(self, Self::Owned { queued } if !queued.contains(&shard))
    }

    fn note(&mut self, verdict: &Verdict) {
        if let (Self::Owned { queued }, Verdict::Queued(_, ticket)) = (self, verdict) {
            queued.extend(ticket.positions.iter().map(|(shard, _)| *shard));
        }
    }
}

impl State {
    fn check_idle(&self) -> Result<(), Error> {
        match self.membership.is_empty() {
            true => Ok(()),
            false => Err(Error::bare(ErrorKind::GroupActive)),
        }
    }

    fn check(&self, member: MemberId, part: &Proposed, bounds: &Bounds) -> Result<(), Error> {
        if !self.membership.owns(member, part.id, part.epoch) {
            return Err(Error::new(ErrorKind::NotOwner, part.place.to_string()));
        }
        let offset = part.at.offset();
        let queued = self.queued(part.id).map(|queued| queued.offset());
        if let Some(queued) = queued.filter(|queued| offset < *queued) {
            let text = format!("{}@{offset}, and {queued} is committed", part.place);
            return Err(Error::new(ErrorKind::OffsetRegression, text));
        }
        if offset > bounds.end {
            return Err(Error::out_of_range(offset, bounds.start..bounds.end));
        }
        Ok(())
    }

    /// Whether more of a partition was committed or handed out than `end`.
    fn is_ahead(&self, shard: ShardId, end: Offset) -> bool {
        self.positions.get(&shard).is_some_and(|position| {
            let queued = position.queued.as_ref().map(|queued| queued.at.offset());
            let delivered = position.delivered.map(|(_, end)| end);
            queued.max(delivered) > Some(end)
        })
    }

    /// Gives a partition anew to its owner, if more of it was committed or handed out than `end`.
    fn begin_anew(&mut self, shard: ShardId, end: Offset, now: Duration) -> Vec<Arc<Waiter<()>>> {
        if !self.is_ahead(shard, end) {
            return Vec::new();
        }
        if let Some(position) = self.positions.get_mut(&shard) {
            position.delivered = None;
        }
        let effects = self.membership.apply(Event::Renew(shard), now);
        self.wakes(&effects)
    }

    /// Whether the journal has confirmed exactly this, and nothing newer is on its way.
    fn stands(&self, shard: ShardId, at: &CommittedOffset) -> bool {
        let position = self.positions.get(&shard);
        position.is_some_and(|Position { queued, stands, .. }| {
            let confirmed = stands.as_ref().filter(|stands| stands.at == *at);
            confirmed.is_some_and(|stands| {
                queued.as_ref().is_some_and(|queued| queued.number == stands.number)
            })
        })
    }

    /// Whether the journal has confirmed anything of a partition.
    fn is_confirmed(&self, shard: ShardId) -> bool {
        self.positions.get(&shard).is_some_and(|position| position.stands.is_some())
    }

    /// Whether this commit covers everything that was handed out, and none did before.
    fn is_covered_now(&mut self, shard: ShardId) -> bool {
        let Some(position) = self.positions.get_mut(&shard) else { return false };
        let is_covered = position.delivered.is_some() && position.is_covered();
        if is_covered {
            position.delivered = None;
        }
        is_covered
    }
}

impl Position {
    /// The journal has taken a commit, or that nothing is committed any more.
    fn confirm(&mut self, committed: Option<Committed>) {
        let number = |committed: &Option<Committed>| committed.as_ref().map(|some| some.number);
        match committed {
            Some(_) if number(&committed) >= number(&self.stands) => self.stands = committed,
            None if self.queued.is_none() => self.stands = None,
            // Something newer stands already, or is on its way.
            _ => {}
        }
    }

    /// The journal has refused a commit: what stood before stands, unless a newer one is on its way.
    fn take_back(&mut self, number: u64) {
        if self.queued.as_ref().is_none_or(|queued| queued.number == number) {
            self.queued = self.stands.clone();
        }
    }

    fn is_blank(&self) -> bool {
        self.queued.is_none() && self.stands.is_none() && self.delivered.is_none()
    }
}

impl Bounds {
    fn read(part: &Proposed) -> Result<Self, Error> {
        part.shard.ensure_open()?;
        // The incarnation first: what is opened anew in between is noticed under the lock.
        let incarnation = part.shard.incarnation();
        Ok(part.shard.observe(|commit, view, _| Self {
            incarnation,
            start: view.start,
            end: commit.visible_end(),
            is_always: commit.policy == SyncPolicy::Always,
        }))
    }
}
