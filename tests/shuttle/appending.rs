//! Appends beside rolls, beside each other where there is little room, beside failures and panics.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use brooklet::testing::{Fault, Op, OpKind, Repeat};
use brooklet::{ErrorKind, LogOptions, Record, SyncPolicy, TopicConfig};

use shuttle::rand::{Rng, thread_rng};

use crate::world::{AN_INSTANT, FOR_EVER, Told, World, explore, padded, partition, send};

/// Two segments would claim one offset, or a reader would miss what a roll has moved to a new file.
#[test]
fn a_roll_beside_appends() {
    explore(&[], |_| {
        let world = World::new();
        world.topic("t", TopicConfig::new().segment_bytes(1024).sync(SyncPolicy::Always));
        let reader = world.spawn(|world| {
            let mut reader = world.log.reader("t").open().unwrap();
            let mut seen = Told::default();
            while seen.acked.len() < 4 {
                let batch = reader.poll(FOR_EVER).unwrap().unwrap();
                // What is visible on an `Always` topic outlives the power.
                let end = world.log.offsets(&partition("t", 0)).unwrap().durable_end.value();
                for record in &batch {
                    let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                    assert!(record.offset().value() < end, "seen before it is durable");
                    assert_eq!(record.offset().value(), seen.acked.len() as u64, "not dense");
                    seen.note(value, Ok(record.offset().value()));
                }
            }
            seen
        });
        let other = world.spawn(|world| send(&world.durably("t"), "a", 2, 500));
        let told = send(&world.durably("t"), "b", 2, 500).join(other.join().unwrap());
        assert_eq!(told.acked, reader.join().unwrap().acked);
        let segments = world.log.stats().partitions.iter().map(|one| one.segments).sum::<usize>();
        assert!(segments > 1, "nothing was rolled");
        told.check(&world.after_power_loss(), "t");
        world.log.close().unwrap();
    });
}

/// Who waits for room would wait for ever, or be turned away with its record in the log.
#[test]
fn senders_who_wait_for_room_get_it_or_are_turned_away() {
    explore(&["all let in", "some turned away"], |seen| {
        let world = World::with(LogOptions::new().buffer_bytes(600).unsynced_bytes(600));
        world.topic("t", TopicConfig::new().sync(SyncPolicy::Always));
        let patient = world.spawn(|world| send(&world.durably("t"), "a", 2, 400));
        let submitter = world.spawn(|world| {
            let producer = world.durably("t").timeout(Some(AN_INSTANT));
            let values = ["c0", "c1"].map(|name| padded(name, 400));
            let pending = values.map(|value| (producer.submit(Record::new(&value)), value));
            let mut told = Told::default();
            for (pending, value) in pending {
                told.note(value, pending.wait().map(|receipt| receipt.offset().value()));
            }
            told
        });
        let hasty = world.durably("t").timeout(Some(AN_INSTANT));
        let told = send(&hasty, "b", 2, 400).join(submitter.join().unwrap());
        told.check_reasons(ErrorKind::Timeout);
        let told = told.join(patient.join().unwrap());
        let all = told.refused.is_empty();
        seen.note(if all { "all let in" } else { "some turned away" });
        assert!(told.acked.len() >= 2, "the patient ones were turned away");
        told.check(&world.after_power_loss(), "t");
        world.log.close().unwrap();
    });
}

/// A reopen beside senders would give an offset twice, or forget what was acknowledged before.
#[test]
fn a_reopen_beside_appends_after_a_failed_sync() {
    explore(&["in doubt", "refused"], |seen| {
        let world = World::new();
        world.topic("t", TopicConfig::new().sync(SyncPolicy::Always));
        let first = send(&world.durably("t"), "first", 1, 0);
        let is_data =
            |op: &Op| op.kind == OpKind::Sync && op.path.to_string_lossy().contains("topics");
        world.disk.fail_when(is_data, Fault::Eio, Repeat::Once);
        let senders =
            ["a", "b"].map(|name| world.spawn(|world| send(&world.durably("t"), name, 2, 0)));
        let healer = world.spawn(|world| {
            for _ in 0..2 {
                world.log.reopen_partition(&partition("t", 0)).unwrap();
            }
        });
        let mut told =
            senders.into_iter().fold(first, |told, sender| told.join(sender.join().unwrap()));
        healer.join().unwrap();
        assert_eq!(world.disk.fired(), 1, "no sync has failed");
        world.log.reopen_partition(&partition("t", 0)).unwrap();
        seen.note_if(!told.unknown.is_empty(), "in doubt");
        seen.note_if(!told.refused.is_empty(), "refused");
        let last = send(&world.durably("t"), "last", 1, 0);
        assert_eq!(last.acked.len(), 1, "it was not healed: {last:?}");
        told = told.join(last);
        told.check(&world.after_power_loss(), "t");
        world.log.close().unwrap();
    });
}

/// A panic under one sender would leave the others waiting, or the log unable to close.
#[test]
fn a_panic_under_the_leader() {
    explore(&["in doubt", "refused"], |seen| {
        let world = World::new();
        for topic in ["t", "u"] {
            world.topic(topic, TopicConfig::new().sync(SyncPolicy::Always));
        }
        let first = send(&world.durably("t"), "first", 1, 0);
        let kind = if thread_rng().r#gen() { OpKind::Write } else { OpKind::Sync };
        let is_spent = AtomicBool::new(false);
        let is_struck = move |op: &Op| {
            let fits = op.kind == kind && op.path.to_string_lossy().contains("topics/1/");
            if fits && !is_spent.swap(true, Ordering::Relaxed) {
                resume_unwind(Box::new("struck"));
            }
            false
        };
        world.disk.fail_when(is_struck, Fault::Eio, Repeat::Once);
        let caught = |world: &World, name: &str| {
            let mut told = Told::default();
            let sent = catch_unwind(AssertUnwindSafe(|| send(&world.durably("t"), name, 1, 0)));
            match sent {
                Ok(sent) => told = sent,
                Err(_) => told.unknown.push(name.to_owned() + "0"),
            }
            told
        };
        let other = world.spawn(move |world| caught(world, "a"));
        let beside = world.spawn(|world| send(&world.durably("u"), "u", 1, 0));
        let told = caught(&world, "b").join(other.join().unwrap()).join(first);
        assert!(told.acked.len() == 1 && !told.unknown.is_empty(), "nobody was struck: {told:?}");
        seen.note_if(told.unknown.len() > 1, "in doubt");
        seen.note_if(!told.refused.is_empty(), "refused");
        world.disk.clear_faults();
        let refused = send(&world.durably("t"), "late", 1, 0);
        assert_eq!(refused.refused[0].1, ErrorKind::Poisoned);
        world.log.reopen_partition(&partition("t", 0)).unwrap();
        let told = told.join(send(&world.durably("t"), "last", 1, 0));
        told.check(&world.after_power_loss(), "t");
        beside.join().unwrap().check(&world.after_power_loss(), "u");
        world.log.close().unwrap();
    });
}

/// A policy that becomes stricter would hide what readers have seen, or acknowledge what is not
/// durable.
#[test]
fn a_change_of_policy_beside_appends_and_reads() {
    explore(&[], |_| {
        let world = World::new();
        world.topic("t", TopicConfig::new().sync(SyncPolicy::Never));
        let watcher = world.spawn(|world| {
            let mut before = 0;
            for _ in 0..4 {
                let end = world.log.offsets(&partition("t", 0)).unwrap().end.value();
                assert!(end >= before, "what was visible is hidden");
                before = end;
            }
        });
        let sender = world.spawn(|world| send(&world.log.producer("t").unwrap(), "a", 3, 0));
        world.log.alter_topic("t", TopicConfig::new().sync(SyncPolicy::Always)).unwrap();
        // From here on the topic's own acks are durable ones.
        let told = send(&world.log.producer("t").unwrap(), "b", 1, 0);
        let survivors = world.after_power_loss();
        let found = crate::world::contents(&survivors, "t");
        assert!(told.acked.iter().all(|(at, value)| found.get(at) == Some(value)), "{told:?}");
        let told = told.join(sender.join().unwrap());
        watcher.join().unwrap();
        world.log.close().unwrap();
        told.check(&world.next_session(), "t");
    });
}
