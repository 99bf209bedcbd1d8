//! Limits that the system sets to a process: the size of its files, and how many are open.

use brooklet::{Log, LogOptions};

use super::child::child;
use super::told::{After, Told, goes_on};
use super::tools::{in_memory, sample};
use crate::processes::child::Process;

/// Plays a role under a limit of the shell's `ulimit`, then opens the log without it.
fn under(limit: &str, role: &str) -> Told {
    let dir = in_memory();
    let log = dir.path().join("log");
    // A process that has not ignored the signal of the limit on sizes would be killed by it.
    let shell = format!("ulimit {limit} || exit 9; trap '' XFSZ; exec \"$0\" \"$@\"");
    let before = ["sh", "-c", &shell];
    let mut told = Told::default();
    told.note_all(&Process::spawn(&mut child(&before, role, (&log, "first"))).finish());
    assert_eq!(told.other, ["end"], "{limit}: the child said nothing that is understood");
    for (step, kind, text) in &told.failures {
        let known = ["Io", "Poisoned", "StorageFull", "UnknownTopic"];
        assert!(known.contains(&kind.as_str()), "{limit}: {step}: {kind}: {text}");
    }
    let log = Log::open(&log).unwrap();
    told.check(&log, After::Process);
    goes_on(&log, &mut told, "after");
    let log = LogOptions::new().open(dir.path().join("log")).unwrap();
    assert!(log.recovery().was_clean, "{limit}");
    told.check(&log, After::Process);
    told
}

fn met(told: &Told, code: u32) -> bool {
    let code = format!("(os error {code})");
    told.failures.iter().any(|(.., text)| text.contains(&code))
}

/// A write that the system cuts short, and then refuses, would leave half a record behind as a whole.
#[test]
fn a_file_that_may_not_grow_costs_no_record() {
    const FILE_TOO_LARGE: u32 = 27;
    let blocks = (0..16).chain((16..300).step_by(7)).collect::<Vec<_>>();
    let mut unknown = 0;
    let mut refused = 0;
    let mut passed = 0;
    for blocks in sample(blocks, 4) {
        let told = under(&format!("-f {blocks}"), "grow");
        let is_met = met(&told, FILE_TOO_LARGE);
        refused += usize::from(is_met);
        passed += usize::from(!is_met);
        unknown += told.unknown();
        assert!(is_met || told.failures.is_empty(), "{blocks}: {:?}", told.failures);
    }
    assert!(refused > 2 && passed > 0, "{refused} refused, {passed} not");
    assert!(unknown > 0, "no write was cut short");
}

/// A process without a descriptor to spare would leave half of something behind, or lose records.
#[test]
fn few_descriptors_cost_no_record() {
    const TOO_MANY_OPEN_FILES: u32 = 24;
    let mut refused = 0;
    let mut passed = 0;
    for descriptors in sample((10..60).collect(), 5) {
        let told = under(&format!("-n {descriptors}"), "wide");
        let is_met = met(&told, TOO_MANY_OPEN_FILES);
        refused += usize::from(is_met);
        passed += usize::from(!is_met);
        assert!(is_met || told.failures.is_empty(), "{descriptors}: {:?}", told.failures);
    }
    assert!(refused > 2 && passed > 0, "{refused} refused, {passed} not");
}
