//! How a bus is made, and what it does by itself because of that.

use crate::config::LogOptions;
use crate::env::sim::SimDisk;
use crate::error::Error;
use crate::log::Log;
use crate::testing::crew::{Crew, Turns};

/// How a [`TestBus`](crate::testing::TestBus) is made.
#[derive(Clone, Debug)]
#[must_use]
pub struct BusOptions {
    pub(super) seed: u64,
    is_delayed: bool,
    max_turns: u64,
    log: LogOptions,
}

impl Default for BusOptions {
    fn default() -> Self {
        let log = LogOptions::new().manual_maintenance(true);
        Self { seed: 1, is_delayed: false, max_turns: MAX_TURNS, log }
    }
}

impl BusOptions {
    /// Seed 1, records visible at once, the log's default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// What chance begins with: salts, jitter, and what a torn crash leaves; by default 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Leaves what nobody waits for undone until no worker has anything to do.
    ///
    /// On a disk, a record that was sent without waiting for its sync is not visible yet when the
    /// call returns. Code that reads it all the same fails under this option, and only under it: by
    /// default there is nobody to be late.
    pub fn delayed_visibility(mut self) -> Self {
        self.is_delayed = true;
        self
    }

    /// How many turns workers may take until they rest; by default a million.
    ///
    /// A turn is a record given to a handler, a fetch, a commit, a letter or a look around. A bus
    /// that would never settle, because a handler sends on to its own topic or tries again without
    /// a pause, fails its test after so many. Fewer of them fail sooner, too few fail a test that
    /// has much to do.
    pub fn max_turns(mut self, turns: u64) -> Self {
        self.max_turns = turns;
        self
    }

    /// The options of the log; by default those of [`LogOptions::new`].
    pub fn log(mut self, options: LogOptions) -> Self {
        self.log = options.manual_maintenance(true);
        self
    }

    pub(super) fn open_on(&self, disk: &SimDisk) -> Result<Log, Error> {
        let env = if self.is_delayed { disk.env_when_told() } else { disk.env() };
        Log::open_in(&env, &disk.root().join("log"), self.log.clone())
    }

    /// Gives workers time, and does what was left undone for them, until nothing changes.
    #[track_caller]
    pub(super) fn rest(&self, crew: &mut Crew, log: &Log) -> Result<(), Error> {
        let mut first = Ok(());
        let mut turns = Turns::at_most(self.max_turns);
        loop {
            crew.settle(log, &mut turns);
            if !self.is_delayed {
                return first;
            }
            first = first.and(log.maintain());
            turns.take(1);
            if crew.is_at_rest() {
                return first;
            }
        }
    }
}

/// Far more turns than a test takes, and few enough to be over in seconds.
const MAX_TURNS: u64 = 1_000_000;
