//! How paths are written in unit files, so that systemd reads back the very same path.
//!
//! It exists because each kind of line has rules of its own (systemd.syntax(7), systemd.exec(5)). What cannot be written
//! safely is refused. It may not look at the disk.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// The path without doubled and closing slashes and single dots, as text for a unit file: `%` is doubled.
///
/// # Errors
/// When it is relative, has `..`, or has a character that some line of a unit file would take for something else.
pub(super) fn plain(key: &str, path: &Path) -> Result<String> {
    let refuse = |why: &str| {
        Error::new(Kind::Config, format!("{key}: {} cannot be written into a unit file: {why}", path.display()))
            .hint(format!("set {key} to a path without it; a symbolic link with a plain name will do"))
    };
    let text = path.to_str().ok_or_else(|| refuse("it is not UTF-8 text"))?;
    if !path.is_absolute() {
        return Err(refuse("it is not absolute"));
    }
    if path.components().any(|c| c == Component::ParentDir) {
        return Err(refuse("it has \"..\" in it"));
    }
    if let Some(c) = text.chars().find(|c| c.is_control() || "\"'\\*?[".contains(*c)) {
        return Err(refuse(&format!("it has the character {c:?} in it")));
    }
    if text.chars().any(|c| c.is_whitespace() && c != ' ') {
        return Err(refuse("it has a blank of an unusual kind in it"));
    }
    let clean: PathBuf = path.components().collect();
    let clean = clean.to_str().unwrap_or(text);
    if clean.ends_with(' ') {
        return Err(refuse("it ends with a blank"));
    }
    Ok(clean.replace('%', "%%"))
}

/// One word of a list such as `ReadWritePaths=`, where blanks separate. The path may be missing.
///
/// # Errors
/// As [`plain`].
pub(super) fn optional_word(key: &str, path: &Path) -> Result<String> {
    let text = plain(key, path)?;
    Ok(if text.contains(' ') { format!("\"-{text}\"") } else { format!("-{text}") })
}

/// A path as a shell takes it, for commands in hints.
pub(super) fn in_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The unit of a mount point, as `systemd-escape --path --suffix=mount` says it.
pub(super) fn mount_unit(point: &Path) -> String {
    let text = point.to_string_lossy();
    let text = text.trim_matches('/');
    if text.is_empty() {
        return "-.mount".to_owned();
    }
    let mut name = String::new();
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if i == 0 => name.push_str("\\x2e"),
            b if b.is_ascii_alphanumeric() || b":_.".contains(&b) => name.push(char::from(b)),
            b => name.push_str(&format!("\\x{b:02x}")),
        }
    }
    name + ".mount"
}

/// The words of a line of a unit file, or of a property that `systemctl show` prints: blanks separate, quotes hold
/// together, a backslash takes the next character as it is.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut inside, mut quote) = (String::new(), false, None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) if quote != Some('\'') => {
                inside = true;
                match chars.next() {
                    Some('n') => word.push('\n'),
                    Some('t') => word.push('\t'),
                    Some('s') => word.push(' '),
                    Some(other) => word.push(other),
                    None => {}
                }
            }
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => (inside, quote) = (true, Some(c)),
            // The shell's $'...', which systemctl prints.
            ('$', None) if chars.peek() == Some(&'\'') && !inside => {}
            (c, None) if c.is_whitespace() => {
                if inside {
                    words.push(std::mem::take(&mut word));
                    inside = false;
                }
            }
            (c, None) => {
                inside = true;
                word.push(c);
            }
        }
    }
    if inside {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_so_that_they_are_read_back() {
        for (path, written, word) in [
            ("/var/lib/etcd", "/var/lib/etcd", "-/var/lib/etcd"),
            ("/a//b/./c/", "/a/b/c", "-/a/b/c"),
            ("/a b/100%", "/a b/100%%", "\"-/a b/100%%\""),
            ("/a:b;c#d$e", "/a:b;c#d$e", "-/a:b;c#d$e"),
            ("/\u{e9}", "/\u{e9}", "-/\u{e9}"),
        ] {
            assert_eq!(plain("k", Path::new(path)).unwrap(), written);
            assert_eq!(optional_word("k", Path::new(path)).unwrap(), word);
        }
        for (path, why) in [
            ("a/b", "absolute"),
            ("/a/../b", "\"..\""),
            ("/a\nRequires=b", "'\\n'"),
            ("/a\"b", "'\"'"),
            ("/a'b", "'\\''"),
            ("/a\\", "'\\\\'"),
            ("/a*", "'*'"),
            ("/a\u{2028}b", "unusual"),
            ("/a ", "ends with a blank"),
        ] {
            let e = plain("etcd.data_dir", Path::new(path)).unwrap_err();
            assert!(e.message().contains(why) && e.message().contains("etcd.data_dir"), "{path}: {e}");
            assert!(e.hint_text().is_some());
        }
    }

    #[test]
    fn mount_units_are_named_as_systemd_escape_does() {
        for (path, unit) in [
            ("/", "-.mount"),
            ("/var/lib/etcd", "var-lib-etcd.mount"),
            ("/srv/etcd-data", "srv-etcd\\x2ddata.mount"),
            ("/a b/%", "a\\x20b-\\x25.mount"),
            ("/.hidden/.x", "\\x2ehidden-.x.mount"),
        ] {
            assert_eq!(mount_unit(Path::new(path)), unit);
        }
    }

    #[test]
    fn words_are_split_as_systemd_does() {
        for (text, expected) in [
            ("", &[] as &[&str]),
            ("  a  b ", &["a", "b"]),
            ("A=1 \"B=2 3\" 'C=\"x\"' D=\"4 5\"", &["A=1", "B=2 3", "C=\"x\"", "D=4 5"]),
            ("$'A=1 2' $X a\\ b", &["A=1 2", "$X", "a b"]),
            ("\"\" x", &["", "x"]),
            ("broken\"quote x", &["brokenquote x"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
