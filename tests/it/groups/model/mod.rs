//! Random lives of groups, compared step by step with a small model of what groups are.
//!
//! A case is a list of numbers, one for each step, so that a case that fails is cut down by leaving
//! steps out. By default 2,000 cases of 60 steps are run; with `BROOKLET_LONG=1` in the environment
//! it is 100,000.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dice::Dice;
use crate::pace::share;

mod check;
mod committing;
mod reading;
mod reference;
mod steps;
mod world;

use self::world::World;

const STEPS: usize = 60;

type Counts = BTreeMap<&'static str, u64>;

fn is_long() -> bool {
    std::env::var_os("BROOKLET_LONG").is_some_and(|value| value != "0")
}

fn words(seed: u64) -> Vec<u64> {
    let mut dice = Dice::new(seed);
    (0..STEPS).map(|_| dice.next()).collect()
}

/// Runs a case; tells at which step it went wrong, and how.
fn run(words: &[u64]) -> Result<Counts, (usize, String)> {
    let mut done = 0;
    let lived = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(1);
        for word in words {
            let stepped = world.step(*word);
            stepped.map_err(|text| format!("{text}\nafter {:?}", world.trail))?;
            done += 1;
        }
        Ok(std::mem::take(&mut world.counts))
    }));
    let told = lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic, whose text stands above".to_owned()))
    });
    told.map_err(|text| (done, text))
}

/// Runs the case that an input is: each two bytes are a step.
///
/// # Panics
/// If a group did something else than the model says.
pub(crate) fn run_bytes(data: &[u8]) {
    let (steps, _) = data.as_chunks();
    let words = steps.iter().map(|step| u64::from(u16::from_le_bytes(*step)));
    if let Err((at, text)) = run(&words.take(STEPS).collect::<Vec<_>>()) {
        panic!("step {at}: {text}");
    }
}

/// The shortest case that still goes wrong, as far as leaving out one step after another leads.
fn shrunk(mut words: Vec<u64>) -> (Vec<u64>, String) {
    let mut text = String::new();
    loop {
        if let Err((at, told)) = run(&words) {
            words.truncate(at + 1);
            text = told;
        }
        let shorter = (0..words.len()).find_map(|left_out| {
            let mut shorter = words.clone();
            shorter.remove(left_out);
            run(&shorter).is_err().then_some(shorter)
        });
        match shorter {
            Some(shorter) => words = shorter,
            None => return (words, text),
        }
    }
}

fn cases(count: u64) -> Counts {
    let next = AtomicU64::new(0);
    let work = || {
        let mut counts = Counts::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return counts;
            }
            match run(&words(seed)) {
                Ok(seen) => seen.into_iter().for_each(|(what, by)| {
                    *counts.entry(what).or_default() += by;
                }),
                Err(_) => {
                    next.store(count, Ordering::Relaxed);
                    let (words, text) = shrunk(words(seed));
                    panic!("seed {seed}, cut down to {words:?}: {text}");
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let running = (0..threads).map(|_| scope.spawn(work)).collect::<Vec<_>>();
        let mut all = Counts::new();
        for thread in running {
            match thread.join() {
                Ok(counts) => counts.into_iter().for_each(|(what, by)| {
                    *all.entry(what).or_default() += by;
                }),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

/// Groups would lose records, hand them to two members, or forget what they have committed.
#[test]
fn groups_do_what_the_model_says() {
    let count = share(if is_long() { 100_000 } else { 2_000 }, 20).max(100) as u64;
    let counts = cases(count);
    for what in [
        "joins",
        "fencings",
        "moves",
        "revocations",
        "records",
        "commits",
        "resets",
        "crashes",
        "lazy starts",
        "lowered",
        "reopenings",
        "topics deleted",
        "groups deleted",
        "out of range",
        "polls refused",
        "Fenced",
        "NotOwner",
        "OffsetRegression",
        "OffsetOutOfRange",
        "InvalidRecord",
        "GroupActive",
        "UnknownGroup",
    ] {
        let seen = counts.get(what).copied().unwrap_or_default();
        assert!(seen * 200 >= count, "{what} was seen {seen} times in {count} cases: {counts:?}");
    }
}
