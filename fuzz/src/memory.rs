//! A global allocator that counts, and ends the run of an input that holds too much at once.
//!
//! The limit is what one input may add to what was held when it began. Whoever passes it aborts,
//! which libFuzzer records as a crash with its input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one input may hold at once, beyond what was held before it.
pub const LIMIT: usize = 64 * 1024 * 1024;

/// Counts the bytes that are held.
#[derive(Debug)]
pub struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static ALLOWED: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Runs `body` under the limit; tells of every new largest peak, so that the last line told is it.
pub fn limited(body: impl FnOnce()) {
    static LARGEST: AtomicUsize = AtomicUsize::new(0);
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    ALLOWED.store(before.saturating_add(LIMIT), Ordering::Relaxed);
    body();
    ALLOWED.store(usize::MAX, Ordering::Relaxed);
    let peak = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    // In steps, because a line for every byte more would be all that is told.
    if peak > LARGEST.load(Ordering::Relaxed) {
        LARGEST.store(peak + peak / 64, Ordering::Relaxed);
        eprintln!("peak allocation: {peak} bytes for one input");
    }
}

fn took(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
    if held > ALLOWED.load(Ordering::Relaxed) {
        // Telling it takes memory as well.
        ALLOWED.store(usize::MAX, Ordering::Relaxed);
        eprintln!("one input holds more than {LIMIT} bytes, the last {bytes} at once");
        std::process::abort();
    }
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        took(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(memory, layout, size) }
    }
}
