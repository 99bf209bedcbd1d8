//! New segments made of frames that stand elsewhere: what recovery keeps, what a repair saves, what
//! a backup takes along.
//!
//! A copy has a file of its own with a salt of its own, so that its frames cannot be taken for those
//! that they were copied from. Nothing is part of a log until a row of a manifest says so: whoever
//! makes copies writes the rows behind them, durably, and until then can make them again.

use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::error::{Error, ErrorKind};
use crate::format::batch::{LayDown, StoredBatch};
use crate::format::frame::Place;
use crate::format::layout::segment_name;
use crate::limits::SEGMENT_BYTES_MAX;
use crate::offset::{Offset, ShardId, Timestamp};
use crate::storage::manifest::{SegmentKey, SegmentRow, SegmentRowState};
use crate::storage::segment::{ReadSide, Segment, SegmentWriter};
use crate::storage::view::{SegmentState, SegmentView};
use crate::sync::Arc;

/// Where copies of one partition go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyTo<'a> {
    pub(crate) env: &'a Env,
    pub(crate) id: ShardId,
    pub(crate) dir: &'a Path,
    pub(crate) read_side: &'a Arc<ReadSide>,
}

/// The copies of one partition, oldest first.
#[derive(Debug)]
pub(crate) struct Copies<'a> {
    to: CopyTo<'a>,
    writers: Vec<SegmentWriter>,
    made: Vec<PathBuf>,
    /// The next frame begins a segment of its own.
    begins_anew: bool,
}

/// A copy that is durable but for its directory's entry, and the row that makes it part of a log.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) key: SegmentKey,
    pub(crate) row: SegmentRow,
    pub(crate) view: SegmentView,
}

impl<'a> Copies<'a> {
    pub(crate) fn new(to: CopyTo<'a>) -> Self {
        Self { to, writers: Vec::new(), made: Vec::new(), begins_anew: true }
    }

    /// Copies one frame behind those before it; what lies below `durable_end` is known to be durable.
    ///
    /// A frame that does not continue the offsets begins a segment of its own.
    pub(crate) fn put(&mut self, batch: &StoredBatch, durable_end: Offset) -> Result<(), Error> {
        let header = *batch.header();
        let copy = self.writer_for(header.base_offset, header.append_time)?;
        let mut batch = batch.to_batch();
        let at = LayDown {
            base_offset: header.base_offset,
            durable_end: durable_end.min(header.base_offset),
            append_time: header.append_time,
        };
        batch.lay_down(copy.segment().seed(), at);
        let written = copy.write(&[batch]);
        written.map_err(|error| Error::io("write failed", copy.segment().path(), error))
    }

    /// Has the next frame begin a segment of its own, as it does where it comes from.
    pub(crate) fn end_segment(&mut self) {
        self.begins_anew = true;
    }

    /// The copy that the next frame goes into, begun anew where the last one is full.
    fn writer_for(
        &mut self,
        base: Offset,
        created: Timestamp,
    ) -> Result<&mut SegmentWriter, Error> {
        let goes_on = self.writers.last().is_some_and(|copy| {
            let (position, end) = copy.at();
            position < SEGMENT_BYTES_MAX && end == base
        });
        if self.begins_anew || !goes_on {
            self.begins_anew = false;
            let CopyTo { env, id, dir, read_side } = self.to;
            let segment = |salt| {
                let path = dir.join(segment_name(base, salt));
                let place = Place { shard: id, base, salt };
                Arc::new(Segment::new(place, path, Arc::clone(read_side)))
            };
            let writer = SegmentWriter::create(env, segment, (created, base))?;
            self.made.push(writer.segment().path().to_path_buf());
            self.writers.push(writer);
        }
        self.writers.last_mut().ok_or_else(|| Error::bare(ErrorKind::Io))
    }

    /// Makes all copies durable; their directory is the caller's to sync.
    pub(crate) fn finish(&mut self, durable_end: Offset) -> Result<Vec<Copy>, Error> {
        let finish = |mut copy: SegmentWriter| {
            copy.seal(durable_end);
            let segment = Arc::clone(copy.segment());
            let synced = copy.file().sync_data();
            synced.map_err(|error| Error::io("sync failed", segment.path(), error))?;
            let place = *segment.place();
            let ((bytes, end), last_append) = (copy.at(), copy.last_append());
            let row = SegmentRow { state: SegmentRowState::Sealed, end, bytes, last_append };
            let state = SegmentState::Sealed { end, bytes, last_append };
            let view = SegmentView { segment, state };
            Ok(Copy { key: (place.base, place.salt), row, view })
        };
        std::mem::take(&mut self.writers).into_iter().map(finish).collect()
    }

    /// Unlinks the copies that were made: no row names them, and the next try needs their room.
    pub(crate) fn discard(&mut self) {
        self.writers.clear();
        for path in self.made.drain(..) {
            let _ = self.to.env.fs.remove_file(&path);
        }
    }
}
