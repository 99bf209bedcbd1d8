//! What a worker writes beside a committed offset, for whoever owns the partition next.
//!
//! Metadata is the user's to set on a raw consumer, so anything can stand there: what is not ours
//! is taken for nothing, and nothing is always safe to assume. Plain values; no I/O.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::offset::Offset;

/// What stands beside one committed offset.
///
/// ```text
/// brooklet-worker/1 ahead=1000 letters=17 suspect=1100 marks=105:1,107:2
/// ```
///
/// Words behind the first come in any order; unknown ones are passed over.
///
/// **Invariants**: no mark is zero, and there are at most [`MARKS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    /// All dead letters of records at or above the commit lie at this offset of the dead-letter
    /// partition or behind it; none: they can lie anywhere.
    pub(super) letters: Option<Offset>,
    /// How far ahead of the commit records may have been started.
    pub(super) ahead: Option<u64>,
    /// Records below this offset run one at a time.
    pub(super) suspect_end: Option<Offset>,
    /// How many starts of a record were not followed by an end.
    pub(super) marks: BTreeMap<Offset, u32>,
}

impl Metadata {
    /// The text to write.
    pub(super) fn encode(&self) -> String {
        let mut text = format!("{MAGIC}/{VERSION}");
        // Writing to a string cannot fail.
        if let Some(ahead) = self.ahead {
            let _ = write!(text, " ahead={ahead}");
        }
        if let Some(letters) = self.letters {
            let _ = write!(text, " letters={letters}");
        }
        if let Some(end) = self.suspect_end {
            let _ = write!(text, " suspect={end}");
        }
        for (number, (offset, count)) in self.marks.iter().take(MARKS_MAX).enumerate() {
            let joint = if number == 0 { " marks=" } else { "," };
            let _ = write!(text, "{joint}{offset}:{count}");
        }
        text
    }

    /// What a text says; nothing if it is not ours, or of a version that this build cannot read.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::default() };
        let mut words = text.split(' ');
        if words.next() != Some(&*format!("{MAGIC}/{VERSION}")) {
            return Self::default();
        }
        let mut found = Self::default();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "ahead" => found.ahead = number(value),
                "letters" => found.letters = number(value).map(Offset::new),
                "suspect" => found.suspect_end = number(value).map(Offset::new),
                "marks" => found.marks = marks(value),
                _ => {}
            }
        }
        found
    }

    /// Up to where records are suspect, for an owner that begins at `committed`.
    ///
    /// `cut_short` is what was committed when the log was opened, if the session before did not close
    /// it: any record that was under way then can be the one that ended the process.
    pub(super) fn suspects_from(
        &self,
        committed: Offset,
        cut_short: Option<Offset>,
        ahead: u64,
    ) -> Option<Offset> {
        let ahead = ahead.max(self.ahead.unwrap_or(0));
        let started = cut_short.map(|from| Offset::new(from.value().saturating_add(ahead)));
        self.suspect_end.max(started).filter(|end| *end > committed)
    }
}

fn number(text: &str) -> Option<u64> {
    // `parse` takes a sign, which nobody writes here.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn marks(text: &str) -> BTreeMap<Offset, u32> {
    let marks = text.split(',').filter_map(|mark| {
        let (offset, count) = mark.split_once(':')?;
        let count = u32::try_from(number(count)?).ok().filter(|count| *count > 0)?;
        Some((Offset::new(number(offset)?), count))
    });
    marks.take(MARKS_MAX).collect()
}

/// One start is marked at a time, so that a mark costs a crash: more than these are not ours.
pub(super) const MARKS_MAX: usize = 64;

const MAGIC: &str = "brooklet-worker";
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Metadata;
    use crate::offset::Offset;

    fn decoded(text: &str) -> Metadata {
        Metadata::decode(text.as_bytes())
    }

    /// Another build of the same version would not understand what this one wrote.
    #[test]
    fn the_text_is_the_documented_one() {
        let text = "brooklet-worker/1 ahead=1000 letters=17 suspect=1100 marks=105:1,107:2";
        let metadata = decoded(text);
        assert_eq!(metadata.letters, Some(Offset::new(17)));
        assert_eq!(metadata.marks.get(&Offset::new(107)), Some(&2));
        assert_eq!(metadata.encode(), text);
        assert_eq!(Metadata::default().encode(), "brooklet-worker/1");
    }

    /// Metadata of a user would be taken for a promise of a worker.
    #[test]
    fn what_is_not_ours_says_nothing() {
        let foreign = [
            "",
            " ",
            "letters=17",
            "brooklet-worker/2 letters=17",
            "brooklet-worker/10 letters=17",
            "brooklet-worker/1letters=17",
            "brooklet-worker/1 letters=+17 suspect= marks=a:1,5:0,7,:,8:-1 ahead",
        ];
        for text in foreign {
            assert_eq!(decoded(text), Metadata::default(), "{text:?}");
        }
        assert_eq!(Metadata::decode(b"brooklet-worker/1 letters=1\xff"), Metadata::default());
        assert_eq!(decoded("brooklet-worker/1 new=1 letters=3").letters, Some(Offset::new(3)));
    }

    /// A record that kills the process would run beside others, or a healthy one alone for ever.
    #[test]
    fn an_unclean_end_makes_suspects_of_what_may_have_been_started() {
        let at = |text: &str, unclean: Option<u64>| {
            let (committed, unclean) = (Offset::new(100), unclean.map(Offset::new));
            decoded(text).suspects_from(committed, unclean, 50).map(Offset::value)
        };
        assert_eq!((at("", None), at("", Some(100))), (None, Some(150)));
        // An earlier owner was allowed to run further ahead.
        let further = "brooklet-worker/1 ahead=70";
        assert_eq!((at(further, None), at(further, Some(100))), (None, Some(170)));
        // A clean end in the middle of a window leaves the rest of it.
        let rest = "brooklet-worker/1 ahead=50 suspect=120";
        assert_eq!((at(rest, None), at(rest, Some(100))), (Some(120), Some(150)));
        assert_eq!(at("brooklet-worker/1 suspect=100", None), None);
        // Another owner of this session has committed since.
        assert_eq!((at("", Some(60)), at("", Some(50))), (Some(110), None));
    }

    proptest! {
        /// An owner would begin with other knowledge than the one before it had.
        #[test]
        fn what_is_written_is_read(
            numbers in proptest::array::uniform3(proptest::option::of(any::<u64>())),
            marks in proptest::collection::btree_map(any::<u64>(), 1_u32.., 0..8),
        ) {
            let [letters, ahead, suspect] = numbers;
            let marks = marks.into_iter().map(|(at, count)| (Offset::new(at), count)).collect();
            let metadata = Metadata {
                letters: letters.map(Offset::new),
                ahead,
                suspect_end: suspect.map(Offset::new),
                marks,
            };
            prop_assert_eq!(Metadata::decode(metadata.encode().as_bytes()), metadata);
        }

        /// Bytes of a stranger would stop the worker.
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut ours = b"brooklet-worker/1 ".to_vec();
            ours.extend(&bytes);
            prop_assert!(Metadata::decode(&ours).marks.len() <= super::MARKS_MAX);
            let _ = Metadata::decode(&bytes);
        }
    }
}
