//! Scripted lives, and the book that is kept of them.

#[path = "../../tests/it/crash/bytes.rs"]
pub(crate) mod bytes;
#[path = "../../tests/it/crash/life.rs"]
mod life;
#[path = "../../tests/it/crash/oracle.rs"]
mod oracle;
