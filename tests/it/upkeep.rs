//! Looking after a log: checks of a whole directory, backups, repairs.

mod backup;
mod repair;
mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;

use brooklet::testing::{SimDisk, open};
use brooklet::{Error, Log, LogOptions, Verification};

use crate::damage::history::{Read, read_over};

/// Everything that a log tells of itself from outside: topics, records, what cannot be read, groups.
#[derive(Debug, PartialEq)]
struct Told {
    topics: BTreeMap<String, String>,
    records: BTreeMap<String, Vec<Read>>,
    lost: BTreeMap<String, Vec<(u64, u64)>>,
    commits: BTreeMap<String, Option<u64>>,
}

fn told(log: &Log) -> Result<Told, Error> {
    let mut told = Told {
        topics: BTreeMap::new(),
        records: BTreeMap::new(),
        lost: BTreeMap::new(),
        commits: BTreeMap::new(),
    };
    for topic in log.topics()? {
        let name = topic.name.to_string();
        let (records, errors) = read_over(log, &name)?;
        let lost = errors.iter().map(|error| error.lost_range().unwrap());
        let lost = lost.map(|lost| (lost.start.value(), lost.end.value())).collect();
        told.topics.insert(name.clone(), format!("{:?}", topic.config));
        told.records.insert(name.clone(), records);
        told.lost.insert(name, lost);
    }
    for group in log.groups()? {
        for partition in log.group(group.as_str())?.partitions {
            let committed = partition.committed.map(|at| at.offset().value());
            told.commits.insert(format!("{group} {}", partition.partition), committed);
        }
    }
    Ok(told)
}

fn options() -> LogOptions {
    LogOptions::new().manual_maintenance(true)
}

fn at(disk: &SimDisk, dir: &str) -> PathBuf {
    disk.root().join(dir)
}

fn open_at(disk: &SimDisk, dir: &str) -> Result<Log, Error> {
    open(&disk.env(), at(disk, dir), options())
}

fn verify_at(disk: &SimDisk, dir: &str) -> Verification {
    brooklet::testing::verify(&disk.env(), at(disk, dir)).unwrap()
}
