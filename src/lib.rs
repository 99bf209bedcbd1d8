//! brooklet: an event log that a Rust program embeds.
#![forbid(unsafe_code)]

mod env;
mod sync;

#[cfg(feature = "testing")]
pub mod testing;
