//! Appends at three ack levels, singly and in batches, each beside its raw floor.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark measures the world itself, and stops where it is not as it must be"
)]

use std::os::unix::fs::FileExt;

use brooklet::{Acks, Log, Record, SyncPolicy, TopicConfig};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod raw;

const LEVELS: [(&str, Acks); 3] =
    [("none", Acks::None), ("written", Acks::Written), ("durable", Acks::Durable)];

fn single(c: &mut Criterion) {
    for size in [100, 1024] {
        let value = vec![7; size];
        let mut group = c.benchmark_group(format!("append/single/{size}"));
        group.throughput(Throughput::Elements(1));
        for (name, acks) in LEVELS {
            let dir = tempfile::tempdir().unwrap();
            let log = Log::open(dir.path()).unwrap();
            log.create_topic("t", TopicConfig::new().sync(SyncPolicy::Never)).unwrap();
            let producer = log.producer("t").unwrap().acks(acks);
            group.bench_function(name, |b| b.iter(|| producer.send(Record::new(&value)).unwrap()));
            log.close().unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let file = raw::fresh(dir.path(), "floor");
        let mut position = 0;
        group.bench_function("floor: pwrite", |b| {
            b.iter(|| {
                file.write_all_at(&value, position).unwrap();
                position += value.len() as u64;
            });
        });
        group.bench_function("floor: pwrite and fdatasync", |b| {
            b.iter(|| {
                file.write_all_at(&value, position).unwrap();
                file.sync_data().unwrap();
                position += value.len() as u64;
            });
        });
        group.finish();
    }
}

fn batched(c: &mut Criterion) {
    for size in [100, 1024] {
        let value = vec![7; size];
        let count = raw::BLOCK / (size + raw::RECORD_HEAD);
        let mut group = c.benchmark_group(format!("append/batched/{size}"));
        group.throughput(Throughput::Elements(count as u64));
        for (name, acks) in LEVELS {
            let dir = tempfile::tempdir().unwrap();
            let log = Log::open(dir.path()).unwrap();
            log.create_topic("t", TopicConfig::new().sync(SyncPolicy::Never)).unwrap();
            let producer = log.producer("t").unwrap().acks(acks);
            group.bench_function(name, |b| {
                b.iter(|| producer.send_all((0..count).map(|_| Record::new(&value))).unwrap());
            });
            log.close().unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let file = raw::fresh(dir.path(), "floor");
        // The floor's file grows as ours does: writing over cached pages would cost a fraction.
        let mut position = 0;
        group.bench_function("floor: copy, checksum, pwrite", |b| {
            b.iter(|| raw::batched(&file, &mut position, &value, count));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = single, batched
}
criterion_main!(benches);
