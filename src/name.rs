//! Names that users give: checked once where they enter, then cheap to clone and safe to print.
//!
//! A name never reaches the file system: directories are named by numeric ids. Whoever holds a
//! [`TopicName`] or a [`GroupName`] may rely on its alphabet and its length.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::NAME_BYTES_MAX;

/// The checked name of a topic.
///
/// A name has 1 to 249 bytes out of `[A-Za-z0-9._-]` and is neither `.` nor `..`. This is Kafka's
/// rule (`org.apache.kafka.common.internals.Topic`), so every topic of this log could also be one
/// there. Names are compared byte by byte: `Orders` and `orders` are two topics.
///
/// **Invariants**: the text satisfies the rule above; a clone shares it and allocates nothing.
///
/// # Examples
/// ```
/// use brooklet::{InvalidName, TopicName};
///
/// let name = TopicName::new("orders.v2")?;
/// assert_eq!(name.as_str(), "orders.v2");
/// assert_eq!(TopicName::new("a/b"), Err(InvalidName::Character { at: 1, found: '/' }));
/// # Ok::<(), InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// The checked name of a consumer group.
///
/// The rule is that of a [`TopicName`], so that the names which are made from both stay names. A
/// group and a topic may be called alike: nothing follows from it.
///
/// **Invariants**: the text satisfies the rule; a clone shares it and allocates nothing.
///
/// # Examples
/// ```
/// use brooklet::{GroupName, InvalidName};
///
/// assert_eq!(GroupName::new("billing")?.to_string(), "billing");
/// assert_eq!(GroupName::new(""), Err(InvalidName::Empty));
/// # Ok::<(), InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

/// What every kind of name can do; the kinds differ in their type alone.
macro_rules! behave_as_a_name {
    ($($kind:ident),+) => {$(
        impl $kind {
            /// Checks `name` and keeps a copy of it.
            ///
            /// # Errors
            /// [`InvalidName`] if `name` breaks the rule that [`TopicName`] states.
            pub fn new(name: &str) -> Result<$kind, InvalidName> {
                check(name)?;
                Ok($kind(Arc::from(name)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $kind {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Borrow<str> for $kind {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl FromStr for $kind {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<$kind, InvalidName> {
                $kind::new(name)
            }
        }

        impl TryFrom<&str> for $kind {
            type Error = InvalidName;

            fn try_from(name: &str) -> Result<$kind, InvalidName> {
                $kind::new(name)
            }
        }
    )+};
}

behave_as_a_name!(TopicName, GroupName);

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// There is no text at all.
    #[error("a name must not be empty")]
    Empty,
    /// There is too much text.
    #[error("a name has at most {NAME_BYTES_MAX} bytes, not {len}")]
    TooLong {
        /// How many bytes were given.
        len: usize,
    },
    /// A character is outside the alphabet.
    #[error("a name is made of [A-Za-z0-9._-], not of {found:?} (byte {at})")]
    Character {
        /// Where the character begins, in bytes.
        at: usize,
        /// The character.
        found: char,
    },
    /// The text is `.` or `..`.
    #[error("\".\" and \"..\" are not names")]
    Dots,
}

/// The one rule for names of every kind.
fn check(name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    // The length comes first, so that a huge text is refused without being walked.
    if name.len() > NAME_BYTES_MAX {
        return Err(InvalidName::TooLong { len: name.len() });
    }
    let stranger = name.char_indices().find(|(_, found)| !is_allowed(*found));
    if let Some((at, found)) = stranger {
        return Err(InvalidName::Character { at, found });
    }
    if name == "." || name == ".." {
        return Err(InvalidName::Dots);
    }
    Ok(())
}

/// Whether a name may hold `found`.
pub(crate) fn is_allowed(found: char) -> bool {
    found.is_ascii_alphanumeric() || matches!(found, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{GroupName, InvalidName, TopicName};

    /// A name that Kafka accepts would be refused here, and a topic could not move between the two.
    #[test]
    fn every_allowed_name_is_accepted_unchanged() {
        let longest = "x".repeat(249);
        for name in ["a", "Z", "0", "_", "-", "...", ".a", "orders.v2_eu-west", longest.as_str()] {
            assert_eq!(TopicName::new(name).unwrap().as_str(), name);
            assert_eq!(GroupName::new(name).unwrap().as_str(), name);
        }
    }

    /// A hostile name would enter the catalog.
    #[test]
    fn every_other_name_is_refused_with_its_reason() {
        let cases = [
            ("", InvalidName::Empty),
            (".", InvalidName::Dots),
            ("..", InvalidName::Dots),
            ("a b", InvalidName::Character { at: 1, found: ' ' }),
            ("../x", InvalidName::Character { at: 2, found: '/' }),
            ("nul\0", InvalidName::Character { at: 3, found: '\0' }),
            ("\u{e9}t\u{e9}", InvalidName::Character { at: 0, found: '\u{e9}' }),
            ("a\u{ff41}", InvalidName::Character { at: 1, found: '\u{ff41}' }),
        ];
        for (name, reason) in cases {
            assert_eq!(TopicName::new(name), Err(reason), "{name:?}");
            assert_eq!(GroupName::new(name), Err(reason), "{name:?}");
        }
        assert_eq!(TopicName::new(&"x".repeat(250)), Err(InvalidName::TooLong { len: 250 }));
    }

    /// Control characters of a refused name would reach a terminal through the message.
    #[test]
    fn messages_escape_what_they_quote() {
        let message = TopicName::new("a\u{1b}[2J").unwrap_err().to_string();
        assert_eq!(message, r"a name is made of [A-Za-z0-9._-], not of '\u{1b}' (byte 1)");
    }

    /// A map keyed by names could not be asked with a plain text.
    #[test]
    fn a_map_of_names_is_asked_by_text() {
        let map = BTreeMap::from([(TopicName::new("orders").unwrap(), 7)]);
        assert_eq!(map.get("orders"), Some(&7));
        assert_eq!(map.get("Orders"), None);
    }
}
