//! Parts of the examples: members, plans, snapshots, hosts that wait.

use etcd_lifeboat::core::facts::{
    Aside, CauseCode, DataDir, Life, Live, LiveCluster, LocalMember, LocalVoter, Observed, PlanFacts, RollEntry,
    RollState,
};
use etcd_lifeboat::core::model::{ClusterId, Generation, MemberId, NodeName, Nonce, Revision, Sha256, SnapshotName};
use etcd_lifeboat::core::plan::{MarkUse, Plan, PlanCause, PlannedSnapshot, StartedMark, Voter};
use etcd_lifeboat::core::select::{Candidate, SnapshotFact};

pub(super) const NEWEST: ClusterId = ClusterId(0xc2);

pub(super) const OLDER: ClusterId = ClusterId(0xc1);

pub(super) fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub(super) fn voter(name: &str) -> Voter {
    Voter { name: node(name), peer_urls: vec![format!("http://{name}:2380")] }
}

pub(super) fn voters() -> Vec<Voter> {
    vec![voter("cp1"), voter("cp2"), voter("cp3")]
}

pub(super) fn strangers() -> Vec<Voter> {
    vec![voter("old1"), voter("old2")]
}

pub(super) fn snapshot(name: &str, revision: i64) -> SnapshotFact {
    SnapshotFact {
        name: SnapshotName::new(name).unwrap(),
        manifest: Ok(Candidate {
            cluster_id: OLDER,
            generation: Generation(1),
            revision: Revision(revision),
            started: "2024-01-15T10:30:00Z".parse().unwrap(),
            raw_sha256: Sha256([1; 32]),
            raw_size: 1,
            kind: "snapshot".into(),
            quorum: true,
            storage_version: None,
            damaged: None,
            payload_present: true,
            voters: voters(),
        }),
    }
}

pub(super) fn member(id: u64, name: &str) -> LocalVoter {
    LocalVoter { id: MemberId(id), name: name.into(), peer_urls: voter(name).peer_urls, is_learner: false }
}

pub(super) fn healthy(cluster: ClusterId) -> DataDir {
    DataDir::Healthy(LocalMember {
        cluster_id: cluster,
        member_id: MemberId(1),
        members: vec![member(1, "cp1"), member(2, "cp2"), member(3, "cp3")],
        revision: Some(5),
    })
}

pub(super) fn data_dir(value: &str) -> Observed<DataDir> {
    Observed::Known(match value {
        "unknown" => return Observed::unknown(CauseCode::LocalIo, "EIO"),
        "in use" => DataDir::InUse,
        "mount missing" => {
            return Observed::unknown(CauseCode::MountMissing, "/var/lib/etcd was a mount point, and is none now");
        }
        "damaged" => DataDir::Damaged { what: "a db without a WAL".into(), member_present: true },
        "of other URLs" => DataDir::Foreign { what: "other URLs".into() },
        "newest life" => healthy(NEWEST),
        "older life" => healthy(OLDER),
        "no life" => healthy(ClusterId(0xdead)),
        _ => DataDir::Empty,
    })
}

pub(super) fn live(value: &str) -> Live {
    let (cluster_id, quorate) = match value {
        "newest quorate" | "newest without me" | "newest quorate, members not read" => (NEWEST, true),
        "newest without quorum" => (NEWEST, false),
        "older without quorum" => (OLDER, false),
        "older quorate" => (OLDER, true),
        "stranger quorate" => (ClusterId(0xbeef), true),
        _ => return Live::default(),
    };
    let mut members = vec![member(1, "cp1"), member(2, "cp2"), member(3, "cp3")];
    if value == "newest without me" {
        members.remove(0);
    }
    let answering = if quorate { vec![MemberId(2), MemberId(3)] } else { vec![MemberId(3)] };
    if !quorate || value.ends_with("not read") {
        members.clear();
    }
    Live { clusters: vec![LiveCluster { cluster_id, quorate, members, answering }], silent: vec![] }
}

pub(super) fn life(generation: u64, cluster_id: ClusterId, cause: PlanCause) -> Life {
    Life { generation: Generation(generation), cluster_id, cause, cancelled: false, request: None, may_live: vec![] }
}

/// The newest plan, when there is one.
pub(super) fn plan(value: &str, mark: &str) -> Option<PlanFacts> {
    let (cause, snapshot) = match value {
        "init plan" => (PlanCause::Init, None),
        "restore plan" | "restore plan of another seed" => (PlanCause::Restore, Some("planned")),
        "forced plan" | "forced plan taken back" | "forced plan of another seed" => {
            (PlanCause::Forced, Some("planned"))
        }
        "adopted life" | "adopted life of others" => (PlanCause::Adopted, None),
        "life of others" => (PlanCause::Init, None),
        _ => return None,
    };
    let at = "2024-01-15T10:30:00Z".parse().unwrap();
    let mark_of = |name: &str| StartedMark {
        node: node(name),
        generation: Generation(2),
        purpose: MarkUse::Apply,
        by: node(name),
        nonce: Nonce([7; 16]),
        at,
    };
    let listed = if value.ends_with("life of others") { strangers() } else { voters() };
    Some(PlanFacts {
        age_seconds: None,
        plan: Plan {
            generation: Generation(2),
            cause,
            request: (cause == PlanCause::Forced).then(|| "done".into()),
            snapshot: snapshot.map(|name| PlannedSnapshot {
                name: SnapshotName::new(name).unwrap(),
                generation: Generation(1),
                revision: Revision(5),
                raw_sha256: Sha256([1; 32]),
                raw_size: 1,
            }),
            excluded: vec![],
            voters: listed,
            token: "t".into(),
            cluster_id: NEWEST,
            reset: false,
            bump_revision: None,
            seed: node(if value.ends_with("another seed") { "cp2" } else { "cp1" }),
            created: at,
            nonce: Nonce([9; 16]),
        },
        cancelled: value == "forced plan taken back",
        lost: false,
        marks: match mark {
            "mine" => vec![mark_of("cp1")],
            "mine, taken by the seed" => {
                vec![StartedMark { purpose: MarkUse::Barred, by: node("cp2"), nonce: Nonce([6; 16]), ..mark_of("cp1") }]
            }
            "others" => vec![mark_of("cp2")],
            _ => vec![],
        },
        voters: vec![],
    })
}

pub(super) fn untrusted(why: &str) -> Vec<SnapshotFact> {
    vec![SnapshotFact { name: SnapshotName::new("untrusted").unwrap(), manifest: Err(why.into()) }]
}

pub(super) fn moved_aside() -> Aside {
    Aside { generation: Generation(2), name: "member.quarantine-1".into(), cluster_id: OLDER, member_id: MemberId(1) }
}

/// More that can be in a store.
pub(super) fn stories(value: &str) -> Vec<SnapshotFact> {
    let of_newest_life = |name: &str, revision| {
        let mut s = snapshot(name, revision);
        if let Ok(c) = &mut s.manifest {
            (c.cluster_id, c.generation) = (NEWEST, Generation(2));
            c.started = "2024-01-01T00:00:00Z".parse().unwrap();
        }
        s
    };
    let changed = |name: &str, change: fn(&mut Candidate)| {
        let mut s = snapshot(name, 9);
        if let Ok(c) = &mut s.manifest {
            change(c);
        }
        s
    };
    match value {
        "untrusted" => untrusted("it was signed with another cluster token"),
        "of another cluster" => untrusted("it belongs to the cluster staging"),
        "without a digest" => untrusted("its manifest names no sha256"),
        "of two lives" => vec![of_newest_life("new-life", 10), snapshot("old-life", 500)],
        "1001" => (0..1001).map(|i| snapshot(&format!("s{i:04}"), i64::from((i * 8) % 1001))).collect(),
        "the best cut short" => vec![snapshot("planned", 5), changed("cut", |c| c.payload_present = false)],
        "the best found damaged" => {
            vec![snapshot("planned", 5), changed("rotten", |c| c.damaged = Some("a page".into()))]
        }
        "one of the newest life" => vec![of_newest_life("first", 3)],
        _ => vec![],
    }
}

pub(super) fn roll_call(value: &str, request: &str) -> Vec<RollEntry> {
    let names: &[&str] = match value {
        "all" | "all, too old" => &["cp2", "cp3"],
        "a majority" => &["cp2"],
        "a majority and other hosts" => &["cp2", "new1", "new2"],
        "three others for longer" => &["cp2", "cp3", "new1"],
        "all, stopped for it" => &["cp2", "cp3"],
        _ => &[],
    };
    let entry = |name: &&str| RollEntry {
        node: node(name),
        peer_urls: voter(name).peer_urls,
        state: if value.ends_with("stopped for it") { RollState::Stopped(request.into()) } else { RollState::Empty },
        remembers: Generation(0),
        remembers_cluster: false,
        age_seconds: if value.ends_with("too old") { 61 } else { 5 },
        waiting_seconds: if value.ends_with("for longer") { 5000 } else { 1 },
    };
    names.iter().map(entry).collect()
}
