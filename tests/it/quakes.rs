//! The main example as its users run it: killed, run again, and given bad input.

mod child;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use brooklet::dlq::{Filter, Letters};
use brooklet::{Log, StoredRecord};
use child::{WEEK, copy, listing, quakes, run_until_killed, write};

const EVENTS: usize = 1707;
/// How many lines of progress an undisturbed run prints.
const CHUNKS: usize = EVENTS.div_ceil(50);

/// What the topic holds, by partition.
///
/// It is looked at in a copy, so that the next run has to recover by itself.
fn stored(dir: &Path) -> BTreeMap<u32, Vec<StoredRecord>> {
    let copied = tempfile::tempdir().unwrap();
    copy(dir, copied.path());
    let log = Log::open(copied.path()).unwrap();
    let mut partitions = BTreeMap::<u32, Vec<StoredRecord>>::new();
    for record in log.reader("quakes").stop_at_end().open().unwrap() {
        let record = record.unwrap();
        partitions.entry(record.partition().value()).or_default().push(record);
    }
    partitions
}

/// Checks that the topic holds the week: every line once, and in order within its partition.
fn check_whole(dir: &Path) {
    let partitions = stored(dir);
    assert_eq!(partitions.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(partitions.values().map(Vec::len).sum::<usize>(), EVENTS);
    let home = partitions.iter().flat_map(|(partition, records)| {
        records.iter().map(|record| (record.key().unwrap().to_vec(), *partition))
    });
    let home = home.collect::<BTreeMap<_, _>>();
    let mut next = partitions.iter().map(|(p, records)| (*p, records.iter())).collect::<Vec<_>>();
    for line in WEEK.lines() {
        let network = line.split("\"net\":\"").nth(1).unwrap().split('"').next().unwrap();
        let time = line.split("\"time\":").nth(1).unwrap().split(',').next().unwrap();
        let partition = home[network.as_bytes()];
        let (_, records) = next.iter_mut().find(|(number, _)| *number == partition).unwrap();
        let record = records.next().unwrap();
        assert_eq!(record.value(), Some(line.as_bytes()));
        assert_eq!(record.timestamp().as_millis().to_string(), time);
    }
}

/// A kill during the ingest would lose events, or the next run would send some twice.
#[test]
fn killed_anywhere_and_run_again_every_event_is_there_once() {
    // How many lines of progress each life is allowed: with 1, every chunk is a life of its own.
    for lines in [1, 2, 7] {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("log");
        let (mut kills, mut held) = (0, 0);
        while held < EVENTS && run_until_killed(&dir, 1 + lines) {
            kills += 1;
            let before = std::mem::replace(&mut held, stored(&dir).values().map(Vec::len).sum());
            assert!(before < held && held <= EVENTS, "{held} events after {before}");
        }
        assert!(kills >= CHUNKS / (lines + 3), "only {kills} kills at {lines} lines each");
        let last = quakes(&[&dir]);
        assert!(last.success, "{}", last.stderr);
        check_whole(&dir);
    }
}

/// A kill while the directory itself is made would leave something that no run can open.
#[test]
fn killed_before_the_first_event_it_starts_all_the_same() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("log");
    for _ in 0..5 {
        assert!(run_until_killed(&dir, 0), "it was killed before it said anything");
    }
    let done = quakes(&[&dir]);
    assert!(done.success, "{}", done.stderr);
    check_whole(&dir);
}

/// A second run would add events, or fail to see that there is nothing to do.
#[test]
fn run_again_on_a_whole_log_it_adds_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("log");
    let first = quakes(&[&dir]);
    assert!(first.success, "{}", first.stderr);
    assert!(first.stdout.contains("1707 events, 0 of them here already"), "{}", first.stdout);
    let second = quakes(&[&dir]);
    assert!(second.success, "{}", second.stderr);
    assert!(second.stdout.contains("1707 events, 1707 of them here already"), "{}", second.stdout);
    for run in [&first, &second] {
        assert!(run.stdout.contains("reopened: 1707 events verified"), "{}", run.stdout);
    }
    check_whole(&dir);
}

/// The README's first command, which gives no directory, would fail or leave something behind.
#[test]
fn without_arguments_it_does_the_whole_job() {
    let run = quakes::<&Path>(&[]);
    assert!(run.success, "{}", run.stderr);
    for piece in ["partition  events  networks", "replay from time", "replay from quakes/"] {
        assert!(run.stdout.contains(piece), "{piece:?} in {}", run.stdout);
    }
}

/// Bad input would end in a panic, say nothing of its line, or leave half of itself in the log.
#[test]
fn a_bad_line_is_told_with_its_number_and_nothing_is_written() {
    let good = r#"{"id":"x","net":"us","time":1517363399650,"place":"5km \"N\", {of} A\\"}"#;
    let cases = [
        ("", "not a JSON object"),
        ("null", "not a JSON object"),
        (r#"{"net":"us","time":15173"#, "not a JSON object"),
        ("{}", "a field without a value"),
        (r#"{"net":"us"}"#, "\"time\""),
        (r#"{"time":1}"#, "\"net\""),
        (r#"{"net":7,"time":1}"#, "\"net\""),
        (r#"{"net":"us","time":"noon"}"#, "\"time\""),
        (r#"{"net":"us","time":1.5}"#, "\"time\""),
        (r#"{"net":"us","time":99999999999999999999}"#, "\"time\""),
        (r#"{"net":"us,"time":1}"#, "\"net\""),
        (r#"{"net":"us","time":1,"place":"abc}"#, "\"place\""),
        (r#"{"net":"us","time":1,"at":{"lon":1}}"#, "\"at\""),
        (r#"{"net":"us","time":1,,}"#, "a field without a value"),
        (r#"{net:"us","time":1}"#, "not the name of a field"),
    ];
    let temporary = tempfile::tempdir().unwrap();
    let (dir, file) = (temporary.path().join("log"), temporary.path().join("in.jsonl"));
    for (line, expected) in cases {
        write(&file, format!("{good}\n{good}\n{line}\n{good}\n").as_bytes());
        let run = quakes(&[&dir, &file]);
        assert!(!run.success && !run.stderr.contains("panicked"), "{line}: {}", run.stderr);
        assert!(run.stderr.contains("in.jsonl, line 3: "), "{line}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{line}: {}", run.stderr);
        assert!(!dir.exists(), "{line}: nothing is made for it");
    }
    write(&file, format!("{good}\n{good}").as_bytes());
    let run = quakes(&[&dir, &file]);
    assert!(run.success, "{}", run.stderr);
    let log = Log::open(&dir).unwrap();
    assert_eq!(log.reader("quakes").stop_at_end().open().unwrap().count(), 2);
}

/// A wrong file or directory would be a panic, or be mixed into what is there.
#[test]
fn a_wrong_file_or_directory_is_refused_and_left_as_it_is() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    let (dir, file) = (root.join("log"), root.join("in.jsonl"));
    write(&root.join("binary"), &[0xff, 0xfe, 0x00]);
    write(&root.join("empty"), b"");
    for (input, expected) in [("absent", "absent: "), ("binary", "UTF-8"), ("empty", "no events")] {
        let run = quakes(&[&dir, &root.join(input)]);
        assert!(!run.success && !run.stderr.contains("panicked"), "{input}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{input}: {}", run.stderr);
        assert!(!dir.exists(), "{input}: nothing is made for it");
    }
    let line = |time: u64| format!("{{\"net\":\"us\",\"time\":{time}}}\n");
    write(&file, (line(1) + &line(2)).as_bytes());
    assert!(quakes(&[&dir, &file]).success);
    let before = listing(&dir);
    for (text, expected) in [(line(1) + &line(3), "is not"), (line(1), "not in the input")] {
        write(&file, text.as_bytes());
        let run = quakes(&[&dir, &file]);
        assert!(!run.success && run.stderr.contains(expected), "{}", run.stderr);
    }
    assert_eq!(stored(&dir).values().map(Vec::len).sum::<usize>(), 2);
    assert_eq!(listing(&dir), before);
    let run = quakes(&[&file]);
    assert!(!run.success && !run.stderr.contains("panicked"), "a file as directory");
}

/// What the pipeline has made of the week, looked at in a copy.
fn check_pipeline(dir: &Path) {
    let copied = tempfile::tempdir().unwrap();
    copy(dir, copied.path());
    let log = Log::open(copied.path()).unwrap();
    let lines = |topic: &str| {
        let records = log.reader(topic).stop_at_end().open().unwrap();
        let values = records.map(|record| record.unwrap().value().unwrap().to_vec());
        values.collect::<Vec<_>>()
    };
    let alerts = lines("alerts").into_iter().collect::<BTreeSet<_>>();
    assert_eq!(alerts.len(), 85, "every strong earthquake, at least once");
    let letters = Letters::of(&log);
    let found = letters.list(&Filter::new().topic("quakes").group("alerts")).unwrap();
    let values = found.iter().map(|letter| letter.value().unwrap().to_vec());
    let values = values.collect::<BTreeSet<_>>();
    assert_eq!((found.len(), values.len()), (28, 28), "one letter for each, and no second one");
    let is_earthquake =
        |line: &[u8]| line.windows(19).any(|part| part == b"\"type\":\"earthquake\"");
    assert!(!values.iter().any(|line| is_earthquake(line)));
    let redriven = lines("quakes.alerts.redrive").into_iter().collect::<BTreeSet<_>>();
    assert_eq!(redriven, values);
    for group in ["alerts", "review"] {
        assert_eq!(log.group(group).unwrap().lag(), 0, "{group}");
    }
}

/// A kill would lose alerts, make a second letter of a record, or leave a group behind.
#[test]
fn killed_in_the_pipeline_and_run_again_nothing_is_lost_and_no_letter_is_there_twice() {
    // The ingest and its table take one line more than there are chunks, four, and two.
    let before = CHUNKS + 7;
    let mut kills = 0;
    // A whole log has no progress of the ingest to tell.
    for lines in [7, 8, 9, 10, 11, 12, 13, 15, 17, 19] {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("log");
        assert!(
            run_until_killed(&dir, before),
            "it was killed before the first record was handled"
        );
        // Once only: behind a first kill, wherever it was, a record in hand at two more is given up.
        kills += usize::from(run_until_killed(&dir, lines));
        let last = quakes(&[&dir]);
        assert!(last.success, "{}", last.stderr);
        check_pipeline(&dir);
        check_whole(&dir);
        let again = quakes(&[&dir]);
        assert!(again.success, "{}", again.stderr);
        for piece in ["  0 to handle", "redrive: 0 letters", "review: 0 events"] {
            assert!(again.stdout.contains(piece), "{piece:?} in {}", again.stdout);
        }
        assert!(!again.stdout.contains("1 to handle"), "{}", again.stdout);
        check_pipeline(&dir);
    }
    assert!(kills >= 5, "only {kills} kills in the pipeline");
}
