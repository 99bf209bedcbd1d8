//! Judges a history of a log: what was sent, read, committed and lost, against what is promised.
//!
//! Whoever uses a log writes down what was asked and what was answered, as [`Event`]s; the records
//! carry [`Value`]s, which say who sent them and whether they are whole. [`check`] then names
//! everything that must not have happened. It knows nothing of the log itself: it works for one on a
//! simulated disk, in a process that is killed, or behind a power cut.
//!
//! # The rules
//!
//! * A send whose answer never came may have happened or not, once. What was read once has happened.
//! * Acks `Written` cover a record, and all below it, against the death of the process; `Durable`
//!   covers them against a power cut. So does being read: on an `Always` topic against a power cut,
//!   on any other against the death of the process.
//! * What recovery shows is durable, and so is what was closed.
//! * A crash may take what nothing covers, from the end: never from the middle.
//! * A commit survives what the records of its topic survive. A power cut may take a commit of a
//!   topic that is not `Always`, or lower it.
//!
//! Memory follows what the log holds: values that a partition no longer has are forgotten when it is
//! [drained](Event::Drained), and are phantoms from then on.
//!
//! # Examples
//! ```
//! use brooklet::Acks;
//! use brooklet::testing::checker::{AnomalyKind, Crash, Event, Place, Value, check};
//!
//! let place = Place { topic: 1, partition: 0 };
//! let value = Value { producer: 1, counter: 0 };
//! let name = "orders".to_owned();
//! let history = [
//!     Event::Topic { topic: 1, name, is_synced: true, expires: false },
//!     Event::Created(1),
//!     Event::Send { place, value },
//!     Event::Sent { value, offset: 0, acks: Acks::Durable },
//!     Event::Crashed(Crash::Power),
//!     Event::Recovered { place, start: 0, end: 0 },
//! ];
//! let anomalies = check(&history);
//! assert_eq!(anomalies[0].kind, AnomalyKind::LostPostfix);
//! assert_eq!(
//!     anomalies[0].to_string(),
//!     "lost at the end: orders/0@0, value 1:0: 1 covered up to offset 1, and it ends at 0 \
//!      (breaks promise 1)",
//! );
//! ```

mod anomaly;
mod event;
mod groups;
mod records;
mod report;
mod value;

use self::groups::Groups;
use self::records::Records;
use self::report::Report;

pub use self::anomaly::{Anomaly, AnomalyKind};
pub use self::event::{Crash, Event, LetterSeen, Part, Place};
pub use self::value::{Mangled, Seen, Value};

/// Everything in a history that must not have happened.
#[must_use]
pub fn check(history: &[Event]) -> Vec<Anomaly> {
    let mut checker = Checker::new();
    history.iter().for_each(|event| checker.observe(event));
    checker.take_anomalies()
}

/// A check that goes on as the history does.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    records: Records,
    groups: Groups,
    report: Report,
}

impl Checker {
    /// A check of a history that has just begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was found since it was last asked.
    pub fn take_anomalies(&mut self) -> Vec<Anomaly> {
        self.report.take()
    }

    /// How many records were compared with what was sent, each time that they were read.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.records.verified()
    }

    /// Takes the next event of the history.
    pub fn observe(&mut self, event: &Event) {
        let Self { records, groups, report } = self;
        match event {
            Event::Topic { topic, name, is_synced, expires } => {
                report.name(*topic, name);
                records.topic(*topic, *is_synced, *expires);
            }
            Event::Created(topic) => records.created(*topic),
            Event::Deleting(topic) => records.deleting(*topic),
            Event::Deleted(topic) => records.deleted(*topic),
            Event::Send { place, value } => records.send(*place, *value),
            Event::Sent { value, offset, acks } => records.sent(*value, *offset, *acks, report),
            Event::Failed(value) => records.failed(*value, report),
            Event::Trim { place, before } => records.trim(*place, *before),
            Event::Worker(group) => groups.worker(*group),
            Event::Assigned { group, place, assignment } => {
                groups.assigned(*group, *place, *assignment);
            }
            Event::Polled { assignment, place, records: polled } => {
                groups.polled(*assignment, (*place, polled), records, report);
                polled.iter().for_each(|(at, seen)| records.read(*place, *at, *seen, report));
            }
            Event::Commit { commit, group, parts } => groups.commit(*commit, *group, parts),
            Event::Committed(commit) => groups.committed(*commit, records, report),
            Event::Refused(commit) => groups.refused(*commit),
            Event::Disowned(commit) => groups.disowned(*commit, report),
            Event::Handled { group, place, offset } => groups.handled(*group, *place, *offset),
            Event::Closed => {
                records.closed();
                groups.closed();
            }
            Event::Crashed(crash) => {
                records.crashed(*crash);
                groups.crashed(*crash);
            }
            Event::Topics(found) => records.topics(found, report),
            Event::Recovered { place, start, end } => {
                records.recovered(*place, (*start, *end), report);
                groups.recovered(*place, *end);
            }
            Event::Lowered { place, from, to, .. } => {
                groups.lowered(*place, (*from, *to), records, report);
            }
            Event::Drained { place, start, end, records: drained } => {
                records.drained(*place, (*start, *end), drained, report);
            }
            Event::Letters { group, letters } => groups.letters(*group, letters, report),
            Event::Position { group, place, committed } => {
                groups.position((*group, *place), *committed, records, report);
            }
        }
    }
}
