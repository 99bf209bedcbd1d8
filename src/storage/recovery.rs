//! Brings a verdict into effect, and copies what is kept past the known mark.
//!
//! What is kept past the known mark goes into new segments and is synced before anybody sees it:
//! after a failed sync the page cache may show bytes that the disk does not have, and a second sync
//! of the old file may say that all is well. The old file is never written to again. The only
//! switch is the manifest's rows, which the caller writes; until then nothing has changed, so that
//! every step can be repeated.

use crate::error::Error;
use crate::format::frame::FrameError;
use crate::format::head::HEAD_BYTES;
use crate::offset::{Offset, Timestamp};
use crate::storage::copies::Copies;
use crate::storage::judge::{PartitionReport, Patient, Verdict};
use crate::storage::manifest::{SegmentKey, SegmentRow, SegmentRowState};
use crate::storage::segment::{Extent, Mark, Segment};
use crate::storage::view::{SegmentState, SegmentView};
use crate::storage::walk::Step;
use crate::sync::Arc;

/// A partition as it is served after recovery.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) segments: Vec<SegmentView>,
    /// Rows to be written before anything is appended, and durably if they `decide`.
    pub(crate) rows: Vec<(SegmentKey, SegmentRow)>,
    /// Segments that the rows drop, to be unlinked once the rows are durable.
    pub(crate) doomed: Vec<Arc<Segment>>,
    /// Without the rows, the files could be taken for another log than the one that is served.
    pub(crate) decide: bool,
    pub(crate) end: Offset,
    pub(crate) last_append: Timestamp,
    pub(crate) report: PartitionReport,
}

/// Judges the patient, and makes safe what is kept past its known mark.
///
/// `begin_writes` is called before the first byte is written; nothing is written where nothing is
/// to be copied.
///
/// # Errors
/// What the system says; the partition is then as it was, and recovery can be tried again.
pub(crate) fn recover(
    patient: &Patient<'_>,
    read_only: bool,
    begin_writes: impl FnOnce() -> Result<(), Error>,
) -> Result<Recovered, Error> {
    let mut verdict = patient.judge()?;
    let mark = verdict.known_mark;
    let past_mark = verdict.end.value().saturating_sub(mark.value());
    verdict.report.kept_records = past_mark;
    let mut recovered = Recovered {
        segments: Vec::new(),
        rows: Vec::new(),
        doomed: Vec::new(),
        decide: false,
        end: verdict.end.max(patient.rows.row.start),
        last_append: verdict.last_append,
        report: std::mem::take(&mut verdict.report),
    };
    if read_only {
        recovered.show(verdict.segments, mark.max(patient.rows.row.start));
        return Ok(recovered);
    }
    if recovered.report.damage.is_some() {
        recovered.segments = verdict.segments;
        return Ok(recovered);
    }
    recovered.drop_segments(patient, &verdict);
    if past_mark == 0 {
        recovered.seal(patient, verdict.segments);
    } else {
        begin_writes()?;
        recovered.save(patient, verdict.segments, mark)?;
    }
    Ok(recovered)
}

impl Recovered {
    /// Shows a second process what is proven; the rest may be the work of a writer that is alive.
    ///
    /// Nothing is cut off, set aside or made durable, whatever the files look like at this moment.
    fn show(&mut self, mut segments: Vec<SegmentView>, proven_end: Offset) {
        let end = self.end.min(proven_end);
        let report = &mut self.report;
        report.unproven_records = self.end.value() - end.value();
        report.kept_records = 0;
        report.torn_bytes = 0;
        report.aside.clear();
        segments.retain(|view| view.segment.base() < end);
        self.segments = segments;
        self.end = end;
    }

    fn drop_segments(&mut self, patient: &Patient<'_>, verdict: &Verdict) {
        for (key, state) in &verdict.dropped {
            let last_append = verdict.last_append;
            let row = SegmentRow { state: *state, end: key.0, bytes: 0, last_append };
            self.rows.push((*key, row));
            match state {
                SegmentRowState::Removed => self.doomed.push(patient.segment(*key)),
                // Its base may be where the log, grown anew, will stand one day.
                _ => self.decide = true,
            }
        }
    }

    /// Nothing stands past the mark: the segments are what they are, and grow no more.
    fn seal(&mut self, patient: &Patient<'_>, segments: Vec<SegmentView>) {
        for view in segments {
            let SegmentState::Sealed { end, bytes, last_append } = view.state else { continue };
            self.keep(patient, view, end, bytes, last_append);
        }
    }

    fn keep(
        &mut self,
        patient: &Patient<'_>,
        view: SegmentView,
        end: Offset,
        bytes: u64,
        last_append: Timestamp,
    ) {
        let place = view.segment.place();
        let key = (place.base, place.salt);
        if end <= place.base {
            let state = SegmentRowState::Removed;
            self.rows.push((key, SegmentRow { state, end, bytes, last_append }));
            self.doomed.push(view.segment);
            return;
        }
        let listed = patient.rows.segments.get(&key);
        let row = SegmentRow { state: SegmentRowState::Sealed, end, bytes, last_append };
        let is_settled = |listed: &SegmentRow| {
            *listed == row || (listed.state == SegmentRowState::Lost && listed.end == end)
        };
        if !listed.is_some_and(is_settled) {
            self.rows.push((key, row));
        }
        let state = SegmentState::Sealed { end, bytes, last_append };
        self.segments.push(SegmentView { segment: view.segment, state });
    }

    /// Copies what stands past the mark, syncs the copies, and keeps the rest.
    fn save(
        &mut self,
        patient: &Patient<'_>,
        segments: Vec<SegmentView>,
        mark: Offset,
    ) -> Result<(), Error> {
        let mut copies = Copies::new(patient.copy_to());
        let saved = self.save_in(patient, segments, mark, &mut copies);
        if saved.is_err() {
            copies.discard();
        }
        saved
    }

    fn save_in(
        &mut self,
        patient: &Patient<'_>,
        segments: Vec<SegmentView>,
        mark: Offset,
        copies: &mut Copies<'_>,
    ) -> Result<(), Error> {
        for view in segments {
            let SegmentState::Sealed { end, bytes, last_append } = view.state else { continue };
            if end <= mark {
                self.keep(patient, view, end, bytes, last_append);
                continue;
            }
            let extent = Extent { end, bytes: Some(bytes) };
            copies.end_segment();
            let (cut_at, end) = copy_past(patient, &view.segment, extent, mark, copies)?;
            // What lies below the mark is read from the old file, under an index of its own.
            let place = view.segment.place();
            let segment = patient.segment((place.base, place.salt));
            self.keep(patient, SegmentView { segment, ..view }, end, cut_at, last_append);
        }
        for copy in copies.finish(mark)? {
            self.rows.push((copy.key, copy.row));
            self.segments.push(copy.view);
        }
        self.decide = true;
        let synced = patient.env.fs.sync_dir(patient.dir);
        synced.map_err(|error| Error::io("sync failed", patient.dir, error))
    }
}

/// Copies one segment's frames that reach past `mark`; returns where the first of them stands.
///
/// The mark can lie within a batch, where a trim has put it: the whole batch is then copied.
fn copy_past(
    patient: &Patient<'_>,
    from: &Arc<Segment>,
    extent: Extent,
    mark: Offset,
    copies: &mut Copies<'_>,
) -> Result<Mark, Error> {
    let file = from.file(extent.end)?;
    let place = from.place();
    let start = patient.scan_start((place.base, place.salt));
    let mut walk = from.walk(&file, start, extent)?;
    let mut cut = start;
    let changed = |position, reason: FrameError| {
        let offsets = mark..extent.end;
        Error::corrupt(from.path(), position, offsets, reason.to_string())
    };
    loop {
        match walk.step().map_err(|error| from.read_failed(error))? {
            Step::Frame { header, .. } if header.base_offset >= extent.end => return Ok(cut),
            Step::Frame { position, header } if header.end_offset() <= mark => {
                cut = (position + u64::from(header.length), header.end_offset());
            }
            Step::Frame { position, header } => {
                let batch = walk.batch(position, &header);
                let batch = batch.map_err(|error| from.read_failed(error))?;
                let batch = batch.map_err(|reason| changed(position, reason))?;
                copies.put(&batch, mark)?;
            }
            Step::End { .. } => return Ok(cut),
            // It was good when it was judged.
            Step::Hole { position, reason, .. } | Step::Rest { position, reason } => {
                return Err(changed(position, reason));
            }
        }
    }
}

/// Where frames begin, for rows of files that hold none.
pub(crate) const EMPTY_BYTES: u64 = HEAD_BYTES as u64;
