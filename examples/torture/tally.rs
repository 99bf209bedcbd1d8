//! What a run has done, and whether that was enough to mean something.

use std::fmt;
use std::sync::Arc;

use brooklet::Acks;
use brooklet::testing::checker::{Anomaly, Checker, Crash, Event};
use parking_lot::Mutex;

use crate::args::Mode;
use crate::scene::Recorder;

/// What one look at a recovered log has found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) records: u64,
    pub(crate) letters: u64,
    pub(crate) torn: u64,
    pub(crate) kept: u64,
    pub(crate) lowered: u64,
    pub(crate) torn_journals: u64,
    pub(crate) damage: Vec<String>,
}

/// Counts of a whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rounds: u64,
    pub(crate) crashes: u64,
    /// Crashes that came while something was under way.
    pub(crate) landed: u64,
    pub(crate) power_cuts: u64,
    sends: u64,
    durable: u64,
    written: u64,
    accepted: u64,
    failed: u64,
    polled: u64,
    commits: u64,
    committed: u64,
    refused: u64,
    handled: u64,
    topics: u64,
    deleted: u64,
    trims: u64,
    letters: u64,
    verified: u64,
    torn: u64,
    kept: u64,
    lowered: u64,
    torn_journals: u64,
    pub(crate) anomalies: u64,
}

impl Tally {
    fn count(&mut self, event: &Event) {
        let field = match event {
            Event::Topic { .. } => &mut self.topics,
            Event::Deleted(_) => &mut self.deleted,
            Event::Send { .. } => &mut self.sends,
            Event::Sent { acks: Acks::Durable, .. } => &mut self.durable,
            Event::Sent { acks: Acks::Written, .. } => &mut self.written,
            Event::Sent { .. } => &mut self.accepted,
            Event::Failed(_) => &mut self.failed,
            Event::Trim { .. } => &mut self.trims,
            Event::Commit { .. } => &mut self.commits,
            Event::Committed(_) => &mut self.committed,
            Event::Refused(_) | Event::Disowned(_) => &mut self.refused,
            Event::Handled { .. } => &mut self.handled,
            Event::Crashed(crash) => {
                self.power_cuts += u64::from(*crash == Crash::Power);
                &mut self.crashes
            }
            Event::Polled { records, .. } => {
                self.polled += records.len() as u64;
                return;
            }
            _ => return,
        };
        *field += 1;
    }

    pub(crate) fn found(&mut self, found: &Found) {
        self.verified += found.records;
        self.torn += found.torn;
        self.kept += found.kept;
        self.lowered += found.lowered;
        self.torn_journals += found.torn_journals;
        self.letters = self.letters.max(found.letters);
    }

    /// Sends that nobody can tell the fate of.
    fn unknown(&self) -> u64 {
        self.sends - self.durable - self.written - self.accepted - self.failed
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let own = self.fields_mut().into_iter();
        own.zip(other.clone().fields_mut()).for_each(|(own, other)| *own += *other);
    }

    fn fields_mut(&mut self) -> [&mut u64; 24] {
        let Self { rounds, crashes, landed, power_cuts, sends, durable, written, .. } = self;
        let Self { accepted, failed, polled, commits, committed, refused, handled, .. } = self;
        let Self { topics, deleted, trims, letters, verified, torn, kept, lowered, .. } = self;
        let Self { torn_journals, anomalies, .. } = self;
        [
            rounds,
            crashes,
            landed,
            power_cuts,
            sends,
            durable,
            written,
            accepted,
            failed,
            polled,
            commits,
            committed,
            refused,
            handled,
            topics,
            deleted,
            trims,
            letters,
            verified,
            torn,
            kept,
            lowered,
            torn_journals,
            anomalies,
        ]
    }

    /// Why the run means nothing, though nothing was found: its faults did not happen.
    pub(crate) fn is_vacuous(&self, mode: Mode) -> Option<String> {
        let rare = |what: &str, count: u64| (count == 0).then(|| format!("no {what} at all"));
        if self.crashes < ENOUGH {
            return None;
        }
        if self.landed * 10 < self.crashes * 9 {
            let text = "crashes came while something was under way";
            return Some(format!("only {} of {} {text}", self.landed, self.crashes));
        }
        rare("send without an answer", self.unknown())
            .or_else(|| rare("commit", self.committed))
            .or_else(|| rare("letter", self.letters))
            .or_else(|| rare("record that recovery kept and no ack covered", self.kept))
            .or_else(|| match mode {
                // A kill tears nothing: what was given to the system is there.
                Mode::Kill => None,
                _ if self.crashes < ENOUGH_TO_TEAR => None,
                _ => rare("torn tail", self.torn),
            })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, crashes, landed, power_cuts, sends, durable, written, .. } = self;
        let Self { accepted, failed, polled, commits, committed, refused, handled, .. } = self;
        let Self { topics, deleted, trims, letters, verified, torn, kept, lowered, .. } = self;
        writeln!(f, "rounds    {rounds}")?;
        writeln!(f, "crashes   {crashes}, {power_cuts} of them power cuts; {landed} under way")?;
        write!(
            f,
            "sends     {sends}: {durable} durable, {written} written, {accepted} accepted, "
        )?;
        writeln!(f, "{failed} refused, {} without an answer", self.unknown())?;
        write!(f, "groups    {polled} records polled, {commits} commits: {committed} made, ")?;
        writeln!(f, "{refused} refused; {handled} records handled, {letters} letters read")?;
        writeln!(f, "topics    {topics} made, {deleted} deleted, {trims} trims")?;
        write!(f, "recovery  {torn} torn tails, {} torn journals, ", self.torn_journals)?;
        writeln!(f, "{kept} records kept beyond their acks, {lowered} commits lowered")?;
        write!(f, "verified  {verified} records, {} anomalies", self.anomalies)
    }
}

/// With fewer crashes anything may happen not to happen.
const ENOUGH: u64 = 30;
const ENOUGH_TO_TEAR: u64 = 300;

/// Where a history is judged and counted as it comes.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    checker: Checker,
    tally: Tally,
    history: Option<Vec<Event>>,
    /// Events since the last crash, or the look behind it.
    busy: u64,
}

impl Desk {
    /// A desk for a new log; `keep` the events, to be looked at when something was found.
    pub(crate) fn new(keep: bool) -> Arc<Self> {
        let history = keep.then(Vec::new);
        let desk = Self(Mutex::new(Book { history, ..Book::default() }));
        desk.note(Event::Worker(crate::plan::WORKED.number));
        Arc::new(desk)
    }

    /// Whether anything has happened since it was last asked, or since the last crash.
    pub(crate) fn take_busy(&self) -> bool {
        std::mem::take(&mut self.0.lock().busy) > 0
    }

    pub(crate) fn take_anomalies(&self) -> Vec<Anomaly> {
        self.0.lock().checker.take_anomalies()
    }

    /// What was counted since it was last asked.
    pub(crate) fn take_tally(&self) -> Tally {
        std::mem::take(&mut self.0.lock().tally)
    }

    pub(crate) fn edit_tally(&self, edit: impl FnOnce(&mut Tally)) {
        edit(&mut self.0.lock().tally);
    }

    /// The events since it was last asked, one a line.
    pub(crate) fn take_history(&self) -> String {
        let history = self.0.lock().history.as_mut().map(std::mem::take).unwrap_or_default();
        history.iter().map(|event| format!("{event:?}\n")).collect()
    }
}

impl Recorder for Desk {
    fn note(&self, event: Event) {
        let mut book = self.0.lock();
        book.checker.observe(&event);
        book.tally.count(&event);
        match event {
            Event::Crashed(_) => book.busy = 0,
            // What a look sees, and nobody else.
            Event::Drained { .. } | Event::Position { .. } | Event::Letters { .. } => {}
            _ => book.busy += 1,
        }
        if let Some(history) = &mut book.history {
            history.push(event);
        }
    }
}
