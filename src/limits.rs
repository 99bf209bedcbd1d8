//! Every maximum of the log by name, with the relations between them checked at compile time.
//!
//! A quantity that comes from a user or from a disk is compared with one of these before anything
//! is allocated or written for it. Sizes in memory are `usize`, sizes in files `u64`.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Bytes in the name of a topic or a group; Kafka's number, which leaves room for a suffix.
pub(crate) const NAME_BYTES_MAX: usize = 249;

/// The offset behind the last record that a partition can have: Kafka's, whose offsets are signed.
///
/// No log ever gets there. An end above it was made up, and nothing is appended behind it.
pub(crate) const OFFSET_MAX: u64 = i64::MAX as u64;

/// Partitions in one topic.
pub(crate) const PARTITIONS_MAX: u32 = 10_000;

/// Bytes in a record's key; its length is a `u16` in the record header.
pub(crate) const KEY_BYTES_MAX: usize = 65_535;

/// Headers on one record; their count is a `u8` in the record header.
pub(crate) const HEADERS_MAX: usize = 255;

/// Bytes in the name of one header; its length is a `u16`.
pub(crate) const HEADER_NAME_BYTES_MAX: usize = 65_535;

/// Bytes of one encoded record that a topic accepts unless it is configured otherwise.
pub(crate) const RECORD_BYTES_DEFAULT: usize = MIB;

/// Bytes of one encoded record that any topic can be configured to accept.
pub(crate) const RECORD_BYTES_MAX: usize = 64 * MIB;

/// The size at which a batch of several records is closed; a larger record has one to itself.
pub(crate) const BATCH_BYTES_TARGET: usize = 64 * KIB;

/// What a dead letter may add to the record that it keeps.
pub(crate) const LETTER_OVERHEAD_BYTES_MAX: usize = 8 * KIB;

/// Bytes of one encoded record that the log itself can be made to accept: a dead letter always fits.
pub(crate) const LETTER_BYTES_MAX: usize = RECORD_BYTES_MAX + LETTER_OVERHEAD_BYTES_MAX;

/// Bytes of an error's text that a dead letter keeps.
pub(crate) const ERROR_TEXT_BYTES_MAX: usize = 4 * KIB;

/// Bytes of an error's type that a dead letter keeps.
pub(crate) const ERROR_TYPE_BYTES_MAX: usize = 256;

/// What a frame may add to the records inside it: header, batch header and padding.
pub(crate) const FRAME_OVERHEAD_BYTES_MAX: usize = 4 * KIB;

/// Bytes of one whole frame. A length on disk above this is never believed.
pub(crate) const FRAME_BYTES_MAX: usize = LETTER_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX;

/// Bytes that one leader takes from the queue for one write; a larger frame is taken alone.
pub(crate) const ROUND_BYTES_MAX: usize = MIB;

/// The smallest segment size a topic can be given; small ones exist to be tested with.
pub(crate) const SEGMENT_BYTES_MIN: u64 = KIB as u64;

/// The size at which a segment is sealed unless the topic is configured otherwise.
pub(crate) const SEGMENT_BYTES_DEFAULT: u64 = 64 * MIB as u64;

/// The largest segment size a topic can be given. Positions within a segment are `u32`.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1024 * MIB as u64;

/// Bytes of data from one entry of a segment's sparse index to the next.
pub(crate) const INDEX_INTERVAL_BYTES: u64 = 32 * KIB as u64;

/// Bytes of a segment's footer. A length on disk above this is never believed.
pub(crate) const FOOTER_BYTES_MAX: u64 = 4 * MIB as u64;

/// Bytes that one fetch can be configured to ask for at least; one batch is read whatever it is.
pub(crate) const FETCH_BYTES_MIN: usize = KIB;

/// Bytes that one fetch asks for unless its reader is configured otherwise: few enough to be still in
/// a core's second cache when their records are gone over.
pub(crate) const FETCH_BYTES_DEFAULT: usize = 512 * KIB;

/// Bytes that one fetch can be configured to ask for. One frame always fits, whatever was asked.
pub(crate) const FETCH_BYTES_MAX: usize = 64 * MIB;

/// Bytes that may wait in the queue of one partition unless the log is configured otherwise.
pub(crate) const BUFFER_BYTES_DEFAULT: usize = 32 * MIB;

/// Written bytes of one partition at which a sync starts in the background, unasked.
pub(crate) const BACKGROUND_SYNC_BYTES: u64 = 16 * MIB as u64;

/// Written bytes of one partition at which appends wait for a sync.
pub(crate) const UNSYNCED_BYTES_DEFAULT: u64 = 256 * MIB as u64;

/// The newest bytes of each partition that stay in memory unless the log is configured otherwise.
pub(crate) const TAIL_BYTES_DEFAULT: usize = MIB;

/// Bytes that a journal's next file is allocated ahead at least, so that a full disk still commits.
pub(crate) const JOURNAL_FILE_BYTES_MIN: u64 = MIB as u64;

/// What is noted beside a committed offset, at most: Kafka's `offset.metadata.max.bytes`.
pub(crate) const COMMIT_METADATA_BYTES_MAX: usize = 4 * KIB;

/// What one index entry may take in a footer; the index format keeps below it.
pub(crate) const INDEX_ENTRY_BYTES_MAX: u64 = 64;

// The counts and lengths of a record fit the integers of its header.
const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(HEADERS_MAX <= u8::MAX as usize);
const _: () = assert!(HEADER_NAME_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(PARTITIONS_MAX > 0);

// A default is a value that could also be asked for.
const _: () = assert!(RECORD_BYTES_DEFAULT <= RECORD_BYTES_MAX);
const _: () = assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_DEFAULT);
const _: () = assert!(SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX);
const _: () = assert!(FETCH_BYTES_MIN <= FETCH_BYTES_DEFAULT);
const _: () = assert!(FETCH_BYTES_DEFAULT <= FETCH_BYTES_MAX);

// Any record that a default topic accepts can carry the longest key and still say something.
const _: () = assert!(KEY_BYTES_MAX < RECORD_BYTES_DEFAULT);

// A letter has room for its texts, the names of two topics and a group, and twice as many numbers.
const _: () = assert!(
    ERROR_TEXT_BYTES_MAX + ERROR_TYPE_BYTES_MAX + 4 * NAME_BYTES_MAX + 2 * KIB
        <= LETTER_OVERHEAD_BYTES_MAX
);

// A closed batch fits a frame, a frame of a default topic fits the default queue, and several
// batches fit a round.
const _: () = assert!(BATCH_BYTES_TARGET + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(RECORD_BYTES_DEFAULT + FRAME_OVERHEAD_BYTES_MAX <= BUFFER_BYTES_DEFAULT);
const _: () = assert!(BATCH_BYTES_TARGET < ROUND_BYTES_MAX);
const _: () = assert!(ROUND_BYTES_MAX <= BUFFER_BYTES_DEFAULT);

// A frame of any other topic fits the unsynced bytes, or it could never be appended.
const _: () = assert!(FRAME_BYTES_MAX as u64 <= UNSYNCED_BYTES_DEFAULT);
const _: () = assert!(BACKGROUND_SYNC_BYTES < UNSYNCED_BYTES_DEFAULT);

// A segment is sealed by the first frame past its size; that frame and the footer still have
// positions of 32 bits.
const SEGMENT_FILE_BYTES_MAX: u64 = SEGMENT_BYTES_MAX + FRAME_BYTES_MAX as u64 + FOOTER_BYTES_MAX;
const _: () = assert!(SEGMENT_FILE_BYTES_MAX <= u32::MAX as u64);

// The index of the fullest segment fits its footer, with room for the footer's own fields.
const INDEX_ENTRIES_MAX: u64 = SEGMENT_FILE_BYTES_MAX / INDEX_INTERVAL_BYTES + 1;
const _: () = assert!(
    INDEX_ENTRIES_MAX * INDEX_ENTRY_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX as u64 <= FOOTER_BYTES_MAX
);

const _: () = assert!(JOURNAL_FILE_BYTES_MIN >= SEGMENT_BYTES_MIN);
