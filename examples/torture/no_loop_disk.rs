//! Where there are no loop devices: the power of a disk cannot be cut here.

use std::io;
use std::path::Path;
use std::process::Command;

#[derive(Debug)]
pub(crate) enum LoopDisk {}

const WHY: &str = "cutting the power of a disk needs Linux";

impl LoopDisk {
    pub(crate) fn possible() -> Result<(), String> {
        Err(WHY.into())
    }

    pub(crate) fn available() -> Result<(), String> {
        Self::possible()
    }

    pub(crate) fn private(program: impl AsRef<std::ffi::OsStr>) -> Command {
        Command::new(program)
    }

    pub(crate) fn create(_: &Path, _: u64) -> io::Result<Self> {
        Err(io::Error::other(WHY))
    }

    pub(crate) fn mount(&mut self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn cut_power(&mut self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn root(&self) -> &Path {
        match *self {}
    }
}
