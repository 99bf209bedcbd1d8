//! The ledger against a plain account of what happened: random histories, checked at each step.

use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop};
use proptest::prop_oneof;
use proptest::test_runner::{Config, TestRunner};

use crate::retry::Retry;
use crate::worker::rules::{CommitEvery, Rules};

mod account;
mod world;

use account::{AHEAD, Answer, HELD, PLACES, Seen, TIMEOUT, Write};
use world::World;

/// One step of a history; numbers choose among what is possible.
#[derive(Clone, Copy, Debug)]
enum Step {
    Append(usize, Option<u8>),
    Fetch(usize),
    Next,
    Finish(usize, Answer),
    Open(usize, bool),
    Write(usize, Write),
    Commit(Write),
    Advance(u64),
    Assign(usize),
    Revoke(usize),
    Lose(usize),
    Pause(bool),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let place = 0..PLACES;
    let answer = prop_oneof![
        6 => Just(Answer::Done),
        3 => Just(Answer::Retry),
        1 => Just(Answer::RetryAfter),
        2 => Just(Answer::Dead),
        1 => Just(Answer::Unavailable),
        1 => Just(Answer::Abandoned),
    ];
    let write =
        prop_oneof![4 => Just(Write::Done), 1 => Just(Write::Failed), 1 => Just(Write::DoneUntold)];
    prop_oneof![
        16 => (place.clone(), prop::option::of(0..3_u8)).prop_map(|(p, key)| Step::Append(p, key)),
        20 => place.clone().prop_map(Step::Fetch),
        80 => Just(Step::Next),
        40 => (any::<usize>(), answer).prop_map(|(n, answer)| Step::Finish(n, answer)),
        16 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(n, ok)| Step::Open(n, ok)),
        16 => (any::<usize>(), write.clone()).prop_map(|(n, write)| Step::Write(n, write)),
        20 => write.prop_map(Step::Commit),
        10 => (0..120_u64).prop_map(Step::Advance),
        6 => place.clone().prop_map(Step::Assign),
        1 => place.clone().prop_map(Step::Revoke),
        1 => place.prop_map(Step::Lose),
        2 => prop::bool::weighted(0.3).prop_map(Step::Pause),
        1 => Just(Step::Crash),
    ]
}

/// Takes one step, if it is possible.
fn take(world: &mut World<'_>, step: Step) {
    match step {
        Step::Append(place, key) => world.accounts[place].keys.push(key),
        Step::Fetch(place) => world.fetch(place),
        Step::Next => drop(world.next()),
        Step::Finish(which, answer) if !world.running.is_empty() => {
            world.finish(which % world.running.len(), answer);
        }
        Step::Open(which, is_ok) if !world.openings.is_empty() => {
            world.open(which % world.openings.len(), is_ok);
        }
        Step::Write(which, write) if !world.letters.is_empty() => {
            world.write(which % world.letters.len(), write);
        }
        Step::Commit(write) => world.commit(write),
        Step::Advance(millis) => world.advance(world.now + Duration::from_millis(millis)),
        Step::Assign(place) if world.accounts[place].owner.is_none() => world.assign(place),
        Step::Revoke(place) => world.revoke(place),
        Step::Lose(place) => world.lose(place),
        Step::Pause(is_paused) => {
            world.is_paused = is_paused;
            world.ledger.set_paused(is_paused, world.now());
        }
        Step::Crash => world.crash(),
        Step::Finish(..) | Step::Open(..) | Step::Write(..) => {}
        Step::Assign(_) => {}
    }
    world.release();
    world.check();
}

/// From now on everything succeeds: all records are settled and committed, and nothing is left.
fn settle(world: &mut World<'_>) {
    take(world, Step::Pause(false));
    for _ in 0..10_000 {
        (0..PLACES).for_each(|place| take(world, Step::Assign(place)));
        while !world.openings.is_empty() {
            world.open(0, true);
        }
        while !world.letters.is_empty() {
            world.write(0, Write::Done);
        }
        while !world.running.is_empty() {
            world.finish(0, Answer::Done);
        }
        take(world, Step::Commit(Write::Done));
        let before: Vec<_> = fetched(world);
        (0..PLACES).for_each(|place| take(world, Step::Fetch(place)));
        let is_new = before != fetched(world);
        match world.next() {
            Ok(()) => {}
            Err(Some(date)) => world.advance(date),
            Err(None) if is_new => {}
            Err(None) if world.accounts.iter().all(|account| account.owner.is_some()) => {
                return world.check_settled();
            }
            Err(None) => {}
        }
        world.release();
    }
    panic!("never quiet: {:?}", world.ledger.status(world.now()));
}

fn fetched(world: &World<'_>) -> Vec<Option<u64>> {
    let owners = world.accounts.iter().map(|account| account.owner.as_ref());
    owners.map(|owner| owner.map(|owner| owner.fetched)).collect()
}

fn rules() -> impl Strategy<Value = Rules> {
    let commit_every = prop_oneof![
        Just(CommitEvery::Batch),
        (1..9_u64).prop_map(CommitEvery::Records),
        (0..200_u64).prop_map(|millis| CommitEvery::Interval(Duration::from_millis(millis))),
    ];
    let timeout = prop::option::of(Just(TIMEOUT));
    (commit_every, timeout).prop_map(|(commit_every, handler_timeout)| Rules {
        retry: Retry::exponential(Duration::from_millis(20)).max_attempts(3),
        handler_timeout,
        commit_every,
        max_ahead: AHEAD,
        max_held: HELD,
        max_held_bytes: 1_000,
    })
}

/// Records would be lost, handled out of order, twice at once or too far ahead; see each message.
#[test]
fn random_histories_keep_every_promise() {
    let mut seen = Seen::default();
    let shared = std::cell::RefCell::new(&mut seen);
    let mut runner = TestRunner::new(Config {
        cases: 2_000,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    });
    let has_killer = prop::bool::weighted(0.2);
    let histories = (rules(), has_killer, prop::collection::vec(step(), 1..400));
    let outcome = runner.run(&histories, |(rules, has_killer, steps)| {
        let mut seen = shared.borrow_mut();
        let mut world = World::new(rules, &mut seen);
        world.has_killer = has_killer;
        world.accounts.iter_mut().for_each(|account| account.keys = vec![Some(0), None, Some(1)]);
        (0..PLACES).for_each(|place| take(&mut world, Step::Assign(place)));
        steps.into_iter().for_each(|step| take(&mut world, step));
        settle(&mut world);
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(seen.answers.len(), 6, "{seen:?}");
    let counts = [
        seen.handled,
        seen.letters,
        seen.letters_found_again,
        seen.overdue,
        seen.suspects,
        seen.doomed,
        seen.ghosts,
        seen.releases,
        seen.probes,
        seen.full,
    ];
    assert!(counts.iter().all(|count| *count >= 20), "too little was seen: {seen:?}");
}
