//! Making a damaged partition whole again by giving up what is damaged, and nothing else.
//!
//! First a plan, which changes nothing: the rows that the partition has or, where the manifest has
//! lost them, the rows that its files speak of; where it can be read, and where it cannot. Then the
//! deed: what can be read of a damaged segment is copied, durably, and the rows that the caller
//! writes are the only switch. The damaged files stay where they are, listed as set aside.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::env::{Access, EntryKind, Env};
use crate::error::Error;
use crate::format::layout::{parse_segment_name, segment_name};
use crate::offset::{Offset, Timestamp};
use crate::storage::journal::ensure_dir;
use crate::storage::judge::{Patient, Verdict};
use crate::storage::manifest::{
    PartitionRow, PartitionRows, Row, ScanFrom, SegmentKey, SegmentRow, SegmentRowState,
};
use crate::storage::recovery::EMPTY_BYTES;
use crate::storage::rescue::{lost_row, rescue};
use crate::storage::salvage::{Piece, salvage};
use crate::storage::segment::Segment;
use crate::storage::view::{SegmentState, SegmentView};

/// The rows of a partition, made from its files; what is left of the manifest's own helps.
///
/// Rows of segments that are not part of the log any more are kept, so that they do not become one
/// again. Where no start is known the first file gives it.
pub(crate) fn rows_of_files(
    env: &Env,
    dir: &Path,
    known: Option<&PartitionRows>,
) -> Result<PartitionRows, Error> {
    let mut rows = known.cloned().unwrap_or_default();
    rows.row.scan_from = ScanFrom::default();
    let is_over = |state| !matches!(state, SegmentRowState::Active | SegmentRowState::Sealed);
    rows.segments.retain(|_, row| is_over(row.state));
    let entries = match env.fs.read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|error| Error::io("list failed", dir, error))?,
    };
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    for key in files.filter_map(|entry| parse_segment_name(&entry.name)) {
        let row = SegmentRow {
            state: SegmentRowState::Active,
            end: key.0,
            bytes: EMPTY_BYTES,
            last_append: Timestamp::from_millis(0),
        };
        rows.segments.entry(key).or_insert(row);
    }
    let first = rows.segments.iter().find(|(_, row)| row.is_live());
    if let (None, Some(((base, _), _))) = (known, first) {
        rows.row.start = *base;
        rows.row.durable_end = *base;
    }
    Ok(rows)
}

/// One partition that is to be repaired.
#[derive(Debug)]
pub(crate) struct Case {
    segments: Vec<SegmentView>,
    dropped: Vec<SegmentKey>,
    known_mark: Offset,
    /// From the start to the end of what there is or was.
    pub(crate) range: Range<Offset>,
    /// The offsets that cannot be read and were not given up before, in their order.
    pub(crate) lost: Vec<Range<Offset>>,
}

impl Case {
    /// Looks at a partition; nothing is changed.
    pub(crate) fn examine(patient: &Patient<'_>) -> Result<Self, Error> {
        let Verdict { segments, dropped, known_mark, end, .. } = patient.judge()?;
        let start = patient.rows.row.start;
        let range = start..end.max(start);
        let mut lost = Vec::new();
        salvage(&segments, patient.dir, range.clone(), |piece| {
            if let Piece::Lost(error) = piece {
                let offsets = error.lost_range().filter(|offsets| !offsets.is_empty());
                lost.extend(offsets.filter(|offsets| !is_given_up(patient.rows, offsets)));
            }
            Ok(())
        })?;
        let dropped = dropped.into_iter().map(|(key, _)| key).collect();
        Ok(Self { segments, dropped, known_mark, range, lost })
    }

    /// Saves everything that can be read, and gives up the rest; returns the rows that say so.
    ///
    /// # Errors
    /// What the system says; until the rows are written, nothing has changed.
    pub(crate) fn keep_readable(&self, patient: &Patient<'_>) -> Result<Vec<Row>, Error> {
        self.rebuild(patient, self.range.end)
    }

    /// Ends the partition before its first damage; returns the rows that say so.
    ///
    /// # Errors
    /// What the system says; until the rows are written, nothing has changed.
    pub(crate) fn cut(&self, patient: &Patient<'_>) -> Result<Vec<Row>, Error> {
        let end = self.lost.first().map_or(self.range.end, |lost| lost.start);
        self.rebuild(patient, end)
    }

    /// The rows of a partition that ends at `end`, behind copies of what is damaged in it.
    fn rebuild(&self, patient: &Patient<'_>, end: Offset) -> Result<Vec<Row>, Error> {
        let last_append = patient.rows.row.last_append;
        let mut built = Rebuilt { rows: Vec::new(), at: self.range.start, last_append };
        if let Some(topic) = patient.dir.parent()
            && let Some(topics) = topic.parent()
        {
            ensure_dir(patient.env, topic, topics)?;
            ensure_dir(patient.env, patient.dir, topic)?;
        }
        for view in &self.segments {
            let (base, until) = (view.segment.base().max(built.at), view.extent(end).end);
            if until <= base {
                built.retire(view, patient)?;
                continue;
            }
            built.lose_until(base, patient.env);
            if self.needs_copy(view, until, patient) {
                built.copy(view, base..until, patient)?;
            } else {
                built.keep(view, until, patient);
            }
            built.at = until;
        }
        built.lose_until(end, patient.env);
        built.rows.extend(self.dropped.iter().map(|key| (*key, Some(aside(key.0)))));
        let synced = patient.env.fs.sync_dir(patient.dir);
        synced.map_err(|error| Error::io("sync failed", patient.dir, error))?;
        let row = PartitionRow {
            start: self.range.start,
            durable_end: end,
            scan_from: ScanFrom::default(),
            last_append: built.last_append,
        };
        let id = patient.id;
        let segments = built.rows.into_iter().map(|(key, row)| match row {
            Some(row) => Row::Segment(id, key, row),
            None => Row::DropSegment(id, key),
        });
        Ok(segments.chain([Row::Partition(id, row)]).collect())
    }

    /// Whether a segment is damaged, ends elsewhere than before, or may not be durable.
    fn needs_copy(&self, view: &SegmentView, until: Offset, patient: &Patient<'_>) -> bool {
        let base = view.segment.base();
        let ends_elsewhere = matches!(view.state, SegmentState::Sealed { end, .. } if end != until);
        let is_damaged = self.lost.iter().any(|lost| lost.start < until && lost.end > base);
        let is_lost = state_of(view, patient) == SegmentRowState::Lost;
        !is_lost && (until > self.known_mark || ends_elsewhere || is_damaged)
    }
}

/// A partition's new rows, up to an offset.
struct Rebuilt {
    /// What is listed under each key from now on; nothing, if there is no file to be kept.
    rows: Vec<(SegmentKey, Option<SegmentRow>)>,
    at: Offset,
    last_append: Timestamp,
}

impl Rebuilt {
    /// Offsets that no segment holds are given up.
    fn lose_until(&mut self, end: Offset, env: &Env) {
        if self.at < end {
            let (key, row) = lost_row(self.at..end, self.last_append, env);
            self.rows.push((key, Some(row)));
            self.at = end;
        }
    }

    fn copy(
        &mut self,
        view: &SegmentView,
        range: Range<Offset>,
        patient: &Patient<'_>,
    ) -> Result<(), Error> {
        let one = std::slice::from_ref(view);
        let saved = rescue(one, patient.dir, range, patient.copy_to())?;
        self.retire(view, patient)?;
        self.rows.extend(saved.rows.into_iter().map(|(key, row)| (key, Some(row))));
        self.last_append = self.last_append.max(saved.last_append);
        Ok(())
    }

    fn keep(&mut self, view: &SegmentView, end: Offset, patient: &Patient<'_>) {
        let SegmentState::Sealed { bytes, last_append, .. } = view.state else { return };
        let state = match state_of(view, patient) {
            SegmentRowState::Lost => SegmentRowState::Lost,
            _ => SegmentRowState::Sealed,
        };
        let row = SegmentRow { state, end, bytes, last_append };
        self.rows.push((key_of(&view.segment), Some(row)));
        self.last_append = self.last_append.max(last_append);
    }

    /// A segment that is not part of the log any more; its file stays, if there is one.
    fn retire(&mut self, view: &SegmentView, patient: &Patient<'_>) -> Result<(), Error> {
        let segment = &view.segment;
        let row = match patient.env.fs.open(segment.path(), Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("open failed", segment.path(), error)),
            Ok(_) => Some(aside(segment.base())),
        };
        self.rows.push((key_of(segment), row));
        Ok(())
    }
}

fn state_of(view: &SegmentView, patient: &Patient<'_>) -> SegmentRowState {
    let listed = patient.rows.segments.get(&key_of(&view.segment));
    listed.map_or(SegmentRowState::Active, |row| row.state)
}

/// The file that a row sets aside.
pub(crate) fn set_aside(row: &Row, dir: &Path) -> Option<PathBuf> {
    match row {
        Row::Segment(_, (base, salt), row) if row.state == SegmentRowState::Aside => {
            Some(dir.join(segment_name(*base, *salt)))
        }
        _ => None,
    }
}

fn is_given_up(rows: &PartitionRows, offsets: &Range<Offset>) -> bool {
    rows.segments.iter().any(|((base, _), row)| {
        row.state == SegmentRowState::Lost && *base <= offsets.start && offsets.end <= row.end
    })
}

fn key_of(segment: &Segment) -> SegmentKey {
    (segment.base(), segment.place().salt)
}

/// A file that is kept and is not part of the log any more.
fn aside(base: Offset) -> SegmentRow {
    SegmentRow {
        state: SegmentRowState::Aside,
        end: base,
        bytes: EMPTY_BYTES,
        last_append: Timestamp::from_millis(0),
    }
}
