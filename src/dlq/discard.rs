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

#[cfg(test)]
mod tests {
    use crate::config::TopicConfig;
    use crate::dlq::fixture::{give_up, list, reopen, values};
    use crate::dlq::{Filter, Letters, State};
    use crate::error::ErrorKind;
    use crate::log::Log;
    use crate::testing::{CrashPolicy, SimDisk};

    fn log_with_letters(disk: &SimDisk) -> Log {
        let log = reopen(disk);
        log.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
        for (partition, value) in [(0, "a"), (1, "b"), (1, "c")] {
            give_up(&log, partition, value);
        }
        log
    }

    /// Letters would be discarded that nobody meant, or come back after a restart.
    #[test]
    fn only_a_confirmed_count_is_discarded() {
        let disk = SimDisk::new(1);
        let log = log_with_letters(&disk);
        let letters = Letters::of(&log);
        let before = disk.snapshot();
        let plan = letters.discard(&Filter::new()).unwrap();
        assert_eq!(plan.count(), 3);
        let error = plan.confirm(2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(
            error.to_string(),
            "discard letters: invalid configuration: 2 letters confirmed, where 3 are meant"
        );
        drop(letters.discard(&Filter::new()).unwrap());
        assert_eq!(disk.snapshot(), before);

        let plan = letters.discard(&Filter::new().limit(2)).unwrap();
        assert_eq!(plan.confirm(2).unwrap(), 2);
        let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
        assert_eq!(values(&log, &Filter::new().state(State::Waiting)), ["c"]);
        assert_eq!(values(&log, &Filter::new().state(State::Discarded)), ["a", "b"]);
        assert_eq!(list(&log, &Filter::new()).len(), 3, "discarded letters are there to look at");
        assert_eq!(Letters::of(&log).redrive(&Filter::new()).run().unwrap().letters, 1);
    }

    /// A letter that came or was redriven behind the count would be discarded unseen.
    #[test]
    fn what_changes_after_the_count_is_left_alone() {
        let log = log_with_letters(&SimDisk::new(1));
        let letters = Letters::of(&log);
        let plan = letters.discard(&Filter::new()).unwrap();
        give_up(&log, 0, "late");
        letters.redrive(&Filter::new().limit(1)).run().unwrap();
        assert_eq!(plan.confirm(3).unwrap(), 2);
        assert_eq!(values(&log, &Filter::new().state(State::Redriven)), ["a"]);
        assert_eq!(values(&log, &Filter::new().state(State::Discarded)), ["b", "c"]);
        assert_eq!(values(&log, &Filter::new().state(State::Waiting)), ["late"]);
    }

    /// A plan for a topic that was deleted would hit the letters of the one made in its place.
    #[test]
    fn a_topic_made_anew_has_nothing_discarded() {
        let log = log_with_letters(&SimDisk::new(1));
        let letters = Letters::of(&log);
        assert_eq!(letters.discard(&Filter::new().limit(1)).unwrap().confirm(1).unwrap(), 1);
        let plan = letters.discard(&Filter::new()).unwrap();
        log.delete_topic("t.g.dlq").unwrap();
        log.delete_topic("t").unwrap();
        log.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
        for (partition, value) in [(0, "d"), (1, "e")] {
            give_up(&log, partition, value);
        }
        assert_eq!(plan.confirm(2).unwrap(), 0);
        let counts = letters.count(&Filter::new()).unwrap();
        assert_eq!((counts.waiting, counts.letters(), counts.expired_unread), (2, 2, 0));
    }
}
