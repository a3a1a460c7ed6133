//! Rules about what the store holds: plans, snapshots, or nothing.

use super::{Decision, Draft, Look, RefuseReason, Rule, Verdict, WaitReason};
use crate::core::facts::{CauseCode, Life, Observed, StoreFacts};
use crate::core::model::SnapshotName;
use crate::core::plan::PlanCause;
use crate::core::select::{self, SnapshotFact};

/// The id under which a pin from the configuration is consumed.
fn pin_id(name: &SnapshotName) -> String {
    format!("pin:{name}")
}

/// The pin, unless it was consumed before.
fn fresh_pin<'a>(look: &Look<'a>) -> Option<&'a SnapshotName> {
    look.policy.pinned.as_ref().filter(|name| !pin_consumed(look, name))
}

/// A pin is consumed when a life began with it. Its plan alone does not say that: marks may be burnt before anything was put into place, as often as
/// it is tried, and the best snapshot may be just the one that the pin is there to avoid. What says it is a snapshot of that life, or a later plan for
/// something else.
fn pin_consumed(look: &Look<'_>, name: &SnapshotName) -> bool {
    let id = pin_id(name);
    let remembered = look.facts.memory.known().is_some_and(|m| m.consumed.contains(&id));
    let Some(store) = look.store() else { return remembered };
    let for_it = |life: &&Life| !life.cancelled && life.request.as_deref() == Some(id.as_str());
    let followed_by_another = |life: &Life| {
        store
            .lives
            .iter()
            .any(|l| !l.cancelled && l.generation > life.generation && l.request.as_deref() != Some(id.as_str()))
    };
    let lived = |life: &Life| {
        let of_it = |s: &SnapshotFact| s.manifest.as_ref().is_ok_and(|c| c.cluster_id == life.cluster_id);
        store.snapshots.iter().any(of_it) || followed_by_another(life)
    };
    remembered || store.lives.iter().filter(for_it).any(lived)
}

/// What to say of a pin that was consumed and is still configured.
pub(super) fn stale_pin(look: &Look<'_>) -> Option<String> {
    let name = look.policy.pinned.as_ref()?;
    pin_consumed(look, name).then(|| {
        format!("bootstrap.snapshot still names {name}, which was restored once already; it is ignored. Set it to \"latest\"")
    })
}

/// P1: what the store holds (or what this host remembers) could not be found out.
pub(super) fn unknown(look: &Look<'_>) -> Option<Verdict> {
    let (reason, cause, what) = match (&look.facts.store, &look.facts.memory) {
        (Observed::Unknown(cause), _) if cause.code == CauseCode::StoreForgot => {
            (WaitReason::StoreForgot, cause, "the store cannot be right")
        }
        (Observed::Unknown(cause), _) => (WaitReason::Store, cause, "the store could not be read"),
        (_, Observed::Unknown(cause)) => (WaitReason::LocalUnknown, cause, "this host's memory could not be read"),
        _ => return None,
    };
    let hint = cause.hint.clone().unwrap_or_else(|| {
        "mend it, and the bootstrap goes on by itself; 'lifeboat ls' tries the store by hand".into()
    });
    Some(
        Verdict::wait(
            Rule::P1,
            reason,
            format!(
                "{} holds no member, and {what}: {}. A store that cannot be read is not an empty store: nothing is formed, restored or joined",
                look.policy.data_dir, cause.text
            ),
        )
        .hint(hint),
    )
}

/// What the configuration asks for: the fresh pin, or the best eligible one.
fn wanted<'a>(look: &Look<'a>, store: &'a StoreFacts) -> Option<&'a SnapshotName> {
    match fresh_pin(look) {
        Some(pin) => {
            store.snapshots.iter().find(|s| s.name == *pin && select::ineligible(s, true).is_none()).map(|s| &s.name)
        }
        None => {
            let excluded = look.plan().map(|p| p.plan.excluded.as_slice()).unwrap_or_default();
            select::best(&store.snapshots, excluded).map(|(name, _)| name)
        }
    }
}

/// R1: the newest plan is this slot's to apply, and what it restores is still what should be restored.
pub(super) fn follow_plan(look: &Look<'_>) -> Option<Verdict> {
    let store = look.store()?;
    let newest = look.plan()?;
    let plan = &newest.plan;
    let for_me = matches!(plan.cause, PlanCause::Init | PlanCause::Restore)
        && !newest.cancelled
        && plan.lists(&look.policy.node, look.policy.peer_urls())
        && !look.marked(newest)
        // One restored node has quorum alone: not before all others still stand there without data, after the plan as before it.
        && (!look.policy.managed_by.resets_one_node()
            || plan.seed == look.policy.node && super::cluster::missing_members(look).is_empty());
    if !for_me {
        return None;
    }
    let because = match &plan.snapshot {
        None if store.snapshots.is_empty() => {
            format!("plan {} forms a new cluster, and this host has not started in it yet", plan.generation)
        }
        Some(s)
            if plan.request.as_deref() == Some(pin_id(&s.name).as_str()) || wanted(look, store) == Some(&s.name) =>
        {
            format!(
                "plan {} restores {} (revision {}), and this host has not started in it yet",
                plan.generation, s.name, s.revision
            )
        }
        _ => return None,
    };
    // A broken copy that was found on the way is not restored because an older plan names it.
    let broken = plan.snapshot.as_ref().is_some_and(|s| look.facts.attempts.excluded.iter().any(|e| e.name == s.name));
    (!broken).then(|| Verdict::new(Rule::R1, Decision::Apply { generation: plan.generation }, because))
}

/// S1: the configuration names a snapshot, and no plan has consumed that.
pub(super) fn pinned(look: &Look<'_>) -> Option<Verdict> {
    let store = look.store()?;
    let pin = fresh_pin(look)?;
    let hint = "correct bootstrap.snapshot ('lifeboat ls' shows what there is), or set it to \"latest\"";
    let Some(found) = store.snapshots.iter().find(|s| s.name == *pin) else {
        return Some(
            Verdict::refuse(
                Rule::S1,
                RefuseReason::PinnedMissing,
                format!("bootstrap.snapshot names {pin}, and the store has no such snapshot; another one is not taken instead"),
            )
            .hint(hint),
        );
    };
    let broken = look.facts.attempts.excluded.iter().find(|e| e.name == *pin).map(|e| e.why.clone());
    if let Some(why) = broken.or_else(|| select::ineligible(found, true)) {
        return Some(
            Verdict::refuse(
                Rule::S1,
                RefuseReason::PinnedIneligible,
                format!(
                    "bootstrap.snapshot names {pin}, which cannot be restored: {why}; another one is not taken instead"
                ),
            )
            .hint(hint),
        );
    }
    Some(Verdict::new(
        Rule::S1,
        Decision::MakePlan(Draft {
            generation: look.next_generation(),
            cause: PlanCause::Restore,
            snapshot: Some(pin.clone()),
            request: Some(pin_id(pin)),
        }),
        format!("the cluster is lost, and bootstrap.snapshot names {pin}"),
    ))
}

fn best_now<'a>(look: &Look<'a>, store: &'a StoreFacts) -> Option<(&'a SnapshotName, &'a select::Candidate)> {
    select::best(&store.snapshots, &look.facts.attempts.excluded)
}

fn fallback_used_up(look: &Look<'_>) -> bool {
    look.facts.attempts.excluded.len() > look.policy.fallback as usize
}

/// S2: there is a snapshot to restore.
pub(super) fn restore_best(look: &Look<'_>) -> Option<Verdict> {
    let store = look.store()?;
    let (name, candidate) = best_now(look, store)?;
    if !look.policy.autorestore || fallback_used_up(look) {
        return None;
    }
    let passed = match look.facts.attempts.excluded.len() {
        0 => String::new(),
        n => format!("; {n} newer one(s) were found broken and passed over"),
    };
    // One of them may be newer than the best: an upgraded or re-keyed host wrote it, or it was altered. Its revision is nobody's to know, so that
    // it was passed over is said, and never hidden behind the one that is restored.
    let untrusted: Vec<_> =
        store.snapshots.iter().filter_map(|s| s.manifest.as_ref().err().map(|why| (&s.name, why))).collect();
    let note = untrusted.last().map(|(last, why)| {
        format!("{} snapshot(s) cannot be trusted and were not considered, among them {last}: {why}", untrusted.len())
    });
    let mut verdict = Verdict::new(
        Rule::S2,
        Decision::MakePlan(Draft {
            generation: look.next_generation(),
            cause: PlanCause::Restore,
            snapshot: Some(name.clone()),
            request: None,
        }),
        format!(
            "the cluster is lost, and {name} is the best of {} snapshot(s): generation {}, revision {}{passed}",
            store.snapshots.len(),
            candidate.generation,
            candidate.revision
        ),
    );
    verdict.notes.extend(note);
    verdict.notes.extend(unfit(store));
    Some(verdict)
}

/// What is known to be unfit before it is tried (a payload that is gone, cut or found broken by `verify`): passed over, and never in silence.
fn unfit(store: &StoreFacts) -> Option<String> {
    let known = store.snapshots.iter().filter(|s| s.manifest.is_ok());
    let unfit: Vec<_> = known.filter_map(|s| select::ineligible(s, false).map(|why| (&s.name, why))).collect();
    let (last, why) = unfit.last()?;
    Some(format!("{} snapshot(s) were passed over, among them {last}: {why}", unfit.len()))
}

/// S3: there is a snapshot to restore, and nobody allowed that.
pub(super) fn restore_disabled(look: &Look<'_>) -> Option<Verdict> {
    let store = look.store()?;
    let (name, candidate) = best_now(look, store)?;
    if look.policy.autorestore {
        return None;
    }
    Some(
        Verdict::refuse(
            Rule::S3,
            RefuseReason::RestoreDisabled,
            format!(
                "the cluster is lost, {name} (revision {}) could be restored, and bootstrap.autorestore is false",
                candidate.revision
            ),
        )
        .hint(format!("set bootstrap.autorestore = true, or bootstrap.snapshot = \"{name}\" to restore just this one")),
    )
}

/// S4: there are snapshots, and none may be restored.
pub(super) fn none_eligible(look: &Look<'_>) -> Option<Verdict> {
    let store = look.store()?;
    if store.snapshots.is_empty() {
        return None;
    }
    let excluded = &look.facts.attempts.excluded;
    let mut reasons: Vec<String> = store
        .snapshots
        .iter()
        .filter_map(|s| {
            let found = excluded.iter().find(|e| e.name == s.name).map(|e| e.why.clone());
            found.or_else(|| select::ineligible(s, false)).map(|why| format!("{}: {why}", s.name))
        })
        .collect();
    let total = reasons.len();
    reasons.truncate(5);
    let more = if total > reasons.len() { format!("; and {} more", total - reasons.len()) } else { String::new() };
    let because = if best_now(look, store).is_some() {
        format!(
            "{} snapshots in a row are broken, and bootstrap.fallback allows to pass over {}: {}{more}",
            excluded.len(),
            look.policy.fallback,
            reasons.join("; ")
        )
    } else {
        format!(
            "the store has {} snapshot(s), and none may be restored: {}{more}",
            store.snapshots.len(),
            reasons.join("; ")
        )
    };
    Some(
        Verdict::refuse(Rule::S4, RefuseReason::NoneEligible, because).hint(
            "'lifeboat ls' shows all of them; name one in bootstrap.snapshot, raise bootstrap.fallback, or put the right token into cluster.token_file",
        ),
    )
}

/// S5: a cluster is remembered (or was promised), and the store has nothing of it.
pub(super) fn snapshots_missing(look: &Look<'_>) -> Option<Verdict> {
    let store = look.store()?;
    if !store.snapshots.is_empty() {
        return None;
    }
    let memory = look.facts.memory.known()?;
    let promised = "bootstrap.initial_cluster_state is \"existing\"";
    let who = if let Some(plan) = &store.plan {
        format!("the store holds plan {} of a cluster", plan.plan.generation)
    } else if memory.remembers_cluster() {
        "this host remembers a cluster".to_owned()
    } else if let Some(entry) = store.roll_call.iter().find(|e| e.remembers_cluster) {
        format!("the host {} remembers a cluster", entry.node)
    } else if look.policy.existing_only {
        promised.to_owned()
    } else {
        return None;
    };
    if look.policy.init_empty {
        return Some(Verdict::new(
            Rule::S5,
            Decision::MakePlan(Draft {
                generation: look.next_generation(),
                cause: PlanCause::Init,
                snapshot: None,
                request: None,
            }),
            format!("{who}, and the store has no snapshot, but a person said --init-empty"),
        ));
    }
    Some(
        Verdict::refuse(
            Rule::S5,
            RefuseReason::BackupsMissing,
            if who == promised {
                format!("{who}, and the store has neither a plan nor a snapshot of that cluster: no empty one is formed in its place")
            } else {
                format!("{who}, its data is gone, and the store has no snapshot: a new, empty cluster would hide that loss")
            },
        )
        .hint("check bucket and folder ('lifeboat config show', 'lifeboat ls'); if an empty cluster is really wanted, type: lifeboat bootstrap --init-empty"),
    )
}

/// N1: nothing was ever here.
pub(super) fn init(look: &Look<'_>) -> Option<Verdict> {
    let store = look.store()?;
    let memory = look.facts.memory.known()?;
    let untouched = store.plan.is_none() && store.snapshots.is_empty() && !memory.remembers_cluster();
    (untouched && super::cluster::missing_members(look).is_empty()).then(|| {
        Verdict::new(
            Rule::N1,
            Decision::MakePlan(Draft {
                generation: look.next_generation(),
                cause: PlanCause::Init,
                snapshot: None,
                request: None,
            }),
            "there is no state to restore: the store has neither plan nor snapshot, and no host remembers a cluster",
        )
    })
}

/// N2: none of the above.
pub(super) fn nothing_matches(look: &Look<'_>) -> Option<Verdict> {
    let missing = super::cluster::missing_members(look);
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Some(
        Verdict::wait(
            Rule::N2,
            WaitReason::Peers,
            format!(
                "a new cluster is formed only when all configured members stand in the roll call; missing: {}",
                names.join(", ")
            ),
        )
        .hint("start the missing hosts, or correct cluster.members"),
    )
}
