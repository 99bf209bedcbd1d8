//! The process that is killed: it opens the log, uses it from many threads, and tells all it does.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brooklet::testing::checker::Event;
use brooklet::{Error, LogOptions};
use parking_lot::Mutex;

use crate::dice::Dice;
use crate::follower::Follower;
use crate::handler::worker;
use crate::inspect::recover;
use crate::keeper::Keeper;
use crate::plan::{FOLLOWED, LASTING};
use crate::scene::{Recorder, Scene};
use crate::sender::Sender;
use crate::wire::encode;

/// The line that says that recovery is over and the load begins.
pub(crate) const READY: &str = "ready";
/// What a line begins with that tells of a failure.
pub(crate) const TROUBLE: &str = "trouble ";

/// Writes events to the pipe, one at a time, each in one go.
#[derive(Debug)]
struct Pipe(Mutex<std::io::Stdout>);

impl Pipe {
    fn say(&self, line: &str) {
        // When the parent is gone, so is the point of this process.
        let mut out = self.0.lock();
        let written = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
        if written.is_err() {
            std::process::exit(3);
        }
    }
}

impl Recorder for Pipe {
    fn note(&self, event: Event) {
        self.say(&encode(&event));
    }
}

/// Uses the log in `dir` until the process is killed, or its parent is gone.
pub(crate) fn run(dir: &Path, session: u32, seed: u64) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    let pipe = Arc::new(Pipe(Mutex::new(std::io::stdout())));
    if let Err(error) = load(&pipe, dir, session, Dice::new(seed, u64::from(session))) {
        pipe.say(&format!("{TROUBLE}{error}"));
    }
    // Whatever has failed, the parent decides when this ends.
    loop {
        std::thread::park();
    }
}

fn load(pipe: &Arc<Pipe>, dir: &Path, session: u32, mut dice: Dice) -> Result<(), Error> {
    let options = LogOptions::new().check_interval(Duration::from_millis(10));
    let log = options.wait_for_lock(Duration::from_secs(10)).open(dir)?;
    let scene = Scene::new(log, Arc::clone(pipe) as _, session);
    recover(&scene)?;
    for lasting in &LASTING {
        scene.ensure(lasting)?;
    }
    pipe.say(READY);
    let running = worker(&scene).map(|worker| worker.spawn()).transpose()?;
    let mut actors: Vec<Box<dyn FnMut() -> Result<(), Error> + Send>> = Vec::new();
    for number in 0..3 {
        let mut sender = Sender::new(&scene, dice.fork(), session.saturating_mul(8) + number);
        actors.push(Box::new(move || sender.step()));
    }
    for group in FOLLOWED.iter().chain(&FOLLOWED) {
        let mut follower =
            Follower::new(&scene, dice.fork(), group, Duration::from_millis(dice.within(1..6)));
        actors.push(Box::new(move || follower.step()));
    }
    let mut keeper = Keeper::new(&scene, dice.fork(), session, 100);
    actors.push(Box::new(move || {
        std::thread::sleep(Duration::from_millis(2));
        keeper.step()
    }));
    for mut actor in actors {
        let pipe = Arc::clone(pipe);
        std::thread::spawn(move || {
            loop {
                if let Err(error) = actor() {
                    return pipe.say(&format!("{TROUBLE}{error}"));
                }
            }
        });
    }
    // The worker goes on as long as somebody holds it.
    std::mem::forget(running);
    Ok(())
}
