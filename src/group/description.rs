//! What a group says of itself.

use crate::group::assign::MemberId;
use crate::group::offsets::CommittedOffset;
use crate::name::GroupName;
use crate::offset::TopicPartition;

/// A group as it is now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupDescription {
    /// Its name.
    pub name: GroupName,
    /// Grows with every change of members, topics or partitions, while the log is open.
    pub generation: u64,
    /// The members, in the order in which they joined.
    pub members: Vec<GroupMember>,
    /// All partitions of the topics that the group reads or has read.
    pub partitions: Vec<GroupPartition>,
}

impl GroupDescription {
    /// How many records the group has not committed, in all partitions.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.lag).sum()
    }
}

/// A member of a group, and what it owns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupMember {
    /// Which member.
    pub id: MemberId,
    /// What it owns, partitions included that are about to leave it.
    pub assignment: Vec<TopicPartition>,
}

/// How far a group is in one partition.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// What is committed, if anything is.
    pub committed: Option<CommittedOffset>,
    /// How many records there are behind that, or in all if nothing is committed.
    pub lag: u64,
    /// Who owns it.
    pub owner: Option<MemberId>,
}
