//! Stories of a host without data: what it waits for, what it restores, and when it begins anew.

use super::*;

pub(super) const STORIES: &[Story] = &[
    ("blank host, store down: never a new cluster", |f, _| down(f), Rule::P1, "Wait"),
    ("blank host, store answers and is empty", |_, _| (), Rule::N1, "Init"),
    (
        "blank host, memory unreadable",
        |f, _| f.memory = Observed::unknown(CauseCode::LocalIo, "EIO"),
        Rule::P1,
        "LocalUnknown",
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
        "kubeadm before init, store down",
        |f, p| {
            p.managed_by = ManagedBy::Kubeadm;
            f.start = Observed::Known(StartFlags { manifest_present: Some(false), ..StartFlags::default() });
            down(f);
        },
        Rule::P1,
        "Wait",
    ),
];
