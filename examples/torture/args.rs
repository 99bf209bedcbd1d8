//! What is asked for on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// How a log is tortured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On a simulated disk that loses power.
    Sim,
    /// In a process that is killed.
    Kill,
    /// On a real disk whose power is cut.
    Power,
}

#[derive(Clone, Debug)]
pub(crate) struct Args {
    /// Both that anybody can run, if none is named.
    pub(crate) mode: Option<Mode>,
    pub(crate) rounds: Option<u64>,
    pub(crate) seed: u64,
    /// The number of the first round, to do one once more.
    pub(crate) from: u64,
    pub(crate) jobs: u64,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) keep: bool,
    /// This process is a child, in its session of this number.
    pub(crate) child: Option<u32>,
}

pub(crate) const USAGE: &str = "\
torture [--mode sim|kill|power] [--rounds N] [--seed S] [--from R] [--jobs J] [--dir D] [--keep]
  --mode    sim: power lost on a simulated disk; kill: a child process that is killed on a real
            one; power: a real disk that loses power (Linux, root, loop devices)
            by default sim, then kill, both of them short
  --rounds  how many rounds; one of sim has three to five crashes, any other has one
  --seed    what all decisions follow from; a round of sim is the same for the same seed
  --from    the number of the first round: a failed one of sim is done again by
            --mode sim --seed S --from R --rounds 1
  --jobs    how many threads do rounds of sim at once
  --dir     where the directories under test are made; by default where temporary files go
  --keep    keeps them even if nothing was found";

impl Args {
    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mode, rounds, dir, child) = (None, None, None, None);
        let mut all = Self { mode, rounds, seed: 1, from: 0, jobs: 1, dir, keep: false, child };
        let mut args = args;
        while let Some(name) = args.next() {
            let name = name.to_string_lossy().into_owned();
            if name == "--keep" {
                all.keep = true;
                continue;
            }
            let value =
                args.next().ok_or_else(|| format!("{name} needs a value, or is unknown"))?;
            let text = value.to_string_lossy();
            let number = || text.parse().map_err(|error| format!("{name} {text}: {error}"));
            match name.as_str() {
                "--mode" => all.mode = Some(mode_of(&text)?),
                "--rounds" => all.rounds = Some(number()?),
                "--seed" => all.seed = number()?,
                "--from" => all.from = number()?,
                "--jobs" => all.jobs = number()?.max(1),
                "--dir" => all.dir = Some(PathBuf::from(&value)),
                "--child" => all.child = Some(u32::try_from(number()?).unwrap_or(0)),
                _ => return Err(format!("{name} is unknown")),
            }
        }
        Ok(all)
    }
}

fn mode_of(text: &str) -> Result<Mode, String> {
    match text {
        "sim" => Ok(Mode::Sim),
        "kill" => Ok(Mode::Kill),
        "power" => Ok(Mode::Power),
        _ => Err(format!("--mode {text}: sim, kill or power")),
    }
}
