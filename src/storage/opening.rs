//! The first steps into a directory: whose it is, who may write, and what the journals say.
//!
//! Order: the lock, the manifest, the catalog, the offsets. A directory that holds anything but a log is left
//! exactly as it was. A log whose making was interrupted holds nothing yet, and is simply made
//! again.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::env::{Env, Lock};
use crate::error::{Error, ErrorKind};
use crate::format::layout::{
    JournalKind, LOCK_FILE, TOPICS_DIR, parse_journal_name, parse_number, parse_segment_name,
    partition_dir, topic_dir,
};
use crate::offset::{PartitionId, ShardId, TopicId};
use crate::storage::beside::until_settled;
use crate::storage::journal::{
    Entries, Fingerprint, Found, Journal, JournalHome, JournalTail, ensure_dir,
};
use crate::storage::manifest::{CleanClose, Manifest, ManifestState, begin_anew, decode};
use crate::storage::waiter::Waiter;
use crate::sync::{Arc, Weak};

/// What opening found, beyond the store itself.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// The entries of the catalog's journal.
    pub(crate) catalog: Entries,
    /// The entries of the journal of committed offsets.
    pub(crate) offsets: Entries,
    /// The files that the manifest and the catalog were read from.
    pub(crate) manifest_file: PathBuf,
    pub(crate) catalog_file: PathBuf,
    pub(crate) was_clean: bool,
    /// Journals that ended in bytes that were no frame.
    pub(crate) torn_journals: Vec<&'static str>,
    /// Files and directories that the log does not know; they are left alone.
    pub(crate) unknown: Vec<PathBuf>,
}

/// Makes sure that the directory is a log's or empty, and takes its lock unless it is only read.
pub(crate) fn enter(
    env: &Env,
    root: &Path,
    wait_for_lock: Option<Duration>,
    opening: &mut Opening,
) -> Result<Option<Box<dyn Lock>>, Error> {
    let Some(wait) = wait_for_lock else {
        check_ours(env, root, opening)?;
        return Ok(None);
    };
    ensure_root(env, root)?;
    check_ours(env, root, opening)?;
    take_lock(env, root, wait).map(Some)
}

/// Makes the directory and those above it, durably.
fn ensure_root(env: &Env, root: &Path) -> Result<(), Error> {
    match env.fs.read_dir(root) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("open failed", root, error)),
    }
    let Some(parent) = parent_of(root) else { return Ok(()) };
    ensure_root(env, parent)?;
    ensure_dir(env, root, parent)
}

/// Makes the entry of a directory durable that was found where a log is about to be made.
///
/// A session that ended early may have made it, or somebody who did not care for power cuts.
fn sync_entry(env: &Env, root: &Path) -> Result<(), Error> {
    let Some(parent) = parent_of(root) else { return Ok(()) };
    match env.fs.sync_dir(parent) {
        // What lies above is then kept by somebody else, and so is its durability.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(|error| Error::io("sync failed", parent, error)),
    }
}

fn parent_of(dir: &Path) -> Option<&Path> {
    let parent = dir.parent()?;
    Some(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

/// Refuses a directory in which something stands and no log does.
fn check_ours(env: &Env, root: &Path, opening: &mut Opening) -> Result<(), Error> {
    let entries = env.fs.read_dir(root);
    let entries = entries.map_err(|error| Error::io("open failed", root, error))?;
    let ours = [
        LOCK_FILE,
        TOPICS_DIR,
        JournalKind::Manifest.dir_name(),
        JournalKind::Catalog.dir_name(),
        JournalKind::Offsets.dir_name(),
    ];
    let is_ours = |name: &str| ours.contains(&name);
    let strangers = entries.iter().filter(|entry| !is_ours(&entry.name));
    opening.unknown = strangers.map(|entry| root.join(&entry.name)).collect();
    let journals = names(env, &root.join(JournalKind::Manifest.dir_name()))?;
    let is_log = journals.iter().any(|name| parse_journal_name(name).is_some());
    if !is_log && !opening.unknown.is_empty() {
        let text = "the directory holds other files and no log";
        return Err(Error::at_path(ErrorKind::NotALog, root, text));
    }
    Ok(())
}

/// Takes the lock, and waits for whoever has it as long as allowed.
fn take_lock(env: &Env, root: &Path, wait: Duration) -> Result<Box<dyn Lock>, Error> {
    let path = root.join(LOCK_FILE);
    let deadline = env.clock.monotonic().saturating_add(wait);
    let held = |path: &Path| {
        let text = "another handle or process has it open for writing";
        Error::at_path(ErrorKind::AlreadyOpen, path, text)
    };
    loop {
        match env.fs.lock(&path) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(Error::io("lock failed", &path, error));
            }
            Err(_) if env.clock.is_manual() || env.clock.monotonic() >= deadline => {
                return Err(held(&path));
            }
            Err(_) => _ = Waiter::<()>::default().wait_for(LOCK_POLL),
        }
    }
}

/// The lock of a process that has ended is free at once; there is nothing to be woken by.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// The journals of an open log, and what the manifest said.
pub(crate) struct Journals {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) catalog: Arc<Journal>,
    pub(crate) offsets: Arc<Journal>,
    pub(crate) state: ManifestState,
}

/// Reads the journals, or makes them where the directory holds no log yet.
pub(crate) fn open_journals(home: &JournalHome, opening: &mut Opening) -> Result<Journals, Error> {
    let books = match home.read_only {
        true => until_settled(|| read_books(home))?,
        false => read_books(home)?,
    };
    let Some(Books { mut manifest, mut catalog, mut offsets, state }) = books else {
        return create_journals(home);
    };
    // Beside a writer, the end of a journal may be an entry that is just being written.
    if !home.read_only {
        let torn = [&manifest, &catalog, &offsets].into_iter().filter(|found| found.torn);
        opening.torn_journals.extend(torn.map(|found| found.journal.kind().dir_name()));
    }
    if state.clean.is_none() {
        catalog.journal.distrust();
        offsets.journal.distrust();
    }
    begin_anew(&mut manifest.journal);
    opening.manifest_file = manifest.journal.path();
    opening.catalog_file = catalog.journal.path();
    opening.was_clean = state.clean.is_some();
    opening.catalog = catalog.journal.entries().clone();
    opening.offsets = offsets.journal.entries().clone();
    let manifest = Manifest::new(manifest.journal, home, opening.was_clean);
    let catalog = put_to_work(catalog.journal, home, &manifest);
    let offsets = put_to_work(offsets.journal, home, &manifest);
    Ok(Journals { manifest, catalog, offsets, state })
}

fn create_journals(home: &JournalHome) -> Result<Journals, Error> {
    let (env, root) = (&home.env, &home.root);
    if home.read_only {
        return Err(Error::at_path(ErrorKind::NotALog, root, "there is no log to read"));
    }
    if !partitions_on_disk(env, root)?.is_empty() {
        return Err(missing(home, JournalKind::Manifest));
    }
    sync_entry(env, root)?;
    // The manifest comes last: where it stands, everything else does.
    ensure_dir(env, &root.join(TOPICS_DIR), root)?;
    let catalog = create_empty(JournalKind::Catalog, home)?;
    let offsets = create_empty(JournalKind::Offsets, home)?;
    let manifest = JournalTail::create(JournalKind::Manifest, home)?;
    let manifest = Manifest::new(manifest, home, false);
    let catalog = put_to_work(catalog, home, &manifest);
    let offsets = put_to_work(offsets, home, &manifest);
    Ok(Journals { manifest, catalog, offsets, state: ManifestState::default() })
}

fn create_empty(kind: JournalKind, home: &JournalHome) -> Result<JournalTail, Error> {
    match JournalTail::read(kind, home)? {
        // No topic was ever made, and no offset committed, before there was a manifest.
        Some(found) if !found.journal.entries().is_empty() => {
            Err(missing(home, JournalKind::Manifest))
        }
        // Whoever made it may have ended before it was durable.
        Some(found) => found.journal.renew(home),
        None => JournalTail::create(kind, home),
    }
}

fn missing(home: &JournalHome, kind: JournalKind) -> Error {
    let dir = home.root.join(kind.dir_name());
    Error::at_path(ErrorKind::Corrupt, &dir, format!("the {} is missing", kind.noun()))
}

fn put_to_work(tail: JournalTail, home: &JournalHome, manifest: &Arc<Manifest>) -> Arc<Journal> {
    let gate: Weak<Manifest> = Arc::downgrade(manifest);
    let gate = Arc::new(move || match gate.upgrade() {
        Some(manifest) => manifest.begin_writes(),
        None => Err(Error::bare(ErrorKind::Closed)),
    });
    let journal = Arc::new(Journal::new(tail, home, Some(gate)));
    manifest.depend_on(&journal);
    journal
}

/// What the log knows of itself.
struct Books {
    manifest: Found,
    catalog: Found,
    offsets: Found,
    state: ManifestState,
}

/// Reads the journals; none if there is no manifest.
fn read_books(home: &JournalHome) -> Result<Option<Books>, Error> {
    // The manifest last, because it lists a topic's partitions before the catalog has the topic, and
    // the catalog has the topic before anybody commits for it: beside a writer, whatever was read
    // first is known to what is read later.
    let offsets = JournalTail::read(JournalKind::Offsets, home);
    let catalog = JournalTail::read(JournalKind::Catalog, home);
    let Some(manifest) = JournalTail::read(JournalKind::Manifest, home)? else { return Ok(None) };
    let state = decode(&manifest.journal)?;
    let catalog = catalog?.ok_or_else(|| missing(home, JournalKind::Catalog))?;
    let offsets = offsets?.ok_or_else(|| missing(home, JournalKind::Offsets))?;
    if let Some(clean) = &state.clean {
        for Found { journal, .. } in [&catalog, &offsets] {
            check_fingerprint(clean, journal, journal.fingerprint(journal.end()))?;
        }
    }
    Ok(Some(Books { manifest, catalog, offsets, state }))
}

/// A clean close names what the other journals held; anything else was changed behind the log's
/// back.
pub(crate) fn check_fingerprint(
    clean: &CleanClose,
    tail: &JournalTail,
    found: Fingerprint,
) -> Result<(), Error> {
    match clean.journals.iter().find(|(known, _)| *known == tail.kind()) {
        Some((_, noted)) if *noted == found => Ok(()),
        Some((_, noted)) => {
            let offsets = found.end.min(noted.end)..noted.end.max(found.end);
            let text = "the journal is not as the last close left it";
            Err(Error::corrupt(&tail.path(), found.position.min(noted.position), offsets, text))
        }
        None => Ok(()),
    }
}

/// What is said of a torn catalog if the manifest knows of more.
pub(crate) const TOPIC_LOST: &str = "its end is damaged, and a topic that has records is missing";

/// Refuses a catalog and a manifest that contradict each other, before anything is changed.
///
/// `partitions` are those of all topics in the catalog. The manifest lists a partition durably
/// before the catalog has its topic. The rows of a topic that was deleted are taken back before the
/// catalog changes again, so that a torn catalog cannot be what left them behind.
pub(crate) fn check_agreement(
    opening: &Opening,
    state: &ManifestState,
    partitions: &BTreeSet<ShardId>,
) -> Result<(), Error> {
    if partitions.iter().any(|id| !state.partitions.contains_key(id)) {
        let text = "a partition of the catalog is not listed";
        return Err(Error::at_path(ErrorKind::Corrupt, &opening.manifest_file, text));
    }
    let is_torn = opening.torn_journals.contains(&JournalKind::Catalog.dir_name());
    if is_torn && state.lists_records_beyond(|id| partitions.contains(&id)) {
        return Err(Error::at_path(ErrorKind::Corrupt, &opening.catalog_file, TOPIC_LOST));
    }
    Ok(())
}

/// The largest topic id that any journal or directory knows.
pub(crate) fn largest_topic(
    env: &Env,
    root: &Path,
    state: &ManifestState,
) -> Result<TopicId, Error> {
    let listed = state.partitions.keys().map(|id| id.topic.value());
    let dirs = names(env, &root.join(TOPICS_DIR))?;
    let dirs = dirs.iter().filter_map(|name| parse_number(name));
    Ok(TopicId::new(listed.chain(dirs).max().unwrap_or(0)))
}

/// The partitions that have a file with the name of a segment, whatever any journal says.
pub(crate) fn partitions_on_disk(env: &Env, root: &Path) -> Result<Vec<ShardId>, Error> {
    let topics = root.join(TOPICS_DIR);
    let mut found = Vec::new();
    for topic in names(env, &topics)?.iter().filter_map(|name| parse_number(name)) {
        let topic = TopicId::new(topic);
        for name in names(env, &topic_dir(root, topic))? {
            let number = parse_number(&name).and_then(|number| u32::try_from(number).ok());
            let Some(number) = number else { continue };
            let id = ShardId { topic, partition: PartitionId::new(number) };
            let files = names(env, &partition_dir(root, id))?;
            if files.iter().any(|name| parse_segment_name(name).is_some()) {
                found.push(id);
            }
        }
    }
    Ok(found)
}

/// The names in a directory; none if it is not there or is no directory.
pub(crate) fn names(env: &Env, dir: &Path) -> Result<Vec<String>, Error> {
    match env.fs.read_dir(dir) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(Error::io("list failed", dir, error)),
    }
}
