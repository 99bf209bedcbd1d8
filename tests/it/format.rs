//! Format version 1: what is written today is what was written then, and can be read by others.

pub(crate) mod directory;
mod golden;
mod page;
pub(crate) mod parser;
mod rows;
mod versions;
