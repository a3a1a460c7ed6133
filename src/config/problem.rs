//! What is wrong with a configuration, where, and how it looks there.
//!
//! It exists so that all problems are reported at once, in one form, and that no secret gets out through the line
//! that is shown. It may not decide what is a problem.

use std::fmt;

use crate::error::{Error, Kind};

use super::schema::{KEYS, Key, Shape};

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where: `file:line:column`, `file:line`, `environment variable NAME`, `default` or `not set`.
    pub(super) at: String,
    /// What, with the key.
    pub(super) text: String,
    /// What to type instead, if that is known.
    pub(super) hint: Option<String>,
    /// The line with a caret below it; only what is certain not to be a secret.
    pub(super) snippet: Option<String>,
}

impl Problem {
    pub(super) fn new(at: impl Into<String>, text: impl Into<String>) -> Self {
        Problem { at: at.into(), text: text.into(), hint: None, snippet: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// At a span of bytes of a file's text.
    pub(super) fn in_text(file: &str, text: &str, span: std::ops::Range<usize>, what: impl Into<String>) -> Self {
        let place = Place::of(text, span);
        let mut problem = Problem::new(format!("{file}:{}:{}", place.line, place.column), what);
        problem.snippet = place.snippet();
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What no file says has no place; the key in the text is all that there is to show.
        if !matches!(self.at.as_str(), "default" | "not set") {
            write!(f, "{}: ", self.at)?;
        }
        write!(f, "{}", self.text)?;
        if let Some(snippet) = &self.snippet {
            write!(f, "\n{snippet}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n      hint: {hint}")?;
        }
        Ok(())
    }
}

/// All of them as the error of a command.
pub(super) fn into_error(mut problems: Vec<Problem>) -> Error {
    if problems.len() == 1
        && let Some(mut only) = problems.pop()
    {
        let hint = only.hint.take();
        let error = Error::new(Kind::Config, only.to_string());
        return match hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
    }
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Error::new(Kind::Config, format!("{} problems in the configuration\n{}", list.len(), list.join("\n")))
        .hint("mend them and run `lifeboat config check`")
}

/// The 1-based line of a byte offset.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

struct Place<'a> {
    line: usize,
    column: usize,
    source: &'a str,
    /// Bytes within the line.
    start: usize,
    end: usize,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, span: std::ops::Range<usize>) -> Self {
        let at = floor_boundary(text, span.start);
        let before = text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let source = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let start = at - line_start;
        let end = floor_boundary(source, span.end.saturating_sub(line_start)).max(start);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        Place { line: line_of(text, at), column, source, start, end }
    }

    fn snippet(&self) -> Option<String> {
        let shown = showable(self.source);
        // An unknown key may be named when it stands right where the certain part ends; its value may not.
        let here = self.source.get(self.start..self.end).unwrap_or_default();
        let bare_key = !here.is_empty() && here.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        let followed = self.source.get(self.end..).unwrap_or_default().trim_start().starts_with('=');
        let mut line = shown.to_owned();
        if shown.len() == self.start && bare_key && followed {
            line.push_str(here);
            line.push_str(" =");
        }
        if line.trim().is_empty() {
            return None;
        }
        if line.len() < self.source.trim_end().len() {
            line.push_str(" ...");
        }
        let width = self.source.get(self.start..self.end).unwrap_or_default().chars().count().max(1);
        let room = (line.chars().count() + 1).saturating_sub(self.column).max(1);
        let number = self.line.to_string();
        let (pad, indent) = (" ".repeat(number.len()), " ".repeat(self.column - 1));
        let carets = "^".repeat(width.min(room));
        Some(format!("   {number} | {}\n   {pad} | {indent}{carets}", line.replace('\t', " ")))
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0)
}

/// The part of a line that is certain to hold no secret: table headers, and `key = value` as long as the key is a
/// known one and no secret. The line may be broken TOML, or part of a string over several lines.
fn showable(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with('[') && !trimmed.contains('=') {
        return line;
    }
    // A URL with a password inside.
    let values_are_safe = !(line.contains("://") && line.contains('@'));
    let mut safe = 0;
    for (at, _) in line.match_indices('=') {
        let head = line.get(..at).unwrap_or_default().trim_end();
        let name = head.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).next().unwrap_or("");
        // With a quote too many, what belongs to which key cannot be told.
        let value = line.get(at + 1..).unwrap_or_default().split('=').next().unwrap_or_default();
        let whole = value.matches('"').count().is_multiple_of(2);
        match known(name) {
            Some(false) if values_are_safe && whole => safe = line.len(),
            Some(_) => return line.get(..=at).unwrap_or_default(),
            None => {
                return line.get(..head.len() - name.len()).filter(|_| safe > 0 || head.trim() == name).unwrap_or("");
            }
        }
    }
    line.get(..safe).unwrap_or_default()
}

/// Whether any key ends in this name, and if so, whether one of them is a secret.
fn known(name: &str) -> Option<bool> {
    fn ends(keys: &[Key], name: &str) -> Option<bool> {
        keys.iter().fold(None, |found: Option<bool>, key| {
            let here = key.path.rsplit('.').next().filter(|last| *last == name).map(|_| key.secret());
            let below = match key.shape {
                Shape::Tables(inner) => ends(inner, name),
                _ => None,
            };
            [found, here, below].into_iter().flatten().reduce(|a, b| a || b)
        })
    }
    ends(KEYS, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_shown() {
        for (line, shown) in [
            ("bucket = \"b\"", "bucket = \"b\""),
            ("[store.s3]", "[store.s3]"),
            ("secret_key = \"hunter2\"", "secret_key ="),
            ("  secret_kye = \"hunter2\"", "  "),
            ("s3 = { bucket = \"b\", secret_key = \"hunter2\" }", ""),
            ("bucket = \"b\", secret_key = \"hunter2", "bucket = \"b\", secret_key ="),
            ("bucket = \"b\", secret_kye = \"hunter2", "bucket = \"b\", "),
            ("endpoint = \"https://u:hunter2@h\"", "endpoint ="),
            ("access_key_file = \" \"hunter2\"", "access_key_file ="),
            ("hunter2", ""),
            ("hunter2==", ""),
            ("hunter 2 = 3", ""),
            ("\"hunter2", ""),
        ] {
            assert_eq!(showable(line), shown, "{line}");
        }
    }

    #[test]
    fn the_caret_stands_below_the_place() {
        let text = "a\n[store.s3]\nbuckett = \"b\"\n";
        let p = Problem::in_text("f", text, 13..20, "unknown");
        assert_eq!(p.at, "f:3:1");
        assert_eq!(p.snippet.unwrap(), "   3 | buckett = ...\n     | ^^^^^^^");
    }
}
