//! Goes over one partition up to where it ends now, past what retention takes away meanwhile.

use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::offset::{Offset, StartAt, TopicPartition};
use crate::reader::Reader;
use crate::record::StoredRecord;

/// The records of a partition between two offsets.
#[derive(Debug)]
pub(crate) struct Walk {
    place: TopicPartition,
    reader: Reader,
    /// The first offset that was there when the walk began.
    pub(crate) start: Offset,
    /// Where the walk ends.
    pub(crate) until: Offset,
}

impl Walk {
    /// Begins at `from`, or at the start if the partition does not hold it.
    pub(crate) fn open(log: &Log, place: &TopicPartition, from: Offset) -> Result<Self, Error> {
        loop {
            let offsets = log.offsets(place)?;
            let held = (offsets.start..=offsets.end).contains(&from);
            let first = if held { from } else { offsets.start };
            let reader = log
                .reader(place.topic().as_str())
                .partition(place.partition())
                .start_at(StartAt::Offset(first))
                .stop_at_end()
                .open();
            match reader {
                Ok(reader) => {
                    let (start, until) = (offsets.start, offsets.end);
                    return Ok(Self { place: place.clone(), reader, start, until });
                }
                // Retention has moved the start in between; then it is asked for anew.
                Err(error) if has_moved(&error, first).is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends earlier.
    pub(crate) fn until(mut self, until: Offset) -> Self {
        self.until = self.until.min(until);
        self
    }
}

impl Iterator for Walk {
    type Item = Result<StoredRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let partition = self.place.partition();
            let position = self.reader.position(partition)?;
            if position >= self.until {
                return None;
            }
            match self.reader.next()? {
                Ok(record) => return Some(Ok(record)),
                Err(error) => match has_moved(&error, position) {
                    Some(start) => {
                        if let Err(error) = self.reader.seek(partition, start) {
                            return Some(Err(error));
                        }
                    }
                    None => return Some(Err(error)),
                },
            }
        }
    }
}

/// Where a partition starts, if that is behind `position` by now.
fn has_moved(error: &Error, position: Offset) -> Option<Offset> {
    let valid = error.valid_range().filter(|_| error.kind() == ErrorKind::OffsetOutOfRange)?;
    (valid.start > position).then_some(valid.start)
}
