//! Repairs: what is given up is listed first, nothing else is, and originals are kept.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use brooklet::testing::{CrashPolicy, SimDisk, repair};
use brooklet::{
    ErrorKind, FindingKind, Loss, Record, Repair, SyncPolicy, TopicConfig, TopicPartition,
};

use super::{at, open_at, verify_at};
use crate::damage::history::{
    History, OTHER, Read, Stop, TOPIC, appends, journal_path, log_dir, open_log, read_all,
    read_over,
};

fn orders() -> TopicPartition {
    TopicPartition::new(TOPIC.parse().unwrap(), 0.into())
}

/// The offsets that are given up, as pairs of start and end.
fn offsets(losses: &[Loss]) -> Vec<(u64, u64)> {
    let offsets = losses.iter().filter_map(|loss| loss.offsets.clone());
    offsets.map(|lost| (lost.start.value(), lost.end.value())).collect()
}

/// Plans and applies a repair; says what was given up, which must be what the plan had listed.
fn repaired(disk: &SimDisk, choice: Repair) -> Vec<Loss> {
    let before = disk.snapshot();
    let plan = repair(&disk.env(), log_dir(disk)).unwrap().choose_all(choice);
    let losses = plan.losses();
    let mut after = disk.snapshot();
    after.retain(|path, _| before.contains_key(path) || !path.ends_with("LOCK"));
    assert!(after == before, "a plan changed the disk");
    let report = plan.apply().unwrap();
    assert_eq!(report.given_up, losses);
    for path in report.aside {
        assert!(disk.files().contains(&path), "{} is not kept", path.display());
    }
    losses
}

/// Ways to damage one frame or one file of the topic, and the offsets that go with it.
fn damages(history: &History) -> Vec<(String, SimDisk, Range<u64>)> {
    let mut damages = Vec::new();
    for (segment, frame) in history.frames() {
        let disk = history.disk.fork();
        disk.flip_bit(&segment.path, 8 * (frame.bytes.start as u64 + 70)).unwrap();
        damages.push((format!("frame at {}", frame.base_offset), disk, frame.offsets()));
    }
    for segment in &history.segments {
        let disk = history.disk.fork();
        disk.remove(&segment.path).unwrap();
        let lost = segment.offsets();
        damages.push((format!("no segment {}", lost.start), disk, lost));
    }
    damages
}

/// Good records would go with the bad ones, or appends would not go on.
#[test]
fn everything_that_can_be_read_is_kept_at_its_offset() {
    for stop in [Stop::Clean, Stop::Synced] {
        let history = History::new(stop);
        for (case, disk, lost) in damages(&history) {
            let case = format!("{stop:?}: {case}");
            // The last batch of a log that was not closed is not known to have been durable.
            if stop != Stop::Clean && lost.end == history.records.len() as u64 {
                continue;
            }
            let given_up = offsets(&repaired(&disk, Repair::KeepReadable));
            assert_eq!(given_up, [(lost.start, lost.end)], "{case}");
            let found = verify_at(&disk, "log");
            assert!(found.is_whole(), "{case}: {found:?}");
            let given_up = found.findings.iter().filter(|at| at.kind == FindingKind::GivenUp);
            assert_eq!(given_up.count(), 1, "{case}: {found:?}");
            let end = history.records.len() as u64;
            for session in 0..3 {
                let log = open_log(&disk).unwrap();
                let (mut records, errors) = read_over(&log, TOPIC).unwrap();
                records.truncate(history.without(&lost).len());
                assert_eq!(records, history.without(&lost), "{case}");
                assert_eq!(errors.len(), 1, "{case}: {errors:?}");
                assert_eq!(errors[0].kind(), ErrorKind::MissingSegment, "{case}");
                appends(&log, TOPIC, end + session);
                appends(&log, OTHER, 1 + session);
                if session == 1 {
                    log.close().unwrap();
                }
            }
            assert_eq!(offsets(&repaired(&disk, Repair::KeepReadable)), [], "{case}: again");
        }
    }
}

/// Something behind the damage would come back, or something before it would be lost.
#[test]
fn a_cut_ends_the_partition_before_its_first_damage() {
    let history = History::new(Stop::Clean);
    let end = history.records.len() as u64;
    for (case, disk, lost) in damages(&history) {
        let given_up = offsets(&repaired(&disk, Repair::CutAtDamage));
        assert_eq!(given_up, [(lost.start, end)], "{case}");
        for policy in [CrashPolicy::KeepAll, CrashPolicy::LoseAll] {
            let disk = disk.crash(policy, 3);
            let log = open_log(&disk).unwrap();
            assert_eq!(
                read_all(&log, TOPIC).unwrap(),
                history.without(&(lost.start..end)),
                "{case}"
            );
            appends(&log, TOPIC, lost.start);
            appends(&log, OTHER, 1);
            log.close().unwrap();
            assert!(verify_at(&disk, "log").is_whole(), "{case}");
        }
    }
}

/// A partition that was to be left would be changed, or the choice of one would be that of all.
#[test]
fn a_partition_can_be_left_as_it_is() {
    let history = History::new(Stop::Clean);
    let (_, disk, lost) = damages(&history).remove(4);
    let mut plan = repair(&disk.env(), log_dir(&disk)).unwrap();
    assert_eq!(plan.damaged_partitions(), [(orders(), Repair::KeepReadable)]);
    let other = TopicPartition::new(OTHER.parse().unwrap(), 0.into());
    let refused = plan.choose(&other, Repair::CutAtDamage).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UnknownPartition);
    plan.choose(&orders(), Repair::Leave).unwrap();
    assert!(plan.losses().is_empty());
    let report = plan.apply().unwrap();
    assert!(report.given_up.is_empty() && report.aside.is_empty());
    let log = open_log(&disk).unwrap();
    let (records, errors) = read_over(&log, TOPIC).unwrap();
    assert_eq!((records, errors.len()), (history.without(&lost), 1));
}

/// Two could repair at once, or one repair what another has open.
#[test]
fn a_plan_holds_the_lock() {
    let history = History::new(Stop::Clean);
    let (_, disk, _) = damages(&history).remove(0);
    let plan = repair(&disk.env(), log_dir(&disk)).unwrap();
    assert_eq!(open_log(&disk).unwrap_err().kind(), ErrorKind::AlreadyOpen);
    let _ = plan.apply().unwrap();
    let log = open_log(&disk).unwrap();
    let refused = repair(&disk.env(), log_dir(&disk)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyOpen);
    drop(log);
    let refused = repair(&disk.env(), at(&disk, "nowhere")).unwrap_err();
    assert!(!disk.files().iter().any(|path| path.starts_with(at(&disk, "nowhere"))), "{refused}");
}

/// A repair that was interrupted could not be done again, or would give up more the second time.
#[test]
fn a_power_cut_at_any_operation_of_a_repair_costs_nothing_more() {
    let history = History::new(Stop::Clean);
    for (case, damaged, lost) in damages(&history).into_iter().step_by(4) {
        let rehearsal = damaged.fork();
        repaired(&rehearsal, Repair::KeepReadable);
        let mut cut = 0;
        for number in 0..rehearsal.ops() {
            let disk = damaged.fork();
            disk.power_off_at(number);
            let done = repair(&disk.env(), log_dir(&disk)).and_then(|plan| plan.apply());
            cut += usize::from(done.is_err());
            let policies = [CrashPolicy::LoseAll, CrashPolicy::KeepAll, CrashPolicy::UnlinkFirst];
            for policy in policies.into_iter().cycle().skip(number as usize % 3).take(1) {
                let after = disk.crash(policy, number);
                let plan = repair(&after.env(), log_dir(&after)).unwrap();
                let found = offsets(&plan.losses());
                let _ = plan.apply().unwrap();
                let place = format!("{case}, {policy:?} at {number}");
                assert!(
                    found.is_empty() || found == [(lost.start, lost.end)],
                    "{place}: {found:?}"
                );
                let log = open_log(&after).unwrap();
                let (records, errors) = read_over(&log, TOPIC).unwrap();
                assert_eq!((records, errors.len()), (history.without(&lost), 1), "{place}");
                appends(&log, TOPIC, history.records.len() as u64);
            }
        }
        assert!(cut > 10, "{case}: only {cut} cuts");
    }
}

/// What a broken journal lost would be lost for good, or its records with it.
#[test]
fn a_log_whose_books_are_damaged_or_gone_opens_again_with_all_its_records() {
    for stop in [Stop::Clean, Stop::Unsynced] {
        let history = History::new(stop);
        for journal in ["manifest", "catalog", "offsets"] {
            let path = journal_path(&history.disk, journal);
            for disk in broken_books(&history, journal) {
                let is_there = disk.files().contains(&path);
                if open_log(&disk.fork()).is_ok() {
                    continue;
                }
                let losses = repaired(&disk, Repair::KeepReadable);
                assert!(!losses.is_empty(), "{stop:?} {journal}: nothing was said to be lost");
                let kept = format!("{}.damaged", path.display());
                assert_eq!(disk.files().contains(&kept.into()), is_there, "{stop:?} {journal}");
                let log = open_log(&disk).unwrap();
                assert_eq!(all_records(&log), whole_records(&history), "{stop:?} {journal}");
                let end = history.records.len() as u64;
                let name = topic_with(&log, &history.records);
                appends(&log, &name, end);
                log.close().unwrap();
                assert!(verify_at(&disk, "log").is_whole(), "{stop:?} {journal}");
            }
        }
    }
}

/// Many a bit of a journal flipped, and the journal gone.
fn broken_books(history: &History, journal: &str) -> Vec<SimDisk> {
    let path = journal_path(&history.disk, journal);
    let bits = 8 * history.disk.read_file(&path).unwrap().len() as u64;
    let flipped = (0..bits.min(8 * 2048)).step_by(67).map(|bit| {
        let disk = history.disk.fork();
        disk.flip_bit(&path, bit).unwrap();
        disk
    });
    let gone = history.disk.fork();
    gone.remove(&path).unwrap();
    flipped.chain([gone]).collect()
}

/// The records of all topics, whatever they are called now.
fn all_records(log: &brooklet::Log) -> BTreeSet<Vec<(u64, Option<Vec<u8>>)>> {
    let topics = log.topics().unwrap().into_iter();
    topics.map(|topic| short(&read_all(log, topic.name.as_str()).unwrap())).collect()
}

fn whole_records(history: &History) -> BTreeSet<Vec<(u64, Option<Vec<u8>>)>> {
    let other = vec![(0, Some(b"untouched".to_vec()))];
    [short(&history.records), other].into()
}

fn short(records: &[Read]) -> Vec<(u64, Option<Vec<u8>>)> {
    records.iter().map(|record| (record.offset, record.value.clone())).collect()
}

fn topic_with(log: &brooklet::Log, records: &[Read]) -> String {
    let topics = log.topics().unwrap().into_iter();
    let mut names = topics.map(|topic| topic.name.to_string());
    names.find(|name| short(&read_all(log, name).unwrap()) == short(records)).unwrap()
}

/// A group would be ahead of a partition that was cut, and skip what is appended next.
#[test]
fn commits_behind_a_cut_are_lowered_when_the_log_is_opened() {
    let disk = SimDisk::new(8);
    let log = open_at(&disk, "log").unwrap();
    log.create_topic(TOPIC, TopicConfig::new().sync(SyncPolicy::Always)).unwrap();
    let producer = log.producer(TOPIC).unwrap();
    for number in 0..6 {
        producer.send(Record::new(&format!("record {number}"))).unwrap();
    }
    let mut consumer = log.consumer("billing").topics([TOPIC]).open().unwrap();
    assert_eq!(consumer.poll(Duration::ZERO).unwrap().len(), 6);
    consumer.commit().unwrap();
    drop(consumer);
    log.close().unwrap();
    let segment = disk.files().into_iter().find(|path| path.extension() == Some("seg".as_ref()));
    let segment = segment.unwrap();
    let parsed = crate::format::parser::parse(&disk.read_file(&segment).unwrap()).unwrap();
    disk.flip_bit(&segment, 8 * (parsed.frames[2].bytes.start as u64 + 70)).unwrap();
    assert_eq!(offsets(&repaired(&disk, Repair::CutAtDamage)), [(2, 6)]);
    let log = open_at(&disk, "log").unwrap();
    let group = log.group("billing").unwrap();
    assert_eq!(group.partitions[0].committed.as_ref().unwrap().offset().value(), 2);
    let [lowered] = &log.recovery().lowered_commits[..] else { panic!("{:?}", log.recovery()) };
    assert_eq!((lowered.from.value(), lowered.to.value()), (6, 2));
    appends(&log, TOPIC, 2);
}
