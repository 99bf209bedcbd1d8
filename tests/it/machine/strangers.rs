//! Links, pipes, devices and sockets where a log keeps its files: none is followed or waited for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use brooklet::{Error, ErrorKind, Log, LogOptions, Record, Repair, TopicConfig};

use super::tools::{Need, able, in_memory, run, sample};

/// What is put in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stranger {
    /// A link to what stood there, which has been moved out of the directory.
    Moved,
    /// A link to nothing, outside.
    Dangling,
    /// A link to somebody's file, outside.
    Secret,
    /// A link to somebody's directory, outside.
    Directory,
    Fifo,
    Socket,
    /// The device that is always empty, and the one that never ends.
    Null,
    Zero,
}

const STRANGERS: [Stranger; 8] = [
    Stranger::Moved,
    Stranger::Dangling,
    Stranger::Secret,
    Stranger::Directory,
    Stranger::Fifo,
    Stranger::Socket,
    Stranger::Null,
    Stranger::Zero,
];

/// What must come of it, whoever opens the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fares {
    /// The log is not opened, except for reading if nothing is read there.
    Refused,
    /// The log is opened, and its topic fails.
    TopicFails,
    /// It is as if nothing were there.
    Ignored,
}

/// Places of a log of one topic with one partition; `*` is the newest name that matches.
const PLACES: [(&str, Fares); 19] = [
    ("LOCK", Fares::Refused),
    ("manifest", Fares::Refused),
    ("manifest/0*.jnl", Fares::Refused),
    ("catalog", Fares::Refused),
    ("catalog/0*.jnl", Fares::Refused),
    ("offsets", Fares::Refused),
    ("offsets/0*.jnl", Fares::Refused),
    ("topics", Fares::Refused),
    ("topics/1", Fares::TopicFails),
    ("topics/1/0", Fares::TopicFails),
    ("topics/1/0/0*.seg", Fares::TopicFails),
    ("stranger", Fares::Ignored),
    ("manifest/next.jnl", Fares::Ignored),
    ("catalog/stranger", Fares::Ignored),
    ("topics/stranger", Fares::Ignored),
    ("topics/77", Fares::Ignored),
    ("topics/1/7", Fares::Ignored),
    ("topics/1/stranger", Fares::Ignored),
    ("topics/1/0/00000000000000000099-00000000.seg", Fares::Ignored),
];

/// Everything that one case stands on: a log, and what lies outside of it.
struct Scene {
    dir: tempfile::TempDir,
    log: PathBuf,
    outside: PathBuf,
    _socket: Option<UnixListener>,
}

impl Scene {
    /// A log that was closed, or that looks as if its process had been killed.
    fn new(closed: bool) -> Self {
        let dir = in_memory();
        let (log, outside) = (dir.path().join("log"), dir.path().join("outside"));
        fs::create_dir_all(outside.join("theirs")).unwrap();
        // Names that the log would unlink or take for its own, were it led there.
        for name in ["00000000000000000000-00000001.seg", "00000000000000000009-00000001.jnl"] {
            fs::write(outside.join("theirs").join(name), b"theirs").unwrap();
        }
        fs::write(outside.join("secret"), b"secret").unwrap();
        let open = Log::open(&log).unwrap();
        open.create_topic("t", TopicConfig::new()).unwrap();
        open.producer("t").unwrap().send(Record::new("mine")).unwrap();
        if closed {
            open.close().unwrap();
        }
        Self { dir, log, outside, _socket: None }
    }

    fn place(&self, place: &str) -> PathBuf {
        let path = self.log.join(place);
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some((first, last)) = name.split_once('*') else { return path };
        let found = fs::read_dir(path.parent().unwrap()).unwrap();
        let names = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let newest = names.filter(|name| name.starts_with(first) && name.ends_with(last)).max();
        path.with_file_name(newest.unwrap())
    }

    fn put(&mut self, stranger: Stranger, path: &Path) {
        let moved = self.outside.join("moved");
        match fs::rename(path, &moved) {
            Ok(()) => {}
            // Something for the link to lead to, where nothing stood.
            Err(_) if stranger == Stranger::Moved => fs::write(&moved, b"moved").unwrap(),
            Err(_) => {}
        }
        match stranger {
            Stranger::Moved => symlink(moved, path).unwrap(),
            Stranger::Dangling => symlink(self.outside.join("nothing"), path).unwrap(),
            Stranger::Secret => symlink(self.outside.join("secret"), path).unwrap(),
            Stranger::Directory => symlink(self.outside.join("theirs"), path).unwrap(),
            Stranger::Fifo => _ = run(Command::new("mkfifo").arg(path)),
            // The path of a socket is short; what counts is what stands in the directory.
            Stranger::Socket => {
                let short = self.dir.path().join("s");
                self._socket = Some(UnixListener::bind(&short).unwrap());
                fs::rename(short, path).unwrap();
            }
            Stranger::Null => _ = run(Command::new("mknod").arg(path).args(["c", "1", "3"])),
            Stranger::Zero => _ = run(Command::new("mknod").arg(path).args(["c", "1", "5"])),
        }
    }

    /// Everything outside: names, and what files hold.
    fn outside(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        let mut dirs = vec![self.outside.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap().file_type();
                if kind.is_dir() {
                    dirs.push(path.clone());
                }
                found.insert(path.clone(), kind.is_file().then(|| fs::read(&path).unwrap()));
            }
        }
        found
    }
}

/// What a log did where a stranger stands.
#[derive(Debug)]
struct Went {
    opened: Result<(), Error>,
    read: Result<usize, Error>,
    sent: Result<(), Error>,
}

/// Opens, reads, writes, and makes and deletes topics, as far as it is let.
fn use_it(log: &Path, read_only: bool) -> Went {
    let none = || Log::in_memory().unwrap().producer("none").unwrap_err();
    let log = match LogOptions::new().read_only(read_only).open(log) {
        Ok(log) => log,
        Err(error) => return Went { opened: Err(error), read: Err(none()), sent: Err(none()) },
    };
    let read = log.reader("t").stop_at_end().open();
    let read = read.and_then(|records| records.collect::<Result<Vec<_>, _>>());
    let sent = log.producer("t").and_then(|all| Ok(all.send(Record::new("more"))?));
    let went = Went { opened: Ok(()), read: read.map(|all| all.len()), sent: sent.map(|_| ()) };
    for name in ["u", "v"] {
        let made = log.create_topic(name, TopicConfig::new());
        let sent = made.and_then(|()| log.producer(name));
        let _ = sent.and_then(|all| Ok(all.send(Record::new("u"))?));
    }
    let _ = log.delete_topic("u");
    let _ = log.delete_topic("t");
    let _ = log.maintain();
    let _ = log.close();
    went
}

/// The log would be led out of its directory, or be kept waiting by a pipe for ever.
#[test]
fn nothing_but_files_and_directories_is_used() {
    if !able("nothing_but_files_and_directories_is_used", &[Need::Root]) {
        return;
    }
    let each = [(true, false), (false, false), (true, true), (false, true)];
    let cases = PLACES.iter().flat_map(|place| STRANGERS.map(|stranger| (*place, stranger)));
    let cases = cases.flat_map(|(place, stranger)| each.map(|how| (place, stranger, how)));
    let cases = sample(cases.collect(), 3);
    let count = cases.len();
    let mut refused = 0;
    for (place, stranger, (closed, read_only)) in cases {
        refused += usize::from(!is_ignored(place, stranger, (closed, read_only)));
    }
    assert!(refused > count / 2, "{refused} of {count} were refused");
}

/// Plays one case; says whether the stranger was rightly as good as not there.
fn is_ignored(
    (place, fares): (&str, Fares),
    stranger: Stranger,
    (closed, read_only): (bool, bool),
) -> bool {
    let case = format!("{stranger:?} at {place}, {closed}, {read_only}");
    let mut scene = Scene::new(closed);
    let at = scene.place(place);
    scene.put(stranger, &at);
    let before = scene.outside();
    let _ = Log::verify_dir(&scene.log);
    let went = use_it(&scene.log, read_only);
    let is_there = is_stranger(&at);
    if !read_only {
        let plan = LogOptions::new().repair(&scene.log);
        let _ = plan.and_then(|plan| plan.choose_all(Repair::KeepReadable).apply());
    }
    assert_eq!(scene.outside(), before, "{case}: it was led outside: {went:?}");
    if fares == Fares::Ignored {
        // What has the name of one of the log's own files goes with its topic: the link, that is, and
        // not what it leads to.
        let named = place.ends_with("next.jnl") || place.ends_with(".seg");
        assert!(is_there || named, "{case}: a stranger was removed");
        went.opened.as_ref().expect(&case);
        // The last record of a session that did not end is proven by nothing behind it.
        let proven = usize::from(closed || !read_only);
        assert_eq!(*went.read.as_ref().expect(&case), proven, "{case}");
        assert_eq!(went.sent.is_ok(), !read_only, "{case}: {went:?}");
        return true;
    }
    let takes_no_lock = read_only && place == "LOCK";
    let opens = fares == Fares::TopicFails || takes_no_lock;
    assert!(went.opened.is_ok() || !opens, "{case}: {went:?}");
    let failed = went.opened.is_err() || went.read.is_err() || went.sent.is_err();
    assert!(failed, "{case}: nobody has noticed: {went:?}");
    for error in [went.opened.err(), went.read.err()].into_iter().flatten() {
        let known = [
            ErrorKind::Io,
            ErrorKind::Corrupt,
            ErrorKind::NotALog,
            ErrorKind::MissingSegment,
            ErrorKind::UnknownTopic,
        ];
        assert!(known.contains(&error.kind()), "{case}: {error:?}");
    }
    false
}

fn is_stranger(path: &Path) -> bool {
    let kind = fs::symlink_metadata(path).map(|found| found.file_type());
    kind.is_ok_and(|kind| !kind.is_file() && !kind.is_dir())
}

/// A data directory that is a link to a larger disk, as people have them, could not be used.
#[test]
fn the_directory_itself_may_be_a_link() {
    let dir = in_memory();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    for (given, expected) in [(link.join("log"), 0), (link.join("log"), 1), (real.join("log"), 2)] {
        let log = Log::open(given).unwrap();
        log.ensure_topic("t", TopicConfig::new()).unwrap();
        let records = log.reader("t").stop_at_end().open().unwrap();
        assert_eq!(records.map(Result::unwrap).count(), expected);
        log.producer("t").unwrap().send(Record::new("one")).unwrap();
        log.close().unwrap();
    }
    symlink(real.join("log"), dir.path().join("log")).unwrap();
    let log = Log::open(dir.path().join("log")).unwrap();
    log.delete_topic("t").unwrap();
    log.close().unwrap();
    assert!(!real.join("log/topics/1").exists());
}
