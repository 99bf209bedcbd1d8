//! Where a dead letter comes from and why it is one, as headers and back.
//!
//! Everything is text, so that any tool can show it. Numbers are decimal, times are milliseconds
//! since 1970-01-01 00:00 UTC.

use super::fingerprint::Fingerprint;
use super::headers::{Fields, Flaw};
use crate::limits::{ERROR_TEXT_BYTES_MAX, ERROR_TYPE_BYTES_MAX};
use crate::name::{GroupName, TopicName};
use crate::offset::{Offset, PartitionId, Timestamp, TopicId, TopicPartition};

/// One record, by what no other record ever has.
///
/// Together with the group that reads it this identifies its letter. A topic that was deleted and
/// made again has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
}

/// Where a record stands or stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) place: TopicPartition,
    pub(crate) topic: TopicId,
    pub(crate) offset: Offset,
}

impl Spot {
    pub(crate) fn identity(&self) -> Identity {
        Identity { topic: self.topic, partition: self.place.partition(), offset: self.offset }
    }
}

/// Why a record is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provenance {
    /// The record as its group consumed it.
    pub(crate) source: Spot,
    pub(crate) timestamp: Timestamp,
    pub(crate) group: GroupName,
    pub(crate) attempts: u32,
    pub(crate) first_failed: Timestamp,
    pub(crate) last_failed: Timestamp,
    pub(crate) error: Failure,
    /// What was before, if it had been redriven.
    pub(crate) history: Option<History>,
}

/// What a handler said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) text: String,
    pub(crate) fingerprint: Fingerprint,
}

/// What became of a record before it was redriven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// The record as it was first sent.
    pub(crate) origin: Spot,
    /// Which redrive this is, from 1.
    pub(crate) redrives: u32,
    /// Attempts before this redrive.
    pub(crate) attempts: u64,
    /// When it failed for the very first time.
    pub(crate) first_failed: Timestamp,
}

impl Failure {
    /// Keeps as much of an error as a letter may hold.
    pub(crate) fn new(kind: &str, text: &str) -> Self {
        let kind = capped(kind, ERROR_TYPE_BYTES_MAX);
        let text = capped(text, ERROR_TEXT_BYTES_MAX);
        let fingerprint = Fingerprint::of(&kind, &text);
        Self { kind, text, fingerprint }
    }
}

/// `text`, or its beginning with an ellipsis, in at most `most` bytes.
fn capped(text: &str, most: usize) -> String {
    const ELLIPSIS: char = '\u{2026}';
    if text.len() <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(ELLIPSIS.len_utf8());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
    let mut short = text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned();
    short.push(ELLIPSIS);
    short
}

impl Provenance {
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = spot_fields(&SOURCE, &self.source);
        fields.extend([
            (TIMESTAMP, self.timestamp.to_string()),
            (GROUP, self.group.to_string()),
            (ATTEMPTS, self.attempts.to_string()),
            (FIRST_FAILED, self.first_failed.to_string()),
            (LAST_FAILED, self.last_failed.to_string()),
            (ERROR_TYPE, self.error.kind.clone()),
            (ERROR, self.error.text.clone()),
            (FINGERPRINT, self.error.fingerprint.to_string()),
        ]);
        if let Some(history) = &self.history {
            fields.extend(history.fields());
        }
        fields
    }

    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, Flaw> {
        let error = Failure {
            kind: fields.text(ERROR_TYPE)?.to_owned(),
            text: fields.text(ERROR)?.to_owned(),
            fingerprint: Fingerprint::parse(fields.text(FINGERPRINT)?).ok_or(FINGERPRINT)?,
        };
        Ok(Self {
            source: read_spot(&SOURCE, fields)?,
            timestamp: read_time(fields, TIMESTAMP)?,
            group: GroupName::new(fields.text(GROUP)?).map_err(|_| GROUP)?,
            attempts: fields.parse(ATTEMPTS)?,
            first_failed: read_time(fields, FIRST_FAILED)?,
            last_failed: read_time(fields, LAST_FAILED)?,
            error,
            history: match fields.find(REDRIVE) {
                Some(_) => Some(History::read(fields)?),
                None => None,
            },
        })
    }

    /// The record as it was first sent.
    pub(crate) fn origin(&self) -> &Spot {
        self.history.as_ref().map_or(&self.source, |history| &history.origin)
    }

    /// What a redriven copy says, if it is sent for the `again`th time from this letter.
    pub(crate) fn next(&self, again: u32) -> History {
        let before = self.history.as_ref();
        History {
            origin: self.origin().clone(),
            redrives: before.map_or(0, |before| before.redrives).saturating_add(again),
            attempts: before
                .map_or(0, |before| before.attempts)
                .saturating_add(u64::from(self.attempts)),
            first_failed: before.map_or(self.first_failed, |before| before.first_failed),
        }
    }
}

impl History {
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = spot_fields(&ORIGIN, &self.origin);
        fields.extend([
            (REDRIVE, self.redrives.to_string()),
            (EARLIER_ATTEMPTS, self.attempts.to_string()),
            (ORIGIN_FIRST_FAILED, self.first_failed.to_string()),
        ]);
        fields
    }

    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, Flaw> {
        Ok(Self {
            origin: read_spot(&ORIGIN, fields)?,
            redrives: fields.parse(REDRIVE)?,
            attempts: fields.parse(EARLIER_ATTEMPTS)?,
            first_failed: read_time(fields, ORIGIN_FIRST_FAILED)?,
        })
    }
}

/// The names of the headers that tell a spot.
struct SpotNames {
    topic: &'static str,
    id: &'static str,
    partition: &'static str,
    offset: &'static str,
}

fn spot_fields(names: &SpotNames, spot: &Spot) -> Vec<(&'static str, String)> {
    vec![
        (names.topic, spot.place.topic().to_string()),
        (names.id, spot.topic.to_string()),
        (names.partition, spot.place.partition().to_string()),
        (names.offset, spot.offset.to_string()),
    ]
}

fn read_spot(names: &SpotNames, fields: &Fields<'_>) -> Result<Spot, Flaw> {
    let topic = TopicName::new(fields.text(names.topic)?).map_err(|_| names.topic)?;
    let partition = PartitionId::new(fields.parse(names.partition)?);
    Ok(Spot {
        place: TopicPartition::new(topic, partition),
        topic: TopicId::new(fields.parse(names.id)?),
        offset: Offset::new(fields.parse(names.offset)?),
    })
}

fn read_time(fields: &Fields<'_>, name: &'static str) -> Result<Timestamp, Flaw> {
    fields.parse(name).map(Timestamp::from_millis)
}

const SOURCE: SpotNames = SpotNames {
    topic: "brooklet-dlq-topic",
    id: "brooklet-dlq-topic-id",
    partition: "brooklet-dlq-partition",
    offset: "brooklet-dlq-offset",
};
const ORIGIN: SpotNames = SpotNames {
    topic: "brooklet-dlq-origin-topic",
    id: "brooklet-dlq-origin-topic-id",
    partition: "brooklet-dlq-origin-partition",
    offset: "brooklet-dlq-origin-offset",
};
const TIMESTAMP: &str = "brooklet-dlq-timestamp";
const GROUP: &str = "brooklet-dlq-group";
const ATTEMPTS: &str = "brooklet-dlq-attempts";
const FIRST_FAILED: &str = "brooklet-dlq-first-failed";
const LAST_FAILED: &str = "brooklet-dlq-last-failed";
const ERROR_TYPE: &str = "brooklet-dlq-error-type";
const ERROR: &str = "brooklet-dlq-error";
const FINGERPRINT: &str = "brooklet-dlq-fingerprint";
const REDRIVE: &str = "brooklet-dlq-redrive";
const EARLIER_ATTEMPTS: &str = "brooklet-dlq-earlier-attempts";
const ORIGIN_FIRST_FAILED: &str = "brooklet-dlq-origin-first-failed";
