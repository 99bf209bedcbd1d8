//! The end of a log or a topic beside everything that goes on in it.

use brooklet::testing::{Fault, OpKind, Repeat};
use brooklet::{ErrorKind, Reader, Record, SyncPolicy, TopicConfig};

use crate::world::{FOR_EVER, Told, World, explore, partition, send};

fn read_until_refused(mut reader: Reader) -> ErrorKind {
    loop {
        match reader.poll(FOR_EVER) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error.kind(),
            None => panic!("for ever has passed"),
        }
    }
}

/// Somebody would wait for ever in a closed log, or be told that a record is there which is not.
#[test]
fn a_close_beside_everything() {
    explore(&["sent", "refused"], |seen| {
        let world = World::new();
        world.topic("t", TopicConfig::new().sync(SyncPolicy::Always));
        let producer = world.durably("t");
        let reader = world.log.reader("t").open().unwrap();
        let mut consumer = world.log.consumer("g").topics(["t"]).open().unwrap();
        let sender = world.spawn(move |_| send(&producer, "a", 2, 0));
        let reads = world.spawn(move |_| read_until_refused(reader));
        let polls = world.spawn(move |_| {
            loop {
                let polled = consumer.poll(FOR_EVER).and_then(|_| consumer.commit());
                if let Err(error) = polled {
                    return error.kind();
                }
            }
        });
        let trims = world.spawn(|world| world.log.trim(&partition("t", 0), 0.into()));
        world.log.close().unwrap();
        let told = sender.join().unwrap();
        told.check_reasons(ErrorKind::Closed);
        seen.note_if(!told.acked.is_empty(), "sent");
        seen.note_if(!told.refused.is_empty(), "refused");
        assert_eq!(reads.join().unwrap(), ErrorKind::Closed);
        assert_eq!(polls.join().unwrap(), ErrorKind::Closed);
        let trimmed = trims.join().unwrap();
        assert!(trimmed.is_ok() || trimmed.is_err_and(|error| error.kind() == ErrorKind::Closed));
        told.check(&world.after_power_loss(), "t");
        assert!(world.next_session().recovery().was_clean, "a clean close was none");
    });
}

/// A submitted record would never be answered when the log closes, or be answered wrongly.
#[test]
fn a_close_beside_submits() {
    explore(&["sent", "refused"], |seen| {
        let world = World::new();
        world.topic("t", TopicConfig::new().sync(SyncPolicy::Always));
        // Nobody has opened the partition: the first submits wait for the background to do that.
        let submitters = ["a", "b"].map(|name| {
            let producer = world.log.producer("t").unwrap();
            world.spawn(move |_| {
                let pending = [0, 1].map(|number| {
                    let value = format!("{name}{number}");
                    (producer.submit(Record::new(&value)), value)
                });
                let mut told = Told::default();
                for (pending, value) in pending {
                    told.note(value, pending.wait().map(|receipt| receipt.offset().value()));
                }
                told
            })
        });
        world.log.close().unwrap();
        let told = submitters
            .into_iter()
            .fold(Told::default(), |told, submitter| told.join(submitter.join().unwrap()));
        told.check_reasons(ErrorKind::Closed);
        seen.note_if(!told.acked.is_empty(), "sent");
        seen.note_if(!told.refused.is_empty(), "refused");
        told.check(&world.after_power_loss(), "t");
    });
}

/// A handle that is the last one of its log would stop it while the background works in it.
#[test]
fn the_last_handle_goes_beside_the_background() {
    explore(&[], |_| {
        let World { disk, log } = World::new();
        log.create_topic("t", TopicConfig::new().sync(SyncPolicy::Never)).unwrap();
        let producer = log.producer("t").unwrap();
        let pending = producer.submit(Record::new("a"));
        let waits =
            shuttle::thread::spawn(move || pending.wait().map(|receipt| receipt.offset().value()));
        drop(producer);
        drop(log);
        let answered = waits.join().unwrap();
        let again = brooklet::testing::open(
            &disk.fork().env(),
            disk.root().join("log"),
            brooklet::LogOptions::new(),
        );
        let mut told = Told::default();
        assert!(answered.is_ok(), "who waits for a record keeps its log: {answered:?}");
        told.note("a".to_owned(), answered);
        told.check(&again.unwrap(), "t");
    });
}

/// A poll would look again and again at a topic whose deletion did not come to its end.
#[test]
fn a_deletion_that_fails_beside_a_poll() {
    explore(&[], |_| {
        let world = World::new();
        for topic in ["t", "u"] {
            world.topic(topic, TopicConfig::new().sync(SyncPolicy::Always));
        }
        send(&world.durably("t"), "t", 1, 0);
        let mut consumer = world.log.consumer("g").topics(["t", "u"]).open().unwrap();
        let polls = world.spawn(move |_| {
            loop {
                let batch = consumer.poll(FOR_EVER).unwrap();
                if batch.iter().any(|record| record.value() == Some(b"u0")) {
                    return;
                }
            }
        });
        world.disk.fail_when(|op| op.kind == OpKind::Remove, Fault::Eio, Repeat::Once);
        assert!(world.log.delete_topic("t").is_err());
        assert_eq!(world.disk.fired(), 1, "no removal has failed");
        send(&world.durably("u"), "u", 1, 0);
        polls.join().unwrap();
        world.log.close().unwrap();
    });
}

/// Senders, readers and consumers of a deleted topic would wait for ever, or bring it back.
#[test]
fn a_deletion_beside_sends_reads_and_polls() {
    explore(&["sent", "refused"], |seen| {
        let world = World::new();
        for topic in ["t", "u"] {
            world.topic(topic, TopicConfig::new().sync(SyncPolicy::Always));
        }
        let producer = world.durably("t");
        let reader = world.log.reader("t").open().unwrap();
        let mut consumer = world.log.consumer("g").topics(["t", "u"]).open().unwrap();
        let sender = world.spawn(move |_| send(&producer, "a", 2, 0));
        let reads = world.spawn(move |_| read_until_refused(reader));
        // It goes on with the topic that is left.
        let polls = world.spawn(move |_| {
            loop {
                let batch = consumer.poll(FOR_EVER).unwrap();
                consumer.commit().unwrap();
                if batch.iter().any(|record| record.value() == Some(b"u0")) {
                    return;
                }
            }
        });
        world.log.delete_topic("t").unwrap();
        let kept = send(&world.durably("u"), "u", 1, 0);
        let told = sender.join().unwrap();
        told.check_reasons(ErrorKind::UnknownTopic);
        seen.note_if(!told.acked.is_empty(), "sent");
        seen.note_if(!told.refused.is_empty(), "refused");
        assert_eq!(reads.join().unwrap(), ErrorKind::UnknownTopic);
        polls.join().unwrap();
        let after = world.after_power_loss();
        kept.check(&after, "u");
        assert!(after.topic("t").is_err(), "it is back");
        world.log.close().unwrap();
        let files = world.disk.files();
        assert!(
            files.iter().all(|file| !file.to_string_lossy().contains("topics/1/")),
            "{files:?}"
        );
    });
}
