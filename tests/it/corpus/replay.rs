//! The inputs that are kept in `fuzz/corpus`, run by every `cargo test`.
//!
//! Those of `frames` and of the private half of `names` are run beside the code, in `src/fuzzing`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use brooklet::testing::SimDisk;

use super::agree::agree;
use crate::crash::bytes::{live, run as run_script};
use crate::groups::model;

/// Runs every input of a target; returns how many there are.
#[expect(clippy::disallowed_methods, reason = "the inputs lie in the repository")]
fn replay(target: &str, run: impl Fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let ran = catch_unwind(AssertUnwindSafe(|| run(&std::fs::read(&path).unwrap())));
        assert!(ran.is_ok(), "{} fails", path.display());
        count += 1;
    }
    assert!(count > 0, "no inputs in {}", dir.display());
}

/// A directory that once broke opening would break it again.
#[test]
fn directories_of_the_corpus() {
    replay("open", super::open::run);
}

/// A changed directory that was once read wrongly would be read wrongly again.
#[test]
fn mutants_of_the_corpus() {
    replay("mutate", super::mutate::run);
}

/// Entries that once broke opening would break it again.
#[test]
fn journals_of_the_corpus() {
    replay("journals", super::journals::run);
}

/// A life that once lost a record would lose it again.
#[test]
fn scripts_of_the_corpus() {
    replay("script", run_script);
}

/// A life of groups that once went another way than the model's would go it again.
#[test]
fn groups_of_the_corpus() {
    replay("groups", model::run_bytes);
}

/// A name or a setting that was once taken for another would be again.
#[test]
fn names_of_the_corpus() {
    replay("names", super::names::run);
}

/// The log would serve something else than its format says, behind some crash.
#[test]
fn a_second_reader_agrees_on_what_crashes_leave() {
    let (mut images, mut records) = (0, 0);
    for seed in 0..200 {
        let entropy = SimDisk::new(seed).env().entropy;
        let input: Vec<u8> =
            (0..16).flat_map(|_| entropy.next_u64().to_le_bytes()).map(often_a_crash).collect();
        let lived = live(&input, |disk| {
            images += 1;
            records += agree(disk, &format!("seed {seed}"));
        });
        lived.unwrap_or_else(|text| panic!("seed {seed}: {text}"));
    }
    assert!(images > 400 && records > 5_000, "{images} images, {records} records");
}

/// Makes a tenth of all bytes the step that is a crash.
fn often_a_crash(byte: u8) -> u8 {
    if byte > 230 { 30 } else { byte }
}
