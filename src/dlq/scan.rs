//! Goes over the letters there are: each once, with what became of it.

use std::collections::BTreeSet;

use super::book::Book;
use super::filter::Filter;
use super::letter::{Letter, Unreadable};
use super::places::Subject;
use super::provenance::Identity;
use super::walk::Walk;
use crate::error::Error;
use crate::log::Log;
use crate::offset::{Offset, PartitionId, TopicPartition};
use crate::report::TopicInfo;
use crate::role::TopicRole;

/// One topic of dead letters, up to where each of its partitions ended at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) subject: Subject,
    pub(crate) letters: TopicInfo,
    ends: Vec<(PartitionId, Offset)>,
}

impl Collection {
    /// All topics of dead letters that a filter selects, by name.
    pub(crate) fn all(log: &Log, filter: &Filter) -> Result<Vec<Self>, Error> {
        let mut found = Vec::new();
        for letters in log.topics()? {
            let TopicRole::DeadLetters { topic, group } = letters.role().clone() else { continue };
            let subject = Subject { topic, group };
            if filter.selects(&subject) {
                let ends = ends(log, &letters)?;
                found.push(Self { subject, letters, ends });
            }
        }
        Ok(found)
    }

    /// Its partitions.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<'_> {
        self.ends.iter().map(|(partition, _)| *partition)
    }

    /// Goes over the letters of one partition.
    pub(crate) fn scan(&self, log: &Log, partition: PartitionId) -> Result<Scan<'_>, Error> {
        // The markers first: every letter that one of them counts is then behind the start, or met.
        let book = Book::read(log, &self.subject, self.letters.id, partition)?;
        let place = TopicPartition::new(self.letters.name.clone(), partition);
        let end = self.ends.iter().find(|(number, _)| *number == partition);
        let until = end.map_or(Offset::ZERO, |(_, end)| *end);
        let walk = Walk::open(log, &place, Offset::ZERO)?.until(until);
        Ok(Scan { collection: self, start: walk.start, walk, book, seen: BTreeSet::new() })
    }
}

fn ends(log: &Log, letters: &TopicInfo) -> Result<Vec<(PartitionId, Offset)>, Error> {
    let partitions = (0..letters.config.partitions).map(PartitionId::new);
    let end = |partition| {
        let place = TopicPartition::new(letters.name.clone(), partition);
        Ok((partition, log.offsets(&place)?.end))
    };
    partitions.map(end).collect()
}

/// Goes over the letters of one partition, in order.
///
/// The first letter about a record counts; what a fenced member writes late about the same record is
/// passed over.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    collection: &'a Collection,
    walk: Walk,
    pub(crate) book: Book,
    /// The first offset that is kept.
    pub(crate) start: Offset,
    seen: BTreeSet<Identity>,
}

/// What stands among dead letters.
#[derive(Debug)]
pub(crate) enum Found {
    Letter(Box<Letter>),
    Unreadable(Box<Unreadable>),
}

impl Iterator for Scan<'_> {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.walk.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            let letter = match Letter::read(record) {
                Ok(letter) => letter,
                Err(unreadable) => return Some(Ok(Found::Unreadable(unreadable))),
            };
            if *letter.group() != self.collection.subject.group {
                let unreadable = letter.into_unreadable("the letter of another group");
                return Some(Ok(Found::Unreadable(Box::new(unreadable))));
            }
            let identity = letter.provenance().source.identity();
            if self.seen.insert(identity) {
                let letter = letter.with_standing(self.book.standing(identity));
                return Some(Ok(Found::Letter(Box::new(letter))));
            }
        }
    }
}

impl Scan<'_> {
    /// The next letters that `wants` takes, about as many as are handled together.
    ///
    /// # Errors
    /// What reading meets.
    pub(crate) fn chunk(
        &mut self,
        most: usize,
        mut wants: impl FnMut(&Letter) -> bool,
    ) -> Result<Vec<Letter>, Error> {
        let mut chunk = Vec::new();
        let mut bytes = 0_usize;
        while chunk.len() < most.min(CHUNK_LETTERS) && bytes < CHUNK_BYTES {
            match self.next().transpose()? {
                None => break,
                Some(Found::Unreadable(_)) => {}
                Some(Found::Letter(letter)) if wants(&letter) => {
                    bytes = bytes.saturating_add(letter.value().map_or(0, <[u8]>::len));
                    chunk.push(*letter);
                }
                Some(Found::Letter(_)) => {}
            }
        }
        Ok(chunk)
    }
}

/// How many letters share their syncs when something is done with them.
const CHUNK_LETTERS: usize = 512;
const CHUNK_BYTES: usize = 1 << 20;
