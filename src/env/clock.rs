//! The system's clocks.
#![expect(clippy::disallowed_methods, reason = "this file is where the world's time comes in")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Clock;

/// The clocks of the operating system.
#[derive(Debug)]
pub(crate) struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall_millis(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A machine whose clock was never set may well stand before 1970.
            Err(before) => {
                i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis)
            }
        }
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn is_manual(&self) -> bool {
        false
    }
}
