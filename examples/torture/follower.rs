//! A member of a group that polls, commits, leaves, and tries what it must not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use brooklet::testing::checker::{Event, Part, Place, Seen, Value};
use brooklet::{
    Consumer, Error, ErrorKind, HandOver, Offset, RebalanceListener, StartAt, TopicPartition,
};
use parking_lot::Mutex;

use crate::dice::Dice;
use crate::plan::Group;
use crate::scene::{Scene, lasting_partition, place_of};

/// Somebody who is a member of a group most of the time.
pub(crate) struct Follower {
    scene: Arc<Scene>,
    dice: Dice,
    group: &'static Group,
    /// Those of the group's topics that are there.
    topics: Vec<&'static str>,
    member: Option<Member>,
    /// How long a poll may wait.
    patience: Duration,
}

struct Member {
    consumer: Consumer,
    owned: Owned,
    /// What was handed out, by place: the assignment, and what comes next.
    read: BTreeMap<Place, (u64, u64)>,
}

/// The assignments that a member knows of.
type Owned = Arc<Mutex<BTreeMap<Place, u64>>>;

impl Follower {
    pub(crate) fn new(
        scene: &Arc<Scene>,
        dice: Dice,
        group: &'static Group,
        patience: Duration,
    ) -> Self {
        let there = scene.topics();
        let is_there = |name: &&&str| there.iter().any(|open| open.name == **name);
        let topics = group.topics.iter().filter(is_there).copied().collect();
        Self { scene: Arc::clone(scene), dice, group, topics, member: None, patience }
    }

    /// Joins, polls, commits or leaves.
    pub(crate) fn step(&mut self) -> Result<(), Error> {
        let Some(mut member) = self.member.take() else { return self.join() };
        match self.dice.within(0..40) {
            0 => return member.consumer.leave(),
            1 => return Ok(()),
            2..12 => self.commit(&mut member)?,
            12 => self.try_too_much(&mut member)?,
            _ => match self.poll(&mut member) {
                Err(error) if error.kind() == ErrorKind::Fenced => return Ok(()),
                polled => polled?,
            },
        }
        self.member = Some(member);
        Ok(())
    }

    fn join(&mut self) -> Result<(), Error> {
        if self.topics.is_empty() {
            return Ok(());
        }
        let owned = Owned::default();
        let (scene, group) = (Arc::clone(&self.scene), self.group.number);
        let listener = Listener { scene, group, owned: Arc::clone(&owned) };
        let consumer = self.scene.log.consumer(self.group.name).topics(&self.topics);
        let consumer = consumer.max_records(7).listener(listener);
        let consumer = consumer.on_out_of_range(StartAt::Earliest).open()?;
        self.member = Some(Member { consumer, owned, read: BTreeMap::new() });
        Ok(())
    }

    fn poll(&mut self, member: &mut Member) -> Result<(), Error> {
        let batch = member.consumer.poll(self.patience)?;
        let mut polled: BTreeMap<Place, Vec<(u64, Seen)>> = BTreeMap::new();
        for record in &batch {
            let Some(place) = place_of(record.topic_partition()) else { continue };
            let seen = Value::decode(record.value().unwrap_or_default());
            polled.entry(place).or_default().push((record.offset().value(), seen));
        }
        for (place, records) in polled {
            let Some(assignment) = member.owned.lock().get(&place).copied() else { continue };
            if let Some((last, _)) = records.last() {
                member.read.insert(place, (assignment, last + 1));
            }
            self.scene.note(Event::Polled { assignment, place, records });
        }
        Ok(())
    }

    /// Commits what was handed out; what was taken away since makes it a commit that must fail.
    fn commit(&mut self, member: &mut Member) -> Result<(), Error> {
        let mut parts: Vec<Part> = member.read.iter().map(part).collect();
        let tries_too_much = self.dice.one_in(8);
        {
            // Whoever has a partition again may commit for it: offsets name no assignment.
            let owned = member.owned.lock();
            parts.retain(|part| match owned.get(&part.place) {
                Some(assignment) => *assignment == part.assignment,
                None => tries_too_much,
            });
        }
        let refused = self.commit_parts(member, parts);
        member.read.clear();
        refused
    }

    /// Commits what nobody has sent yet, or goes back; both must be refused.
    fn try_too_much(&mut self, member: &mut Member) -> Result<(), Error> {
        let part = member.read.iter().map(part).next();
        let too_much = part.map(|part| {
            let offsets = [1 << 30, part.offset + 1_000, 0, part.offset.saturating_sub(10)];
            Part { offset: self.dice.pick(&offsets).copied().unwrap_or(0), ..part }
        });
        self.commit_parts(member, too_much.into_iter().collect())
    }

    fn commit_parts(&mut self, member: &Member, parts: Vec<Part>) -> Result<(), Error> {
        if parts.is_empty() {
            return Ok(());
        }
        let offset = |part: &Part| Some((lasting_partition(part.place)?, Offset::new(part.offset)));
        let offsets: Vec<(TopicPartition, Offset)> = parts.iter().filter_map(offset).collect();
        let commit = self.scene.next_id();
        // All of it was read, is not committed, and was not asked back.
        let is_owned = |part: &Part| member.owned.lock().get(&part.place) == Some(&part.assignment);
        let is_owner = parts.iter().all(is_owned);
        self.scene.note(Event::Commit { commit, group: self.group.number, parts });
        match member.consumer.commit_offsets(offsets) {
            Ok(()) => self.scene.note(Event::Committed(commit)),
            Err(error) => match error.kind() {
                ErrorKind::NotOwner if is_owner => self.scene.note(Event::Disowned(commit)),
                ErrorKind::NotOwner
                | ErrorKind::OffsetRegression
                | ErrorKind::OffsetOutOfRange
                | ErrorKind::Fenced => self.scene.note(Event::Refused(commit)),
                _ => return Err(error),
            },
        }
        Ok(())
    }
}

fn part((place, (assignment, offset)): (&Place, &(u64, u64))) -> Part {
    Part { place: *place, assignment: *assignment, offset: *offset }
}

/// Takes down what a member is given, and lets go at once of what it is to hand over.
struct Listener {
    scene: Arc<Scene>,
    group: u32,
    owned: Owned,
}

impl RebalanceListener for Listener {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        for place in partitions.iter().filter_map(place_of) {
            let assignment = self.scene.next_id();
            self.owned.lock().insert(place, assignment);
            self.scene.note(Event::Assigned { group: self.group, place, assignment });
        }
    }

    fn revoked(&mut self, partitions: Vec<HandOver>) {
        for token in &partitions {
            place_of(token.partition()).map(|place| self.owned.lock().remove(&place));
        }
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        for place in partitions.iter().filter_map(place_of) {
            self.owned.lock().remove(&place);
        }
    }
}
