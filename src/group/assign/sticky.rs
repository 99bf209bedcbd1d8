//! Equal shares with few moves: each keeps what it has, unless somebody else has too little.
//!
//! Topics with the same subscribers are one pool: for balance, their partitions are alike. A
//! member can pass work on to everybody in the pool of a partition it holds, and those can pass
//! work on in turn; so the search for a better balance goes from member to member through pools,
//! and its cost depends on their number, not on that of the partitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::member::{Assignor, Member, MemberId};
use crate::name::TopicName;
use crate::offset::TopicPartition;

/// Shares all partitions out equally and moves as few as it can; the default.
///
/// Balance comes first: the loads are as equal as the subscriptions allow, and a member never has
/// two partitions more than another one that subscribes to something it holds. Then stickiness:
/// while nobody comes or goes nothing moves, and where all members subscribe to the same topics no
/// balanced assignment moves fewer. Where they do not, every chain of moves makes the loads more
/// equal, but other chains might have got there with fewer moves.
///
/// The answer depends on the arguments alone. It is the placement of Kafka's sticky assignors in
/// their worked examples, and better balanced where subscriptions differ.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sticky;

impl Assignor for Sticky {
    fn assign(
        &self,
        members: &[Member<'_>],
        partitions: &[TopicPartition],
    ) -> Vec<(MemberId, TopicPartition)> {
        let (mut table, rest) = Table::laid(members, partitions);
        table.share_out(rest);
        table.level();
        table.into_pairs()
    }
}

/// Who holds what. Members and pools are known by their place in the two lists.
///
/// **Invariants**: a member's load is the number of parts in its hand; a hand has no empty list; a
/// part lies only with a member of its pool.
struct Table<'a> {
    seats: Vec<Seat<'a>>,
    /// The members of each pool, in the order of the seats.
    pools: Vec<Vec<usize>>,
}

struct Seat<'a> {
    id: MemberId,
    load: usize,
    /// What it holds, by pool.
    hand: BTreeMap<usize, Vec<Part<'a>>>,
}

struct Part<'a> {
    place: &'a TopicPartition,
    /// Whose it was before.
    home: Option<usize>,
}

/// One partition that goes to another member of its pool.
#[derive(Clone, Copy)]
struct Step {
    from: usize,
    pool: usize,
    to: usize,
}

impl<'a> Table<'a> {
    /// Everybody with what they had, and what nobody had, with its pool.
    fn laid(
        members: &'a [Member<'a>],
        partitions: &'a [TopicPartition],
    ) -> (Table<'a>, Vec<(usize, Part<'a>)>) {
        let mut members: Vec<&Member<'_>> = members.iter().collect();
        members.sort_by_key(|member| member.id());
        let mut subscribers: BTreeMap<&TopicName, Vec<usize>> = BTreeMap::new();
        let mut homes: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for (seat, member) in members.iter().enumerate() {
            for topic in member.topics() {
                subscribers.entry(topic).or_default().push(seat);
            }
            let kept = member.owned().iter().filter(|held| member.topics().contains(held.topic()));
            for place in kept {
                homes.entry(place).or_insert(seat);
            }
        }

        let seat = |member: &&Member<'_>| Seat::new(member.id());
        let mut table = Table { seats: members.iter().map(seat).collect(), pools: Vec::new() };
        let mut pool_of: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        let mut rest = Vec::new();
        let places: BTreeSet<&TopicPartition> = partitions.iter().collect();
        for place in places {
            let Some(takers) = subscribers.get(place.topic()) else { continue };
            let pool = pool_of.get(takers).copied().unwrap_or_else(|| {
                let pool = table.pools.len();
                table.pools.push(takers.clone());
                pool_of.insert(takers.clone(), pool);
                pool
            });
            let part = Part { place, home: homes.get(place).copied() };
            match part.home {
                Some(home) => table.give(home, pool, part),
                None => rest.push((pool, part)),
            }
        }
        (table, rest)
    }

    /// Gives each of `rest` to the member of its pool that has the least.
    fn share_out(&mut self, mut rest: Vec<(usize, Part<'a>)>) {
        // Those with the smallest choice come first, so that the others can fill the gaps.
        rest.sort_by_key(|(pool, part)| (self.pool(*pool).len(), part.place));
        for (pool, part) in rest {
            let least = self.pool(pool).iter().copied().min_by_key(|seat| self.load(*seat));
            if let Some(seat) = least {
                self.give(seat, pool, part);
            }
        }
    }

    /// Passes work on until no chain of steps could make two loads more equal.
    fn level(&mut self) {
        // A member that nothing helped may be helped by what others did after it: once more, then.
        while self.level_once() {}
    }

    /// Goes through the members from the most loaded down; whether anything moved.
    fn level_once(&mut self) -> bool {
        let mut moved = false;
        let mut waiting: BTreeSet<usize> = (0..self.seats.len()).collect();
        // The most loaded are looked for anew after each chain: with equal subscriptions that makes
        // the moves the fewest. Every chain makes the sum of the squares smaller, so this ends.
        while let Some(top) = waiting.iter().map(|seat| self.load(*seat)).max() {
            let most: Vec<usize> =
                waiting.iter().copied().filter(|seat| self.load(*seat) == top).collect();
            match self.chain(&most, top) {
                Some(chain) => {
                    moved = true;
                    chain.into_iter().for_each(|step| self.pass(step));
                }
                None => waiting.retain(|seat| !most.contains(seat)),
            }
        }
        moved
    }

    /// The shortest chain of steps from any of `most` to the least loaded member that one leads to.
    ///
    /// `top` is the load of each of `most`. `None` if every member that a chain leads to has at
    /// most one partition less.
    fn chain(&self, most: &[usize], top: usize) -> Option<Vec<Step>> {
        let bottom = self.seats.iter().map(|seat| seat.load).min()?;
        let mut least: Option<(usize, usize)> = None;
        let mut steps: BTreeMap<usize, Step> = BTreeMap::new();
        let mut reached: BTreeSet<usize> = most.iter().copied().collect();
        let mut entered: BTreeSet<usize> = BTreeSet::new();
        let mut queue: VecDeque<usize> = most.iter().copied().collect();
        // Breadth first, so that the first chain to a member is a shortest one.
        while let Some(from) = queue.pop_front().filter(|_| least.is_none_or(|(l, _)| l > bottom)) {
            for pool in self.seats.get(from)?.hand.keys().copied() {
                if !entered.insert(pool) {
                    continue;
                }
                for to in self.pool(pool).iter().copied() {
                    if reached.insert(to) {
                        steps.insert(to, Step { from, pool, to });
                        queue.push_back(to);
                        let load = self.load(to);
                        if least.is_none_or(|(l, _)| load < l) {
                            least = Some((load, to));
                        }
                    }
                }
            }
        }
        let (_, mut at) = least.filter(|(load, _)| load + 1 < top)?;
        let mut chain = Vec::new();
        while let Some(step) = steps.get(&at) {
            chain.push(*step);
            at = step.from;
        }
        Some(chain)
    }

    /// Moves one partition: one that comes home if there is one, else one that is not at home.
    fn pass(&mut self, step: Step) {
        let Some(seat) = self.seats.get_mut(step.from) else { return };
        let Some(parts) = seat.hand.get_mut(&step.pool) else { return };
        let dear = |part: &Part<'_>| (part.home == Some(step.to), part.home != Some(step.from));
        let chosen = parts.iter().enumerate().max_by_key(|(_, part)| dear(part));
        let Some(at) = chosen.map(|(at, _)| at) else { return };
        let part = parts.remove(at);
        if parts.is_empty() {
            seat.hand.remove(&step.pool);
        }
        seat.load -= 1;
        self.give(step.to, step.pool, part);
    }

    fn give(&mut self, seat: usize, pool: usize, part: Part<'a>) {
        if let Some(seat) = self.seats.get_mut(seat) {
            seat.hand.entry(pool).or_default().push(part);
            seat.load += 1;
        }
    }

    fn load(&self, seat: usize) -> usize {
        self.seats.get(seat).map_or(0, |seat| seat.load)
    }

    fn pool(&self, pool: usize) -> &[usize] {
        self.pools.get(pool).map_or(&[], Vec::as_slice)
    }

    fn into_pairs(self) -> Vec<(MemberId, TopicPartition)> {
        let parts = self.seats.into_iter().flat_map(|seat| {
            seat.hand.into_values().flatten().map(move |part| (seat.id, part.place.clone()))
        });
        parts.collect()
    }
}

impl Seat<'_> {
    fn new(id: MemberId) -> Self {
        Seat { id, load: 0, hand: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::Sticky;
    use crate::group::assign::{Assignor, Member, MemberId};
    use crate::name::TopicName;
    use crate::offset::{PartitionId, TopicPartition};

    /// What a member subscribes to and what it has, by its id.
    #[derive(Clone, Debug, Default)]
    struct Group(BTreeMap<u64, (BTreeSet<TopicName>, BTreeSet<TopicPartition>)>);

    impl Group {
        /// Members 0 up to `members`, who all subscribe to the topics 0 up to `topics`.
        fn alike(members: u64, topics: u64) -> Group {
            let topics: BTreeSet<TopicName> = (0..topics).map(name).collect();
            Group((0..members).map(|id| (id, (topics.clone(), BTreeSet::new()))).collect())
        }

        /// Assigns `partitions`, and says how many moved although their owner is still there.
        fn rebalance(&mut self, partitions: &[TopicPartition]) -> usize {
            let members: Vec<Member<'_>> = self
                .0
                .iter()
                .map(|(id, (topics, owned))| Member::new(MemberId::new(*id), topics, owned))
                .collect();
            let pairs = Sticky.assign(&members, partitions);
            let mut new: BTreeMap<u64, BTreeSet<TopicPartition>> = BTreeMap::new();
            for (id, place) in pairs {
                assert!(new.entry(id.value()).or_default().insert(place));
            }
            let mut moved = 0;
            for (id, (_, owned)) in &mut self.0 {
                let now = new.remove(id).unwrap_or_default();
                let lost = owned.difference(&now).filter(|place| partitions.contains(place));
                moved += lost.count();
                *owned = now;
            }
            assert!(new.is_empty(), "given to nobody: {new:?}");
            moved
        }

        fn loads(&self) -> Vec<usize> {
            self.0.values().map(|(_, owned)| owned.len()).collect()
        }

        fn shown(&self) -> Vec<String> {
            let hand = |owned: &BTreeSet<TopicPartition>| {
                owned.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            };
            self.0.iter().map(|(id, (_, owned))| format!("{id}: {}", hand(owned))).collect()
        }

        /// Every member against every other that could take one of its partitions.
        fn check_balance(&self) {
            for (_, owned) in self.0.values() {
                for (topics, others) in self.0.values() {
                    let can_take = owned.iter().any(|place| topics.contains(place.topic()));
                    assert!(!can_take || owned.len() <= others.len() + 1, "{:#?}", self.shown());
                }
            }
        }
    }

    fn name(topic: u64) -> TopicName {
        TopicName::new(&format!("t{topic}")).unwrap()
    }

    fn partitions(counts: &[u32]) -> Vec<TopicPartition> {
        let topic = |(topic, count): (u64, &u32)| {
            (0..*count).map(move |n| TopicPartition::new(name(topic), PartitionId::new(n)))
        };
        (0..).zip(counts).flat_map(topic).collect()
    }

    /// Two groups, one here and one in Kafka, would be balanced differently.
    #[test]
    fn the_example_of_kafka_comes_out_alike() {
        let all = partitions(&[2, 2, 2, 2]);
        let mut group = Group::alike(3, 4);
        assert_eq!(group.rebalance(&all), 0);
        let expected = ["0: t0/0 t1/1 t3/0", "1: t0/1 t2/0 t3/1", "2: t1/0 t2/1"];
        assert_eq!(group.shown(), expected);
        group.0.remove(&1);
        assert_eq!(group.rebalance(&all), 0);
        assert_eq!(group.shown(), ["0: t0/0 t1/1 t2/0 t3/0", "2: t0/1 t1/0 t2/1 t3/1"]);
    }

    /// A new member would get nothing, or more would move than it gets.
    #[test]
    fn a_new_member_gets_its_share_and_nothing_else_moves() {
        let all = partitions(&[7, 5]);
        let mut group = Group::alike(3, 2);
        group.rebalance(&all);
        group.0.extend(Group::alike(4, 2).0.into_iter().skip(3));
        assert_eq!(group.rebalance(&all), 3);
        assert_eq!(group.loads(), [3, 3, 3, 3]);
        assert_eq!(group.rebalance(&all), 0);
    }

    /// A member could keep a partition of a topic that it no longer asks for.
    #[test]
    fn what_is_no_longer_subscribed_to_is_given_away() {
        let all = partitions(&[2, 2]);
        let mut group = Group::alike(2, 2);
        group.rebalance(&all);
        group.0.get_mut(&0).unwrap().0.remove(&name(0));
        assert_eq!(group.rebalance(&all), 2);
        assert_eq!(group.shown(), ["0: t1/0 t1/1", "1: t0/0 t0/1"]);
    }

    /// Loads would stay unequal where only a chain of moves can make them more equal.
    #[test]
    fn work_is_passed_on_through_others() {
        let mut group = Group::default();
        for (id, topics, owned) in [(0, 0..2, 4), (1, 1..3, 3), (2, 2..4, 0)] {
            let topics = topics.map(name).collect();
            let place = |n| TopicPartition::new(name(id + 1), PartitionId::new(n));
            group.0.insert(id, (topics, (0..owned).map(place).collect()));
        }
        let all: Vec<_> = group.0.values().flat_map(|(_, owned)| owned.clone()).collect();
        assert_eq!(group.rebalance(&all), 3);
        assert_eq!(group.loads(), [3, 2, 2]);
        assert_eq!(group.rebalance(&all), 0);
    }

    /// A hundred members would stand still for longer than a poll may take.
    #[test]
    fn large_groups_are_balanced_however_they_subscribe() {
        let all = partitions(&[1; 1_000]);
        let mut alike = Group::alike(100, 1_000);
        alike.rebalance(&all);
        assert_eq!(alike.loads(), [10; 100]);
        alike.0.retain(|id, _| id % 2 == 0);
        assert_eq!(alike.rebalance(&all), 0);
        alike.0.extend(Group::alike(100, 1_000).0.into_iter().filter(|(id, _)| id % 2 == 1));
        assert_eq!(alike.rebalance(&all), 500);
        assert_eq!(alike.loads(), [10; 100]);

        // Every topic is a pool of its own, and the first ten members have everything.
        let mut mixed = Group::default();
        for id in 0..100 {
            let topics = (0..1_000).filter(|topic| (topic * 7 + id * 13) % 97 < 50);
            mixed.0.insert(id, (topics.map(name).collect(), BTreeSet::new()));
        }
        for place in &all {
            let mut takers =
                mixed.0.values_mut().filter(|(topics, _)| topics.contains(place.topic()));
            takers.next().unwrap().1.insert(place.clone());
        }
        assert!(mixed.loads().iter().any(|load| *load > 100));
        assert!(mixed.rebalance(&all) > 500);
        mixed.check_balance();
        assert_eq!(mixed.rebalance(&all), 0);
    }

    /// The smallest sum of squares that any assignment of `left` can have.
    fn best(group: &Group, left: &[TopicPartition], loads: &mut BTreeMap<u64, usize>) -> usize {
        let Some((place, left)) = left.split_first() else {
            return loads.values().map(|load| load * load).sum();
        };
        let takers = group.0.iter().filter(|(_, (topics, _))| topics.contains(place.topic()));
        let tries = takers.map(|(id, _)| {
            *loads.entry(*id).or_default() += 1;
            let found = best(group, left, loads);
            *loads.entry(*id).or_default() -= 1;
            found
        });
        let tries: Vec<usize> = tries.collect();
        tries.into_iter().min().unwrap_or_else(|| best(group, left, loads))
    }

    /// Up to 5 topics, and rounds of who is there with which of them.
    type Rounds = (Vec<u32>, Vec<BTreeMap<u64, BTreeSet<u64>>>);

    fn rounds(topics_max: u32) -> impl Strategy<Value = Rounds> {
        let members = proptest::collection::btree_map(0..6_u64, btree_set(0..4_u64, 1..4), 1..5);
        (vec(0..=topics_max, 1..5), vec(members, 1..4))
    }

    /// Lets the members of the next round take the places of those of the last one.
    fn turn(group: &mut Group, round: &BTreeMap<u64, BTreeSet<u64>>) {
        group.0.retain(|id, _| round.contains_key(id));
        for (id, topics) in round {
            group.0.entry(*id).or_default().0 = topics.iter().copied().map(name).collect();
        }
    }

    proptest! {
        /// Somebody would have two partitions more than another who could take one.
        #[test]
        fn loads_are_balanced_and_then_nothing_moves((counts, rounds) in rounds(6)) {
            let all = partitions(&counts);
            let mut group = Group::default();
            for round in rounds {
                turn(&mut group, &round);
                group.rebalance(&all);
                group.check_balance();
                let before = group.shown();
                prop_assert_eq!(group.rebalance(&all), 0);
                prop_assert_eq!(group.shown(), before);
            }
        }

        /// The loads would be less equal than the subscriptions allow.
        #[test]
        fn no_assignment_is_better_balanced((counts, rounds) in rounds(2)) {
            let all = partitions(&counts);
            let mut group = Group::default();
            for round in rounds {
                turn(&mut group, &round);
                group.rebalance(&all);
                let squares: usize = group.loads().iter().map(|load| load * load).sum();
                prop_assert_eq!(squares, best(&group, &all, &mut BTreeMap::new()));
            }
        }

        /// More would move than has to.
        #[test]
        fn members_alike_move_the_fewest(
            counts in vec(0..12_u32, 1..4),
            before in vec((0..8_u64, 0..12_u32), 0..40),
            members in 1..8_u64,
        ) {
            let all = partitions(&counts);
            let mut group = Group::alike(members, counts.len() as u64);
            // A start as unequal as it comes: everything is somebody's, some of it of the departed.
            for (place, (owner, _)) in all.iter().zip(before) {
                if let Some((_, owned)) = group.0.get_mut(&owner) {
                    owned.insert(place.clone());
                }
            }
            let (loads, each) = (group.loads(), all.len() / members as usize);
            let over = all.len() % members as usize;
            // Those with the most keep the larger shares.
            let mut most = loads.clone();
            most.sort_unstable_by(|a, b| b.cmp(a));
            let least_moves: usize = most
                .iter()
                .enumerate()
                .map(|(at, load)| load.saturating_sub(each + usize::from(at < over)))
                .sum();
            prop_assert_eq!(group.rebalance(&all), least_moves);
        }
    }
}
