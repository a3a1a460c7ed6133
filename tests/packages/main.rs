//! What is packed, as far as it can be told without building a package: units, scripts, journal catalog. 'make packages-check' does the rest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a panic is how a test reports"
)]

mod catalog;
mod scripts;
mod units;

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The files of a folder, by name.
fn files(dir: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(dir)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

/// What the check of the packaged binary looks for is there exactly when failpoints are compiled in.
#[test]
fn failpoints_can_be_told_from_the_binary() {
    let binary = fs::read(env!("CARGO_BIN_EXE_lifeboat")).unwrap().to_ascii_lowercase();
    let found = binary.windows(b"failpoint".len()).any(|w| w == b"failpoint");
    assert_eq!(found, cfg!(feature = "failpoints"));
}
