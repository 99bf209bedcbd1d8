//! The child process: a log in other hands, driven and observed over pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use brooklet::testing::disk_env;
use brooklet::{Acks, Log, LogOptions, Offset, PartitionId, Record, TopicConfig, TopicPartition};

/// Selects the role of a child; without it the test that plays the child returns at once.
const ROLE: &str = "BROOKLET_TEST_ROLE";
const DIR: &str = "BROOKLET_TEST_DIR";
/// Lines of ours begin with this: the test harness prints to the same pipe.
const OURS: &str = "> ";

pub(super) const TOPIC: &str = "orders";

/// Not a test: the body of the child processes, which returns at once in an ordinary run.
#[test]
fn run() {
    let (Ok(role), Ok(dir)) = (std::env::var(ROLE), std::env::var(DIR)) else { return };
    let dir = Path::new(&dir);
    match role.as_str() {
        "writer" => serve(dir),
        "storm" => storm(dir),
        "contender" => contend(dir),
        "restless" => stir(dir),
        other => panic!("no role is called {other}"),
    }
}

/// A child process and its pipes; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    commands: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Process {
    pub(super) fn start(role: &str, dir: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["processes::child::run", "--exact", "--nocapture", "--test-threads=1"]);
        Self::spawn(command.env(ROLE, role).env(DIR, dir))
    }

    /// Starts a command whose lines [`say`] has said, or this very binary as a part of it.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let commands = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, commands, lines }
    }

    /// Tells the child what to do next.
    pub(crate) fn tell(&mut self, command: &str) {
        let commands = self.commands.as_mut().unwrap();
        writeln!(commands, "{command}").unwrap();
        commands.flush().unwrap();
    }

    /// The next line of the child; none once it has ended. A line that its end cut short is none.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).unwrap();
            let whole = line.strip_suffix('\n')?;
            if let Some(ours) = whole.strip_prefix(OURS) {
                return Some(ours.to_owned());
            }
        }
    }

    /// Reads lines up to this one; it must come.
    pub(crate) fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            match self.line() {
                Some(line) if line == wanted => return before,
                Some(line) => before.push(line),
                None => panic!("the child ended before it said {wanted:?}: {before:?}"),
            }
        }
    }

    /// Kills the child as nothing can be caught or refused, and returns what it still said.
    pub(crate) fn kill(&mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert!(!status.success(), "the child had ended before it was killed");
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Closes the command pipe and waits for a good end; returns what the child still said.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        drop(self.commands.take());
        let rest = std::iter::from_fn(|| self.line()).collect();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the child failed: {status}");
        rest
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says one line to the parent, in one write.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{OURS}{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The value of the record that a writer appends at `offset`: 30 to 200 bytes that name it.
pub(super) fn value_at(offset: u64) -> Vec<u8> {
    let mixed = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let len = 30 + usize::try_from(mixed >> 56).unwrap() % 170;
    let text = format!("record {offset} ");
    text.bytes().cycle().take(len).collect()
}

pub(super) fn place() -> TopicPartition {
    TopicPartition::new(TOPIC.parse().unwrap(), PartitionId::new(0))
}

/// A writer that does what it is told: appends, trims, closes; nothing happens in between.
fn serve(dir: &Path) {
    // What the harness has printed before stands on the same line.
    say_start();
    let options = LogOptions::new().manual_maintenance(true);
    let mut log = Some(options.open(dir).unwrap());
    say("ready");
    for command in std::io::stdin().lines() {
        let command = command.unwrap();
        let (verb, number) = command.split_once(' ').unwrap_or((&command, "0"));
        let number: u64 = number.parse().unwrap();
        let open = log.as_ref().unwrap();
        match verb {
            "append" => append(open, number),
            "churn" => churn(open, number),
            "trim" => say(&format!("trimmed {}", open.trim(&place(), number.into()).unwrap())),
            "maintain" => open.maintain().unwrap(),
            "delete" => open.delete_topic(TOPIC).unwrap(),
            "close" => log.take().unwrap().close().unwrap(),
            other => panic!("no command is called {other}"),
        }
        say("done");
        if log.is_none() {
            break;
        }
    }
}

/// Ends the line that the harness has begun.
pub(crate) fn say_start() {
    std::io::stdout().write_all(b"\n").unwrap();
}

fn append(log: &Log, count: u64) {
    let producer = log.producer(TOPIC).unwrap();
    for _ in 0..count {
        let offset = log.offsets(&place()).unwrap().written_end.value();
        let receipt = producer.send(Record::new(&value_at(offset))).unwrap();
        assert_eq!(receipt.offset(), Offset::new(offset));
        say(&format!("ack {offset}"));
    }
}

/// Appends and trims by turns, so that segments come and go.
fn churn(log: &Log, turns: u64) {
    for _ in 0..turns {
        append(log, 40);
        log.maintain().unwrap();
        let end = log.offsets(&place()).unwrap().end.value();
        let before = end.saturating_sub(100);
        say(&format!("trimming {before}"));
        log.trim(&place(), before.into()).unwrap();
        say(&format!("trimmed {before}"));
    }
}

/// Opens and ends the log again and again, and makes and deletes a topic each time.
fn stir(dir: &Path) {
    say_start();
    for turn in 0_u64.. {
        let log = Log::open(dir).unwrap();
        let passing = format!("passing-{turn}");
        log.create_topic(&passing, TopicConfig::new()).unwrap();
        log.producer(&passing).unwrap().send(Record::new("gone soon")).unwrap();
        append(&log, 1);
        log.delete_topic(&passing).unwrap();
        // Every third session ends as if it had crashed, so that journals are written anew.
        if turn % 3 == 2 {
            drop(log);
        } else {
            log.close().unwrap();
        }
        say(&format!("turn {turn}"));
    }
}

/// Takes the log, appends one record and lets go, again and again, beside another who does.
fn contend(dir: &Path) {
    say_start();
    let fs = disk_env().fs;
    let marker = dir.with_extension("held");
    for _ in 0..CONTESTS {
        let options = LogOptions::new().wait_for_lock(Duration::from_secs(600));
        let log = options.open(dir).unwrap();
        // Whoever finds the other's marker is not alone.
        fs.create_new(&marker).unwrap();
        let receipt = log.producer(TOPIC).unwrap().send(Record::new("mine")).unwrap();
        say(&format!("ack {}", receipt.offset()));
        fs.remove_file(&marker).unwrap();
        log.close().unwrap();
    }
}

pub(super) const CONTESTS: usize = 25;

/// Appends with every kind of ack from several threads, and trims, until it is killed.
fn storm(dir: &Path) {
    say_start();
    let round = std::io::stdin().lines().next().unwrap().unwrap();
    let log = Log::open(dir).unwrap();
    let (none, none_turns) = mpsc::channel();
    let (written, written_turns) = mpsc::channel();
    std::thread::scope(|scope| {
        let (log, round) = (&log, &round);
        scope.spawn(move || rain(log, ("none", Acks::None), round, |_| none_turns.recv().unwrap()));
        let turn = move |_| written_turns.recv().unwrap();
        scope.spawn(move || rain(log, ("written", Acks::Written), round, turn));
        // The slow sender sets the pace, or the fast ones would leave it no share of the log.
        rain(log, ("durable", Acks::Durable), round, |turn| {
            for _ in 0..8 {
                none.send(()).unwrap();
                written.send(()).unwrap();
            }
            if turn % 6 == 5 {
                trim_behind(log);
            }
        });
    });
}

fn trim_behind(log: &Log) {
    let end = log.offsets(&place()).unwrap().durable_end.value();
    let before = end.saturating_sub(200);
    say(&format!("trimming {before} 0"));
    let start = log.trim(&place(), before.into()).unwrap();
    say(&format!("trimmed {start} 0"));
}

/// One sender of a storm: single records, and every seventh time a batch.
fn rain(log: &Log, (name, acks): (&str, Acks), round: &str, before_turn: impl Fn(u64)) {
    let producer = log.producer(TOPIC).unwrap().acks(acks);
    let mut count = 0;
    for turn in 0.. {
        before_turn(turn);
        let size = if turn % 7 == 6 { 4 } else { 1 };
        let values = (count..count + size).map(|number| storm_value(round, name, number));
        let values = values.collect::<Vec<_>>();
        let receipts = producer.send_all(values.iter().map(Record::new)).unwrap();
        let offsets = receipts.iter().flat_map(|receipt| {
            let offsets = receipt.offsets();
            offsets.start.value()..offsets.end.value()
        });
        for (offset, number) in offsets.zip(count..) {
            say(&format!("{name} {number} {offset}"));
        }
        count += size;
    }
}

/// What sender `name` of a round sends as its `number`-th record.
pub(super) fn storm_value(round: &str, name: &str, number: u64) -> Vec<u8> {
    let text = format!("{round} {name} {number} ");
    let len = text.len() + usize::try_from(number % 90).unwrap();
    text.bytes().cycle().take(len).collect()
}
