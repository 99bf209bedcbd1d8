//! Which letters are meant.

use super::fingerprint::Fingerprint;
use super::letter::Letter;
use super::marker::State;
use super::places::Subject;
use crate::offset::{Offset, Timestamp, TopicPartition};

/// Says which letters are meant; all of them unless it is narrowed.
///
/// What is said more than once holds as it was said last, and everything that is said holds
/// together.
///
/// # Examples
/// ```
/// use brooklet::dlq::{Filter, State};
///
/// let filter = Filter::new()
///     .topic("orders")
///     .group("billing")
///     .error_contains("no such customer")
///     .state(State::Waiting)
///     .limit(100);
/// # let _ = filter;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Filter {
    topic: Option<String>,
    group: Option<String>,
    key: Option<Vec<u8>>,
    error_type: Option<String>,
    error_contains: Option<String>,
    fingerprint: Option<Fingerprint>,
    failed_from: Option<Timestamp>,
    failed_before: Option<Timestamp>,
    state: Option<State>,
    letter: Option<(TopicPartition, Offset)>,
    limit: Option<usize>,
}

impl Filter {
    /// All letters of all topics and groups.
    pub fn new() -> Self {
        Self::default()
    }

    /// Letters about the records of this topic, redriven or not.
    pub fn topic(mut self, topic: &str) -> Self {
        self.topic = Some(topic.to_owned());
        self
    }

    /// Letters of this group.
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// Letters whose record has exactly this key.
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &K) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Letters whose error is exactly of this type.
    pub fn error_type(mut self, error_type: &str) -> Self {
        self.error_type = Some(error_type.to_owned());
        self
    }

    /// Letters whose error says this somewhere; case counts.
    pub fn error_contains(mut self, text: &str) -> Self {
        self.error_contains = Some(text.to_owned());
        self
    }

    /// Letters of one failure group.
    pub fn fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Letters whose record failed last at this time or later.
    pub fn failed_from(mut self, time: Timestamp) -> Self {
        self.failed_from = Some(time);
        self
    }

    /// Letters whose record failed last before this time.
    pub fn failed_before(mut self, time: Timestamp) -> Self {
        self.failed_before = Some(time);
        self
    }

    /// Letters in this state.
    ///
    /// Without it, looking shows letters in every state, while redriving and discarding mean those
    /// that wait.
    pub fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// This one letter.
    pub fn letter(mut self, letter: &Letter) -> Self {
        self.letter = Some((letter.topic_partition().clone(), letter.offset()));
        self
    }

    /// At most this many letters, the oldest of each partition first; by default all of them.
    ///
    /// Redriving the same filter again then goes on with the next ones. Counts take no notice of it.
    pub fn limit(mut self, letters: usize) -> Self {
        self.limit = Some(letters);
        self
    }

    pub(crate) fn most(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    pub(crate) fn selects(&self, subject: &Subject) -> bool {
        let topic = self.topic.as_ref().is_none_or(|topic| topic == subject.topic.as_str());
        topic && self.group.as_ref().is_none_or(|group| group == subject.group.as_str())
    }

    /// Whether a letter is meant where letters are looked at.
    pub(crate) fn shows(&self, letter: &Letter) -> bool {
        let within = |time| {
            self.failed_from.is_none_or(|from| from <= time)
                && self.failed_before.is_none_or(|before| time < before)
        };
        let place = |(place, offset): &(TopicPartition, Offset)| {
            place == letter.topic_partition() && *offset == letter.offset()
        };
        self.state.is_none_or(|state| state == letter.state())
            && self.key.as_ref().is_none_or(|key| Some(key.as_slice()) == letter.key())
            && self.error_type.as_ref().is_none_or(|kind| kind == letter.error_type())
            && self.error_contains.as_ref().is_none_or(|text| letter.error().contains(text))
            && self.fingerprint.is_none_or(|fingerprint| fingerprint == letter.fingerprint())
            && self.letter.as_ref().is_none_or(place)
            && within(letter.last_failed())
    }

    /// Whether a letter is meant where something is done with letters.
    pub(crate) fn takes(&self, letter: &Letter) -> bool {
        (self.state.is_some() || letter.state() == State::Waiting) && self.shows(letter)
    }
}
