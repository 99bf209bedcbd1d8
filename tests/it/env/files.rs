//! Cases about one file: creating, opening, positioned reads and writes, lengths, reserving.

use std::io::ErrorKind;
use std::thread;

use brooklet::testing::Access;

use super::{Case, content, kind};

pub(super) const CASES: &[Case] = &[
    ("a new file is empty", |p| {
        let file = p.create("f")?;
        assert_eq!(file.len()?, 0);
        assert_eq!(file.read_at(&mut [0; 4], 0)?, 0);
        Ok(())
    }),
    ("creating over a file is refused and leaves it alone", |p| {
        p.create_with("f", b"old")?;
        assert_eq!(kind(p.create("f")), ErrorKind::AlreadyExists);
        assert_eq!(p.content("f")?, b"old");
        Ok(())
    }),
    ("creating over a directory is refused", |p| {
        p.fs.create_dir(&p.path("d"))?;
        assert_eq!(kind(p.create("d")), ErrorKind::AlreadyExists);
        Ok(())
    }),
    ("creating in a missing directory is refused", |p| {
        assert_eq!(kind(p.create("no/f")), ErrorKind::NotFound);
        Ok(())
    }),
    ("creating below a file is refused", |p| {
        p.create("f")?;
        assert_eq!(kind(p.create("f/g")), ErrorKind::NotADirectory);
        Ok(())
    }),
    ("opening nothing is refused and creates nothing", |p| {
        assert_eq!(kind(p.open("f")), ErrorKind::NotFound);
        assert_eq!(kind(p.fs.open(&p.path("f"), Access::Read)), ErrorKind::NotFound);
        assert!(p.names(&p.dir)?.is_empty());
        Ok(())
    }),
    ("opening in a missing directory is refused", |p| {
        assert_eq!(kind(p.open("no/f")), ErrorKind::NotFound);
        Ok(())
    }),
    ("opening below a file is refused", |p| {
        p.create("f")?;
        assert_eq!(kind(p.open("f/g")), ErrorKind::NotADirectory);
        Ok(())
    }),
    ("a directory is not opened as a file", |p| {
        p.fs.create_dir(&p.path("d"))?;
        assert_eq!(kind(p.open("d")), ErrorKind::InvalidInput);
        assert_eq!(kind(p.fs.open(&p.path("d"), Access::Read)), ErrorKind::InvalidInput);
        Ok(())
    }),
    ("a reopened file has what was written", |p| {
        p.create_with("f", b"hello")?;
        assert_eq!(content(p.open("f")?.as_ref())?, b"hello");
        Ok(())
    }),
    ("two handles see each other's writes", |p| {
        let one = p.create_with("f", b"one")?;
        let other = p.open("f")?;
        other.write_at(b"two", 3)?;
        assert_eq!(content(one.as_ref())?, b"onetwo");
        one.write_at(b"ONE", 0)?;
        assert_eq!(content(other.as_ref())?, b"ONEtwo");
        Ok(())
    }),
    ("a handle for reading changes nothing", |p| {
        p.create_with("f", b"kept")?;
        let file = p.fs.open(&p.path("f"), Access::Read)?;
        kind(file.write_at(b"x", 0));
        kind(file.set_len(1));
        kind(file.allocate(100));
        assert_eq!(content(file.as_ref())?, b"kept");
        Ok(())
    }),
    ("a handle for reading can be synced", |p| {
        p.create_with("f", b"kept")?;
        p.fs.open(&p.path("f"), Access::Read)?.sync_data()
    }),
    ("a read in the middle gives what stands there", |p| {
        let file = p.create_with("f", b"0123456789")?;
        let mut buf = [0; 3];
        assert_eq!(file.read_at(&mut buf, 4)?, 3);
        assert_eq!(&buf, b"456");
        Ok(())
    }),
    ("a read over the end is short and leaves the rest of the buffer", |p| {
        let file = p.create_with("f", b"0123456789")?;
        let mut buf = [b'.'; 6];
        assert_eq!(file.read_at(&mut buf, 7)?, 3);
        assert_eq!(&buf, b"789...");
        Ok(())
    }),
    ("a read at the end and past it gives nothing", |p| {
        let file = p.create_with("f", b"0123456789")?;
        assert_eq!(file.read_at(&mut [0; 4], 10)?, 0);
        assert_eq!(file.read_at(&mut [0; 4], 11)?, 0);
        assert_eq!(file.read_at(&mut [0; 4], 1 << 40)?, 0);
        Ok(())
    }),
    ("a read of nothing gives nothing", |p| {
        let file = p.create_with("f", b"x")?;
        assert_eq!(file.read_at(&mut [], 0)?, 0);
        assert_eq!(file.read_at(&mut [], 5)?, 0);
        Ok(())
    }),
    ("a write of nothing changes nothing", |p| {
        let file = p.create_with("f", b"x")?;
        file.write_at(b"", 0)?;
        file.write_at(b"", 1_000)?;
        assert_eq!(content(file.as_ref())?, b"x");
        Ok(())
    }),
    ("a write in the middle replaces what stood there", |p| {
        let file = p.create_with("f", b"0123456789")?;
        file.write_at(b"abc", 3)?;
        assert_eq!(content(file.as_ref())?, b"012abc6789");
        Ok(())
    }),
    ("a write over the end replaces and grows", |p| {
        let file = p.create_with("f", b"0123")?;
        file.write_at(b"abcd", 2)?;
        assert_eq!(content(file.as_ref())?, b"01abcd");
        Ok(())
    }),
    ("writes at the end append", |p| {
        let file = p.create("f")?;
        let mut expected = Vec::new();
        for number in 0..500_u64 {
            let bytes = number.to_le_bytes().repeat(3);
            file.write_at(&bytes, file.len()?)?;
            expected.extend_from_slice(&bytes);
        }
        assert_eq!(content(file.as_ref())?, expected);
        Ok(())
    }),
    ("a large write at an odd position is whole", |p| {
        let file = p.create("f")?;
        let bytes: Vec<u8> = (0..1_000_003_u32).map(|number| (number % 251) as u8).collect();
        file.write_at(&bytes, 4_095)?;
        assert_eq!(file.len()?, 4_095 + 1_000_003);
        assert!(content(file.as_ref())?[4_095..] == bytes);
        Ok(())
    }),
    ("a hole reads as zeros", |p| {
        let file = p.create_with("f", b"head")?;
        file.write_at(b"tail", 10_000)?;
        let mut expected = vec![0; 10_004];
        expected[..4].copy_from_slice(b"head");
        expected[10_000..].copy_from_slice(b"tail");
        assert!(content(file.as_ref())? == expected);
        Ok(())
    }),
    ("a write far out costs only what it writes", |p| {
        let file = p.create("f")?;
        file.write_at(b"far", 1 << 32)?;
        assert_eq!(file.len()?, (1 << 32) + 3);
        let mut buf = [9; 5];
        assert_eq!(file.read_at(&mut buf, (1 << 32) - 2)?, 5);
        assert_eq!(&buf, b"\0\0far");
        Ok(())
    }),
    ("a write past any file is refused", |p| {
        let file = p.create_with("f", b"x")?;
        kind(file.write_at(b"abc", u64::MAX - 1));
        kind(file.write_at(b"abc", i64::MAX as u64 + 1));
        assert_eq!(file.len()?, 1);
        Ok(())
    }),
    ("cutting keeps the head", |p| {
        let file = p.create_with("f", b"0123456789")?;
        file.set_len(4)?;
        assert_eq!(content(file.as_ref())?, b"0123");
        Ok(())
    }),
    ("what was cut off does not come back", |p| {
        let file = p.create_with("f", &[7; 9_000])?;
        file.set_len(4_100)?;
        file.set_len(9_000)?;
        let bytes = content(file.as_ref())?;
        assert!(bytes[..4_100].iter().all(|byte| *byte == 7));
        assert!(bytes[4_100..].iter().all(|byte| *byte == 0));
        Ok(())
    }),
    ("a write behind a cut leaves zeros between", |p| {
        let file = p.create_with("f", b"0123456789")?;
        file.set_len(2)?;
        file.write_at(b"x", 5)?;
        assert_eq!(content(file.as_ref())?, b"01\0\0\0x");
        Ok(())
    }),
    ("extending adds zeros", |p| {
        let file = p.create_with("f", b"ab")?;
        file.set_len(5)?;
        assert_eq!(content(file.as_ref())?, b"ab\0\0\0");
        Ok(())
    }),
    ("cutting to nothing and to the same length", |p| {
        let file = p.create_with("f", b"0123")?;
        file.set_len(4)?;
        assert_eq!(content(file.as_ref())?, b"0123");
        file.set_len(0)?;
        assert_eq!(file.len()?, 0);
        Ok(())
    }),
    ("a length past any file is refused", |p| {
        let file = p.create_with("f", b"x")?;
        kind(file.set_len(u64::MAX));
        assert_eq!(file.len()?, 1);
        Ok(())
    }),
    ("reserving makes the file long and zero", |p| {
        let file = p.create("f")?;
        file.allocate(1 << 20)?;
        assert_eq!(file.len()?, 1 << 20);
        assert!(content(file.as_ref())?.iter().all(|byte| *byte == 0));
        Ok(())
    }),
    ("reserving keeps what was written", |p| {
        let file = p.create_with("f", b"kept")?;
        file.allocate(8)?;
        assert_eq!(content(file.as_ref())?, b"kept\0\0\0\0");
        Ok(())
    }),
    ("reserving less than there is cuts nothing", |p| {
        let file = p.create_with("f", b"0123456789")?;
        file.allocate(4)?;
        file.allocate(0)?;
        assert_eq!(content(file.as_ref())?, b"0123456789");
        Ok(())
    }),
    ("writes land inside reserved room", |p| {
        let file = p.create("f")?;
        file.allocate(10_000)?;
        file.write_at(b"here", 5_000)?;
        let bytes = content(file.as_ref())?;
        assert_eq!(bytes.len(), 10_000);
        assert_eq!(&bytes[4_999..5_005], b"\0here\0");
        Ok(())
    }),
    ("reserved room can be cut off again", |p| {
        let file = p.create_with("f", b"ab")?;
        file.allocate(10_000)?;
        file.set_len(2)?;
        assert_eq!(content(file.as_ref())?, b"ab");
        Ok(())
    }),
    ("a sync changes nothing that is seen", |p| {
        let file = p.create_with("f", b"seen")?;
        file.sync_data()?;
        file.sync_data()?;
        assert_eq!(content(file.as_ref())?, b"seen");
        p.create("empty")?.sync_data()
    }),
    ("dropping the cache changes nothing that is seen", |p| {
        let file = p.create_with("f", b"synced")?;
        file.sync_data()?;
        file.write_at(b"unsynced", 6)?;
        file.drop_cache();
        assert_eq!(content(file.as_ref())?, b"syncedunsynced");
        Ok(())
    }),
    ("threads read one file at once", |p| {
        let bytes: Vec<u8> = (0..40_000_u32).map(|number| (number / 100) as u8).collect();
        let file = p.create_with("f", &bytes)?;
        thread::scope(|scope| {
            for start in 0..4_usize {
                let (file, bytes) = (&file, &bytes);
                scope.spawn(move || {
                    for at in (start..39_000).step_by(777) {
                        let mut buf = [0; 1_000];
                        assert_eq!(file.read_at(&mut buf, at as u64).unwrap(), 1_000);
                        assert!(buf == bytes[at..at + 1_000]);
                    }
                });
            }
        });
        Ok(())
    }),
];
