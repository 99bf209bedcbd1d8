//! A wall clock that jumps: order, times, groups and what is kept do not hang on it.

use std::time::Duration;

use brooklet::testing::{CrashPolicy, SimDisk};
use brooklet::{Log, Record, Retention, StartAt, SyncPolicy, Timestamp, TopicConfig};

use super::{all, offset, place, reopen, simulated, values};

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const YEAR: i64 = 365 * 24 * HOUR;
/// Where the clock stands before it jumps: some day of 2026.
const BEFORE: i64 = 56 * YEAR;

/// Where it jumps to.
const JUMPS: [i64; 9] = [
    BEFORE - HOUR,
    BEFORE - 10 * YEAR,
    BEFORE + HOUR,
    BEFORE + 10 * YEAR,
    0,
    -1,
    i64::MIN,
    i64::MAX - 1,
    i64::MAX,
];

fn config() -> TopicConfig {
    let keeps = Retention::forever().max_age(Duration::from_secs(24 * 3600));
    TopicConfig::new().segment_bytes(1024).retention(keeps.hold_uncommitted(true))
}

fn send(log: &Log, from: u64, count: u64) {
    let producer = log.producer("t").unwrap();
    for number in from..from + count {
        let value = format!("{number:0100}");
        assert_eq!(producer.send(Record::new(&value)).unwrap().offset(), offset(number));
    }
}

/// Records stand in the order of their sends, with times that never go back.
fn check(log: &Log, count: u64) {
    let records = all(log.reader("t"));
    assert_eq!(
        values(log, "t"),
        (0..count).map(|number| format!("{number:0100}")).collect::<Vec<_>>()
    );
    let times = records.iter().map(brooklet::StoredRecord::append_time).collect::<Vec<_>>();
    assert!(times.is_sorted(), "{times:?}");
    let Some(first) = times.first() else { return };
    let at = log.reader("t").start_at(StartAt::Timestamp(*first));
    assert_eq!(all(at).len() as u64, count, "from the first time on");
}

/// A clock that jumps would reorder, lose or delete records, or throw out members of groups.
#[test]
fn a_clock_that_jumps_changes_no_order_no_group_and_no_record() {
    for to in JUMPS {
        for closes in [true, false] {
            jump(to, closes);
        }
    }
}

fn jump(to: i64, closes: bool) {
    let (disk, log) = simulated(3);
    disk.clock().set_wall(BEFORE);
    log.create_topic("t", config()).unwrap();
    let minute = Some(Duration::from_secs(60));
    let mut member = log.consumer("g").topics(["t"]).max_poll_interval(minute).open().unwrap();
    send(&log, 0, 40);
    assert!(!member.poll(Duration::ZERO).unwrap().is_empty());
    let generation = log.group("g").unwrap().generation;
    disk.clock().set_wall(to);
    send(&log, 40, 40);
    log.maintain().unwrap();
    check(&log, 80);
    // Members live by the time that passes, whatever the wall says.
    member.poll(Duration::ZERO).unwrap();
    member.commit().unwrap();
    assert_eq!(log.group("g").unwrap().generation, generation, "{to}");
    let committed = member.committed(&place("t", 0)).unwrap().offset();
    drop(member);
    if closes {
        log.close().unwrap();
    }
    drop(log);
    // And back again, over the end of the session.
    for wall in [to, BEFORE] {
        disk.clock().set_wall(wall);
        let log = reopen(&disk);
        let group = log.group("g").unwrap();
        let kept = group.partitions[0].committed.clone().unwrap().offset();
        assert_eq!(kept, committed, "{to}");
        log.maintain().unwrap();
        let start = log.offsets(&place("t", 0)).unwrap().start;
        assert!(
            start <= committed,
            "{to}: what is not committed is held, and {start} is the start"
        );
        let found = all(log.reader("t"));
        assert_eq!(found.len() as u64, 80 - start.value());
        assert!(found.iter().map(brooklet::StoredRecord::append_time).is_sorted(), "{to}");
        log.close().unwrap();
    }
    survives(&disk, to);
}

/// What is sent under a strange clock is as safe as under any other.
fn survives(disk: &SimDisk, to: i64) {
    disk.clock().set_wall(to);
    let log = reopen(disk);
    log.create_topic("u", TopicConfig::new().sync(SyncPolicy::Always)).unwrap();
    let sent =
        log.producer("u").unwrap().send(Record::new("u").timestamp(Timestamp::from_millis(to)));
    assert_eq!(sent.unwrap().offset(), offset(0));
    for policy in CrashPolicy::ALL {
        let log = reopen(&disk.fork().crash(*policy, 1));
        let found = all(log.reader("u"));
        assert_eq!(found.len(), 1, "{policy:?}, {to}");
        assert_eq!(found[0].timestamp(), Timestamp::from_millis(to));
    }
}
