//! `lifeboat.restore=` on the kernel command line; in a container on that of its init, as systemd itself does it.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::core::facts::{Cause, CauseCode, RequestSource};

use super::value::{self, Found};

const KEY: &str = "lifeboat.restore";
/// The kernel's own limit is below that of a page or two; an init in a container may be given more.
const MOST_BYTES: u64 = 256 << 10;
/// systemd leaves this file in a container that it has booted.
const IN_A_CONTAINER: &str = "/run/systemd/container";

/// Where the kernel command line is read, and how its words are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelCommandLine {
    path: PathBuf,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Blanks between words, quotes around blanks.
    Quoted,
    /// A NUL after each word, which stands as it is.
    Nul,
}

impl KernelCommandLine {
    /// That of this host, or of the container that this is.
    pub fn of_this_host() -> Self {
        if Path::new(IN_A_CONTAINER).symlink_metadata().is_ok() {
            KernelCommandLine::of_an_init(Path::new("/proc/1/cmdline"))
        } else {
            KernelCommandLine::at(Path::new("/proc/cmdline"))
        }
    }

    /// A file such as `/proc/cmdline`.
    pub fn at(path: &Path) -> Self {
        KernelCommandLine { path: path.to_owned(), form: Form::Quoted }
    }

    /// A file such as `/proc/1/cmdline`.
    pub fn of_an_init(path: &Path) -> Self {
        KernelCommandLine { path: path.to_owned(), form: Form::Nul }
    }

    pub(super) fn observe(&self) -> Found {
        let path = self.path.display();
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&self.path).and_then(|f| f.take(MOST_BYTES).read_to_end(&mut bytes));
        if let Err(e) = read {
            return Found::Unknown(Cause {
                code: CauseCode::LocalIo,
                text: format!("the kernel command line {path} cannot be read: {e}"),
                hint: Some(format!(
                    "make {path} readable for the gate (ProtectProc= or ProcSubset= in a drop-in of its unit, or a missing /proc, would hide it)"
                )),
            });
        }
        let text = String::from_utf8_lossy(&bytes);
        let words = match self.form {
            Form::Quoted => split(&text),
            Form::Nul => text.split('\0').map(str::to_owned).collect(),
        };
        judge(&words, &format!("the kernel command line ({path})"))
    }
}

/// What the words ask for.
fn judge(words: &[String], found_in: &str) -> Found {
    let mut values: Vec<&str> = Vec::new();
    let mut strange: Option<&str> = None;
    for word in words {
        match word.split_once('=') {
            Some((KEY, value)) if values.contains(&value) => {}
            Some((KEY, value)) => values.push(value),
            None if word == KEY => values.push(""),
            _ if word.starts_with("lifeboat.") => strange = Some(word),
            _ => {}
        }
    }
    let source = RequestSource::KernelCommandLine;
    match (values.as_slice(), strange) {
        // Data that is not rolled back is safe to start on: a slip in the key is said, and waited for by nobody.
        ([], Some(word)) => {
            let word: String = word.chars().take(100).collect();
            Found::Remark(format!("{found_in} has {word:?}, which means nothing here; did you mean {KEY}=?"))
        }
        ([], None) => Found::Nothing,
        ([one], _) => value::parse(one, source, found_in),
        (several, _) => value::malformed(
            &several.join("\0"),
            source,
            format!("{found_in} asks for several restores with {KEY}=, and only one of them can be meant"),
        ),
    }
}

/// Splits as systemd does: blanks between words; quotes hold blanks and vanish; a backslash is a character like others; a quote that is never closed
/// ends at the end.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_as_systemd_does() {
        for (text, expected) in [
            ("", vec![]),
            ("a  b\tc\n", vec!["a", "b", "c"]),
            ("a=\"b c\" d", vec!["a=b c", "d"]),
            ("\"a=b c\" 'd \"e' f\"g\"h", vec!["a=b c", "d \"e", "fgh"]),
            ("a\\ b \"\"", vec!["a\\", "b", ""]),
            ("a \"b c", vec!["a", "b c"]),
        ] {
            assert_eq!(split(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_a_command_line_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cmdline");
        let asked = |found: &Found| match found {
            Found::Nothing => "nothing".to_owned(),
            Found::Remark(text) => format!("remark: {text}"),
            Found::Asked(r) => format!("{} as {}", r.snapshot, r.id),
            Found::Malformed { cause, .. } => format!("malformed: {}", cause.text),
            Found::Unknown(cause) => format!("unknown: {}", cause.text),
        };
        for (text, expected) in [
            ("BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n", "nothing"),
            ("ro lifeboat.restore=latest quiet\n", "latest as cmdline:latest"),
            ("ro lifeboat.restore=\"a-b,id=7\"", "a-b as 7"),
            ("\"lifeboat.restore=a-b,id=7\" --", "a-b as 7"),
            ("lifeboat.restore=a lifeboat.restore=a", "a as cmdline:a"),
            ("lifeboat.restore=a lifeboat.restore=b", "malformed: "),
            ("lifeboat.restore=a lifeboat.restore", "malformed: "),
            ("lifeboat.restore=a,b", "malformed: "),
            ("lifeboat.restore=", "remark: "),
            ("lifeboat.restore", "remark: "),
            ("lifeboat.retsore=latest", "remark: "),
            ("xlifeboat.restore=latest alifeboat.x", "nothing"),
        ] {
            std::fs::write(&path, text).unwrap();
            let found = asked(&KernelCommandLine::at(&path).observe());
            assert!(found.starts_with(expected), "{text:?}: {found}");
            let nul = split(text).join("\0") + "\0";
            std::fs::write(&path, nul).unwrap();
            assert_eq!(asked(&KernelCommandLine::of_an_init(&path).observe()), found, "{text:?}");
        }
        // In the form of an init, words stand as they are.
        std::fs::write(&path, "/sbin/init\0lifeboat.restore=\"a\"\0").unwrap();
        let found = asked(&KernelCommandLine::of_an_init(&path).observe());
        assert!(found.starts_with("malformed"), "{found}");
        std::fs::remove_file(&path).unwrap();
        let found = KernelCommandLine::at(&path).observe();
        assert!(matches!(&found, Found::Unknown(c) if c.code == CauseCode::LocalIo && c.hint.is_some()), "{found:?}");
    }
}
