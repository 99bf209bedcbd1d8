//! Records that may have ended the process: run one at a time, each start marked before it.
//!
//! A mark is a start that no end followed. It is durable before the handler runs and taken back
//! when the handler returns, so that only a handler that took the process with it leaves one.
//! Pure.

use std::collections::BTreeMap;

use crate::offset::Offset;

/// The suspect records of one partition, and the marks of their starts.
///
/// **Invariants**: no mark is zero.
#[derive(Debug)]
pub(super) struct Suspects {
    end: Option<Offset>,
    marks: BTreeMap<Offset, u32>,
    /// The marks that stand beside the committed offset; none if a failed commit left that open.
    durable: Option<BTreeMap<Offset, u32>>,
}

impl Suspects {
    /// Everything below `end`, with the marks that were found.
    pub(super) fn new(end: Option<Offset>, marks: BTreeMap<Offset, u32>) -> Self {
        Self { end, durable: Some(marks.clone()), marks }
    }

    /// Where the suspect records end, as long as any of them can lie at or behind `from`.
    pub(super) fn end_behind(&self, from: Offset) -> Option<Offset> {
        self.end.filter(|end| *end > from)
    }

    /// Whether a record has to run alone and marked.
    pub(super) fn holds(&self, offset: Offset) -> bool {
        self.end.is_some_and(|end| offset < end)
    }

    /// How many starts of a record had no end; so many that it must not start again, or none.
    pub(super) fn doom(&self, offset: Offset) -> Option<u32> {
        self.marks.get(&offset).copied().filter(|marks| *marks >= MARKS_OF_DOOM)
    }

    /// Marks a start that is about to be.
    pub(super) fn mark(&mut self, offset: Offset) {
        let marks = self.marks.entry(offset).or_insert(0);
        *marks = marks.saturating_add(1);
    }

    /// Takes the newest mark back: the start had an end, or never was.
    pub(super) fn unmark(&mut self, offset: Offset) {
        if let Some(marks) = self.marks.get_mut(&offset) {
            *marks = marks.saturating_sub(1);
            if *marks == 0 {
                self.marks.remove(&offset);
            }
        }
    }

    /// Forgets a record that is settled.
    pub(super) fn acquit(&mut self, offset: Offset) {
        self.marks.remove(&offset);
    }

    /// The marks that belong beside a commit of `from`.
    pub(super) fn marks_behind(&self, from: Offset) -> BTreeMap<Offset, u32> {
        self.marks.range(from..).map(|(offset, marks)| (*offset, *marks)).collect()
    }

    /// Whether a commit of `from` would write other marks than there are.
    pub(super) fn have_changed(&self, from: Offset) -> bool {
        let Some(durable) = &self.durable else { return true };
        !self.marks.range(from..).eq(durable.range(from..))
    }

    /// Whether the marks of a record are durable as they are.
    pub(super) fn is_durable(&self, offset: Offset) -> bool {
        let durable = self.durable.as_ref();
        durable.is_some_and(|durable| self.marks.get(&offset) == durable.get(&offset))
    }

    /// These marks are durable.
    pub(super) fn note_durable(&mut self, marks: BTreeMap<Offset, u32>) {
        self.durable = Some(marks);
    }

    /// A commit failed, which can have written its marks or not.
    pub(super) fn note_in_doubt(&mut self) {
        if self.end.is_some() || !self.marks.is_empty() {
            self.durable = None;
        }
    }
}

/// A record whose process ended twice while it was handled is not handled a third time.
const MARKS_OF_DOOM: u32 = 2;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Suspects;
    use crate::offset::Offset;

    const O: fn(u64) -> Offset = Offset::new;

    /// A record that fails once and then kills would never gather the marks that convict it.
    #[test]
    fn an_attempt_that_ended_takes_back_its_own_mark_only() {
        let mut suspects = Suspects::new(Some(O(9)), BTreeMap::from([(O(5), 1)]));
        suspects.mark(O(5));
        assert_eq!(suspects.doom(O(5)), Some(2));
        suspects.unmark(O(5));
        assert_eq!(suspects.doom(O(5)), None);
        assert_eq!(suspects.marks_behind(O(0)), BTreeMap::from([(O(5), 1)]));
        suspects.acquit(O(5));
        suspects.unmark(O(5));
        assert!(suspects.marks_behind(O(0)).is_empty());
    }

    /// The mark of a start would not be written, or every commit would be repeated for ever.
    #[test]
    fn marks_are_due_until_they_are_durable_or_passed() {
        let mut suspects = Suspects::new(Some(O(9)), BTreeMap::from([(O(5), 1)]));
        assert!(!suspects.have_changed(O(0)));
        suspects.mark(O(6));
        assert!(suspects.have_changed(O(6)) && !suspects.have_changed(O(7)));
        suspects.note_durable(suspects.marks_behind(O(6)));
        assert!(!suspects.have_changed(O(6)));
        suspects.unmark(O(6));
        assert!(suspects.have_changed(O(6)));
        suspects.note_in_doubt();
        assert!(suspects.have_changed(O(9)) && !suspects.is_durable(O(8)));
        assert!(suspects.holds(O(8)) && !suspects.holds(O(9)));
        assert_eq!((suspects.end_behind(O(8)), suspects.end_behind(O(9))), (Some(O(9)), None));
    }
}
