//! What a test needs of the machine, what is said where it is not there, and a place of one's own.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Set to have what cannot run fail.
const DEMAND: &str = "BROOKLET_DEMAND";
/// Set to have sweeps done in full.
const LONG: &str = "BROOKLET_LONG";
/// Set for a test that runs in a mount namespace of its own.
const PRIVATE: &str = "BROOKLET_TEST_PRIVATE";

/// Something that not every machine has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    Root,
    Tool(&'static str),
    /// Tracing of a child; sandboxes often refuse it.
    Trace,
    /// A mount namespace of one's own, and loop devices in it.
    Mounts,
}

/// Whether `test` can run here; if not, says so where nobody can miss it.
pub(super) fn able(test: &str, needs: &[Need]) -> bool {
    let Some(reason) = needs.iter().find_map(|need| lack(*need)) else { return true };
    assert!(std::env::var_os(DEMAND).is_none_or(|demand| demand != "1"), "{test}: {reason}");
    aloud(&format!("SKIPPED {test}: {reason}"));
    false
}

/// Says a line on standard error, past the harness, which keeps back what a test that passes prints.
pub(super) fn aloud(line: &str) {
    let mut err = std::io::stderr().lock();
    err.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn lack(need: Need) -> Option<String> {
    match need {
        Need::Root => {
            let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
            (!is_root).then(|| "it needs root".to_owned())
        }
        Need::Tool(name) => {
            let missing = quiet(tool(name).arg("--version")).is_err();
            missing.then(|| format!("{name} is not installed"))
        }
        Need::Trace => {
            let traced = quiet(tool("strace").args(["-o", "/dev/null", "true"]));
            let works = traced.is_ok_and(|status| status.success());
            (!works).then(|| "strace is not installed, or may not trace".to_owned())
        }
        Need::Mounts => {
            let works = quiet(&mut private("true")).is_ok_and(|status| status.success())
                && Path::new("/dev/loop-control").exists();
            (!works).then(|| "it may not mount, or has no loop devices".to_owned())
        }
    }
}

fn quiet(command: &mut Command) -> std::io::Result<std::process::ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
}

/// A command that is found where root's tools are, whatever the `PATH` says.
pub(super) fn tool(name: &str) -> Command {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let found = places.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    let mut command = Command::new(found.unwrap_or_else(|| name.into()));
    command.env("LC_ALL", "C");
    command
}

/// A command that runs `program` in a mount namespace of its own.
fn private(program: impl AsRef<OsStr>) -> Command {
    let mut unshare = tool("unshare");
    unshare.args(["--mount", "--propagation", "private", "--"]).arg(program);
    unshare
}

/// Runs a command to its good end, and returns what it said.
pub(super) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{complained}", output.status);
    said
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the body of `test` in a mount namespace of its own: the test is started again in one.
///
/// Whatever it mounts is gone with its process. `test` is its full name, as `--exact` takes it.
pub(super) fn privately(test: &str, needs: &[Need], body: impl FnOnce(&Path)) {
    if std::env::var_os(PRIVATE).is_some_and(|private| private == test) {
        return body(in_memory().path());
    }
    if !able(test, &[&[Need::Root, Need::Mounts], needs].concat()) {
        return;
    }
    let mut again = private(std::env::current_exe().unwrap());
    let said = run(again.args([test, "--exact", "--nocapture"]).env(PRIVATE, test));
    assert!(said.contains("1 passed"), "{test} did not run: {said}");
}

/// A directory in memory: how fast a disk is, is not what these tests are about.
pub(super) fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// How far a sweep goes: every one of `all` in the long mode, every `step`-th otherwise.
pub(super) fn sample<T>(all: Vec<T>, step: usize) -> Vec<T> {
    let step = if is_long() { 1 } else { step };
    all.into_iter().step_by(step).collect()
}

pub(super) fn is_long() -> bool {
    std::env::var_os(LONG).is_some_and(|long| long == "1")
}
