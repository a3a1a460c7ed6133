//! The cached root file systems.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::machine;

/// What a host is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// Debian 12: systemd 252, etcd 3.4.
    Bookworm,
    /// Debian 13: systemd 257, etcd 3.5.
    Trixie,
    /// Debian 13 with rpm, dnf and createrepo_c: where the `.rpm` is tried.
    Rpm,
}

impl Suite {
    pub fn name(self) -> &'static str {
        match self {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
            Suite::Rpm => "rpm",
        }
    }
}

/// The root directory of a suite; built first when it is not in the cache.
pub(super) fn of(suite: Suite) -> PathBuf {
    static KNOWN: Mutex<BTreeMap<Suite, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(suite).or_insert_with(|| ask(suite)).clone()
}

fn ask(suite: Suite) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/rootfs.sh");
    let printed = machine::run(machine::text(&script), &[suite.name()]);
    let root = PathBuf::from(printed.trim());
    assert!(root.join("etc/os-release").is_file(), "{} is no root file system", root.display());
    root
}

/// Where the lab keeps what outlives a run, and the disks of the hosts while one lasts.
pub(super) fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("LIFEBOAT_LAB_CACHE").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        cache.expect("HOME or LIFEBOAT_LAB_CACHE is set").join("etcd-lifeboat/lab")
    })
}
