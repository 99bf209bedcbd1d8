//! What holds the whole worker: a pause that was asked for, and an outage of what handlers need.
//!
//! Time in which the worker is held is not working time, so that no record grows too old to be
//! tried again while nobody could have tried it. Pure.

use std::time::Duration;

use crate::offset::Timestamp;
use crate::worker::failure::Reason;
use crate::worker::rules::patience;

use super::now::Now;

/// Whether a record may be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Any number of them.
    Free,
    /// One, to see whether the outage is over.
    Probe,
    /// None.
    Held,
}

/// An outage that is not over.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    pub(super) reason: Reason,
    /// Probes that found it not over, and the failure that began it.
    pub(super) failures: u32,
    /// When the next probe may start.
    pub(super) next_probe: Duration,
    is_probing: bool,
}

/// Holds the worker, and counts the time in which it is held.
#[derive(Debug, Default)]
pub(super) struct Brake {
    is_paused: bool,
    outage: Option<Outage>,
    held_since: Option<Duration>,
    held_before: Duration,
}

impl Brake {
    pub(super) fn permit(&self, now: Duration) -> Permit {
        match &self.outage {
            _ if self.is_paused => Permit::Held,
            None => Permit::Free,
            Some(outage) if !outage.is_probing && outage.next_probe <= now => Permit::Probe,
            Some(_) => Permit::Held,
        }
    }

    /// When the permit changes by itself.
    pub(super) fn next_change(&self) -> Option<Duration> {
        let outage = self.outage.as_ref().filter(|outage| !self.is_paused && !outage.is_probing)?;
        Some(outage.next_probe)
    }

    /// The monotonic clock without the times in which the worker was held.
    pub(super) fn working(&self, now: Duration) -> Duration {
        let held = self.held_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        now.saturating_sub(self.held_before).saturating_sub(held)
    }

    pub(super) fn set_paused(&mut self, is_paused: bool, now: Duration) {
        self.is_paused = is_paused;
        self.count(now);
    }

    /// A probe has started.
    pub(super) fn begin_probe(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.is_probing = true;
        }
    }

    /// A probe came back without an answer.
    pub(super) fn give_up_probe(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.is_probing = false;
        }
    }

    /// An attempt has met the outage.
    ///
    /// Attempts that were under way when it began only confirm what is known.
    pub(super) fn hold(&mut self, reason: Reason, was_probe: bool, now: Now) {
        match &mut self.outage {
            Some(outage) if !was_probe => outage.reason = reason,
            known => {
                let before = known.take();
                let failures = before.as_ref().map_or(0, |outage| outage.failures);
                let failures = failures.saturating_add(1);
                let delay = patience(failures, now.chance);
                *known = Some(Outage {
                    since: before.map_or(now.wall, |outage| outage.since),
                    reason,
                    failures,
                    next_probe: now.monotonic.saturating_add(delay),
                    is_probing: false,
                });
            }
        }
        self.count(now.monotonic);
    }

    /// A probe was answered: the outage is over.
    pub(super) fn release(&mut self, now: Duration) {
        self.outage = None;
        self.count(now);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }

    fn count(&mut self, now: Duration) {
        let is_held = self.is_paused || self.outage.is_some();
        match self.held_since {
            None if is_held => self.held_since = Some(now),
            Some(since) if !is_held => {
                self.held_before += now.saturating_sub(since);
                self.held_since = None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Brake, Permit};
    use crate::offset::Timestamp;
    use crate::worker::ledger::now::Now;

    fn at(millis: u64) -> Now {
        let monotonic = Duration::from_millis(millis);
        Now { monotonic, wall: Timestamp::default(), chance: u64::MAX }
    }

    fn permit(brake: &Brake, millis: u64) -> Permit {
        brake.permit(at(millis).monotonic)
    }

    /// A service that is down would be asked by every record at once, or never again.
    #[test]
    fn an_outage_lets_one_probe_through_at_a_time_and_rarer_each_time() {
        let mut brake = Brake::default();
        assert_eq!(permit(&brake, 0), Permit::Free);
        brake.hold("down".into(), false, at(1_000));
        brake.hold("down still".into(), false, at(1_000));
        assert_eq!((permit(&brake, 1_199), permit(&brake, 1_200)), (Permit::Held, Permit::Probe));
        brake.begin_probe();
        assert_eq!((permit(&brake, 6_000), brake.next_change()), (Permit::Held, None));
        brake.hold("down".into(), true, at(6_000));
        assert_eq!((permit(&brake, 6_399), permit(&brake, 6_400)), (Permit::Held, Permit::Probe));
        brake.begin_probe();
        brake.give_up_probe();
        assert_eq!(permit(&brake, 6_400), Permit::Probe);
        brake.release(at(6_500).monotonic);
        assert_eq!(permit(&brake, 6_500), Permit::Free);
    }

    /// A record would be given up for its age after an outage in which it could not be tried.
    #[test]
    fn held_time_is_not_working_time() {
        let mut brake = Brake::default();
        let working = |brake: &Brake, millis| brake.working(at(millis).monotonic).as_millis();
        brake.set_paused(true, at(10).monotonic);
        brake.hold("down".into(), false, at(20));
        brake.set_paused(false, at(30).monotonic);
        assert_eq!((working(&brake, 10), working(&brake, 35)), (10, 10));
        brake.release(at(40).monotonic);
        assert_eq!((working(&brake, 40), working(&brake, 45)), (10, 15));
    }
}
