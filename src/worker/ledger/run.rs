//! A record in a handler's hands, by name. Pure.

use crate::offset::Offset;

use super::calendar::PartId;

/// A record in a handler's hands. There is one at a time of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    pub(crate) part: PartId,
    pub(crate) offset: Offset,
}
