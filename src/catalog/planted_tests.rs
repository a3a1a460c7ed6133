//! Records that somebody with the bucket's key has planted, altered or replayed: none of them is ever followed, and none is taken for absent.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::memory::MemoryStore;
use super::plans::Plans;
use super::presence::Heartbeat;
use super::records::Records;
use super::snapshots::Snapshots;
use super::snapshots_tests::records;
use super::{heartbeat, keys, presence, voters};
use crate::core::facts::RollState;
use crate::core::manifest::tests::sample;
use crate::core::model::{ClusterId, Generation, NodeName, Nonce, Revision, SnapshotName};
use crate::core::plan::{self, MarkUse, PersonsWord, Plan, PlanCause, StartedMark, VotersRecord};
use crate::core::record::RecordKind;

const TOKEN: &str = "0123456789abcdef";

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn plan(generation: u64) -> Plan {
    Plan {
        nonce: Nonce([generation as u8; 16]),
        ..plan::tests::sample_plan(generation, PlanCause::Init, plan::tests::voters("cp1"))
    }
}

/// The kinds of records that decide something, each with the key that the current life has it under.
const KINDS: [RecordKind; 8] = [
    RecordKind::Plan,
    RecordKind::Started,
    RecordKind::Voters,
    RecordKind::Cancelled,
    RecordKind::Lost,
    RecordKind::Heartbeat,
    RecordKind::RollCall,
    RecordKind::Manifest,
];

/// Signs a record of `kind` for `generation` as it would be written by a host of the cluster of `by`, and gives its key.
fn genuine(by: &Records, kind: RecordKind, generation: u64) -> (String, Bytes) {
    let (g, cp1, nonce) = (Generation(generation), node("cp1"), Nonce([9; 16]));
    let at = "2024-01-15T10:30:00Z".parse().unwrap();
    let word = PersonsWord { generation: g, by: cp1.clone(), reason: "why".into(), at, nonce };
    let (key, sealed) = match kind {
        RecordKind::Plan => {
            let key = keys::plan(g);
            (key.clone(), by.seal(kind, &key, g, &plan(generation)))
        }
        RecordKind::Started => {
            let key = keys::started(g, &cp1);
            let (node, by_node) = (cp1.clone(), cp1);
            let mark = StartedMark { node, generation: g, purpose: MarkUse::Apply, by: by_node, nonce, at };
            (key.clone(), by.seal(kind, &key, g, &mark))
        }
        RecordKind::Voters => {
            let key = keys::voters(g, 1);
            let record = VotersRecord {
                number: 1,
                voters: plan(generation).voters,
                confirmed: true,
                cluster_id: None,
                by: cp1,
                nonce,
            };
            (key.clone(), by.seal(kind, &key, g, &record))
        }
        RecordKind::Cancelled => (keys::cancelled(g), by.seal(kind, &keys::cancelled(g), g, &word)),
        RecordKind::Lost => (keys::lost(g), by.seal(kind, &keys::lost(g), g, &word)),
        RecordKind::Heartbeat => {
            let beat =
                Heartbeat { generation: g, cluster_id: ClusterId(generation), by: cp1, revision: Revision(5), nonce };
            (keys::HEARTBEAT.to_owned(), by.seal(kind, keys::HEARTBEAT, g, &beat))
        }
        RecordKind::RollCall => {
            let key = keys::roll_call(&node("cp2"));
            let body = serde_json::json!({
                "node": "cp2", "peer_urls": ["http://cp2:2380"], "state": RollState::Empty, "remembers": 1,
                "remembers_cluster": true, "waiting_seconds": 5, "nonce": nonce,
            });
            (key.clone(), by.seal(kind, &key, g, &body))
        }
        RecordKind::Manifest => {
            let m = sample("s", generation, 10);
            let key = keys::manifest(&m.name);
            (key.clone(), by.seal(kind, &key, g, &m))
        }
        RecordKind::Hold | RecordKind::Verified => unreachable!("they decide nothing"),
    };
    (key, sealed.unwrap())
}

/// What a host of `prod` makes of the record of that kind: `Ok(true)` when it is followed, `Ok(false)` when it counts as absent.
async fn followed(store: &Arc<MemoryStore>, kind: RecordKind) -> Result<bool, String> {
    let ours = records(store.clone(), TOKEN, "prod");
    let plans = Plans::new(ours.clone());
    let text = |e: super::records::ReadError| e.to_string();
    match kind {
        RecordKind::Heartbeat => presence::heartbeat(&ours).await.map(|h| h.is_some()).map_err(text),
        RecordKind::RollCall => presence::roll_call(&ours, &node("cp1"))
            .await
            .map(|(own, others)| own.is_some() || !others.is_empty())
            .map_err(text),
        RecordKind::Manifest => {
            let name = SnapshotName::new("s").unwrap();
            let listed = Snapshots::new(ours).list().await.map_err(|e| e.to_string())?;
            match listed.entries.iter().find(|e| e.name == name).map(|e| &e.state) {
                None => Ok(false),
                Some(Ok(_)) => Ok(true),
                Some(Err(problem)) => Err(problem.to_string()),
            }
        }
        _ => {
            let (lives, newest) = plans.history(Generation(0)).await.map_err(text)?;
            let Some(newest) = newest else { return Ok(false) };
            let mut known = Vec::new();
            voters::read_on(&ours, newest.plan.generation, &mut known).await.map_err(text)?;
            assert_eq!(known, newest.voters);
            Ok(match kind {
                RecordKind::Started => !newest.marks.is_empty(),
                RecordKind::Voters => !newest.voters.is_empty(),
                RecordKind::Cancelled => newest.cancelled,
                RecordKind::Lost => newest.lost,
                _ => lives.iter().any(|l| l.generation == Generation(2)),
            })
        }
    }
}

/// A store of `prod` in its second life; without plan 2 when that is what will be planted.
fn second_life(kind: RecordKind) -> (Arc<MemoryStore>, Records) {
    let store = MemoryStore::new();
    let ours = records(store.clone(), TOKEN, "prod");
    for generation in [1, 2] {
        if kind != RecordKind::Plan || generation == 1 {
            let (key, sealed) = genuine(&ours, RecordKind::Plan, generation);
            store.set(&key, sealed);
        }
    }
    (store, ours)
}

fn edited(record: &Bytes, edit: impl Fn(&mut Value)) -> Bytes {
    let mut value: Value = serde_json::from_slice(record).unwrap();
    edit(&mut value);
    Bytes::from(value.to_string())
}

#[tokio::test]
async fn nothing_that_was_planted_is_followed_or_taken_for_absent() {
    for kind in KINDS {
        // The control: what a host of the cluster writes is followed.
        let (store, ours) = second_life(kind);
        let (key, real) = genuine(&ours, kind, 2);
        store.set(&key, real.clone());
        assert_eq!(followed(&store, kind).await, Ok(true), "{kind:?}");

        let elsewhere = |token: &str, cluster: &str| records(MemoryStore::new(), token, cluster);
        let other_word = |v: &mut Value| v["hmac"] = "00".repeat(32).into();
        let planted: [(&str, Bytes); 8] = [
            ("of another cluster with our token", genuine(&elsewhere(TOKEN, "dev"), kind, 2).1),
            ("of another token", genuine(&elsewhere("another-token-of-16", "prod"), kind, 2).1),
            ("of the older life, moved here", genuine(&ours, kind, 1).1),
            ("unsigned", edited(&real, |v| drop(v.as_object_mut().unwrap().remove("hmac")))),
            ("signed with nonsense", edited(&real, other_word)),
            ("with another generation in its envelope", edited(&real, |v| v["generation"] = 7.into())),
            ("of a later format", edited(&real, |v| v["format"] = 99.into())),
            ("no record at all", Bytes::from_static(b"<html>please log in</html>")),
        ];
        for (what, record) in planted {
            // The same key in both lives: an old one is genuine there. What it may lead to is in the next test.
            let same_key = matches!(kind, RecordKind::Heartbeat | RecordKind::RollCall | RecordKind::Manifest);
            if same_key && what.starts_with("of the older life") {
                continue;
            }
            let (store, _) = second_life(kind);
            store.set(&key, record);
            let got = followed(&store, kind).await;
            assert!(got.is_err(), "{kind:?} {what}: {got:?}");
        }
    }
}

#[tokio::test]
async fn a_record_under_another_key_is_not_followed() {
    for kind in KINDS {
        for other in KINDS {
            let (store, ours) = second_life(kind);
            let (key, _) = genuine(&ours, kind, 2);
            let (from, record) = genuine(&ours, other, 2);
            if from == key {
                continue;
            }
            store.set(&key, record);
            let got = followed(&store, kind).await;
            assert!(got.is_err(), "{other:?} under the key of {kind:?}: {got:?}");
        }
    }
}

/// An old heartbeat that is put back is signed by us and says which life it was: it can make hosts wait, and never act. An old manifest names a
/// snapshot of that very content. Neither carries the newer life's number.
#[tokio::test]
async fn what_is_replayed_under_its_own_key_says_how_old_it_is() {
    let (store, ours) = second_life(RecordKind::Heartbeat);
    let beat = |generation| Heartbeat {
        generation: Generation(generation),
        cluster_id: ClusterId(generation),
        by: node("cp1"),
        revision: Revision(5),
        nonce: Nonce([generation as u8; 16]),
    };
    heartbeat::beat(&ours, &beat(1)).await.unwrap();
    let old = store.body(keys::HEARTBEAT).unwrap();
    heartbeat::beat(&ours, &beat(2)).await.unwrap();
    assert_eq!(presence::heartbeat(&ours).await.unwrap().unwrap().generation, Generation(2));
    store.set(keys::HEARTBEAT, old);
    assert_eq!(presence::heartbeat(&ours).await.unwrap().unwrap().generation, Generation(1));

    let (key, record) = genuine(&ours, RecordKind::Manifest, 1);
    store.set(&key, record);
    let listed = Snapshots::new(ours).list().await.unwrap();
    assert_eq!(listed.committed().map(|c| c.manifest.generation).collect::<Vec<_>>(), [Generation(1)]);
}
