//! Every file and directory name, formatted and parsed.
//!
//! ```text
//! <dir>/LOCK
//! <dir>/manifest/<generation, 20 digits>-<salt, 8 hex>.jnl    next.jnl
//! <dir>/catalog/…  <dir>/offsets/…                            likewise
//! <dir>/topics/<topic id>/<partition>/<base offset, 20 digits>-<salt, 8 hex>.seg
//! ```
//!
//! Topics are named by number, so that what a user calls a topic never reaches the file system.

use std::path::{Path, PathBuf};

use crate::offset::{Offset, PartitionId, ShardId, TopicId};

/// The file whose lock says who may write.
pub(crate) const LOCK_FILE: &str = "LOCK";
/// The directory under which every topic has its own.
pub(crate) const TOPICS_DIR: &str = "topics";
/// A journal file that was made ahead and has no place yet.
pub(crate) const NEXT_JOURNAL: &str = "next.jnl";

/// What a repair appends to the name of a journal file that it has replaced.
pub(crate) const DAMAGED_SUFFIX: &str = ".damaged";

const SEGMENT_SUFFIX: &str = ".seg";
const JOURNAL_SUFFIX: &str = ".jnl";

/// The journals of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JournalKind {
    Manifest,
    Catalog,
    Offsets,
}

impl JournalKind {
    /// The directory that holds the journal's files.
    pub(crate) fn dir_name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Catalog => "catalog",
            Self::Offsets => "offsets",
        }
    }

    /// What the journal is called in messages.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Catalog => "catalog",
            Self::Offsets => "journal of offsets",
        }
    }

    /// The place of a journal's frames: topic 0, which no topic ever is.
    pub(crate) fn shard(self) -> ShardId {
        let partition = match self {
            Self::Manifest => 1,
            Self::Catalog => 2,
            Self::Offsets => 3,
        };
        ShardId { topic: TopicId::new(0), partition: PartitionId::new(partition) }
    }
}

/// `<dir>/topics/<topic id>`
pub(crate) fn topic_dir(root: &Path, topic: TopicId) -> PathBuf {
    root.join(TOPICS_DIR).join(topic.value().to_string())
}

/// `<dir>/topics/<topic id>/<partition>`
pub(crate) fn partition_dir(root: &Path, shard: ShardId) -> PathBuf {
    topic_dir(root, shard.topic).join(shard.partition.value().to_string())
}

/// The name of a segment file.
pub(crate) fn segment_name(base: Offset, salt: u32) -> String {
    format!("{:020}-{salt:08x}{SEGMENT_SUFFIX}", base.value())
}

/// Base offset and salt, if `name` is exactly what [`segment_name`] makes of them.
pub(crate) fn parse_segment_name(name: &str) -> Option<(Offset, u32)> {
    parse(name, SEGMENT_SUFFIX).map(|(base, salt)| (Offset::new(base), salt))
}

/// The name of a journal file.
pub(crate) fn journal_name(generation: u64, salt: u32) -> String {
    format!("{generation:020}-{salt:08x}{JOURNAL_SUFFIX}")
}

/// Generation and salt, if `name` is exactly what [`journal_name`] makes of them.
pub(crate) fn parse_journal_name(name: &str) -> Option<(u64, u32)> {
    parse(name, JOURNAL_SUFFIX)
}

/// A directory name that stands for a number, without leading zeros or signs.
pub(crate) fn parse_number(name: &str) -> Option<u64> {
    let number = name.parse::<u64>().ok()?;
    (number.to_string() == name).then_some(number)
}

fn parse(name: &str, suffix: &str) -> Option<(u64, u32)> {
    let (number, salt) = name.strip_suffix(suffix)?.split_once('-')?;
    let digits = |text: &str, len: usize| {
        text.len() == len
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
    };
    if !digits(number, 20) || !digits(salt, 8) {
        return None;
    }
    Some((number.parse().ok()?, u32::from_str_radix(salt, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::{journal_name, parse_journal_name, parse_number, parse_segment_name, segment_name};
    use crate::offset::Offset;

    /// If this fails, a file that the log wrote is not found again, or a stranger's is taken for
    /// ours.
    #[test]
    fn names_parse_back_and_nothing_else_does() {
        for (base, salt) in [(0, 0), (17, 0xdead_beef), (u64::MAX, u32::MAX)] {
            let base = Offset::new(base);
            assert_eq!(parse_segment_name(&segment_name(base, salt)), Some((base, salt)));
            let name = journal_name(base.value(), salt);
            assert_eq!(parse_journal_name(&name), Some((base.value(), salt)));
        }
        assert_eq!(segment_name(Offset::new(4096), 0xab), "00000000000000004096-000000ab.seg");
        for name in [
            "",
            "next.seg",
            "4096-000000ab.seg",
            "00000000000000004096-000000AB.seg",
            "0000000000000000409+-000000ab.seg",
            "00000000000000004096-000000ab.jnl",
            "00000000000000004096-000000ab.seg.bak",
            "99999999999999999999-000000ab.seg",
        ] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
        assert_eq!(parse_number("7"), Some(7));
        for name in ["", "07", "+7", "-7", "seven", "18446744073709551616"] {
            assert_eq!(parse_number(name), None, "{name}");
        }
    }
}
