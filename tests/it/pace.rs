//! How much of a long sweep is run: all of it, or a part, so that the fast tests stay fast.
//!
//! With `BROOKLET_FAST=1` in the environment a sweep tries every `nth` of its cases alone, and with
//! `BROOKLET_FAST=5` every fifth of those. The numbers are primes, so that what is left out follows no
//! pattern of the sweep. See `tests/seeded`.

/// The cases of a sweep, or every `nth` of them.
pub(crate) fn some<T>(cases: impl IntoIterator<Item = T>, nth: usize) -> impl Iterator<Item = T> {
    cases.into_iter().step_by(thinning().map_or(1, |by| by * nth))
}

/// How many cases that is.
pub(crate) fn share(count: usize, nth: usize) -> usize {
    thinning().map_or(count, |by| count / (by * nth))
}

fn thinning() -> Option<usize> {
    let value = std::env::var("BROOKLET_FAST").ok()?;
    value.parse().ok().filter(|by| *by > 0)
}
