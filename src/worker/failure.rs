//! What a handler says when it could not handle a record.
//!
//! The failure decides what becomes of the record, the reason inside it is told to people: in the
//! status of the worker, and in the dead letter.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::sync::Arc;

/// Why a record was not handled, and what shall become of it.
///
/// Any [`std::error::Error`] converts to `Retry`, so that `?` works in a handler; a text becomes a
/// [`Reason`] with `into()`.
///
/// # Examples
/// ```
/// use brooklet::worker::Failure;
///
/// fn handle(text: &str) -> Result<i64, Failure> {
///     if text.is_empty() {
///         return Err(Failure::Dead("an empty record".into()));
///     }
///     Ok(text.parse()?)
/// }
/// assert!(matches!(handle(""), Err(Failure::Dead(_))));
/// assert!(matches!(handle("x"), Err(Failure::Retry(_))));
/// assert!(matches!(handle("7"), Ok(7)));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// This attempt failed; another one may succeed. When, and how often, the worker's retry says.
    Retry(Reason),
    /// As `Retry`, but the next attempt comes after this time, whatever the back-off would say.
    ///
    /// The attempt counts, and the limits of the worker's retry hold.
    RetryAfter(Duration, Reason),
    /// No attempt can ever succeed: the record becomes a dead letter at once.
    Dead(Reason),
    /// What the handler needs is down, whatever the record.
    ///
    /// The worker pauses and probes with one record at a time until it is back. No attempt is
    /// spent, and the time does not count against the limits of the retry.
    Unavailable(Reason),
}

impl Failure {
    /// `Retry`, for `map_err`.
    #[must_use]
    pub fn retry(reason: impl Into<Reason>) -> Self {
        Self::Retry(reason.into())
    }

    /// `Dead`, for `map_err`.
    #[must_use]
    pub fn dead(reason: impl Into<Reason>) -> Self {
        Self::Dead(reason.into())
    }

    /// `Unavailable`, for `map_err`.
    #[must_use]
    pub fn unavailable(reason: impl Into<Reason>) -> Self {
        Self::Unavailable(reason.into())
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        match self {
            Self::Retry(reason)
            | Self::RetryAfter(_, reason)
            | Self::Dead(reason)
            | Self::Unavailable(reason) => reason,
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

/// What a handler says in the end.
pub(super) type Answer = Result<(), Failure>;

/// An error with the name of its type; prints what the error prints.
///
/// Made from any error or text with `into()`. Clones share the error.
#[derive(Clone)]
pub struct Reason {
    kind: &'static str,
    error: Arc<dyn StdError + Send + Sync>,
}

impl Reason {
    /// A reason that the worker itself gives.
    pub(crate) fn of_worker(kind: &'static str, text: impl Into<String>) -> Self {
        let error: Box<dyn StdError + Send + Sync> = text.into().into();
        Self { kind, error: error.into() }
    }

    /// The type of the error; for people and for grouping, not to be matched on.
    ///
    /// What the worker itself finds is `panic`, `timeout` or `crash`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The error.
    #[must_use]
    pub fn error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.error
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for Reason {
    fn from(error: E) -> Self {
        Self { kind: std::any::type_name::<E>(), error: error.into().into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({}: \"{}\")", self.kind, self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Reason};

    /// Letters of one error would not be found together, or not say what failed.
    #[test]
    fn a_reason_keeps_the_type_and_the_text() {
        let error = "x".parse::<i64>().unwrap_err();
        let failure = Failure::from(error.clone());
        assert_eq!(failure.reason().kind(), "core::num::error::ParseIntError");
        assert_eq!(failure.reason().to_string(), error.to_string());
        assert_eq!(Reason::from("no stock").to_string(), "no stock");
        assert!(failure.reason().error().source().is_none());
    }
}
