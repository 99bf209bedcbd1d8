//! Histories that each show one thing that must not happen.

use super::*;

/// A fault of the log would go unnoticed, or be reported as another one.
#[test]
fn each_anomaly_is_found_where_it_is() {
    for (name, kinds, story) in stories() {
        let found = check(&history(story));
        let found_kinds: Vec<Kind> = found.iter().map(|anomaly| anomaly.kind).collect();
        assert_eq!(found_kinds, kinds, "{name}: {found:?}");
        for anomaly in found {
            let text = anomaly.to_string();
            let promise = format!("(breaks promise {})", anomaly.kind.promise());
            assert!(text.contains(anomaly.kind.as_str()) && text.ends_with(&promise), "{text}");
            let topics = ["firm", "loose", "passing", "letters of group 8"];
            assert!(topics.iter().any(|topic| text.contains(topic)), "{text}");
        }
    }
}

type Story = (&'static str, &'static [Kind], Vec<Vec<Event>>);

fn stories() -> Vec<Story> {
    [records(), topics_and_letters(), polls(), commits()].concat()
}

fn records() -> Vec<Story> {
    let (power, process) = (crash(Crash::Power), crash(Crash::Process));
    let durable = |count| sent_all(FIRM, count, Acks::Durable);
    let written = |count| sent_all(LOOSE, count, Acks::Written);
    let mangled: Seen = Err(Mangled { bytes: 3 });
    vec![
        (
            "durable acks and a power cut",
            &[Kind::LostPostfix],
            vec![durable(3), power.clone(), recovered(FIRM, 0, 2)],
        ),
        (
            "written acks and a kill",
            &[Kind::LostPostfix],
            vec![written(3), process.clone(), recovered(LOOSE, 0, 1)],
        ),
        (
            "a durable ack covers what stands below it",
            &[Kind::LostPostfix],
            vec![
                sent(LOOSE, 0, 0, Acks::None),
                sent(LOOSE, 1, 1, Acks::Durable),
                power.clone(),
                recovered(LOOSE, 0, 0),
            ],
        ),
        (
            "read from a synced topic, then gone",
            &[Kind::LostPostfix],
            vec![
                doubt(FIRM, 0),
                assigned(FIRM, 1),
                polled(FIRM, 1, &[0]),
                power.clone(),
                recovered(FIRM, 0, 0),
            ],
        ),
        (
            "shown behind a kill, then gone",
            &[Kind::LostPostfix],
            vec![
                written(2),
                process.clone(),
                recovered(LOOSE, 0, 2),
                power.clone(),
                recovered(LOOSE, 0, 1),
            ],
        ),
        (
            "closed, then gone",
            &[Kind::LostPostfix],
            vec![written(2), vec![Event::Closed], power.clone(), recovered(LOOSE, 0, 1)],
        ),
        ("gone without any crash", &[Kind::LostPostfix], vec![durable(2), drained(FIRM, 0, &[0])]),
        (
            "gone from the start",
            &[Kind::LostPrefix],
            vec![durable(3), process.clone(), recovered(FIRM, 1, 3), drained(FIRM, 1, &[1, 2])],
        ),
        (
            "trimmed further than asked",
            &[Kind::LostPrefix],
            vec![durable(3), vec![Event::Trim { place: FIRM, before: 1 }], drained(FIRM, 2, &[2])],
        ),
        (
            "gone from the middle",
            &[Kind::LostMiddle],
            vec![
                durable(3),
                process.clone(),
                recovered(FIRM, 0, 3),
                drained_as(FIRM, 0..3, vec![(0, Ok(value(0))), (2, Ok(value(2)))]),
            ],
        ),
        (
            "an offset that nobody had",
            &[Kind::Gap],
            vec![
                sent(FIRM, 0, 0, Acks::Durable),
                sent(FIRM, 2, 2, Acks::Durable),
                drained_as(FIRM, 0..3, vec![(0, Ok(value(0))), (2, Ok(value(2)))]),
            ],
        ),
        (
            "reading stops before the end",
            &[Kind::LostMiddle],
            vec![durable(2), drained_as(FIRM, 0..2, vec![(0, Ok(value(0)))])],
        ),
        (
            "in doubt, and there twice",
            &[Kind::Duplicate],
            vec![doubt(FIRM, 0), process.clone(), recovered(FIRM, 0, 2), drained(FIRM, 0, &[0, 0])],
        ),
        (
            "acknowledged at one offset, read at another",
            &[Kind::Duplicate],
            vec![sent(FIRM, 0, 0, Acks::Durable), doubt(FIRM, 1), drained(FIRM, 0, &[0, 0])],
        ),
        ("sent by nobody", &[Kind::Phantom], vec![drained(FIRM, 0, &[5])]),
        ("sent to another place", &[Kind::Phantom], vec![doubt(LOOSE, 0), drained(FIRM, 0, &[0])]),
        (
            "lost, and there again",
            &[Kind::Phantom],
            vec![
                sent(LOOSE, 0, 0, Acks::Written),
                power.clone(),
                recovered(LOOSE, 0, 0),
                drained(LOOSE, 0, &[]),
                drained(LOOSE, 0, &[0]),
            ],
        ),
        (
            "in doubt, gone, and there again",
            &[Kind::Phantom],
            vec![
                doubt(FIRM, 0),
                power.clone(),
                recovered(FIRM, 0, 0),
                drained(FIRM, 0, &[]),
                drained(FIRM, 0, &[0]),
            ],
        ),
        (
            "refused, and there all the same",
            &[Kind::AbortedRead],
            vec![failed(FIRM, 0), drained(FIRM, 0, &[0])],
        ),
        (
            "read first, then refused",
            &[Kind::AbortedRead],
            vec![
                doubt(FIRM, 0),
                assigned(FIRM, 1),
                polled(FIRM, 1, &[0]),
                vec![Event::Failed(value(0))],
            ],
        ),
        (
            "one offset given twice",
            &[Kind::InconsistentOffset],
            vec![sent(FIRM, 0, 0, Acks::Durable), sent(FIRM, 1, 0, Acks::Durable)],
        ),
        (
            "accepted for one offset, read at another",
            &[Kind::InconsistentOffset],
            vec![sent(FIRM, 0, 1, Acks::None), drained(FIRM, 0, &[0])],
        ),
        (
            "one offset read twice",
            &[Kind::InconsistentOffset],
            vec![doubt(FIRM, 0), doubt(FIRM, 1), drained(FIRM, 0, &[0]), drained(FIRM, 0, &[1])],
        ),
        (
            "other bytes",
            &[Kind::CorruptValue],
            vec![durable(1), drained_as(FIRM, 0..1, vec![(0, mangled)])],
        ),
        (
            "in another order than sent",
            &[Kind::Reordered],
            vec![
                doubt(FIRM, 0),
                doubt(FIRM, 1),
                process,
                recovered(FIRM, 0, 2),
                drained(FIRM, 0, &[1, 0]),
            ],
        ),
    ]
}

fn topics_and_letters() -> Vec<Story> {
    let process = crash(Crash::Process);
    let listed = |topics: &[u32]| vec![Event::Topics(topics.to_vec())];
    vec![
        ("a topic gone", &[Kind::TopicLost], vec![process.clone(), listed(&[1, 3])]),
        (
            "a topic gone, half deleted once, that has taken records since",
            &[Kind::TopicLost],
            vec![
                vec![Event::Deleting(2)],
                process.clone(),
                listed(&[1, 2, 3]),
                sent(LOOSE, 0, 0, Acks::Written),
                process.clone(),
                listed(&[1, 3]),
            ],
        ),
        (
            "a topic back",
            &[Kind::TopicBack],
            vec![vec![Event::Deleting(2), Event::Deleted(2)], process.clone(), listed(&[1, 2, 3])],
        ),
        (
            "two letters about one record",
            &[Kind::LetterDuplicated],
            vec![letters(FIRM, &[Ok(value(0)), Ok(value(0))])],
        ),
        (
            "a letter gone",
            &[Kind::LetterLost],
            vec![letters(FIRM, &[Ok(value(0)), Ok(value(1))]), letters(FIRM, &[Ok(value(1))])],
        ),
        (
            "a letter of other bytes",
            &[Kind::CorruptValue],
            vec![letters(FIRM, &[Err(Mangled { bytes: 3 })])],
        ),
        (
            "committed and not handled",
            &[Kind::Unhandled],
            vec![
                sent_all(FIRM, 3, Acks::Durable),
                handled(FIRM, &[0]),
                process.clone(),
                recovered(FIRM, 0, 3),
                letters(FIRM, &[Ok(value(2))]),
                position(WORKERS, FIRM, 3),
            ],
        ),
        (
            "handled before it was another record",
            &[Kind::Unhandled],
            vec![
                sent(LOOSE, 0, 0, Acks::Written),
                handled(LOOSE, &[0]),
                crash(Crash::Power),
                recovered(LOOSE, 0, 0),
                drained(LOOSE, 0, &[]),
                sent(LOOSE, 1, 0, Acks::Durable),
                process,
                recovered(LOOSE, 0, 1),
                position(WORKERS, LOOSE, 1),
            ],
        ),
    ]
}

fn polls() -> Vec<Story> {
    let ten = sent_all(FIRM, 10, Acks::Durable);
    vec![
        (
            "a hole in a poll",
            &[Kind::SkippedPoll],
            vec![ten.clone(), assigned(FIRM, 1), polled(FIRM, 1, &[0, 2])],
        ),
        (
            "a hole between polls",
            &[Kind::SkippedPoll],
            vec![ten.clone(), assigned(FIRM, 1), polled(FIRM, 1, &[0]), polled(FIRM, 1, &[2])],
        ),
        (
            "begun behind the commit",
            &[Kind::SkippedPoll],
            vec![
                ten.clone(),
                assigned(FIRM, 1),
                polled(FIRM, 1, &[0, 1, 2]),
                committed(FIRM, 1, 2),
                assigned(FIRM, 2),
                polled(FIRM, 2, &[3]),
            ],
        ),
        (
            "given twice in one assignment",
            &[Kind::NonmonotonicPoll],
            vec![ten.clone(), assigned(FIRM, 1), polled(FIRM, 1, &[0, 1]), polled(FIRM, 1, &[1])],
        ),
        (
            "given in the wrong order",
            &[Kind::SkippedPoll, Kind::NonmonotonicPoll],
            vec![ten, assigned(FIRM, 1), polled(FIRM, 1, &[1, 0])],
        ),
    ]
}

fn commits() -> Vec<Story> {
    let read = vec![
        sent_all(FIRM, 5, Acks::Durable),
        assigned(FIRM, 1),
        polled(FIRM, 1, &[0, 1, 2, 3, 4]),
    ];
    let loose = vec![
        sent_all(LOOSE, 5, Acks::Written),
        assigned(LOOSE, 1),
        polled(LOOSE, 1, &[0, 1, 2, 3, 4]),
    ];
    let then = |before: &[Vec<Event>], after: Vec<Vec<Event>>| [before, &after].concat();
    let (power, process) = (crash(Crash::Power), crash(Crash::Process));
    vec![
        (
            "by a member that had lost it",
            &[Kind::ZombieCommit],
            then(&read, vec![assigned(FIRM, 2), polled(FIRM, 2, &[0]), committed(FIRM, 1, 3)]),
        ),
        (
            "though it had kept it",
            &[Kind::OwnerRefused],
            then(&read, vec![tried(FIRM, 1, 5), vec![Event::Disowned(1005)]]),
        ),
        (
            "backward",
            &[Kind::CommitRegress],
            then(&read, vec![committed(FIRM, 1, 3), committed(FIRM, 1, 2)]),
        ),
        ("behind the end", &[Kind::CommitPastEnd], then(&read, vec![committed(FIRM, 1, 6)])),
        (
            "behind the recovered end",
            &[Kind::CommitPastEnd],
            then(
                &loose,
                vec![
                    committed(LOOSE, 1, 5),
                    power.clone(),
                    recovered(LOOSE, 0, 3),
                    position(GROUP, LOOSE, 5),
                ],
            ),
        ),
        (
            "lowered where nothing can be lost",
            &[Kind::CommitPastEnd],
            then(
                &read,
                vec![
                    committed(FIRM, 1, 5),
                    power.clone(),
                    recovered(FIRM, 0, 5),
                    lowered(FIRM, 6, 5),
                ],
            ),
        ),
        (
            "lowered behind a kill",
            &[Kind::CommitPastEnd],
            then(
                &loose,
                vec![
                    tried(LOOSE, 1, 5),
                    process.clone(),
                    recovered(LOOSE, 0, 5),
                    lowered(LOOSE, 6, 5),
                ],
            ),
        ),
        (
            "gone with the power",
            &[Kind::CommitLost],
            then(
                &read,
                vec![committed(FIRM, 1, 4), power, recovered(FIRM, 0, 5), position(GROUP, FIRM, 3)],
            ),
        ),
        (
            "gone with the process",
            &[Kind::CommitLost],
            then(
                &loose,
                vec![
                    committed(LOOSE, 1, 4),
                    process.clone(),
                    recovered(LOOSE, 0, 5),
                    vec![Event::Position { group: GROUP, place: LOOSE, committed: None }],
                ],
            ),
        ),
        (
            "found, though it was refused",
            &[Kind::CommitInvented],
            then(
                &read,
                vec![
                    committed(FIRM, 1, 2),
                    refused(FIRM, 1, 4),
                    process.clone(),
                    recovered(FIRM, 0, 5),
                    position(GROUP, FIRM, 4),
                ],
            ),
        ),
        (
            "by nobody",
            &[Kind::CommitInvented],
            then(
                &read,
                vec![
                    committed(FIRM, 1, 2),
                    process,
                    recovered(FIRM, 0, 5),
                    position(GROUP, FIRM, 3),
                ],
            ),
        ),
    ]
}
