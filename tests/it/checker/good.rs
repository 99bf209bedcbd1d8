//! Histories of a log that keeps its promises, as far as they go.

use super::*;

/// A log that keeps its promises would be accused.
#[test]
fn what_is_allowed_is_no_anomaly() {
    for (name, story) in stories() {
        let found = check(&history(story));
        assert!(found.is_empty(), "{name}: {found:?}");
    }
}

fn stories() -> Vec<(&'static str, Vec<Vec<Event>>)> {
    let (power, process) = (crash(Crash::Power), crash(Crash::Process));
    let read = |place| {
        let all = [assigned(place, 1), polled(place, 1, &[0, 1, 2, 3, 4])];
        [sent_all(place, 5, Acks::Written), all.concat()].concat()
    };
    vec![
        (
            "in doubt, and there",
            vec![
                doubt(FIRM, 0),
                doubt(FIRM, 1),
                power.clone(),
                recovered(FIRM, 0, 1),
                drained(FIRM, 0, &[1]),
            ],
        ),
        (
            "in doubt, and not there",
            vec![
                doubt(FIRM, 0),
                power.clone(),
                recovered(FIRM, 0, 0),
                drained(FIRM, 0, &[]),
                sent(FIRM, 1, 0, Acks::Durable),
                drained(FIRM, 0, &[1]),
            ],
        ),
        (
            "refused, and not there",
            vec![failed(FIRM, 0), sent(FIRM, 1, 0, Acks::Durable), drained(FIRM, 0, &[1])],
        ),
        (
            "a power cut takes what was not synced",
            vec![
                sent_all(LOOSE, 4, Acks::Written),
                power.clone(),
                recovered(LOOSE, 0, 2),
                drained(LOOSE, 0, &[0, 1]),
                sent(LOOSE, 9, 2, Acks::Durable),
                drained(LOOSE, 0, &[0, 1, 9]),
            ],
        ),
        (
            "a kill takes what was not written",
            vec![
                sent_all(FIRM, 2, Acks::Written),
                sent(FIRM, 2, 2, Acks::None),
                process.clone(),
                recovered(FIRM, 0, 2),
                drained(FIRM, 0, &[0, 1]),
            ],
        ),
        (
            "a power cut takes written records of a synced topic that nobody has seen",
            vec![
                sent_all(FIRM, 2, Acks::Written),
                power.clone(),
                recovered(FIRM, 0, 0),
                drained(FIRM, 0, &[]),
            ],
        ),
        (
            "more survives than must",
            vec![
                sent_all(LOOSE, 3, Acks::None),
                power.clone(),
                recovered(LOOSE, 0, 3),
                drained(LOOSE, 0, &[0, 1, 2]),
            ],
        ),
        (
            "written records of a synced topic are not shown yet",
            vec![
                sent(FIRM, 0, 0, Acks::Durable),
                sent(FIRM, 1, 1, Acks::Written),
                drained(FIRM, 0, &[0]),
                drained(FIRM, 0, &[0, 1]),
            ],
        ),
        (
            "an answer that comes behind the reading of it",
            vec![
                doubt(FIRM, 0),
                assigned(FIRM, 1),
                polled(FIRM, 1, &[0]),
                vec![Event::Sent { value: value(0), offset: 0, acks: Acks::Durable }],
            ],
        ),
        (
            "accepted, not written, and its offset given away",
            vec![
                sent(FIRM, 0, 0, Acks::None),
                sent(FIRM, 1, 0, Acks::None),
                sent(FIRM, 2, 0, Acks::Durable),
                process.clone(),
                recovered(FIRM, 0, 1),
                drained(FIRM, 0, &[2]),
            ],
        ),
        (
            "two crashes with nobody looking in between",
            vec![
                sent_all(LOOSE, 4, Acks::Written),
                process.clone(),
                power.clone(),
                recovered(LOOSE, 0, 0),
                drained(LOOSE, 0, &[]),
            ],
        ),
        (
            "a trim, asked for and found or not",
            vec![
                sent_all(FIRM, 4, Acks::Durable),
                vec![Event::Trim { place: FIRM, before: 3 }],
                process.clone(),
                recovered(FIRM, 0, 4),
                drained(FIRM, 0, &[0, 1, 2, 3]),
                drained(FIRM, 3, &[3]),
            ],
        ),
        (
            "expired as it may, and a little comes back",
            vec![
                sent_all(PASSING, 4, Acks::Durable),
                drained(PASSING, 2, &[2, 3]),
                power.clone(),
                recovered(PASSING, 1, 4),
                drained(PASSING, 1, &[1, 2, 3]),
            ],
        ),
        (
            "topics that may be there or not",
            vec![
                vec![Event::Deleting(2)],
                process.clone(),
                vec![Event::Topics(vec![1, 3])],
                vec![Event::Topic {
                    topic: 4,
                    name: "new".into(),
                    is_synced: true,
                    expires: false,
                }],
                process.clone(),
                vec![Event::Topics(vec![1, 3])],
            ],
        ),
        (
            "topics that were seen once, and nothing was answered about them",
            vec![
                vec![
                    Event::Topic { topic: 4, name: "n".into(), is_synced: true, expires: false },
                    Event::Deleting(3),
                ],
                process.clone(),
                vec![Event::Topics(vec![1, 2, 4])],
                power.clone(),
                vec![Event::Topics(vec![1, 2, 3])],
            ],
        ),
        (
            "given again from the commit on",
            vec![read(FIRM), committed(FIRM, 1, 2), assigned(FIRM, 2), polled(FIRM, 2, &[2, 3])],
        ),
        (
            "a commit that was never answered, found or not",
            vec![
                read(FIRM),
                committed(FIRM, 1, 2),
                tried(FIRM, 1, 4),
                process.clone(),
                recovered(FIRM, 0, 5),
                position(GROUP, FIRM, 4),
                assigned(FIRM, 2),
                polled(FIRM, 2, &[4]),
                power.clone(),
                recovered(FIRM, 0, 5),
                position(GROUP, FIRM, 2),
            ],
        ),
        (
            "commits beside a member that is given something",
            vec![
                read(FIRM),
                tried(FIRM, 1, 3),
                assigned(FIRM, 2),
                polled(FIRM, 2, &[3]),
                vec![Event::Committed(1003)],
            ],
        ),
        (
            "a commit by who was given the partition and has not read it yet",
            vec![read(FIRM), assigned(FIRM, 2), committed(FIRM, 2, 3)],
        ),
        (
            "refused commits change nothing",
            vec![
                read(FIRM),
                assigned(FIRM, 2),
                refused(FIRM, 1, 3),
                refused(FIRM, 2, 99),
                process.clone(),
                recovered(FIRM, 0, 5),
                vec![Event::Position { group: GROUP, place: FIRM, committed: None }],
            ],
        ),
        (
            "a commit of an unsynced topic lowered, or gone, behind a power cut",
            vec![
                read(LOOSE),
                committed(LOOSE, 1, 5),
                power.clone(),
                recovered(LOOSE, 0, 3),
                lowered(LOOSE, 5, 3),
                position(GROUP, LOOSE, 3),
                drained(LOOSE, 0, &[0, 1, 2]),
                power.clone(),
                recovered(LOOSE, 0, 3),
                position(GROUP, LOOSE, 0),
            ],
        ),
        (
            "passed over what was trimmed",
            vec![
                read(FIRM),
                vec![Event::Trim { place: FIRM, before: 3 }],
                assigned(FIRM, 2),
                polled(FIRM, 2, &[3, 4]),
                committed(FIRM, 2, 5),
                process.clone(),
                recovered(FIRM, 3, 5),
                position(GROUP, FIRM, 5),
            ],
        ),
        (
            "handled, or a letter, or handled once more",
            vec![
                sent_all(FIRM, 3, Acks::Durable),
                handled(FIRM, &[0, 1]),
                process.clone(),
                recovered(FIRM, 0, 3),
                letters(FIRM, &[]),
                position(WORKERS, FIRM, 1),
                handled(FIRM, &[1]),
                process,
                recovered(FIRM, 0, 3),
                letters(FIRM, &[Ok(value(2))]),
                position(WORKERS, FIRM, 3),
                letters(FIRM, &[Ok(value(2))]),
            ],
        ),
        (
            "closed and opened",
            vec![
                sent_all(LOOSE, 2, Acks::None),
                vec![Event::Closed],
                recovered(LOOSE, 0, 2),
                drained(LOOSE, 0, &[0, 1]),
            ],
        ),
    ]
}
