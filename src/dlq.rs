//! Dead letters: records that a group could not handle, kept where somebody can look after them.
//!
//! A worker that gives a record up writes it, byte for byte, to a topic of dead letters, with
//! headers behind the record's own that tell where it came from and why it failed; then it goes on.
//! [`DeadLetters`] says where and for how long. [`Letters`] shows what is there, has it handled
//! again, or discards it.
//!
//! Each topic and group has its own topic of dead letters, `<topic>.<group>.dlq` unless that name
//! is taken. A letter is about one record as one group consumed it; if there are two about the same
//! one, the first counts. Letters are never changed: what becomes of them is written beside them,
//! in a topic of its own, and survives everything that they do.
//!
//! # Examples
//! ```
//! use brooklet::Log;
//! use brooklet::dlq::{Filter, Letters, State};
//!
//! let log = Log::in_memory()?;
//! let letters = Letters::of(&log);
//! let waiting = Filter::new().group("billing").state(State::Waiting);
//! for group in letters.failure_groups(&waiting)? {
//!     println!("{} times {}: {}", group.count, group.sample.error_type(), group.sample.error());
//! }
//! let sent = letters.redrive(&waiting.error_contains("timeout")).run()?;
//! assert_eq!(sent.letters, letters.count(&Filter::new())?.redriven);
//! # Ok::<(), brooklet::Error>(())
//! ```

use std::fmt;

use crate::error::Error;
use crate::log::Log;

mod book;
mod count;
mod discard;
mod filter;
mod fingerprint;
mod headers;
mod letter;
pub(crate) mod letterbox;
mod marker;
mod places;
mod policy;
mod provenance;
mod redrive;
mod scan;
mod walk;

pub use count::{Counts, FailureGroup};
pub use discard::Discard;
pub use filter::Filter;
pub use fingerprint::Fingerprint;
pub use letter::{Letter, Unreadable};
pub use marker::State;
pub use policy::{DeadLetters, OnWriteFailure};
pub use redrive::{Redrive, Redriven, Refused};

use scan::{Collection, Found};

/// The dead letters of a log, to look at and to look after.
///
/// Every call reads the letters that the filter's topic and group name, up to where they end when
/// it begins; nothing is kept in between.
#[derive(Clone)]
pub struct Letters {
    log: Log,
}

impl Letters {
    /// The dead letters of `log`.
    #[must_use]
    pub fn of(log: &Log) -> Self {
        Self { log: log.clone() }
    }

    /// The letters that a filter shows, by topic, partition and offset.
    ///
    /// They are all in memory at once: give the filter a [`limit`](Filter::limit) where there may be
    /// many.
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Letter>, Error> {
        let mut list = Vec::new();
        self.read(filter, |found| {
            if let Found::Letter(letter) = found
                && filter.shows(&letter)
            {
                list.push(*letter);
            }
            list.len() < filter.most()
        })?;
        Ok(list)
    }

    /// Records among the letters that are none, or that this version cannot read.
    ///
    /// Of the filter only topic, group and limit count.
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn unreadable(&self, filter: &Filter) -> Result<Vec<Unreadable>, Error> {
        let mut list = Vec::new();
        self.read(filter, |found| {
            if let Found::Unreadable(record) = found {
                list.push(*record);
            }
            list.len() < filter.most()
        })?;
        Ok(list)
    }

    /// How many letters a filter shows, by state.
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn count(&self, filter: &Filter) -> Result<Counts, Error> {
        Counts::of(&self.log, filter).map_err(|error| error.during("count letters"))
    }

    /// The causes of the letters that a filter shows, the most frequent first.
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn failure_groups(&self, filter: &Filter) -> Result<Vec<FailureGroup>, Error> {
        FailureGroup::all(&self.log, filter).map_err(|error| error.during("group letters"))
    }

    /// Has letters handled again: those that wait, unless the filter names another state.
    ///
    /// Nothing happens before [`Redrive::run`]. A letter that was redriven before is sent again, with
    /// the next redrive number; one that was discarded counts as redriven from then on.
    pub fn redrive(&self, filter: &Filter) -> Redrive {
        Redrive::new(&self.log, filter)
    }

    /// Counts letters to discard: those that wait, unless the filter names another state.
    ///
    /// Nothing happens before [`Discard::confirm`].
    ///
    /// # Errors
    /// What reading meets; `Closed`.
    pub fn discard(&self, filter: &Filter) -> Result<Discard, Error> {
        let plan = Discard::plan(&self.log, filter);
        plan.map_err(|error| error.during("plan to discard letters"))
    }

    /// Shows everything to `see` until it has enough.
    fn read(&self, filter: &Filter, mut see: impl FnMut(Found) -> bool) -> Result<(), Error> {
        let told = |error: Error| error.during("list letters");
        for collection in Collection::all(&self.log, filter).map_err(told)? {
            for partition in collection.partitions() {
                for found in collection.scan(&self.log, partition).map_err(told)? {
                    if !see(found.map_err(told)?) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters").finish_non_exhaustive()
    }
}
