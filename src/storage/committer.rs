//! Who writes and syncs for those that do not wait.
//!
//! One queue of shards with something to do, served by a few threads that are started when there is
//! work and sleep when there is none; several of them sync different files at once, because
//! concurrent flushes merge in the kernel. One more thread watches deadlines. Where the world has
//! no threads, whoever asks does the work.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::env::{Clock, Env, Join, Spawn};
use crate::storage::tail::{Background, BackgroundFailure, Serve};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

/// As many syncs as this can be under way at once.
const WORKERS_MAX: usize = 8;

/// The background of one log.
pub(crate) struct Committer {
    spawn: Arc<dyn Spawn>,
    clock: Arc<dyn Clock>,
    is_inline: bool,
    jobs: Queue<Job>,
    timers: Queue<Timer>,
    /// How many workers are waiting for a job.
    idle: Arc<AtomicU64>,
    closed: AtomicBool,
    threads: Mutex<Threads>,
    report: Box<dyn Fn(BackgroundFailure) + Send + Sync>,
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
        Arc::new(Self {
            spawn: Arc::clone(&env.spawn),
            clock: Arc::clone(&env.clock),
            is_inline: !env.spawn.can_spawn(),
            jobs: Queue::default(),
            timers: Queue::default(),
            idle: Arc::default(),
            closed: AtomicBool::new(false),
            threads: Mutex::default(),
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
    fn ensure_worker(&self) {
        let waiting = self.jobs.receiver.len() as u64;
        if waiting <= self.idle.load(Ordering::Acquire) {
            return;
        }
        let mut threads = self.threads.lock();
        if threads.workers.len() >= WORKERS_MAX || self.closed.load(Ordering::Acquire) {
            return;
        }
        let jobs = self.jobs.receiver.clone();
        let idle = Arc::clone(&self.idle);
        let work = Box::new(move || run_worker(&jobs, &idle));
        match self.spawn.spawn("brooklet-committer", work) {
            Ok(worker) => threads.workers.push(worker),
            // The workers that there are take the job later; without any, the caller must.
            Err(_) if !threads.workers.is_empty() => {}
            Err(_) => {
                drop(threads);
                while let Ok(Job::Serve(job)) = self.jobs.receiver.try_recv() {
                    job.serve();
                }
            }
        }
    }

    fn ensure_timer(&self) {
        let mut threads = self.threads.lock();
        if threads.timer.is_some() || self.closed.load(Ordering::Acquire) {
            return;
        }
        let timers = self.timers.receiver.clone();
        let jobs = self.jobs.sender.clone();
        let jobs_seen = self.jobs.receiver.clone();
        let idle = Arc::clone(&self.idle);
        let clock = Arc::clone(&self.clock);
        let work = Box::new(move || {
            run_timer(&timers, &*clock, &|job: Arc<dyn Serve>| {
                // A worker takes it; if none is free, the timer's own thread does.
                if (jobs_seen.len() as u64) < idle.load(Ordering::Acquire) {
                    let _ = jobs.send(Job::Serve(job));
                } else {
                    job.serve();
                }
            });
        });
        threads.timer = self.spawn.spawn("brooklet-timer", work).ok();
    }
}

impl Background for Committer {
    fn request(&self, job: Arc<dyn Serve>) {
        if self.is_inline {
            job.serve();
        } else if !self.closed.load(Ordering::Acquire) {
            let _ = self.jobs.sender.send(Job::Serve(job));
            self.ensure_worker();
        }
    }

    fn request_after(&self, delay: Duration, job: Arc<dyn Serve>) {
        // Where nothing can wait, `maintain` looks at what is due.
        if self.is_inline || self.clock.is_manual() || self.closed.load(Ordering::Acquire) {
            return;
        }
        self.ensure_timer();
        let deadline = self.clock.monotonic().saturating_add(delay);
        let _ = self.timers.sender.send(Timer::At(deadline, job));
    }

    fn report(&self, failure: BackgroundFailure) {
        (self.report)(failure);
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("is_inline", &self.is_inline).finish_non_exhaustive()
    }
}

fn run_worker(jobs: &Receiver<Job>, idle: &AtomicU64) {
    loop {
        idle.fetch_add(1, Ordering::AcqRel);
        let job = jobs.recv();
        idle.fetch_sub(1, Ordering::AcqRel);
        match job {
            Ok(Job::Serve(job)) => job.serve(),
            Ok(Job::Stop) | Err(_) => return,
        }
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
