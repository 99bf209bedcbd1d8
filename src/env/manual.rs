//! Clocks that a test moves by hand.

use std::time::Duration;

use super::Clock;
use crate::sync::{Mutex, Rank, ranked};

/// Clocks that stand still until a test moves them.
///
/// The wall clock and the monotonic clock move separately, because real ones do: a test can let
/// the wall clock jump ten years either way while no time passes. A log under a manual clock never
/// parks to wait for time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brooklet::testing::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let start = clock.wall_millis();
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.wall_millis(), start + 2_000);
/// assert_eq!(clock.monotonic(), Duration::from_secs(2));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    wall_millis: i64,
    monotonic: Duration,
}

impl ManualClock {
    /// Starts at a fixed wall time in 2023 and at monotonic zero.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(START_MILLIS)
    }

    /// Starts at the given wall time, in milliseconds since 1970, and at monotonic zero.
    #[must_use]
    pub fn starting_at(wall_millis: i64) -> Self {
        Self { now: ranked(Rank::Clock, Moment { wall_millis, monotonic: Duration::ZERO }) }
    }

    /// Moves both clocks forward by the same time.
    pub fn advance(&self, by: Duration) {
        self.advance_wall(by);
        self.advance_monotonic(by);
    }

    /// Moves the wall clock forward alone, by whole milliseconds.
    pub fn advance_wall(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let mut now = self.now.lock();
        now.wall_millis = now.wall_millis.saturating_add(millis);
    }

    /// Sets the wall clock alone, forward or backward.
    pub fn set_wall(&self, wall_millis: i64) {
        self.now.lock().wall_millis = wall_millis;
    }

    /// Moves the monotonic clock forward alone.
    pub fn advance_monotonic(&self, by: Duration) {
        let mut now = self.now.lock();
        now.monotonic = now.monotonic.saturating_add(by);
    }

    /// Sets the monotonic clock alone; an earlier time than it shows is ignored.
    pub fn set_monotonic(&self, to: Duration) {
        let mut now = self.now.lock();
        now.monotonic = now.monotonic.max(to);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for ManualClock {
    /// An independent clock that shows the same time.
    fn clone(&self) -> Self {
        let now = *self.now.lock();
        Self { now: ranked(Rank::Clock, now) }
    }
}

impl Clock for ManualClock {
    fn wall_millis(&self) -> i64 {
        self.now.lock().wall_millis
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().monotonic
    }

    fn is_manual(&self) -> bool {
        true
    }
}

/// 2023-11-14 22:13:20 UTC: far from every edge, and easy to recognise in a failure.
const START_MILLIS: i64 = 1_700_000_000_000;
