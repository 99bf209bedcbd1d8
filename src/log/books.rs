//! The log's own books of a directory that need not be whole: read as far as they can be read, and
//! compared with each other.

use std::collections::BTreeMap;
use std::path::Path;

use crate::catalog::read_topic;
use crate::env::Env;
use crate::error::{Error, ErrorKind};
use crate::format::layout::JournalKind;
use crate::group::offsets::{read_groups_leniently, retain_topics};
use crate::name::TopicName;
use crate::offset::{Offset, PartitionId, ShardId, TopicId, TopicPartition};
use crate::report::verification::{Finding, FindingKind};
use crate::storage::committer::Committer;
use crate::storage::journal::salvage::Salvaged;
use crate::storage::journal::{Entries, JournalHome, JournalTail};
use crate::storage::manifest::{ManifestState, decode_leniently};
use crate::storage::opening::{Opening, TOPIC_LOST, check_fingerprint, enter};
use crate::storage::verify::{Checked, Tally, check_journal, note};

/// The topics that the catalog has, as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) topics: BTreeMap<TopicId, (TopicName, u32)>,
}

impl Names {
    /// The name of a partition, if its topic has so many.
    pub(super) fn place(&self, id: ShardId) -> Option<TopicPartition> {
        let (name, count) = self.topics.get(&id.topic)?;
        (id.partition.value() < *count).then(|| TopicPartition::new(name.clone(), id.partition))
    }

    /// All partitions of all topics.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.topics.iter().flat_map(|(topic, (_, count))| {
            (0..*count).map(|number| ShardId { topic: *topic, partition: PartitionId::new(number) })
        })
    }
}

/// The three journals, read as far as they can be read.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) home: JournalHome,
    pub(super) topics: Names,
    pub(super) state: ManifestState,
    pub(super) commits: Vec<(ShardId, Offset, String)>,
    pub(super) manifest: Option<Salvaged>,
    pub(super) catalog: Option<Salvaged>,
    pub(super) offsets: Option<Salvaged>,
    /// What is wrong with each journal by itself.
    pub(super) found: Vec<Finding>,
    /// What is wrong between them.
    pub(super) disagreements: Vec<Finding>,
    /// Why one of them could not be looked at.
    pub(super) refused: Option<Error>,
    pub(super) tally: Tally,
}

impl Books {
    pub(super) fn read(env: &Env, root: &Path) -> Result<Self, Error> {
        let mut opening = Opening::default();
        enter(env, root, None, &mut opening)?;
        let home = JournalHome {
            env: env.clone(),
            root: root.to_path_buf(),
            background: Committer::new(env, Box::new(|_| {})),
            read_only: true,
        };
        // In the order of an open: what is read first is known to what is read later.
        let (offsets_checked, offsets) = check_journal(JournalKind::Offsets, &home);
        let (catalog_checked, catalog) = check_journal(JournalKind::Catalog, &home);
        let (manifest_checked, manifest) = check_journal(JournalKind::Manifest, &home);
        if [&offsets, &catalog, &manifest].iter().all(|journal| journal.is_none()) {
            return Err(Error::at_path(ErrorKind::NotALog, root, "there is no log to check"));
        }
        let mut books = Self {
            home,
            topics: Names::default(),
            state: ManifestState::default(),
            commits: Vec::new(),
            manifest,
            catalog,
            offsets,
            found: Vec::new(),
            disagreements: Vec::new(),
            refused: None,
            tally: Tally::default(),
        };
        for Checked { tally, findings, refused, .. } in
            [manifest_checked, catalog_checked, offsets_checked]
        {
            books.tally.add(tally);
            books.found.extend(findings);
            books.refused = books.refused.or(refused);
        }
        books.read_entries();
        books.compare();
        let unknown = opening.unknown.iter();
        books
            .found
            .extend(unknown.map(|path| note(FindingKind::Unknown, path, "not a file of the log")));
        Ok(books)
    }

    fn read_entries(&mut self) {
        if let Some(catalog) = &self.catalog {
            let entries = catalog.journal.entries();
            let topics = entries.iter().map(|(name, value)| read_topic(name, value));
            let topics = topics.collect::<Vec<_>>();
            let senseless = topics.iter().filter(|topic| topic.is_none()).count();
            self.found.extend(nonsense(catalog, senseless));
            let topics = topics.into_iter().flatten();
            let named = topics.map(|(name, id, config)| (id, (name, config.partition_count())));
            self.topics.topics = named.collect();
        }
        if let Some(manifest) = &self.manifest {
            let (state, senseless) = decode_leniently(manifest.journal.entries());
            self.state = state;
            self.found.extend(nonsense(manifest, senseless));
        }
        if let Some(offsets) = &self.offsets {
            let (groups, senseless) = read_groups_leniently(offsets.journal.entries());
            self.found.extend(nonsense(offsets, senseless));
            let commits = groups.into_iter().flat_map(|(name, entries)| {
                let committed = entries.committed.into_iter();
                committed.map(move |(shard, at)| (shard, at.offset(), name.to_string()))
            });
            self.commits = commits.collect();
        }
    }

    /// What means a loss, in any of the three or between them.
    pub(super) fn damage(&self) -> impl Iterator<Item = &Finding> {
        let findings = self.found.iter().chain(&self.disagreements);
        findings.filter(|finding| finding.kind.is_damage())
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damage().next().is_some()
    }

    /// Whether a journal is there and all of it can be read.
    pub(super) fn is_whole(&self, kind: JournalKind) -> bool {
        let dir = self.home.root.join(kind.dir_name());
        !self.found.iter().any(|found| found.kind.is_damage() && found.path.starts_with(&dir))
    }

    /// Whether it is also what it was when it was last written.
    pub(super) fn is_trusted(&self, kind: JournalKind) -> bool {
        let dir = self.home.root.join(kind.dir_name());
        let mut all = self.found.iter().chain(&self.disagreements);
        self.is_whole(kind) && !all.any(|found| found.path.starts_with(&dir))
    }

    /// The journals that there are.
    pub(super) fn journals(&self) -> [Option<&Salvaged>; 3] {
        [self.manifest.as_ref(), self.catalog.as_ref(), self.offsets.as_ref()]
    }

    /// The entries of topics that make sense.
    pub(super) fn topic_entries(&self) -> Entries {
        let entries = self.catalog.iter().flat_map(|catalog| catalog.journal.entries());
        let entries = entries.filter(|(name, value)| read_topic(name, value).is_some());
        entries.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The entries of groups that make sense.
    pub(super) fn offset_entries(&self) -> Entries {
        let offsets = self.offsets.as_ref();
        let mut entries = offsets.map(|offsets| offsets.journal.entries().clone());
        let entries = entries.get_or_insert_default();
        retain_topics(entries, |_| true);
        std::mem::take(entries)
    }

    /// Writes a journal anew, durably, in the place of what there was of it.
    pub(super) fn write(&mut self, kind: JournalKind, entries: Entries) -> Result<(), Error> {
        let found = match kind {
            JournalKind::Manifest => self.manifest.take(),
            JournalKind::Catalog => self.catalog.take(),
            JournalKind::Offsets => self.offsets.take(),
        };
        let written = match found {
            Some(Salvaged { mut journal, .. }) => {
                journal.replace(entries);
                journal.renew(&self.home)
            }
            None => JournalTail::create_with(kind, &self.home, entries),
        };
        written.map(|_| ())
    }

    /// What one journal says of another must be so.
    fn compare(&mut self) {
        let Some(manifest) = &self.manifest else { return };
        let path = manifest.journal.path();
        for id in self.topics.shards() {
            if !self.state.partitions.contains_key(&id) {
                // The number tells a topic from one that has its name a moment later.
                let (topic, number) = (id.topic.value(), id.partition.value());
                let text = format!("partition {topic}/{number} of the catalog is not listed");
                let partition = self.topics.place(id);
                let found = note(FindingKind::Contradiction, &path, text);
                self.disagreements.push(Finding { partition, ..found });
            }
        }
        let torn = self.catalog.as_ref().filter(|catalog| catalog.torn_at.is_some());
        if let Some(catalog) = torn
            && self.state.lists_records_beyond(|id| self.topics.place(id).is_some())
        {
            let found = note(FindingKind::Contradiction, &catalog.journal.path(), TOPIC_LOST);
            self.disagreements.push(Finding { byte: catalog.torn_at, ..found });
        }
        let Some(clean) = &self.state.clean else { return };
        for journal in [&self.catalog, &self.offsets].into_iter().flatten() {
            if let Err(error) = check_fingerprint(clean, &journal.journal, journal.good) {
                let found =
                    note(FindingKind::Contradiction, &journal.journal.path(), error.reason());
                self.disagreements.push(Finding { byte: error.byte(), ..found });
            }
        }
    }
}

fn nonsense(journal: &Salvaged, senseless: usize) -> Option<Finding> {
    let text = format!("{senseless} entries make no sense");
    let found = note(FindingKind::Damaged, &journal.journal.path(), text);
    (senseless > 0).then_some(found)
}
