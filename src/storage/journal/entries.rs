//! The entries of a journal in memory, and as batches of a file.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind};
use crate::format::batch::{Batch, BatchBuilder, Fit};
use crate::format::frame::HEADER_BYTES;
use crate::limits::{BATCH_BYTES_TARGET, RECORD_BYTES_MAX};
use crate::offset::Offset;

/// The entries of a journal, by key.
pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A change of one entry; no value removes it.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Makes the changes, in their order.
pub(super) fn apply<'a>(
    entries: &mut Entries,
    changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) {
    for (key, value) in changes {
        match value {
            Some(value) => entries.insert(key.to_vec(), value.to_vec()),
            None => entries.remove(key),
        };
    }
}

/// The changes as one batch: all of them are made, or none.
pub(super) fn encode(changes: &[Change]) -> Result<Batch, Error> {
    let mut builder = BatchBuilder::with_capacity(HEADER_BYTES + 64 * changes.len());
    for (key, value) in changes {
        if push(&mut builder, key, value.as_deref(), RECORD_BYTES_MAX)? == Fit::NextBatch {
            let text = "the change is too large for one entry";
            return Err(Error::new(ErrorKind::InvalidConfig, text));
        }
    }
    Ok(builder.finish())
}

/// All entries as batches of moderate size, in a journal of so many changes.
///
/// No entries are a batch of none, unless nothing was ever changed: a file that has no first frame
/// has lost its snapshot.
pub(super) fn snapshot(entries: &Entries, end: Offset) -> Result<Vec<Batch>, Error> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::with_capacity(BATCH_BYTES_TARGET);
    for (key, value) in entries {
        if push(&mut builder, key, Some(value), BATCH_BYTES_TARGET)? == Fit::NextBatch {
            let full = BatchBuilder::with_capacity(BATCH_BYTES_TARGET);
            batches.push(std::mem::replace(&mut builder, full).finish());
            let _ = push(&mut builder, key, Some(value), BATCH_BYTES_TARGET)?;
        }
    }
    if !builder.is_empty() || (batches.is_empty() && end > Offset::ZERO) {
        batches.push(builder.finish());
    }
    Ok(batches)
}

fn push(
    builder: &mut BatchBuilder,
    key: &[u8],
    value: Option<&[u8]>,
    limit: usize,
) -> Result<Fit, Error> {
    builder.push_entry(key, value, limit)
}
