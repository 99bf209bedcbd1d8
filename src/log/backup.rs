//! Copying a live log: what to copy when, so that the copy agrees with itself.

use std::collections::BTreeSet;
use std::path::Path;

use super::Log;
use crate::catalog::{Topic, topic_entry};
use crate::env::disk;
use crate::error::Error;
use crate::format::layout::partition_dir;
use crate::group::offsets::retain_topics;
use crate::offset::{PartitionId, TopicPartition};
use crate::report::backup::BackupReport;
use crate::role::TopicRole;
use crate::storage::backup::{Backup, Moment};
use crate::storage::committer::Committer;
use crate::storage::journal::{Entries, JournalHome};
use crate::storage::verify::read_side;
use crate::sync::Arc;

impl Log {
    /// Copies the log into another directory, which opens as a log; this one goes on meanwhile.
    ///
    /// The copy has every record whose acknowledgement came before the call, with its offset, and
    /// perhaps later ones; all topics, what their groups have committed, and what became of dead
    /// letters. It is durable when this returns, checked frame by frame on the way, and nothing of
    /// it depends on this log any more. Nothing is held still for it: records of different
    /// partitions that were appended during the call may be in it or not, but no commit without the
    /// records below it, and no dead letter that is settled without what settled it.
    ///
    /// What is damaged here is missing there, and the report says so. A log in memory is copied to
    /// the disk.
    ///
    /// # Errors
    /// `NotEmpty` if anything stands in the directory; `AlreadyOpen`, `Closed`, and what the system
    /// says. What was copied until then does not open as a log.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Record, TopicConfig};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let copy = dir.path().join("copy");
    /// let log = Log::open(dir.path().join("log"))?;
    /// log.create_topic("orders", TopicConfig::new())?;
    /// log.producer("orders")?.send(Record::new("created"))?;
    ///
    /// let report = log.backup(&copy)?;
    /// assert!(report.is_whole() && report.records == 1);
    /// let restored = Log::open(&copy)?;
    /// let record = restored.reader("orders").open()?.next().ok_or("it is there")??;
    /// assert_eq!(record.value(), Some(&b"created"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport, Error> {
        let dir = dir.as_ref();
        let told = |error: Error| error.during(format_args!("back up to {}", dir.display()));
        self.inner.check_open().map_err(told)?;
        self.backup_to(dir).map_err(told)
    }

    fn backup_to(&self, root: &Path) -> Result<BackupReport, Error> {
        let elsewhere = self.inner.elsewhere.clone();
        let env = &elsewhere.unwrap_or_else(|| disk::env_within(root));
        let home = JournalHome {
            env: env.clone(),
            root: root.to_path_buf(),
            background: Committer::new(env, Box::new(|_| {})),
            read_only: false,
        };
        let mut backup = Backup::begin(home, read_side(env))?;
        // Recovery of a partition may lower commits: it is over before they are looked at.
        self.moments()?;
        // Whatever rests on something else is looked at before it.
        let mut offsets = self.inner.store.offsets().entries()?;
        let mut report = BackupReport::default();
        let (mut catalog, mut kept) = (Entries::new(), BTreeSet::new());
        for (topic, moments) in self.moments()? {
            let copied = self.copy_topic(&topic, &moments, &mut backup);
            let Some(part) = self.unless_deleted(&topic, copied)? else {
                backup.forget(topic.id)?;
                continue;
            };
            report.add(part);
            kept.insert(topic.id);
            let mut config = topic.state().config.clone();
            config.partitions = u32::try_from(moments.len()).unwrap_or(config.partitions);
            let (name, entry) = topic_entry(&topic.name, topic.id, &config);
            catalog.insert(name, entry);
        }
        // A number that is given anew in the copy must not find the commits of a topic of before.
        retain_topics(&mut offsets, |id| kept.contains(&id));
        backup.finish(catalog, offsets)?;
        Ok(report)
    }

    /// All partitions of all topics as they are now, in the order in which one rests on another.
    fn moments(&self) -> Result<Vec<TopicMoment>, Error> {
        let mut topics = self.inner.topics.all();
        topics.sort_by_key(|topic| rank(&topic.role()));
        let mut found = Vec::new();
        for topic in topics {
            let moments = moments(&topic);
            if let Some(moments) = self.unless_deleted(&topic, moments)? {
                found.push((topic, moments));
            }
        }
        Ok(found)
    }

    /// A topic that is deleted while it is copied is as if it had been deleted before: what was read
    /// of it since may lack files.
    fn unless_deleted<T>(
        &self,
        topic: &Topic,
        result: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.inner.topics.by_id(topic.id).is_none() { Ok(None) } else { result.map(Some) }
    }

    fn copy_topic(
        &self,
        topic: &Topic,
        moments: &[Moment],
        backup: &mut Backup,
    ) -> Result<BackupReport, Error> {
        let mut report = BackupReport { topics: 1, ..BackupReport::default() };
        for moment in moments {
            let place: TopicPartition = topic.partition(moment.id.partition);
            let from = partition_dir(self.inner.store.root(), moment.id);
            let rescued = backup.copy(moment, &from);
            let rescued = rescued.map_err(|error| error.of_partition(&place))?;
            report.partitions += 1;
            report.records += rescued.records;
            report.bytes += rescued.bytes;
            let lost = rescued.lost.into_iter().map(|error| error.of_partition(&place));
            report.lost.extend(lost);
        }
        Ok(report)
    }
}

/// A topic and all its partitions at the moment that a backup is of.
type TopicMoment = (Arc<Topic>, Vec<Moment>);

/// All partitions of a topic as they are now.
fn moments(topic: &Arc<Topic>) -> Result<Vec<Moment>, Error> {
    let state = topic.state();
    let shards = state.shards.iter().zip(0..);
    let moments = shards.map(|(shard, number)| {
        let partition = PartitionId::new(number);
        let moment = Moment::of(topic.shard_id(partition), shard);
        moment.map_err(|error| error.of_partition(&topic.partition(partition)))
    });
    moments.collect()
}

/// What is written later rests on what was written before: a marker on the copy that it speaks of,
/// that copy on the letter, the letter on the record.
fn rank(role: &TopicRole) -> u8 {
    match role {
        TopicRole::LetterStates { .. } => 0,
        TopicRole::Redrive { .. } => 1,
        TopicRole::DeadLetters { .. } => 2,
        TopicRole::Plain => 3,
    }
}
