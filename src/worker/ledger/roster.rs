//! The partitions that the worker has, with what each of them asks for. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::offset::{Offset, TopicPartition};
use crate::worker::rules::{CommitEvery, Rules};

use super::calendar::{Calendar, PartId, Wishes};
use super::part::{Part, Phase};

/// Something that is done for a partition outside the ledger, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    Open,
    Letter(Offset),
}

#[derive(Debug)]
struct Slot<R> {
    part: Part<R>,
    wishes: Wishes,
    errand: Option<Errand>,
    /// Whether the consumer was told to fetch no more of it.
    is_paused: bool,
}

/// A partition that is gone while handlers still have records of it.
#[derive(Debug)]
struct Ghost {
    place: TopicPartition,
    busy: usize,
}

/// All partitions of a worker.
///
/// **Invariants**: the calendar has the wishes of each partition as they are after its last change;
/// nothing of a partition is opened while a handler has a record of an earlier assignment of it.
#[derive(Debug)]
pub(super) struct Roster<R> {
    pub(super) rules: Rules,
    pub(super) calendar: Calendar,
    slots: BTreeMap<PartId, Slot<R>>,
    ids: BTreeMap<TopicPartition, PartId>,
    ghosts: BTreeMap<PartId, Ghost>,
    draining: BTreeSet<PartId>,
    /// Those whose fetching goes on though they are full, or the other way round.
    taps: BTreeSet<PartId>,
    next_id: u64,
    /// Whether the last fetch found nothing new.
    is_quiet: bool,
}

impl<R> Roster<R> {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            calendar: Calendar::default(),
            slots: BTreeMap::new(),
            ids: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            draining: BTreeSet::new(),
            taps: BTreeSet::new(),
            next_id: 0,
            is_quiet: false,
        }
    }

    pub(super) fn add(&mut self, place: TopicPartition, now: Duration) -> PartId {
        let id = PartId(self.next_id);
        self.next_id += 1;
        self.ids.insert(place.clone(), id);
        let part = Part::new(place);
        let slot = Slot { part, wishes: Wishes::default(), errand: None, is_paused: false };
        self.slots.insert(id, slot);
        self.refresh(id, now);
        id
    }

    /// Takes a partition out; handlers that still have its records go on as ghosts.
    pub(super) fn remove(&mut self, id: PartId) -> Option<TopicPartition> {
        let slot = self.slots.remove(&id)?;
        self.calendar.change(id, slot.wishes, Wishes::default());
        self.draining.remove(&id);
        self.taps.remove(&id);
        let place = slot.part.place;
        if self.ids.get(&place) == Some(&id) {
            self.ids.remove(&place);
        }
        let busy = slot.part.queue.busy();
        if busy > 0 {
            self.ghosts.insert(id, Ghost { place: place.clone(), busy });
        }
        Some(place)
    }

    /// A handler has returned a record of a partition that is gone.
    pub(super) fn lay_ghost(&mut self, id: PartId, now: Duration) {
        let Some(ghost) = self.ghosts.get_mut(&id) else { return };
        ghost.busy = ghost.busy.saturating_sub(1);
        if ghost.busy > 0 {
            return;
        }
        if let Some(ghost) = self.ghosts.remove(&id)
            && let Some(heir) = self.id_of(&ghost.place)
        {
            self.refresh(heir, now);
        }
    }

    /// How many handlers have records of partitions that are gone.
    #[cfg(test)]
    pub(super) fn ghosts(&self) -> usize {
        self.ghosts.values().map(|ghost| ghost.busy).sum()
    }

    pub(super) fn id_of(&self, place: &TopicPartition) -> Option<PartId> {
        self.ids.get(place).copied()
    }

    pub(super) fn get(&self, id: PartId) -> Option<&Part<R>> {
        self.slots.get(&id).map(|slot| &slot.part)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PartId, &Part<R>)> {
        self.slots.iter().map(|(id, slot)| (*id, &slot.part))
    }

    pub(super) fn ids(&self) -> Vec<PartId> {
        self.slots.keys().copied().collect()
    }

    /// Changes a partition, and what it asks for.
    pub(super) fn change<T>(
        &mut self,
        id: PartId,
        now: Duration,
        change: impl FnOnce(&mut Part<R>, &Rules) -> T,
    ) -> Option<T> {
        let slot = self.slots.get_mut(&id)?;
        let changed = change(&mut slot.part, &self.rules);
        if slot.part.phase == Phase::Draining {
            self.draining.insert(id);
        }
        self.refresh(id, now);
        Some(changed)
    }

    /// Sends somebody out for a partition.
    pub(super) fn send_out(&mut self, id: PartId, errand: Errand, now: Duration) {
        self.set_errand(id, Some(errand), now);
    }

    /// Somebody is back; what for, if the partition is still there.
    pub(super) fn come_back(&mut self, id: PartId, now: Duration) -> Option<Errand> {
        let errand = self.slots.get(&id)?.errand;
        self.set_errand(id, None, now);
        errand
    }

    fn set_errand(&mut self, id: PartId, errand: Option<Errand>, now: Duration) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.errand = errand;
            self.refresh(id, now);
        }
    }

    /// The first partition that nothing keeps here any more.
    pub(super) fn released(&self) -> Option<PartId> {
        self.draining.iter().copied().find(|id| {
            self.slots.get(id).is_some_and(|slot| slot.errand.is_none() && slot.part.is_released())
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Notes whether the last fetch found anything.
    pub(super) fn set_quiet(&mut self, is_quiet: bool, now: Duration) {
        let matters = matches!(self.rules.commit_every, CommitEvery::Records(_));
        if std::mem::replace(&mut self.is_quiet, is_quiet) != is_quiet && matters {
            self.ids().into_iter().for_each(|id| self.refresh(id, now));
        }
    }

    /// The partitions whose fetching is to be stopped (true) or to go on (false).
    pub(super) fn turn_taps(&mut self) -> Vec<(TopicPartition, bool)> {
        let mut changed = Vec::new();
        for id in std::mem::take(&mut self.taps) {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.is_paused = !slot.is_paused;
                changed.push((slot.part.place.clone(), slot.is_paused));
            }
        }
        changed
    }

    pub(super) fn has_taps_to_turn(&self) -> bool {
        !self.taps.is_empty()
    }

    fn refresh(&mut self, id: PartId, now: Duration) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.part.note_change(now);
        let is_haunted = || self.ghosts.values().any(|ghost| ghost.place == slot.part.place);
        let part = &slot.part;
        let is_free = slot.errand.is_none();
        let is_active = part.phase == Phase::Active;
        let wants_open = part.phase == Phase::Opening && is_free && !is_haunted();
        let wants_letter = is_free && part.queue.first_condemned().is_some();
        let at = part.trouble.as_ref().map_or(Duration::ZERO, |trouble| trouble.retry_at);
        let candidate = part.candidate(&self.rules);
        let is_suspect = candidate.is_some_and(|offset| part.suspects.holds(offset));
        let wishes = Wishes {
            open: wants_open.then_some(at),
            letter: (wants_letter && part.phase != Phase::Opening).then_some(at),
            commit: part.commit_at(&self.rules, self.is_quiet),
            wake: part.queue.next_wake().filter(|_| is_active),
            read: part.read_at(),
            expire: part.queue.next_deadline(),
            start: candidate.is_some() && !is_suspect,
            examine: is_suspect,
        };
        self.calendar.change(id, slot.wishes, wishes);
        slot.wishes = wishes;
        if part.is_full(&self.rules) == slot.is_paused {
            self.taps.remove(&id);
        } else {
            self.taps.insert(id);
        }
    }
}
