//! Events as lines of text, to go through a pipe: a letter, then numbers.

use std::str::FromStr;

use brooklet::Acks;
use brooklet::testing::checker::{Event, Mangled, Part, Place, Seen, Value};

/// The line of an event that a child may tell of; empty for those that only its parent sees.
pub(crate) fn encode(event: &Event) -> String {
    match event {
        Event::Topic { topic, name, is_synced, expires } => {
            format!("T {topic} {name} {is_synced} {expires}")
        }
        Event::Created(topic) => format!("C {topic}"),
        Event::Deleting(topic) => format!("d {topic}"),
        Event::Deleted(topic) => format!("D {topic}"),
        Event::Send { place, value } => format!("s {} {value}", spot(*place)),
        Event::Sent { value, offset, acks } => format!("S {value} {offset} {}", ack(*acks)),
        Event::Failed(value) => format!("F {value}"),
        Event::Trim { place, before } => format!("t {} {before}", spot(*place)),
        Event::Assigned { group, place, assignment } => {
            format!("A {group} {} {assignment}", spot(*place))
        }
        Event::Polled { assignment, place, records } => {
            let records = records.iter().map(|(offset, seen)| match seen {
                Ok(value) => format!(" {offset} {value}"),
                Err(mangled) => format!(" {offset} !{}", mangled.bytes),
            });
            format!("P {assignment} {}{}", spot(*place), records.collect::<String>())
        }
        Event::Commit { commit, group, parts } => {
            let part =
                |part: &Part| format!(" {} {} {}", spot(part.place), part.assignment, part.offset);
            format!("k {commit} {group}{}", parts.iter().map(part).collect::<String>())
        }
        Event::Committed(commit) => format!("K {commit}"),
        Event::Refused(commit) => format!("N {commit}"),
        Event::Disowned(commit) => format!("O {commit}"),
        Event::Handled { group, place, offset } => {
            format!("H {group} {} {offset}", spot(*place))
        }
        Event::Topics(topics) => {
            format!("L{}", topics.iter().map(|topic| format!(" {topic}")).collect::<String>())
        }
        Event::Recovered { place, start, end } => format!("R {} {start} {end}", spot(*place)),
        Event::Lowered { group, place, from, to } => {
            format!("W {group} {} {from} {to}", spot(*place))
        }
        _ => String::new(),
    }
}

/// The event of a line; none if it is not a whole one.
pub(crate) fn decode(line: &str) -> Option<Event> {
    let mut words = Words(line.split(' '));
    let event = match words.0.next()? {
        "T" => Event::Topic {
            topic: words.number()?,
            name: words.number()?,
            is_synced: words.number()?,
            expires: words.number()?,
        },
        "C" => Event::Created(words.number()?),
        "d" => Event::Deleting(words.number()?),
        "D" => Event::Deleted(words.number()?),
        "s" => Event::Send { place: words.place()?, value: words.seen()?.ok()? },
        "S" => Event::Sent {
            value: words.seen()?.ok()?,
            offset: words.number()?,
            acks: acks(words.0.next()?)?,
        },
        "F" => Event::Failed(words.seen()?.ok()?),
        "t" => Event::Trim { place: words.place()?, before: words.number()? },
        "A" => Event::Assigned {
            group: words.number()?,
            place: words.place()?,
            assignment: words.number()?,
        },
        "P" => {
            let (assignment, place) = (words.number()?, words.place()?);
            let record = || Some((words.number()?, words.seen()?));
            Event::Polled { assignment, place, records: std::iter::from_fn(record).collect() }
        }
        "k" => {
            let (commit, group) = (words.number()?, words.number()?);
            let part = || {
                let (place, assignment) = (words.place()?, words.number()?);
                Some(Part { place, assignment, offset: words.number()? })
            };
            Event::Commit { commit, group, parts: std::iter::from_fn(part).collect() }
        }
        "K" => Event::Committed(words.number()?),
        "N" => Event::Refused(words.number()?),
        "O" => Event::Disowned(words.number()?),
        "H" => Event::Handled {
            group: words.number()?,
            place: words.place()?,
            offset: words.number()?,
        },
        "L" => Event::Topics(std::iter::from_fn(|| words.number()).collect()),
        "R" => {
            Event::Recovered { place: words.place()?, start: words.number()?, end: words.number()? }
        }
        "W" => Event::Lowered {
            group: words.number()?,
            place: words.place()?,
            from: words.number()?,
            to: words.number()?,
        },
        _ => return None,
    };
    Some(event)
}

struct Words<'a>(std::str::Split<'a, char>);

impl Words<'_> {
    fn number<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn place(&mut self) -> Option<Place> {
        let (topic, partition) = self.0.next()?.split_once('/')?;
        Some(Place { topic: topic.parse().ok()?, partition: partition.parse().ok()? })
    }

    fn seen(&mut self) -> Option<Seen> {
        let word = self.0.next()?;
        if let Some(bytes) = word.strip_prefix('!') {
            return Some(Err(Mangled { bytes: bytes.parse().ok()? }));
        }
        let (producer, counter) = word.split_once(':')?;
        Some(Ok(Value { producer: producer.parse().ok()?, counter: counter.parse().ok()? }))
    }
}

fn spot(place: Place) -> String {
    format!("{}/{}", place.topic, place.partition)
}

fn ack(acks: Acks) -> &'static str {
    match acks {
        Acks::None => "none",
        Acks::Written => "written",
        _ => "durable",
    }
}

fn acks(word: &str) -> Option<Acks> {
    match word {
        "none" => Some(Acks::None),
        "written" => Some(Acks::Written),
        "durable" => Some(Acks::Durable),
        _ => None,
    }
}
