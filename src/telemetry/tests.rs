//! What reaches the journal and the terminal.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::Context;

use super::*;

/// Keeps the fields of every record, as a journal layer gets them.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<BTreeMap<String, String>>>>);

struct Taker<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Taker<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<S: tracing::Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        fields.insert("level".to_owned(), event.metadata().level().to_string());
        event.record(&mut Taker(&mut fields));
        self.0.lock().unwrap().push(fields);
    }
}

/// A writer that keeps what is written.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text of what `log` logs, without the time.
fn text_of(level: Level, log: impl FnOnce()) -> Vec<String> {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let layer = fmt::layer().event_format(lines::Lines).with_writer(move || writer.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.with_filter(filter(level))), log);
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn every_event_has_an_id_of_its_own() {
    let ids: HashSet<_> = Event::ALL.iter().map(|e| e.message_id()).collect();
    assert_eq!(ids.len(), Event::ALL.len());
    for id in ids {
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    }
    assert!(Event::ALL.len() >= 14);
}

#[test]
fn an_event_carries_its_fields() {
    let capture = Capture::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(capture.clone()), || {
        crate::event!(BackupSuccessful, snapshot = %"a-1", revision = 5, "snapshot {} is in the store", "a-1");
        crate::event!(RestoreRefused, rule = "S1", "no");
    });
    let records = capture.0.lock().unwrap().clone();
    let expected = [
        ("level", "INFO"),
        ("lifeboat_event", "\"BackupSuccessful\""),
        ("message_id", "\"0b32240c4db34eeeb7e6ceed62d1806d\""),
        ("snapshot", "a-1"),
        ("revision", "5"),
        ("message", "snapshot a-1 is in the store"),
    ];
    assert_eq!(records[0], expected.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
    assert_eq!((records[1]["level"].as_str(), records[1]["rule"].as_str()), ("ERROR", "\"S1\""));
}

#[test]
fn lines_are_for_people_and_cannot_be_forged() {
    let lines = text_of(Level::INFO, || {
        crate::event!(BackupStarted, snapshot = %"a-1", "saving");
        tracing::info!(path = "x\n2026 ERROR forged", "one\ntwo");
        tracing::debug!("not shown");
    });
    assert_eq!(
        lines,
        ["INFO  saving event=BackupStarted snapshot=a-1", "INFO  one\\ntwo path=\"x\\n2026 ERROR forged\""]
    );
}

#[test]
fn other_crates_are_heard_from_warn_on() {
    let lines = text_of(Level::TRACE, || {
        tracing::info!(target: "hyper::client", "authorization: hunter2");
        tracing::warn!(target: "hyper::client", "loud");
        tracing::trace!("ours");
    });
    assert_eq!(lines, ["WARN  loud", "TRACE ours"]);
    let quiet = text_of(Level::ERROR, || tracing::warn!(target: "hyper::client", "loud"));
    assert!(quiet.is_empty(), "{quiet:?}");
}

#[test]
fn an_error_is_logged_one_line_per_cause() {
    let error =
        Error::new(Kind::Io, "cannot open /a").caused_by(io::Error::other("disk on fire")).context("cannot save");
    let lines = text_of(Level::INFO, || log_error(&error.hint("replace it")));
    assert_eq!(
        lines,
        [
            "ERROR cannot save kind=io",
            "ERROR   caused by: cannot open /a",
            "ERROR   caused by: disk on fire",
            "ERROR   hint: replace it"
        ]
    );
}

#[test]
fn the_journal_is_used_only_when_stderr_is_its_stream() {
    for (stream, expected) in [
        ("8:1234", true),
        ("8:1235", false),
        ("9:1234", false),
        ("", false),
        ("8", false),
        ("x:y", false),
        ("8:1234:5", false),
    ] {
        assert_eq!(is_stream(stream, 8, 1234), expected, "{stream:?}");
    }
    assert_eq!(priorities().info, Priority::Informational);
    assert_eq!(priorities().error, Priority::Error);
}
