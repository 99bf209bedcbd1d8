//! The second reader of the format.

#[path = "../../tests/it/format/directory.rs"]
pub(crate) mod directory;
#[path = "../../tests/it/format/parser.rs"]
pub(crate) mod parser;
