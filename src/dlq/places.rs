//! The topics that belong to the dead letters of a group: found by role, made under a free name.

use std::time::Duration;

use super::fingerprint::short_hash;
use super::policy::DeadLetters;
use crate::config::{Retention, SyncPolicy, TopicConfig};
use crate::error::{Error, ErrorKind};
use crate::limits::{LETTER_BYTES_MAX, LETTER_OVERHEAD_BYTES_MAX, NAME_BYTES_MAX};
use crate::log::Log;
use crate::name::{GroupName, TopicName};
use crate::report::TopicInfo;
use crate::role::TopicRole;

/// Whose dead letters: a topic, and the group that could not handle its records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) topic: TopicName,
    pub(crate) group: GroupName,
}

impl Subject {
    pub(crate) fn letters_role(&self) -> TopicRole {
        let Self { topic, group } = self.clone();
        TopicRole::DeadLetters { topic, group }
    }

    pub(crate) fn redrive_role(&self) -> TopicRole {
        let Self { topic, group } = self.clone();
        TopicRole::Redrive { topic, group }
    }

    pub(crate) fn states_role(&self) -> TopicRole {
        let Self { topic, group } = self.clone();
        TopicRole::LetterStates { topic, group }
    }

    /// Makes the topic of dead letters unless it is there.
    pub(crate) fn ensure_letters(
        &self,
        log: &Log,
        source: &TopicConfig,
        policy: &DeadLetters,
    ) -> Result<TopicInfo, Error> {
        let most = source.max_record_bytes.saturating_add(LETTER_OVERHEAD_BYTES_MAX);
        let config = TopicConfig::new()
            .partitions(source.partitions)
            .sync(SyncPolicy::Always)
            .retention(policy.retention.clone())
            .segment_bytes(segment_bytes(policy.retention.max_bytes))
            .max_record_bytes(most.min(LETTER_BYTES_MAX));
        let config = match policy.retention.max_age {
            Some(age) => config.segment_age(segment_age(age)),
            None => config,
        };
        log.ensure_topic_of(&self.letters_role(), self.names(&policy.topic_name)?, config)
    }

    /// Makes the topic of redriven records unless it is there, and lets it take those of `letters`.
    pub(crate) fn ensure_redrive(
        &self,
        log: &Log,
        letters: &TopicConfig,
    ) -> Result<TopicInfo, Error> {
        // What the group has not read yet is kept however old it is; the rest as long as letters.
        let retention = Retention::forever().max_age(REDRIVEN_AGE).hold_uncommitted(true);
        let config = TopicConfig::new()
            .partitions(letters.partitions)
            .sync(SyncPolicy::Always)
            .retention(retention)
            .segment_age(segment_age(REDRIVEN_AGE))
            .max_record_bytes(letters.max_record_bytes);
        let topic = log.ensure_topic_of(&self.redrive_role(), self.names(REDRIVE)?, config)?;
        let topic = grow(log, topic, letters.partitions)?;
        if topic.config.max_record_bytes >= letters.max_record_bytes {
            return Ok(topic);
        }
        let config = topic.config.max_record_bytes(letters.max_record_bytes);
        log.alter_topic(topic.name.as_str(), config)?;
        log.topic(topic.name.as_str())
    }

    /// The name that the topic of redriven records would get now.
    pub(crate) fn redrive_name(&self, log: &Log) -> Result<TopicName, Error> {
        let is_free = |name: &TopicName| log.topic(name.as_str()).is_err();
        let name = self.names(REDRIVE)?.into_iter().find(is_free);
        name.ok_or_else(|| Error::bare(ErrorKind::TopicExists))
    }

    /// Makes the topic that says what became of letters, unless it is there.
    ///
    /// It is kept for ever, and trimmed where it is known what is not needed.
    pub(crate) fn ensure_states(
        &self,
        log: &Log,
        letters: &TopicConfig,
    ) -> Result<TopicInfo, Error> {
        let config = TopicConfig::new()
            .partitions(letters.partitions)
            .sync(SyncPolicy::Always)
            .segment_bytes(STATES_SEGMENT_BYTES);
        let names = self.names("{topic}.{group}.dlq-states")?;
        let topic = log.ensure_topic_of(&self.states_role(), names, config)?;
        grow(log, topic, letters.partitions)
    }

    /// The names that a topic may get, the one that `pattern` says first.
    ///
    /// # Errors
    /// `InvalidName`.
    pub(crate) fn names(&self, pattern: &str) -> Result<Vec<TopicName>, Error> {
        let wanted =
            pattern.replace("{topic}", self.topic.as_str()).replace("{group}", self.group.as_str());
        let hash = short_hash(&[self.topic.as_str(), self.group.as_str(), pattern]);
        let begin: String = wanted.chars().take(NAME_BYTES_MAX - SUFFIX_BYTES_MAX).collect();
        let others = (1..=TRIES).map(|number| match number {
            1 => format!("{begin}-{hash:08x}"),
            _ => format!("{begin}-{hash:08x}-{number}"),
        });
        let wanted = (wanted.len() <= NAME_BYTES_MAX).then(|| wanted.clone());
        let named = |name: String| {
            TopicName::new(&name)
                .map_err(|error| Error::new(ErrorKind::InvalidName, error.to_string()))
        };
        wanted.into_iter().chain(others).map(named).collect()
    }
}

/// Gives a topic `count` partitions, unless it has as many.
pub(crate) fn grow(log: &Log, topic: TopicInfo, count: u32) -> Result<TopicInfo, Error> {
    if topic.config.partitions >= count {
        return Ok(topic);
    }
    match log.add_partitions(topic.name.as_str(), count) {
        // Somebody else may have given it even more.
        Err(error) if error.kind() != ErrorKind::InvalidConfig => Err(error),
        _ => log.topic(topic.name.as_str()),
    }
}

/// Small enough that about a quarter more than asked for is kept.
fn segment_bytes(max_bytes: Option<u64>) -> u64 {
    const LEAST: u64 = 64 << 10;
    max_bytes.map_or(LETTERS_SEGMENT_BYTES, |bytes| (bytes / 4).clamp(LEAST, LETTERS_SEGMENT_BYTES))
}

/// Short enough that letters are not kept much longer than asked for.
fn segment_age(age: Duration) -> Duration {
    const LEAST: Duration = Duration::from_millis(1);
    const MOST: Duration = Duration::from_secs(24 * 3600);
    (age / 8).clamp(LEAST, MOST)
}

const LETTERS_SEGMENT_BYTES: u64 = 16 << 20;
const STATES_SEGMENT_BYTES: u64 = 1 << 20;
const REDRIVE: &str = "{topic}.{group}.redrive";
/// How long redriven records are kept once their group has handled them.
const REDRIVEN_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// A dash, eight digits, a dash and another two.
const SUFFIX_BYTES_MAX: usize = 12;
const TRIES: u32 = 99;

#[cfg(test)]
mod tests {
    use super::{Subject, segment_age};
    use crate::name::{GroupName, TopicName};

    fn subject(topic: &str, group: &str) -> Subject {
        Subject { topic: TopicName::new(topic).unwrap(), group: GroupName::new(group).unwrap() }
    }

    /// The dead letters of a topic with a long name could not be written.
    #[test]
    fn there_are_always_names_and_they_differ() {
        let long = "x".repeat(249);
        for (topic, group) in [("orders", "billing"), (&*long, &*long), ("a", &*long)] {
            let names = subject(topic, group).names("{topic}.{group}.dlq").unwrap();
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len());
            assert!(names.len() >= 99);
        }
        let first = |topic, group| subject(topic, group).names("{topic}.{group}.dlq").unwrap();
        assert_eq!(first("orders", "billing")[0].as_str(), "orders.billing.dlq");
        // Two subjects that want the same name do not want the same second one.
        assert_eq!(first("a.b", "c")[0], first("a", "b.c")[0]);
        assert_ne!(first("a.b", "c")[1], first("a", "b.c")[1]);
        let pattern = subject("t", "g").names("failed-{group}-{topic}").unwrap();
        assert_eq!(pattern[0].as_str(), "failed-g-t");
        for bad in ["", "{topic}/{group}", "{other}", &"\u{e9}".repeat(400)] {
            assert!(subject("t", "g").names(bad).is_err(), "{bad}");
        }
    }

    /// A short retention would be refused, or letters kept far longer than it says.
    #[test]
    fn segments_are_sealed_well_within_the_retention() {
        use std::time::Duration;
        assert_eq!(segment_age(Duration::from_millis(1)), Duration::from_millis(1));
        assert_eq!(segment_age(Duration::from_secs(80)), Duration::from_secs(10));
        assert_eq!(segment_age(Duration::from_secs(30 * 24 * 3600)), Duration::from_secs(86_400));
    }
}
