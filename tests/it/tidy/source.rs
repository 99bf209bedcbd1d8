//! One file of `src`, read as text: what it is called, what is code in it, and what it names.
//!
//! This is no parser. It knows comments, literals, braces and paths, which is all that the checks
//! ask about; code that rustfmt has laid out holds no surprise for it.

use std::ops::Range;

/// A source file, with everything blanked that a check must not see.
#[derive(Debug)]
pub(super) struct Source {
    /// The path below `src`, such as `storage/shard.rs`.
    pub(super) path: String,
    /// The module, such as `storage/shard`; `env/mod.rs` is `env`.
    pub(super) module: String,
    /// The text with comments, literals and test modules replaced by spaces.
    pub(super) code: String,
    /// How many lines stand outside test modules.
    pub(super) lines: usize,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Source {
        let module = path.strip_suffix(".rs").unwrap_or(path);
        let module = module.strip_suffix("/mod").unwrap_or(module);
        let mut code = blank_text(text);
        let tests = test_modules(&code);
        let lines = text.lines().count()
            - tests.iter().map(|range| code[range.clone()].lines().count()).sum::<usize>();
        for range in tests {
            let blank = spaces(&code[range.clone()]);
            code.replace_range(range, &blank);
        }
        Source { path: path.to_owned(), module: module.to_owned(), code, lines }
    }

    /// The number of the line that holds byte `at`, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }

    /// Where `word` stands as a whole, not as a part of a longer name or as a lifetime.
    pub(super) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let outside = |c: Option<char>| !c.is_some_and(|c| is_name(c) || c == '\'');
        self.code.match_indices(word).map(|(at, _)| at).filter(move |at| {
            outside(self.code[..*at].chars().next_back())
                && outside(self.code[at + word.len()..].chars().next())
        })
    }

    /// Every path that begins with `root`, use trees taken apart: `crate::a::{b, c}` is two paths.
    pub(super) fn paths(&self, root: &str) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        for at in self.words(root) {
            // `my::std::fs` is no path from `std`, but `::std::fs` is.
            let before = self.code[..at].strip_suffix("::");
            // `pub(in crate::a)` says who may look, and depends on nobody.
            let is_visibility = self.code[..at].trim_end().ends_with("(in");
            let inside = is_visibility
                || before.is_some_and(|before| before.ends_with(|c| is_name(c) || c == '>'));
            if let (false, Some(rest)) = (inside, self.code[at + root.len()..].strip_prefix("::")) {
                let mut leaves = Vec::new();
                use_tree(rest, &[], &mut leaves);
                found.extend(leaves.into_iter().map(|leaf| (at, leaf)));
            }
        }
        found
    }

    /// The functions that have a body: where each begins, and the bytes from there to its end.
    pub(super) fn functions(&self) -> Vec<Range<usize>> {
        let starts = self.words("fn").filter(|at| {
            // `fn(u8) -> u8` is a type and has no name.
            self.code[at + 2..].trim_start().starts_with(|c: char| is_name(c))
        });
        starts
            .filter_map(|at| {
                let open = at + self.code[at..].find(['{', ';'])?;
                (self.code[open..].starts_with('{')).then(|| at..closing(&self.code, open))
            })
            .collect()
    }

    /// How many inline modules enclose byte `at`: each of them is one `super` of its own.
    pub(super) fn inline_depth(&self, at: usize) -> usize {
        self.words("mod")
            .filter_map(|word| {
                let open = word + self.code[word..].find(['{', ';'])?;
                self.code[open..].starts_with('{').then(|| open..closing(&self.code, open))
            })
            .filter(|body| body.contains(&at))
            .count()
    }
}

/// Collects the leaves of the use tree (or the plain path) that `text` begins with; returns its
/// end.
fn use_tree<'a>(text: &'a str, prefix: &[String], leaves: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = use_tree(rest, prefix, leaves).trim_start();
            match rest.strip_prefix(',') {
                Some(next) if !next.trim_start().starts_with('}') => rest = next,
                other => return other.unwrap_or(rest).trim_start().trim_start_matches('}'),
            }
        }
    }
    let end = text.find(|c: char| !is_name(c) && c != '*').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = [prefix, &[name.to_owned()]].concat();
    if let Some(deeper) = rest.strip_prefix("::")
        && deeper.trim_start().starts_with(|c: char| is_name(c) || c == '{' || c == '*')
    {
        return use_tree(deeper, &path, leaves);
    }
    // A new name after `as` changes nothing about what is named.
    let renamed = rest.trim_start().strip_prefix("as ").map(|new| new.trim_start());
    leaves.push(path);
    renamed.map_or(rest, |new| new.trim_start_matches(is_name))
}

/// The modules behind `#[cfg(test)]`, attribute included.
fn test_modules(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in code.match_indices(MARK) {
        let item = code[at + MARK.len()..].trim_start();
        if item.starts_with("mod ")
            && let Some(open) = code[at..].find('{')
            && found.last().is_none_or(|last| last.end <= at)
        {
            found.push(at..closing(code, at + open));
        }
    }
    found
}

/// The byte after the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn spaces(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Replaces comments and the insides of literals by spaces, line for line.
fn blank_text(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_name = code.ends_with(is_name);
        let dark = comment(rest)
            .or_else(|| if after_name { None } else { raw_string(rest) })
            .or_else(|| quoted(rest, '"'))
            .or_else(|| character(rest));
        let (taken, shown) = match dark {
            Some(len) => (len, spaces(&rest[..len])),
            None => (first.len_utf8(), first.to_string()),
        };
        code.push_str(&shown);
        rest = &rest[taken..];
    }
    code
}

/// The length of the comment that `text` begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut at = text.strip_prefix("/*").map(|_| 2)?;
    let mut depth = 1;
    while depth > 0 {
        let next = at + text[at..].find(['/', '*'])?;
        match text.get(next..next + 2) {
            Some("/*") => (depth, at) = (depth + 1, next + 2),
            Some("*/") => (depth, at) = (depth - 1, next + 2),
            _ => at = next + 1,
        }
    }
    Some(at)
}

/// The length of the raw string (`r"…"`, `br#"…"#`) that `text` begins with.
fn raw_string(text: &str) -> Option<usize> {
    let body = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let inside = body.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(body.len() - inside.len()));
    let start = text.len() - inside.len() + 1;
    inside.strip_prefix('"')?.find(&end).map(|len| start + len + end.len())
}

/// The length of the literal between two `mark`s that `text` begins with.
fn quoted(text: &str, mark: char) -> Option<usize> {
    let mut escaped = false;
    let mut chars = text.strip_prefix(mark)?.char_indices();
    let end = chars.find(|(_, c)| {
        let ends = *c == mark && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    })?;
    Some(end.0 + 2)
}

/// The length of the character literal that `text` begins with; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    if first == '\\' || inside[first.len_utf8()..].starts_with('\'') {
        return quoted(text, '\'');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Source;

    /// A check would complain about a comment, or be blind after an odd literal.
    #[test]
    fn comments_and_literals_are_blank_and_nothing_else() {
        let text = concat!(
            "//! std::fs\nlet a = \"x\\\"{\"; /* { /* nested */ } */ let b = '{';\n",
            "let c: &'static str = r#\"}\"#; let d = b'\\''; let e = '\\u{7d}'; for_r\"\";\n",
        );
        let source = Source::new("a.rs", text);
        let shown: Vec<_> = source.code.split_whitespace().collect();
        let expected = "let a = ; let b = ; let c: &'static str = ; let d = b ; let e = ; for_r ;";
        assert_eq!(shown.join(" "), expected);
        assert_eq!(source.code.lines().count(), text.lines().count());
    }

    /// A dependency would hide in a nested import, or be seen where there is none.
    #[test]
    fn use_trees_are_taken_apart() {
        let text = "use crate::{a::{self, B as C}, d::*,};\nlet x: crate::e::F<crate::g::H>;\n\
                    pub(crate) fn f() { my_crate::z(); crate::i::<u8>() }";
        let source = Source::new("x.rs", text);
        let paths: Vec<_> = source.paths("crate").into_iter().map(|(_, p)| p.join("/")).collect();
        assert_eq!(paths, ["a/self", "a/B", "d/*", "e/F", "g/H", "i"]);
    }

    /// Tests would count as code, or code after them would be skipped.
    #[test]
    fn test_modules_are_blank_and_what_follows_is_not() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {\n}\n";
        let source = Source::new("x.rs", text);
        let lines: Vec<_> = source.functions().iter().map(|f| source.line(f.start)).collect();
        assert_eq!(lines, [1, 6]);
        assert_eq!(source.lines, 3);
    }
}
