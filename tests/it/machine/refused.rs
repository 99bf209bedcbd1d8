//! Directories that must not be written: other people's, immutable ones, disks that are read-only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use brooklet::{ErrorKind, Fate, Log, LogOptions, Record};

use super::child::{FIRM, child_of, config_of};
use super::told::{After, Told, place};
use super::tools::{Need, able, in_memory, privately, run, tool};
use crate::processes::child::Process;

/// A log of one topic that was closed, with so many records.
fn made(dir: &Path, records: usize) {
    let log = Log::open(dir).unwrap();
    log.create_topic(FIRM, config_of(FIRM)).unwrap();
    let producer = log.producer(FIRM).unwrap();
    for _ in 0..records {
        producer.send(Record::new("mine")).unwrap();
    }
    log.close().unwrap();
}

fn count(log: &Log) -> usize {
    log.reader(FIRM).stop_at_end().open().unwrap().map(Result::unwrap).count()
}

/// Everything below a directory: names, and what files hold.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let listed = run(tool("find").arg(dir).args(["-type", "f"]));
    let mut all = listed.lines().collect::<Vec<_>>();
    all.sort_unstable();
    all.iter().map(|path| ((*path).to_owned(), fs::read(path).unwrap())).collect()
}

/// A program on a disk that is mounted read-only would find damage, or no log at all.
#[test]
fn a_read_only_disk_is_told_and_can_be_read() {
    let test = "machine::refused::a_read_only_disk_is_told_and_can_be_read";
    privately(test, &[], |dir| {
        run(tool("mount").args(["-t", "tmpfs", "tmpfs"]).arg(dir));
        made(&dir.join("log"), 20);
        run(tool("mount").args(["-o", "remount,ro"]).arg(dir));
        let before = contents(dir);
        for new in [false, true] {
            let path = dir.join(if new { "new" } else { "log" });
            let error = Log::open(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            assert!(error.to_string().contains("Read-only file system"), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        let log = LogOptions::new().read_only(true).open(dir.join("log")).unwrap();
        assert_eq!(count(&log), 20);
        log.close().unwrap();
        assert_eq!(contents(dir), before);
    });
}

/// A file or directory that must not change would stop more than its partition, or lose records.
#[test]
fn what_is_immutable_stops_its_own_partition_and_no_more() {
    let test = "machine::refused::what_is_immutable_stops_its_own_partition_and_no_more";
    let needs = [Need::Tool("mkfs.ext4"), Need::Tool("chattr")];
    privately(test, &needs, |dir| {
        let disk = super::failing::ThinDisk::new(dir, "128m", 96);
        // What cannot be used is noticed where it is needed: a roll that fails leaves the segment that
        // is there, and a journal with room is gone on with.
        let places = [
            ("", false),
            ("LOCK", true),
            ("topics", true),
            ("topics/1/0", false),
            ("topics/1/0/*", true),
            ("manifest", true),
            ("manifest/*", true),
            ("catalog", false),
            ("catalog/*", true),
            ("offsets", false),
        ];
        for (number, (at, is_noticed)) in places.into_iter().enumerate() {
            let log = disk.root().join(number.to_string());
            made(&log, 20);
            let change = |flag: &str| {
                let line = format!("chattr {flag} {}/{at}", log.display());
                run(tool("sh").arg("-c").arg(line));
            };
            change("+i");
            let errors = use_it(&log);
            assert_eq!(!errors.is_empty(), is_noticed, "{at:?}: {errors:?}");
            for error in &errors {
                assert!(error.contains("Operation not permitted"), "{at:?}: {error}");
            }
            let reading = LogOptions::new().read_only(true).open(&log).unwrap();
            assert!(count(&reading) >= 20, "{at:?}");
            drop(reading);
            change("-i");
            let open = Log::open(&log).unwrap();
            let found = count(&open);
            open.producer(FIRM).unwrap().send(Record::new("again")).unwrap();
            assert!(found >= 20 && count(&open) == found + 1, "{at:?}");
            open.close().unwrap();
        }
    });
}

/// Sends enough to roll, to both an old topic and a new one; returns all complaints.
fn use_it(dir: &Path) -> Vec<String> {
    let log = match Log::open(dir) {
        Ok(log) => log,
        Err(error) => return vec![error.to_string()],
    };
    let mut errors = Vec::new();
    let before = log.offsets(&place(FIRM)).unwrap().end;
    let producer = log.producer(FIRM).unwrap();
    let mut sent = 0;
    for _ in 0..20 {
        match producer.send(Record::new(&[b'v'; 200])) {
            Ok(_) => sent += 1,
            Err(error) => {
                assert_eq!(error.fate(), Fate::NotAppended, "{error}");
                errors.push(error.to_string());
            }
        }
    }
    let after = log.offsets(&place(FIRM)).unwrap().end;
    assert_eq!(after.value() - before.value(), sent, "a refused record took an offset");
    let made = log.create_topic("new", config_of(FIRM)).and_then(|()| log.producer("new"));
    let sent = made.and_then(|new| Ok(new.send(Record::new("new"))?));
    errors.extend(sent.err().map(|error| error.to_string()));
    errors.extend(log.close().err().map(|error| error.to_string()));
    errors
}

/// A user without rights would be told of damage, be kept waiting, or be let in by half.
#[test]
fn a_user_without_rights_is_told_and_may_read_what_is_readable() {
    let test = "a_user_without_rights_is_told_and_may_read_what_is_readable";
    if !able(test, &[Need::Root, Need::Tool("setpriv")]) {
        return;
    }
    let dir = in_memory();
    let open_to_all = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    open_to_all(dir.path());
    // Wherever this binary lies, nobody may be allowed to go there.
    let binary = dir.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    open_to_all(&binary);
    let log = dir.path().join("log");
    made(&log, 20);
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let look = || {
        let mut told = Told::default();
        let binary = binary.to_str().unwrap();
        let mut command = child_of(binary, &nobody, "look", (&log, "nobody"));
        // Where a child of nobody's would otherwise put nothing, but might look.
        command.current_dir(dir.path());
        told.note_all(&Process::spawn(&mut command).finish());
        told
    };
    let before = contents(&log);
    // Everybody may read, and only the owner write.
    let told = look();
    assert_eq!(told.other, ["reading 20", "end"]);
    let [(step, kind, _), (writing, denied, text)] = told.failures.as_slice() else {
        panic!("{:?}", told.failures);
    };
    assert_eq!((step.as_str(), kind.as_str()), ("send", "ReadOnly"));
    assert_eq!((writing.as_str(), denied.as_str()), ("writing", "Io"));
    assert!(text.contains("LOCK: Permission denied"), "{text}");
    // Nobody else may even look.
    fs::set_permissions(&log, fs::Permissions::from_mode(0o700)).unwrap();
    let told = look();
    assert_eq!(told.other, ["end"]);
    assert_eq!(told.failures.len(), 2);
    for (_, kind, text) in &told.failures {
        assert_eq!(kind, "Io", "{text}");
        assert!(text.contains("Permission denied"), "{text}");
    }
    assert_eq!(contents(&log), before);
    let all = Log::open(&log).unwrap();
    Told::default().check(&all, After::Process);
    assert_eq!(count(&all), 20);
}
