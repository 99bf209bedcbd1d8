//! Bad input: a typed error each, and nothing changed by it.

use std::time::Duration;

use brooklet::testing::{SimDisk, open};
use brooklet::{
    Error, ErrorKind, Fate, Log, LogOptions, Record, Retention, SyncPolicy, TopicConfig,
};

use super::{all, offset, place, send, simulated, values};

/// A bad name would reach a directory, or be refused only after something was made for it.
#[test]
fn bad_names_are_refused() {
    let (disk, log) = simulated(1);
    let before = disk.snapshot();
    let long = "x".repeat(250);
    let bad =
        ["", ".", "..", "a/b", "a\\b", "ü", "a b", "a\0b", "a:b", "*", "-\n", "../../x", &long];
    for name in bad {
        for result in [
            log.create_topic(name, TopicConfig::new()),
            log.ensure_topic(name, TopicConfig::new()).map(|_| ()),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidName, "{name:?}");
        }
        for result in [
            log.producer(name).map(|_| ()),
            log.reader(name).open().map(|_| ()),
            log.topic(name).map(|_| ()),
            log.delete_topic(name),
            log.add_partitions(name, 2),
            log.alter_topic(name, TopicConfig::new()),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::UnknownTopic, "{name:?}");
        }
    }
    assert_eq!(disk.snapshot(), before);
    assert_eq!(disk.escapes(), 0);
    for name in ["a", "...", "-", "_", "A.b-C_9", "x".repeat(249).as_str()] {
        log.create_topic(name, TopicConfig::new()).unwrap();
    }
    assert_eq!(log.topics().unwrap().len(), 6);
}

/// A setting out of range would be taken, and fail somewhere far from its cause.
#[test]
fn settings_out_of_range_are_refused() {
    let (disk, log) = simulated(2);
    log.create_topic("there", TopicConfig::new().partitions(2)).unwrap();
    let before = disk.snapshot();
    let config = TopicConfig::new;
    let tiny = Duration::from_micros(999);
    let bad = [
        config().partitions(0),
        config().partitions(10_001),
        config().partitions(u32::MAX),
        config().segment_bytes(1023),
        config().segment_bytes((1 << 30) + 1),
        config().max_record_bytes(63),
        config().max_record_bytes((64 << 20) + 1),
        config().segment_age(tiny),
        config().sync(SyncPolicy::Every(Duration::ZERO)),
        config().retention(Retention::forever().max_age(tiny)),
    ];
    for bad in bad {
        for result in [
            log.create_topic("t", bad.clone()),
            log.ensure_topic("t", bad.clone()).map(|_| ()),
            log.ensure_topic("there", bad.clone()).map(|_| ()),
            log.alter_topic("there", bad.clone()),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidConfig, "{bad:?}");
        }
    }
    for count in [0, 1, 10_001] {
        let error = log.add_partitions("there", count).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{count} partitions");
    }
    assert_eq!(log.alter_topic("there", config()).unwrap_err().kind(), ErrorKind::InvalidConfig);
    assert_eq!(disk.snapshot(), before);
    log.add_partitions("there", 10_000).unwrap();
    assert_eq!(log.topic("there").unwrap().config.partition_count(), 10_000);
    for options in [
        LogOptions::new().open_files(0),
        LogOptions::new().buffer_bytes(0),
        LogOptions::new().unsynced_bytes(0),
        LogOptions::new().check_interval(tiny),
        LogOptions::new().default_sync(SyncPolicy::Every(tiny)),
    ] {
        let error = open(&disk.env(), disk.root().join("other"), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
    assert!(disk.files().iter().all(|path| !path.starts_with(disk.root().join("other"))));
}

/// A record over a limit would be cut, be written and unreadable, or take its batch with it.
#[test]
fn records_over_a_limit_are_refused_and_those_at_it_pass() {
    let (disk, log) = simulated(3);
    log.create_topic("t", TopicConfig::new().max_record_bytes(1 << 20)).unwrap();
    log.create_topic("small", TopicConfig::new().max_record_bytes(64)).unwrap();
    send(&log, "t", &["first"]);
    let before = disk.snapshot();
    let producer = log.producer("t").unwrap();
    let bytes = vec![b'x'; 1 << 20];
    let text = "x".repeat(65_536);
    let many = |count| (0..count).fold(Record::new("v"), |record, _| record.header("n", "v"));
    let bad = [
        Record::new(&bytes),
        Record::new("v").key(&bytes[..65_536]),
        Record::new("v").header(&text, "v"),
        Record::new("v").header("n", &bytes),
        many(256),
    ];
    for bad in bad {
        let one = producer.send(bad.clone()).unwrap_err();
        let later = producer.submit(bad.clone()).wait().unwrap_err();
        let all = producer.send_all([Record::new("good"), bad, Record::new("good")]).unwrap_err();
        for error in [&one, &later, all.first()] {
            assert_eq!(error.error().kind(), ErrorKind::InvalidRecord, "{error}");
            assert_eq!(error.fate(), Fate::NotAppended);
        }
    }
    // Twelve bytes of its own stand before each record.
    let small = log.producer("small").unwrap();
    assert!(small.send(Record::new(&bytes[..53])).is_err());
    assert_eq!(disk.snapshot(), before);
    small.send(Record::new(&bytes[..52])).unwrap();
    let good = [
        Record::new(&bytes[12..]),
        Record::new("v").key(&bytes[..65_535]),
        Record::new("v").header(&text[1..], "v"),
        many(255),
    ];
    for good in good {
        producer.send(good.clone()).unwrap();
        let found = all(log.reader("t"));
        let last = found.last().unwrap();
        assert_eq!((last.key(), last.value()), (good.key_bytes(), good.value_bytes()));
    }
    assert_eq!(all(log.reader("t")).last().unwrap().headers().len(), 255);
}

/// What every verb says to somebody who may not use it.
fn refusals(log: &Log) -> Vec<(&'static str, Error)> {
    let t0 = place("t", 0);
    let results = [
        ("create", log.create_topic("new", TopicConfig::new())),
        ("ensure", log.ensure_topic("t", TopicConfig::new()).map(|_| ())),
        ("delete", log.delete_topic("t")),
        ("add", log.add_partitions("t", 2)),
        ("alter", log.alter_topic("t", TopicConfig::new())),
        ("trim", log.trim(&t0, offset(1)).map(|_| ())),
        ("reopen", log.reopen_partition(&t0)),
        ("maintain", log.maintain()),
    ];
    results.map(|(verb, result)| (verb, result.unwrap_err())).into()
}

/// A closed log would go on writing, or a handle hang or panic.
#[test]
fn a_closed_log_says_so_to_every_handle() {
    let (disk, log) = simulated(4);
    log.create_topic("t", TopicConfig::new()).unwrap();
    send(&log, "t", &["a"]);
    let producer = log.producer("t").unwrap();
    let mut reader = log.reader("t").stop_at_end().open().unwrap();
    let other = log.clone();
    other.close().unwrap();
    let before = disk.snapshot();
    let is_closed = |error: &Error| assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    refusals(&log).iter().for_each(|(_, error)| is_closed(error));
    is_closed(&log.producer("t").unwrap_err());
    is_closed(&log.reader("t").open().unwrap_err());
    is_closed(&log.topics().unwrap_err());
    is_closed(&log.topic("t").unwrap_err());
    is_closed(&log.offsets(&place("t", 0)).unwrap_err());
    is_closed(&reader.next().unwrap().unwrap_err());
    assert!(reader.next().is_none());
    let one = producer.send(Record::new("b")).unwrap_err();
    let later = producer.submit(Record::new("b")).wait().unwrap_err();
    let all = producer.send_all([Record::new("b")]).unwrap_err();
    for error in [&one, &later, all.first()] {
        is_closed(error.error());
        assert_eq!(error.fate(), Fate::NotAppended);
    }
    log.close().unwrap();
    let _ = (log.stats(), log.recovery());
    assert_eq!(disk.snapshot(), before);
}

/// A reader beside a writer would change its files, or be kept from reading.
#[test]
fn a_read_only_log_reads_and_refuses_to_write() {
    let (disk, log) = simulated(5);
    let read_only = || LogOptions::new().read_only(true);
    let dir = disk.root().join("log");
    log.create_topic("t", TopicConfig::new().segment_bytes(1024)).unwrap();
    send(&log, "t", &["some value that fills segments"; 50]);
    log.maintain().unwrap();
    let before = disk.snapshot();
    let beside = open(&disk.env(), &dir, read_only()).unwrap();
    assert_eq!(values(&beside, "t").len(), 50);
    for (verb, error) in refusals(&beside) {
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{verb}: {error}");
    }
    let refused = beside.producer("t").unwrap().send(Record::new("b")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::ReadOnly);
    assert_eq!(refused.fate(), Fate::NotAppended);
    beside.close().unwrap();
    assert_eq!(disk.snapshot(), before);
    send(&log, "t", &["the writer goes on"]);
    log.close().unwrap();
    let after = open(&disk.env(), &dir, read_only()).unwrap();
    assert!(after.recovery().was_clean);
    assert_eq!(values(&after, "t").len(), 51);
    for missing in ["absent", "empty"] {
        let dir = disk.root().join(missing);
        if missing == "empty" {
            disk.env().fs.create_dir(&dir).unwrap();
        }
        let error = open(&disk.env(), dir, read_only()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotALog | ErrorKind::Io), "{error}");
    }
    assert_eq!(disk.files().iter().filter(|path| !path.starts_with(&dir)).count(), 0);
}

/// A directory that is no log would be written into, or read as if it were one.
#[test]
fn what_is_not_a_log_is_left_alone() {
    let disk = SimDisk::new(6);
    let root = disk.root().to_path_buf();
    let fs = disk.env().fs;
    fs.create_dir(&root.join("foreign")).unwrap();
    disk.write_file("foreign/letter.txt", b"dear reader").unwrap();
    fs.create_dir(&root.join("names")).unwrap();
    for name in ["manifest", "topics"] {
        fs.create_dir(&root.join("names").join(name)).unwrap();
    }
    disk.write_file("names/manifest/notes.txt", b"not a journal").unwrap();
    disk.write_file("names/readme.txt", b"not a log").unwrap();
    disk.write_file("file", b"not a directory").unwrap();
    let before = disk.snapshot();
    for (dir, expected) in [
        ("foreign", ErrorKind::NotALog),
        ("names", ErrorKind::NotALog),
        ("file", ErrorKind::Io),
        ("file/below", ErrorKind::Io),
    ] {
        for options in [LogOptions::new(), LogOptions::new().read_only(true)] {
            let error = open(&disk.env(), root.join(dir), options).unwrap_err();
            assert_eq!(error.kind(), expected, "{error}");
            assert!(error.to_string().contains(dir.split('/').next().unwrap()), "{error}");
        }
    }
    assert_eq!(disk.snapshot(), before);
    // On a real disk, too.
    let temporary = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(Log::open(temporary.path()).unwrap_err().kind(), ErrorKind::Io);
}

/// Files of a newer version would be taken for damage and cut, or misread.
#[test]
fn an_unsupported_version_is_refused_by_name() {
    for journal in ["manifest", "catalog"] {
        let (disk, log) = simulated(7);
        log.create_topic("t", TopicConfig::new()).unwrap();
        send(&log, "t", &["a"]);
        log.close().unwrap();
        drop(log);
        let inside = disk.root().join("log").join(journal);
        let is_journal =
            |path: &std::path::PathBuf| path.starts_with(&inside) && !path.ends_with("next.jnl");
        let path = disk.files().into_iter().filter(is_journal).max().unwrap();
        let mut bytes = disk.read_file(&path).unwrap();
        // docs/FORMAT.md: byte 12 begins the version, bytes 8 to 12 hold the checksum of the rest.
        bytes[12] += 1;
        let checksum = crc32fast::hash(&bytes[12..64]).to_le_bytes();
        bytes[8..12].copy_from_slice(&checksum);
        disk.write_file(&path, &bytes).unwrap();
        let before = disk.snapshot();
        for options in [LogOptions::new(), LogOptions::new().read_only(true)] {
            let error = open(&disk.env(), disk.root().join("log"), options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{error}");
            assert_eq!(error.path(), Some(&*path));
            assert!(error.to_string().contains("format version 2"), "{error}");
        }
        assert_eq!(disk.snapshot(), before);
    }
}

/// Two handles would write into the same files.
#[test]
fn a_second_opener_is_refused_or_waits() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    send(&log, "t", &["a"]);
    for wait in [Duration::ZERO, Duration::from_millis(12)] {
        let error = LogOptions::new().wait_for_lock(wait).open(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyOpen, "{error}");
    }
    send(&log, "t", &["b"]);
    let (waits, waiting) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            waits.send(()).unwrap();
            LogOptions::new().wait_for_lock(Duration::MAX).open(dir.path()).unwrap()
        });
        waiting.recv().unwrap();
        send(&log, "t", &["c"]);
        log.close().unwrap();
        let next = next.join().unwrap();
        assert!(next.recovery().was_clean);
        assert_eq!(values(&next, "t"), ["a", "b", "c"]);
    });
}
