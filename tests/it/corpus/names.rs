//! Names, patterns and settings, as users give them.

use std::time::Duration;

use brooklet::testing::memory_env;
use brooklet::{GroupName, LogOptions, Retention, SyncPolicy, TopicConfig, TopicGlob, TopicName};

use super::feed::Feed;

/// Checks names and patterns against a slow reading of their rules, and settings against the log.
///
/// # Panics
/// If a name, a pattern or a setting is taken for what it is not.
pub(crate) fn run(data: &[u8]) {
    let mut feed = Feed::new(data);
    let kind = feed.u8();
    if kind.is_multiple_of(16) {
        return settings(&mut feed);
    }
    let length = usize::from(feed.u8());
    let name = String::from_utf8_lossy(feed.bytes(length)).into_owned();
    let pattern = String::from_utf8_lossy(feed.bytes(usize::MAX)).into_owned();
    let parsed = TopicName::new(&name);
    assert_eq!(parsed.is_ok(), is_name(&name), "{name:?}");
    assert_eq!(GroupName::new(&name).is_ok(), is_name(&name), "{name:?}");
    assert!(parsed.as_ref().is_ok_and(|parsed| parsed.as_str() == name) || parsed.is_err());
    let Ok(glob) = TopicGlob::new(&pattern) else {
        let is_glob = (1..=249).contains(&pattern.len()) && pattern.chars().all(is_sign);
        assert!(!is_glob, "{pattern:?} was refused");
        return;
    };
    if let Ok(name) = parsed {
        let expected = matches(pattern.as_bytes(), name.as_str().as_bytes());
        assert_eq!(glob.matches(&name), expected, "{pattern:?} and {name}");
    }
}

fn is_letter(found: char) -> bool {
    found.is_ascii_alphanumeric() || matches!(found, '.' | '_' | '-')
}

fn is_sign(found: char) -> bool {
    is_letter(found) || matches!(found, '*' | '?')
}

fn is_name(name: &str) -> bool {
    (1..=249).contains(&name.len()) && name.chars().all(is_letter) && !matches!(name, "." | "..")
}

/// Whether a pattern stands for a name: sign by sign, with a table of what was matched so far.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for sign in pattern {
        let before = reached.clone();
        for at in 0..=name.len() {
            reached[at] = match sign {
                b'*' => before[..=at].contains(&true),
                b'?' => at > 0 && before[at - 1],
                letter => at > 0 && before[at - 1] && name[at - 1] == *letter,
            };
        }
    }
    reached[name.len()]
}

/// A topic with any settings is made, and found with the same after a restart; or it is refused.
fn settings(feed: &mut Feed<'_>) {
    let age = |feed: &mut Feed<'_>| Duration::from_millis(feed.edge());
    let choice = feed.u8();
    let mut retention = Retention::forever().hold_uncommitted(choice & 1 != 0);
    if choice & 2 != 0 {
        retention = retention.max_age(age(feed));
    }
    if choice & 4 != 0 {
        retention = retention.max_bytes(feed.edge());
    }
    let policy = match choice >> 6 {
        0 => SyncPolicy::Always,
        1 => SyncPolicy::Never,
        _ => SyncPolicy::Every(age(feed)),
    };
    let mut config = TopicConfig::new().retention(retention).sync(policy);
    if choice & 8 != 0 {
        config = config.segment_age(age(feed));
    }
    if choice & 16 != 0 {
        config = config.segment_bytes(feed.edge());
    }
    if choice & 32 != 0 {
        config = config.max_record_bytes(usize::try_from(feed.edge()).unwrap_or(usize::MAX));
    }
    // Thousands of partitions are as good as eight, and take a thousand times as long.
    let partitions = feed.edge();
    let partitions = if (9..10_001).contains(&partitions) { 8 } else { partitions };
    let config = config.partitions(u32::try_from(partitions).unwrap_or(u32::MAX));
    let env = memory_env();
    let open = || brooklet::testing::open(&env, "/log", LogOptions::new()).unwrap();
    let log = open();
    if log.create_topic("orders", config.clone()).is_err() {
        assert!(log.topics().unwrap().is_empty(), "refused and made: {config:?}");
        return;
    }
    log.close().unwrap();
    drop(log);
    assert_eq!(open().topic("orders").unwrap().config, config);
}
