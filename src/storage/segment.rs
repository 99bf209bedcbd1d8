//! One data file: made, appended to, sealed, and read.
//!
//! [`Segment`] is what readers share; [`SegmentWriter`] is in the hands of whoever leads the
//! partition. A segment relies on its place alone: its bytes are what the checksums say, whatever
//! head, footer or index claim.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::env::{Access, Env, File, Fs};
use crate::error::{Error, ErrorKind};
use crate::format::batch::{Batch, StoredBatch};
use crate::format::frame::{ALIGNMENT, FrameHeader, HEADER_BYTES, Place, Seed};
use crate::format::head::{FileKind, HEAD_BYTES, Head, HeadError};
use crate::format::index::{FOOTER_END_BYTES, Footer, Index};
use crate::limits::FOOTER_BYTES_MAX;
use crate::offset::{Offset, Timestamp};
use crate::storage::buffer::BufferPool;
use crate::storage::files::Files;
use crate::storage::walk::{Step, WINDOW_BYTES, Walk};
use crate::sync::Arc;

/// How often a salt is drawn before a new segment gives up; by chance even a second time is rare.
const SALT_DRAWS_MAX: u32 = 16;

/// What all segments of a log read through.
#[derive(Debug)]
pub(crate) struct ReadSide {
    pub(crate) files: Files,
    pub(crate) buffers: BufferPool,
}

/// One data file, as readers share it.
///
/// **Invariants**: `seed` is the seed of `place`; the bytes below what the writer has published
/// never change.
#[derive(Debug)]
pub(crate) struct Segment {
    place: Place,
    seed: Seed,
    path: PathBuf,
    read_side: Arc<ReadSide>,
    /// The index of a sealed segment, once it was needed.
    index: OnceLock<Arc<Index>>,
}

/// How far a segment may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// No offset at or behind this one is returned.
    pub(crate) end: Offset,
    /// Where the frames end in the file; none while it grows.
    pub(crate) bytes: Option<u64>,
}

/// Where in a segment a reader left off: the byte, and the offset that starts there.
pub(crate) type Mark = (u64, Offset);

/// What one read brought.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) batches: Vec<StoredBatch>,
    pub(crate) next: Mark,
}

impl Segment {
    pub(crate) fn new(place: Place, path: PathBuf, read_side: Arc<ReadSide>) -> Self {
        Self { place, seed: place.seed(), path, read_side, index: OnceLock::new() }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn base(&self) -> Offset {
        self.place.base
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    /// Lets go of the shared descriptor, before the file is unlinked.
    pub(crate) fn forget_file(&self) {
        self.read_side.files.forget(&self.place);
    }

    /// The open file; where it is not there, the offsets up to `end` are missing.
    pub(crate) fn file(&self, end: Offset) -> Result<Arc<dyn File>, Error> {
        self.read_side.files.get(&self.place, &self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::missing_segment(&self.path, self.base()..end),
            _ => Error::io("open failed", &self.path, error),
        })
    }

    /// Refuses a file whose head is good and says that a newer version wrote it.
    pub(crate) fn check_version(&self, file: &dyn File) -> Result<(), Error> {
        let mut head = [0; HEAD_BYTES];
        let len = file.read_at(&mut head, 0).map_err(|error| self.read_failed(error))?;
        match Head::decode(head.get(..len).unwrap_or_default(), FileKind::Segment) {
            Err(error @ HeadError::Version { .. }) => {
                Err(Error::at_path(ErrorKind::UnsupportedVersion, &self.path, error.to_string()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn read_failed(&self, error: io::Error) -> Error {
        Error::io("read failed", &self.path, error)
    }

    /// The index of a sealed segment: its footer's, or built again from the frames where that is
    /// damaged.
    pub(crate) fn sealed_index(&self, extent: Extent) -> Result<Arc<Index>, Error> {
        if let Some(index) = self.index.get() {
            return Ok(Arc::clone(index));
        }
        let file = self.file(extent.end)?;
        self.check_version(&*file)?;
        let index = match self.footer(&*file)? {
            Some(Footer { index, end, .. })
                if end == extent.end && index.begins_at(HEAD_BYTES as u64) =>
            {
                index
            }
            _ => self.rebuild_index(&file, extent)?,
        };
        Ok(Arc::clone(self.index.get_or_init(|| Arc::new(index))))
    }

    /// The footer at the end of the file, if there is a good one.
    pub(crate) fn footer(&self, file: &dyn File) -> Result<Option<Footer>, Error> {
        let len = file.len().map_err(|error| self.read_failed(error))?;
        let Some(end_at) = len.checked_sub(FOOTER_END_BYTES as u64) else { return Ok(None) };
        let mut end = [0; FOOTER_END_BYTES];
        file.read_at(&mut end, end_at).map_err(|error| self.read_failed(error))?;
        let footer_len = Footer::length(&end).filter(|bytes| *bytes <= FOOTER_BYTES_MAX);
        let Some((footer_len, start)) = footer_len.and_then(|footer_len| {
            Some((usize::try_from(footer_len).ok()?, len.checked_sub(footer_len)?))
        }) else {
            return Ok(None);
        };
        let mut bytes = vec![0; footer_len];
        file.read_at(&mut bytes, start).map_err(|error| self.read_failed(error))?;
        Ok(Footer::decode(&bytes, self.seed).filter(|footer| footer.frames_end == start))
    }

    /// Walks all headers of the file and takes note of them.
    pub(crate) fn rebuild_index(
        &self,
        file: &Arc<dyn File>,
        extent: Extent,
    ) -> Result<Index, Error> {
        let mut index = Index::default();
        let mut walk = self.walk(file, (HEAD_BYTES as u64, self.base()), extent)?;
        loop {
            match walk.step().map_err(|error| self.read_failed(error))? {
                Step::Frame { header, .. } if header.base_offset >= extent.end => break,
                Step::Frame { position, header } => {
                    let Ok(position) = u32::try_from(position) else { break };
                    index.note(self.base(), &header, position);
                }
                Step::Hole { .. } => {}
                Step::Rest { .. } | Step::End { .. } => break,
            }
        }
        Ok(index)
    }

    /// Reads batches from the one that holds `from` on, about `max_bytes` of them and at least one.
    ///
    /// # Errors
    /// `Corrupt` if the batch that holds `from` is damaged; a later damaged one ends the chunk
    /// before it.
    pub(crate) fn read(
        &self,
        (index, extent): (&Index, Extent),
        from: Offset,
        left_off: Option<Mark>,
        max_bytes: usize,
    ) -> Result<Chunk, Error> {
        let file = self.file(extent.end)?;
        let most = max_bytes.clamp(READ_BYTES_MIN, WINDOW_BYTES * 4);
        let mut walk = match left_off.filter(|(_, offset)| *offset <= from) {
            Some(mark) => self.walk(&file, mark, extent)?.reading(window_from(mark.0, most, index)),
            None => self.walk_to(&file, (index, extent), from, most)?,
        };
        let mut batches = Vec::new();
        let mut bytes = 0;
        let mut next = walk.at();
        // What one read brought is enough, or a frame that it cut off would cost another one for
        // itself.
        while batches.is_empty()
            || bytes < max_bytes / 2
            || (bytes < max_bytes && walk.has_read_next())
        {
            let damaged = match walk.step().map_err(|error| self.read_failed(error))? {
                Step::Frame { header, .. } if header.base_offset >= extent.end => break,
                Step::Frame { header, .. } if header.end_offset() <= from => continue,
                Step::Frame { position, header } => {
                    let batch = walk.batch(position, &header);
                    match batch.map_err(|error| self.read_failed(error))? {
                        Ok(batch) => {
                            bytes += header.len();
                            batches.push(batch);
                            next = walk.at();
                            continue;
                        }
                        Err(reason) => {
                            (position, header.base_offset..header.end_offset(), reason.to_string())
                        }
                    }
                }
                Step::Hole { until, .. } if until <= from => continue,
                Step::Hole { position, from: first, until, reason } => {
                    (position, first..until.min(extent.end), reason.to_string())
                }
                Step::Rest { position, reason } => {
                    (position, walk.at().1..extent.end, reason.to_string())
                }
                Step::End { position } => {
                    (position, walk.at().1..extent.end, "the file ends early".to_owned())
                }
            };
            if !batches.is_empty() {
                break;
            }
            let (position, offsets, reason) = damaged;
            return Err(Error::corrupt(&self.path, position, offsets, reason));
        }
        Ok(Chunk { batches, next })
    }

    /// A walk that begins at the frame that holds `from`, or before it where damage hides the way.
    fn walk_to<'a>(
        &'a self,
        file: &'a Arc<dyn File>,
        (index, extent): (&Index, Extent),
        from: Offset,
        most: usize,
    ) -> Result<Walk<'a>, Error> {
        let head = (HEAD_BYTES as u64, self.base());
        let indexed = index.frame_before(self.base(), from).filter(|(_, own)| *own <= from);
        let start = indexed.unwrap_or(head);
        // One read is to bring the way to the frame and what is asked for.
        let way = index.distance_to(self.base(), from);
        let window = most.saturating_add(usize::try_from(way).unwrap_or(0)).min(WINDOW_BYTES * 4);
        let mut walk = self.walk(file, start, extent)?.reading(window);
        let stands = walk.stands_on_frame().map_err(|error| self.read_failed(error))?;
        if !stands && start != head {
            walk = self.walk(file, head, extent)?.reading(window);
        }
        walk.hop_to(from).map_err(|error| self.read_failed(error))?;
        Ok(walk)
    }

    /// The first record of `time` or later, looked for from the index on; damaged batches are
    /// passed over.
    pub(crate) fn first_at_or_after(
        &self,
        (index, extent): (&Index, Extent),
        time: Timestamp,
        from: Offset,
    ) -> Result<Option<Offset>, Error> {
        let file = self.file(extent.end)?;
        let indexed = match index.frame_of_time(self.base(), time) {
            Some(frame) => Some(frame),
            // Behind the index of a growing segment there can be more; behind a sealed one's there
            // is not.
            None if extent.bytes.is_some() => return Ok(None),
            None => index.frame_before(self.base(), extent.end),
        };
        let start = self.start_for(&file, indexed, extent.end)?;
        let mut walk = self.walk(&file, start, extent)?;
        loop {
            match walk.step().map_err(|error| self.read_failed(error))? {
                Step::Frame { header, .. } if header.base_offset >= extent.end => return Ok(None),
                Step::Frame { position, header }
                    if header.end_offset() > from && header.max_timestamp() >= Some(time) =>
                {
                    let batch = walk.batch(position, &header);
                    let batch = batch.map_err(|error| self.read_failed(error))?;
                    let found = batch.ok().and_then(|batch| batch.first_at_or_after(time, from));
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                Step::Frame { .. } | Step::Hole { .. } => {}
                Step::Rest { .. } | Step::End { .. } => return Ok(None),
            }
        }
    }

    /// Where to start walking so that `target` is not passed: an indexed frame only if it is there
    /// and is the one that the index says.
    fn start_for(
        &self,
        file: &Arc<dyn File>,
        indexed: Option<Mark>,
        target: Offset,
    ) -> Result<Mark, Error> {
        let start = (HEAD_BYTES as u64, self.base());
        let Some((position, own)) = indexed.filter(|(_, own)| *own <= target) else {
            return Ok(start);
        };
        let mut header = [0; HEADER_BYTES];
        file.read_at(&mut header, position).map_err(|error| self.read_failed(error))?;
        Ok(match FrameHeader::decode(&header, self.seed) {
            Ok(header) if header.base_offset == own => (position, own),
            _ => start,
        })
    }

    pub(crate) fn walk<'a>(
        &'a self,
        file: &'a Arc<dyn File>,
        start: Mark,
        extent: Extent,
    ) -> Result<Walk<'a>, Error> {
        let len = file.len().map_err(|error| self.read_failed(error))?;
        let until = extent.bytes.map_or(len, |bytes| bytes.min(len));
        Ok(Walk::new(file, &self.read_side.buffers, self.seed, start, until))
    }
}

/// No read asks for less: small ones cost as much.
const READ_BYTES_MIN: usize = 4 * 1024;

/// How much to read at `start` so that no frame is cut off where the index knows better.
fn window_from(start: u64, most: usize, index: &Index) -> usize {
    let until = index.frame_near(start.saturating_add(most as u64)).unwrap_or(start);
    match usize::try_from(until.saturating_sub(start)) {
        Ok(0) | Err(_) => most,
        Ok(window) => window,
    }
}

/// The one hand that appends to a segment.
///
/// **Invariants**: bytes below `position` are whole frames from the segment's base to `end`;
/// nothing behind `position` has been told to anybody; nothing was written at `room_end` or behind
/// it.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    segment: Arc<Segment>,
    file: Arc<dyn File>,
    position: u64,
    /// Up to where the file holds frames, or zeros that frames will take the place of.
    room_end: u64,
    end: Offset,
    index: Index,
    last_append: Timestamp,
    scratch: Vec<u8>,
}

impl SegmentWriter {
    /// Makes the file of a new segment, with its head, and syncs it; its directory is the caller's
    /// to sync. `segment` is the one with a salt, which is drawn again if there is such a file: one
    /// of a session that has ended, in a world that gives the same numbers once more.
    ///
    /// `mark` is how far the partition is known to be durable.
    pub(crate) fn create(
        env: &Env,
        segment: impl Fn(u32) -> Arc<Segment>,
        (created, mark): (Timestamp, Offset),
    ) -> Result<Self, Error> {
        let fs = &*env.fs;
        let failed =
            |segment: &Segment, error| Error::io("create segment failed", segment.path(), error);
        let mut draws = 1;
        let (segment, file) = loop {
            let segment = segment(env.draw_salt());
            match fs.create_new(segment.path()) {
                Ok(file) => break (segment, file),
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && draws < SALT_DRAWS_MAX =>
                {
                    draws += 1;
                }
                Err(error) => return Err(failed(&segment, error)),
            }
        };
        let head = Head { kind: FileKind::Segment, place: *segment.place(), created, mark };
        let written = file.write_at(&head.encode(), 0).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // A half-made file would only be found and listed at the next open.
            let _ = fs.remove_file(segment.path());
            return Err(failed(&segment, error));
        }
        Ok(Self {
            end: segment.base(),
            file,
            position: HEAD_BYTES as u64,
            room_end: HEAD_BYTES as u64,
            index: Index::default(),
            last_append: created,
            scratch: Vec::new(),
            segment,
        })
    }

    /// Goes on with a segment that was closed cleanly: `position` and `end` are what the manifest
    /// says.
    pub(crate) fn resume(
        fs: &dyn Fs,
        segment: Arc<Segment>,
        (position, end): Mark,
        last_append: Timestamp,
    ) -> Result<Self, Error> {
        let path = segment.path();
        let file = fs.open(path, Access::ReadWrite).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::missing_segment(path, segment.base()..end),
            _ => Error::io("open segment failed", path, error),
        })?;
        segment.check_version(&*file)?;
        let len = file.len().map_err(|error| segment.read_failed(error))?;
        if len < position {
            let offsets = segment.base()..end;
            return Err(Error::corrupt(path, len, offsets, "the file ends early"));
        }
        if position < HEAD_BYTES as u64 || !position.is_multiple_of(ALIGNMENT as u64) {
            let offsets = segment.base()..end;
            return Err(Error::corrupt(path, position, offsets, "no frame can end here"));
        }
        let index = segment.rebuild_index(&file, Extent { end, bytes: Some(position) })?;
        let (room_end, scratch) = (len, Vec::new());
        Ok(Self { segment, file, position, room_end, end, index, last_append, scratch })
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn last_append(&self) -> Timestamp {
        self.last_append
    }

    /// Where the next frame goes.
    pub(crate) fn at(&self) -> Mark {
        (self.position, self.end)
    }

    /// Whether no frame was written yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.end == self.segment.base()
    }

    /// Writes frames that were laid down in this segment's place, in as few calls as is cheap.
    pub(crate) fn write(&mut self, frames: &[Batch]) -> io::Result<()> {
        let mut position = self.position;
        let mut written = self.position;
        self.scratch.clear();
        for frame in frames {
            let bytes = frame.bytes();
            position += bytes.len() as u64;
            let alone = self.scratch.is_empty() && frames.len() == 1;
            if alone || bytes.len() >= WORTH_A_CALL {
                self.flush_scratch(&mut written)?;
                self.make_room(position);
                self.file.write_at(bytes, written)?;
                written = position;
            } else {
                self.scratch.extend_from_slice(bytes);
            }
        }
        self.flush_scratch(&mut written)?;
        for header in frames.iter().map(Batch::header) {
            if let Ok(at) = u32::try_from(self.position) {
                self.index.note(self.segment.base(), header, at);
            }
            self.position += u64::from(header.length);
            self.end = header.end_offset();
            self.last_append = header.append_time;
        }
        Ok(())
    }

    fn flush_scratch(&mut self, written: &mut u64) -> io::Result<()> {
        if !self.scratch.is_empty() {
            let until = *written + self.scratch.len() as u64;
            self.make_room(until);
            self.file.write_at(&self.scratch, *written)?;
            *written = until;
            self.scratch.clear();
        }
        Ok(())
    }

    /// Fills the block that a write up to `until` would be the first to reach with zeros.
    ///
    /// Frames that are then written over them change neither the file's length nor where its blocks
    /// lie, so that a sync of theirs need not wait for the file system's journal; and one aligned
    /// write of a whole block gets the page cache to hold it in one piece, where frames alone would
    /// have it pieced together. Nothing depends on it: where it fails, the write that follows says
    /// what is wrong, if anything is.
    fn make_room(&mut self, until: u64) {
        if until <= self.room_end {
            return;
        }
        let block = until - until % ROOM_BYTES;
        let is_new = block >= self.room_end.max(ROOM_BYTES);
        self.room_end = until;
        if is_new && self.file.write_at(ROOM, block).is_ok() {
            self.room_end = block + ROOM_BYTES;
        }
    }

    /// Takes back what a failed write may have left behind, durably.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.position)?;
        self.room_end = self.position;
        self.file.sync_data()
    }

    /// Writes the footer; it is derived, so that a failure to write it costs nothing but a later
    /// rebuild.
    pub(crate) fn seal(&mut self, durable_end: Offset) {
        let footer = Footer {
            index: std::mem::take(&mut self.index),
            frames_end: self.position,
            end: self.end,
            last_append: self.last_append,
            durable_end,
        };
        let room = self.room_end > self.position;
        let ends_here = if room { self.file.set_len(self.position) } else { Ok(()) };
        let encoded = footer.encode(self.segment.seed());
        if ends_here.and_then(|()| self.file.write_at(&encoded, self.position)).is_err() {
            let _ = self.file.set_len(self.position);
        }
        let _ = self.segment.index.set(Arc::new(footer.index));
    }
}

/// Frames of at least this size are written as they are; smaller ones are gathered first.
const WORTH_A_CALL: usize = 32 * 1024;

/// How much room is made at a time. The first block of a segment is not filled, so that room never
/// takes more than the frames do, however many small segments there are.
const ROOM_BYTES: u64 = 128 * 1024;
const ROOM: &[u8] = &[0; ROOM_BYTES as usize];
