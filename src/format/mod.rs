//! Pure bytes and values: nothing here reads a file or a clock.

pub(crate) mod batch;
pub(crate) mod frame;
pub(crate) mod head;
pub(crate) mod index;
pub(crate) mod layout;
