//! What a consumer does when its group has decided something new.

use std::collections::BTreeSet;

use crate::consumer::{Consumer, Owned};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::group::hand_over::HandOver;
use crate::group::membership::{Leaving, Share};
use crate::group::offsets::CommittedOffset;
use crate::lane::Lane;
use crate::offset::TopicPartition;
use crate::sync::Arc;

impl Consumer {
    /// Brings the partitions in line with what the member owns now, and tells the listener.
    pub(super) fn follow(
        &mut self,
        shares: Vec<(Share, Option<CommittedOffset>)>,
    ) -> Result<(), Error> {
        let lost = self.drop_lost(&shares);
        let mut assigned = Vec::new();
        let mut revoked = Vec::new();
        for (share, committed) in shares {
            let known = self.owned.iter_mut().find(|owned| owned.share.epoch == share.epoch);
            match known {
                Some(owned) => {
                    let is_new = owned.share.leaving == Leaving::No && share.leaving != Leaving::No;
                    if is_new && !self.group.told(share) {
                        continue;
                    }
                    owned.share = share;
                    if is_new {
                        owned.rewind(owned.position);
                        revoked.push((share, owned.lane.partition().clone()));
                    }
                }
                None => {
                    let Some(owned) = self.new_owned(share, committed) else { continue };
                    assigned.push(owned.lane.partition().clone());
                    self.owned.push_back(owned);
                }
            }
        }
        let token = |(share, partition)| HandOver::new(Arc::clone(&self.group), share, partition);
        let tokens = revoked.into_iter().map(token);
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

    /// Drops what is not owned any more; those that went without having been revoked.
    fn drop_lost(&mut self, shares: &[(Share, Option<CommittedOffset>)]) -> Vec<TopicPartition> {
        let owned = shares.iter().map(|(share, _)| share.epoch);
        let owned = owned.collect::<BTreeSet<_>>();
        let mut lost = Vec::new();
        self.owned.retain(|part| {
            let stays = owned.contains(&part.share.epoch);
            if !stays && part.share.leaving == Leaving::No {
                lost.push(part.lane.partition().clone());
            }
            stays
        });
        lost
    }

    /// A partition that was given to the member; none if its topic is gone already.
    fn new_owned(&self, share: Share, committed: Option<CommittedOffset>) -> Option<Owned> {
        let topic = self.topics.by_id(share.shard.topic)?;
        let shard = topic.shard(share.shard.partition).ok()?;
        let partition = topic.partition(share.shard.partition);
        let position = committed.map(|committed| committed.offset());
        let cursor = match position {
            Some(position) => Cursor::at(partition, shard, position),
            None => Cursor::earliest(partition, shard),
        };
        let lane = Lane::new(cursor);
        Some(Owned { share, lane, position, rest: None, is_paused: false })
    }
}
