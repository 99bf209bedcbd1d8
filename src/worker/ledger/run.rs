//! A record in a handler's hands, by name. Pure.

use crate::offset::Offset;

use super::calendar::PartId;

/// A record in a handler's hands. There is one at a time of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::worker) struct Run {
    pub(in crate::worker) part: PartId,
    pub(in crate::worker) offset: Offset,
}
