//! The rows of the golden journals, read as docs/FORMAT.md says.

use std::collections::BTreeMap;

use super::golden::{golden, parsed};
use super::parser::{Parsed, u64_at};

/// Every key of a journal with its last value, as a reader of the page puts them together.
fn entries(journal: &Parsed) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut entries = BTreeMap::new();
    for record in journal.frames.iter().flat_map(|frame| &frame.records) {
        let key = record.key.clone().unwrap();
        match &record.value {
            Some(value) => entries.insert(key, value.clone()),
            None => entries.remove(&key),
        };
    }
    entries
}

fn words(value: &[u8]) -> Vec<u64> {
    assert!(value.len().is_multiple_of(8));
    (0..value.len()).step_by(8).map(|at| u64_at(value, at)).collect()
}

fn key(topic: u64, partition: u32, rest: &[u8]) -> Vec<u8> {
    [&topic.to_be_bytes()[..], &partition.to_be_bytes(), rest].concat()
}

fn segment_key(topic: u64, partition: u32, segment: &Parsed) -> Vec<u8> {
    let place = segment.head.place;
    let rest = [&[1][..], &place.base.to_be_bytes(), &place.salt.to_be_bytes()].concat();
    key(topic, partition, &rest)
}

/// The page, or the journal, would be wrong about where partitions stand.
#[test]
fn the_manifest_lists_what_is_there() {
    let manifest = parsed("manifest", 0);
    assert_eq!((manifest.head.place.topic, manifest.head.place.partition), (0, 1));
    let mut rows = entries(&manifest);

    let (sealed, active) = (parsed("topics/1/0", 0), parsed("topics/1/0", 1));
    let footer = sealed.footer.as_ref().unwrap();
    let row = rows.remove(&segment_key(1, 0, &sealed)).unwrap();
    assert_eq!(words(&row)[..3], [1, footer.end, footer.frames_end]);
    assert_eq!(words(&row)[3].cast_signed(), footer.last_append);
    assert_eq!(footer.end, sealed.frames.last().unwrap().offsets().end);
    assert_eq!(footer.frames_end as usize, sealed.frames.last().unwrap().bytes.end);

    let row = rows.remove(&segment_key(1, 0, &active)).unwrap();
    assert_eq!(words(&row)[..3], [0, active.head.place.base, 64]);
    let last = active.frames.last().unwrap();
    let row = words(&rows.remove(&key(1, 0, &[0])).unwrap());
    let place = active.head.place;
    let end = last.offsets().end;
    let scan_from = [place.base, u64::from(place.salt), last.bytes.end as u64, end];
    assert_eq!(row[..2], [0, end]);
    assert_eq!(row[2..6], scan_from);
    assert_eq!(row[6].cast_signed(), last.append_time);

    let other = parsed("topics/1/1", 0);
    assert!(rows.remove(&segment_key(1, 1, &other)).is_some());
    assert!(rows.remove(&key(1, 1, &[0])).is_some());

    let marker = words(&rows.remove(&b"clean"[..]).unwrap());
    let print = |number, dir| {
        let (journal, (_, bytes)) = (parsed(dir, 0), golden(dir, 0));
        let place = journal.head.place;
        let end = journal.frames.last().map_or(0, |last| last.offsets().end);
        [number, place.base, u64::from(place.salt), bytes.len() as u64, end]
    };
    assert_eq!(marker, [&[2][..], &print(2, "catalog"), &print(3, "offsets")].concat());
    assert!(rows.is_empty(), "{rows:?}");
}

/// The page, or the journal, would be wrong about how topics are kept.
#[test]
fn the_catalog_lists_the_topics() {
    let catalog = parsed("catalog", 0);
    assert_eq!((catalog.head.place.topic, catalog.head.place.partition), (0, 2));
    let rows = entries(&catalog);
    assert_eq!(rows.keys().collect::<Vec<_>>(), [b"orders"]);
    let row = words(&rows[&b"orders"[..]]);
    assert_eq!(row, [1, 2, 0, 0, 1024, 0, 0, 0, 0, 0, 0, 0, 1024 * 1024]);
}
