//! Damage at rest: whatever happens to the files, no wrong byte is read and none is lost unsaid.

mod bits;
mod books;
mod files;
mod footers;
pub(crate) mod history;
mod hostile;
mod reopened;
mod strangers;
