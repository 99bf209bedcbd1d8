//! Opens a directory that was made up, and looks at everything that a log shows of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brooklet::testing::{Fault, OpKind, Repeat, SimDisk, open};
use brooklet::{
    Error, Log, LogOptions, Offset, PartitionId, Record, StartAt, Timestamp, TopicConfig,
    TopicPartition,
};

use crate::format::directory::{Files, Partition, Stored, parse_name, sightings};
use crate::format::parser::{Place, Record as Parsed};

/// A disk on which a log lies that consists of these files.
///
/// Files are as long as what is written to them: room that is made ahead would be scanned in every
/// run, and there are many.
pub(crate) fn disk_with(files: &Files) -> SimDisk {
    // The salts of the files that are there must be others than those that are drawn for new ones.
    let disk = SimDisk::new(if files.is_empty() { 7 } else { 8 });
    disk.fail_when(|op| op.kind == OpKind::Allocate, Fault::StorageFull, Repeat::Forever);
    let fs = disk.env().fs;
    let root = log_dir(&disk);
    let _ = fs.create_dir(&root);
    for (path, bytes) in files {
        let mut dir = root.clone();
        for part in path.parent().into_iter().flat_map(Path::components) {
            dir.push(part);
            // Most are there already; where a file stands instead, the write below says so.
            let _ = fs.create_dir(&dir);
        }
        let _ = disk.write_file(root.join(path), bytes);
    }
    disk.clear_log();
    disk
}

pub(crate) fn log_dir(disk: &SimDisk) -> PathBuf {
    disk.root().join("log")
}

/// The files of the log, by path below its directory.
pub(crate) fn files_of(disk: &SimDisk) -> Files {
    let root = log_dir(disk);
    let below = |path: &Path| path.strip_prefix(&root).unwrap().to_path_buf();
    let files = disk.snapshot().into_iter().map(|(path, bytes)| (below(&path), bytes));
    files.filter(|(path, _)| !path.ends_with("LOCK") && !path.ends_with("next.jnl")).collect()
}

pub(crate) fn open_on(disk: &SimDisk, read_only: bool) -> Result<Log, Error> {
    let options = LogOptions::new().manual_maintenance(true).read_only(read_only);
    open(&disk.env(), log_dir(disk), options)
}

/// What a log shows of its topics, in the words of the second reader.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) partitions: BTreeMap<(String, u32), Shown>,
}

/// A partition as it is shown; or why it is not.
pub(crate) type Shown = Result<Partition, Error>;

/// Reads everything, and asks everything that a log can be asked.
///
/// # Panics
/// If reading does not come to an end, or a record stands where none may be.
pub(crate) fn look_at(log: &Log) -> Seen {
    let mut seen = Seen::default();
    let _ = log.recovery();
    for topic in log.topics().unwrap_or_default() {
        let count = topic.config.partition_count().min(PARTITIONS_SEEN);
        for number in 0..count {
            let place = TopicPartition::new(topic.name.clone(), PartitionId::new(number));
            let shown = look_at_partition(log, &place);
            seen.partitions.insert((topic.name.to_string(), number), shown);
        }
    }
    for group in log.groups().unwrap_or_default() {
        let _ = log.group(group.as_str()).map(|group| format!("{group:?}"));
    }
    let _ = log.recovery();
    let _ = format!("{:?}", log.stats());
    seen
}

fn look_at_partition(log: &Log, place: &TopicPartition) -> Shown {
    let offsets = log.offsets(place)?;
    let (start, end) = (offsets.start.value(), offsets.end.value());
    assert!(start <= end, "{place}: {offsets:?}");
    let known_mark = offsets.durable_end.value();
    let mut found = Partition { start, end, known_mark, ..Partition::default() };
    let reader = log.reader(place.topic().as_str()).partition(place.partition());
    let mut last_error = None;
    let mut next = start;
    for (steps, record) in reader.stop_at_end().open()?.enumerate() {
        assert!(steps < STEPS_MAX, "{place}: reading does not get on: {last_error:?}");
        match record {
            Ok(record) => {
                let offset = record.offset().value();
                assert!(offset >= next && offset < end, "{place}: {offset} in {next}..{end}");
                next = offset + 1;
                let headers = record.headers().iter();
                let headers = headers
                    .map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)));
                let parsed = Parsed {
                    timestamp: record.timestamp().as_millis(),
                    key: record.key().map(<[u8]>::to_vec),
                    headers: headers.collect(),
                    value: record.value().map(<[u8]>::to_vec),
                };
                let append_time = record.append_time().as_millis();
                found.records.insert(offset, Stored { append_time, record: parsed });
            }
            Err(error) => last_error = Some(error),
        }
    }
    for start in [
        StartAt::Timestamp(Timestamp::from_millis(0)),
        StartAt::Timestamp(Timestamp::from_millis(i64::MAX)),
        StartAt::Offset(Offset::new(start + (end - start) / 2)),
        StartAt::Latest,
    ] {
        let reader = log.reader(place.topic().as_str()).partition(place.partition());
        let Ok(mut reader) = reader.start_at(start).stop_at_end().open() else { continue };
        let _ = reader.next();
    }
    Ok(found)
}

/// Goes on with a log that was found: appends, lets go, looks once more, and closes.
pub(crate) fn go_on(log: &Log) -> Result<(), Error> {
    let topics = log.topics()?;
    for topic in topics.iter().take(4) {
        // What is refused is refused, and the log goes on with what is not.
        let sent = log.producer(topic.name.as_str())?.send(Record::new("gone on").key("with"));
        if let Ok(receipt) = sent {
            let place = TopicPartition::new(topic.name.clone(), PartitionId::new(0));
            let offsets = log.offsets(receipt.topic_partition())?;
            assert!(offsets.end > receipt.offset(), "{receipt} is not in {offsets:?}");
            let _ = log.trim(&place, Offset::new(1));
        }
    }
    let _ = log.maintain();
    if log.create_topic("made-after", TopicConfig::new().segment_bytes(1024)).is_ok() {
        log.producer("made-after")?.send(Record::new("new"))?;
    }
    if let Some(first) = topics.first() {
        let _ = log.delete_topic(first.name.as_str());
    }
    log.close()
}

/// Checks that every record shown stands in a good frame of its partition's own files.
///
/// # Panics
/// If one does not.
pub(crate) fn check_sighted(seen: &Seen, files: &Files) {
    let mut sighted: BTreeMap<(u64, u32), BTreeMap<u64, Vec<Stored>>> = BTreeMap::new();
    let mut topics: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
    for (path, bytes) in files {
        let Some(place) = place_of(path) else { continue };
        let found = sightings(bytes, &place);
        if path.starts_with("catalog") {
            for Stored { record, .. } in found.into_values().flatten() {
                let (key, value) = (record.key.unwrap_or_default(), record.value);
                let word = value.as_deref().and_then(|value| value.first_chunk());
                topics.entry(key).or_default().extend(word.map(|word| u64::from_le_bytes(*word)));
            }
        } else {
            let all = sighted.entry((place.topic, place.partition)).or_default();
            for (offset, stored) in found {
                all.entry(offset).or_default().extend(stored);
            }
        }
    }
    for ((topic, number), shown) in &seen.partitions {
        let Ok(shown) = shown else { continue };
        let ids = topics.get(topic.as_bytes()).cloned().unwrap_or_default();
        for (offset, stored) in &shown.records {
            let stands = |id: &u64| {
                let found = sighted.get(&(*id, *number)).and_then(|all| all.get(offset));
                found.is_some_and(|found| found.contains(stored))
            };
            assert!(ids.iter().any(stands), "{topic}/{number}@{offset} stands nowhere: {stored:?}");
        }
    }
}

/// The place that a path stands for.
pub(crate) fn place_of(path: &Path) -> Option<Place> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let (topic, partition, extension) = match parts.as_slice() {
        ["manifest", _] => (0, 1, "jnl"),
        ["catalog", _] => (0, 2, "jnl"),
        ["offsets", _] => (0, 3, "jnl"),
        ["topics", topic, partition, _] => (topic.parse().ok()?, partition.parse().ok()?, "seg"),
        _ => return None,
    };
    let (base, salt) = parse_name(path, extension)?;
    Some(Place { topic, partition, base, salt })
}

/// Partitions of one topic that are looked at; a hostile catalog can have thousands of each.
const PARTITIONS_SEEN: u32 = 4;
/// More than any input has records and damages.
const STEPS_MAX: usize = 100_000;
