//! The immutable set of segments that a reader holds for one fetch.
//!
//! The leader of a partition publishes a new view when the set changes; readers clone an `Arc` of
//! the current one under a short lock and then read without any. A segment's file is unlinked only
//! when no view holds it any more, so that a fetch that has begun ends well.

use crate::error::{Error, ErrorKind};
use crate::format::index::Index;
use crate::offset::{Offset, Timestamp};
use crate::storage::segment::{Chunk, Extent, Mark, Segment};
use crate::sync::Arc;

/// One segment of a view.
#[derive(Clone, Debug)]
pub(crate) struct SegmentView {
    pub(crate) segment: Arc<Segment>,
    pub(crate) state: SegmentState,
}

/// Whether a segment still grows.
#[derive(Clone, Debug)]
pub(crate) enum SegmentState {
    /// No frame is added any more.
    Sealed { end: Offset, bytes: u64, last_append: Timestamp },
    /// Frames are being added; the index lacks the newest of them.
    Active { index: Arc<Index> },
}

/// The segments of one partition, oldest first.
///
/// **Invariants**: segments are in the order of their bases, at most the last one is active, and
/// none is empty but the active one.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) start: Offset,
    pub(crate) segments: Vec<SegmentView>,
}

/// Where a reader left off, so that the next fetch need not search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bookmark {
    base: Offset,
    salt: u32,
    mark: Mark,
}

impl View {
    /// Reads batches from the one that holds `from` on; `from` is within `start..visible_end`.
    pub(crate) fn fetch(
        &self,
        from: Offset,
        visible_end: Offset,
        bookmark: Option<Bookmark>,
        max_bytes: usize,
    ) -> Result<(Chunk, Bookmark), Error> {
        let Some(found) = self.segment_of(from) else {
            return Err(self.absent(from, visible_end));
        };
        let extent = found.extent(visible_end);
        if extent.end <= from {
            return Err(self.absent(from, visible_end));
        }
        let place = found.segment.place();
        let left_off = bookmark
            .filter(|bookmark| (bookmark.base, bookmark.salt) == (place.base, place.salt))
            .map(|bookmark| bookmark.mark);
        let index = found.index(extent)?;
        let chunk = found.segment.read((&index, extent), from, left_off, max_bytes)?;
        let bookmark = Bookmark { base: place.base, salt: place.salt, mark: chunk.next };
        Ok((chunk, bookmark))
    }

    /// The first offset at `from` or behind it whose record is of `time` or later; what is damaged or
    /// missing is passed over.
    pub(crate) fn find_time(
        &self,
        time: Timestamp,
        from: Offset,
        visible_end: Offset,
    ) -> Result<Option<Offset>, Error> {
        for candidate in &self.segments {
            let extent = candidate.extent(visible_end);
            if extent.end <= from || extent.end <= candidate.segment.base() {
                continue;
            }
            let found = candidate.index(extent).and_then(|index| {
                candidate.segment.first_at_or_after((&index, extent), time, from)
            });
            match found {
                Ok(None) => {}
                Ok(Some(found)) => return Ok(Some(found)),
                // Like a damaged batch: no record of it can be told to be the first one.
                Err(error) if error.kind() == ErrorKind::MissingSegment => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn segment_of(&self, offset: Offset) -> Option<&SegmentView> {
        let behind = self.segments.partition_point(|segment| segment.segment.base() <= offset);
        self.segments.get(behind.checked_sub(1)?)
    }

    /// No segment holds `from`: the manifest lists none for it, which only damage to the manifest
    /// explains.
    fn absent(&self, from: Offset, visible_end: Offset) -> Error {
        let behind = self.segments.partition_point(|segment| segment.segment.base() <= from);
        let next = self.segments.get(behind);
        let until = next.map_or(visible_end, |segment| segment.segment.base().min(visible_end));
        let near = next.or(self.segments.last());
        let path = near.map(|segment| segment.segment.path().to_path_buf()).unwrap_or_default();
        Error::missing_segment(&path, from..until)
    }
}

impl SegmentView {
    /// How far the segment may be read, given what may be seen of its partition.
    pub(crate) fn extent(&self, visible_end: Offset) -> Extent {
        match self.state {
            SegmentState::Sealed { end, bytes, .. } => {
                Extent { end: end.min(visible_end), bytes: Some(bytes) }
            }
            SegmentState::Active { .. } => Extent { end: visible_end, bytes: None },
        }
    }

    fn index(&self, extent: Extent) -> Result<Arc<Index>, Error> {
        match &self.state {
            SegmentState::Sealed { end, .. } => {
                self.segment.sealed_index(Extent { end: *end, ..extent })
            }
            SegmentState::Active { index } => Ok(Arc::clone(index)),
        }
    }
}
