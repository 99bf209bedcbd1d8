//! What a test says about dead letters, with failures that show what is there.

use crate::dlq::{Filter, Letter, Letters, State};
use crate::log::Log;
use crate::testing::probe::{fail, shown};

/// Looks at dead letters: those that wait to be looked after, unless another state is asked for.
///
/// # Examples
/// ```
/// use brooklet::Record;
/// use brooklet::testing::TestBus;
/// use brooklet::worker::{Failure, Worker};
///
/// let mut bus = TestBus::new()?;
/// let worker = Worker::new(bus.log(), "billing");
/// bus.publish("orders", Record::new("42 apples").key("order-42"))?;
/// let worker = worker.topics(["orders"]);
/// bus.attach(worker.handle(|_| Err(Failure::Dead("no apples left".into()))))?;
/// assert_eq!(bus.settle()?.dead, 1);
///
/// let letters = bus.dead_letters().topic("orders").group("billing");
/// let letter = letters.key("order-42").error_contains("no apples").assert_one();
/// assert_eq!((letter.value(), letter.attempts()), (Some(&b"42 apples"[..]), 1));
/// bus.dead_letters().group("shipping").assert_none();
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LettersProbe {
    letters: Letters,
    filter: Filter,
    value: Option<Vec<u8>>,
}

impl LettersProbe {
    pub(super) fn new(log: &Log) -> Self {
        let filter = Filter::new().state(State::Waiting);
        Self { letters: Letters::of(log), filter, value: None }
    }

    /// Only letters about the records of this topic, redriven or not.
    pub fn topic(self, topic: &str) -> Self {
        self.narrowed(|filter| filter.topic(topic))
    }

    /// Only letters of this group.
    pub fn group(self, group: &str) -> Self {
        self.narrowed(|filter| filter.group(group))
    }

    /// Only letters whose record has exactly this key.
    pub fn key<K: AsRef<[u8]> + ?Sized>(self, key: &K) -> Self {
        self.narrowed(|filter| filter.key(key))
    }

    /// Only letters whose record has exactly this value.
    pub fn value<V: AsRef<[u8]> + ?Sized>(mut self, value: &V) -> Self {
        self.value = Some(value.as_ref().to_vec());
        self
    }

    /// Only letters whose error has this text in it.
    pub fn error_contains(self, text: &str) -> Self {
        self.narrowed(|filter| filter.error_contains(text))
    }

    /// Letters in this state instead of those that wait.
    pub fn state(self, state: State) -> Self {
        self.narrowed(|filter| filter.state(state))
    }

    /// There are no such letters.
    ///
    /// # Panics
    /// If there are some, or letters cannot be read; with what is there.
    #[track_caller]
    pub fn assert_none(&self) {
        self.assert_count(0);
    }

    /// There are so many such letters.
    ///
    /// # Panics
    /// If there are more or fewer, or letters cannot be read; with what is there.
    #[track_caller]
    pub fn assert_count(&self, count: usize) {
        let found = self.list(&self.filter).into_iter().filter(|letter| self.fits(letter)).count();
        if found != count {
            self.miss(found, count);
        }
    }

    /// There is one such letter; returns it.
    ///
    /// # Panics
    /// If there is none or there are several, or letters cannot be read; with what is there.
    #[track_caller]
    pub fn assert_one(&self) -> Letter {
        let mut found = self.list(&self.filter);
        found.retain(|letter| self.fits(letter));
        let count = found.len();
        match found.pop() {
            Some(letter) if count == 1 => letter,
            _ => self.miss(count, 1),
        }
    }

    fn narrowed(self, narrow: impl FnOnce(Filter) -> Filter) -> Self {
        Self { filter: narrow(self.filter), ..self }
    }

    fn fits(&self, letter: &Letter) -> bool {
        self.value.as_deref().is_none_or(|value| letter.value() == Some(value))
    }

    #[track_caller]
    fn list(&self, filter: &Filter) -> Vec<Letter> {
        match self.letters.list(filter) {
            Ok(letters) => letters,
            Err(error) => fail(&error.to_string(), &[], &[]),
        }
    }

    /// Shows all letters, because the one that was looked for may be among them in another state.
    #[track_caller]
    fn miss(&self, found: usize, count: usize) -> ! {
        let all = self.list(&Filter::new());
        let all = all.iter().map(line).collect::<Vec<_>>();
        let what = format!("{found} dead letters are as asked for, not {count}; all there are:");
        fail(&what, &[], &all)
    }
}

/// A letter as a line of text.
fn line(letter: &Letter) -> String {
    let key = letter.key().map_or("no key".to_owned(), |key| shown(Some(key)));
    format!(
        "{} of {}@{}: {key}, {}, {} after {} attempts: {}",
        letter.group(),
        letter.origin(),
        letter.origin_offset(),
        shown(letter.value()),
        letter.state().as_str(),
        letter.attempts(),
        letter.error()
    )
}
