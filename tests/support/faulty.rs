//! Runs `lifeboat` on a disk that is full after so many bytes, or fails one sync or rename (`faulty.c`, built by the C compiler that
//! Rust links with).

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::lifeboat::{Lifeboat, Output};

/// What the disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// Nothing; calls are counted.
    None,
    /// There is no space left after so many bytes.
    FullAfter(u64),
    /// The n-th fsync or fdatasync fails with EIO.
    Sync(u64),
    /// The n-th rename or link fails with EIO.
    Rename(u64),
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskFault::None => write!(f, "sync 0"),
            DiskFault::FullAfter(n) => write!(f, "bytes {n}"),
            DiskFault::Sync(n) => write!(f, "sync {n}"),
            DiskFault::Rename(n) => write!(f, "rename {n}"),
        }
    }
}

/// A run on such a disk.
pub struct FaultyRun {
    pub output: Output,
    /// The call that failed, with its path; `None`: there were fewer.
    pub hit: Option<String>,
    /// Bytes that had gone to files after each write.
    pub bytes: Vec<u64>,
    /// Calls that were counted.
    pub syncs: u64,
    pub renames: u64,
}

impl FaultyRun {
    /// Runs `command` with the fault.
    pub fn of(command: Lifeboat, fault: DiskFault) -> FaultyRun {
        let dir = tempfile::Builder::new().prefix("lifeboat-faulty-").tempdir().expect("a directory");
        let log = dir.path().join("calls");
        let output = command
            .env("LD_PRELOAD", library().display().to_string())
            .env("FAULTY", fault.to_string())
            .env("FAULTY_LOG", log.display().to_string())
            .run();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let counted = |what: &str| -> Vec<u64> {
            let counts = text.lines().filter_map(|l| l.trim_start_matches("hit ").strip_prefix(what));
            counts.filter_map(|l| l.split(' ').nth(1)?.parse().ok()).collect()
        };
        let most = |what| counted(what).into_iter().max().unwrap_or(0);
        FaultyRun {
            hit: text.lines().find(|l| l.starts_with("hit ")).map(str::to_owned),
            bytes: counted("bytes"),
            syncs: most("sync"),
            renames: most("rename"),
            output,
        }
    }
}

/// The library, built once per test process.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LIBRARY.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("lifeboat-faulty-").tempdir().expect("a directory");
        let (source, path) =
            (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/faulty.c"), dir.path().join("faulty.so"));
        let done =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&path).arg(&source).arg("-ldl").status();
        assert!(done.is_ok_and(|s| s.success()), "cc cannot build {}: install a C compiler", source.display());
        (dir, path)
    });
    path
}
