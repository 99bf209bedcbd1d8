//! Arbitrary bytes become the files of a directory: the log opens or refuses it, and harms nobody.

use std::path::PathBuf;

use brooklet::testing::verify;

use super::feed::Feed;
use super::forge::mend;
use super::world::{check_sighted, disk_with, go_on, log_dir, look_at, open_on, place_of};
use crate::format::directory::Files;

/// Opens what the input makes up, reads everything, and goes on with it.
///
/// # Panics
/// If the log serves what no good frame holds, or leaves its directory.
pub(crate) fn run(data: &[u8]) {
    let files = made_up(data);
    for read_only in [true, false] {
        let disk = disk_with(&files);
        let before = disk.snapshot();
        if read_only {
            // Whatever it says, it comes to an end and changes nothing.
            let _ = verify(&disk.env(), log_dir(&disk));
        }
        if let Ok(log) = open_on(&disk, read_only) {
            check_sighted(&look_at(&log), &files);
            // It may refuse, and must not break.
            let _ = go_on(&log);
        }
        assert_eq!(disk.escapes(), 0, "paths led out of the root");
        assert!(!read_only || disk.snapshot() == before, "a log that is only read was changed");
    }
}

const PLACES: [&str; 12] = [
    "manifest/00000000000000000001-00000001.jnl",
    "catalog/00000000000000000001-00000001.jnl",
    "offsets/00000000000000000001-00000001.jnl",
    "topics/1/0/00000000000000000000-00000001.seg",
    "topics/1/0/00000000000000000002-00000001.seg",
    "topics/1/1/00000000000000000000-00000001.seg",
    "manifest/18446744073709551615-00000001.jnl",
    "manifest/next.jnl",
    "catalog/00000000000000000002-00000001.jnl",
    "topics/18446744073709551615/0/00000000000000000000-00000001.seg",
    "LOCK",
    "stranger",
];

/// Files at known places, or at names of the input's own, some with their checksums made good.
fn made_up(data: &[u8]) -> Files {
    let mut feed = Feed::new(data);
    let mut files = Files::new();
    while !feed.is_empty() && files.len() < 16 {
        let kind = feed.u8();
        let path = match PLACES.get(usize::from(kind & 15)) {
            Some(path) => PathBuf::from(path),
            None => {
                let length = usize::from(feed.u8() % 32);
                let name = String::from_utf8_lossy(feed.bytes(length));
                let dir = ["", "manifest", "topics", "topics/1/0"][usize::from(kind >> 6)];
                // What an operating system gives as a name has none of these.
                let name = name.replace(['/', '\0'], "_");
                if matches!(&*name, "" | "." | "..") {
                    continue;
                }
                PathBuf::from(dir).join(name)
            }
        };
        let length = usize::from(feed.u16() % 2048);
        let mut bytes = feed.bytes(length).to_vec();
        if let Some(place) = place_of(&path).filter(|_| kind & 16 != 0) {
            if bytes.len() >= 8 {
                let is_segment = path.extension().is_some_and(|ext| ext == "seg");
                bytes[..8].copy_from_slice(if is_segment { b"brookseg" } else { b"brookjnl" });
            }
            mend(&mut bytes, &place);
        }
        files.insert(path, bytes);
    }
    files
}
