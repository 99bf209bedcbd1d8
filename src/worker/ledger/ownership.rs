//! Partitions that come to the worker, and that go.

use crate::offset::TopicPartition;

use super::Ledger;
use super::calendar::PartId;
use super::now::Now;

impl<R: Clone> Ledger<R> {
    /// The worker has got a partition.
    pub(crate) fn assign(&mut self, place: TopicPartition, now: Now) {
        self.lose(&place);
        let id = self.roster.add(place, now.monotonic);
        if self.is_stopping {
            self.drain(id, now);
        }
    }

    /// A partition goes to another owner: what runs is finished, then it is among the released.
    pub(crate) fn revoke(&mut self, place: &TopicPartition, now: Now) {
        if let Some(id) = self.roster.id_of(place) {
            self.drain(id, now);
        }
    }

    /// A partition is gone; what is still heard of it is not listened to.
    pub(crate) fn lose(&mut self, place: &TopicPartition) {
        let Some(id) = self.roster.id_of(place) else { return };
        // One that runs can still take the process with it.
        self.exam.take_if(|exam| exam.run.part == id && !exam.is_running());
        if self.probe.take_if(|run| run.part == id).is_some() {
            self.brake.give_up_probe();
        }
        self.roster.remove(id);
    }

    /// All partitions but these are gone, without a word.
    pub(crate) fn keep_only(&mut self, owned: &[TopicPartition]) {
        let parts = self.roster.iter().map(|(_, part)| part.place.clone());
        let gone: Vec<_> = parts.filter(|place| !owned.contains(place)).collect();
        gone.iter().for_each(|place| self.lose(place));
    }

    /// A partition that can go to its next owner; each is told once.
    pub(crate) fn release(&mut self) -> Option<TopicPartition> {
        let id = self.roster.released()?;
        self.roster.remove(id)
    }

    /// Begins nothing any more, in any partition.
    pub(crate) fn stop(&mut self, now: Now) {
        self.is_stopping = true;
        if let Some((_, _, retry_at)) = &mut self.commit_failure {
            // Who stops has no time for back-offs.
            *retry_at = now.monotonic;
        }
        for id in self.roster.ids() {
            self.drain(id, now);
        }
    }

    /// Whether a worker that stops has let go of all its partitions.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopping && self.roster.is_empty()
    }

    /// Whether the worker has a partition.
    pub(crate) fn has(&self, place: &TopicPartition) -> bool {
        self.roster.id_of(place).is_some()
    }

    fn drain(&mut self, id: PartId, now: Now) {
        self.call_off_exam(|exam| exam.run.part == id, now.monotonic);
        self.roster.change(id, now.monotonic, |part, _| part.drain());
    }
}
