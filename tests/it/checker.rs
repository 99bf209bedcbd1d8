//! The checker of histories: each anomaly is found in a history that has it, and in no good one.

use brooklet::Acks;
use brooklet::testing::checker::AnomalyKind as Kind;
use brooklet::testing::checker::{
    Crash, Event, LetterSeen, Mangled, Part, Place, Seen, Value, check,
};

mod bad;
mod good;

const FIRM: Place = Place { topic: 1, partition: 0 };
const LOOSE: Place = Place { topic: 2, partition: 0 };
const PASSING: Place = Place { topic: 3, partition: 0 };
const GROUP: u32 = 7;
const WORKERS: u32 = 8;

/// The topics of every history here: `firm` is synced, `loose` is not, of `passing` records expire.
fn topics() -> Vec<Event> {
    let topic = |topic, name: &str, is_synced, expires| {
        let name = name.to_owned();
        [Event::Topic { topic, name, is_synced, expires }, Event::Created(topic)]
    };
    let all = [topic(1, "firm", true, false), topic(2, "loose", false, false)];
    let mut all = all.concat();
    all.extend(topic(3, "passing", true, true));
    all.push(Event::Worker(WORKERS));
    all
}

/// The history of a story that begins with the topics.
fn history(story: impl IntoIterator<Item = Vec<Event>>) -> Vec<Event> {
    topics().into_iter().chain(story.into_iter().flatten()).collect()
}

fn value(counter: u64) -> Value {
    Value { producer: 1, counter }
}

/// Asked, and not answered.
fn doubt(place: Place, counter: u64) -> Vec<Event> {
    vec![Event::Send { place, value: value(counter) }]
}

fn sent(place: Place, counter: u64, offset: u64, acks: Acks) -> Vec<Event> {
    let value = value(counter);
    vec![Event::Send { place, value }, Event::Sent { value, offset, acks }]
}

/// Values 0, 1, .. at offsets 0, 1, ..
fn sent_all(place: Place, count: u64, acks: Acks) -> Vec<Event> {
    (0..count).flat_map(|number| sent(place, number, number, acks)).collect()
}

fn failed(place: Place, counter: u64) -> Vec<Event> {
    vec![Event::Send { place, value: value(counter) }, Event::Failed(value(counter))]
}

fn crash(crash: Crash) -> Vec<Event> {
    vec![Event::Crashed(crash)]
}

fn recovered(place: Place, start: u64, end: u64) -> Vec<Event> {
    vec![Event::Recovered { place, start, end }]
}

/// Read from `start` on, one value per offset.
fn drained(place: Place, start: u64, values: &[u64]) -> Vec<Event> {
    let records: Vec<(u64, Seen)> =
        (start..).zip(values.iter().map(|counter| Ok(value(*counter)))).collect();
    drained_as(place, start..start + values.len() as u64, records)
}

fn drained_as(place: Place, range: std::ops::Range<u64>, records: Vec<(u64, Seen)>) -> Vec<Event> {
    vec![Event::Drained { place, start: range.start, end: range.end, records }]
}

fn assigned(place: Place, assignment: u64) -> Vec<Event> {
    vec![Event::Assigned { group: GROUP, place, assignment }]
}

fn polled(place: Place, assignment: u64, offsets: &[u64]) -> Vec<Event> {
    let records = offsets.iter().map(|offset| (*offset, Ok(value(*offset)))).collect();
    vec![Event::Polled { assignment, place, records }]
}

/// Asked, and not answered.
fn tried(place: Place, assignment: u64, offset: u64) -> Vec<Event> {
    let parts = vec![Part { place, assignment, offset }];
    vec![Event::Commit { commit: assignment * 1000 + offset, group: GROUP, parts }]
}

fn committed(place: Place, assignment: u64, offset: u64) -> Vec<Event> {
    let mut events = tried(place, assignment, offset);
    events.push(Event::Committed(assignment * 1000 + offset));
    events
}

fn refused(place: Place, assignment: u64, offset: u64) -> Vec<Event> {
    let mut events = tried(place, assignment, offset);
    events.push(Event::Refused(assignment * 1000 + offset));
    events
}

fn position(group: u32, place: Place, committed: u64) -> Vec<Event> {
    vec![Event::Position { group, place, committed: Some(committed) }]
}

fn lowered(place: Place, from: u64, to: u64) -> Vec<Event> {
    vec![Event::Lowered { group: GROUP, place, from, to }]
}

fn handled(place: Place, offsets: &[u64]) -> Vec<Event> {
    let handled = |offset: &u64| Event::Handled { group: WORKERS, place, offset: *offset };
    offsets.iter().map(handled).collect()
}

fn letters(place: Place, values: &[Seen]) -> Vec<Event> {
    let letter = |value: &Seen| LetterSeen { place, offset: 0, value: *value };
    vec![Event::Letters { group: WORKERS, letters: values.iter().map(letter).collect() }]
}
