//! The life that is crashed at each of its operations.

use std::time::Duration;

use brooklet::{Acks, Retention, SyncPolicy, TopicConfig};

use super::life::Step;

const HOUR: Duration = Duration::from_secs(3600);

/// Segments of a few records.
fn small(policy: SyncPolicy) -> TopicConfig {
    TopicConfig::new().sync(policy).segment_bytes(1024)
}

/// `orders` syncs always, `clicks` never, `beats` at times.
pub(super) fn whole_life() -> Vec<Step> {
    [first_records(), many_records(), fewer_records(), other_topics(), another_session()].concat()
}

fn first_records() -> Vec<Step> {
    let beats = small(SyncPolicy::Every(Duration::from_secs(1)));
    vec![
        Step::Open,
        Step::Create("orders", small(SyncPolicy::Always).partitions(2)),
        Step::Send("orders", 0, Acks::None, 40),
        Step::Send("orders", 0, Acks::Written, 40),
        Step::Send("orders", 0, Acks::Durable, 40),
        Step::Submit("orders", 1, Acks::Written, 40),
        Step::Create("clicks", small(SyncPolicy::Never)),
        Step::Send("clicks", 0, Acks::None, 40),
        Step::Send("clicks", 0, Acks::Written, 40),
        Step::Submit("clicks", 0, Acks::Durable, 40),
        Step::Send("clicks", 0, Acks::Written, 40),
        Step::Create("beats", beats.retention(Retention::forever().max_age(HOUR))),
        Step::Send("beats", 0, Acks::Written, 40),
        Step::Send("beats", 0, Acks::Durable, 40),
        Step::Send("beats", 0, Acks::Written, 40),
        Step::Pass(Duration::from_secs(2)),
        Step::Maintain,
        Step::Look,
    ]
}

/// Batches, and segment after segment.
fn many_records() -> Vec<Step> {
    let mut steps = vec![
        Step::SendAll("orders", Acks::Durable, 5, 40),
        Step::SendAll("clicks", Acks::Written, 5, 40),
        Step::SendAll("beats", Acks::None, 2, 40),
    ];
    for acks in [Acks::Written, Acks::None, Acks::Durable, Acks::Written] {
        steps.extend([
            Step::Send("orders", 0, acks, 400),
            Step::Send("clicks", 0, Acks::Written, 400),
            Step::Send("beats", 0, acks, 400),
            Step::Send("clicks", 0, Acks::None, 400),
        ]);
    }
    steps.extend([Step::Read, Step::Look]);
    steps
}

fn fewer_records() -> Vec<Step> {
    vec![
        Step::Trim("orders", 0, 9),
        Step::Trim("clicks", 0, 10),
        Step::Pass(2 * HOUR),
        Step::Send("beats", 0, Acks::Written, 40),
        Step::Maintain,
        Step::Send("clicks", 0, Acks::Written, 40),
        Step::Read,
    ]
}

fn other_topics() -> Vec<Step> {
    vec![
        Step::Grow("orders", 3),
        Step::Send("orders", 2, Acks::Durable, 40),
        Step::Send("orders", 2, Acks::Written, 40),
        Step::Alter("clicks", small(SyncPolicy::Always)),
        Step::Send("clicks", 0, Acks::Written, 40),
        Step::Delete("beats"),
        Step::Create("beats", small(SyncPolicy::Never)),
        Step::Send("beats", 0, Acks::Written, 400),
        Step::Send("beats", 0, Acks::Durable, 400),
        Step::Send("beats", 0, Acks::Written, 400),
        Step::Alter("orders", small(SyncPolicy::Never)),
        Step::Send("orders", 1, Acks::Written, 40),
    ]
}

/// A clean end and a sudden one, with something to do behind each.
fn another_session() -> Vec<Step> {
    vec![
        Step::Close,
        Step::Open,
        Step::Send("beats", 0, Acks::Written, 40),
        Step::Send("orders", 1, Acks::None, 40),
        Step::Read,
        Step::Kill,
        Step::Open,
        Step::Send("beats", 0, Acks::Written, 40),
        Step::Read,
        Step::SendAll("orders", Acks::Written, 3, 400),
        Step::SendAll("orders", Acks::Durable, 3, 400),
        Step::Trim("orders", 1, 6),
        Step::Trim("beats", 0, 2),
        Step::SendEverywhere(Acks::Written),
        Step::Close,
    ]
}

/// Segments so long that room is made in them ahead of the frames: filled, rolled, closed, and left.
pub(super) fn roomy_life() -> Vec<Step> {
    let long = |policy| TopicConfig::new().sync(policy).segment_bytes(300 * 1024);
    let mut steps = vec![
        Step::Open,
        Step::Create("orders", long(SyncPolicy::Always)),
        Step::Create("clicks", long(SyncPolicy::Never)),
    ];
    for acks in [Acks::Written, Acks::Durable, Acks::Written] {
        steps.extend([
            Step::Send("orders", 0, acks, 60_000),
            Step::SendAll("clicks", Acks::Written, 3, 20_000),
            Step::Send("orders", 0, Acks::Durable, 400),
            Step::Send("clicks", 0, acks, 65_000),
            Step::Send("orders", 0, Acks::None, 50_000),
            Step::Send("clicks", 0, Acks::None, 40),
        ]);
    }
    steps.extend([
        Step::Look,
        Step::Close,
        Step::Open,
        Step::Send("orders", 0, Acks::Durable, 400),
        Step::Send("clicks", 0, Acks::Written, 65_000),
        Step::Read,
        Step::Kill,
        Step::Open,
        Step::Send("clicks", 0, Acks::Written, 65_000),
        Step::Send("orders", 0, Acks::Durable, 65_000),
        Step::Send("orders", 0, Acks::Durable, 40),
    ]);
    steps
}
