//! Read buffers: aligned, pooled, and shared with the records that are read out of them.
//!
//! A buffer starts at a multiple of 64 bytes. On AMD Zen 3 a read into a buffer that starts 1 to 31
//! bytes behind a page boundary runs at a sixth of the speed, and large blocks from glibc start 16
//! bytes behind one.

use std::io;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::env::File;

const ALIGNMENT: usize = 64;
/// How many idle buffers are kept, and how large each of them is.
const POOLED_BUFFERS: usize = 8;
const POOLED_BYTES: usize = 1024 * 1024;

/// Hands out read buffers and takes them back when the last record read from them is gone.
#[derive(Clone, Debug)]
pub(crate) struct BufferPool {
    idle: Receiver<Vec<u8>>,
    back: Sender<Vec<u8>>,
}

impl BufferPool {
    pub(crate) fn new() -> Self {
        let (back, idle) = bounded(POOLED_BUFFERS);
        Self { idle, back }
    }

    /// Reads up to `len` bytes at `position`; fewer come back only where the file ends.
    pub(crate) fn read(&self, file: &dyn File, position: u64, len: usize) -> io::Result<Bytes> {
        let wanted = len.max(POOLED_BYTES) + ALIGNMENT;
        let mut memory = match self.idle.try_recv() {
            Ok(memory) if memory.len() >= wanted => memory,
            _ => vec![0; wanted],
        };
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let Some(target) = memory.get_mut(start..start + len) else {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        };
        let filled = file.read_at(target, position)?.min(len);
        let back = (memory.len() == POOLED_BYTES + ALIGNMENT).then(|| self.back.clone());
        Ok(Bytes::from_owner(Lent { memory, start, filled, back }))
    }
}

/// Memory in readers' hands.
struct Lent {
    memory: Vec<u8>,
    start: usize,
    filled: usize,
    back: Option<Sender<Vec<u8>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.filled).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = &self.back {
            // A full pool simply lets the memory go.
            let _ = back.try_send(std::mem::take(&mut self.memory));
        }
    }
}
