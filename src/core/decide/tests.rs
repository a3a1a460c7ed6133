//! A table of stories of one host: what was seen, and what must follow.

use super::*;
use crate::core::facts::*;
use crate::core::model::{MemberId, Nonce, Revision, Sha256, SnapshotName};
use crate::core::plan::tests::sample_plan;
use crate::core::plan::{Excluded, Plan, PlanCause, PlannedSnapshot, StartedMark, Voter};
use crate::core::select::{Candidate, SnapshotFact};

mod data;
mod lost;
mod requests;
mod several;

pub(super) fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub(super) fn voter(name: &str) -> Voter {
    Voter { name: node(name), peer_urls: vec![format!("http://{name}:2380")] }
}

pub(super) fn policy() -> Policy {
    Policy {
        node: node("cp1"),
        members: vec![voter("cp1")],
        managed_by: ManagedBy::Systemd,
        data_dir: "/var/lib/etcd".into(),
        wal_dir: None,
        autorestore: true,
        pinned: None,
        existing_only: false,
        init_empty: false,
        peer_wait_seconds: 120,
        expected_members: None,
        lost_after_seconds: 600,
        heartbeat_ttl_seconds: 90,
        seed: None,
        replace_damaged: false,
        fallback: 3,
    }
}

/// An empty host, an empty store, nothing remembered.
pub(super) fn blank() -> Facts {
    Facts {
        data_dir: Observed::Known(DataDir::Absent),
        staging: Observed::Known(None),
        memory: Observed::Known(Memory::default()),
        live: Live::default(),
        store: Observed::Known(StoreFacts::default()),
        request: Observed::Known(None),
        also_requested: vec![],
        remarks: vec![],
        start: Observed::unknown(CauseCode::NotLooked, "not looked at"),
        joined_without_log: false,
        waited_seconds: 0,
        attempts: Attempts::default(),
    }
}

pub(super) fn snapshot(name: &str, generation: u64, revision: i64) -> SnapshotFact {
    SnapshotFact {
        name: SnapshotName::new(name).unwrap(),
        manifest: Ok(Candidate {
            cluster_id: ClusterId(0xc0 + generation),
            generation: Generation(generation),
            revision: Revision(revision),
            started: "2024-01-15T10:30:00Z".parse().unwrap(),
            raw_sha256: Sha256([1; 32]),
            raw_size: 20_512,
            kind: "snapshot".into(),
            quorum: true,
            storage_version: None,
            damaged: None,
            payload_present: true,
            voters: vec![voter("cp1")],
        }),
    }
}

pub(super) fn plan(generation: u64, cause: PlanCause, restores: Option<&str>) -> PlanFacts {
    PlanFacts {
        plan: Plan {
            snapshot: restores.map(|name| PlannedSnapshot {
                name: SnapshotName::new(name).unwrap(),
                generation: Generation(generation - 1),
                revision: Revision(10),
                raw_sha256: Sha256([1; 32]),
                raw_size: 20_512,
            }),
            cluster_id: ClusterId(0xc0 + generation),
            nonce: Nonce([9; 16]),
            ..sample_plan(generation, cause, vec![voter("cp1")])
        },
        cancelled: false,
        lost: false,
        marks: vec![],
        voters: vec![],
        age_seconds: None,
    }
}

/// A host that stands in the roll call, without data.
pub(super) fn waits(name: &str, waiting_seconds: u64) -> RollEntry {
    RollEntry {
        node: node(name),
        peer_urls: voter(name).peer_urls,
        state: RollState::Empty,
        remembers: Generation(0),
        remembers_cluster: false,
        age_seconds: 5,
        waiting_seconds,
    }
}

fn mark(generation: u64, nonce: u8) -> StartedMark {
    StartedMark {
        node: node("cp1"),
        generation: Generation(generation),
        purpose: MarkUse::Apply,
        by: node("cp1"),
        nonce: Nonce([nonce; 16]),
        at: "2024-01-15T10:30:00Z".parse().unwrap(),
    }
}

pub(super) fn healthy(cluster: u64) -> DataDir {
    DataDir::Healthy(LocalMember {
        cluster_id: ClusterId(cluster),
        member_id: MemberId(1),
        members: vec![LocalVoter {
            id: MemberId(1),
            name: "cp1".into(),
            peer_urls: vec!["http://cp1:2380".into()],
            is_learner: false,
        }],
        revision: Some(5),
    })
}

pub(super) fn with_store(f: &mut Facts, change: impl FnOnce(&mut StoreFacts)) {
    if let Observed::Known(store) = &mut f.store {
        change(store);
        if let Some(newest) = &store.plan {
            store.lives = vec![Life {
                generation: newest.plan.generation,
                cluster_id: newest.plan.cluster_id,
                cause: newest.plan.cause,
                cancelled: newest.cancelled,
                request: newest.plan.request.clone(),
                may_live: vec![],
            }];
        }
    }
}

/// A life before the newest one, as the first of all.
fn older_life(f: &mut Facts, request: Option<&str>) {
    if let Observed::Known(store) = &mut f.store {
        let older = Life {
            generation: Generation(1),
            cluster_id: ClusterId(0xc1),
            cause: PlanCause::Restore,
            cancelled: false,
            request: request.map(Into::into),
            may_live: vec![],
        };
        store.lives.insert(0, older);
    }
}

fn down(f: &mut Facts) {
    f.store = Observed::unknown(CauseCode::NoAnswer, "connection refused");
}

fn remembers(f: &mut Facts, generation: u64, started: &[u64]) {
    f.memory = Observed::Known(Memory {
        cluster: Some(crate::core::model::ClusterName::new("prod").unwrap()),
        highest_generation: Generation(generation),
        started: started.iter().map(|g| Generation(*g)).collect(),
        ..Memory::default()
    });
}

fn request(f: &mut Facts, snapshot: &str) {
    f.request = Observed::Known(Some(asked("r1", snapshot, RequestSource::File)));
}

fn asked(id: &str, snapshot: &str, source: RequestSource) -> Request {
    Request { id: id.into(), snapshot: snapshot.into(), found_in: format!("{source:?}"), source }
}

/// On the kernel command line, and never removed from there.
fn kernel_asks(f: &mut Facts, snapshot: &str) {
    f.request = Observed::Known(Some(asked("k1", snapshot, RequestSource::KernelCommandLine)));
}

fn done(f: &mut Facts, id: &str) {
    if let Observed::Known(memory) = &mut f.memory {
        memory.consumed.push(id.into());
    }
}

fn serves(f: &mut Facts, cluster: u64, members: Vec<LocalVoter>) {
    f.live.clusters = vec![LiveCluster { cluster_id: ClusterId(cluster), quorate: true, members, answering: vec![] }];
}

type Change = fn(&mut Facts, &mut Policy);

/// Name of the story, what is different from a blank host, the rule, and a word of the decision.
type Story = (&'static str, Change, Rule, &'static str);

fn stories() -> impl Iterator<Item = &'static Story> {
    [data::STORIES, lost::STORIES, requests::STORIES].into_iter().flatten()
}

#[test]
fn stories_of_one_host() {
    for (story, change, rule, word) in stories() {
        let (mut facts, mut policy) = (blank(), policy());
        change(&mut facts, &mut policy);
        let verdict = decide(&facts, &policy);
        let decision = format!("{:?}", verdict.decision);
        assert_eq!(verdict.rule, *rule, "{story}: {verdict:#?}");
        assert!(decision.contains(word), "{story}: {decision} lacks {word:?}");
        if matches!(verdict.decision, Decision::Refuse { .. } | Decision::Wait { .. }) {
            assert!(verdict.hint.is_some(), "{story}: says nothing about what to type next");
        }
    }
}

/// Whatever else is seen: an unknown store or data dir never leads to a step that forms, restores or joins.
#[test]
fn unknown_is_never_no() {
    for (story, change, ..) in stories() {
        let (mut facts, mut policy) = (blank(), policy());
        change(&mut facts, &mut policy);
        down(&mut facts);
        let verdict = decide(&facts, &policy);
        let harmless = matches!(
            verdict.decision,
            Decision::Start | Decision::Wait { .. } | Decision::Refuse { .. } | Decision::Quarantine
        );
        assert!(harmless, "{story}: with the store down: {verdict:#?}");
        if facts.data_dir.known().is_some_and(DataDir::is_void) {
            assert_ne!(verdict.decision, Decision::Start, "{story}: an empty host was started with the store down");
        }
    }
}

/// The stories survive being written to a file and replayed.
#[test]
fn facts_replay() {
    for (story, change, ..) in stories() {
        let (mut facts, mut policy) = (blank(), policy());
        change(&mut facts, &mut policy);
        let text = serde_json::to_string(&(&facts, &policy)).unwrap();
        let (read, policy_read): (Facts, Policy) = serde_json::from_str(&text).unwrap();
        assert_eq!((&read, &policy_read), (&facts, &policy), "{story}");
        assert_eq!(decide(&read, &policy_read), decide(&facts, &policy), "{story}");
    }
}

/// A snapshot that cannot be trusted may be the newest one: a restore of an older one says that it was left out.
#[test]
fn a_restore_says_what_it_could_not_consider() {
    let mut facts = blank();
    let newest = SnapshotName::new("newest").unwrap();
    with_store(&mut facts, |s| {
        s.snapshots =
            vec![snapshot("a", 0, 5), SnapshotFact { name: newest, manifest: Err("it has format version 2".into()) }];
    });
    let verdict = decide(&facts, &policy());
    assert_eq!(verdict.rule, Rule::S2);
    assert!(
        verdict.notes.iter().any(|n| n.contains("newest") && n.contains("format version 2")),
        "{:?}",
        verdict.notes
    );
}
