//! What was asked of a log, what it told, and what must therefore be found in it.
//!
//! The book is kept while a log lives. It holds every record that was given to the log, in the
//! order of its partition, and two ends: below `written` everything must survive the death of the
//! process, below `durable` everything must survive a power cut. Both move only when the log says
//! so: by an acknowledgement, by `Offsets::durable_end`, by a clean close, by serving a record that
//! may be served only when it is durable. A change that was under way when the power went off is
//! in doubt, either answer is right, until the log is seen again and has acknowledged a write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use brooklet::testing::CrashPolicy;
use brooklet::{Acks, SyncPolicy, TopicConfig, TopicInfo};

/// Why what was found is not what must be found.
pub(super) type Verdict<T = ()> = Result<T, String>;

/// Everything that is known of a log from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    now: Catalog,
    /// What the catalog may be instead, because changes of it are in doubt: one that was refused after
    /// another one can have left even what stood before that one.
    others: Vec<Catalog>,
    /// What this session finds first is what the disk has, and will be there the next time as well.
    finds_what_is_durable: bool,
    /// The partitions of every topic there ever was, deleted ones too.
    incarnations: Vec<BTreeMap<u32, Partition>>,
    serial: u64,
}

type Catalog = BTreeMap<String, Listed>;

#[derive(Clone, Debug)]
struct Listed {
    incarnation: usize,
    config: TopicConfig,
}

/// A change of the catalog.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create(TopicConfig),
    Delete,
    Alter(TopicConfig),
}

/// One partition of one incarnation of a topic.
#[derive(Clone, Debug, Default)]
struct Partition {
    /// By offset; the last ones can be in doubt.
    records: Vec<Noted>,
    written: u64,
    durable: u64,
    start: u64,
    /// Where the partition may start instead, because a removal is in doubt.
    other_starts: Vec<u64>,
    /// A session has ended since the end of the partition was last seen.
    unseen: bool,
    /// And since its start was.
    unseen_start: bool,
}

#[derive(Clone, Debug)]
struct Noted {
    value: Arc<str>,
    sent_at: i64,
    ends_batch: bool,
}

impl Book {
    /// The topics and how many partitions each has.
    pub(super) fn partitions(&self) -> Vec<(String, u32)> {
        let counts = self.now.iter();
        counts.map(|(name, listed)| (name.clone(), listed.config.partition_count())).collect()
    }

    pub(super) fn config(&self, topic: &str) -> &TopicConfig {
        &self.now[topic].config
    }

    /// Where a partition starts, and up to where it is durable.
    pub(super) fn range(&self, topic: &str, partition: u32) -> (u64, u64) {
        let found = self.incarnations[self.now[topic].incarnation].get(&partition);
        found.map_or((0, 0), |found| (found.start, found.durable))
    }

    /// A value that no other record has, and that says where it belongs.
    pub(super) fn value(&mut self, topic: &str, partition: u32, bytes: usize) -> Arc<str> {
        self.serial += 1;
        let incarnation = self.now[topic].incarnation;
        let text = format!("{topic}#{incarnation}/{partition} record {} ", self.serial);
        format!("{text:.<bytes$}").into()
    }

    /// Takes note of what became of a change of the catalog.
    pub(super) fn changed(&mut self, topic: &str, change: Change, happened: bool) {
        let mut next = self.now.clone();
        match change {
            Change::Create(config) => {
                let incarnation = self.incarnations.len();
                self.incarnations.push(BTreeMap::new());
                next.insert(topic.to_owned(), Listed { incarnation, config });
            }
            Change::Delete => _ = next.remove(topic),
            Change::Alter(config) => {
                let is_always = config.sync_policy() == SyncPolicy::Always;
                if let Some(listed) = next.get_mut(topic) {
                    listed.config = config;
                    let partitions = &mut self.incarnations[listed.incarnation];
                    if happened && is_always {
                        // What readers see of such a topic is durable, and they see everything.
                        let seen = partitions.values_mut().filter(|partition| !partition.unseen);
                        seen.for_each(Partition::all_durable);
                    }
                }
            }
        }
        if happened {
            self.now = next;
            self.wrote();
        } else {
            self.finds_what_is_durable = false;
            self.others.push(next);
        }
    }

    /// Takes note of a batch that stands at `offset`.
    pub(super) fn appended(
        &mut self,
        (topic, partition): (&str, u32),
        values: &[Arc<str>],
        (offset, acks): (u64, Acks),
        sent_at: i64,
    ) -> Verdict {
        let found = self.find_mut(topic, partition);
        let place = format!("{topic}/{partition}");
        if found.unseen {
            found.seen_end(offset).map_err(|text| format!("append to {place}: {text}"))?;
        }
        if found.records.len() as u64 != offset {
            let expected = found.records.len();
            return Err(format!("{place}: got offset {offset}, the next one was {expected}"));
        }
        found.push(values, sent_at);
        let end = found.records.len() as u64;
        match acks {
            Acks::None => {}
            Acks::Written => found.written = end,
            Acks::Durable => (found.written, found.durable) = (end, end),
        }
        self.wrote();
        Ok(())
    }

    /// Takes note of a batch that may be there or not; what was found stands below `durable_end`.
    pub(super) fn in_doubt(
        &mut self,
        (topic, partition): (&str, u32),
        values: &[Arc<str>],
        (durable_end, sent_at): (u64, i64),
    ) -> Verdict {
        let found = self.find_mut(topic, partition);
        if found.unseen {
            let seen = found.seen_end(durable_end);
            seen.map_err(|text| format!("{topic}/{partition} in doubt: {text}"))?;
        }
        found.push(values, sent_at);
        Ok(())
    }

    /// A write was acknowledged, so that the journals of this session stand on solid ground.
    fn wrote(&mut self) {
        self.others.clear();
        for partition in self.incarnations.iter_mut().flat_map(BTreeMap::values_mut) {
            if !partition.unseen_start {
                partition.other_starts.clear();
            }
        }
    }

    /// The log was asked to forget the records below `asked`, with this answer.
    pub(super) fn trimmed(
        &mut self,
        (topic, partition): (&str, u32),
        asked: u64,
        start: Option<u64>,
    ) -> Verdict {
        let found = self.find_mut(topic, partition);
        match start {
            None => found.other_starts.push(asked.max(found.start)),
            // What is asked for, unless the partition starts behind it already.
            Some(start) if start == asked || (start > asked && found.seen_start(start).is_ok()) => {
                found.start = start;
                found.unseen_start = false;
                found.durable = found.durable.max(start);
                found.written = found.written.max(start);
                found.other_starts.clear();
            }
            Some(start) => {
                return Err(format!("{topic}/{partition} trimmed to {start}, not {asked}"));
            }
        }
        Ok(())
    }

    /// Retention may now remove what is older than a topic allows.
    pub(super) fn may_expire(&mut self, now: i64) {
        for listed in self.now.values() {
            let retention = listed.config.retention_policy();
            let age = match (retention.max_age, retention.max_bytes) {
                (_, Some(_)) => Duration::ZERO,
                (Some(age), None) => age,
                (None, None) => continue,
            };
            for partition in self.incarnations[listed.incarnation].values_mut() {
                let starts = partition.boundaries_older_than(age, now);
                partition.other_starts.extend(starts);
            }
        }
    }

    /// Retention has come back: this is what a partition holds now.
    pub(super) fn expired(&mut self, place: (&str, u32), range: (u64, u64)) -> Verdict {
        self.see_range(place, range)?;
        self.find_mut(place.0, place.1).other_starts.clear();
        Ok(())
    }

    /// The log says that everything below `end` is durable.
    pub(super) fn told_durable(&mut self, (topic, partition): (&str, u32), end: u64) -> Verdict {
        let found = self.find_mut(topic, partition);
        if end > found.records.len() as u64 {
            let count = found.records.len();
            return Err(format!("{topic}/{partition}: durable up to {end} of {count} records"));
        }
        found.durable = found.durable.max(end);
        found.written = found.written.max(end);
        Ok(())
    }

    /// A session has ended: cleanly, or by a crash that kept what the policy keeps.
    pub(super) fn session_ended(&mut self, how: End) {
        self.finds_what_is_durable = !matches!(how, End::Crash(CrashPolicy::KeepAll));
        for partition in self.incarnations.iter_mut().flat_map(BTreeMap::values_mut) {
            match how {
                End::Clean if !partition.unseen => partition.all_durable(),
                End::Clean | End::Crash(CrashPolicy::KeepAll) => {}
                End::Crash(_) => partition.written = partition.durable,
            }
            (partition.unseen, partition.unseen_start) = (true, true);
        }
    }

    /// Compares the topics that are found with those that may be there.
    pub(super) fn see_topics(&mut self, found: &[TopicInfo]) -> Verdict {
        if !is_listed(&self.now, found) {
            // A topic of the same name and settings may have been there before: the last one counts.
            let mut others = self.others.iter_mut().rev();
            let Some(other) = others.find(|other| is_listed(other, found)) else {
                let (now, others) = (&self.now, &self.others);
                return Err(format!("found {found:?}, expected {now:?} or one of {others:?}"));
            };
            std::mem::swap(&mut self.now, other);
        }
        if std::mem::take(&mut self.finds_what_is_durable) {
            self.others.clear();
        }
        Ok(())
    }

    /// Compares one record that was served with the one that was given.
    pub(super) fn see_record(
        &mut self,
        (topic, partition): (&str, u32),
        offset: u64,
        value: Option<&[u8]>,
    ) -> Verdict {
        let is_always = self.config(topic).sync_policy() == SyncPolicy::Always;
        let found = self.find_mut(topic, partition);
        let known = usize::try_from(offset).ok().and_then(|offset| found.records.get(offset));
        let known = known.map(|known| known.value.as_bytes());
        if known.is_none() || known != value {
            let text = |value: Option<&[u8]>| {
                value.map(|value| String::from_utf8_lossy(value).into_owned())
            };
            let (known, value) = (text(known), text(value));
            return Err(format!("{topic}/{partition}@{offset} is {value:?}, not {known:?}"));
        }
        if is_always || found.unseen {
            found.written = found.written.max(offset + 1);
            found.durable = found.durable.max(offset + 1);
        }
        Ok(())
    }

    /// Compares the ends of a partition that was read through with what they may be.
    pub(super) fn see_range(
        &mut self,
        (topic, partition): (&str, u32),
        (start, end): (u64, u64),
    ) -> Verdict {
        let found = self.find_mut(topic, partition);
        let place = format!("{topic}/{partition} holds {start}..{end}");
        found.seen_start(start).map_err(|text| format!("{place}: {text}"))?;
        let seen = if found.unseen { found.seen_end(end) } else { found.could_end(end) };
        seen.map_err(|text| format!("{place}: {text}"))
    }

    fn find_mut(&mut self, topic: &str, partition: u32) -> &mut Partition {
        self.incarnations[self.now[topic].incarnation].entry(partition).or_default()
    }
}

/// How a session ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Clean,
    Crash(CrashPolicy),
}

impl Partition {
    fn push(&mut self, values: &[Arc<str>], sent_at: i64) {
        for value in values {
            self.records.push(Noted { value: Arc::clone(value), sent_at, ends_batch: false });
        }
        if let Some(last) = self.records.last_mut() {
            last.ends_batch = true;
        }
    }

    fn all_durable(&mut self) {
        self.written = self.records.len() as u64;
        self.durable = self.written;
    }

    /// The starts that retention may choose: behind whole batches, all of them old and durable.
    fn boundaries_older_than(&self, age: Duration, now: i64) -> Vec<u64> {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let old =
            self.records.iter().zip(1..).take_while(|(record, _)| now - record.sent_at >= age);
        let ends = old.filter(|(record, _)| record.ends_batch).map(|(_, end)| end);
        ends.filter(|end| *end > self.start).collect()
    }

    /// Whatever was asked for may have happened or not, but nothing else.
    fn seen_start(&mut self, start: u64) -> Verdict {
        if start != self.start {
            let index = self.other_starts.iter().position(|other| *other == start);
            let index = index.ok_or_else(|| {
                format!("it may start at {} or {:?}", self.start, self.other_starts)
            })?;
            // What was seen once may be taken back as long as nothing was acknowledged since.
            self.other_starts[index] = std::mem::replace(&mut self.start, start);
        }
        self.unseen_start = false;
        Ok(())
    }

    fn could_end(&self, end: u64) -> Verdict {
        let count = self.records.len() as u64;
        if end < self.durable || end > count {
            return Err(format!("durable up to {}, and {count} were sent", self.durable));
        }
        Ok(())
    }

    /// The first look at the end since a session ended: what is there now is there for good.
    fn seen_end(&mut self, end: u64) -> Verdict {
        let count = self.records.len() as u64;
        if end < self.written {
            return Err(format!("ACKNOWLEDGED RECORDS LOST: up to {} were covered", self.written));
        }
        if end > count {
            return Err(format!("only {count} were ever sent"));
        }
        let last = usize::try_from(end).unwrap_or(usize::MAX).checked_sub(1);
        if !last.is_none_or(|last| self.records[last].ends_batch) {
            return Err("a batch was cut in two".to_owned());
        }
        self.records.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        self.all_durable();
        self.unseen = false;
        Ok(())
    }
}

fn is_listed(catalog: &Catalog, found: &[TopicInfo]) -> bool {
    let found = found.iter().map(|topic| (topic.name.as_str(), &topic.config));
    catalog.iter().map(|(name, listed)| (name.as_str(), &listed.config)).eq(found)
}
