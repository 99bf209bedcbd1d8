//! Journals with good frames around entries that make no sense, or contradict the files.

use std::path::PathBuf;

use super::bases::bases;
use super::feed::Feed;
use super::forge::{frame, head, record};
use super::mutate::look;
use super::world::place_of;
use crate::format::directory::{Entries, Files, entries_of};

/// Changes entries of the journals of a base as the input says, and opens what comes of it.
///
/// # Panics
/// As [`look`] does.
pub(crate) fn run(data: &[u8]) {
    let mut feed = Feed::new(data);
    let choice = feed.u8();
    let all = bases();
    let mut files = all[usize::from(choice & 3) % all.len()].files.clone();
    for (number, journal) in (1..).zip(["manifest", "catalog", "offsets"]) {
        // Not every input has something for every journal.
        if choice & (8 << number) != 0 {
            let mut entries = entries_of(&files, journal, number);
            for _ in 0..=feed.u8() % 8 {
                change(&mut entries, number, &mut feed);
            }
            rewrite(&mut files, journal, &entries, &mut feed);
        }
    }
    look(&files, choice & 4 != 0, None, "");
}

fn change(entries: &mut Entries, number: u32, feed: &mut Feed<'_>) {
    let count = entries.len().max(1);
    let key = entries.keys().nth(usize::from(feed.u8()) % count).cloned().unwrap_or_default();
    match feed.u8() % 8 {
        0 => _ = entries.remove(&key),
        1 => {
            let length = usize::from(feed.u8());
            let value = feed.bytes(length).to_vec();
            entries.insert(key, value);
        }
        2 => {
            // The same value under another key: another topic, partition, base or salt.
            let Some(value) = entries.get(&key).cloned() else { return };
            let mut other = key;
            let words = other.len() / 4;
            let at = usize::from(feed.u8()) % words.max(1) * 4;
            let word = feed.edge().to_be_bytes();
            for (slot, byte) in other.iter_mut().skip(at).zip(&word[4..]) {
                *slot = *byte;
            }
            entries.insert(other, value);
        }
        3 => _ = entries.insert(made_up_key(number, feed), feed.edge().to_le_bytes().repeat(4)),
        4 => {
            let words = 1 + usize::from(feed.u8() % 14);
            let value: Vec<u8> = (0..words).flat_map(|_| feed.edge().to_le_bytes()).collect();
            entries.insert(made_up_key(number, feed), value);
        }
        5 => {
            // A value of the right shape that is off by a little.
            let Some(value) = entries.get_mut(&key) else { return };
            let at = usize::from(feed.u8()) % value.len().max(1);
            if let Some(byte) = value.get_mut(at) {
                *byte = byte.wrapping_add(feed.u8());
            }
        }
        _ => {
            let Some(value) = entries.get_mut(&key) else { return };
            let words = value.len() / 8;
            let at = usize::from(feed.u8()) % words.max(1) * 8;
            if let Some(word) = value.get_mut(at..at + 8) {
                word.copy_from_slice(&feed.edge().to_le_bytes());
            }
        }
    }
}

fn made_up_key(number: u32, feed: &mut Feed<'_>) -> Vec<u8> {
    match number {
        1 => {
            let mut key = feed.edge().to_be_bytes().to_vec();
            key.extend(&feed.edge().to_be_bytes()[4..]);
            key.push(feed.u8() % 3);
            if key.last() == Some(&1) {
                key.extend(feed.edge().to_be_bytes());
                key.extend(feed.u32().to_be_bytes());
            }
            key
        }
        2 => {
            let length = usize::from(feed.u8());
            feed.bytes(length).to_vec()
        }
        _ => {
            let mut key = vec![feed.u8() % 4, 7];
            key.extend(b"billing");
            key.extend(feed.edge().to_be_bytes());
            key.extend(&feed.edge().to_be_bytes()[4..]);
            key
        }
    }
}

/// The journal anew, with these entries, at the end that it had or at another.
fn rewrite(files: &mut Files, journal: &str, entries: &Entries, feed: &mut Feed<'_>) {
    let Some(path) = files.keys().rfind(|path| path.starts_with(journal)).cloned() else { return };
    let Some(mut place) = place_of(&path) else { return };
    files.remove(&path);
    let choice = feed.u8();
    if choice & 1 != 0 {
        place.base = feed.edge();
    }
    let count = entries.len() as u64;
    let base = if choice & 2 != 0 { feed.edge() } else { 0 };
    let mark = if choice & 4 != 0 { feed.edge() } else { base.saturating_add(count) };
    let lag = if choice & 8 != 0 { feed.u32() } else { 0 };
    let mut bytes = head(b"brookjnl", &place, mark);
    let fits = |(key, _): &(&Vec<u8>, &Vec<u8>)| key.len() <= usize::from(u16::MAX);
    let records: Vec<_> =
        entries.iter().filter(fits).map(|(key, value)| record(key, Some(value))).collect();
    let parts = records.chunks(1 + usize::from(choice >> 4));
    let mut at = base;
    for records in parts {
        bytes.extend(frame(&place, at, lag, records));
        at = at.wrapping_add(records.len() as u64);
    }
    let name = format!("{:020}-{:08x}.jnl", place.base, place.salt);
    files.insert(PathBuf::from(journal).join(name), bytes);
}
