//! What a program can check about the shape of the source. Each check only reports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::ladder;
use super::source::Source;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 80;

/// The files that may hold a lock, and the reason of each.
const LOCK_FILES: [(&str, &str); 8] = [
    ("sync", "names the primitives"),
    ("sync/order", "wraps the primitives in their order"),
    ("sync/model", "wraps the primitives of a model checker"),
    ("storage/shard", "the one concurrency file of the data path"),
    ("storage/committer", "parks and wakes its thread"),
    ("storage/waiter", "parks and wakes one waiter"),
    ("storage/files", "holds the table of open descriptors"),
    ("group/coordinator", "the one lock of a group"),
];

/// Words that only `env` may use, because they reach for the outside.
const WORLD: [&str; 6] = [
    "Instant::now",
    "SystemTime::now",
    "thread::spawn",
    "thread::sleep",
    "thread::Builder",
    "RandomState",
];

/// The files that may hold a static, and the reason of each.
const STATIC_FILES: [(&str, &str); 1] =
    [("sync/order", "debug builds alone keep in mind which locks a thread holds")];

/// Words that no file may use.
const NOWHERE: [&str; 8] =
    ["println!", "eprintln!", "print!", "eprint!", "dbg!", "env::var", "env::var_os", "env::vars"];

/// One thing that is not as it should be.
#[derive(Debug)]
pub(super) struct Finding {
    path: String,
    line: usize,
    says: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.path, self.line, self.says)
    }
}

/// One file names another, at a line.
struct Edge<'a> {
    from: &'a Source,
    to: String,
    line: usize,
}

/// Everything that is wrong with `sources`, which are all files of the crate.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        check_place(source, &mut findings);
        check_words(source, &mut findings);
        check_locks(source, &mut findings);
        check_imports(source, &mut findings);
        check_sizes(source, &mut findings);
        check_logic(source, &mut findings);
    }
    let edges = edges(sources, &mut findings);
    check_ladder(&edges, &mut findings);
    check_cycles(&edges, &mut findings);
    findings
}

/// How many times one file of `sources` names another: nothing would be checked if it were zero.
pub(super) fn edge_count(sources: &[Source]) -> usize {
    edges(sources, &mut Vec::new()).len()
}

fn report(source: &Source, at: usize, says: impl Into<String>, findings: &mut Vec<Finding>) {
    findings.push(Finding { path: source.path.clone(), line: source.line(at), says: says.into() });
}

fn check_place(source: &Source, findings: &mut Vec<Finding>) {
    if !ladder::is_placed(&source.module) && !ladder::is_folder(&source.module) {
        report(source, 0, "has no place on the ladder (tests/it/tidy/ladder.rs)", findings);
    }
    if source.module == "lib" && !source.code.contains("#![forbid(unsafe_code)]") {
        report(source, 0, "must say #![forbid(unsafe_code)]", findings);
    }
}

fn check_words(source: &Source, findings: &mut Vec<Finding>) {
    for word in NOWHERE {
        for at in source.words(word) {
            report(source, at, format!("`{word}` is used nowhere in src"), findings);
        }
    }
    if !STATIC_FILES.iter().any(|(module, _)| *module == source.module) {
        for at in ["static", "thread_local!"].iter().flat_map(|word| source.words(word)) {
            report(source, at, "no statics: what a log needs, it owns", findings);
        }
    }
    for (at, path) in source.paths("std") {
        let root = path.first().map(String::as_str);
        if root == Some("env") {
            report(source, at, "`std::env` is used nowhere in src", findings);
        }
        if root == Some("fs") && !is_world(source) {
            report(source, at, "`std::fs` is named only in env", findings);
        }
    }
    if !is_world(source) {
        for word in WORLD {
            for at in source.words(word) {
                report(source, at, format!("`{word}` is named only in env"), findings);
            }
        }
    }
}

fn check_locks(source: &Source, findings: &mut Vec<Finding>) {
    if is_world(source) || LOCK_FILES.iter().any(|(module, _)| *module == source.module) {
        return;
    }
    for word in ["Mutex", "Condvar", "RwLock"] {
        for at in source.words(word) {
            report(source, at, format!("`{word}`: this file may not hold a lock"), findings);
        }
    }
}

fn check_imports(source: &Source, findings: &mut Vec<Finding>) {
    for at in source.words("use") {
        // `use<…>` in a signature captures lifetimes and imports nothing.
        let statement = source.code[at..].split(';').next().unwrap_or_default();
        if statement.starts_with("use ") && statement.contains('*') {
            report(source, at, "imports by glob", findings);
        }
    }
}

fn check_sizes(source: &Source, findings: &mut Vec<Finding>) {
    if source.lines > FILE_LINES_MAX {
        let says = format!("has {} lines, at most {FILE_LINES_MAX} are allowed", source.lines);
        report(source, 0, says, findings);
    }
    for body in source.functions() {
        let lines = source.code[body.clone()].lines().count();
        if lines > FUNCTION_LINES_MAX {
            let says = format!("this function has {lines} lines, not {FUNCTION_LINES_MAX}");
            report(source, body.start, says, findings);
        }
    }
}

fn check_logic(source: &Source, findings: &mut Vec<Finding>) {
    if source.path.ends_with("mod.rs") || source.module == "lib" {
        for body in source.functions() {
            report(source, body.start, "holds logic: a function with a body", findings);
        }
    }
}

fn is_world(source: &Source) -> bool {
    source.module == "env" || source.module.starts_with("env/")
}

/// Which file names which, by `crate::`, `super::`, `self::` or as the parent of the named file.
fn edges<'a>(sources: &'a [Source], findings: &mut Vec<Finding>) -> Vec<Edge<'a>> {
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.module.as_str()).collect();
    let mut edges = Vec::new();
    for source in sources {
        for (at, path) in absolute_paths(source, &modules) {
            match resolve(&path, &modules) {
                Some(to) if ladder::is_folder(&to) => {
                    report(source, at, format!("names the folder {to}: name the file"), findings);
                }
                Some(to) if to == source.module => {}
                Some(to) => edges.push(Edge { from: source, to, line: source.line(at) }),
                None if path.is_empty() || source.module == "lib" => {}
                None => {
                    let says = format!("`{}` is imported from the crate root", path.join("::"));
                    report(source, at, says, findings);
                }
            }
        }
    }
    edges
}

/// The paths that `source` names, each from the crate root.
fn absolute_paths(source: &Source, modules: &BTreeSet<&str>) -> Vec<(usize, Vec<String>)> {
    let own: Vec<String> = match source.module.as_str() {
        "lib" => Vec::new(),
        module => module.split('/').map(str::to_owned).collect(),
    };
    let mut paths = source.paths("crate");
    for (at, path) in source.paths("super") {
        let ups = 1 + path.iter().take_while(|name| *name == "super").count();
        // An inline module's first `super` is the file itself.
        let ups_of_file = ups.saturating_sub(source.inline_depth(at));
        if ups_of_file > 0 {
            let base = own.iter().take(own.len().saturating_sub(ups_of_file));
            paths.push((at, base.chain(path.iter().skip(ups - 1)).cloned().collect()));
        }
    }
    for (at, path) in source.paths("self") {
        paths.push((at, [own.as_slice(), &path].concat()));
    }
    // A file with children can name them without any prefix.
    let prefix = if own.is_empty() { String::new() } else { format!("{}/", source.module) };
    let children = modules.iter().filter_map(|module| module.strip_prefix(prefix.as_str()));
    for child in children.filter(|child| !child.contains('/')) {
        for (at, path) in source.paths(child) {
            paths.push((at, [own.as_slice(), &[child.to_owned()], &path].concat()));
        }
    }
    paths
}

/// The file that holds what `path` names: the longest beginning of it that is a file.
fn resolve(path: &[String], modules: &BTreeSet<&str>) -> Option<String> {
    (1..=path.len())
        .rev()
        .map(|length| path.iter().take(length).map(String::as_str).collect::<Vec<_>>().join("/"))
        .find(|candidate| candidate != "lib" && modules.contains(candidate.as_str()))
}

fn check_ladder(edges: &[Edge<'_>], findings: &mut Vec<Finding>) {
    for Edge { from, to, line } in edges {
        if let Some(why) = ladder::objection(&from.module, to) {
            let says = format!("must not name {to}: {why}");
            findings.push(Finding { path: from.path.clone(), line: *line, says });
        }
    }
}

/// An edge closes a circle if what it leads to leads back.
fn check_cycles(edges: &[Edge<'_>], findings: &mut Vec<Finding>) {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Edge { from, to, .. } in edges {
        names.entry(&from.module).or_default().insert(to);
    }
    for Edge { from, to, line } in edges {
        if reachable(to, &names).contains(from.module.as_str()) {
            let says = format!("names {to}, which leads back here: a circle of files");
            findings.push(Finding { path: from.path.clone(), line: *line, says });
        }
    }
}

/// Everything that `module` names, and what those name, and so on.
fn reachable<'a>(
    module: &'a str,
    names: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next = vec![module];
    while let Some(module) = next.pop() {
        if seen.insert(module) {
            next.extend(names.get(module).into_iter().flatten());
        }
    }
    seen
}
