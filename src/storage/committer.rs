//! Who writes and syncs for those that do not wait.
//!
//! One queue of shards with something to do, served by a few threads that are started when there is
//! work and sleep when there is none; several of them sync different files at once, because
//! concurrent flushes merge in the kernel. One more thread watches deadlines. Where the world has
//! no threads, whoever asks does the work.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::env::{Clock, Env, Join, Spawn};
use crate::storage::tail::{Background, BackgroundFailure, Serve};
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Rank, Weak, ranked};

/// As many syncs as this can be under way at once.
const WORKERS_MAX: usize = 8;

/// The background of one log.
pub(crate) struct Committer {
    me: Weak<Self>,
    spawn: Arc<dyn Spawn>,
    clock: Arc<dyn Clock>,
    labour: Labour,
    jobs: Queue<Job>,
    timers: Queue<Timer>,
    /// How many jobs wait or are being served; there shall be as many workers.
    unserved: Arc<AtomicU64>,
    /// How many workers were started.
    started: AtomicU64,
    closed: AtomicBool,
    threads: Mutex<Threads>,
    report: Box<dyn Fn(BackgroundFailure) + Send + Sync>,
}

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Labour {
    Threads,
    /// Whoever asks for it.
    Inline,
    /// Whoever says that it is to be done now.
    WhenTold,
}

impl Labour {
    fn of(spawn: &dyn Spawn) -> Self {
        match (spawn.can_spawn(), spawn.waits_to_be_told()) {
            (true, _) => Self::Threads,
            (false, false) => Self::Inline,
            (false, true) => Self::WhenTold,
        }
    }
}

#[derive(Default)]
struct Threads {
    workers: Vec<Box<dyn Join>>,
    timer: Option<Box<dyn Join>>,
}

struct Queue<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let (sender, receiver) = unbounded();
        Self { sender, receiver }
    }
}

enum Job {
    Serve(Arc<dyn Serve>),
    Stop,
}

enum Timer {
    At(Duration, Arc<dyn Serve>),
    Stop,
}

impl Committer {
    /// A background that has started no thread yet.
    pub(crate) fn new(
        env: &Env,
        report: Box<dyn Fn(BackgroundFailure) + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            spawn: Arc::clone(&env.spawn),
            clock: Arc::clone(&env.clock),
            labour: Labour::of(&*env.spawn),
            jobs: Queue::default(),
            timers: Queue::default(),
            unserved: Arc::default(),
            started: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            threads: ranked(Rank::Value, Threads::default()),
            report,
        })
    }

    /// Stops all threads and waits for them; what is queued is dropped.
    pub(crate) fn shut_down(&self) {
        self.closed.store(true, Ordering::Release);
        let Threads { workers, timer } = std::mem::take(&mut *self.threads.lock());
        if let Some(timer) = timer {
            let _ = self.timers.sender.send(Timer::Stop);
            timer.join();
        }
        for _ in &workers {
            let _ = self.jobs.sender.send(Job::Stop);
        }
        for worker in workers {
            worker.join();
        }
        while self.jobs.receiver.try_recv().is_ok() {}
        while self.timers.receiver.try_recv().is_ok() {}
    }

    /// Starts another worker if there are more jobs than workers to take them.
    ///
    /// A job that had to wait for another one would wait for a sync of somebody else's file.
    fn ensure_worker(&self) {
        if self.started.load(Ordering::Acquire) >= self.unserved.load(Ordering::Acquire) {
            return;
        }
        let mut threads = self.threads.lock();
        if threads.workers.len() >= WORKERS_MAX || self.closed.load(Ordering::Acquire) {
            return;
        }
        let jobs = self.jobs.receiver.clone();
        let unserved = Arc::clone(&self.unserved);
        let work = Box::new(move || run_worker(&jobs, &unserved));
        match self.spawn.spawn("brooklet-committer", work) {
            Ok(worker) => {
                threads.workers.push(worker);
                self.started.fetch_add(1, Ordering::AcqRel);
            }
            // The workers that there are take the job later; without any, the caller must.
            Err(_) if !threads.workers.is_empty() => {}
            Err(_) => {
                drop(threads);
                self.do_what_waits();
            }
        }
    }

    fn do_what_waits(&self) {
        while let Ok(Job::Serve(job)) = self.jobs.receiver.try_recv() {
            job.serve();
            self.unserved.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Drops the jobs that nobody will serve; who is told to stop is still told.
    fn drop_what_waits(&self) {
        let mut stops = 0;
        while let Ok(job) = self.jobs.receiver.try_recv() {
            stops += usize::from(matches!(job, Job::Stop));
        }
        for _ in 0..stops {
            let _ = self.jobs.sender.send(Job::Stop);
        }
    }

    fn ensure_timer(&self) {
        let mut threads = self.threads.lock();
        if threads.timer.is_some() || self.closed.load(Ordering::Acquire) {
            return;
        }
        let timers = self.timers.receiver.clone();
        let clock = Arc::clone(&self.clock);
        let me = Weak::clone(&self.me);
        let work = Box::new(move || {
            run_timer(&timers, &*clock, &|job| {
                if let Some(committer) = me.upgrade() {
                    committer.request(job);
                }
            });
        });
        threads.timer = self.spawn.spawn("brooklet-timer", work).ok();
    }
}

impl Background for Committer {
    fn request(&self, job: Arc<dyn Serve>) {
        if self.labour == Labour::Inline {
            return job.serve();
        }
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        self.unserved.fetch_add(1, Ordering::AcqRel);
        let _ = self.jobs.sender.send(Job::Serve(job));
        if self.labour == Labour::Threads {
            self.ensure_worker();
            // Whoever stops the threads at this moment may have emptied the queue before: a job
            // that nobody serves must be dropped, because somebody may wait for it.
            if self.closed.load(Ordering::Acquire) {
                self.drop_what_waits();
            }
        }
    }

    fn request_after(&self, delay: Duration, job: Arc<dyn Serve>) {
        // Where nothing can wait, `maintain` looks at what is due.
        if self.labour != Labour::Threads
            || self.clock.is_manual()
            || self.closed.load(Ordering::Acquire)
        {
            return;
        }
        self.ensure_timer();
        let deadline = self.clock.monotonic().saturating_add(delay);
        let _ = self.timers.sender.send(Timer::At(deadline, job));
    }

    fn report(&self, failure: BackgroundFailure) {
        // The user's code: if it panics, whoever met the failure still has others to answer.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.report)(failure)));
    }

    fn catch_up(&self) {
        if self.labour == Labour::WhenTold {
            self.do_what_waits();
        }
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("labour", &self.labour).finish_non_exhaustive()
    }
}

fn run_worker(jobs: &Receiver<Job>, unserved: &AtomicU64) {
    while let Ok(Job::Serve(job)) = jobs.recv() {
        // What panics has stopped its shard by then, and other shards are still to be served.
        let _ = catch_unwind(AssertUnwindSafe(|| job.serve()));
        unserved.fetch_sub(1, Ordering::AcqRel);
    }
}

fn run_timer(timers: &Receiver<Timer>, clock: &dyn Clock, serve: &dyn Fn(Arc<dyn Serve>)) {
    let mut pending = BinaryHeap::<Reverse<Due>>::new();
    loop {
        let now = clock.monotonic();
        while let Some(Reverse(due)) = pending.pop() {
            if due.at > now {
                pending.push(Reverse(due));
                break;
            }
            serve(due.job);
        }
        let next = match pending.peek() {
            Some(Reverse(due)) => timers.recv_timeout(due.at.saturating_sub(now)),
            None => timers.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(Timer::At(at, job)) => pending.push(Reverse(Due { at, job })),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Timer::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A job and its time; ordered by time alone.
struct Due {
    at: Duration,
    job: Arc<dyn Serve>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
