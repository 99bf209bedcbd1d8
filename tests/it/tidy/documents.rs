//! Tests that documents name: each must exist, and the tables of faults and promises must be whole.
//!
//! A document names a test in backticks: `theme::module::function` below `tests/it`, `unit
//! module::tests::function` below `src`, or `fuzz target` below `fuzz/targets`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The documents that are read, where they are there.
const DOCUMENTS: [&str; 3] = ["FAULTS.md", "GUARANTEES.md", "TESTING.md"];

/// How many rows the catalogue of faults has.
const FAULTS: usize = 46;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backticks, in one line.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The file of a module below `root`, if there is one.
fn module(root: &Path, path: &[&str]) -> Option<PathBuf> {
    let joined = path.iter().fold(root.to_owned(), |found, part| found.join(part));
    let candidates = [joined.with_extension("rs"), joined.join("mod.rs")];
    candidates.into_iter().find(|path| path.is_file())
}

/// Whether a file has a test of this name.
fn has_test(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(str::trim).collect::<Vec<_>>();
    let function = format!("fn {name}(");
    let mut found = lines.iter().enumerate().filter(|(_, line)| line.starts_with(&function));
    found.any(|(at, _)| {
        let before = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        before.into_iter().any(|line| *line == "#[test]")
    })
}

/// What is wrong with the test that a span names; nothing, if it names none.
fn wrong(span: &str) -> Option<String> {
    let missing = |what: &str| Some(format!("`{span}`: {what}"));
    if let Some(target) = span.strip_prefix("fuzz ") {
        let targets = repository().join("fuzz/targets");
        let is_there = targets.join(target).with_extension("rs").is_file();
        return if is_there || !targets.is_dir() { None } else { missing("no such target") };
    }
    let (root, path) = match span.strip_prefix("unit ") {
        Some(path) => ("src", path),
        None => ("tests/it", span),
    };
    let parts = path.split("::").collect::<Vec<_>>();
    let is_word = |part: &&str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    // A name of one word may be a module, which some tables name.
    let name = parts.last().filter(|name| name.contains('_'))?;
    if parts.len() < 2 || !parts.iter().all(is_word) {
        return None;
    }
    let mut modules = &parts[..parts.len() - 1];
    if root == "src" {
        modules = modules.strip_suffix(&["tests"]).unwrap_or(modules);
    }
    match module(&repository().join(root), modules) {
        Some(file) if has_test(&file, name) => None,
        Some(file) => missing(&format!("no such test in {}", file.display())),
        None => missing("no such module"),
    }
}

/// A document would lean on a test that was renamed, or was never there.
#[test]
fn every_test_that_a_document_names_exists() {
    let mut named = 0;
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        let Ok(text) = fs::read_to_string(repository().join("docs").join(document)) else {
            continue;
        };
        named += spans(&text).filter(|span| span.contains("::")).count();
        findings.extend(spans(&text).filter_map(wrong).map(|text| format!("{document}: {text}")));
    }
    assert!(named > 100, "only {named} names were looked at");
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// A name that cannot be wrong would be checked for nothing.
#[test]
fn names_that_lead_nowhere_are_found() {
    let good = [
        "tidy::documents::names_that_lead_nowhere_are_found",
        "smoke::what_is_sent_is_read_in_memory",
        "unit offset::tests::offsets_never_wrap",
        "Log::verify",
        "io::Error",
        "BROOKLET_LONG=1",
        "cargo test",
    ];
    for span in good {
        assert_eq!(wrong(span), None);
    }
    let bad = [
        "tidy::documents::no_such_test",
        "tidy::nowhere::names_that_lead_nowhere_are_found",
        // A function that is no test.
        "tidy::documents::has_test",
        "unit offset::tests::offsets_always_wrap",
        "unit nowhere::tests::offsets_never_wrap",
    ];
    for span in bad {
        assert!(wrong(span).is_some(), "{span} was not found missing");
    }
}

/// A fault would be dropped from the catalogue, or stand there with nothing to show for it.
#[test]
fn every_fault_has_a_test_or_a_reason() {
    let text = fs::read_to_string(repository().join("docs/FAULTS.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let cells = line.split(" | ").collect::<Vec<_>>();
        let number = cells[0].strip_prefix("| ").and_then(|first| first.parse::<usize>().ok());
        let (Some(number), [_, fault, deed, tests]) = (number, cells.as_slice()) else { continue };
        assert!(!fault.is_empty() && !deed.is_empty(), "row {number} says nothing");
        let shown = spans(tests).any(|span| span.contains("::") || span.starts_with("fuzz "));
        assert!(shown || tests.contains("Not here:"), "row {number} has no test and no reason");
        assert!(rows.insert(number, ()).is_none(), "row {number} is there twice");
    }
    assert_eq!(rows.into_keys().collect::<Vec<_>>(), (1..=FAULTS).collect::<Vec<_>>());
}

/// The tests that a seeded bug turns red, as its patch names them.
fn reddened(patch: &str) -> Vec<String> {
    let path = repository().join("tests/seeded").join(patch).with_extension("patch");
    let text = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{patch} is no seeded bug"));
    let named = text.lines().find_map(|line| line.strip_prefix("Red: "));
    let named = named.unwrap_or_else(|| panic!("{patch} names no test"));
    named.split(", ").map(str::to_owned).collect()
}

/// A promise would lean on tests that no bug has ever turned red.
#[test]
fn every_promise_has_a_seeded_bug_that_turns_one_of_its_own_tests_red() {
    let text = fs::read_to_string(repository().join("docs/GUARANTEES.md")).unwrap();
    let mut promises = Vec::new();
    for line in text.lines() {
        let cells = line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>();
        let [name, _, tests, bugs] = cells[..] else { continue };
        let is_letter = matches!(name.as_bytes(), [b'a'..=b'z']);
        if !is_letter && name.parse::<usize>().is_err() {
            continue;
        }
        let tests = spans(tests).map(|test| test.strip_prefix("unit ").unwrap_or(test));
        let tests = tests.collect::<Vec<_>>();
        for bug in spans(bugs) {
            let is_here = reddened(bug).iter().any(|test| tests.contains(&&**test));
            assert!(is_here, "promise {name}: no test of its row goes red for {bug}");
        }
        assert!(spans(bugs).count() > 0, "promise {name} has no seeded bug");
        promises.push(name);
    }
    let promised = (1..=10).map(|number| number.to_string());
    let promised = promised.chain(('a'..='e').map(String::from)).collect::<Vec<_>>();
    assert_eq!(promises, promised);
}
