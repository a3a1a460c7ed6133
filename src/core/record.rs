//! The envelope of every object that we sign: manifest, plan, started mark, voters, roll call, heartbeat and the rest.
//!
//! A record is bound to its kind, its object key, its cluster and its generation, so that none of them can be altered, renamed, moved to another
//! cluster's folder or replayed under another name. This module builds and takes apart the text; the HMAC itself is in `crypto/`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{ClusterName, Generation};

/// Version of the envelope and of the bodies in it. A record of another version is not understood, which is never "absent".
pub const FORMAT: u64 = 1;

/// A record is read whole; a longer object is none of ours.
pub const MAX_RECORD_BYTES: u64 = 1024 * 1024;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// Commit record of a snapshot.
    Manifest,
    /// What all members restore, or that a cluster is formed.
    Plan,
    /// A slot was allowed to start in a life.
    Started,
    /// The voters of a life, before each change.
    Voters,
    /// A person took a plan back.
    Cancelled,
    /// A person declared a life lost.
    Lost,
    /// Presence of a node without data.
    RollCall,
    /// A cluster of this store is alive.
    Heartbeat,
    /// A snapshot is kept from pruning by a person.
    Hold,
    /// Result of a verification.
    Verified,
}

impl RecordKind {
    /// The word in the envelope.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordKind::Manifest => "manifest",
            RecordKind::Plan => "plan",
            RecordKind::Started => "started",
            RecordKind::Voters => "voters",
            RecordKind::Cancelled => "cancelled",
            RecordKind::Lost => "lost",
            RecordKind::RollCall => "roll-call",
            RecordKind::Heartbeat => "heartbeat",
            RecordKind::Hold => "hold",
            RecordKind::Verified => "verified",
        }
    }
}

/// Why a record cannot be followed. None of these means that it is absent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// Not the JSON that we write.
    #[error("it is not a record of ours: {0}")]
    Malformed(String),
    /// Written by a newer (or unknown) version.
    #[error(
        "it has format version {0}, and this version understands only {FORMAT}; upgrade etcd-lifeboat on this host"
    )]
    UnknownFormat(u64),
    /// Another kind of record under this key.
    #[error("it is a {0} record, which does not belong under this key")]
    WrongKind(String),
    /// The record belongs to another cluster.
    #[error("it belongs to cluster {0:?}")]
    OtherCluster(String),
    /// Signed with another token.
    #[error("it was signed with another cluster token (fingerprint {theirs}, ours is {ours})")]
    OtherToken {
        /// Fingerprint of the token it was signed with.
        theirs: String,
        /// Fingerprint of our token.
        ours: String,
    },
    /// Altered, renamed, moved or forged.
    #[error("its signature does not match: it was altered, renamed or forged")]
    BadSignature,
    /// Signed by us, but its content makes no sense.
    #[error("its content is not valid: {0}")]
    BadBody(String),
}

impl RecordProblem {
    /// What a person can change, where something can be changed on this host.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            RecordProblem::OtherToken { .. } => "put the token that the cluster was using into cluster.token_file",
            RecordProblem::OtherCluster(_) => "check cluster.name and the folder of the store (store.s3.folder)",
            RecordProblem::UnknownFormat(_) => "upgrade etcd-lifeboat on this host",
            _ => return None,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u64,
    kind: String,
    cluster: String,
    generation: Generation,
    token_fingerprint: String,
    body: Value,
    hmac: String,
}

/// A record whose envelope was understood and whose signature has **not** been checked.
#[derive(Debug)]
pub struct Unverified {
    /// What the HMAC must cover.
    pub signing_input: Vec<u8>,
    /// The HMAC that the record carries.
    pub hmac: Vec<u8>,
    /// Whose token signed it, by its own word.
    pub token_fingerprint: String,
    /// Its generation.
    pub generation: Generation,
    body: Value,
}

impl Unverified {
    /// The typed body. Call it only after the HMAC was found right.
    ///
    /// # Errors
    /// [`RecordProblem::BadBody`].
    pub fn into_body<T: serde::de::DeserializeOwned>(self) -> Result<T, RecordProblem> {
        serde_json::from_value(self.body).map_err(|e| RecordProblem::BadBody(e.to_string()))
    }
}

/// Takes an envelope apart.
///
/// # Errors
/// Any [`RecordProblem`] but those about the signature.
pub fn parse(kind: RecordKind, key: &str, cluster: &ClusterName, bytes: &[u8]) -> Result<Unverified, RecordProblem> {
    #[derive(Deserialize)]
    struct Version {
        format: u64,
    }
    let version: Version = serde_json::from_slice(bytes).map_err(|e| RecordProblem::Malformed(e.to_string()))?;
    if version.format != FORMAT {
        return Err(RecordProblem::UnknownFormat(version.format));
    }
    let e: Envelope = serde_json::from_slice(bytes).map_err(|e| RecordProblem::Malformed(e.to_string()))?;
    if e.kind != kind.as_str() {
        return Err(RecordProblem::WrongKind(e.kind));
    }
    if e.cluster != cluster.as_str() {
        return Err(RecordProblem::OtherCluster(e.cluster));
    }
    let hmac = hex::decode(&e.hmac).map_err(|_| RecordProblem::Malformed("hmac is not hexadecimal".into()))?;
    let signing_input = signing_input(kind, key, cluster, e.generation, &e.body)?;
    Ok(Unverified {
        signing_input,
        hmac,
        token_fingerprint: e.token_fingerprint,
        generation: e.generation,
        body: e.body,
    })
}

/// What the HMAC covers: kind, key, cluster, generation and the canonical body, each with its length before it.
///
/// # Errors
/// [`RecordProblem::Malformed`] when the body holds a number that is no integer: it would have no canonical form.
pub fn signing_input(
    kind: RecordKind,
    key: &str,
    cluster: &ClusterName,
    generation: Generation,
    body: &Value,
) -> Result<Vec<u8>, RecordProblem> {
    let mut canonical = Vec::new();
    write_canonical(body, &mut canonical)?;
    let mut input = Vec::new();
    let format = FORMAT.to_string();
    let generation = generation.to_string();
    let parts: [&[u8]; 7] = [
        b"etcd-lifeboat record",
        format.as_bytes(),
        kind.as_str().as_bytes(),
        key.as_bytes(),
        cluster.as_str().as_bytes(),
        generation.as_bytes(),
        &canonical,
    ];
    for part in parts {
        input.extend_from_slice(&(part.len() as u64).to_be_bytes());
        input.extend_from_slice(part);
    }
    Ok(input)
}

/// The record as it is stored: readable JSON, with the HMAC that the caller made over [`signing_input`].
///
/// # Errors
/// When the body cannot be put into JSON.
pub fn assemble(
    kind: RecordKind,
    cluster: &ClusterName,
    generation: Generation,
    token_fingerprint: &str,
    body: Value,
    hmac: &[u8],
) -> Result<Vec<u8>, RecordProblem> {
    let envelope = Envelope {
        format: FORMAT,
        kind: kind.as_str().to_owned(),
        cluster: cluster.as_str().to_owned(),
        generation,
        token_fingerprint: token_fingerprint.to_owned(),
        body,
        hmac: hex::encode(hmac),
    };
    let mut out = serde_json::to_vec_pretty(&envelope).map_err(|e| RecordProblem::Malformed(e.to_string()))?;
    out.push(b'\n');
    Ok(out)
}

/// JSON with sorted keys and no white space. The depth is bounded by the parser (128).
fn write_canonical(value: &Value, out: &mut Vec<u8>) -> Result<(), RecordProblem> {
    match value {
        Value::Object(map) => {
            // Sorted here: another crate may switch serde_json to insertion order.
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push(b'{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_scalar(&Value::String(key.clone()), out)?;
                out.push(b':');
                if let Some(value) = map.get(key) {
                    write_canonical(value, out)?;
                }
            }
            out.push(b'}');
            Ok(())
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_canonical(item, out)?;
            }
            out.push(b']');
            Ok(())
        }
        Value::Number(n) if n.is_f64() => {
            Err(RecordProblem::Malformed(format!("{n} is not an integer, and records hold no other numbers")))
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_scalar(value: &Value, out: &mut Vec<u8>) -> Result<(), RecordProblem> {
    serde_json::to_writer(out, value).map_err(|e| RecordProblem::Malformed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster() -> ClusterName {
        ClusterName::new("prod").unwrap()
    }

    #[test]
    fn canonical_form_does_not_depend_on_order_or_space() {
        let a: Value = serde_json::from_str(r#"{"b": [1, {"z":null,"a":"é\n"}], "a": -1}"#).unwrap();
        let mut out = Vec::new();
        write_canonical(&a, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":-1,"b":[1,{"a":"é\n","z":null}]}"#);
    }

    #[test]
    fn every_bound_value_changes_the_signing_input() {
        let base = |kind, key, cluster: &str, generation, body: Value| {
            signing_input(kind, key, &ClusterName::new(cluster).unwrap(), Generation(generation), &body).unwrap()
        };
        let inputs = [
            base(RecordKind::Plan, "k", "prod", 1, json!({"a": 1})),
            base(RecordKind::Manifest, "k", "prod", 1, json!({"a": 1})),
            base(RecordKind::Plan, "kp", "rod", 1, json!({"a": 1})),
            base(RecordKind::Plan, "k", "prod", 2, json!({"a": 1})),
            base(RecordKind::Plan, "k", "prod", 1, json!({"a": "1"})),
        ];
        for (i, a) in inputs.iter().enumerate() {
            for b in &inputs[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_named_and_never_absent() {
        let body = json!({"a": 1});
        let good = assemble(RecordKind::Plan, &cluster(), Generation(3), "fp", body.clone(), b"\x01\x02").unwrap();
        let parsed = parse(RecordKind::Plan, "k", &cluster(), &good).unwrap();
        assert_eq!(parsed.generation, Generation(3));
        assert_eq!(
            parsed.signing_input,
            signing_input(RecordKind::Plan, "k", &cluster(), Generation(3), &body).unwrap()
        );
        let text = String::from_utf8(good).unwrap();
        let cases = [
            ("".to_owned(), "not a record"),
            ("<html>".to_owned(), "not a record"),
            ("{}".to_owned(), "not a record"),
            (text.replace("\"format\": 1", "\"format\": 2"), "format version 2"),
            (text.replace("\"plan\"", "\"manifest\""), "manifest record"),
            (text.replace("\"prod\"", "\"test\""), "cluster \"test\""),
            (text.replace("\"a\": 1", "\"a\": 1.5"), "not an integer"),
        ];
        for (bytes, expected) in cases {
            let e = parse(RecordKind::Plan, "k", &cluster(), bytes.as_bytes()).unwrap_err().to_string();
            assert!(e.contains(expected), "{bytes}: {e}");
        }
    }
}
