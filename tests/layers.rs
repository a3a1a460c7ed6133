//! Holds the architecture: who may import whom, what the pure core may not touch, and how files are named and sized.
//!
//! The checks read the sources as text; code in `#[cfg(test)]` modules is free to import what it tests with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of `src/` may import besides itself, `core` and `error`.
///
/// `main -> cli -> { bootstrap, snapshot, agent, setup, doctor, import } -> catalog -> ports <- { store, etcd, datadir }
/// -> { bolt, codec, crypto, sys }`; `config`, `telemetry` and the last four are leaves. Backends of the ports are named
/// by `cli` alone; formats of files (datadir, bolt, codec) are no backends.
const ALLOWED: &[(&str, &[&str])] = &[
    ("main", &["cli", "telemetry", "config", "sys"]),
    (
        "cli",
        &[
            "agent",
            "bolt",
            "bootstrap",
            "catalog",
            "codec",
            "config",
            "crypto",
            "datadir",
            "doctor",
            "etcd",
            "import",
            "ports",
            "setup",
            "snapshot",
            "store",
            "sys",
            "telemetry",
        ],
    ),
    ("agent", &["catalog", "codec", "config", "crypto", "ports", "snapshot", "sys", "telemetry"]),
    ("bootstrap", &["catalog", "codec", "config", "crypto", "datadir", "ports", "snapshot", "sys", "telemetry"]),
    ("doctor", &["catalog", "codec", "config", "crypto", "datadir", "ports", "snapshot", "sys", "telemetry"]),
    ("import", &["catalog", "codec", "config", "crypto", "datadir", "ports", "snapshot", "sys", "telemetry"]),
    ("setup", &["config", "sys"]),
    ("snapshot", &["bolt", "catalog", "codec", "config", "crypto", "datadir", "ports", "sys", "telemetry"]),
    ("catalog", &["crypto", "ports", "telemetry"]),
    ("store", &["bolt", "codec", "config", "crypto", "ports", "sys", "telemetry"]),
    ("etcd", &["bolt", "codec", "config", "crypto", "ports", "sys", "telemetry"]),
    ("datadir", &["bolt", "codec", "crypto", "ports", "sys", "telemetry"]),
    // The clock of the machine implements the Clock port.
    ("sys", &["ports"]),
    ("ports", &[]),
    ("config", &[]),
    ("telemetry", &["sys"]),
    ("bolt", &[]),
    ("codec", &[]),
    ("crypto", &[]),
    ("core", &[]),
    ("error", &[]),
    ("lib", &["every module is declared there"]),
];

/// Macros stand at the crate's root wherever they are defined; they bring no import with them.
const MACROS: [&str; 2] = ["failpoint", "event"];

/// What would give the core a clock, a disk, a network or chance.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
    "getrandom",
    "reqwest",
    "etcd_client",
    "async_trait",
    "async fn",
];

const VAGUE_NAMES: [&str; 5] = ["util", "common", "misc", "helpers", "types"];
const LONGEST: usize = 600;
/// Tables of cases may be longer than code.
const LONGEST_TESTS: usize = 1000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(dir).expect("a directory of the tree").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_symlink() || name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() { walk(&path, out) } else { out.push(path) }
    }
}

/// (path below the root, text) of every source file of the crate.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        (name, fs::read_to_string(&path).expect("a source file"))
    };
    files.into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs")).map(read).collect()
}

/// Blanks out comments, strings and character literals; line breaks stay.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            ('r', '"' | '#') if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => {
                let hashes = chars.iter().skip(i + 1).take_while(|c| **c == '#').count();
                if at(i + 1 + hashes) == '"' {
                    i += hashes + 2;
                    while i < chars.len() && !(at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#')) {
                        i += 1;
                    }
                    i += 1 + hashes;
                }
            }
            ('"', _) => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            ('\'', '\\') => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            _ => {}
        }
        if i == start {
            out.push(at(i));
            i += 1;
        } else {
            out.extend((start..i.min(chars.len())).map(|n| if at(n) == '\n' { '\n' } else { ' ' }));
        }
    }
    out
}

/// Blanks out the inline modules that are compiled for tests only.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (open, semicolon) = (from.find('{'), from.find(';'));
        let end = match (open, semicolon) {
            (Some(open), s) if s.is_none_or(|s| open < s) => block_end(from, open),
            (_, Some(s)) => s + 1,
            _ => from.len(),
        };
        out.extend(from.get(..end).unwrap_or_default().chars().filter(|c| *c == '\n'));
        rest = from.get(end..).unwrap_or_default();
    }
    out + rest
}

/// The end of the block that opens at `open`.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (i, c) in code.char_indices().skip_while(|(i, _)| *i < open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    code.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

/// The first segments of what follows `crate::`: one, or those of a `{...}` group. A macro (`name!`) is none.
fn first_segments(after: &str) -> Vec<String> {
    let after = after.trim_start();
    if !after.starts_with('{') {
        let first = word(after);
        let is_macro = after.get(first.len()..).is_some_and(|r| r.starts_with('!') && !r.starts_with("!="));
        return if is_macro || first.is_empty() { Vec::new() } else { vec![first.to_owned()] };
    }
    let group = after.get(1..block_end(after, 0).saturating_sub(1)).unwrap_or_default();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|p| word(p.trim_start()).to_owned()).filter(|p| !p.is_empty()).collect()
}

/// Which part of the crate a file is: its folder, or its own name.
fn part(file: &str) -> String {
    let below = file.trim_start_matches("src/");
    below.split(['/', '.']).next().unwrap_or_default().to_owned()
}

/// How many `super::` lead from a file's module to the crate's root.
fn depth(file: &str) -> usize {
    let below = file.trim_start_matches("src/").trim_end_matches(".rs");
    let segments = below.split('/').count();
    if below.ends_with("/mod") || below == "lib" || below == "main" { segments - 1 } else { segments }
}

/// How many inline modules surround position `at`.
fn inline_modules(code: &str, at: usize) -> usize {
    let before = code.get(..at).unwrap_or_default();
    let mut found = 0;
    for (i, _) in before.match_indices("mod ") {
        let free = before.get(..i).is_some_and(|b| !b.ends_with(is_word));
        let name = before.get(i + 4..).unwrap_or_default();
        let open = i + 4 + word(name).len() + 1;
        if free && name.get(word(name).len()..).is_some_and(|r| r.starts_with(" {")) && block_end(code, open) > at {
            found += 1;
        }
    }
    found
}

/// Every import of a file that the table does not allow.
fn layer_violations(file: &str, text: &str) -> Vec<String> {
    let own = part(file);
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == own) else {
        return vec![format!("{file}: '{own}' is not in the table of layers (tests/layers.rs)")];
    };
    if own == "lib" || file.ends_with("/tests.rs") || file.contains("/tests/") {
        return Vec::new();
    }
    let code = without_tests(&code_only(text));
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "etcd_lifeboat::"] {
        for (i, _) in code.match_indices(prefix) {
            let alone = code.get(..i).is_some_and(|b| !b.ends_with(|c: char| is_word(c) || c == '$'));
            if alone {
                found.extend(first_segments(code.get(i + prefix.len()..).unwrap_or_default()));
            }
        }
    }
    let mut rest = 0;
    while let Some(i) = code.get(rest..).and_then(|c| c.find("super::")).map(|i| rest + i) {
        let chain = code.get(i..).unwrap_or_default();
        let mut length = 0;
        while chain.get(length * 7..).is_some_and(|c| c.starts_with("super::")) {
            length += 1;
        }
        rest = i + length * 7;
        if length >= depth(file) + inline_modules(&code, i) {
            found.extend(first_segments(code.get(rest..).unwrap_or_default()));
        }
    }
    let free = |to: &String| {
        *to == own
            || MACROS.contains(&to.as_str())
            || ["core", "error"].contains(&to.as_str()) && own != "core" && own != "error"
    };
    let allowed_to = |to: &String| free(to) || allowed.contains(&to.as_str()) || own == "core" && to == "core";
    found.iter().filter(|to| !allowed_to(to)).map(|to| format!("{file}: {own} may not import {to}")).collect()
}

/// What the core touches though it is pure.
fn impurities(file: &str, text: &str) -> Vec<String> {
    if part(file) != "core" || file.ends_with("/tests.rs") {
        return Vec::new();
    }
    let code = without_tests(&code_only(text));
    let touches = |needle: &&&str| {
        code.match_indices(**needle).any(|(i, _)| {
            let (before, after) = code.split_at(i);
            let after = after.get(needle.len()..).unwrap_or_default();
            !before.ends_with(is_word) && !after.starts_with(is_word)
        })
    };
    IMPURE.iter().filter(touches).map(|needle| format!("{file}: the core may not touch {needle}")).collect()
}

/// What is wrong with a source file's name, head or size.
fn shape_violations(file: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for segment in file.split(['/', '.']).filter(|s| VAGUE_NAMES.contains(s)) {
        out.push(format!("{file}: '{segment}' says nothing; name it after what it does"));
    }
    if !text.starts_with("//!") {
        out.push(format!("{file}: it must begin with //! and say why it exists and what it may not do"));
    }
    let longest = if file.ends_with("/tests.rs") { LONGEST_TESTS } else { LONGEST };
    let lines = text.lines().count();
    if lines >= longest {
        out.push(format!("{file}: {lines} lines; look for a seam"));
    }
    out
}

/// Hosts of package registries and paths of one machine.
fn foreign_words(file: &str, text: &str) -> Vec<String> {
    let hosts = [
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("pypi", ".org"),
        concat!("files.python", "hosted.org"),
        concat!("registry.npm", "js.org"),
        concat!("proxy.go", "lang.org"),
        concat!("deb.deb", "ian.org"),
        concat!("security.deb", "ian.org"),
        concat!("repo1.mav", "en.org"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/wt"),
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/shared"),
    ];
    let hits = hosts.iter().filter(|host| text.contains(**host));
    hits.map(|host| format!("{file}: names {host}")).collect()
}

fn check(rule: fn(&str, &str) -> Vec<String>) {
    let files = sources();
    assert!(files.len() > 20, "only {} source files were found", files.len());
    let found: Vec<_> = files.iter().flat_map(|(file, text)| rule(file, text)).collect();
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

#[test]
fn imports_follow_the_layers() {
    check(layer_violations);
}

#[test]
fn the_core_is_pure() {
    check(impurities);
}

#[test]
fn files_have_a_head_a_telling_name_and_a_bearable_size() {
    check(shape_violations);
    let mut files = Vec::new();
    walk(&root().join("tests"), &mut files);
    let names = files.iter().map(|p| p.strip_prefix(root()).unwrap().display().to_string());
    let vague: Vec<_> = names.filter(|n| n.split(['/', '.']).any(|s| VAGUE_NAMES.contains(&s))).collect();
    assert_eq!(vague, [""; 0]);
}

#[test]
fn no_file_names_a_registry_host_or_a_path_of_one_machine() {
    let mut files = Vec::new();
    walk(root(), &mut files);
    let mut found = Vec::new();
    for path in files.iter().filter(|p| p.file_name().is_some_and(|n| n != "Cargo.lock")) {
        if let Ok(text) = fs::read_to_string(path) {
            found.extend(foreign_words(&path.strip_prefix(root()).unwrap().display().to_string(), &text));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn planted_violations_are_found() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("src/core/decide.rs", "use crate::ports::Clock;", &["ports"]),
        ("src/core/decide.rs", "use crate::error::Error;", &["error"]),
        ("src/core/decide/rules.rs", "use crate::core::model::Revision; use super::super::model::X;", &[]),
        ("src/core/decide/rules.rs", "use super::super::super::sys::fs;", &["sys"]),
        ("src/snapshot/save.rs", "use crate::{catalog::Catalog, store::s3::{A, B}, core::model::X};", &["store"]),
        ("src/snapshot/save.rs", "fn f() { let s = crate::etcd::connect(); }", &["etcd"]),
        ("src/snapshot/mod.rs", "use super::agent::Agent;", &["agent"]),
        ("src/snapshot/mod.rs", "mod inner { use super::Own; }", &[]),
        ("src/snapshot/mod.rs", "mod inner { use super::super::agent::X; }", &["agent"]),
        ("src/snapshot/mod.rs", "#[cfg(test)]\nmod tests { use super::*; use crate::store::dir::Dir; }", &[]),
        ("src/snapshot/mod.rs", "#[cfg(test)]\nmod tests;\nuse crate::store::dir::Dir;", &["store"]),
        (
            "src/snapshot/mod.rs",
            "// crate::store\n/* crate::store */ const X: &str = \"crate::store \\\" crate::etcd\";",
            &[],
        ),
        ("src/snapshot/mod.rs", "const X: &str = r#\"\" crate::store \"#; use crate::etcd::X;", &["etcd"]),
        ("src/snapshot/mod.rs", "const Q: char = '\"'; use crate::etcd::X; const R: char = '\"';", &["etcd"]),
        ("src/snapshot/mod.rs", "fn f<'a>(x: &'a str) { crate::failpoint!(\"a\"); crate::event!(1); }", &[]),
        ("src/snapshot/mod.rs", "use crate::failpoint;", &[]),
        ("src/bolt/page.rs", "use crate::codec::Gzip;", &["codec"]),
        ("src/main.rs", "fn main() { etcd_lifeboat::store::x() }", &["store"]),
        ("src/new_part/mod.rs", "", &["new_part"]),
    ];
    for (file, text, expected) in cases {
        let found = layer_violations(file, text);
        assert_eq!(found.len(), expected.len(), "{file}: {text}: {found:?}");
        for (message, name) in found.iter().zip(*expected) {
            assert!(message.contains(name), "{message} does not name {name}");
        }
    }
    for (text, found) in [
        ("let t = std::time::Instant::now();", 1),
        ("use std::fs; use tokio::time;", 2),
        ("struct Instantly; // Instant", 0),
        ("#[cfg(test)] mod tests { use std::fs; }", 0),
    ] {
        assert_eq!(impurities("src/core/x.rs", text).len(), found, "{text}");
        assert_eq!(impurities("src/sys/x.rs", text).len(), 0, "{text}");
    }
    assert_eq!(shape_violations("src/sys/util.rs", "//! x").len(), 1);
    assert_eq!(shape_violations("src/common/x.rs", "use x;").len(), 2);
    assert_eq!(shape_violations("src/sys/x.rs", &"//! x\n".repeat(LONGEST)).len(), 1);
    assert_eq!(foreign_words("a", concat!("https://pypi", ".org/simple and /ro", "ot/x")).len(), 2);
}
