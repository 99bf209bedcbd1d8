//! Rounds with a child process on a real disk: it is killed, or its disk loses power, and what is
//! left is read and judged.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use brooklet::testing::checker::{Anomaly, Crash, Event, Place};
use brooklet::{Error, LogOptions, Offset, TopicInfo};

use crate::child::{READY, TROUBLE};
use crate::dice::Dice;
use crate::inspect::{read_all, recover};
use crate::loop_disk::LoopDisk;
use crate::scene::{Recorder, Scene, partition_of};
use crate::tally::{Desk, Tally};
use crate::wire::decode;

/// A log that is used by one child after the other.
pub(crate) struct Rounds {
    dir: PathBuf,
    disk: Option<LoopDisk>,
    seed: u64,
    /// The number of the next round.
    next: u32,
    desk: Arc<Desk>,
}

/// What came of a round.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) anomalies: Vec<Anomaly>,
    pub(crate) trouble: Vec<String>,
}

/// What a child that was killed has said, beside its events.
struct Said {
    trouble: Vec<String>,
    ended_itself: bool,
}

impl Rounds {
    /// Rounds on a directory, or on a disk whose power is cut.
    pub(crate) fn new(dir: &Path, is_power: bool, seed: u64, from: u32) -> io::Result<Self> {
        let disk = if is_power {
            let mut disk = LoopDisk::create(dir, DISK_MEGABYTES)?;
            disk.mount()?;
            Some(disk)
        } else {
            None
        };
        let dir = disk.as_ref().map_or(dir, LoopDisk::root).join("log");
        Ok(Self { dir, disk, seed, next: from, desk: Desk::new(true) })
    }

    /// Where the log is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The events since the last round that went well.
    pub(crate) fn history(&self) -> String {
        self.desk.take_history()
    }

    /// One child, one crash, one look at everything.
    pub(crate) fn round(&mut self) -> io::Result<Outcome> {
        let mut dice = Dice::new(self.seed, u64::from(self.next));
        if self.next.is_multiple_of(ROUNDS_PER_LOG) {
            self.begin_anew()?;
        }
        // What a look has done is not what a child has.
        self.desk.take_busy();
        let said = self.session(&mut dice)?;
        let mut trouble = said.trouble;
        if said.ended_itself {
            trouble.push("the child ended by itself".to_owned());
        }
        let has_landed = self.desk.take_busy();
        let crash = if self.disk.is_some() { Crash::Power } else { Crash::Process };
        self.desk.note(Event::Crashed(crash));
        self.desk.edit_tally(|tally| {
            tally.rounds += 1;
            tally.landed += u64::from(has_landed);
        });
        if let Some(disk) = &mut self.disk {
            disk.cut_power()?;
            disk.mount()?;
        }
        // Now and then the next child is the first to see what is left.
        if !dice.one_in(6) {
            let looked = self.look(&mut dice);
            trouble.extend(looked.unwrap_or_else(|error| vec![format!("reading it: {error}")]));
        }
        self.next += 1;
        let anomalies = self.desk.take_anomalies();
        if anomalies.is_empty() && trouble.is_empty() {
            drop(self.desk.take_history());
        }
        Ok(Outcome { tally: self.desk.take_tally(), anomalies, trouble })
    }

    /// Starts with an empty directory, so that a long run does not get slower and slower.
    fn begin_anew(&mut self) -> io::Result<()> {
        if self.dir.exists() {
            std::fs::remove_dir_all(&self.dir)?;
        }
        self.desk = Desk::new(true);
        Ok(())
    }

    /// A child from its start to the moment at which it is killed.
    fn session(&self, dice: &mut Dice) -> io::Result<Said> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--child", &self.next.to_string(), "--seed", &self.seed.to_string(), "--dir"])
            .arg(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = child.stdout.take().map(BufReader::new);
        let (there, is_there) = channel();
        let desk = Arc::clone(&self.desk);
        let reading = std::thread::spawn(move || {
            lines.map_or_else(Vec::new, |lines| listen(lines, &desk, &there))
        });
        // Now and then it is killed as it starts, or while it recovers; else while it is at work.
        let when = dice.within(0..40);
        if when > 0 {
            let _ = is_there.recv();
        }
        if when > 5 {
            let _ = is_there.recv();
        }
        let most = if when > 5 { LOAD_MICROS_MAX } else { START_MICROS_MAX };
        std::thread::sleep(Duration::from_micros(dice.within(0..most)));
        let ended_itself = child.try_wait()?.is_some();
        child.kill()?;
        child.wait()?;
        let trouble = reading.join().unwrap_or_default();
        Ok(Said { trouble, ended_itself })
    }

    /// Opens what is left and takes down everything.
    fn look(&self, dice: &mut Dice) -> Result<Vec<String>, Error> {
        let options = LogOptions::new().manual_maintenance(true);
        let log = options.open(&self.dir)?;
        let scene = Scene::new(log, Arc::clone(&self.desk) as _, self.next);
        let places = recover(&scene)?;
        let found = read_all(&scene, &places)?;
        self.desk.edit_tally(|tally| tally.found(&found));
        trim(&scene, &places)?;
        if dice.one_in(2) {
            scene.log.close()?;
            scene.note(Event::Closed);
        }
        Ok(found.damage.iter().map(|text| format!("damage is reported: {text}")).collect())
    }
}

/// Takes down what the child says, to its end; a line that the kill has cut short is none.
///
/// Tells when it has said something, and when it is ready.
fn listen(mut lines: impl BufRead, desk: &Desk, there: &Sender<()>) -> Vec<String> {
    let mut trouble = Vec::new();
    let mut line = String::new();
    let mut has_spoken = false;
    while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        let Some(whole) = line.strip_suffix('\n') else { break };
        if !std::mem::replace(&mut has_spoken, true) || whole == READY {
            let _ = there.send(());
        }
        if whole == READY {
            // The load begins.
        } else if let Some(text) = whole.strip_prefix(TROUBLE) {
            trouble.push(text.to_owned());
        } else if let Some(event) = decode(whole) {
            desk.note(event);
        } else {
            trouble.push(format!("a line that is none: {whole}"));
        }
        line.clear();
    }
    trouble
}

/// Leaves so much that the next look takes no longer than this one.
fn trim(scene: &Scene, places: &[(Place, TopicInfo)]) -> Result<(), Error> {
    for (place, topic) in places {
        let Some(name) = partition_of(topic.name.as_str(), place.partition) else { continue };
        let offsets = scene.log.offsets(&name)?;
        let before = offsets.durable_end.value().saturating_sub(RECORDS_LEFT);
        if before > offsets.start.value() + RECORDS_LEFT {
            scene.note(Event::Trim { place: *place, before });
            scene.log.trim(&name, Offset::new(before))?;
        }
    }
    Ok(())
}

const DISK_MEGABYTES: u64 = 96;
/// A log that has seen so many crashes makes room for a new one.
const ROUNDS_PER_LOG: u32 = 50;
const LOAD_MICROS_MAX: u64 = 100_000;
const START_MICROS_MAX: u64 = 4_000;
/// How many records of a partition are left for the next round.
const RECORDS_LEFT: u64 = 200;
