//! Goes over the frames of one file, from frame to frame, and across damage.
//!
//! A walk believes nothing but headers that belong to the file's place and continue its offsets.
//! Where it meets anything else it looks ahead, byte eight by byte eight, for the next header that
//! does, and says how many offsets lie in between. It reads the file in large pieces and allocates
//! no more than one frame beyond that.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::env::File;
use crate::format::batch::StoredBatch;
use crate::format::frame::{
    ALIGNMENT, Claim, FORMAT_VERSION, FrameError, FrameHeader, HEADER_BYTES, Seed,
};
use crate::offset::Offset;
use crate::storage::buffer::BufferPool;
use crate::sync::Arc;

/// How much is read ahead where only headers matter.
pub(crate) const WINDOW_BYTES: usize = 256 * 1024;

/// What a walk found next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A good header; the body has not been looked at.
    Frame { position: u64, header: FrameHeader },
    /// Bytes that are no frame, then a good header: the offsets in between are lost.
    Hole { position: u64, from: Offset, until: Offset, reason: FrameError },
    /// Bytes that are no frame, up to the end of the walk.
    Rest { position: u64, reason: FrameError },
    /// The walk came to its end, and all of it was frames.
    End { position: u64 },
}

/// A walk over part of a file.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    file: &'a Arc<dyn File>,
    pool: &'a BufferPool,
    seed: Seed,
    position: u64,
    until: u64,
    /// The offset that the next frame must start at.
    expected: Offset,
    window: Bytes,
    window_at: u64,
    window_bytes: usize,
}

impl<'a> Walk<'a> {
    /// A walk from `position`, where a frame with base offset `expected` should start, to byte
    /// `until`.
    pub(crate) fn new(
        file: &'a Arc<dyn File>,
        pool: &'a BufferPool,
        seed: Seed,
        (position, expected): (u64, Offset),
        until: u64,
    ) -> Self {
        Self {
            file,
            pool,
            seed,
            position,
            until,
            expected,
            window: Bytes::new(),
            window_at: position,
            window_bytes: WINDOW_BYTES,
        }
    }

    /// The same walk, reading `bytes` at a time.
    pub(crate) fn reading(mut self, bytes: usize) -> Self {
        self.window_bytes = bytes;
        self
    }

    /// Where the walk stands: the next byte and the offset expected there.
    pub(crate) fn at(&self) -> (u64, Offset) {
        (self.position, self.expected)
    }

    /// The next frame, hole, or end.
    ///
    /// # Errors
    /// What the system says of a read; never because of what the bytes are.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        let position = self.position;
        if position >= self.until {
            return Ok(Step::End { position });
        }
        let reason = match self.frame_at(position)? {
            Ok(header) if header.base_offset == self.expected => {
                self.pass(position, &header);
                return Ok(Step::Frame { position, header });
            }
            Ok(_) => FrameError::HeaderChecksum,
            Err(reason) => reason,
        };
        let next = match reason {
            // Room that was allocated ahead is told from damage by one quick look.
            FrameError::Zeros if self.is_blank(position)? => None,
            _ => self.next_frame(position)?,
        };
        match next {
            Some((found, header)) => {
                let from = self.expected;
                self.position = found;
                self.expected = header.base_offset;
                Ok(Step::Hole { position, from, until: header.base_offset, reason })
            }
            None => {
                self.position = self.until;
                Ok(Step::Rest { position, reason })
            }
        }
    }

    /// Whether a frame that starts with the expected offset stands here.
    pub(crate) fn stands_on_frame(&mut self) -> io::Result<bool> {
        let here = self.frame_at(self.position)?;
        Ok(here.is_ok_and(|header| header.base_offset == self.expected))
    }

    /// Goes on at the frame that holds `target`, from one claimed length to the next.
    ///
    /// Nothing that is passed over is believed: the frame where this ends is, for its header is good
    /// and holds the offset. Where the lengths lead to no such frame, the walk stays where it is.
    pub(crate) fn hop_to(&mut self, target: Offset) -> io::Result<()> {
        let mut position = self.position;
        loop {
            let range = self.load(position, HEADER_BYTES)?;
            let (passed, is_there) =
                hop(self.window.get(range.start..).unwrap_or_default(), target);
            position = position.saturating_add(passed);
            if is_there {
                if let Ok(header) = self.frame_at(position)?
                    && (header.base_offset..header.end_offset()).contains(&target)
                {
                    self.position = position;
                    self.expected = header.base_offset;
                }
                return Ok(());
            }
            if passed == 0 || position >= self.until {
                return Ok(());
            }
        }
    }

    /// Whether the next frame lies in what was read already, going by the length it claims.
    pub(crate) fn has_read_next(&self) -> bool {
        let start = self.position.checked_sub(self.window_at);
        let start = start.and_then(|start| usize::try_from(start).ok());
        let rest = start.and_then(|start| self.window.get(start..)).unwrap_or_default();
        Claim::of(rest).is_some_and(|claim| claim.length <= rest.len() as u64)
    }

    /// The whole frame at `position`, both checksums verified.
    pub(crate) fn batch(
        &mut self,
        position: u64,
        header: &FrameHeader,
    ) -> io::Result<Result<StoredBatch, FrameError>> {
        let range = self.load(position, header.len())?;
        Ok(StoredBatch::check(*header, self.window.slice(range)))
    }

    /// Whether there is nothing but zeros from `position` to the end of the walk.
    pub(crate) fn is_blank(&mut self, mut position: u64) -> io::Result<bool> {
        while position < self.until {
            let range = self.load(position, self.window_bytes)?;
            let bytes = self.window.get(range).unwrap_or_default();
            if !is_zero(bytes) {
                return Ok(false);
            }
            if bytes.is_empty() {
                return Ok(true);
            }
            position += bytes.len() as u64;
        }
        Ok(true)
    }

    fn pass(&mut self, position: u64, header: &FrameHeader) {
        self.position = position + u64::from(header.length);
        self.expected = header.end_offset();
    }

    /// The header at `position`, if the whole frame fits the walk.
    fn frame_at(&mut self, position: u64) -> io::Result<Result<FrameHeader, FrameError>> {
        let range = self.load(position, HEADER_BYTES)?;
        let bytes = self.window.get(range).unwrap_or_default();
        Ok(FrameHeader::decode(bytes, self.seed).and_then(|header| {
            let fits = position + u64::from(header.length) <= self.until;
            if fits { Ok(header) } else { Err(FrameError::Short) }
        }))
    }

    /// Looks ahead for a header that belongs here and continues the offsets, at or behind
    /// `position`.
    fn next_frame(&mut self, position: u64) -> io::Result<Option<(u64, FrameHeader)>> {
        let mut at = position;
        while at + HEADER_BYTES as u64 <= self.until {
            let range = self.load(at, self.window_bytes.max(HEADER_BYTES))?;
            let window = self.window.get(range).unwrap_or_default();
            if window.len() < HEADER_BYTES {
                return Ok(None);
            }
            let mut skipped = 0;
            while let Some(bytes) = window.get(skipped..skipped + HEADER_BYTES) {
                if could_be_header(bytes)
                    && let Ok(header) = FrameHeader::decode(bytes, self.seed)
                    && header.base_offset >= self.expected
                    && at + skipped as u64 + u64::from(header.length) <= self.until
                {
                    return Ok(Some((at + skipped as u64, header)));
                }
                skipped += ALIGNMENT;
            }
            at += skipped as u64;
        }
        Ok(None)
    }

    /// Where the window holds up to `len` bytes at `position`; fewer only at the end of the walk or
    /// the file.
    fn load(&mut self, position: u64, len: usize) -> io::Result<Range<usize>> {
        let left = usize::try_from(self.until.saturating_sub(position)).unwrap_or(usize::MAX);
        let len = len.min(left);
        if let Some(start) = position.checked_sub(self.window_at)
            && let Ok(start) = usize::try_from(start)
            && let Some(end) = start.checked_add(len)
            && end <= self.window.len()
        {
            return Ok(start..end);
        }
        // The old window goes back to the pool before the new one is taken from it.
        self.window = Bytes::new();
        self.window_at = position;
        self.window =
            self.pool.read(&**self.file, position, len.max(self.window_bytes.min(left)))?;
        Ok(0..len.min(self.window.len()))
    }
}

/// Goes from claimed length to claimed length: how far, and whether a frame there may hold `target`.
fn hop(bytes: &[u8], target: Offset) -> (u64, bool) {
    let (mut rest, mut passed) = (bytes, 0_u64);
    while let Some(claim) = Claim::of(rest) {
        if target < claim.end {
            return (passed, true);
        }
        passed += claim.length;
        let behind = usize::try_from(claim.length).ok().and_then(|length| rest.get(length..));
        let Some(behind) = behind else { break };
        rest = behind;
    }
    (passed, false)
}

/// Looks at many bytes at once: there can be megabytes of room that was allocated ahead.
fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let is_zero = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte) == 0;
    blocks.iter().all(|block| is_zero(block)) && is_zero(rest)
}

/// A cheap first look that turns away almost everything that is not a header.
fn could_be_header(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, _, length, ..] if length % 8 == 0)
        && bytes.get(24) == Some(&FORMAT_VERSION)
}
