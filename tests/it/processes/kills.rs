//! A writer that is killed at any moment, again and again, on a real disk.

use std::collections::{BTreeMap, BTreeSet};

use brooklet::{Log, StoredRecord, SyncPolicy, TopicConfig};

use super::child::{Process, TOPIC, place, storm_value};

/// What the children have said so far.
#[derive(Default)]
struct Heard {
    /// Written and durable acks: what stands at each offset.
    acked: BTreeMap<u64, String>,
    /// Trims that were begun, and the last one that was done.
    trimming: BTreeSet<u64>,
    trimmed: u64,
    /// Acks of the round that is running.
    in_round: u64,
}

impl Heard {
    fn note(&mut self, round: &str, line: &str) {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        let (verb, number, offset) = (word(), word(), word());
        let parse = |text: &str| text.parse::<u64>().unwrap();
        match verb {
            "trimming" => _ = self.trimming.insert(parse(number)),
            "trimmed" => self.trimmed = parse(number),
            "written" | "durable" => {
                let value = format!("{round} {verb} {number}");
                let before = self.acked.insert(parse(offset), value.clone());
                assert_eq!(before, None, "offset {offset} was given again to {value}");
                self.in_round += 1;
            }
            // Nothing is promised beyond the life of the process.
            "none" => {}
            other => panic!("{other} is nothing a storm says"),
        }
    }

    /// Compares the whole log with what was heard.
    fn check(&self, log: &Log) {
        let offsets = log.offsets(&place()).unwrap();
        let start = offsets.start.value();
        assert!(
            start == self.trimmed || (start > self.trimmed && self.trimming.contains(&start)),
            "the log starts at {start}, which nobody asked for"
        );
        let records = log.reader(TOPIC).stop_at_end().open().unwrap();
        let records = records.collect::<Result<Vec<_>, _>>().unwrap();
        let mut seen = BTreeSet::new();
        let mut last = BTreeMap::new();
        for (record, expected) in records.iter().zip(start..) {
            assert_eq!(record.offset().value(), expected, "a hole");
            let (round, sender, number) = source_of(record);
            assert!(seen.insert((round.clone(), sender.clone(), number)), "twice: {record:?}");
            let before = last.insert((round.clone(), sender.clone()), number);
            assert!(before.is_none_or(|before| before < number), "out of order: {record:?}");
            if let Some(acked) = self.acked.get(&expected) {
                assert_eq!(*acked, format!("{round} {sender} {number}"), "at {expected}");
            }
        }
        let end = start + records.len() as u64;
        assert_eq!(offsets.end.value(), end);
        let lost = self.acked.range(end..).next();
        assert_eq!(lost, None, "an acknowledged record is lost; the log ends at {end}");
        // The last write may be torn: the kernel ends it between two pages when the process dies.
        for found in log.recovery().partitions {
            assert!(found.damage.is_none() && found.aside.is_empty(), "{found:?}");
        }
    }
}

/// Which send a record came from, once its bytes are known to be exactly what was sent.
fn source_of(record: &StoredRecord) -> (String, String, u64) {
    let value = record.value().unwrap();
    let text = std::str::from_utf8(value).unwrap();
    let mut words = text.split(' ');
    let (round, sender) = (words.next().unwrap(), words.next().unwrap());
    let number = words.next().unwrap().parse().unwrap();
    assert_eq!(value, storm_value(round, sender, number), "other bytes than were sent");
    (round.to_owned(), sender.to_owned(), number)
}

fn storms(policy: SyncPolicy, rounds: u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = Log::open(&path).unwrap();
    let config = TopicConfig::new().sync(policy).segment_bytes(16 * 1024);
    log.create_topic(TOPIC, config).unwrap();
    drop(log);
    let mut heard = Heard::default();
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..rounds {
        let name = round.to_string();
        let mut writer = Process::start("storm", &path);
        writer.tell(&name);
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        heard.in_round = 0;
        // Now and then not a single line: it dies while it opens.
        let patience = if round % 10 == 9 { 0 } else { 1 + (chance >> 33) % 1000 };
        for _ in 0..patience {
            let line = writer.line().expect("a storm ends only when it is killed");
            heard.note(&name, &line);
        }
        for line in writer.kill() {
            heard.note(&name, &line);
        }
        // Every third time the next child finds the directory as the last one left it.
        if round % 3 != 2 {
            let log = Log::open(&path).unwrap();
            heard.check(&log);
            if round % 2 == 0 {
                log.close().unwrap();
            }
        }
    }
    let log = Log::open(&path).unwrap();
    heard.check(&log);
    assert!(heard.acked.len() as u64 > rounds * 20, "too few acks to mean anything");
    assert!(heard.trimmed > 0, "no trim was part of it");
}

/// An acknowledged record of a synced topic would not survive the death of its process.
#[test]
fn acknowledged_records_survive_kills_where_every_record_is_synced() {
    storms(SyncPolicy::Always, 30);
}

/// An acknowledged record of an unsynced topic would not survive the death of its process.
#[test]
fn acknowledged_records_survive_kills_where_none_is_synced() {
    storms(SyncPolicy::Never, 30);
}
