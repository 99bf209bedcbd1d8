//! What the fuzzer tries, and the inputs that are kept of it.
//!
//! The bodies here are functions over bytes. The fuzz targets (`fuzz/`) include this folder and run
//! them on what libFuzzer makes up; the tests of `replay` run them on the inputs in `fuzz/corpus`,
//! so that an input that once found something is looked at by every `cargo test`.

pub(crate) mod agree;
pub(crate) mod bases;
pub(crate) mod feed;
pub(crate) mod forge;
pub(crate) mod journals;
pub(crate) mod mutate;
pub(crate) mod names;
pub(crate) mod open;
#[cfg(test)]
mod replay;
pub(crate) mod world;
