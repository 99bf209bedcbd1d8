//! One partition: where its next frame goes, when a segment is full, what is trimmed.
//!
//! Plain `&mut self` and no locks: whoever leads the shard has it in hand. It brings recovery's
//! verdict into effect, keeps the manifest's rows, and publishes a new view whenever the set of
//! files changes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Retention, TopicConfig};
use crate::env::{Env, File};
use crate::error::{Error, ErrorKind};
use crate::format::batch::{Batch, LayDown};
use crate::format::frame::Place;
use crate::format::head::HEAD_BYTES;
use crate::format::layout::{TOPICS_DIR, partition_dir, segment_name, topic_dir};
use crate::limits::{FRAME_BYTES_MAX, OFFSET_MAX, SEGMENT_BYTES_MAX};
use crate::offset::{Offset, ShardId, Timestamp};
use crate::storage::commit::{Ends, SyncTarget, Want};
use crate::storage::journal::ensure_dir;
use crate::storage::judge::{PartitionReport, Patient};
use crate::storage::manifest::{
    Manifest, PartitionRows, Row, SegmentKey, SegmentRow, SegmentRowState,
};
use crate::storage::recovery::{EMPTY_BYTES, recover};
use crate::storage::segment::{ReadSide, Segment, SegmentWriter};
use crate::storage::tail::{Laid, Opened, Tail, WriteFailure};
use crate::storage::view::{SegmentState, SegmentView, View};
use crate::sync::{Arc, Shared};

mod beside;
mod retention;
mod rows;

/// What all partitions of a log share.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) env: Env,
    pub(crate) root: PathBuf,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) read_side: Arc<ReadSide>,
    pub(crate) read_only: bool,
    /// The wall clock at open; retention adds monotonic time to it.
    pub(crate) opened_at: (Timestamp, Duration),
    /// What recovery found, for `recovery()`.
    pub(crate) reports: Shared<BTreeMap<ShardId, PartitionReport>>,
}

impl Ground {
    /// The time that retention goes by: it does not jump with the wall clock while the log is open.
    pub(crate) fn steady_now(&self) -> Timestamp {
        let (wall, monotonic) = self.opened_at;
        let passed = self.env.clock.monotonic().saturating_sub(monotonic).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        Timestamp::from_millis(wall.as_millis().saturating_add(passed))
    }
}

/// How a partition is kept, as its topic says.
#[derive(Clone, Debug)]
pub(crate) struct Keeping {
    pub(crate) segment_bytes: u64,
    pub(crate) segment_age: Option<Duration>,
    pub(crate) retention: Retention,
}

impl From<&TopicConfig> for Keeping {
    fn from(config: &TopicConfig) -> Self {
        Self {
            segment_bytes: config.segment_bytes,
            segment_age: config.segment_age,
            retention: config.retention.clone(),
        }
    }
}

/// One partition's files, in the hands of whoever leads it.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    id: ShardId,
    ground: Arc<Ground>,
    dir: PathBuf,
    keeping: Keeping,
    /// What the manifest has, or will have with `pending`.
    rows: PartitionRows,
    /// Whether a clean close vouches for the rows.
    vouched: bool,
    /// Rows that go with the next write to the manifest.
    pending: Vec<Row>,
    /// Up to where the manifest must be durable for the rows that were written to be so.
    rows_end: Offset,
    sealed: Vec<SegmentView>,
    active: Option<Active>,
    end: Offset,
    last_append: Timestamp,
    /// Segments that are in no new view any more, to be unlinked.
    doomed: Vec<Arc<Segment>>,
    /// The last write found the disk full: ask for room before the next one touches the file.
    was_full: bool,
    opened: bool,
    /// Retention has looked at the partition since it was opened.
    was_checked: bool,
}

#[derive(Debug)]
struct Active {
    writer: SegmentWriter,
    target: Arc<ActiveFile>,
    first_append: Option<Timestamp>,
    /// After a roll that failed, the size at which it is tried again.
    roll_again_at: u64,
    /// How many index entries readers have been given.
    published: usize,
}

/// Syncs one segment file, and before it the row that lists it.
#[derive(Debug)]
struct ActiveFile {
    file: Arc<dyn File>,
    path: PathBuf,
    row: Option<(Arc<Manifest>, Offset)>,
}

impl SyncTarget for ActiveFile {
    fn sync(&self) -> Result<(), Error> {
        let listed = match &self.row {
            Some((manifest, row)) => manifest.until_durable(*row).map_err(io::Error::from),
            None => Ok(()),
        };
        let synced = listed.and_then(|()| self.file.sync_data());
        synced.map_err(|error| Error::in_doubt("sync failed", &self.path, error))
    }
}

/// Readers are given the active segment's index anew after this many entries.
const PUBLISH_INDEX_EVERY: usize = 64;
/// Beyond its size, a segment that cannot be rolled grows up to here.
const SEGMENT_BYTES_STRETCHED: u64 = SEGMENT_BYTES_MAX + FRAME_BYTES_MAX as u64;
/// Free space to be seen before a partition whose disk was full tries again, beyond the bytes to
/// write.
const ROOM_TO_RESUME: u64 = 64 * 1024;

impl PartitionLog {
    pub(crate) fn new(
        id: ShardId,
        ground: Arc<Ground>,
        keeping: Keeping,
        rows: PartitionRows,
        vouched: bool,
    ) -> Self {
        Self {
            id,
            dir: partition_dir(&ground.root, id),
            ground,
            keeping,
            end: rows.row.durable_end,
            last_append: rows.row.last_append,
            rows,
            vouched,
            pending: Vec::new(),
            rows_end: Offset::ZERO,
            sealed: Vec::new(),
            active: None,
            doomed: Vec::new(),
            was_full: false,
            opened: false,
            was_checked: false,
        }
    }

    pub(crate) fn set_keeping(&mut self, keeping: Keeping) {
        self.keeping = keeping;
    }

    /// The first offset that is kept.
    pub(crate) fn start(&self) -> Offset {
        self.rows.row.start
    }

    /// Lets go of everything, because the topic is gone; returns the rows to be dropped.
    pub(crate) fn abandon(&mut self) -> PartitionRows {
        if let Some(active) = self.active.take() {
            active.writer.segment().forget_file();
        }
        for view in self.sealed.drain(..) {
            view.segment.forget_file();
        }
        self.doomed.clear();
        self.pending.clear();
        std::mem::take(&mut self.rows)
    }

    /// What readers are to see.
    pub(crate) fn view(&self) -> Arc<View> {
        let mut segments = self.sealed.clone();
        if let Some(active) = &self.active {
            let index = Arc::new(active.writer.index().clone());
            let segment = Arc::clone(active.writer.segment());
            segments.push(SegmentView { segment, state: SegmentState::Active { index } });
        }
        Arc::new(View { start: self.rows.row.start, segments })
    }

    /// Takes the rows of a clean close at their word; no file is opened.
    fn trust_rows(&mut self) {
        let row = self.rows.row;
        // A trim writes both at once, so that only a forged row can have them the other way round.
        self.end = row.durable_end.max(row.start);
        for (key, segment) in &self.rows.segments {
            let (end, bytes) = match segment.state {
                SegmentRowState::Sealed | SegmentRowState::Lost => (segment.end, segment.bytes),
                SegmentRowState::Active if (row.scan_from.base, row.scan_from.salt) == *key => {
                    (row.durable_end, row.scan_from.position)
                }
                SegmentRowState::Active => (key.0, HEAD_BYTES as u64),
                SegmentRowState::Removed => {
                    self.doomed.push(self.segment(*key));
                    continue;
                }
                SegmentRowState::Aside => continue,
            };
            let last_append = segment.last_append.max(match segment.state {
                SegmentRowState::Active => row.last_append,
                _ => segment.last_append,
            });
            if end > key.0 {
                let state = SegmentState::Sealed { end, bytes, last_append };
                self.sealed.push(SegmentView { segment: self.segment(*key), state });
            }
        }
    }

    /// Looks at the files, and makes durable what is kept past the known mark.
    fn recover(&mut self, durable_end: Offset) -> Result<Option<Error>, Error> {
        let patient = Patient {
            id: self.id,
            env: &self.ground.env,
            dir: &self.dir,
            rows: &self.rows,
            read_side: &self.ground.read_side,
            durable_end,
        };
        let begin_writes = || self.ground.manifest.begin_writes();
        let recovered = recover(&patient, self.ground.read_only, begin_writes)?;
        let damage = recovered.report.damage.clone();
        let report = recovered.report;
        self.ground.reports.with(|reports| reports.insert(self.id, report));
        self.end = recovered.end;
        self.last_append = self.last_append.max(recovered.last_append);
        let before = (self.rows.clone(), self.pending.clone());
        for (key, row) in recovered.rows {
            self.set_segment(key, row);
        }
        if recovered.decide {
            self.note_durable(self.end);
            if let Err(error) = self.put_pending(Want::Durable) {
                // The files are not what was found yet: the next try must begin where this one did.
                (self.rows, self.pending) = before;
                return Err(error);
            }
        }
        self.sealed = recovered.segments;
        self.doomed.extend(recovered.doomed);
        if damage.is_none() {
            self.doom_removed();
        }
        Ok(damage)
    }

    /// Takes up the unlinking that the last session did not come to.
    fn doom_removed(&mut self) {
        let is_doomed = |key: &SegmentKey| {
            let mut places = self.doomed.iter().map(|segment| segment.place());
            places.any(|place| (place.base, place.salt) == *key)
        };
        let rows = self.rows.segments.iter();
        let removed =
            rows.filter(|(key, row)| row.state == SegmentRowState::Removed && !is_doomed(key));
        let removed = removed.map(|(key, _)| self.segment(*key)).collect::<Vec<_>>();
        self.doomed.extend(removed);
    }

    fn segment(&self, (base, salt): SegmentKey) -> Arc<Segment> {
        let place = Place { shard: self.id, base, salt };
        let path = self.dir.join(segment_name(base, salt));
        Arc::new(Segment::new(place, path, Arc::clone(&self.ground.read_side)))
    }

    /// The writer for the next round, made or rolled if need be.
    fn ready(&mut self, ends: Ends, bytes: u64) -> Result<(), Error> {
        if self.active.is_none() && !self.resume(ends)? {
            self.begin_segment(ends)?;
        }
        let Some(active) = &self.active else { return Err(Error::bare(ErrorKind::Io)) };
        let (position, _) = active.writer.at();
        let is_full = position + bytes > self.keeping.segment_bytes;
        let stretches = position + bytes <= SEGMENT_BYTES_STRETCHED;
        let is_due = position >= active.roll_again_at || !stretches;
        if active.writer.is_empty() || !is_due || !(is_full || self.is_aged(active)) {
            return Ok(());
        }
        match (self.begin_segment(ends), &mut self.active) {
            // The segment that is there goes on for as long as it can. A roll that fails can leave
            // a file behind, so that it is not tried with every round.
            (Err(_), Some(active)) if stretches => {
                active.roll_again_at = position + self.keeping.segment_bytes / 2;
                Ok(())
            }
            (rolled, _) => rolled,
        }
    }

    fn is_aged(&self, active: &Active) -> bool {
        let (Some(age), Some(first)) = (self.keeping.segment_age, active.first_append) else {
            return false;
        };
        is_older(first, age, self.ground.steady_now())
    }

    /// Goes on with the segment that a clean close left open; false if there is none.
    fn resume(&mut self, ends: Ends) -> Result<bool, Error> {
        let Some(last) = self.sealed.last() else { return Ok(false) };
        let place = *last.segment.place();
        let row = self.rows.segments.get(&(place.base, place.salt));
        if !self.vouched || row.is_none_or(|row| row.state != SegmentRowState::Active) {
            return Ok(false);
        }
        let SegmentState::Sealed { bytes, end, .. } = last.state else { return Ok(false) };
        // A clean close leaves nothing behind the last segment; rows that say so were forged.
        if end != ends.written_end {
            return Ok(false);
        }
        self.ground.manifest.begin_writes()?;
        let fs = &*self.ground.env.fs;
        let segment = self.segment((place.base, place.salt));
        let writer = SegmentWriter::resume(fs, segment, (bytes, end), self.last_append)?;
        self.sealed.pop();
        self.active = Some(Active::new(writer, None));
        Ok(true)
    }

    /// Makes a new segment at the written end, lists it, and seals the one before.
    fn begin_segment(&mut self, ends: Ends) -> Result<(), Error> {
        let manifest = Arc::clone(&self.ground.manifest);
        manifest.begin_writes()?;
        if self.rows.segments.is_empty() {
            let env = &self.ground.env;
            let topic_dir = topic_dir(&self.ground.root, self.id.topic);
            ensure_dir(env, &topic_dir, &self.ground.root.join(TOPICS_DIR))?;
            ensure_dir(env, &self.dir, &topic_dir)?;
        }
        let created = self.append_time();
        let segment = |salt| self.segment((ends.written_end, salt));
        let writer = SegmentWriter::create(&self.ground.env, segment, (created, ends.durable_end))?;
        let key = (ends.written_end, writer.segment().place().salt);
        if let Err(error) = self.ground.env.fs.sync_dir(&self.dir) {
            let _ = self.ground.env.fs.remove_file(writer.segment().path());
            return Err(Error::io("sync failed", &self.dir, error));
        }
        let row = SegmentRow {
            state: SegmentRowState::Active,
            end: ends.written_end,
            bytes: EMPTY_BYTES,
            last_append: created,
        };
        self.set_segment(key, row);
        let listed = match self.put_pending(Want::Written) {
            Ok(listed) => listed,
            Err(error) => {
                // The row may have reached the disk all the same, so the file must stay until
                // another row says that it is not needed. The segment before it goes on.
                self.set_segment(key, SegmentRow { state: SegmentRowState::Removed, ..row });
                self.doomed.push(Arc::clone(writer.segment()));
                return Err(error);
            }
        };
        self.seal_active(ends.durable_end);
        self.active = Some(Active::new(writer, Some((manifest, listed))));
        Ok(())
    }

    /// Ends the active segment; its row goes with the next write to the manifest.
    fn seal_active(&mut self, durable_end: Offset) {
        let Some(Active { mut writer, .. }) = self.active.take() else { return };
        writer.seal(durable_end);
        let (bytes, end) = writer.at();
        let last_append = writer.last_append();
        let place = *writer.segment().place();
        let row = SegmentRow { state: SegmentRowState::Sealed, end, bytes, last_append };
        self.set_segment((place.base, place.salt), row);
        let segment = Arc::clone(writer.segment());
        let state = SegmentState::Sealed { end, bytes, last_append };
        self.sealed.push(SegmentView { segment, state });
    }

    /// The time of a round: never before that of the one before.
    fn append_time(&self) -> Timestamp {
        let now = Timestamp::from_millis(self.ground.env.clock.wall_millis());
        now.max(self.last_append)
    }

    fn check_room(&mut self, bytes: u64) -> Result<(), Error> {
        if !self.was_full {
            return Ok(());
        }
        let free = self.ground.env.fs.available_space(&self.ground.root);
        if free.is_ok_and(|free| free < bytes + ROOM_TO_RESUME) {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(Error::io("append refused", &self.dir, full));
        }
        self.was_full = false;
        Ok(())
    }

    /// Lays the round down in the active segment and writes it.
    fn lay_and_write(&mut self, round: &mut [Batch], at: Ends) -> Result<(), WriteFailure> {
        let append_time = self.append_time();
        let unharmed = |error| WriteFailure { error, in_doubt: false };
        let in_doubt = |what, path: &Path, error| {
            let error = Error::in_doubt(what, path, error);
            WriteFailure { error, in_doubt: true }
        };
        let Some(active) = &mut self.active else {
            return Err(unharmed(Error::bare(ErrorKind::Io)));
        };
        let seed = active.writer.segment().seed();
        let mut base_offset = at.written_end;
        for batch in &mut *round {
            let lay_down = LayDown { base_offset, durable_end: at.durable_end, append_time };
            base_offset = batch.lay_down(seed, lay_down).end_offset();
        }
        let written = active.writer.write(round);
        if let Err(error) = written {
            let segment = Arc::clone(active.writer.segment());
            let path = segment.path();
            self.was_full =
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            // A full disk is no reason to stop, if what was written can be taken back for good.
            let taken_back = if self.was_full { Some(active.writer.cut()) } else { None };
            return Err(match taken_back {
                Some(Ok(())) => unharmed(Error::io("write failed", path, error)),
                Some(Err(error)) => in_doubt("cutting a write back failed", path, error),
                None => in_doubt("write failed", path, error),
            });
        }
        active.first_append.get_or_insert(append_time);
        self.last_append = append_time;
        self.end = base_offset;
        Ok(())
    }
}

impl Tail for PartitionLog {
    type View = Arc<View>;

    fn open(&mut self, durable_end: Offset) -> Result<Opened<Arc<View>>, Error> {
        self.sealed.clear();
        self.active = None;
        // A close vouches for the first opening of a session, and not for what a failure has left.
        self.vouched &= !std::mem::replace(&mut self.opened, true);
        let damage = if self.vouched {
            self.trust_rows();
            None
        } else if self.ground.read_only {
            self.recover_beside(durable_end)?
        } else {
            self.recover(durable_end)?
        };
        let stopped = match damage {
            _ if self.ground.read_only => Some(Error::bare(ErrorKind::ReadOnly)),
            Some(damage) => Some(Error::poisoned(&damage)),
            None if self.end.value() > OFFSET_MAX => {
                let text = "no partition holds so many records";
                Some(Error::poisoned(&Error::at_path(ErrorKind::Corrupt, &self.dir, text)))
            }
            None => None,
        };
        let opened = Opened { end: self.end, view: self.view(), stopped };
        self.was_full = false;
        Ok(opened)
    }

    fn write(&mut self, round: &mut [Batch], at: Ends) -> Result<Laid<Arc<View>>, WriteFailure> {
        let bytes: u64 = round.iter().map(|batch| batch.len() as u64).sum();
        let before = self.active.as_ref().map(|active| *active.writer.segment().place());
        self.check_room(bytes).and_then(|()| self.ready(at, bytes)).map_err(|error| {
            self.was_full |= error.kind() == ErrorKind::StorageFull;
            WriteFailure { error, in_doubt: false }
        })?;
        self.lay_and_write(round, at)?;
        let Some(active) = &mut self.active else {
            let error = Error::bare(ErrorKind::Io);
            return Err(WriteFailure { error, in_doubt: true });
        };
        let target = Arc::clone(&active.target) as Arc<dyn SyncTarget>;
        let rolled = before != Some(*active.writer.segment().place());
        let entries = active.writer.index().len();
        let indexed = entries >= active.published + PUBLISH_INDEX_EVERY;
        let view = (rolled || indexed).then(|| {
            active.published = entries;
        });
        let view = view.map(|()| self.view());
        Ok(Laid { view, target, synced_before: false })
    }
}

impl Active {
    fn new(writer: SegmentWriter, row: Option<(Arc<Manifest>, Offset)>) -> Self {
        let file = Arc::clone(writer.file());
        let path = writer.segment().path().to_path_buf();
        let target = Arc::new(ActiveFile { file, path, row });
        let first_append = (!writer.is_empty()).then(|| writer.last_append());
        Self { writer, target, first_append, roll_again_at: 0, published: 0 }
    }
}

/// Whether something of `time` is older than `age` at `now`.
pub(crate) fn is_older(time: Timestamp, age: Duration, now: Timestamp) -> bool {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    now.as_millis().saturating_sub(time.as_millis()) > age
}
