//! What is done by whoever has the worker's membership in its group.

use std::time::Duration;

use crate::consumer::Consumer;
use crate::cursor::Batch;
use crate::error::{Error, ErrorKind};
use crate::group::offsets::CommittedOffset;
use crate::offset::TopicPartition;
use crate::record::{RecordRef, StoredRecord};
use crate::storage::waiter::Waiter;
use crate::sync::Arc;
use crate::worker::errand::{Errand, Seat};
use crate::worker::ledger::{Item, Key, Now, Plan};
use crate::worker::source::Change;

use super::{Begin, End, Engine, Membership, State};

impl Engine {
    /// Does an errand, and notes what came of it.
    pub(crate) fn perform(&self, errand: Errand) {
        match errand {
            Errand::Join => {
                if let Err(error) = self.join() {
                    self.note_not_joined(error);
                }
            }
            Errand::Poll(seat, taps) => self.poll(seat, taps),
            Errand::Commit(seat, plan) => self.commit(seat, &plan),
            Errand::Leave(seat) => self.leave(*seat),
            Errand::Open(opening) => self.open(&opening),
            Errand::Letter(letter) => self.write(&letter),
        }
    }

    /// Becomes a member of the group.
    ///
    /// # Errors
    /// As for [`Source::join`](crate::worker::source::Source::join); the worker is as it was.
    pub(crate) fn join(&self) -> Result<(), Error> {
        let consumer = self.source.join(&self.log)?;
        let told = self.take_changes(&consumer);
        let seat = Box::new(Seat { consumer, watch: None });
        let now = self.now();
        self.put_back(seat, |state| {
            state.has_joined = true;
            state.poll_failure = None;
            state.should_poll = true;
            state.follow(told, now);
        });
        Ok(())
    }

    fn note_not_joined(&self, error: Error) {
        // Whoever starts a worker is told what is wrong; one that was in its group comes back to it.
        let is_first = self.state.with(|state| !state.has_joined);
        if is_first || error.kind() == ErrorKind::Closed {
            self.cut_off(Some(error));
            return;
        }
        let now = self.now();
        self.state.with(|state| {
            let join_at = state.note_poll_failure(error, now);
            if state.end.is_none() {
                state.membership = Membership::None { join_at };
            }
        });
    }

    fn poll(&self, mut seat: Box<Seat>, taps: Vec<(TopicPartition, bool)>) {
        if let Some(watch) = seat.watch.take() {
            seat.consumer.unwatch(&watch);
        }
        for (place, is_full) in taps {
            // A partition that is gone needs no tap.
            let _ = match is_full {
                true => seat.consumer.pause(&place),
                false => seat.consumer.resume(&place),
            };
        }
        let polled = seat.consumer.poll(Duration::ZERO);
        let told = self.take_changes(&seat.consumer);
        let owned = seat.consumer.assignment();
        let now = self.now();
        match polled {
            Ok(batch) => {
                let fetched = sorted(&batch);
                let is_quiet = fetched.is_empty() && self.watch(&mut seat);
                self.put_back(seat, |state| {
                    state.poll_failure = None;
                    state.should_poll |= !is_quiet;
                    state.follow(told, now);
                    if state.is_refused {
                        // A partition that had been revoked goes without a word.
                        state.ledger.keep_only(&owned);
                    }
                    if fetched.is_empty() {
                        state.ledger.note_quiet(now);
                    }
                    for (place, items) in fetched {
                        state.ledger.admit(&place, items, now);
                    }
                });
            }
            Err(error) => self.note_poll_failed(seat, error, told),
        }
    }

    /// Has the bell rung when a poll may find something; false if one may now.
    fn watch(&self, seat: &mut Seat) -> bool {
        let watch = Arc::new(Waiter::default());
        let is_quiet = seat.consumer.watch(&watch) && watch.poll(&self.bell).is_pending();
        seat.watch = Some(watch);
        is_quiet
    }

    fn note_poll_failed(&self, seat: Box<Seat>, error: Error, told: Vec<(Change, Begin)>) {
        let now = self.now();
        match (error.kind(), error.partition().cloned()) {
            (ErrorKind::Closed, _) => drop(self.cut_off(Some(error))),
            (ErrorKind::Fenced, _) => self.lose_seat(seat),
            (_, Some(place)) => self.put_back(seat, |state| {
                // The others have their turns; this one waits for its own.
                state.should_poll = true;
                state.follow(told, now);
                state.ledger.note_unreadable(&place, error.into(), now);
            }),
            (_, None) => self.put_back(seat, |state| {
                state.should_poll = true;
                state.follow(told, now);
                state.note_poll_failure(error, now);
            }),
        }
    }

    fn commit(&self, seat: Box<Seat>, plan: &Plan) {
        let entries = plan.entries.iter().map(|(place, offset, metadata)| {
            (place.clone(), CommittedOffset::at(*offset).with_metadata(metadata.encode()))
        });
        let committed = seat.consumer.commit_offsets(entries);
        let now = self.now();
        match committed {
            Ok(()) => self.put_back(seat, |state| {
                state.is_refused = false;
                state.ledger.committed(plan, now);
            }),
            Err(error) => match error.kind() {
                ErrorKind::Closed => drop(self.cut_off(Some(error))),
                ErrorKind::Fenced => self.lose_seat(seat),
                // A partition went without a word; the next poll says which.
                ErrorKind::NotOwner => self.put_back(seat, |state| {
                    state.should_poll = true;
                    match std::mem::replace(&mut state.is_refused, true) {
                        false => state.ledger.commit_refused(plan, now),
                        true => state.ledger.commit_failed(plan, error.into(), now),
                    }
                }),
                _ => self.put_back(seat, |state| {
                    state.ledger.commit_failed(plan, error.into(), now);
                }),
            },
        }
    }

    fn leave(&self, seat: Seat) {
        // Who was fenced meanwhile is out as well.
        let _ = seat.consumer.leave();
        let gone = self.state.with(|state| state.end(End { is_drained: true, ..End::default() }));
        drop(gone);
        self.ring_all();
    }

    /// The group went on without this member: everything is lost, and it joins anew.
    fn lose_seat(&self, seat: Box<Seat>) {
        drop(seat);
        let now = self.now();
        let tokens = self.state.with(|state| {
            state.ledger.keep_only(&[]);
            state.begins.clear();
            if state.end.is_none() {
                state.membership = Membership::None { join_at: now.monotonic };
            }
            state.take_tokens()
        });
        drop(tokens);
        drop(self.source.changes.take());
    }

    /// Puts the membership back, unless everything has ended meanwhile.
    fn put_back(&self, seat: Box<Seat>, note: impl FnOnce(&mut State)) {
        let left_over = self.state.with(|state| {
            if state.end.is_some() {
                return Some(seat);
            }
            state.membership = Membership::Here(seat);
            note(state);
            None
        });
        drop(left_over);
    }

    /// What the group has decided, with where each new partition begins.
    fn take_changes(&self, consumer: &Consumer) -> Vec<(Change, Begin)> {
        let changes = self.source.changes.take().into_iter().map(|change| {
            let begin = match &change {
                Change::Assigned(place) => Begin {
                    committed: consumer.committed(place),
                    at_open: consumer.committed_at_open(place),
                },
                Change::Revoked(_) | Change::Lost(_) => Begin::default(),
            };
            (change, begin)
        });
        changes.collect()
    }
}

impl State {
    fn follow(&mut self, told: Vec<(Change, Begin)>, now: Now) {
        for (change, begin) in told {
            match change {
                Change::Assigned(place) => {
                    self.begins.insert(place.clone(), begin);
                    self.loose.extend(self.tokens.remove(&place));
                    self.ledger.assign(place, now);
                }
                Change::Revoked(token) => {
                    self.ledger.revoke(token.partition(), now);
                    self.tokens.insert(token.partition().clone(), token);
                }
                Change::Lost(place) => {
                    self.begins.remove(&place);
                    self.ledger.lose(&place);
                }
            }
        }
    }
}

/// The records of a fetch, partition by partition.
fn sorted(batch: &Batch) -> Vec<(TopicPartition, Vec<Item<StoredRecord>>)> {
    let mut sorted: Vec<(TopicPartition, Vec<Item<StoredRecord>>)> = Vec::new();
    for record in batch {
        let item = item(&record);
        match sorted.last_mut() {
            Some((place, items)) if place == record.topic_partition() => items.push(item),
            _ => sorted.push((record.topic_partition().clone(), vec![item])),
        }
    }
    sorted
}

fn item(record: &RecordRef<'_>) -> Item<StoredRecord> {
    let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    Item {
        offset: record.offset(),
        key: record.key().map(Key::of),
        bytes: size_of::<StoredRecord>() + len(record.key()) + len(record.value()),
        record: record.to_stored(),
    }
}
