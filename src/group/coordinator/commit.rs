//! Commits: what may be committed, and in which order it stands.
//!
//! A commit is checked and queued in one critical section, then written with no lock held. A write
//! that fails takes the commit back, unless a newer one has taken its place: the group never counts
//! on what its journal has refused.

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
use crate::sync::Arc;

/// One partition's part of a commit.
#[derive(Clone, Debug)]
pub(crate) struct Proposed {
    pub(crate) place: TopicPartition,
    pub(crate) id: ShardId,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strictness {
    /// Nothing is committed.
    All,
    /// The other parts are committed.
    Owned,
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
        self.written(|group| group.propose(member, parts, Strictness::All))
    }

    /// The same for what of `parts` is the member's and goes forward; the others are left out.
    pub(crate) fn commit_owned(&self, member: MemberId, parts: &[Proposed]) -> Result<(), Error> {
        self.written(|group| group.propose(member, parts, Strictness::Owned))
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
                let new = positions.iter().filter(|(shard, _)| state.queued(*shard).is_none());
                let new = new.map(|(shard, at)| (*shard, Some(CommittedOffset::at(*at))));
                let new = new.collect::<Vec<_>>();
                let known = patterns.iter().filter(|pattern| !state.patterns.contains(*pattern));
                let known = known.map(|pattern| pattern_change(&group.name, pattern, true));
                let known = known.collect();
                group.queue(state, new, known, Want::Durable)
            })
        })?;
        self.state.with(|state| state.patterns.extend(patterns.iter().cloned()));
        Ok(())
    }

    /// Lowers what is committed of a partition behind `end`; from where it was, if it was.
    pub(crate) fn lower(&self, shard: ShardId, end: Offset) -> Result<Option<Offset>, Error> {
        let is_behind =
            |state: &mut State| state.queued(shard).filter(|committed| committed.offset() > end);
        let Some(from) = self.state.with(is_behind).map(|committed| committed.offset()) else {
            // Nothing is written for a partition that is merely opened.
            return Ok(None);
        };
        self.written(|group| {
            group.state.with(|state| {
                let Some(behind) = is_behind(state) else { return Ok(Verdict::Nothing) };
                if let Some(position) = state.positions.get_mut(&shard) {
                    position.delivered = None;
                }
                let lowered = CommittedOffset::at(end).with_metadata(behind.metadata().clone());
                group.queue(state, vec![(shard, Some(lowered))], Vec::new(), Want::Durable)
            })
        })?;
        Ok(Some(from))
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
        self.apply(Event::Tick);
        let now = self.now();
        self.written(|group| {
            let (verdict, wakes) = group.state.with(|state| {
                let mut wakes = Vec::new();
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
        // Who has stayed away for too long does not keep anybody from it.
        self.apply(Event::Tick);
        self.written(|group| {
            group.state.with(|state| {
                state.check_idle()?;
                let all = state.positions.keys().map(|shard| (*shard, None)).collect();
                let known = state.patterns.iter();
                let known = known.map(|pattern| pattern_change(&group.name, pattern, false));
                let known = known.collect();
                group.queue(state, all, known, Want::Durable)
            })
        })?;
        self.state.with(|state| state.patterns.clear());
        Ok(())
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
    /// section runs again, because the world may have changed.
    fn written(
        &self,
        mut section: impl FnMut(&Self) -> Result<Verdict, Error>,
    ) -> Result<(), Error> {
        let mut first_failure = None;
        loop {
            self.home.journal.prepare()?;
            let (enqueued, ticket) = match section(self)? {
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
        strictness: Strictness,
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
                    Err(_) if strictness == Strictness::Owned => continue,
                    Err(error) => return Err(error.of_partition(&part.place)),
                }
                if !state.stands(part.id, &part.at) {
                    changes.push((part.id, Some(part.at.clone())));
                    want = if bounds.is_always { Want::Durable } else { want };
                }
            }
            let verdict = self.queue(state, changes, Vec::new(), want)?;
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
        mut changes: Vec<Change>,
        want: Want,
    ) -> Result<Verdict, Error> {
        let of_position = positions.iter();
        let of_position =
            of_position.map(|(shard, at)| commit_change(&self.name, *shard, at.as_ref()));
        changes.extend(of_position);
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
        }
        Ok(Verdict::Queued(enqueued, Ticket { number, positions }))
    }

    fn settle(&self, ticket: Ticket, is_written: bool) {
        let Ticket { number, positions } = ticket;
        self.state.with(|state| {
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

impl State {
    fn check_idle(&self) -> Result<(), Error> {
        match self.membership.is_empty() {
            true => Ok(()),
            false => Err(Error::bare(ErrorKind::GroupActive)),
        }
    }

    fn check(&self, member: MemberId, part: &Proposed, bounds: &Bounds) -> Result<(), Error> {
        if self.membership.owner(part.id) != Some(member) {
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
