//! A restore that a person asked for on a host with data: the rules let it begin, and this ends it before anything is touched.

use crate::core::facts::Facts;
use crate::core::model::SnapshotName;
use crate::core::select::{self, Takes};
use crate::error::{Error, Kind, Result};

/// Whether this host's etcd can take the snapshot. What is not known is not too old.
pub(super) fn takes(facts: &Facts, name: &SnapshotName) -> Result<()> {
    let found = facts.store.known().and_then(|s| s.snapshots.iter().find(|s| s.name == *name));
    let storage = found.and_then(|s| s.manifest.as_ref().ok()).and_then(|c| c.storage_version.as_deref());
    let local = facts.start.known().and_then(|s| s.etcd_version.as_ref());
    match storage.map(|storage| select::takes(storage, local)) {
        Some(Takes::TooOld(needed, why)) => Err(Error::new(Kind::Refused, format!("{name} is not restored: {why}"))
            .hint(format!("install etcd {needed} or newer on this host, then ask again"))),
        // The rules have noted what is not known.
        None | Some(Takes::Yes | Takes::NotKnown(_)) => Ok(()),
    }
}
