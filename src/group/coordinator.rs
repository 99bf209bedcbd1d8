//! The one lock of a group: who is in it, who reads what, and how far they are.
//!
//! Every event of the group happens under this lock, commits included: one critical section checks
//! that the member may commit and queues the entry, so that nobody can commit behind the back of the
//! next owner. Files are touched, assignments computed and members woken when it is let go of. Under
//! it, only the queue of the journal of offsets is locked.
//!
//! **Invariants**: what was queued of a partition never goes backward except by a reset, by the
//! recovery of the partition, or because a write failed, which its caller is told; `stands` is what
//! the journal has confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::catalog::Topics;
use crate::env::Clock;
use crate::error::{Error, ErrorKind};
use crate::glob::TopicGlob;
use crate::group::assign::{self, Assignor, Candidate, MemberId, Offered};
use crate::group::membership::{Effects, Event, Membership, Share};
use crate::group::offsets::{CommittedOffset, GroupEntries};
use crate::name::{GroupName, TopicName};
use crate::offset::{Offset, PartitionId, ShardId, TopicId};
use crate::role::TopicRole;
use crate::storage::journal::Journal;
use crate::storage::store::Store;
use crate::storage::tail::Serve;
use crate::storage::waiter::Waiter;
use crate::sync::{Arc, Rank, Shared, Weak};

pub(crate) mod commit;

/// One group of an open log.
pub(crate) struct Group {
    name: GroupName,
    me: Weak<Self>,
    home: GroupHome,
    state: Shared<State>,
}

/// What all groups of a log stand on. The store owns the groups, and they do not own it.
#[derive(Clone, Debug)]
pub(crate) struct GroupHome {
    pub(crate) store: Weak<Store>,
    pub(crate) topics: Weak<Topics>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    membership: Membership,
    subscriptions: BTreeMap<MemberId, Subscription>,
    /// That of the member who came first.
    assignor: Option<Arc<dyn Assignor>>,
    positions: BTreeMap<ShardId, Position>,
    /// Patterns whose topics of that time were given a first position.
    patterns: BTreeSet<String>,
    parked: BTreeMap<MemberId, Arc<Waiter<()>>>,
    last_member: u64,
    last_commit: u64,
    /// When somebody will look who is late.
    watched: Option<Duration>,
    /// Why nothing happens here any more.
    closed: Option<Error>,
}

/// A commit that was queued.
#[derive(Clone, Debug)]
struct Committed {
    at: CommittedOffset,
    /// Counts the commits of the group, so that a late answer is told from a newer one.
    number: u64,
}

/// What a member wants to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    pub(crate) topics: BTreeSet<TopicName>,
    pub(crate) globs: Vec<TopicGlob>,
    /// The group that wants, besides, what is redriven to it from dead letters about these topics.
    pub(crate) redriven_to: Option<GroupName>,
}

/// How far a group is in one partition.
#[derive(Clone, Debug, Default)]
struct Position {
    /// The last commit that was queued; where the next owner begins.
    queued: Option<Committed>,
    /// The last commit that the journal has confirmed.
    stands: Option<Committed>,
    /// The end of what was handed out, as long as no commit covers it, and under which epoch.
    delivered: Option<(u64, Offset)>,
    /// What was committed when the log was opened.
    at_open: Option<Offset>,
}

/// What an assignment is computed from.
struct Plan {
    members: Vec<(MemberId, BTreeSet<TopicId>, BTreeSet<ShardId>)>,
    topics: BTreeMap<TopicId, u32>,
}

impl Plan {
    fn target(&self, assignor: &dyn Assignor, topics: &Topics) -> BTreeMap<ShardId, MemberId> {
        let members = self.members.iter();
        let members = members.map(|(id, topics, owned)| Candidate { id: *id, topics, owned });
        let named = self.topics.iter().filter_map(|(id, count)| Some((topics.by_id(*id)?, *count)));
        let named = named.collect::<Vec<_>>();
        let offered = named.iter().map(|(topic, partitions)| Offered {
            id: topic.id,
            name: &topic.name,
            partitions: *partitions,
        });
        assign::target(assignor, &members.collect::<Vec<_>>(), &offered.collect::<Vec<_>>())
    }
}

/// How many partitions the topics of a group have, and which of them each member reads.
type LookedUp = (BTreeMap<TopicId, u32>, BTreeMap<MemberId, BTreeSet<TopicId>>);

/// What of a group a member has not seen yet.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) version: u64,
    pub(crate) shares: Vec<(Share, Option<CommittedOffset>)>,
}

impl Subscription {
    /// The topics that are wanted now. Globs name what users make, and nothing that serves a group.
    pub(crate) fn resolve(&self, topics: &Topics) -> BTreeMap<TopicId, u32> {
        let wanted = topics.all().into_iter().filter(|topic| match topic.role() {
            TopicRole::Redrive { topic: origin, group }
                if self.redriven_to.as_ref() == Some(&group) =>
            {
                self.names(&origin) || self.topics.contains(&topic.name)
            }
            TopicRole::Plain => self.names(&topic.name),
            _ => self.topics.contains(&topic.name),
        });
        wanted.map(|topic| (topic.id, topic.partition_count())).collect()
    }

    fn names(&self, topic: &TopicName) -> bool {
        self.topics.contains(topic) || self.globs.iter().any(|glob| glob.matches(topic))
    }
}

impl Group {
    pub(crate) fn new(name: GroupName, entries: GroupEntries, home: &GroupHome) -> Arc<Self> {
        let position = |at: CommittedOffset| Position {
            at_open: Some(at.offset()),
            queued: Some(Committed { at: at.clone(), number: 0 }),
            stands: Some(Committed { at, number: 0 }),
            delivered: None,
        };
        let positions = entries.committed.into_iter().map(|(shard, at)| (shard, position(at)));
        let state = State {
            positions: positions.collect(),
            patterns: entries.patterns,
            ..State::default()
        };
        let home = home.clone();
        let state = Shared::ranked(Rank::Group, state);
        Arc::new_cyclic(|me| Self { name, me: Weak::clone(me), home, state })
    }

    pub(crate) fn name(&self) -> &GroupName {
        &self.name
    }

    /// Takes a member in.
    pub(crate) fn join(
        &self,
        subscription: Subscription,
        patience: Option<Duration>,
        assignor: Arc<dyn Assignor>,
    ) -> Result<MemberId, Error> {
        let topics = self.topics()?;
        let topics = subscription.resolve(&topics).into_keys().collect();
        let member = self.with_effects(|state, now| {
            state.check_open()?;
            if state.membership.is_empty() {
                state.assignor = Some(assignor);
            }
            state.last_member += 1;
            let member = MemberId::new(state.last_member);
            state.subscriptions.insert(member, subscription);
            let join = Event::Join { member, topics, patience };
            Ok((member, state.membership.apply(join, now)))
        })?;
        self.notice_topics();
        self.watch_the_clock();
        Ok(member)
    }

    /// Lets a member go; what it owned is given to the others. False if it was none any more.
    pub(crate) fn leave(&self, member: MemberId) -> bool {
        let is_member = self.state.with(|state| state.membership.is_member(member));
        self.apply(Event::Leave(member));
        is_member
    }

    /// Takes note of topics that were made, grown or deleted.
    ///
    /// They are looked up with no lock held, so that two who do this at once may take note in the
    /// wrong order: whoever comes last finds that out, and does it again.
    pub(crate) fn notice_topics(&self) {
        let Ok(topics) = self.topics() else { return };
        let mut found = self.look_up(&topics);
        loop {
            let (counts, wanted) = found.clone();
            self.apply(Event::Topics { counts, wanted });
            let again = self.look_up(&topics);
            if again == found {
                return;
            }
            found = again;
        }
    }

    /// How many partitions the topics have that somebody reads, and what each member reads.
    fn look_up(&self, topics: &Topics) -> LookedUp {
        let subscriptions = self.state.with(|state| state.subscriptions.clone());
        let mut found = LookedUp::default();
        for (member, subscription) in subscriptions {
            let resolved = subscription.resolve(topics);
            found.1.insert(member, resolved.keys().copied().collect());
            found.0.extend(resolved);
        }
        found
    }

    /// A member polls; what it has not seen yet, if there is anything.
    ///
    /// # Errors
    /// `Fenced` if it is no member any more, `Closed`.
    pub(crate) fn enter(&self, member: MemberId, seen: u64) -> Result<Option<News>, Error> {
        self.with_effects(|state, now| {
            state.check_open()?;
            // Who is out looks after nobody: what came of it would be lost with the error.
            if !state.membership.is_member(member) {
                return Err(fenced());
            }
            state.membership.apply(Event::Touch(member), now);
            let effects = state.membership.apply(Event::Tick, now);
            let version = state.membership.version(member).ok_or_else(fenced)?;
            let news = (version != seen).then(|| state.news(member, version));
            Ok((news, effects))
        })
    }

    /// Has `waiter` filled when there is something new for a member that has seen version `seen`;
    /// false if there is already.
    pub(crate) fn park(&self, member: MemberId, seen: u64, waiter: &Arc<Waiter<()>>) -> bool {
        let now = self.now();
        self.state.with(|state| {
            let nothing_new =
                state.closed.is_none() && state.membership.version(member) == Some(seen);
            if nothing_new {
                state.membership.apply(Event::Park(member), now);
                state.parked.insert(member, Arc::clone(waiter));
            }
            nothing_new
        })
    }

    /// A member does not wait any more.
    pub(crate) fn unpark(&self, member: MemberId) {
        let now = self.now();
        self.state.with(|state| {
            state.parked.remove(&member);
            state.membership.apply(Event::Touch(member), now);
        });
        self.watch_the_clock();
    }

    /// An owner is told that a partition is to leave it; false if it has come to stay meanwhile.
    pub(crate) fn told(&self, share: Share) -> bool {
        let told = self.with_effects(|state, now| {
            let effects = state.membership.apply(Event::Told(share), now);
            Ok((state.membership.is_told(share), effects))
        });
        told.unwrap_or(false)
    }

    /// An owner lets go of a partition that is to leave it.
    pub(crate) fn hand_over(&self, share: Share) {
        self.apply(Event::HandOver(share));
    }

    /// Notes that records below `end` are handed out, unless the partition is not the member's to
    /// read any more.
    pub(crate) fn admit(&self, member: MemberId, share: Share, end: Offset) -> bool {
        let now = self.now();
        self.state.with(|state| {
            let admitted = state.membership.may_read(member, share.shard, share.epoch);
            if admitted {
                let position = state.positions.entry(share.shard).or_default();
                // What an earlier owner was given is outstanding no more.
                let before = position.delivered.filter(|(epoch, _)| *epoch == share.epoch);
                position.delivered = before.max(Some((share.epoch, end)));
                if !position.is_covered() {
                    state.membership.apply(Event::Delivered(share.shard), now);
                }
            }
            admitted
        })
    }

    /// Whether an assignment still is as it was given.
    pub(crate) fn reads(&self, member: MemberId, share: Share) -> bool {
        self.state.with(|state| state.membership.may_read(member, share.shard, share.epoch))
    }

    /// Whether there is anything that a member has not seen that has seen version `seen`.
    pub(crate) fn has_news(&self, member: MemberId, seen: u64) -> bool {
        self.state.with(|state| state.membership.version(member) != Some(seen))
    }

    /// What is committed of a partition, as far as the journal has confirmed it.
    pub(crate) fn committed(&self, shard: ShardId) -> Option<CommittedOffset> {
        self.state.with(|state| {
            let stands = state.positions.get(&shard).and_then(|position| position.stands.clone());
            stands.map(|committed| committed.at)
        })
    }

    /// What was committed of a partition when the log was opened.
    pub(crate) fn committed_at_open(&self, shard: ShardId) -> Option<Offset> {
        self.state.with(|state| state.positions.get(&shard).and_then(|position| position.at_open))
    }

    /// The lowest offset of a partition that the group still needs; none if it does not read the
    /// topic.
    pub(crate) fn floor(&self, shard: ShardId) -> Option<Offset> {
        self.state.with(|state| {
            let knows_topic = state.knows(shard.topic);
            let stands = state.positions.get(&shard).and_then(|position| position.stands.as_ref());
            knows_topic.then(|| stands.map_or(Offset::ZERO, |committed| committed.at.offset()))
        })
    }

    /// Whether the group reads a topic, or has a position in some partition of it.
    pub(crate) fn knows(&self, topic: TopicId) -> bool {
        self.state.with(|state| state.knows(topic))
    }

    /// Whether the topics of a pattern were given a first position before.
    pub(crate) fn knows_pattern(&self, pattern: &str) -> bool {
        self.state.with(|state| state.patterns.contains(pattern))
    }

    /// Whether anybody has ever read under this name, or does now.
    pub(crate) fn is_known(&self) -> bool {
        self.state.with(|state| {
            let stands = |position: &Position| position.stands.is_some();
            !state.membership.is_empty() || state.positions.values().any(stands)
        })
    }

    /// The group as it is now: its generation, and the members with what they own.
    pub(crate) fn members(&self) -> (u64, Vec<(MemberId, Vec<ShardId>)>) {
        self.state.with(|state| {
            let members = state.membership.members().map(|(member, _)| {
                let shares = state.membership.shares(member);
                (member, shares.into_iter().map(|share| share.shard).collect())
            });
            (state.membership.generation(), members.collect())
        })
    }

    /// All partitions that the group has committed for.
    pub(crate) fn positions(&self) -> Vec<(ShardId, CommittedOffset)> {
        self.state.with(|state| {
            let stands = state.positions.iter().filter_map(|(shard, position)| {
                Some((*shard, position.stands.as_ref()?.at.clone()))
            });
            stands.collect()
        })
    }

    /// Ends the group for all members, with the log.
    pub(crate) fn close(&self, error: &Error) {
        let parked = self.state.with(|state| {
            state.closed.get_or_insert_with(|| error.clone());
            std::mem::take(&mut state.parked)
        });
        parked.into_values().for_each(|waiter| waiter.fill(()));
    }

    fn apply(&self, event: Event) {
        let applied = self.with_effects(|state, now| Ok(((), state.membership.apply(event, now))));
        debug_assert!(applied.is_ok(), "an event as such is never refused");
    }

    /// Changes the state, then wakes whom it concerns and brings the assignment up to date.
    fn with_effects<R>(
        &self,
        act: impl FnOnce(&mut State, Duration) -> Result<(R, Effects), Error>,
    ) -> Result<R, Error> {
        let now = self.now();
        let (result, wakes, wants_target) = self.state.with(|state| {
            let (result, effects) = act(state, now)?;
            let wakes = state.wakes(&effects);
            Ok::<_, Error>((result, wakes, state.membership.wants_target()))
        })?;
        wakes.iter().for_each(|waiter| waiter.fill(()));
        if wants_target {
            self.balance();
        }
        Ok(result)
    }

    /// Computes the assignment of the present generation, outside the lock, until it is adopted.
    fn balance(&self) {
        let Ok(topics) = self.topics() else { return };
        loop {
            let plan = self.state.with(|state| {
                let assignor = state.assignor.clone();
                assignor
                    .filter(|_| state.membership.wants_target())
                    .map(|assignor| (state.membership.generation(), assignor, state.plan()))
            });
            let Some((generation, assignor, plan)) = plan else { return };
            let target = plan.target(&*assignor, &topics);
            let now = self.now();
            let wakes = self.state.with(|state| {
                let adopt = Event::Adopt { generation, target };
                let effects = state.membership.apply(adopt, now);
                state.wakes(&effects)
            });
            wakes.iter().for_each(|waiter| waiter.fill(()));
        }
    }

    /// Has somebody look after those who stay away for too long.
    fn watch_the_clock(&self) {
        let now = self.now();
        let next = self.state.with(|state| {
            let is_sooner = |at: &Duration| state.watched.is_none_or(|watched| *at < watched);
            let next = state.membership.next_deadline().filter(is_sooner);
            state.watched = next.or(state.watched);
            next
        });
        if let (Some(at), Some(store), Some(me)) =
            (next, self.home.store.upgrade(), self.me.upgrade())
        {
            store.run_after(at.saturating_sub(now), me);
        }
    }

    /// Fences who has stayed away for too long.
    pub(crate) fn tick(&self) {
        self.apply(Event::Tick);
    }

    fn topics(&self) -> Result<Arc<Topics>, Error> {
        self.home.topics.upgrade().ok_or_else(|| Error::bare(ErrorKind::Closed))
    }

    fn now(&self) -> Duration {
        self.home.clock.monotonic()
    }
}

impl Serve for Group {
    fn serve(&self) {
        let now = self.now();
        // One that was asked for before a sooner one comes on top of what is to come.
        self.state.with(|state| state.watched = state.watched.filter(|at| *at > now));
        self.tick();
        self.watch_the_clock();
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish_non_exhaustive()
    }
}

impl State {
    fn check_open(&self) -> Result<(), Error> {
        self.closed.clone().map_or(Ok(()), Err)
    }

    fn news(&self, member: MemberId, version: u64) -> News {
        let shares = self.membership.shares(member).into_iter();
        let shares = shares.map(|share| (share, self.queued(share.shard)));
        News { version, shares: shares.collect() }
    }

    fn queued(&self, shard: ShardId) -> Option<CommittedOffset> {
        let queued = self.positions.get(&shard).and_then(|position| position.queued.as_ref());
        queued.map(|committed| committed.at.clone())
    }

    fn knows(&self, topic: TopicId) -> bool {
        let first = ShardId { topic, partition: PartitionId::ZERO };
        let of_topic = self.positions.range(first..);
        let mut of_topic = of_topic.take_while(|(shard, _)| shard.topic == topic);
        // Members may have been given records of it before anything was committed.
        self.membership.topics().contains_key(&topic)
            || of_topic.any(|(_, position)| position.stands.is_some())
    }

    fn plan(&self) -> Plan {
        let members = self.membership.members();
        let members = members
            .map(|(member, topics)| (member, topics.clone(), self.membership.targets(member)));
        Plan { members: members.collect(), topics: self.membership.topics().clone() }
    }

    /// Forgets who is out, and collects whom to wake.
    fn wakes(&mut self, effects: &Effects) -> Vec<Arc<Waiter<()>>> {
        let members = &self.membership;
        self.subscriptions.retain(|member, _| members.is_member(*member));
        let concerned = effects.concerned.iter().chain(&effects.fenced);
        concerned.filter_map(|member| self.parked.remove(member)).collect()
    }
}

impl Position {
    /// Whether everything that was handed out is committed.
    fn is_covered(&self) -> bool {
        let queued = self.queued.as_ref().map(|committed| committed.at.offset());
        self.delivered.is_none_or(|(_, end)| queued.is_some_and(|queued| end <= queued))
    }
}

fn fenced() -> Error {
    Error::bare(ErrorKind::Fenced)
}
