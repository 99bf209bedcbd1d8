//! What a consumer does when its group has decided something new.

use crate::consumer::{Consumer, Lane};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::group::coordinator::Group;
use crate::group::membership::{Leaving, Share};
use crate::group::offsets::CommittedOffset;
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
    group: Arc<Group>,
    share: Share,
    partition: TopicPartition,
}

impl HandOver {
    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.group.hand_over(self.share);
    }
}

impl Consumer {
    /// Brings the lanes in line with what the member owns now, and tells the listener.
    pub(super) fn follow(
        &mut self,
        shares: Vec<(Share, Option<CommittedOffset>)>,
    ) -> Result<(), Error> {
        let lost = self.drop_lanes(&shares);
        let mut assigned = Vec::new();
        let mut revoked = Vec::new();
        for (share, committed) in shares {
            let known = self.lanes.iter_mut().find(|lane| lane.share.epoch == share.epoch);
            match known {
                Some(lane) => {
                    let is_new = lane.share.leaving == Leaving::No && share.leaving != Leaving::No;
                    lane.share = share;
                    if is_new {
                        lane.rewind(lane.position);
                        revoked.push((share, lane.cursor.partition().clone()));
                    }
                }
                None => {
                    let Some(lane) = self.new_lane(share, committed) else { continue };
                    assigned.push(lane.cursor.partition().clone());
                    self.lanes.push_back(lane);
                }
            }
        }
        let tokens = revoked.into_iter().map(|(share, partition)| {
            self.group.told(share);
            HandOver { group: Arc::clone(&self.group), share, partition }
        });
        let tokens = tokens.collect::<Vec<_>>();
        let Some(listener) = &mut self.listener else { return Ok(()) };
        if !lost.is_empty() {
            listener.lost(&lost);
        }
        if !tokens.is_empty() {
            listener.revoked(tokens);
        }
        if !assigned.is_empty() {
            listener.assigned(&assigned);
        }
        Ok(())
    }

    /// Drops the lanes of what is not owned any more; those that went without having been revoked.
    fn drop_lanes(&mut self, shares: &[(Share, Option<CommittedOffset>)]) -> Vec<TopicPartition> {
        let owned = shares.iter().map(|(share, _)| share.epoch);
        let owned = owned.collect::<std::collections::BTreeSet<_>>();
        let mut lost = Vec::new();
        self.lanes.retain(|lane| {
            let stays = owned.contains(&lane.share.epoch);
            if !stays && lane.share.leaving == Leaving::No {
                lost.push(lane.cursor.partition().clone());
            }
            stays
        });
        lost
    }

    /// The lane of a partition that was given to the member; none if its topic is gone already.
    fn new_lane(&self, share: Share, committed: Option<CommittedOffset>) -> Option<Lane> {
        let topic = self.topics.by_id(share.shard.topic)?;
        let shard = topic.shard(share.shard.partition).ok()?;
        let partition = topic.partition(share.shard.partition);
        let position = committed.map(|committed| committed.offset());
        let cursor = match position {
            Some(position) => Cursor::at(partition, shard, position),
            None => Cursor::earliest(partition, shard),
        };
        Some(Lane { share, cursor, position, rest: None, is_paused: false })
    }
}
