//! Saves what can be read of a partition into new segments, and lists what cannot as lost.
//!
//! Every record keeps its offset. A stretch that no good frame holds gets a row of its own and no
//! file, so that whoever reads there is told, and nothing ever takes its place.

use std::ops::Range;
use std::path::Path;

use crate::env::Env;
use crate::error::Error;
use crate::format::head::HEAD_BYTES;
use crate::offset::{Offset, Timestamp};
use crate::storage::copies::{Copies, CopyTo};
use crate::storage::manifest::{SegmentKey, SegmentRow, SegmentRowState};
use crate::storage::salvage::{Piece, salvage};
use crate::storage::view::SegmentView;

/// What was saved, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Rescued {
    /// The rows of the new segments and of the lost stretches.
    pub(crate) rows: Vec<(SegmentKey, SegmentRow)>,
    /// One error for each lost stretch.
    pub(crate) lost: Vec<Error>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) last_append: Timestamp,
}

/// Copies `range` of `segments` into new segments, durably but for the entries of their directory.
///
/// `from` is the directory of the segments. All that is copied is durable when the rows are listed,
/// and the copies say so.
///
/// # Errors
/// What the system says; the copies are then gone again.
pub(crate) fn rescue(
    segments: &[SegmentView],
    from: &Path,
    range: Range<Offset>,
    to: CopyTo<'_>,
) -> Result<Rescued, Error> {
    let mut copies = Copies::new(to);
    let rescued = copy(segments, from, range, to, &mut copies);
    if rescued.is_err() {
        copies.discard();
    }
    rescued
}

fn copy(
    segments: &[SegmentView],
    from: &Path,
    range: Range<Offset>,
    to: CopyTo<'_>,
    copies: &mut Copies<'_>,
) -> Result<Rescued, Error> {
    let mut rescued = Rescued::default();
    let (start, end) = (range.start, range.end);
    let mut current = None;
    salvage(segments, from, range, |piece| {
        match piece {
            Piece::Good { segment, batch, .. } => {
                if current.replace(segment.base()) != Some(segment.base()) {
                    copies.end_segment();
                }
                let header = *batch.header();
                // A trim can have put the start within a batch; the whole batch is copied.
                let below = start.value().saturating_sub(header.base_offset.value());
                rescued.records += u64::from(header.count).saturating_sub(below);
                rescued.bytes += header.len() as u64;
                rescued.last_append = rescued.last_append.max(header.append_time);
                copies.put(&batch, header.base_offset)?;
            }
            Piece::Lost(error) => {
                if let Some(offsets) = error.lost_range().filter(|offsets| !offsets.is_empty()) {
                    rescued.rows.push(lost_row(offsets, rescued.last_append, to.env));
                }
                rescued.lost.push(error);
            }
        }
        Ok(())
    })?;
    for copy in copies.finish(end)? {
        rescued.rows.push((copy.key, copy.row));
    }
    Ok(rescued)
}

/// The row of offsets that are given up: there is no file, and none will ever stand there.
pub(crate) fn lost_row(
    offsets: Range<Offset>,
    last_append: Timestamp,
    env: &Env,
) -> (SegmentKey, SegmentRow) {
    let (state, bytes) = (SegmentRowState::Lost, HEAD_BYTES as u64);
    let row = SegmentRow { state, end: offsets.end, bytes, last_append };
    ((offsets.start, env.draw_salt()), row)
}
