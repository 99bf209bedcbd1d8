//! Looks at a log that is open again: what is there goes into the history.

use std::collections::BTreeMap;

use brooklet::dlq::{Filter, Letters};
use brooklet::testing::checker::{Event, LetterSeen, Place, Seen, Value};
use brooklet::{Error, ErrorKind, TopicInfo, TopicRole};

use crate::plan::{FOLLOWED, Group, LASTING, PASSING_FROM, WORKED, lasting_number, number_of};
use crate::scene::{Scene, partition_of, place_of};
use crate::tally::Found;

/// Opens every partition, which recovers it, and takes down where it stands.
///
/// Nobody may have sent anything yet. Passing topics are sent to again from here on.
pub(crate) fn recover(scene: &Scene) -> Result<Vec<(Place, TopicInfo)>, Error> {
    let topics = scene.log.topics()?;
    let plain = topics.into_iter().filter(|topic| *topic.role() == TopicRole::Plain);
    let topics: Vec<_> = plain.filter_map(|topic| Some((number_of(&topic)?, topic))).collect();
    scene.note(Event::Topics(topics.iter().map(|(number, _)| *number).collect()));
    let mut places = Vec::new();
    for (number, topic) in topics {
        let count = topic.config.partition_count();
        for partition in 0..count {
            let Some(name) = partition_of(topic.name.as_str(), partition) else { continue };
            let offsets = scene.log.offsets(&name)?;
            let place = Place { topic: number, partition };
            let (start, end) = (offsets.start.value(), offsets.end.value());
            scene.note(Event::Recovered { place, start, end });
            places.push((place, topic.clone()));
        }
        if number >= PASSING_FROM {
            scene.open(number, topic.name.as_str().to_owned(), count)?;
        }
    }
    for lowered in scene.log.recovery().lowered_commits {
        let group = FOLLOWED.iter().find(|group| group.name == lowered.group.as_str());
        let group = group.map_or(WORKED.number, |group| group.number);
        let Some(place) = place_of(&lowered.partition) else { continue };
        let (from, to) = (lowered.from.value(), lowered.to.value());
        scene.note(Event::Lowered { group, place, from, to });
    }
    Ok(places)
}

/// Reads everything there is: records, letters, commits, and what recovery says of itself.
pub(crate) fn read_all(scene: &Scene, places: &[(Place, TopicInfo)]) -> Result<Found, Error> {
    let mut found = Found::default();
    for (place, topic) in places {
        let name = topic.name.as_str();
        let reader = scene.log.reader(name).partition(place.partition).stop_at_end().open()?;
        let mut records: Vec<(u64, Seen)> = Vec::new();
        for record in reader {
            let record = record?;
            let value = Value::decode(record.value().unwrap_or_default());
            records.push((record.offset().value(), value));
        }
        let Some(partition) = partition_of(name, place.partition) else { continue };
        let offsets = scene.log.offsets(&partition)?;
        let (start, end) = (offsets.start.value(), offsets.end.value());
        found.records += records.len() as u64;
        scene.note(Event::Drained { place: *place, start, end, records });
    }
    let letters = Letters::of(&scene.log).list(&Filter::new().group(WORKED.name))?;
    let seen = letters.iter().filter_map(|letter| {
        let value = Value::decode(letter.value().unwrap_or_default());
        let (place, offset) = (place_of(letter.source())?, letter.source_offset().value());
        Some(LetterSeen { place, offset, value })
    });
    scene.note(Event::Letters { group: WORKED.number, letters: seen.collect() });
    for group in FOLLOWED.iter().chain([&WORKED]) {
        positions(scene, group)?;
    }
    found.letters = letters.len() as u64;
    let recovery = scene.log.recovery();
    for partition in &recovery.partitions {
        found.torn += u64::from(partition.torn_bytes > 0);
        found.kept += partition.kept_records;
        if let Some(damage) = &partition.damage {
            found.damage.push(damage.to_string());
        }
    }
    found.lowered = recovery.lowered_commits.len() as u64;
    found.torn_journals = recovery.torn_journals.len() as u64;
    Ok(found)
}

/// What a group has committed of its topics, those that it has never read included.
fn positions(scene: &Scene, group: &Group) -> Result<(), Error> {
    let described = match scene.log.group(group.name) {
        Ok(described) => described.partitions,
        Err(error) if error.kind() == ErrorKind::UnknownGroup => Vec::new(),
        Err(error) => return Err(error),
    };
    let committed = described.iter().filter_map(|partition| {
        let committed = partition.committed.as_ref()?.offset().value();
        Some((place_of(&partition.partition)?, committed))
    });
    let committed: BTreeMap<_, _> = committed.collect();
    for topic in group.topics {
        let Some(number) = lasting_number(topic) else { continue };
        let lasting = LASTING.iter().find(|lasting| lasting.name == *topic);
        for partition in 0..lasting.map_or(0, |lasting| lasting.partitions) {
            let place = Place { topic: number, partition };
            let committed = committed.get(&place).copied();
            scene.note(Event::Position { group: group.number, place, committed });
        }
    }
    Ok(())
}
