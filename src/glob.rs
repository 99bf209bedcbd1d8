//! Patterns over topic names: parsed once, then matched in time linear in the name.
//!
//! A pattern runs as a machine of at most 250 states, which fit four words, so that a step is a
//! handful of instructions whatever the pattern: a hostile one costs no more than a plain one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::NAME_BYTES_MAX;
use crate::name::{TopicName, is_allowed};

/// A pattern that topic names match or do not, such as `orders.*`.
///
/// `*` stands for any characters, also for none; `?` for exactly one; every other character for
/// itself. The dot is a character like the others, and a pattern matches a name only as a whole.
/// A pattern has 1 to 249 bytes out of `[A-Za-z0-9._-]`, `*` and `?`.
///
/// # Examples
/// ```
/// use brooklet::{InvalidGlob, TopicGlob, TopicName};
///
/// let glob = TopicGlob::new("orders.*")?;
/// assert!(glob.matches(&TopicName::new("orders.eu.v2")?));
/// assert!(!glob.matches(&TopicName::new("orders")?));
///
/// // A regular expression is refused, not misunderstood.
/// let refused = TopicGlob::new("orders[12]");
/// assert_eq!(refused, Err(InvalidGlob::Character { at: 6, found: '[' }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **Invariants**: a clone shares the pattern and allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicGlob {
    text: Arc<str>,
    machine: Arc<Machine>,
}

impl TopicGlob {
    /// Parses `pattern`.
    ///
    /// # Errors
    /// [`InvalidGlob`] if `pattern` is empty, too long, or holds a character that no name and no
    /// pattern has.
    pub fn new(pattern: &str) -> Result<TopicGlob, InvalidGlob> {
        if pattern.is_empty() {
            return Err(InvalidGlob::Empty);
        }
        // The length comes first, so that a huge text is refused without being walked.
        if pattern.len() > NAME_BYTES_MAX {
            return Err(InvalidGlob::TooLong { len: pattern.len() });
        }
        let is_known = |found: char| is_allowed(found) || matches!(found, '*' | '?');
        if let Some((at, found)) = pattern.char_indices().find(|(_, found)| !is_known(*found)) {
            return Err(InvalidGlob::Character { at, found });
        }
        Ok(TopicGlob { text: Arc::from(pattern), machine: Arc::new(Machine::new(pattern)) })
    }

    /// Whether the pattern stands for `topic`.
    #[must_use]
    pub fn matches(&self, topic: &TopicName) -> bool {
        self.machine.accepts(topic.as_str())
    }

    /// The pattern as text, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for TopicGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TopicGlob {
    type Err = InvalidGlob;

    fn from_str(pattern: &str) -> Result<TopicGlob, InvalidGlob> {
        TopicGlob::new(pattern)
    }
}

impl TryFrom<&str> for TopicGlob {
    type Error = InvalidGlob;

    fn try_from(pattern: &str) -> Result<TopicGlob, InvalidGlob> {
        TopicGlob::new(pattern)
    }
}

/// Why a text is not a pattern over topic names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidGlob {
    /// There is no text at all.
    #[error("a pattern must not be empty")]
    Empty,
    /// There is too much text.
    #[error("a pattern has at most {NAME_BYTES_MAX} bytes, not {len}")]
    TooLong {
        /// How many bytes were given.
        len: usize,
    },
    /// A character could never be matched.
    #[error("a pattern is made of [A-Za-z0-9._-], * and ?, not of {found:?} (byte {at})")]
    Character {
        /// Where the character begins, in bytes.
        at: usize,
        /// The character.
        found: char,
    },
}

/// The pattern as a machine whose state `n` means: what was read is matched by the first `n` signs.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    /// For each literal of the pattern, the states that it leads on from.
    literals: BTreeMap<u8, States>,
    /// The states that any character leads on from: those before a `?`.
    ones: States,
    /// The states that any character leaves as they are: those before a `*`.
    runs: States,
    /// The state behind the last sign.
    end: States,
}

impl Machine {
    fn new(pattern: &str) -> Machine {
        let mut machine = Machine {
            literals: BTreeMap::new(),
            ones: States::NONE,
            runs: States::NONE,
            end: States::NONE,
        };
        let mut state = States::FIRST;
        let mut after_run = false;
        for sign in pattern.bytes() {
            let is_run = sign == b'*';
            // `**` says no more than `*`, and `skip_runs` leaps over one run only.
            if !(is_run && after_run) {
                let before = match sign {
                    b'*' => &mut machine.runs,
                    b'?' => &mut machine.ones,
                    literal => machine.literals.entry(literal).or_insert(States::NONE),
                };
                *before = before.or(state);
                state = state.next();
            }
            after_run = is_run;
        }
        machine.end = state;
        machine
    }

    fn accepts(&self, name: &str) -> bool {
        let mut states = self.skip_runs(States::FIRST);
        for byte in name.bytes() {
            let literal = self.literals.get(&byte).copied().unwrap_or(States::NONE);
            let moved = states.and(literal.or(self.ones)).next();
            states = self.skip_runs(moved.or(states.and(self.runs)));
        }
        states.and(self.end) != States::NONE
    }

    /// Adds the states behind runs, which may stand for nothing.
    fn skip_runs(&self, states: States) -> States {
        states.or(states.and(self.runs).next())
    }
}

/// A set of states, one bit for each, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct States([u64; STATE_WORDS]);

const STATE_WORDS: usize = 4;

// One state before each sign of the longest pattern, and one behind the last.
const _: () = assert!(NAME_BYTES_MAX < STATE_WORDS * u64::BITS as usize);

impl States {
    const NONE: States = States([0; STATE_WORDS]);
    const FIRST: States = States([1, 0, 0, 0]);

    fn and(self, other: States) -> States {
        self.zip(other, |a, b| a & b)
    }

    fn or(self, other: States) -> States {
        self.zip(other, |a, b| a | b)
    }

    /// Each state's successor.
    fn next(self) -> States {
        let mut carry = 0;
        States(self.0.map(|word| {
            let moved = word << 1 | carry;
            carry = word >> (u64::BITS - 1);
            moved
        }))
    }

    fn zip(self, other: States, word: impl Fn(u64, u64) -> u64) -> States {
        let States(mut words) = self;
        for (mine, theirs) in words.iter_mut().zip(other.0) {
            *mine = word(*mine, theirs);
        }
        States(words)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{InvalidGlob, TopicGlob};
    use crate::name::TopicName;

    fn matches(pattern: &str, name: &str) -> bool {
        TopicGlob::new(pattern).unwrap().matches(&TopicName::new(name).unwrap())
    }

    /// A group would read topics that it did not ask for, or miss some that it did.
    #[test]
    fn patterns_match_what_they_say() {
        let hits = [
            ("orders", "orders"),
            ("*", "x"),
            ("*", "a.b-c_d"),
            ("orders.*", "orders."),
            ("orders.*", "orders.eu.v2"),
            ("*.dlq", "orders.billing.dlq"),
            ("o*s", "os"),
            ("o***s", "orders"),
            ("?", "x"),
            ("v?.*", "v1.x"),
            ("*?", "x"),
            ("*a*b*", "xxaxxbxx"),
            ("*ab", "aab"),
            ("a?c*?", "abcd"),
        ];
        for (pattern, name) in hits {
            assert!(matches(pattern, name), "{pattern} must match {name}");
        }
        let misses = [
            ("orders", "Orders"),
            ("orders", "orders2"),
            ("orders", "myorders"),
            ("orders.*", "orders"),
            ("?", "xy"),
            ("??", "x"),
            ("*??", "x"),
            ("a*b", "abc"),
            ("a.c", "abc"),
            ("*ab*ab", "xab"),
        ];
        for (pattern, name) in misses {
            assert!(!matches(pattern, name), "{pattern} must not match {name}");
        }
    }

    /// A typing error, or a regular expression, would silently match nothing.
    #[test]
    fn what_could_never_match_is_refused_with_its_reason() {
        let cases = [
            ("", InvalidGlob::Empty),
            ("orders\\..*", InvalidGlob::Character { at: 6, found: '\\' }),
            ("^a", InvalidGlob::Character { at: 0, found: '^' }),
            ("a b", InvalidGlob::Character { at: 1, found: ' ' }),
            ("*\u{e9}", InvalidGlob::Character { at: 1, found: '\u{e9}' }),
        ];
        for (pattern, reason) in cases {
            assert_eq!(TopicGlob::new(pattern), Err(reason), "{pattern:?}");
        }
        assert_eq!(TopicGlob::new(&"*".repeat(250)), Err(InvalidGlob::TooLong { len: 250 }));
        let message = TopicGlob::new("a\u{1b}").unwrap_err().to_string();
        assert_eq!(
            message,
            r"a pattern is made of [A-Za-z0-9._-], * and ?, not of '\u{1b}' (byte 1)"
        );
    }

    /// States would be lost where one word ends and the next begins.
    #[test]
    fn the_longest_patterns_match_the_longest_names() {
        let longest = "ab".repeat(124) + "a";
        assert!(matches(&longest, &longest));
        assert!(matches(&"?".repeat(249), &longest));
        assert!(!matches(&"?".repeat(249), &longest[1..]));
        assert!(matches(&"*?".repeat(124), &longest));
        assert!(matches(&("*a".repeat(124) + "*"), &longest));
        assert!(!matches(&("*a".repeat(124) + "b"), &longest));
    }

    /// The text would not be the one that was given.
    #[test]
    fn a_pattern_prints_as_it_was_given() {
        let glob: TopicGlob = "a**.?".parse().unwrap();
        assert_eq!((glob.as_str(), glob.to_string().as_str()), ("a**.?", "a**.?"));
        assert_eq!(TopicGlob::try_from("a**.?"), Ok(glob));
    }

    /// The meaning of a pattern, in exponential time.
    fn means(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], name) => name.is_empty(),
            ([b'*', rest @ ..], name) => {
                (0..=name.len()).any(|skipped| means(rest, &name[skipped..]))
            }
            ([b'?', rest @ ..], [_, name @ ..]) => means(rest, name),
            ([sign, rest @ ..], [byte, name @ ..]) => sign == byte && means(rest, name),
            (_, []) => false,
        }
    }

    proptest! {
        /// The machine would mean something else than the sentence in the documentation.
        #[test]
        fn the_machine_agrees_with_the_definition(
            pattern in "[ab*?]{1,8}",
            name in "[ab]{1,10}",
        ) {
            prop_assert_eq!(matches(&pattern, &name), means(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
