//! Turns: the tail and the room in the queue go from hand to hand, and come to everybody.

use loom::thread as threads;

use super::{Mishap, World, append, batch, check, check_up_to, shard, shard_with};
use crate::config::SyncPolicy;
use crate::error::{Error, ErrorKind};
use crate::offset::Offset;
use crate::storage::commit::{Budget, Want};
use crate::sync::Arc;

/// Whoever needs the tail for itself, and those who append meanwhile, would wait for each other.
#[test]
fn loom_the_tail_comes_to_who_needs_it_and_goes_on_to_who_appends() {
    check_up_to(3, || {
        let world = World::new(Mishap::None);
        let shard = shard(&world, SyncPolicy::Always);
        let others = [0, 1].map(|who| {
            let (world, shard) = (Arc::clone(&world), Arc::clone(&shard));
            threads::spawn(move || {
                if who == 0 {
                    append(&world, &shard, Want::Durable).unwrap();
                } else {
                    shard
                        .exclusive(|_, ends| (assert!(ends.durable_end <= ends.written_end), None))
                        .unwrap();
                }
            })
        });
        append(&world, &shard, Want::Durable).unwrap();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(shard.ends().durable_end, Offset::new(2));
    });
}

/// An append that a close overtakes would never be answered, or be answered by neither of them.
#[test]
fn loom_an_append_beside_a_close_stands_or_is_refused() {
    check(|| {
        let world = World::new(Mishap::None);
        let shard = shard(&world, SyncPolicy::Always);
        let sender = threads::spawn({
            let (world, shard) = (Arc::clone(&world), Arc::clone(&shard));
            move || append(&world, &shard, Want::Durable)
        });
        shard.close(&Error::bare(ErrorKind::Closed));
        let outcome = sender.join().unwrap();
        let end = shard.ends().written_end;
        assert_eq!(end, Offset::new(u64::from(outcome.is_ok())));
        assert!(
            outcome
                .map_err(|refusal| refusal.error.kind())
                .err()
                .is_none_or(|kind| kind == ErrorKind::Closed)
        );
    });
}

/// A stricter policy would hide what readers have seen, or leave an append of before it unsynced.
#[test]
fn loom_a_stricter_policy_begins_at_a_durable_end() {
    check(|| {
        let world = World::new(Mishap::None);
        let shard = shard(&world, SyncPolicy::Never);
        let sender = threads::spawn({
            let (world, shard) = (Arc::clone(&world), Arc::clone(&shard));
            move || {
                append(&world, &shard, Want::Written).unwrap();
                let look = || shard.observe(|commit, (), _| (commit.policy, commit.visible_end()));
                let (policy, seen) = look();
                assert!(look().1 >= seen, "what was seen is hidden for a while");
                (policy, seen)
            }
        });
        shard.set_policy(SyncPolicy::Always).unwrap();
        let (policy, seen) = sender.join().unwrap();
        assert!(policy == SyncPolicy::Always || seen == Offset::new(1), "hidden again");
        let now = shard.observe(|commit, (), _| commit.visible_end());
        assert!(now >= seen, "what was seen under the old policy is hidden by the new one");
    });
}

/// Who waits for room would go on waiting when there is some again.
#[test]
fn loom_room_that_comes_free_goes_to_who_waits_for_it() {
    check_up_to(3, || {
        let world = World::new(Mishap::None);
        let one = batch().len();
        let budget = Budget { queue_bytes: one, unsynced_bytes: one as u64 };
        let shard = shard_with(&world, SyncPolicy::Always, budget);
        let others = [(); 2].map(|()| {
            let (world, shard) = (Arc::clone(&world), Arc::clone(&shard));
            threads::spawn(move || append(&world, &shard, Want::Durable).unwrap())
        });
        append(&world, &shard, Want::Durable).unwrap();
        others.into_iter().for_each(|other| drop(other.join().unwrap()));
        assert_eq!(shard.ends().durable_end, Offset::new(3));
    });
}

/// An append that began before a reopen would be acknowledged for what the reopen has lost.
#[test]
fn loom_a_reopen_beside_an_append_acknowledges_nothing_that_is_lost() {
    check(|| {
        let world = World::new(Mishap::SyncFails);
        let shard = shard(&world, SyncPolicy::Always);
        let sender = threads::spawn({
            let (world, shard) = (Arc::clone(&world), Arc::clone(&shard));
            move || append(&world, &shard, Want::Durable)
        });
        shard.reopen().unwrap();
        let first = sender.join().unwrap();
        assert!(first.is_err(), "its sync has failed: {first:?}");
        shard.reopen().unwrap();
        assert_eq!(append(&world, &shard, Want::Durable).unwrap(), Offset::ZERO..Offset::new(1));
    });
}
