//! Which partitions ask for what, and when. Pure.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

/// One partition for as long as it stays assigned; never used for another assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartId(pub(super) u64);

/// What one partition asks for. A time of zero is at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) open: Option<Duration>,
    pub(super) letter: Option<Duration>,
    pub(super) commit: Option<Duration>,
    pub(super) wake: Option<Duration>,
    pub(super) read: Option<Duration>,
    pub(super) expire: Option<Duration>,
    /// It has a record that can start.
    pub(super) start: bool,
    /// It has a suspect that can start.
    pub(super) examine: bool,
}

/// The wishes of all partitions, in the order in which they come due.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    pub(super) open: Dates,
    pub(super) letter: Dates,
    pub(super) commit: Dates,
    pub(super) wake: Dates,
    pub(super) read: Dates,
    pub(super) expire: Dates,
    pub(super) start: Round,
    pub(super) examine: Round,
}

impl Calendar {
    /// Puts the wishes of a partition in the place of its old ones.
    pub(super) fn change(&mut self, part: PartId, old: Wishes, new: Wishes) {
        self.open.change(part, old.open, new.open);
        self.letter.change(part, old.letter, new.letter);
        self.commit.change(part, old.commit, new.commit);
        self.wake.change(part, old.wake, new.wake);
        self.read.change(part, old.read, new.read);
        self.expire.change(part, old.expire, new.expire);
        self.start.change(part, new.start);
        self.examine.change(part, new.examine);
    }
}

/// Partitions by time.
#[derive(Debug, Default)]
pub(super) struct Dates(BTreeSet<(Duration, PartId)>);

impl Dates {
    /// The first partition whose time has come.
    pub(super) fn due(&self, now: Duration) -> Option<PartId> {
        self.0.first().filter(|(at, _)| *at <= now).map(|(_, part)| *part)
    }

    /// When the first one comes due.
    pub(super) fn first(&self) -> Option<Duration> {
        self.0.first().map(|(at, _)| *at)
    }

    fn change(&mut self, part: PartId, old: Option<Duration>, new: Option<Duration>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.0.remove(&(old, part));
        }
        if let Some(new) = new {
            self.0.insert((new, part));
        }
    }
}

/// Partitions that take turns.
#[derive(Debug, Default)]
pub(super) struct Round {
    parts: BTreeSet<PartId>,
    last: Option<PartId>,
}

impl Round {
    /// The partition whose turn it is.
    pub(super) fn next(&mut self) -> Option<PartId> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.parts.range((behind, Bound::Unbounded)).next();
        self.last = next.or_else(|| self.parts.first()).copied();
        self.last
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn change(&mut self, part: PartId, is_in: bool) {
        if is_in {
            self.parts.insert(part);
        } else {
            self.parts.remove(&part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Calendar, PartId, Wishes};

    /// One busy partition would keep all others from being handled.
    #[test]
    fn partitions_take_turns() {
        let mut calendar = Calendar::default();
        let wants = Wishes { start: true, ..Wishes::default() };
        for part in 0..3 {
            calendar.change(PartId(part), Wishes::default(), wants);
        }
        let turns: Vec<_> = (0..5).filter_map(|_| calendar.start.next()).map(|id| id.0).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1]);
        calendar.change(PartId(2), wants, Wishes::default());
        assert_eq!(calendar.start.next(), Some(PartId(0)));
        calendar.change(PartId(0), wants, Wishes::default());
        calendar.change(PartId(1), wants, Wishes::default());
        assert!(calendar.start.next().is_none() && calendar.start.is_empty());
    }

    /// What a partition no longer wants would be done all the same.
    #[test]
    fn a_new_wish_takes_the_place_of_the_old_one() {
        let mut calendar = Calendar::default();
        let at = |secs| Some(Duration::from_secs(secs));
        let wish = |secs| Wishes { commit: at(secs), ..Wishes::default() };
        calendar.change(PartId(1), Wishes::default(), wish(5));
        calendar.change(PartId(2), Wishes::default(), wish(7));
        calendar.change(PartId(1), wish(5), wish(9));
        assert_eq!(calendar.commit.first(), at(7));
        assert_eq!(calendar.commit.due(Duration::from_secs(6)), None);
        assert_eq!(calendar.commit.due(Duration::from_secs(9)), Some(PartId(2)));
    }
}
