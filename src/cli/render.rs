//! How reports and errors look. The only place that writes to standard output.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::args::Output;
use crate::core::model::Timestamp;
use crate::error::{Error, Kind, Result, ResultExt};

/// Prints reports in the form that was asked for.
pub(super) struct Printer {
    output: Output,
}

impl Printer {
    pub(super) fn new(output: Output) -> Self {
        Printer { output }
    }

    /// Prints a report: JSON for programs, else what `people` makes of it.
    pub(super) fn report<T: Serialize>(&self, report: &T, people: impl FnOnce(&T) -> String) -> Result<()> {
        let mut text = match self.output {
            Output::Json => {
                serde_json::to_string_pretty(report).or_fail(Kind::Internal, || "cannot print the report")?
            }
            Output::Table => people(report),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.text(text.as_bytes())
    }

    /// Prints a text as it is. A reader that has seen enough (`| head -1`) is no failure.
    pub(super) fn text(&self, text: &[u8]) -> Result<()> {
        match std::io::stdout().write_all(text).and_then(|()| std::io::stdout().flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::new(Kind::Io, "cannot write to standard output").caused_by(e))
            }
            _ => Ok(()),
        }
    }
}

/// One line on standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// One line on standard error that somebody should look at.
pub(super) fn warn(text: &str) {
    note(&format!("warning: {text}"));
}

/// An error for programs, one line of JSON.
#[derive(Serialize)]
struct Failed<'a> {
    error: &'a str,
    kind: &'a str,
    causes: Vec<String>,
    hint: Option<String>,
    exit_code: u8,
}

/// The error, its causes, and what to type next, on standard error: for programs as JSON, in its last line.
pub(super) fn error(e: &Error, output: Output) {
    if output == Output::Json {
        let (error, kind) = (e.message(), e.kind().label());
        let failed = Failed { error, kind, causes: e.causes(), hint: e.advice(), exit_code: e.kind().exit_code() };
        if let Ok(line) = serde_json::to_string(&failed) {
            return note(&line);
        }
    }
    let mut text = format!("error: {}\n", e.message());
    for cause in e.causes() {
        text.push_str(&format!("  caused by: {cause}\n"));
    }
    if let Some(hint) = e.advice() {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A table without lines, as `kubectl` prints them.
pub(super) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Lines of `label: value`, aligned.
pub(super) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 2;
    rows.iter().map(|(label, value)| format!("{:width$}{value}\n", format!("{label}:"))).collect()
}

/// Bytes for people, in binary units.
pub(super) fn bytes(n: u64) -> String {
    indicatif::BinaryBytes(n).to_string()
}

/// How long ago, for people.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    match seconds {
        i64::MIN..0 => "in the future".to_owned(),
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Asks a person on the terminal; without one nothing is assumed.
pub(super) fn ask(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::new(
            Kind::Refused,
            format!("this asks first, and there is no terminal to ask on: {question}"),
        )
        .hint("add --yes if that is what you want; nothing was changed"));
    }
    let _ = write!(std::io::stderr(), "{question} Type yes: ");
    let mut answer = String::new();
    stdin.read_line(&mut answer).or_fail(Kind::Io, || "cannot read the answer")?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(Error::new(Kind::Refused, "nothing was changed: the answer was not yes")
            .hint("type the same again and answer with the word yes, or add --yes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_trailing_blanks() {
        let text = table(&["NAME", "SIZE"], [vec!["a".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "NAME  SIZE\na     1\n");
    }

    #[test]
    fn ages() {
        let t = |s: &str| s.parse::<Timestamp>().unwrap();
        let now = t("2024-01-15T12:00:00Z");
        for (then, expected) in [
            ("2024-01-15T12:00:01Z", "in the future"),
            ("2024-01-15T11:59:30Z", "30s"),
            ("2024-01-15T11:30:00Z", "30m"),
            ("2024-01-15T00:00:00Z", "12h"),
            ("2024-01-01T00:00:00Z", "14d"),
        ] {
            assert_eq!(age(t(then), now), expected);
        }
    }
}
