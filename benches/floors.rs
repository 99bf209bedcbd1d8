//! The budget table: every row beside its floor, measured in turn in the same run.
//!
//! `cargo bench --bench floors` prints it; `cargo bench --bench floors -- replay` one row of it. Each
//! row is measured in rounds, ours and the floor one after the other, and its ratio is the median of
//! the rounds' ratios, with the smallest and the largest beside it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark measures the world itself, prints, and stops where it is not as it must be"
)]

use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use brooklet::{
    Acks, Log, LogOptions, Offset, Producer, Record, StartAt, SyncPolicy, TopicConfig,
    TopicPartition,
};

mod raw;

/// One row: its name, what is compared, and how a round of it is measured.
struct Row {
    name: &'static str,
    unit: &'static str,
    goal: &'static str,
    /// Ours and the floor, in `unit`.
    round: fn(&Path) -> (f64, f64),
}

const ROWS: &[Row] = &[
    Row {
        name: "batched, 1 producer, 100 B, Never",
        unit: "M rec/s",
        goal: ">= 0.80",
        round: |dir| batched(dir, 100, 400_000),
    },
    Row {
        name: "batched, 1 producer, 1 KiB, Never",
        unit: "M rec/s",
        goal: ">= 0.90",
        round: |dir| batched(dir, 1024, 40_000),
    },
    Row {
        name: "batched, 1 producer, 100 B, Never (floor: with room made ahead)",
        unit: "M rec/s",
        goal: ">= 0.80",
        round: batched_in_room,
    },
    Row {
        name: "one synchronous send, 100 B, Never",
        unit: "M rec/s",
        goal: ">= 0.80",
        round: |dir| one_by_one(dir, 100, 100),
    },
    Row {
        name: "one synchronous send, 100 B, Never (floor: the 176 B of its frame)",
        unit: "M rec/s",
        goal: ">= 0.80",
        round: |dir| one_by_one(dir, 100, 176),
    },
    Row {
        name: "one synchronous send, 1 KiB, Never",
        unit: "M rec/s",
        goal: ">= 0.80",
        round: |dir| one_by_one(dir, 1024, 1024),
    },
    Row {
        name: "8 producers, 1 partition, batched 100 B (floor: 1 producer)",
        unit: "M rec/s",
        goal: ">= 0.85",
        round: eight_producers,
    },
    Row {
        name: "2 producers, 2 partitions, batched 100 B (floor: 1 of each)",
        unit: "M rec/s",
        goal: ">= 1.70",
        round: two_partitions,
    },
    Row {
        name: "1 thread, 1 KiB, Always/Durable, p50",
        unit: "us",
        goal: "<= 1.10",
        round: |dir| durable_one(dir, false),
    },
    Row {
        name: "1 thread, 1 KiB, Always/Durable, p50 (floor: with room made ahead)",
        unit: "us",
        goal: "<= 1.10",
        round: |dir| durable_one(dir, true),
    },
    Row {
        name: "16 threads, 1 KiB, Always/Durable",
        unit: "k rec/s",
        goal: ">= 0.90",
        round: |dir| durable_many(dir, 16),
    },
    Row {
        name: "64 threads, 1 KiB, Always/Durable",
        unit: "k rec/s",
        goal: ">= 0.90",
        round: |dir| durable_many(dir, 64),
    },
    Row {
        name: "catch-up replay, 100 B, verified",
        unit: "M rec/s",
        goal: ">= 0.80",
        round: replay,
    },
    Row {
        name: "tail iteration, 100 B (floor: 50 M rec/s)",
        unit: "M rec/s",
        goal: ">= 1.00",
        round: tail,
    },
    Row {
        name: "random read by offset, batches of one (floor: pread of 128 B)",
        unit: "M read/s",
        goal: ">= 0.80",
        round: random_read,
    },
    Row {
        name: "clean open, 10,000 partitions (floor: 25 ms)",
        unit: "ms",
        goal: "<= 1.00",
        round: clean_open,
    },
    Row {
        name: "unclean open and first use, 1 GiB, Always (floor: 60 ms)",
        unit: "ms",
        goal: "<= 1.00",
        round: unclean_open,
    },
    Row {
        name: "in-memory log with a topic (floor: 100 us)",
        unit: "us",
        goal: "<= 1.00",
        round: in_memory,
    },
];

const ROUNDS: usize = 7;

fn main() {
    let wanted = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect::<Vec<_>>();
    println!("{}\n", raw::place());
    // Before the rows have filled memory that would be used again.
    idle();
    println!("| row | ours | floor | ratio (smallest to largest) | goal |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for row in ROWS {
        if !wanted.is_empty() && !wanted.iter().any(|part| row.name.contains(part.as_str())) {
            continue;
        }
        let mut ours = Vec::new();
        let mut floors = Vec::new();
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let dir = tempfile::tempdir().expect("a directory");
            let (our, floor) = (row.round)(dir.path());
            ours.push(our);
            floors.push(floor);
            ratios.push(our / floor);
        }
        let (our, floor) = (median(&mut ours), median(&mut floors));
        let ratio = median(&mut ratios);
        let (least, most) = (ratios[0], ratios[ROUNDS - 1]);
        println!(
            "| {} | {our:.2} {} | {floor:.2} | **{ratio:.2}** ({least:.2} to {most:.2}) | {} |",
            row.name, row.unit, row.goal
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64() / 1e6
}

fn timed(work: impl FnOnce()) -> Duration {
    let before = Instant::now();
    work();
    before.elapsed()
}

fn topic(dir: &Path, policy: SyncPolicy, partitions: u32) -> (Log, Producer) {
    let log = Log::open(dir.join("log")).unwrap();
    let config = TopicConfig::new().partitions(partitions).sync(policy);
    log.create_topic("t", config.segment_bytes(1 << 30)).unwrap();
    let producer = log.producer("t").unwrap();
    (log, producer)
}

fn send_batches(producer: &Producer, value: &[u8], count: usize) {
    let per_batch = raw::BLOCK / (value.len() + raw::RECORD_HEAD);
    for _ in 0..count / per_batch {
        producer.send_all((0..per_batch).map(|_| Record::new(value))).unwrap();
    }
}

fn batched(dir: &Path, size: usize, count: usize) -> (f64, f64) {
    let value = vec![7; size];
    let (log, producer) = topic(dir, SyncPolicy::Never, 1);
    producer.send(Record::new("first")).unwrap();
    let file = raw::fresh(dir, "floor");
    let floor = timed(|| raw::batched(&file, &mut 0, &value, count));
    let ours = timed(|| send_batches(&producer, &value, count));
    log.close().unwrap();
    (rate(count, ours), rate(count, floor))
}

fn batched_in_room(dir: &Path) -> (f64, f64) {
    const COUNT: usize = 400_000;
    let file = raw::fresh(dir, "floor");
    let floor = timed(|| raw::batched_in_room(file, &[7; 100], COUNT));
    let (ours, _) = batched(dir, 100, COUNT);
    (ours, rate(COUNT, floor))
}

/// A frame of one record has 76 bytes and some padding around the value; the floor writes what it
/// is told to.
fn one_by_one(dir: &Path, size: usize, floor_size: usize) -> (f64, f64) {
    const COUNT: usize = 50_000;
    let (value, floor_value) = (vec![7; size], vec![7; floor_size]);
    let (log, producer) = topic(dir, SyncPolicy::Never, 1);
    producer.send(Record::new("first")).unwrap();
    let file = raw::fresh(dir, "floor");
    let floor = timed(|| raw::one_by_one(&file, &floor_value, COUNT));
    let ours = timed(|| {
        for _ in 0..COUNT {
            producer.send(Record::new(&value)).unwrap();
        }
    });
    log.close().unwrap();
    (rate(COUNT, ours), rate(COUNT, floor))
}

fn in_parallel(producers: &[Producer], count: usize) -> Duration {
    let value = [7; 100];
    timed(|| {
        std::thread::scope(|scope| {
            for producer in producers {
                scope.spawn(|| send_batches(producer, &value, count));
            }
        });
    })
}

fn eight_producers(dir: &Path) -> (f64, f64) {
    const COUNT: usize = 400_000;
    let (log, producer) = topic(dir, SyncPolicy::Never, 1);
    producer.send(Record::new("first")).unwrap();
    let one = in_parallel(std::slice::from_ref(&producer), COUNT);
    let eight = in_parallel(&vec![producer; 8], COUNT / 8);
    log.close().unwrap();
    (rate(COUNT, eight), rate(COUNT, one))
}

fn two_partitions(dir: &Path) -> (f64, f64) {
    const COUNT: usize = 400_000;
    let (log, producer) = topic(dir, SyncPolicy::Never, 2);
    let of = |number: u32| {
        let fixed = brooklet::partitioner::Fixed(number.into());
        let producer = producer.clone().partitioner(fixed);
        producer.send(Record::new("first")).unwrap();
        producer
    };
    let (first, second) = (of(0), of(1));
    let one = in_parallel(std::slice::from_ref(&first), COUNT);
    let two = in_parallel(&[first, second], COUNT);
    log.close().unwrap();
    (rate(2 * COUNT, two), rate(COUNT, one))
}

/// Each of ours beside one of the floor, in turn, so that both meet the same disk.
///
/// Room is made behind the first 128 KiB, so the log is that long before anything is measured.
fn durable_one(dir: &Path, in_room: bool) -> (f64, f64) {
    use std::os::unix::fs::FileExt;
    const COUNT: usize = 400;
    let value = [7; 1024];
    let (log, producer) = topic(dir, SyncPolicy::Always, 1);
    producer.send_all((0..200).map(|_| Record::new(&value))).unwrap();
    let mut roomy = raw::Roomy::new(raw::fresh(dir, "roomy"));
    let file = raw::fresh(dir, "floor");
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for number in 0..COUNT {
        floors.push(timed(|| {
            if in_room {
                roomy.append(&value);
                roomy.file.sync_data().unwrap();
            } else {
                file.write_all_at(&value, (number * value.len()) as u64).unwrap();
                file.sync_data().unwrap();
            }
        }));
        ours.push(timed(|| _ = producer.send(Record::new(&value)).unwrap()));
    }
    log.close().unwrap();
    let in_us = |times: Vec<Duration>| {
        let mut times = times.iter().map(|time| time.as_secs_f64() * 1e6).collect::<Vec<_>>();
        median(&mut times)
    };
    (in_us(ours), in_us(floors))
}

/// The smallest greedy group commit: whoever finds nobody syncing writes and syncs for all.
struct GroupCommit {
    file: std::fs::File,
    state: Mutex<Group>,
    done: Condvar,
}

#[derive(Default)]
struct Group {
    queue: Vec<u8>,
    queued: u64,
    durable: u64,
    position: u64,
    leads: bool,
}

impl GroupCommit {
    fn append(&self, value: &[u8]) {
        use std::os::unix::fs::FileExt;
        let mut state = self.state.lock().unwrap();
        state.queue.extend_from_slice(value);
        state.queued += 1;
        let own = state.queued;
        while state.durable < own {
            if state.leads {
                state = self.done.wait(state).unwrap();
                continue;
            }
            state.leads = true;
            let bytes = std::mem::take(&mut state.queue);
            let (upto, position) = (state.queued, state.position);
            state.position += bytes.len() as u64;
            drop(state);
            self.file.write_all_at(&bytes, position).unwrap();
            self.file.sync_data().unwrap();
            state = self.state.lock().unwrap();
            state.durable = upto;
            state.leads = false;
            self.done.notify_all();
        }
    }
}

fn durable_many(dir: &Path, threads: usize) -> (f64, f64) {
    const EACH: usize = 40;
    let value = [7; 1024];
    let (log, producer) = topic(dir, SyncPolicy::Always, 1);
    producer.send(Record::new("first")).unwrap();
    let group = GroupCommit {
        file: raw::fresh(dir, "floor"),
        state: Mutex::default(),
        done: Condvar::new(),
    };
    let run = |append: &(dyn Fn() + Sync)| {
        timed(|| {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| (0..EACH).for_each(|_| append()));
                }
            });
        })
    };
    let floor = run(&|| group.append(&value));
    let ours = run(&|| _ = producer.send(Record::new(&value)).unwrap());
    log.close().unwrap();
    let per_second = |took| rate(threads * EACH, took) * 1e3;
    (per_second(ours), per_second(floor))
}

fn replay(dir: &Path) -> (f64, f64) {
    const COUNT: usize = 500_000;
    let value = [7; 100];
    let (log, producer) = topic(dir, SyncPolicy::Never, 1);
    send_batches(&producer, &value, COUNT);
    let file = raw::fresh(dir, "floor");
    raw::batched(&file, &mut 0, &value, COUNT);
    let len = file.metadata().unwrap().len() as usize;
    let (mut ours, mut floor) = (0, 0);
    let our_time = timed(|| ours = raw::count_all(&log, StartAt::Earliest));
    let floor_time = timed(|| floor = raw::replay(&file, len, 100 + raw::RECORD_HEAD));
    log.close().unwrap();
    (rate(ours, our_time), rate(floor as usize, floor_time))
}

fn tail(dir: &Path) -> (f64, f64) {
    const TIMES: usize = 50;
    let (log, producer) = topic(dir, SyncPolicy::Never, 1);
    send_batches(&producer, &[7; 100], 9_000);
    let offset = Offset::new(2_000);
    let mut count = 0;
    let took = timed(|| {
        for _ in 0..TIMES {
            count += raw::count_all(&log, StartAt::Offset(offset));
        }
    });
    log.close().unwrap();
    (rate(count, took), 50.0)
}

fn random_read(dir: &Path) -> (f64, f64) {
    use std::os::unix::fs::FileExt;
    const COUNT: u64 = 100_000;
    const READS: u64 = 5_000;
    let (log, producer) = topic(dir, SyncPolicy::Never, 1);
    for number in 0..COUNT {
        producer.submit(Record::new(&number.to_le_bytes())).wait().unwrap();
    }
    let file = raw::fresh(dir, "floor");
    raw::one_by_one(&file, &[7; 128], COUNT as usize);
    let places = (0..READS).map(|read| read.wrapping_mul(2_654_435_761) % (COUNT / 2));
    let mut reader = log.reader("t").partition(0u32).fetch_bytes(1024).open().unwrap();
    let ours = timed(|| {
        for place in places.clone() {
            reader.seek(0u32.into(), Offset::new(place)).unwrap();
            let batch = reader.next_batch().unwrap().unwrap();
            assert_eq!(batch.iter().next().unwrap().offset().value(), place);
        }
    });
    let mut buffer = [0; 128];
    let floor = timed(|| {
        for place in places {
            file.read_exact_at(&mut buffer, place * 128).unwrap();
            std::hint::black_box(&buffer);
        }
    });
    drop(reader);
    log.close().unwrap();
    (rate(READS as usize, ours), rate(READS as usize, floor))
}

fn clean_open(dir: &Path) -> (f64, f64) {
    let log = Log::open(dir.join("log")).unwrap();
    log.create_topic("t", TopicConfig::new().partitions(10_000)).unwrap();
    log.close().unwrap();
    let mut open = None;
    let took = timed(|| open = Some(Log::open(dir.join("log")).unwrap()));
    open.unwrap().close().unwrap();
    (took.as_secs_f64() * 1e3, 25.0)
}

fn unclean_open(dir: &Path) -> (f64, f64) {
    const COUNT: usize = 1024 * 1024;
    let log = LogOptions::new().open(dir.join("log")).unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    let producer = log.producer("t").unwrap();
    for _ in 0..COUNT / 4096 {
        producer.send_all((0..4096).map(|_| Record::new(&[7; 1010]))).unwrap();
    }
    // Marks are noted once a second at most; a longer life than that is what is measured.
    log.maintain().unwrap();
    producer.clone().acks(Acks::Durable).send(Record::new("last")).unwrap();
    drop((log, producer));
    let partition = TopicPartition::new("t".parse().unwrap(), 0.into());
    let took = timed(|| {
        let log = Log::open(dir.join("log")).unwrap();
        let offsets = log.offsets(&partition).unwrap();
        assert_eq!(offsets.end, Offset::new(COUNT as u64 + 1));
    });
    (took.as_secs_f64() * 1e3, 60.0)
}

fn in_memory(_: &Path) -> (f64, f64) {
    const TIMES: usize = 200;
    let took = timed(|| {
        for _ in 0..TIMES {
            let log = Log::in_memory().unwrap();
            log.create_topic("t", TopicConfig::new()).unwrap();
        }
    });
    (took.as_secs_f64() * 1e6 / TIMES as f64, 100.0)
}

/// What ten thousand partitions cost while nobody uses them.
fn idle() {
    let dir = tempfile::tempdir().unwrap();
    let before = resident();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", TopicConfig::new().partitions(10_000)).unwrap();
    let after = resident();
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    println!("10,000 idle partitions: {:.1} MiB, {files} descriptors in all", after - before);
    log.close().unwrap();
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}
