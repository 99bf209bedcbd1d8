//! Lives that nobody has thought of: random steps, ended by random crashes, up to three deep.

use std::sync::Arc;
use std::time::Duration;

use brooklet::testing::{CrashPolicy, Entropy, SimDisk};
use brooklet::{Acks, Retention, SyncPolicy, TopicConfig};

use super::life::{Life, Step};
use super::oracle::Verdict;
use super::{Findings, goes_on, is_long};
use crate::pace::some;

/// A combination of events that no script has could lose records.
#[test]
fn random_lives_lose_nothing_that_was_acknowledged() {
    let mut findings = Findings::default();
    for seed in some(0..if is_long() { 100_000 } else { 1_000 }, 23) {
        findings.note(random_life(seed), || format!("seed {seed}"));
    }
    findings.check(1_000);
}

fn random_life(seed: u64) -> Verdict {
    let mut dice = Dice::new(seed);
    let mut life = Life::new(SimDisk::new(seed));
    for depth in 0..dice.within(1..4) {
        if dice.one_in(3) {
            // Often enough within the recovery of the crash before.
            life.disk.power_off_at(dice.within(0..400));
        } else if !dice.one_in(3) {
            life.disk.power_off_at(dice.within(100..4_000));
        }
        let told = |text| format!("in session {depth}: {text}");
        life.run(&[Step::Open, Step::List]).map_err(told)?;
        for _ in 0..dice.within(1..60) {
            if life.disk.is_off() {
                break;
            }
            let steps = dice.step(&life);
            life.run(&steps).map_err(told)?;
        }
        let policy = CrashPolicy::ALL[dice.within(0..CrashPolicy::ALL.len() as u64) as usize];
        life = life.crash(policy, dice.within(0..u64::MAX));
    }
    goes_on(&mut life)
}

const TOPICS: [&str; 3] = ["orders", "clicks", "beats"];

/// Random decisions, the same for the same seed.
struct Dice(Arc<dyn Entropy>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(SimDisk::new(!seed).env().entropy)
    }

    fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.0.next_u64() % (range.end - range.start)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.within(0..count) == 0
    }

    fn acks(&mut self) -> Acks {
        [Acks::None, Acks::Written, Acks::Written, Acks::Durable][self.within(0..4) as usize]
    }

    fn config(&mut self) -> TopicConfig {
        let every = SyncPolicy::Every(Duration::from_secs(1));
        let policy = [SyncPolicy::Always, SyncPolicy::Never, every][self.within(0..3) as usize];
        let mut config = TopicConfig::new().sync(policy).segment_bytes(1024 << self.within(0..4));
        if self.one_in(3) {
            config = config.segment_age(Duration::from_secs(self.within(1..7_200)));
        }
        let retention = Retention::forever();
        match self.within(0..4) {
            0 => config.retention(retention.max_age(Duration::from_secs(3_600))),
            1 => config.retention(retention.max_bytes(2_048)),
            _ => config,
        }
    }

    /// What a program could do next, given what it knows.
    fn step(&mut self, life: &Life) -> Vec<Step> {
        let topic = TOPICS[self.within(0..TOPICS.len() as u64) as usize];
        let listed = life.book.partitions();
        let Some((_, count)) = listed.iter().find(|(name, _)| name == topic) else {
            let partitions = self.within(1..4) as u32;
            return vec![Step::Create(topic, self.config().partitions(partitions))];
        };
        let partition = self.within(0..u64::from(*count)) as u32;
        let (start, durable) = life.book.range(topic, partition);
        let bytes = if self.one_in(3) { 600 } else { 40 };
        let step = match self.within(0..40) {
            0 => Step::Delete(topic),
            1 if *count < 4 => Step::Grow(topic, count + 1),
            2 => Step::Alter(topic, self.config()),
            3..6 => Step::SendAll(topic, self.acks(), self.within(1..6) as usize, bytes),
            6 => Step::SendEverywhere(self.acks()),
            7 | 8 if start < durable => {
                Step::Trim(topic, partition, self.within(start..durable + 1))
            }
            9..11 => Step::Pass(Duration::from_secs(self.within(1..4_000))),
            11..14 => Step::Maintain,
            14 => Step::Look,
            15 | 16 => Step::Read,
            17 => return vec![Step::Close, Step::Open, Step::List],
            18 => return vec![Step::Kill, Step::Open, Step::List],
            19..25 => Step::Submit(topic, partition, self.acks(), bytes),
            _ => Step::Send(topic, partition, self.acks(), bytes),
        };
        vec![step]
    }
}
