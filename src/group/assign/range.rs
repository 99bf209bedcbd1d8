//! Contiguous partitions of each topic, so that equal topics are split alike.

use std::collections::BTreeMap;

use super::member::{Assignor, Member, MemberId};
use crate::name::TopicName;
use crate::offset::TopicPartition;

/// Splits each topic by itself into contiguous runs, one for each subscriber.
///
/// Topics with the same subscribers and equally many partitions are split alike: partition 3 of
/// each goes to the same member, which can join them by key. The price: of every topic, the members
/// that joined first get the partitions that do not divide evenly, and a new member moves most
/// partitions. This is Kafka's `RangeAssignor`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range;

impl Assignor for Range {
    fn assign(
        &self,
        members: &[Member<'_>],
        partitions: &[TopicPartition],
    ) -> Vec<(MemberId, TopicPartition)> {
        let mut topics: BTreeMap<&TopicName, Vec<&TopicPartition>> = BTreeMap::new();
        for place in partitions {
            topics.entry(place.topic()).or_default().push(place);
        }
        let mut pairs = Vec::with_capacity(partitions.len());
        for (topic, mut places) in topics {
            places.sort_unstable();
            let subscribes = |member: &&Member<'_>| member.topics().contains(topic);
            let mut takers: Vec<MemberId> =
                members.iter().filter(subscribes).map(Member::id).collect();
            takers.sort_unstable();
            split(&takers, &places, &mut pairs);
        }
        pairs
    }
}

/// Gives each taker the same number of `places`, in order, and the first ones one more.
fn split(
    takers: &[MemberId],
    places: &[&TopicPartition],
    pairs: &mut Vec<(MemberId, TopicPartition)>,
) {
    let (Some(each), Some(over)) =
        (places.len().checked_div(takers.len()), places.len().checked_rem(takers.len()))
    else {
        return;
    };
    let mut places = places.iter();
    for (at, taker) in takers.iter().enumerate() {
        let count = each + usize::from(at < over);
        pairs.extend(places.by_ref().take(count).map(|place| (*taker, (*place).clone())));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::Range;
    use crate::group::assign::{Assignor, Member, MemberId};
    use crate::name::TopicName;
    use crate::offset::{PartitionId, TopicPartition};

    /// What each of `members` (id, topics) gets of `topics` (name, partitions).
    fn assigned(members: &[(u64, &[&str])], topics: &[(&str, u32)]) -> BTreeMap<u64, Vec<String>> {
        let named = |name: &&str| TopicName::new(name).unwrap();
        let subscribed: Vec<BTreeSet<TopicName>> =
            members.iter().map(|(_, topics)| topics.iter().map(named).collect()).collect();
        let nothing = BTreeSet::new();
        let members: Vec<Member<'_>> = members
            .iter()
            .zip(&subscribed)
            .map(|((id, _), topics)| Member::new(MemberId::new(*id), topics, &nothing))
            .collect();
        let places = topics.iter().flat_map(|(name, count)| {
            (0..*count).map(move |n| TopicPartition::new(named(name), PartitionId::new(n)))
        });
        let mut all: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (id, place) in Range.assign(&members, &places.collect::<Vec<_>>()) {
            all.entry(id.value()).or_default().push(place.to_string());
        }
        all
    }

    /// Two groups, one here and one in Kafka, would split their topics differently.
    #[test]
    fn the_example_of_kafka_comes_out_alike() {
        let both: &[&str] = &["t0", "t1"];
        let all = assigned(&[(0, both), (1, both)], &[("t0", 3), ("t1", 3)]);
        assert_eq!(all[&0], ["t0/0", "t0/1", "t1/0", "t1/1"]);
        assert_eq!(all[&1], ["t0/2", "t1/2"]);
    }

    /// Somebody who joined late would change the order, or one who does not subscribe would count.
    #[test]
    fn the_order_is_that_of_joining_among_subscribers() {
        let members: &[(u64, &[&str])] = &[(7, &["a"]), (3, &["a", "b"]), (5, &["b"])];
        let all = assigned(members, &[("b", 1), ("a", 5)]);
        assert_eq!(all[&3], ["a/0", "a/1", "a/2", "b/0"]);
        assert_eq!(all[&7], ["a/3", "a/4"]);
        assert_eq!(all.get(&5), None);
    }

    /// A topic that nobody subscribes to would be divided by zero.
    #[test]
    fn a_topic_without_subscribers_goes_to_nobody() {
        assert_eq!(assigned(&[(1, &["a"])], &[("b", 4)]), BTreeMap::new());
        assert_eq!(assigned(&[], &[("b", 4)]), BTreeMap::new());
    }
}
