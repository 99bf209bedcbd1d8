//! How a damaged log is repaired, and what that costs.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::offset::{Offset, TopicPartition};

/// What to do with a damaged partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repair {
    /// Every record that can be read keeps its offset; only what cannot be read is given up.
    ///
    /// Readers are told of the hole each time they come to it and go on behind it; appends go on at
    /// the end, and nothing ever takes the place of what was lost.
    #[default]
    KeepReadable,
    /// The partition ends before its first damage; everything behind is given up, good or not.
    ///
    /// Its offsets are given again to other records. Groups that were ahead go on at the new end.
    CutAtDamage,
    /// Nothing: what can be read can be read, and appends are refused where they were.
    Leave,
}

/// Something that a repair gives up.
///
/// # Examples
/// Its text: `orders/3: records 17..20`, `catalog: what stood at byte 64 …`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The partition whose records are given up; none for the log's own books.
    pub partition: Option<TopicPartition>,
    /// The offsets that are given up.
    pub offsets: Option<Range<Offset>>,
    /// What it is, in words.
    pub what: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What a repair has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct RepairReport {
    /// What was given up: what the plan had said.
    pub given_up: Vec<Loss>,
    /// The files that were replaced, under the names that they have now.
    pub aside: Vec<PathBuf>,
}
