//! What a partition tells the manifest, and when.

use crate::error::Error;
use crate::offset::Offset;
use crate::storage::commit::{Ends, Want};
use crate::storage::manifest::{PartitionRow, Row, ScanFrom, SegmentKey, SegmentRow};
use crate::storage::partition::PartitionLog;

impl PartitionLog {
    pub(super) fn set_segment(&mut self, key: SegmentKey, row: SegmentRow) {
        self.rows.segments.insert(key, row);
        self.pending.push(Row::Segment(self.id, key, row));
    }

    fn set_partition(&mut self, row: PartitionRow) {
        self.rows.row = row;
        self.pending.push(Row::Partition(self.id, row));
    }

    /// Writes the pending rows as one unit; they stay pending where that fails.
    pub(super) fn put_pending(&mut self, want: Want) -> Result<Offset, Error> {
        let end = self.ground.manifest.put(&self.pending, want)?;
        self.pending.clear();
        self.rows_end = end;
        Ok(end)
    }

    /// Takes note of a durable end, with the nearest frame from which a later scan can start.
    pub(super) fn note_durable(&mut self, durable_end: Offset) {
        let mut row = PartitionRow { durable_end, last_append: self.last_append, ..self.rows.row };
        if let Some(active) = &self.active {
            let place = active.writer.segment().place();
            let (position, end) = active.writer.at();
            let from = if end == durable_end {
                Some((position, end))
            } else {
                // Behind a roll the durable end can still lie in the segment before.
                let index = active.writer.index();
                index.frame_before(place.base, durable_end).filter(|_| durable_end >= place.base)
            };
            if let Some((position, offset)) = from {
                row.scan_from = ScanFrom { base: place.base, salt: place.salt, position, offset };
            }
        }
        if row != self.rows.row {
            self.set_partition(row);
        }
    }

    /// Writes down how far the log is known to be durable, if that has grown.
    pub(crate) fn write_mark(&mut self, durable_end: Offset) -> Result<(), Error> {
        if durable_end > self.rows.row.durable_end {
            self.note_durable(durable_end);
        }
        if !self.pending.is_empty() {
            self.put_pending(Want::Written)?;
        }
        Ok(())
    }

    /// Writes down a clean end, after the last sync of the session.
    pub(crate) fn write_close(&mut self, ends: Ends) -> Result<(), Error> {
        if self.active.is_some() {
            // The next session goes on at exactly this byte.
            self.note_durable(ends.durable_end);
        } else if ends.durable_end > self.rows.row.durable_end {
            // Sealed as it was found: there is no frame behind its last one.
            let row = PartitionRow {
                durable_end: ends.durable_end,
                scan_from: ScanFrom::default(),
                last_append: self.last_append,
                ..self.rows.row
            };
            self.set_partition(row);
        }
        self.write_mark(ends.durable_end)
    }
}
