//! J0, for the release of etcd: what a snapshot of a newer one holds is not put under an older one.
//!
//! Nobody else prevents that. etcd 3.4 and 3.5 serve a restored data dir of 3.6 without a word and write to it what they understand of it; 3.6 does
//! not start on one of 3.7 (tried with 3.4.23, 3.5.30 and 3.6.16). An older snapshot is not taken instead: the next etcd that is installed would
//! have read the newer one.

use super::{Decision, JoinHow, Look, RefuseReason, Rule, Verdict};
use crate::core::facts::{LocalEtcd, Observed};
use crate::core::model::SnapshotName;
use crate::core::plan::PlanCause;
use crate::core::select::{self, Takes};

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
    let Takes::TooOld(needed, why) = select::takes(storage, local(look)) else { return None };
    // A request never keeps a host down that has data: the step fails, says why, and the host goes on without it.
    let has_data = !look.facts.data_dir.known().is_some_and(crate::core::facts::DataDir::is_void);
    if cause == PlanCause::Forced && has_data {
        return None;
    }
    let because = format!("rule {} would restore {name}, but {why}", verdict.rule);
    Some(Verdict::refuse(Rule::J0, RefuseReason::EtcdTooOld, because).hint(format!(
        "install etcd {needed} or newer on this host; to have an older snapshot instead, name it in bootstrap.snapshot ('lifeboat ls' shows them)"
    )))
}

/// What could not be found out is said, and is no reason to refuse.
pub(super) fn not_known(look: &Look<'_>, verdict: &Verdict) -> Option<String> {
    let (name, storage, _) = restored(look, verdict)?;
    match select::takes(storage, local(look)) {
        Takes::NotKnown(why) => Some(format!("{name} {why}")),
        Takes::Yes | Takes::TooOld(..) => None,
    }
}

fn local<'a>(look: &Look<'a>) -> Option<&'a Observed<LocalEtcd>> {
    look.facts.start.known()?.etcd_version.as_ref()
}

#[cfg(test)]
mod tests {
    use crate::core::decide::tests::{blank, policy, snapshot};
    use crate::core::decide::{Decision, RefuseReason, Rule, Verdict, decide};
    use crate::core::facts::{CauseCode, Facts, LocalEtcd, Observed, Request, RequestSource, StartFlags, StoreFacts};

    /// An older snapshot of any etcd, and the newest of `storage`.
    fn lost(storage: Option<&str>, etcd: Option<Observed<LocalEtcd>>) -> Facts {
        let mut newest = snapshot("newest", 0, 9);
        newest.manifest.as_mut().unwrap().storage_version = storage.map(str::to_owned);
        let snapshots = vec![snapshot("older", 0, 5), newest];
        Facts {
            store: Observed::Known(StoreFacts { snapshots, ..StoreFacts::default() }),
            start: Observed::Known(StartFlags { etcd_version: etcd, ..StartFlags::default() }),
            ..blank()
        }
    }

    fn etcd(version: &str) -> Option<Observed<LocalEtcd>> {
        Some(Observed::Known(LocalEtcd { version: version.into(), found_in: "/usr/bin/etcd".into() }))
    }

    fn says_not_known(verdict: &Verdict) -> bool {
        let words = ["newest needs etcd 3.6 or newer, and which one", "newest may need a newer etcd"];
        verdict.notes.iter().any(|n| words.iter().any(|w| n.contains(w)))
    }

    #[test]
    fn the_newest_snapshot_is_restored_or_nothing() {
        let unknown = || Some(Observed::unknown(CauseCode::NoAnswer, "no answer"));
        for (storage, local, too_old, not_known) in [
            (None, etcd("3.4.23"), false, false),
            (Some("3.6.0"), etcd("3.6.0"), false, false),
            (Some("3.6.0"), etcd("3.10.1"), false, false),
            (Some("3.6.0"), etcd("3.5.30"), true, false),
            (Some("3.7.0"), etcd("3.6.16"), true, false),
            (Some("3.6.0"), unknown(), false, true),
            (Some("3.6.0"), None, false, true),
            (None, unknown(), false, false),
            (Some("3.6.0"), etcd("nightly"), false, true),
            (Some("three"), etcd("3.5.30"), false, true),
        ] {
            let case = format!("{storage:?} under {local:?}");
            let verdict = decide(&lost(storage, local), &policy());
            assert_eq!(says_not_known(&verdict), not_known, "{case}: {verdict:?}");
            if too_old {
                let refused = Decision::Refuse { reason: RefuseReason::EtcdTooOld };
                assert_eq!((verdict.rule, &verdict.decision), (Rule::J0, &refused), "{case}");
                assert!(verdict.hint.is_some_and(|h| h.contains("install etcd 3.")), "{case}");
            } else {
                let Decision::MakePlan(draft) = verdict.decision else { panic!("{case}: {verdict:?}") };
                assert_eq!(draft.snapshot.unwrap().as_str(), "newest", "{case}");
            }
        }
    }

    #[test]
    fn a_request_keeps_only_a_host_without_data_down() {
        let request = Request {
            id: "r".into(),
            snapshot: "newest".into(),
            found_in: "a file".into(),
            source: RequestSource::File,
        };
        let mut facts = lost(Some("3.6.0"), etcd("3.5.30"));
        facts.request = Observed::Known(Some(request));
        assert_eq!(decide(&facts, &policy()).rule, Rule::J0);
        facts.data_dir = Observed::Known(crate::core::decide::tests::healthy(7));
        let verdict = decide(&facts, &policy());
        assert!(matches!(verdict.decision, Decision::MakePlan(_)), "its step fails, and it goes on: {verdict:?}");
    }
}
