//! Tortures logs: power cuts on a simulated disk, killed processes, real power cuts; judges the rest.
//! `torture --mode sim|kill|power --rounds N --seed S`; without arguments, a short demonstration.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program tells what it found")]
#![expect(clippy::disallowed_methods, reason = "a program may sleep, and has files of its own")]

#[path = "torture/args.rs"]
mod args;
#[path = "torture/campaign.rs"]
mod campaign;
#[path = "torture/child.rs"]
mod child;
#[path = "torture/dice.rs"]
mod dice;
#[path = "torture/follower.rs"]
mod follower;
#[path = "torture/handler.rs"]
mod handler;
#[path = "torture/inspect.rs"]
mod inspect;
#[path = "torture/keeper.rs"]
mod keeper;
#[cfg_attr(target_os = "linux", path = "torture/loop_disk.rs")]
#[cfg_attr(not(target_os = "linux"), path = "torture/no_loop_disk.rs")]
mod loop_disk;
#[path = "torture/plan.rs"]
mod plan;
#[path = "torture/rounds.rs"]
mod rounds;
#[path = "torture/scene.rs"]
mod scene;
#[path = "torture/sender.rs"]
mod sender;
#[path = "torture/sim.rs"]
mod sim;
#[path = "torture/tally.rs"]
mod tally;
#[path = "torture/wire.rs"]
mod wire;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use args::{Args, Mode, USAGE};
use campaign::{Plan, simulate, torture};
use loop_disk::LoopDisk;

/// Something was found, or the run has shown nothing.
const FAILED: u8 = 1;
/// The run cannot be made here, or is not what anybody can ask for.
const IMPOSSIBLE: u8 = 2;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("torture: {error}\n{USAGE}");
            return ExitCode::from(IMPOSSIBLE);
        }
    };
    if let (Some(session), Some(dir)) = (args.child, &args.dir) {
        child::run(dir, session, args.seed);
    }
    match args.mode {
        Some(Mode::Power) if LoopDisk::available().is_err() => in_own_namespace(),
        Some(mode) => run(&args, mode, args.rounds.unwrap_or(100)),
        None => match run(&args, Mode::Sim, args.rounds.unwrap_or(SHORT_SIM)) {
            ExitCode::SUCCESS => run(&args, Mode::Kill, args.rounds.unwrap_or(SHORT_KILL)),
            failed => failed,
        },
    }
}

/// Starts this program again where what it mounts is seen by nobody else, and goes with it.
fn in_own_namespace() -> ExitCode {
    // Started so already, it would have found its disk.
    let again = std::env::args_os().skip(1).collect::<Vec<_>>();
    let possible = LoopDisk::possible().and_then(|()| {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        LoopDisk::private(program).args(again).status().map_err(|error| error.to_string())
    });
    match possible {
        Ok(status) => {
            ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
        }
        Err(why) => {
            eprintln!("torture: SKIPPED, NO POWER WAS CUT: {why}");
            ExitCode::from(IMPOSSIBLE)
        }
    }
}

fn run(args: &Args, mode: Mode, rounds: u64) -> ExitCode {
    match try_run(args, mode, rounds) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("torture: {error}");
            ExitCode::from(IMPOSSIBLE)
        }
    }
}

fn try_run(args: &Args, mode: Mode, rounds: u64) -> io::Result<ExitCode> {
    let (seed, jobs) = (args.seed, args.jobs);
    let dir = args.dir.clone().unwrap_or_else(|| memory_or_temporary(mode));
    let dir = dir.join(format!("torture-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let plan = Plan { seed, rounds: args.from..args.from + rounds, jobs, dir: dir.clone() };
    let begun = Instant::now();
    let (tally, failure) = match mode {
        Mode::Sim => simulate(&plan)?,
        Mode::Kill => torture(&plan, false)?,
        Mode::Power => torture(&plan, true)?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    println!("mode      {mode:?}, seed {seed}, rounds from {}", args.from);
    println!("{tally}");
    println!("time      {seconds:.1} s, {:.0} crashes a second", tally.crashes as f64 / seconds);
    if let Some(failure) = failure {
        println!(
            "FAILED    seed {seed}, round {}; kept in {}",
            failure.round,
            failure.kept.display()
        );
        println!("{}", failure.text);
        return Ok(ExitCode::from(FAILED));
    }
    if !args.keep {
        std::fs::remove_dir_all(&dir)?;
    }
    if let Some(why) = tally.is_vacuous(mode) {
        println!("FAILED    this shows nothing: {why}");
        return Ok(ExitCode::from(FAILED));
    }
    println!("passed    nothing lost, nothing invented, nothing twice");
    Ok(ExitCode::SUCCESS)
}

/// A disk whose power is cut is fastest in memory, and no less a disk.
fn memory_or_temporary(mode: Mode) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if mode == Mode::Power && memory.is_dir() { memory } else { std::env::temp_dir() }
}

const SHORT_SIM: u64 = 1_000;
const SHORT_KILL: u64 = 30;
