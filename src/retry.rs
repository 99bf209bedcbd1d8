//! How often to try, and how long to wait in between: a plain value.
//!
//! Nothing here reads a clock or draws a number. Whoever retries says how many attempts have failed
//! and brings chance along, and may rely on the same answer for the same question.

use std::time::Duration;

/// When to try again, and when to give up.
///
/// The wait before the next attempt is drawn evenly from nothing up to a ceiling, which starts at
/// `first` and grows by a factor with each failure, up to [`max_delay`](Retry::max_delay). This is
/// the "full jitter" of Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog,
/// 2015): of the ways he measures, the one in which many who failed together return with the
/// fewest calls, because nothing keeps them together.
///
/// | | default | less | more |
/// | --- | --- | --- | --- |
/// | `first` | 100 ms | a short fault is over sooner, a busy callee gets busier | the first retry is late |
/// | [`factor`](Retry::factor) | 2 | more attempts within a time | fewer |
/// | [`max_delay`](Retry::max_delay) | 30 s | a callee that is down is asked often | its return is noticed late |
/// | [`max_attempts`](Retry::max_attempts) | 10 | gives up on faults that would have passed | a hopeless case stays longer |
/// | [`max_elapsed`](Retry::max_elapsed) | no limit | gives up sooner | later |
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use brooklet::retry::Retry;
///
/// let retry = Retry::exponential(Duration::from_millis(50)).max_attempts(3);
/// let most = u64::MAX; // the chance that draws the longest wait
/// assert_eq!(retry.delay(1, most), Some(Duration::from_millis(50)));
/// assert_eq!(retry.delay(2, most), Some(Duration::from_millis(100)));
/// assert_eq!(retry.delay(3, most), None); // three have failed: no fourth
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retry {
    first: Duration,
    factor: u32,
    max_delay: Duration,
    max_attempts: Option<u32>,
    max_elapsed: Option<Duration>,
}

impl Retry {
    /// Waits up to `first` after the first failure, and longer after each next one.
    ///
    /// A `first` of zero means no wait at all, however often it fails.
    pub const fn exponential(first: Duration) -> Retry {
        Retry {
            first,
            factor: 2,
            max_delay: Duration::from_secs(30),
            max_attempts: Some(10),
            max_elapsed: None,
        }
    }

    /// Tries once.
    pub const fn none() -> Retry {
        Retry::exponential(Duration::ZERO).max_attempts(1)
    }

    /// Sets by how much the ceiling grows with each failure; 1, or 0, keeps it as it is.
    pub const fn factor(mut self, factor: u32) -> Retry {
        self.factor = if factor == 0 { 1 } else { factor };
        self
    }

    /// Sets the longest wait, whatever the ceiling has grown to.
    pub const fn max_delay(mut self, delay: Duration) -> Retry {
        self.max_delay = delay;
        self
    }

    /// Sets how many attempts are made in all, the first included; 0 counts as 1.
    pub const fn max_attempts(mut self, attempts: u32) -> Retry {
        self.max_attempts = Some(if attempts == 0 { 1 } else { attempts });
        self
    }

    /// Makes as many attempts as the elapsed time allows, without counting them.
    pub const fn any_attempts(mut self) -> Retry {
        self.max_attempts = None;
        self
    }

    /// Starts no attempt later than `elapsed` after the first one.
    ///
    /// An attempt that runs at that moment is not cut short.
    pub const fn max_elapsed(mut self, elapsed: Duration) -> Retry {
        self.max_elapsed = Some(elapsed);
        self
    }

    /// How long to wait after `attempt` attempts have failed, or `None` to give up.
    ///
    /// `entropy` decides where below the ceiling the wait lies: pass a new random number each time.
    /// The elapsed time is not looked at here, but by [`delay_within`](Retry::delay_within).
    #[must_use]
    pub fn delay(&self, attempt: u32, entropy: u64) -> Option<Duration> {
        if self.max_attempts.is_some_and(|most| attempt >= most) {
            return None;
        }
        let most = u128::from(self.ceiling(attempt)) + 1;
        // Even up to one part in 2^64: the upper half of the product is below `most`.
        let nanos = (u128::from(entropy) * most) >> u64::BITS;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Like [`delay`](Retry::delay), where `elapsed` has gone by since the first attempt began.
    ///
    /// `None` as well once `elapsed` has reached the limit. A wait that would lead past the limit
    /// is cut, so that the last attempt starts at the limit at the latest.
    #[must_use]
    pub fn delay_within(&self, attempt: u32, elapsed: Duration, entropy: u64) -> Option<Duration> {
        let delay = self.delay(attempt, entropy)?;
        match self.max_elapsed {
            None => Some(delay),
            Some(limit) => {
                let left = limit.checked_sub(elapsed).filter(|left| !left.is_zero())?;
                Some(delay.min(left))
            }
        }
    }

    /// The longest wait after `attempt` failures, in nanoseconds.
    fn ceiling(&self, attempt: u32) -> u64 {
        let growth = u64::from(self.factor).saturating_pow(attempt.saturating_sub(1));
        // Each saturation stands for more than the 584 years that a `u64` of nanoseconds can hold.
        nanos(self.first).saturating_mul(growth).min(nanos(self.max_delay))
    }
}

impl Default for Retry {
    /// [`Retry::exponential`] from 100 ms on.
    fn default() -> Retry {
        Retry::exponential(Duration::from_millis(100))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Retry;

    const MOST: u64 = u64::MAX;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The waits that users are promised would be others.
    #[test]
    fn the_defaults_are_the_documented_ones() {
        let ceilings: Vec<_> = (1..=10).map(|n| Retry::default().delay(n, MOST)).collect();
        let grown = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600].map(|n| Some(ms(n)));
        assert_eq!(ceilings[..9], grown);
        assert_eq!(ceilings[9], None);
        let endless = Retry::default().any_attempts();
        assert_eq!(endless.delay(10, MOST), Some(Duration::from_secs(30)));
        assert_eq!(endless.delay(u32::MAX, MOST), Some(Duration::from_secs(30)));
    }

    /// Chance would not spread the waits over everything below the ceiling.
    #[test]
    fn chance_decides_between_nothing_and_the_ceiling() {
        let retry = Retry::exponential(ms(100));
        assert_eq!(retry.delay(1, 0), Some(Duration::ZERO));
        assert_eq!(retry.delay(1, 1 << 63), Some(ms(50)));
        assert_eq!(retry.delay(2, 1 << 62), Some(ms(50)));
    }

    /// Somebody who asked for a single attempt would get a second one.
    #[test]
    fn none_and_zero_attempts_try_once() {
        for retry in [Retry::none(), Retry::default().max_attempts(0)] {
            assert_eq!(retry.delay(1, MOST), None);
            assert_eq!(retry.delay(0, 0), Some(Duration::ZERO));
        }
    }

    /// A factor of zero would turn every later wait into none.
    #[test]
    fn a_factor_below_two_keeps_the_ceiling() {
        for factor in [0, 1] {
            assert_eq!(Retry::default().factor(factor).delay(9, MOST), Some(ms(100)));
        }
        assert_eq!(Retry::default().factor(3).delay(3, MOST), Some(ms(900)));
    }

    /// An attempt would start after the time in which it was of use.
    #[test]
    fn no_attempt_starts_after_the_limit() {
        let retry = Retry::exponential(ms(100)).max_elapsed(ms(250));
        assert_eq!(retry.delay_within(1, ms(0), MOST), Some(ms(100)));
        assert_eq!(retry.delay_within(2, ms(100), MOST), Some(ms(150)));
        assert_eq!(retry.delay_within(3, ms(250), MOST), None);
        assert_eq!(retry.delay_within(3, Duration::MAX, 0), None);
        assert_eq!(retry.max_attempts(1).delay_within(1, ms(0), MOST), None);
        assert_eq!(Retry::default().delay_within(1, Duration::MAX, MOST), Some(ms(100)));
    }

    fn duration() -> impl Strategy<Value = Duration> {
        let exact = (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n));
        prop_oneof![exact, (0..100_000_u64).prop_map(ms), Just(Duration::MAX)]
    }

    proptest! {
        /// A wait would wrap round, pass a limit, or shrink as failures mount.
        #[test]
        fn waits_stay_below_every_limit_and_never_shrink(
            (first, cap, elapsed, limit) in (duration(), duration(), duration(), duration()),
            (factor, attempt, attempts) in (any::<u32>(), any::<u32>(), any::<u32>()),
            (chance, other) in (any::<u64>(), any::<u64>()),
        ) {
            let retry = Retry::exponential(first).factor(factor).max_delay(cap).max_elapsed(limit);
            let limited = retry.max_attempts(attempts);
            let given_up = limited.delay(attempt, chance).is_none();
            prop_assert_eq!(given_up, attempt >= attempts.max(1));

            let retry = retry.any_attempts();
            let delay = retry.delay(attempt, chance).unwrap();
            prop_assert!(delay <= cap);
            prop_assert!(retry.delay(attempt.saturating_add(1), chance).unwrap() >= delay);
            let further = retry.delay(attempt, other).unwrap();
            prop_assert!(chance > other || delay <= further);

            match retry.delay_within(attempt, elapsed, chance) {
                None => prop_assert!(elapsed >= limit),
                Some(cut) => prop_assert!(cut <= delay && elapsed + cut <= limit),
            }
        }
    }
}
