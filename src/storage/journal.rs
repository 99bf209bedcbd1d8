//! Small keyed state on disk: a snapshot, the frames appended since, and compaction.
//!
//! A journal file starts with a snapshot of all entries and goes on with one frame per change. When
//! the room that was allocated for it is used up, or when anything about it is in doubt, the state
//! is written as the snapshot of a new file, which is synced before it gets its name. The newest
//! generation is the journal; older ones are removed. The next file is allocated ahead, so that a
//! full disk does not keep anybody from committing, trimming or deleting.
//!
//! Entries are kept in memory by key. Owners decode them once, at open, and keep their own view.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::SyncPolicy;
use crate::env::{Access, Env, File};
use crate::error::{Error, ErrorKind, Fate};
use crate::format::batch::{Batch, LayDown};
use crate::format::frame::{FrameHeader, HEADER_BYTES, Place};
use crate::format::head::{FileKind, HEAD_BYTES, Head, HeadError};
use crate::format::layout::{JournalKind, NEXT_JOURNAL, journal_name, parse_journal_name};
use crate::limits::{
    BUFFER_BYTES_DEFAULT, JOURNAL_FILE_BYTES_MIN, OFFSET_MAX, UNSYNCED_BYTES_DEFAULT,
};
use crate::offset::{Offset, Timestamp};
use crate::storage::buffer::BufferPool;
use crate::storage::commit::{Budget, Ends, Refusal, SyncTarget, Want};
use crate::storage::scan::scan;
pub(crate) use crate::storage::shard::Enqueued;
use crate::storage::shard::Shard;
use crate::storage::tail::{Background, Laid, Opened, ShardOptions, Tail, WriteFailure};
use crate::storage::walk::Walk;
use crate::sync::Arc;

pub(crate) mod entries;
pub(crate) mod salvage;

pub(crate) use entries::{Change, Entries};
use entries::{apply, encode, snapshot};

/// Called before the first change of a session reaches any journal or partition.
pub(crate) type Gate = Arc<dyn Fn() -> Result<(), Error> + Send + Sync>;

/// One journal.
pub(crate) struct Journal {
    kind: JournalKind,
    shard: Arc<Shard<JournalTail>>,
    gate: Option<Gate>,
}

/// What names a journal's content exactly, as the clean-close marker keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) generation: u64,
    pub(crate) salt: u32,
    pub(crate) position: u64,
    pub(crate) end: Offset,
}

/// Where a journal lives and what it runs on.
#[derive(Clone, Debug)]
pub(crate) struct JournalHome {
    pub(crate) env: Env,
    pub(crate) root: PathBuf,
    pub(crate) background: Arc<dyn Background>,
    pub(crate) read_only: bool,
}

/// What reading a journal found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) journal: JournalTail,
    /// Bytes behind the last good frame that were no frame.
    pub(crate) torn: bool,
}

impl Journal {
    /// Puts a journal that was read or created to work.
    pub(crate) fn new(tail: JournalTail, home: &JournalHome, gate: Option<Gate>) -> Self {
        let options = ShardOptions {
            id: tail.kind.shard(),
            policy: SyncPolicy::Never,
            budget: Budget {
                queue_bytes: BUFFER_BYTES_DEFAULT,
                unsynced_bytes: UNSYNCED_BYTES_DEFAULT,
            },
            ring_bytes: 0,
        };
        let kind = tail.kind;
        let clock = Arc::clone(&home.env.clock);
        let shard = Shard::new(tail, &options, clock, Arc::clone(&home.background));
        Self { kind, shard, gate }
    }

    /// Appends changes as one unit, healing the journal first if it failed before.
    ///
    /// The returned offset is what [`until_durable`](Self::until_durable) takes.
    pub(crate) fn append(&self, changes: &[Change], want: Want) -> Result<Offset, Error> {
        self.pass_gate()?;
        // A change can be repeated, and a journal that has failed is healed by a new file.
        let appended = self.append_once(changes, want).or_else(|first| {
            let again = self.append_once(changes, want);
            again.map_err(|refusal| if first.fate == Fate::Unknown { first } else { refusal })
        });
        appended.map_err(|refusal| refusal.error)
    }

    fn pass_gate(&self) -> Result<(), Error> {
        self.gate.as_ref().map_or(Ok(()), |gate| gate())
    }

    fn append_once(&self, changes: &[Change], want: Want) -> Result<Offset, Refusal> {
        let batch = encode(changes).map_err(Refusal::not_appended)?;
        self.heal().map_err(Refusal::not_appended)?;
        let appended = self.shard.append(batch, want, None);
        let told = |refusal: Refusal| Refusal { error: self.told(refusal.error), ..refusal };
        appended.map(|range| range.end).map_err(told)
    }

    /// Removes an entry, durably, and writes nothing more once it is gone.
    ///
    /// # Errors
    /// What the system says, and whether the entry may be gone all the same.
    pub(crate) fn remove(&self, key: &[u8]) -> Result<(), Refusal> {
        self.pass_gate().map_err(Refusal::not_appended)?;
        let change = [(key.to_vec(), None)];
        let mut refused = None;
        for _ in 0..2 {
            match self.has_durably(key) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err(refused.unwrap_or(Refusal::not_appended(error))),
            }
            match self.append_once(&change, Want::Durable) {
                Ok(_) => return Ok(()),
                // It can have been made all the same, or is made by what heals the journal.
                Err(refusal) => refused = Some(refusal),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Whether there is an entry, in what no failure and no crash can take back any more.
    fn has_durably(&self, key: &[u8]) -> Result<bool, Error> {
        self.stand_firm()?;
        self.shard.exclusive(|tail, _| (tail.entries.contains_key(key), None))
    }

    /// Sees to it that the journal can be written now, so that [`enqueue`](Self::enqueue) need not
    /// touch a file.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        self.pass_gate()?;
        self.heal()?;
        self.shard.ensure_open()
    }

    /// Queues changes as one unit, in the order of the calls, and touches no file.
    ///
    /// For whoever must queue them under a lock of its own; when that is let go of, the same thread
    /// must [`finish`](Self::finish) it.
    pub(crate) fn enqueue(&self, changes: &[Change], want: Want) -> Result<Enqueued, Refusal> {
        let batch = encode(changes).map_err(Refusal::not_appended)?;
        self.shard.enqueue(batch, want)
    }

    /// Writes what was queued, and waits as far as it wants.
    pub(crate) fn finish(&self, enqueued: Enqueued) -> Result<(), Refusal> {
        let told = |refusal: Refusal| Refusal { error: self.told(refusal.error), ..refusal };
        self.shard.finish(enqueued).map(|_| ()).map_err(told)
    }

    /// Waits until every change below `end` is durable.
    ///
    /// A journal that has failed, or fails now, is healed: its new file holds every change that was
    /// written, synced.
    pub(crate) fn until_durable(&self, end: Offset) -> Result<(), Error> {
        let is_durable = || self.shard.ends().durable_end >= end;
        if is_durable() {
            return Ok(());
        }
        self.heal()?;
        self.shard.sync_written().map(|_| ()).or_else(|error| {
            self.heal()?;
            if is_durable() { Ok(()) } else { Err(self.told(error)) }
        })
    }

    pub(crate) fn kind(&self) -> JournalKind {
        self.kind
    }

    /// Writes the state as a new file now, if what the present one holds is in doubt.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        self.shard.exclusive(|tail, ends| (tail.settle(ends), None))?
    }

    /// The same, unless all further changes are refused already.
    pub(crate) fn begin(&self) -> Result<(), Error> {
        self.shard.exclusive(|tail, ends| {
            // Whoever stops the journal waits for the tail: nothing is written behind its back.
            let stopped = self.shard.observe(|commit, _, _| commit.closed().cloned());
            (stopped.map_or_else(|| tail.settle(ends), Err), None)
        })?
    }

    /// Syncs everything and names the content.
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, Error> {
        self.stand_firm()?;
        self.shard.exclusive(|tail, ends| (tail.fingerprint(ends.written_end), None))
    }

    /// Leaves nothing in doubt: what is in memory is in the file, durably.
    fn stand_firm(&self) -> Result<(), Error> {
        self.heal()?;
        self.settle()?;
        self.until_durable(self.shard.ends().written_end)
    }

    /// All entries that are written.
    pub(crate) fn entries(&self) -> Result<Entries, Error> {
        self.shard.exclusive(|tail, _| (tail.entries.clone(), None))
    }

    /// Refuses all further changes.
    pub(crate) fn stop(&self, error: &Error) {
        self.shard.close(error);
    }

    /// Writes the state into a new file, if a write or sync of the old one has failed.
    fn heal(&self) -> Result<(), Error> {
        let is_poison = |error: &Error| error.kind() == ErrorKind::Poisoned;
        if self.shard.observe(|commit, _, _| commit.stopped().is_some_and(is_poison)) {
            self.shard.reopen().map_err(|error| self.told(error))?;
        }
        Ok(())
    }

    fn told(&self, error: Error) -> Error {
        error.during(format_args!("write the {}", self.kind.dir_name()))
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The files of one journal, in the hands of whoever leads it.
#[derive(Debug)]
pub(crate) struct JournalTail {
    kind: JournalKind,
    env: Env,
    dir: PathBuf,
    entries: Entries,
    /// Where the entries end; what the shard starts from.
    end: Offset,
    generation: u64,
    salt: u32,
    file: Option<Arc<JournalFile>>,
    position: u64,
    /// How far the file may grow before it is compacted.
    limit: u64,
    /// The next file, allocated ahead.
    spare: Option<Arc<dyn File>>,
    /// The file's bytes cannot be relied on: the next append starts a new one.
    in_doubt: bool,
    opened: bool,
}

#[derive(Debug)]
struct JournalFile {
    file: Arc<dyn File>,
    path: PathBuf,
}

impl SyncTarget for JournalFile {
    fn sync(&self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        synced.map_err(|error| Error::in_doubt("sync failed", &self.path, error))
    }
}

impl JournalTail {
    /// Makes a new, empty journal with its first file, durably.
    pub(crate) fn create(kind: JournalKind, home: &JournalHome) -> Result<Self, Error> {
        Self::create_with(kind, home, Entries::new())
    }

    /// The same, with entries in it.
    pub(crate) fn create_with(
        kind: JournalKind,
        home: &JournalHome,
        entries: Entries,
    ) -> Result<Self, Error> {
        let end = Offset::new(entries.len() as u64);
        let tail = Self { entries, end, ..Self::blank(kind, home) };
        tail.renew(home)
    }

    /// Writes a journal that was found anew, durably, and its directory's name with it.
    pub(crate) fn renew(mut self, home: &JournalHome) -> Result<Self, Error> {
        ensure_dir(&home.env, &self.dir, &home.root)?;
        self.rewrite(self.end)?;
        Ok(self)
    }

    /// Reads the newest generation; none if there is no file of this journal.
    ///
    /// # Errors
    /// `Corrupt` if anything below the known mark is damaged; nothing is changed then or ever by
    /// reading.
    pub(crate) fn read(kind: JournalKind, home: &JournalHome) -> Result<Option<Found>, Error> {
        let mut tail = Self::blank(kind, home);
        let Some((generation, salt)) = tail.newest()? else { return Ok(None) };
        tail.generation = generation;
        tail.salt = salt;
        let torn = tail.load()?;
        Ok(Some(Found { journal: tail, torn }))
    }

    /// The entries that were read.
    pub(crate) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Puts other entries in the place of those that were read.
    pub(crate) fn replace(&mut self, entries: Entries) {
        // Each entry of a snapshot takes one offset.
        self.end = self.end.max(Offset::new(entries.len() as u64));
        self.entries = entries;
    }

    /// Has the state written as a new file before the next change.
    pub(crate) fn distrust(&mut self) {
        self.in_doubt = true;
    }

    /// Leaves an entry out of the next snapshot; the file that was read keeps it.
    pub(crate) fn leave_out(&mut self, key: &[u8]) {
        self.entries.remove(key);
    }

    /// What names the content, once it is read.
    pub(crate) fn fingerprint(&self, end: Offset) -> Fingerprint {
        let Self { generation, salt, position, .. } = *self;
        Fingerprint { generation, salt, position, end }
    }

    pub(crate) fn kind(&self) -> JournalKind {
        self.kind
    }

    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(journal_name(self.generation, self.salt))
    }

    fn blank(kind: JournalKind, home: &JournalHome) -> Self {
        Self {
            kind,
            env: home.env.clone(),
            dir: home.root.join(kind.dir_name()),
            entries: Entries::new(),
            end: Offset::ZERO,
            generation: 0,
            salt: 0,
            file: None,
            position: HEAD_BYTES as u64,
            limit: 0,
            spare: None,
            in_doubt: false,
            opened: false,
        }
    }

    fn newest(&self) -> Result<Option<(u64, u32)>, Error> {
        match self.env.fs.read_dir(&self.dir) {
            Ok(entries) => {
                Ok(entries.iter().filter_map(|entry| parse_journal_name(&entry.name)).max())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("list failed", &self.dir, error)),
        }
    }

    fn place(&self) -> Place {
        let base = Offset::new(self.generation);
        Place { shard: self.kind.shard(), base, salt: self.salt }
    }

    fn load(&mut self) -> Result<bool, Error> {
        let path = self.path();
        let failed = |error| Error::io("read failed", &path, error);
        let file = self.env.fs.open(&path, Access::Read).map_err(failed)?;
        let mut head = [0; HEAD_BYTES];
        let read = file.read_at(&mut head, 0).map_err(failed)?;
        let head = Head::decode(head.get(..read).unwrap_or_default(), FileKind::Journal);
        let head = head.map_err(|error| match error {
            HeadError::Version { .. } => {
                Error::at_path(ErrorKind::UnsupportedVersion, &path, error.to_string())
            }
            _ => Error::corrupt(&path, 0, Offset::ZERO..Offset::ZERO, error.to_string()),
        })?;
        let seed = self.place().seed();
        let mut first = [0; HEADER_BYTES];
        let read = file.read_at(&mut first, HEAD_BYTES as u64).map_err(failed)?;
        let base = match FrameHeader::decode(first.get(..read).unwrap_or_default(), seed) {
            Ok(first) => first.base_offset,
            // A file that was never anything but new begins with whatever comes first.
            Err(_) if head.mark == Offset::ZERO => head.mark,
            // Where the snapshot begins is not known, and all of it was durable.
            Err(reason) => {
                let lost = Offset::ZERO..head.mark;
                return Err(Error::corrupt(&path, HEAD_BYTES as u64, lost, reason.to_string()));
            }
        };
        let len = file.len().map_err(failed)?;
        let pool = BufferPool::new();
        let start = (HEAD_BYTES as u64, base.min(head.mark));
        let mut walk = Walk::new(&file, &pool, seed, start, len);
        let entries = &mut self.entries;
        let found = scan(&mut walk, head.mark, |_, _, batch| apply(entries, batch.entries()));
        let found = found.map_err(failed)?;
        if found.is_corrupt() {
            let (position, end) = found.good;
            let reason = found.damage.map_or_else(
                || "the file ends early".to_owned(),
                |damage| damage.reason.to_string(),
            );
            return Err(Error::corrupt(&path, position, end..found.known_mark, reason));
        }
        (self.position, self.end) = found.good;
        if self.end.value() > OFFSET_MAX {
            let text = "no journal holds so many changes";
            return Err(Error::corrupt(&path, self.position, self.end..self.end, text));
        }
        self.limit = len;
        Ok(found.damage.is_some())
    }

    fn settle(&mut self, ends: Ends) -> Result<(), Error> {
        if self.in_doubt { self.rewrite(ends.written_end) } else { Ok(()) }
    }

    /// Writes all entries into a new file and makes it the journal; `end` is where the next change
    /// goes.
    fn rewrite(&mut self, end: Offset) -> Result<(), Error> {
        let Some(generation) = self.generation.checked_add(1) else {
            let text = "no number is left for the next file";
            return Err(Error::at_path(ErrorKind::Corrupt, &self.path(), text));
        };
        let salt = self.env.draw_salt();
        let place = Place { shard: self.kind.shard(), base: Offset::new(generation), salt };
        let created = Timestamp::from_millis(self.env.clock.wall_millis());
        let head = Head { kind: FileKind::Journal, place, created, mark: end };
        let mut bytes = head.encode().to_vec();
        let count = self.entries.len() as u64;
        let mut at = Offset::new(end.value().saturating_sub(count));
        for mut batch in snapshot(&self.entries, end)? {
            let lay_down = LayDown { base_offset: at, durable_end: at, append_time: created };
            at = batch.lay_down(place.seed(), lay_down).end_offset();
            bytes.extend_from_slice(batch.bytes());
        }
        let limit = JOURNAL_FILE_BYTES_MIN.max(2 * bytes.len() as u64);
        let next = self.dir.join(NEXT_JOURNAL);
        let path = self.dir.join(journal_name(generation, salt));
        let file = match self.spare.take() {
            Some(spare) => spare,
            None => self.make_spare(limit)?,
        };
        file.write_at(&bytes, 0)
            .and_then(|()| file.sync_data())
            .map_err(|error| Error::io("write failed", &next, error))?;
        // If this fails half-way, either file may be the journal: the old one is not appended to any
        // more, and the number is not used again.
        self.generation = generation;
        self.in_doubt = true;
        self.env
            .fs
            .rename(&next, &path)
            .and_then(|()| self.env.fs.sync_dir(&self.dir))
            .map_err(|error| Error::io("rename failed", &path, error))?;
        self.position = bytes.len() as u64;
        self.limit = limit;
        self.salt = salt;
        self.end = end;
        self.file = Some(Arc::new(JournalFile { file, path }));
        self.in_doubt = false;
        self.remove_older();
        // Only room is lost if this fails now; the next rewrite asks again.
        self.spare = self.make_spare(limit).ok();
        Ok(())
    }

    /// The next file, made anew and allocated as far as the disk has room.
    fn make_spare(&self, len: u64) -> Result<Arc<dyn File>, Error> {
        let path = self.dir.join(NEXT_JOURNAL);
        let failed = |error| Error::io("create failed", &path, error);
        match self.env.fs.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = self.env.fs.create_new(&path).map_err(failed)?;
        // A file that could not be allocated may still take the bytes: the write itself will tell.
        let _ = file.allocate(len);
        file.sync_data().map_err(failed)?;
        Ok(file)
    }

    /// Removes generations that this one replaces; what cannot be removed is found by the next
    /// session.
    fn remove_older(&self) {
        let Ok(names) = self.env.fs.read_dir(&self.dir) else { return };
        for entry in names {
            let older = parse_journal_name(&entry.name)
                .is_some_and(|(generation, _)| generation < self.generation);
            if older {
                let _ = self.env.fs.remove_file(&self.dir.join(&entry.name));
            }
        }
    }

    fn lay_down(&self, round: &mut [Batch], at: Ends) {
        let seed = self.place().seed();
        let append_time = Timestamp::from_millis(self.env.clock.wall_millis());
        let mut base_offset = at.written_end;
        for batch in round {
            let lay_down = LayDown { base_offset, durable_end: at.durable_end, append_time };
            base_offset = batch.lay_down(seed, lay_down).end_offset();
        }
    }

    /// The file to append to, opened if this session has not written yet.
    fn file(&mut self) -> Result<Arc<JournalFile>, Error> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let path = self.path();
        let file = self.env.fs.open(&path, Access::ReadWrite);
        let file = file.map_err(|error| Error::io("open failed", &path, error))?;
        let file = Arc::new(JournalFile { file, path });
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

impl Tail for JournalTail {
    type View = ();

    fn open(&mut self, _durable_end: Offset) -> Result<Opened<()>, Error> {
        if self.opened {
            // What memory holds is what was written and told; the old file is not to be relied on
            // any more.
            self.rewrite(self.end)?;
        }
        self.opened = true;
        Ok(Opened { end: self.end, view: (), stopped: None })
    }

    fn write(&mut self, round: &mut [Batch], at: Ends) -> Result<Laid<()>, WriteFailure> {
        let unharmed = |error| WriteFailure { error, in_doubt: false };
        let bytes: u64 = round.iter().map(|batch| batch.len() as u64).sum();
        let mut synced_before = false;
        if self.in_doubt || self.position + bytes > self.limit {
            self.rewrite(at.written_end).map_err(unharmed)?;
            synced_before = true;
        }
        let at = if synced_before { Ends { durable_end: at.written_end, ..at } } else { at };
        self.lay_down(round, at);
        let file = self.file().map_err(unharmed)?;
        let frames = round.iter().map(Batch::bytes).collect::<Vec<_>>().concat();
        if let Err(error) = file.file.write_at(&frames, self.position) {
            let error = Error::io("write failed", &file.path, error);
            self.in_doubt = true;
            return Err(WriteFailure { error, in_doubt: true });
        }
        self.position += frames.len() as u64;
        for batch in round {
            self.end = batch.header().end_offset();
            apply(&mut self.entries, batch.entries());
        }
        Ok(Laid { view: None, target: file, synced_before })
    }
}

/// Makes a directory durably, if it is not there.
pub(crate) fn ensure_dir(env: &Env, dir: &Path, parent: &Path) -> Result<(), Error> {
    match env.fs.create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("create directory failed", dir, error))
        }
        // One that is there may have been made by a session that ended before it was durable.
        _ => env.fs.sync_dir(parent).map_err(|error| Error::io("sync failed", parent, error)),
    }
}
