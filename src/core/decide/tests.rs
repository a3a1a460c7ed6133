//! A table of stories of one host: what was seen, and what must follow.

use super::*;
use crate::core::facts::*;
use crate::core::model::{MemberId, Nonce, Revision, Sha256, SnapshotName};
use crate::core::plan::{Excluded, Plan, PlanCause, PlannedSnapshot, StartedMark, Voter};
use crate::core::select::{Candidate, SnapshotFact};

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
        storage_version: None,
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
            generation: Generation(generation),
            cause,
            request: None,
            snapshot: restores.map(|name| PlannedSnapshot {
                name: SnapshotName::new(name).unwrap(),
                generation: Generation(generation - 1),
                revision: Revision(10),
                raw_sha256: Sha256([1; 32]),
                raw_size: 20_512,
            }),
            excluded: vec![],
            voters: vec![voter("cp1")],
            token: "t".into(),
            cluster_id: ClusterId(0xc0 + generation),
            reset: false,
            bump_revision: None,
            seed: node("cp1"),
            created: "2024-01-15T10:30:00Z".parse().unwrap(),
            nonce: Nonce([9; 16]),
        },
        cancelled: false,
        lost: false,
        marks: vec![],
        voters: vec![],
        age_seconds: None,
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
const STORIES: &[(&str, Change, Rule, &str)] = &[
    ("blank host, store down: never a new cluster", |f, _| down(f), Rule::P1, "Wait"),
    ("blank host, store answers and is empty", |_, _| (), Rule::N1, "Init"),
    (
        "blank host, memory unreadable",
        |f, _| f.memory = Observed::unknown(CauseCode::LocalIo, "EIO"),
        Rule::P1,
        "LocalUnknown",
    ),
    ("data dir unreadable", |f, _| f.data_dir = Observed::unknown(CauseCode::LocalIo, "EIO"), Rule::D1, "Wait"),
    (
        "staging unreadable on an empty host",
        |f, _| f.staging = Observed::unknown(CauseCode::LocalIo, "EIO"),
        Rule::D1,
        "Wait",
    ),
    (
        "mount missing",
        |f, _| f.data_dir = Observed::unknown(CauseCode::MountMissing, "it was a mount point"),
        Rule::D1,
        "Wait",
    ),
    (
        "an etcd runs, whatever the store says",
        |f, _| {
            f.data_dir = Observed::Known(DataDir::InUse);
            down(f);
        },
        Rule::D0,
        "Start",
    ),
    (
        "healthy data and the store down: starts at once",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            down(f);
        },
        Rule::D7,
        "Start",
    ),
    (
        "healthy data and snapshots: starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 999)]);
        },
        Rule::D7,
        "Start",
    ),
    (
        "healthy data, memory unreadable: starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            f.memory = Observed::unknown(CauseCode::LocalIo, "EIO");
        },
        Rule::D7,
        "Start",
    ),
    (
        "copied data dir: in no plan",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            with_store(f, |s| s.plan = Some(plan(1, PlanCause::Init, None)));
        },
        Rule::D2,
        "Foreign",
    ),
    (
        "copied data dir: other peer URLs",
        |f, p| {
            f.data_dir = Observed::Known(healthy(7));
            p.members = vec![Voter { name: node("cp1"), peer_urls: vec!["http://other:2380".into()] }];
        },
        Rule::D2,
        "Foreign",
    ),
    (
        "its own data dir: the same peer URLs, typed otherwise",
        |f, p| {
            let DataDir::Healthy(mut member) = healthy(7) else { return };
            member.members[0].peer_urls = vec!["http://[2001:DB8:0::1]:2380".into(), "HTTP://CP1:2380/".into()];
            f.data_dir = Observed::Known(DataDir::Healthy(member));
            let urls = vec!["http://cp1:2380".into(), "http://[2001:db8::1]:2380".into()];
            p.members = vec![Voter { name: node("cp1"), peer_urls: urls }];
        },
        Rule::D7,
        "Start",
    ),
    (
        "damaged data is never replaced without a word",
        |f, _| {
            f.data_dir = Observed::Known(DataDir::Damaged { what: "a db without a WAL".into(), member_present: true });
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::D2,
        "Damaged",
    ),
    ("lost, one snapshot", |f, _| with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]), Rule::S2, "\"a\""),
    (
        "lost, the best by generation then revision",
        |f, _| {
            with_store(f, |s| {
                s.snapshots = vec![snapshot("old", 0, 500), snapshot("new", 1, 10), snapshot("newer", 1, 20)];
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Restore, Some("old")) });
            });
        },
        Rule::S2,
        "\"newer\"",
    ),
    (
        "a plan of ours, not started yet",
        |f, _| {
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5)];
                s.plan = Some(plan(1, PlanCause::Restore, Some("a")));
            });
        },
        Rule::R1,
        "Apply",
    ),
    (
        "an init plan, not started yet",
        |f, _| with_store(f, |s| s.plan = Some(plan(1, PlanCause::Init, None))),
        Rule::R1,
        "Apply",
    ),
    (
        "an init plan, but snapshots have come since",
        |f, _| {
            with_store(f, |s| {
                s.plan = Some(plan(1, PlanCause::Init, None));
                s.snapshots = vec![snapshot("a", 1, 5)];
            });
        },
        Rule::S2,
        "\"a\"",
    ),
    (
        "a plan that is no longer the best",
        |f, _| {
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)];
                s.plan = Some(plan(1, PlanCause::Restore, Some("a")));
            });
        },
        Rule::S2,
        "\"b\"",
    ),
    (
        "a plan of other URLs is not ours",
        |f, p| {
            p.members = vec![Voter { name: node("cp1"), peer_urls: vec!["http://new:2380".into()] }];
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5)];
                s.plan = Some(plan(1, PlanCause::Restore, Some("a")));
            });
        },
        Rule::S2,
        "MakePlan",
    ),
    (
        "marked, staging gone: burnt, a new life",
        |f, _| {
            remembers(f, 1, &[1]);
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5)];
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Restore, Some("a")) });
            });
        },
        Rule::S2,
        "Generation(2)",
    ),
    (
        "marked by own memory only: burnt too",
        |f, _| {
            remembers(f, 1, &[1]);
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5)];
                s.plan = Some(plan(1, PlanCause::Restore, Some("a")));
            });
        },
        Rule::S2,
        "Generation(2)",
    ),
    (
        "marked, staging complete: the last rename is missing",
        |f, _| {
            remembers(f, 1, &[1]);
            f.staging =
                Observed::Known(Some(Staging { generation: Generation(1), nonce: Nonce([1; 16]), complete: true }));
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5)];
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Restore, Some("a")) });
            });
        },
        Rule::J1,
        "Resume",
    ),
    (
        "marked with another nonce: that staging is not ours to use",
        |f, _| {
            f.staging =
                Observed::Known(Some(Staging { generation: Generation(1), nonce: Nonce([2; 16]), complete: true }));
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5)];
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Restore, Some("a")) });
            });
        },
        Rule::S2,
        "MakePlan",
    ),
    (
        "marked, staging half built: burnt",
        |f, _| {
            f.staging =
                Observed::Known(Some(Staging { generation: Generation(1), nonce: Nonce([1; 16]), complete: false }));
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5)];
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Restore, Some("a")) });
            });
        },
        Rule::S2,
        "MakePlan",
    ),
    ("wrong folder: the store is empty, this host remembers", |f, _| remembers(f, 0, &[]), Rule::S5, "BackupsMissing"),
    (
        "init that never formed",
        |f, _| {
            with_store(f, |s| {
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Init, None) });
            });
        },
        Rule::S5,
        "BackupsMissing",
    ),
    (
        "init that never formed, and a person's word",
        |f, p| {
            p.init_empty = true;
            with_store(f, |s| {
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Init, None) });
            });
        },
        Rule::S5,
        "MakePlan",
    ),
    ("existing, without memory", |_, p| p.existing_only = true, Rule::S5, "BackupsMissing"),
    (
        "autorestore off",
        |f, p| {
            p.autorestore = false;
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::S3,
        "RestoreDisabled",
    ),
    (
        "only a snapshot of another token",
        |f, _| {
            with_store(f, |s| {
                s.snapshots = vec![SnapshotFact {
                    name: SnapshotName::new("a").unwrap(),
                    manifest: Err("it was signed with another cluster token".into()),
                }];
            });
        },
        Rule::S4,
        "NoneEligible",
    ),
    (
        "best one broken: the next",
        |f, _| {
            f.attempts.excluded = vec![Excluded { name: SnapshotName::new("b").unwrap(), why: "digest".into() }];
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::S2,
        "\"a\"",
    ),
    (
        "more broken than fallback allows",
        |f, p| {
            p.fallback = 0;
            f.attempts.excluded = vec![Excluded { name: SnapshotName::new("b").unwrap(), why: "digest".into() }];
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::S4,
        "NoneEligible",
    ),
    (
        "pinned",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::S1,
        "\"a\"",
    ),
    (
        "pinned and missing: never another one",
        |f, p| {
            p.pinned = Some(SnapshotName::new("c").unwrap());
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::S1,
        "PinnedMissing",
    ),
    (
        "pinned and broken: never another one",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            f.attempts.excluded = vec![Excluded { name: SnapshotName::new("a").unwrap(), why: "digest".into() }];
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::S1,
        "PinnedIneligible",
    ),
    (
        "pin that was consumed is ignored",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 1, 6)];
                let mut newest = plan(1, PlanCause::Restore, Some("a"));
                newest.plan.request = Some("pin:a".into());
                newest.marks = vec![mark(1, 1)];
                s.plan = Some(newest);
            });
        },
        Rule::S2,
        "\"b\"",
    ),
    (
        "pin whose plan was burnt before anything was in place: the pin again",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            remembers(f, 1, &[1]);
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)];
                let mut newest = plan(1, PlanCause::Restore, Some("a"));
                newest.plan.request = Some("pin:a".into());
                newest.marks = vec![mark(1, 1)];
                s.plan = Some(newest);
            });
        },
        Rule::S1,
        "\"a\"",
    ),
    (
        "pin whose plans were burnt twice: the pin again",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            remembers(f, 2, &[2]);
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)];
                let mut newest = plan(2, PlanCause::Restore, Some("a"));
                newest.plan.request = Some("pin:a".into());
                newest.marks = vec![mark(2, 1)];
                s.plan = Some(newest);
            });
            older_life(f, Some("pin:a"));
        },
        Rule::S1,
        "\"a\"",
    ),
    (
        "pin, and a plan of something else since: consumed",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            remembers(f, 2, &[2]);
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)];
                s.plan = Some(PlanFacts { marks: vec![mark(2, 1)], ..plan(2, PlanCause::Restore, Some("b")) });
            });
            older_life(f, Some("pin:a"));
        },
        Rule::S2,
        "\"b\"",
    ),
    (
        "request, store down: waits even with data",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "latest");
            down(f);
        },
        Rule::F0,
        "Wait",
    ),
    (
        "request file unreadable",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            f.request = Observed::unknown(CauseCode::LocalIo, "EIO");
        },
        Rule::F0,
        "Wait",
    ),
    (
        "request with healthy data",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "a");
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::F2,
        "Forced",
    ),
    (
        "request for what is no name: nothing else is taken for it",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "no such/name");
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::F2,
        "cause: Forced, snapshot: None",
    ),
    (
        "request for the latest, and nothing is eligible",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "latest");
        },
        Rule::F2,
        "cause: Forced, snapshot: None",
    ),
    (
        "forced plan that failed, over data older than all plans: that data starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(0xc0));
            request(f, "a");
            f.attempts.request_failed = Some("digest".into());
            with_store(f, |s| {
                let mut newest = plan(1, PlanCause::Forced, Some("a"));
                newest.plan.request = Some("r1".into());
                s.plan = Some(newest);
                s.snapshots = vec![snapshot("a", 0, 5)];
            });
        },
        Rule::D7,
        "Start",
    ),
    (
        "removed from its own cluster",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            serves(
                f,
                7,
                vec![LocalVoter { id: MemberId(2), name: "cp2".into(), peer_urls: vec![], is_learner: false }],
            );
        },
        Rule::D4,
        "Quarantine",
    ),
    (
        "the member list of its own cluster could not be read: not removed",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            serves(f, 7, vec![]);
        },
        Rule::D7,
        "Start",
    ),
    (
        "request consumed by a plan: starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(0xc1));
            request(f, "a");
            with_store(f, |s| {
                let mut newest = plan(1, PlanCause::Forced, Some("a"));
                newest.plan.request = Some("r1".into());
                newest.marks = vec![mark(1, 1)];
                s.plan = Some(newest);
                s.snapshots = vec![snapshot("a", 0, 5)];
            });
        },
        Rule::D7,
        "Start",
    ),
    (
        "a request that stays on the kernel command line is done once: the store is not waited for again",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            kernel_asks(f, "latest");
            done(f, "k1");
            down(f);
        },
        Rule::D7,
        "Start",
    ),
    (
        "a request that was done does not hide another one",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            kernel_asks(f, "a");
            done(f, "k1");
            f.also_requested = vec![asked("c1", "b", RequestSource::Credential)];
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::F2,
        "\"c1\"",
    ),
    (
        "several requests: the first that is not done",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "a");
            f.also_requested = vec![asked("k1", "b", RequestSource::KernelCommandLine)];
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::F2,
        "\"r1\"",
    ),
    (
        "request whose snapshot could not be fetched: data starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "a");
            f.attempts.request_failed = Some("digest".into());
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::D7,
        "Start",
    ),
    (
        "forced plan, older data here",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            with_store(f, |s| {
                s.plan = Some(plan(1, PlanCause::Forced, Some("a")));
                s.snapshots = vec![snapshot("a", 0, 5)];
            });
        },
        Rule::F1,
        "Apply",
    ),
    (
        "forced plan, followed and lost again: the best of all",
        |f, _| {
            remembers(f, 1, &[1]);
            with_store(f, |s| {
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Forced, Some("a")) });
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 1, 6)];
            });
        },
        Rule::S2,
        "\"b\"",
    ),
    (
        "the host was renamed: its voter may still hold the data",
        |f, p| {
            p.node = node("new");
            p.members = vec![voter("new")];
            with_store(f, |s| {
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Init, None) });
                s.snapshots = vec![snapshot("a", 1, 5)];
            });
        },
        Rule::C1,
        "VotersGone",
    ),
    (
        "another etcd serves at our endpoint",
        |f, _| {
            f.live.clusters =
                vec![LiveCluster { cluster_id: ClusterId(0xdead), quorate: true, members: vec![], answering: vec![] }];
        },
        Rule::L1,
        "NotAdopted",
    ),
    (
        "three configured, alone",
        |f, p| {
            p.members = vec![voter("cp1"), voter("cp2"), voter("cp3")];
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::C1,
        "RollCall",
    ),
    (
        "kubeadm before init",
        |f, p| {
            p.managed_by = ManagedBy::Kubeadm;
            f.start = Observed::Known(StartFlags { manifest_present: Some(false), ..StartFlags::default() });
        },
        Rule::B0,
        "Start",
    ),
    (
        "kubeadm before init, store down",
        |f, p| {
            p.managed_by = ManagedBy::Kubeadm;
            f.start = Observed::Known(StartFlags { manifest_present: Some(false), ..StartFlags::default() });
            down(f);
        },
        Rule::P1,
        "Wait",
    ),
    (
        "etcd would start on another data dir",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            f.start = Observed::Known(StartFlags {
                data_dir: Some("/srv/etcd".into()),
                read_from: "/etc/default/etcd".into(),
                ..StartFlags::default()
            });
        },
        Rule::J0,
        "StartFlagsDisagree",
    ),
];

#[test]
fn stories_of_one_host() {
    for (story, change, rule, word) in STORIES {
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
    for (story, change, ..) in STORIES {
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
    for (story, change, ..) in STORIES {
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
