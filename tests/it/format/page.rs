//! The worked example of docs/FORMAT.md, held against the bytes that it explains.

use super::golden::{EVENT_MILLIS, golden, parsed};

const PAGE: &str = include_str!("../../../docs/FORMAT.md");

/// The bytes of the page's dump: lines of an offset of four hex digits and up to sixteen bytes.
fn dump() -> Vec<(usize, Vec<u8>)> {
    let mut lines = Vec::new();
    for line in PAGE.lines() {
        let Some((at, rest)) = line.split_once("  ") else { continue };
        let Ok(at) = usize::from_str_radix(at, 16) else { continue };
        let bytes = rest.split('|').next().unwrap_or_default().split_whitespace();
        let bytes: Result<Vec<u8>, _> = bytes.map(|byte| u8::from_str_radix(byte, 16)).collect();
        lines.push((at, bytes.unwrap()));
    }
    lines
}

/// The page would explain bytes that no log writes.
#[test]
fn the_worked_example_is_the_golden_file() {
    let (path, bytes) = golden("topics/1/0", 0);
    let segment = parsed("topics/1/0", 0);
    let end = segment.frames[0].bytes.end;
    let lines = dump();
    assert_eq!(lines.iter().map(|(_, line)| line.len()).sum::<usize>(), end, "head and frame");
    for (at, line) in lines {
        assert_eq!(bytes[at..at + line.len()], line, "at {at:#06x}");
    }
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(PAGE.contains(&*name), "the page names another file than {name}");
    let place = segment.head.place;
    for number in [
        format!("{:#010x}", place.salt),
        format!("{:#010x}", super::parser::crc32(&place.bytes())),
        EVENT_MILLIS.to_string(),
        segment.frames[0].append_time.to_string(),
    ] {
        assert!(PAGE.contains(&number), "the page does not say {number}");
    }
}
