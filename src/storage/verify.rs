//! Looks at every byte of a directory, and changes nothing.
//!
//! Journals are read as far as they can be read, and partitions frame by frame, whether anything
//! vouches for them or not. Nothing is taken from the log that may have the directory open at this
//! moment: what is wrong in one look may be its work, so that whoever asks looks twice.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::env::{DirEntry, EntryKind, Env, File};
use crate::error::{Error, ErrorKind};
use crate::format::head::{FileKind, HEAD_BYTES, Head, HeadError};
use crate::format::index::{FOOTER_END_BYTES, Footer, Index};
use crate::format::layout::{
    DAMAGED_SUFFIX, JournalKind, NEXT_JOURNAL, parse_journal_name, segment_name,
};
use crate::offset::{Offset, ShardId};
use crate::report::verification::{Finding, FindingKind};
use crate::storage::buffer::BufferPool;
use crate::storage::files::Files;
use crate::storage::journal::salvage::Salvaged;
use crate::storage::journal::{JournalHome, JournalTail};
use crate::storage::judge::{Patient, Verdict};
use crate::storage::manifest::{PartitionRows, SegmentRowState};
use crate::storage::salvage::{Piece, salvage};
use crate::storage::segment::{ReadSide, Segment};
use crate::storage::view::{SegmentState, SegmentView};
use crate::sync::Arc;

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) records: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.frames += other.frames;
        self.records += other.records;
    }
}

/// What was found in one journal or one partition.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) tally: Tally,
    /// Without the names of partitions, which storage does not know.
    pub(crate) findings: Vec<Finding>,
    /// Why the system, or a newer format, did not let it be read.
    pub(crate) refused: Option<Error>,
    /// The offsets of a partition that stand in good frames or were lost since.
    pub(crate) range: Range<Offset>,
}

impl Checked {
    fn note(&mut self, kind: FindingKind, path: &Path, detail: impl Into<String>) {
        self.findings.push(note(kind, path, detail));
    }

    fn note_error(&mut self, error: &Error) {
        let kind = match error.kind() {
            ErrorKind::Corrupt => FindingKind::Damaged,
            ErrorKind::MissingSegment => FindingKind::Missing,
            _ => FindingKind::Unreadable,
        };
        if kind == FindingKind::Unreadable {
            self.refused = Some(error.clone());
        }
        self.findings.push(finding(kind, error));
    }
}

/// A finding about a file as such.
pub(crate) fn note(kind: FindingKind, path: &Path, detail: impl Into<String>) -> Finding {
    let (partition, byte, offsets) = (None, None, None);
    Finding { kind, partition, path: path.to_path_buf(), byte, offsets, detail: detail.into() }
}

fn finding(kind: FindingKind, error: &Error) -> Finding {
    Finding {
        byte: error.byte(),
        offsets: error.lost_range().filter(|offsets| !offsets.is_empty()),
        ..note(kind, error.path().unwrap_or(Path::new("")), error.reason())
    }
}

/// What all files are read through; it is let go of with the check.
pub(crate) fn read_side(env: &Env) -> Arc<ReadSide> {
    let files = Files::new(Arc::clone(&env.fs), OPEN_FILES);
    Arc::new(ReadSide { files, buffers: BufferPool::new() })
}

/// A check goes from file to file.
const OPEN_FILES: usize = 4;

/// Checks one journal; what could be read of it comes with the findings.
pub(crate) fn check_journal(kind: JournalKind, home: &JournalHome) -> (Checked, Option<Salvaged>) {
    let mut checked = Checked::default();
    let dir = home.root.join(kind.dir_name());
    let salvaged = match JournalTail::salvage(kind, home) {
        Ok(Some(salvaged)) => salvaged,
        Ok(None) => {
            let text = format!("there is no file of the {}", kind.noun());
            checked.note(FindingKind::Missing, &dir, text);
            return (checked, None);
        }
        Err(error) => {
            checked.note_error(&error);
            return (checked, None);
        }
    };
    let Salvaged { journal, damage, torn_at, frames, bytes, .. } = &salvaged;
    checked.tally = Tally { files: 1, bytes: *bytes, frames: *frames, records: 0 };
    damage.iter().for_each(|error| checked.note_error(error));
    if let Some(byte) = *torn_at {
        let torn = note(FindingKind::TornTail, &journal.path(), "an entry was being written");
        checked.findings.push(Finding { byte: Some(byte), ..torn });
    }
    let newest = journal.path();
    for entry in home.env.fs.read_dir(&dir).unwrap_or_default() {
        let path = dir.join(&entry.name);
        if path == newest || entry.name == NEXT_JOURNAL {
            continue;
        }
        match parse_journal_name(&entry.name) {
            Some(_) => checked.note(FindingKind::Leftover, &path, "an older generation"),
            None if entry.name.ends_with(DAMAGED_SUFFIX) => {
                checked.note(FindingKind::Aside, &path, "what a repair has replaced");
            }
            None => checked.note(FindingKind::Unknown, &path, "not a file of the log"),
        }
    }
    (checked, Some(salvaged))
}

/// Checks one partition that is listed with `rows`: every frame from its start to its end.
pub(crate) fn check_partition(patient: &Patient<'_>) -> Checked {
    let mut checked = Checked::default();
    let verdict = match patient.judge() {
        Ok(verdict) => verdict,
        Err(error) => {
            checked.note_error(&error);
            return checked;
        }
    };
    let start = patient.rows.row.start;
    checked.range = start..verdict.end.max(start);
    checked.note_rows(patient, &verdict);
    let mut indexes = Indexes::default();
    for view in &verdict.segments {
        checked.look_at_file(view);
    }
    let read = salvage(&verdict.segments, patient.dir, checked.range.clone(), |piece| {
        match piece {
            Piece::Good { segment, position, batch } => {
                let header = batch.header();
                checked.tally.frames += 1;
                // A trim can have put the start within a batch.
                let below = start.value().saturating_sub(header.base_offset.value());
                checked.tally.records += u64::from(header.count).saturating_sub(below);
                indexes.note(segment, position, header);
            }
            Piece::Lost(error) if is_given_up(patient, &error) => {
                checked.findings.push(finding(FindingKind::GivenUp, &error));
            }
            Piece::Lost(error) => {
                indexes.spoil();
                checked.note_error(&error);
            }
        }
        Ok(())
    });
    if let Err(error) = read {
        checked.note_error(&error);
    }
    indexes.finish();
    for view in &verdict.segments {
        checked.compare_footer(view, &indexes);
    }
    checked
}

/// Whether a repair has given these offsets up, so that no file is to be expected.
fn is_given_up(patient: &Patient<'_>, error: &Error) -> bool {
    let mut lost =
        patient.rows.segments.iter().filter(|(_, row)| row.state == SegmentRowState::Lost);
    let is_path = |(base, salt): (Offset, u32)| {
        error.path() == Some(&*patient.dir.join(segment_name(base, salt)))
    };
    lost.any(|(key, _)| is_path(*key))
}

impl Checked {
    /// What the rows and the directory say beside the frames.
    fn note_rows(&mut self, patient: &Patient<'_>, verdict: &Verdict) {
        let listed = patient.env.fs.read_dir(patient.dir).unwrap_or_default();
        let has = |name: &str| listed.iter().any(|entry: &DirEntry| entry.name == name);
        for ((base, salt), row) in &patient.rows.segments {
            let name = segment_name(*base, *salt);
            let path = patient.dir.join(&name);
            match row.state {
                SegmentRowState::Removed if has(&name) => {
                    self.note(FindingKind::Leftover, &path, "to be unlinked");
                }
                SegmentRowState::Aside if has(&name) => {
                    self.note(FindingKind::Aside, &path, "not part of the log");
                }
                _ => {}
            }
        }
        for entry in listed.iter().filter(|entry| entry.kind != EntryKind::File) {
            let path = patient.dir.join(&entry.name);
            let is_segment = patient
                .rows
                .segments
                .keys()
                .any(|(base, salt)| segment_name(*base, *salt) == entry.name);
            let is_told = verdict.report.unknown.contains(&path);
            if is_segment && !is_told {
                self.note(FindingKind::Damaged, &path, "not a regular file");
            }
        }
        for path in &verdict.report.aside {
            self.note(FindingKind::Aside, path, "does not continue the log");
        }
        for path in &verdict.report.unknown {
            self.note(FindingKind::Unknown, path, "not a file of the log");
        }
        if verdict.report.torn_bytes > 0
            && let Some(last) = verdict.segments.last()
        {
            let byte = match last.state {
                SegmentState::Sealed { bytes, .. } => Some(bytes),
                SegmentState::Active { .. } => None,
            };
            let text = format!("{} bytes of an unfinished write", verdict.report.torn_bytes);
            let torn = note(FindingKind::TornTail, last.segment.path(), text);
            self.findings.push(Finding { byte, ..torn });
        }
    }

    /// Counts a file, has the page cache forget it, and looks at its head.
    fn look_at_file(&mut self, view: &SegmentView) {
        let segment = &view.segment;
        let Ok(file) = segment.file(view.extent(Offset::new(u64::MAX)).end) else { return };
        file.drop_cache();
        self.tally.files += 1;
        self.tally.bytes += file.len().unwrap_or(0);
        let mut bytes = [0; HEAD_BYTES];
        let Ok(read) = file.read_at(&mut bytes, 0) else { return };
        match Head::decode(bytes.get(..read).unwrap_or_default(), FileKind::Segment) {
            Ok(head) if head.place == *segment.place() => {}
            Ok(_) => self.note_derived(segment, 0, "the head is that of another file"),
            Err(error @ HeadError::Version { .. }) => {
                self.note(FindingKind::Unreadable, segment.path(), error.to_string());
            }
            Err(error) => self.note_derived(segment, 0, &error.to_string()),
        }
    }

    fn note_derived(&mut self, segment: &Segment, byte: u64, detail: &str) {
        let derived = note(FindingKind::Derived, segment.path(), detail);
        self.findings.push(Finding { byte: Some(byte), ..derived });
    }

    /// Compares what a footer says with the frames.
    fn compare_footer(&mut self, view: &SegmentView, indexes: &Indexes) {
        let SegmentState::Sealed { end, bytes, .. } = view.state else { return };
        let segment = &view.segment;
        let Ok(file) = segment.file(end) else { return };
        let Ok(len) = file.len() else { return };
        match segment.footer(&*file) {
            Ok(Some(footer)) if footer.end == end && footer.frames_end == bytes => {
                let same = indexes.of(segment).is_none_or(|index| *index == footer.index);
                if !same {
                    self.note_derived(segment, bytes, "the index is not that of the frames");
                }
            }
            Ok(None) if claims_footer(&*file, len) => {
                self.note_derived(segment, bytes.min(len), "the footer cannot be read");
            }
            // A copy, or a file that recovery has ended in its middle, has none of its own.
            _ => {}
        }
    }
}

/// Whether the end of a file is that of a footer, good or not.
fn claims_footer(file: &dyn File, len: u64) -> bool {
    let mut end = [0; FOOTER_END_BYTES];
    let Some(at) = len.checked_sub(FOOTER_END_BYTES as u64) else { return false };
    file.read_at(&mut end, at).is_ok_and(|_| Footer::length(&end).is_some())
}

/// The indexes of the segments that were read, made from their frames.
#[derive(Debug, Default)]
struct Indexes {
    whole: Vec<(Arc<Segment>, Index)>,
    current: Option<(Arc<Segment>, Index)>,
    is_spoilt: bool,
}

impl Indexes {
    fn note(
        &mut self,
        segment: &Arc<Segment>,
        position: u64,
        header: &crate::format::frame::FrameHeader,
    ) {
        let is_same =
            self.current.as_ref().is_some_and(|(current, _)| Arc::ptr_eq(current, segment));
        if !is_same {
            self.finish();
            self.is_spoilt = position != HEAD_BYTES as u64;
            self.current = Some((Arc::clone(segment), Index::default()));
        }
        if let (Some((_, index)), Ok(position)) = (&mut self.current, u32::try_from(position)) {
            index.note(segment.base(), header, position);
        }
    }

    /// The segment lacks frames: what its index should be cannot be told.
    fn spoil(&mut self) {
        self.is_spoilt = true;
    }

    fn finish(&mut self) {
        let current = self.current.take();
        self.whole.extend(current.filter(|_| !self.is_spoilt));
    }

    fn of(&self, segment: &Arc<Segment>) -> Option<&Index> {
        let mut whole = self.whole.iter();
        whole.find(|(known, _)| Arc::ptr_eq(known, segment)).map(|(_, index)| index)
    }
}

/// What partitions are listed with, where their files are, and how they are read.
pub(crate) fn patient<'a>(
    env: &'a Env,
    dir: &'a PathBuf,
    (id, rows): (ShardId, &'a PartitionRows),
    read_side: &'a Arc<ReadSide>,
) -> Patient<'a> {
    Patient { id, env, dir, rows, read_side, durable_end: Offset::ZERO }
}
