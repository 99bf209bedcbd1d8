//! A whole directory, read as docs/FORMAT.md says and as nothing else does.
//!
//! Slow, simple, and without mercy for memory: every file is walked from its head to its end. What
//! it finds is what a log that is opened for writing must serve, record by record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::parser::{Place, Record, find_footer, parse_body, parse_head, parse_header, u64_at};

/// The bytes of all files, by path below the log's directory.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    /// By name: the topic's number, and its partitions.
    pub(crate) topics: BTreeMap<String, (u64, Vec<Partition>)>,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Whether the last close vouches for its end.
    pub(crate) is_vouched: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) known_mark: u64,
    /// What can be read, by offset; the rest of `start..end` is lost.
    pub(crate) records: BTreeMap<u64, Stored>,
}

/// A record, and when it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) append_time: i64,
    pub(crate) record: Record,
}

/// Why there is no log to read, or why it is not to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// No manifest.
    NoLog,
    Damaged(String),
}

type Read<T> = Result<T, Unreadable>;

fn damaged<T>(what: impl Into<String>) -> Read<T> {
    Err(Unreadable::Damaged(what.into()))
}

/// Reads the journals, and then every partition that the catalog has.
pub(crate) fn read(files: &Files) -> Read<Directory> {
    let manifest = read_journal(files, "manifest", 1)?.ok_or(Unreadable::NoLog)?;
    let rows = Manifest::of(&manifest.entries)?;
    let journal = |name, number| match read_journal(files, name, number)? {
        Some(found) => Ok(found),
        None => damaged(format!("no journal of {name}")),
    };
    let (catalog, offsets) = (journal("catalog", 2)?, journal("offsets", 3)?);
    for found in [&catalog, &offsets] {
        let print = rows.prints.iter().find(|print| print[0] == found.print[0]);
        if print.is_some_and(|print| *print != found.print) {
            return damaged("a journal is not as the last close left it");
        }
    }
    let mut directory = Directory::default();
    let mut listed = 0;
    for (name, value) in &catalog.entries {
        let Ok(name) = String::from_utf8(name.clone()) else { return damaged("a topic's name") };
        let Some(words) = value.get(..104) else { return damaged("a row of the catalog") };
        let (topic, count) = (u64_at(words, 0), u64_at(words, 8));
        let mut partitions = Vec::new();
        for number in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            let Some(found) = rows.partitions.get(&(topic, number)) else {
                return damaged("a partition of the catalog is not listed");
            };
            listed += 1;
            let vouched = rows.is_clean && !rows.except.contains(&(topic, number));
            let dir = format!("topics/{topic}/{number}");
            let patient = Patient { files, dir: Path::new(&dir), place: (topic, number), found };
            let partition = if vouched { patient.closed() } else { patient.judged() };
            partitions.push(Partition { is_vouched: vouched, ..partition });
        }
        directory.topics.insert(name, (topic, partitions));
    }
    let is_topic = |topic| directory.topics.values().any(|(known, _)| *known == topic);
    let mut orphans = rows.partitions.iter().filter(|((topic, _), _)| !is_topic(*topic));
    let has_orphans = listed < rows.partitions.len()
        && orphans.any(|(_, rows)| rows.segments.values().any(Row::is_live));
    if catalog.torn && has_orphans {
        return damaged("the catalog is torn, and a topic that has records is missing");
    }
    Ok(directory)
}

/// Every record that stands in a good frame of a file's own place, wherever in the file that is.
///
/// Whatever else a forger does to a directory, a log serves nothing but these.
pub(crate) fn sightings(file: &[u8], place: &Place) -> BTreeMap<u64, Vec<Stored>> {
    let mut found: BTreeMap<u64, Vec<Stored>> = BTreeMap::new();
    for at in (64..file.len()).step_by(8) {
        let Ok(header) = parse_header(file, at, place) else { continue };
        let Ok(frame) = parse_body(file, at, &header) else { continue };
        for (offset, record) in frame.offsets().zip(frame.records) {
            let stored = Stored { append_time: frame.append_time, record };
            found.entry(offset).or_default().push(stored);
        }
    }
    found
}

/// The entries of a journal, if it can be read.
pub(crate) fn entries_of(files: &Files, name: &str, number: u32) -> Entries {
    match read_journal(files, name, number) {
        Ok(Some(journal)) => journal.entries,
        _ => Entries::new(),
    }
}

/// The entries of a journal, by key.
pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A journal that was read to its end.
struct Journal {
    entries: Entries,
    /// Its number, generation, salt, length and end.
    print: [u64; 5],
    torn: bool,
}

fn read_journal(files: &Files, name: &str, number: u32) -> Read<Option<Journal>> {
    let named = files.iter().filter(|(path, _)| path.parent() == Some(Path::new(name)));
    let found = named.filter_map(|(path, bytes)| Some((parse_name(path, "jnl")?, bytes)));
    let Some(((generation, salt), bytes)) = found.max_by_key(|(name, _)| *name) else {
        return Ok(None);
    };
    let head = parse_head(bytes).and_then(|head| match &head.magic {
        b"brookjnl" => Ok(head),
        _ => Err("no journal".to_owned()),
    });
    let head = head.map_err(|error| Unreadable::Damaged(format!("{name}: {error}")))?;
    let place = Place { topic: 0, partition: number, base: generation, salt };
    let first = match parse_header(bytes, 64, &place) {
        Ok(first) => first.base_offset,
        Err(_) if head.mark == 0 => 0,
        Err(error) => return damaged(format!("{name}: the snapshot: {error}")),
    };
    let walked = walk(bytes, &place, (64, first.min(head.mark)), bytes.len());
    let known_mark = head.mark.max(walked.mark);
    if walked.good_end < known_mark {
        return damaged(format!("{name}: ends at {}, not {known_mark}", walked.good_end));
    }
    let mut entries = BTreeMap::new();
    for (_, (_, stored)) in walked.records.range(..walked.good_end) {
        let key = stored.record.key.clone().unwrap_or_default();
        match &stored.record.value {
            Some(value) => entries.insert(key, value.clone()),
            None => entries.remove(&key),
        };
    }
    let (length, torn) = (walked.good_bytes as u64, walked.has_damage);
    let print = [number.into(), generation, salt.into(), length, walked.good_end];
    Ok(Some(Journal { entries, print, torn }))
}

/// Twenty digits, a dash, eight hexadecimal digits, and what kind of file it is.
pub(crate) fn parse_name(path: &Path, extension: &str) -> Option<(u64, u32)> {
    let name = path.file_name()?.to_str()?.strip_suffix(extension)?.strip_suffix('.')?;
    let (number, salt) = name.split_once('-')?;
    let is_number = number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_salt = salt.len() == 8
        && salt.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !is_number || !is_salt {
        return None;
    }
    Some((number.parse().ok()?, u32::from_str_radix(salt, 16).ok()?))
}

/// The rows of the manifest.
#[derive(Default)]
struct Manifest {
    is_clean: bool,
    prints: Vec<[u64; 5]>,
    except: Vec<(u64, u32)>,
    partitions: BTreeMap<(u64, u32), Rows>,
}

#[derive(Default)]
struct Rows {
    /// Start, durable end, scan base, scan salt, scan position, scan offset, last append time.
    own: [u64; 7],
    segments: BTreeMap<(u64, u32), Row>,
}

/// State, end, bytes, last append time.
#[derive(Clone, Copy)]
struct Row([u64; 4]);

impl Row {
    fn is_live(&self) -> bool {
        matches!(self.0[0], 0 | 1 | 4)
    }

    /// Its end is said; one that a repair has given up has an end, and no file.
    fn is_sealed(&self) -> bool {
        matches!(self.0[0], 1 | 4)
    }
}

impl Manifest {
    fn of(entries: &Entries) -> Read<Self> {
        let mut manifest = Self::default();
        for (key, value) in entries {
            if manifest.take(key, value).is_none() {
                return damaged("a row of the manifest");
            }
        }
        Ok(manifest)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let words: Vec<u64> = value.chunks_exact(8).map(|word| u64_at(word, 0)).collect();
        if key == b"clean" {
            let mut words = words.into_iter();
            self.is_clean = true;
            for _ in 0..words.next()? {
                let print = [(); 5].map(|()| words.next());
                let [Some(a), Some(b), Some(c), Some(d), Some(e)] = print else { return None };
                self.prints.push([a, b, c, d, e]);
            }
            while let (Some(topic), Some(partition)) = (words.next(), words.next()) {
                self.except.push((topic, u32::try_from(partition).ok()?));
            }
            return Some(());
        }
        let topic = u64::from_be_bytes(key.get(..8)?.try_into().ok()?);
        let partition = u32::from_be_bytes(key.get(8..12)?.try_into().ok()?);
        let rows = self.partitions.entry((topic, partition)).or_default();
        match (key.get(12)?, key.len()) {
            (0, 13) => rows.own = words.try_into().ok()?,
            (1, 25) => {
                let base = u64::from_be_bytes(key.get(13..21)?.try_into().ok()?);
                let salt = u32::from_be_bytes(key.get(21..25)?.try_into().ok()?);
                let row: [u64; 4] = words.try_into().ok()?;
                (row[0] < 5).then_some(())?;
                rows.segments.insert((base, salt), Row(row));
            }
            _ => return None,
        }
        Some(())
    }
}

/// One file, or the part of it before byte `until`, from its first frame on.
struct Walked {
    /// Of all good frames; no offset twice, because offsets only go on.
    records: Records,
    /// The same from the head on, where the walk began elsewhere.
    before: Option<Records>,
    /// The largest durable end that any good header proves.
    mark: u64,
    /// Where the frames end that nothing is wrong before.
    good_bytes: usize,
    good_end: u64,
    has_damage: bool,
    /// The first offset behind the first damage, if a frame stands behind it.
    behind_damage: Option<u64>,
    /// The offset behind the last frame, if that stands behind the first damage.
    end_behind: Option<u64>,
}

impl Walked {
    /// The records of the frames that end at a byte or before it.
    fn up_to(&self, byte: usize, mark: u64) -> Records {
        let mut records = self.records.clone();
        if let Some(before) = &self.before {
            records.retain(|offset, _| *offset >= mark);
            records.extend(before.range(..mark).map(|(offset, found)| (*offset, found.clone())));
        }
        records.retain(|_, (end, _)| *end <= byte);
        records
    }
}

/// Goes over the frames from byte `at` on, where the one of offset `expected` should stand.
fn walk(file: &[u8], place: &Place, (at, expected): (usize, u64), until: usize) -> Walked {
    let file = &file[..until.min(file.len())];
    let (good_bytes, good_end) = (at, expected);
    let (mut at, mut expected) = (at, expected);
    let mut walked = Walked {
        records: BTreeMap::new(),
        before: None,
        mark: 0,
        good_bytes,
        good_end,
        has_damage: false,
        behind_damage: None,
        end_behind: None,
    };
    while at < file.len() && file[at..].iter().any(|byte| *byte != 0) {
        let found = (at..file.len()).step_by(8).find_map(|at| {
            let header = parse_header(file, at, place).ok()?;
            let fits = header.length <= file.len() - at;
            (fits && header.base_offset >= expected).then_some((at, header))
        });
        let Some((position, header)) = found else {
            walked.has_damage = true;
            break;
        };
        if (position, header.base_offset) != (at, expected) && !walked.has_damage {
            walked.has_damage = true;
            walked.behind_damage = Some(header.base_offset);
        }
        walked.mark = walked.mark.max(header.mark().unwrap_or(0));
        (at, expected) = (position + header.length, header.offsets().end);
        match parse_body(file, position, &header) {
            Ok(frame) => {
                if walked.has_damage {
                    walked.end_behind = Some(expected);
                } else {
                    (walked.good_bytes, walked.good_end) = (at, expected);
                }
                let append_time = frame.append_time;
                let stored = frame.records.iter().cloned();
                let stored = stored.map(|record| (at, Stored { append_time, record }));
                walked.records.extend(frame.offsets().zip(stored));
            }
            Err(_) if !walked.has_damage => {
                walked.has_damage = true;
                walked.behind_damage = Some(expected);
            }
            Err(_) => {}
        }
    }
    walked
}

/// The files of one partition, and what the manifest has of them.
struct Patient<'a> {
    files: &'a Files,
    dir: &'a Path,
    place: (u64, u32),
    found: &'a Rows,
}

/// One segment that is part of the log: its base, its end, and what can be read of it.
type Kept = (u64, u64, Records);

/// By offset, each with the byte at which its frame ends.
type Records = BTreeMap<u64, (usize, Stored)>;

/// A segment that is not wholly below the durable end of the row.
struct Candidate {
    base: u64,
    /// None of a file that is not there.
    walked: Option<Walked>,
    sealed_end: Option<u64>,
}

impl Patient<'_> {
    fn file(&self, (base, salt): (u64, u32)) -> Option<(&Vec<u8>, Place)> {
        let bytes = self.files.get(&self.dir.join(format!("{base:020}-{salt:08x}.seg")))?;
        let (topic, partition) = self.place;
        Some((bytes, Place { topic, partition, base, salt }))
    }

    fn partition(&self, kept: Vec<Kept>, end: u64, known_mark: u64) -> Partition {
        let start = self.found.own[0];
        let end = end.max(start);
        let mut records = BTreeMap::new();
        let nexts = kept.iter().skip(1).map(|(base, ..)| *base).chain([u64::MAX]);
        for ((base, end, of), next) in kept.iter().zip(nexts) {
            let (first, until) = (start.max(*base), (*end).min(next));
            let mut frame = (0, 0);
            for (offset, (byte, stored)) in of {
                if frame.1 != *byte {
                    frame = (*offset, *byte);
                }
                // A frame that begins below the end is read whole.
                if *offset >= first && frame.0 < until {
                    records.entry(*offset).or_insert_with(|| stored.clone());
                }
            }
        }
        records.retain(|offset, _| *offset < end);
        Partition { is_vouched: false, start, end, known_mark, records }
    }

    /// A partition whose end the last close vouches for.
    fn closed(&self) -> Partition {
        let [_, durable_end, scan_base, scan_salt, scan_position, ..] = self.found.own;
        let mut kept = Vec::new();
        for (key, row) in self.found.segments.iter().filter(|(_, row)| row.is_live()) {
            let is_last = (scan_base, scan_salt) == (key.0, u64::from(key.1));
            let (end, bytes) = match row.0 {
                [1, end, bytes, _] => (end, bytes),
                _ if is_last => (durable_end, scan_position),
                _ => continue,
            };
            let until = usize::try_from(bytes).unwrap_or(usize::MAX);
            let walked =
                self.file(*key).map(|(file, place)| walk(file, &place, (64, key.0), until));
            kept.push((key.0, end, walked.map_or_else(BTreeMap::new, |walked| walked.records)));
        }
        self.partition(kept, durable_end, durable_end)
    }

    /// A partition that was left behind.
    fn judged(&self) -> Partition {
        let [start, mut mark, ..] = self.found.own;
        let live = self.found.segments.iter().filter(|(_, row)| row.is_live());
        let live: Vec<_> = live.map(|(key, row)| (*key, *row)).collect();
        let (mut kept, mut candidates) = (Vec::new(), Vec::new());
        let mut reached = start;
        for (number, (key, row)) in live.iter().enumerate() {
            let next = live.get(number + 1).map(|(next, _)| next.0);
            let sealed = if row.is_sealed() { Some(row.0[1]) } else { next.filter(|n| *n < mark) };
            match sealed.filter(|end| *end <= mark) {
                Some(end) => {
                    let read = self.walk_live(*key, row);
                    let read = read.map(|(walked, _)| walked.up_to(usize::MAX, mark));
                    kept.push((key.0, end, read.unwrap_or_default()));
                    reached = end;
                }
                None => candidates.push(self.candidate(*key, row)),
            }
        }
        let last_base = live.last().map_or(start, |(key, _)| key.0);
        let mut strangers: Vec<_> = self.strangers().filter(|key| key.0 >= last_base).collect();
        strangers.sort_unstable();
        candidates.extend(strangers.into_iter().map(|key| self.candidate(key, &Row([0; 4]))));
        for walked in candidates.iter().filter_map(|candidate| candidate.walked.as_ref()) {
            mark = mark.max(walked.mark);
        }
        let end = add_candidates(&mut kept, candidates, reached, mark);
        if let Some(last) = kept.last_mut().filter(|_| end < mark) {
            last.1 = mark;
        }
        self.partition(kept, end.max(mark), mark)
    }

    /// Segment files that no row names.
    fn strangers(&self) -> impl Iterator<Item = (u64, u32)> {
        let here = self.files.keys().filter(|path| path.parent() == Some(self.dir));
        let keys = here.filter_map(|path| parse_name(path, "seg"));
        keys.filter(|key| !self.found.segments.contains_key(key))
    }

    /// The frames of a listed segment, and what its footer says: its end and its durable end.
    fn walk_live(&self, key: (u64, u32), row: &Row) -> Option<(Walked, Option<(u64, u64)>)> {
        let (file, place) = self.file(key)?;
        let footer = find_footer(file, &place);
        let bytes = match (row.is_sealed(), &footer) {
            (true, _) => row.0[2],
            (_, Some(footer)) => footer.frames_end,
            _ => file.len() as u64,
        };
        let until = usize::try_from(bytes).unwrap_or(usize::MAX);
        let said = footer.map(|footer| (footer.end, footer.durable_end));
        let whole = walk(file, &place, (64, key.0), until);
        let [_, _, base, salt, position, offset, _] = self.found.own;
        if position == 0 || (base, salt) != (key.0, u64::from(key.1)) {
            return Some((whole, said));
        }
        // What stands before the scan position is read, but says nothing of where the log ends; what
        // lies past the mark is read as it was looked at.
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        let judged = walk(file, &place, (position, offset), until);
        Some((Walked { before: Some(whole.records), ..judged }, said))
    }

    fn candidate(&self, key: (u64, u32), row: &Row) -> Candidate {
        let mut sealed_end = row.is_sealed().then_some(row.0[1]);
        let mut walked = None;
        if let Some((mut found, said)) = self.walk_live(key, row) {
            if let Some((end, durable_end)) = said {
                sealed_end.get_or_insert(end);
                found.mark = found.mark.max(durable_end);
            }
            walked = Some(found);
        }
        Candidate { base: key.0, walked, sealed_end }
    }
}

/// Goes over the segments that reach past what the row knows; says where the log ends.
fn add_candidates(
    kept: &mut Vec<Kept>,
    candidates: Vec<Candidate>,
    mut reached: u64,
    mark: u64,
) -> u64 {
    let behind = candidates.iter().skip(1).map(|next| {
        let has_frames = next.walked.as_ref().is_some_and(|walked| walked.good_end > next.base);
        Some((next.base, has_frames))
    });
    let behind: Vec<_> = behind.chain([None]).collect();
    for (Candidate { base, walked, sealed_end }, next) in candidates.into_iter().zip(behind) {
        if kept.is_empty() && base <= reached {
            // The first segment may begin below the start, which can lie within it.
            reached = base;
        }
        if base < reached {
            continue;
        }
        if base > reached && reached >= mark {
            return reached;
        }
        let next_base = next.map(|(base, _)| base);
        let Some(walked) = walked else {
            let end = next_base.unwrap_or(sealed_end.unwrap_or(mark).max(base));
            kept.push((base, end, BTreeMap::new()));
            reached = reached.max(end);
            continue;
        };
        let was_left = next == Some((walked.good_end, true))
            && walked.behind_damage.is_none()
            && walked.end_behind.is_none();
        let is_whole = !walked.has_damage || was_left;
        let mut until = usize::MAX;
        if is_whole && sealed_end.is_none_or(|end| walked.good_end >= end) {
            (reached, until) = (walked.good_end, walked.good_bytes);
        } else if walked.good_end < mark {
            let seen = walked.behind_damage.max(walked.end_behind).max(sealed_end);
            reached = next_base.unwrap_or(seen.unwrap_or(0).max(mark)).max(reached);
        } else {
            kept.push((base, walked.good_end, walked.up_to(walked.good_bytes, mark)));
            return walked.good_end;
        }
        kept.push((base, reached, walked.up_to(until, mark)));
    }
    reached
}
