//! Where `fetch-tools.sh` put the programs.

use std::path::PathBuf;

pub const ETCD_3_4: &str = "3.4.23";
pub const ETCD_3_5: &str = "3.5.16";
pub const ETCD_LATEST: &str = "3.5.30";
/// Built from Go modules (`support/go`), where there is a Go toolchain.
pub const ETCD_3_6: &str = "3.6.16";
pub const ETCD_3_7: &str = "3.7.3";

/// The releases that Debian carries, oldest first.
pub const ETCD_VERSIONS: [&str; 3] = [ETCD_3_4, ETCD_3_5, ETCD_LATEST];

/// The directory of the tools; the same rule as in `fetch-tools.sh`.
pub fn dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("LIFEBOAT_TOOLS").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        cache.expect("HOME or LIFEBOAT_TOOLS is set").join("etcd-lifeboat/tools")
    })
}

/// Path of `etcd`, `etcdctl` or `etcdutl` of a version.
pub fn etcd(version: &str, program: &str) -> PathBuf {
    find(&format!("etcd-{version}/{program}"))
}

/// Every release of etcd at hand, oldest first: those of Debian, and what Go has built here.
pub fn etcd_versions() -> Vec<&'static str> {
    let built = [ETCD_3_6, ETCD_3_7].into_iter().filter(|v| is_built(&format!("etcd-{v}/etcd")));
    ETCD_VERSIONS.into_iter().chain(built).collect()
}

/// Whether something is there that only a machine with Go has. What is left out without it is said, and fails where it is required.
#[allow(clippy::print_stdout, reason = "who runs one test should see what it left out")]
pub fn is_built(name: &str) -> bool {
    let there = dir().join(name).is_file();
    if !there {
        let required = std::env::var("LIFEBOAT_REQUIRE_GO").is_ok_and(|v| v == "1");
        assert!(!required, "{name} is not among the tools; run: make tools, with 'go' on PATH");
        println!("left out: {name} is built by Go, and is not there");
    }
    there
}

/// Path of SeaweedFS.
pub fn weed() -> PathBuf {
    find("weed")
}

/// Path of MinIO's server, where Go has built it.
pub fn minio() -> Option<PathBuf> {
    is_built("minio").then(|| find("minio"))
}

/// Path of rclone.
pub fn rclone() -> PathBuf {
    find("rclone")
}

/// Path of bbolt's own tool, where Go has built it.
pub fn bbolt() -> Option<PathBuf> {
    is_built("bbolt-1.5.0").then(|| find("bbolt-1.5.0"))
}

fn find(name: &str) -> PathBuf {
    let path = dir().join(name);
    assert!(path.is_file(), "{} is not there; run: make tools", path.display());
    path
}
