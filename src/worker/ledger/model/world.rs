//! The outside of a ledger: does what it says, and checks it against the account.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::name::TopicName;
use crate::offset::{Offset, PartitionId, Timestamp, TopicPartition};
use crate::worker::failure::Failure;
use crate::worker::ledger::{
    Attempt, Item, Key, Ledger, Letter, Means, Next, Now, Opening, PartId, Plan, Run, Start,
};
use crate::worker::metadata::Metadata;
use crate::worker::rules::Rules;
use crate::worker::status::State;

use super::account::{
    AHEAD, Account, Answer, FETCH, HELD, KILLER, Owner, PLACES, Running, Seen, Write,
};

/// A ledger with the world around it.
pub(super) struct World<'a> {
    pub(super) ledger: Ledger<u64>,
    pub(super) rules: Rules,
    pub(super) was_clean: bool,
    pub(super) now: Duration,
    pub(super) accounts: Vec<Account>,
    pub(super) epochs: u64,
    pub(super) taps: BTreeSet<usize>,
    pub(super) running: Vec<Running>,
    pub(super) openings: Vec<(Opening, u64)>,
    pub(super) letters: Vec<(Letter<u64>, u64)>,
    pub(super) plan: Option<(Plan, Vec<u64>)>,
    /// Letters whose writing failed, by partition, assignment and record.
    pub(super) doubted: BTreeSet<(usize, u64, u64)>,
    /// Which partition each opening was for.
    pub(super) parts: BTreeMap<PartId, usize>,
    pub(super) has_killer: bool,
    pub(super) is_paused: bool,
    pub(super) outage: bool,
    pub(super) probe: Option<Run>,
    pub(super) seen: &'a mut Seen,
}

pub(super) fn place(number: usize) -> TopicPartition {
    let number = u32::try_from(number).unwrap();
    TopicPartition::new(TopicName::new("orders").unwrap(), PartitionId::new(number))
}

pub(super) fn number(place: &TopicPartition) -> usize {
    usize::try_from(place.partition().value()).unwrap()
}

impl<'a> World<'a> {
    pub(super) fn new(rules: Rules, seen: &'a mut Seen) -> Self {
        Self {
            ledger: Ledger::new(rules),
            rules,
            was_clean: true,
            now: Duration::ZERO,
            accounts: (0..PLACES).map(|_| Account::default()).collect(),
            epochs: 0,
            taps: BTreeSet::new(),
            running: Vec::new(),
            openings: Vec::new(),
            letters: Vec::new(),
            plan: None,
            doubted: BTreeSet::new(),
            parts: BTreeMap::new(),
            has_killer: false,
            is_paused: false,
            outage: false,
            probe: None,
            seen,
        }
    }

    pub(super) fn now(&self) -> Now {
        let millis = i64::try_from(self.now.as_millis()).unwrap();
        Now { monotonic: self.now, wall: Timestamp::from_millis(millis), chance: 1 << 62 }
    }

    pub(super) fn assign(&mut self, at: usize) {
        self.epochs += 1;
        let account = &mut self.accounts[at];
        account.owner = Some(Owner {
            epoch: self.epochs,
            is_open: false,
            is_draining: false,
            from: account.committed,
            fetched: account.committed,
            suspect_end: 0,
            settled: BTreeSet::new(),
        });
        self.taps.remove(&at);
        self.ledger.assign(place(at), self.now());
    }

    pub(super) fn revoke(&mut self, at: usize) {
        if let Some(owner) = &mut self.accounts[at].owner {
            owner.is_draining = true;
            self.ledger.revoke(&place(at), self.now());
        }
    }

    pub(super) fn lose(&mut self, at: usize) {
        if let Some(owner) = self.accounts[at].owner.take() {
            self.seen.ghosts += self.running.iter().filter(|r| r.epoch == owner.epoch).count();
            self.ledger.lose(&place(at));
            if self.probe.is_some_and(|run| self.epoch_of(run) == Some(owner.epoch)) {
                self.probe = None;
            }
        }
    }

    pub(super) fn epoch_of(&self, run: Run) -> Option<u64> {
        self.running.iter().find(|running| running.run == run).map(|running| running.epoch)
    }

    pub(super) fn release(&mut self) {
        while let Some(released) = self.ledger.release() {
            let account = &mut self.accounts[number(&released)];
            let owner = account.owner.take().unwrap();
            assert!(owner.is_draining, "{released} was not asked for");
            let busy = self.running.iter().filter(|running| running.epoch == owner.epoch);
            assert_eq!(busy.count(), 0, "{released} was handed over with a record in a handler");
            self.seen.releases += 1;
        }
    }

    pub(super) fn fetch(&mut self, at: usize) {
        for (place, is_paused) in self.ledger.turn_taps() {
            match is_paused {
                true => self.taps.insert(number(&place)),
                false => self.taps.remove(&number(&place)),
            };
        }
        if self.taps.contains(&at) {
            self.seen.full += 1;
            return;
        }
        let now = self.now();
        let account = &mut self.accounts[at];
        let Some(owner) = account.owner.as_mut().filter(|owner| !owner.is_draining) else { return };
        let end = (owner.fetched + FETCH).min(account.keys.len() as u64);
        let items = (owner.fetched..end).map(|offset| Item {
            offset: Offset::new(offset),
            key: account.keys[offset as usize].map(|key| Key::of(&[key])),
            bytes: 1,
            record: offset,
        });
        if owner.fetched == end {
            self.ledger.note_quiet(now);
        } else {
            self.ledger.admit(&place(at), items, now);
            owner.fetched = end;
        }
    }

    /// Asks what to do; the date to wait for if there is nothing.
    pub(super) fn next(&mut self) -> Result<(), Option<Duration>> {
        match self.ledger.next(Means { commit: self.plan.is_none(), handle: true }, self.now()) {
            Next::Open(opening) => {
                let at = number(&opening.place);
                let ghosts = self.running.iter().filter(|running| running.place == at).count();
                assert_eq!(ghosts, 0, "opened {} while a handler has a record", opening.place);
                let epoch = self.accounts[at].owner.as_ref().unwrap().epoch;
                self.parts.insert(opening.part, at);
                self.openings.push((opening, epoch));
            }
            Next::Letter(letter) => self.check_letter(*letter),
            Next::Commit(plan) => self.check_plan(plan),
            Next::Handle(attempt) => self.check_start(&attempt),
            Next::Idle(date) => {
                assert!(date.is_none_or(|date| date > self.now), "idle until a time that is past");
                return Err(date);
            }
        }
        Ok(())
    }

    pub(super) fn check_letter(&mut self, letter: Letter<u64>) {
        let account = &self.accounts[number(&letter.place)];
        let owner = account.owner.as_ref().unwrap();
        let beside = self.letters.iter().filter(|(_, epoch)| *epoch == owner.epoch).count();
        assert_eq!(beside, 0, "two letters of {} at once", letter.place);
        assert!(letter.attempts > 0 && owner.is_open);
        assert!(!owner.settled.contains(&letter.record), "a letter of a settled record");
        self.letters.push((letter, owner.epoch));
    }

    pub(super) fn check_plan(&mut self, plan: Plan) {
        assert!(self.plan.is_none(), "two commits at once");
        let mut epochs = Vec::new();
        for (place, offset, metadata) in &plan.entries {
            let account = &self.accounts[number(place)];
            let owner = account.owner.as_ref().unwrap();
            epochs.push(owner.epoch);
            assert!(owner.is_open, "a commit of {place}, of which nothing is known");
            assert!(offset.value() >= account.committed, "a commit of {place} goes backward");
            let unsettled = (owner.from..owner.fetched).find(|o| !owner.settled.contains(o));
            let most = unsettled.unwrap_or(owner.fetched);
            assert!(offset.value() <= most, "a commit of {place} passes {most}, which is open");
            let above = account.letters.range(offset.value()..);
            let promise = metadata.letters.map_or(0, Offset::value);
            for (record, letter) in above {
                assert!(*letter >= promise, "the letter of {place}@{record} is below the promise");
            }
        }
        self.plan = Some((plan, epochs));
    }

    pub(super) fn check_start(&mut self, attempt: &Attempt<u64>) {
        let offset = attempt.record;
        let at = self.parts.get(&attempt.run.part).copied();
        let at = at.expect("a record of a partition that nobody has");
        let (account, owner) = (&self.accounts[at], self.accounts[at].owner.as_ref().unwrap());
        let what = format!("{}@{offset}", place(at));
        assert!(owner.is_open && !owner.is_draining && !self.is_paused, "{what} must not start");
        assert!(!owner.settled.contains(&offset), "{what} is settled");
        assert!(offset < account.committed + AHEAD, "{what} is too far ahead");
        let key = account.keys[offset as usize];
        for other in self.running.iter().filter(|other| other.place == at) {
            let its_key = self.accounts[at].keys[other.offset as usize];
            assert!(other.offset != offset, "{what} is in two handlers");
            assert!(key.is_none() || key != its_key, "{what} runs beside {}", other.offset);
        }
        for earlier in owner.from..offset {
            let same_key = key.is_some() && account.keys[earlier as usize] == key;
            assert!(!same_key || owner.settled.contains(&earlier), "{what} overtakes {earlier}");
        }
        let is_suspect = offset < owner.suspect_end;
        if is_suspect {
            self.seen.suspects += 1;
            let beside = self.running.iter().find(|other| other.is_suspect && !other.is_overdue);
            assert!(beside.is_none(), "{what} is examined beside {beside:?}");
            let crashes = account.crashes.get(&offset).copied().unwrap_or(0);
            assert!(crashes < 2, "{what} has ended the process {crashes} times");
            let marks = account.metadata.marks.get(&Offset::new(offset)).copied();
            assert!(marks.is_some_and(|marks| marks > crashes), "{what}: {marks:?} marks");
        }
        if self.outage {
            assert!(self.probe.is_none(), "{what} starts beside a probe");
            self.probe = Some(attempt.run);
            self.seen.probes += 1;
        }
        self.running.push(Running {
            run: attempt.run,
            place: at,
            epoch: owner.epoch,
            offset,
            is_suspect,
            is_overdue: false,
        });
    }

    pub(super) fn finish(&mut self, which: usize, answer: Answer) {
        let Running { place, offset, .. } = self.running[which];
        if self.has_killer && (place, offset) == KILLER {
            return self.crash();
        }
        let running = self.running.remove(which);
        self.seen.answers.insert(answer);
        let was_probe = self.probe.take_if(|probe| *probe == running.run).is_some();
        let owner = self.accounts[running.place].owner.as_mut();
        let owner = owner.filter(|owner| owner.epoch == running.epoch && !running.is_overdue);
        let is_heard = owner.is_some();
        if let Some(owner) = owner
            && answer == Answer::Done
        {
            owner.settled.insert(running.offset);
            self.seen.handled += 1;
        }
        let now = self.now();
        let outcome = match answer {
            Answer::Abandoned => return self.ledger.abandon(running.run, now),
            Answer::Done => Ok(()),
            Answer::Retry => Err(Failure::Retry("again".into())),
            Answer::RetryAfter => {
                Err(Failure::RetryAfter(Duration::from_millis(30), "later".into()))
            }
            Answer::Dead => Err(Failure::Dead("never".into())),
            Answer::Unavailable => Err(Failure::Unavailable("down".into())),
        };
        if answer == Answer::Unavailable {
            self.outage |= is_heard;
        } else if was_probe {
            self.outage = false;
        }
        self.ledger.finish(running.run, outcome, now);
    }

    pub(super) fn open(&mut self, which: usize, is_ok: bool) {
        let (opening, epoch) = self.openings.remove(which);
        let now = self.now();
        if !is_ok {
            return self.ledger.open_failed(opening.part, "unreadable".into(), now);
        }
        let account = &mut self.accounts[number(&opening.place)];
        let from = account.metadata.letters.map_or(0, Offset::value);
        let known = account.letters.range(account.committed..);
        assert!(known.clone().all(|(_, letter)| *letter >= from), "the promise does not hold");
        let known: BTreeSet<u64> = known.map(|(record, _)| *record).collect();
        let committed = Offset::new(account.committed);
        let unclean = (!self.was_clean).then(|| Offset::new(account.at_open));
        let suspect_end = account.metadata.suspects_from(committed, unclean, AHEAD);
        if let Some(owner) = account.owner.as_mut().filter(|owner| owner.epoch == epoch) {
            owner.is_open = !owner.is_draining;
            owner.settled.extend(&known);
            owner.suspect_end = suspect_end.map_or(0, Offset::value);
        }
        let start = Start {
            committed,
            metadata: account.metadata.clone(),
            suspect_end,
            letters_end: Offset::new(account.letters_end),
            known: known.into_iter().map(Offset::new).collect(),
        };
        self.ledger.opened(opening.part, start, now);
    }

    pub(super) fn write(&mut self, which: usize, write: Write) {
        let (letter, epoch) = self.letters.remove(which);
        let now = self.now();
        let account = &mut self.accounts[number(&letter.place)];
        let there = account.letters.get(&letter.record).copied();
        let owner = account.owner.as_mut().filter(|owner| owner.epoch == epoch);
        let is_known = self.doubted.contains(&(number(&letter.place), epoch, letter.record));
        assert_eq!(letter.look_from.is_some(), is_known, "a letter in doubt is looked for");
        if let (Some(from), Some(there)) = (letter.look_from, there) {
            assert!(there >= from.value(), "the letter is not looked for");
            if let Some(owner) = owner {
                owner.settled.insert(letter.record);
            }
            self.seen.letters_found_again += 1;
            return self.ledger.lettered(letter.run, None, now);
        }
        if write != Write::Done {
            self.doubted.insert((number(&letter.place), epoch, letter.record));
        }
        if write == Write::Failed {
            return self.ledger.letter_failed(letter.run, "full".into(), now);
        }
        let end = account.letters_end;
        account.letters_end += 1;
        account.letters.entry(letter.record).or_insert(end);
        if write == Write::DoneUntold {
            return self.ledger.letter_failed(letter.run, "who knows".into(), now);
        }
        if let Some(owner) = owner {
            owner.settled.insert(letter.record);
        }
        self.seen.letters += 1;
        self.seen.doomed += usize::from(letter.reason.kind() == "crash");
        self.ledger.lettered(letter.run, Some(Offset::new(end)), now);
    }

    pub(super) fn commit(&mut self, write: Write) {
        let Some((plan, epochs)) = self.plan.take() else { return };
        let is_owner = plan.entries.iter().zip(&epochs).all(|((place, _, _), epoch)| {
            let owner = self.accounts[number(place)].owner.as_ref();
            owner.is_some_and(|owner| owner.epoch == *epoch)
        });
        if write != Write::Failed && is_owner {
            for (place, offset, metadata) in &plan.entries {
                let account = &mut self.accounts[number(place)];
                account.committed = offset.value();
                account.metadata = Metadata::decode(metadata.encode().as_bytes());
            }
        }
        match write == Write::Done && is_owner {
            true => self.ledger.committed(&plan, self.now()),
            false => self.ledger.commit_failed(&plan, "refused".into(), self.now()),
        }
    }

    pub(super) fn advance(&mut self, to: Duration) {
        self.now = to;
        for run in self.ledger.expire(self.now()) {
            let known = self.running.iter_mut().find(|running| running.run == run).unwrap();
            assert!(!known.is_overdue, "overdue twice");
            known.is_overdue = true;
            self.probe.take_if(|probe| *probe == run);
            self.seen.overdue += 1;
        }
    }

    /// The process ends at once; another one begins with what is durable.
    pub(super) fn crash(&mut self) {
        for running in self.running.drain(..) {
            let account = &mut self.accounts[running.place];
            let is_current = account.owner.as_ref().is_some_and(|o| o.epoch == running.epoch);
            assert!(!is_current || running.offset < account.committed + AHEAD);
            if running.is_suspect && is_current && running.offset >= account.committed {
                *account.crashes.entry(running.offset).or_default() += 1;
            }
        }
        self.accounts.iter_mut().for_each(|account| account.owner = None);
        self.was_clean = false;
        self.accounts.iter_mut().for_each(|account| account.at_open = account.committed);
        self.ledger = Ledger::new(self.rules);
        self.parts.clear();
        (self.openings, self.letters, self.plan) = (Vec::new(), Vec::new(), None);
        (self.taps, self.is_paused) = (BTreeSet::new(), false);
        (self.outage, self.probe) = (false, None);
    }

    pub(super) fn check(&self) {
        let status = self.ledger.status(self.now());
        let owned = self.accounts.iter().filter(|account| account.owner.is_some()).count();
        assert_eq!(status.partitions.len(), owned);
        for partition in &status.partitions {
            let held = partition.held as u64;
            assert!(held < HELD as u64 + FETCH, "{held} records of {}", partition.partition);
        }
        assert_eq!(self.ledger.busy(), self.running.len());
        let is_unavailable = matches!(status.state, State::Unavailable { .. });
        assert_eq!(is_unavailable, self.outage && !self.is_paused);
    }

    pub(super) fn check_settled(&mut self) {
        for (account, at) in self.accounts.iter().zip(0..) {
            let end = account.keys.len() as u64;
            assert_eq!(account.committed, end, "{} is not handled", place(at));
            assert!(account.metadata.marks.is_empty(), "marks are left in {}", place(at));
        }
        self.ledger.stop(self.now());
        for account in &mut self.accounts {
            account.owner.as_mut().unwrap().is_draining = true;
        }
        self.release();
        assert!(self.ledger.is_stopped());
    }
}
