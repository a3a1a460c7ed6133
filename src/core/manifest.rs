//! The manifest: what we know of one snapshot, and the commit record that makes it exist.
//!
//! The format version is the envelope's ([`super::record`]). Reading is total: a manifest that was signed by us and still makes no
//! sense is refused with the field named, never half understood. Unknown fields are ignored, so that a newer patch
//! version may add optional ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::{
    ClusterId, Compression, Generation, Invalid, MemberId, NodeName, Revision, Sha256, SnapshotName, Timestamp,
};
use super::plan;

/// Sectors of a bolt image; what is left over is the digest that etcd appends (etcdutl's `hasChecksum`: size % 512 == 32).
const SECTOR: u64 = 512;
/// Length of that digest.
pub const TRAILER_BYTES: u64 = 32;
/// More tags than this are no labels any more.
const MOST_TAGS: usize = 64;
/// A cluster has at most a handful of voters; the bound keeps a record small.
const MOST_VOTERS: usize = 64;
const LONGEST_TEXT: usize = 256;

/// Who asked for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A schedule.
    Scheduled,
    /// A person.
    OnDemand,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Origin::Scheduled => "scheduled",
            Origin::OnDemand => "on-demand",
        })
    }
}

/// The only kind that restores a cluster: the whole key space at one revision, as `etcdctl snapshot save` writes it.
pub const KIND_SNAPSHOT: &str = "snapshot";

/// Size and digest of a sequence of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// Digest of all of them.
    pub sha256: Sha256,
}

/// etcd's own digest of the key space (Maintenance.HashKV).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashKv {
    /// CRC-32C as the server gave it.
    pub hash: u32,
    /// Compact revision that went into it: without it the hash cannot be computed again.
    pub compact_revision: Revision,
    /// The revision it was asked for.
    pub revision: Revision,
}

/// One voting member at the time of the snapshot, in etcd's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Name; empty when the member had never started. etcd takes any text as a name.
    pub name: String,
    /// Id.
    pub id: MemberId,
    /// Peer URLs.
    pub peer_urls: Vec<String>,
}

impl Voter {
    /// The voter as plans know it. One whose name cannot be a host's still counts as a voter: it is named by its id.
    ///
    /// # Errors
    /// Never for an id that etcd gave; the type cannot say so.
    pub fn slot(&self) -> Result<plan::Voter, Invalid> {
        let name = NodeName::new(&self.name).or_else(|_| NodeName::new(&format!("unnamed-{}", self.id)))?;
        Ok(plan::Voter { name, peer_urls: self.peer_urls.clone() })
    }
}

/// The commit record of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the snapshot; also in the object key, and both must agree.
    pub name: SnapshotName,
    /// What it holds; see [`KIND_SNAPSHOT`].
    pub kind: String,
    /// Who asked for it.
    pub origin: Origin,
    /// The cluster's life that it was taken in; 0 when no plan was known.
    pub generation: Generation,
    /// etcd's cluster id.
    pub cluster_id: ClusterId,
    /// The member that gave it.
    pub member_id: MemberId,
    /// The host that took it.
    pub node: NodeName,
    /// Version of the etcd that gave it, as in `3.5.16`.
    pub etcd_version: String,
    /// Version of the storage format, from etcd 3.6 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_version: Option<String>,
    /// Last revision in the file, read from the file itself.
    pub revision: Revision,
    /// Up to where the history was compacted, when the file says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact_revision: Option<Revision>,
    /// The file as `etcdctl snapshot save` would have written it, the 32-byte trailer included.
    pub raw: Content,
    /// The payload as it lies in the store.
    pub stored: Content,
    /// Stream format of the payload.
    pub compression: Compression,
    /// Who can decrypt the payload; empty: it is not encrypted.
    #[serde(default)]
    pub encryption: Vec<String>,
    /// When the stream began (clock of the host).
    pub started: Timestamp,
    /// When the payload was durable in the spool (clock of the host).
    pub ended: Timestamp,
    /// Whether a linearizable read succeeded right before the stream. Without it the snapshot is restored only by name.
    pub quorum: bool,
    /// The server's own digest at `revision`, when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_kv: Option<HashKv>,
    /// Free labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Fingerprint of the cluster token at that time.
    pub token_fingerprint: String,
    /// Whether etcd's auth is on inside the snapshot: the restored cluster then asks for its users' passwords.
    pub auth: bool,
    /// Alarms inside the snapshot, as etcd names them (`NOSPACE`).
    #[serde(default)]
    pub alarms: Vec<String>,
    /// The voting members; empty when the member could not list them.
    #[serde(default)]
    pub voters: Vec<Voter>,
}

impl Manifest {
    /// Checks what the types alone cannot say. Call it on everything that was read.
    ///
    /// # Errors
    /// The first field that makes no sense.
    pub fn check(&self) -> Result<(), Invalid> {
        let size = |what, content: &Content| match content.size {
            0 => Err(Invalid::new(what, "0", "it is empty")),
            _ => Ok(()),
        };
        size("raw.size", &self.raw)?;
        size("stored.size", &self.stored)?;
        if self.raw.size % SECTOR != TRAILER_BYTES {
            return Err(Invalid::new(
                "raw.size",
                &self.raw.size.to_string(),
                "a snapshot is a multiple of 512 bytes and 32 bytes of digest",
            ));
        }
        if self.revision.0 < 1 {
            return Err(Invalid::new("revision", &self.revision.to_string(), "revisions start at 1"));
        }
        if self.compression == Compression::None && self.encryption.is_empty() && self.raw != self.stored {
            return Err(Invalid::new(
                "stored",
                &self.stored.sha256.to_string(),
                "it differs from raw without compression",
            ));
        }
        text("kind", &self.kind)?;
        text("etcd_version", &self.etcd_version)?;
        text("token_fingerprint", &self.token_fingerprint)?;
        if self.tags.len() > MOST_TAGS {
            return Err(Invalid::new("tags", "", format!("there are more than {MOST_TAGS}")));
        }
        if self.voters.len() > MOST_VOTERS {
            return Err(Invalid::new("voters", "", format!("there are more than {MOST_VOTERS}")));
        }
        for voter in &self.voters {
            voter.slot()?;
        }
        Ok(())
    }

    /// File name of the payload: `<name>.db.gz`.
    pub fn payload_file(&self) -> String {
        payload_file(&self.name, self.compression)
    }

    /// Object key of the payload: `snapshots/<name>.db.gz`.
    pub fn payload_key(&self) -> String {
        payload_key(&self.name, self.compression)
    }

    /// Where it stands among the snapshots of its cluster: the greatest is the latest. Object times never count.
    pub fn order(&self) -> (Generation, Revision, Timestamp, &SnapshotName) {
        (self.generation, self.revision, self.started, &self.name)
    }
}

fn text(what: &'static str, value: &str) -> Result<(), Invalid> {
    if value.is_empty() {
        return Err(Invalid::new(what, value, "it is empty"));
    }
    if value.len() > LONGEST_TEXT || value.chars().any(char::is_control) {
        return Err(Invalid::new(what, value, "it is too long or holds control characters"));
    }
    Ok(())
}

/// Folder of everything that belongs to a snapshot.
pub const SNAPSHOTS: &str = "snapshots/";

/// What a payload's name ends with, for each format that we write.
pub const PAYLOAD_FORMATS: [Compression; 3] = [Compression::Gzip, Compression::Zstd, Compression::None];

/// Object key of the payload of a snapshot.
pub fn payload_key(name: &SnapshotName, compression: Compression) -> String {
    format!("{SNAPSHOTS}{}", payload_file(name, compression))
}

/// File name of the payload of a snapshot.
pub fn payload_file(name: &SnapshotName, compression: Compression) -> String {
    format!("{name}.db{}", compression.extension())
}

/// File name of the manifest of `name`.
pub fn manifest_file(name: &SnapshotName) -> String {
    format!("{name}.manifest.json")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest that passes every check, for tests of others.
    pub(crate) fn sample(name: &str, generation: u64, revision: i64) -> Manifest {
        let started: Timestamp = "2024-01-15T10:30:00Z".parse().unwrap();
        Manifest {
            name: SnapshotName::new(name).unwrap(),
            kind: KIND_SNAPSHOT.into(),
            origin: Origin::Scheduled,
            generation: Generation(generation),
            cluster_id: ClusterId(0xc1),
            member_id: MemberId(0xa1),
            node: NodeName::new("cp1").unwrap(),
            etcd_version: "3.5.30".into(),
            storage_version: None,
            revision: Revision(revision),
            compact_revision: None,
            raw: Content { size: 8192 + 32, sha256: Sha256([1; 32]) },
            stored: Content { size: 900, sha256: Sha256([2; 32]) },
            compression: Compression::Gzip,
            encryption: vec![],
            started,
            ended: started,
            quorum: true,
            hash_kv: None,
            tags: BTreeMap::new(),
            token_fingerprint: "0011223344556677".into(),
            auth: false,
            alarms: vec![],
            voters: vec![],
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        type Damage = fn(&mut Manifest);
        let cases: [(&str, Damage); 8] = [
            ("raw.size", |m| m.raw.size = 0),
            ("raw.size", |m| m.raw.size = 8192),
            ("stored.size", |m| m.stored.size = 0),
            ("revision", |m| m.revision = Revision(0)),
            ("stored", |m| m.compression = Compression::None),
            ("etcd_version", |m| m.etcd_version = "3.5\n".into()),
            ("token_fingerprint", |m| m.token_fingerprint = String::new()),
            ("tags", |m| m.tags = (0..65).map(|i| (i.to_string(), String::new())).collect()),
        ];
        sample("a", 1, 5).check().unwrap();
        for (field, damage) in cases {
            let mut m = sample("a", 1, 5);
            damage(&mut m);
            let refused = m.check().expect_err(field).to_string();
            assert!(refused.starts_with(field), "{refused}");
        }
    }

    #[test]
    fn json_round_trip_keeps_everything_and_ignores_what_is_new() {
        let mut m = sample("a", 1, 5);
        m.hash_kv = Some(HashKv { hash: u32::MAX, compact_revision: Revision(1), revision: Revision(5) });
        m.voters = vec![Voter { name: "cp1".into(), id: MemberId(1), peer_urls: vec!["http://x:2380".into()] }];
        let mut value = serde_json::to_value(&m).unwrap();
        assert_eq!(value["cluster_id"], "c1");
        assert_eq!(value["origin"], "scheduled");
        value["from_the_future"] = true.into();
        assert_eq!(serde_json::from_value::<Manifest>(value).unwrap(), m);
    }

    #[test]
    fn the_order_is_generation_then_revision_then_start() {
        let mut later = sample("b", 1, 5);
        later.started = "2024-01-15T11:00:00Z".parse().unwrap();
        let all = [sample("z", 1, 4), sample("a", 1, 5), later, sample("a", 2, 1)];
        for pair in all.windows(2) {
            assert!(pair[0].order() < pair[1].order(), "{} before {}", pair[0].name, pair[1].name);
        }
    }

    #[test]
    fn names_of_files_and_keys() {
        let m = sample("etcd-snapshot-2024-01-15T10-30-00Z", 1, 5);
        assert_eq!(m.payload_key(), "snapshots/etcd-snapshot-2024-01-15T10-30-00Z.db.gz");
        assert_eq!(manifest_file(&m.name), "etcd-snapshot-2024-01-15T10-30-00Z.manifest.json");
    }
}
