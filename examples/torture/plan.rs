//! Which topics and groups there are, and what a value asks of its handler.

use std::time::Duration;

use brooklet::testing::checker::Value;
use brooklet::{Retention, SyncPolicy, TopicConfig, TopicInfo};

use crate::dice::mix;

/// A topic that is there for good.
pub(crate) struct Lasting {
    pub(crate) name: &'static str,
    sync: SyncPolicy,
    segment_bytes: u64,
    pub(crate) partitions: u32,
    /// Retention leaves about so many bytes.
    keeps: Option<u64>,
}

const EVERY: SyncPolicy = SyncPolicy::Every(Duration::from_millis(20));

/// The lasting topics; their numbers are their places here.
pub(crate) const LASTING: [Lasting; 6] = [
    Lasting::of("orders", SyncPolicy::Always, 4_096, 2),
    Lasting::of("clicks", SyncPolicy::Never, 8_192, 2),
    Lasting::of("beats", EVERY, 2_048, 1),
    Lasting::of("audit", SyncPolicy::Always, 65_536, 1),
    Lasting::of("latest", SyncPolicy::Always, 1_024, 1).keeps(8_192),
    Lasting::of("noise", SyncPolicy::Never, 1_024, 1).keeps(4_096),
];

impl Lasting {
    const fn of(name: &'static str, sync: SyncPolicy, segment_bytes: u64, partitions: u32) -> Self {
        Self { name, sync, segment_bytes, partitions, keeps: None }
    }

    const fn keeps(self, bytes: u64) -> Self {
        Self { keeps: Some(bytes), ..self }
    }

    pub(crate) fn config(&self) -> TopicConfig {
        let config = TopicConfig::new().sync(self.sync).segment_bytes(self.segment_bytes);
        let config = config.partitions(self.partitions);
        match self.keeps {
            Some(bytes) => config.retention(Retention::forever().max_bytes(bytes)),
            None => config,
        }
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.sync == SyncPolicy::Always
    }

    pub(crate) fn expires(&self) -> bool {
        self.keeps.is_some()
    }
}

/// A group, its number, and the lasting topics that it reads.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) number: u32,
    pub(crate) topics: &'static [&'static str],
}

/// The groups whose members poll and commit.
pub(crate) const FOLLOWED: [Group; 2] = [
    Group { name: "billing", number: 1, topics: &["orders", "clicks"] },
    Group { name: "search", number: 2, topics: &["audit", "beats", "latest", "noise"] },
];

/// The group whose members are workers.
pub(crate) const WORKED: Group = Group { name: "mail", number: 3, topics: &["orders", "beats"] };

/// The name of a topic that comes and goes; a few names are used again and again.
pub(crate) fn passing_name(number: u32) -> String {
    format!("passing-{}", number % 3)
}

/// How a passing topic is kept: its number is in there, so that it can be told from its namesakes.
pub(crate) fn passing_config(number: u32) -> TopicConfig {
    let policy = if passing_is_synced(number) { SyncPolicy::Always } else { SyncPolicy::Never };
    let marked = Retention::forever().max_bytes(MARK + u64::from(number));
    TopicConfig::new().sync(policy).segment_bytes(2_048).retention(marked)
}

pub(crate) fn passing_is_synced(number: u32) -> bool {
    number.is_multiple_of(2)
}

/// The number of a topic that was found.
pub(crate) fn number_of(topic: &TopicInfo) -> Option<u32> {
    let lasting = (0..).zip(&LASTING).find(|(_, lasting)| topic.name.as_str() == lasting.name);
    if let Some((number, _)) = lasting {
        return Some(number);
    }
    let bytes = topic.config.retention_policy().max_bytes?;
    u32::try_from(bytes.checked_sub(MARK)?).ok()
}

/// The number of a lasting topic.
pub(crate) fn lasting_number(name: &str) -> Option<u32> {
    (0..).zip(&LASTING).find(|(_, lasting)| lasting.name == name).map(|(number, _)| number)
}

/// No passing topic ever holds so much.
const MARK: u64 = 1 << 40;

/// The first number of a passing topic.
pub(crate) const PASSING_FROM: u32 = 100;

/// What the handler of a worker does with a value; the value decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handling {
    Succeeds,
    FailsOnce,
    FailsForGood,
}

pub(crate) fn handling(value: Value) -> Handling {
    match mix(value.counter ^ (u64::from(value.producer) << 40)) % 16 {
        0 => Handling::FailsForGood,
        1 => Handling::FailsOnce,
        _ => Handling::Succeeds,
    }
}
