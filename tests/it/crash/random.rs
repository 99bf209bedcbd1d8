//! Lives that nobody has thought of.
