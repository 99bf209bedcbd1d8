//! What groups cost: a record's way from a producer to a parked consumer, a rebalance, and a bus to
//! test with.
//!
//! `cargo bench --bench groups` prints it. The way of a record is measured in turn with that of a
//! value through a bounded channel, at the same pace, in the same run.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark measures the world itself, prints, and stops where it is not as it must be"
)]

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use brooklet::testing::TestBus;
use brooklet::worker::Worker;
use brooklet::{Consumer, Log, Record, SyncPolicy, TopicConfig};

mod raw;

const ROUNDS: usize = 7;
const RECORDS: usize = 100_000;
const PACE: Duration = Duration::from_micros(20);

fn main() {
    println!("{}\n", raw::place());
    let mut channel = Vec::new();
    let mut log = Vec::new();
    for _ in 0..ROUNDS {
        channel.push(Percentiles::of(through_a_channel()));
        log.push(Percentiles::of(through_the_log()));
    }
    println!("end to end, 50,000 records/s, one producer, one parked consumer, Never");
    println!("| way | p50 | p99 | p99.9 |\n| --- | ---: | ---: | ---: |");
    println!("| channel of the standard library | {} |", medians(&channel));
    println!("| log, consumer of a group | {} |", medians(&log));
    let ratio = |pick: fn(&Percentiles) -> f64| {
        let each = log.iter().zip(&channel).map(|(log, channel)| pick(log) / pick(channel));
        let mut each = each.collect::<Vec<_>>();
        each.sort_by(f64::total_cmp);
        format!("{:.2} ({:.2} to {:.2})", each[ROUNDS / 2], each[0], each[ROUNDS - 1])
    };
    println!("| ratio | {} | {} | {} |\n", ratio(|p| p.p50), ratio(|p| p.p99), ratio(|p| p.p999));
    rebalance();
    bus();
}

/// What share of the values took no longer than this, in microseconds.
struct Percentiles {
    p50: f64,
    p99: f64,
    p999: f64,
}

impl Percentiles {
    fn of(mut nanos: Vec<u64>) -> Self {
        assert_eq!(nanos.len(), RECORDS);
        nanos.sort_unstable();
        let at = |share: f64| nanos[(nanos.len() as f64 * share) as usize] as f64 / 1e3;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

fn medians(rounds: &[Percentiles]) -> String {
    let median = |pick: fn(&Percentiles) -> f64| {
        let mut values = rounds.iter().map(pick).collect::<Vec<_>>();
        values.sort_by(f64::total_cmp);
        format!("{:.1} us", values[values.len() / 2])
    };
    format!("{} | {} | {}", median(|p| p.p50), median(|p| p.p99), median(|p| p.p999))
}

/// Calls `send` with the time, at an even pace.
fn at_a_pace(start: Instant, mut send: impl FnMut(u64)) {
    for number in 0..RECORDS as u32 {
        let due = PACE * number;
        while start.elapsed() < due {
            std::hint::spin_loop();
        }
        send(u64::try_from(start.elapsed().as_nanos()).unwrap());
    }
}

fn took(start: Instant, sent: u64) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap().saturating_sub(sent)
}

fn through_a_channel() -> Vec<u64> {
    let (give, take) = mpsc::sync_channel::<[u8; 100]>(1024);
    let start = Instant::now();
    let receiver = thread::spawn(move || {
        let mut latencies = Vec::with_capacity(RECORDS);
        while let Ok(value) = take.recv() {
            latencies.push(took(start, u64::from_le_bytes(value[..8].try_into().unwrap())));
        }
        latencies
    });
    at_a_pace(start, |now| {
        let mut value = [0; 100];
        value[..8].copy_from_slice(&now.to_le_bytes());
        give.send(value).unwrap();
    });
    drop(give);
    receiver.join().unwrap()
}

fn through_the_log() -> Vec<u64> {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("events", TopicConfig::new().sync(SyncPolicy::Never)).unwrap();
    let mut consumer = log.consumer("bench").topics(["events"]).open().unwrap();
    let producer = log.producer("events").unwrap();
    let start = Instant::now();
    let receiver = thread::spawn(move || {
        let mut latencies = Vec::with_capacity(RECORDS);
        while latencies.len() < RECORDS {
            for record in &consumer.poll(Duration::from_secs(10)).unwrap() {
                let sent = record.value().unwrap()[..8].try_into().unwrap();
                latencies.push(took(start, u64::from_le_bytes(sent)));
            }
        }
        latencies
    });
    at_a_pace(start, |now| {
        let mut value = [0; 100];
        value[..8].copy_from_slice(&now.to_le_bytes());
        producer.send(Record::new(&value)).unwrap();
    });
    receiver.join().unwrap()
}

fn rebalance() {
    const MEMBERS: usize = 100;
    const PARTITIONS: u32 = 1_000;
    let mut joins = Vec::new();
    let mut leaves = Vec::new();
    for _ in 0..ROUNDS {
        let log = Log::in_memory().unwrap();
        log.create_topic("events", TopicConfig::new().partitions(PARTITIONS)).unwrap();
        let join = || log.consumer("bench").topics(["events"]).open().unwrap();
        let mut members = (1..MEMBERS).map(|_| join()).collect::<Vec<_>>();
        settle(&mut members);
        let start = Instant::now();
        members.push(join());
        settle(&mut members);
        joins.push(start.elapsed().as_secs_f64() * 1e3);
        let owned = members.iter().map(|member| member.assignment().len());
        assert!(owned.clone().all(|count| count == PARTITIONS as usize / MEMBERS));
        let start = Instant::now();
        members.remove(0).leave().unwrap();
        settle(&mut members);
        leaves.push(start.elapsed().as_secs_f64() * 1e3);
        let owned = members.iter().map(|member| member.assignment().len()).sum::<usize>();
        assert_eq!(owned, PARTITIONS as usize);
    }
    for (what, mut times) in [("joins", joins), ("leaves", leaves)] {
        times.sort_by(f64::total_cmp);
        println!(
            "rebalance, {MEMBERS} members, {PARTITIONS} partitions, one {what}, until all have \
             polled: {:.2} ms ({:.2} to {:.2})",
            times[ROUNDS / 2],
            times[0],
            times[ROUNDS - 1]
        );
    }
}

/// A bus for each test should cost nothing that anybody notices.
fn bus() {
    const BUSES: u32 = 1_000;
    let make = || {
        let bus = TestBus::new().unwrap();
        bus.log().create_topic("orders", TopicConfig::new()).unwrap();
        bus
    };
    let handle = |bus: &mut TestBus| {
        let worker = Worker::new(bus.log(), "billing").topics(["orders"]).handle(|_| Ok(()));
        bus.attach(worker).unwrap();
        bus.publish("orders", Record::new("created")).unwrap();
        assert_eq!(bus.settle().unwrap().handled, 1);
    };
    let mut made = Vec::new();
    let mut handled = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut buses = (0..BUSES).map(|_| make()).collect::<Vec<_>>();
        made.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(BUSES));
        let start = Instant::now();
        buses.iter_mut().for_each(handle);
        handled.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(BUSES));
    }
    for (what, mut times) in [
        ("in-memory test bus, with a topic", made),
        ("in-memory test bus, a worker attached and a record handled", handled),
    ] {
        times.sort_by(f64::total_cmp);
        println!(
            "{what}: {:.1} us ({:.1} to {:.1})",
            times[ROUNDS / 2],
            times[0],
            times[ROUNDS - 1]
        );
    }
}

fn settle(members: &mut [Consumer]) {
    for member in members {
        assert!(member.poll(Duration::ZERO).unwrap().is_empty());
    }
}
