//! Sends records in every way there is.

use std::sync::Arc;

use brooklet::testing::checker::{Event, Place, Value};
use brooklet::{Acks, Error, ErrorKind, Fate, Producer, Record, SendError};

use crate::dice::Dice;
use crate::scene::Scene;

/// One producer: it sends one record after the other.
pub(crate) struct Sender {
    scene: Arc<Scene>,
    dice: Dice,
    producer: u32,
    counter: u64,
}

impl Sender {
    /// No two senders of a history have the same number.
    pub(crate) fn new(scene: &Arc<Scene>, dice: Dice, producer: u32) -> Self {
        Self { scene: Arc::clone(scene), dice, producer, counter: 0 }
    }

    /// Sends something to one partition, and waits as long as it takes.
    pub(crate) fn step(&mut self) -> Result<(), Error> {
        let Some((topic, place)) = self.scene.any_place(&mut self.dice) else { return Ok(()) };
        let all = [Acks::None, Acks::Written, Acks::Written, Acks::Durable, Acks::Durable];
        let acks = self.dice.pick(&all).copied().unwrap_or(Acks::Durable);
        let producer = topic.producer.acks(acks);
        match self.dice.within(0..4) {
            0 => self.submit(&producer, place, acks),
            1 => self.send_all(&producer, place, acks),
            _ => self.send(&producer, place, acks),
        }
    }

    fn send(&mut self, producer: &Producer, place: Place, acks: Acks) -> Result<(), Error> {
        let (value, bytes) = self.next(place);
        let key = place.partition.to_le_bytes();
        let answer = producer.send(Record::new(&bytes).key(&key));
        self.answered(value, acks, answer.map(|receipt| receipt.offset().value()))
    }

    /// A few under way at once; all are waited for.
    fn submit(&mut self, producer: &Producer, place: Place, acks: Acks) -> Result<(), Error> {
        let key = place.partition.to_le_bytes();
        let count = self.dice.within(1..5);
        let submit = |_| {
            let (value, bytes) = self.next(place);
            (value, producer.submit(Record::new(&bytes).key(&key)))
        };
        let pending: Vec<_> = (0..count).map(submit).collect();
        let mut outcome = Ok(());
        for (value, pending) in pending {
            let answer = pending.wait().map(|receipt| receipt.offset().value());
            outcome = outcome.and(self.answered(value, acks, answer));
        }
        outcome
    }

    /// A batch, which is there as a whole or not at all.
    fn send_all(&mut self, producer: &Producer, place: Place, acks: Acks) -> Result<(), Error> {
        let key = place.partition.to_le_bytes();
        let count = self.dice.within(1..9);
        let values: Vec<_> = (0..count).map(|_| self.next(place)).collect();
        let records = values.iter().map(|(_, bytes)| Record::new(bytes).key(&key));
        let answer = producer.send_all(records);
        let first = match answer {
            Ok(receipts) => receipts.first().map(|receipt| receipt.offsets().start.value()),
            Err(error) => {
                let mut outcome = Ok(());
                for (value, _) in &values {
                    outcome = outcome.and(self.answered(*value, acks, Err(error.first().clone())));
                }
                return outcome;
            }
        };
        for ((value, _), offset) in values.iter().zip(first.unwrap_or(u64::MAX)..) {
            self.answered(*value, acks, Ok(offset))?;
        }
        Ok(())
    }

    fn next(&mut self, place: Place) -> (Value, Vec<u8>) {
        let value = Value { producer: self.producer, counter: self.counter };
        self.counter += 1;
        let bytes = if self.dice.one_in(8) { 700 } else { 80 };
        let bytes = usize::try_from(self.dice.within(20..bytes)).unwrap_or(20);
        self.scene.note(Event::Send { place, value });
        (value, value.encode(bytes))
    }

    fn answered(
        &self,
        value: Value,
        acks: Acks,
        answer: Result<u64, SendError>,
    ) -> Result<(), Error> {
        match answer {
            Ok(offset) => {
                self.scene.note(Event::Sent { value, offset, acks });
                Ok(())
            }
            Err(error) => {
                if error.fate() == Fate::NotAppended {
                    self.scene.note(Event::Failed(value));
                }
                // Somebody has deleted the topic in between.
                let is_gone = error.kind() == ErrorKind::UnknownTopic;
                if is_gone { Ok(()) } else { Err(error.into()) }
            }
        }
    }
}
