//! Letters that nobody needs: counted first, then marked once somebody has confirmed the count.

use std::collections::{BTreeMap, BTreeSet};

use super::filter::Filter;
use super::marker::State;
use super::scan::{Collection, Found};
use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::offset::{Offset, PartitionId, TopicId};

/// Letters that would be discarded; nothing has happened yet.
///
/// Made by [`Letters::discard`](crate::dlq::Letters::discard). Dropped, it changes nothing.
#[derive(Debug)]
#[must_use = "nothing is discarded before it is confirmed"]
pub struct Discard {
    log: Log,
    filter: Filter,
    meant: BTreeMap<(TopicId, PartitionId), BTreeSet<Offset>>,
}

impl Discard {
    pub(crate) fn plan(log: &Log, filter: &Filter) -> Result<Self, Error> {
        let mut meant: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let mut left = filter.most();
        for collection in Collection::all(log, filter)? {
            for partition in collection.partitions() {
                for found in collection.scan(log, partition)? {
                    let Found::Letter(letter) = found? else { continue };
                    if left > 0 && filter.takes(&letter) {
                        let place = (collection.letters.id, partition);
                        meant.entry(place).or_default().insert(letter.offset());
                        left -= 1;
                    }
                }
            }
        }
        Ok(Self { log: log.clone(), filter: filter.clone(), meant })
    }

    /// How many letters are meant.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.meant.values().map(|offsets| offsets.len() as u64).sum()
    }

    /// Discards exactly the letters that were counted, and returns how many those were.
    ///
    /// That is fewer than were counted if somebody else has redriven or discarded some of them in
    /// between. They stay in their topic as long as it keeps them, and can be redriven still by a
    /// filter that names their state.
    ///
    /// # Errors
    /// `InvalidConfig` if `count` is not the number that [`count`](Self::count) says, so that nobody
    /// confirms something else than was meant; what reading and writing meet. Some letters may be
    /// discarded then.
    pub fn confirm(self, count: u64) -> Result<u64, Error> {
        if count != self.count() {
            let text = format!("{count} letters confirmed, where {} are meant", self.count());
            return Err(Error::new(ErrorKind::InvalidConfig, text).during("discard letters"));
        }
        let told = |error: Error| error.during("discard letters");
        let _turn = self.log.begin_settling().map_err(told)?;
        let mut discarded = 0;
        for collection in Collection::all(&self.log, &self.filter).map_err(told)? {
            for partition in collection.partitions() {
                if let Some(offsets) = self.meant.get(&(collection.letters.id, partition)) {
                    let done = self.discard(&collection, partition, offsets);
                    discarded += done.map_err(told)?;
                }
            }
        }
        Ok(discarded)
    }

    fn discard(
        &self,
        collection: &Collection,
        partition: PartitionId,
        meant: &BTreeSet<Offset>,
    ) -> Result<u64, Error> {
        let mut scan = collection.scan(&self.log, partition)?;
        let mut discarded = 0;
        loop {
            let chunk = scan.chunk(usize::MAX, |letter| {
                meant.contains(&letter.offset()) && self.filter.takes(letter)
            })?;
            if chunk.is_empty() {
                break;
            }
            let chunk: Vec<_> = chunk.iter().collect();
            let of = (&collection.subject, &collection.letters);
            scan.book.mark(&self.log, of, &chunk, State::Discarded)?;
            discarded += chunk.len() as u64;
        }
        if discarded > 0 {
            scan.book.let_go(&self.log, &collection.subject, partition, scan.start);
        }
        Ok(discarded)
    }
}
