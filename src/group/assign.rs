//! Which member of a group reads which partition: pure functions of who is there and what there is.
//!
//! [`Sticky`] is the default, [`Range`] is for topics that are joined by key, and an [`Assignor`]
//! of your own may answer anything: the answer is made whole, so that each partition which somebody
//! subscribes to has exactly one owner, a subscriber. Nothing here does I/O, reads a clock or draws
//! a number.

mod member;
mod range;
mod sticky;

use std::collections::{BTreeMap, BTreeSet};

pub use member::{Assignor, Member, MemberId};
pub use range::Range;
pub use sticky::Sticky;

use crate::name::TopicName;
use crate::offset::{PartitionId, ShardId, TopicId, TopicPartition};

/// A member as its group knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) id: MemberId,
    /// What it subscribes to; topics that are not offered have no effect.
    pub(crate) topics: &'a BTreeSet<TopicId>,
    /// What it was given; of it, only what still exists and is subscribed to has an effect.
    pub(crate) owned: &'a BTreeSet<ShardId>,
}

/// A topic that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered<'a> {
    pub(crate) id: TopicId,
    pub(crate) name: &'a TopicName,
    pub(crate) partitions: u32,
}

/// Who owns what, as `assignor` has it, made whole.
///
/// Each partition of `topics` that a member subscribes to has exactly one owner, which subscribes
/// to it; the other partitions are not mentioned. `members` have different ids, `topics` different
/// ids and names.
pub(crate) fn target(
    assignor: &dyn Assignor,
    members: &[Candidate<'_>],
    topics: &[Offered<'_>],
) -> BTreeMap<ShardId, MemberId> {
    let known: BTreeMap<TopicId, &Offered<'_>> = topics.iter().map(|one| (one.id, one)).collect();
    let mut seats: Vec<Seat> = members.iter().map(|member| Seat::new(member, &known)).collect();
    seats.sort_by_key(|seat| seat.id);
    let wanted: BTreeSet<&TopicName> = seats.iter().flat_map(|seat| &seat.topics).collect();
    let mut open: BTreeMap<TopicPartition, ShardId> = BTreeMap::new();
    for topic in topics.iter().filter(|topic| wanted.contains(topic.name)) {
        for partition in (0..topic.partitions).map(PartitionId::new) {
            let place = TopicPartition::new(topic.name.clone(), partition);
            open.insert(place, ShardId { topic: topic.id, partition });
        }
    }
    if open.is_empty() {
        return BTreeMap::new();
    }

    let views: Vec<Member<'_>> =
        seats.iter().map(|seat| Member::new(seat.id, &seat.topics, &seat.owned)).collect();
    let partitions: Vec<TopicPartition> = open.keys().cloned().collect();
    let pairs = assignor.assign(&views, &partitions);

    let mut owners = BTreeMap::new();
    for (id, place) in pairs {
        let seat = seats.binary_search_by_key(&id, |seat| seat.id).ok();
        let taker = seat.and_then(|at| seats.get_mut(at));
        if let Some(seat) = taker.filter(|seat| seat.topics.contains(place.topic()))
            && let Some(shard) = open.remove(&place)
        {
            seat.load += 1;
            owners.insert(shard, id);
        }
    }
    give_the_rest(&mut seats, open, &mut owners);
    owners
}

/// Gives what the assignor forgot to the subscriber with the least, rather to one that has it.
fn give_the_rest(
    seats: &mut [Seat],
    rest: BTreeMap<TopicPartition, ShardId>,
    owners: &mut BTreeMap<ShardId, MemberId>,
) {
    for (place, shard) in rest {
        let subscribers = seats.iter_mut().filter(|seat| seat.topics.contains(place.topic()));
        let least = subscribers.min_by_key(|seat| (seat.load, !seat.owned.contains(&place)));
        if let Some(seat) = least {
            seat.load += 1;
            owners.insert(shard, seat.id);
        }
    }
}

/// A member in public words, with the number of partitions that it has been given so far.
struct Seat {
    id: MemberId,
    topics: BTreeSet<TopicName>,
    owned: BTreeSet<TopicPartition>,
    load: usize,
}

impl Seat {
    fn new(member: &Candidate<'_>, known: &BTreeMap<TopicId, &Offered<'_>>) -> Seat {
        let topics = member.topics.iter().filter_map(|id| known.get(id));
        let owned = member.owned.iter().filter_map(|shard| {
            let topic = known.get(&shard.topic).filter(|_| member.topics.contains(&shard.topic))?;
            let exists = shard.partition.value() < topic.partitions;
            exists.then(|| TopicPartition::new(topic.name.clone(), shard.partition))
        });
        Seat {
            id: member.id,
            owned: owned.collect(),
            topics: topics.map(|topic| topic.name.clone()).collect(),
            load: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::{Assignor, Candidate, Member, MemberId, Offered, Range, Sticky, target};
    use crate::name::TopicName;
    use crate::offset::{PartitionId, ShardId, TopicId, TopicPartition};

    /// Answers what it was told to, and checks what it is shown.
    #[derive(Debug)]
    struct Told(Vec<(u64, &'static str, u32)>);

    impl Assignor for Told {
        fn assign(
            &self,
            members: &[Member<'_>],
            partitions: &[TopicPartition],
        ) -> Vec<(MemberId, TopicPartition)> {
            assert!(members.is_sorted_by_key(|member| member.id()));
            assert!(partitions.is_sorted());
            let pairs = self.0.iter().map(|(id, topic, partition)| {
                let place = (TopicName::new(topic).unwrap(), PartitionId::new(*partition));
                (MemberId::new(*id), TopicPartition::new(place.0, place.1))
            });
            pairs.collect()
        }
    }

    fn shard(topic: u64, partition: u32) -> ShardId {
        ShardId { topic: TopicId::new(topic), partition: PartitionId::new(partition) }
    }

    fn name(topic: u64) -> TopicName {
        TopicName::new(&format!("t{topic}")).unwrap()
    }

    /// Members by id, with topics and shards; then topics by id, with partition counts.
    type People = BTreeMap<u64, (BTreeSet<u64>, BTreeSet<(u64, u32)>)>;

    fn ask(
        assignor: &dyn Assignor,
        people: &People,
        topics: &BTreeMap<u64, u32>,
    ) -> BTreeMap<ShardId, MemberId> {
        let sets: Vec<(MemberId, BTreeSet<TopicId>, BTreeSet<ShardId>)> = people
            .iter()
            .rev() // the order in which members are listed must not matter
            .map(|(id, (subscribed, owned))| {
                let subscribed = subscribed.iter().map(|topic| TopicId::new(*topic)).collect();
                let owned = owned.iter().map(|(topic, number)| shard(*topic, *number)).collect();
                (MemberId::new(*id), subscribed, owned)
            })
            .collect();
        let candidates: Vec<Candidate<'_>> =
            sets.iter().map(|(id, topics, owned)| Candidate { id: *id, topics, owned }).collect();
        let names: Vec<_> =
            topics.iter().map(|(id, n)| (TopicId::new(*id), name(*id), *n)).collect();
        let offered: Vec<Offered<'_>> =
            names.iter().map(|(id, name, n)| Offered { id: *id, name, partitions: *n }).collect();
        target(assignor, &candidates, &offered)
    }

    fn people(entries: &[(u64, &[u64])]) -> People {
        let person = |(id, topics): &(u64, &[u64])| {
            (*id, (topics.iter().copied().collect(), BTreeSet::new()))
        };
        entries.iter().map(person).collect()
    }

    /// What a user's assignor gets wrong would be read by nobody, or by two, or by a stranger.
    #[test]
    fn an_answer_is_made_whole() {
        let told = Told(vec![
            (2, "t0", 0), // does not subscribe to it: ignored, the next one counts
            (1, "t0", 0),
            (1, "t1", 0),
            (2, "t1", 0), // given a second time
            (9, "t1", 1), // nobody
            (1, "t1", 7), // no such partition
            (1, "t5", 0), // no such topic
        ]);
        let both = people(&[(1, &[0, 1, 4]), (2, &[1])]);
        let owners = ask(&told, &both, &BTreeMap::from([(0, 2), (1, 3), (3, 2)]));
        // Forgotten: t0/1 (only 1 can), then t1/1 and t1/2 to the one that has less.
        let expected = [((0, 0), 1), ((0, 1), 1), ((1, 0), 1), ((1, 1), 2), ((1, 2), 2)];
        let expected = expected.map(|((t, p), id)| (shard(t, p), MemberId::new(id)));
        assert_eq!(owners, BTreeMap::from(expected));
    }

    /// A forgetful assignor would move partitions for nothing.
    #[test]
    fn among_equals_what_is_forgotten_stays_where_it_is() {
        let mut both = people(&[(1, &[0]), (2, &[0])]);
        both.get_mut(&2).unwrap().1.insert((0, 0));
        let owners = ask(&Told(Vec::new()), &both, &BTreeMap::from([(0, 2)]));
        let expected = [(shard(0, 0), MemberId::new(2)), (shard(0, 1), MemberId::new(1))];
        assert_eq!(owners, BTreeMap::from(expected));
    }

    /// A topic made anew under the old name would be taken for the old one.
    #[test]
    fn what_no_longer_exists_is_not_shown() {
        #[derive(Debug)]
        struct Shown;
        impl Assignor for Shown {
            fn assign(
                &self,
                members: &[Member<'_>],
                _: &[TopicPartition],
            ) -> Vec<(MemberId, TopicPartition)> {
                let owned: Vec<_> = members[0].owned().iter().map(ToString::to_string).collect();
                assert_eq!(owned, ["t1/0"]);
                assert_eq!(members[0].topics(), &BTreeSet::from([name(1)]));
                Vec::new()
            }
        }
        let owned = BTreeSet::from([(1, 0), (1, 5), (2, 0), (7, 0)]);
        let one = People::from([(1, (BTreeSet::from([1, 7]), owned))]);
        assert_eq!(ask(&Shown, &one, &BTreeMap::from([(1, 1), (2, 1)])).len(), 1);
    }

    /// A group without members, or without topics, would ask for an assignment of nothing.
    #[test]
    fn nobody_owns_nothing() {
        let topics = BTreeMap::from([(0, 3)]);
        assert!(ask(&Sticky, &People::new(), &topics).is_empty());
        assert!(ask(&Sticky, &people(&[(1, &[]), (2, &[5])]), &topics).is_empty());
        assert!(ask(&Range, &people(&[(1, &[0])]), &BTreeMap::from([(0, 0)])).is_empty());
    }

    fn a_group() -> impl Strategy<Value = (People, BTreeMap<u64, u32>)> {
        let person = (btree_set(0..6_u64, 0..5), btree_set((0..6_u64, 0..6_u32), 0..12));
        (proptest::collection::btree_map(0..20_u64, person, 0..8), vec(0..6_u32, 0..6))
            .prop_map(|(people, counts)| (people, (0..).zip(counts).collect()))
    }

    proptest! {
        /// A partition would be read by nobody although somebody asked for it, or by a stranger.
        #[test]
        fn every_wanted_partition_has_one_owner_who_subscribes(
            (people, topics) in a_group(),
            noise in vec((0..20_u64, prop_oneof![Just("t0"), Just("t1")], 0..7_u32), 0..20),
        ) {
            let told = Told(noise);
            for assignor in [&Sticky as &dyn Assignor, &Range, &told] {
                let owners = ask(assignor, &people, &topics);
                let mut wanted = 0;
                for (topic, count) in &topics {
                    let any = people.values().any(|(subscribed, _)| subscribed.contains(topic));
                    wanted += if any { *count as usize } else { 0 };
                }
                prop_assert_eq!(owners.len(), wanted, "{:?}", assignor);
                for (shard, owner) in &owners {
                    prop_assert!(shard.partition.value() < topics[&shard.topic.value()]);
                    prop_assert!(people[&owner.value()].0.contains(&shard.topic.value()));
                }
            }
        }

        /// The builtin assignors would lean on the repair that is meant for forgetful ones.
        #[test]
        fn the_builtin_assignors_need_no_repair((people, topics) in a_group()) {
            for assignor in [&Sticky as &dyn Assignor, &Range] {
                #[derive(Debug)]
                struct Watched<'a>(&'a dyn Assignor);
                impl Assignor for Watched<'_> {
                    fn assign(
                        &self,
                        members: &[Member<'_>],
                        partitions: &[TopicPartition],
                    ) -> Vec<(MemberId, TopicPartition)> {
                        let pairs = self.0.assign(members, partitions);
                        let given: BTreeSet<_> = pairs.iter().map(|(_, place)| place).collect();
                        assert_eq!(pairs.len(), partitions.len());
                        assert_eq!(given.len(), partitions.len());
                        pairs
                    }
                }
                ask(&Watched(assignor), &people, &topics);
            }
        }
    }
}
