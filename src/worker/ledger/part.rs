//! One assigned partition: what may start, what is committed, what stands in its way.
//!
//! It puts together the queue of its records, the window ahead of the commit, its suspects and its
//! dead letters. Pure: times come from outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::offset::{Offset, TopicPartition};
use crate::worker::failure::{Failure, Reason};
use crate::worker::metadata::Metadata;
use crate::worker::rules::{CommitEvery, Rules, patience};

use super::letters::Letters;
use super::now::Now;
use super::queue::{Busy, Item, Past, Queue, Stage};
use super::suspects::Suspects;

/// What is known of a partition when its owner begins.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) committed: Offset,
    /// What stood beside the committed offset.
    pub(crate) metadata: Metadata,
    /// Where suspects end, if there are any.
    pub(crate) suspect_end: Option<Offset>,
    /// The end of the dead-letter partition before it was read.
    pub(crate) letters_end: Offset,
    /// The records at or above the commit that letters were found of.
    pub(crate) known: BTreeSet<Offset>,
}

/// Whether the partition's records are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its letters are not known yet.
    Opening,
    /// They are handled.
    Active,
    /// It will go to another owner: what was started is finished, nothing else begins.
    Draining,
}

/// What a partition could not do, and when it tries again.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) reason: Reason,
    pub(super) tries: u32,
    pub(super) retry_at: Duration,
}

impl Trouble {
    /// One more try has failed.
    fn again(before: Option<&Self>, reason: Reason, now: Now) -> Self {
        let tries = before.map_or(0, |trouble| trouble.tries).saturating_add(1);
        let retry_at = now.monotonic.saturating_add(patience(tries, now.chance));
        Self { reason, tries, retry_at }
    }
}

/// What a commit that is under way says.
#[derive(Clone, Debug)]
struct Sent {
    offset: Offset,
    marks: BTreeMap<Offset, u32>,
}

/// One partition of the ledger.
///
/// **Invariants**: no record at or above `committed + max_ahead` is started; nothing is sent as
/// committed that an unsettled record is below.
#[derive(Debug)]
pub(super) struct Part<R> {
    pub(super) place: TopicPartition,
    pub(super) phase: Phase,
    pub(super) queue: Queue<R>,
    pub(super) suspects: Suspects,
    pub(super) letters: Letters,
    /// Why opening it, or writing a letter, failed last.
    pub(super) trouble: Option<Trouble>,
    /// Why it cannot be read, if so; it is left out of fetches until its time has come.
    pub(super) unreadable: Option<Trouble>,
    is_resting: bool,
    /// The offset that is committed.
    pub(super) committed: Offset,
    /// The offset behind the last record that was fetched; none as long as it is not opened.
    position: Option<Offset>,
    /// Where each fetch ended that is not committed.
    fetches: VecDeque<Offset>,
    /// Since when there is something to commit.
    changed_since: Option<Duration>,
    sent: Option<Sent>,
    /// A last commit was tried in vain; the next owner handles again what it did not cover.
    gave_up_commit: bool,
}

impl<R> Part<R> {
    pub(super) fn new(place: TopicPartition) -> Self {
        Self {
            place,
            phase: Phase::Opening,
            queue: Queue::new(),
            suspects: Suspects::new(None, BTreeMap::new()),
            letters: Letters::default(),
            trouble: None,
            unreadable: None,
            is_resting: false,
            committed: Offset::ZERO,
            position: None,
            fetches: VecDeque::new(),
            changed_since: None,
            sent: None,
            gave_up_commit: false,
        }
    }

    /// Begins, with all that is known; records that came before are looked at again.
    pub(super) fn open(&mut self, start: Start, now: Now, rules: &Rules) {
        let ahead = rules.max_ahead.max(start.metadata.ahead.unwrap_or(0));
        let settled_past = Offset::new(start.committed.value().saturating_add(ahead));
        self.letters =
            Letters::new(start.metadata.letters, start.letters_end, settled_past, start.known);
        let mut marks = start.metadata.marks;
        marks.retain(|offset, _| *offset >= start.committed);
        self.suspects = Suspects::new(start.suspect_end, marks);
        self.committed = start.committed;
        self.position = self.position.max(Some(start.committed));
        self.phase = Phase::Active;
        self.trouble = None;
        let early: Vec<Offset> = self.queue.iter().map(|(offset, _)| offset).collect();
        for offset in early {
            self.judge(offset, now);
        }
    }

    /// Begins nothing any more.
    pub(super) fn drain(&mut self) {
        if self.phase == Phase::Opening {
            // Nothing was begun, and what is committed is not known.
            self.queue = Queue::new();
            self.position = None;
        }
        if let Some(trouble) = &mut self.trouble {
            // Somebody waits for the partition: what is owed is tried once more at once.
            trouble.retry_at = Duration::ZERO;
        }
        self.phase = Phase::Draining;
    }

    /// Takes the records of one fetch.
    pub(super) fn admit(&mut self, items: impl IntoIterator<Item = Item<R>>, now: Now) {
        if self.phase == Phase::Draining {
            return;
        }
        self.unreadable = None;
        for item in items {
            let offset = item.offset;
            if self.position.is_some_and(|position| offset < position) {
                continue;
            }
            self.position = offset.checked_add(1);
            self.queue.push(item);
            if self.phase != Phase::Opening {
                self.judge(offset, now);
            }
        }
        if let Some(position) = self.position.filter(|end| self.fetches.back() != Some(end)) {
            self.fetches.push_back(position);
        }
        self.note_change(now.monotonic);
    }

    /// Settles a record that has a letter; gives up one that ends processes.
    fn judge(&mut self, offset: Offset, now: Now) {
        if self.letters.are_known_of(offset) {
            self.settle(offset);
        } else if let Some(starts) = self.suspects.doom(offset) {
            let text = format!("the process ended {starts} times while it was handled");
            let reason = Reason::of_worker("crash", text);
            let past = Past::of_crashes(starts, now.wall, reason);
            self.queue.update(offset, |entry| {
                entry.past = Some(Box::new(past));
                entry.stage = Stage::Condemned;
            });
        }
    }

    /// The record that may start next.
    pub(super) fn candidate(&self, rules: &Rules) -> Option<Offset> {
        let is_held = self.trouble.is_some() || self.suspects.is_examining();
        if self.phase != Phase::Active || is_held {
            return None;
        }
        let first = self.queue.first_ready(Offset::ZERO)?;
        self.is_within(first, rules).then_some(first)
    }

    fn is_within(&self, offset: Offset, rules: &Rules) -> bool {
        offset.value().saturating_sub(self.committed.value()) < rules.max_ahead
    }

    /// Puts a record into a handler's hands; says which attempt it is.
    pub(super) fn start(
        &mut self,
        offset: Offset,
        (now, working): (Duration, Duration),
        timeout: Option<Duration>,
    ) -> Option<(R, u32)>
    where
        R: Clone,
    {
        let deadline = timeout.map(|timeout| now.saturating_add(timeout));
        self.queue.update(offset, |entry| {
            entry.busy = Some(Busy { since: now, deadline, is_overdue: false });
            entry.begun.get_or_insert(working);
            (entry.record.clone(), entry.failed_attempts().saturating_add(1))
        })
    }

    /// A handler has returned; whether what it says is still of interest.
    pub(super) fn vacate(&mut self, offset: Offset) -> bool {
        if self.suspects.holds(offset) {
            self.suspects.unmark(offset);
        }
        let busy = self.queue.update(offset, |entry| entry.busy.take()).flatten();
        busy.is_some_and(|busy| !busy.is_overdue)
    }

    pub(super) fn settle(&mut self, offset: Offset) {
        self.suspects.acquit(offset);
        self.queue.update(offset, |entry| entry.stage = Stage::Settled);
    }

    /// Counts a failed attempt, and decides whether there is another one.
    pub(super) fn fail(
        &mut self,
        offset: Offset,
        failure: Failure,
        (now, working): (Now, Duration),
        rules: &Rules,
    ) -> bool {
        let again = self.queue.update(offset, |entry| {
            let elapsed = working.saturating_sub(entry.begun.unwrap_or(working));
            let attempts = entry.failed_attempts().saturating_add(1);
            let delay = match &failure {
                Failure::Dead(_) => None,
                Failure::RetryAfter(delay, _) => {
                    let then = elapsed.saturating_add(*delay);
                    rules.retry.delay_within(attempts, then, now.chance).map(|_| *delay)
                }
                Failure::Retry(_) | Failure::Unavailable(_) => {
                    rules.retry.delay_within(attempts, elapsed, now.chance)
                }
            };
            entry.note_failure(failure.reason().clone(), now.wall);
            entry.stage = match delay {
                Some(delay) => Stage::Sleeping(now.monotonic.saturating_add(delay)),
                None => Stage::Condemned,
            };
            delay.is_some()
        });
        again.unwrap_or(false)
    }

    /// An attempt takes too long; its handler still has the record.
    pub(super) fn note_overdue(&mut self, offset: Offset) {
        self.suspects.turn_from(offset);
        self.queue.update(offset, |entry| {
            if let Some(busy) = &mut entry.busy {
                busy.is_overdue = true;
            }
        });
    }

    /// Notes what could not be done; it is tried again later.
    pub(super) fn note_trouble(&mut self, reason: Reason, now: Now) {
        self.trouble = Some(Trouble::again(self.trouble.as_ref(), reason, now));
    }

    /// Notes that it cannot be read; it is left out of fetches for a while.
    pub(super) fn note_unreadable(&mut self, reason: Reason, now: Now) {
        self.unreadable = Some(Trouble::again(self.unreadable.as_ref(), reason, now));
        self.is_resting = true;
    }

    /// When it may be read again, if it cannot be now.
    pub(super) fn read_at(&self) -> Option<Duration> {
        self.unreadable.as_ref().filter(|_| self.is_resting).map(|trouble| trouble.retry_at)
    }

    pub(super) fn read_again(&mut self) {
        self.is_resting = false;
    }

    /// The offset that could be committed: everything below it is settled.
    pub(super) fn target(&self) -> Offset {
        let fetched = self.position.unwrap_or(self.committed);
        self.queue.first_unsettled().unwrap_or(fetched).max(self.committed)
    }

    /// Notes since when there is something to commit.
    pub(super) fn note_change(&mut self, now: Duration) {
        let has_moved = self.target() > self.committed;
        self.changed_since = has_moved.then(|| self.changed_since.unwrap_or(now));
    }

    /// When a commit is due; zero is at once.
    pub(super) fn commit_at(&self, rules: &Rules, is_quiet: bool) -> Option<Duration> {
        if self.phase == Phase::Opening || self.sent.is_some() || self.gave_up_commit {
            return None;
        }
        let target = self.target();
        if self.suspects.have_changed(target) {
            return Some(Duration::ZERO);
        }
        let changed_since = self.changed_since?;
        if self.phase == Phase::Draining {
            // Somebody waits for it, or may soon wait no longer.
            return Some(Duration::ZERO);
        }
        let count = target.value().saturating_sub(self.committed.value());
        // Half a window, so that the other half can run while the commit is written.
        let is_held_up = count >= rules.max_ahead.div_ceil(2) || self.is_waiting_for_window(rules);
        let is_wanted = match rules.commit_every {
            CommitEvery::Batch => self.fetches.front().is_some_and(|end| target >= *end),
            CommitEvery::Records(records) => count >= records || (is_quiet && self.is_dry()),
            CommitEvery::Interval(interval) => {
                let at = changed_since.saturating_add(interval);
                return Some(if is_held_up { Duration::ZERO } else { at });
            }
        };
        (is_wanted || is_held_up).then_some(Duration::ZERO)
    }

    fn is_dry(&self) -> bool {
        self.queue.len() == 0
    }

    /// Whether nothing more can start before the window moves on.
    fn is_waiting_for_window(&self, rules: &Rules) -> bool {
        let next = self.queue.first_ready(Offset::ZERO).or(self.position);
        next.is_some_and(|next| !self.is_within(next, rules))
    }

    /// What to commit, if anything has changed; it is under way then.
    pub(super) fn send(&mut self, rules: &Rules) -> Option<(Offset, Metadata)> {
        let target = self.target();
        let has_changed = target > self.committed || self.suspects.have_changed(target);
        if self.phase == Phase::Opening || self.gave_up_commit || !has_changed {
            return None;
        }
        let marks = self.suspects.marks_behind(target);
        let metadata = Metadata {
            letters: self.letters.lie_from(target),
            ahead: Some(rules.max_ahead),
            suspect_end: self.suspects.end_behind(target),
            marks: marks.clone(),
        };
        self.sent = Some(Sent { offset: target, marks });
        Some((target, metadata))
    }

    /// The commit that was under way is done.
    pub(super) fn note_committed(&mut self, now: Duration) {
        let Some(sent) = self.sent.take() else { return };
        self.committed = sent.offset;
        self.suspects.note_durable(sent.marks);
        self.letters.forget_below(sent.offset);
        while self.fetches.front().is_some_and(|end| *end <= sent.offset) {
            self.fetches.pop_front();
        }
        self.changed_since = None;
        self.note_change(now);
    }

    /// Whether the mark of a suspect is durable, and stays so.
    pub(super) fn is_marked(&self, offset: Offset) -> bool {
        self.sent.is_none() && self.suspects.is_durable(offset)
    }

    /// The commit that was under way failed; one that leaves is not tried again.
    pub(super) fn note_commit_failed(&mut self) {
        self.sent = None;
        self.suspects.note_in_doubt();
        self.gave_up_commit = self.is_drained();
    }

    /// The commit that was under way was refused, for a reason that is not its own.
    pub(super) fn note_commit_refused(&mut self) {
        self.sent = None;
        self.suspects.note_in_doubt();
    }

    /// Whether everything that was begun is over.
    pub(super) fn is_drained(&self) -> bool {
        let is_idle = self.queue.busy() == 0 && self.queue.first_condemned().is_none();
        self.phase == Phase::Draining && is_idle
    }

    /// Whether the next owner can have it: nothing is under way, and nothing left to commit.
    pub(super) fn is_released(&self) -> bool {
        let target = self.target();
        let is_committed = target == self.committed && !self.suspects.have_changed(target);
        self.is_drained() && self.sent.is_none() && (is_committed || self.gave_up_commit)
    }

    /// Whether no more of its records should be fetched for now.
    pub(super) fn is_full(&self, rules: &Rules) -> bool {
        self.phase != Phase::Active
            || self.is_resting
            || self.queue.len() >= rules.max_held
            || self.queue.bytes() >= rules.max_held_bytes
            || self.position.is_some_and(|position| !self.is_within(position, rules))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::{Part, Start};
    use crate::name::TopicName;
    use crate::offset::{Offset, PartitionId, Timestamp, TopicPartition};
    use crate::worker::ledger::now::Now;
    use crate::worker::ledger::queue::Item;
    use crate::worker::metadata::Metadata;
    use crate::worker::rules::Rules;

    /// A suspect would start under a mark that a commit is just taking away.
    #[test]
    fn a_mark_counts_only_if_no_commit_is_under_way() {
        let (rules, first) = (Rules::default(), Offset::ZERO);
        let now = Now { monotonic: Duration::ZERO, wall: Timestamp::default(), chance: 0 };
        let place = TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::ZERO);
        let mut part = Part::new(place);
        let start = Start {
            committed: first,
            metadata: Metadata::default(),
            suspect_end: Some(Offset::new(5)),
            letters_end: first,
            known: BTreeSet::new(),
        };
        part.open(start, now, &rules);
        part.admit([Item { offset: first, key: None, bytes: 1, record: () }], now);
        part.suspects.mark(first);
        assert!(!part.is_marked(first));
        let (offset, metadata) = part.send(&rules).unwrap();
        assert_eq!((offset, metadata.marks.get(&first)), (first, Some(&1)));
        part.note_committed(now.monotonic);
        assert!(part.is_marked(first));
        part.suspects.unmark(first);
        assert!(part.send(&rules).unwrap().1.marks.is_empty());
        part.suspects.mark(first);
        assert!(part.suspects.is_durable(first) && !part.is_marked(first));
    }
}
