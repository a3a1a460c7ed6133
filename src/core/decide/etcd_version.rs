//! J0, for the release of etcd: what a snapshot of a newer one holds is not put under an older one.
//!
//! Nobody else prevents that. etcd 3.4 and 3.5 serve a restored data dir of 3.6 without a word and write to it what they understand of it; 3.6 does
//! not start on one of 3.7 (tried with 3.4.23, 3.5.30 and 3.6.16). An older snapshot is not taken instead: the next etcd that is installed would
//! have read the newer one.

use super::{Decision, JoinHow, Look, RefuseReason, Rule, Verdict};
use crate::core::facts::Observed;
use crate::core::model::SnapshotName;
use crate::core::plan::PlanCause;
use crate::core::select;

/// What the verdict would restore here, and its storage version, when it has one.
fn restored<'a>(look: &Look<'a>, verdict: &Verdict) -> Option<(&'a SnapshotName, &'a str, PlanCause)> {
    let planned = || look.plan().and_then(|p| p.plan.snapshot.as_ref().map(|s| (s.name.clone(), p.plan.cause)));
    let (name, cause) = match &verdict.decision {
        Decision::MakePlan(draft) => (draft.snapshot.clone()?, draft.cause),
        Decision::Apply { .. } | Decision::Join { how: JoinHow::WithPlanData } => planned()?,
        _ => return None,
    };
    let found = look.store()?.snapshots.iter().find(|s| s.name == name)?;
    let storage = found.manifest.as_ref().ok()?.storage_version.as_deref()?;
    Some((&found.name, storage, cause))
}

/// The etcd of this host is older than what would be restored.
pub(super) fn too_old(look: &Look<'_>, verdict: &Verdict) -> Option<Verdict> {
    let (name, storage, cause) = restored(look, verdict)?;
    let local = look.facts.start.known()?.etcd_version.as_ref()?.known()?;
    // A request never keeps a host down that has data: the step fails, says why, and the host goes on without it.
    let has_data = !look.facts.data_dir.known().is_some_and(crate::core::facts::DataDir::is_void);
    if !select::newer(storage, &local.version) || (cause == PlanCause::Forced && has_data) {
        return None;
    }
    let because = format!("rule {} would restore {name}, but {}", verdict.rule, select::too_old(storage, local));
    Some(Verdict::refuse(Rule::J0, RefuseReason::EtcdTooOld, because).hint(format!(
        "install etcd {} or newer on this host; to have an older snapshot instead, name it in bootstrap.snapshot ('lifeboat ls' shows them)",
        select::release(storage)
    )))
}

/// Which etcd there is could not be found out: that is said, and is no reason to refuse.
pub(super) fn not_known(look: &Look<'_>, verdict: &Verdict) -> Option<String> {
    let (name, storage, _) = restored(look, verdict)?;
    let why = match look.facts.start.known().and_then(|s| s.etcd_version.as_ref()) {
        Some(Observed::Known(_)) => return None,
        Some(Observed::Unknown(cause)) => cause.text.as_str(),
        None => "it was not looked at",
    };
    Some(format!(
        "{name} needs etcd {} or newer, and which one this host starts is not known: {why}",
        select::release(storage)
    ))
}
