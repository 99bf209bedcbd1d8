//! Wake-ups: whoever parks is woken, whatever the moment at which it does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use loom::thread as threads;

use super::{Mishap, World, append, check, shard};
use crate::config::SyncPolicy;
use crate::error::{Error, ErrorKind};
use crate::offset::Offset;
use crate::storage::commit::Want;
use crate::storage::shard::Shard;
use crate::storage::waiter::{Waiter, Woken};
use crate::sync::Arc;

/// A thread would sleep on a slot that was filled while it lay down.
#[test]
fn loom_a_slot_that_is_filled_wakes_who_parks_on_it() {
    check(|| {
        let waiter = Arc::new(Waiter::default());
        let filler = threads::spawn({
            let waiter = Arc::clone(&waiter);
            move || waiter.fill(7)
        });
        assert_eq!(waiter.wait(), Some(7));
        filler.join().unwrap();
    });
}

/// A nudge that comes just before the value, or just after it, would swallow it or be taken for it.
#[test]
fn loom_a_nudge_beside_a_value_loses_neither() {
    check(|| {
        let waiter = Arc::new(Waiter::default());
        let others = [0, 1].map(|who| {
            let waiter = Arc::clone(&waiter);
            threads::spawn(move || if who == 0 { waiter.nudge() } else { waiter.fill(7) })
        });
        let value = loop {
            match waiter.wait_for(Duration::MAX) {
                Woken::Filled(value) => break value,
                Woken::Nudged => {}
                Woken::TimedOut => panic!("no time has passed"),
            }
        };
        assert_eq!(value, 7);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A task that looked just before the slot was filled would never be polled again.
#[test]
fn loom_a_task_is_woken_or_finds_the_value() {
    check(|| {
        let waiter = Arc::new(Waiter::default());
        let filler = threads::spawn({
            let waiter = Arc::clone(&waiter);
            move || waiter.fill(7)
        });
        let count = Arc::new(Count(AtomicU64::new(0)));
        let found = waiter.poll(&Waker::from(Arc::clone(&count)));
        filler.join().unwrap();
        let woken = count.0.load(Ordering::Relaxed);
        assert_eq!(woken, u64::from(found.is_pending()));
        if found.is_pending() {
            assert_eq!(waiter.poll(Waker::noop()), Poll::Ready(7));
        }
    });
}

/// Reads until `end` can be seen or the shard is closed, as readers do: look, leave a waiter, park.
fn read_until(shard: &Shard<super::Tape>, end: u64) -> Offset {
    loop {
        let (seen, closed) =
            shard.observe(|commit, (), _| (commit.visible_end(), commit.closed().is_some()));
        if seen.value() >= end || closed {
            return seen;
        }
        let waiter = Arc::new(Waiter::default());
        if shard.watch(seen, &waiter) {
            assert_eq!(waiter.wait(), Some(()));
        }
        shard.unwatch(&waiter);
    }
}

/// A reader would sleep beside records that became visible while it lay down, or see those that are
/// not durable yet.
#[test]
fn loom_a_parked_reader_sees_what_becomes_visible() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        check(move || {
            let world = World::new(Mishap::None);
            let shard = shard(&world, policy);
            let reader = threads::spawn({
                let (world, shard) = (Arc::clone(&world), Arc::clone(&shard));
                move || {
                    let seen = read_until(&shard, 1);
                    assert_eq!(seen, Offset::new(1));
                    let synced = world.numbers.get().synced;
                    assert!(
                        policy != SyncPolicy::Always || synced >= 1,
                        "seen before it is durable"
                    );
                }
            });
            append(&world, &shard, Want::Written).unwrap();
            reader.join().unwrap();
        });
    }
}

/// A reader would sleep on after the log was closed.
#[test]
fn loom_a_close_wakes_a_parked_reader() {
    check(|| {
        let world = World::new(Mishap::None);
        let shard = shard(&world, SyncPolicy::Always);
        let reader = threads::spawn({
            let shard = Arc::clone(&shard);
            move || read_until(&shard, 1)
        });
        shard.close(&Error::bare(ErrorKind::Closed));
        assert_eq!(reader.join().unwrap(), Offset::ZERO);
    });
}
