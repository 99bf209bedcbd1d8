//! The tests of the whole crate: one binary, one module per theme.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where the world is not as it must be"
)]

mod api;
mod async_face;
mod bus;
mod checker;
mod corpus;
mod crash;
mod damage;
mod env;
mod faults;
mod format;
mod full;
mod groups;
mod machine;
mod pace;
mod processes;
mod quakes;
mod sim;
mod smoke;
mod stress;
mod tidy;
mod torn;
mod upkeep;
mod waiting;
mod worker;
