//! The ack barrier: nobody is told that a record is durable before it is, and everybody is told.

use loom::thread as threads;

use super::{Mishap, World, append, append_caught, check, check_up_to, is_unknown, shard};
use crate::config::SyncPolicy;
use crate::error::ErrorKind;
use crate::offset::Offset;
use crate::storage::commit::{Outcome, Want};
use crate::sync::Arc;

/// The outcomes of two appends at once, the second of them on this thread.
fn two_appends(world: &Arc<World>, policy: SyncPolicy) -> [Outcome; 2] {
    let shard = shard(world, policy);
    let other = threads::spawn({
        let (world, shard) = (Arc::clone(world), Arc::clone(&shard));
        move || append(&world, &shard, Want::Durable)
    });
    let own = append(world, &shard, Want::Durable);
    let outcomes = [other.join().unwrap(), own];
    let ends = shard.ends();
    assert!(ends.durable_end <= ends.written_end);
    outcomes
}

fn starts(outcomes: &[Outcome]) -> Vec<Offset> {
    let mut starts: Vec<_> = outcomes.iter().flatten().map(|range| range.start).collect();
    starts.sort_unstable();
    starts
}

/// A sender would be told that its record is durable by a sync that did not cover it.
#[test]
fn loom_an_ack_comes_after_the_sync_that_covers_it() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        check_up_to(4, move || {
            let world = World::new(Mishap::None);
            let outcomes = two_appends(&world, policy);
            assert_eq!(starts(&outcomes), [0, 1].map(Offset::new));
        });
    }
}

/// A third sender could be forgotten by the two who lead and sync.
#[test]
fn loom_a_leader_and_two_followers_all_get_their_ack() {
    check_up_to(3, || {
        let world = World::new(Mishap::None);
        let shard = shard(&world, SyncPolicy::Always);
        let others = [(); 2].map(|()| {
            let (world, shard) = (Arc::clone(&world), Arc::clone(&shard));
            threads::spawn(move || append(&world, &shard, Want::Durable))
        });
        let own = append(&world, &shard, Want::Durable);
        let [a, b] = others.map(|other| other.join().unwrap());
        assert_eq!(starts(&[own, a, b]), [0, 1, 2].map(Offset::new));
    });
}

/// Who waits for a sync that fails would wait for ever, or be told that it went well.
#[test]
fn loom_a_sync_that_fails_is_told_to_everybody() {
    check(|| {
        let world = World::new(Mishap::SyncFails);
        let outcomes = two_appends(&world, SyncPolicy::Always);
        assert!(outcomes.iter().any(is_unknown), "nobody was told: {outcomes:?}");
    });
}

/// The same of a write, which may leave something behind or not.
#[test]
fn loom_a_write_that_fails_is_told_to_everybody() {
    for (mishap, in_doubt) in [(Mishap::WriteFails, false), (Mishap::WriteInDoubt, true)] {
        check(move || {
            let world = World::new(mishap);
            let outcomes = two_appends(&world, SyncPolicy::Always);
            assert!(outcomes.iter().any(Result::is_err), "nobody was told: {outcomes:?}");
            // The round alone is in doubt; what was queued behind it was not begun.
            assert_eq!(outcomes.iter().any(is_unknown), in_doubt, "{outcomes:?}");
        });
    }
}

/// A panic in the thread that leads would leave everybody behind it waiting for ever, and the
/// partition without anybody who could write to it again.
#[test]
fn loom_a_panic_of_the_leader_stops_the_shard_and_leaves_nobody_waiting() {
    for mishap in [Mishap::WritePanics, Mishap::SyncPanics] {
        check(move || {
            let world = World::new(mishap);
            let shard = shard(&world, SyncPolicy::Always);
            let other = threads::spawn({
                let (world, shard) = (Arc::clone(&world), Arc::clone(&shard));
                move || append_caught(&world, &shard)
            });
            let own = append_caught(&world, &shard);
            let ends = [other.join().unwrap(), own];
            assert_eq!(ends.iter().filter(|end| end.is_err()).count(), 1, "one thread was struck");

            let refused = append(&world, &shard, Want::Durable).unwrap_err();
            assert_eq!(refused.error.kind(), ErrorKind::Poisoned);
            shard.reopen().unwrap();
            append(&world, &shard, Want::Durable).unwrap();
        });
    }
}
