//! Cases about names: renaming, removing, directories, locks, free space.

use std::io::ErrorKind;

use brooklet::testing::{DirEntry, EntryKind};

use super::{Case, content, kind};

pub(super) const CASES: &[Case] = &[
    ("a renamed file has its content under the new name alone", |p| {
        p.create_with("old", b"content")?;
        p.fs.rename(&p.path("old"), &p.path("new"))?;
        assert_eq!(p.content("new")?, b"content");
        assert_eq!(p.names(&p.dir)?, ["new"]);
        Ok(())
    }),
    ("a rename replaces the file that stood there", |p| {
        p.create_with("a", b"from a")?;
        p.create_with("b", b"from b, and longer")?;
        p.fs.rename(&p.path("a"), &p.path("b"))?;
        assert_eq!(p.content("b")?, b"from a");
        assert_eq!(p.names(&p.dir)?, ["b"]);
        Ok(())
    }),
    ("a rename of nothing changes nothing", |p| {
        p.create_with("b", b"kept")?;
        assert_eq!(kind(p.fs.rename(&p.path("a"), &p.path("b"))), ErrorKind::NotFound);
        assert_eq!(p.content("b")?, b"kept");
        Ok(())
    }),
    ("a rename to the same name changes nothing", |p| {
        p.create_with("a", b"kept")?;
        p.fs.rename(&p.path("a"), &p.path("a"))?;
        assert_eq!(p.content("a")?, b"kept");
        Ok(())
    }),
    ("a rename does not leave its directory", |p| {
        p.fs.create_dir(&p.path("d"))?;
        p.create_with("a", b"kept")?;
        assert_eq!(kind(p.fs.rename(&p.path("a"), &p.path("d/a"))), ErrorKind::InvalidInput);
        assert_eq!(p.content("a")?, b"kept");
        assert!(p.names(&p.path("d"))?.is_empty());
        Ok(())
    }),
    ("a rename does not replace a directory", |p| {
        p.fs.create_dir(&p.path("d"))?;
        p.create_with("a", b"kept")?;
        kind(p.fs.rename(&p.path("a"), &p.path("d")));
        assert_eq!(p.content("a")?, b"kept");
        assert_eq!(p.names(&p.dir)?, ["a", "d"]);
        Ok(())
    }),
    ("an open file is still itself after a rename", |p| {
        let file = p.create_with("a", b"before")?;
        p.fs.rename(&p.path("a"), &p.path("b"))?;
        file.write_at(b" and after", 6)?;
        file.sync_data()?;
        assert_eq!(p.content("b")?, b"before and after");
        Ok(())
    }),
    ("a replaced file is still read by who has it open", |p| {
        let replaced = p.create_with("b", b"replaced")?;
        p.create_with("a", b"new")?;
        p.fs.rename(&p.path("a"), &p.path("b"))?;
        assert_eq!(content(replaced.as_ref())?, b"replaced");
        replaced.write_at(b"REP", 0)?;
        assert_eq!(p.content("b")?, b"new");
        Ok(())
    }),
    ("a removed file is gone", |p| {
        p.create("f")?;
        p.fs.remove_file(&p.path("f"))?;
        assert_eq!(kind(p.open("f")), ErrorKind::NotFound);
        assert_eq!(kind(p.fs.remove_file(&p.path("f"))), ErrorKind::NotFound);
        assert!(p.names(&p.dir)?.is_empty());
        Ok(())
    }),
    ("a removed file is still read and written by who has it open", |p| {
        let file = p.create_with("f", b"still")?;
        p.fs.remove_file(&p.path("f"))?;
        file.write_at(b" here", 5)?;
        file.sync_data()?;
        assert_eq!(content(file.as_ref())?, b"still here");
        Ok(())
    }),
    ("a file made anew has nothing of the removed one", |p| {
        let removed = p.create_with("f", b"removed")?;
        p.fs.remove_file(&p.path("f"))?;
        let fresh = p.create("f")?;
        assert_eq!(fresh.len()?, 0);
        fresh.write_at(b"new", 0)?;
        assert_eq!(content(removed.as_ref())?, b"removed");
        Ok(())
    }),
    ("a directory is not removed as a file", |p| {
        p.fs.create_dir(&p.path("d"))?;
        kind(p.fs.remove_file(&p.path("d")));
        assert_eq!(p.names(&p.dir)?, ["d"]);
        Ok(())
    }),
    ("an empty directory can be removed", |p| {
        p.fs.create_dir(&p.path("d"))?;
        p.fs.remove_dir(&p.path("d"))?;
        assert_eq!(kind(p.fs.remove_dir(&p.path("d"))), ErrorKind::NotFound);
        assert_eq!(kind(p.fs.read_dir(&p.path("d"))), ErrorKind::NotFound);
        assert!(p.names(&p.dir)?.is_empty());
        Ok(())
    }),
    ("a directory with something in it is not removed", |p| {
        p.fs.create_dir(&p.path("d"))?;
        p.create("d/f")?;
        assert_eq!(kind(p.fs.remove_dir(&p.path("d"))), ErrorKind::DirectoryNotEmpty);
        assert_eq!(p.names(&p.path("d"))?, ["f"]);
        p.fs.remove_file(&p.path("d/f"))?;
        p.fs.remove_dir(&p.path("d"))
    }),
    ("a file is not removed as a directory", |p| {
        p.create("f")?;
        assert_eq!(kind(p.fs.remove_dir(&p.path("f"))), ErrorKind::NotADirectory);
        assert_eq!(p.names(&p.dir)?, ["f"]);
        Ok(())
    }),
    ("a directory is not created over anything", |p| {
        p.create_with("f", b"kept")?;
        p.fs.create_dir(&p.path("d"))?;
        p.create("d/g")?;
        assert_eq!(kind(p.fs.create_dir(&p.path("f"))), ErrorKind::AlreadyExists);
        assert_eq!(kind(p.fs.create_dir(&p.path("d"))), ErrorKind::AlreadyExists);
        assert_eq!(p.content("f")?, b"kept");
        assert_eq!(p.names(&p.path("d"))?, ["g"]);
        Ok(())
    }),
    ("a directory needs its parent", |p| {
        p.create("f")?;
        assert_eq!(kind(p.fs.create_dir(&p.path("no/d"))), ErrorKind::NotFound);
        assert_eq!(kind(p.fs.create_dir(&p.path("f/d"))), ErrorKind::NotADirectory);
        Ok(())
    }),
    ("directories nest", |p| {
        p.fs.create_dir(&p.path("a"))?;
        p.fs.create_dir(&p.path("a/b"))?;
        p.fs.create_dir(&p.path("a/b/c"))?;
        p.create_with("a/b/c/f", b"deep")?;
        assert_eq!(p.content("a/b/c/f")?, b"deep");
        assert_eq!(p.names(&p.path("a"))?, ["b"]);
        assert_eq!(p.names(&p.path("a/b/c"))?, ["f"]);
        Ok(())
    }),
    ("a directory made anew is empty", |p| {
        p.fs.create_dir(&p.path("d"))?;
        p.create("d/f")?;
        p.fs.remove_file(&p.path("d/f"))?;
        p.fs.remove_dir(&p.path("d"))?;
        p.fs.create_dir(&p.path("d"))?;
        assert!(p.names(&p.path("d"))?.is_empty());
        assert_eq!(kind(p.open("d/f")), ErrorKind::NotFound);
        Ok(())
    }),
    ("a listing tells files from directories", |p| {
        p.fs.create_dir(&p.path("d"))?;
        p.create("d/inside")?;
        p.create("f")?;
        let mut entries = p.fs.read_dir(&p.dir)?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let expected = [("d", EntryKind::Directory), ("f", EntryKind::File)]
            .map(|(name, kind)| DirEntry { name: name.to_owned(), kind });
        assert_eq!(entries, expected);
        Ok(())
    }),
    ("a listing of no directory is refused", |p| {
        p.create("f")?;
        assert_eq!(kind(p.fs.read_dir(&p.path("no"))), ErrorKind::NotFound);
        assert_eq!(kind(p.fs.read_dir(&p.path("f"))), ErrorKind::NotADirectory);
        Ok(())
    }),
    ("a listing has every one of many names", |p| {
        let expected: Vec<String> = (0..300).map(|number| format!("{number:020}.seg")).collect();
        for name in &expected {
            p.create(name)?;
        }
        assert_eq!(p.names(&p.dir)?, expected);
        Ok(())
    }),
    ("a directory can be synced, a missing one not", |p| {
        p.fs.sync_dir(&p.dir)?;
        p.create("f")?;
        p.fs.sync_dir(&p.dir)?;
        assert_eq!(kind(p.fs.sync_dir(&p.path("no"))), ErrorKind::NotFound);
        Ok(())
    }),
    ("a lock creates its file and excludes a second", |p| {
        let held = p.fs.lock(&p.path("LOCK"))?;
        assert_eq!(p.names(&p.dir)?, ["LOCK"]);
        assert_eq!(kind(p.fs.lock(&p.path("LOCK"))), ErrorKind::WouldBlock);
        assert_eq!(kind(p.fs.lock(&p.path("LOCK"))), ErrorKind::WouldBlock);
        drop(held);
        p.fs.lock(&p.path("LOCK")).map(drop)
    }),
    ("a dropped lock can be taken again, many times", |p| {
        for _ in 0..100 {
            let held = p.fs.lock(&p.path("LOCK"))?;
            assert_eq!(kind(p.fs.lock(&p.path("LOCK"))), ErrorKind::WouldBlock);
            drop(held);
        }
        Ok(())
    }),
    ("a refused lock does not release the held one", |p| {
        let held = p.fs.lock(&p.path("LOCK"))?;
        drop(p.fs.lock(&p.path("LOCK")));
        drop(p.open("LOCK")?);
        assert_eq!(kind(p.fs.lock(&p.path("LOCK"))), ErrorKind::WouldBlock);
        drop(held);
        Ok(())
    }),
    ("locks of different files do not meet", |p| {
        let _one = p.fs.lock(&p.path("one"))?;
        p.fs.lock(&p.path("other")).map(drop)
    }),
    ("a lock leaves an existing file as it is", |p| {
        p.create_with("LOCK", b"kept")?;
        drop(p.fs.lock(&p.path("LOCK"))?);
        assert_eq!(p.content("LOCK")?, b"kept");
        Ok(())
    }),
    ("a lock needs a directory and takes no other thing", |p| {
        p.fs.create_dir(&p.path("d"))?;
        assert_eq!(kind(p.fs.lock(&p.path("no/LOCK"))), ErrorKind::NotFound);
        assert_eq!(kind(p.fs.lock(&p.path("d"))), ErrorKind::InvalidInput);
        Ok(())
    }),
    ("there is room", |p| {
        assert!(p.fs.available_space(&p.dir)? > 1 << 20);
        Ok(())
    }),
];
