//! The table of files open for reading: opened on use, bounded, least recently used first out.
//!
//! Only clean descriptors live here. A file with unsynced bytes is held by whoever wrote it,
//! through the descriptor it was written with, because Linux reports a failed write-back once per
//! descriptor that was open at the time.
//!
//! The table's lock is held for a look-up, never while a file is opened or read.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::env::{Access, File, Fs};
use crate::format::frame::Place;
use crate::offset::ShardId;
use crate::sync::{Arc, Mutex, Rank, ranked};

/// Files open for reading.
#[derive(Debug)]
pub(crate) struct Files {
    fs: Arc<dyn Fs>,
    limit: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<Key, Entry>,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    file: Arc<dyn File>,
    last_use: u64,
}

impl Files {
    pub(crate) fn new(fs: Arc<dyn Fs>, limit: usize) -> Self {
        Self { fs, limit, table: ranked(Rank::Value, Table::default()) }
    }

    /// The file of this place, opened if it is not open.
    pub(crate) fn get(&self, place: &Place, path: &Path) -> io::Result<Arc<dyn File>> {
        let key = key(place);
        {
            let mut table = self.table.lock();
            table.clock += 1;
            let now = table.clock;
            if let Some(entry) = table.open.get_mut(&key) {
                entry.last_use = now;
                return Ok(Arc::clone(&entry.file));
            }
        }
        let file = self.fs.open(path, Access::Read)?;
        let evicted = self.table.lock().insert(key, Arc::clone(&file), self.limit);
        drop(evicted);
        Ok(file)
    }

    /// Lets go of the file of this place, before it is unlinked or because its bytes are in doubt.
    pub(crate) fn forget(&self, place: &Place) {
        let entry = self.table.lock().open.remove(&key(place));
        drop(entry);
    }

    /// How many files are open.
    pub(crate) fn len(&self) -> usize {
        self.table.lock().open.len()
    }
}

impl Table {
    /// Adds a file and takes out the one that was not used for longest where there are too many.
    fn insert(&mut self, key: Key, file: Arc<dyn File>, limit: usize) -> Option<Entry> {
        self.open.insert(key, Entry { file, last_use: self.clock });
        if self.open.len() <= limit {
            return None;
        }
        let (&oldest, _) = self.open.iter().min_by_key(|(_, entry)| entry.last_use)?;
        self.open.remove(&oldest)
    }
}

type Key = (ShardId, u64, u32);

fn key(place: &Place) -> Key {
    (place.shard, place.base.value(), place.salt)
}
