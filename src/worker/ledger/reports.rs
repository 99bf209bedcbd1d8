//! What became of what the ledger asked for.

use crate::offset::Offset;
use crate::worker::failure::{Failure, Reason};
use crate::worker::rules::{Rules, patience};

use super::Ledger;
use super::calendar::PartId;
use super::duty::Plan;
use super::now::Now;
use super::part::{Part, Phase, Start};
use super::roster::Errand;
use super::run::Run;

impl<R: Clone> Ledger<R> {
    /// All that is known of a partition before its first record is handled.
    pub(crate) fn opened(&mut self, id: PartId, start: Start, now: Now) {
        let time = now.monotonic;
        if self.roster.come_back(id, time) == Some(Errand::Open) {
            self.roster.change(id, time, |part, rules| {
                if part.phase == Phase::Opening {
                    part.open(start, now, rules);
                }
            });
        }
    }

    /// A partition's letters could not be looked at; it waits, and they are looked at again.
    pub(crate) fn open_failed(&mut self, id: PartId, reason: Reason, now: Now) {
        if self.roster.come_back(id, now.monotonic).is_some() {
            self.note_trouble(id, reason, now);
        }
    }

    /// A letter stands at `place`, or was there already if there is none; its record is settled.
    pub(crate) fn lettered(&mut self, run: Run, place: Option<Offset>, now: Now) {
        let settled = self.settle_condemned(run, now, |part| match place {
            Some(place) => part.letters.note_written(run.offset, place),
            None => part.letters.note_found(run.offset),
        });
        self.counts.dead += u64::from(settled);
    }

    /// A record is given up without a letter, because that is wanted.
    pub(crate) fn dropped(&mut self, run: Run, now: Now) {
        let settled = self.settle_condemned(run, now, |_| {});
        self.counts.dropped += u64::from(settled);
    }

    fn settle_condemned(&mut self, run: Run, now: Now, note: impl FnOnce(&mut Part<R>)) -> bool {
        let errand = self.roster.come_back(run.part, now.monotonic);
        if errand != Some(Errand::Letter(run.offset)) {
            return false;
        }
        let settled = self.roster.change(run.part, now.monotonic, |part, _| {
            part.trouble = None;
            note(part);
            part.settle(run.offset);
        });
        settled.is_some()
    }

    /// A letter could not be written, or its fate is unknown; its partition waits for it.
    pub(crate) fn letter_failed(&mut self, run: Run, reason: Reason, now: Now) {
        if self.roster.come_back(run.part, now.monotonic).is_some() {
            let doubt = |part: &mut Part<R>, _: &Rules| part.letters.note_in_doubt(run.offset);
            self.roster.change(run.part, now.monotonic, doubt);
            self.note_trouble(run.part, reason, now);
        }
    }

    fn note_trouble(&mut self, id: PartId, reason: Reason, now: Now) {
        self.call_off_exam(|exam| exam.run.part == id, now.monotonic);
        self.roster.change(id, now.monotonic, |part, _| part.note_trouble(reason, now));
    }

    /// A plan is committed.
    pub(crate) fn committed(&mut self, plan: &Plan, now: Now) {
        self.is_committing = false;
        self.commit_failure = None;
        for id in &plan.parts {
            self.roster.change(*id, now.monotonic, |part, _| part.note_committed(now.monotonic));
        }
        self.note_marked();
    }

    /// A plan could not be committed; it is tried again unless its partitions are gone by then.
    pub(crate) fn commit_failed(&mut self, plan: &Plan, reason: Reason, now: Now) {
        self.is_committing = false;
        let tries = self.commit_failure.take().map_or(0, |(_, tries, _)| tries).saturating_add(1);
        let retry_at = now.monotonic.saturating_add(patience(tries, now.chance));
        self.commit_failure = Some((reason, tries, retry_at));
        for id in &plan.parts {
            self.roster.change(*id, now.monotonic, |part, _| part.note_commit_failed());
        }
    }

    /// A plan was refused because one of its partitions is gone: the others are planned anew.
    pub(crate) fn commit_refused(&mut self, plan: &Plan, now: Now) {
        self.is_committing = false;
        for id in &plan.parts {
            self.roster.change(*id, now.monotonic, |part, _| part.note_commit_refused());
        }
    }

    /// A handler has returned.
    pub(crate) fn finish(&mut self, run: Run, outcome: Result<(), Failure>, now: Now) {
        if !self.vacate(run, now) {
            return;
        }
        let was_probe = self.probe.take_if(|probe| *probe == run).is_some();
        match outcome {
            Err(Failure::Unavailable(reason)) => {
                self.counts.unavailable += 1;
                self.brake.hold(reason, was_probe, now);
            }
            answer => {
                if was_probe {
                    self.brake.release(now.monotonic);
                }
                self.settle(run, answer, now);
            }
        }
    }

    /// A handler was stopped half-way: its record is as if it had not been started.
    pub(crate) fn abandon(&mut self, run: Run, now: Now) {
        self.vacate(run, now);
        if self.probe.take_if(|probe| *probe == run).is_some() {
            self.brake.give_up_probe();
        }
    }

    /// The attempts whose time is over.
    ///
    /// They have failed; but a record is not tried again before its handler is reported to have
    /// returned, whatever it says then.
    pub(crate) fn expire(&mut self, now: Now) -> Vec<Run> {
        let mut overdue = Vec::new();
        while let Some(id) = self.roster.calendar.expire.due(now.monotonic) {
            let Some(offset) =
                self.roster.get(id).and_then(|part| part.queue.first_overdue(now.monotonic))
            else {
                break;
            };
            let run = Run { part: id, offset };
            self.roster.change(id, now.monotonic, |part, _| part.note_overdue(offset));
            self.exam.take_if(|exam| exam.run == run);
            let limit = self.roster.rules.handler_timeout.unwrap_or_default();
            let reason = Reason::of_worker("timeout", format!("no answer within {limit:?}"));
            if self.probe.take_if(|probe| *probe == run).is_some() {
                self.brake.hold(reason.clone(), true, now);
            }
            self.settle(run, Err(Failure::Retry(reason)), now);
            overdue.push(run);
        }
        overdue
    }

    /// Takes a record out of its handler's hands; whether the answer is still of interest.
    fn vacate(&mut self, run: Run, now: Now) -> bool {
        self.exam.take_if(|exam| exam.run == run);
        let change = |part: &mut Part<R>, _: &Rules| part.vacate(run.offset);
        match self.roster.change(run.part, now.monotonic, change) {
            Some(is_in_time) => is_in_time,
            None => {
                self.roster.lay_ghost(run.part, now.monotonic);
                false
            }
        }
    }

    fn settle(&mut self, run: Run, answer: Result<(), Failure>, now: Now) {
        let working = self.brake.working(now.monotonic);
        let is_tried_again =
            self.roster.change(run.part, now.monotonic, |part, rules| match answer {
                Ok(()) => {
                    part.settle(run.offset);
                    None
                }
                Err(failure) => Some(part.fail(run.offset, failure, (now, working), rules)),
            });
        match is_tried_again {
            Some(None) => self.counts.handled += 1,
            Some(Some(true)) => self.counts.retried += 1,
            // It is counted when its letter is written.
            Some(Some(false)) | None => {}
        }
    }
}
