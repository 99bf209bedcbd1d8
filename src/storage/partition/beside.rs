//! A partition that another process writes: looked at without touching it, and again when it has
//! moved on.

use std::path::Path;

use crate::error::{Error, ErrorKind};
use crate::offset::Offset;
use crate::storage::beside::until_settled;
use crate::storage::manifest::{PartitionRows, SegmentRowState};
use crate::storage::partition::PartitionLog;

impl PartitionLog {
    /// Judges files that may change while they are looked at; damage is believed once it was seen
    /// twice.
    ///
    /// The rows that were read when the log was opened serve for as long as they fit the files.
    pub(super) fn recover_beside(&mut self, durable_end: Offset) -> Result<Option<Error>, Error> {
        let mut damage = None;
        let looked = until_settled(|| {
            if damage.take().is_some() {
                self.rows = self.rows_now()?;
            }
            damage = self.recover(durable_end)?;
            damage.clone().map_or(Ok(()), Err)
        });
        match damage {
            Some(damage) => Ok(Some(damage)),
            None => looked.map(|()| None),
        }
    }

    /// Finds out whether the writer has let go of a segment whose file is not there; if so, the
    /// next opening goes by what it lists now.
    ///
    /// A writer lists a segment as removed before it unlinks the file, so that one that is listed
    /// still is missing.
    pub(crate) fn notice_removal(&mut self, missing: &Path) -> Result<bool, Error> {
        let segment = self.sealed.iter().find(|view| view.segment.path() == missing);
        let Some(place) =
            segment.filter(|_| self.ground.read_only).map(|view| view.segment.place())
        else {
            return Ok(false);
        };
        let rows = self.rows_now()?;
        let row = rows.segments.get(&(place.base, place.salt));
        let removed = row.is_none_or(|row| row.state == SegmentRowState::Removed);
        // Where the list is what it was, another opening would come to the same end, for ever.
        let moved_on = removed && rows.segments != self.rows.segments;
        if moved_on {
            self.rows = rows;
        }
        Ok(moved_on)
    }

    fn rows_now(&self) -> Result<PartitionRows, Error> {
        let rows = until_settled(|| self.ground.manifest.read_rows(self.id))?;
        rows.ok_or_else(|| Error::new(ErrorKind::UnknownTopic, "the topic was deleted"))
    }
}
