//! What is fuzzed: one function per subject, fed with bytes from nowhere. It panics where something is wrong with the answer.
//!
//! `fuzz/` runs them under libFuzzer, `tests/corpora.rs` runs the corpora through them on every `make test`. Besides "no panic,
//! bounded memory" each one asks what must hold of whatever was accepted.

pub mod bolt;
pub mod codec;
pub mod config;
pub mod datadir;
pub mod editor;
mod image;
pub mod records;
pub mod wal;
pub mod xml;

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
