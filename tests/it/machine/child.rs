//! The child process: a log that is about to meet trouble, and says everything that happens to it.
//!
//! What it says, line by line, each before the next step:
//!
//! ```text
//! try TOPIC SENDER NUMBER                       then one of
//!   durable|written TOPIC SENDER NUMBER PARTITION OFFSET
//!   not|unknown TOPIC SENDER NUMBER KIND TEXT   the fate of a send that failed
//! trimming OFFSET     trimmed OFFSET
//! committing OFFSET   committed OFFSET
//! failed STEP KIND TEXT                         any other step
//! ```
//!
//! Only a panic ends it badly: every error of the log is something that it says and goes on from.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use brooklet::{Acks, Error, Fate, Log, LogOptions, Producer, Record, SyncPolicy, TopicConfig};

use super::told::place;
use crate::processes::child::{say, say_start};

const ROLE: &str = "BROOKLET_MACHINE_ROLE";
const DIR: &str = "BROOKLET_MACHINE_DIR";
/// Distinguishes the senders of one child from those of another.
const NAME: &str = "BROOKLET_MACHINE_NAME";

/// Every record is synced; the group reads it, and it is trimmed.
pub(super) const FIRM: &str = "firm";
/// No record is synced unless its sender asks for it.
pub(super) const LOOSE: &str = "loose";
pub(super) const GROUP: &str = "readers";

/// Not a test: the body of the child processes, which returns at once in an ordinary run.
#[test]
fn run() {
    let (Ok(role), Ok(dir)) = (std::env::var(ROLE), std::env::var(DIR)) else { return };
    let name = std::env::var(NAME).unwrap();
    let dir = Path::new(&dir);
    say_start();
    match role.as_str() {
        "life" => life(dir, &name),
        "wide" => wide(dir, &name),
        "grow" => grow(dir, &name),
        "endless" => endless(dir, &name),
        "look" => look(dir),
        "hang" => hang(dir, &name),
        "grab" => grab(dir),
        other => panic!("no role is called {other}"),
    }
}

/// A command that plays a role, called `name`, at the end of the command line `before`.
pub(super) fn child(before: &[&str], role: &str, (dir, name): (&Path, &str)) -> Command {
    let own = std::env::current_exe().unwrap();
    child_of(own.to_str().unwrap(), before, role, (dir, name))
}

/// The same, with another copy of this binary.
pub(super) fn child_of(
    binary: &str,
    before: &[&str],
    role: &str,
    (dir, name): (&Path, &str),
) -> Command {
    let line = [before, &[binary]].concat();
    let mut command = super::tools::tool(line[0]);
    command.args(&line[1..]);
    command.args(["machine::child::run", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(DIR, dir).env(NAME, name);
    command
}

/// What a sender sends as its `number`-th record: 30 to 200 bytes that name it.
pub(super) fn value_of(sender: &str, number: u64) -> Vec<u8> {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let len = 30 + usize::try_from(mixed >> 56).unwrap() % 170;
    let text = format!("{sender} {number} ");
    text.bytes().cycle().take(len).collect()
}

pub(super) fn config_of(topic: &str) -> TopicConfig {
    match topic {
        FIRM => TopicConfig::new().segment_bytes(2 * 1024),
        _ => TopicConfig::new().segment_bytes(4 * 1024).sync(SyncPolicy::Never),
    }
}

/// The threads of the log do nothing by themselves, so that a life is the same each time.
fn options() -> LogOptions {
    LogOptions::new().manual_maintenance(true)
}

/// Says that a step failed, where it did.
fn step<T>(what: &str, result: Result<T, Error>) -> Option<T> {
    result.map_err(|error| say(&format!("failed {what} {:?} {error}", error.kind()))).ok()
}

/// Sends one record and says how that went.
fn send(producer: &Producer, acks: Acks, sender: &str, number: u64) -> Result<(), Fate> {
    let named = format!("{} {sender} {number}", producer.topic());
    say(&format!("try {named}"));
    match producer.clone().acks(acks).send(Record::new(&value_of(sender, number))) {
        Ok(receipt) => {
            let ack = if acks == Acks::Durable { "durable" } else { "written" };
            say(&format!("{ack} {named} {} {}", receipt.partition(), receipt.offset()));
            Ok(())
        }
        Err(error) => {
            let fate = if error.fate() == Fate::NotAppended { "not" } else { "unknown" };
            say(&format!("{fate} {named} {:?} {error}", error.kind()));
            Err(error.fate())
        }
    }
}

/// Three sessions that do a little of everything: the first ends like a crash, the others close.
fn life(dir: &Path, name: &str) {
    count_past_the_loader();
    let mut numbers = (0, 0);
    for session in 0..3 {
        let Some(log) = step("open", options().open(dir)) else { continue };
        if session == 0 {
            step("create", log.ensure_topic(FIRM, config_of(FIRM)));
            step("create", log.ensure_topic(LOOSE, config_of(LOOSE)));
        }
        appends(&log, name, &mut numbers);
        if session < 2 {
            commits(&log);
            trims(&log);
            passes(&log);
        }
        if session > 0 {
            appends(&log, name, &mut numbers);
            step("close", log.close());
        }
    }
    say("end");
}

/// Makes this thread's counts of system calls larger than those of the thread that starts programs.
///
/// strace counts by thread, and an error for the fifth `openat` would hit each thread's fifth.
fn count_past_the_loader() {
    for _ in 0..64 {
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        std::os::unix::fs::FileExt::read_at(&file, &mut [0; 8], 0).unwrap();
    }
}

/// Sends to both topics, with every kind of ack; a partition that has stopped is opened anew.
///
/// Returns how many records were acknowledged.
fn appends(log: &Log, name: &str, (firm, loose): &mut (u64, u64)) -> usize {
    let mut acked = 0;
    let sends = [(FIRM, Acks::Durable, 14), (LOOSE, Acks::Written, 6), (LOOSE, Acks::Durable, 2)];
    for (topic, acks, count) in sends {
        let Some(producer) = step("producer", log.producer(topic)) else { continue };
        for _ in 0..count {
            let number = if topic == FIRM { &mut *firm } else { &mut *loose };
            *number += 1;
            match send(&producer, acks, name, *number) {
                Ok(()) => acked += 1,
                Err(_) => _ = step("reopen", log.reopen_partition(&place(topic))),
            }
        }
    }
    acked
}

fn commits(log: &Log) {
    let consumer = log.consumer(GROUP).topics([FIRM]).max_records(9).open();
    let Some(mut consumer) = step("join", consumer) else { return };
    while let Some(batch) = step("poll", consumer.poll(Duration::ZERO)) {
        if batch.is_empty() {
            break;
        }
        let position = consumer.position(&place(FIRM)).unwrap();
        say(&format!("committing {position}"));
        if step("commit", consumer.commit()).is_some() {
            say(&format!("committed {position}"));
        }
    }
    step("leave", consumer.leave());
}

fn trims(log: &Log) {
    let Some(offsets) = step("offsets", log.offsets(&place(FIRM))) else { return };
    let before = offsets.end.value().saturating_sub(8);
    say(&format!("trimming {before}"));
    if let Some(start) = step("trim", log.trim(&place(FIRM), before.into())) {
        say(&format!("trimmed {start}"));
    }
    step("maintain", log.maintain());
}

/// A topic that is made and deleted.
fn passes(log: &Log) {
    if step("create", log.ensure_topic("passing", TopicConfig::new())).is_none() {
        return;
    }
    if let Some(producer) = step("producer", log.producer("passing")) {
        step("send", producer.send(Record::new("gone soon")).map_err(Error::from));
    }
    step("delete", log.delete_topic("passing"));
}

/// Many files at once: a topic of many partitions, all written and read.
fn wide(dir: &Path, name: &str) {
    let Some(log) = step("open", options().open_files(8).open(dir)) else { return say("end") };
    step("create", log.ensure_topic(LOOSE, config_of(LOOSE).partitions(24)));
    if let Some(producer) = step("producer", log.producer(LOOSE)) {
        for number in 0..48 {
            let _ = send(&producer, Acks::Written, name, number);
        }
        if let Some(records) = step("read", log.reader(LOOSE).stop_at_end().open()) {
            for record in records {
                if step("read", record).is_none() {
                    break;
                }
            }
        }
    }
    step("close", log.close());
    say("end");
}

/// Large records in large segments, so that a write crosses wherever a file may not grow further.
fn grow(dir: &Path, name: &str) {
    let Some(log) = step("open", options().open(dir)) else { return say("end") };
    for (topic, acks) in [(FIRM, Acks::Durable), (LOOSE, Acks::Written)] {
        let config = config_of(topic).segment_bytes(1024 * 1024);
        step("create", log.ensure_topic(topic, config));
        let Some(producer) = step("producer", log.producer(topic)) else { continue };
        for number in 0..400 {
            if send(&producer, acks, name, number).is_err() {
                step("reopen", log.reopen_partition(&place(topic)));
            }
        }
    }
    step("close", log.close());
    say("end");
}

/// Sends, commits and trims until it is killed, or the disk is no more.
fn endless(dir: &Path, name: &str) {
    let Some(log) = step("open", options().open(dir)) else { return say("end") };
    step("create", log.ensure_topic(FIRM, config_of(FIRM)));
    step("create", log.ensure_topic(LOOSE, config_of(LOOSE)));
    let mut numbers = (0, 0);
    for turn in 0_u64.. {
        if appends(&log, name, &mut numbers) == 0 {
            break;
        }
        if turn % 2 == 0 {
            commits(&log);
        }
        if turn % 3 == 0 {
            trims(&log);
        }
    }
    step("close", log.close());
    say("end");
}

/// Opens for reading alone, then for writing, and says what became of each.
fn look(dir: &Path) {
    for (what, read_only) in [("reading", true), ("writing", false)] {
        let Some(log) = step(what, options().read_only(read_only).open(dir)) else { continue };
        let reader = step("read", log.reader(FIRM).stop_at_end().open());
        let count = reader.map_or(0, |records| records.filter_map(|one| step("read", one)).count());
        say(&format!("{what} {count}"));
        let sent = log.producer(FIRM).and_then(|all| Ok(all.send(Record::new("look"))?));
        if step("send", sent).is_some() {
            say("sent");
        }
        step("close", log.close());
    }
    say("end");
}

/// The sync of one topic does not end; the other goes on, and nobody is told what is not known.
fn hang(dir: &Path, name: &str) {
    let options = options().unsynced_bytes(2 * 1024).send_timeout(Some(Duration::from_millis(1)));
    say(&format!("pid {}", std::process::id()));
    let log = options.open(dir).unwrap();
    let (firm, loose) = (log.producer(FIRM).unwrap(), log.producer(LOOSE).unwrap());
    let (hung, patient) = (firm.clone(), format!("{name}-patient"));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = send(&hung, Acks::Durable, &patient, 0);
            say("the sync has ended");
        });
        let is_written = || log.offsets(&place(FIRM)).unwrap().written_end > 1.into();
        while !is_written() {
            std::thread::yield_now();
        }
        for number in 0..20 {
            send(&loose, Acks::Durable, name, number).unwrap();
        }
        let mut numbers = 0_u64..;
        while send(&firm, Acks::Written, name, numbers.next().unwrap()).is_ok() {}
        say("progressed");
    });
}

/// Tries to open the log whenever it is told to, and sends one record each time it has it.
fn grab(dir: &Path) {
    let mut log = None;
    for command in std::io::stdin().lines() {
        if command.unwrap() == "leave" {
            log.take().map(|log: Log| log.close()).unwrap().unwrap();
            say("left");
            continue;
        }
        match options().open(dir) {
            Ok(mine) => {
                mine.producer(FIRM).unwrap().send(Record::new("mine")).unwrap();
                let second = options().open(dir).unwrap_err().kind();
                assert_eq!(second, brooklet::ErrorKind::AlreadyOpen, "a second handle");
                log = Some(mine);
                say("got, and nobody else");
            }
            Err(error) => say(&format!("{:?}", error.kind())),
        }
    }
}
