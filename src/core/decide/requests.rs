//! F0-F2: rules about what a person asked for, and what there is to say of it.

use super::{Decision, Draft, Look, RefuseReason, Rule, Verdict, WaitReason};
use crate::core::facts::{CauseCode, Configuration, DataDir, Observed, Request, RequestSource};
use crate::core::model::{NodeName, SnapshotName};
use crate::core::plan::{PlanCause, majorities_can_be_disjoint};
use crate::core::select;

/// The request that is still to be done: the first that no plan has consumed.
fn pending<'a>(look: &'a Look<'_>) -> Option<&'a Request> {
    if look.facts.attempts.request_failed.is_some() {
        return None;
    }
    asked(look)
}

/// The same, also when it was tried in vain.
fn asked<'a>(look: &'a Look<'_>) -> Option<&'a Request> {
    look.facts.request.known()?;
    look.facts.requests().find(|r| !look.consumed(&r.id))
}

/// What a person asked for could not be fetched, verified or built. A host with data goes on with it; one that can join a live cluster joins; and
/// one that was interrupted ends what it began. Below those, the rules would restore another snapshot than the one that was asked for, or form an
/// empty cluster, without a word from the person who asked.
fn failed_without_data(look: &Look<'_>, rule: Rule, what: &str) -> Option<Verdict> {
    let why = look.facts.attempts.request_failed.as_ref()?;
    look.store()?;
    let interrupted = look.plan().is_some_and(|newest| look.staging_belongs_to_mark(newest));
    let joins = look.facts.live.clusters.iter().any(|c| c.quorate);
    if !look.data_known()?.is_void() || interrupted || joins {
        return None;
    }
    Some(
        Verdict::refuse(
            rule,
            RefuseReason::RequestFailed,
            format!("{what} cannot be done: {why}. There is no data here to go on with, and another snapshot is not restored instead"),
        )
        .hint(
            "'lifeboat ls' shows what there is. To restore another one: lifeboat restore-once --cancel, then lifeboat restore-once NAME; to leave the \
             choice to lifeboat: lifeboat restore-once --cancel",
        ),
    )
}

/// What to say of requests that stay where they are after they were done. A file is removed, and needs no words.
pub(super) fn done_requests<'a>(look: &'a Look<'_>) -> impl Iterator<Item = String> + 'a {
    let stays = |r: &&Request| r.source != RequestSource::File && look.consumed(&r.id);
    look.facts.requests().filter(stays).map(|r| {
        format!(
            "{} asks for a restore of {:?} (id {}) that was done or taken back; it is ignored. To ask again, add ,id=<a new word> to it",
            r.found_in, r.snapshot, r.id
        )
    })
}

/// F0: a request is pending (or may be), and what it needs cannot be read.
pub(super) fn request_without_store(look: &Look<'_>) -> Option<Verdict> {
    if let Observed::Unknown(cause) = &look.facts.request {
        return Some(
            Verdict::wait(
                Rule::F0,
                WaitReason::LocalUnknown,
                format!("it could not be found out whether a restore was requested: {}", cause.text),
            )
            .hint(cause.hint.clone().unwrap_or_else(|| "make the request file readable, or remove it".into())),
        );
    }
    let request = pending(look)?;
    let (reason, text) = match (&look.facts.store, &look.facts.memory) {
        (Observed::Unknown(cause), _) if cause.code == CauseCode::StoreForgot => (WaitReason::StoreForgot, &cause.text),
        (Observed::Unknown(cause), _) => (WaitReason::Store, &cause.text),
        (_, Observed::Unknown(cause)) => (WaitReason::LocalUnknown, &cause.text),
        _ => return None,
    };
    Some(
        Verdict::wait(
            Rule::F0,
            reason,
            format!(
                "a restore of {:?} was requested in {}, and cannot be done yet: {text}",
                request.snapshot, request.found_in
            ),
        )
        .hint("to give the request up and start with the data that is here, type: lifeboat restore-once --cancel"),
    )
}

/// F1: a forced plan that this slot has still to follow.
pub(super) fn follow_forced_plan(look: &Look<'_>) -> Option<Verdict> {
    let newest = look.plan()?;
    let plan = &newest.plan;
    let urls = look.policy.peer_urls();
    if plan.cause != PlanCause::Forced || newest.cancelled || !plan.lists(&look.policy.node, urls) {
        return None;
    }
    let lived =
        look.store()?.snapshots.iter().any(|s| s.manifest.as_ref().is_ok_and(|c| c.cluster_id == plan.cluster_id));
    let older = match look.data_known()? {
        DataDir::Healthy(member) => member.cluster_id != plan.cluster_id,
        DataDir::InUse => false,
        DataDir::Absent | DataDir::Empty | DataDir::Damaged { .. } | DataDir::Foreign { .. } => true,
    };
    if lived || !older || (look.marked(newest) && !look.staging_belongs_to_mark(newest)) {
        return None;
    }
    // A host that has no memory cannot know whether it followed this plan before.
    look.facts.memory.known()?;
    if beside_forced_plan(look).is_some() {
        return None;
    }
    if look.facts.attempts.request_failed.is_some() {
        return failed_without_data(look, Rule::F1, &format!("plan {}, which a person asked for,", plan.generation));
    }
    if look.policy.managed_by.resets_one_node() && plan.seed != look.policy.node {
        // Only the seed restores. The others make room, and then join its cluster as any empty host does.
        let void = look.data_known()?.is_void();
        return (!void).then(|| {
            Verdict::new(
                Rule::F1,
                Decision::Quarantine,
                format!(
                    "a person asked for a restore ({}), which {} does alone; this host moves its data aside and joins that cluster",
                    plan.request.as_deref().unwrap_or("no id"),
                    plan.seed
                ),
            )
        });
    }
    if let Some(wait) = super::cluster::others_not_stopped(look, Rule::F1, plan.request.as_deref().unwrap_or_default())
    {
        return Some(wait);
    }
    Some(Verdict::new(
        Rule::F1,
        Decision::Apply { generation: plan.generation },
        format!(
            "a person asked for a restore ({}), and plan {} lists this host, which has not followed it yet",
            plan.request.as_deref().unwrap_or("no id"),
            plan.generation
        ),
    ))
}

/// A configuration of another life that could find a majority beside the forced plan's. There was none when the plan was written; members may have
/// been added to the older life or removed from it since, as long as too few have followed the plan.
fn beside_forced_plan(look: &Look<'_>) -> Option<Configuration> {
    let plan = &look.plan()?.plan;
    let voters: Vec<_> = plan.voters.iter().map(|v| v.name.clone()).collect();
    could_live_beside(&voters, super::lives::other_than(look, plan.cluster_id))
}

fn could_live_beside(voters: &[NodeName], others: Vec<Configuration>) -> Option<Configuration> {
    others.into_iter().find(|other| {
        let others: Vec<_> = other.voters.iter().map(|v| v.name.clone()).collect();
        majorities_can_be_disjoint(voters, &others)
    })
}

/// What to say of a forced plan that this host does not follow, though it stands in it.
pub(super) fn forced_plan_left(look: &Look<'_>) -> Option<String> {
    let newest = look.plan()?;
    let plan = &newest.plan;
    let open = plan.cause == PlanCause::Forced
        && !newest.cancelled
        && plan.lists(&look.policy.node, look.policy.peer_urls())
        && look.cluster_id() != Some(plan.cluster_id)
        && !look.marked(newest);
    let other = beside_forced_plan(look).filter(|_| open)?;
    let names: Vec<String> = other.voters.iter().map(|v| v.name.to_string()).collect();
    Some(format!(
        "plan {}, a restore that a person asked for, is not followed: since then members were added or removed, and the voters in {} ({}) could find a \
         majority beside it. Take it back (lifeboat restore-once --cancel), then ask again",
        plan.generation,
        other.recorded_in,
        names.join(", ")
    ))
}

/// F2: a request that no plan has consumed.
pub(super) fn force_plan(look: &Look<'_>) -> Option<Verdict> {
    let request = asked(look)?;
    let store = look.store()?;
    look.facts.memory.known()?;
    if look.facts.attempts.request_failed.is_some() {
        let what = format!("the restore of {:?} that was requested in {}", request.snapshot, request.found_in);
        return failed_without_data(look, Rule::F2, &what);
    }
    let snapshot = if request.snapshot == "latest" {
        select::best(&store.snapshots, &look.facts.attempts.excluded).map(|(name, _)| name.clone())
    } else {
        SnapshotName::new(&request.snapshot)
            .ok()
            .filter(|wanted| store.snapshots.iter().any(|s| s.name == *wanted && select::ineligible(s, true).is_none()))
    };
    let voters = look.configured();
    if let Some(other) = could_live_beside(&voters, super::lives::recorded_or_seen(look)) {
        let names: Vec<String> = other.voters.iter().map(|v| v.name.to_string()).collect();
        return Some(
            Verdict::refuse(
                Rule::F2,
                RefuseReason::TwoLives,
                format!(
                    "the requested restore could form a second cluster: its members and the voters in {} ({}) could each find a majority without the other",
                    other.recorded_in,
                    names.join(", ")
                ),
            )
            .hint("list the members of the old cluster under cluster.members, or take the request back: lifeboat restore-once --cancel"),
        );
    }
    if let Some(wait) = super::cluster::others_not_stopped(look, Rule::F2, &request.id) {
        return Some(wait);
    }
    if let Some(wait) = super::cluster::too_few_for_request(look, &request.id) {
        return Some(wait);
    }
    // A request for what is not there ends in the loop as a failed attempt: the host goes on without it, loudly. That holds for "latest" with
    // nothing eligible and for what is no name at all, too: a draft without a snapshot is never built when it is forced.
    let wanted =
        snapshot.or_else(|| SnapshotName::new(&request.snapshot).ok().filter(|_| request.snapshot != "latest"));
    Some(Verdict::new(
        Rule::F2,
        Decision::MakePlan(Draft {
            generation: look.next_generation(),
            cause: PlanCause::Forced,
            snapshot: wanted,
            request: Some(request.id.clone()),
        }),
        format!("a restore of {:?} was requested in {} (id {})", request.snapshot, request.found_in, request.id),
    ))
}
