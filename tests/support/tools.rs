//! Where `fetch-tools.sh` put the programs.

use std::path::PathBuf;

pub const ETCD_3_4: &str = "3.4.23";
pub const ETCD_3_5: &str = "3.5.16";
pub const ETCD_LATEST: &str = "3.5.30";

/// Every release of etcd at hand, oldest first.
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

/// Path of SeaweedFS.
pub fn weed() -> PathBuf {
    find("weed")
}

fn find(name: &str) -> PathBuf {
    let path = dir().join(name);
    assert!(path.is_file(), "{} is not there; run: make tools", path.display());
    path
}
