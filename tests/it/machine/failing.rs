//! Disks that fill up, fail to write back, or are pulled out, in a mount namespace of one's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, mpsc};

use brooklet::{
    Acks, ErrorKind, Fate, Log, LogOptions, Record, SendError, SyncPolicy, TopicConfig,
};

use super::child::{FIRM, LOOSE, config_of, value_of};
use super::told::{After, Told, goes_on, place};
use super::tools::{Need, is_long, privately, run, tool};

/// A file system whose disk has less room than it believes: a loop device over a small tmpfs.
///
/// It keeps no journal of its own, so that it goes on after errors, as many a disk does.
pub(super) struct ThinDisk {
    below: PathBuf,
    root: PathBuf,
}

impl ThinDisk {
    /// A tmpfs of `room` in `dir`, and on it a disk that believes to have so many megabytes.
    pub(super) fn new(dir: &Path, room: &str, megabytes: u64) -> Self {
        let disk = Self { below: dir.join("below"), root: dir.join("disk") };
        fs::create_dir_all(&disk.below).unwrap();
        fs::create_dir_all(&disk.root).unwrap();
        let size = format!("size={room}");
        run(tool("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk.below));
        fs::File::create(disk.image()).unwrap().set_len(megabytes << 20).unwrap();
        let without = ["-q", "-F", "-b", "4096", "-O", "^has_journal", "-E", "nodiscard"];
        run(tool("mkfs.ext4").args(without).arg(disk.image()));
        disk.mount();
        disk
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn image(&self) -> PathBuf {
        self.below.join("disk.img")
    }

    fn mount(&self) {
        let options = ["-t", "ext4", "-o", "loop,noatime,errors=continue"];
        run(tool("mount").args(options).arg(self.image()).arg(&self.root));
    }

    /// Unmounts and mounts again: what is read afterwards is read from the disk.
    fn mount_again(&self) {
        run(tool("umount").arg(&self.root));
        self.mount();
    }

    /// Gives the disk below more room.
    fn grow(&self, room: &str) {
        run(tool("mount").args(["-o", &format!("remount,size={room}")]).arg(&self.below));
    }
}

/// Everything that a topic holds.
fn values(log: &Log, topic: &str) -> Vec<Vec<u8>> {
    let records = log.reader(topic).stop_at_end().open().unwrap();
    records.map(|record| record.unwrap().value().unwrap().to_vec()).collect()
}

/// Sends one record and takes note of its fate.
fn send(
    log: &Log,
    told: &mut Told,
    (topic, sender, number): (&str, &str, u64),
    acks: Acks,
) -> Result<(), SendError> {
    let named = format!("{topic} {sender} {number}");
    told.note(&format!("try {named}"));
    let value = value_of(sender, number);
    let sent = log.producer(topic).unwrap().acks(acks).send(Record::new(&value));
    told.note(&ended(&named, acks, &sent));
    sent.map(|_| ())
}

/// What a child would say of it.
fn ended(named: &str, acks: Acks, sent: &Result<brooklet::Receipt, SendError>) -> String {
    match sent {
        Ok(receipt) => {
            let ack = if acks == Acks::Durable { "durable" } else { "written" };
            format!("{ack} {named} {} {}", receipt.partition(), receipt.offset())
        }
        Err(error) => {
            let fate = if error.fate() == Fate::NotAppended { "not" } else { "unknown" };
            format!("{fate} {named} {:?} {error}", error.kind())
        }
    }
}

/// A sync that fails and then succeeds would be believed, and records be lost that were acknowledged.
#[test]
fn a_disk_that_cannot_write_back_loses_nothing_that_was_acknowledged() {
    let test =
        "machine::failing::a_disk_that_cannot_write_back_loses_nothing_that_was_acknowledged";
    privately(test, &[Need::Tool("mkfs.ext4")], |dir| {
        let disk = ThinDisk::new(dir, "24m", 64);
        let path = disk.root().join("log");
        let log = LogOptions::new().manual_maintenance(true).open(&path).unwrap();
        let config = config_of(LOOSE).segment_bytes(4 << 20);
        log.create_topic(LOOSE, config).unwrap();
        let mut told = Told::default();
        for number in 0..200 {
            send(&log, &mut told, (LOOSE, "before", number), Acks::Durable).unwrap();
        }
        run(tool("sync").arg("-f").arg(disk.root()));
        // From here on what the disk takes, it cannot keep.
        fs::write(disk.below.join("ballast"), vec![1; 64 << 20]).unwrap_err();
        let mut number = 0;
        let failed = loop {
            let turn = (LOOSE, "during", number);
            let acks = if number % 500 == 499 { Acks::Durable } else { Acks::Written };
            number += 1;
            if let Err(error) = send(&log, &mut told, turn, acks) {
                break error;
            }
        };
        assert_eq!((failed.kind(), failed.fate()), (ErrorKind::Io, Fate::Unknown), "{failed}");
        assert!(failed.to_string().contains("sync failed"), "{failed}");
        // The next sync of that file would succeed; nobody is to hear of that.
        for number in 0..5 {
            let error = send(&log, &mut told, (LOOSE, "stopped", number), Acks::Durable);
            let error = error.unwrap_err();
            let told = (error.kind(), error.fate());
            assert_eq!(told, (ErrorKind::Poisoned, Fate::NotAppended), "{error}");
        }
        assert!(told.not_appended() >= 5 && told.unknown() > 0);
        // The disk has room again: what is kept is copied into new files.
        fs::remove_file(disk.below.join("ballast")).unwrap();
        disk.grow("200m");
        log.reopen_partition(&place(LOOSE)).unwrap();
        let served = values(&log, LOOSE);
        assert!(served.len() > 200, "what could be kept was not");
        for number in 0..50 {
            send(&log, &mut told, (LOOSE, "after", number), Acks::Durable).unwrap();
        }
        let closed = log.close();
        drop(log);
        disk.mount_again();
        let log = Log::open(&path).unwrap();
        // What was written and never synced may be lost with the file, as with the power.
        told.check(&log, After::Power);
        // What was served once is on the disk, and not in the page cache alone.
        assert!(values(&log, LOOSE).starts_with(&served), "{} were served", served.len());
        closed.unwrap();
        goes_on(&log, &mut told, "later");
        drop(log);
        disk.mount_again();
        told.check(&Log::open(&path).unwrap(), After::Power);
    });
}

/// A disk that is pulled out would hang the program, end it, or be taken for one that works.
#[test]
fn a_disk_that_is_gone_is_told_and_hangs_nobody() {
    let test = "machine::failing::a_disk_that_is_gone_is_told_and_hangs_nobody";
    privately(test, &[Need::Tool("mkfs.ext4"), Need::Tool("losetup")], |dir| {
        let disk = ThinDisk::new(dir, "64m", 64);
        let log = Log::open(disk.root().join("log")).unwrap();
        for topic in [FIRM, LOOSE] {
            log.create_topic(topic, config_of(topic)).unwrap();
        }
        let mut told = Told::default();
        for number in 0..50 {
            send(&log, &mut told, (FIRM, "before", number), Acks::Durable).unwrap();
            send(&log, &mut told, (LOOSE, "before", number), Acks::Written).unwrap();
        }
        let device = run(tool("losetup").arg("-j").arg(disk.image()));
        let device = device.split(':').next().unwrap();
        fs::File::options().write(true).open(disk.image()).unwrap().set_len(0).unwrap();
        run(tool("losetup").args(["-c", device]));
        let mut kinds = Vec::new();
        for number in 0..20 {
            for (topic, acks) in [(FIRM, Acks::Durable), (LOOSE, Acks::Durable)] {
                let sent = send(&log, &mut told, (topic, "during", number), acks);
                kinds.push(sent.unwrap_err().kind());
            }
        }
        let known = [ErrorKind::Io, ErrorKind::Poisoned, ErrorKind::StorageFull];
        assert!(kinds.iter().all(|kind| known.contains(kind)), "{kinds:?}");
        let causes = told.failures.iter().map(|(.., text)| text);
        let of_the_system = ["os error 5)", "os error 30)", "os error 28)"];
        let told_why = causes.filter(|text| of_the_system.iter().any(|code| text.contains(code)));
        assert!(told_why.count() > 0, "{:?}", told.failures);
        assert!(log.topics().is_ok());
        // Reads are served from memory, or fail; none gives other bytes.
        for record in log.reader(FIRM).stop_at_end().open().unwrap() {
            match record {
                Ok(record) => {
                    let number = record.offset().value();
                    assert_eq!(record.value().unwrap(), value_of("before", number));
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
            }
        }
        let _ = log.reopen_partition(&place(FIRM)).map_err(|error| error.kind());
        let error = log.close().unwrap_err();
        assert!(known.contains(&error.kind()), "{error}");
        drop(log);
        // Not even the directory can be believed any more; the answer is an error all the same.
        let _ = Log::open(disk.root().join("log")).map(|log| log.close());
    });
}

const SENDERS: u64 = 4;

/// What senders wait for between two floods.
struct Turn {
    full: mpsc::Sender<()>,
    freed: mpsc::Receiver<()>,
    /// Nobody fills the disk again before all have found room.
    resumed: Arc<Barrier>,
}

/// A full disk would cost a restart, or a record whose sender was told something else.
#[test]
fn a_disk_that_is_filled_and_freed_under_load_costs_no_record_and_no_restart() {
    let test = "machine::failing::\
        a_disk_that_is_filled_and_freed_under_load_costs_no_record_and_no_restart";
    privately(test, &[], |dir| {
        for trims in [false, true] {
            let here = dir.join(trims.to_string());
            fs::create_dir(&here).unwrap();
            // Beside the journals, and what is there to be removed, there is room for a few megabytes.
            let size =
                if trims { "size=10m" } else { if is_long() { "size=48m" } else { "size=14m" } };
            run(tool("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&here));
            fill_and_free(&here, trims);
        }
    });
}

/// Fills a disk again and again under the hands of four senders, and frees it: by removing what
/// somebody else has put there, or by a trim.
fn fill_and_free(dir: &Path, trims: bool) {
    let log = Log::open(dir.join("log")).unwrap();
    for (topic, sync) in [(FIRM, SyncPolicy::Always), (LOOSE, SyncPolicy::Never)] {
        let config = TopicConfig::new().segment_bytes(64 * 1024).sync(sync);
        log.create_topic(topic, config).unwrap();
    }
    let floods = if is_long() { 40 } else { 6 };
    let ballast = |flood: usize| dir.join(format!("ballast-{flood}"));
    if !trims {
        (0..floods).for_each(|flood| fs::write(ballast(flood), vec![1; 1 << 20]).unwrap());
    }
    let (lines, said) = mpsc::channel();
    let (full, is_full) = mpsc::channel();
    let barrier = Arc::new(Barrier::new(SENDERS as usize + 1));
    let mut told = Told::default();
    let resumed = std::thread::scope(|scope| {
        let mut freed = Vec::new();
        let mut senders = Vec::new();
        for sender in 0..SENDERS {
            let (free, is_free) = mpsc::channel();
            freed.push(free);
            let turn = Turn { full: full.clone(), freed: is_free, resumed: Arc::clone(&barrier) };
            let (log, lines) = (&log, lines.clone());
            senders.push(scope.spawn(move || flood((log, &lines), sender, floods, &turn)));
        }
        for flood in 0..floods {
            // All senders have met the full disk, and wait.
            (0..SENDERS).for_each(|_| is_full.recv().unwrap());
            if trims {
                for topic in [FIRM, LOOSE] {
                    let end = log.offsets(&place(topic)).unwrap().end;
                    told.note(&format!("trimming {end}"));
                    let start = log.trim(&place(topic), end).unwrap();
                    assert_eq!(start, end, "{topic}: {start}");
                }
            } else {
                fs::remove_file(ballast(flood)).unwrap();
            }
            freed.iter().for_each(|free| free.send(()).unwrap());
            barrier.wait();
        }
        senders.into_iter().map(|sender| sender.join().unwrap()).sum::<usize>()
    });
    drop(lines);
    said.iter().for_each(|line: String| told.note(&line));
    let full = told.failures.iter().filter(|(_, kind, _)| kind == "StorageFull").count();
    assert!(full >= floods * SENDERS as usize, "only {full} sends met a full disk");
    assert_eq!(resumed, floods * SENDERS as usize, "sends that resumed");
    let poisoned = log.stats().partitions.into_iter().filter(|found| found.stopped.is_some());
    assert_eq!(poisoned.count(), 0, "a full disk stops nothing for good");
    told.check(&log, After::Process);
    log.close().unwrap();
    drop(log);
    let log = Log::open(dir.join("log")).unwrap();
    assert!(log.recovery().was_clean);
    told.check(&log, After::Process);
}

/// Sends until the disk is full, waits until it is not, and goes on; returns how often it did.
fn flood(
    (log, lines): (&Log, &mpsc::Sender<String>),
    sender: u64,
    floods: usize,
    turn: &Turn,
) -> usize {
    let (topic, acks) = match sender {
        0 => (FIRM, Acks::Durable),
        1 => (FIRM, Acks::Written),
        2 => (LOOSE, Acks::Written),
        _ => (LOOSE, Acks::Durable),
    };
    let producer = log.producer(topic).unwrap().acks(acks);
    let name = format!("s{sender}");
    let mut number = 0;
    let mut send = || {
        let named = format!("{topic} {name} {number}");
        lines.send(format!("try {named}")).unwrap();
        let sent = producer.send(Record::new(&value_of(&name, number)));
        lines.send(ended(&named, acks, &sent)).unwrap();
        number += 1;
        sent.map(|_| ()).map_err(|error| error.kind())
    };
    let mut resumed = 0;
    for _ in 0..floods {
        let mut refused = 0;
        while refused < 3 {
            match send() {
                Ok(()) => {}
                Err(kind) => {
                    assert_eq!(kind, ErrorKind::StorageFull);
                    refused += 1;
                }
            }
        }
        turn.full.send(()).unwrap();
        turn.freed.recv().unwrap();
        // Without a restart, and without being told: the next send finds room.
        resumed += usize::from(send().is_ok());
        turn.resumed.wait();
    }
    resumed
}
