//! The tests of the whole crate, in one binary with a module for each theme.

mod tidy;
