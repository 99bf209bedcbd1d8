//! A valid directory, changed in the ways that disks, copies and forgers change one.
//!
//! As long as nothing is forged, every record that is read must be the one that was written at its
//! offset, and the log must say of the directory what the second reader says, record by record.
//! Once a checksum was made good over changed bytes, what is read must still stand in a good frame
//! of its own place.

use std::path::{Path, PathBuf};

use brooklet::Verification;
use brooklet::testing::verify;

use super::agree::compare;
use super::bases::{Base, bases};
use super::feed::Feed;
use super::forge::{fields, mend};
use super::world::{Seen, check_sighted, disk_with, go_on, log_dir, look_at, open_on, place_of};
use crate::format::directory::{Files, read};

/// Mutates one of the bases as the input says, and opens what comes of it.
///
/// # Panics
/// If the log serves anything else than was written, contradicts the second reader, leaves its
/// directory, or changes a directory that it only reads.
pub(crate) fn run(data: &[u8]) {
    let mut feed = Feed::new(data);
    let choice = feed.u8();
    let all = bases();
    let base = &all[usize::from(choice & 3) % all.len()];
    let read_only = choice & 4 != 0;
    let story = vec![format!("base {}, read only: {read_only}", choice & 3)];
    let mut mutant = Mutant { files: base.files.clone(), base, is_forged: false, story };
    for _ in 0..MUTATIONS_MAX {
        if feed.is_empty() {
            break;
        }
        mutant.mutate(&mut feed);
    }
    let written = (!mutant.is_forged).then_some(base);
    look(&mutant.files, read_only, written, &mutant.story.join("; "));
}

/// Opens a directory and checks what is shown; against `base`, if nothing of it is forged.
pub(crate) fn look(files: &Files, read_only: bool, base: Option<&Base>, story: &str) {
    let disk = disk_with(files);
    let before = disk.snapshot();
    let verified = read_only.then(|| verify(&disk.env(), log_dir(&disk)));
    let opened = open_on(&disk, read_only);
    let seen = opened.as_ref().map(look_at);
    if let (Some(Ok(verified)), Ok(seen), Some(_)) = (verified, &seen, base) {
        check_verified(&verified, seen, story);
    }
    match (&seen, base) {
        (Ok(seen), Some(base)) => {
            check_written(seen, base, story);
            compare(seen, &read(files), read_only, story);
        }
        (Ok(seen), None) => check_sighted(seen, files),
        (Err(error), Some(_)) => {
            let reference = read(files);
            assert!(reference.is_err(), "{story}: {error}, but it is read: {reference:?}");
        }
        (Err(_), None) => {}
    }
    if let Ok(log) = opened {
        let _ = go_on(&log);
    }
    assert_eq!(disk.escapes(), 0, "paths led out of the root");
    assert!(!read_only || disk.snapshot() == before, "a log that is only read was changed");
}

/// A directory that is found whole can be read without a gap.
fn check_verified(verified: &Verification, seen: &Seen, story: &str) {
    for ((topic, number), shown) in &seen.partitions {
        let Ok(shown) = shown else { continue };
        let lost = shown.end - shown.start - shown.records.len() as u64;
        assert!(
            lost == 0 || !verified.is_whole(),
            "{story}: whole, but {topic}/{number} lacks {lost}"
        );
    }
}

/// Every record that is shown was written at that offset.
fn check_written(seen: &Seen, base: &Base, story: &str) {
    for ((topic, number), shown) in &seen.partitions {
        let Ok(shown) = shown else { continue };
        let written = base.written.get(&(topic.clone(), *number));
        for (offset, stored) in &shown.records {
            let was = written.and_then(|written| written.get(offset));
            assert_eq!(Some(stored), was, "{story}: {topic}/{number}@{offset}");
        }
    }
}

struct Mutant<'a> {
    files: Files,
    base: &'a Base,
    is_forged: bool,
    /// What was done, to be told where something is wrong.
    story: Vec<String>,
}

impl Mutant<'_> {
    fn mutate(&mut self, feed: &mut Feed<'_>) {
        let kind = feed.u8() % 16;
        let Some(path) = self.path(feed) else { return };
        self.story.push(format!("{} {}", KINDS[usize::from(kind)], path.display()));
        match kind {
            0 => self.edit(&path, feed, |bytes, at, feed| bytes[at] ^= 1 << (feed.u8() % 8)),
            1 => self.edit(&path, feed, |bytes, at, feed| {
                let with = feed.u8();
                let until = bytes.len().min(at + usize::from(feed.u8()));
                bytes[at..until].fill(with);
            }),
            2 => self.copy_chunk(&path, feed),
            3 | 4 => self.restore_chunk(&path, feed),
            5 => self.edit(&path, feed, |bytes, at, _| bytes.truncate(at)),
            6 => {
                let (with, more) = (feed.u8(), usize::from(feed.u8()) * 8);
                let bytes = self.files.entry(path).or_default();
                bytes.resize(bytes.len() + more, with);
            }
            7 => _ = self.files.remove(&path),
            8 => self.duplicate(&path, feed),
            9 => {
                let Some(other) = self.path(feed) else { return };
                self.story.push(format!("with {}", other.display()));
                let (a, b) = (self.files.remove(&path), self.files.remove(&other));
                self.files.extend(b.map(|bytes| (path, bytes)));
                self.files.extend(a.map(|bytes| (other, bytes)));
            }
            10 => self.restore_file(feed),
            11 => self.edit(&path, feed, |bytes, at, feed| {
                let (at, count) = (at / 8 * 8, usize::from(feed.u8() % 32) * 8);
                bytes.drain(at..bytes.len().min(at + count));
            }),
            12 => self.edit(&path, feed, |bytes, at, feed| {
                let with = feed.bytes(64);
                bytes.splice(at / 8 * 8..at / 8 * 8, with.iter().copied());
            }),
            _ => self.forge(&path, feed),
        }
    }

    fn path(&self, feed: &mut Feed<'_>) -> Option<PathBuf> {
        let number = usize::from(feed.u8()) % self.files.len().max(1);
        self.files.keys().nth(number).cloned()
    }

    fn edit(
        &mut self,
        path: &Path,
        feed: &mut Feed<'_>,
        edit: impl FnOnce(&mut Vec<u8>, usize, &mut Feed<'_>),
    ) {
        let Some(bytes) = self.files.get_mut(path).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        let at = feed.pick(bytes.len());
        self.story.push(format!("at {at}"));
        edit(bytes, at, feed);
    }

    /// A piece of any file comes to stand in this one.
    fn copy_chunk(&mut self, path: &Path, feed: &mut Feed<'_>) {
        let Some(other) = self.path(feed) else { return };
        let from = &self.files[&other];
        let at = feed.pick(from.len()) / 8 * 8;
        let until = from.len().min(at + 8 * usize::from(feed.u8()));
        let chunk = from[at..until].to_vec();
        self.story.push(format!("{at}..{until} of {}", other.display()));
        self.edit(path, feed, |bytes, at, _| lay(bytes, at / 8 * 8, &chunk));
    }

    /// A piece of the file becomes what it was at an earlier moment, as if a write had been lost.
    fn restore_chunk(&mut self, path: &Path, feed: &mut Feed<'_>) {
        let moment = usize::from(feed.u8()) % self.base.older.len();
        let Some(old) = self.base.older[moment].get(path) else { return };
        self.edit(path, feed, |bytes, at, feed| {
            let until = bytes.len().min(at + 8 * usize::from(feed.u8()));
            let chunk: Vec<u8> =
                (at..until).map(|at| old.get(at).copied().unwrap_or_default()).collect();
            lay(bytes, at, &chunk);
        });
    }

    /// A whole file becomes what it was, or comes back.
    fn restore_file(&mut self, feed: &mut Feed<'_>) {
        let old = &self.base.older[usize::from(feed.u8()) % self.base.older.len()];
        let number = usize::from(feed.u8()) % old.len();
        if let Some((path, bytes)) = old.iter().nth(number) {
            self.story.push(format!("namely {}", path.display()));
            self.files.insert(path.clone(), bytes.clone());
        }
    }

    /// The same bytes under another name: of another salt, another base, or elsewhere.
    fn duplicate(&mut self, path: &Path, feed: &mut Feed<'_>) {
        let (Some(mut place), Some(other)) = (place_of(path), self.path(feed)) else { return };
        match feed.u8() % 3 {
            0 => place.salt = feed.u32(),
            1 => place.base = feed.edge(),
            _ => {}
        }
        let extension = if path.starts_with("topics") { "seg" } else { "jnl" };
        let name = format!("{:020}-{:08x}.{extension}", place.base, place.salt);
        self.story.push(format!("as {name} beside {}", other.display()));
        let bytes = self.files[path].clone();
        self.files.insert(other.with_file_name(name), bytes);
    }

    /// A field gets another value, and every checksum that covers it is made good.
    fn forge(&mut self, path: &Path, feed: &mut Feed<'_>) {
        let (Some(place), Some(bytes)) = (place_of(path), self.files.get_mut(path)) else { return };
        let fields = fields(bytes);
        let Some((at, width)) = fields.get(feed.pick(fields.len())) else { return };
        let value = match feed.u8() % 3 {
            0 => feed.edge(),
            1 => read_number(&bytes[*at..at + width]).wrapping_add(u64::from(feed.u8())),
            _ => read_number(&bytes[*at..at + width]).wrapping_sub(u64::from(feed.u8())),
        };
        bytes[*at..at + width].copy_from_slice(&value.to_le_bytes()[..*width]);
        mend(bytes, &place);
        self.is_forged = true;
    }
}

fn lay(bytes: &mut [u8], at: usize, chunk: &[u8]) {
    let until = bytes.len().min(at + chunk.len());
    bytes[at..until].copy_from_slice(&chunk[..until - at]);
}

fn read_number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

const KINDS: [&str; 16] = [
    "flip",
    "fill",
    "copy into",
    "restore in",
    "restore in",
    "cut",
    "grow",
    "remove",
    "duplicate",
    "swap",
    "restore other than",
    "drop from",
    "insert into",
    "forge",
    "forge",
    "forge",
];

/// Few enough that an input stays a story.
const MUTATIONS_MAX: usize = 8;
