//! How a consumer is made: what it reads, and where its group begins.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::catalog::{Topic, Topics};
use crate::consumer::{Consumer, Limits};
use crate::cursor::Cursor;
use crate::env::Clock;
use crate::error::{Error, ErrorKind};
use crate::glob::TopicGlob;
use crate::group::assign::{Assignor, Sticky};
use crate::group::coordinator::{Group, Subscription};
use crate::group::hand_over::RebalanceListener;
use crate::limits::{FETCH_BYTES_DEFAULT, FETCH_BYTES_MAX, FETCH_BYTES_MIN};
use crate::name::TopicName;
use crate::offset::{Offset, PartitionId, ShardId, StartAt};
use crate::sync::Arc;

/// Says what a consumer reads and how, before it joins its group.
#[derive(Debug)]
#[must_use]
pub struct ConsumerBuilder {
    home: Result<Home, Error>,
    topics: Vec<String>,
    patterns: Vec<String>,
    reads_redriven: bool,
    start: StartAt,
    assignor: Arc<dyn Assignor>,
    limits: Limits,
    patience: Option<Duration>,
    listener: Listener,
    on_out_of_range: Option<StartAt>,
}

/// What a consumer is built on.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) group: Arc<Group>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Listener(Option<Box<dyn RebalanceListener>>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "a listener" } else { "no listener" })
    }
}

impl ConsumerBuilder {
    pub(crate) fn new(home: Result<Home, Error>) -> Self {
        Self {
            home,
            topics: Vec::new(),
            patterns: Vec::new(),
            reads_redriven: false,
            start: StartAt::Earliest,
            assignor: Arc::new(Sticky),
            limits: Limits { records: RECORDS_DEFAULT, bytes: FETCH_BYTES_DEFAULT },
            patience: Some(PATIENCE_DEFAULT),
            listener: Listener::default(),
            on_out_of_range: None,
        }
    }

    /// Reads these topics, which must exist; more calls add more.
    pub fn topics<T: AsRef<str>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(topics.into_iter().map(|topic| topic.as_ref().to_owned()));
        self
    }

    /// Reads all topics whose names match a glob such as `orders.*`, those made later included.
    ///
    /// A topic that is made later begins at its first record. Topics that hold dead letters, or
    /// redriven ones, are never meant.
    pub fn matching(mut self, pattern: impl Into<String>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// Reads as well what is redriven to the group from dead letters about these topics.
    pub(crate) fn with_redriven(mut self) -> Self {
        self.reads_redriven = true;
        self
    }

    /// Where the group begins in topics that it has never read; by default at the earliest record.
    ///
    /// The position is found and committed before [`open`](Self::open) returns: a record that is
    /// appended later is never skipped. Partitions that are added later begin at their first
    /// record.
    pub fn start_at(mut self, start: StartAt) -> Self {
        self.start = start;
        self
    }

    /// Who says which member reads what; by default [`Sticky`].
    ///
    /// A group keeps to that of the member that came first, until all have left.
    pub fn assignor(mut self, assignor: impl Assignor + 'static) -> Self {
        self.assignor = Arc::new(assignor);
        self
    }

    /// How many records a poll hands out at most: 1 or more, by default 500.
    ///
    /// More costs fewer polls; less brings the next chance to commit and to be rebalanced sooner.
    pub fn max_records(mut self, records: usize) -> Self {
        self.limits.records = records;
        self
    }

    /// About how many bytes a poll hands out at most: 1 KiB to 64 MiB, by default 512 KiB.
    ///
    /// One batch is always handed out, however large.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// How long the member may stay away between polls; by default five minutes, as in Kafka.
    ///
    /// One that stays away for longer is fenced, and what it owned is given to others. `None` waits
    /// for it for ever.
    pub fn max_poll_interval(mut self, interval: Option<Duration>) -> Self {
        self.patience = interval;
        self
    }

    /// Who is told of partitions that come and go; by default nobody.
    pub fn listener(mut self, listener: impl RebalanceListener + 'static) -> Self {
        self.listener = Listener(Some(Box::new(listener)));
        self
    }

    /// Where to go on when retention has passed the position; by default `poll` returns
    /// `OffsetOutOfRange` until [`seek`](Consumer::seek) leads past it.
    pub fn on_out_of_range(mut self, start: StartAt) -> Self {
        self.on_out_of_range = Some(start);
        self
    }

    /// Joins the group.
    ///
    /// # Errors
    /// `InvalidName`, `InvalidConfig`, `UnknownTopic`, `OffsetOutOfRange` if an offset to start at
    /// is not there, `ReadOnly`, `Closed`, what recovery meets on a partition's first use, and what
    /// the system says when first positions are committed.
    pub fn open(self) -> Result<Consumer, Error> {
        let Home { group, topics, clock } = self.home?;
        let told = |error: Error| error.during(format_args!("join {}", group.name()));
        check(self.limits, self.patience).map_err(told)?;
        let mut subscription = subscription(&topics, &self.topics, &self.patterns).map_err(told)?;
        seed(&group, &topics, &subscription, self.start).map_err(told)?;
        subscription.redriven_to = self.reads_redriven.then(|| group.name().clone());
        let member = group.join(subscription, self.patience, self.assignor).map_err(told)?;
        let mut consumer = Consumer {
            group,
            member,
            topics,
            clock,
            lanes: VecDeque::new(),
            seen: 0,
            limits: self.limits,
            listener: self.listener.0,
            on_out_of_range: self.on_out_of_range,
        };
        consumer.catch_up()?;
        Ok(consumer)
    }
}

fn check(limits: Limits, patience: Option<Duration>) -> Result<(), Error> {
    let refused = |text: String| Err(Error::new(ErrorKind::InvalidConfig, text));
    if limits.records == 0 {
        return refused("a poll that hands out no record".to_owned());
    }
    if !(FETCH_BYTES_MIN..=FETCH_BYTES_MAX).contains(&limits.bytes) {
        let range = format!("{FETCH_BYTES_MIN} to {FETCH_BYTES_MAX}");
        return refused(format!("polls of {} bytes, not {range}", limits.bytes));
    }
    if patience.is_some_and(|patience| patience.is_zero()) {
        return refused("a member that may not stay away at all".to_owned());
    }
    Ok(())
}

fn subscription(
    topics: &Topics,
    names: &[String],
    patterns: &[String],
) -> Result<Subscription, Error> {
    if names.is_empty() && patterns.is_empty() {
        return Err(Error::new(ErrorKind::InvalidConfig, "no topics to read"));
    }
    let named = names.iter().map(|name| {
        let topic = topics.find(name);
        let topic = topic.ok_or_else(|| Error::new(ErrorKind::UnknownTopic, name.as_str()))?;
        Ok::<TopicName, Error>(topic.name.clone())
    });
    let globs = patterns.iter().map(|pattern| {
        let glob = TopicGlob::new(pattern);
        glob.map_err(|error| Error::new(ErrorKind::InvalidName, error.to_string()))
    });
    Ok(Subscription {
        topics: named.collect::<Result<_, _>>()?,
        globs: globs.collect::<Result<_, _>>()?,
        redriven_to: None,
    })
}

/// Commits a first position for every partition that the group has just begun to read.
///
/// Topics that a known pattern has come to match since begin at their first record, and so do
/// partitions that a known topic was given since: they need none.
fn seed(
    group: &Group,
    topics: &Topics,
    subscription: &Subscription,
    start: StartAt,
) -> Result<(), Error> {
    let globs = subscription.globs.iter();
    let new_globs = globs.filter(|glob| !group.knows_pattern(glob.as_str())).collect::<Vec<_>>();
    let fresh = Subscription {
        topics: subscription.topics.clone(),
        globs: new_globs.iter().map(|glob| (*glob).clone()).collect(),
        redriven_to: None,
    };
    let fresh: BTreeMap<_, _> = fresh.resolve(topics);
    let mut positions = Vec::new();
    for topic in fresh.keys().filter_map(|id| topics.by_id(*id)) {
        if !group.knows(topic.id) {
            positions.extend(first_positions(&topic, start)?);
        }
    }
    let patterns = new_globs.iter().map(|glob| glob.as_str().to_owned()).collect::<Vec<_>>();
    if positions.is_empty() && patterns.is_empty() {
        return Ok(());
    }
    group.seed(&positions, &patterns)
}

fn first_positions(topic: &Topic, start: StartAt) -> Result<Vec<(ShardId, Offset)>, Error> {
    let partitions = (0..topic.partition_count()).map(PartitionId::new);
    let position = |partition| {
        let place = topic.partition(partition);
        let cursor = Cursor::open(place.clone(), topic.shard(partition)?, start);
        let cursor = cursor.map_err(|error| error.of_partition(&place))?;
        Ok((topic.shard_id(partition), cursor.position()))
    };
    partitions.map(position).collect()
}

/// Kafka's `max.poll.records`.
const RECORDS_DEFAULT: usize = 500;

/// Kafka's `max.poll.interval.ms`.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(5 * 60);
