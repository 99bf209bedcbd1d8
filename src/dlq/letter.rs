//! A dead letter: the record as it was, where it came from, and how it stands.

use super::fingerprint::Fingerprint;
use super::headers::{Flaw, Kind, Sheet, UserHeaders, take_off};
use super::marker::{Standing, State};
use super::provenance::{History, Provenance};
use crate::name::GroupName;
use crate::offset::{Offset, Timestamp, TopicPartition};
use crate::record::{Headers, Record, StoredRecord};

/// A record that a group could not handle.
///
/// Key, value, headers and timestamp are those of the record, byte for byte. The rest says where it
/// came from, why it is here, and what became of it.
#[derive(Clone, Debug)]
pub struct Letter {
    stored: StoredRecord,
    headers: UserHeaders,
    provenance: Provenance,
    standing: Standing,
}

impl Letter {
    /// Where the letter stands: a partition of a topic of dead letters.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        self.stored.topic_partition()
    }

    /// The letter's own offset there.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.stored.offset()
    }

    /// The key of the record, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.stored.key()
    }

    /// The value of the record, if it has one.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.stored.value()
    }

    /// The headers of the record, without those that the letter adds.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        self.headers.headers()
    }

    /// The timestamp of the record.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.provenance.timestamp
    }

    /// The record as it was, ready to be sent anywhere.
    #[must_use]
    pub fn to_record(&self) -> Record<'_> {
        self.headers().iter().fold(self.bare(), |record, header| match header.value {
            Some(value) => record.header(header.name, value),
            None => record.header_without_value(header.name),
        })
    }

    /// The group that could not handle the record.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        &self.provenance.group
    }

    /// Where the group read the record: for one that was redriven, the redrive topic.
    #[must_use]
    pub fn source(&self) -> &TopicPartition {
        &self.provenance.source.place
    }

    /// The offset at which the group read the record.
    #[must_use]
    pub fn source_offset(&self) -> Offset {
        self.provenance.source.offset
    }

    /// Where the record was first sent, however often it was redriven.
    #[must_use]
    pub fn origin(&self) -> &TopicPartition {
        &self.provenance.origin().place
    }

    /// The offset at which the record was first sent.
    #[must_use]
    pub fn origin_offset(&self) -> Offset {
        self.provenance.origin().offset
    }

    /// How often the handler tried, since the record was sent or redriven.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.provenance.attempts
    }

    /// How often the handler had tried before the record was redriven.
    #[must_use]
    pub fn earlier_attempts(&self) -> u64 {
        self.history().map_or(0, |history| history.attempts)
    }

    /// When the record failed for the very first time.
    #[must_use]
    pub fn first_failed(&self) -> Timestamp {
        self.history().map_or(self.provenance.first_failed, |history| history.first_failed)
    }

    /// When the record failed for the last time.
    #[must_use]
    pub fn last_failed(&self) -> Timestamp {
        self.provenance.last_failed
    }

    /// What kind of error the handler returned last, at most 256 bytes of it.
    #[must_use]
    pub fn error_type(&self) -> &str {
        &self.provenance.error.kind
    }

    /// What the handler's last error said, at most 4 KiB of it.
    #[must_use]
    pub fn error(&self) -> &str {
        &self.provenance.error.text
    }

    /// The number that it shares with failures of the same cause.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.provenance.error.fingerprint
    }

    /// How often the record had been redriven when it failed; 0 for one that never was.
    #[must_use]
    pub fn redrives(&self) -> u32 {
        self.history().map_or(0, |history| history.redrives)
    }

    /// What became of the letter.
    #[must_use]
    pub fn state(&self) -> State {
        self.standing.state
    }

    /// Since when that is so; none for a letter that waits.
    #[must_use]
    pub fn state_since(&self) -> Option<Timestamp> {
        self.standing.since
    }

    /// Reads a letter as it is stored.
    ///
    /// # Errors
    /// The record, and what is wrong with it.
    pub(crate) fn read(stored: StoredRecord) -> Result<Self, Box<Unreadable>> {
        let read = take_off(Kind::Letter, stored.headers())
            .and_then(|(headers, fields)| Ok((headers, Provenance::read(&fields)?)));
        match read {
            Ok((headers, provenance)) => {
                Ok(Self { stored, headers, provenance, standing: Standing::default() })
            }
            Err(reason) => Err(Box::new(Unreadable { record: stored, reason })),
        }
    }

    /// The record as one that is no letter here.
    pub(crate) fn into_unreadable(self, reason: Flaw) -> Unreadable {
        Unreadable { record: self.stored, reason }
    }

    pub(crate) fn with_standing(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    pub(crate) fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The headers of a copy that the group shall handle again.
    pub(crate) fn redrive_sheet(&self) -> Sheet<'_> {
        let again = self.standing.redriven.saturating_add(1);
        Sheet::new(Kind::Redriven, self.headers(), self.provenance.next(again).fields())
    }

    /// The record without its headers.
    pub(crate) fn bare(&self) -> Record<'_> {
        bare(&self.stored).timestamp(self.timestamp())
    }

    fn history(&self) -> Option<&History> {
        self.provenance.history.as_ref()
    }
}

/// What is to be written about a record that a group gave up.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    record: &'a StoredRecord,
    last_failed: Timestamp,
    sheet: Sheet<'a>,
}

impl<'a> Draft<'a> {
    /// `user` are the record's headers without those of a redrive.
    pub(crate) fn new(
        record: &'a StoredRecord,
        user: &'a UserHeaders,
        provenance: &Provenance,
    ) -> Self {
        let sheet = Sheet::new(Kind::Letter, user.headers(), provenance.fields());
        Self { record, last_failed: provenance.last_failed, sheet }
    }

    /// The letter; its own time is that of the failure.
    pub(crate) fn record(&self) -> Record<'_> {
        self.sheet.put_on(bare(self.record)).timestamp(self.last_failed)
    }
}

/// The headers of a record from a redrive topic, and what became of it before.
///
/// A record that somebody else has sent there has no history, and all headers are its own.
pub(crate) fn take_apart(record: &StoredRecord) -> (UserHeaders, Option<History>) {
    let read = take_off(Kind::Redriven, record.headers())
        .and_then(|(headers, fields)| Ok((headers, History::read(&fields)?)));
    match read {
        Ok((headers, history)) => (headers, Some(history)),
        Err(_) => (UserHeaders::from(record.headers()), None),
    }
}

fn bare(record: &StoredRecord) -> Record<'_> {
    let bare = record.value().map_or_else(Record::without_value, Record::new);
    match record.key() {
        Some(key) => bare.key(key),
        None => bare,
    }
}

/// A record among the dead letters that is none, or that this version cannot read.
///
/// It is kept and listed; nothing is done with it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unreadable {
    /// The record as it is stored.
    pub record: StoredRecord,
    /// What about it cannot be read.
    pub reason: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::{Draft, Letter, take_apart};
    use crate::config::TopicConfig;
    use crate::dlq::headers::UserHeaders;
    use crate::dlq::marker::{Standing, State};
    use crate::dlq::provenance::{Failure, History, Provenance, Spot};
    use crate::limits::{ERROR_TEXT_BYTES_MAX, LETTER_OVERHEAD_BYTES_MAX};
    use crate::log::Log;
    use crate::name::{GroupName, TopicName};
    use crate::offset::{Offset, PartitionId, Timestamp, TopicId, TopicPartition};
    use crate::record::{Record, StoredRecord};

    type OwnHeaders = Vec<(String, Option<Vec<u8>>)>;

    /// What a user may send: any bytes, and header names that look like those of a letter.
    #[derive(Clone, Debug)]
    struct Sent {
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: OwnHeaders,
    }

    impl Sent {
        fn record(&self) -> Record<'_> {
            let record = self.value.as_ref().map_or_else(Record::without_value, Record::new);
            let record = self.key.iter().fold(record, |record, key| record.key(key));
            self.headers.iter().fold(record, |record, (name, value)| match value {
                Some(value) => record.header(name, value),
                None => record.header_without_value(name),
            })
        }

        fn is(&self, key: Option<&[u8]>, value: Option<&[u8]>, headers: &OwnHeaders) -> bool {
            (self.key.as_deref(), self.value.as_deref()) == (key, value) && self.headers == *headers
        }
    }

    fn own(headers: crate::record::Headers<'_>) -> OwnHeaders {
        headers.iter().map(|h| (h.name.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let name = "(brooklet-dlq-(end|topic|offset|folded|error)|[a-z]{0,3})";
        let value = option::of(vec(any::<u8>(), 0..8));
        let few = vec((name, value.clone()), 0..6);
        let many = vec((name, value.clone()), 0..=255);
        let headers = proptest::prop_oneof![3 => few, 1 => many];
        let bytes = option::of(vec(any::<u8>(), 0..20));
        (bytes.clone(), bytes, headers).prop_map(|(key, value, mut headers)| {
            for (name, value) in &mut headers {
                if name == "brooklet-dlq-end" {
                    *value = Some(b"letter 1 3".to_vec());
                }
            }
            Sent { key, value, headers }
        })
    }

    fn spots() -> impl Strategy<Value = Spot> {
        ("[A-Za-z0-9_-]{1,249}", any::<[u64; 2]>(), any::<u32>()).prop_map(
            |(topic, [id, offset], partition)| Spot {
                place: TopicPartition::new(
                    TopicName::new(&topic).unwrap(),
                    PartitionId::new(partition),
                ),
                topic: TopicId::new(id),
                offset: Offset::new(offset),
            },
        )
    }

    fn provenances() -> impl Strategy<Value = Provenance> {
        let history = (spots(), any::<u32>(), any::<u64>(), any::<i64>()).prop_map(
            |(origin, redrives, attempts, first)| History {
                origin,
                redrives,
                attempts,
                first_failed: Timestamp::from_millis(first),
            },
        );
        let group = "[A-Za-z0-9_-]{1,249}";
        let error = ("\\PC{0,400}", "\\PC{0,6000}");
        (spots(), group, any::<[i64; 3]>(), any::<u32>(), error, option::of(history)).prop_map(
            |(source, group, times, attempts, (kind, text), history)| {
                let [timestamp, first_failed, last_failed] = times.map(Timestamp::from_millis);
                Provenance {
                    source,
                    timestamp,
                    group: GroupName::new(&group).unwrap(),
                    attempts,
                    first_failed,
                    last_failed,
                    error: Failure::new(&kind, &text),
                    history,
                }
            },
        )
    }

    /// Sends a record through a log, as the only way to make a stored one.
    fn store(log: &Log, record: Record<'_>) -> StoredRecord {
        let receipt = log.producer("t").unwrap().send(record).unwrap();
        let start = crate::offset::StartAt::Offset(receipt.offset());
        log.reader("t").start_at(start).stop_at_end().open().unwrap().next().unwrap().unwrap()
    }

    fn log() -> Log {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new()).unwrap();
        log
    }

    proptest! {
        /// A letter would lose a part of the record or of its story, or mistake one for the other.
        #[test]
        fn letters_are_read_as_they_were_written(sent in sent(), provenance in provenances()) {
            let log = log();
            let record = store(&log, sent.record());
            let user = UserHeaders::from(record.headers());
            let letter = store(&log, Draft::new(&record, &user, &provenance).record());
            let size = |record: &StoredRecord| {
                record.headers().iter().map(|h| 8 + h.name.len() + h.value.map_or(0, <[u8]>::len))
                    .sum::<usize>()
            };
            prop_assert!(size(&letter) <= size(&record) + LETTER_OVERHEAD_BYTES_MAX);
            let letter = Letter::read(letter).unwrap();
            prop_assert!(sent.is(letter.key(), letter.value(), &own(letter.headers())));
            prop_assert_eq!(letter.provenance(), &provenance);
            prop_assert_eq!(letter.timestamp(), provenance.timestamp);
            let again = store(&log, letter.to_record());
            prop_assert!(sent.is(again.key(), again.value(), &own(again.headers())));
            prop_assert_eq!(again.timestamp(), provenance.timestamp);
        }

        /// A record that was redriven would reach its next letter changed, or without its story.
        #[test]
        fn redriven_copies_are_taken_apart_again(
            sent in sent(),
            provenance in provenances(),
            redriven in 0..u32::MAX,
        ) {
            let log = log();
            let record = store(&log, sent.record());
            let user = UserHeaders::from(record.headers());
            let letter = store(&log, Draft::new(&record, &user, &provenance).record());
            let standing = Standing { state: State::Redriven, redriven, since: None };
            let letter = Letter::read(letter).unwrap().with_standing(standing);
            let copy = store(&log, letter.redrive_sheet().put_on(letter.bare()));
            prop_assert!(Letter::read(copy.clone()).is_err(), "a copy is no letter");
            let (user, history) = take_apart(&copy);
            prop_assert!(sent.is(copy.key(), copy.value(), &own(user.headers())));
            prop_assert_eq!(history, Some(provenance.next(redriven + 1)));
        }

        /// A foreign record among the letters would stop the program, or pass for a letter.
        #[test]
        fn other_records_are_no_letters(sent in sent()) {
            let log = log();
            let record = store(&log, sent.record());
            prop_assert!(Letter::read(record.clone()).is_err());
            let (user, history) = take_apart(&record);
            prop_assert_eq!(own(user.headers()), sent.headers);
            prop_assert_eq!(history, None);
        }

        /// A letter with any header changed would stop the program.
        #[test]
        fn damaged_letters_are_read_or_refused(
            provenance in provenances(),
            (index, bytes) in (any::<proptest::sample::Index>(), vec(any::<u8>(), 0..12)),
            drops: bool,
        ) {
            let log = log();
            let record = store(&log, Record::new("v").header("a", "b"));
            let user = UserHeaders::from(record.headers());
            let letter = store(&log, Draft::new(&record, &user, &provenance).record());
            let mut headers = own(letter.headers());
            let index = index.index(headers.len());
            if drops {
                headers.remove(index);
            } else {
                headers[index].1 = Some(bytes);
            }
            let damaged = Sent { key: None, value: None, headers };
            let _ = Letter::read(store(&log, damaged.record()));
        }
    }

    /// An error of a megabyte would make letters that no topic takes, or split a character.
    #[test]
    fn texts_are_cut_where_a_character_ends() {
        let failure = Failure::new(&"\u{20ac}".repeat(200), &"\u{20ac}".repeat(100_000));
        assert!((250..=256).contains(&failure.kind.len()));
        let text = failure.text;
        assert!((ERROR_TEXT_BYTES_MAX - 3..=ERROR_TEXT_BYTES_MAX).contains(&text.len()));
        assert!(text.ends_with("\u{20ac}\u{2026}"));
        assert_eq!(Failure::new("E", &"x".repeat(4096)).text.len(), 4096);
    }

    /// What an older build wrote would not be understood any more, nor what the page says be true.
    #[test]
    fn letters_look_as_documented() {
        let log = log();
        let record = store(&log, Record::new("v").header("user", "1"));
        let spot = |topic: &str, id| Spot {
            place: TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(3)),
            topic: TopicId::new(id),
            offset: Offset::new(17),
        };
        let history = History {
            origin: spot("orders", 7),
            redrives: 1,
            attempts: 5,
            first_failed: Timestamp::from_millis(1000),
        };
        let provenance = Provenance {
            source: spot("orders.billing.redrive", 9),
            timestamp: Timestamp::from_millis(-1),
            group: GroupName::new("billing").unwrap(),
            attempts: 2,
            first_failed: Timestamp::from_millis(2000),
            last_failed: Timestamp::from_millis(3000),
            error: Failure::new("Timeout", "no answer after 31 ms"),
            history: Some(history),
        };
        let user = UserHeaders::from(record.headers());
        let letter = store(&log, Draft::new(&record, &user, &provenance).record());
        let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap()).unwrap();
        let headers = own(letter.headers()).into_iter();
        let shown: Vec<_> =
            headers.map(|(name, value)| format!("{name}: {}", text(value))).collect();
        let expected = [
            "user: 1",
            "brooklet-dlq-topic: orders.billing.redrive",
            "brooklet-dlq-topic-id: 9",
            "brooklet-dlq-partition: 3",
            "brooklet-dlq-offset: 17",
            "brooklet-dlq-timestamp: -1",
            "brooklet-dlq-group: billing",
            "brooklet-dlq-attempts: 2",
            "brooklet-dlq-first-failed: 2000",
            "brooklet-dlq-last-failed: 3000",
            "brooklet-dlq-error-type: Timeout",
            "brooklet-dlq-error: no answer after 31 ms",
            "brooklet-dlq-fingerprint: 9d181d1b09089a6c",
            "brooklet-dlq-origin-topic: orders",
            "brooklet-dlq-origin-topic-id: 7",
            "brooklet-dlq-origin-partition: 3",
            "brooklet-dlq-origin-offset: 17",
            "brooklet-dlq-redrive: 1",
            "brooklet-dlq-earlier-attempts: 5",
            "brooklet-dlq-origin-first-failed: 1000",
            "brooklet-dlq-end: letter 1 20",
        ];
        assert_eq!(shown, expected);
        assert_eq!(letter.timestamp(), Timestamp::from_millis(3000));
    }
}
