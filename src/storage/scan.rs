//! Judges a stretch of a file: what is good, what is torn, and what is damaged.
//!
//! The first bytes that are no frame end the good part. Whether that is a torn tail or damage
//! depends on the known mark, the largest durable end that anything proves, and frames behind the
//! first bad one can prove more of it: each carries the durable end of the moment it was laid down.
//! So a scan always goes to the end.

use std::io;

use crate::format::batch::StoredBatch;
use crate::format::frame::{FrameError, FrameHeader};
use crate::offset::Offset;
use crate::storage::segment::Mark;
use crate::storage::walk::{Step, Walk};

/// What a stretch of a file holds.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    /// Where the good part ends.
    pub(crate) good: Mark,
    /// The largest durable end that anything proves.
    pub(crate) known_mark: Offset,
    /// The first bytes that are no frame; none where the stretch ends with the last frame, or with
    /// zeros.
    pub(crate) damage: Option<Damage>,
    /// The offset behind the last frame that stands behind the damage.
    pub(crate) end_behind: Option<Offset>,
}

/// Bytes that are no frame of their place.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) position: u64,
    /// The first offset behind the damage, if anything stands behind it.
    pub(crate) until: Option<Offset>,
    pub(crate) reason: FrameError,
}

impl Scan {
    /// Whether something is lost that was known to be durable.
    pub(crate) fn is_corrupt(&self) -> bool {
        self.good.1 < self.known_mark
    }

    /// Whether a frame of this file stands in or behind the damage.
    pub(crate) fn has_frames_behind(&self) -> bool {
        self.damage.as_ref().is_some_and(|damage| damage.until.is_some())
            || self.end_behind.is_some()
    }
}

/// Goes over the whole walk; `each` gets every good batch before the first damage.
pub(crate) fn scan(
    walk: &mut Walk<'_>,
    known_mark: Offset,
    mut each: impl FnMut(u64, &FrameHeader, &StoredBatch),
) -> io::Result<Scan> {
    let mut found = Scan { good: walk.at(), known_mark, damage: None, end_behind: None };
    loop {
        match walk.step()? {
            Step::Frame { position, header } => {
                let batch = walk.batch(position, &header)?;
                if let Some(mark) = header.durable_mark() {
                    found.known_mark = found.known_mark.max(mark);
                }
                match batch {
                    Ok(batch) if found.damage.is_none() => {
                        each(position, &header, &batch);
                        found.good = walk.at();
                    }
                    Ok(_) => found.end_behind = Some(header.end_offset()),
                    Err(reason) => {
                        found.note(Damage { position, until: Some(header.end_offset()), reason });
                    }
                }
            }
            Step::Hole { position, until, reason, .. } => {
                found.note(Damage { position, until: Some(until), reason });
            }
            // Room that was allocated ahead and never written.
            Step::Rest { reason: FrameError::Zeros | FrameError::Short, position }
                if walk.is_blank(position)? =>
            {
                return Ok(found);
            }
            Step::Rest { position, reason } => {
                found.note(Damage { position, until: None, reason });
                return Ok(found);
            }
            Step::End { .. } => return Ok(found),
        }
    }
}

impl Scan {
    fn note(&mut self, damage: Damage) {
        self.damage.get_or_insert(damage);
    }
}
