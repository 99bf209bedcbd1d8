//! Threads that join, read, die, sleep and leave as they please, over a clock that is moved by hand.
//!
//! Under a manual clock polls do not wait, so that a thread that makes no steps is stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use brooklet::testing::{Env, ManualClock, memory_env, open};
use brooklet::{
    Acks, Consumer, ErrorKind, Log, LogOptions, Record, SyncPolicy, TopicConfig, TopicPartition,
};
use parking_lot::Mutex;

use super::NOW;
use super::dice::Dice;

const MEMBERS: usize = 8;
const PARTITIONS: u32 = 16;
const STEPS_MAX: u64 = 1_000_000;
const REBALANCES: u64 = 200;
const FENCINGS: u64 = 20;
const STALE_COMMITS: u64 = 20;

struct Scene {
    log: Log,
    clock: Arc<ManualClock>,
    /// Who has records of a partition in hand, as a number that no other member ever has.
    hands: Mutex<BTreeMap<TopicPartition, u64>>,
    handled: Mutex<BTreeSet<u64>>,
    sent: AtomicU64,
    polls: AtomicU64,
    steps: [AtomicU64; MEMBERS],
    doing: Mutex<[&'static str; MEMBERS]>,
    fencings: AtomicU64,
    stale_commits: AtomicU64,
    overlaps: AtomicU64,
    is_over: AtomicBool,
}

impl Scene {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let env = Env { clock: Arc::clone(&clock) as Arc<_>, ..memory_env() };
        let log = open(&env, "/log", LogOptions::new()).unwrap();
        let config = TopicConfig::new().partitions(PARTITIONS).sync(SyncPolicy::Never);
        log.create_topic("orders", config).unwrap();
        Self {
            log,
            clock,
            hands: Mutex::default(),
            handled: Mutex::default(),
            sent: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            steps: Default::default(),
            doing: Mutex::new([""; MEMBERS]),
            fencings: AtomicU64::new(0),
            stale_commits: AtomicU64::new(0),
            overlaps: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    fn rebalances(&self) -> u64 {
        self.log.group("billing").map_or(0, |group| group.generation)
    }

    fn has_seen_enough(&self) -> bool {
        self.fencings.load(Ordering::Relaxed) >= FENCINGS
            && self.stale_commits.load(Ordering::Relaxed) >= STALE_COMMITS
            && self.rebalances() >= REBALANCES
    }

    fn now_at(&self, number: usize, what: &'static str) {
        self.steps[number].fetch_add(1, Ordering::Relaxed);
        self.doing.lock()[number] = what;
    }

    /// One member after another, under one name, until enough was seen.
    fn live(&self, number: usize) {
        let mut dice = Dice::new(number as u64);
        let producer = self.log.producer("orders").unwrap().acks(Acks::Written);
        let mut consumer = None::<Consumer>;
        while !self.is_over.load(Ordering::Relaxed) {
            self.now_at(number, "sending");
            let value = (self.sent.fetch_add(1, Ordering::Relaxed)).to_le_bytes();
            producer.send(Record::new(&value).key(&value)).unwrap();
            self.now_at(number, "joining");
            let member = consumer.take().or_else(|| self.join(&mut dice));
            consumer = member.and_then(|member| self.turn(number, member, &mut dice));
            if self.steps[number].load(Ordering::Relaxed) > STEPS_MAX || self.has_seen_enough() {
                self.is_over.store(true, Ordering::Relaxed);
            }
        }
    }

    /// None if the clock was moved, and the member given up, before it was in.
    fn join(&self, dice: &mut Dice) -> Option<Consumer> {
        let builder = self.log.consumer("billing").topics(["orders"]);
        let builder = builder.max_records(dice.pick(&[1, 5, 500]));
        match builder.max_poll_interval(Some(Duration::from_secs(10))).open() {
            Ok(consumer) => Some(consumer),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
                self.fencings.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Polls, handles and commits; now and then the member goes with it.
    fn turn(&self, number: usize, mut consumer: Consumer, dice: &mut Dice) -> Option<Consumer> {
        self.now_at(number, "polling");
        let polled = consumer.poll(NOW);
        self.polls.fetch_add(1, Ordering::Relaxed);
        let batch = match polled {
            Ok(batch) => batch,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
                self.fencings.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        let me = consumer.member().value();
        let mut ends = BTreeMap::new();
        for record in &batch {
            ends.insert(record.topic_partition().clone(), record.to_stored());
            let value = record.value().unwrap().try_into().unwrap();
            self.handled.lock().insert(u64::from_le_bytes(value));
        }
        self.take_in_hand(me, ends.keys());
        if !ends.is_empty() && dice.one_in(4) {
            self.stand_at_the_barrier(number, dice);
        }
        self.hands.lock().retain(|_, owner| *owner != me);
        self.now_at(number, "committing");
        match dice.within(0..20) {
            0 => drop(consumer),
            1 => drop(consumer.leave()),
            2..=8 => {
                return self.was_taken(consumer.commit()).then_some(consumer);
            }
            9..=18 => {
                let mut committed = ends.values().map(|last| consumer.commit_through(last));
                let is_member = committed.all(|result| self.was_taken(result));
                drop(committed);
                return is_member.then_some(consumer);
            }
            // It handles and never commits.
            _ => return Some(consumer),
        }
        None
    }

    /// Nobody may be given records of a partition that a member still works on.
    fn take_in_hand<'a>(&self, me: u64, partitions: impl Iterator<Item = &'a TopicPartition>) {
        for partition in partitions {
            let before = self.hands.lock().insert(partition.clone(), me);
            if let Some(other) = before.filter(|other| *other != me) {
                let group = self.log.group("billing").unwrap();
                // One of them may have been given up between its poll and this.
                let is_in = |id: u64| group.members.iter().any(|member| member.id.value() == id);
                let are_members = is_in(other) && is_in(me);
                let still_has_it = self.hands.lock().values().any(|owner| *owner == other);
                assert!(
                    !(are_members && still_has_it),
                    "{partition} went to {me}, and {other} works on it: {:?}",
                    group.members
                );
                self.overlaps.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Stands in the handler until the others have polled for a while; now and then for too long.
    fn stand_at_the_barrier(&self, number: usize, dice: &mut Dice) {
        if dice.one_in(3) {
            self.clock.advance(Duration::from_secs(11));
        }
        let until = self.polls.load(Ordering::Relaxed) + 4 * MEMBERS as u64;
        // If all of them stand here, nobody polls.
        for _ in 0..2_000 {
            self.now_at(number, "standing in the handler");
            if self.polls.load(Ordering::Relaxed) >= until || self.is_over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Whether the member is one still; a commit that came too late is counted.
    fn was_taken(&self, result: Result<(), brooklet::Error>) -> bool {
        let Err(error) = result else { return true };
        match error.kind() {
            ErrorKind::Fenced => {
                self.stale_commits.fetch_add(1, Ordering::Relaxed);
                self.fencings.fetch_add(1, Ordering::Relaxed);
                false
            }
            ErrorKind::NotOwner => {
                self.stale_commits.fetch_add(1, Ordering::Relaxed);
                true
            }
            other => panic!("a commit was refused as {other}: {error}"),
        }
    }

    /// Ends the process if nobody makes a step any more; a stuck thread cannot be joined.
    #[expect(clippy::print_stderr, reason = "the last words of a test that would hang")]
    fn watch(&self, done: &crossbeam_channel::Receiver<()>) {
        let steps =
            || self.steps.iter().map(|steps| steps.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let mut before = steps();
        while done.recv_timeout(Duration::from_secs(60)).is_err() {
            let now = steps();
            if now.iter().zip(&before).any(|(now, before)| now == before) {
                eprintln!(
                    "a thread is stuck: {:?}, steps {now:?}, before {before:?}",
                    self.doing.lock()
                );
                std::process::abort();
            }
            before = now;
        }
    }
}

/// A record would be lost between members, or be in the hands of two of them.
#[test]
fn members_come_and_go_and_every_record_is_handled_by_one_owner_at_a_time() {
    let scene = Scene::new();
    let (done, is_done) = crossbeam_channel::bounded(1);
    std::thread::scope(|scope| {
        scope.spawn(|| scene.watch(&is_done));
        let members = (0..MEMBERS).map(|number| {
            let scene = &scene;
            scope.spawn(move || {
                let lived =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.live(number)));
                scene.is_over.store(true, Ordering::Relaxed);
                lived
            })
        });
        let members = members.collect::<Vec<_>>();
        let ends = members.into_iter().map(|member| member.join()).collect::<Vec<_>>();
        done.send(()).unwrap();
        for end in ends {
            if let Ok(Err(panic)) | Err(panic) = end {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let counts = (scene.rebalances(), &scene.fencings, &scene.stale_commits);
    assert!(scene.has_seen_enough(), "only {counts:?} rebalances, fencings and stale commits");
    let mut last = scene.log.consumer("billing").topics(["orders"]).open().unwrap();
    loop {
        let batch = last.poll(NOW).unwrap();
        if batch.is_empty() {
            break;
        }
        let values = batch.iter().map(|record| record.value().unwrap().try_into().unwrap());
        scene.handled.lock().extend(values.map(u64::from_le_bytes));
    }
    last.commit().unwrap();
    assert_eq!(scene.log.group("billing").unwrap().lag(), 0);
    let sent = scene.sent.load(Ordering::Relaxed);
    let handled = scene.handled.lock();
    let missed = (0..sent).filter(|value| !handled.contains(value)).collect::<Vec<_>>();
    assert!(missed.is_empty(), "{missed:?} of {sent} were never handled");
}
