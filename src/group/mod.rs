//! Groups: who reads which partition, and how far a group has come.

pub mod assign;
