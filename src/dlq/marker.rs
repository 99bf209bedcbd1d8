//! What became of a letter, as a record of the topic that keeps it.
//!
//! Letters are never changed: a marker behind each other says what became of one. The newest marker
//! of a letter holds. A marker outlives the retention of its letter until others are written, and
//! the last one of a partition for ever, because it has the count of all letters that were settled.
//!
//! ```text
//!  key:   source topic id / partition / offset                           7/3/1042
//!  value: version, state, times redriven, letters settled so far,        1 redriven 2 17 9 40
//!         id of the letters' topic, offset of the letter
//! ```

use std::fmt;

use super::headers::Flaw;
use super::provenance::Identity;
use crate::offset::{Offset, PartitionId, Timestamp, TopicId};

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum State {
    /// Nothing yet: somebody has to look at it.
    #[default]
    Waiting,
    /// A copy of it was sent to be handled again.
    ///
    /// If that fails as well, it becomes a letter of its own, with the same origin.
    Redriven,
    /// Somebody decided that it is not needed.
    Discarded,
}

impl State {
    /// The state in one word, as it is also stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a letter stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: State,
    /// How often a copy of it was sent.
    pub(crate) redriven: u32,
    /// Since when; none for a letter that waits.
    pub(crate) since: Option<Timestamp>,
}

/// One record of the topic of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) identity: Identity,
    /// Redriven or discarded; no letter goes back to waiting.
    pub(crate) state: State,
    pub(crate) redriven: u32,
    /// How many letters of this partition have ever stopped waiting, this one included.
    pub(crate) settled: u64,
    /// The topic of the letter: markers say nothing about one that was made anew.
    pub(crate) letters: TopicId,
    /// Where in it the letter stands.
    pub(crate) offset: Offset,
}

impl Marker {
    pub(crate) fn key(&self) -> String {
        let Identity { topic, partition, offset } = self.identity;
        format!("{topic}/{partition}/{offset}")
    }

    pub(crate) fn value(&self) -> String {
        let Self { identity: _, state, redriven, settled, letters, offset } = self;
        format!("{VERSION} {state} {redriven} {settled} {letters} {offset}")
    }

    pub(crate) fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, Flaw> {
        let [topic, partition, offset] = words(key, '/').ok_or("key")?;
        let identity = Identity {
            topic: TopicId::new(number(topic)?),
            partition: PartitionId::new(number(partition)?),
            offset: Offset::new(number(offset)?),
        };
        let [version, state, redriven, settled, letters, offset] =
            words(value, ' ').ok_or("value")?;
        if number(version) != Ok(VERSION) {
            return Err("version");
        }
        let states = [State::Redriven, State::Discarded];
        Ok(Self {
            identity,
            state: states.into_iter().find(|known| known.as_str() == state).ok_or("state")?,
            redriven: number(redriven)?,
            settled: number(settled)?,
            letters: TopicId::new(number(letters)?),
            offset: Offset::new(number(offset)?),
        })
    }
}

const VERSION: u8 = 1;

/// A text of exactly `N` words.
fn words<const N: usize>(bytes: Option<&[u8]>, between: char) -> Option<[&str; N]> {
    let words: Vec<_> = std::str::from_utf8(bytes?).ok()?.split(between).collect();
    words.try_into().ok()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Flaw> {
    text.parse().map_err(|_| "number")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::{Marker, State};
    use crate::dlq::provenance::Identity;
    use crate::offset::{Offset, PartitionId, TopicId};

    fn markers() -> impl Strategy<Value = Marker> {
        let state = prop_oneof![Just(State::Redriven), Just(State::Discarded)];
        let numbers = (any::<u64>(), any::<u32>(), any::<u64>(), any::<u32>());
        (state, numbers, any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
            |(state, (topic, partition, offset, redriven), settled, letters, letter)| Marker {
                identity: Identity {
                    topic: TopicId::new(topic),
                    partition: PartitionId::new(partition),
                    offset: Offset::new(offset),
                },
                state,
                redriven,
                settled,
                letters: TopicId::new(letters),
                offset: Offset::new(letter),
            },
        )
    }

    proptest! {
        /// A letter would be handled again after it was discarded.
        #[test]
        fn markers_are_read_as_they_were_written(marker in markers()) {
            let (key, value) = (marker.key(), marker.value());
            prop_assert_eq!(Marker::read(Some(key.as_bytes()), Some(value.as_bytes())), Ok(marker));
        }

        /// A foreign record in the topic of states would stop the program.
        #[test]
        fn other_records_are_no_markers(key: Option<Vec<u8>>, value: Option<Vec<u8>>) {
            assert!(Marker::read(key.as_deref(), value.as_deref()).is_err());
        }
    }

    /// What an older build wrote would not be understood any more.
    #[test]
    fn markers_look_as_documented() {
        let marker = Marker::read(Some(b"7/3/1042"), Some(b"1 redriven 2 17 9 40")).unwrap();
        assert_eq!((marker.redriven, marker.settled), (2, 17));
        assert_eq!(marker.key(), "7/3/1042");
        assert_eq!(marker.value(), "1 redriven 2 17 9 40");
        for value in ["1 waiting 2 17 9 40", "2 redriven 2 17 9 40", "1 redriven 2 17 9 40 0"] {
            assert!(Marker::read(Some(b"7/3/1042"), Some(value.as_bytes())).is_err(), "{value}");
        }
    }
}
