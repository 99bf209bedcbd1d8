//! The background: what is asked of it is done, or dropped at the end, and never forgotten.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use loom::thread as threads;

use super::{Mishap, World, batch, check, check_up_to, unopened};
use crate::config::SyncPolicy;
use crate::env::{Env, Join, Spawn, memory};
use crate::offset::Offset;
use crate::storage::commit::{Budget, Want};
use crate::storage::committer::Committer;
use crate::storage::tail::{Background, BackgroundFailure, Serve};
use crate::sync::Arc;
use crate::sync::channel::{Receiver, Sender, unbounded};

/// One thread that serves what it is asked to, until nobody asks any more.
struct Helper {
    jobs: Sender<Option<Arc<dyn Serve>>>,
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Helper")
    }
}

impl Background for Helper {
    fn request(&self, job: Arc<dyn Serve>) {
        self.jobs.send(Some(job)).unwrap();
    }

    fn request_after(&self, _delay: Duration, _job: Arc<dyn Serve>) {}

    fn report(&self, _failure: BackgroundFailure) {}
}

fn help(jobs: &Receiver<Option<Arc<dyn Serve>>>) {
    while let Ok(Some(job)) = jobs.recv() {
        job.serve();
    }
}

/// A record that was submitted while the background finished would lie in the queue for ever.
#[test]
fn loom_what_is_submitted_beside_the_background_is_written_and_synced() {
    check_up_to(4, || {
        let world = World::new(Mishap::None);
        let (jobs, asked) = unbounded();
        let helper = Arc::new(Helper { jobs });
        let budget = Budget { queue_bytes: 1 << 20, unsynced_bytes: 1 << 20 };
        let shard = unopened(&world, SyncPolicy::Always, budget, Arc::clone(&helper) as Arc<_>);
        shard.ensure_open().unwrap();
        let thread = threads::spawn(move || help(&asked));
        let slots = [Want::Durable, Want::Durable].map(|want| shard.submit(batch(), want, None));
        for (number, slot) in slots.iter().enumerate() {
            let outcome = slot.wait().expect("nobody nudges a task");
            world.check_ack(&outcome);
            assert_eq!(outcome.unwrap().start, Offset::new(number as u64));
        }
        helper.jobs.send(None).unwrap();
        thread.join().unwrap();
    });
}

/// The threads of the model, in place of the system's.
#[derive(Debug)]
struct Loomed;

struct Thread(threads::JoinHandle<()>);

impl Spawn for Loomed {
    fn can_spawn(&self) -> bool {
        true
    }

    fn waits_to_be_told(&self) -> bool {
        false
    }

    fn spawn(&self, _name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Join>> {
        Ok(Box::new(Thread(threads::spawn(work))))
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Thread")
    }
}

impl Join for Thread {
    fn join(self: Box<Self>) {
        self.0.join().unwrap();
    }
}

/// A job that counts how often it was served, and how often it was dropped.
struct Job(Arc<[AtomicU64; 2]>);

impl Serve for Job {
    fn serve(&self) {
        self.0[0].fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.0[1].fetch_add(1, Ordering::Relaxed);
    }
}

/// Somebody would wait for work that a closing log has neither done nor dropped.
#[test]
fn loom_a_job_beside_a_shut_down_is_served_or_dropped() {
    check(|| {
        let env = Env { spawn: Arc::new(Loomed), ..memory::env() };
        let committer = Committer::new(&env, Box::new(|_| {}));
        let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
        let asker = threads::spawn({
            let (committer, job) = (Arc::clone(&committer), Job(Arc::clone(&counts)));
            move || committer.request(Arc::new(job))
        });
        committer.shut_down();
        asker.join().unwrap();
        assert_eq!(counts[1].load(Ordering::Relaxed), 1, "the job was forgotten");
        assert!(counts[0].load(Ordering::Relaxed) <= 1, "the job was served twice");
    });
}

/// A job would wait for another one although there is room for more workers, or for ever.
#[test]
fn loom_two_jobs_are_both_served() {
    check_up_to(3, || {
        let env = Env { spawn: Arc::new(Loomed), ..memory::env() };
        let committer = Committer::new(&env, Box::new(|_| {}));
        let (done, seen) = unbounded();
        let done = Arc::new(done);
        for _ in 0..2 {
            committer.request(Arc::new(Tell(Arc::clone(&done))));
        }
        for _ in 0..2 {
            seen.recv().unwrap();
        }
        committer.shut_down();
    });
}

/// A job that tells when it is served.
struct Tell(Arc<Sender<()>>);

impl Serve for Tell {
    fn serve(&self) {
        self.0.send(()).unwrap();
    }
}
