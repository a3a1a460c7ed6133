//! What the gate reports to the journal: typed fields beside the text, once per decision.

use std::path::Path;

use super::run::one_line;
use crate::core::decide::{Decision, Verdict};
use crate::core::model::Generation;
use crate::core::plan::{Plan, PlannedSnapshot};
use crate::error::Error;
use crate::event;

pub(super) fn verdict(verdict: &Verdict) {
    let (rule, text) = (verdict.rule, one_line(verdict));
    match &verdict.decision {
        Decision::Refuse { reason } => event!(RestoreRefused, rule = %rule, reason = ?reason, "{text}"),
        Decision::Wait { reason } => tracing::warn!(rule = %rule, reason = ?reason, "{text}"),
        _ => tracing::info!(rule = %rule, "{text}"),
    }
}

pub(super) fn plan_created(plan: &Plan) {
    event!(
        PlanCreated,
        generation = plan.generation.0,
        cause = %plan.cause,
        snapshot = plan.snapshot.as_ref().map(|s| s.name.as_str()).unwrap_or_default(),
        "wrote plan {} ({})",
        plan.generation,
        plan.cause
    );
}

pub(super) fn quarantined(aside: &Path, generation: Generation) {
    event!(
        Quarantined,
        generation = generation.0,
        path = %aside.display(),
        "moved the old member to {}; nothing was deleted",
        aside.display()
    );
}

pub(super) fn restore_successful(plan: &Plan, snapshot: &PlannedSnapshot) {
    event!(
        RestoreSuccessful,
        generation = plan.generation.0,
        snapshot = %snapshot.name,
        revision = snapshot.revision.0,
        "restored {} (revision {}) as generation {}",
        snapshot.name,
        snapshot.revision,
        plan.generation
    );
}

pub(super) fn restore_skipped(plan: &Plan) {
    event!(
        RestoreSkipped,
        generation = plan.generation.0,
        "there is no state to restore: formed generation {}",
        plan.generation
    );
}

pub(super) fn restore_error(verdict: &Verdict, e: &Error) {
    event!(RestoreError, rule = %verdict.rule, kind = e.kind().label(), "{}", e.one_line());
}
