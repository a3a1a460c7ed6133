//! Every object key that we write, in one place. Relative to the cluster's folder; built from checked names only.

use crate::core::manifest::{PAYLOAD_FORMATS, SNAPSHOTS, manifest_file, payload_file};
use crate::core::model::{Compression, Generation, NodeName, SnapshotName};

/// Folder of all that belongs to snapshots; the prefix of the one LIST.
pub const SNAPSHOT_FOLDER: &str = SNAPSHOTS;
/// Folder of the plans.
pub const PLAN_FOLDER: &str = "cluster/plans/";
/// Folder of the roll call.
pub const ROLL_CALL_FOLDER: &str = "cluster/rollcall/";
/// Folder of the objects that the race probe makes and removes.
pub const PROBE_FOLDER: &str = "cluster/probe/";
/// "A cluster of this store is alive".
pub const HEARTBEAT: &str = "cluster/heartbeat.json";

const MANIFEST: &str = ".manifest.json";
const VERIFIED: &str = ".verified.json";
const HOLD: &str = ".hold.json";

/// The payload of a snapshot.
pub fn payload(name: &SnapshotName, compression: Compression) -> String {
    format!("{SNAPSHOTS}{}", payload_file(name, compression))
}

/// The commit record of a snapshot.
pub fn manifest(name: &SnapshotName) -> String {
    format!("{SNAPSHOTS}{}", manifest_file(name))
}

/// The result of the last verification or drill.
pub fn verified(name: &SnapshotName) -> String {
    format!("{SNAPSHOTS}{name}{VERIFIED}")
}

/// A person's word that the snapshot stays.
pub fn hold(name: &SnapshotName) -> String {
    format!("{SNAPSHOTS}{name}{HOLD}")
}

/// The plan of a generation.
pub fn plan(generation: Generation) -> String {
    format!("{PLAN_FOLDER}{generation}.json")
}

/// The started mark of a slot in a generation.
pub fn started(generation: Generation, node: &NodeName) -> String {
    format!("{}{node}.json", started_folder(generation))
}

/// Folder of the started marks of a generation.
pub fn started_folder(generation: Generation) -> String {
    format!("{PLAN_FOLDER}{generation}/started/")
}

/// The `n`th recorded set of voters of a generation.
pub fn voters(generation: Generation, n: u64) -> String {
    format!("{}{n}.json", voters_folder(generation))
}

/// Folder of the recorded voters of a generation.
pub fn voters_folder(generation: Generation) -> String {
    format!("{PLAN_FOLDER}{generation}/voters/")
}

/// A person took the plan back.
pub fn cancelled(generation: Generation) -> String {
    format!("{PLAN_FOLDER}{generation}/cancelled.json")
}

/// A person declared the life lost.
pub fn lost(generation: Generation) -> String {
    format!("{PLAN_FOLDER}{generation}/lost.json")
}

/// Presence of a node without data.
pub fn roll_call(node: &NodeName) -> String {
    format!("{ROLL_CALL_FOLDER}{node}.json")
}

/// What an object under `snapshots/` is, by its key alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotObject {
    /// A payload.
    Payload(SnapshotName, Compression),
    /// A manifest.
    Manifest(SnapshotName),
    /// A verification result.
    Verified(SnapshotName),
    /// A hold.
    Hold(SnapshotName),
    /// None of ours: ignored, never deleted.
    Foreign,
}

/// Reads a key of a listing. Hostile and unknown keys are [`SnapshotObject::Foreign`].
pub fn classify(key: &str) -> SnapshotObject {
    let Some(file) = key.strip_prefix(SNAPSHOTS) else { return SnapshotObject::Foreign };
    type Make = fn(SnapshotName) -> SnapshotObject;
    let records: [(&str, Make); 3] =
        [(MANIFEST, SnapshotObject::Manifest), (VERIFIED, SnapshotObject::Verified), (HOLD, SnapshotObject::Hold)];
    for (suffix, make) in records {
        if let Some(name) = file.strip_suffix(suffix) {
            return SnapshotName::new(name).map_or(SnapshotObject::Foreign, make);
        }
    }
    for compression in PAYLOAD_FORMATS {
        if let Some(name) = file.strip_suffix(&format!(".db{}", compression.extension())) {
            return SnapshotName::new(name)
                .map_or(SnapshotObject::Foreign, |name| SnapshotObject::Payload(name, compression));
        }
    }
    SnapshotObject::Foreign
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(s: &str) -> SnapshotName {
        SnapshotName::new(s).unwrap()
    }

    #[test]
    fn keys_are_those_of_the_design() {
        let (n, g, node) = (name("a-2024"), Generation(3), NodeName::new("cp1").unwrap());
        for (key, expected) in [
            (payload(&n, Compression::Gzip), "snapshots/a-2024.db.gz"),
            (payload(&n, Compression::None), "snapshots/a-2024.db"),
            (manifest(&n), "snapshots/a-2024.manifest.json"),
            (verified(&n), "snapshots/a-2024.verified.json"),
            (hold(&n), "snapshots/a-2024.hold.json"),
            (plan(g), "cluster/plans/3.json"),
            (started(g, &node), "cluster/plans/3/started/cp1.json"),
            (voters(g, 7), "cluster/plans/3/voters/7.json"),
            (cancelled(g), "cluster/plans/3/cancelled.json"),
            (lost(g), "cluster/plans/3/lost.json"),
            (roll_call(&node), "cluster/rollcall/cp1.json"),
        ] {
            assert_eq!(key, expected);
        }
    }

    #[test]
    fn what_we_write_is_recognized_and_nothing_else() {
        let n = name("a.b-2024-01-15T10-30-00Z");
        for compression in PAYLOAD_FORMATS {
            assert_eq!(classify(&payload(&n, compression)), SnapshotObject::Payload(n.clone(), compression));
        }
        assert_eq!(classify(&manifest(&n)), SnapshotObject::Manifest(n.clone()));
        assert_eq!(classify(&verified(&n)), SnapshotObject::Verified(n.clone()));
        assert_eq!(classify(&hold(&n)), SnapshotObject::Hold(n.clone()));
        for foreign in [
            "snapshots/README.txt",
            "snapshots/.manifest.json",
            "snapshots/../x.manifest.json",
            "snapshots/a/b.db.gz",
            "snapshots/a b.db",
            "snapshots/a\0.db",
            "other/x.db.gz",
            "/snapshots/x.db",
            "",
        ] {
            assert_eq!(classify(foreign), SnapshotObject::Foreign, "{foreign:?}");
        }
        assert_eq!(classify(&format!("snapshots/{}.db", "x".repeat(1024))), SnapshotObject::Foreign);
    }
}
