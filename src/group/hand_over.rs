//! How a partition goes from one member to another: at the owner's own pace.

use crate::group::coordinator::Group;
use crate::group::membership::Share;
use crate::offset::TopicPartition;
use crate::sync::Arc;

/// Is told what a consumer is given and what is taken from it, inside its poll, with no lock held.
///
/// # Examples
/// ```
/// use brooklet::{HandOver, RebalanceListener, TopicPartition};
///
/// /// Keeps partitions until somebody else says that their records are done with.
/// #[derive(Default)]
/// struct Keep(Vec<HandOver>);
///
/// impl RebalanceListener for Keep {
///     fn revoked(&mut self, partitions: Vec<HandOver>) {
///         self.0.extend(partitions);
///     }
/// }
/// ```
pub trait RebalanceListener: Send {
    /// These are now the member's; the next polls read them from the last commit on.
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }

    /// These are to go to other members.
    ///
    /// No more records of them are handed out. What was handed out may still be committed, as long
    /// as the partition's [`HandOver`] is kept; dropping it lets the next owner begin. By default
    /// all are dropped at once, which is right if the member commits before it polls again.
    fn revoked(&mut self, partitions: Vec<HandOver>) {
        drop(partitions);
    }

    /// These are not the member's any more: nothing of them was outstanding, or the topic is gone.
    fn lost(&mut self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }
}

/// The right to commit for a partition that is to go to another member; dropping it lets it go.
///
/// Leaving the group, or being fenced, ends it as well.
#[derive(Debug)]
#[must_use = "dropping it hands the partition over"]
pub struct HandOver {
    claim: Arc<Claim>,
}

/// What all tokens of one revocation share; the partition goes with the last of them.
#[derive(Debug)]
struct Claim {
    group: Arc<Group>,
    share: Share,
    partition: TopicPartition,
}

impl HandOver {
    pub(crate) fn new(group: Arc<Group>, share: Share, partition: TopicPartition) -> Self {
        Self { claim: Arc::new(Claim { group, share, partition }) }
    }

    /// A second token for the same partition: it goes when both are dropped.
    pub(crate) fn split(&self) -> Self {
        Self { claim: Arc::clone(&self.claim) }
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.claim.partition
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.group.hand_over(self.share);
    }
}
