//! The load on a simulated disk, on one thread: every round follows from its seed.

use std::sync::Arc;
use std::time::Duration;

use brooklet::testing::checker::{Anomaly, Crash, Event};
use brooklet::testing::{CrashPolicy, Env, SimDisk, open};
use brooklet::{Error, ErrorKind, Log, LogOptions};

use crate::dice::Dice;
use crate::follower::Follower;
use crate::handler::{Task, worker};
use crate::inspect::{read_all, recover};
use crate::keeper::Keeper;
use crate::plan::{FOLLOWED, LASTING};
use crate::scene::{Recorder, Scene};
use crate::sender::Sender;
use crate::tally::{Desk, Tally};

/// What came of a round.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) anomalies: Vec<Anomaly>,
    /// What was refused although the disk had power, or was called damaged.
    pub(crate) trouble: Option<String>,
    pub(crate) history: String,
    /// The disk as it is at the end.
    pub(crate) disk: SimDisk,
}

/// Two to four sessions on one disk, each ended by a crash, and two more that only look.
pub(crate) fn round(seed: u64, number: u64, keep_history: bool) -> Outcome {
    let mut dice = Dice::new(seed, number);
    let desk = Desk::new(keep_history);
    let mut disk = SimDisk::new(dice.next());
    // Few topics: what goes wrong among many goes wrong among two.
    let topics = [dice.within(0..6), dice.within(0..6)];
    let sessions = dice.within(2..5);
    let mut trouble = None;
    for number in (0_u32..).take(usize::try_from(sessions).unwrap_or(2)) {
        let late = number == 0 || dice.one_in(2);
        disk.power_off_at(dice.within(0..if late { 500 } else { 150 }));
        let mut session = Session::new(&disk, &desk, dice.fork(), (number, topics));
        trouble = trouble.or(excuse(session.run(), &disk));
        desk.edit_tally(|tally| tally.landed += u64::from(disk.is_off()));
        let after = crash(&disk, &desk, &mut dice);
        session.forget();
        disk = after;
    }
    for policy in [CrashPolicy::KeepAll, CrashPolicy::LoseAll] {
        let mut look = Session::new(&disk, &desk, dice.fork(), (9, topics));
        trouble = trouble.or(excuse(look.look(policy == CrashPolicy::LoseAll), &disk));
        if policy == CrashPolicy::LoseAll {
            desk.note(Event::Crashed(Crash::Power));
            desk.edit_tally(|tally| tally.landed += 1);
            let after = disk.crash(policy, 0);
            look.forget();
            disk = after;
        }
    }
    desk.edit_tally(|tally| tally.rounds += 1);
    let anomalies = desk.take_anomalies();
    let (tally, history) = (desk.take_tally(), desk.take_history());
    Outcome { tally, anomalies, trouble, history, disk }
}

fn crash(disk: &SimDisk, desk: &Desk, dice: &mut Dice) -> SimDisk {
    let policy = dice.pick(CrashPolicy::ALL).copied().unwrap_or(CrashPolicy::LoseAll);
    let is_kill = policy == CrashPolicy::KeepAll;
    desk.note(Event::Crashed(if is_kill { Crash::Process } else { Crash::Power }));
    disk.crash(policy, dice.next())
}

/// A failure that the loss of power explains is none.
fn excuse(outcome: Result<(), Stop>, disk: &SimDisk) -> Option<String> {
    match outcome {
        Ok(()) => None,
        Err(Stop::Damage(text)) => Some(format!("damage is reported: {text}")),
        Err(Stop::Refused(error)) => {
            let kind = error.kind();
            let blames_data = matches!(kind, ErrorKind::Corrupt | ErrorKind::MissingSegment);
            (blames_data || !disk.is_off()).then(|| error.to_string())
        }
    }
}

enum Stop {
    Refused(Error),
    Damage(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

struct Session<'a> {
    disk: &'a SimDisk,
    desk: &'a Arc<Desk>,
    dice: Dice,
    number: u32,
    topics: [u64; 2],
    opened: Vec<Log>,
}

impl<'a> Session<'a> {
    fn new(
        disk: &'a SimDisk,
        desk: &'a Arc<Desk>,
        dice: Dice,
        (number, topics): (u32, [u64; 2]),
    ) -> Self {
        Self { disk, desk, dice, number, topics, opened: Vec::new() }
    }

    /// Lets go of logs whose disk is dead, with everything that nobody has told them to do.
    fn forget(&mut self) {
        for log in self.opened.drain(..) {
            // Whatever it tries, its disk takes nothing any more.
            let _ = log.close();
        }
    }

    fn open(&mut self, env: &Env) -> Result<Arc<Scene>, Stop> {
        let log = open(env, self.disk.root().join("log"), LogOptions::new())?;
        self.opened.push(log.clone());
        Ok(Scene::new(log, Arc::clone(self.desk) as _, self.number))
    }

    fn inspect(&self, scene: &Scene) -> Result<(), Stop> {
        let places = recover(scene)?;
        let found = read_all(scene, &places)?;
        self.desk.edit_tally(|tally| tally.found(&found));
        found.damage.first().map_or(Ok(()), |text| Err(Stop::Damage(text.clone())))
    }

    /// Opens, looks, and perhaps closes.
    fn look(&mut self, closes: bool) -> Result<(), Stop> {
        let scene = self.open(&self.disk.env())?;
        self.inspect(&scene)?;
        if closes {
            scene.log.close()?;
            scene.note(Event::Closed);
        }
        Ok(())
    }

    /// Opens, looks, and does this and that until the power goes.
    fn run(&mut self) -> Result<(), Stop> {
        let is_late = self.dice.one_in(3);
        let env = if is_late { self.disk.env_when_told() } else { self.disk.env() };
        let mut scene = self.open(&env)?;
        self.inspect(&scene)?;
        if self.dice.one_in(4) {
            // A clean end, which must not be taken for the end of what comes now.
            scene.log.close()?;
            scene.note(Event::Closed);
            drop(scene);
            scene = self.open(&env)?;
            recover(&scene)?;
        }
        for (_, lasting) in (0..).zip(&LASTING).filter(|(number, _)| self.topics.contains(number)) {
            scene.ensure(lasting)?;
        }
        let base = self.number * 8;
        let mut senders: Vec<_> =
            (0..2).map(|number| Sender::new(&scene, self.dice.fork(), base + number)).collect();
        let follow = |group| Follower::new(&scene, self.dice.fork(), group, Duration::ZERO);
        let mut followers: Vec<_> = FOLLOWED.iter().chain(&FOLLOWED).map(follow).collect();
        let mut keeper = Keeper::new(&scene, self.dice.fork(), self.number, 8);
        let mut task = worker(&scene).map(Task::new);
        for _ in 0..STEPS_MAX {
            match self.dice.within(0..16) {
                0..8 => {
                    let sender = usize::from(self.dice.one_in(2));
                    senders.get_mut(sender).map_or(Ok(()), Sender::step)?;
                }
                8..12 => {
                    let follower = usize::try_from(self.dice.within(0..4)).unwrap_or(0);
                    followers.get_mut(follower).map_or(Ok(()), Follower::step)?;
                }
                12 | 13 => task.as_mut().map_or(Ok(()), Task::step)?,
                14 => keeper.step()?,
                _ => self.disk.clock().advance(Duration::from_millis(self.dice.within(1..30))),
            }
            if self.disk.is_off() {
                break;
            }
        }
        Ok(())
    }
}

/// The power goes long before in all but a few sessions.
const STEPS_MAX: u32 = 400;
