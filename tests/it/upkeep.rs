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

impl Told {
    /// Where two logs differ, in few words; nothing if they are the same.
    fn differences(&self, other: &Self) -> String {
        let mut text = String::new();
        if self.topics != other.topics {
            text += &format!("topics {:?}, not {:?}. ", self.topics, other.topics);
        }
        if self.commits != other.commits || self.lost != other.lost {
            text += &format!(
                "{:?} {:?}, not {:?} {:?}. ",
                self.commits, self.lost, other.commits, other.lost
            );
        }
        for (topic, records) in &self.records {
            let there = other.records.get(topic).map(Vec::as_slice).unwrap_or_default();
            if records != there {
                text += &format!("{} records of {topic}, not {}. ", records.len(), there.len());
            }
        }
        text
    }
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
        let (mut records, errors) = read_over(log, &name)?;
        // Partitions take turns, and how many records a turn has is nobody's promise.
        records.sort_by_key(|record| (record.offset, record.key.clone()));
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
