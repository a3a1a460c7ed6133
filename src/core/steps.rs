//! A verdict as ordered steps, for people who want to know what a real run would do.

use std::fmt;

use super::decide::{Decision, Verdict};
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
    /// Write the environment file of etcd's unit.
    WriteEnvironment,
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
            Step::WriteEnvironment => write!(f, "write etcd's environment file"),
            Step::LookAgain => write!(f, "look around again"),
        }
    }
}

/// What a real run would do on this verdict, up to its next look around.
pub fn steps(verdict: &Verdict, facts: &Facts) -> Vec<Step> {
    let void = facts.data_dir.known().is_some_and(DataDir::is_void);
    let plan = facts.store.known().and_then(|s| s.plan.as_ref()).map(|p| &p.plan);
    let mut steps = Vec::new();
    match &verdict.decision {
        Decision::Start => steps.push(Step::WriteEnvironment),
        Decision::Wait { .. } | Decision::Refuse { .. } => {}
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
            steps.extend([Step::Build(*generation), Step::TakeMark(*generation)]);
            if !void {
                steps.push(Step::Quarantine);
            }
            steps.extend([Step::Rename, Step::WriteEnvironment]);
        }
        Decision::Resume { .. } => steps.extend([Step::Rename, Step::WriteEnvironment]),
        Decision::Quarantine | Decision::PutBack { .. } => steps.extend([Step::Quarantine, Step::LookAgain]),
        Decision::Join { .. } => steps.push(Step::LookAgain),
    }
    steps
}
