//! Reading as much of a journal as can be read, for whoever checks it or makes it again.
//!
//! An open refuses a damaged journal: what it has lost cannot be told from what never was. Here
//! every good frame counts, those behind the damage too, and each bad stretch is told.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Fingerprint, JournalHome, JournalTail, apply};
use crate::env::{Access, File};
use crate::error::{Error, ErrorKind};
use crate::format::frame::{FrameHeader, HEADER_BYTES};
use crate::format::head::{FileKind, HEAD_BYTES, Head, HeadError};
use crate::format::layout::{DAMAGED_SUFFIX, JournalKind};
use crate::offset::Offset;
use crate::storage::buffer::BufferPool;
use crate::storage::walk::{Step, Walk};
use crate::sync::Arc;

const COPY_BYTES: usize = 1024 * 1024;

/// What could be read of a journal.
#[derive(Debug)]
pub(crate) struct Salvaged {
    /// The entries of all good frames.
    pub(crate) journal: JournalTail,
    /// What an open would find: everything before the first bytes that are no good frame.
    pub(crate) good: Fingerprint,
    /// Stretches below what was known to be durable, by byte; none in a journal that is whole.
    pub(crate) damage: Vec<Error>,
    /// Where bytes begin that are the end of a write that was under way.
    pub(crate) torn_at: Option<u64>,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

/// A stretch that is no frame.
struct Bad {
    position: u64,
    offsets: Range<Offset>,
    reason: String,
}

/// What was met on the way through a file.
#[derive(Default)]
struct Way {
    known_mark: Offset,
    /// Behind the last frame that belongs to the file.
    end: Offset,
    frames: u64,
    bad: Vec<Bad>,
    /// Something behind the head is no good frame: an open gets no further.
    is_broken: bool,
    /// The head cannot be read, so that nothing says where the entries begin.
    is_headless: bool,
}

impl JournalTail {
    /// Reads what can be read of the newest generation; none if there is no file of this journal.
    ///
    /// # Errors
    /// `UnsupportedVersion`, and what the system says of a read; damage is part of what is found.
    pub(crate) fn salvage(
        kind: JournalKind,
        home: &JournalHome,
    ) -> Result<Option<Salvaged>, Error> {
        let mut tail = Self::blank(kind, home);
        let Some((generation, salt)) = tail.newest()? else { return Ok(None) };
        tail.generation = generation;
        tail.salt = salt;
        let path = tail.path();
        let failed = |error| Error::io("read failed", &path, error);
        let file = tail.env.fs.open(&path, Access::Read).map_err(failed)?;
        // Bytes that only the page cache has must not be taken for what the disk holds.
        file.drop_cache();
        let mut way = Way::default();
        way.read_head(&*file, &path)?;
        tail.end = tail.first_offset(&*file, &way).map_err(failed)?;
        way.end = tail.end;
        tail.limit = file.len().map_err(failed)?;
        tail.read_frames(&file, &mut way).map_err(failed)?;
        let good = tail.fingerprint(tail.end);
        tail.end = way.end.max(way.known_mark);
        let bytes = tail.limit;
        let (damage, torn_at) = way.judge(&path);
        let frames = way.frames;
        Ok(Some(Salvaged { journal: tail, good, damage, torn_at, frames, bytes }))
    }

    /// Copies the file that was read, durably, to a name that no journal has; says which.
    pub(crate) fn keep_aside(&self) -> Result<PathBuf, Error> {
        let path = self.path();
        let mut aside = path.clone().into_os_string();
        aside.push(DAMAGED_SUFFIX);
        let aside = PathBuf::from(aside);
        let failed = |error| Error::io("copy failed", &aside, error);
        let file = self.env.fs.open(&path, Access::Read).map_err(failed)?;
        let len = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
        // One that is there is what an interrupted repair has left.
        match self.env.fs.remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let copy = self.env.fs.create_new(&aside).map_err(failed)?;
        let mut at = 0;
        while at < len {
            let mut bytes = vec![0; COPY_BYTES.min(len - at)];
            let read = file.read_at(&mut bytes, at as u64).map_err(failed)?;
            copy.write_at(bytes.get(..read).unwrap_or_default(), at as u64).map_err(failed)?;
            if read == 0 {
                break;
            }
            at += read;
        }
        copy.sync_data().and_then(|()| self.env.fs.sync_dir(&self.dir)).map_err(failed)?;
        Ok(aside)
    }

    /// Where the entries begin: a snapshot ends at the head's mark.
    fn first_offset(&self, file: &dyn File, way: &Way) -> io::Result<Offset> {
        let mut first = [0; HEADER_BYTES];
        file.read_at(&mut first, HEAD_BYTES as u64)?;
        let first = FrameHeader::decode(&first, self.place().seed()).ok();
        Ok(match first {
            Some(first) if way.is_headless => first.base_offset,
            Some(first) => first.base_offset.min(way.known_mark),
            // Where the snapshot begins is not known, and all of it was durable.
            None => Offset::ZERO,
        })
    }

    fn read_frames(&mut self, file: &Arc<dyn File>, way: &mut Way) -> io::Result<()> {
        let pool = BufferPool::new();
        let start = (HEAD_BYTES as u64, self.end);
        let mut walk = Walk::new(file, &pool, self.place().seed(), start, self.limit);
        loop {
            let (position, reason) = match walk.step()? {
                Step::Frame { position, header } => {
                    match walk.batch(position, &header)? {
                        Ok(batch) => apply(&mut self.entries, batch.entries()),
                        Err(reason) => {
                            let offsets = header.base_offset..header.end_offset();
                            way.note(position, offsets, reason.to_string());
                        }
                    }
                    way.frames += 1;
                    way.known_mark = way.known_mark.max(header.durable_mark().unwrap_or_default());
                    way.end = header.end_offset();
                    if !way.is_broken {
                        (self.position, self.end) = walk.at();
                    }
                    continue;
                }
                Step::Hole { position, from, until, reason } => {
                    way.note(position, from..until, reason.to_string());
                    continue;
                }
                Step::Rest { position, reason } if !walk.is_blank(position)? => {
                    (position, Some(reason.to_string()))
                }
                Step::Rest { position, .. } | Step::End { position } => (position, None),
            };
            let reason = match reason {
                Some(reason) => reason,
                None if way.end < way.known_mark => "the file ends early".to_owned(),
                None => return Ok(()),
            };
            way.note(position, way.end..way.known_mark.max(way.end), reason);
            return Ok(());
        }
    }
}

impl Way {
    fn read_head(&mut self, file: &dyn File, path: &Path) -> Result<(), Error> {
        let mut head = [0; HEAD_BYTES];
        let read = file.read_at(&mut head, 0);
        let read = read.map_err(|error| Error::io("read failed", path, error))?;
        match Head::decode(head.get(..read).unwrap_or_default(), FileKind::Journal) {
            Ok(head) => self.known_mark = head.mark,
            Err(error @ HeadError::Version { .. }) => {
                let text = error.to_string();
                return Err(Error::at_path(ErrorKind::UnsupportedVersion, path, text));
            }
            Err(error) => {
                self.is_headless = true;
                self.note(0, Offset::ZERO..Offset::ZERO, error.to_string());
            }
        }
        Ok(())
    }

    fn note(&mut self, position: u64, offsets: Range<Offset>, reason: String) {
        self.is_broken |= position > 0;
        self.bad.push(Bad { position, offsets, reason });
    }

    /// Tells damage from the end of a write that was under way.
    fn judge(&mut self, path: &Path) -> (Vec<Error>, Option<u64>) {
        let (mut damage, mut torn_at) = (Vec::new(), None);
        for Bad { position, offsets, reason } in self.bad.drain(..) {
            let is_head = self.is_headless && position == 0;
            if is_head || offsets.start < self.known_mark {
                damage.push(Error::corrupt(path, position, offsets, reason));
            } else {
                torn_at = torn_at.or(Some(position));
            }
        }
        (damage, torn_at)
    }
}
