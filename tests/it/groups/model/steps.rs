//! One step of a case, decoded from one number, and the steps that groups only suffer.

use std::time::Duration;

use brooklet::testing::CrashPolicy;
use brooklet::{Acks, Record, SyncPolicy, TopicConfig};

use super::super::dice::Dice;
use super::reference::{Part, Topic, Verdict};
use super::world::{GROUPS, KeyIsPartition, TOPICS, World, is, offset, opened};

/// More seats than partitions, so that somebody has nothing.
const SEATS: u64 = 5;

impl World {
    /// Does what the number says, if that makes sense now.
    pub(super) fn step(&mut self, word: u64) -> Verdict {
        let mut dice = Dice::new(word);
        let topic = dice.within(0..TOPICS.len() as u64) as usize;
        let group = usize::from(dice.one_in(3));
        let seat = self.some_seat(group, &mut dice);
        let before = self.memberships();
        let number = dice.within(0..100);
        let is_there = self.model.topics.contains_key(&topic);
        let is_free = !self.seats.contains_key(&(group, seat));
        let (name, done) = match number {
            _ if !is_there => ("create", self.create(topic, &mut dice)),
            0 => ("delete topic", self.delete_topic(topic)),
            1..=3 => ("grow", self.grow(topic)),
            4..=21 => ("send", self.send(topic, &mut dice)),
            22..=31 if is_free => ("join", self.join(group, seat, &mut dice)),
            32..=33 => ("leave", self.leave(group, seat, dice.one_in(2))),
            34..=37 => ("pass", self.pass(&mut dice)),
            63..=70 => ("commit", self.commit(group, seat)),
            71..=82 => ("commit at", self.commit_at(group, seat, &mut dice)),
            83..=84 => ("seek", self.seek(group, seat, &mut dice)),
            85 => ("pause", self.pause(group, seat, &mut dice)),
            86..=88 => ("let go", self.let_go(group, seat)),
            89 => ("reset", self.reset(group, &mut dice)),
            90 => ("delete group", self.delete_group(group)),
            91..=92 => ("trim", self.trim(topic, &mut dice)),
            93 => ("reopen", self.reopen()),
            94..=95 => ("crash", self.crash(&mut dice)),
            _ => ("poll", self.poll(group, seat)),
        };
        self.trail.push((name, [topic, group, seat]));
        done?;
        if self.offsets_file() != self.found_file {
            self.model.journal.settle();
        }
        self.check(&before)
    }

    /// A seat of the group, more often one that is taken.
    fn some_seat(&self, group: usize, dice: &mut Dice) -> usize {
        let taken = self.seats.keys().filter(|(of, _)| *of == group).map(|(_, seat)| *seat);
        let taken = taken.collect::<Vec<_>>();
        match taken.is_empty() || dice.one_in(8) {
            true => dice.within(0..SEATS) as usize,
            false => dice.pick(&taken),
        }
    }

    fn create(&mut self, topic: usize, dice: &mut Dice) -> Verdict {
        let is_always = topic != 1;
        let policy = if is_always { SyncPolicy::Always } else { SyncPolicy::Never };
        let partitions = dice.within(1..4) as u32;
        let config = TopicConfig::new().sync(policy).partitions(partitions).segment_bytes(1_024);
        self.log.create_topic(TOPICS[topic], config).map_err(|error| error.to_string())?;
        let life = self.model.names.len() as u64 + 1;
        self.model.names.insert(life, topic);
        let parts = vec![Part::default(); partitions as usize];
        self.model.topics.insert(topic, Topic { life, is_always, parts });
        Ok(())
    }

    fn delete_topic(&mut self, topic: usize) -> Verdict {
        self.log.delete_topic(TOPICS[topic]).map_err(|error| error.to_string())?;
        let life = self.model.topics.remove(&topic).map_or(0, |topic| topic.life);
        for group in 0..GROUPS.len() {
            let of_topic = self.model.positions.keys();
            let of_topic = of_topic.filter(|(of, key)| (*of, key.0) == (group, life));
            let entry = of_topic.map(|place| (*place, None)).collect();
            self.model.write(entry, false);
        }
        self.count("topics deleted");
        Ok(())
    }

    fn grow(&mut self, topic: usize) -> Verdict {
        let parts = &mut self.model.topics.get_mut(&topic).expect("a topic").parts;
        if parts.len() < 4 {
            parts.push(Part::default());
            let count = parts.len() as u32;
            self.log.add_partitions(TOPICS[topic], count).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn send(&mut self, topic: usize, dice: &mut Dice) -> Verdict {
        let acks = dice.pick(&[Acks::None, Acks::Written, Acks::Written, Acks::Durable]);
        let producer = self.log.producer(TOPICS[topic]).map_err(|error| error.to_string())?;
        let producer = producer.acks(acks).partitioner(KeyIsPartition);
        let count = self.model.topics[&topic].parts.len() as u64;
        let partition = dice.within(0..count) as u32;
        for _ in 0..dice.within(1..5) {
            self.model.last_record += 1;
            let number = self.model.last_record;
            let value = number.to_le_bytes();
            let sent = producer.send(Record::new(&value).key(&partition.to_le_bytes()));
            let at = sent.map_err(|error| error.to_string())?.offset().value();
            let part = &mut self.model.topics.get_mut(&topic).expect("a topic").parts;
            let records = &mut part[partition as usize].records;
            if at != records.len() as u64 {
                return Err(format!("a record got {at}, and {} is due", records.len()));
            }
            records.push(number);
        }
        self.observe_ends()?;
        let part = &self.model.topics[&topic].parts[partition as usize];
        match acks == Acks::Durable && part.durable < part.records.len() as u64 {
            true => Err(format!("acknowledged, and not durable: {part:?}")),
            false => Ok(()),
        }
    }

    /// Time passes; now and then somebody looks who is late.
    fn pass(&mut self, dice: &mut Dice) -> Verdict {
        let clock = self.disk.clock();
        match dice.within(0..5) {
            // Wall clocks jump; no member is late for that.
            0 => clock.set_wall(1_700_000_000_000 - (dice.within(0..10_000_000) as i64)),
            1 => clock.advance_wall(Duration::from_secs(dice.within(0..10_000_000))),
            _ => {
                let time = Duration::from_secs(dice.pick(&[1, 4, 9, 11, 61]));
                clock.advance(time);
                self.model.now += time;
            }
        }
        if dice.one_in(2) {
            self.log.maintain().map_err(|error| error.to_string())?;
            for group in 0..GROUPS.len() {
                let fenced = self.model.tick(group);
                self.count_by("fencings", fenced);
            }
            self.observe_ends()?;
        }
        Ok(())
    }

    /// A member is done with what it was asked for.
    fn let_go(&mut self, group: usize, seat: usize) -> Verdict {
        if let Some(at_seat) = self.seats.get(&(group, seat)) {
            let kept = std::mem::take(&mut at_seat.told.lock().kept);
            drop(kept);
        }
        Ok(())
    }

    fn trim(&mut self, topic: usize, dice: &mut Dice) -> Verdict {
        let keys = self.model.keys_of(topic);
        let key = dice.pick(&keys);
        let part = self.model.part_mut(key);
        let before = dice.within(0..part.records.len() as u64 + 2);
        part.start = part.start.max(before.min(part.records.len() as u64));
        let start = part.start;
        let trimmed = self.log.trim(&self.place(key), offset(before));
        if trimmed.map_err(|error| error.to_string())?.value() != start {
            return Err(format!("a trim before {before} did not lead to {start}"));
        }
        for group in 0..GROUPS.len() {
            self.model.skip(group, key, start);
        }
        self.observe_ends()
    }

    /// The log is closed and opened again: everything is as it was, but for the members.
    fn reopen(&mut self) -> Verdict {
        self.log.close().map_err(|error| error.to_string())?;
        self.model.make_durable();
        for ((group, seat), at_seat) in &mut self.seats {
            let polled = at_seat.consumer.poll(Duration::MAX).map(|batch| batch.len());
            let committed = at_seat.consumer.commit();
            let is_closed = |result: Result<(), brooklet::Error>| {
                result.is_err_and(|error| is(&error, "Closed"))
            };
            if !is_closed(polled.map(|_| ())) || !is_closed(committed) {
                return Err(format!("{group}/{seat} does not know that the log is closed"));
            }
        }
        self.start_anew();
        self.log = opened(&self.disk);
        if !self.log.recovery().was_clean {
            return Err("a closed log was not found closed".to_owned());
        }
        for topic in self.model.topics.values_mut() {
            for part in &mut topic.parts {
                part.visible = part.records.len() as u64;
                part.durable = part.visible;
            }
        }
        self.count("reopenings");
        self.observe_ends()
    }

    /// Nobody is a member any more.
    pub(super) fn start_anew(&mut self) {
        self.seats.clear();
        for group in self.model.groups.values_mut() {
            group.members.clear();
            group.owners.clear();
            group.generation = 0;
        }
    }

    fn crash(&mut self, dice: &mut Dice) -> Verdict {
        let policy = dice.pick(CrashPolicy::ALL);
        self.disk = self.disk.crash(policy, dice.next());
        self.found_file = self.offsets_file();
        self.start_anew();
        // The same disk in another world tells what there is, and this one is looked at later.
        self.learn(policy == CrashPolicy::KeepAll)?;
        self.log = opened(&self.disk);
        self.count("crashes");
        if dice.one_in(2) {
            return self.observe_ends();
        }
        self.count("lazy starts");
        self.is_lazy = true;
        self.without_looking(dice)?;
        self.is_lazy = false;
        // Everybody has been told by now.
        let seats = self.seats.keys().copied().collect::<Vec<_>>();
        seats.into_iter().try_for_each(|(group, seat)| self.poll(group, seat))
    }

    /// Partitions are recovered by whoever uses them first, a member or a producer.
    fn without_looking(&mut self, dice: &mut Dice) -> Verdict {
        let group = dice.within(0..GROUPS.len() as u64) as usize;
        if dice.one_in(2) {
            let topics = self.model.topics.keys().copied().collect::<Vec<_>>();
            if !topics.is_empty() {
                let topic = dice.pick(&topics);
                self.send_blindly(topic, dice)?;
            }
        }
        self.join(group, 0, dice)?;
        if self.seats.contains_key(&(group, 0)) {
            // What it owns is told by its assignment alone, as long as nobody looks.
            for _ in 0..2 {
                self.poll(group, 0)?;
            }
            if dice.one_in(2) {
                self.commit(group, 0)?;
            }
        }
        self.observe_ends()
    }

    /// A durable record, whose partition nobody looks at.
    fn send_blindly(&mut self, topic: usize, dice: &mut Dice) -> Verdict {
        let producer = self.log.producer(TOPICS[topic]).map_err(|error| error.to_string())?;
        let producer = producer.acks(Acks::Durable).partitioner(KeyIsPartition);
        let parts = &mut self.model.topics.get_mut(&topic).expect("a topic").parts;
        let partition = dice.within(0..parts.len() as u64) as usize;
        let part = &mut parts[partition];
        for _ in 0..dice.within(1..12) {
            self.model.last_record += 1;
            let value = self.model.last_record.to_le_bytes();
            let key = (partition as u32).to_le_bytes();
            let sent = producer.send(Record::new(&value).key(&key));
            let at = sent.map_err(|error| error.to_string())?.offset().value();
            if at != part.records.len() as u64 {
                return Err(format!("a record got {at} in {part:?}"));
            }
            part.records.push(self.model.last_record);
            part.visible = at + 1;
            part.durable = at + 1;
        }
        Ok(())
    }
}
