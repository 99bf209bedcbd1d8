//! Growable bytes that cost memory only where something was written.
//!
//! The content of one file in memory: a length, and the pages that were written to. A page is
//! shared between copies until one of them writes to it, so a copy of a file is cheap, and a file
//! that was only made long costs nothing.
//!
//! Relies on: every end of a range was checked with [`checked_end`].

use std::collections::BTreeMap;
use std::io;
use std::mem;

use crate::sync::Arc;

/// Sparse bytes with a length, cheap to copy.
///
/// **Invariants**: a page holds at most [`PAGE`] bytes, and no byte at or past `len`. What a page
/// does not hold is zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    len: u64,
    pages: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl Pages {
    /// The given bytes.
    #[cfg(feature = "testing")]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut pages = Self::default();
        pages.write(bytes, 0);
        pages
    }

    /// How many bytes there are, written or not.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Copies bytes from `position` into `buf`; fewer than asked at the end.
    pub(crate) fn read(&self, buf: &mut [u8], position: u64) -> usize {
        let left = self.len.saturating_sub(position);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let (mut rest, _) = buf.split_at_mut(count);
        let mut at = position;
        while !rest.is_empty() {
            let (page, start) = place(at);
            let take = (PAGE - start).min(rest.len());
            let (out, after) = mem::take(&mut rest).split_at_mut(take);
            let stored = self.pages.get(&page).and_then(|page| page.get(start..));
            copy_or_zero(stored.unwrap_or_default(), out);
            rest = after;
            at += take as u64;
        }
        count
    }

    /// Lays `bytes` down at `position`, growing as needed.
    pub(crate) fn write(&mut self, bytes: &[u8], position: u64) {
        if bytes.is_empty() {
            return;
        }
        let mut rest = bytes;
        let mut at = position;
        while !rest.is_empty() {
            let (page, start) = place(at);
            let (piece, after) = rest.split_at((PAGE - start).min(rest.len()));
            let stored = Arc::make_mut(self.pages.entry(page).or_default());
            if stored.len() < start {
                stored.resize(start, 0);
            }
            let replaced = piece.len().min(stored.len() - start);
            let (over, more) = piece.split_at(replaced);
            if let Some(target) = stored.get_mut(start..start + replaced) {
                target.copy_from_slice(over);
            }
            stored.extend_from_slice(more);
            rest = after;
            at += piece.len() as u64;
        }
        self.len = self.len.max(at);
    }

    /// Cuts, or extends with zeros.
    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, start) = place(len);
            let cut = self.pages.split_off(&page);
            // The page at the cut keeps what stands before it.
            if let Some(mut kept) =
                cut.into_iter().next().filter(|(at, _)| *at == page && start > 0)
            {
                Arc::make_mut(&mut kept.1).truncate(start);
                self.pages.insert(page, kept.1);
            }
        }
        self.len = len;
    }

    /// All bytes.
    #[cfg(feature = "testing")]
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        self.read(&mut bytes, 0);
        bytes
    }
}

/// The end of a range, or an error when no file can reach so far.
pub(crate) fn checked_end(position: u64, len: usize) -> io::Result<u64> {
    let end = u64::try_from(len).ok().and_then(|len| position.checked_add(len));
    match end {
        Some(end) if i64::try_from(end).is_ok() => Ok(end),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the range ends past any file")),
    }
}

/// The page a byte stands in, and where in that page.
fn place(position: u64) -> (u64, usize) {
    (position / PAGE as u64, (position % PAGE as u64) as usize)
}

fn copy_or_zero(stored: &[u8], out: &mut [u8]) {
    let count = stored.len().min(out.len());
    let (head, tail) = out.split_at_mut(count);
    head.copy_from_slice(stored.split_at(count).0);
    tail.fill(0);
}

/// Bytes per page: small files stay small, and copying on write stays cheap.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pages: &Pages) -> Vec<u8> {
        let mut bytes = vec![7; pages.len() as usize];
        assert_eq!(pages.read(&mut bytes, 0), bytes.len());
        bytes
    }

    /// Breaks if any write, cut or growth differs from the same on a plain vector.
    #[test]
    fn behaves_like_a_vector() {
        let (mut pages, mut model) = (Pages::default(), Vec::new());
        let mut number = 1_u64;
        for round in 0..2_000_u64 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
            let position = (number >> 33) as usize % 20_000;
            let len = (number >> 20) as usize % 9_000;
            if number.is_multiple_of(5) {
                pages.set_len(position as u64);
                model.resize(position, 0);
            } else {
                let bytes = vec![round as u8; len];
                pages.write(&bytes, position as u64);
                if len > 0 && model.len() < position + len {
                    model.resize(position + len, 0);
                }
                if len > 0 {
                    model[position..position + len].copy_from_slice(&bytes);
                }
            }
            assert!(read_all(&pages) == model, "round {round}");
        }
    }

    /// Breaks if a copy sees what was written to the original later, or it to the copy.
    #[test]
    fn a_copy_is_independent() {
        let mut original = Pages::default();
        original.write(b"before", 4_093);
        let copy = original.clone();
        original.write(b"AFTER!", 4_093);
        original.set_len(4_096);
        assert_eq!(read_all(&copy)[4_093..], *b"before");
        assert_eq!(read_all(&original)[4_093..], *b"AFT");
    }

    /// Breaks if length alone costs memory.
    #[test]
    fn what_was_not_written_is_not_stored() {
        let mut pages = Pages::default();
        pages.set_len(1 << 40);
        pages.write(b"x", 1 << 39);
        assert_eq!(pages.pages.len(), 1);
        let mut buf = [9; 4];
        assert_eq!(pages.read(&mut buf, (1 << 39) - 1), 4);
        assert_eq!(buf, [0, b'x', 0, 0]);
    }
}
