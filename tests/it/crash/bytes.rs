//! Lives that a fuzzer thinks of: each piece of an input is a step, or the end of a session.

use std::time::Duration;

use brooklet::testing::{CrashPolicy, SimDisk};
use brooklet::{Acks, Retention, SyncPolicy, TopicConfig};

use super::life::{Life, Step};
use super::oracle::Verdict;

/// Does what the input says, against the book that is kept of it.
///
/// # Panics
/// If the log holds anything else than the book says, or less.
pub(crate) fn run(data: &[u8]) {
    if let Err(text) = live(&mut Feed(data)) {
        panic!("{text}");
    }
}

fn live(feed: &mut Feed<'_>) -> Verdict {
    let mut life = Life::new(SimDisk::new(u64::from(feed.next())));
    let (mut crashes, mut steps) = (0, 0);
    life.run(&[Step::Open, Step::List])?;
    while let Some(kind) = feed.step().filter(|_| steps < STEPS_MAX) {
        steps += 1;
        if life.disk.is_off() || kind == CRASH {
            crashes += 1;
            let policy = CrashPolicy::ALL[usize::from(feed.next()) % CrashPolicy::ALL.len()];
            life = life.crash(policy, u64::from(feed.next()));
            if crashes < CRASHES_MAX && feed.next().is_multiple_of(4) {
                life.disk.power_off_at(u64::from(feed.next()));
            }
            life.run(&[Step::Open, Step::List])?;
        } else if kind == CRASH_LATER && crashes < CRASHES_MAX {
            life.disk.power_off_at(life.disk.ops() + u64::from(feed.next() % 64));
        } else {
            let steps = step(kind, feed, &life);
            life.run(&steps)?;
        }
    }
    if life.disk.is_off() {
        life = life.crash(CrashPolicy::LoseAll, 1);
        life.run(&[Step::Open])?;
    }
    life.run(&[Step::Read, Step::SendEverywhere(Acks::Durable), Step::Maintain, Step::Read])?;
    let mut later = life.crash(CrashPolicy::LoseAll, 0);
    later.run(&[Step::Open, Step::Read, Step::Close, Step::Open, Step::Read])?;
    later.check_remains()
}

const CRASH: u8 = 30;
const CRASH_LATER: u8 = 31;
const CRASHES_MAX: usize = 3;
const STEPS_MAX: usize = 40;
const TOPICS: [&str; 2] = ["orders", "clicks"];

/// An input, byte by byte; zeros behind its end.
struct Feed<'a>(&'a [u8]);

impl Feed<'_> {
    fn next(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn step(&mut self) -> Option<u8> {
        self.0.split_off_first().map(|byte| byte & 31)
    }

    fn acks(&mut self) -> Acks {
        [Acks::None, Acks::Written, Acks::Written, Acks::Durable][usize::from(self.next() & 3)]
    }

    fn config(&mut self) -> TopicConfig {
        let choice = self.next();
        let every = SyncPolicy::Every(Duration::from_secs(1));
        let policies = [SyncPolicy::Always, SyncPolicy::Never, every, SyncPolicy::Always];
        let config = TopicConfig::new()
            .sync(policies[usize::from(choice & 3)])
            .segment_bytes(1024 << (choice >> 2 & 1));
        let config = match choice >> 3 & 3 {
            0 => config.segment_age(Duration::from_secs(1_800)),
            _ => config,
        };
        match choice >> 5 {
            0 => config.retention(Retention::forever().max_age(Duration::from_secs(3_600))),
            1 => config.retention(Retention::forever().max_bytes(2_048)),
            _ => config,
        }
    }
}

fn step(kind: u8, feed: &mut Feed<'_>, life: &Life) -> Vec<Step> {
    let choice = feed.next();
    let topic = TOPICS[usize::from(choice & 1)];
    let listed = life.book.partitions();
    let Some((_, count)) = listed.iter().find(|(name, _)| name == topic) else {
        return vec![Step::Create(topic, feed.config().partitions(u32::from(choice >> 1 & 1) + 1))];
    };
    let partition = u32::from(choice >> 1) % count;
    let (start, durable) = life.book.range(topic, partition);
    let bytes = if choice >> 7 == 0 { 40 } else { 600 };
    let step = match kind {
        0 => Step::Delete(topic),
        1 if *count < 3 => Step::Grow(topic, count + 1),
        2 => Step::Alter(topic, feed.config()),
        3..6 => Step::SendAll(topic, feed.acks(), usize::from(feed.next() % 5) + 1, bytes),
        6 => Step::SendEverywhere(feed.acks()),
        7 | 8 if start < durable => {
            let count = u64::from(feed.next()) % (durable - start + 1);
            Step::Trim(topic, partition, start + count)
        }
        9 | 10 => Step::Pass(Duration::from_secs(u64::from(feed.next()) * 16)),
        11 | 12 => Step::Maintain,
        13 => Step::Look,
        14 => Step::Read,
        15 => return vec![Step::Close, Step::Open, Step::List],
        16 => return vec![Step::Kill, Step::Open, Step::List],
        17..22 => Step::Submit(topic, partition, feed.acks(), bytes),
        _ => Step::Send(topic, partition, feed.acks(), bytes),
    };
    vec![step]
}
