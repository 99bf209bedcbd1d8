//! The words between a group and its assignor.

use std::collections::BTreeSet;
use std::fmt;

use crate::name::TopicName;
use crate::offset::TopicPartition;

/// Says which member of a group reads which partition.
///
/// A group asks whenever a member comes or goes, or a topic it reads is made, grown or deleted. The
/// answer should depend on the arguments alone, and be quick: the group stands still meanwhile, so
/// an assignor must not call the log. Whatever moves from one member to another is handed over
/// first; what stays is not interrupted, so few moves are worth something.
///
/// Any answer is made whole. What it gives to a member that does not subscribe to the topic, or
/// that is not there, is ignored; so is what it gives a second time, the first counts. A partition
/// that it forgets goes to the subscriber that has the fewest.
///
/// # Examples
/// ```
/// use brooklet::TopicPartition;
/// use brooklet::assignor::{Assignor, Member, MemberId};
///
/// /// The member that joined first reads everything; the others stand by.
/// #[derive(Debug)]
/// struct StandBy;
///
/// impl Assignor for StandBy {
///     fn assign(
///         &self,
///         members: &[Member<'_>],
///         partitions: &[TopicPartition],
///     ) -> Vec<(MemberId, TopicPartition)> {
///         let reader = |place: &TopicPartition| {
///             members.iter().find(|member| member.topics().contains(place.topic()))
///         };
///         let pair = |place| Some((reader(place)?.id(), place.clone()));
///         partitions.iter().filter_map(pair).collect()
///     }
/// }
/// ```
pub trait Assignor: fmt::Debug + Send + Sync {
    /// Gives each of `partitions` to one of `members`.
    ///
    /// Members are in the order in which they joined, partitions in the order of topic and number,
    /// all different; each partition has at least one subscriber.
    fn assign(
        &self,
        members: &[Member<'_>],
        partitions: &[TopicPartition],
    ) -> Vec<(MemberId, TopicPartition)>;
}

/// One member of a group, as its [`Assignor`] sees it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    id: MemberId,
    topics: &'a BTreeSet<TopicName>,
    owned: &'a BTreeSet<TopicPartition>,
}

impl<'a> Member<'a> {
    /// The member `id`; the log makes its own, so this is for the tests of an assignor.
    #[must_use]
    pub const fn new(
        id: MemberId,
        topics: &'a BTreeSet<TopicName>,
        owned: &'a BTreeSet<TopicPartition>,
    ) -> Member<'a> {
        Member { id, topics, owned }
    }

    /// Which member it is.
    #[must_use]
    pub const fn id(&self) -> MemberId {
        self.id
    }

    /// The topics that it subscribes to, those that its pattern matches included.
    #[must_use]
    pub const fn topics(&self) -> &'a BTreeSet<TopicName> {
        self.topics
    }

    /// What it has been given so far, as far as it exists and is still subscribed to.
    #[must_use]
    pub const fn owned(&self) -> &'a BTreeSet<TopicPartition> {
        self.owned
    }
}

/// One member of a group, from when it joins until it leaves; later ones are greater.
///
/// It says nothing about the program: a consumer that is opened again is another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

impl MemberId {
    /// The member `value`; the log makes its own, so this is for the tests of an assignor.
    #[must_use]
    pub const fn new(value: u64) -> MemberId {
        MemberId(value)
    }

    /// The member as a number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
