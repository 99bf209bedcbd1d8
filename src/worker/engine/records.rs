//! What is done for single partitions and records: their dead letters.

use crate::dlq::OnWriteFailure;
use crate::dlq::letterbox::{Failed, LetterBox};
use crate::error::{Error, ErrorKind};
use crate::offset::{Offset, TopicPartition};
use crate::record::StoredRecord;
use crate::worker::ledger::{Letter, Opening, Start};
use crate::worker::metadata::Metadata;

use super::Engine;

impl Engine {
    /// Finds out what an owner of a partition has to know before it handles anything of it.
    pub(super) fn open(&self, opening: &Opening) {
        let begun = self.begin(&opening.place);
        let now = self.now();
        self.state.with(|state| match begun {
            Ok(start) => state.ledger.opened(opening.part, start, now),
            Err(error) => state.ledger.open_failed(opening.part, error.into(), now),
        });
    }

    fn begin(&self, place: &TopicPartition) -> Result<Start, Error> {
        let begin = self.state.with(|state| state.begins.get(place).cloned()).unwrap_or_default();
        let offsets = self.log.offsets(place)?;
        let first = offsets.start;
        let committed = begin.committed.as_ref().map_or(first, |committed| committed.offset());
        let metadata = begin.committed.as_ref().map(|at| Metadata::decode(at.metadata()));
        let metadata = metadata.unwrap_or_default();
        let letters = self.letter_box(place)?;
        // The end is looked at first, so that a letter that is written meanwhile lies behind it.
        let letters_end = letters.end(place.partition())?;
        let from = metadata.letters.unwrap_or(Offset::ZERO);
        let known = letters.known_since(place.partition(), from, committed)?;
        let cut_short = self.was_cut_short.then(|| begin.at_open.unwrap_or(first));
        let ahead = self.state.with(|state| state.ledger.max_ahead());
        let suspect_end = metadata.suspects_from(committed, cut_short, ahead);
        // What is appended from now on was never in anybody's hands.
        let suspect_end = suspect_end.map(|end| end.min(offsets.end));
        Ok(Start { committed, metadata, suspect_end, letters_end, known })
    }

    /// Writes a letter, unless it is there already.
    pub(super) fn write(&self, letter: &Letter<StoredRecord>) {
        let written = self.letter_box(&letter.place).and_then(|letters| {
            let written = self.try_write(&letters, letter);
            match written {
                Err(_) if letters.on_write_failure() == OnWriteFailure::Drop => Ok(Fate::Dropped),
                written => written,
            }
        });
        let now = self.now();
        self.state.with(|state| match written {
            Ok(Fate::Written(place)) => state.ledger.lettered(letter.run, Some(place), now),
            Ok(Fate::Found) => state.ledger.lettered(letter.run, None, now),
            Ok(Fate::Dropped) => state.ledger.dropped(letter.run, now),
            Err(error) => state.ledger.letter_failed(letter.run, error.into(), now),
        });
    }

    fn try_write(&self, letters: &LetterBox, letter: &Letter<StoredRecord>) -> Result<Fate, Error> {
        let partition = letter.place.partition();
        let offset = letter.run.offset;
        if let Some(from) = letter.look_from {
            let known = letters.known_since(partition, from, letter.committed)?;
            if known.contains(&offset) {
                return Ok(Fate::Found);
            }
        }
        let failed = Failed {
            record: &letter.record,
            attempts: letter.attempts,
            first_failed: letter.first_failed,
            last_failed: letter.last_failed,
            error_type: letter.reason.kind(),
            error: &letter.reason.to_string(),
        };
        let written = letters.write(failed);
        if let Err(error) = &written
            && error.kind() == ErrorKind::Poisoned
            && let Some(place) = letters.place(partition)?
        {
            // The next try finds it open, or says why not.
            self.log.reopen_partition(&place)?;
        }
        written.map(Fate::Written)
    }

    fn letter_box(&self, place: &TopicPartition) -> Result<LetterBox, Error> {
        LetterBox::open(&self.log, &self.group, place.topic().as_str(), &self.letters)
    }
}

/// What became of a record that was given up.
enum Fate {
    Written(Offset),
    Found,
    Dropped,
}
