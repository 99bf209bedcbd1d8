//! The floors: what the machine does for the same bytes with nothing of the log around them.
#![allow(dead_code, reason = "each benchmark uses some of it")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use brooklet::{Log, StartAt};

/// A frame of the floor: about what one batch of the log holds.
pub(crate) const BLOCK: usize = 64 * 1024;
/// What the log puts in front of a record.
pub(crate) const RECORD_HEAD: usize = 12;

/// What a reader of the figures must know of the machine: cores, kernel, and the file system.
pub(crate) fn place() -> String {
    let dir = std::env::temp_dir();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mounts = read("/proc/mounts");
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let under = mounts.filter(|(at, _)| dir.starts_with(at)).max_by_key(|(at, _)| at.len());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cores} cores, kernel {}, {} on {}, load {}",
        kernel.trim(),
        dir.display(),
        under.map_or("an unknown file system", |(_, kind)| kind),
        load.split(' ').next().unwrap_or_default()
    )
}

/// A new file that grows.
pub(crate) fn fresh(dir: &Path, name: &str) -> File {
    let path = dir.join(name);
    let _ = std::fs::remove_file(&path);
    OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("a fresh file")
}

/// Copies `count` records of `value` into blocks, checksums each block, and writes it.
pub(crate) fn batched(file: &File, position: &mut u64, value: &[u8], count: usize) {
    blocks(value, count, |block| {
        file.write_all_at(block, *position).expect("write");
        *position += block.len() as u64;
    });
}

/// The same into a file in which room is made ahead.
pub(crate) fn batched_in_room(file: File, value: &[u8], count: usize) {
    let mut file = Roomy::new(file);
    blocks(value, count, |block| file.append(block));
}

fn blocks(value: &[u8], count: usize, mut write: impl FnMut(&[u8])) {
    let mut block = Vec::with_capacity(BLOCK + value.len() + RECORD_HEAD);
    for number in 0..count {
        let length = value.len() as u32;
        block.extend_from_slice(&length.to_le_bytes());
        block.extend_from_slice(&(number as u64).to_le_bytes());
        block.extend_from_slice(value);
        if block.len() >= BLOCK || number + 1 == count {
            std::hint::black_box(crc32fast::hash(&block));
            write(&block);
            block.clear();
        }
    }
}

/// A file that is filled with zeros one aligned block ahead of what is appended, as the log's are.
pub(crate) struct Roomy {
    pub(crate) file: File,
    position: u64,
    room_end: u64,
}

impl Roomy {
    pub(crate) fn new(file: File) -> Self {
        Self { file, position: 0, room_end: 0 }
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        const ROOM: usize = 128 * 1024;
        static ZEROS: [u8; ROOM] = [0; ROOM];
        let end = self.position + bytes.len() as u64;
        if end > self.room_end {
            let block = end - end % ROOM as u64;
            self.file.write_all_at(&ZEROS, block).expect("write");
            self.room_end = block + ROOM as u64;
        }
        self.file.write_all_at(bytes, self.position).expect("write");
        self.position = end;
    }
}

/// Writes `count` records one by one.
pub(crate) fn one_by_one(file: &File, value: &[u8], count: usize) {
    for number in 0..count {
        file.write_all_at(value, (number * value.len()) as u64).expect("write");
    }
}

/// Reads whole blocks, about 1 MiB at a time, into an aligned buffer, checksums each of them, and
/// walks its records from length to length.
pub(crate) fn replay(file: &File, len: usize, record: usize) -> u64 {
    let block = BLOCK.div_ceil(record) * record;
    let chunk = 1024 * 1024 / block * block;
    let mut memory = vec![0; chunk + 64];
    let start = memory.as_ptr().align_offset(64);
    let buffer = &mut memory[start..start + chunk];
    let (mut position, mut records) = (0, 0);
    while position < len {
        let read = file.read_at(buffer, position as u64).expect("read");
        for frame in buffer[..read].chunks(block) {
            std::hint::black_box(crc32fast::hash(frame));
            let mut rest = frame;
            while let Some((head, behind)) = rest.split_first_chunk::<RECORD_HEAD>() {
                let [a, b, c, d, ..] = *head;
                let length = u32::from_le_bytes([a, b, c, d]) as usize;
                let (value, behind) = behind.split_at(length);
                std::hint::black_box(value);
                rest = behind;
                records += 1;
            }
        }
        position += read;
    }
    records
}

/// Reads a topic `t` to its end and counts its records.
pub(crate) fn count_all(log: &Log, start: StartAt) -> usize {
    let mut reader = log.reader("t").start_at(start).stop_at_end().open().unwrap();
    let mut count = 0;
    while let Some(batch) = reader.next_batch() {
        for record in &batch.unwrap() {
            std::hint::black_box(record.value());
            count += 1;
        }
    }
    count
}
