//! Replay from the files and from memory, each beside its raw floor.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark measures the world itself, and stops where it is not as it must be"
)]

use brooklet::{Log, Offset, Record, StartAt, SyncPolicy, TopicConfig};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod raw;

const COUNT: usize = 500_000;
const SIZE: usize = 100;

fn replay(c: &mut Criterion) {
    let value = [7; SIZE];
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path().join("log")).unwrap();
    log.create_topic("t", TopicConfig::new().sync(SyncPolicy::Never)).unwrap();
    let producer = log.producer("t").unwrap();
    let per_batch = raw::BLOCK / (SIZE + raw::RECORD_HEAD);
    for _ in 0..COUNT / per_batch {
        producer.send_all((0..per_batch).map(|_| Record::new(&value))).unwrap();
    }
    let file = raw::fresh(dir.path(), "floor");
    raw::batched(&file, &mut 0, &value, COUNT);
    let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let all = raw::count_all(&log, StartAt::Earliest);

    let mut group = c.benchmark_group("replay/files");
    group.throughput(Throughput::Elements(all as u64));
    group.bench_function("reader", |b| b.iter(|| raw::count_all(&log, StartAt::Earliest)));
    group.bench_function("floor: aligned pread, checksum, walk", |b| {
        b.iter(|| raw::replay(&file, len, SIZE + raw::RECORD_HEAD));
    });
    group.finish();

    let newest = StartAt::Offset(Offset::new(all as u64 - 5_000));
    let mut group = c.benchmark_group("replay/tail");
    group.throughput(Throughput::Elements(5_000));
    group.bench_function("reader", |b| b.iter(|| raw::count_all(&log, newest)));
    group.finish();
    log.close().unwrap();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = replay
}
criterion_main!(benches);
