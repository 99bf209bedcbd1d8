//! A real file system that loses its power while a log is at work on it.

#[allow(
    dead_code,
    reason = "the example asks whether it can; here that is asked for all tests alike"
)]
#[path = "../../../examples/torture/loop_disk.rs"]
mod loop_disk;

use brooklet::Log;

use self::loop_disk::LoopDisk;
use super::child::child;
use super::told::{After, Told, goes_on};
use super::tools::{Need, is_long, privately};
use crate::processes::child::Process;

/// A number between 1 and `most` that is another one for each round, and the same in each run.
fn patience(round: u64, most: u64) -> u64 {
    1 + (round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) % most
}

/// Power is lost while a child sends, commits, rolls, trims and opens; every third time it is lost
/// again while the log is opened.
#[test]
fn acknowledged_records_survive_power_cuts() {
    let test = "machine::power::acknowledged_records_survive_power_cuts";
    let tools = [Need::Tool("mkfs.ext4"), Need::Tool("umount")];
    privately(test, &tools, |dir| {
        let mut disk = LoopDisk::create(dir, 96).unwrap();
        let mut told = Told::default();
        let rounds = if is_long() { 1000 } else { 12 };
        let mut cut_short = 0;
        for round in 0..rounds {
            disk.mount().unwrap();
            let log = disk.root().join("log");
            let name = format!("round-{round}");
            let mut process = Process::spawn(&mut child(&[], "endless", (&log, &name)));
            // Every third time it is at most a few steps into its recovery.
            let most = if round % 3 == 2 { 3 } else { 400 };
            for _ in 0..patience(round, most) {
                told.note(&process.line().expect("it ends only when it is killed"));
            }
            if round % 2 == 0 {
                shut_down_under(&mut disk, &mut process, &mut told);
            } else {
                told.note_all(&process.kill());
                disk.cut_power().unwrap();
            }
            if round % 3 == 1 {
                continue;
            }
            disk.mount().unwrap();
            let log = Log::open(&log).unwrap();
            told.check(&log, After::Power);
            cut_short += usize::from(!log.recovery().was_clean);
            goes_on(&log, &mut told, &format!("after-{round}"));
            drop(log);
            disk.cut_power().unwrap();
        }
        assert!(cut_short > 0, "no session was cut short");
        assert!(told.acked() as u64 > rounds * 20, "too few acks to mean anything");
    });
}

/// Cuts the power while the child is at work, which then meets a disk that answers with errors.
///
/// What it says from then on proves nothing: a sync that is under way when ext4 is shut down can
/// return success without its transaction (Linux 6.18; a program of ten lines that does nothing but
/// `pwrite` and `fdatasync` lost its last record in 54 of 231 cuts). No power cut does that: whoever
/// was told something had power.
fn shut_down_under(disk: &mut LoopDisk, process: &mut Process, told: &mut Told) {
    // The file system is gone; only the mount is still there, for as long as something is open.
    let held = std::fs::File::open(disk.root()).unwrap();
    assert!(disk.cut_power().is_err(), "what is open was unmounted");
    drop(held);
    for line in process.finish() {
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb {
            "durable" => told.note(&format!("written {rest}")),
            "committed" | "trimmed" => {}
            _ => told.note(&line),
        }
    }
    disk.unmount().unwrap();
}
