//! Who is in a group and who reads what: a pure state machine of (state, event, now).
//!
//! A change of members, topics or partitions begins a new generation. Its target assignment is
//! computed outside and adopted here, and from then on every partition finds its own way to it: one
//! that nobody has is given at once, one whose owner has nothing outstanding moves at once, and any
//! other is *leaving* until its owner has handed it over. What does not move is not touched.
//!
//! An assignment of one partition to one member has an epoch of its own. Whatever a member does for
//! a partition names the epoch, so that a late word about an older assignment changes nothing.
//!
//! **Invariants**: a partition has one owner at most; only members own; an epoch is never used
//! twice; a partition that is leaving is read by nobody, and its owner may still commit for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::group::assign::MemberId;
use crate::offset::{PartitionId, ShardId, TopicId};

/// The members of one group and what they own.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    generation: u64,
    /// Whether the target is that of this generation.
    is_settled: bool,
    members: BTreeMap<MemberId, Member>,
    /// How many partitions each topic has that somebody reads.
    topics: BTreeMap<TopicId, u32>,
    holdings: BTreeMap<ShardId, Holding>,
    target: BTreeMap<ShardId, MemberId>,
    last_epoch: u64,
}

#[derive(Debug)]
struct Member {
    topics: BTreeSet<TopicId>,
    /// How long it may stay away.
    patience: Option<Duration>,
    /// When it has stayed away for too long; none while it waits inside.
    deadline: Option<Duration>,
    /// Changes with everything that the member has to look at.
    version: u64,
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    owner: MemberId,
    epoch: u64,
    /// Records were handed out that no commit covers yet.
    is_outstanding: bool,
    leaving: Leaving,
}

/// How far a partition is on its way from its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It stays.
    No,
    /// It is to leave, and its owner does not know yet.
    Untold,
    /// Its owner knows, and takes its time.
    Told,
}

/// One partition as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) shard: ShardId,
    pub(crate) epoch: u64,
    pub(crate) leaving: Leaving,
}

/// What happens to a group.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody comes, who wants these topics and may stay away so long between polls.
    Join { member: MemberId, topics: BTreeSet<TopicId>, patience: Option<Duration> },
    /// A member goes.
    Leave(MemberId),
    /// A member is here now, and may stay away from now on.
    Touch(MemberId),
    /// A member waits inside, and cannot be late.
    Park(MemberId),
    /// Topics or their partitions have changed, or what the members want of them.
    Topics { counts: BTreeMap<TopicId, u32>, wanted: BTreeMap<MemberId, BTreeSet<TopicId>> },
    /// A target was computed for a generation.
    Adopt { generation: u64, target: BTreeMap<ShardId, MemberId> },
    /// An owner was told that a partition is to leave.
    Told(Share),
    /// An owner hands a partition over.
    HandOver(Share),
    /// Records of a partition were handed out.
    Delivered(ShardId),
    /// A commit covers everything that was handed out of a partition.
    Covered(ShardId),
    /// What the owner of a partition has of it was lost: it begins anew, like a new owner.
    Renew(ShardId),
    /// Everybody goes.
    Disband,
    /// Time has passed.
    Tick,
}

/// Whom an event concerns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Members that have something to look at.
    pub(crate) concerned: BTreeSet<MemberId>,
    /// Members that are out, though they did not leave.
    pub(crate) fenced: BTreeSet<MemberId>,
}

impl Membership {
    /// Takes note of an event.
    pub(crate) fn apply(&mut self, event: Event, now: Duration) -> Effects {
        let mut effects = Effects::default();
        match event {
            Event::Join { member, topics, patience } => {
                let deadline = patience.map(|patience| now.saturating_add(patience));
                let joined = Member { topics, patience, deadline, version: 1 };
                self.members.insert(member, joined);
                self.begin_generation();
            }
            Event::Leave(member) => self.remove(member),
            Event::Touch(member) => {
                if let Some(member) = self.members.get_mut(&member) {
                    member.deadline = member.patience.map(|patience| now.saturating_add(patience));
                }
            }
            Event::Park(member) => {
                if let Some(member) = self.members.get_mut(&member) {
                    member.deadline = None;
                }
            }
            Event::Topics { counts, wanted } => self.change_topics(counts, wanted, &mut effects),
            Event::Adopt { generation, target } => {
                if generation == self.generation {
                    self.target = target;
                    self.is_settled = true;
                    for shard in self.all_shards() {
                        self.approach(shard, &mut effects);
                    }
                }
            }
            Event::Told(share) => {
                if let Some(holding) = self.holding_of(share)
                    && holding.leaving == Leaving::Untold
                {
                    holding.leaving = Leaving::Told;
                }
            }
            Event::HandOver(share) => {
                if self.holding_of(share).is_some_and(|holding| holding.leaving != Leaving::No) {
                    self.take_from_owner(share.shard, &mut effects);
                    self.approach(share.shard, &mut effects);
                }
            }
            Event::Delivered(shard) => self.set_outstanding(shard, true),
            Event::Covered(shard) => {
                self.set_outstanding(shard, false);
                self.approach(shard, &mut effects);
            }
            Event::Renew(shard) => {
                self.take_from_owner(shard, &mut effects);
                self.approach(shard, &mut effects);
            }
            Event::Disband => {
                effects.fenced.extend(self.members.keys());
                self.members.clear();
                self.holdings.clear();
                self.topics.clear();
                self.begin_generation();
            }
            Event::Tick => {
                let is_late = |member: &Member| member.deadline.is_some_and(|at| at <= now);
                let late = self.members.iter().filter(|(_, member)| is_late(member));
                effects.fenced.extend(late.map(|(id, _)| *id));
                effects.fenced.iter().for_each(|member| self.remove(*member));
            }
        }
        effects
    }

    /// Changes with every change of members, topics or partitions, and only grows.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a target is wanted for the present generation.
    pub(crate) fn wants_target(&self) -> bool {
        !self.is_settled
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn is_member(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// The members, and the topics each of them reads.
    pub(crate) fn members(&self) -> impl Iterator<Item = (MemberId, &BTreeSet<TopicId>)> {
        self.members.iter().map(|(id, member)| (*id, &member.topics))
    }

    /// How many partitions each topic has.
    pub(crate) fn topics(&self) -> &BTreeMap<TopicId, u32> {
        &self.topics
    }

    /// Changes with everything that the member has to look at; none if it is no member.
    pub(crate) fn version(&self, member: MemberId) -> Option<u64> {
        self.members.get(&member).map(|member| member.version)
    }

    /// What a member owns, partitions that are leaving included.
    pub(crate) fn shares(&self, member: MemberId) -> Vec<Share> {
        let owned = self.holdings.iter().filter(|(_, holding)| holding.owner == member);
        let share = |(shard, holding): (&ShardId, &Holding)| Share {
            shard: *shard,
            epoch: holding.epoch,
            leaving: holding.leaving,
        };
        owned.map(share).collect()
    }

    /// What a member was last given, or is about to get.
    pub(crate) fn targets(&self, member: MemberId) -> BTreeSet<ShardId> {
        let given = self.target.iter().filter(|(_, heir)| **heir == member);
        given.map(|(shard, _)| *shard).collect()
    }

    /// Whether a member owns a partition under this assignment.
    pub(crate) fn owns(&self, member: MemberId, shard: ShardId, epoch: u64) -> bool {
        let holding = self.holdings.get(&shard);
        holding.is_some_and(|holding| holding.owner == member && holding.epoch == epoch)
    }

    /// Whether a member may be given records of a partition under this assignment.
    pub(crate) fn may_read(&self, member: MemberId, shard: ShardId, epoch: u64) -> bool {
        self.holdings.get(&shard).is_some_and(|holding| {
            holding.owner == member && holding.epoch == epoch && holding.leaving == Leaving::No
        })
    }

    /// Whether a partition is leaving its owner, who knows it.
    pub(crate) fn is_told(&self, share: Share) -> bool {
        self.holdings
            .get(&share.shard)
            .is_some_and(|holding| holding.epoch == share.epoch && holding.leaving == Leaving::Told)
    }

    /// The next moment at which somebody is late.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.members.values().filter_map(|member| member.deadline).min()
    }

    fn all_shards(&self) -> Vec<ShardId> {
        let shards = self.topics.iter().flat_map(|(topic, count)| {
            (0..*count)
                .map(|partition| ShardId { topic: *topic, partition: PartitionId::new(partition) })
        });
        shards.collect()
    }

    fn begin_generation(&mut self) {
        self.generation += 1;
        self.is_settled = false;
    }

    fn remove(&mut self, member: MemberId) {
        if self.members.remove(&member).is_some() {
            self.holdings.retain(|_, holding| holding.owner != member);
            self.target.retain(|_, heir| *heir != member);
            let wanted = self.members.values().flat_map(|member| &member.topics);
            let wanted = wanted.collect::<BTreeSet<_>>();
            self.topics.retain(|topic, _| wanted.contains(topic));
            self.begin_generation();
        }
    }

    fn change_topics(
        &mut self,
        counts: BTreeMap<TopicId, u32>,
        wanted: BTreeMap<MemberId, BTreeSet<TopicId>>,
        effects: &mut Effects,
    ) {
        let mut is_new = self.topics != counts;
        for (id, topics) in wanted {
            let member = self.members.get_mut(&id).filter(|member| member.topics != topics);
            if let Some(member) = member {
                member.topics = topics;
                is_new = true;
            }
        }
        if !is_new {
            return;
        }
        self.topics = counts;
        let is_gone = |shard: &ShardId| {
            self.topics.get(&shard.topic).is_none_or(|count| shard.partition.value() >= *count)
        };
        let gone = self.holdings.keys().copied().filter(is_gone).collect::<Vec<_>>();
        for shard in gone {
            self.take_from_owner(shard, effects);
        }
        self.begin_generation();
    }

    /// Brings a partition as near to its target as can be now.
    fn approach(&mut self, shard: ShardId, effects: &mut Effects) {
        if !self.is_settled {
            return;
        }
        let heir = self.target.get(&shard).copied();
        if let Some(holding) = self.holdings.get_mut(&shard) {
            if Some(holding.owner) == heir {
                if holding.leaving == Leaving::Untold {
                    holding.leaving = Leaving::No;
                }
                return;
            }
            if holding.is_outstanding || holding.leaving == Leaving::Told {
                if holding.leaving == Leaving::No {
                    holding.leaving = Leaving::Untold;
                    let owner = holding.owner;
                    self.concern(owner, effects);
                }
                return;
            }
            self.take_from_owner(shard, effects);
        }
        if let Some(heir) = heir.filter(|heir| self.members.contains_key(heir)) {
            self.last_epoch += 1;
            let holding = Holding {
                owner: heir,
                epoch: self.last_epoch,
                is_outstanding: false,
                leaving: Leaving::No,
            };
            self.holdings.insert(shard, holding);
            self.concern(heir, effects);
        }
    }

    fn take_from_owner(&mut self, shard: ShardId, effects: &mut Effects) {
        if let Some(holding) = self.holdings.remove(&shard) {
            self.concern(holding.owner, effects);
        }
    }

    fn concern(&mut self, member: MemberId, effects: &mut Effects) {
        if let Some(concerned) = self.members.get_mut(&member) {
            concerned.version += 1;
            effects.concerned.insert(member);
        }
    }

    fn holding_of(&mut self, share: Share) -> Option<&mut Holding> {
        self.holdings.get_mut(&share.shard).filter(|holding| holding.epoch == share.epoch)
    }

    fn set_outstanding(&mut self, shard: ShardId, is_outstanding: bool) {
        if let Some(holding) = self.holdings.get_mut(&shard) {
            holding.is_outstanding = is_outstanding;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Event, Leaving, Membership, Share};
    use crate::group::assign::MemberId;
    use crate::offset::{PartitionId, ShardId, TopicId};

    const START: Duration = Duration::ZERO;

    /// What happens, as far as it can be chosen without knowing the state.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Join {
            topics: u8,
            patience: Option<u8>,
        },
        Leave(u64),
        Touch(u64),
        Park(u64),
        Topics([u32; 2]),
        Balance(usize),
        Told(usize),
        HandOver(usize),
        /// A word about an assignment of long ago.
        Late(usize),
        Delivered(usize),
        Covered(usize),
        Renew(usize),
        Disband,
        Tick(u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        let member = 1..6_u64;
        let at = 0..64_usize;
        let patience = proptest::option::of(1..20_u8);
        prop_oneof![
            3 => (1..4_u8, patience).prop_map(|(topics, patience)| {
                Act::Join { topics, patience }
            }),
            2 => member.clone().prop_map(Act::Leave),
            1 => member.clone().prop_map(Act::Touch),
            1 => member.prop_map(Act::Park),
            2 => [0..4_u32, 0..4].prop_map(Act::Topics),
            6 => at.clone().prop_map(Act::Balance),
            3 => at.clone().prop_map(Act::Told),
            3 => at.clone().prop_map(Act::HandOver),
            2 => at.clone().prop_map(Act::Late),
            6 => at.clone().prop_map(Act::Delivered),
            3 => at.clone().prop_map(Act::Covered),
            1 => at.prop_map(Act::Renew),
            1 => Just(Act::Disband),
            2 => (0..15_u8).prop_map(Act::Tick),
        ]
    }

    /// A membership, and what was ever seen of it.
    #[derive(Default)]
    struct Watched {
        state: Membership,
        now: Duration,
        /// Who had which partition under each epoch.
        epochs: BTreeMap<u64, (ShardId, MemberId)>,
        outstanding: BTreeSet<u64>,
        generation: u64,
        joined: u64,
    }

    impl Watched {
        fn held(&self) -> Vec<(MemberId, Share)> {
            let members = self.state.members().map(|(member, _)| member);
            let held = members.flat_map(|member| {
                self.state.shares(member).into_iter().map(move |share| (member, share))
            });
            held.collect()
        }

        /// One of the partitions that are held.
        fn some(&self, at: usize) -> Option<Share> {
            let held = self.held();
            held.get(at % held.len().max(1)).map(|(_, share)| *share)
        }

        /// Deals the partitions out, beginning with another member each time.
        fn target(&self, first: usize) -> BTreeMap<ShardId, MemberId> {
            let mut target = BTreeMap::new();
            for (turn, shard) in self.state.all_shards().into_iter().enumerate() {
                let readers = self.state.members().filter(|(_, of)| of.contains(&shard.topic));
                let readers = readers.map(|(member, _)| member).collect::<Vec<_>>();
                if let Some(heir) = readers.get((first + turn) % readers.len().max(1)) {
                    target.insert(shard, *heir);
                }
            }
            target
        }

        fn event(&mut self, act: Act) -> Option<Event> {
            Some(match act {
                Act::Join { topics, patience } => {
                    self.joined += 1;
                    let member = MemberId::new(self.joined);
                    let topics = (1..3).filter(|topic| topics & *topic as u8 != 0);
                    let patience = patience.map(|seconds| Duration::from_secs(seconds.into()));
                    Event::Join { member, topics: topics.map(TopicId::new).collect(), patience }
                }
                Act::Leave(back) => Event::Leave(self.member(back)),
                Act::Touch(back) => Event::Touch(self.member(back)),
                Act::Park(back) => Event::Park(self.member(back)),
                Act::Topics(counts) => {
                    let counts = (1..).map(TopicId::new).zip(counts);
                    let is_read = |topic: &TopicId| {
                        self.state.members().any(|(_, topics)| topics.contains(topic))
                    };
                    let counts = counts.filter(|(topic, count)| *count > 0 && is_read(topic));
                    Event::Topics { counts: counts.collect(), wanted: BTreeMap::new() }
                }
                Act::Balance(first) => {
                    let generation = self.state.generation();
                    Event::Adopt { generation, target: self.target(first) }
                }
                Act::Told(at) => Event::Told(self.some(at)?),
                Act::HandOver(at) => Event::HandOver(self.some(at)?),
                Act::Late(at) => {
                    let (epoch, (shard, _)) =
                        self.epochs.iter().nth(at % self.epochs.len().max(1))?;
                    let share = Share { shard: *shard, epoch: *epoch, leaving: Leaving::Told };
                    Event::HandOver(share)
                }
                Act::Delivered(at) => {
                    let share = self.some(at).filter(|share| share.leaving == Leaving::No)?;
                    self.outstanding.insert(share.epoch);
                    Event::Delivered(share.shard)
                }
                Act::Covered(at) => {
                    let share = self.some(at)?;
                    self.outstanding.remove(&share.epoch);
                    Event::Covered(share.shard)
                }
                Act::Renew(at) => Event::Renew(self.some(at)?.shard),
                Act::Disband => Event::Disband,
                Act::Tick(seconds) => {
                    self.now += Duration::from_secs(seconds.into());
                    Event::Tick
                }
            })
        }

        /// One of those that joined last.
        fn member(&self, back: u64) -> MemberId {
            MemberId::new(self.joined.saturating_sub(back - 1))
        }

        fn step(&mut self, act: Act) {
            let Some(event) = self.event(act) else { return };
            let before = format!("{:?}", self.state);
            let held = self.held();
            let is_late = match &event {
                Event::HandOver(share) => held
                    .iter()
                    .all(|(_, held)| (held.shard, held.epoch) != (share.shard, share.epoch)),
                _ => false,
            };
            let takes = matches!(
                event,
                Event::Leave(_)
                    | Event::Topics { .. }
                    | Event::HandOver(_)
                    | Event::Renew(_)
                    | Event::Disband
                    | Event::Tick
            );
            self.state.apply(event, self.now);
            if is_late {
                assert_eq!(format!("{:?}", self.state), before, "a late word changed something");
            }
            self.check(&held, takes);
        }

        fn check(&mut self, before: &[(MemberId, Share)], takes: bool) {
            let held = self.held();
            let shards = held.iter().map(|(_, share)| share.shard).collect::<BTreeSet<_>>();
            assert_eq!(shards.len(), held.len(), "a partition has two owners: {held:?}");
            assert_eq!(self.state.holdings.len(), held.len(), "somebody owns who is no member");
            assert!(self.state.generation() >= self.generation, "the generation went back");
            self.generation = self.state.generation();
            let newest = self.epochs.keys().next_back().copied().unwrap_or_default();
            for (member, share) in &held {
                let first = *self.epochs.entry(share.epoch).or_insert_with(|| {
                    assert!(share.epoch > newest, "an epoch came late");
                    (share.shard, *member)
                });
                assert_eq!(first, (share.shard, *member), "epoch {} was used twice", share.epoch);
                let may_read = self.state.may_read(*member, share.shard, share.epoch);
                assert_eq!(may_read, share.leaving == Leaving::No, "{share:?}");
                assert!(self.state.owns(*member, share.shard, share.epoch));
            }
            for (_, share) in before.iter().filter(|_| !takes) {
                let stays = held.iter().any(|(_, held)| held.epoch == share.epoch);
                let is_outstanding = self.outstanding.contains(&share.epoch);
                assert!(stays || !is_outstanding, "{share:?} went with records outstanding");
            }
        }
    }

    proptest! {
        /// Two members would read one partition, or a late word would count.
        #[test]
        fn whatever_happens_a_partition_has_one_owner(acts in vec(act(), 0..80)) {
            let mut watched = Watched::default();
            acts.into_iter().for_each(|act| watched.step(act));
        }

        /// A group would never come to rest, or rest in another order than was decided.
        #[test]
        fn a_group_that_is_left_alone_comes_to_what_was_decided(
            acts in vec(act(), 0..60),
            first in 0..8_usize,
        ) {
            let mut watched = Watched::default();
            acts.into_iter().for_each(|act| watched.step(act));
            watched.step(Act::Tick(0));
            let target = watched.target(first);
            watched.step(Act::Balance(first));
            // Owners are told, and let go.
            for (_, share) in watched.held() {
                if share.leaving != Leaving::No {
                    watched.state.apply(Event::Told(share), watched.now);
                    watched.state.apply(Event::HandOver(share), watched.now);
                }
            }
            let owners = |watched: &Watched| {
                let held = watched.held().into_iter();
                held.map(|(member, share)| (share.shard, member)).collect::<BTreeMap<_, _>>()
            };
            prop_assert_eq!(owners(&watched), target.clone());
            prop_assert!(!watched.state.wants_target());
            let rest = format!("{:?}", watched.state);
            let generation = watched.state.generation();
            for _ in 0..3 {
                watched.state.apply(Event::Tick, watched.now);
                let adopt = Event::Adopt { generation, target: target.clone() };
                watched.state.apply(adopt, watched.now);
                let counts = watched.state.topics().clone();
                watched.state.apply(Event::Topics { counts, wanted: BTreeMap::new() }, watched.now);
            }
            prop_assert_eq!(format!("{:?}", watched.state), rest);
        }
    }

    const SHARD: ShardId = ShardId { topic: TopicId::new(1), partition: PartitionId::ZERO };
    const FIRST: MemberId = MemberId::new(1);
    const SECOND: MemberId = MemberId::new(2);

    /// Two members of a topic with one partition, which the first one owns.
    fn two_members() -> Membership {
        let mut state = Membership::default();
        for member in [FIRST, SECOND] {
            let topics = BTreeSet::from([SHARD.topic]);
            state.apply(Event::Join { member, topics, patience: None }, START);
        }
        let counts = BTreeMap::from([(SHARD.topic, 1)]);
        state.apply(Event::Topics { counts, wanted: BTreeMap::new() }, START);
        adopt(&mut state, FIRST);
        state
    }

    fn adopt(state: &mut Membership, heir: MemberId) {
        let target = BTreeMap::from([(SHARD, heir)]);
        state.apply(Event::Adopt { generation: state.generation(), target }, START);
    }

    fn only(state: &Membership, member: MemberId) -> Share {
        let shares = state.shares(member);
        assert_eq!(shares.len(), 1, "{state:?}");
        shares[0]
    }

    /// An idle partition would wait for its owner to poll.
    #[test]
    fn with_nothing_outstanding_a_partition_moves_at_once() {
        let mut state = two_members();
        let old = only(&state, FIRST);
        state.apply(Event::Delivered(SHARD), START);
        state.apply(Event::Covered(SHARD), START);
        adopt(&mut state, SECOND);
        let new = only(&state, SECOND);
        assert!(new.epoch > old.epoch && state.shares(FIRST).is_empty());
    }

    /// A partition that was to move and shall stay would be read by nobody for ever.
    #[test]
    fn a_move_that_nobody_was_told_of_is_called_off() {
        let mut state = two_members();
        let old = only(&state, FIRST);
        state.apply(Event::Delivered(SHARD), START);
        adopt(&mut state, SECOND);
        let leaving = only(&state, FIRST);
        assert_eq!(leaving.leaving, Leaving::Untold);
        assert!(!state.may_read(FIRST, SHARD, old.epoch));
        adopt(&mut state, FIRST);
        assert_eq!(only(&state, FIRST), old);
        // Whoever has seen it leave, and comes to take note only now, is told that it stays.
        state.apply(Event::Told(leaving), START);
        assert!(!state.is_told(leaving));
        state.apply(Event::HandOver(leaving), START);
        assert!(state.may_read(FIRST, SHARD, old.epoch));
    }

    /// A move that was told could be called off under the owner's hands.
    #[test]
    fn a_partition_that_was_told_to_leave_comes_back_under_a_new_epoch() {
        let mut state = two_members();
        let old = only(&state, FIRST);
        state.apply(Event::Delivered(SHARD), START);
        adopt(&mut state, SECOND);
        state.apply(Event::Told(old), START);
        adopt(&mut state, FIRST);
        assert_eq!(only(&state, FIRST).leaving, Leaving::Told);
        state.apply(Event::Covered(SHARD), START);
        assert_eq!(only(&state, FIRST).leaving, Leaving::Told, "its hand-over is still held");
        state.apply(Event::HandOver(old), START);
        let new = only(&state, FIRST);
        assert_eq!(new.leaving, Leaving::No);
        assert!(new.epoch > old.epoch);
        state.apply(Event::HandOver(old), START);
        assert_eq!(only(&state, FIRST), new);
    }

    /// An impatient member would be fenced while it waits, or never.
    #[test]
    fn who_waits_inside_is_never_late() {
        let mut state = Membership::default();
        let patience = Some(Duration::from_secs(10));
        let join = Event::Join { member: FIRST, topics: BTreeSet::new(), patience };
        state.apply(join, START);
        state.apply(Event::Park(FIRST), START);
        let late = Duration::from_secs(100);
        assert!(state.apply(Event::Tick, late).fenced.is_empty());
        state.apply(Event::Touch(FIRST), late);
        assert_eq!(state.next_deadline(), Some(Duration::from_secs(110)));
        assert!(state.apply(Event::Tick, Duration::from_secs(109)).fenced.is_empty());
        let fenced = state.apply(Event::Tick, Duration::from_secs(110)).fenced;
        assert_eq!(fenced, BTreeSet::from([FIRST]));
        assert!(!state.is_member(FIRST));
    }
}
