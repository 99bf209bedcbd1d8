//! An input, taken piece by piece: numbers, choices, bytes. Behind its end everything is zero.

/// The rest of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feed<'a>(&'a [u8]);

impl<'a> Feed<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes(N);
        let mut number = [0; N];
        number[..taken.len()].copy_from_slice(taken);
        number
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.number())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.number())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.number())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.number())
    }

    /// One of `count`, by two bytes.
    pub(crate) fn pick(&mut self, count: usize) -> usize {
        usize::from(self.u16()) % count.max(1)
    }

    /// A number near the edges where arithmetic breaks, or a small one, or any.
    pub(crate) fn edge(&mut self) -> u64 {
        let choice = self.u8();
        let near = u64::from(choice >> 4);
        match choice & 15 {
            0..6 => near,
            6 => u64::MAX - near,
            7 => (1 << 63) - near,
            8 => (1 << 63) + near,
            9 => u64::from(u32::MAX) - near,
            10 => u64::from(u32::MAX) + near,
            11 => 64 + 8 * near,
            12 => u64::from(self.u8()),
            13 => u64::from(self.u16()),
            14 => u64::from(self.u32()),
            _ => self.u64(),
        }
    }
}
