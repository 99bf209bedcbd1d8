//! What of a partition can be read, frame by frame, and what cannot.
//!
//! Every frame below the asked end is read whole and both of its checksums are verified; no index is
//! used. Damage does not end the way: what lies behind it is looked for and read as well, and each
//! stretch that cannot be read is told with its file, byte and offsets.

use std::ops::Range;
use std::path::Path;

use crate::error::{Error, ErrorKind};
use crate::format::batch::StoredBatch;
use crate::format::head::HEAD_BYTES;
use crate::offset::Offset;
use crate::storage::segment::Segment;
use crate::storage::view::SegmentView;
use crate::storage::walk::Step;
use crate::sync::Arc;

/// One piece of a partition, in the order of its offsets.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// A batch that is as it was written; the first one can begin below the asked start.
    Good { segment: &'a Arc<Segment>, position: u64, batch: StoredBatch },
    /// Offsets that no good frame holds: `Corrupt` or `MissingSegment`.
    Lost(Error),
}

/// Gives every piece of `range` to `each`; `dir` is told where no segment is left to be named.
///
/// # Errors
/// What the system says of a read, which is no damage; and what `each` says.
pub(crate) fn salvage(
    segments: &[SegmentView],
    dir: &Path,
    range: Range<Offset>,
    mut each: impl FnMut(Piece<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut way = Way { at: range.start, each: &mut each };
    for view in segments {
        let end = view.extent(range.end).end;
        let base = view.segment.base();
        if end <= way.at || end <= base {
            continue;
        }
        if base > way.at {
            let missing = Error::missing_segment(view.segment.path(), way.at..base);
            way.lose(base, missing)?;
        }
        way.pass_segment(view, range.end)?;
    }
    if way.at < range.end {
        let last = segments.last().map_or(dir, |view| view.segment.path());
        let missing = Error::missing_segment(last, way.at..range.end);
        way.lose(range.end, missing)?;
    }
    Ok(())
}

/// How far the pieces were given.
struct Way<'a> {
    at: Offset,
    each: &'a mut dyn FnMut(Piece<'_>) -> Result<(), Error>,
}

impl Way<'_> {
    fn lose(&mut self, until: Offset, error: Error) -> Result<(), Error> {
        self.at = until;
        (self.each)(Piece::Lost(error))
    }

    fn pass_segment(&mut self, view: &SegmentView, visible_end: Offset) -> Result<(), Error> {
        let segment = &view.segment;
        let extent = view.extent(visible_end);
        let corrupt = |position, offsets, reason: String| {
            Error::corrupt(segment.path(), position, offsets, reason)
        };
        let file = match segment.file(extent.end) {
            Err(error) if error.kind() == ErrorKind::MissingSegment => {
                let missing = Error::missing_segment(segment.path(), self.at..extent.end);
                return self.lose(extent.end, missing);
            }
            file => file?,
        };
        let mut walk = segment.walk(&file, (HEAD_BYTES as u64, segment.base()), extent)?;
        let (position, reason) = loop {
            match walk.step().map_err(|error| segment.read_failed(error))? {
                Step::Frame { header, .. } if header.end_offset() <= self.at => {}
                Step::Frame { header, position } if header.base_offset >= extent.end => {
                    break (position, "the file ends early".to_owned());
                }
                Step::Frame { position, header } => {
                    let batch = walk.batch(position, &header);
                    match batch.map_err(|error| segment.read_failed(error))? {
                        Ok(batch) => {
                            self.at = header.end_offset();
                            (self.each)(Piece::Good { segment, position, batch })?;
                        }
                        Err(reason) => {
                            let until = header.end_offset().min(extent.end);
                            let offsets = self.at.max(header.base_offset)..until;
                            self.lose(until, corrupt(position, offsets, reason.to_string()))?;
                        }
                    }
                }
                Step::Hole { position, until, reason, .. } => {
                    let until = until.min(extent.end);
                    if until > self.at {
                        let lost = corrupt(position, self.at..until, reason.to_string());
                        self.lose(until, lost)?;
                    }
                }
                Step::Rest { position, reason } => break (position, reason.to_string()),
                Step::End { position } => break (position, "the file ends early".to_owned()),
            }
            if self.at >= extent.end {
                return Ok(());
            }
        };
        if self.at < extent.end {
            let lost = corrupt(position, self.at..extent.end, reason);
            self.lose(extent.end, lost)?;
        }
        Ok(())
    }
}
