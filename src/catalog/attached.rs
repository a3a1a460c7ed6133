//! Records that are attached to a snapshot after it was committed: the result of a verification, and a hold.

use serde::{Deserialize, Serialize};

use crate::core::manifest::HashKv;
use crate::core::model::{NodeName, Nonce, Revision, Sha256, SnapshotName, Timestamp};

/// What reading a snapshot back has shown. The last one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Which snapshot.
    pub name: SnapshotName,
    /// Digest of the stored payload that the manifest names: the result is about this content and no other.
    pub stored_sha256: Sha256,
    /// Whether it is what the manifest says, down to its structure.
    pub ok: bool,
    /// What is wrong with it; `None` exactly when `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When it was checked (clock of the host).
    pub checked: Timestamp,
    /// The host that checked.
    pub node: NodeName,
    /// Revision found in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Keys in the file that are not deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// HashKV computed from the file, when the manifest has one to compare it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_kv: Option<HashKv>,
    /// Whose write this is.
    pub nonce: Nonce,
}

/// A person's word that a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Which snapshot.
    pub name: SnapshotName,
    /// Why.
    pub reason: String,
    /// Since when (clock of the host).
    pub since: Timestamp,
    /// Whose write this is.
    pub nonce: Nonce,
}
