//! The catalogue of snapshots over a store with faults.

use std::sync::Arc;

use bytes::Bytes;
use secrecy::SecretString;

use super::attached::{Hold, Verification};
use super::keys;
use super::memory::{Fault, MemoryStore};
use super::records::{Created, Records};
use super::snapshots::{Payload, Snapshots};
use crate::core::manifest::Manifest;
use crate::core::manifest::tests::sample;
use crate::core::model::{ClusterName, NodeName, Nonce, SnapshotName, Timestamp};
use crate::core::record::{RecordKind, RecordProblem};
use crate::crypto::{Keyring, Token};
use crate::error::Kind;
use crate::ports::{ObjectStore, StoreErrorKind};

pub(crate) fn records(store: Arc<MemoryStore>, token: &str, cluster: &str) -> Records {
    records_over(store, token, cluster)
}

pub(super) fn records_over(store: Arc<dyn ObjectStore>, token: &str, cluster: &str) -> Records {
    let keyring = Keyring::new(Token::new(&SecretString::from(token)).unwrap());
    Records::new(store, Arc::new(keyring), ClusterName::new(cluster).unwrap())
}

fn catalog(store: &Arc<MemoryStore>) -> Snapshots {
    Snapshots::new(records(store.clone(), "0123456789abcdef", "prod"))
}

fn seal(catalog: &Snapshots, m: &Manifest) -> Bytes {
    catalog.records().seal(RecordKind::Manifest, &keys::manifest(&m.name), m.generation, m).unwrap()
}

async fn commit(store: &Arc<MemoryStore>, m: &Manifest) {
    let c = catalog(store);
    store.set(&m.payload_key(), vec![7u8; m.stored.size as usize]);
    assert_eq!(c.commit(m, seal(&c, m)).await.unwrap(), Created::Ours);
}

fn verification(m: &Manifest, ok: bool) -> Verification {
    Verification {
        name: m.name.clone(),
        stored_sha256: m.stored.sha256,
        ok,
        problem: (!ok).then(|| "page 7 is damaged".into()),
        checked: Timestamp::UNIX_EPOCH,
        node: NodeName::new("cp1").unwrap(),
        revision: None,
        keys: None,
        hash_kv: None,
        nonce: Nonce([1; 16]),
    }
}

#[tokio::test]
async fn only_committed_snapshots_are_listed_and_the_latest_is_by_generation_and_revision() {
    let store = MemoryStore::new();
    for (name, generation, revision) in [("c", 1, 900), ("a", 2, 10), ("b", 1, 1000)] {
        commit(&store, &sample(name, generation, revision)).await;
    }
    let mut emergency = sample("z", 3, 5000);
    emergency.quorum = false;
    commit(&store, &emergency).await;
    store.set("snapshots/broken-off.db.gz", vec![0; 10]);
    store.set("snapshots/README.txt", "hello");
    store.set("snapshots/../../etc/passwd.db", "hostile");

    let listing = catalog(&store).list().await.unwrap();
    let names: Vec<_> = listing.entries.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["c", "b", "a", "z"]);
    assert_eq!(listing.latest().unwrap().manifest.name.as_str(), "a");
    assert_eq!(listing.uncommitted, [SnapshotName::new("broken-off").unwrap()]);
    assert_eq!(listing.foreign, 2);
    assert_eq!(catalog(&store).resolve("latest").await.unwrap().name.as_str(), "a");
    assert_eq!(catalog(&store).resolve("broken-off").await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(catalog(&store).resolve("../x").await.unwrap_err().kind(), Kind::Usage);
}

#[tokio::test]
async fn the_choice_does_not_depend_on_how_many_there_are() {
    for count in [0usize, 1, 99, 100, 101, 350] {
        let store = MemoryStore::new();
        for i in 0..count {
            commit(&store, &sample(&format!("s{i}"), 1, ((i * 37) % 1000 + 1) as i64)).await;
        }
        let listing = catalog(&store).list().await.unwrap();
        assert_eq!(listing.entries.len(), count);
        let expected = (0..count).map(|i| (i * 37) % 1000 + 1).max();
        assert_eq!(listing.latest().map(|c| c.manifest.revision.0 as usize), expected, "{count}");
    }
}

#[tokio::test]
async fn a_failing_call_is_never_a_shorter_list() {
    for (operation, nth) in [("list", 1), ("list", 2), ("get", 1), ("get", 2), ("get", 60)] {
        let store = MemoryStore::new();
        for i in 0..60 {
            commit(&store, &sample(&format!("s{i}"), 1, i + 1)).await;
        }
        let mut seen = 0;
        store.on(move |op, _| {
            seen += usize::from(op == operation);
            (op == operation && seen == nth).then_some(Fault::Refuse(StoreErrorKind::Unavailable))
        });
        let failed = catalog(&store).list().await.unwrap_err();
        assert_eq!(failed.kind, StoreErrorKind::Unavailable, "{operation} {nth}");
    }
}

#[tokio::test]
async fn a_manifest_that_does_not_verify_is_named_and_never_absent() {
    let store = MemoryStore::new();
    let good = sample("good", 1, 5);
    commit(&store, &good).await;
    let sealed = store.body(&keys::manifest(&good.name)).unwrap();
    // Another name, another token, another cluster, cut, and a signed one without sense.
    store.set("snapshots/renamed.manifest.json", sealed.clone());
    store.set("snapshots/cut.manifest.json", sealed.slice(..sealed.len() - 20));
    let stranger = Snapshots::new(records(store.clone(), "another-token-of-ours", "prod"));
    store.set("snapshots/token.manifest.json", seal(&stranger, &sample("token", 1, 9)));
    let neighbour = Snapshots::new(records(store.clone(), "0123456789abcdef", "staging"));
    store.set("snapshots/cluster.manifest.json", seal(&neighbour, &sample("cluster", 1, 9)));
    let mut senseless = sample("senseless", 1, 5);
    senseless.raw.size = 1;
    store.set("snapshots/senseless.manifest.json", seal(&catalog(&store), &senseless));
    store.set("snapshots/future.manifest.json", r#"{"format": 99, "body": {}}"#);

    let listing = catalog(&store).list().await.unwrap();
    assert_eq!(listing.latest().unwrap().manifest, good);
    type Expected = fn(&RecordProblem) -> bool;
    let cases: [(&str, Expected); 6] = [
        ("renamed", |p| matches!(p, RecordProblem::BadSignature)),
        ("cut", |p| matches!(p, RecordProblem::Malformed(_))),
        ("token", |p| matches!(p, RecordProblem::OtherToken { .. })),
        ("cluster", |p| matches!(p, RecordProblem::OtherCluster(_))),
        ("senseless", |p| matches!(p, RecordProblem::BadBody(_))),
        ("future", |p| matches!(p, RecordProblem::UnknownFormat(99))),
    ];
    for (name, expected) in cases {
        let entry = listing.entries.iter().find(|e| e.name.as_str() == name).unwrap();
        let problem = entry.state.as_ref().map(|_| ()).unwrap_err();
        assert!(expected(problem), "{name}: {problem}");
        let refused = catalog(&store).resolve(name).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Verification, "{name}");
        assert!(refused.message().contains(&format!("snapshots/{name}.manifest.json")), "{refused:?}");
    }
}

#[tokio::test]
async fn known_damage_is_shown() {
    let store = MemoryStore::new();
    let (whole, missing, short, bad, other) = (
        sample("whole", 1, 1),
        sample("missing", 1, 2),
        sample("short", 1, 3),
        sample("bad", 1, 4),
        sample("other", 1, 5),
    );
    for m in [&whole, &missing, &short, &bad, &other] {
        commit(&store, m).await;
    }
    let c = catalog(&store);
    store.remove(&missing.payload_key());
    store.set(&short.payload_key(), vec![0; 3]);
    c.record_verification(&whole, &verification(&whole, true)).await.unwrap();
    c.record_verification(&bad, &verification(&bad, false)).await.unwrap();
    let mut about_other_content = verification(&other, false);
    about_other_content.stored_sha256 = whole.raw.sha256;
    c.record_verification(&other, &about_other_content).await.unwrap();
    store.set("snapshots/missing.verified.json", "{}");

    let listing = c.list().await.unwrap();
    let of = |name: &str| listing.committed().find(|e| e.manifest.name.as_str() == name).unwrap();
    assert_eq!((of("whole").payload, of("whole").damage()), (Payload::Present, None));
    assert!(of("whole").verified.as_ref().is_some_and(|v| v.ok));
    assert_eq!(of("missing").payload, Payload::Missing);
    assert_eq!(of("short").payload, Payload::WrongSize(3));
    assert_eq!(of("bad").damage().as_deref(), Some("page 7 is damaged"));
    assert_eq!(of("other").damage(), None);
}

#[tokio::test]
async fn a_manifest_is_not_written_before_its_payload_lies_there_in_full() {
    let store = MemoryStore::new();
    let (c, m) = (catalog(&store), sample("a", 1, 5));
    assert_eq!(c.commit(&m, seal(&c, &m)).await.unwrap_err().kind, StoreErrorKind::NotFound);
    store.set(&m.payload_key(), vec![0; m.stored.size as usize - 1]);
    assert_eq!(c.commit(&m, seal(&c, &m)).await.unwrap_err().kind, StoreErrorKind::Corrupt);
    assert_eq!(store.keys(), [m.payload_key()]);

    store.set(&m.payload_key(), vec![0; m.stored.size as usize]);
    store.on(|op, key| (op == "put" && key.ends_with(".manifest.json")).then_some(Fault::LoseAnswer));
    assert_eq!(c.commit(&m, seal(&c, &m)).await.unwrap(), Created::Ours, "a lost answer is settled by reading back");
    store.heal();
    assert_eq!(c.commit(&m, seal(&c, &m)).await.unwrap(), Created::Ours, "again");
    let mut rival = m.clone();
    rival.node = NodeName::new("cp2").unwrap();
    assert_eq!(c.commit(&rival, seal(&c, &rival)).await.unwrap(), Created::Taken);
}

#[tokio::test]
async fn delete_takes_the_manifest_first_and_only_with_proof() {
    let store = MemoryStore::new();
    let (c, m) = (catalog(&store), sample("a", 1, 5));
    commit(&store, &m).await;
    commit(&store, &sample("b", 1, 6)).await;
    c.record_verification(&m, &verification(&m, true)).await.unwrap();
    let before = store.keys();

    // Held: refused, and nothing happened.
    let hold =
        Hold { name: m.name.clone(), reason: "audit".into(), since: Timestamp::UNIX_EPOCH, nonce: Nonce([2; 16]) };
    c.records().renew(RecordKind::Hold, &keys::hold(&m.name), m.generation, &hold).await.unwrap();
    let refused = c.delete(&m.name, false).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert_eq!(refused.hint_text(), Some("release it first: lifeboat release a"));
    store.remove(&keys::hold(&m.name));
    assert_eq!(store.keys(), before);

    // The store says yes and keeps it.
    store.on(|op, _| (op == "delete").then_some(Fault::Lie));
    assert_eq!(c.delete(&m.name, false).await.unwrap_err().kind(), Kind::Store);
    assert_eq!(store.keys(), before);

    // It breaks off after the manifest: gone for everybody, and finished by doing it again with force.
    store.on(|op, key| (op == "delete" && key.ends_with(".gz")).then_some(Fault::Refuse(StoreErrorKind::Unreachable)));
    assert!(c.delete(&m.name, false).await.is_err());
    store.heal();
    assert_eq!(c.list().await.unwrap().entries.len(), 1);
    assert_eq!(c.delete(&m.name, false).await.unwrap_err().kind(), Kind::Refused);
    c.delete(&m.name, true).await.unwrap();
    assert_eq!(store.keys(), ["snapshots/b.db.gz", "snapshots/b.manifest.json"]);
    assert_eq!(c.delete(&m.name, true).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_snapshot_of_another_token_is_deleted_only_by_force() {
    let store = MemoryStore::new();
    let m = sample("a", 1, 5);
    commit(&store, &m).await;
    let stranger = Snapshots::new(records(store.clone(), "another-token-of-ours", "prod"));
    let refused = stranger.delete(&m.name, false).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert!(refused.one_line().contains("signed with another cluster token"), "{refused:?}");
    assert_eq!(store.keys().len(), 2);
    stranger.delete(&m.name, true).await.unwrap();
    assert!(store.keys().is_empty());
}

#[tokio::test]
async fn the_same_content_is_told_from_other_content() {
    use sha2::Digest;
    let store = MemoryStore::new();
    let (c, mut m) = (catalog(&store), sample("a", 1, 5));
    let body = vec![3u8; 700_000];
    m.stored.size = body.len() as u64;
    m.stored.sha256 = crate::core::model::Sha256(sha2::Sha256::digest(&body).into());
    store.set(&m.payload_key(), body.clone());
    assert!(c.payload_is(&m).await.unwrap());
    let mut other = body.clone();
    other[699_999] = 4;
    store.set(&m.payload_key(), other);
    assert!(!c.payload_is(&m).await.unwrap());
    store.set(&m.payload_key(), body[1..].to_vec());
    assert!(!c.payload_is(&m).await.unwrap());
    store.set(&m.payload_key(), body);
    store.on(|op, _| (op == "open").then_some(Fault::Lie));
    assert_eq!(c.payload_is(&m).await.unwrap_err().kind, StoreErrorKind::Unreachable);
}
