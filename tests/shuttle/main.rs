//! Scenarios: small programs over a whole log, run by shuttle in many orders that threads can take.
//!
//! They are empty but under `--cfg shuttle`; `tests/models.sh` builds and runs them. Everything that
//! waits in the log is shuttle's then, so that an order in which somebody waits for ever is found as
//! a deadlock, and every order can be had again.
#![cfg(shuttle)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where the world is not as it must be"
)]

mod appending;
mod closing;
mod grouping;
mod keeping;
mod world;
