//! A second reader of format version 1, written from docs/FORMAT.md and from nothing else.
//!
//! It shares no code with the crate, its checksum included, so that a mistake in one of the two
//! does not hide in the other. It is strict: what the page does not allow is an error here.

use std::ops::Range;

/// Where a file's frames belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: u64,
    pub(crate) partition: u32,
    pub(crate) base: u64,
    pub(crate) salt: u32,
}

/// The first 64 bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
    pub(crate) place: Place,
    pub(crate) created: i64,
    pub(crate) mark: u64,
}

/// One frame, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Range<usize>,
    pub(crate) base_offset: u64,
    pub(crate) durable_lag: u32,
    pub(crate) append_time: i64,
    pub(crate) records: Vec<Record>,
}

impl Frame {
    pub(crate) fn offsets(&self) -> Range<u64> {
        self.base_offset..self.base_offset + self.records.len() as u64
    }

    /// The durable end that the frame proves.
    pub(crate) fn mark(&self) -> Option<u64> {
        proven(self.base_offset, self.durable_lag)
    }
}

fn proven(base_offset: u64, durable_lag: u32) -> Option<u64> {
    if durable_lag == u32::MAX { None } else { base_offset.checked_sub(u64::from(durable_lag)) }
}

/// The first 64 bytes of a frame, under a good checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) length: usize,
    pub(crate) base_offset: u64,
    pub(crate) body_checksum: u32,
    pub(crate) count: u32,
    pub(crate) durable_lag: u32,
    pub(crate) append_time: i64,
    pub(crate) base_timestamp: i64,
}

impl Header {
    pub(crate) fn offsets(&self) -> Range<u64> {
        self.base_offset..self.base_offset + u64::from(self.count)
    }

    /// The durable end that the header proves, whatever became of the body.
    pub(crate) fn mark(&self) -> Option<u64> {
        proven(self.base_offset, self.durable_lag)
    }
}

/// One record of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) value: Option<Vec<u8>>,
}

/// What stands behind the last frame of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) bytes: Range<usize>,
    /// Relative offset, position, largest timestamp.
    pub(crate) entries: Vec<(u32, u32, i64)>,
    pub(crate) frames_end: u64,
    pub(crate) end: u64,
    pub(crate) last_append: i64,
    pub(crate) durable_end: u64,
}

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) head: Head,
    pub(crate) frames: Vec<Frame>,
    pub(crate) footer: Option<Footer>,
}

type Parse<T> = Result<T, String>;

/// CRC-32 as in zlib and PNG: reflected, polynomial 0xEDB88320, all ones before and after.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    go_on(0, bytes)
}

/// The CRC-32 of what `crc` is the CRC-32 of, and then `bytes`.
fn go_on(crc: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ STEPS[usize::from(low ^ byte)]
    })
}

/// What eight bits of nothing make of each byte.
const STEPS: [u32; 256] = {
    let mut steps = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 * (crc & 1));
            bit += 1;
        }
        steps[byte] = crc;
        byte += 1;
    }
    steps
};

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    u64_at(bytes, at).cast_signed()
}

fn ensure(holds: bool, what: &str) -> Parse<()> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

impl Place {
    /// The 24 bytes that stand in front of every header and footer when it is checked.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.topic.to_le_bytes().to_vec();
        bytes.extend(self.partition.to_le_bytes());
        bytes.extend(self.base.to_le_bytes());
        bytes.extend(self.salt.to_le_bytes());
        bytes
    }

    pub(crate) fn checksum(&self, bytes: &[u8]) -> u32 {
        go_on(crc32(&self.bytes()), bytes)
    }
}

/// Reads a segment or journal file to its end; zeros behind the last frame of a journal are room.
pub(crate) fn parse(file: &[u8]) -> Parse<Parsed> {
    let head = parse_head(file)?;
    ensure(u64_at(file, 56) == 0, "the head's last bytes are not zero")?;
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 64;
    while at < file.len() && !is_footer(&file[at..]) && file[at..].iter().any(|byte| *byte != 0) {
        let frame = parse_frame(file, at, &head.place)?;
        if let Some(before) = frames.last() {
            ensure(before.offsets().end == frame.base_offset, "offsets have a gap")?;
        }
        at = frame.bytes.end;
        frames.push(frame);
    }
    let footer = match is_footer(&file[at.min(file.len())..]) {
        true => {
            let zeros = &file[file.len() - 16..];
            ensure(zeros.iter().all(|byte| *byte == 0), "the footer's zeros are not")?;
            Some(parse_footer(file, at, &head.place)?)
        }
        false => None,
    };
    Ok(Parsed { head, frames, footer })
}

pub(crate) fn parse_head(file: &[u8]) -> Parse<Head> {
    ensure(file.len() >= 64, "the head is short")?;
    let magic: [u8; 8] = file[..8].try_into().unwrap();
    ensure(&magic == b"brookseg" || &magic == b"brookjnl", "the magic is unknown")?;
    ensure(u32_at(file, 8) == crc32(&file[12..64]), "the head's checksum differs")?;
    let place = Place {
        topic: u64_at(file, 16),
        partition: u32_at(file, 24),
        salt: u32_at(file, 28),
        base: u64_at(file, 32),
    };
    let version = u32_at(file, 12);
    ensure(version == 1, "the version is not 1")?;
    Ok(Head { magic, version, place, created: i64_at(file, 40), mark: u64_at(file, 48) })
}

/// The header at `at`, if its checksum is good and what it says is possible.
pub(crate) fn parse_header(file: &[u8], at: usize, place: &Place) -> Parse<Header> {
    ensure(file.len() >= at + 64, "a frame's header is short")?;
    let header = &file[at..at + 64];
    // Both are what the checksum is about as well; they come first because they are looked at fast.
    ensure(header[24] == 1 && header[4].is_multiple_of(8), "no header of version 1")?;
    ensure(u32_at(header, 0) == place.checksum(&header[4..]), "a header's checksum differs")?;
    let length = u32_at(header, 4) as usize;
    ensure((64..=67_112_960).contains(&length), "a frame's length is impossible")?;
    ensure(header[25] & !3 == 0, "a frame's attributes are unknown")?;
    let (base_offset, count) = (u64_at(header, 8), u32_at(header, 20));
    ensure(base_offset.checked_add(u64::from(count)).is_some(), "offsets pass their range")?;
    Ok(Header {
        length,
        base_offset,
        body_checksum: u32_at(header, 16),
        count,
        durable_lag: u32_at(header, 28),
        append_time: i64_at(header, 32),
        base_timestamp: i64_at(header, 40),
    })
}

/// The records behind a good header, if the whole frame is there and good.
pub(crate) fn parse_body(file: &[u8], at: usize, header: &Header) -> Parse<Frame> {
    ensure(file.len() >= at + header.length, "a frame is short")?;
    let body = &file[at + 64..at + header.length];
    ensure(header.body_checksum == crc32(body), "a body's checksum differs")?;
    let mut records = Vec::new();
    let mut from = 0;
    for _ in 0..header.count {
        let (record, end) = parse_record(body, from, header.append_time, header.base_timestamp)?;
        records.push(record);
        from = end;
    }
    let padding = &body[from..];
    ensure(padding.len() < 8 && padding.iter().all(|byte| *byte == 0), "padding is not zeros")?;
    Ok(Frame {
        bytes: at..at + header.length,
        base_offset: header.base_offset,
        durable_lag: header.durable_lag,
        append_time: header.append_time,
        records,
    })
}

/// A frame as version 1 writes it: what is reserved is zero as well.
fn parse_frame(file: &[u8], at: usize, place: &Place) -> Parse<Frame> {
    let header = parse_header(file, at, place)?;
    let fixed = &file[at..at + 64];
    ensure(u16_at(fixed, 26) == 0 && u32_at(fixed, 52) == 0, "epoch or sequence is not zero")?;
    ensure(u64_at(fixed, 56) == 0, "the producer id is not zero")?;
    parse_body(file, at, &header)
}

fn parse_record(
    body: &[u8],
    at: usize,
    append_time: i64,
    base_timestamp: i64,
) -> Parse<(Record, usize)> {
    ensure(body.len() >= at + 12, "a record is short")?;
    let end = at + 12 + u32_at(body, at) as usize;
    ensure(body.len() >= end, "a record is short")?;
    let delta = u32_at(body, at + 4).cast_signed();
    let flags = body[at + 10];
    ensure(flags & !7 == 0, "a record's flags are unknown")?;
    ensure(flags & 1 != 0 || u16_at(body, at + 8) == 0, "a key that is not there")?;
    let mut rest = &body[at + 12..end];
    let key = take(&mut rest, u16_at(body, at + 8) as usize)?;
    let mut headers = Vec::new();
    for _ in 0..body[at + 11] {
        let fixed = take(&mut rest, 8)?;
        ensure(fixed[2] & !1 == 0 && fixed[3] == 0, "a header's flags are unknown")?;
        let name = take(&mut rest, u16_at(fixed, 0) as usize)?;
        let value = take(&mut rest, u32_at(fixed, 4) as usize)?;
        ensure(fixed[2] == 1 || value.is_empty(), "a header's value that is not there")?;
        let name = String::from_utf8(name.to_vec()).map_err(|error| error.to_string())?;
        headers.push((name, (fixed[2] & 1 != 0).then(|| value.to_vec())));
    }
    let timestamp = match flags & 4 {
        0 => append_time,
        _ => base_timestamp.saturating_add(i64::from(delta)),
    };
    ensure(flags & 2 != 0 || rest.is_empty(), "a value that is not there")?;
    let key = (flags & 1 != 0).then(|| key.to_vec());
    let value = (flags & 2 != 0).then(|| rest.to_vec());
    Ok((Record { timestamp, key, headers, value }, end))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Parse<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len).ok_or("a record's parts are too long")?;
    *rest = left;
    Ok(taken)
}

/// Whether a footer starts here: its fixed end is then the end of the file.
fn is_footer(rest: &[u8]) -> bool {
    let Some(fixed) = rest.len().checked_sub(64) else { return false };
    rest[fixed..].starts_with(b"brookidx")
        && u32_at(rest, fixed + 12) as usize * 16 == fixed
        && u64_at(rest, fixed + 16) != 0
}

/// The footer that the last 64 bytes speak of, if it is good and belongs to the place.
pub(crate) fn find_footer(file: &[u8], place: &Place) -> Option<Footer> {
    let fixed = file.len().checked_sub(64)?;
    file[fixed..].starts_with(b"brookidx").then_some(())?;
    let at = fixed.checked_sub(u32_at(file, fixed + 12) as usize * 16)?;
    parse_footer(file, at, place).ok()
}

fn parse_footer(file: &[u8], at: usize, place: &Place) -> Parse<Footer> {
    let fixed = file.len() - 64;
    let checked = [&file[at..fixed], &file[fixed + 12..]].concat();
    ensure(u32_at(file, fixed + 8) == place.checksum(&checked), "the footer's checksum differs")?;
    let entries = file[at..fixed].chunks(16);
    let entries = entries.map(|entry| (u32_at(entry, 0), u32_at(entry, 4), i64_at(entry, 8)));
    let footer = Footer {
        bytes: at..file.len(),
        entries: entries.collect(),
        frames_end: u64_at(file, fixed + 16),
        end: u64_at(file, fixed + 24),
        last_append: i64_at(file, fixed + 32),
        durable_end: u64_at(file, fixed + 40),
    };
    ensure(footer.frames_end == at as u64, "the footer stands elsewhere")?;
    Ok(footer)
}
