//! Everything that a worker decides, as one state machine.
//!
//! It is told what happened, and says what to do next: open a partition, handle a record, write a
//! letter, commit. It does nothing itself: no I/O, no clock, no lock, no thread. The engine around
//! it holds it under a short lock, does what it says, and reports back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::offset::{Offset, TopicPartition};

use super::failure::Reason;
use super::rules::Rules;
use super::status::{Counts, State, Status};

mod brake;
mod calendar;
mod duty;
mod exam;
mod letters;
mod now;
mod outlook;
mod ownership;
mod part;
mod queue;
mod reports;
mod roster;
mod run;
mod suspects;

#[cfg(test)]
mod model;

pub(super) use calendar::PartId;
pub(super) use duty::{Attempt, Letter, Next, Opening, Plan};
pub(super) use now::Now;
pub(super) use part::Start;
pub(super) use queue::{Item, Key};
pub(super) use run::Run;

use brake::{Brake, Permit};
use exam::Exam;
use roster::{Errand, Roster};

/// What somebody who asks for work is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Means {
    pub(super) commit: bool,
    pub(super) handle: bool,
}

/// The state of a worker.
#[derive(Debug)]
pub(super) struct Ledger<R> {
    roster: Roster<R>,
    brake: Brake,
    exam: Option<Exam>,
    probe: Option<Run>,
    is_committing: bool,
    /// Why the last commit failed, how often in a row, and when to try again.
    commit_failure: Option<(Reason, u32, Duration)>,
    is_stopping: bool,
    counts: Counts,
}

impl<R: Clone> Ledger<R> {
    /// A worker without partitions.
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            roster: Roster::new(rules),
            brake: Brake::default(),
            exam: None,
            probe: None,
            is_committing: false,
            commit_failure: None,
            is_stopping: false,
            counts: Counts::default(),
        }
    }

    /// How far ahead of the commit a record may start.
    pub(super) fn max_ahead(&self) -> u64 {
        self.roster.rules.max_ahead
    }

    pub(super) fn set_paused(&mut self, is_paused: bool, now: Now) {
        self.brake.set_paused(is_paused, now.monotonic);
    }

    /// Takes the records of one partition that were fetched together, in order.
    pub(super) fn admit(
        &mut self,
        place: &TopicPartition,
        items: impl IntoIterator<Item = Item<R>>,
        now: Now,
    ) {
        if let Some(id) = self.roster.id_of(place) {
            self.roster.set_quiet(false, now.monotonic);
            self.roster.change(id, now.monotonic, |part, _| part.admit(items, now));
        }
    }

    /// A fetch found nothing new.
    pub(super) fn note_quiet(&mut self, now: Now) {
        self.roster.set_quiet(true, now.monotonic);
    }

    /// A partition could not be read; it is left out of fetches for a while.
    pub(super) fn note_unreadable(&mut self, place: &TopicPartition, reason: Reason, now: Now) {
        if let Some(id) = self.roster.id_of(place) {
            self.roster.change(id, now.monotonic, |part, _| part.note_unreadable(reason, now));
        }
    }

    /// The partitions whose fetching is to be stopped (true) or to go on (false).
    pub(super) fn turn_taps(&mut self) -> Vec<(TopicPartition, bool)> {
        self.roster.turn_taps()
    }

    /// Whether there are any.
    pub(super) fn has_taps_to_turn(&self) -> bool {
        self.roster.has_taps_to_turn()
    }

    /// Says what to do next, and notes that it is being done.
    ///
    /// What the caller is not ready for is left to the next one: a commit needs the consumer, and a
    /// handler somebody who waits for it.
    pub(super) fn next(&mut self, can: Means, now: Now) -> Next<R> {
        let time = now.monotonic;
        while let Some(id) = self.roster.calendar.wake.due(time) {
            self.roster.change(id, time, |part, _| part.queue.wake(time));
        }
        while let Some(id) = self.roster.calendar.read.due(time) {
            self.roster.change(id, time, |part, _| part.read_again());
        }
        if let Some(opening) = self.next_opening(time) {
            return Next::Open(opening);
        }
        if let Some(letter) = self.next_letter(time) {
            return Next::Letter(Box::new(letter));
        }
        if let Some(attempt) = self.next_suspect(can, time) {
            return Next::Handle(attempt);
        }
        if can.commit
            && let Some(plan) = self.next_commit(time)
        {
            return Next::Commit(plan);
        }
        if can.handle
            && self.brake.permit(time) != Permit::Held
            && let Some(id) = self.roster.calendar.start.next()
            && let Some(attempt) = self.begin(id, None, time)
        {
            return Next::Handle(attempt);
        }
        Next::Idle(self.next_date(can, time))
    }

    /// Whether somebody else would find something to do as well.
    pub(super) fn has_more(&self, now: Now) -> bool {
        let calendar = &self.roster.calendar;
        let can_start = self.brake.permit(now.monotonic) != Permit::Held;
        can_start && (!calendar.start.is_empty() || !calendar.examine.is_empty())
            || calendar.open.due(now.monotonic).is_some()
            || calendar.letter.due(now.monotonic).is_some()
    }

    fn next_opening(&mut self, time: Duration) -> Option<Opening> {
        let id = self.roster.calendar.open.due(time)?;
        self.roster.send_out(id, Errand::Open, time);
        let place = self.roster.get(id)?.place.clone();
        Some(Opening { part: id, place })
    }

    fn next_letter(&mut self, time: Duration) -> Option<Letter<R>> {
        let id = self.roster.calendar.letter.due(time)?;
        let part = self.roster.get(id)?;
        let offset = part.queue.first_condemned()?;
        let entry = part.queue.get(offset)?;
        let past = entry.past.as_ref()?;
        let letter = Letter {
            run: Run { part: id, offset },
            place: part.place.clone(),
            record: entry.record.clone(),
            attempts: past.attempts,
            first_failed: past.first_failed,
            last_failed: past.last_failed,
            reason: past.reason.clone(),
            look_from: part.letters.doubt(offset),
            committed: part.committed,
        };
        self.roster.send_out(id, Errand::Letter(offset), time);
        Some(letter)
    }

    /// The suspect whose mark is durable; chooses the next one if there is none.
    fn next_suspect(&mut self, can: Means, time: Duration) -> Option<Attempt<R>> {
        if self.brake.permit(time) == Permit::Held {
            // A mark without a start would count against the record if the process ended now.
            self.call_off_exam(|_| true, time);
            return None;
        }
        if self.exam.is_none()
            && let Some(id) = self.roster.calendar.examine.next()
        {
            let offset = self.roster.change(id, time, |part, rules| {
                let offset = part.candidate(rules)?;
                part.suspects.mark(offset);
                Some(offset)
            });
            let run = offset.flatten().map(|offset| Run { part: id, offset });
            self.exam = run.map(Exam::new);
            // The mark of a start that was taken back can still be there.
            self.note_marked();
        }
        let run = self.exam.as_mut().filter(|_| can.handle).and_then(Exam::begin)?;
        self.begin(run.part, Some(run.offset), time)
    }

    /// Lets the suspect start if its mark is durable.
    fn note_marked(&mut self) {
        if let Some(exam) = &mut self.exam
            && let Some(part) = self.roster.get(exam.run.part)
            && part.is_marked(exam.run.offset)
        {
            exam.note_marked();
        }
    }

    /// Takes back the mark of a suspect that is not running.
    fn call_off_exam(&mut self, which: impl Fn(&Exam) -> bool, time: Duration) {
        if let Some(exam) = self.exam.take_if(|exam| !exam.is_running() && which(exam)) {
            let offset = exam.run.offset;
            self.roster.change(exam.run.part, time, |part, _| part.suspects.unmark(offset));
        }
    }

    fn next_commit(&mut self, time: Duration) -> Option<Plan> {
        let may_try = self.commit_failure.as_ref().is_none_or(|(_, _, at)| *at <= time);
        if self.is_committing || !may_try {
            return None;
        }
        self.roster.calendar.commit.due(time)?;
        let mut plan = Plan { entries: Vec::new(), parts: Vec::new() };
        for id in self.roster.ids() {
            let sent = self.roster.change(id, time, |part, rules| {
                let (offset, metadata) = part.send(rules)?;
                Some((part.place.clone(), offset, metadata))
            });
            if let Some(entry) = sent.flatten() {
                plan.entries.push(entry);
                plan.parts.push(id);
            }
        }
        self.is_committing = !plan.parts.is_empty();
        self.is_committing.then_some(plan)
    }

    fn begin(&mut self, id: PartId, offset: Option<Offset>, time: Duration) -> Option<Attempt<R>> {
        let is_probe = self.brake.permit(time) == Permit::Probe;
        let working = self.brake.working(time);
        let begun = self.roster.change(id, time, |part, rules| {
            let offset = offset.or_else(|| part.candidate(rules))?;
            let begun = part.start(offset, (time, working), rules.handler_timeout)?;
            Some((offset, begun))
        });
        let (offset, (record, number)) = begun.flatten()?;
        let run = Run { part: id, offset };
        if is_probe {
            self.brake.begin_probe();
            self.probe = Some(run);
        }
        let timeout = self.roster.rules.handler_timeout;
        let deadline = timeout.map(|timeout| time.saturating_add(timeout));
        Some(Attempt { run, number, deadline, record })
    }

    fn next_date(&self, can: Means, time: Duration) -> Option<Duration> {
        let calendar = &self.roster.calendar;
        let commit =
            calendar.commit.first().filter(|_| can.commit && !self.is_committing).map(|at| {
                self.commit_failure.as_ref().map_or(at, |(_, _, retry_at)| at.max(*retry_at))
            });
        let can_start = !calendar.start.is_empty() || !calendar.examine.is_empty();
        let probe = self.brake.next_change().filter(|_| can_start || self.exam.is_some());
        let dates = [
            calendar.open.first(),
            calendar.letter.first(),
            calendar.wake.first(),
            calendar.expire.first(),
            calendar.read.first(),
            commit,
            probe.filter(|at| *at > time),
        ];
        dates.into_iter().flatten().min()
    }

    /// How many records handlers have in their hands, those of partitions that are gone included.
    #[cfg(test)]
    pub(super) fn busy(&self) -> usize {
        let here: usize = self.roster.iter().map(|(_, part)| part.queue.busy()).sum();
        here.saturating_add(self.roster.ghosts())
    }

    /// How the worker is doing.
    pub(super) fn status(&self, now: Now) -> Status {
        let state = match self.brake.outage() {
            _ if self.is_stopped() => State::Stopped,
            _ if self.is_stopping => State::Stopping,
            _ if self.brake.is_paused() => State::Paused,
            None => State::Running,
            Some(outage) => State::Unavailable {
                since: outage.since,
                reason: outage.reason.clone(),
                attempts: outage.failures,
            },
        };
        let partitions = self.roster.iter().map(|(_, part)| outlook::of(part, now.monotonic));
        // In the order of names, whatever the order of assignment was.
        let partitions: BTreeMap<_, _> =
            partitions.map(|status| (status.partition.clone(), status)).collect();
        Status {
            state,
            partitions: partitions.into_values().collect(),
            poll_failure: None,
            commit_failure: self.commit_failure.as_ref().map(|(reason, _, _)| reason.clone()),
            counts: self.counts,
        }
    }
}
