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
