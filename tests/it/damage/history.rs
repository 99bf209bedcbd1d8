//! A small log of three segments, written once and then damaged in thousands of copies.

use std::ops::Range;
use std::path::{Path, PathBuf};

use brooklet::testing::{Fault, OpKind, Repeat, SimDisk, open};
use brooklet::{Acks, Error, Log, LogOptions, Record, SyncPolicy, TopicConfig};

use crate::format::parser::{Frame, Parsed, parse};

/// One record as a reader gives it: what must come back, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) offset: u64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// How the session that wrote the log came to its end, and what was known to be durable then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It closed the log.
    Clean,
    /// It vanished; every record had been synced when it was written.
    Synced,
    /// It vanished; only the first records had been synced.
    Unsynced,
    /// It vanished; the first records had been synced, and the manifest had taken note of that.
    Marked,
}

impl Stop {
    pub(crate) const ALL: [Self; 4] = [Self::Clean, Self::Synced, Self::Unsynced, Self::Marked];
}

/// One segment file and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) parsed: Parsed,
}

impl SegmentFile {
    pub(crate) fn offsets(&self) -> Range<u64> {
        let end = self
            .parsed
            .frames
            .last()
            .map_or(self.parsed.head.place.base, |last| last.offsets().end);
        self.parsed.head.place.base..end
    }
}

/// The log as it was left, and what it holds.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) stop: Stop,
    pub(crate) disk: SimDisk,
    /// The segments of the topic that is to be damaged, oldest first.
    pub(crate) segments: Vec<SegmentFile>,
    /// The records of that topic.
    pub(crate) records: Vec<Read>,
    /// The durable end that the manifest knows.
    pub(crate) manifest_mark: u64,
}

/// The topic that is damaged, and one beside it that must not be touched by that.
pub(crate) const TOPIC: &str = "orders";
pub(crate) const OTHER: &str = "other";

/// Batches in all, and those that were synced where not all are.
const BATCHES: usize = 12;
const SYNCED_BATCHES: usize = 5;

pub(crate) fn options() -> LogOptions {
    LogOptions::new().manual_maintenance(true)
}

pub(crate) fn log_dir(disk: &SimDisk) -> PathBuf {
    disk.root().join("log")
}

pub(crate) fn open_log(disk: &SimDisk) -> Result<Log, Error> {
    open(&disk.env(), log_dir(disk), options())
}

/// A disk on which files are as long as what was written to them, so that a copy of the log is
/// small: the log asks for room ahead and goes on without when it gets none.
pub(crate) fn small_disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.fail_when(|op| op.kind == OpKind::Allocate, Fault::StorageFull, Repeat::Forever);
    disk
}

impl History {
    pub(crate) fn new(stop: Stop) -> Self {
        let disk = small_disk(4);
        let log = open_log(&disk).unwrap();
        let policy = match stop {
            Stop::Clean | Stop::Synced => SyncPolicy::Always,
            Stop::Unsynced | Stop::Marked => SyncPolicy::Never,
        };
        let config = TopicConfig::new().segment_bytes(1024).sync(policy);
        log.create_topic(TOPIC, config.clone()).unwrap();
        log.create_topic(OTHER, config).unwrap();
        log.producer(OTHER).unwrap().send(Record::new("untouched")).unwrap();
        let manifest_mark = fill(&log, stop);
        let records = read_all(&log, TOPIC).unwrap();
        if stop == Stop::Clean {
            log.close().unwrap();
        }
        drop(log);
        let segments = segments_of(&disk, 1);
        assert_eq!(segments.len(), 3, "the tests of damage are about three segments");
        let manifest_mark = match stop {
            Stop::Clean => records.len() as u64,
            _ => manifest_mark,
        };
        Self { stop, disk, segments, records, manifest_mark }
    }

    /// All frames of the damaged topic with the segment they stand in.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (&SegmentFile, &Frame)> {
        self.segments
            .iter()
            .flat_map(|segment| segment.parsed.frames.iter().map(move |frame| (segment, frame)))
    }

    /// The largest durable end that what is left on a damaged disk still proves.
    pub(crate) fn known_mark(&self, disk: &SimDisk) -> u64 {
        let mut mark = self.manifest_mark;
        for segment in &self.segments {
            let now = disk.read_file(&segment.path).unwrap_or_default();
            let same = |bytes: Range<usize>| now.get(bytes.clone()) == segment.bytes.get(bytes);
            for frame in &segment.parsed.frames {
                // A damaged body leaves the header believable.
                if same(frame.bytes.start..frame.bytes.start + 64) {
                    mark = mark.max(frame.mark().unwrap_or(0));
                }
            }
            if let Some(footer) = &segment.parsed.footer
                && same(footer.bytes.clone())
                && now.len() == segment.bytes.len()
            {
                mark = mark.max(footer.durable_end);
            }
        }
        mark
    }

    /// The records whose offsets are not in `lost`.
    pub(crate) fn without(&self, lost: &Range<u64>) -> Vec<Read> {
        let kept = self.records.iter().filter(|record| !lost.contains(&record.offset));
        kept.cloned().collect()
    }
}

/// Writes batches of one to three records; returns the mark that the manifest was told.
fn fill(log: &Log, stop: Stop) -> u64 {
    let producer = log.producer(TOPIC).unwrap();
    let mut mark = 0;
    for batch in 0..BATCHES {
        let text = |part: usize| format!("batch {batch} part {part} {}", "x".repeat(20 * part));
        let values: Vec<String> = (0..=batch % 3).map(text).collect();
        let record = |value| {
            let record = Record::new(value).key("key").header("who", "test");
            record.header_without_value("mark")
        };
        let acks = match stop {
            Stop::Clean | Stop::Synced => Acks::Durable,
            _ if batch + 1 == SYNCED_BATCHES => Acks::Durable,
            _ => Acks::Written,
        };
        producer.clone().acks(acks).send_all(values.iter().map(record)).unwrap();
        if stop == Stop::Marked && batch + 1 == SYNCED_BATCHES {
            // The mark is written, and the next roll writes more rows behind it.
            log.maintain().unwrap();
            let orders = brooklet::TopicPartition::new(TOPIC.parse().unwrap(), 0.into());
            mark = log.offsets(&orders).unwrap().durable_end.value();
        }
    }
    mark
}

/// The segment files of a topic's first partition, oldest first.
pub(crate) fn segments_of(disk: &SimDisk, topic: u64) -> Vec<SegmentFile> {
    let dir = log_dir(disk).join(format!("topics/{topic}/0"));
    let mut segments = Vec::new();
    for path in disk.files() {
        if path.parent() == Some(&dir) && path.extension().is_some_and(|ext| ext == "seg") {
            let bytes = disk.read_file(&path).unwrap();
            let parsed = parse(&bytes).unwrap();
            segments.push(SegmentFile { path, bytes, parsed });
        }
    }
    segments
}

/// The file of a journal, by the name of its directory.
pub(crate) fn journal_path(disk: &SimDisk, journal: &str) -> PathBuf {
    let dir = log_dir(disk).join(journal);
    let is_journal = |path: &&PathBuf| path.starts_with(&dir) && !path.ends_with("next.jnl");
    let found: Vec<PathBuf> = disk.files().iter().filter(is_journal).cloned().collect();
    assert_eq!(found.len(), 1, "{journal} is one file: {found:?}");
    found[0].clone()
}

/// Every record of a topic, or the first error.
pub(crate) fn read_all(log: &Log, topic: &str) -> Result<Vec<Read>, Error> {
    let (records, errors) = read_over(log, topic)?;
    errors.into_iter().next().map_or(Ok(records), Err)
}

/// Every record of a topic that can be read, and every error in between.
pub(crate) fn read_over(log: &Log, topic: &str) -> Result<(Vec<Read>, Vec<Error>), Error> {
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    for result in log.reader(topic).stop_at_end().open()? {
        match result {
            Ok(record) => records.push(Read {
                offset: record.offset().value(),
                timestamp: record.timestamp().as_millis(),
                key: record.key().map(<[u8]>::to_vec),
                value: record.value().map(<[u8]>::to_vec),
                headers: record
                    .headers()
                    .iter()
                    .map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)))
                    .collect(),
            }),
            Err(error) => errors.push(error),
        }
        assert!(errors.len() < 100, "reading does not get on: {errors:?}");
    }
    Ok((records, errors))
}

/// The offsets an error says are lost, as numbers.
pub(crate) fn lost(error: &Error) -> Option<Range<u64>> {
    error.lost_range().map(|range| range.start.value()..range.end.value())
}

/// One more record goes into a topic and is read back at `offset`.
pub(crate) fn appends(log: &Log, topic: &str, offset: u64) {
    let value = format!("appended at {offset}");
    let receipt = log.producer(topic).unwrap().acks(Acks::Durable).send(Record::new(&value));
    assert_eq!(receipt.unwrap().offset().value(), offset);
    let (records, _) = read_over(log, topic).unwrap();
    let last = records.last().unwrap();
    assert_eq!((last.offset, last.value.as_deref()), (offset, Some(value.as_bytes())));
}

/// A path as a failed assertion should show it.
pub(crate) fn shown(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
