//! What is not allowed is refused, says why, and changes nothing.

use super::{
    Consumer, Duration, Error, ErrorKind, Log, NOW, Offset, Record, TopicConfig, log_with, send,
    values,
};
use brooklet::testing::{Env, ManualClock, SimDisk, memory_env, open};
use brooklet::{CommittedOffset, LogOptions, PartitionId, StartAt, TopicName, TopicPartition};

fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(partition))
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().expect("this must be refused").kind()
}

/// A slip in a name would read nothing for ever, or make a group that nobody wants.
#[test]
fn consumers_of_what_is_not_there_are_refused() {
    let log = log_with("orders", 1);
    let of = |group: &str| log.consumer(group);
    assert_eq!(kind(of("billing").topics(["order"]).open()), ErrorKind::UnknownTopic);
    assert_eq!(kind(of("billing").topics(["orders", "no"]).open()), ErrorKind::UnknownTopic);
    assert_eq!(kind(of("billing").open()), ErrorKind::InvalidConfig);
    assert_eq!(kind(of("billing").matching("orders[12]").open()), ErrorKind::InvalidName);
    for name in ["", ".", "..", "a/b", "a b", &"x".repeat(250)] {
        assert_eq!(kind(of(name).topics(["orders"]).open()), ErrorKind::InvalidName, "{name:?}");
    }
    let orders = || of("billing").topics(["orders"]);
    assert_eq!(kind(orders().max_records(0).open()), ErrorKind::InvalidConfig);
    assert_eq!(kind(orders().max_bytes(0).open()), ErrorKind::InvalidConfig);
    assert_eq!(kind(orders().max_bytes(usize::MAX).open()), ErrorKind::InvalidConfig);
    let at_once = orders().max_poll_interval(Some(Duration::ZERO));
    assert_eq!(kind(at_once.open()), ErrorKind::InvalidConfig);
    let beyond = orders().start_at(StartAt::Offset(Offset::new(1)));
    let error = beyond.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(error.partition(), Some(&place("orders", 0)));
    assert_eq!(error.valid_range(), Some(Offset::ZERO..Offset::ZERO));
    assert_eq!(log.groups().unwrap(), [], "a refused consumer has left a group behind");
}

/// A slip in the name of a group would be taken for a group without lag.
#[test]
fn groups_that_are_not_there_are_unknown() {
    let log = log_with("orders", 1);
    for name in ["billing", "", "a/b"] {
        assert_eq!(kind(log.group(name)), ErrorKind::UnknownGroup);
        assert_eq!(kind(log.delete_group(name)), ErrorKind::UnknownGroup);
        assert_eq!(kind(log.reset_group(name).dry_run()), ErrorKind::UnknownGroup);
        assert_eq!(kind(log.reset_group(name).apply()), ErrorKind::UnknownGroup);
    }
    drop(log.consumer("billing").topics(["orders"]).open().unwrap());
    let reset = || log.reset_group("billing");
    assert_eq!(kind(reset().topics(["no"]).apply()), ErrorKind::UnknownTopic);
    assert_eq!(kind(reset().to_group("nobody").apply()), ErrorKind::UnknownGroup);
    let beyond = reset().to(StartAt::Offset(Offset::new(1)));
    assert_eq!(kind(beyond.dry_run()), ErrorKind::OffsetOutOfRange);
    log.delete_group("billing").unwrap();
    assert_eq!(kind(log.group("billing")), ErrorKind::UnknownGroup);
}

/// A member could commit for others, for what is not there, or behind what it was given.
#[test]
fn commits_of_what_is_not_ones_own_are_refused_as_a_whole() {
    let log = log_with("orders", 2);
    log.create_topic("clicks", TopicConfig::new()).unwrap();
    send(&log, "orders", 0..20);
    let mut consumer = log.consumer("billing").topics(["orders"]).open().unwrap();
    values(&mut consumer);
    let own = place("orders", 0);
    for foreign in [place("clicks", 0), place("orders", 2), place("nothing", 0)] {
        let parts = [(own.clone(), Offset::new(1)), (foreign.clone(), Offset::ZERO)];
        let error = consumer.commit_offsets(parts).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotOwner);
        assert!(error.to_string().contains(&foreign.to_string()), "{error}");
        assert_eq!(kind(consumer.seek(&foreign, Offset::ZERO)), ErrorKind::NotOwner);
        assert_eq!(kind(consumer.pause(&foreign)), ErrorKind::NotOwner);
        assert_eq!(kind(consumer.resume(&foreign)), ErrorKind::NotOwner);
        assert_eq!(consumer.position(&foreign), None);
    }
    let end = log.offsets(&own).unwrap().end;
    let behind = [(place("orders", 1), Offset::ZERO), (own.clone(), Offset::new(end.value() + 1))];
    let error = consumer.commit_offsets(behind).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(error.valid_range(), Some(Offset::ZERO..end));
    assert_eq!(error.partition(), Some(&own));
    assert_eq!(consumer.committed(&own).map(|at| at.offset()), Some(Offset::ZERO));
    consumer.commit_offsets([(own.clone(), Offset::new(3))]).unwrap();
    assert_eq!(kind(consumer.commit_offsets([(own, Offset::new(2))])), ErrorKind::OffsetRegression);
}

/// What a program notes beside an offset would be lost, cut, or left as it was.
#[test]
fn metadata_is_kept_whole_up_to_its_limit_and_replaced_at_the_same_offset() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("orders", TopicConfig::new()).unwrap();
    let own = place("orders", 0);
    let at = |len: usize| CommittedOffset::at(Offset::ZERO).with_metadata(vec![len as u8; len]);
    let open = |log: &Log| log.consumer("billing").topics(["orders"]).open().unwrap();
    let consumer = open(&log);
    for len in [4_096, 1, 0, 17] {
        consumer.commit_offsets([(own.clone(), at(len))]).unwrap();
        assert_eq!(consumer.committed(&own), Some(at(len)));
    }
    assert_eq!(kind(consumer.commit_offsets([(own.clone(), at(4_097))])), ErrorKind::InvalidRecord);
    drop((consumer, log));
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(open(&log).committed(&own), Some(at(17)));
}

/// A log and its consumers over a clock that is moved by hand.
fn manual() -> (Log, std::sync::Arc<ManualClock>) {
    let clock = std::sync::Arc::new(ManualClock::new());
    let env = Env { clock: std::sync::Arc::clone(&clock) as _, ..memory_env() };
    let log = open(&env, "/log", LogOptions::new()).unwrap();
    log.create_topic("orders", TopicConfig::new().partitions(2)).unwrap();
    (log, clock)
}

/// A member that was given up could go on as if nothing had happened.
#[test]
fn who_is_fenced_can_do_nothing_more() {
    let (log, clock) = manual();
    send(&log, "orders", 0..10);
    let join = || log.consumer("billing").topics(["orders"]);
    let mut late = join().max_poll_interval(Some(Duration::from_secs(10))).open().unwrap();
    let mut other = join().open().unwrap();
    let batch = late.poll(NOW).unwrap();
    let own = batch.iter().next().unwrap().topic_partition().clone();
    // The wall clock may jump as it likes.
    clock.advance_wall(Duration::from_secs(1_000_000));
    other.poll(NOW).unwrap();
    assert_eq!(log.group("billing").unwrap().members.len(), 2);
    clock.advance(Duration::from_secs(10));
    let redelivered = values(&mut other).len();
    assert!(redelivered > 0, "what the late one had in hand is given to the other");
    assert_eq!(log.group("billing").unwrap().members.len(), 1);
    assert_eq!(kind(late.poll(NOW)), ErrorKind::Fenced);
    assert_eq!(kind(late.commit()), ErrorKind::Fenced);
    assert_eq!(kind(late.commit_offsets([(own, Offset::ZERO)])), ErrorKind::Fenced);
    assert_eq!(kind(late.leave()), ErrorKind::Fenced);
    other.commit().unwrap();
    assert_eq!(log.group("billing").unwrap().lag(), 0);
}

/// A late commit for a partition that went to somebody else and came back would skip records.
#[test]
fn a_commit_for_an_assignment_of_before_is_refused_though_the_partition_is_back() {
    let (log, clock) = manual();
    let join = || log.consumer("billing").topics(["orders"]);
    let mut first = join().open().unwrap();
    send(&log, "orders", 0..10);
    let taken = values(&mut first).len();
    assert_eq!(taken, 10);
    first.commit().unwrap();
    // With nothing outstanding half of it goes to the second one, and comes back with its end.
    let second = join().max_poll_interval(Some(Duration::from_secs(10))).open().unwrap();
    let moved = second.assignment().pop().unwrap();
    clock.advance(Duration::from_secs(11));
    log.maintain().unwrap();
    assert_eq!(log.group("billing").unwrap().members.len(), 1);
    let end = log.offsets(&moved).unwrap().end;
    let error = first.commit_offsets([(moved.clone(), end)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotOwner);
    first.poll(NOW).unwrap();
    first.commit_offsets([(moved, end)]).unwrap();
}

/// A log that must not be written would be written by whoever reads it.
#[test]
fn a_read_only_log_shows_its_groups_and_takes_no_consumers() {
    let disk = SimDisk::new(1);
    let dir = disk.root().join("log");
    let log = open(&disk.env(), &dir, LogOptions::new()).unwrap();
    log.create_topic("orders", TopicConfig::new()).unwrap();
    drop(log.consumer("billing").topics(["orders"]).open().unwrap());
    log.close().unwrap();
    let log = open(&disk.env(), &dir, LogOptions::new().read_only(true)).unwrap();
    assert_eq!(kind(log.consumer("billing").topics(["orders"]).open()), ErrorKind::ReadOnly);
    assert_eq!(kind(log.delete_group("billing")), ErrorKind::ReadOnly);
    assert_eq!(kind(log.reset_group("billing").apply()), ErrorKind::ReadOnly);
    assert_eq!(log.group("billing").unwrap().partitions.len(), 1);
}

/// A group could be put elsewhere, or deleted, under the hands of its members.
#[test]
fn groups_with_members_are_left_alone_unless_they_are_fenced() {
    let (log, clock) = manual();
    send(&log, "orders", 0..10);
    let join = || log.consumer("billing").topics(["orders"]);
    let open = |patience: u64| -> Consumer {
        join().max_poll_interval(Some(Duration::from_secs(patience))).open().unwrap()
    };
    let mut member = open(10);
    values(&mut member);
    member.commit().unwrap();
    let reset = log.reset_group("billing").to(StartAt::Earliest);
    assert_eq!(kind(reset.apply()), ErrorKind::GroupActive);
    assert_eq!(kind(log.delete_group("billing")), ErrorKind::GroupActive);
    assert_eq!(log.group("billing").unwrap().lag(), 0);
    let forced = reset.clone().fence_members();
    let planned = forced.dry_run().unwrap();
    assert_eq!(log.group("billing").unwrap().members.len(), 1, "a dry run fences nobody");
    assert_eq!(forced.apply().unwrap(), planned);
    assert_eq!(kind(member.poll(NOW)), ErrorKind::Fenced);
    assert_eq!(kind(member.commit()), ErrorKind::Fenced);
    assert_eq!(values(&mut open(10)).len(), 10);
    // Who has stayed away for too long keeps nobody from it.
    let _late = open(10);
    clock.advance(Duration::from_secs(11));
    log.delete_group("billing").unwrap();
    let again = log.producer("orders").unwrap();
    again.send(Record::new("new").key("0")).unwrap();
    assert_eq!(values(&mut open(10)).len(), 11);
}

/// A member that is out would fence others on its way, and leave what they owned to nobody.
#[test]
fn a_fenced_member_that_polls_changes_nothing() {
    let (log, clock) = manual();
    let join = || log.consumer("billing").topics(["orders"]);
    let mut out = join().open().unwrap();
    log.reset_group("billing").fence_members().apply().unwrap();
    let _late = join().max_poll_interval(Some(Duration::from_secs(10))).open().unwrap();
    let mut other = join().open().unwrap();
    clock.advance(Duration::from_secs(11));
    assert_eq!(kind(out.poll(NOW)), ErrorKind::Fenced);
    assert_eq!(log.group("billing").unwrap().members.len(), 2);
    other.poll(NOW).unwrap();
    assert_eq!(other.assignment().len(), 2);
}
