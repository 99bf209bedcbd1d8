//! A real ext4 file system on a loop device, whose power can be cut.
//!
//! The file system lives in an image file. [`LoopDisk::cut_power`] shuts it down without letting it
//! write anything more, as if the machine had lost power: what was not synced is gone, and the next
//! [`LoopDisk::mount`] replays the file system's own journal.
//!
//! It needs Linux, root, and the tools of [`TOOLS`]; [`LoopDisk::possible`] says what is missing. It
//! mounts in a private mount namespace only ([`LoopDisk::private`] makes a command that has one), so
//! that a process that dies leaves neither a mount nor a loop device behind.

#![allow(clippy::disallowed_methods, reason = "this is about a real disk")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The commands that this needs, all of them from e2fsprogs and util-linux.
pub(crate) const TOOLS: [&str; 4] = ["mkfs.ext4", "mount", "umount", "unshare"];

/// Names the mount namespace of a process.
const NAMESPACE: &str = "/proc/self/ns/mnt";
/// Tells a process that [`LoopDisk::private`] starts which namespace it must not be in.
const STARTER: &str = "LOOP_DISK_STARTED_FROM";

/// An ext4 file system in an image file.
#[derive(Debug)]
pub(crate) struct LoopDisk {
    image: PathBuf,
    root: PathBuf,
    mounted: bool,
}

impl LoopDisk {
    /// Whether such a disk can be made here, once in a private mount namespace; else why not.
    pub(crate) fn possible() -> Result<(), String> {
        let own = fs::metadata("/proc/self").map_err(|error| format!("/proc/self: {error}"))?;
        if own.uid() != 0 {
            return Err("mounting needs root".into());
        }
        for tool in TOOLS {
            if command(tool).arg("--version").stderr(Stdio::null()).output().is_err() {
                return Err(format!("{tool} is not installed"));
            }
        }
        if let Err(error) = File::open("/dev/loop-control") {
            return Err(format!("no loop devices: /dev/loop-control: {error}"));
        }
        let nothing = Self::private("true").output();
        match nothing.map(|output| output.status.success()) {
            Ok(true) => Ok(()),
            _ => Err("a mount namespace of its own is refused to this process".into()),
        }
    }

    /// Whether such a disk can be made by this very process; else why not.
    pub(crate) fn available() -> Result<(), String> {
        Self::possible()?;
        match (std::env::var_os(STARTER), fs::read_link(NAMESPACE)) {
            (Some(starter), Ok(own)) if own != Path::new(&starter) => Ok(()),
            _ => Err("this process has no mount namespace of its own".into()),
        }
    }

    /// A command that runs `program` in a mount namespace of its own.
    pub(crate) fn private(program: impl AsRef<OsStr>) -> Command {
        let mut unshare = command("unshare");
        unshare.env(STARTER, fs::read_link(NAMESPACE).unwrap_or_default());
        unshare.args(["--mount", "--propagation", "private", "--"]).arg(program);
        unshare
    }

    /// Makes an empty file system of so many megabytes (at least 16) in `dir`, and does not mount it.
    ///
    /// The image is `disk.img` in `dir`, the place to mount it `disk`. A sync is as fast as one in
    /// `dir`: memory (tmpfs) is the fastest.
    pub(crate) fn create(dir: &Path, megabytes: u64) -> io::Result<Self> {
        let disk = Self { image: dir.join("disk.img"), root: dir.join("disk"), mounted: false };
        fs::create_dir_all(&disk.root)?;
        File::create(&disk.image)?.set_len(megabytes << 20)?;
        // Blocks as on disks of today, the smallest journal, and nothing left to be done later.
        let options = ["-q", "-F", "-b", "4096", "-J", "size=4", "-E"];
        let later = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run(command("mkfs.ext4").args(options).arg(later).arg(&disk.image))?;
        Ok(disk)
    }

    /// Mounts the file system at [`LoopDisk::root`], which replays its journal.
    pub(crate) fn mount(&mut self) -> io::Result<()> {
        // The loop device comes with the mount and goes with it.
        run(command("mount")
            .args(["-t", "ext4", "-o", "loop,noatime"])
            .arg(&self.image)
            .arg(&self.root))?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts in good order: everything is written.
    #[allow(dead_code, reason = "not every user of this file unmounts in good order")]
    pub(crate) fn unmount(&mut self) -> io::Result<()> {
        run(command("umount").arg(&self.root))?;
        self.mounted = false;
        Ok(())
    }

    /// Loses the power: nothing more is written, and what was not synced is gone.
    ///
    /// Whoever has files open there must be dead by then, and the disk is not mounted afterwards. A
    /// sync that is under way at this very moment can be answered with success by the kernel though
    /// nothing of it was written: that would be this instrument's fault, and no disk's.
    pub(crate) fn cut_power(&mut self) -> io::Result<()> {
        shut_down(&File::open(&self.root)?)?;
        run(command("umount").arg(&self.root))?;
        self.mounted = false;
        Ok(())
    }

    /// The directory that the file system is mounted at.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The image file: what is on the disk, if it is not mounted.
    #[allow(dead_code, reason = "not every user of this file keeps the image")]
    pub(crate) fn image(&self) -> &Path {
        &self.image
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted {
            // A test that failed may have files open; they keep the loop device until they close.
            let _ = run(command("umount").arg("--lazy").arg(&self.root));
        }
    }
}

/// Has ext4 stop at once, its journal unwritten (`EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`).
#[allow(unsafe_code, reason = "the kernel has no other door to this")]
fn shut_down(dir: &File) -> io::Result<()> {
    const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587D; // _IOR('X', 125, __u32)
    const NO_LOG_FLUSH: u32 = 2;
    // SAFETY: this number belongs to file systems, which read one u32 through the pointer and write
    // nothing; any other kind of file answers ENOTTY. `Setter` points to a u32 that outlives the call.
    unsafe {
        let request = rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH);
        rustix::ioctl::ioctl(dir, request)?;
    }
    Ok(())
}

/// A command that is found where root's tools are, whatever the `PATH` says.
fn command(tool: &str) -> Command {
    let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(tool))
        .find(|path| path.exists());
    let mut command = Command::new(found.unwrap_or_else(|| tool.into()));
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

/// Runs a command to its end; its complaint becomes the error.
fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, complaint.trim())))
}
