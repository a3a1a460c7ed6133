//! What a look around leads to, and the stable ids of the rules.

use serde::{Deserialize, Serialize};

use crate::core::model::{Generation, NodeName, SnapshotName};
use crate::core::plan::{PlanCause, Voter};

/// Which program runs etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    /// A unit of its own.
    Systemd,
    /// A static pod of the kubelet.
    Kubeadm,
    /// Embedded in k3s.
    K3s,
    /// Embedded in rke2.
    Rke2,
}

impl ManagedBy {
    /// k3s and rke2 restore on one node alone and let the others join it.
    pub fn resets_one_node(self) -> bool {
        matches!(self, ManagedBy::K3s | ManagedBy::Rke2)
    }

    /// What a person types so that etcd starts again, through the gate. The kubelet's etcd outlives its kubelet.
    pub fn restart(self) -> String {
        match self {
            ManagedBy::Kubeadm => "systemctl reboot".to_owned(),
            _ => format!("systemctl restart --no-block {}", self.unit()),
        }
    }

    /// The systemd unit that usually starts it.
    pub fn unit(self) -> &'static str {
        match self {
            ManagedBy::Systemd => "etcd.service",
            ManagedBy::Kubeadm => "kubelet.service",
            ManagedBy::K3s => "k3s.service",
            ManagedBy::Rke2 => "rke2-server.service",
        }
    }
}

/// What the configuration says about a bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// This node.
    pub node: NodeName,
    /// The configured members, this node among them.
    pub members: Vec<Voter>,
    /// Who runs etcd.
    pub managed_by: ManagedBy,
    /// Where etcd's data must be.
    pub data_dir: String,
    /// Where etcd's WAL must be, if not inside the data dir.
    #[serde(default)]
    pub wal_dir: Option<String>,
    /// Restore without being asked.
    pub autorestore: bool,
    /// The snapshot that the configuration names; none: the latest.
    #[serde(default)]
    pub pinned: Option<SnapshotName>,
    /// `initial_cluster_state = "existing"`: never form an empty cluster.
    pub existing_only: bool,
    /// A person said `--init-empty`.
    #[serde(default)]
    pub init_empty: bool,
    /// How long members that are missing from the roll call are waited for.
    pub peer_wait_seconds: u64,
    /// Hosts come and go by design: so many make a cluster, and the roll call tells which. [`Policy::members`] then holds this host alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_members: Option<u32>,
    /// With `expected_members`: a life that has given no sign for so long counts as lost.
    #[serde(default = "lost_after_default")]
    pub lost_after_seconds: u64,
    /// A younger heartbeat means that a cluster of this store is alive.
    pub heartbeat_ttl_seconds: u64,
    /// The static seed.
    #[serde(default)]
    pub seed: Option<NodeName>,
    /// Quarantine damaged data when a live cluster can be joined.
    pub replace_damaged: bool,
    /// How many broken snapshots may be passed over.
    pub fallback: u32,
}

fn lost_after_default() -> u64 {
    600
}

impl Policy {
    /// This node's peer URLs.
    pub fn peer_urls(&self) -> &[String] {
        self.members.iter().find(|m| m.name == self.node).map_or(&[], |m| &m.peer_urls)
    }
}

/// Stable id of a rule; it appears in logs, the README and the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each rule is documented where it is written, and in `Rule::summary`")]
pub enum Rule {
    B0,
    D0,
    D1,
    F0,
    F1,
    F2,
    J1,
    D2,
    D3,
    D4,
    D5,
    D6,
    D7,
    P1,
    L1,
    R1,
    L2,
    P2,
    C1,
    C2,
    C3,
    S1,
    S2,
    S3,
    S4,
    S5,
    N1,
    N2,
    J0,
}

impl Rule {
    /// All rules, in the order in which they are asked; J0 comes after the others.
    #[rustfmt::skip]
    pub const ALL: [Rule; 29] = [
        Rule::B0, Rule::D0, Rule::D1, Rule::F0, Rule::F1, Rule::F2, Rule::J1, Rule::D2, Rule::D3, Rule::D4,
        Rule::D5, Rule::D6, Rule::D7, Rule::P1, Rule::L1, Rule::R1, Rule::L2, Rule::P2, Rule::C1, Rule::C2,
        Rule::C3, Rule::S1, Rule::S2, Rule::S3, Rule::S4, Rule::S5, Rule::N1, Rule::N2, Rule::J0,
    ];
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Why a person must decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefuseReason {
    /// A forced plan could live beside a cluster that still lives.
    TwoLives,
    /// What a person asked for cannot be restored, and there is no data here to go on with.
    RequestFailed,
    /// The data dir is damaged.
    Damaged,
    /// The data dir is somebody else's.
    Foreign,
    /// A quorate cluster of another life answers, and so might the old one.
    SplitLives,
    /// A live cluster answers that is in no plan.
    NotAdopted,
    /// The pinned snapshot is not there.
    PinnedMissing,
    /// The pinned snapshot may not be restored.
    PinnedIneligible,
    /// There is something to restore, and autorestore is off.
    RestoreDisabled,
    /// Snapshots exist, and none may be restored.
    NoneEligible,
    /// A cluster is remembered, and the store has no snapshot of it.
    BackupsMissing,
    /// etcd would start with other flags than the verdict needs.
    StartFlagsDisagree,
    /// etcd is older than what would be restored.
    EtcdTooOld,
}

impl std::fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RefuseReason::TwoLives => "two clusters could live beside each other",
            RefuseReason::RequestFailed => {
                "what was asked for cannot be restored, and nothing else is restored instead"
            }
            RefuseReason::Damaged => "the data dir is damaged",
            RefuseReason::Foreign => "the data dir belongs to another member or cluster",
            RefuseReason::SplitLives => "another cluster answers, and the old one may still live",
            RefuseReason::NotAdopted => "a live cluster answers that the store does not know",
            RefuseReason::PinnedMissing => "the snapshot that the configuration names is not in the store",
            RefuseReason::PinnedIneligible => "the snapshot that the configuration names may not be restored",
            RefuseReason::RestoreDisabled => "there is something to restore, and autorestore is off",
            RefuseReason::NoneEligible => "snapshots exist, and none of them may be restored",
            RefuseReason::BackupsMissing => "a cluster is expected, and the store has no snapshot of it",
            RefuseReason::StartFlagsDisagree => "etcd would start with other flags than it must",
            RefuseReason::EtcdTooOld => "etcd is older than the snapshot",
        })
    }
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WaitReason {
    /// Something local could not be read.
    LocalUnknown,
    /// The store.
    Store,
    /// The store shows less than this host remembers.
    StoreForgot,
    /// A cluster whose members answer without quorum.
    QuorumLost,
    /// A cluster of this store is alive elsewhere.
    AliveElsewhere,
    /// More members in the roll call.
    RollCall,
    /// Voters that are no longer configured.
    VotersGone,
    /// The members that are still missing, for a while.
    Peers,
    /// The seed.
    Seed,
}

impl std::fmt::Display for WaitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WaitReason::LocalUnknown => "something on this host that cannot be read",
            WaitReason::Store => "the store",
            WaitReason::StoreForgot => "a store that shows less than this host remembers",
            WaitReason::QuorumLost => "the quorum of the members that answer",
            WaitReason::AliveElsewhere => "a cluster of this store that is alive elsewhere",
            WaitReason::RollCall => "more members without data",
            WaitReason::VotersGone => "voters that are no longer configured",
            WaitReason::Peers => "the members that have not come up yet",
            WaitReason::Seed => "the seed, which decides first",
        })
    }
}

/// A plan to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Its generation.
    pub generation: Generation,
    /// Its cause.
    pub cause: PlanCause,
    /// What it restores.
    #[serde(default)]
    pub snapshot: Option<SnapshotName>,
    /// The request or pin that it consumes.
    #[serde(default)]
    pub request: Option<String>,
}

/// How a slot joins a live cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JoinHow {
    /// With a data dir built from the plan.
    WithPlanData,
    /// Its old member is removed, it is added as a learner and promoted.
    ReplaceMember,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Decision {
    /// etcd may start now.
    Start,
    /// Look again later.
    Wait {
        /// For what.
        reason: WaitReason,
    },
    /// A person must choose.
    Refuse {
        /// Why.
        reason: RefuseReason,
    },
    /// Finish what was interrupted before its last rename.
    Resume {
        /// The life.
        generation: Generation,
    },
    /// Build the data dir that the newest plan describes, and put it in place.
    Apply {
        /// The plan.
        generation: Generation,
    },
    /// Fetch, verify, build; then write this plan, and look again.
    MakePlan(Draft),
    /// Move the data aside, and look again.
    Quarantine,
    /// Put back what was moved aside for a cancelled plan (for this very plan: anything else in quarantine may be years old, and its votes forgotten),
    /// then look again. Without such data the host stays empty; a newer member and the staging of the plan are out of the way in any case.
    PutBack {
        /// The cancelled plan.
        generation: Generation,
    },
    /// Join the live cluster.
    Join {
        /// How.
        how: JoinHow,
    },
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Decision::Start => f.write_str("start: etcd may start now"),
            Decision::Wait { reason } => write!(f, "wait for {reason}"),
            Decision::Refuse { reason } => write!(f, "refuse, a person must choose: {reason}"),
            Decision::Resume { generation } => {
                write!(f, "put the data dir in place that was built for generation {generation} before")
            }
            Decision::Apply { generation } => write!(f, "follow plan {generation}"),
            Decision::MakePlan(draft) => {
                write!(f, "make plan {} ({}): ", draft.generation, draft.cause)?;
                match &draft.snapshot {
                    Some(name) => write!(f, "restore snapshot {name}")?,
                    None => f.write_str("form a new, empty cluster")?,
                }
                match &draft.request {
                    Some(id) => write!(f, ", as request {id} asks"),
                    None => Ok(()),
                }
            }
            Decision::Quarantine => f.write_str("move member/ aside (nothing is deleted), then look again"),
            Decision::PutBack { generation } => {
                write!(f, "put the data of before the cancelled plan {generation} back, then look again")
            }
            Decision::Join { how: JoinHow::WithPlanData } => {
                f.write_str("join the live cluster with the data of its plan")
            }
            Decision::Join { how: JoinHow::ReplaceMember } => {
                f.write_str("join the live cluster anew, in the place of this host's old member")
            }
        }
    }
}

/// A decision with the rule that made it, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The rule.
    pub rule: Rule,
    /// What to do.
    pub decision: Decision,
    /// Why, for people: what was seen.
    pub because: String,
    /// What to type or change next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What was passed over, to be said loudly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Verdict {
    pub(super) fn new(rule: Rule, decision: Decision, because: impl Into<String>) -> Self {
        Verdict { rule, decision, because: because.into(), hint: None, notes: Vec::new() }
    }

    pub(super) fn wait(rule: Rule, reason: WaitReason, because: impl Into<String>) -> Self {
        Verdict::new(rule, Decision::Wait { reason }, because)
    }

    pub(super) fn refuse(rule: Rule, reason: RefuseReason, because: impl Into<String>) -> Self {
        Verdict::new(rule, Decision::Refuse { reason }, because)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
