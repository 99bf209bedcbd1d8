//! What groups must be, in a few maps: no files, no locks, no clock of its own.
//!
//! Who owns what, and where a partition ends after a crash, is told by the log and judged here;
//! everything else is computed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) type Verdict = Result<(), String>;

/// A partition of one life of a topic: the number of that life, and the partition.
pub(super) type Key = (u64, u32);

/// A committed offset, and how many bytes were noted beside it.
pub(super) type At = (u64, usize);

/// What is committed, by group and partition.
pub(super) type Positions = BTreeMap<(usize, Key), At>;

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) now: Duration,
    /// By the number of their name.
    pub(super) topics: BTreeMap<usize, Topic>,
    pub(super) groups: BTreeMap<usize, Group>,
    pub(super) positions: Positions,
    pub(super) journal: Journal,
    /// Which name each life of a topic had.
    pub(super) names: BTreeMap<u64, usize>,
    pub(super) last_record: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) life: u64,
    pub(super) is_always: bool,
    pub(super) parts: Vec<Part>,
}

/// Every record has a number of its own, so that another one at its offset is told from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) start: u64,
    /// From offset 0 on, those that were removed included.
    pub(super) records: Vec<u64>,
    pub(super) visible: u64,
    pub(super) durable: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// By the number of their seat; those that are out and do not know it are here as well.
    pub(super) members: BTreeMap<usize, Member>,
    pub(super) generation: u64,
    pub(super) owners: BTreeMap<Key, usize>,
    /// Records that were handed out, or skipped because somebody said so.
    pub(super) seen: BTreeMap<Key, BTreeSet<u64>>,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) topics: BTreeSet<usize>,
    pub(super) patience: Option<Duration>,
    pub(super) deadline: Option<Duration>,
    pub(super) max_records: usize,
    pub(super) jump: Option<Jump>,
    pub(super) is_out: bool,
    pub(super) lanes: BTreeMap<Key, Lane>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jump {
    Earliest,
    Latest,
}

/// A partition as a member knows it from its last poll.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    pub(super) position: Option<u64>,
    /// How far a seek has led, past records that need not be there yet.
    pub(super) sought: u64,
    pub(super) is_paused: bool,
    pub(super) is_leaving: bool,
    /// The end of what was handed out.
    pub(super) delivered: Option<u64>,
    /// It has had another owner since.
    pub(super) is_stale: bool,
    /// It may have had another owner within one step.
    pub(super) is_doubtful: bool,
}

/// What a commit makes of a group's position in a partition.
type Change = ((usize, Key), Option<At>);

/// The order in which commits reach the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// What survives whatever happens.
    pub(super) base: Positions,
    /// What was written since, entry by entry.
    pub(super) tail: Vec<Vec<Change>>,
    /// How many of these were found behind a kill: the first write of a session makes them durable.
    found: usize,
}

impl Journal {
    /// What may be found after a loss of power, the shortest first.
    pub(super) fn candidates(&self) -> Vec<Positions> {
        let mut all = vec![self.base.clone()];
        for entry in &self.tail {
            let mut next = all[all.len() - 1].clone();
            apply(&mut next, entry);
            all.push(next);
        }
        all
    }

    /// The process was killed: what was written is there, and as little durable as before.
    pub(super) fn note_kill(&mut self) {
        self.found = self.tail.len();
    }

    /// A session has begun to write.
    pub(super) fn settle(&mut self) {
        for entry in self.tail.drain(..std::mem::take(&mut self.found)) {
            apply(&mut self.base, &entry);
        }
    }
}

fn apply(positions: &mut Positions, entry: &[((usize, Key), Option<At>)]) {
    for (place, at) in entry {
        match at {
            Some(at) => positions.insert(*place, *at),
            None => positions.remove(place),
        };
    }
}

impl Lane {
    /// Whether records were handed out that no commit covers.
    pub(super) fn is_outstanding(&self, committed: Option<At>) -> bool {
        self.delivered.is_some_and(|end| committed.is_none_or(|(at, _)| at < end))
    }
}

impl Model {
    pub(super) fn part(&self, key: Key) -> Option<&Part> {
        self.topic_of(key.0)?.parts.get(key.1 as usize)
    }

    pub(super) fn part_mut(&mut self, key: Key) -> &mut Part {
        let topic = self.topics.values_mut().find(|topic| topic.life == key.0);
        &mut topic.expect("a topic that is there").parts[key.1 as usize]
    }

    pub(super) fn topic_of(&self, life: u64) -> Option<&Topic> {
        self.topics.values().find(|topic| topic.life == life)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        let topics = self.topics.values();
        topics
            .flat_map(|topic| (0..topic.parts.len() as u32).map(|part| (topic.life, part)))
            .collect()
    }

    pub(super) fn keys_of(&self, topic: usize) -> Vec<Key> {
        let Some(topic) = self.topics.get(&topic) else { return Vec::new() };
        (0..topic.parts.len() as u32).map(|part| (topic.life, part)).collect()
    }

    pub(super) fn committed(&self, group: usize, key: Key) -> Option<At> {
        self.positions.get(&(group, key)).copied()
    }

    /// Whether anybody has read under this name, or does.
    pub(super) fn is_known(&self, group: usize) -> bool {
        self.live(group).next().is_some() || self.positions.keys().any(|place| place.0 == group)
    }

    /// Forgets commits for topics that are gone, of which it cannot be told whether they are there.
    pub(super) fn forget_the_dead(&mut self, group: usize) {
        let lives = self.topics.values().map(|topic| topic.life).collect::<BTreeSet<_>>();
        let is_dead = |(of, key): &(usize, Key)| *of == group && !lives.contains(&key.0);
        let dead = self.positions.keys().copied().filter(is_dead).collect::<Vec<_>>();
        for place in dead {
            self.positions.remove(&place);
            self.journal.base.remove(&place);
        }
    }

    /// Whether a group has a position in a topic.
    pub(super) fn knows(&self, group: usize, life: u64) -> bool {
        let is_read = self.live(group).any(|(_, member)| {
            let mut topics = member.topics.iter().filter_map(|topic| self.topics.get(topic));
            topics.any(|topic| topic.life == life)
        });
        is_read || self.positions.keys().any(|(of, key)| (*of, key.0) == (group, life))
    }

    /// The members that are not out.
    pub(super) fn live(&self, group: usize) -> impl Iterator<Item = (usize, &Member)> {
        let members = self.groups.get(&group).into_iter().flat_map(|group| &group.members);
        members.filter(|(_, member)| !member.is_out).map(|(seat, member)| (*seat, member))
    }

    /// Who has stayed away for too long is out.
    pub(super) fn tick(&mut self, group: usize) -> usize {
        let now = self.now;
        let members = self.groups.entry(group).or_default().members.values_mut();
        let late = members.filter(|member| {
            !member.is_out && member.deadline.is_some_and(|deadline| deadline <= now)
        });
        late.map(|member| member.is_out = true).count()
    }

    /// Takes note of an entry; durable ones make all before them durable.
    pub(super) fn write(&mut self, entry: Vec<((usize, Key), Option<At>)>, is_durable: bool) {
        if entry.is_empty() {
            return;
        }
        apply(&mut self.positions, &entry);
        self.journal.tail.push(entry);
        if is_durable {
            self.make_durable();
        }
    }

    pub(super) fn make_durable(&mut self) {
        self.journal = Journal { base: self.positions.clone(), ..Journal::default() };
    }

    /// Notes that somebody has said that a group need not see what lies below `offset`.
    pub(super) fn skip(&mut self, group: usize, key: Key, offset: u64) {
        let Some(part) = self.part(key) else { return };
        let skipped = part.records.iter().take(offset as usize).copied().collect::<Vec<_>>();
        self.groups.entry(group).or_default().seen.entry(key).or_default().extend(skipped);
    }

    /// What a commit must be answered with; `None` if it is to be accepted.
    pub(super) fn judge(
        &self,
        group: usize,
        seat: usize,
        key: Option<Key>,
        offset: u64,
    ) -> Option<&'static str> {
        let member = &self.groups[&group].members[&seat];
        let Some((key, lane)) = key.and_then(|key| Some((key, member.lanes.get(&key)?))) else {
            return Some("NotOwner");
        };
        if member.is_out {
            return Some("Fenced");
        }
        let part = self.part(key).filter(|_| !lane.is_stale);
        let Some(part) = part else { return Some("NotOwner") };
        if self.committed(group, key).is_some_and(|(at, _)| offset < at) {
            Some("OffsetRegression")
        } else if offset > part.visible {
            Some("OffsetOutOfRange")
        } else {
            None
        }
    }
}
