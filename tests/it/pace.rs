//! How much of a long sweep is run: all of it, or a part, so that the fast tests stay fast.
//!
//! With `BROOKLET_FAST=1` in the environment a sweep tries every `nth` of its cases alone. The numbers
//! are primes, so that what is left out follows no pattern of the sweep. See `tests/seeded`.

/// The cases of a sweep, or every `nth` of them.
pub(crate) fn some<T>(cases: impl IntoIterator<Item = T>, nth: usize) -> impl Iterator<Item = T> {
    cases.into_iter().step_by(if is_fast() { nth } else { 1 })
}

/// How many cases that is.
pub(crate) fn share(count: usize, nth: usize) -> usize {
    if is_fast() { count / nth } else { count }
}

fn is_fast() -> bool {
    std::env::var_os("BROOKLET_FAST").is_some_and(|value| value != "0")
}
