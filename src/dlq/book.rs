//! What became of the letters of one partition, as its markers tell.

use std::collections::BTreeMap;

use super::letter::Letter;
use super::marker::{Marker, Standing, State};
use super::places::Subject;
use super::provenance::Identity;
use super::walk::Walk;
use crate::error::Error;
use crate::log::Log;
use crate::offset::{Offset, PartitionId, TopicId, TopicPartition};
use crate::partitioner::Fixed;
use crate::producer::Acks;
use crate::report::TopicInfo;

/// The standings of the letters in one partition.
///
/// **Invariants**: `settled` counts each letter once, however often it was redriven and whether it is
/// still there; only one handle of the log writes markers at a time (`Log::begin_settling`).
#[derive(Debug, Default)]
pub(crate) struct Book {
    standings: BTreeMap<Identity, Standing>,
    /// How many letters of the partition have ever stopped waiting.
    pub(crate) settled: u64,
    /// The offsets of all markers and of their letters, in the order of the markers.
    lines: Vec<(Offset, Offset)>,
    start: Offset,
    end: Offset,
}

impl Book {
    /// Reads the markers about the letters of one partition.
    pub(crate) fn read(
        log: &Log,
        subject: &Subject,
        letters: TopicId,
        partition: PartitionId,
    ) -> Result<Self, Error> {
        let mut book = Self::default();
        let states = log.topic_of(&subject.states_role())?;
        let states = states.filter(|states| partition.value() < states.config.partitions);
        let Some(states) = states else { return Ok(book) };
        let walk = Walk::open(log, &TopicPartition::new(states.name, partition), Offset::ZERO)?;
        (book.start, book.end) = (walk.start, walk.until);
        for record in walk {
            let record = record?;
            // Markers about a topic that was deleted say nothing about the one made in its place.
            let marker = Marker::read(record.key(), record.value()).ok();
            if let Some(marker) = marker.filter(|marker| marker.letters == letters) {
                let Marker { identity, state, redriven, settled, offset, .. } = marker;
                let since = Some(record.append_time());
                book.standings.insert(identity, Standing { state, redriven, since });
                book.settled = settled;
                book.lines.push((record.offset(), offset));
            }
        }
        Ok(book)
    }

    /// How a letter stands.
    pub(crate) fn standing(&self, letter: Identity) -> Standing {
        self.standings.get(&letter).copied().unwrap_or_default()
    }

    /// Writes durably that letters are in another state.
    pub(crate) fn mark(
        &mut self,
        log: &Log,
        (subject, letters): (&Subject, &TopicInfo),
        settled: &[&Letter],
        state: State,
    ) -> Result<(), Error> {
        let Some(first) = settled.first() else { return Ok(()) };
        let partition = first.topic_partition().partition();
        let states = subject.ensure_states(log, &letters.config)?;
        let mut markers = Vec::with_capacity(settled.len());
        let mut count = self.settled;
        for letter in settled {
            let before = letter.standing();
            count = count.saturating_add(u64::from(before.state == State::Waiting));
            let again = u32::from(state == State::Redriven);
            markers.push(Marker {
                identity: letter.provenance().source.identity(),
                state,
                redriven: before.redriven.saturating_add(again),
                settled: count,
                letters: letters.id,
                offset: letter.offset(),
            });
        }
        let texts: Vec<_> = markers.iter().map(|marker| (marker.key(), marker.value())).collect();
        let records = texts.iter().map(|(key, value)| crate::record::Record::new(value).key(key));
        let producer = log.producer(states.name.as_str())?;
        producer.acks(Acks::Durable).partitioner(Fixed(partition)).send_all(records)?;
        self.settled = count;
        for marker in markers {
            let Marker { identity, state, redriven, .. } = marker;
            self.standings.insert(identity, Standing { state, redriven, since: None });
        }
        Ok(())
    }

    /// Lets go of the markers that were read, up to the first one whose letter is still there.
    ///
    /// Only to be called behind a [`mark`](Self::mark): the newest marker has the count.
    pub(crate) fn let_go(
        &self,
        log: &Log,
        subject: &Subject,
        partition: PartitionId,
        start: Offset,
    ) {
        let needed = self.lines.iter().find(|(_, letter)| *letter >= start);
        let before = needed.map_or(self.end, |(marker, _)| *marker);
        if before <= self.start {
            return;
        }
        if let Ok(Some(states)) = log.topic_of(&subject.states_role()) {
            // What is not let go of now takes up room and nothing else; the next time tries again.
            let _ = log.trim(&TopicPartition::new(states.name, partition), before);
        }
    }
}
