//! The environment file that etcd's unit reads.
//!
//! It always says `existing`, so that a wiped host that is started by hand fails instead of forming an empty cluster. With a WAL in place etcd does not
//! look at it.

use std::path::Path;

use crate::core::decide::Policy;
use crate::error::Result;
use crate::sys::fs;

/// Writes it, unless it says the same already.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, policy: &Policy) -> Result<()> {
    replace(path, text(policy))
}

/// Writes it for one start: as the member that was added for this host. The next run of the gate takes that out again.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_joining(path: &Path, policy: &Policy, initial_cluster: &str) -> Result<()> {
    replace(path, format!("{}ETCD_INITIAL_CLUSTER={initial_cluster}\n", text(policy)))
}

fn text(policy: &Policy) -> String {
    let mut text = String::from(
        "# Written by 'lifeboat bootstrap' before each start of etcd; changes are overwritten.\n\
         # etcd reads the cluster from its WAL. Without a WAL this makes it fail instead of forming an empty cluster.\n",
    );
    text.push_str(&format!("ETCD_NAME={}\n", policy.node));
    text.push_str(&format!("ETCD_DATA_DIR={}\n", policy.data_dir));
    if let Some(wal_dir) = &policy.wal_dir {
        text.push_str(&format!("ETCD_WAL_DIR={wal_dir}\n"));
    }
    text.push_str("ETCD_INITIAL_CLUSTER_STATE=existing\n");
    text
}

fn replace(path: &Path, text: String) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    fs::create_dir_all(fs::parent(path), 0o755)?;
    fs::write_atomic(path, text.as_bytes(), 0o644)
}
