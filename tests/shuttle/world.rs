//! What scenarios stand on: orders to run them in, a world whose threads are shuttle's, and what must
//! be found when all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fmt, io};

use brooklet::testing::{Clock, CrashPolicy, Env, Join, SimDisk, Spawn, open};
use brooklet::{
    Acks, ErrorKind, Fate, Log, LogOptions, Producer, Record, SendError, TopicConfig, TopicName,
    TopicPartition,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner, thread};

/// Long enough that a wait for it never ends by itself.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(1_000_000);
/// A wait for it may end at any moment.
pub(crate) const AN_INSTANT: Duration = Duration::from_millis(100);

/// Runs `scenario` in as many orders as `BROOKLET_SCHEDULES` says, or in the one that it is to repeat.
///
/// Half of them are drawn at random; in the others one thread is preferred to the next until the
/// preferences change, a few times in a run, which finds what takes a certain few interruptions.
///
/// Each of `expected` must come about in some of them: a race that one side always wins shows nothing.
pub(crate) fn explore(expected: &[&'static str], scenario: impl Fn(&Seen) + Send + Sync + 'static) {
    let seen = Seen::default();
    let scenario = Arc::new({
        let seen = seen.clone();
        move || scenario(&seen)
    });
    if let Ok(file) = env::var("BROOKLET_REPLAY") {
        let scheduler = ReplayScheduler::new_from_file(&file).expect("a file with a schedule");
        return run(scheduler, scenario);
    }
    let count = env::var("BROOKLET_SCHEDULES").ok().and_then(|count| count.parse().ok());
    let seed = env::var("BROOKLET_SEED").ok().and_then(|seed| seed.parse().ok());
    let (count, seed) = (count.unwrap_or(1_000), seed.unwrap_or(1));
    println!("{count} schedules from seed {seed}");
    run(RandomScheduler::new_from_seed(seed, count / 2), Arc::clone(&scenario));
    for depth in 2..=5 {
        let scheduler = PctScheduler::new_from_seed(seed + depth, depth as usize, count / 8);
        run(scheduler, Arc::clone(&scenario));
    }
    let seen = seen.0.lock().unwrap().clone();
    assert_eq!(seen, expected.iter().copied().collect(), "what came about, what should");
}

/// What has come about in some order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<BTreeSet<&'static str>>>);

impl Seen {
    pub(crate) fn note(&self, what: &'static str) {
        self.0.lock().unwrap().insert(what);
    }

    pub(crate) fn note_if(&self, came_about: bool, what: &'static str) {
        if came_about {
            self.note(what);
        }
    }
}

fn run(scheduler: impl Scheduler + 'static, scenario: Arc<impl Fn() + Send + Sync + 'static>) {
    let failed = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.max_steps = MaxSteps::FailAfter(200_000);
    // A failure names the file that `BROOKLET_REPLAY` is to be set to.
    config.failure_persistence = FailurePersistence::File(Some(failed));
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || scenario());
}

/// The threads of shuttle.
#[derive(Debug)]
struct Threads;

struct Running(thread::JoinHandle<()>);

impl Spawn for Threads {
    fn can_spawn(&self) -> bool {
        true
    }

    fn waits_to_be_told(&self) -> bool {
        false
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Join>> {
        let handle = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Box::new(Running(handle)))
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

impl Join for Running {
    fn join(self: Box<Self>) {
        if self.0.thread().id() != thread::current().id() {
            self.0.join().unwrap();
        }
    }
}

/// Clocks that go on a little whenever somebody looks.
#[derive(Debug, Default)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn wall_millis(&self) -> i64 {
        1_700_000_000_000 + self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(20, Ordering::Relaxed).unsigned_abs())
    }

    fn is_manual(&self) -> bool {
        false
    }
}

/// A log on a simulated disk, and what its senders were told.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) log: Log,
}

impl World {
    /// An empty log in which nothing happens by time alone.
    pub(crate) fn new() -> Self {
        Self::with(LogOptions::new())
    }

    pub(crate) fn with(options: LogOptions) -> Self {
        let disk = SimDisk::new(7);
        let world =
            Env { clock: Arc::new(Ticking::default()), spawn: Arc::new(Threads), ..disk.env() };
        let options = options.manual_maintenance(true).send_timeout(None);
        let log = open(&world, root(&disk), options).unwrap();
        Self { disk, log }
    }

    pub(crate) fn topic(&self, name: &str, config: TopicConfig) -> &Self {
        self.log.create_topic(name, config).unwrap();
        self
    }

    /// Has `act` done by a thread of its own.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let world = self.clone();
        thread::spawn(move || act(&world))
    }

    /// A producer that waits until its records are durable.
    pub(crate) fn durably(&self, topic: &str) -> Producer {
        self.log.producer(topic).unwrap().acks(Acks::Durable)
    }

    /// What is left of the log if the power goes off now: nothing that was not synced.
    pub(crate) fn after_power_loss(&self) -> Log {
        let disk = self.disk.fork().crash(CrashPolicy::LoseAll, 1);
        open(&disk.env(), root(&disk), LogOptions::new()).unwrap()
    }

    /// What the next session finds on the disk as it is.
    pub(crate) fn next_session(&self) -> Log {
        let disk = self.disk.fork();
        open(&disk.env(), root(&disk), LogOptions::new()).unwrap()
    }
}

fn root(disk: &SimDisk) -> PathBuf {
    Path::join(disk.root(), "log")
}

/// What one sender was told: where its records stand, and which may stand somewhere.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) acked: BTreeMap<u64, String>,
    pub(crate) unknown: Vec<String>,
    pub(crate) refused: Vec<(String, ErrorKind)>,
}

impl Told {
    pub(crate) fn note(&mut self, value: String, outcome: Result<u64, SendError>) {
        match outcome {
            Ok(offset) => {
                let before = self.acked.insert(offset, value);
                assert!(before.is_none(), "offset {offset} was given twice");
            }
            Err(error) if error.fate() == Fate::Unknown => self.unknown.push(value),
            Err(error) => self.refused.push((value, error.kind())),
        }
    }

    pub(crate) fn join(mut self, other: Self) -> Self {
        for (offset, value) in other.acked {
            let before = self.acked.insert(offset, value);
            assert!(before.is_none(), "offset {offset} was given twice");
        }
        self.unknown.extend(other.unknown);
        self.refused.extend(other.refused);
        self
    }

    /// Nobody was refused for another reason than `kind`.
    pub(crate) fn check_reasons(&self, kind: ErrorKind) {
        let other = self.refused.iter().find(|(_, reason)| *reason != kind);
        assert!(other.is_none() && self.unknown.is_empty(), "{self:?}");
    }

    /// What was acknowledged is in the log where it was said to be; what was refused is not there;
    /// what is unknown is there once or not at all, and nothing else is.
    pub(crate) fn check(&self, log: &Log, topic: &str) {
        let found = contents(log, topic);
        for (offset, value) in &self.acked {
            let there = found.get(offset).or_else(|| panic!("{value} at {offset} is lost"));
            assert_eq!(there, Some(value), "another record at {offset}");
        }
        for value in found.iter().filter(|(at, _)| !self.acked.contains_key(at)).map(|(_, v)| v) {
            assert!(self.unknown.contains(value), "{value} was refused, or never sent");
        }
    }
}

/// Sends records named after the sender, each once the one before is acknowledged or refused.
pub(crate) fn send(producer: &Producer, sender: &str, count: usize, pad: usize) -> Told {
    let mut told = Told::default();
    for number in 0..count {
        let value = padded(&format!("{sender}{number}"), pad);
        let outcome = producer.send(Record::new(&value)).map(|receipt| receipt.offset().value());
        told.note(value, outcome);
    }
    told
}

/// A value of at least `pad` bytes.
pub(crate) fn padded(name: &str, pad: usize) -> String {
    format!("{name:-<pad$}")
}

/// All records of a topic's first partition, by offset; they are dense.
pub(crate) fn contents(log: &Log, topic: &str) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    let Ok(reader) = log.reader(topic).partition(0).stop_at_end().open() else { return found };
    let mut next = None;
    for record in reader {
        let record = record.unwrap();
        let offset = record.offset().value();
        assert!(next.is_none_or(|next| next == offset), "a gap before {offset}");
        next = Some(offset + 1);
        let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
        found.insert(offset, value);
    }
    found
}

pub(crate) fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), number.into())
}
