//! Crashes at every operation of a log's life, and at every operation of the recovery behind it.
//!
//! One scripted life touches everything that writes. It is run as often as it has operations, each
//! time with the power going off at another one, and what the disk then holds is taken through
//! every crash policy. The log must open, hold all that its acknowledgements cover and nothing that
//! was never sent, and go on. Random lives do the same where nobody thought of looking.
//!
//! By default the second crash, during recovery, tries two policies, and random lives take a
//! thousand seeds. With `BROOKLET_LONG=1` in the environment it is every policy, behind a kill and
//! behind itself, and a hundred thousand seeds: about half an hour.

pub(crate) mod bytes;
mod deletions;
mod leftovers;
mod life;
mod many;
mod oracle;
mod random;
mod reads;
mod script;

use brooklet::Acks;
use brooklet::testing::{CrashPolicy, SimDisk};

use self::life::{Life, Step};
use self::oracle::Verdict;
use self::script::{roomy_life, whole_life};
use crate::pace::{share, some};

/// What a program does after a crash: it opens, reads everything, and goes on.
const RETURN: &[Step] = &[
    Step::Open,
    Step::Read,
    Step::SendEverywhere(Acks::Durable),
    Step::Maintain,
    Step::Read,
    Step::Look,
];

/// What is tried while the power goes off a second time, and again when it comes back.
const RECOVER: &[Step] =
    &[Step::Open, Step::Read, Step::SendEverywhere(Acks::Durable), Step::Maintain];

/// The same log once more, now that what it held before was served.
const RETURN_AGAIN: &[Step] = &[
    Step::Open,
    Step::Read,
    Step::SendEverywhere(Acks::Written),
    Step::Close,
    Step::Open,
    Step::Read,
    Step::Close,
];

/// Every policy, those that roll dice with two seeds.
fn crashes() -> Vec<(CrashPolicy, u64)> {
    let rolls = |policy: &CrashPolicy| {
        matches!(
            policy,
            CrashPolicy::PrefixPerFile
                | CrashPolicy::SubsetPerFile { .. }
                | CrashPolicy::GarbageTail
                | CrashPolicy::TornOp
        )
    };
    let seeds = |policy: &CrashPolicy| if rolls(policy) { 1..=2 } else { 1..=1 };
    CrashPolicy::ALL.iter().flat_map(|policy| seeds(policy).map(|seed| (*policy, seed))).collect()
}

fn is_long() -> bool {
    std::env::var_os("BROOKLET_LONG").is_some_and(|value| value != "0")
}

/// How many operations the script takes when nothing goes wrong.
fn operations(script: &[Step]) -> u64 {
    let mut life = Life::new(SimDisk::new(SEED));
    life.run(script).unwrap();
    assert_eq!(life.done, script.len());
    life.disk.ops()
}

/// The script, ended by a loss of power at an operation.
fn interrupted(script: &[Step], at: u64) -> Life {
    let mut life = Life::new(SimDisk::new(SEED));
    life.disk.power_off_at(at);
    life.run(script).unwrap();
    let is_whole = life.done == script.len();
    assert!(life.disk.is_off() || is_whole, "the crash at operation {at} did not happen");
    life
}

/// Goes on after a crash, and loses power once more when all is said.
fn goes_on(life: &mut Life) -> Verdict {
    life.run(RETURN).map_err(|text| format!("back again: {text}"))?;
    let mut later = life.crash(CrashPolicy::LoseAll, 0);
    let again = later.run(RETURN_AGAIN).and_then(|()| later.check_remains());
    again.map_err(|text| format!("and after losing all: {text}"))
}

/// What went wrong, with the place where it did.
#[derive(Default)]
struct Findings {
    tried: usize,
    bad: Vec<String>,
}

impl Findings {
    fn note(&mut self, verdict: Verdict, place: impl FnOnce() -> String) {
        self.tried += 1;
        if let Err(text) = verdict {
            self.bad.push(format!("{}: {text}", place()));
        }
    }

    fn check(&self, at_least: usize) {
        let shown = self.bad.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.bad.is_empty(), "{} of {} went wrong:\n{shown}", self.bad.len(), self.tried);
        let at_least = share(at_least, 500);
        assert!(self.tried >= at_least, "only {} crashes were tried", self.tried);
    }
}

const SEED: u64 = 1;

/// Every crash at every operation of a life.
fn crash_everywhere(script: &[Step]) -> Findings {
    let mut findings = Findings::default();
    for at in some(0..operations(script), 37) {
        let life = interrupted(script, at);
        for (policy, seed) in crashes() {
            let mut after = life.crash(policy, seed);
            findings.note(goes_on(&mut after), || {
                format!("{policy:?} {seed}, operation {at} in {:?}", script.get(life.done))
            });
        }
    }
    findings
}

/// Acknowledged records could be lost with the power, or the log would not open again.
#[test]
fn a_crash_at_every_operation_loses_nothing_that_was_acknowledged() {
    crash_everywhere(&whole_life()).check(5_000);
}

/// Room that is made ahead of the frames could be taken for a part of the log, or for damage.
#[test]
fn a_crash_in_a_segment_with_room_loses_nothing_either() {
    let script = roomy_life();
    let whole = interrupted(&script, u64::MAX);
    let ends_in_room = |bytes: &Vec<u8>| bytes.iter().rev().take(1000).all(|byte| *byte == 0);
    let snapshot = whole.disk.snapshot();
    let segments = snapshot.iter().filter(|(path, _)| path.extension() == Some("seg".as_ref()));
    let with_room = segments.filter(|(_, bytes)| ends_in_room(bytes)).count();
    assert!(with_room > 0, "no segment has room");
    crash_everywhere(&script).check(1_000);
}

/// What recovery has shown could be gone, or a half-done recovery could not be done again.
#[test]
fn a_second_crash_at_every_change_of_a_recovery_loses_nothing_either() {
    let seconds = if is_long() { CrashPolicy::ALL } else { &[CrashPolicy::LoseAll] };
    for second in seconds {
        recover_twice(CrashPolicy::KeepAll, *second).check(10_000);
    }
}

/// A recovery could remove what the log needs until the recovery is durable.
#[test]
fn a_second_crash_that_keeps_removals_alone_loses_nothing_either() {
    recover_twice(CrashPolicy::KeepAll, CrashPolicy::UnlinkFirst).check(10_000);
    for first in CrashPolicy::ALL.iter().filter(|_| is_long()) {
        recover_twice(*first, CrashPolicy::UnlinkFirst).check(10_000);
        recover_twice(*first, *first).check(10_000);
    }
}

fn recover_twice(first: CrashPolicy, second: CrashPolicy) -> Findings {
    let script = whole_life();
    let mut findings = Findings::default();
    for at in some(changes(&interrupted(&script, u64::MAX)), 31) {
        let life = interrupted(&script, at);
        let after = life.crash(first, 1);
        let mut rehearsal = after.fork();
        findings.note(rehearsal.run(RECOVER), || format!("{first:?}, operation {at}"));
        for then in some(changes(&rehearsal), 7) {
            let mut again = after.fork();
            again.disk.power_off_at(then);
            let mut verdict = again.run(RECOVER);
            assert!(again.disk.is_off(), "the crash at operation {then} did not happen");
            let mut last = again.crash(second, 2);
            verdict =
                verdict.and_then(|()| last.run(RECOVER)).and_then(|()| last.run(&[Step::Read]));
            findings.note(verdict, || {
                let step = script.get(life.done);
                format!("{first:?}, operation {at} in {step:?}, then {second:?}, operation {then}")
            });
        }
    }
    findings
}

/// The operations of a life that change what a crash finds; all others leave things as they are.
fn changes(life: &Life) -> Vec<u64> {
    let log = life.disk.log();
    log.iter().filter(|op| op.kind.is_change()).map(|op| op.number).collect()
}

/// Records could be served that the next power cut takes back.
#[test]
fn what_is_served_after_a_kill_survives_the_power_cut_behind_it() {
    let script = whole_life();
    let mut findings = Findings::default();
    for at in some(0..operations(&script), 37) {
        let killed = interrupted(&script, at).crash(CrashPolicy::KeepAll, 1);
        let mut served = killed.fork();
        let verdict = served.run(&[Step::Open, Step::Read]);
        findings.note(verdict.clone(), || format!("killed at operation {at}"));
        assert!(verdict.is_err() || served.is_whole(), "a kill at operation {at} tore something");
        for policy in [CrashPolicy::LoseAll, CrashPolicy::UnlinkFirst, CrashPolicy::PrefixPerFile] {
            let mut after = served.crash(policy, at);
            let verdict = verdict.clone().and_then(|()| after.run(&[Step::Open, Step::Read]));
            findings.note(verdict, || format!("killed at operation {at}, then {policy:?}"));
        }
    }
    findings.check(2_000);
}
