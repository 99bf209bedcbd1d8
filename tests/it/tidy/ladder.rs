//! The floors of the house, bottom to top, and who may name whom.
//!
//! A file may name files on lower floors, and files to its right on its own floor. A new file gets
//! its place here. Some edges that the floors would allow are forbidden all the same.

/// Each floor with its files from left to right; `name/*` is a family of files around `name`.
const FLOORS: [&[&str]; 10] = [
    &[
        "retry",
        "offset",
        "glob",
        "name",
        "limits",
        "env/sim/*",
        "env/memory",
        "env/disk",
        "env/pages",
        "env/threads",
        "env/manual",
        "env/clock",
        "env/chance",
        "env",
        "sync/*",
    ],
    &["role", "json", "record", "error"],
    &[
        "report/*",
        "config",
        "partitioner",
        "format/index",
        "format/batch",
        "format/head",
        "format/frame",
        "format/layout",
    ],
    &[
        "storage/models/*",
        "storage/backup",
        "storage/store",
        "storage/disposal",
        "storage/opening",
        "storage/partition/*",
        "storage/repair",
        "storage/recovery",
        "storage/verify",
        "storage/judge",
        "storage/rescue",
        "storage/copies",
        "storage/salvage",
        "storage/manifest",
        "storage/journal/*",
        "storage/committer",
        "storage/shard/*",
        "storage/tail",
        "storage/commit",
        "storage/waiter",
        "storage/ring",
        "storage/scan",
        "storage/view",
        "storage/segment",
        "storage/walk",
        "storage/files",
        "storage/buffer",
        "storage/beside",
    ],
    &[
        "producer",
        "lane",
        "cursor",
        "away",
        "group/registry",
        "group/hand_over",
        "group/description",
        "group/coordinator/*",
        "catalog",
        "group/membership",
        "group/offsets",
        "group/assign/*",
    ],
    &["stream", "consumer/*", "reader", "reset"],
    &["log/*"],
    &["dlq/*"],
    &["fuzzing", "testing/*", "worker/*"],
    &["lib"],
];

/// Folders whose `mod.rs` only lists their files. Nobody names them: name the file.
const FOLDERS: [&str; 3] = ["format", "storage", "group"];

/// The first floor of the helpers, which see the world through `log` only.
const HELPERS: usize = 7;

/// The one helper that may open the door to the world.
const HELPER_WITH_A_DOOR: &str = "testing/*";

/// Edges that are wrong although they lead downward: from, to, why.
const FORBIDDEN: [(&str, &str, &str); 11] = [
    ("storage/*", "name", "storage knows topics by number"),
    ("storage/*", "record", "storage knows bytes and offsets, no records"),
    ("group/*", "storage/segment", "groups see the disk as a journal"),
    ("group/*", "storage/partition", "groups see the disk as a journal"),
    ("catalog", "storage/segment", "the catalog sees the disk as a journal"),
    ("catalog", "storage/partition", "the catalog sees the disk as a journal"),
    ("format/*", "env", "the format is pure"),
    ("partitioner", "env", "partitioners are pure"),
    ("retry", "env", "retries are pure"),
    ("storage/shard/*", "storage/partition", "the commit protocol names no tail"),
    ("storage/shard/*", "storage/journal", "the commit protocol names no tail"),
];

/// Whether `module` is a folder that only lists its files.
pub(super) fn is_folder(module: &str) -> bool {
    FOLDERS.contains(&module)
}

/// Whether `module` has a place.
pub(super) fn is_placed(module: &str) -> bool {
    place(module).is_some()
}

/// Why `from` must not name `to`, or `None` if it may, or if one of them has no place.
pub(super) fn objection(from: &str, to: &str) -> Option<String> {
    let (here, there) = (place(from)?, place(to)?);
    let forbidden = FORBIDDEN.iter().find(|(f, t, _)| matches(f, from) && matches(t, to));
    if let Some((_, _, why)) = forbidden {
        return Some((*why).to_owned());
    }
    let is_world = to == "env" || to.starts_with("env/");
    if here.0 >= HELPERS && is_world && !matches(HELPER_WITH_A_DOOR, from) {
        return Some("only testing may open the door to the world up here".to_owned());
    }
    if there.0 > here.0 {
        return Some(format!("floor {} is above floor {}", there.0 + 1, here.0 + 1));
    }
    // Within a family the order is free; the search for cycles still applies.
    (there.0 == here.0 && there.1 < here.1)
        .then(|| format!("on floor {} it stands to the left", here.0 + 1))
}

/// Floor and place on it, both from 0.
fn place(module: &str) -> Option<(usize, usize)> {
    FLOORS.iter().enumerate().find_map(|(floor, files)| {
        let place = files.iter().position(|file| matches(file, module))?;
        Some((floor, place))
    })
}

/// Whether `module` is `pattern`, or of the family that `pattern` names with `/*`.
fn matches(pattern: &str, module: &str) -> bool {
    let Some(head) = pattern.strip_suffix("/*") else {
        return pattern == module;
    };
    module.strip_prefix(head).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
