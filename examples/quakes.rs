//! A week of the world's earthquakes: ingested, turned into alerts, replayed; resumed after any kill.
//! `quakes [DIR [FILE.jsonl]]`: without arguments, the embedded week and a temporary directory.
#![expect(clippy::print_stderr, reason = "a program says on stderr why it failed")]
#![expect(clippy::disallowed_methods, reason = "a program may sleep")]

#[path = "data/alerts.rs"]
mod alerts;
#[path = "data/event.rs"]
mod event;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use brooklet::{
    Acks, Ensured, Log, Offset, PartitionId, ReaderBuilder, StartAt, StoredRecord, Timestamp,
    TopicConfig,
};

use event::Event;

const WEEK: &str = include_str!("data/usgs-quakes-week.jsonl");
const TOPIC: &str = "quakes";
const PARTITIONS: u32 = 3;
/// Events sent together, which share their syncs.
const CHUNK: usize = 50;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    match run(args.next(), args.next(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quakes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: Option<PathBuf>, file: Option<PathBuf>, out: &mut impl Write) -> Outcome {
    let name = file.as_ref().map_or("the embedded week".into(), |file| file.display().to_string());
    let text = file.map_or(Ok(WEEK.to_owned()), std::fs::read_to_string);
    let text = text.map_err(|error| format!("{name}: {error}"))?;
    // Everything is looked at before anything is written.
    let numbered = text.lines().zip(1..);
    let events = numbered.map(|(line, number)| {
        Event::parse(line).map_err(|error| format!("{name}, line {number}: {error}"))
    });
    let events = events.collect::<Result<Vec<_>, _>>()?;
    let middle = events.get(events.len() / 2).ok_or_else(|| format!("{name} holds no events"))?;

    let temporary = tempfile::tempdir()?;
    let dir = dir.unwrap_or_else(|| temporary.path().to_path_buf());
    let log = Log::open(&dir)?;
    let ensured = log.ensure_topic(TOPIC, TopicConfig::new().partitions(PARTITIONS))?;
    if let Ensured::Differs(what) = ensured {
        return Err(format!("{TOPIC} is there already with another setting of {what:?}").into());
    }
    ingest(&log, &events, out)?;
    print_table(&log, out)?;
    replay(&log, &events, middle.time, out)?;
    alerts::raise(&log, &events, out)?;
    alerts::review(&log, middle.time, out)?;
    log.close()?;

    let log = Log::open(&dir)?;
    assert!(log.recovery().was_clean, "a log that was closed has nothing to recover");
    let missing = missing(&log, &events)?.len();
    writeln!(out, "reopened: {} events verified byte for byte", events.len() - missing)?;
    log.close()?;
    assert_eq!(missing, 0, "every event that was sent is there");
    Ok(())
}

/// Sends what the topic lacks; a run that was killed left the first events of every partition.
fn ingest(log: &Log, events: &[Event<'_>], out: &mut impl Write) -> Outcome {
    let missing = missing(log, events)?;
    let mut done = events.len() - missing.len();
    writeln!(out, "{} events, {done} of them here already", events.len())?;
    let producer = log.producer(TOPIC)?.acks(Acks::Durable);
    for chunk in missing.chunks(CHUNK) {
        producer.send_all(chunk.iter().map(|event| event.record()))?;
        done += chunk.len();
        writeln!(out, "  {done} on disk")?;
    }
    Ok(())
}

/// The events that the topic does not hold yet; fails if it holds anything else.
///
/// A key is always in the same partition and in order, so that each network can be compared alone.
fn missing<'a>(log: &Log, events: &'a [Event<'a>]) -> Result<Vec<&'a Event<'a>>, Failure> {
    let mut held: HashMap<Option<Vec<u8>>, VecDeque<StoredRecord>> = HashMap::new();
    for record in read(log.reader(TOPIC))? {
        held.entry(record.key().map(Vec::from)).or_default().push_back(record);
    }
    let mut missing = Vec::new();
    for event in events {
        let network = Some(event.network.as_bytes().to_vec());
        let Some(found) = held.get_mut(&network).and_then(VecDeque::pop_front) else {
            missing.push(event);
            continue;
        };
        if found.value() != Some(event.line.as_bytes()) || found.timestamp() != event.time {
            let place = found.topic_partition();
            return Err(format!("{place}@{} is not {}", found.offset(), event.line).into());
        }
    }
    match held.into_values().map(|left| left.len()).sum::<usize>() {
        0 => Ok(missing),
        others => Err(format!("{TOPIC} holds {others} events that are not in the input").into()),
    }
}

fn print_table(log: &Log, out: &mut impl Write) -> Outcome {
    writeln!(out, "partition  events  networks")?;
    for partition in (0..PARTITIONS).map(PartitionId::new) {
        let records = read(log.reader(TOPIC).partition(partition))?;
        let keys = records.iter().filter_map(|record| std::str::from_utf8(record.key()?).ok());
        let networks = keys.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ");
        writeln!(out, "{partition:>9} {:>7}  {networks}", records.len())?;
    }
    Ok(())
}

/// Reads from a time in all partitions, and from an offset in one.
fn replay(log: &Log, events: &[Event<'_>], time: Timestamp, out: &mut impl Write) -> Outcome {
    let late = read(log.reader(TOPIC).start_at(StartAt::Timestamp(time)))?;
    let is_late = |at: Timestamp| at >= time;
    let expected = events.iter().filter(|event| is_late(event.time)).count();
    let found = late.iter().filter(|record| is_late(record.timestamp())).count();
    assert_eq!(found, expected, "every event of that time or later is replayed");
    writeln!(out, "replay from time {time}: {} events", late.len())?;

    let partition = late.first().map_or(PartitionId::ZERO, StoredRecord::partition);
    let whole = read(log.reader(TOPIC).partition(partition))?;
    let half = whole.len() / 2;
    let start = StartAt::Offset(Offset::new(half as u64));
    let tail = read(log.reader(TOPIC).partition(partition).start_at(start))?;
    assert_eq!(whole.get(half..), Some(&*tail), "an offset names the same record every time");
    writeln!(out, "replay from {TOPIC}/{partition}@{half}: {} events", tail.len())?;
    Ok(())
}

/// Everything from where the reader starts to the end of the topic as it is now.
fn read(reader: ReaderBuilder) -> Result<Vec<StoredRecord>, brooklet::Error> {
    reader.stop_at_end().open()?.collect()
}

type Failure = Box<dyn Error>;
type Outcome = Result<(), Failure>;
