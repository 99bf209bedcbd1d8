//! Retention and trims beside readers and senders.

use brooklet::{ErrorKind, Offset, Reader, Retention, StartAt, SyncPolicy, TopicConfig};

use crate::world::{FOR_EVER, World, explore, padded, partition, send};

/// Reads from the first record on until the one at `last`: what it sees ascends, has the right value
/// at the right place, and leaves out nothing but what was removed; whether anything was.
fn read_through(mut reader: Reader, last: u64) -> bool {
    let mut is_overtaken = false;
    let mut next = 0;
    while next <= last {
        match reader.poll(FOR_EVER).unwrap() {
            Ok(batch) => {
                for record in &batch {
                    let offset = record.offset().value();
                    assert_eq!(offset, next, "records were left out or repeated");
                    let value = padded(&format!("a{offset}"), 400);
                    assert_eq!(record.value(), Some(value.as_bytes()));
                    next = offset + 1;
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
                let valid = error.valid_range().unwrap();
                assert!(valid.start.value() > next, "{next} was not removed: {error}");
                next = valid.start.value();
                reader.seek(0.into(), valid.start).unwrap();
                is_overtaken = true;
            }
        }
    }
    is_overtaken
}

fn filled(config: TopicConfig) -> World {
    let world = World::new();
    world.topic("t", config.segment_bytes(1024).sync(SyncPolicy::Always));
    send(&world.log.producer("t").unwrap(), "a", 4, 400);
    world
}

/// A reader would see other bytes, skip records, or end, where retention takes its files away.
#[test]
fn retention_beside_a_reader() {
    explore(&["overtaken", "ahead"], |seen| {
        let world = filled(TopicConfig::new().retention(Retention::forever().max_bytes(2048)));
        let reader = world.log.reader("t").start_at(StartAt::Earliest).open().unwrap();
        let reads = world.spawn(move |_| read_through(reader, 7));
        let keeps = world.spawn(|world| {
            for _ in 0..2 {
                world.log.maintain().unwrap();
            }
        });
        let producer = world.log.producer("t").unwrap();
        for number in 4..8 {
            producer.send(brooklet::Record::new(&padded(&format!("a{number}"), 400))).unwrap();
        }
        keeps.join().unwrap();
        seen.note(if reads.join().unwrap() { "overtaken" } else { "ahead" });
        world.log.maintain().unwrap();
        let start = world.log.offsets(&partition("t", 0)).unwrap().start;
        assert!(start > Offset::ZERO, "nothing was removed");
        world.log.close().unwrap();
    });
}

/// The same where a trim does it, to the very offset, and readers would see what is gone.
#[test]
fn a_trim_beside_a_reader_and_a_sender() {
    explore(&["overtaken", "ahead"], |seen| {
        let world = filled(TopicConfig::new());
        let reader = world.log.reader("t").start_at(StartAt::Earliest).open().unwrap();
        let reads = world.spawn(move |_| read_through(reader, 4));
        let trims = world.spawn(|world| {
            let start = world.log.trim(&partition("t", 0), 3.into()).unwrap();
            assert_eq!(start.value(), 3);
            let begins = world.log.reader("t").stop_at_end().open().unwrap().next().unwrap();
            assert_eq!(begins.unwrap().offset().value(), 3, "what was trimmed is seen");
        });
        let producer = world.log.producer("t").unwrap();
        producer.send(brooklet::Record::new(&padded("a4", 400))).unwrap();
        trims.join().unwrap();
        seen.note(if reads.join().unwrap() { "overtaken" } else { "ahead" });
        let after = world.after_power_loss();
        let start = after.offsets(&partition("t", 0)).unwrap().start;
        assert_eq!(start.value(), 3, "a trim was told and lost");
        world.log.close().unwrap();
    });
}
