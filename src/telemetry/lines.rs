//! Log lines for people: time, level, message, fields.
//!
//! It exists because the journal's fields (message ids) are noise on a terminal, and so that no value can forge a
//! line: control characters are escaped. It may not choose what is logged.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One line per record.
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut found = Fields::default();
        event.record(&mut found);
        SystemTime.format_time(&mut writer)?;
        writeln!(writer, " {:<5} {}{}", event.metadata().level().as_str(), found.message, found.others)
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: &str) {
        let value = escape(value);
        match field.name() {
            "message" => self.message = value,
            "message_id" => {}
            name => {
                let name = if name == "lifeboat_event" { "event" } else { name };
                let quote = if value.is_empty() || value.contains([' ', '"', '=']) { "\"" } else { "" };
                self.others.push_str(&format!(" {name}={quote}{value}{quote}"));
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Control characters as Rust writes them.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
