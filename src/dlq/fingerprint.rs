//! Which failures are the same one: a short number for an error's type and what its text always
//! says.

use std::fmt;

/// A number that failures with the same cause share.
///
/// It is made of the error's type and text. Words with a digit in them count as one and the same,
/// because an order's number or a duration differs from failure to failure while the cause does
/// not. Equal errors have equal fingerprints in every version of this library.
///
/// # Examples
/// ```
/// use brooklet::dlq::Fingerprint;
///
/// let one = Fingerprint::of("Timeout", "no answer for order-42 after 31 ms");
/// assert_eq!(one, Fingerprint::of("Timeout", "no answer for order-7 after 1200 ms"));
/// assert_ne!(one, Fingerprint::of("Timeout", "no route"));
/// assert_eq!(one.to_string().len(), 16);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of an error's type and text.
    #[must_use]
    pub fn of(error_type: &str, text: &str) -> Self {
        let mut hash = Fnv::new();
        hash.add(error_type.as_bytes());
        hash.add(&[0]);
        add_text(&mut hash, text);
        Self(hash.0)
    }

    /// The fingerprint with this number.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The fingerprint as a number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Fingerprint {
    /// Writes sixteen hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A number for a text that stays the same for ever; short enough for a name.
pub(crate) fn short_hash(parts: &[&str]) -> u32 {
    let mut hash = Fnv::new();
    for part in parts {
        hash.add(part.as_bytes());
        hash.add(&[0]);
    }
    // Both halves count.
    (hash.0 ^ (hash.0 >> 32)) as u32
}

/// Adds a text with every word that has a digit replaced, and all space made one blank.
fn add_text(hash: &mut Fnv, text: &str) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| class(c) != class(first)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        match class(first) {
            Class::Word if run.bytes().any(|byte| byte.is_ascii_digit()) => hash.add(b"#"),
            Class::Space => hash.add(b" "),
            Class::Word | Class::Other => hash.add(run.as_bytes()),
        }
        rest = behind;
    }
}

#[derive(PartialEq, Eq)]
enum Class {
    Word,
    Space,
    Other,
}

fn class(c: char) -> Class {
    if c.is_alphanumeric() || c == '_' || c == '-' {
        Class::Word
    } else if c.is_whitespace() {
        Class::Space
    } else {
        Class::Other
    }
}

/// FNV-1a, 64 bits, by Fowler, Noll and Vo: small, and the same everywhere and for ever.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, short_hash};

    /// Letters written by an older build would fall into other groups than those of this one.
    #[test]
    fn fingerprints_never_change() {
        // The hash of the published vector "foobar", which has no digit in it.
        let mut hash = super::Fnv::new();
        hash.add(b"foobar");
        assert_eq!(hash.0, 0x8594_4171_f739_67e8);
        for (kind, text, shown) in [
            ("", "", "af63bd4c8601b7df"),
            ("E", "x", "d85c23198d8666c8"),
            ("E", "order 42", "ba60ab82cedfb8b1"),
        ] {
            let fingerprint = Fingerprint::of(kind, text);
            assert_eq!(fingerprint.to_string(), shown);
            assert_eq!(Fingerprint::parse(shown), Some(fingerprint));
        }
        assert_eq!(short_hash(&["orders", "billing"]), 0xed31_282b);
        assert_ne!(short_hash(&["a.b", "c"]), short_hash(&["a", "b.c"]));
    }

    /// One cause would make a group for each order, or two causes would share one.
    #[test]
    fn numbers_differ_and_causes_do_not() {
        let same = [
            ("order 42 failed", "order 7 failed"),
            ("order-42: timeout", "order-43a: timeout"),
            ("id 3fa85f64-5717-4562-b3fc-2c963f66afa6", "id 0"),
            ("a  b\n\tc", "a b c"),
        ];
        for (one, other) in same {
            assert_eq!(Fingerprint::of("E", one), Fingerprint::of("E", other), "{one} / {other}");
        }
        let differs = [("timeout", "no route"), ("a b", "ab"), ("a.b", "a,b"), ("", " x")];
        for (one, other) in differs {
            assert_ne!(Fingerprint::of("E", one), Fingerprint::of("E", other), "{one} / {other}");
        }
        assert_ne!(Fingerprint::of("E", "x"), Fingerprint::of("F", "x"));
        assert_ne!(Fingerprint::of("E", "x"), Fingerprint::of("", "Ex"));
    }

    /// A text that is no fingerprint would be taken for one.
    #[test]
    fn only_what_was_written_is_read() {
        for text in ["", "0", "+123456789abcdef", "00000000000000000", "zzzzzzzzzzzzzzzz"] {
            assert_eq!(Fingerprint::parse(text), None, "{text:?}");
        }
    }
}
