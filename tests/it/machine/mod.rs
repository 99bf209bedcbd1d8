//! What only an operating system can show: real disks that fail, lose their power or fill up, real
//! limits, refusals and strangers.
//!
//! Most of it needs Linux, many a test also root or a tool. What cannot run on a machine is skipped
//! aloud (`SKIPPED` and the reason, on standard error); with `BROOKLET_DEMAND=1` in the environment
//! a skip is a failure. `BROOKLET_LONG=1` turns samples into whole sweeps.
//!
//! A log that is to suffer lives in a child process ([`child`]), which says before each step what it
//! is about to do, and after it how that ended. [`told::Told`] hears it all, and compares it with
//! what the directory holds afterwards.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    reason = "these tests stand beside the log, where the operating system is"
)]

mod child;
mod copies;
mod edits;
mod failing;
mod injected;
mod limits;
mod neighbours;
mod order;
mod power;
mod refused;
mod strangers;
mod told;
mod tools;
