//! Removing what the catalog does not have: rows, files, directories, in the order that a crash
//! cannot turn against the log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use crate::env::Env;
use crate::error::Error;
use crate::format::layout::{TOPICS_DIR, parse_segment_name, partition_dir, topic_dir};
use crate::offset::{ShardId, TopicId};
use crate::storage::commit::Want;
use crate::storage::manifest::{PartitionRows, Row, SegmentRow, SegmentRowState};
use crate::storage::opening::names;
use crate::storage::partition::Ground;

/// Lists, durably, that no segment of these partitions is needed; the catalog does not have them.
///
/// It comes before the first of their files goes, and before the catalog changes again: segments
/// that are listed as part of a log, and no topic for them, are the sign of a damaged catalog.
pub(crate) fn take_back(
    ground: &Ground,
    partitions: &BTreeMap<ShardId, PartitionRows>,
) -> Result<(), Error> {
    // What took them out of the catalog must be durable before anything of them goes.
    ground.manifest.begin_writes()?;
    let removed = partitions.iter().flat_map(|(id, rows)| remove_rows(*id, rows));
    let removed = removed.collect::<Vec<_>>();
    if removed.is_empty() {
        return Ok(());
    }
    ground.manifest.put(&removed, Want::Durable).map(|_| ())
}

/// Removes the files and rows of partitions that were taken back.
pub(crate) fn dispose(
    ground: &Ground,
    partitions: &BTreeMap<ShardId, PartitionRows>,
) -> Result<(), Error> {
    for id in partitions.keys() {
        unlink_partition(&ground.env, &partition_dir(&ground.root, *id))?;
    }
    for topic in partitions.keys().map(|id| id.topic).collect::<BTreeSet<_>>() {
        unlink_empty(ground, topic)?;
    }
    let dropped = partitions.iter().flat_map(|(id, rows)| drop_rows(*id, rows));
    ground.manifest.put(&dropped.collect::<Vec<_>>(), Want::Written).map(|_| ())
}

/// Unlinks every file of a partition that has the name of one of ours, then the directory.
pub(crate) fn unlink_partition(env: &Env, dir: &Path) -> Result<(), Error> {
    let fs = &env.fs;
    for name in names(env, dir)? {
        if parse_segment_name(&name).is_none() {
            continue;
        }
        let path = dir.join(name);
        match fs.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("unlink failed", &path, error));
            }
            _ => {}
        }
    }
    // A directory with a stranger's file in it stays.
    let _ = fs.remove_dir(dir);
    Ok(())
}

/// Removes a topic's directory if nothing is left in it, and makes that durable.
fn unlink_empty(ground: &Ground, topic: TopicId) -> Result<(), Error> {
    let fs = &ground.env.fs;
    let _ = fs.remove_dir(&topic_dir(&ground.root, topic));
    let topics = ground.root.join(TOPICS_DIR);
    fs.sync_dir(&topics).map_err(|error| Error::io("sync failed", &topics, error))
}

/// The rows that say of a partition's segments that they are not part of a log any more.
///
/// All of them: what a partition knows of a segment may not have reached the manifest yet.
fn remove_rows(id: ShardId, rows: &PartitionRows) -> impl Iterator<Item = Row> {
    rows.segments.iter().map(move |(key, row)| {
        Row::Segment(id, *key, SegmentRow { state: SegmentRowState::Removed, ..*row })
    })
}

/// The rows that forget a partition.
fn drop_rows(id: ShardId, rows: &PartitionRows) -> Vec<Row> {
    let segments = rows.segments.keys().map(|key| Row::DropSegment(id, *key));
    segments.chain([Row::DropPartition(id)]).collect()
}
