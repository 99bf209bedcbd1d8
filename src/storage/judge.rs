//! Judges a partition's files after an unclean stop. Nothing is changed here.
//!
//! Only what lies past the known mark is looked at. What is damaged below it is told and left as it
//! is; what is torn at or above it ends the log there. A segment that no row names counts if it
//! continues the log.

use std::io;
use std::path::{Path, PathBuf};

use crate::env::{DirEntry, EntryKind, Env, File};
use crate::error::{Error, ErrorKind};
use crate::format::frame::Place;
use crate::format::head::HEAD_BYTES;
use crate::format::layout::{parse_segment_name, segment_name};
use crate::offset::{Offset, ShardId, Timestamp};
use crate::storage::copies::CopyTo;
use crate::storage::manifest::{PartitionRows, SegmentKey, SegmentRow, SegmentRowState};
use crate::storage::scan::{Scan, scan};
use crate::storage::segment::{Extent, Mark, ReadSide, Segment};
use crate::storage::view::{SegmentState, SegmentView};
use crate::sync::Arc;

/// What recovery found in one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionReport {
    /// Bytes behind the last good frame that were cut off as a torn tail.
    pub(crate) torn_bytes: u64,
    /// Records above the known mark that were kept.
    pub(crate) kept_records: u64,
    /// Records above the known mark that a second process does not get to see yet.
    pub(crate) unproven_records: u64,
    /// Segments behind a torn tail, set aside.
    pub(crate) aside: Vec<PathBuf>,
    /// Files that the log does not know; they are left alone.
    pub(crate) unknown: Vec<PathBuf>,
    /// Damage below the known mark, which stops appends.
    pub(crate) damage: Option<Error>,
}

/// One partition's files and what is known of them.
#[derive(Debug)]
pub(crate) struct Patient<'a> {
    pub(crate) id: ShardId,
    pub(crate) env: &'a Env,
    pub(crate) dir: &'a Path,
    pub(crate) rows: &'a PartitionRows,
    pub(crate) read_side: &'a Arc<ReadSide>,
    /// What this session knows to be durable, beyond what the rows say.
    pub(crate) durable_end: Offset,
}

/// The judgement.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The segments that hold the log, oldest first, none of them to be appended to.
    pub(crate) segments: Vec<SegmentView>,
    /// Segments that hold nothing of the log any more.
    pub(crate) dropped: Vec<(SegmentKey, SegmentRowState)>,
    pub(crate) known_mark: Offset,
    pub(crate) end: Offset,
    pub(crate) last_append: Timestamp,
    pub(crate) report: PartitionReport,
    /// The log has ended: whatever comes behind is not part of it.
    torn: bool,
}

/// A segment that is not wholly below the mark.
struct Candidate {
    key: SegmentKey,
    segment: Arc<Segment>,
    /// What the rows or the footer say about where it ends.
    sealed_end: Option<Offset>,
    found: Found,
}

enum Found {
    Missing(Error),
    Scanned { scan: Scan, len: u64, last_append: Option<Timestamp> },
}

/// What is known of the segment behind another one.
#[derive(Clone, Copy)]
struct Successor {
    base: Offset,
    has_frames: bool,
}

impl Successor {
    fn of(candidate: &Candidate) -> Self {
        let has_frames = match &candidate.found {
            Found::Missing(_) => false,
            Found::Scanned { scan, .. } => scan.good.1 > candidate.key.0,
        };
        Self { base: candidate.key.0, has_frames }
    }
}

impl Patient<'_> {
    /// Reads what has to be read and judges.
    ///
    /// # Errors
    /// What the system says of a read; damage is no error but part of the verdict.
    pub(crate) fn judge(&self) -> Result<Verdict, Error> {
        let mark = self.rows.row.durable_end.max(self.durable_end);
        let mut verdict = Verdict {
            segments: Vec::new(),
            dropped: Vec::new(),
            known_mark: mark,
            end: self.rows.row.start,
            last_append: self.rows.row.last_append,
            report: PartitionReport::default(),
            torn: false,
        };
        let mut candidates = Vec::new();
        // First, because a writer may be at work: whatever stands in the list by now, every file
        // before the last one of it has all its frames.
        let entries = self.list()?;
        let listed = self.live_segments();
        let mut bases = listed.iter().skip(1).map(|(key, _)| key.0);
        for (key, row) in &listed {
            let next_base = bases.next();
            let end = match row.state {
                SegmentRowState::Sealed | SegmentRowState::Lost => Some(row.end),
                // Something durable behind it shows that it was left for good. The row of the next
                // one alone does not: a roll can fail after its row has reached the disk, and
                // appends then go on in this segment.
                _ => next_base.filter(|base| *base < mark),
            };
            match end.filter(|end| *end <= mark) {
                Some(end) => verdict.trust(self.sealed_view(*key, end, row)?, end),
                None => candidates.push(self.examine(*key, row)?),
            }
        }
        self.find_strangers(&entries, &listed, &mut candidates, &mut verdict)?;
        for candidate in &candidates {
            if let Found::Scanned { scan, .. } = &candidate.found {
                verdict.known_mark = verdict.known_mark.max(scan.known_mark);
            }
        }
        let mut successors = candidates.iter().skip(1).map(Successor::of).collect::<Vec<_>>();
        successors.reverse();
        for candidate in candidates {
            verdict.weigh(candidate, successors.pop());
        }
        verdict.weigh_end(self.dir);
        Ok(verdict)
    }

    /// Where copies of its frames go.
    pub(crate) fn copy_to(&self) -> CopyTo<'_> {
        CopyTo { env: self.env, id: self.id, dir: self.dir, read_side: self.read_side }
    }

    fn live_segments(&self) -> Vec<(SegmentKey, SegmentRow)> {
        let live = self.rows.segments.iter().filter(|(_, row)| row.is_live());
        live.map(|(key, row)| (*key, *row)).collect()
    }

    /// The frame from which a segment is to be looked at.
    pub(crate) fn scan_start(&self, key: SegmentKey) -> Mark {
        let from = self.rows.row.scan_from;
        if (from.base, from.salt) == key {
            (from.position.max(HEAD_BYTES as u64), from.offset)
        } else {
            (HEAD_BYTES as u64, key.0)
        }
    }

    pub(crate) fn segment(&self, key: SegmentKey) -> Arc<Segment> {
        let (base, salt) = key;
        let place = Place { shard: self.id, base, salt };
        let path = self.dir.join(segment_name(base, salt));
        Arc::new(Segment::new(place, path, Arc::clone(self.read_side)))
    }

    /// A segment that lies wholly below the mark is taken as it is listed.
    fn sealed_view(
        &self,
        key: SegmentKey,
        end: Offset,
        row: &SegmentRow,
    ) -> Result<SegmentView, Error> {
        let segment = self.segment(key);
        let (mut bytes, mut last_append) = (row.bytes, row.last_append);
        if row.state == SegmentRowState::Active {
            // It was rolled, and the row that says where it ended was not written any more.
            match segment.file(end) {
                Ok(file) => {
                    let footer = segment.footer(&*file)?.filter(|footer| footer.end == end);
                    bytes = match &footer {
                        Some(footer) => footer.frames_end,
                        None => file.len().map_err(|error| segment.read_failed(error))?,
                    };
                    last_append = footer.map_or(last_append, |footer| footer.last_append);
                }
                Err(error) if error.kind() == ErrorKind::MissingSegment => bytes = u64::MAX,
                Err(error) => return Err(error),
            }
        }
        let state = SegmentState::Sealed { end, bytes, last_append };
        Ok(SegmentView { segment, state })
    }

    /// Scans one segment from the mark on, where the mark lies in it, or from its start.
    fn examine(&self, key: SegmentKey, row: &SegmentRow) -> Result<Candidate, Error> {
        let segment = self.segment(key);
        let sealed_end = (row.state == SegmentRowState::Sealed).then_some(row.end);
        segment.forget_file();
        let least_end = sealed_end.unwrap_or(self.rows.row.durable_end).max(key.0);
        let file = match segment.file(least_end) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::MissingSegment => {
                let found = Found::Missing(error);
                return Ok(Candidate { key, segment, sealed_end, found });
            }
            Err(error) => return Err(error),
        };
        // Bytes that only the page cache has must not be taken for what the disk holds.
        file.drop_cache();
        segment.check_version(&*file)?;
        let footer = segment.footer(&*file)?;
        let sealed_end = sealed_end.or(footer.as_ref().map(|footer| footer.end));
        let sealed_bytes = sealed_end.and(match row.state {
            SegmentRowState::Sealed => Some(row.bytes),
            _ => footer.as_ref().map(|footer| footer.frames_end),
        });
        let start = self.scan_start(key);
        let mark = footer.map_or(Offset::ZERO, |footer| footer.durable_end);
        let mark = mark.max(self.rows.row.durable_end).max(self.durable_end);
        let found = self.scan(&segment, &file, start, sealed_bytes, mark)?;
        Ok(Candidate { key, segment, sealed_end, found })
    }

    fn scan(
        &self,
        segment: &Arc<Segment>,
        file: &Arc<dyn File>,
        start: Mark,
        bytes: Option<u64>,
        mark: Offset,
    ) -> Result<Found, Error> {
        let len = file.len().map_err(|error| segment.read_failed(error))?;
        let extent = Extent { end: Offset::new(u64::MAX), bytes };
        let mut walk = segment.walk(file, start, extent)?;
        let mut last_append = None;
        let scan = scan(&mut walk, mark, |_, header, _| last_append = Some(header.append_time));
        let scan = scan.map_err(|error| segment.read_failed(error))?;
        let len = bytes.map_or(len, |bytes| bytes.min(len));
        Ok(Found::Scanned { scan, len, last_append })
    }

    fn list(&self) -> Result<Vec<DirEntry>, Error> {
        match self.env.fs.read_dir(self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(|error| Error::io("list failed", self.dir, error)),
        }
    }

    /// Looks for segment files that no row names: those that continue the log count.
    fn find_strangers(
        &self,
        entries: &[DirEntry],
        listed: &[(SegmentKey, SegmentRow)],
        candidates: &mut Vec<Candidate>,
        verdict: &mut Verdict,
    ) -> Result<(), Error> {
        let start = self.rows.row.start;
        let last_base = listed.last().map_or(start, |(key, _)| key.0);
        let mut strangers = Vec::new();
        for entry in entries {
            let key = parse_segment_name(&entry.name);
            match key.filter(|_| entry.kind == EntryKind::File) {
                Some(key) if self.rows.segments.contains_key(&key) => {}
                Some(key) if key.0 >= last_base => strangers.push(key),
                // A copy that was never switched to. Should the segments behind it be dropped, it
                // would continue the log.
                Some(key) if key.0 >= start => verdict.set_aside(key, self.dir.join(&entry.name)),
                _ => verdict.report.unknown.push(self.dir.join(&entry.name)),
            }
        }
        strangers.sort_unstable();
        for key in strangers {
            let row = SegmentRow {
                state: SegmentRowState::Active,
                end: key.0,
                bytes: 0,
                last_append: Timestamp::from_millis(0),
            };
            candidates.push(self.examine(key, &row)?);
        }
        Ok(())
    }
}

impl Verdict {
    fn trust(&mut self, view: SegmentView, end: Offset) {
        self.segments.push(view);
        self.end = end;
    }

    /// Adds one segment to the log, or says why it is not part of it.
    fn weigh(&mut self, candidate: Candidate, next: Option<Successor>) {
        let base = candidate.key.0;
        if self.segments.is_empty() && base <= self.end && !self.torn {
            // The first segment may begin below the start, which can lie within it.
            self.end = base;
        }
        if self.torn {
            self.turn_away(&candidate);
        } else if base < self.end {
            // The empty file of a roll that came to nothing, or a copy that was never switched to.
            self.turn_away(&candidate);
        } else if base > self.end && self.end >= self.known_mark {
            self.torn = true;
            self.turn_away(&candidate);
        } else {
            if base > self.end {
                let offsets = self.end..base;
                self.damaged(Error::missing_segment(candidate.segment.path(), offsets));
            }
            self.take_in(candidate, next);
        }
    }

    /// A segment that continues the log: as much of it as is good, or all of it if damage lies
    /// below the mark.
    fn take_in(&mut self, candidate: Candidate, next: Option<Successor>) {
        let next_base = next.map(|next| next.base);
        let Candidate { key, segment, sealed_end, found, .. } = candidate;
        let (scan, len, last_append) = match found {
            Found::Missing(error) => {
                self.damaged(error);
                let known = sealed_end.unwrap_or(self.known_mark).max(key.0);
                self.keep(segment, next_base.unwrap_or(known), u64::MAX, None);
                return;
            }
            Found::Scanned { scan, len, last_append } => (scan, len, last_append),
        };
        let (good_bytes, good_end) = scan.good;
        let is_short = sealed_end.is_some_and(|end| good_end < end);
        // A segment was left for good once the next one holds a frame: what stands behind its last
        // frame is a footer, and a footer is nothing to rely on.
        let was_left = next.is_some_and(|next| next.has_frames && next.base == good_end);
        let is_whole = scan.damage.is_none() || (was_left && !scan.has_frames_behind());
        if is_whole && !is_short {
            self.keep(segment, good_end, good_bytes, last_append);
        } else if good_end < self.known_mark {
            let (position, until, reason) = match &scan.damage {
                Some(damage) => (damage.position, damage.until, damage.reason.to_string()),
                None => (good_bytes, None, "the file ends early".to_owned()),
            };
            let furthest = until.max(scan.end_behind).max(sealed_end).max(Some(self.known_mark));
            let end = next_base.or(furthest).unwrap_or(self.known_mark);
            let offsets = good_end..until.unwrap_or(end);
            self.damaged(Error::corrupt(segment.path(), position, offsets, reason));
            self.keep(segment, end, len, last_append);
        } else {
            self.torn = true;
            self.report.torn_bytes += len.saturating_sub(good_bytes);
            self.keep(segment, good_end, good_bytes, last_append);
        }
    }

    /// All files are judged: they must reach the mark.
    fn weigh_end(&mut self, dir: &Path) {
        if self.end >= self.known_mark {
            return;
        }
        let offsets = self.end..self.known_mark;
        let error = match self.segments.last() {
            Some(last) => {
                let bytes = match last.state {
                    SegmentState::Sealed { bytes, .. } => bytes,
                    SegmentState::Active { .. } => 0,
                };
                Error::corrupt(last.segment.path(), bytes, offsets, "the file ends early")
            }
            None => Error::missing_segment(dir, offsets),
        };
        self.damaged(error);
        self.end = self.known_mark;
        if let Some(SegmentView { state: SegmentState::Sealed { end, .. }, .. }) =
            self.segments.last_mut()
        {
            *end = self.known_mark;
        }
    }

    fn keep(
        &mut self,
        segment: Arc<Segment>,
        end: Offset,
        bytes: u64,
        last_append: Option<Timestamp>,
    ) {
        self.end = self.end.max(end);
        self.last_append = last_append.map_or(self.last_append, |time| self.last_append.max(time));
        let last_append = last_append.unwrap_or(self.last_append);
        let state = SegmentState::Sealed { end, bytes, last_append };
        self.segments.push(SegmentView { segment, state });
    }

    /// A segment that is not part of the log: unlinked if it holds nothing that the log does not
    /// have.
    fn turn_away(&mut self, candidate: &Candidate) {
        let Candidate { key, segment, found, .. } = candidate;
        let adds_nothing = match found {
            Found::Missing(_) => true,
            Found::Scanned { scan, .. } => {
                let (_, good_end) = scan.good;
                let empty = good_end == key.0 && scan.end_behind.is_none();
                empty || (good_end <= self.end && scan.end_behind.is_none() && !self.torn)
            }
        };
        if adds_nothing {
            self.dropped.push((*key, SegmentRowState::Removed));
        } else {
            self.set_aside(*key, segment.path().to_path_buf());
        }
    }

    /// Gives a row to a file that is not part of the log, so that it never becomes one: without it,
    /// it would one day continue a log that has grown, or shrunk, to its base.
    fn set_aside(&mut self, key: SegmentKey, path: PathBuf) {
        self.dropped.push((key, SegmentRowState::Aside));
        self.report.aside.push(path);
    }

    fn damaged(&mut self, error: Error) {
        self.report.damage.get_or_insert(error);
    }
}
