//! All shards of a log: open, close, and the work that time asks for.
//!
//! The store takes the directory, reads the journals in their order, and makes a shard for every
//! partition that the catalog has. It knows numbers, bytes and offsets; names and groups belong to
//! the floors above.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::config::SyncPolicy;
use crate::env::{Env, Lock};
use crate::error::{Error, ErrorKind};
use crate::format::layout::JournalKind;
use crate::offset::{Offset, ShardId, Timestamp, TopicId};
use crate::storage::buffer::BufferPool;
use crate::storage::commit::{Budget, Want};
use crate::storage::committer::Committer;
use crate::storage::disposal::{dispose, take_back};
use crate::storage::files::Files;
use crate::storage::journal::{Journal, JournalHome};
use crate::storage::judge::PartitionReport;
use crate::storage::manifest::{ManifestState, PartitionRows, Row};
use crate::storage::opening::{self, Journals, Opening};
use crate::storage::partition::{Ground, Keeping, PartitionLog};
use crate::storage::segment::ReadSide;
use crate::storage::shard::Shard;
use crate::storage::tail::{Background, BackgroundFailure, Positions, Serve, ShardOptions};
use crate::sync::{Arc, AtomicBool, Ordering, Shared, Weak};

/// One partition that many threads append to and many read.
pub(crate) type PartitionShard = Shard<PartitionLog>;

/// How a store is opened.
#[derive(Clone, Debug)]
pub(crate) struct StoreOptions {
    pub(crate) budget: Budget,
    pub(crate) ring_bytes: usize,
    pub(crate) open_files: usize,
    pub(crate) wait_for_lock: Duration,
    pub(crate) read_only: bool,
    pub(crate) manual_maintenance: bool,
    pub(crate) check_interval: Duration,
}

/// Everything of one log that stands on disk.
pub(crate) struct Store {
    me: Weak<Self>,
    ground: Arc<Ground>,
    committer: Arc<Committer>,
    options: StoreOptions,
    catalog: Arc<Journal>,
    offsets: Arc<Journal>,
    positions: OnceLock<Arc<dyn Positions>>,
    lock: Shared<Option<Box<dyn Lock>>>,
    shards: Shared<BTreeMap<ShardId, Arc<PartitionShard>>>,
    /// What the manifest said at open, for partitions that have no shard yet.
    found: Shared<ManifestState>,
    known: Shared<BTreeMap<ShardId, Known>>,
    largest_topic: Shared<TopicId>,
    /// Partitions that the catalog does not have and the manifest may still list.
    orphans: Shared<BTreeMap<ShardId, PartitionRows>>,
    /// A retention job is scheduled.
    retains: AtomicBool,
    /// A mark job is scheduled.
    marks: AtomicBool,
    closed: AtomicBool,
}

/// What the store keeps in mind of a partition.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// How far the manifest says it is durable.
    mark: Offset,
    /// Whether a clean close vouches for it, or it was made in this session.
    vouched: bool,
    /// Whether its topic lets records go by itself, so that it is looked at even if nobody uses it.
    lets_go: bool,
}

impl Store {
    /// Takes the directory and reads its journals; no segment is opened.
    pub(crate) fn open(
        env: &Env,
        root: &Path,
        options: StoreOptions,
        committer: Arc<Committer>,
    ) -> Result<(Arc<Self>, Opening), Error> {
        let mut opening = Opening::default();
        let wait_for_lock = (!options.read_only).then_some(options.wait_for_lock);
        let lock = opening::enter(env, root, wait_for_lock, &mut opening)?;
        let home = JournalHome {
            env: env.clone(),
            root: root.to_path_buf(),
            background: Arc::clone(&committer) as Arc<dyn Background>,
            read_only: options.read_only,
        };
        let Journals { manifest, catalog, offsets, state } =
            opening::open_journals(&home, &mut opening)?;
        let largest_topic = opening::largest_topic(env, root, &state)?;
        let read_side = ReadSide {
            files: Files::new(Arc::clone(&env.fs), options.open_files),
            buffers: BufferPool::new(),
        };
        let ground = Arc::new(Ground {
            env: env.clone(),
            root: root.to_path_buf(),
            manifest,
            read_side: Arc::new(read_side),
            read_only: options.read_only,
            opened_at: (Timestamp::from_millis(env.clock.wall_millis()), env.clock.monotonic()),
            reports: Shared::default(),
        });
        let store = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            ground,
            committer,
            options,
            catalog,
            offsets,
            positions: OnceLock::new(),
            lock: Shared::new(lock),
            shards: Shared::default(),
            found: Shared::new(state),
            known: Shared::default(),
            largest_topic: Shared::new(largest_topic),
            orphans: Shared::default(),
            retains: AtomicBool::new(false),
            marks: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        Ok((store, opening))
    }

    /// The journal of the catalog.
    pub(crate) fn catalog(&self) -> &Arc<Journal> {
        &self.catalog
    }

    /// The journal of committed offsets.
    pub(crate) fn offsets(&self) -> &Arc<Journal> {
        &self.offsets
    }

    /// Has `positions` asked and told from now on; set once.
    pub(crate) fn follow(&self, positions: Arc<dyn Positions>) {
        let _ = self.positions.set(positions);
    }

    /// Has `job` served soon, on another thread where there are any.
    pub(crate) fn run(&self, job: Arc<dyn Serve>) {
        self.committer.request(job);
    }

    /// Has `job` served once `delay` has passed.
    pub(crate) fn run_after(&self, delay: Duration, job: Arc<dyn Serve>) {
        self.committer.request_after(delay, job);
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.ground.root
    }

    pub(crate) fn env(&self) -> &Env {
        &self.ground.env
    }

    /// A topic id that no topic has had.
    ///
    /// # Errors
    /// `Corrupt` if something in the directory has the very last one: no log ever gets there.
    pub(crate) fn next_topic_id(&self) -> Result<TopicId, Error> {
        let next = self.largest_topic.with(|largest| {
            let next = largest.value().checked_add(1).map(TopicId::new)?;
            *largest = next;
            Some(next)
        });
        next.ok_or_else(|| Error::new(ErrorKind::Corrupt, "the last topic number is taken"))
    }

    /// Takes note of a topic id that is in use.
    pub(crate) fn know_topic_id(&self, topic: TopicId) {
        self.largest_topic.with(|largest| *largest = topic.max(*largest));
    }

    /// Lists new partitions durably; they become part of the log with the catalog's entry.
    pub(crate) fn create_partitions(&self, ids: &[ShardId]) -> Result<(), Error> {
        let rows = ids.iter().map(|id| Row::Partition(*id, Default::default()));
        self.ground.manifest.put(&rows.collect::<Vec<_>>(), Want::Durable).map(|_| ())
    }

    /// Makes the shard of a partition that the catalog has.
    pub(crate) fn add_shard(
        &self,
        id: ShardId,
        policy: SyncPolicy,
        keeping: Keeping,
    ) -> Arc<PartitionShard> {
        let (rows, vouched) = self.found.with(|found| {
            let vouched = found.clean.as_ref().is_some_and(|clean| !clean.except.contains(&id));
            let listed = found.partitions.remove(&id);
            // A partition made in this session starts empty, and there is nothing to recover.
            let is_new = listed.is_none();
            (listed.unwrap_or_default(), vouched || is_new)
        });
        let retention = &keeping.retention;
        let lets_go = retention.max_age.is_some() || retention.max_bytes.is_some();
        if lets_go || keeping.segment_age.is_some() {
            self.schedule_retention();
        }
        let known = Known { mark: rows.row.durable_end, vouched, lets_go };
        self.known.with(|all| all.insert(id, known));
        let log = PartitionLog::new(id, Arc::clone(&self.ground), keeping, rows, vouched);
        let options = ShardOptions {
            id,
            policy,
            budget: self.options.budget,
            ring_bytes: self.options.ring_bytes,
        };
        let clock = Arc::clone(&self.ground.env.clock);
        let background = Arc::new(Errands {
            committer: Arc::clone(&self.committer),
            store: Weak::clone(&self.me),
        });
        let shard = Shard::new(log, &options, clock, background);
        self.shards.with(|shards| shards.insert(id, Arc::clone(&shard)));
        shard
    }

    /// Drops what the manifest lists of partitions that the catalog does not have.
    ///
    /// They are the remains of a creation or a deletion that did not come to its end.
    pub(crate) fn drop_orphans(&self) -> Result<(), Error> {
        let orphans = self.found.with(|found| std::mem::take(&mut found.partitions));
        if orphans.is_empty() || self.options.read_only {
            return Ok(());
        }
        self.drop_partitions(orphans)
    }

    fn drop_partitions(&self, partitions: BTreeMap<ShardId, PartitionRows>) -> Result<(), Error> {
        self.orphans.with(|orphans| orphans.extend(partitions.clone()));
        self.take_back_orphans()?;
        dispose(&self.ground, &partitions)
    }

    /// Has the manifest list nothing of partitions that the catalog does not have.
    ///
    /// Must have succeeded before the catalog changes. The files of what could not be taken back at
    /// once are removed by the next open.
    pub(crate) fn take_back_orphans(&self) -> Result<(), Error> {
        let orphans = self.orphans.get();
        if orphans.is_empty() {
            return Ok(());
        }
        take_back(&self.ground, &orphans)?;
        self.orphans.with(|left| left.retain(|id, _| !orphans.contains_key(id)));
        Ok(())
    }

    /// Refuses journals that contradict each other; `partitions` are those of all topics.
    pub(crate) fn check_agreement(
        &self,
        opening: &Opening,
        partitions: &BTreeSet<ShardId>,
    ) -> Result<(), Error> {
        if self.options.read_only {
            // Beside a writer the two were not read at the same moment.
            return Ok(());
        }
        self.found.with(|found| opening::check_agreement(opening, found, partitions))
    }

    /// Removes a topic's shards, files and rows; the catalog has forgotten it already.
    ///
    /// # Errors
    /// What the system says; the next open removes what is left.
    pub(crate) fn drop_topic(&self, topic: TopicId, reason: &Error) -> Result<(), Error> {
        let gone = self.shards.with(|shards| {
            let mut gone = shards.clone();
            gone.retain(|id, _| id.topic == topic);
            shards.retain(|id, _| id.topic != topic);
            gone
        });
        let mut partitions = BTreeMap::new();
        for (id, shard) in &gone {
            self.known.with(|known| known.remove(id));
            self.ground.reports.with(|reports| reports.remove(id));
            partitions.insert(*id, shard.retire(reason, PartitionLog::abandon));
        }
        self.drop_partitions(partitions)
    }

    /// Everything that time asks for: late syncs, durable marks, retention, unlinking.
    pub(crate) fn maintain(&self) -> Result<(), Error> {
        let mut first = Ok(());
        self.committer.catch_up();
        for shard in self.all_shards() {
            if shard.is_opened() {
                shard.serve();
            }
        }
        for result in [self.write_marks(), self.retain()] {
            first = first.and(result);
        }
        first
    }

    /// Writes down how far partitions have become durable since the last time.
    pub(crate) fn write_marks(&self) -> Result<(), Error> {
        for (id, shard) in self.shards_by_id() {
            let known = self.known(id);
            if !shard.is_opened() || shard.ends().durable_end <= known.mark {
                continue;
            }
            let durable_end = shard.exclusive(|log, ends| {
                (log.write_mark(ends.durable_end).map(|()| ends.durable_end), None)
            })??;
            self.known.with(|all| all.insert(id, Known { mark: durable_end, ..known }));
        }
        Ok(())
    }

    /// Removes what retention lets go of, in all partitions, and unlinks what nobody reads.
    pub(crate) fn retain(&self) -> Result<(), Error> {
        let mut first = Ok(());
        for (id, shard) in self.shards_by_id() {
            if !shard.is_opened() && !self.known(id).lets_go {
                continue;
            }
            let floor = self.positions.get().and_then(|positions| positions.floor(id));
            let result = shard.exclusive(|log, ends| {
                let retained = log.retain(ends, floor);
                let view = matches!(retained, Ok(true)).then(|| log.view());
                (retained, view)
            });
            let result = result.and_then(|retained| retained);
            let unlinked = self.unlink_doomed(&shard);
            first = first.and(result.map(|_| ())).and(unlinked);
        }
        first
    }

    /// Makes `before` the first offset of a partition, or as near to it as is durable; returns the
    /// new start.
    pub(crate) fn trim(&self, shard: &PartitionShard, before: Offset) -> Result<Offset, Error> {
        let durable_end = shard.sync_written()?;
        let start = shard.exclusive(|log, _| {
            let start = before.min(durable_end);
            if start <= log.start() {
                return (Ok(log.start()), None);
            }
            let trimmed = log.trim(start).map(|()| start);
            let view = trimmed.is_ok().then(|| log.view());
            (trimmed, view)
        })??;
        self.unlink_doomed(shard)?;
        Ok(start)
    }

    /// Unlinks what is not needed any more, and looks again later if something is being read.
    fn unlink_doomed(&self, shard: &PartitionShard) -> Result<(), Error> {
        let is_left = shard.exclusive(|log, _| (log.unlink_doomed(), None))??;
        if is_left {
            self.schedule_marks();
        }
        Ok(())
    }

    /// Unlinks what recovery and trims have left behind in partitions that are in use.
    fn unlink_leftovers(&self) -> Result<(), Error> {
        let mut shards = self.all_shards().into_iter().filter(|shard| shard.is_opened());
        shards.try_for_each(|shard| self.unlink_doomed(&shard))
    }

    /// What recovery found so far, and which partitions it has not looked at.
    pub(crate) fn reports(&self) -> (BTreeMap<ShardId, PartitionReport>, Vec<ShardId>) {
        let pending = self.shards_by_id().into_iter().filter(|(_, shard)| !shard.is_opened());
        let pending = pending.map(|(id, _)| id).filter(|id| !self.known(*id).vouched).collect();
        (self.ground.reports.get(), pending)
    }

    /// How many segment files are open for reading.
    pub(crate) fn open_files(&self) -> usize {
        self.ground.read_side.files.len()
    }

    /// Syncs everything, writes the clean-close marker, and lets go of the directory.
    ///
    /// # Errors
    /// The first failure; the directory is let go of all the same, and the next open recovers.
    pub(crate) fn close(&self, reason: &Error) -> Result<(), Error> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let mut first = Ok(());
        let mut except = Vec::new();
        let shards = self.shards_by_id();
        for (_, shard) in &shards {
            shard.close(reason);
        }
        if self.options.read_only {
            self.let_go();
            return Ok(());
        }
        let opened = shards.iter().filter(|(_, shard)| shard.is_opened());
        opened.for_each(|(_, shard)| shard.start_sync());
        for (id, shard) in &shards {
            if !shard.is_opened() {
                except.extend((!self.known(*id).vouched).then_some(*id));
                continue;
            }
            let written = shard
                .sync_written()
                .and_then(|_| shard.exclusive(|log, ends| (log.write_close(ends), None))?);
            // What cannot be unlinked now is listed, and the next session tries again.
            let _ = self.unlink_doomed(shard);
            if written.is_err() || shard.observe(|commit, _, _| commit.stopped().is_some()) {
                except.push(*id);
            }
            first = first.and(written);
        }
        let marked = self.ground.manifest.close(except);
        self.let_go();
        first.and(marked)
    }

    /// Stops the threads and frees the lock, and nothing else: the next open is an unclean one.
    pub(crate) fn let_go(&self) {
        self.closed.store(true, Ordering::Release);
        self.committer.shut_down();
        let lock = self.lock.with(Option::take);
        drop(lock);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn known(&self, id: ShardId) -> Known {
        self.known.with(|known| known.get(&id).copied().unwrap_or_default())
    }

    fn all_shards(&self) -> Vec<Arc<PartitionShard>> {
        self.shards.with(|shards| shards.values().cloned().collect())
    }

    fn shards_by_id(&self) -> Vec<(ShardId, Arc<PartitionShard>)> {
        self.shards.with(|shards| shards.clone().into_iter().collect())
    }

    /// Has retention looked at from now on, at every check interval.
    pub(crate) fn schedule_retention(&self) {
        let by_itself = !self.options.manual_maintenance && !self.options.read_only;
        if by_itself && !self.retains.swap(true, Ordering::AcqRel) {
            let job = Arc::new(RetentionJob { store: Weak::clone(&self.me) });
            self.committer.request_after(self.options.check_interval, job);
        }
    }

    /// Has durable ends written down before long, and unlinked what is not needed any more.
    fn schedule_marks(&self) {
        if !self.options.manual_maintenance && !self.marks.swap(true, Ordering::AcqRel) {
            let job = Arc::new(MarkJob { store: Weak::clone(&self.me) });
            self.committer.request_after(MARK_INTERVAL, job);
        }
    }

    /// Tells the log's owner of a failure of work that nobody waits for.
    pub(crate) fn tell(&self, result: Result<(), Error>) {
        if let Err(error) = result {
            let id = JournalKind::Manifest.shard();
            self.committer.report(BackgroundFailure { id, error, void: None });
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.ground.root).finish_non_exhaustive()
    }
}

/// Applies retention, again and again.
struct RetentionJob {
    store: Weak<Store>,
}

impl Serve for RetentionJob {
    fn serve(&self) {
        if let Some(store) = self.store.upgrade().filter(|store| !store.is_closed()) {
            store.tell(store.retain());
            store.retains.store(false, Ordering::Release);
            store.schedule_retention();
        }
    }
}

/// Writes down how far the log is durable, once for all that became so in the meantime, and
/// unlinks what is not needed any more.
struct MarkJob {
    store: Weak<Store>,
}

impl Serve for MarkJob {
    fn serve(&self) {
        if let Some(store) = self.store.upgrade().filter(|store| !store.is_closed()) {
            store.marks.store(false, Ordering::Release);
            store.tell(store.write_marks());
            store.tell(store.unlink_leftovers());
        }
    }
}

/// The background as shards see it: the committer, and a note to the store when something became
/// durable.
#[derive(Debug)]
struct Errands {
    committer: Arc<Committer>,
    store: Weak<Store>,
}

impl Background for Errands {
    fn request(&self, job: Arc<dyn Serve>) {
        self.committer.request(job);
    }

    fn request_after(&self, delay: Duration, job: Arc<dyn Serve>) {
        self.committer.request_after(delay, job);
    }

    fn report(&self, failure: BackgroundFailure) {
        self.committer.report(failure);
    }

    fn catch_up(&self) {
        self.committer.catch_up();
    }

    fn became_durable(&self) {
        if let Some(store) = self.store.upgrade() {
            store.schedule_marks();
        }
    }

    fn recovered(&self, id: ShardId, end: Offset) -> Result<(), Error> {
        match self.store.upgrade() {
            Some(store) if !store.options.read_only => {
                let positions = store.positions.get();
                positions.map_or(Ok(()), |positions| positions.recovered(id, end))
            }
            _ => Ok(()),
        }
    }
}

/// Durable ends are written down at most this often.
const MARK_INTERVAL: Duration = Duration::from_secs(1);
