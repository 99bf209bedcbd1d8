//! What can be said about one partition. Pure.

use std::time::Duration;

use crate::worker::status::{Blocked, PartitionStatus, RunningRecord, Why};

use super::part::{Part, Phase};
use super::queue::{Entry, Stage};

/// How a partition stands.
pub(super) fn of<R>(part: &Part<R>, now: Duration) -> PartitionStatus {
    let running = part.queue.iter().filter_map(|(offset, entry)| {
        let busy = entry.busy?;
        // A late attempt has been counted among the failed ones already.
        let attempt = entry.failed_attempts().saturating_add(u32::from(!busy.is_overdue));
        let running_for = now.saturating_sub(busy.since);
        Some(RunningRecord { offset, attempt, running_for, is_overdue: busy.is_overdue })
    });
    PartitionStatus {
        partition: part.place.clone(),
        committed: part.committed,
        settled: part.target(),
        held: part.queue.len(),
        running: running.collect(),
        blocked: blocked(part, now),
        is_revoked: part.phase == Phase::Draining,
    }
}

fn blocked<R>(part: &Part<R>, now: Duration) -> Option<Blocked> {
    if part.phase == Phase::Opening {
        let trouble = part.trouble.as_ref()?;
        return Some(Blocked {
            at: part.target(),
            why: Why::Opening { reason: trouble.reason.clone() },
        });
    }
    // A letter that cannot be written holds everything, wherever its record stands.
    if let (Some(trouble), Some(at)) = (&part.trouble, part.queue.first_condemned()) {
        return Some(Blocked { at, why: Why::Letter { reason: Some(trouble.reason.clone()) } });
    }
    let Some(at) = part.queue.first_unsettled() else {
        let reason = part.unreadable.as_ref()?.reason.clone();
        return Some(Blocked { at: part.target(), why: Why::Unreadable { reason } });
    };
    let why = why(part.queue.get(at)?, now)?;
    Some(Blocked { at, why })
}

fn why<R>(entry: &Entry<R>, now: Duration) -> Option<Why> {
    if entry.busy.is_some_and(|busy| busy.is_overdue) {
        return Some(Why::Overdue);
    }
    let past = entry.past.as_ref()?;
    let retrying = |next_in| {
        let (attempts, reason) = (past.attempts, past.reason.clone());
        Why::Retrying { attempts, reason, next_in }
    };
    match entry.stage {
        Stage::Condemned => Some(Why::Letter { reason: None }),
        Stage::Sleeping(until) => Some(retrying(until.saturating_sub(now))),
        Stage::Ready => Some(retrying(Duration::ZERO)),
        Stage::Settled => None,
    }
}
