//! The rest of the worlds: threads, clocks, chance, and what only a real disk can contain.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::mpsc;
use std::time::Duration;

use brooklet::testing::{Clock, ManualClock, SimDisk, disk_env, memory_env};

/// Breaks if background work is not waited for, or a thread that ends itself hangs.
#[test]
fn threads_run_and_are_joined() {
    for env in [disk_env(), SimDisk::new(1).env_with_threads()] {
        assert!(env.spawn.can_spawn());
        let (sender, receiver) = mpsc::channel();
        let work = Box::new(move || sender.send(std::thread::current().name().map(str::to_owned)));
        let work = Box::new(move || drop(work()));
        env.spawn.spawn("worker", work).unwrap().join();
        assert_eq!(receiver.try_recv().unwrap().as_deref(), Some("worker"));

        let (handle, own) = mpsc::channel::<Box<dyn brooklet::testing::Join>>();
        let (done, finished) = mpsc::channel();
        let work = move || {
            own.recv().unwrap().join();
            done.send(()).unwrap();
        };
        handle.send(env.spawn.spawn("joins itself", Box::new(work)).unwrap()).unwrap();
        finished.recv().unwrap();

        let refused = env.spawn.spawn("a\0b", Box::new(|| {}));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

/// Breaks if a panic in background work takes down the one who waits for it.
#[test]
fn a_panicking_thread_is_joined() {
    let work = || panic!("meant to be: the thread panics");
    disk_env().spawn.spawn("panics", Box::new(work)).unwrap().join();
}

/// Breaks if a world without threads pretends to run work.
#[test]
fn worlds_without_threads_say_so() {
    for env in [memory_env(), SimDisk::new(1).env()] {
        assert!(!env.spawn.can_spawn());
        let refused = env.spawn.spawn("worker", Box::new(|| panic!("must not run")));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

/// Breaks if the two manual clocks move together or by themselves, or time goes backward.
#[test]
fn manual_clocks_move_apart_and_only_by_hand() {
    let clock = ManualClock::starting_at(-5);
    assert!(clock.is_manual());
    assert_eq!((clock.wall_millis(), clock.monotonic()), (-5, Duration::ZERO));
    clock.advance_wall(Duration::from_millis(15));
    assert_eq!((clock.wall_millis(), clock.monotonic()), (10, Duration::ZERO));
    clock.advance_monotonic(Duration::from_secs(1));
    clock.set_wall(i64::MIN);
    assert_eq!((clock.wall_millis(), clock.monotonic()), (i64::MIN, Duration::from_secs(1)));
    clock.set_monotonic(Duration::from_millis(1));
    assert_eq!(clock.monotonic(), Duration::from_secs(1));
    clock.set_wall(i64::MAX);
    clock.advance(Duration::MAX);
    assert_eq!((clock.wall_millis(), clock.monotonic()), (i64::MAX, Duration::MAX));
}

/// Breaks if the system's clocks are not what they say.
#[test]
fn system_clocks_tell_the_time() {
    for env in [disk_env(), memory_env(), SimDisk::new(1).env_with_threads()] {
        assert!(!env.clock.is_manual());
        assert!(env.clock.wall_millis() > 1_700_000_000_000);
        let earlier = env.clock.monotonic();
        assert!(env.clock.monotonic() >= earlier);
    }
    assert!(SimDisk::new(1).env().clock.is_manual());
}

/// Breaks if two files could get the same salt, or a seed does not replay its salts.
#[test]
fn chance_differs_except_under_the_same_seed() {
    let draw = |env: brooklet::testing::Env| -> Vec<u64> {
        (0..100).map(|_| env.entropy.next_u64()).collect()
    };
    let (first, again) = (draw(SimDisk::new(7).env()), draw(SimDisk::new(7).env()));
    assert_eq!(first, again);
    let all = [first, draw(SimDisk::new(8).env()), draw(disk_env()), draw(memory_env())].concat();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 400);
}

/// Breaks if two logs in memory see each other's files.
#[test]
fn two_memories_are_apart() {
    let path = std::path::Path::new("/f");
    let (one, other) = (memory_env(), memory_env());
    one.fs.create_new(path).unwrap();
    other.fs.create_new(path).unwrap();
    let climbing = one.fs.create_new(std::path::Path::new("/a/../g"));
    assert_eq!(climbing.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Breaks if the log can be led out of its directory, or made to wait for a pipe for ever.
#[cfg(unix)]
#[test]
fn the_disk_opens_nothing_but_regular_files() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use brooklet::testing::{Access, EntryKind};

    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("file"), b"secret").unwrap();
    symlink(path("file"), path("link")).unwrap();
    symlink(path("nothing"), path("dangling")).unwrap();
    symlink(directory.path(), path("link to directory")).unwrap();
    let _socket = UnixListener::bind(path("socket")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());

    let fs = disk_env().fs;
    let others = ["link", "dangling", "link to directory", "socket", "pipe"];
    for name in others {
        for access in [Access::Read, Access::ReadWrite] {
            let refused = fs.open(&path(name), access).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{name}, {access:?}: {refused}");
        }
        let refused = fs.create_new(&path(name)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{name}");
        let refused = fs.lock(&path(name)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{name}: {refused}");
    }
    for name in ["file", "link", "dangling", "socket", "pipe"] {
        assert!(fs.sync_dir(&path(name)).is_err(), "{name} was synced as a directory");
    }
    assert!(!path("nothing").exists());
    assert_eq!(std::fs::read(path("file")).unwrap(), b"secret");
    let listed = fs.read_dir(directory.path()).unwrap();
    let odd = listed.iter().filter(|entry| entry.kind == EntryKind::Other);
    assert_eq!(odd.count(), others.len());
}

/// Breaks if a mark left by another handle of the disk is not what the disk holds.
#[test]
fn the_disk_writes_where_the_system_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    let file = disk_env().fs.create_new(&path).unwrap();
    file.write_at(b"abc", 2).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"\0\0abc");
}
