//! The log and the second reader say the same of a directory, record by record.

use brooklet::testing::SimDisk;

use super::world::{Seen, disk_with, files_of, look_at, open_on};
use crate::format::directory::{Directory, Unreadable, read};

/// Opens a copy of what stands on a disk, for writing and only to read, and compares.
///
/// # Panics
/// If the two say different things; returns how many records they agree on.
pub(crate) fn agree(disk: &SimDisk, story: &str) -> usize {
    let files = files_of(disk);
    let reference = read(&files);
    let mut count = 0;
    for read_only in [true, false] {
        match open_on(&disk_with(&files), read_only) {
            Ok(log) => {
                let seen = look_at(&log);
                compare(&seen, &reference, read_only, story);
                let shown = seen.partitions.values().filter_map(|shown| shown.as_ref().ok());
                count += shown.map(|shown| shown.records.len()).sum::<usize>();
            }
            Err(error) => {
                assert!(reference.is_err(), "{story}: {error}, but it is read: {reference:?}");
            }
        }
    }
    count
}

/// What is shown is what the second reader finds, and nothing is missing.
///
/// Where they may differ: whoever only reads sees what is proven durable, and no more; and is not
/// refused journals that contradict each other, because a writer may be at work on them.
///
/// # Panics
/// If they differ elsewhere.
pub(crate) fn compare(
    seen: &Seen,
    reference: &Result<Directory, Unreadable>,
    read_only: bool,
    story: &str,
) {
    let directory = match reference {
        Ok(directory) => directory,
        // A log that is not there is made anew.
        Err(Unreadable::NoLog) => return assert!(seen.partitions.is_empty(), "{story}: {seen:?}"),
        // Beside a writer, journals that contradict each other were read at two moments.
        Err(_) if read_only => return,
        Err(error) => panic!("{story}: opened, but the second reader says {error:?}"),
    };
    let count: usize = directory.topics.values().map(|(_, partitions)| partitions.len()).sum();
    assert_eq!(seen.partitions.len(), count, "partitions");
    for ((topic, number), shown) in &seen.partitions {
        let place = format!("{story}: {topic}/{number}");
        let shown = shown.as_ref().unwrap_or_else(|error| panic!("{place}: {error}"));
        let mut expected = directory.topics[topic].1[*number as usize].clone();
        if read_only && !expected.is_vouched {
            expected.end = expected.end.min(expected.known_mark.max(expected.start));
            expected.records.retain(|offset, _| *offset < expected.end);
        }
        assert_eq!((shown.start, shown.end), (expected.start, expected.end), "{place}");
        assert_eq!(shown.records, expected.records, "{place}");
    }
}
