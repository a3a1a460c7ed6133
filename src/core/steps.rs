//! A verdict as ordered steps, for people who want to know what a real run would do.

use std::fmt;

use super::decide::{Decision, JoinHow, Policy, Verdict};
use super::facts::{DataDir, Facts};
use super::model::{Generation, SnapshotName};

/// One step. Each is idempotent and durable before the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read the snapshot from the store, checking every digest.
    Fetch(SnapshotName),
    /// Build a member in the staging directory, inspect and fsync it.
    Build(Generation),
    /// Write the plan, create-only.
    WritePlan(Generation),
    /// Take the started mark, create-only: the point of no return.
    TakeMark(Generation),
    /// Move `member/` aside.
    Quarantine,
    /// Rename the staged `member/` into place.
    Rename,
    /// Let k3s or rke2 restore the snapshot and reset the cluster to this host.
    Reset,
    /// Record the cluster that this has made, with this host as its only voter.
    RecordReset,
    /// Write the environment file of etcd's unit.
    WriteEnvironment,
    /// Overwrite this host's entry in the roll call.
    Withdraw,
    /// Record the voters as they will be, before the live cluster is changed.
    RecordVoters,
    /// Remove this slot's old member from the live cluster.
    RemoveMember,
    /// Add this host to the live cluster, without a vote.
    AddLearner,
    /// Start, and be made a voter by the agent.
    StartAsLearner,
    /// Put the member of before back.
    PutBack,
    /// k3s and rke2 add their member by themselves.
    StartToJoin,
    /// Look around again.
    LookAgain,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Fetch(name) => write!(f, "fetch and verify snapshot {name}"),
            Step::Build(g) => write!(f, "build generation {g} in a staging directory, inspect it, fsync it"),
            Step::WritePlan(g) => write!(f, "write plan {g} to the store, unless there is one"),
            Step::TakeMark(g) => write!(f, "take this host's started mark in generation {g}"),
            Step::Quarantine => write!(f, "move member/ aside (nothing is deleted)"),
            Step::Rename => write!(f, "rename the staged member/ into place"),
            Step::Reset => write!(
                f,
                "let k3s or rke2 restore it: PROGRAM server --cluster-reset --cluster-reset-restore-path=FILE"
            ),
            Step::RecordReset => {
                write!(f, "record the id of the cluster that this has made, with this host as its only voter")
            }
            Step::WriteEnvironment => write!(f, "write etcd's environment file"),
            Step::Withdraw => write!(f, "withdraw this host's entry in the roll call, and read that back"),
            Step::RecordVoters => write!(f, "record the voters as they will be, and confirm them afterwards"),
            Step::RemoveMember => write!(
                f,
                "remove this host's old member from the live cluster, if there is one and the others keep their quorum"
            ),
            Step::AddLearner => write!(f, "add this host as a learner with the same peer URLs"),
            Step::StartAsLearner => {
                write!(f, "write etcd's environment file for this one start; the agent then makes the learner a voter")
            }
            Step::PutBack => write!(f, "put the member of before back"),
            Step::StartToJoin => write!(f, "let it start: it adds its own member"),
            Step::LookAgain => write!(f, "look around again"),
        }
    }
}

fn reset(generation: Generation, void: bool) -> Vec<Step> {
    let mut steps = vec![Step::TakeMark(generation)];
    if !void {
        steps.push(Step::Quarantine);
    }
    steps.extend([Step::Reset, Step::RecordReset, Step::LookAgain]);
    steps
}

/// What a real run would do on this verdict, up to its next look around.
pub fn steps(verdict: &Verdict, facts: &Facts, policy: &Policy) -> Vec<Step> {
    let resets_one_node = policy.managed_by.resets_one_node();
    let void = facts.data_dir.known().is_some_and(DataDir::is_void);
    let plan = facts.store.known().and_then(|s| s.plan.as_ref()).map(|p| &p.plan);
    let mut steps = Vec::new();
    match &verdict.decision {
        Decision::Start => steps.push(Step::WriteEnvironment),
        Decision::Wait { .. } | Decision::Refuse { .. } => {}
        Decision::MakePlan(draft) if resets_one_node && draft.snapshot.is_none() => {
            steps.extend([Step::Withdraw, Step::StartToJoin]);
        }
        Decision::MakePlan(draft) if resets_one_node => {
            steps.extend(draft.snapshot.clone().map(Step::Fetch));
            steps.extend([Step::LookAgain, Step::WritePlan(draft.generation), Step::Withdraw]);
            steps.extend(reset(draft.generation, void));
        }
        Decision::Apply { generation } if resets_one_node => {
            steps.extend(plan.and_then(|p| p.snapshot.as_ref()).map(|s| Step::Fetch(s.name.clone())));
            steps.push(Step::Withdraw);
            steps.extend(reset(*generation, void));
        }
        Decision::Resume { .. } if resets_one_node => steps.extend([Step::Reset, Step::RecordReset, Step::LookAgain]),
        Decision::MakePlan(draft) => {
            steps.extend(draft.snapshot.clone().map(Step::Fetch));
            steps.extend([Step::Build(draft.generation), Step::LookAgain, Step::WritePlan(draft.generation)]);
            steps.push(Step::TakeMark(draft.generation));
            if !void {
                steps.push(Step::Quarantine);
            }
            steps.extend([Step::Rename, Step::WriteEnvironment]);
        }
        Decision::Apply { generation } => {
            steps.extend(plan.and_then(|p| p.snapshot.as_ref()).map(|s| Step::Fetch(s.name.clone())));
            steps.extend([Step::Build(*generation), Step::Withdraw, Step::TakeMark(*generation)]);
            if !void {
                steps.push(Step::Quarantine);
            }
            steps.extend([Step::Rename, Step::WriteEnvironment]);
        }
        Decision::Resume { .. } => steps.extend([Step::Rename, Step::WriteEnvironment]),
        Decision::Quarantine => steps.extend([Step::Quarantine, Step::LookAgain]),
        Decision::PutBack { .. } => steps.extend([Step::Quarantine, Step::PutBack, Step::LookAgain]),
        Decision::Join { how } => {
            let quorate = facts.live.clusters.iter().find(|c| c.quorate).map(|c| c.cluster_id);
            let life = facts.store.known().and_then(|s| s.life_of(quorate?));
            let generation = life.map_or(Generation(0), |l| l.generation);
            match how {
                JoinHow::WithPlanData => {
                    steps.extend(plan.and_then(|p| p.snapshot.as_ref()).map(|s| Step::Fetch(s.name.clone())));
                    steps.extend([Step::Build(generation), Step::Withdraw, Step::TakeMark(generation)]);
                    steps.extend([Step::Rename, Step::WriteEnvironment]);
                }
                JoinHow::ReplaceMember if resets_one_node => {
                    steps.extend([Step::Withdraw, Step::TakeMark(generation), Step::StartToJoin]);
                }
                JoinHow::ReplaceMember => steps.extend([
                    Step::Withdraw,
                    Step::TakeMark(generation),
                    Step::RecordVoters,
                    Step::RemoveMember,
                    Step::AddLearner,
                    Step::StartAsLearner,
                ]),
            }
        }
    }
    steps
}
