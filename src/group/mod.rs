//! Groups: who reads which partition, and how far each group is.

pub mod assign;
pub(crate) mod coordinator;
pub(crate) mod description;
pub(crate) mod hand_over;
pub(crate) mod membership;
pub(crate) mod offsets;
pub(crate) mod registry;
