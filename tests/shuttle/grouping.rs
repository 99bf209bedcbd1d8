//! Polls and commits beside rebalances, beside members that are late, and beside the journal that
//! keeps commits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use brooklet::partitioner::Fixed;
use brooklet::testing::{Fault, Op, OpKind, Repeat};
use brooklet::{
    CommittedOffset, Consumer, ErrorKind, GroupDescription, HandOver, PartitionId,
    RebalanceListener, Record, SyncPolicy, TopicConfig, TopicPartition,
};
use shuttle::thread::yield_now;

use crate::world::{AN_INSTANT, FOR_EVER, World, explore, partition};

const PER_PARTITION: u64 = 2;

fn filled(partitions: u32) -> World {
    let world = World::new();
    world.topic("t", TopicConfig::new().partitions(partitions).sync(SyncPolicy::Never));
    for number in 0..partitions {
        let producer = world.log.producer("t").unwrap();
        let producer = producer.partitioner(Fixed(PartitionId::new(number)));
        for _ in 0..PER_PARTITION {
            producer.send(Record::new("r")).unwrap();
        }
    }
    world
}

fn group(world: &World, name: &str) -> GroupDescription {
    world.log.group(name).unwrap()
}

fn committed(description: &GroupDescription) -> BTreeMap<TopicPartition, u64> {
    let parts = description.partitions.iter().filter_map(|part| {
        let at = part.committed.as_ref()?;
        Some((part.partition.clone(), at.offset().value()))
    });
    parts.collect()
}

/// What the members of one group were told: how far each partition is committed.
#[derive(Clone, Default)]
struct Acks(Arc<Mutex<BTreeMap<TopicPartition, u64>>>);

impl Acks {
    fn get(&self) -> BTreeMap<TopicPartition, u64> {
        self.0.lock().unwrap().clone()
    }

    /// The next owner may have committed more before whoever was here first gets to say so.
    fn note(&self, partition: &TopicPartition, next: u64) {
        let mut acks = self.0.lock().unwrap();
        let known = acks.entry(partition.clone()).or_default();
        *known = next.max(*known);
    }
}

/// Polls and commits record by record until the group has committed everything; how often it did.
fn work(world: &World, mut member: Consumer, acks: &Acks) -> u32 {
    let mut count = 0;
    while group(world, "g").lag() > 0 {
        let before = acks.get();
        let batch = member.poll(AN_INSTANT).unwrap();
        for record in &batch {
            let place = record.topic_partition();
            let done = before.get(place).copied().unwrap_or_default();
            assert!(record.offset().value() >= done, "{place} was given again behind a commit");
            // What is outstanding stays with who is never late, until it polls again.
            member.commit_through(&record).unwrap();
            acks.note(place, record.offset().value() + 1);
            let (known, stands) = (acks.get()[place], committed(&group(world, "g"))[place]);
            assert!(stands >= known, "{place}: a commit went back to {stands} from {known}");
            count += 1;
        }
        yield_now();
    }
    count
}

/// A partition would be skipped or read by two, or a commit undone, while members come and go.
#[test]
fn a_rebalance_beside_polls_and_commits() {
    explore(&["committed by two"], |seen| {
        let world = filled(2);
        let acks = Acks::default();
        let join =
            |world: &World| world.log.consumer("g").topics(["t"]).max_records(1).open().unwrap();
        let first = join(&world);
        let others = [0, 1].map(|leaves| {
            let acks = acks.clone();
            world.spawn(move |world| {
                let mut member = join(world);
                if leaves == 1 {
                    // What it was given and did not commit is given to others.
                    drop(member.poll(AN_INSTANT).unwrap());
                    member.leave().unwrap();
                    return 0;
                }
                work(world, member, &acks)
            })
        });
        let first = work(&world, first, &acks);
        let others = others.map(|other| other.join().unwrap());
        seen.note_if(first > 0 && others.iter().any(|count| *count > 0), "committed by two");
        let all = [0, 1].map(|number| (partition("t", number), PER_PARTITION));
        assert_eq!(committed(&group(&world, "g")), BTreeMap::from(all.clone()));
        world.log.close().unwrap();
        assert_eq!(committed(&world.next_session().group("g").unwrap()), BTreeMap::from(all));
    });
}

/// Keeps what is to leave a member, until somebody lets go of it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<HandOver>>>);

impl Kept {
    fn take(&self) -> Vec<HandOver> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl RebalanceListener for Kept {
    fn revoked(&mut self, partitions: Vec<HandOver>) {
        self.0.lock().unwrap().extend(partitions);
    }
}

/// A commit would be accepted of who has just handed its partition over, behind the back of the next
/// owner.
#[test]
fn a_hand_over_beside_a_commit() {
    explore(&["committed", "refused"], |seen| {
        let world = filled(2);
        let kept = Kept::default();
        let join = |world: &World| world.log.consumer("g").topics(["t"]).max_records(1);
        let mut owner = join(&world).listener(kept.clone()).open().unwrap();
        let batches = [0, 1].map(|_| owner.poll(FOR_EVER).unwrap());
        let mut next = join(&world).open().unwrap();
        // It hears that one of its partitions is to leave it.
        drop(owner.poll(AN_INSTANT).unwrap());
        let tokens = kept.take();
        assert_eq!(tokens.len(), 1, "nothing is to leave it");
        let lets_go = world.spawn(move |_| drop(tokens));
        let successor = world.spawn(move |_| {
            loop {
                let batch = next.poll(FOR_EVER).unwrap();
                if let Some(record) = batch.iter().next() {
                    return (record.topic_partition().clone(), record.offset().value());
                }
            }
        });
        let mut committed = BTreeMap::new();
        for record in batches.iter().flatten() {
            match owner.commit_through(&record) {
                Ok(()) => {
                    let next = record.offset().value() + 1;
                    committed.insert(record.topic_partition().clone(), next);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotOwner, "{error}"),
            }
        }
        lets_go.join().unwrap();
        let (place, first) = successor.join().unwrap();
        let before = committed.get(&place);
        seen.note(if before.is_some() { "committed" } else { "refused" });
        assert_eq!(first, before.copied().unwrap_or(0), "{place} goes on elsewhere");
        drop(owner);
        world.log.close().unwrap();
    });
}

/// A member that was late would commit over the one who has its partition now.
#[test]
fn a_late_member_commits_beside_its_successor() {
    explore(&["in time", "too late"], |seen| {
        let world = filled(1);
        let place = partition("t", 0);
        let open = |world: &World, patience| {
            let member = world.log.consumer("g").topics(["t"]).max_records(1);
            member.max_poll_interval(patience).open()
        };
        // It may be late before it has polled for the first time.
        let late = open(&world, Some(AN_INSTANT));
        let successor = world.spawn(move |world| {
            let mut member = open(world, None).unwrap();
            let mut next = None;
            while next != Some(PER_PARTITION) {
                for record in &member.poll(FOR_EVER).unwrap() {
                    let offset = record.offset().value();
                    assert!(next.is_none_or(|next| next == offset), "skipped to {offset}");
                    member.commit_through(&record).unwrap();
                    next = Some(offset + 1);
                }
            }
        });
        let told = late.and_then(|mut late| {
            let batch = late.poll(AN_INSTANT)?;
            batch.iter().try_for_each(|record| late.commit_through(&record))
        });
        seen.note(if told.is_ok() { "in time" } else { "too late" });
        if let Err(error) = told {
            let kinds = [ErrorKind::Fenced, ErrorKind::NotOwner, ErrorKind::OffsetRegression];
            assert!(kinds.contains(&error.kind()), "{error}");
        }
        successor.join().unwrap();
        let end = BTreeMap::from([(place, PER_PARTITION)]);
        assert_eq!(committed(&group(&world, "g")), end, "a zombie has committed");
        world.log.close().unwrap();
    });
}

/// As many partitions with as much noted beside each that a few commits fill the journal's file.
const WIDE: u32 = 32;
const NOTE_BYTES: usize = 4096;

fn commit_all(member: &Consumer, round: u8) {
    let note = vec![round; NOTE_BYTES];
    let parts = (0..WIDE).map(|number| {
        let at = CommittedOffset::at(0.into()).with_metadata(note.clone());
        (partition("w", number), at)
    });
    member.commit_offsets(parts).unwrap();
}

fn noted(world: &brooklet::Log, group: &str) -> Vec<u8> {
    let description = world.group(group).unwrap();
    let notes = description.partitions.iter().map(|part| part.committed.as_ref().unwrap());
    notes.map(|at| at.metadata()[0]).collect()
}

/// Commits of one group would be lost in the file that a commit of another one is moving them from.
#[test]
fn commits_of_two_groups_beside_a_compaction() {
    explore(&[], |_| {
        let world = World::new();
        let config = TopicConfig::new().partitions(WIDE).sync(SyncPolicy::Always);
        world.topic("w", config);
        let members = ["g", "h"].map(|group| {
            let mut member = world.log.consumer(group).topics(["w"]).open().unwrap();
            assert!(member.poll(AN_INSTANT).unwrap().is_empty());
            member
        });
        // The file is nearly full.
        for round in 1..4 {
            members.iter().for_each(|member| commit_all(member, round));
        }
        world.disk.clear_log();
        let both = members.map(|member| {
            world.spawn(move |_| {
                commit_all(&member, 4);
                commit_all(&member, 5);
            })
        });
        both.into_iter().for_each(|one| one.join().unwrap());
        let made =
            |op: &Op| op.kind == OpKind::Rename && op.path.to_string_lossy().contains("offsets");
        assert!(world.disk.log().iter().any(made), "nothing was compacted");
        let after = world.after_power_loss();
        for group in ["g", "h"] {
            assert_eq!(noted(&after, group), [5; WIDE as usize], "{group} has lost a commit");
        }
        world.log.close().unwrap();
    });
}

/// A journal that fails under one group would refuse another one, or forget what it was told.
#[test]
fn commits_of_two_groups_beside_a_failing_journal() {
    explore(&[], |_| {
        let world = World::new();
        world.topic("t", TopicConfig::new().sync(SyncPolicy::Always));
        for _ in 0..PER_PARTITION {
            world.durably("t").send(Record::new("r")).unwrap();
        }
        let members = ["g", "h"]
            .map(|group| world.log.consumer(group).topics(["t"]).max_records(1).open().unwrap());
        let fails = |op: &Op| {
            let of_offsets = op.path.to_string_lossy().contains("offsets");
            of_offsets && matches!(op.kind, OpKind::Write | OpKind::Sync)
        };
        world.disk.fail_when(fails, Fault::Eio, Repeat::Once);
        let both = members.map(|mut member| {
            world.spawn(move |_| {
                let mut acked = 0;
                for _ in 0..PER_PARTITION {
                    let batch = member.poll(FOR_EVER).unwrap();
                    if member.commit().is_ok() {
                        acked = batch.iter().last().unwrap().offset().value() + 1;
                    }
                }
                acked
            })
        });
        let acked = both.map(|one| one.join().unwrap());
        assert_eq!(world.disk.fired(), 1, "nothing has failed");
        assert_eq!(acked, [PER_PARTITION; 2], "one failure is healed before anybody is told");
        let after = world.after_power_loss();
        for group in ["g", "h"] {
            let committed = committed(&after.group(group).unwrap());
            assert_eq!(committed, BTreeMap::from([(partition("t", 0), PER_PARTITION)]));
        }
        world.log.close().unwrap();
    });
}
