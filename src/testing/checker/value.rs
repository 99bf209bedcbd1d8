//! Values that say who sent them, and whether a byte of them has changed.
//!
//! ```text
//! | producer: u32 | counter: u64 | hash: u64 | filler .. |      little-endian
//! ```
//!
//! The hash covers every other byte and the length, and the filler follows from producer and counter,
//! so that no two values have the same bytes.

use std::fmt;

/// What a record of a checked history carries: no two sends have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// Who sent it: one sender that sends one record after the other.
    pub producer: u32,
    /// How many that producer had sent before.
    pub counter: u64,
}

/// Bytes that are not what any [`Value::encode`] has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mangled {
    /// How many bytes there are.
    pub bytes: usize,
}

/// What was found where a value should be.
pub type Seen = Result<Value, Mangled>;

impl Value {
    /// The shortest encoding.
    pub const BYTES_MIN: usize = 20;

    /// The value as so many bytes, or as few as it takes.
    #[must_use]
    pub fn encode(self, bytes: usize) -> Vec<u8> {
        let len = bytes.max(Self::BYTES_MIN);
        let mut out = Vec::with_capacity(len);
        out.extend(self.producer.to_le_bytes());
        out.extend(self.counter.to_le_bytes());
        out.extend([0; 8]);
        let mut word = self.counter ^ u64::from(self.producer).rotate_left(32);
        while out.len() < len {
            word = word.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23).wrapping_add(1);
            let left = len - out.len();
            out.extend(word.to_le_bytes().into_iter().take(left));
        }
        let hash = hash(&out).to_le_bytes();
        out.splice(HASH, hash);
        out
    }

    /// Reads a value back.
    ///
    /// # Errors
    /// [`Mangled`] if a byte has changed, is missing, or is one too many.
    pub fn decode(bytes: &[u8]) -> Seen {
        let mangled = Mangled { bytes: bytes.len() };
        let word = |at: std::ops::Range<usize>| {
            let bytes = bytes.get(at)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let producer = bytes.get(..4).and_then(|bytes| bytes.try_into().ok());
        let producer = producer.map(u32::from_le_bytes).ok_or(mangled)?;
        let counter = word(4..12).ok_or(mangled)?;
        if word(HASH) != Some(hash(bytes)) {
            return Err(mangled);
        }
        Ok(Self { producer, counter })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.producer, self.counter)
    }
}

/// FNV-1a (Fowler, Noll, Vo) over all bytes but those of the hash itself, and the length.
fn hash(bytes: &[u8]) -> u64 {
    let (head, tail) = bytes.split_at(HASH.start.min(bytes.len()));
    let tail = tail.get(HASH.len()..).unwrap_or_default();
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    let sum = head.iter().chain(tail).fold(0xCBF2_9CE4_8422_2325, step);
    (sum ^ bytes.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

const HASH: std::ops::Range<usize> = 12..20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if a value that was changed on the way could pass for one that was sent.
    #[test]
    fn every_changed_byte_is_noticed() {
        let value = Value { producer: 7, counter: 1 << 40 };
        for len in [20, 21, 27, 64] {
            let bytes = value.encode(len);
            assert_eq!((bytes.len(), Value::decode(&bytes)), (len, Ok(value)));
            for at in 0..len {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    assert_eq!(Value::decode(&changed), Err(Mangled { bytes: len }), "{at}.{bit}");
                }
            }
            assert!(Value::decode(&bytes[..len - 1]).is_err(), "cut short");
            assert!(Value::decode(&[&bytes[..], &[0]].concat()).is_err(), "one byte more");
        }
        assert!(Value::decode(b"").is_err());
    }
}
