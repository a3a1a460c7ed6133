//! What a listing of the store shows of each snapshot.

use super::attached::Verification;
use crate::core::manifest::Manifest;
use crate::core::model::SnapshotName;
use crate::core::record::RecordProblem;
use crate::core::select::{Candidate, SnapshotFact};

/// How the payload of a committed snapshot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// There, with the size that the manifest names.
    Present,
    /// Somebody removed it.
    Missing,
    /// There with another size.
    WrongSize(u64),
}

/// A snapshot whose manifest verifies.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The manifest.
    pub manifest: Manifest,
    /// How its payload stands, by the listing.
    pub payload: Payload,
    /// The last verification of this very content, if there was one that verifies itself.
    pub verified: Option<Verification>,
    /// Whether a person holds it.
    pub held: bool,
}

impl Committed {
    /// What is known to be wrong with it.
    pub fn damage(&self) -> Option<String> {
        match (self.payload, &self.verified) {
            (Payload::Missing, _) => Some("its payload is missing".into()),
            (Payload::WrongSize(n), _) => {
                Some(format!("its payload has {n} bytes, the manifest says {}", self.manifest.stored.size))
            }
            (Payload::Present, Some(v)) if !v.ok => {
                Some(v.problem.clone().unwrap_or_else(|| "its last verification failed".into()))
            }
            _ => None,
        }
    }
}

/// One line of a listing.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name by the object key.
    pub name: SnapshotName,
    /// The snapshot, or why its manifest must not be followed (which is never "absent").
    pub state: std::result::Result<Box<Committed>, RecordProblem>,
}

impl Entry {
    /// What a choice looks at. The generation is the manifest's own; the caller corrects it by the plans.
    pub fn fact(&self) -> SnapshotFact {
        let manifest = match &self.state {
            Err(problem) => Err(problem.to_string()),
            Ok(c) => Ok(Candidate {
                cluster_id: c.manifest.cluster_id,
                generation: c.manifest.generation,
                revision: c.manifest.revision,
                started: c.manifest.started,
                raw_sha256: c.manifest.raw.sha256,
                raw_size: c.manifest.raw.size,
                kind: c.manifest.kind.clone(),
                quorum: c.manifest.quorum,
                storage_version: c.manifest.storage_version.clone(),
                damaged: c.damage().filter(|_| c.payload != Payload::Missing),
                payload_present: c.payload != Payload::Missing,
                // `check` has seen that each of them has a slot.
                voters: c.manifest.voters.iter().filter_map(|v| v.slot().ok()).collect(),
            }),
        };
        SnapshotFact { name: self.name.clone(), manifest }
    }
}

/// All snapshots of the cluster.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Every manifest that is there, oldest first by (generation, revision); the ones that do not verify come first, by name.
    pub entries: Vec<Entry>,
    /// Payloads without a manifest: uploads in progress or broken off. They do not exist for anybody.
    pub uncommitted: Vec<SnapshotName>,
    /// Objects under `snapshots/` that are not ours.
    pub foreign: u64,
}

impl Listing {
    /// The snapshots that verify.
    pub fn committed(&self) -> impl Iterator<Item = &Committed> {
        self.entries.iter().filter_map(|e| e.state.as_deref().ok())
    }

    /// The greatest by (generation, revision) of those that were taken from a quorate cluster.
    pub fn latest(&self) -> Option<&Committed> {
        self.committed().filter(|c| c.manifest.quorum).max_by(|a, b| a.manifest.order().cmp(&b.manifest.order()))
    }
}
