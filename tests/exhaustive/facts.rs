//! The abstract facts: their values, and a concrete example of each combination.

mod parts;

use etcd_lifeboat::core::decide::{ManagedBy, Policy};
use etcd_lifeboat::core::facts::{
    Attempts, Cause, CauseCode, Configuration, Facts, HeartbeatFact, Life, Memory, Observed, Request, RequestSource,
    SilentEndpoint, Staging, StartFlags, StoreFacts,
};
use etcd_lifeboat::core::model::{ClusterName, Generation, Nonce, SnapshotName};
use etcd_lifeboat::core::plan::{Excluded, PlanCause};

use parts::{
    NEWEST, OLDER, data_dir, life, live, moved_aside, node, plan, roll_call, snapshot, stories, strangers, voter,
    voters,
};

/// One abstract fact and its values.
pub(crate) struct Dimension {
    pub(crate) name: &'static str,
    pub(crate) values: &'static [&'static str],
}

pub(crate) const fn d(name: &'static str, values: &'static [&'static str]) -> Dimension {
    Dimension { name, values }
}

/// Facts of which all combinations are decided on; all others stay as [`blank`] and [`policy`] have them.
pub(crate) struct Page {
    pub(crate) name: &'static str,
    pub(crate) dimensions: &'static [Dimension],
}

/// The names of all facts.
pub(crate) const NAMES: &[&str] = &[
    "data",
    "store",
    "request",
    "failed",
    "memory",
    "staging",
    "live",
    "snapshots",
    "mark",
    "taken back",
    "older life",
    "declared lost",
    "roll call",
    "heartbeat",
    "peer_wait",
    "flags",
    "managed_by",
    "pin",
    "autorestore",
    "broken",
    "seed",
    "state",
    "members",
    "plan age",
    "recorded URLs",
    "replace_damaged",
];

impl Page {
    /// The example of these values, by their numbers.
    pub(crate) fn build(&self, chosen: &[usize]) -> (Facts, Policy) {
        let value =
            |name: &str| self.dimensions.iter().zip(chosen).find(|(d, _)| d.name == name).map(|(d, v)| d.values[*v]);
        build(&value)
    }
}

/// The example of the values that are given by name; facts that are not given are those of a blank host.
pub(crate) fn build<'a>(value: &dyn Fn(&str) -> Option<&'a str>) -> (Facts, Policy) {
    let is = |name: &str, wanted: &str| value(name) == Some(wanted);
    let mut newest = plan(value("store").unwrap_or_default(), value("mark").unwrap_or_default());
    // A staging dir of this host's mark needs the mark.
    if let Some(p) = &mut newest {
        if value("staging").is_some_and(|v| v.starts_with("of my mark")) {
            p.marks = plan("restore plan", "mine").unwrap().marks;
        }
        if is("staging", "of a mark that the seed took") {
            p.marks = plan("restore plan", "mine, taken by the seed").unwrap().marks;
        }
        p.age_seconds = match value("plan age") {
            Some("lost_after") => Some(600),
            Some("less") => Some(599),
            _ => None,
        };
        p.cancelled |= is("taken back", "yes");
        p.lost = is("declared lost", "yes");
    }
    let snapshots = match value("snapshots").unwrap_or("as planned") {
        "as planned" => vec![snapshot("planned", 5)],
        "a better one" => vec![snapshot("planned", 5), snapshot("better", 6)],
        more => stories(more),
    };
    let snapshots = if is("store", "empty") && value("snapshots").is_none() { vec![] } else { snapshots };
    let mut lives = Vec::new();
    if let Some(p) = &newest {
        let mut older = life(1, OLDER, PlanCause::Init);
        if p.cancelled || p.plan.cause == PlanCause::Forced {
            let recorded_in = "plan 1".into();
            let of_others = is("older life", "of others");
            older.may_live =
                vec![Configuration { recorded_in, voters: if of_others { strangers() } else { voters() } }];
        }
        lives.push(older);
        lives.push(Life { cancelled: p.cancelled, request: p.plan.request.clone(), ..life(2, NEWEST, p.plan.cause) });
    }
    let heartbeat = value("heartbeat").filter(|v| *v != "none").map(|v| HeartbeatFact {
        generation: Generation(2),
        age_seconds: match v {
            "young" => 10,
            "less than lost_after" => 300,
            _ => 1200,
        },
    });
    let store = match value("store") {
        Some("unknown") => Observed::unknown(CauseCode::NoAnswer, "connection refused"),
        Some("forgot") => Observed::unknown(CauseCode::StoreForgot, "shows no plan"),
        _ => Observed::Known(StoreFacts {
            own_entry: None,
            plan: newest,
            lives,
            heartbeat,
            roll_call: roll_call(
                value("roll call").unwrap_or("alone"),
                if is("request", "pending") { "pending" } else { "done" },
            ),
            snapshots,
        }),
    };
    let memory = match value("memory").unwrap_or("blank") {
        "unknown" => Observed::unknown(CauseCode::LocalIo, "EIO"),
        "blank" => Observed::Known(Memory::default()),
        v => Observed::Known(Memory {
            cluster: Some(ClusterName::new("prod").unwrap()),
            started: if v == "started newest" { vec![Generation(2)] } else { vec![] },
            aside: if v == "moved aside for newest" { vec![moved_aside()] } else { vec![] },
            ..Memory::default()
        }),
    };
    let staging = match value("staging").unwrap_or("none") {
        "unknown" => Observed::unknown(CauseCode::LocalIo, "EIO"),
        "none" => Observed::Known(None),
        v => Observed::Known(Some(Staging {
            generation: Generation(2),
            nonce: Nonce(match v {
                "of a mark that the seed took" => [6; 16],
                "of no mark" => [8; 16],
                _ => [7; 16],
            }),
            complete: v != "of my mark, half built",
        })),
    };
    let asked = |id: &str| {
        Observed::Known(Some(Request {
            id: id.into(),
            snapshot: "planned".into(),
            found_in: "a file".into(),
            source: RequestSource::File,
        }))
    };
    let broken = |names: &[&str]| {
        names.iter().map(|n| Excluded { name: SnapshotName::new(n).unwrap(), why: "digest".into() }).collect()
    };
    let flags = || StartFlags {
        read_from: "/etc/default/etcd".into(),
        force_new_cluster: is("flags", "force a new cluster"),
        manifest_present: value("managed_by").filter(|v| v.starts_with("kubeadm")).map(|v| v == "kubeadm"),
        data_dir: is("flags", "another data dir").then(|| "/srv/etcd".into()),
        wal_dir: is("flags", "another WAL dir").then(|| "/srv/wal".into()),
        initial_cluster: match value("flags") {
            Some("the right initial cluster, existing" | "the right initial cluster, new") => {
                Some("cp1=http://cp1:2380,cp2=http://cp2:2380,cp3=http://cp3:2380".into())
            }
            Some("another initial cluster") => Some("cp1=http://cp1:2380".into()),
            _ => None,
        },
        initial_cluster_state: value("flags")
            .filter(|v| v.starts_with("the right"))
            .map(|v| if v.ends_with("new") { "new" } else { "existing" }.into()),
        etcd_version: None,
    };
    let expected = is("members", "expected");
    let mut live = live(value("live").unwrap_or("none"));
    if expected {
        let recorded = strangers().into_iter().chain(voters()).flat_map(|v| v.peer_urls);
        let asked = recorded.skip(usize::from(is("recorded URLs", "one not asked"))).map(|url| SilentEndpoint {
            url,
            cause: Cause { code: CauseCode::NoAnswer, text: "no answer".into(), hint: None },
        });
        live.silent = asked.collect();
    }
    let facts = Facts {
        data_dir: data_dir(value("data").unwrap_or("none")),
        staging,
        memory,
        live,
        store,
        request: match value("request").unwrap_or("none") {
            "pending" => asked("pending"),
            "done" => asked("done"),
            "unknown" => Observed::unknown(CauseCode::LocalIo, "EIO"),
            _ => Observed::Known(None),
        },
        also_requested: vec![],
        remarks: vec![],
        start: if value("flags").is_none() {
            Observed::unknown(CauseCode::NotLooked, "not looked at")
        } else {
            Observed::Known(flags())
        },
        waited_seconds: if is("peer_wait", "not over") { 0 } else { 1000 },
        joined_without_log: false,
        attempts: Attempts {
            request_failed: is("failed", "yes").then(|| "it could not be fetched".into()),
            excluded: match value("broken") {
                Some("the best") => broken(&["planned"]),
                Some("more than fallback") => broken(&["x1", "x2"]),
                _ => vec![],
            },
        },
    };
    let policy = Policy {
        expected_members: expected.then_some(3),
        lost_after_seconds: 600,
        node: node("cp1"),
        members: if expected { vec![voter("cp1")] } else { voters() },
        managed_by: match value("managed_by") {
            Some("k3s") => ManagedBy::K3s,
            Some("kubeadm before init" | "kubeadm") => ManagedBy::Kubeadm,
            _ => ManagedBy::Systemd,
        },
        data_dir: "/var/lib/etcd".into(),
        wal_dir: None,
        autorestore: !is("autorestore", "off"),
        pinned: match value("pin") {
            Some("present") => Some(SnapshotName::new("planned").unwrap()),
            Some("missing") => Some(SnapshotName::new("missing").unwrap()),
            _ => None,
        },
        existing_only: value("state").is_some_and(|v| v != "new"),
        init_empty: is("state", "existing and --init-empty"),
        peer_wait_seconds: 120,
        heartbeat_ttl_seconds: 90,
        seed: match value("seed") {
            Some("this host") => Some(node("cp1")),
            Some("another host") => Some(node("cp2")),
            _ => None,
        },
        replace_damaged: is("replace_damaged", "yes"),
        fallback: 1,
    };
    (facts, policy)
}
