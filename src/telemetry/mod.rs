//! Logs: to the journal with plain, typed fields when stderr is connected to it, else to stderr.
//!
//! It exists so that the rest of the crate only says what happened. Records of other crates are let through from
//! WARN on, whatever the level: at finer levels HTTP libraries log headers, and those hold secrets.
//! It may not decide anything, and nothing here fails a command once it has been started.

use std::io;
use std::str::FromStr;

use nix::sys::stat::fstat;
use tracing::Level;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::error::{Error, Kind, Result, ResultExt};

mod events;
mod lines;
#[cfg(test)]
mod tests;

pub use events::Event;

const IDENTIFIER: &str = "lifeboat";

/// Where and how is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The journal when stderr is connected to it, else [`Format::Text`].
    Auto,
    /// Lines for people, on stderr.
    Text,
    /// One JSON object a line, on stderr.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "auto" => Ok(Format::Auto),
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(Error::new(Kind::Config, format!("log format {s:?} is none of \"auto\", \"text\" or \"json\""))),
        }
    }
}

/// Starts logging for the whole process; call once. `level` is the least that our own records need.
///
/// # Errors
/// When logging was started before.
pub fn init(level: Level, format: Format) -> Result<()> {
    let journal = (format == Format::Auto && stderr_is_journal()).then(journal).and_then(io::Result::ok);
    let output: Box<dyn Layer<Registry> + Send + Sync> = match (journal, format) {
        (Some(layer), _) => layer.boxed(),
        (None, Format::Json) => fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(),
        (None, _) => fmt::layer().event_format(lines::Lines).with_writer(io::stderr).boxed(),
    };
    tracing_subscriber::registry()
        .with(output.with_filter(filter(level)))
        .try_init()
        .or_fail(Kind::Internal, || "logging was started twice")
}

fn filter(level: Level) -> Targets {
    Targets::new()
        .with_target("etcd_lifeboat", level)
        .with_default(LevelFilter::WARN.min(LevelFilter::from_level(level)))
}

fn journal() -> io::Result<tracing_journald::Layer> {
    Ok(tracing_journald::layer()?
        // With a prefix, MESSAGE_ID would be F_MESSAGE_ID, which nothing looks for.
        .with_field_prefix(None)
        .with_syslog_identifier(IDENTIFIER.to_owned())
        .with_priority_mappings(priorities()))
}

fn priorities() -> PriorityMappings {
    PriorityMappings { info: Priority::Informational, debug: Priority::Debug, ..PriorityMappings::new() }
}

/// systemd.exec(5): a program that is connected to the journal finds device and inode of its stream in
/// `JOURNAL_STREAM`; they must be compared, since the variable is inherited by children whose stderr goes elsewhere.
fn stderr_is_journal() -> bool {
    let Ok(stat) = fstat(io::stderr()) else { return false };
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stream(&stream, stat.st_dev, stat.st_ino))
}

fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    let Some((d, i)) = stream.split_once(':') else { return false };
    d.parse() == Ok(device) && i.parse() == Ok(inode)
}

/// Logs a failure: its message, then each cause, then the hint, one record each, so that none is cut or escaped.
pub fn log_error(error: &Error) {
    for line in error.message().lines() {
        tracing::error!(kind = error.kind().label(), "{line}");
    }
    for cause in error.causes() {
        for line in cause.lines() {
            tracing::error!("  caused by: {line}");
        }
    }
    if let Some(hint) = error.hint_text() {
        tracing::error!("  hint: {hint}");
    }
}
