//! Format version 1: what is written today is what was written then, and can be read by others.

pub(crate) mod parser;
