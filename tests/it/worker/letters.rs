//! Dead letters as a worker writes them: once, before the commit, and whatever the disk says.

use std::sync::Arc;

use brooklet::dlq::{DeadLetters, Filter, Letters, OnWriteFailure, State as LetterState};
use brooklet::retry::Retry;
use brooklet::testing::{CrashPolicy, Fault, Op, OpKind, Repeat, SimDisk, open};
use brooklet::worker::{Control, Failure, ReadyWorker, Why, Worker};
use brooklet::{Log, LogOptions, SyncPolicy, TopicConfig};

use super::{Bench, Seen, ms, place, secs, text};

/// A bench over a simulated disk, with a topic `t` of one partition.
fn bench_on(disk: &SimDisk) -> Bench {
    let log = open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap();
    log.ensure_topic("t", TopicConfig::new()).unwrap();
    Bench::over(log, disk.clock())
}

/// Gives up everything that says so.
fn worker(log: &Log, group: &str) -> Worker {
    Worker::new(log, group).topics(["t"]).retry(Retry::none())
}

fn giving_up(worker: Worker, seen: &Seen) -> ReadyWorker {
    let seen = seen.clone();
    worker.handle(move |delivery| match seen.note(&delivery).starts_with("bad") {
        true => Err(Failure::dead("bad")),
        false => Ok(()),
    })
}

fn waiting(log: &Log) -> usize {
    Letters::of(log).list(&Filter::new().state(LetterState::Waiting)).unwrap().len()
}

fn blocked_by_letter(control: &Control) -> bool {
    let blocked = control.status().partitions[0].blocked.clone();
    matches!(blocked.map(|blocked| blocked.why), Some(Why::Letter { reason: Some(_) }))
}

/// Billing's failures would be handled by shipping, or never again, or for ever.
#[test]
fn a_redriven_record_comes_back_to_its_group_alone() {
    let mut bench = Bench::with("t", TopicConfig::new().partitions(3));
    let (billing, shipping) = (Seen::default(), Seen::default());
    bench.attach(giving_up(worker(&bench.log, "billing"), &billing));
    let all = shipping.clone();
    bench.attach(Worker::new(&bench.log, "shipping").topics(["t"]).handle(move |delivery| {
        all.note(&delivery);
        Ok(())
    }));
    for number in 0..6 {
        bench.send("t", &format!("bad {number}"), Some(&number.to_string()));
    }
    bench.settle();
    assert_eq!((billing.take().len(), shipping.take().len(), waiting(&bench.log)), (6, 6, 6));

    let letters = Letters::of(&bench.log);
    let redriven = letters.redrive(&Filter::new().group("billing")).run().unwrap();
    assert_eq!(redriven.letters, 6);
    bench.settle();
    // They fail again, with fresh attempts, and their letters know how often.
    let again = billing.take();
    assert_eq!((again.len(), shipping.take().len()), (6, 0));
    assert!(again.iter().all(|(_, attempt)| *attempt == 1));
    let list = letters.list(&Filter::new().state(LetterState::Waiting)).unwrap();
    assert_eq!(list.len(), 6);
    for letter in &list {
        assert_eq!((letter.redrives(), letter.earlier_attempts()), (1, 1));
        assert_eq!(letter.origin().topic().as_str(), "t");
    }
    assert_eq!(bench.log.group("billing").unwrap().lag(), 0);
}

/// A record would be lost with its letter, or its partition go on as if nothing had been owed.
#[test]
fn a_letter_that_cannot_be_written_holds_its_partition_until_it_is() {
    let disk = SimDisk::new(3);
    let mut bench = bench_on(&disk);
    let seen = Seen::default();
    bench.send("t", "bad 0", None);
    let control = bench.attach(giving_up(worker(&bench.log, "g"), &seen));
    assert_eq!((seen.take().len(), waiting(&bench.log)), (1, 1));

    // A failed sync poisons the partition of the letters; it is opened anew.
    let folder = format!("/topics/{}/", newest_folder(&disk));
    let at = |kind: OpKind| {
        let folder = folder.clone();
        move |op: &Op| op.kind == kind && op.path.to_string_lossy().contains(&folder)
    };
    disk.fail_when(at(OpKind::Sync), Fault::Eio, Repeat::Once);
    for value in ["bad 1", "fine"] {
        bench.send("t", value, None);
    }
    bench.settle();
    assert_eq!(disk.fired(), 1);
    assert!(blocked_by_letter(&control), "{:?}", control.status());
    assert_eq!(bench.committed("g", &place("t", 0)), 1);
    assert_eq!(seen.values(), ["bad 1"], "nothing is begun behind a letter that is owed");
    for _ in 0..4 {
        bench.advance(secs(1));
    }
    assert_eq!(seen.values(), ["fine"], "a handler that gave up does not run again");
    assert_eq!((waiting(&bench.log), bench.committed("g", &place("t", 0))), (2, 3));
    assert!(control.status().partitions[0].blocked.is_none());

    // A full disk holds it as well, and is over when there is room.
    disk.fail_when(at(OpKind::Write), Fault::StorageFull, Repeat::Forever);
    bench.send("t", "bad 2", None);
    bench.settle();
    assert!(blocked_by_letter(&control), "{:?}", control.status());
    bench.advance(secs(3600));
    assert!(blocked_by_letter(&control));
    disk.clear_faults();
    bench.advance(secs(31));
    assert_eq!((seen.values(), waiting(&bench.log)), (vec!["bad 2".to_owned()], 3));
    assert_eq!(bench.stop(), [true]);
}

/// The folder of the topic that was made last.
fn newest_folder(disk: &SimDisk) -> u64 {
    let numbers = disk.files().into_iter().filter_map(|path| {
        let text = path.to_string_lossy().into_owned();
        let (_, rest) = text.split_once("/topics/")?;
        rest.split('/').next()?.parse().ok()
    });
    numbers.max().unwrap()
}

/// Who said that records may be dropped would still wait for the disk.
#[test]
fn records_are_dropped_without_a_letter_only_where_that_is_asked_for() {
    let disk = SimDisk::new(4);
    let mut bench = bench_on(&disk);
    for value in ["bad", "fine"] {
        bench.send("t", value, None);
    }
    let policy = DeadLetters::default_for("g").on_write_failure(OnWriteFailure::Drop);
    let seen = Seen::default();
    let of_catalog =
        |op: &Op| op.kind == OpKind::Write && op.path.to_string_lossy().contains("/catalog/");
    disk.fail_when(of_catalog, Fault::Eio, Repeat::Forever);
    let worker = worker(&bench.log, "g").dead_letters(policy);
    let control = bench.attach(giving_up(worker, &seen));
    assert!(disk.fired() > 0);
    let counts = control.status().counts;
    assert_eq!((counts.dropped, counts.dead, counts.handled), (1, 0, 1));
    assert_eq!(bench.committed("g", &place("t", 0)), 2);
}

/// A crash between the letter and the commit would run the handler again, or write a second letter.
#[test]
fn a_crash_anywhere_behind_the_letter_leaves_one_and_does_not_handle_again() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let (mut behind, mut points) = (0, 0);
        for cut in 1.. {
            let disk = SimDisk::new(5);
            let mut bench = bench_on(&disk);
            bench.log.alter_topic("t", TopicConfig::new().sync(policy)).unwrap();
            for value in ["fine 0", "bad 1", "fine 2"] {
                bench.send("t", value, None);
            }
            bench.log.maintain().unwrap();
            let seen = Seen::default();
            let before = disk.ops();
            disk.power_off_at(before + cut);
            bench.attach(giving_up(worker(&bench.log, "g"), &seen));
            let is_over = !disk.is_off();
            drop(bench);
            let after = disk.crash(CrashPolicy::LoseAll, cut);

            let mut bench = bench_on(&after);
            let letter_stood = waiting(&bench.log) == 1;
            let again = Seen::default();
            bench.attach(giving_up(worker(&bench.log, "g"), &again));
            let left = bench.log.offsets(&place("t", 0)).unwrap().end.value();
            let handled = again.values();
            if letter_stood {
                assert!(!handled.contains(&"bad 1".to_owned()), "{policy:?} {cut}: {handled:?}");
                behind += 1;
            }
            if left > 1 {
                assert_eq!(waiting(&bench.log), 1, "{policy:?}, power cut at {cut}");
            }
            assert_eq!(bench.committed("g", &place("t", 0)), left, "{policy:?} {cut}");
            points += 1;
            if is_over {
                break;
            }
        }
        assert!(points >= 10 && behind >= 2, "{policy:?}: {behind} of {points} behind the letter");
    }
}

/// Letters of a record that the power took would hide the record that came in its place.
#[test]
fn a_letter_never_speaks_of_another_record_at_the_same_place() {
    let disk = SimDisk::new(6);
    let mut bench = bench_on(&disk);
    bench.log.alter_topic("t", TopicConfig::new().sync(SyncPolicy::Never)).unwrap();
    for number in 0..5 {
        bench.send("t", &format!("bad {number}"), None);
    }
    let seen = Seen::default();
    bench.attach(giving_up(worker(&bench.log, "g"), &seen));
    assert_eq!(waiting(&bench.log), 5);
    drop(bench);
    let after = disk.crash(CrashPolicy::LoseAll, 1);
    let mut bench = bench_on(&after);
    let kept = bench.log.offsets(&place("t", 0)).unwrap().end.value();
    for number in kept..10 {
        bench.send("t", &format!("fine {number}"), None);
    }
    let seen = Seen::default();
    bench.attach(giving_up(worker(&bench.log, "g"), &seen));
    let fine = seen.values().iter().filter(|value| value.starts_with("fine")).count();
    assert_eq!(fine as u64, 10 - kept);
}

/// An error that is told twice would become two letters after a hand-over.
#[test]
fn the_next_owner_knows_the_letters_of_the_last_one() {
    let mut bench = Bench::with("t", TopicConfig::new());
    for value in ["slow", "bad 1", "bad 2", "bad 3"] {
        bench.send("t", value, None);
    }
    let seen = Seen::default();
    let handler = seen.clone();
    let keep = Arc::new(());
    let held = Arc::clone(&keep);
    let first = Worker::new(&bench.log, "g").topics(["t"]).threads(4);
    bench.attach(first.handle_async(move |delivery| {
        let (value, held) = (handler.note(&delivery), Arc::clone(&held));
        async move {
            if value == "slow" {
                std::future::pending::<()>().await;
            }
            drop(held);
            Err(Failure::dead("bad"))
        }
    }));
    assert_eq!((seen.take().len(), waiting(&bench.log)), (4, 3));
    assert_eq!(bench.committed("g", &place("t", 0)), 0);
    // It leaves with the slow record in its hands; nothing above it is committed.
    bench.hands.clear();
    bench.attach(Worker::new(&bench.log, "g").topics(["t"]).handle({
        let seen = seen.clone();
        move |delivery| {
            seen.note(&delivery);
            assert_eq!(text(&delivery), "slow");
            Ok(())
        }
    }));
    assert_eq!(seen.values(), ["slow"]);
    bench.advance(ms(1));
    assert_eq!((waiting(&bench.log), bench.committed("g", &place("t", 0))), (3, 4));
}
