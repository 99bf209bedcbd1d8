//! What a partition lets go of: retention, trimming, and the unlinking of files.
//!
//! Rows come first: a file is unlinked only when the manifest durably says that it is not needed, and
//! only when no reader holds a view of it any more.

use std::io;

use crate::config::Retention;
use crate::error::Error;
use crate::offset::{Offset, Timestamp};
use crate::storage::commit::{Ends, Want};
use crate::storage::manifest::{PartitionRow, Row, SegmentRow, SegmentRowState};
use crate::storage::partition::{PartitionLog, SEGMENT_BYTES_STRETCHED, is_older};
use crate::storage::view::{SegmentState, SegmentView};
use crate::sync::Arc;

impl PartitionLog {
    /// Removes what the topic's retention lets go of; true if that changed what readers see.
    ///
    /// `floor` is the lowest offset that somebody still needs. Nothing that is not durable is
    /// removed.
    pub(crate) fn retain(&mut self, ends: Ends, floor: Option<Offset>) -> Result<bool, Error> {
        let now = self.ground.steady_now();
        let mut retention = self.keeping.retention.clone();
        let stale = |time| retention.max_age.is_some_and(|age| is_older(time, age, now));
        let seals = self.active.as_ref().is_some_and(|active| {
            !active.writer.is_empty()
                && (self.is_aged(active) || stale(active.writer.last_append()))
        });
        if seals {
            // An idle partition would otherwise keep its last segment for ever.
            self.seal_active(ends.durable_end);
        }
        let was_checked = std::mem::replace(&mut self.was_checked, true);
        if !was_checked && expired(&self.sealed, &retention, now) == self.sealed.len() {
            // A clock that was wrong at open must not cost the whole partition.
            retention.max_age = retention.max_age.map(|age| age.saturating_mul(2));
        }
        let count = expired(&self.sealed, &retention, now);
        let floor = floor.filter(|_| retention.hold_uncommitted);
        let limit = floor.unwrap_or(ends.durable_end).min(ends.durable_end);
        let removable = self.sealed.iter().take(count);
        let start = removable.filter_map(sealed_end).take_while(|end| *end <= limit).last();
        match start {
            Some(start) if start > self.rows.row.start => self.trim(start).map(|()| true),
            _ => Ok(seals),
        }
    }

    /// Makes `start` the first offset, durably, and lets go of the segments that lie wholly below
    /// it.
    pub(crate) fn trim(&mut self, start: Offset) -> Result<(), Error> {
        let below = |view: &SegmentView| sealed_end(view).is_some_and(|end| end <= start);
        let count = self.sealed.iter().take_while(|view| below(view)).count();
        let mut rows = self.pending.clone();
        for view in self.sealed.iter().take(count) {
            let SegmentState::Sealed { end, bytes, last_append } = view.state else { continue };
            let place = view.segment.place();
            let key = (place.base, place.salt);
            let state = SegmentRowState::Removed;
            rows.push(Row::Segment(self.id, key, SegmentRow { state, end, bytes, last_append }));
        }
        let row = PartitionRow {
            start,
            durable_end: self.rows.row.durable_end.max(start),
            ..self.rows.row
        };
        rows.push(Row::Partition(self.id, row));
        if let Err(error) = self.ground.manifest.put(&rows, Want::Durable) {
            self.stay_untrimmed(count);
            return Err(error);
        }
        self.pending.clear();
        for row in rows {
            match row {
                Row::Segment(_, key, row) => _ = self.rows.segments.insert(key, row),
                Row::Partition(_, row) => self.rows.row = row,
                Row::DropSegment(..) | Row::DropPartition(..) => {}
            }
        }
        let gone = self.sealed.drain(..count);
        self.doomed.extend(gone.map(|view| view.segment));
        Ok(())
    }

    /// Has the next rows say that the first `count` segments are still there.
    ///
    /// The manifest may have the rows of a trim that failed, and later ones contradict some of them.
    fn stay_untrimmed(&mut self, count: usize) {
        for view in self.sealed.iter().take(count) {
            let key = (view.segment.base(), view.segment.place().salt);
            if let Some(row) = self.rows.segments.get(&key) {
                self.pending.push(Row::Segment(self.id, key, *row));
            }
        }
        self.pending.push(Row::Partition(self.id, self.rows.row));
    }

    /// Unlinks the files of segments that nobody reads any more, and forgets their rows; true if
    /// others are still being read.
    pub(crate) fn unlink_doomed(&mut self) -> Result<bool, Error> {
        if self.doomed.is_empty() {
            return Ok(false);
        }
        // The rows that let go of the files must be durable before the files are gone, those that
        // were read at open included.
        self.ground.manifest.begin_writes()?;
        if self.pending.is_empty() {
            self.ground.manifest.until_durable(self.rows_end)?;
        } else {
            self.put_pending(Want::Durable)?;
        }
        let doomed = std::mem::take(&mut self.doomed);
        let (free, read): (Vec<_>, Vec<_>) =
            doomed.into_iter().partition(|segment| Arc::strong_count(segment) == 1);
        self.doomed = read;
        let mut free = free.into_iter();
        while let Some(segment) = free.next() {
            segment.forget_file();
            match self.ground.env.fs.remove_file(segment.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let failed = Error::io("unlink failed", segment.path(), error);
                    self.doomed.push(segment);
                    self.doomed.extend(free);
                    return Err(failed);
                }
                _ => {}
            }
            let place = segment.place();
            let key = (place.base, place.salt);
            self.rows.segments.remove(&key);
            self.pending.push(Row::DropSegment(self.id, key));
        }
        let is_left = !self.doomed.is_empty();
        if self.pending.is_empty() {
            return Ok(is_left);
        }
        let synced = self.ground.env.fs.sync_dir(&self.dir);
        synced.map_err(|error| Error::io("sync failed", &self.dir, error))?;
        self.put_pending(Want::Written).map(|_| is_left)
    }
}

fn sealed_end(view: &SegmentView) -> Option<Offset> {
    match view.state {
        SegmentState::Sealed { end, .. } => Some(end),
        SegmentState::Active { .. } => None,
    }
}

/// How many of the oldest segments retention lets go of.
fn expired(sealed: &[SegmentView], retention: &Retention, now: Timestamp) -> usize {
    let sizes = sealed.iter().filter_map(|view| match view.state {
        SegmentState::Sealed { bytes, last_append, .. } => Some((held_by(bytes), last_append)),
        SegmentState::Active { .. } => None,
    });
    let mut left: u64 = sizes.clone().map(|(bytes, _)| bytes).sum();
    let goes = |(bytes, last_append): &(u64, Timestamp)| {
        left = left.saturating_sub(*bytes);
        retention.max_age.is_some_and(|age| is_older(*last_append, age, now))
            || retention.max_bytes.is_some_and(|most| left >= most)
    };
    sizes.take_while(goes).count()
}

/// What a segment of `bytes` holds: one that is missing, whose bytes nobody knows, holds nothing.
fn held_by(bytes: u64) -> u64 {
    if bytes <= SEGMENT_BYTES_STRETCHED { bytes } else { 0 }
}
