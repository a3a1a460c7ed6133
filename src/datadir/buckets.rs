//! Names of etcd's buckets, and what their keys and values mean (`server/storage/schema`, `api/mvccpb`).

use serde::{Deserialize, Serialize};

use crate::bolt::editor::Items;
use crate::bolt::reader::{Bucket, Image, ReadAt};
use crate::core::model::MemberId;
use crate::error::Result;

use super::damaged;
use super::protobuf::{Message, fields};

/// User keys by revision.
pub const KEY: &[u8] = b"key";
/// State of the server.
pub const META: &[u8] = b"meta";
/// Members.
pub const MEMBERS: &[u8] = b"members";
/// Ids that may never come back.
pub const MEMBERS_REMOVED: &[u8] = b"members_removed";
/// Cluster version and downgrade.
pub const CLUSTER: &[u8] = b"cluster";
/// Leases.
pub const LEASE: &[u8] = b"lease";
/// Alarms.
pub const ALARM: &[u8] = b"alarm";
/// Whether auth is on.
pub const AUTH: &[u8] = b"auth";
/// Users.
pub const AUTH_USERS: &[u8] = b"authUsers";
/// Roles.
pub const AUTH_ROLES: &[u8] = b"authRoles";

/// In [`META`]: the raft index that the db has applied, 8 bytes big endian.
pub const CONSISTENT_INDEX: &[u8] = b"consistent_index";
/// In [`META`]: the raft term of that index, 8 bytes big endian; from 3.5 on.
pub const TERM: &[u8] = b"term";
/// In [`META`]: a compaction that was begun.
pub const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
/// In [`META`]: the compaction that was finished last.
pub const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
/// In [`META`]: version of the storage format; from 3.6 on.
pub const STORAGE_VERSION: &[u8] = b"storageVersion";
/// In [`CLUSTER`].
pub const CLUSTER_VERSION: &[u8] = b"clusterVersion";
/// In [`AUTH`]: one byte, 1 when auth is on.
pub const AUTH_ENABLED: &[u8] = b"authEnabled";

/// Bytes of buckets that are read whole (members, meta, cluster, alarms): hundreds in practice.
const MAX_SMALL_BUCKET: usize = 16 << 20;

/// Key of the `key` bucket: a revision and the place of a change inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionKey {
    /// The revision.
    pub main: i64,
    /// Number of the change inside its transaction.
    pub sub: i64,
    /// Whether the change is a deletion.
    pub tombstone: bool,
}

impl RevisionKey {
    /// 8 bytes big endian, `_`, 8 bytes big endian, and `t` for a deletion. `None` for anything else, negative numbers
    /// included.
    pub fn decode(key: &[u8]) -> Option<Self> {
        let tombstone = match key.len() {
            17 => false,
            18 if key.get(17) == Some(&b't') => true,
            _ => return None,
        };
        let number = |at: usize| Some(i64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?));
        let found = RevisionKey { main: number(0)?, sub: number(9)?, tombstone };
        (key.get(8) == Some(&b'_') && found.main >= 0 && found.sub >= 0).then_some(found)
    }

    /// The reverse of [`RevisionKey::decode`].
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(18);
        out.extend(self.main.to_be_bytes());
        out.push(b'_');
        out.extend(self.sub.to_be_bytes());
        if self.tombstone {
            out.push(b't');
        }
        out
    }
}

/// `mvccpb.KeyValue`, borrowed from the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyValue<'a> {
    /// User key.
    pub key: &'a [u8],
    /// Revision of the key's creation.
    pub create_revision: i64,
    /// Revision of this change.
    pub mod_revision: i64,
    /// Number of changes since the creation.
    pub version: i64,
    /// User value.
    pub value: &'a [u8],
    /// Lease; 0 for none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    /// Decodes the value of an item of the `key` bucket. No bytes at all are an empty message.
    ///
    /// # Errors
    /// `Verification` when it is malformed.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut out = KeyValue::default();
        for field in fields(bytes) {
            match field? {
                (1, v) => out.key = v.bytes()?,
                (2, v) => out.create_revision = v.int64()?,
                (3, v) => out.mod_revision = v.int64()?,
                (4, v) => out.version = v.int64()?,
                (5, v) => out.value = v.bytes()?,
                (6, v) => out.lease = v.int64()?,
                _ => {}
            }
        }
        Ok(out)
    }
}

/// An entry of the `members` bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMember {
    /// Id.
    #[serde(rename = "id", with = "plain_id")]
    pub id: MemberId,
    /// Peer URLs.
    #[serde(rename = "peerURLs", default, deserialize_with = "null_is_empty")]
    pub peer_urls: Vec<String>,
    /// Whether it does not vote.
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
    /// Name; empty until the member has started once.
    #[serde(rename = "name", default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Client URLs; empty until the member has started once.
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub client_urls: Vec<String>,
}

/// Go writes `null` for a nil slice.
fn null_is_empty<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Vec<String>, D::Error> {
    Option::<Vec<String>>::deserialize(d).map(Option::unwrap_or_default)
}

/// etcd's JSON has ids as decimal numbers; everything else in this crate as hexadecimal text.
mod plain_id {
    use super::MemberId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &MemberId, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(id.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<MemberId, D::Error> {
        u64::deserialize(d).map(MemberId)
    }
}

impl StoredMember {
    /// Decodes an entry of the `members` bucket.
    ///
    /// # Errors
    /// `Verification` when it is malformed.
    pub fn decode(value: &[u8]) -> Result<Self> {
        serde_json::from_slice(value).map_err(|e| damaged("an entry of the members bucket is malformed").caused_by(e))
    }

    /// The JSON that etcd writes, byte for byte.
    pub fn encode(&self) -> Vec<u8> {
        let plain = serde_json::to_string(self).unwrap_or_default();
        escape_like_go(&plain).into_bytes()
    }
}

/// Go's encoding/json escapes `<`, `>`, `&`, U+2028 and U+2029 inside strings; outside of strings none of them occurs.
pub(super) fn escape_like_go(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// What an alarm says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AlarmKind {
    /// The quota is used up: writes are refused.
    NoSpace,
    /// The data of members differ: reads and writes are refused.
    Corrupt,
    /// One that this program does not know.
    Other,
}

/// An alarm in a db.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Alarm {
    /// The member that raised it.
    pub member_id: MemberId,
    /// What it says.
    pub kind: AlarmKind,
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of member {}", self.kind, self.member_id)
    }
}

impl std::fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
            AlarmKind::Other => "unknown alarm",
        })
    }
}

impl Alarm {
    /// Decodes a key of the `alarm` bucket (`etcdserverpb.AlarmMember`).
    ///
    /// # Errors
    /// `Verification` when it is malformed.
    pub fn decode(key: &[u8]) -> Result<Self> {
        let mut out = Alarm { member_id: MemberId(0), kind: AlarmKind::Other };
        for field in fields(key) {
            match field? {
                (1, v) => out.member_id = MemberId(v.varint()?),
                (2, v) => {
                    out.kind = match v.varint()? {
                        1 => AlarmKind::NoSpace,
                        2 => AlarmKind::Corrupt,
                        _ => AlarmKind::Other,
                    }
                }
                _ => {}
            }
        }
        Ok(out)
    }

    /// The key that etcd writes for it; for tests and for completeness of the pair.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            AlarmKind::NoSpace => 1,
            AlarmKind::Corrupt => 2,
            AlarmKind::Other => 0,
        };
        Message::new().number(1, self.member_id.0).number(2, kind).encode()
    }
}

/// The small facts that a db holds besides user data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmallFacts {
    /// The highest revision that a compaction was begun or finished at.
    pub compact_revision: Option<i64>,
    /// Version of the storage format.
    pub storage_version: Option<String>,
    /// Version of the cluster.
    pub cluster_version: Option<String>,
    /// The raft index that the db has applied.
    pub consistent_index: Option<u64>,
    /// The raft term of that index.
    pub term: Option<u64>,
    /// Whether auth is on.
    pub auth_enabled: bool,
    /// Alarms.
    pub alarms: Vec<Alarm>,
}

impl SmallFacts {
    /// Takes note of one item. Items of other buckets and unknown keys are none of its business.
    ///
    /// # Errors
    /// `Verification` when a known item is malformed.
    pub fn take(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) -> Result<()> {
        let text = |v: &[u8]| String::from_utf8_lossy(v.get(..64).unwrap_or(v)).into_owned();
        let number = |v: &[u8]| v.try_into().ok().map(u64::from_be_bytes);
        match (bucket, key) {
            (META, SCHEDULED_COMPACTION | FINISHED_COMPACTION) => {
                let revision = RevisionKey::decode(value)
                    .ok_or_else(|| damaged(format!("{} in bucket meta is no revision", key.escape_ascii())))?;
                self.compact_revision = self.compact_revision.max(Some(revision.main));
            }
            (META, STORAGE_VERSION) => self.storage_version = Some(text(value)),
            (META, CONSISTENT_INDEX) => self.consistent_index = number(value),
            (META, TERM) => self.term = number(value),
            (CLUSTER, CLUSTER_VERSION) => self.cluster_version = Some(text(value)),
            (AUTH, AUTH_ENABLED) => self.auth_enabled = value == [1],
            (ALARM, alarm) => self.alarms.push(Alarm::decode(alarm)?),
            _ => {}
        }
        Ok(())
    }

    /// The revision of a db whose last user key has revision `last`.
    pub fn revision(&self, last: Option<i64>) -> i64 {
        last.max(self.compact_revision).unwrap_or(1).max(1)
    }
}

/// Reads a small bucket whole.
///
/// # Errors
/// `Verification` when the image is damaged or the bucket is not small; `Io`.
pub fn read_small<R: ReadAt>(image: &Image<R>, bucket: &Bucket) -> Result<Items> {
    let mut out = Items::new();
    let mut bytes = 0usize;
    image.walk(bucket, &mut image.seen(), &mut |item| {
        bytes = bytes.saturating_add(item.key.len() + item.value.len());
        if item.is_bucket || bytes > MAX_SMALL_BUCKET {
            return Err(image.bad("a bucket of etcd's own state holds a bucket, or is too large"));
        }
        out.insert(item.key.to_vec(), item.value.to_vec());
        Ok(())
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn revision_keys_sort_as_bytes_do(a in (0..i64::MAX, 0..i64::MAX), b in (0..i64::MAX, 0..i64::MAX), t: bool) {
            let a = RevisionKey { main: a.0, sub: a.1, tombstone: t };
            let b = RevisionKey { main: b.0, sub: b.1, tombstone: false };
            prop_assert_eq!(RevisionKey::decode(&a.encode()), Some(a));
            prop_assert_eq!((a.main, a.sub).cmp(&(b.main, b.sub)).then(t.cmp(&false)), a.encode().cmp(&b.encode()));
        }
    }

    #[test]
    fn revision_keys_of_another_shape_are_refused() {
        let good = RevisionKey { main: 5, sub: 0, tombstone: true }.encode();
        assert!(RevisionKey::decode(&good[..16]).is_none());
        for (at, byte) in [(0, 0x80), (8, b'-'), (9, 0x80), (17, b'x')] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(RevisionKey::decode(&bad).is_none(), "byte {at}");
        }
    }

    #[test]
    fn members_are_written_as_go_writes_them() {
        let member = StoredMember {
            id: MemberId(u64::MAX),
            peer_urls: vec!["http://h:1?x=a&b".into()],
            is_learner: false,
            name: "a&b<c>\u{2028}é\"\\\n".into(),
            client_urls: vec![],
        };
        let json = member.encode();
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            r#"{"id":18446744073709551615,"peerURLs":["http://h:1?x=a\u0026b"],"name":"a\u0026b\u003cc\u003e\u2028é\"\\\n"}"#
        );
        assert_eq!(StoredMember::decode(&json).unwrap(), member);
        assert!(StoredMember::decode(br#"{"id":1,"peerURLs":null}"#).unwrap().peer_urls.is_empty());
    }
}
