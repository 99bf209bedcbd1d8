//! Which records of one partition have dead letters, and where those can lie. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::offset::Offset;

/// The dead letters of one partition, as far as they matter above the commit.
///
/// An owner that was fenced can still be writing one when the next owner has looked for letters.
/// Its record lies within the window that the fenced owner had, so that the first promise stands
/// until the commit is past that window; after it, all letters are known to be our own.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// All letters of the records within the first window lie here or behind it; none: anywhere.
    promised: Option<Offset>,
    /// The end of that window.
    settled_past: Offset,
    /// Letters written later lie here or behind it.
    end: Offset,
    /// Records whose letters were found.
    known: BTreeSet<Offset>,
    /// Records whose letters were written here, with the place of each.
    written: BTreeMap<Offset, Offset>,
    /// Records whose letters may have been written, and where those would lie: there or behind it.
    doubted: BTreeMap<Offset, Offset>,
}

impl Letters {
    pub(super) fn new(
        promised: Option<Offset>,
        end: Offset,
        settled_past: Offset,
        known: BTreeSet<Offset>,
    ) -> Self {
        // Without a known letter, none can lie below the end that was found, whatever was promised.
        let promised = if known.is_empty() { Some(end) } else { promised };
        Self { promised, settled_past, end, known, ..Self::default() }
    }

    pub(super) fn are_known_of(&self, record: Offset) -> bool {
        self.known.contains(&record) || self.written.contains_key(&record)
    }

    /// A letter stands at `place`.
    pub(super) fn note_written(&mut self, record: Offset, place: Offset) {
        self.doubted.remove(&record);
        self.written.insert(record, place);
        self.end = self.end.max(place.checked_add(1).unwrap_or(place));
    }

    /// A letter was found when it was looked for again.
    pub(super) fn note_found(&mut self, record: Offset) {
        let place = self.doubted.remove(&record).unwrap_or(self.end);
        self.written.insert(record, place);
    }

    /// Writing a letter failed, which can have written it or not.
    pub(super) fn note_in_doubt(&mut self, record: Offset) {
        self.doubted.entry(record).or_insert(self.end);
    }

    /// Where to look for a letter before it is written again; none if it cannot be there.
    pub(super) fn doubt(&self, record: Offset) -> Option<Offset> {
        self.doubted.get(&record).copied()
    }

    /// Where the letters of records at or above `commit` lie: here or behind it.
    pub(super) fn lie_from(&self, commit: Offset) -> Option<Offset> {
        if commit < self.settled_past || self.known.range(commit..).next().is_some() {
            return self.promised;
        }
        let places = self.written.range(commit..).chain(self.doubted.range(commit..));
        Some(places.map(|(_, place)| *place).min().unwrap_or(self.end))
    }

    /// Forgets what a commit of `offset` has passed.
    pub(super) fn forget_below(&mut self, offset: Offset) {
        self.known = self.known.split_off(&offset);
        self.written = self.written.split_off(&offset);
        self.doubted = self.doubted.split_off(&offset);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Letters;
    use crate::offset::Offset;

    const O: fn(u64) -> Offset = Offset::new;

    fn lie_from(letters: &Letters, commit: u64) -> Option<u64> {
        letters.lie_from(O(commit)).map(Offset::value)
    }

    /// The next owner would look too far behind, and handle again what was given up.
    #[test]
    fn the_promise_covers_every_letter_above_the_commit() {
        let mut letters = Letters::new(Some(O(3)), O(10), O(200), BTreeSet::from([O(120)]));
        assert!(letters.are_known_of(O(120)));
        letters.note_written(O(150), O(12));
        assert_eq!((lie_from(&letters, 100), lie_from(&letters, 199)), (Some(3), Some(3)));
        letters.note_written(O(230), O(20));
        letters.note_written(O(220), O(25));
        assert_eq!((lie_from(&letters, 200), lie_from(&letters, 225)), (Some(20), Some(20)));
        assert_eq!((lie_from(&letters, 231), letters.are_known_of(O(220))), (Some(26), true));
        letters.note_in_doubt(O(240));
        letters.note_written(O(241), O(30));
        letters.note_in_doubt(O(240));
        assert_eq!((letters.doubt(O(240)), letters.doubt(O(241))), (Some(O(26)), None));
        assert_eq!((lie_from(&letters, 240), lie_from(&letters, 242)), (Some(26), Some(31)));
        letters.note_found(O(240));
        assert_eq!((letters.doubt(O(240)), lie_from(&letters, 240)), (None, Some(26)));
        letters.forget_below(O(226));
        assert!(!letters.are_known_of(O(220)) && letters.are_known_of(O(230)));
    }

    /// Every new owner would read all letters from the first one on, for ever.
    #[test]
    fn an_owner_that_finds_no_letter_promises_the_end_it_saw() {
        let letters = Letters::new(None, O(10), O(200), BTreeSet::new());
        assert_eq!((lie_from(&letters, 0), lie_from(&letters, 200)), (Some(10), Some(10)));
        let letters = Letters::new(None, O(10), O(200), BTreeSet::from([O(7)]));
        assert_eq!((lie_from(&letters, 0), lie_from(&letters, 200)), (None, Some(10)));
    }
}
