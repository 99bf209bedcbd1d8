//! Many rounds of one mode: they end with the first that fails, whose remains are kept.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use brooklet::testing::SimDisk;
use brooklet::testing::checker::Anomaly;
use parking_lot::Mutex;

use crate::rounds::Rounds;
use crate::sim;
use crate::tally::Tally;

/// A round in which something was found.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) round: u64,
    pub(crate) text: String,
    /// Where the remains are.
    pub(crate) kept: PathBuf,
}

pub(crate) type Verdict = io::Result<(Tally, Option<Failure>)>;

/// The rounds to do, and the place for what is to be kept.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rounds: std::ops::Range<u64>,
    pub(crate) jobs: u64,
    pub(crate) dir: PathBuf,
}

/// Rounds on simulated disks, several at once.
pub(crate) fn simulate(plan: &Plan) -> Verdict {
    let next = AtomicU64::new(plan.rounds.start);
    let failed = Mutex::new(None::<u64>);
    let mut tally = Tally::default();
    let work = || {
        let mut tally = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= plan.rounds.end || failed.lock().is_some() {
                return tally;
            }
            let outcome = sim::round(plan.seed, number, false);
            tally.add(&outcome.tally);
            if !outcome.anomalies.is_empty() || outcome.trouble.is_some() {
                failed.lock().get_or_insert(number);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.jobs).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(done) => tally.add(&done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let Some(number) = failed.into_inner() else { return Ok((tally, None)) };
    // Once more, now with everything written down: it is the same round.
    let again = sim::round(plan.seed, number, true);
    tally.anomalies += again.anomalies.len() as u64;
    let kept = plan.dir.join(format!("sim-seed-{}-round-{number}", plan.seed));
    keep_disk(&again.disk, &kept.join("disk"))?;
    fs::write(kept.join("history.txt"), &again.history)?;
    let text = describe(&again.anomalies, again.trouble.as_slice());
    Ok((tally, Some(Failure { round: number, text, kept })))
}

/// Rounds with a child process, one after the other.
pub(crate) fn torture(plan: &Plan, is_power: bool) -> Verdict {
    let first = u32::try_from(plan.rounds.start).map_err(io::Error::other)?;
    let mut rounds = Rounds::new(&plan.dir, is_power, plan.seed, first)?;
    let mut tally = Tally::default();
    for number in plan.rounds.clone() {
        let outcome = rounds.round()?;
        tally.add(&outcome.tally);
        if outcome.anomalies.is_empty() && outcome.trouble.is_empty() {
            continue;
        }
        tally.anomalies += outcome.anomalies.len() as u64;
        let name = if is_power { "power" } else { "kill" };
        let kept = plan.dir.join(format!("{name}-seed-{}-round-{number}", plan.seed));
        copy(rounds.dir(), &kept.join("log"))?;
        fs::write(kept.join("history.txt"), rounds.history())?;
        let text = describe(&outcome.anomalies, &outcome.trouble);
        return Ok((tally, Some(Failure { round: number, text, kept })));
    }
    Ok((tally, None))
}

/// The first of what was found, one a line.
fn describe(anomalies: &[Anomaly], trouble: &[String]) -> String {
    let mut text = String::new();
    for line in trouble.iter().take(SHOWN) {
        let _ = writeln!(text, "  {line}");
    }
    for anomaly in anomalies.iter().take(SHOWN) {
        let _ = writeln!(text, "  {anomaly}");
    }
    if anomalies.len() > SHOWN {
        let _ = writeln!(text, "  and {} more", anomalies.len() - SHOWN);
    }
    text
}

const SHOWN: usize = 20;

fn keep_disk(disk: &SimDisk, to: &Path) -> io::Result<()> {
    for (path, bytes) in disk.snapshot() {
        let path = to.join(path.strip_prefix(disk.root()).unwrap_or(&path));
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, bytes)?;
    }
    fs::create_dir_all(to)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
