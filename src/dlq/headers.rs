//! Headers that are put behind those of a user, and taken off again, whatever the user's are called.
//!
//! The last header says how many there are, so that names decide nothing: what stands before them
//! is the user's, also where it has the same names.
//!
//! ```text
//!  ┌─────────────────┬──────────────┬─────────────────────────────────────┬──────────────────┐
//!  │ user's headers  │ user's rest  │ brooklet-dlq-topic, …-offset, …     │ brooklet-dlq-end │
//!  │ as they were    │ (if folded)  │ values are text                     │ kind version n   │
//!  └─────────────────┴──────────────┴─────────────────────────────────────┴──────────────────┘
//!                     ╰──────────────────── n headers ───────────────────────────────────────╯
//! ```
//!
//! A record has at most 255 headers. If the user's leave too little room, the last of them are
//! folded: the value of `brooklet-dlq-folded` is their count (`u8`) and their bytes as a record
//! stores them.

use bytes::Bytes;

use crate::limits::HEADERS_MAX;
use crate::record::{Header, Headers, HeadersIter, Record};

/// What all names of these headers begin with.
pub(crate) const PREFIX: &str = "brooklet-dlq-";

const END: &str = "brooklet-dlq-end";
const FOLDED: &str = "brooklet-dlq-folded";
const VERSION: u8 = 1;

/// Why a record is not what it should be here.
pub(crate) type Flaw = &'static str;

/// What a record with such headers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A dead letter.
    Letter,
    /// The copy of a dead letter that its group shall handle again.
    Redriven,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Letter => "letter",
            Self::Redriven => "redriven",
        }
    }
}

/// The headers of a record that is to be written.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    user: Headers<'a>,
    kept: usize,
    own: Vec<(&'static str, Vec<u8>)>,
}

impl<'a> Sheet<'a> {
    /// Puts `fields`, at most a hundred, behind the headers of a user.
    pub(crate) fn new(kind: Kind, user: Headers<'a>, fields: Vec<(&'static str, String)>) -> Self {
        let room = HEADERS_MAX.saturating_sub(fields.len() + 1);
        let mut own = Vec::with_capacity(fields.len() + 2);
        let kept = if user.len() <= room { user.len() } else { room.saturating_sub(1) };
        if kept < user.len() {
            let rest = behind(user, kept);
            let mut folded = vec![rest.left()];
            folded.extend_from_slice(rest.rest());
            own.push((FOLDED, folded));
        }
        own.extend(fields.into_iter().map(|(name, value)| (name, value.into_bytes())));
        let end = format!("{} {VERSION} {}", kind.as_str(), own.len() + 1);
        own.push((END, end.into_bytes()));
        Self { user, kept, own }
    }

    /// Adds all the headers to a record.
    pub(crate) fn put_on<'r>(&'r self, record: Record<'r>) -> Record<'r> {
        let user = self.user.iter().take(self.kept);
        let record = user.fold(record, |record, Header { name, value }| match value {
            Some(value) => record.header(name, value),
            None => record.header_without_value(name),
        });
        self.own.iter().fold(record, |record, (name, value)| record.header(name, value))
    }
}

/// The headers of a user, taken out of a record that has more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserHeaders {
    /// **Invariant**: exactly `count` headers as a record stores them.
    bytes: Bytes,
    count: u8,
}

impl UserHeaders {
    pub(crate) fn headers(&self) -> Headers<'_> {
        Headers::checked(&self.bytes, self.count)
    }
}

impl From<Headers<'_>> for UserHeaders {
    fn from(headers: Headers<'_>) -> Self {
        let all = headers.iter();
        Self { bytes: Bytes::copy_from_slice(all.rest()), count: all.left() }
    }
}

/// The headers that were put behind a user's.
#[derive(Debug)]
pub(crate) struct Fields<'a>(Vec<Header<'a>>);

impl<'a> Fields<'a> {
    /// The text of a field, if there is one.
    pub(crate) fn find(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|header| header.name == name)?;
        std::str::from_utf8(found.value?).ok()
    }

    /// The text of a field.
    pub(crate) fn text(&self, name: &'static str) -> Result<&'a str, Flaw> {
        self.find(name).ok_or(name)
    }

    /// The value of a field that prints as it is read.
    pub(crate) fn parse<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, Flaw> {
        self.text(name)?.parse().map_err(|_| name)
    }
}

/// Takes apart the headers that a [`Sheet`] of this kind has put on.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn take_off(
    kind: Kind,
    headers: Headers<'_>,
) -> Result<(UserHeaders, Fields<'_>), Flaw> {
    let count = read_end(kind, headers).ok_or("no or another last header")?;
    let kept = headers.len().checked_sub(count).ok_or("fewer headers than it says")?;
    let own = behind(headers, kept);
    let fields: Vec<_> = own.clone().take(count.saturating_sub(1)).collect();
    if !fields.iter().all(|field| field.name.starts_with(PREFIX)) {
        return Err("foreign headers among its own");
    }
    let all = headers.iter().rest();
    let plain = all.len().saturating_sub(own.rest().len());
    let plain = all.get(..plain).unwrap_or_default();
    let folded = fields.first().filter(|field| field.name == FOLDED);
    let user = match folded {
        Some(folded) => unfold(plain, kept, folded.value.unwrap_or_default()),
        None => u8::try_from(kept)
            .ok()
            .map(|count| UserHeaders { bytes: Bytes::copy_from_slice(plain), count }),
    };
    Ok((user.ok_or(FOLDED)?, Fields(fields)))
}

/// How many headers a sheet has put on, the last one included.
fn read_end(kind: Kind, headers: Headers<'_>) -> Option<usize> {
    let last = headers.iter().last().filter(|last| last.name == END)?;
    let mut words = std::str::from_utf8(last.value?).ok()?.split(' ');
    let is_right = words.next()? == kind.as_str() && words.next()?.parse() == Ok(VERSION);
    let count: u8 = words.next()?.parse().ok()?;
    (is_right && words.next().is_none() && count > 0).then_some(usize::from(count))
}

fn unfold(plain: &[u8], kept: usize, folded: &[u8]) -> Option<UserHeaders> {
    let (more, rest) = folded.split_first()?;
    let count = u8::try_from(kept).ok()?.checked_add(*more)?;
    let mut check = HeadersIter::over(rest, *more);
    let whole = check.by_ref().count() == usize::from(*more) && check.rest().is_empty();
    whole.then(|| UserHeaders { bytes: Bytes::from([plain, rest].concat()), count })
}

/// The headers behind the first `kept` ones.
fn behind(headers: Headers<'_>, kept: usize) -> HeadersIter<'_> {
    let mut iter = headers.iter();
    iter.by_ref().take(kept).for_each(drop);
    iter
}
