//! Repairing a damaged directory: what will be given up is listed first, and done only then.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::books::{Books, Names};
use crate::catalog::topic_entry;
use crate::config::{LogOptions, TopicConfig};
use crate::env::{Env, Lock, disk};
use crate::error::{Error, ErrorKind};
use crate::format::layout::{JournalKind, partition_dir};
use crate::name::TopicName;
use crate::offset::{Offset, ShardId, TopicId, TopicPartition};
use crate::report::repair::{Loss, Repair, RepairReport};
use crate::storage::manifest::{PartitionRows, Row, snapshot_of};
use crate::storage::opening::{Opening, enter, partitions_on_disk};
use crate::storage::repair::{Case, rows_of_files, set_aside};
use crate::storage::segment::ReadSide;
use crate::storage::verify::{patient, read_side};
use crate::sync::Arc;

/// A repair that was thought through and not begun: see [`LogOptions::repair`].
///
/// It holds the directory's lock, so that nothing changes before [`apply`](Self::apply).
#[derive(Debug)]
#[must_use]
pub struct RepairPlan {
    env: Env,
    root: PathBuf,
    _lock: Box<dyn Lock>,
    books: Books,
    /// Topics whose entry the catalog has lost, under names that the plan gives them.
    nameless: BTreeMap<TopicId, (TopicName, u32)>,
    partitions: BTreeMap<ShardId, Planned>,
    read_side: Arc<ReadSide>,
}

/// A partition that is damaged, or whose rows are lost.
#[derive(Debug)]
struct Planned {
    place: TopicPartition,
    rows: PartitionRows,
    case: Case,
    choice: Repair,
}

impl LogOptions {
    /// Looks at a damaged directory and plans how to go on with what is left of it.
    ///
    /// Nothing is changed. The plan says what would be given up, can be told to do otherwise for a
    /// partition, and then [applied](RepairPlan::apply); a log that is not damaged has an empty
    /// plan. Damaged partitions do not keep a log from being opened, nor their readable records from
    /// being read: a repair is needed for appends to go on where recovery has stopped them, and to
    /// open a log whose own books are damaged.
    ///
    /// # Errors
    /// `NotALog`, `AlreadyOpen`, `UnsupportedVersion`, and what the system says: what cannot be read
    /// for another reason than damage is not given up.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, LogOptions, Repair};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # Log::open(dir.path())?.close()?;
    /// let plan = LogOptions::new().repair(dir.path())?;
    /// for loss in plan.losses() {
    ///     println!("would be given up: {loss}");
    /// }
    /// let done = plan.choose_all(Repair::KeepReadable).apply()?;
    /// assert!(done.given_up.is_empty() && done.aside.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn repair(self, dir: impl AsRef<Path>) -> Result<RepairPlan, Error> {
        let dir = dir.as_ref();
        RepairPlan::make(&disk::env_within(dir), dir, self.wait_for_lock)
    }
}

impl RepairPlan {
    pub(crate) fn make(env: &Env, root: &Path, wait: Duration) -> Result<Self, Error> {
        let told = |error: Error| error.during(format_args!("repair {}", root.display()));
        Self::look(env, root, wait).map_err(told)
    }

    fn look(env: &Env, root: &Path, wait: Duration) -> Result<Self, Error> {
        // Before the lock, which would make a directory that is not there.
        Books::read(env, root)?;
        let lock = enter(env, root, Some(wait), &mut Opening::default())?;
        let Some(lock) = lock else { return Err(Error::bare(ErrorKind::ReadOnly)) };
        let books = Books::read(env, root)?;
        if let Some(error) = &books.refused {
            return Err(error.clone());
        }
        let mut plan = Self {
            env: env.clone(),
            root: root.to_path_buf(),
            _lock: lock,
            books,
            nameless: BTreeMap::new(),
            partitions: BTreeMap::new(),
            read_side: read_side(env),
        };
        plan.find_nameless()?;
        plan.examine()?;
        Ok(plan)
    }

    /// What would be given up, with the choices as they are now.
    ///
    /// First of the log's own books, then of partitions in their order.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        let book = |what: String| Loss { partition: None, offsets: None, what };
        let mut losses = Vec::new();
        for finding in self.books.damage() {
            losses.push(book(format!("the entries that stood there: {finding}")));
        }
        for (name, _) in self.nameless.values() {
            losses.push(book(format!("the name and settings of a topic, from now on {name}")));
        }
        for planned in self.partitions.values() {
            let place = &planned.place;
            losses.extend(planned.given_up().into_iter().map(|offsets| Loss {
                partition: Some(place.clone()),
                what: format!("{place}: records {}..{}", offsets.start, offsets.end),
                offsets: Some(offsets),
            }));
        }
        losses
    }

    /// The partitions that are damaged, and what is to be done with each.
    #[must_use]
    pub fn damaged_partitions(&self) -> Vec<(TopicPartition, Repair)> {
        let damaged = self.partitions.values().filter(|planned| planned.is_damaged());
        damaged.map(|planned| (planned.place.clone(), planned.choice)).collect()
    }

    /// Decides about one damaged partition; by default what can be read is kept.
    ///
    /// # Errors
    /// `UnknownPartition` if it is not one of [`damaged_partitions`](Self::damaged_partitions).
    pub fn choose(&mut self, partition: &TopicPartition, choice: Repair) -> Result<(), Error> {
        let mut damaged = self.partitions.values_mut().filter(|planned| planned.is_damaged());
        let planned = damaged.find(|planned| planned.place == *partition);
        let unknown = || Error::new(ErrorKind::UnknownPartition, "it is not damaged");
        planned.ok_or_else(unknown)?.choice = choice;
        Ok(())
    }

    /// Decides the same about all damaged partitions.
    pub fn choose_all(mut self, choice: Repair) -> Self {
        self.partitions.values_mut().for_each(|planned| planned.choice = choice);
        self
    }

    /// Does it, durably, and lets go of the directory; afterwards the log opens.
    ///
    /// Files that are replaced stay: damaged segments where they are, listed as set aside, and
    /// copies of damaged journals beside the new ones, under a name that ends in `.damaged`. A
    /// repair that is interrupted can be planned and done again.
    ///
    /// # Errors
    /// What the system says; what was done until then is nothing that an open or another repair
    /// minds.
    pub fn apply(self) -> Result<RepairReport, Error> {
        let root = self.root.clone();
        let told = |error: Error| error.during(format_args!("repair {}", root.display()));
        let mut report = RepairReport { given_up: self.losses(), aside: Vec::new() };
        if self.partitions.is_empty() && self.nameless.is_empty() && !self.books.is_damaged() {
            return Ok(report);
        }
        self.keep_journals(&mut report).map_err(told)?;
        let rows = self.rebuild_partitions(&mut report).map_err(told)?;
        self.write_books(rows).map_err(told)?;
        Ok(report)
    }

    /// Topics that have records and no entry in a catalog that is not what it was.
    fn find_nameless(&mut self) -> Result<(), Error> {
        if self.books.is_trusted(JournalKind::Catalog) {
            return Ok(());
        }
        let listed = self.books.state.partitions.iter();
        let listed = listed.filter(|(_, rows)| rows.has_live_segments()).map(|(id, _)| *id);
        let found = partitions_on_disk(&self.env, &self.root)?;
        for id in listed.chain(found) {
            if self.books.topics.topics.contains_key(&id.topic) {
                continue;
            }
            let count = id.partition.value().saturating_add(1);
            let known = self.nameless.get(&id.topic).map_or(0, |(_, known)| *known);
            let name = self.free_name(id.topic)?;
            self.nameless.insert(id.topic, (name, count.max(known)));
        }
        Ok(())
    }

    fn free_name(&self, id: TopicId) -> Result<TopicName, Error> {
        let names = &self.books.topics.topics;
        let is_taken = |name: &str| names.values().any(|(taken, _)| taken.as_str() == name);
        let mut name = format!("recovered-{}", id.value());
        while is_taken(&name) {
            name.push('-');
        }
        TopicName::new(&name).map_err(|error| Error::new(ErrorKind::InvalidName, error.to_string()))
    }

    fn examine(&mut self) -> Result<(), Error> {
        let manifest_is_whole = self.books.is_whole(JournalKind::Manifest);
        let topics = self.books.topics.topics.iter().chain(&self.nameless);
        let names = Names { topics: topics.map(|(id, topic)| (*id, topic.clone())).collect() };
        for id in names.shards() {
            let Some(place) = names.place(id) else { continue };
            let dir = partition_dir(&self.root, id);
            let listed = self.books.state.partitions.get(&id);
            let is_listed = manifest_is_whole && listed.is_some();
            let rows = match listed {
                Some(rows) if is_listed => rows.clone(),
                known => rows_of_files(&self.env, &dir, known)?,
            };
            let patient = patient(&self.env, &dir, (id, &rows), &self.read_side);
            let case = Case::examine(&patient).map_err(|error| error.of_partition(&place))?;
            if !is_listed || !case.lost.is_empty() {
                let choice = Repair::default();
                self.partitions.insert(id, Planned { place, rows, case, choice });
            }
        }
        Ok(())
    }

    /// Whether a journal is written anew because of what it is now.
    fn replaces(&self, kind: JournalKind) -> bool {
        let lacks_topics = kind == JournalKind::Catalog && !self.nameless.is_empty();
        lacks_topics || !self.books.is_whole(kind)
    }

    /// Copies journals that are about to be replaced.
    fn keep_journals(&self, report: &mut RepairReport) -> Result<(), Error> {
        for journal in self.books.journals().into_iter().flatten() {
            if self.replaces(journal.journal.kind()) {
                report.aside.push(journal.journal.keep_aside()?);
            }
        }
        Ok(())
    }

    fn rebuild_partitions(&self, report: &mut RepairReport) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        for (id, planned) in &self.partitions {
            let dir = partition_dir(&self.root, *id);
            let patient = patient(&self.env, &dir, (*id, &planned.rows), &self.read_side);
            let built = match planned.choice {
                _ if !planned.is_damaged() => Vec::new(),
                Repair::Leave => Vec::new(),
                Repair::KeepReadable => planned.case.keep_readable(&patient)?,
                Repair::CutAtDamage => planned.case.cut(&patient)?,
            };
            let listed = planned.rows.segments.iter();
            rows.extend(listed.map(|(key, row)| Row::Segment(*id, *key, *row)));
            rows.push(Row::Partition(*id, planned.rows.row));
            for row in &built {
                report.aside.extend(set_aside(row, &dir));
            }
            rows.extend(built);
        }
        Ok(rows)
    }

    /// The manifest comes last: with it, everything is as it was planned.
    fn write_books(mut self, rows: Vec<Row>) -> Result<(), Error> {
        if self.replaces(JournalKind::Catalog) {
            let mut entries = self.books.topic_entries();
            for (id, (name, count)) in &self.nameless {
                let config = TopicConfig::new().sync(Default::default()).partitions(*count);
                let (name, entry) = topic_entry(name, *id, &config);
                entries.insert(name, entry);
            }
            self.books.write(JournalKind::Catalog, entries)?;
        }
        if self.replaces(JournalKind::Offsets) {
            let entries = self.books.offset_entries();
            self.books.write(JournalKind::Offsets, entries)?;
        }
        for row in rows {
            self.books.state.apply(row);
        }
        let entries = snapshot_of(&self.books.state.rows(), None);
        self.books.write(JournalKind::Manifest, entries)
    }
}

impl Planned {
    fn is_damaged(&self) -> bool {
        !self.case.lost.is_empty()
    }

    /// The offsets that go with the choice as it is.
    fn given_up(&self) -> Vec<Range<Offset>> {
        match (self.choice, self.case.lost.first()) {
            (Repair::Leave, _) | (_, None) => Vec::new(),
            (Repair::KeepReadable, _) => self.case.lost.clone(),
            (Repair::CutAtDamage, Some(first)) => vec![first.start..self.case.range.end],
        }
    }
}
