//! What is fuzzed: one function per subject, fed with bytes from nowhere. It panics where something is wrong with the answer.
//!
//! `fuzz/` runs them under libFuzzer, `tests/corpora.rs` runs the corpora through them on every `make test`. Besides "no panic,
//! bounded memory" each one asks what must hold of whatever was accepted.

mod bolt;
mod codec;
mod config;
mod datadir;
mod editor;
mod image;
mod records;
mod wal;
mod xml;

/// A target: its name, which is also that of its corpus, and what it does. It tells whether the input was accepted.
pub type Target = (&'static str, fn(&[u8]) -> bool);

pub const TARGETS: [Target; 8] = [
    ("bolt", bolt::run),
    ("codec", codec::run),
    ("config", config::run),
    ("datadir", datadir::run),
    ("editor", editor::run),
    ("records", records::run),
    ("wal", wal::run),
    ("xml", xml::run),
];

/// Runs the target of that name.
pub fn run(name: &str, data: &[u8]) -> bool {
    TARGETS.iter().find(|(n, _)| *n == name).is_some_and(|(_, target)| target(data))
}
