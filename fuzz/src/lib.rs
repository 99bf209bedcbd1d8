//! What the fuzz targets run: the bodies that the tests of the crate share, each under a limit of
//! memory.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "the bodies are tests; some of what they share serves the tests alone"
)]

#[path = "../../tests/it/corpus/mod.rs"]
mod corpus;
mod crash;
mod format;
mod groups;
mod memory;
#[path = "../../tests/it/pace.rs"]
mod pace;

use memory::limited;

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

/// A frame, a head, a footer, and what is inside them.
pub fn frames(data: &[u8]) {
    limited(|| brooklet::fuzzing::frames(data));
}

/// A directory of arbitrary files.
pub fn open(data: &[u8]) {
    limited(|| corpus::open::run(data));
}

/// A valid directory that was changed.
pub fn mutate(data: &[u8]) {
    corpus::bases::bases();
    limited(|| corpus::mutate::run(data));
}

/// Journals with good frames around arbitrary entries.
pub fn journals(data: &[u8]) {
    corpus::bases::bases();
    limited(|| corpus::journals::run(data));
}

/// Operations on a log, crashes among them, against a model.
pub fn script(data: &[u8]) {
    limited(|| crash::bytes::run(data));
}

/// Members of groups that come, poll, commit, seek, stay away and go, against a model.
pub fn groups(data: &[u8]) {
    limited(|| groups::model::run_bytes(data));
}

/// Names, patterns, settings, and entries of journals.
pub fn names(data: &[u8]) {
    limited(|| {
        corpus::names::run(data);
        brooklet::fuzzing::entries(data);
        if let Ok(name) = std::str::from_utf8(data) {
            brooklet::fuzzing::layout(name);
        }
    });
}
