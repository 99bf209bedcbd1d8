//! The newest batches of a partition, kept in memory for readers that follow it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::format::batch::{Batch, StoredBatch};
use crate::format::frame::FrameHeader;
use crate::offset::Offset;

/// A bounded run of the last batches, without gaps.
#[derive(Debug)]
pub(crate) struct Ring {
    batches: VecDeque<(FrameHeader, Bytes)>,
    bytes: usize,
    limit: usize,
}

/// One fetch takes no more batches than this, so that the lock over the ring stays short.
const BATCHES_PER_FETCH: usize = 512;

impl Ring {
    pub(crate) fn with_limit(limit: usize) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, limit }
    }

    /// Adds a batch that was just written, and lets go of the oldest ones past the limit.
    pub(crate) fn push(&mut self, batch: Batch) {
        if batch.len() > self.limit {
            return self.clear();
        }
        self.bytes += batch.len();
        self.batches.push_back((*batch.header(), batch.into_bytes()));
        while self.bytes > self.limit {
            let Some((_, oldest)) = self.batches.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        self.batches = VecDeque::new();
        self.bytes = 0;
    }

    /// Batches from the one that holds `from` on, all below `visible_end`; none if the ring starts
    /// behind `from`.
    pub(crate) fn fetch(
        &self,
        from: Offset,
        visible_end: Offset,
        max_bytes: usize,
    ) -> Option<Vec<StoredBatch>> {
        let (first, _) = self.batches.front()?;
        if from < first.base_offset {
            return None;
        }
        let skip = self.batches.partition_point(|(header, _)| header.end_offset() <= from);
        let mut bytes = 0;
        let mut found = Vec::new();
        for (header, frame) in self.batches.iter().skip(skip).take(BATCHES_PER_FETCH) {
            if header.end_offset() > visible_end || bytes >= max_bytes {
                break;
            }
            bytes += frame.len();
            found.push(StoredBatch::trusted(*header, frame));
        }
        (!found.is_empty()).then_some(found)
    }
}
