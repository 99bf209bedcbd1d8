//! Looking at files that another process may be changing at this moment.
//!
//! Nothing that a writer does takes back what it has published, but a look takes time: a file can
//! be replaced between being found and being opened, and bytes can appear behind others that were
//! looked at too early. What is wrong in two looks in a row, in the same place, is wrong; anything
//! else was somebody at work.

use crate::error::Error;

/// Looks until nothing is wrong, or until the same is wrong twice in a row.
///
/// # Errors
/// What the last look told.
pub(crate) fn until_settled<T>(mut look: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut last = look();
    for _ in 0..LOOKS_MAX {
        let Err(before) = &last else { break };
        let next = look();
        if next.as_ref().is_err_and(|error| error.is_about_the_same(before)) {
            return next;
        }
        last = next;
    }
    last
}

/// Each look meets another step of the writer; so many in a row do not happen.
const LOOKS_MAX: usize = 100;
