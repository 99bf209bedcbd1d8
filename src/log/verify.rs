//! Checking a whole directory: puts together what storage finds and what the topics are called.

use std::collections::BTreeSet;
use std::path::Path;

use super::Log;
use super::books::Books;
use crate::env::{Env, disk};
use crate::error::Error;
use crate::format::layout::partition_dir;
use crate::report::verification::{Finding, FindingKind, Verification};
use crate::storage::verify::{Tally, check_partition, note, patient, read_side};

impl Log {
    /// Reads every byte of the log's files and checks it against its checksums, its indexes and the
    /// log's own books; nothing is changed.
    ///
    /// Others may go on appending meanwhile: what they are writing just then is no finding. Cached
    /// pages are dropped first where the system allows it, so that it is the disk that is read. It
    /// takes as long as reading the whole log, and little memory.
    ///
    /// # Errors
    /// `Closed`, and what the system says of the directory itself; a file that cannot be read is a
    /// finding.
    pub fn verify(&self) -> Result<Verification, Error> {
        self.inner.check_open()?;
        let root = self.inner.store.root();
        check(self.env(), root).map_err(|error| error.during("verify the log"))
    }

    /// Checks a directory that need not be open, and may be too damaged to be.
    ///
    /// No lock is taken: it works beside a process that has the log open.
    ///
    /// # Errors
    /// `NotALog` if there is none, and what the system says of the directory itself.
    ///
    /// # Examples
    /// ```
    /// use brooklet::Log;
    ///
    /// let dir = tempfile::tempdir()?;
    /// Log::open(dir.path())?.close()?;
    /// for finding in Log::verify_dir(dir.path())?.damage() {
    ///     println!("{finding}"); // orders/3: damaged: topics/7/3/….seg at byte 4096, offsets 17..20: …
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify_dir(dir: impl AsRef<Path>) -> Result<Verification, Error> {
        let dir = dir.as_ref();
        let told = |error: Error| error.during(format_args!("verify {}", dir.display()));
        Self::verify_in(&disk::env_within(dir), dir).map_err(told)
    }

    /// The same in any world.
    pub(crate) fn verify_in(env: &Env, dir: &Path) -> Result<Verification, Error> {
        check(env, dir)
    }
}

/// Looks once, and again if anything seems wrong: somebody may have been at work.
fn check(env: &Env, root: &Path) -> Result<Verification, Error> {
    let first = look(env, root)?;
    let may_pass =
        |finding: &Finding| finding.kind.is_damage() || finding.kind == FindingKind::TornTail;
    if !first.findings.iter().any(may_pass) {
        return Ok(first);
    }
    let mut again = look(env, root)?;
    let place = |finding: &Finding| {
        (finding.kind, finding.path.clone(), finding.byte, finding.detail.clone())
    };
    let before = first.findings.iter().map(place).collect::<BTreeSet<_>>();
    again.findings.retain(|finding| !may_pass(finding) || before.contains(&place(finding)));
    Ok(again)
}

fn look(env: &Env, root: &Path) -> Result<Verification, Error> {
    let books = Books::read(env, root)?;
    let mut found = books.found;
    found.extend(books.disagreements);
    let mut tally = books.tally;
    let read_side = read_side(env);
    for (id, rows) in &books.state.partitions {
        let dir = partition_dir(root, *id);
        let Some(partition) = books.topics.place(*id) else {
            found.push(note(FindingKind::Leftover, &dir, "its topic is gone"));
            continue;
        };
        let checked = check_partition(&patient(env, &dir, (*id, rows), &read_side));
        tally.add(checked.tally);
        let ahead =
            books.commits.iter().filter(|(shard, at, _)| shard == id && *at > checked.range.end);
        let ahead = ahead.map(|(_, at, group)| {
            let end = checked.range.end;
            let text = format!("{group} has committed {at}, and the partition ends at {end}");
            note(FindingKind::CommitAhead, &dir, text)
        });
        let findings = checked.findings.into_iter().chain(ahead);
        found.extend(
            findings.map(|finding| Finding { partition: Some(partition.clone()), ..finding }),
        );
    }
    let Tally { files, bytes, frames, records } = tally;
    Ok(Verification { files, bytes, frames, records, findings: found })
}
