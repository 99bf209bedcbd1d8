//! What a consumer does when its group has decided something new.

use std::collections::BTreeSet;

use crate::consumer::{Consumer, Lane};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::group::hand_over::HandOver;
use crate::group::membership::{Leaving, Share};
use crate::group::offsets::CommittedOffset;
use crate::offset::TopicPartition;
use crate::sync::Arc;

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
            HandOver::new(Arc::clone(&self.group), share, partition)
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
        let owned = owned.collect::<BTreeSet<_>>();
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
