//! Brings a verdict into effect: the only code that copies a tail.
//!
//! What is kept past the known mark is copied into new segments and synced before anybody sees it:
//! after a failed sync the page cache may show bytes that the disk does not have, and a second sync
//! of the old file may say that all is well. The old file is never written to again. The only
//! switch is the manifest's rows, which the caller writes; until then nothing has changed, so that
//! every step can be repeated.

use crate::error::{Error, ErrorKind};
use crate::format::batch::LayDown;
use crate::format::frame::{FrameError, FrameHeader, Place};
use crate::format::head::{FileKind, HEAD_BYTES, Head};
use crate::format::layout::segment_name;
use crate::limits::SEGMENT_BYTES_DEFAULT;
use crate::offset::{Offset, Timestamp};
use crate::storage::journal::entropy_u32;
use crate::storage::judge::{PartitionReport, Patient, Verdict};
use crate::storage::manifest::{SegmentKey, SegmentRow, SegmentRowState};
use crate::storage::segment::{Extent, Mark, Segment, SegmentWriter};
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
        let row = SegmentRow { state: SegmentRowState::Sealed, end, bytes, last_append };
        if patient.rows.segments.get(&key) != Some(&row) {
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
        let mut copies = Vec::new();
        let saved = self.save_in(patient, segments, mark, &mut copies);
        if saved.is_err() {
            // No row names them yet, and on a full disk the next try needs their room.
            for copy in &copies {
                let _ = patient.env.fs.remove_file(copy.segment().path());
            }
        }
        saved
    }

    fn save_in(
        &mut self,
        patient: &Patient<'_>,
        segments: Vec<SegmentView>,
        mark: Offset,
        copies: &mut Vec<SegmentWriter>,
    ) -> Result<(), Error> {
        for view in segments {
            let SegmentState::Sealed { end, bytes, last_append } = view.state else { continue };
            if end <= mark {
                self.keep(patient, view, end, bytes, last_append);
                continue;
            }
            let extent = Extent { end, bytes: Some(bytes) };
            let (cut_at, end) = copy_past(patient, &view.segment, extent, mark, copies)?;
            // What lies below the mark is read from the old file, under an index of its own.
            let place = view.segment.place();
            let segment = patient.segment((place.base, place.salt));
            self.keep(patient, SegmentView { segment, ..view }, end, cut_at, last_append);
        }
        for copy in copies.iter() {
            self.adopt(copy)?;
        }
        self.decide = true;
        let synced = patient.env.fs.sync_dir(patient.dir);
        synced.map_err(|error| Error::io("sync failed", patient.dir, error))
    }

    fn adopt(&mut self, copy: &SegmentWriter) -> Result<(), Error> {
        let segment = copy.segment();
        let synced = copy.file().sync_data();
        synced.map_err(|error| Error::io("sync failed", segment.path(), error))?;
        let place = segment.place();
        let (bytes, end) = copy.at();
        let last_append = copy.last_append();
        let row = SegmentRow { state: SegmentRowState::Sealed, end, bytes, last_append };
        self.rows.push(((place.base, place.salt), row));
        let state = SegmentState::Sealed { end, bytes, last_append };
        self.segments.push(SegmentView { segment: Arc::clone(segment), state });
        Ok(())
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
    copies: &mut Vec<SegmentWriter>,
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
                let copy = copy_for(patient, &header, copies)?;
                let mut batch = batch.to_batch();
                batch.lay_down(
                    copy.segment().seed(),
                    LayDown {
                        base_offset: header.base_offset,
                        durable_end: mark,
                        append_time: header.append_time,
                    },
                );
                let written = copy.write(&[batch]);
                written.map_err(|error| Error::io("write failed", copy.segment().path(), error))?;
            }
            Step::End { .. } => return Ok(cut),
            // It was good when it was judged.
            Step::Hole { position, reason, .. } | Step::Rest { position, reason } => {
                return Err(changed(position, reason));
            }
        }
    }
}

/// The copy that the next frame goes into, begun anew where the last one is full.
fn copy_for<'a>(
    patient: &Patient<'_>,
    header: &FrameHeader,
    copies: &'a mut Vec<SegmentWriter>,
) -> Result<&'a mut SegmentWriter, Error> {
    let is_full = copies.last().is_none_or(|copy| copy.at().0 >= SEGMENT_BYTES_DEFAULT);
    if is_full {
        let salt = entropy_u32(patient.env);
        let place = Place { shard: patient.id, base: header.base_offset, salt };
        let path = patient.dir.join(segment_name(place.base, salt));
        let segment = Segment::new(place, path, Arc::clone(patient.read_side));
        let head = Head {
            kind: FileKind::Segment,
            place,
            created: header.append_time,
            mark: header.base_offset,
        };
        copies.push(SegmentWriter::create(&*patient.env.fs, Arc::new(segment), &head)?);
    }
    copies.last_mut().ok_or_else(|| Error::bare(ErrorKind::Io))
}

/// Where frames begin, for rows of files that hold none.
pub(crate) const EMPTY_BYTES: u64 = HEAD_BYTES as u64;
