//! Whoever keeps house: trims, makes and deletes topics, and has the log look after itself.

use std::sync::Arc;

use brooklet::testing::checker::Event;
use brooklet::{Error, ErrorKind, Offset};

use crate::dice::Dice;
use crate::plan::{PASSING_FROM, passing_name};
use crate::scene::{Scene, partition_of};

pub(crate) struct Keeper {
    scene: Arc<Scene>,
    dice: Dice,
    next: u32,
    /// How many records a trim leaves.
    leaves: u64,
}

impl Keeper {
    /// Sessions are numbered, and so are the topics that each of them makes.
    pub(crate) fn new(scene: &Arc<Scene>, dice: Dice, session: u32, leaves: u64) -> Self {
        let next = PASSING_FROM.saturating_add(session.saturating_mul(SESSION_TOPICS));
        Self { scene: Arc::clone(scene), dice, next, leaves }
    }

    pub(crate) fn step(&mut self) -> Result<(), Error> {
        match self.dice.within(0..8) {
            0 => self.create(),
            1 => self.delete(),
            2 | 3 => self.trim(),
            _ => self.scene.log.maintain(),
        }
    }

    fn create(&mut self) -> Result<(), Error> {
        let number = self.next;
        let is_taken = self.scene.log.topic(&passing_name(number)).is_ok();
        self.next += 1;
        if is_taken { Ok(()) } else { self.scene.create_passing(number) }
    }

    fn delete(&mut self) -> Result<(), Error> {
        let mut topics = self.scene.topics();
        topics.retain(|topic| topic.number >= PASSING_FROM);
        match self.dice.pick(&topics) {
            Some(topic) => self.scene.delete_passing(topic),
            None => Ok(()),
        }
    }

    fn trim(&mut self) -> Result<(), Error> {
        let Some((topic, place)) = self.scene.any_place(&mut self.dice) else { return Ok(()) };
        let Some(partition) = partition_of(&topic.name, place.partition) else { return Ok(()) };
        let trimmed = self.scene.log.offsets(&partition).and_then(|offsets| {
            let before = offsets.durable_end.value().saturating_sub(self.leaves);
            if before <= offsets.start.value() {
                return Ok(());
            }
            self.scene.note(Event::Trim { place, before });
            self.scene.log.trim(&partition, Offset::new(before)).map(drop)
        });
        match trimmed {
            Err(error) if error.kind() == ErrorKind::UnknownTopic => Ok(()),
            trimmed => trimmed,
        }
    }
}

/// No session makes more.
const SESSION_TOPICS: u32 = 1_000;
