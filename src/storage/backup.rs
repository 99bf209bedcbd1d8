//! A copy of a log as a directory of its own: partitions frame by frame, then the books.
//!
//! The manifest comes last, with the mark of a clean close in it: where it stands, everything else
//! does, durably. Until then the directory cannot be taken for a log, not even for an empty one.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::env::{Env, Lock};
use crate::error::{Error, ErrorKind};
use crate::format::layout::{JournalKind, LOCK_FILE, TOPICS_DIR, partition_dir, topic_dir};
use crate::offset::{Offset, ShardId, TopicId};
use crate::storage::copies::CopyTo;
use crate::storage::disposal::unlink_partition;
use crate::storage::journal::{Entries, JournalHome, JournalTail, ensure_dir};
use crate::storage::manifest::{CleanClose, PartitionRow, Row, ScanFrom, snapshot_of};
use crate::storage::opening::{Opening, enter, names};
use crate::storage::rescue::{Rescued, rescue};
use crate::storage::segment::ReadSide;
use crate::storage::store::PartitionShard;
use crate::storage::view::View;
use crate::sync::Arc;

/// One partition at the moment that a backup is of.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) id: ShardId,
    /// Held until the partition is copied: the files of a view that is held are not unlinked.
    view: Arc<View>,
    pub(crate) range: Range<Offset>,
}

impl Moment {
    /// The partition as it is now: everything that is written.
    pub(crate) fn of(id: ShardId, shard: &PartitionShard) -> Result<Self, Error> {
        shard.ensure_open()?;
        Ok(shard.observe(|commit, view, _| Self {
            id,
            view: Arc::clone(view),
            range: view.start..commit.ends().written_end.max(view.start),
        }))
    }
}

/// A directory that becomes a log.
#[derive(Debug)]
pub(crate) struct Backup {
    home: JournalHome,
    read_side: Arc<ReadSide>,
    rows: Vec<Row>,
    /// Nobody else makes a log here in the meantime.
    _lock: Box<dyn Lock>,
}

impl Backup {
    /// Makes the directory, if it is not there, and takes its lock.
    ///
    /// # Errors
    /// `NotEmpty` if anything stands in it; `AlreadyOpen`, `NotALog`, and what the system says.
    pub(crate) fn begin(home: JournalHome, read_side: Arc<ReadSide>) -> Result<Self, Error> {
        let JournalHome { env, root, .. } = &home;
        let is_free = || names(env, root).map(|names| names.iter().all(|name| name == LOCK_FILE));
        let taken = || Error::at_path(ErrorKind::NotEmpty, root, "a backup needs its own place");
        if !is_free()? {
            return Err(taken());
        }
        let lock = enter(env, root, Some(Duration::ZERO), &mut Opening::default())?;
        let lock = lock.ok_or_else(|| Error::bare(ErrorKind::ReadOnly))?;
        // Somebody may have been faster than the lock.
        if !is_free()? {
            return Err(taken());
        }
        ensure_dir(env, &root.join(TOPICS_DIR), root)?;
        Ok(Self { home, read_side, rows: Vec::new(), _lock: lock })
    }

    /// Copies one partition, durably; what cannot be read of it is listed as lost.
    pub(crate) fn copy(&mut self, moment: &Moment, from: &Path) -> Result<Rescued, Error> {
        let Moment { id, view, range } = moment;
        let JournalHome { env, root, .. } = &self.home;
        let dir = partition_dir(root, *id);
        let to = CopyTo { env, id: *id, dir: &dir, read_side: &self.read_side };
        let mut rescued = Rescued::default();
        if !range.is_empty() {
            let topic = topic_dir(root, id.topic);
            ensure_dir(env, &topic, &root.join(TOPICS_DIR))?;
            ensure_dir(env, &dir, &topic)?;
            rescued = rescue(&view.segments, from, range.clone(), to)?;
            sync_dir(env, &dir)?;
        }
        let row = PartitionRow {
            start: range.start,
            durable_end: range.end,
            scan_from: ScanFrom::default(),
            last_append: rescued.last_append,
        };
        self.rows.push(Row::Partition(*id, row));
        let segments = rescued.rows.iter();
        self.rows.extend(segments.map(|(key, row)| Row::Segment(*id, *key, *row)));
        Ok(rescued)
    }

    /// Takes back what was copied of a topic.
    pub(crate) fn forget(&mut self, topic: TopicId) -> Result<(), Error> {
        let JournalHome { env, root, .. } = &self.home;
        for row in self.rows.iter().filter(|row| row.shard().topic == topic) {
            unlink_partition(env, &partition_dir(root, row.shard()))?;
        }
        self.rows.retain(|row| row.shard().topic != topic);
        let _ = env.fs.remove_dir(&topic_dir(root, topic));
        Ok(())
    }

    /// Writes the books, durably; the directory is then a log that was closed.
    pub(crate) fn finish(self, catalog: Entries, offsets: Entries) -> Result<(), Error> {
        let home = &self.home;
        let catalog = JournalTail::create_with(JournalKind::Catalog, home, catalog)?;
        let offsets = JournalTail::create_with(JournalKind::Offsets, home, offsets)?;
        let print = |tail: &JournalTail| (tail.kind(), tail.fingerprint(tail.end()));
        let clean =
            CleanClose { journals: vec![print(&catalog), print(&offsets)], except: Vec::new() };
        let manifest = snapshot_of(&self.rows, Some(&clean));
        JournalTail::create_with(JournalKind::Manifest, home, manifest)?;
        Ok(())
    }
}

fn sync_dir(env: &Env, dir: &Path) -> Result<(), Error> {
    env.fs.sync_dir(dir).map_err(|error| Error::io("sync failed", dir, error))
}
