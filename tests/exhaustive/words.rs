//! A decision in words.

use etcd_lifeboat::core::decide::Decision;

/// The decision in a few words, without what belongs to the one example.
pub(crate) fn short(decision: &Decision) -> String {
    match decision {
        Decision::Start => "start".into(),
        Decision::Wait { reason } => format!("wait {reason:?}"),
        Decision::Refuse { reason } => format!("refuse {reason:?}"),
        Decision::Resume { .. } => "resume".into(),
        Decision::Apply { .. } => "apply".into(),
        Decision::MakePlan(draft) => {
            format!("plan {} {}", draft.cause, draft.snapshot.as_ref().map_or("nothing", |s| s.as_str()))
        }
        Decision::Quarantine => "quarantine".into(),
        Decision::PutBack { .. } => "put back".into(),
        Decision::Join { how } => format!("join {how:?}"),
    }
}
