//! Files of format version 1, written from docs/FORMAT.md with whatever a forger puts into them.

use crate::format::parser::{Place, crc32, u32_at, u64_at};

/// A head under a good checksum.
pub(crate) fn head(magic: &[u8; 8], place: &Place, mark: u64) -> Vec<u8> {
    let mut head = magic.to_vec();
    head.extend([0; 4]);
    head.extend(1_u32.to_le_bytes());
    head.extend(place.topic.to_le_bytes());
    head.extend(place.partition.to_le_bytes());
    head.extend(place.salt.to_le_bytes());
    head.extend(place.base.to_le_bytes());
    head.extend([0; 8]);
    head.extend(mark.to_le_bytes());
    head.extend([0; 8]);
    mend_head(&mut head);
    head
}

/// One record without headers or a time of its own.
pub(crate) fn record(key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let flags = 1 | if value.is_some() { 2 } else { 0 };
    let value = value.unwrap_or_default();
    let behind = u32::try_from(key.len() + value.len()).unwrap();
    let mut record = behind.to_le_bytes().to_vec();
    record.extend([0; 4]);
    record.extend(u16::try_from(key.len()).unwrap().to_le_bytes());
    record.extend([flags, 0]);
    record.extend(key);
    record.extend(value);
    record
}

/// A frame of records, under good checksums.
pub(crate) fn frame(place: &Place, base_offset: u64, lag: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame.extend(records.concat());
    frame.resize(frame.len().next_multiple_of(8), 0);
    let length = u32::try_from(frame.len()).unwrap();
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    frame[8..16].copy_from_slice(&base_offset.to_le_bytes());
    frame[20..24].copy_from_slice(&u32::try_from(records.len()).unwrap().to_le_bytes());
    frame[24] = 1;
    frame[25] = 2;
    frame[28..32].copy_from_slice(&lag.to_le_bytes());
    mend_frame(&mut frame, place);
    frame
}

fn mend_head(file: &mut [u8]) {
    if file.len() >= 64 {
        let checksum = crc32(&file[12..64]).to_le_bytes();
        file[8..12].copy_from_slice(&checksum);
    }
}

fn mend_frame(frame: &mut [u8], place: &Place) {
    let body = crc32(&frame[64..]).to_le_bytes();
    frame[16..20].copy_from_slice(&body);
    let header = place.checksum(&frame[4..64]).to_le_bytes();
    frame[..4].copy_from_slice(&header);
}

/// Makes every checksum of a file good, so far as its lengths lead: that of the head, of frame upon
/// frame, and of a footer.
pub(crate) fn mend(file: &mut [u8], place: &Place) {
    mend_head(file);
    let mut at = 64;
    while at + 64 <= file.len() {
        if file[at..].starts_with(b"brookidx") {
            break;
        }
        let length = u32_at(file, at + 4) as usize;
        if length < 64 || !length.is_multiple_of(8) || length > file.len() - at {
            break;
        }
        mend_frame(&mut file[at..at + length], place);
        at += length;
    }
    let Some(fixed) = file.len().checked_sub(64) else { return };
    let entries = file[fixed..].starts_with(b"brookidx").then(|| u32_at(file, fixed + 12) as usize);
    let Some(start) = entries.and_then(|entries| fixed.checked_sub(entries * 16)) else { return };
    let checked = [&file[start..fixed], &file[fixed + 12..]].concat();
    let checksum = place.checksum(&checked).to_le_bytes();
    file[fixed + 8..fixed + 12].copy_from_slice(&checksum);
}

/// Where the fields of a file stand that a forger would turn: position and width.
pub(crate) fn fields(file: &[u8]) -> Vec<(usize, usize)> {
    let head = [(16, 8), (24, 4), (28, 4), (32, 8), (40, 8), (48, 8)];
    let mut fields: Vec<(usize, usize)> = head.into_iter().filter(|_| file.len() >= 64).collect();
    let mut at = 64;
    while at + 64 <= file.len() {
        let length = u32_at(file, at + 4) as usize;
        if length < 64 || length > file.len() - at {
            break;
        }
        let header = [(4, 4), (8, 8), (20, 4), (25, 1), (28, 4), (32, 8), (40, 8), (48, 4)];
        fields.extend(header.map(|(byte, width)| (at + byte, width)));
        fields.extend((at + 64..at + length).step_by(8).map(|byte| (byte, 8)));
        at += length;
    }
    let fixed = file.len().saturating_sub(64);
    if file[fixed..].starts_with(b"brookidx") {
        fields.extend([(12, 4), (16, 8), (24, 8), (32, 8), (40, 8)].map(|(b, w)| (fixed + b, w)));
        let entries = (u64_at(file, fixed + 8) >> 32) as usize;
        let start = fixed.saturating_sub(entries.min(64) * 16);
        fields.extend((start..fixed).step_by(4).map(|byte| (byte, 4)));
    }
    fields
}
