//! Lives that a fuzzer thinks of: each piece of an input is a step, or the end of a session.

use std::time::Duration;

use brooklet::testing::{CrashPolicy, Fault, OpKind, Repeat, SimDisk};
use brooklet::{Acks, Retention, SyncPolicy, TopicConfig};

use super::life::{Life, Step};
use crate::corpus::agree::agree;

/// Does what the input says, against the book that is kept of it.
///
/// # Panics
/// If the log holds anything else than the book says, or less.
pub(crate) fn run(data: &[u8]) {
    // The second reader takes longer than the log, so that it looks at every eighth input only.
    let looks = data.first().is_some_and(|first| first.is_multiple_of(8));
    let look = |disk: &SimDisk| {
        if looks {
            agree(disk, "behind a crash");
        }
    };
    if let Err(text) = live(data, look) {
        panic!("{text}");
    }
}

/// Does what the input says; `look` is shown the disk behind every crash.
pub(crate) fn live(data: &[u8], mut look: impl FnMut(&SimDisk)) -> Result<(), String> {
    let feed = &mut Feed(data);
    let mut life = Life::new(small(SimDisk::new(FIRST_SEED + u64::from(feed.next()))));
    let (mut crashes, mut steps) = (0, 0);
    life.run(&[Step::Open, Step::List])?;
    while let Some(kind) = feed.step().filter(|_| steps < STEPS_MAX) {
        steps += 1;
        if life.disk.is_off() || kind == CRASH {
            crashes += 1;
            let policy = CrashPolicy::ALL[usize::from(feed.next()) % CrashPolicy::ALL.len()];
            life = life.crash(policy, FIRST_SEED * crashes + u64::from(feed.next()));
            life.disk = small(life.disk);
            if crashes < CRASHES_MAX && feed.next().is_multiple_of(4) {
                life.disk.power_off_at(u64::from(feed.next()));
            }
            look(&life.disk);
            life.run(&[Step::Open, Step::List])?;
        } else if kind == CRASH_LATER && crashes < CRASHES_MAX {
            life.disk.power_off_at(life.disk.ops() + u64::from(feed.next() % 64));
        } else {
            let steps = step(kind, feed, &life);
            life.run(&steps)?;
        }
    }
    if life.disk.is_off() {
        life = life.crash(CrashPolicy::LoseAll, 2);
        life.disk = small(life.disk);
        life.run(&[Step::Open])?;
    }
    life.run(&[Step::Read, Step::SendEverywhere(Acks::Durable), Step::Maintain, Step::Read])?;
    let mut later = life.crash(CrashPolicy::LoseAll, 3);
    later.disk = small(later.disk);
    look(&later.disk);
    later.run(&[Step::Open, Step::Read])?;
    if steps.is_multiple_of(4) {
        later.run(&[Step::Close, Step::Open, Step::Read])?;
    }
    later.check_remains()
}

/// The disk without room made ahead, which would be gone over at every opening.
fn small(disk: SimDisk) -> SimDisk {
    disk.fail_when(|op| op.kind == OpKind::Allocate, Fault::StorageFull, Repeat::Forever);
    disk
}

/// The seeds of a disk and of its crash make the salts behind it, which must be others than before.
const FIRST_SEED: u64 = 1_000;
const CRASH: u8 = 30;
const CRASH_LATER: u8 = 31;
const CRASHES_MAX: u64 = 3;
const STEPS_MAX: usize = 24;
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
