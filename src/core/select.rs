//! Which snapshot: the eligible ones, why the others are not, and the best by `(generation, revision, started)`.
//!
//! Object times never play a part: a restore moves revisions back, and copies move dates.

use serde::{Deserialize, Serialize};

use super::facts::LocalEtcd;
use super::model::{ClusterId, Generation, Revision, Sha256, SnapshotName, Timestamp};
use super::plan::{Excluded, Voter};

/// A snapshot in the store, as far as a choice looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFact {
    /// Its name.
    pub name: SnapshotName,
    /// What its manifest says, or why the manifest cannot be trusted.
    pub manifest: Result<Candidate, String>,
}

/// What a trusted manifest says of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Cluster that it was taken from.
    pub cluster_id: ClusterId,
    /// Life of that cluster, which follows from the plans; 0 when it is older than all of them.
    pub generation: Generation,
    /// Its revision, read from the snapshot itself.
    pub revision: Revision,
    /// When it was begun.
    pub started: Timestamp,
    /// Digest of the raw file, trailer included.
    pub raw_sha256: Sha256,
    /// Bytes of the raw file.
    pub raw_size: u64,
    /// Only `snapshot` restores a cluster.
    pub kind: String,
    /// Whether the cluster was quorate when it was taken.
    pub quorum: bool,
    /// Storage version, from etcd 3.6 on.
    #[serde(default)]
    pub storage_version: Option<String>,
    /// Why a verification found it damaged.
    #[serde(default)]
    pub damaged: Option<String>,
    /// Whether the payload object is there.
    pub payload_present: bool,
    /// Voters of the cluster when it was taken.
    #[serde(default)]
    pub voters: Vec<Voter>,
}

/// Why a snapshot may not be restored, when it may not.
///
/// `by_name`: a person named this very snapshot, so an emergency snapshot (taken without quorum) counts.
pub fn ineligible(s: &SnapshotFact, by_name: bool) -> Option<String> {
    let c = match &s.manifest {
        Ok(c) => c,
        Err(why) => return Some(why.clone()),
    };
    if c.kind != "snapshot" {
        return Some(format!("it is of kind {:?}, which does not restore a cluster", c.kind));
    }
    if let Some(what) = &c.damaged {
        return Some(format!("a verification found it damaged: {what}"));
    }
    if !c.payload_present {
        return Some("its payload is gone from the store".into());
    }
    if !c.quorum && !by_name {
        return Some("it was taken without quorum and is restored only by name".into());
    }
    None
}

/// Why an etcd cannot take data of this storage version.
pub fn too_old(storage: &str, etcd: &LocalEtcd) -> String {
    // Tried with 3.4.23, 3.5.30 and 3.6.16.
    let then = match newer("3.6", &etcd.version) {
        true => "which would serve such data and write to it, without a word",
        false => "which does not start on it",
    };
    format!("its storage version is {storage}, and the etcd here is {} ({}), {then}", etcd.version, etcd.found_in)
}

/// The release of a version: `3.6` of `3.6.0`.
pub fn release(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Whether a version is of a newer release than another. What cannot be read is not.
pub fn newer(a: &str, b: &str) -> bool {
    let parse = |v: &str| -> Option<(u32, u32)> {
        let mut parts = v.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a > b,
        _ => false,
    }
}

/// The best snapshot that may be restored on nobody's word but the configuration's, those in `excluded` left out.
pub fn best<'a>(snapshots: &'a [SnapshotFact], excluded: &[Excluded]) -> Option<(&'a SnapshotName, &'a Candidate)> {
    snapshots
        .iter()
        .filter(|s| ineligible(s, false).is_none())
        .filter(|s| !excluded.iter().any(|e| e.name == s.name))
        .filter_map(|s| s.manifest.as_ref().ok().map(|c| (&s.name, c)))
        .max_by_key(|(name, c)| (c.generation, c.revision, c.started, *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(name: &str, generation: u64, revision: i64, started: &str) -> SnapshotFact {
        SnapshotFact {
            name: SnapshotName::new(name).unwrap(),
            manifest: Ok(Candidate {
                cluster_id: ClusterId(1),
                generation: Generation(generation),
                revision: Revision(revision),
                started: started.parse().unwrap(),
                raw_sha256: Sha256([0; 32]),
                raw_size: 1,
                kind: "snapshot".into(),
                quorum: true,
                storage_version: None,
                damaged: None,
                payload_present: true,
                voters: vec![],
            }),
        }
    }

    #[test]
    fn order_is_generation_then_revision_then_start() {
        let all = [
            snapshot("old-life-high-revision", 1, 500, "2024-03-01T00:00:00Z"),
            snapshot("new-life", 2, 100, "2024-02-01T00:00:00Z"),
            snapshot("new-life-again", 2, 100, "2024-02-01T00:00:01Z"),
            snapshot("new-life-early", 2, 99, "2025-01-01T00:00:00Z"),
        ];
        assert_eq!(best(&all, &[]).unwrap().0.as_str(), "new-life-again");
        let excluded = [Excluded { name: SnapshotName::new("new-life-again").unwrap(), why: String::new() }];
        assert_eq!(best(&all, &excluded).unwrap().0.as_str(), "new-life");
        assert!(best(&[], &[]).is_none());
    }

    #[test]
    fn what_is_not_eligible_says_why() {
        let change = |f: fn(&mut Candidate)| {
            let mut s = snapshot("a", 1, 1, "2024-01-01T00:00:00Z");
            if let Ok(c) = &mut s.manifest {
                f(c);
            }
            s
        };
        let unsigned = SnapshotFact {
            name: SnapshotName::new("a").unwrap(),
            manifest: Err("its signature does not match".into()),
        };
        for (s, by_name, expected) in [
            (change(|_| ()), false, None),
            (unsigned, true, Some("signature")),
            (change(|c| c.kind = "keys".into()), true, Some("kind")),
            (change(|c| c.damaged = Some("digest".into())), true, Some("damaged")),
            (change(|c| c.payload_present = false), true, Some("gone")),
            (change(|c| c.quorum = false), false, Some("without quorum")),
            (change(|c| c.quorum = false), true, None),
            // Which etcd there is, is asked when it would be restored: the newest is restored or nothing.
            (change(|c| c.storage_version = Some("9.9.0".into())), false, None),
        ] {
            let why = ineligible(&s, by_name);
            match expected {
                None => assert_eq!(why, None),
                Some(part) => assert!(why.as_deref().is_some_and(|w| w.contains(part)), "{why:?} lacks {part:?}"),
            }
        }
    }
}
