//! Several processes at one directory: a reader beside a writer, two writers, and kills.
//!
//! The children are this very binary, run again with a filter that selects one test of
//! [`child`]; a variable of the environment tells that test which role to play. What a child does
//! and what it has done go over its pipes, line by line, so that nothing here depends on time.

mod beside;
pub(crate) mod child;
mod kills;
mod locks;
