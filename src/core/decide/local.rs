//! Rules about this host: its data dir, its requests, and how etcd will be started.

use super::{Decision, Draft, JoinHow, Look, ManagedBy, Policy, RefuseReason, Rule, Verdict, WaitReason};
use crate::core::facts::{CauseCode, Configuration, DataDir, Facts, Observed, Request, RequestSource, StartFlags};
use crate::core::model::{Generation, NodeName, SnapshotName};
use crate::core::peer_url;
use crate::core::plan::{PlanCause, majorities_can_be_disjoint};
use crate::core::select;

/// A healthy member that is not this slot's is foreign: its peer URLs are not ours, or plans exist and its cluster is in none of them.
///
/// A cluster that is older than all plans (lifeboat came later, and the first plan was a forced one) is none of them either; a signed manifest of
/// a snapshot that was taken from it tells it from a stranger's. Without that, a forced plan that fails would keep its healthy data down.
pub(super) fn judge_data_dir(facts: &Facts, policy: &Policy) -> Observed<DataDir> {
    let Observed::Known(DataDir::Healthy(member)) = &facts.data_dir else { return facts.data_dir.clone() };
    let mine = member.members.iter().find(|m| m.id == member.member_id);
    if let Some(me) = mine.filter(|m| !m.peer_urls.is_empty() && !policy.peer_urls().is_empty())
        && !peer_url::same_set(&me.peer_urls, policy.peer_urls())
    {
        return Observed::Known(DataDir::Foreign {
            what: format!(
                "its member {} has the peer URLs {}, and the configuration gives {} the URLs {}",
                member.member_id,
                me.peer_urls.join(","),
                policy.node,
                policy.peer_urls().join(",")
            ),
        });
    }
    if let Some(store) = facts.store.known()
        && !store.lives.is_empty()
        && store.life_of(member.cluster_id).is_none()
        && !store.snapshots.iter().any(|s| s.manifest.as_ref().is_ok_and(|c| c.cluster_id == member.cluster_id))
    {
        return Observed::Known(DataDir::Foreign {
            what: format!(
                "its cluster id {} is in none of the {} plan(s) of the store, and no snapshot there was taken from it",
                member.cluster_id,
                store.lives.len()
            ),
        });
    }
    facts.data_dir.clone()
}

/// B0: kubeadm has not been run here yet.
pub(super) fn not_yet_control_plane(look: &Look<'_>) -> Option<Verdict> {
    let manifest = look.facts.start.known()?.manifest_present?;
    let void = look.data_known()?.is_void();
    let no_request = look.facts.request.known().is_some() && look.facts.requests().all(|r| look.consumed(&r.id));
    if look.policy.managed_by != ManagedBy::Kubeadm || manifest || !void || !no_request {
        return None;
    }
    let quorate = look.facts.live.clusters.iter().any(|c| c.quorate);
    let empty = look.store().is_some_and(|s| s.plan.is_none() && s.snapshots.is_empty());
    (quorate || empty).then(|| {
        Verdict::new(
            Rule::B0,
            Decision::Start,
            "kubeadm has not put an etcd manifest here yet, and there is nothing to restore: 'kubeadm init' or 'kubeadm join' does the rest",
        )
    })
}

/// D0: an etcd runs on the data dir.
pub(super) fn in_use(look: &Look<'_>) -> Option<Verdict> {
    matches!(look.data_known()?, DataDir::InUse).then(|| {
        Verdict::new(Rule::D0, Decision::Start, format!("an etcd runs on {}; nothing is touched", look.policy.data_dir))
    })
}

/// D1: what is on the local disk could not be found out.
pub(super) fn local_unknown(look: &Look<'_>) -> Option<Verdict> {
    let cause = match (&look.data, &look.facts.staging) {
        (Observed::Unknown(cause), _) => cause,
        (Observed::Known(data), Observed::Unknown(cause)) if data.is_void() => cause,
        _ => return None,
    };
    let hint = cause.hint.clone().unwrap_or_else(|| match cause.code {
        CauseCode::MountMissing => {
            format!("mount the file system of {} and it goes on by itself", look.policy.data_dir)
        }
        _ => format!(
            "make {} readable ('journalctl -k' shows disk errors) and it goes on by itself",
            look.policy.data_dir
        ),
    });
    Some(
        Verdict::wait(
            Rule::D1,
            WaitReason::LocalUnknown,
            format!("the data dir {} could not be looked at: {}", look.policy.data_dir, cause.text),
        )
        .hint(hint),
    )
}

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
    could_live_beside(&voters, super::cluster::other_than(look, plan.cluster_id))
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
    let storage = look.policy.storage_version.as_deref();
    let snapshot = if request.snapshot == "latest" {
        select::best(&store.snapshots, &look.facts.attempts.excluded, storage).map(|(name, _)| name.clone())
    } else {
        SnapshotName::new(&request.snapshot).ok().filter(|wanted| {
            store.snapshots.iter().any(|s| s.name == *wanted && select::ineligible(s, true, storage).is_none())
        })
    };
    let voters = look.configured();
    if let Some(other) = could_live_beside(&voters, super::cluster::recorded_or_seen(look)) {
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

/// J1: everything was ready but the last rename.
pub(super) fn resume(look: &Look<'_>) -> Option<Verdict> {
    let newest = look.plan()?;
    let in_the_way = match look.data_known()? {
        DataDir::Absent | DataDir::Empty => false,
        DataDir::Damaged { member_present, .. } => *member_present,
        _ => true,
    };
    if newest.cancelled || in_the_way || !look.staging_belongs_to_mark(newest) {
        return None;
    }
    Some(Verdict::new(
        Rule::J1,
        Decision::Resume { generation: newest.plan.generation },
        format!("plan {} was built, marked and interrupted before its last rename", newest.plan.generation),
    ))
}

/// D2: the data is damaged or somebody else's.
pub(super) fn damaged_or_foreign(look: &Look<'_>) -> Option<Verdict> {
    let (reason, what) = match look.data_known()? {
        DataDir::Damaged { what, .. } => (RefuseReason::Damaged, what),
        DataDir::Foreign { what } => (RefuseReason::Foreign, what),
        _ => return None,
    };
    let quorate = look.facts.live.clusters.iter().find(|c| c.quorate);
    let dir = &look.policy.data_dir;
    let state = if reason == RefuseReason::Damaged { "damaged" } else { "not this host's" };
    let because = format!("the data dir {dir} is {state}: {what}");
    let command = match look.data_known()? {
        DataDir::Damaged { member_present: false, .. } if look.policy.wal_dir.is_none() => {
            "move what is there elsewhere by hand (it is no member)"
        }
        DataDir::Damaged { member_present: false, .. } => {
            "type: lifeboat quarantine add (it moves the WAL aside, deletes nothing), and move other files elsewhere by hand"
        }
        _ => "type: lifeboat quarantine add (it moves member/ aside, deletes nothing)",
    };
    Some(match quorate {
        // Without a log it has never voted nor acknowledged anything; it is added anew.
        Some(cluster) if reason == RefuseReason::Damaged && look.facts.joined_without_log => Verdict::new(
            Rule::D2,
            Decision::Quarantine,
            format!("{because}; etcd had only begun to make it, as the member that was added for this host to cluster {}", cluster.cluster_id),
        ),
        Some(cluster) if look.policy.replace_damaged => Verdict::new(
            Rule::D2,
            Decision::Quarantine,
            format!("{because}; the quorate cluster {} can be joined, and bootstrap.replace_damaged is set", cluster.cluster_id),
        ),
        Some(cluster) => Verdict::refuse(Rule::D2, reason, format!("{because}; the quorate cluster {} answers", cluster.cluster_id))
            .hint(format!("to move the data aside and join, {command}")),
        None => Verdict::refuse(Rule::D2, reason, format!("{because}; no quorate cluster answers")).hint(format!(
            "{}if the data is worthless, {command}; the host then restores from the store. If it is worth saving, copy it first",
            // Good data beside the folder of another cluster looks the same.
            if reason == RefuseReason::Foreign { "check [store] folder and cluster.name: are they this cluster's? If they are and " } else { "" }
        )),
    })
}

/// k3s and rke2: this host has moved its data aside so that another one could restore for this plan.
fn made_room(look: &Look<'_>, plan: Generation) -> bool {
    look.policy.managed_by.resets_one_node() && look.facts.memory.known().is_some_and(|m| m.aside_for(plan).is_some())
}

/// D3: the data was built for a plan that a person has taken back since, or was moved aside for it when the power went.
pub(super) fn cancelled_since(look: &Look<'_>) -> Option<Verdict> {
    if let Some(newest) = look.plan()
        && newest.cancelled
        && look.data_known()?.is_void()
        && (look.staging_belongs_to_mark(newest) || made_room(look, newest.plan.generation))
    {
        let generation = newest.plan.generation;
        return Some(Verdict::new(
            Rule::D3,
            Decision::PutBack { generation },
            format!(
                "this host was about to follow plan {generation}, which was cancelled since: what was moved aside for it counts again"
            ),
        ));
    }
    let id = look.cluster_id()?;
    let life = look.store()?.life_of(id)?;
    life.cancelled.then(|| {
        Verdict::new(
            Rule::D3,
            Decision::PutBack { generation: life.generation },
            format!("the data dir was made for plan {}, which was cancelled since", life.generation),
        )
    })
}

/// D7: the data is healthy; whatever else is unknown.
pub(super) fn healthy(look: &Look<'_>) -> Option<Verdict> {
    let DataDir::Healthy(member) = look.data_known()? else { return None };
    let unknown = match &look.facts.store {
        Observed::Unknown(cause) => format!(" (the store is not needed for that; it is unknown: {})", cause.text),
        Observed::Known(_) => String::new(),
    };
    Some(Verdict::new(
        Rule::D7,
        Decision::Start,
        format!(
            "{} holds the healthy member {} of cluster {}{unknown}",
            look.policy.data_dir, member.member_id, member.cluster_id
        ),
    ))
}

/// J0: etcd would be started with flags that contradict the verdict.
pub(super) fn start_flags_disagree(look: &Look<'_>, verdict: &Verdict) -> Option<Verdict> {
    let starts = matches!(
        verdict.decision,
        Decision::Start | Decision::Apply { .. } | Decision::Resume { .. } | Decision::Join { .. }
    );
    if !starts || matches!(verdict.rule, Rule::B0 | Rule::D0) {
        return None;
    }
    let flags = look.facts.start.known()?;
    let trimmed = |path: &str| path.trim_end_matches('/').to_owned();
    let differs =
        |theirs: &Option<String>, ours: &str| theirs.as_deref().is_some_and(|theirs| trimmed(theirs) != trimmed(ours));
    let (what, edit) = if flags.force_new_cluster {
        ("--force-new-cluster is set".to_owned(), "remove --force-new-cluster".to_owned())
    } else if differs(&flags.data_dir, &look.policy.data_dir) {
        let theirs = flags.data_dir.clone().unwrap_or_default();
        (
            format!("--data-dir is {theirs}, and etcd.data_dir is {}", look.policy.data_dir),
            "make --data-dir and etcd.data_dir the same directory".to_owned(),
        )
    } else if differs(&flags.wal_dir, look.policy.wal_dir.as_deref().unwrap_or_default()) {
        let theirs = flags.wal_dir.clone().unwrap_or_default();
        (
            format!(
                "--wal-dir is {theirs:?}, and etcd.wal_dir is {:?}",
                look.policy.wal_dir.as_deref().unwrap_or_default()
            ),
            "make --wal-dir and etcd.wal_dir the same directory".to_owned(),
        )
    } else {
        join_flags_disagree(look, verdict, flags)?
    };
    Some(
        Verdict::refuse(
            Rule::J0,
            RefuseReason::StartFlagsDisagree,
            format!(
                "rule {} allows etcd to start, but its flags in {} contradict that: {what}",
                verdict.rule, flags.read_from
            ),
        )
        .hint(format!("{edit} (in {})", flags.read_from)),
    )
}

/// A member that is added has no WAL when it starts: then etcd goes by the initial cluster that it is given.
fn join_flags_disagree(look: &Look<'_>, verdict: &Verdict, flags: &StartFlags) -> Option<(String, String)> {
    let replaces = Decision::Join { how: JoinHow::ReplaceMember };
    if verdict.decision != replaces || look.policy.managed_by.resets_one_node() {
        return None;
    }
    let list = super::cluster::initial_cluster(look)?;
    let urls = |list: &str| {
        let mut urls: Vec<String> =
            list.split(',').filter_map(|one| Some(peer_url::canonical(one.split_once('=')?.1))).collect();
        urls.sort();
        urls
    };
    let existing = "existing";
    match (&flags.initial_cluster, &flags.initial_cluster_state) {
        (Some(theirs), _) if urls(theirs) != urls(&list) => Some((
            format!("this host has to join, and --initial-cluster is {theirs}"),
            format!("make it --initial-cluster={list} and --initial-cluster-state={existing}"),
        )),
        (_, Some(state)) if state != existing => Some((
            format!("this host has to join, and --initial-cluster-state is {state}"),
            format!("make it --initial-cluster-state={existing}"),
        )),
        // Nothing reads our environment file there: the manifest has to say it.
        (None, _) if look.policy.managed_by == ManagedBy::Kubeadm => Some((
            "this host has to join, and --initial-cluster is not set".to_owned(),
            format!("add --initial-cluster={list} and --initial-cluster-state={existing}"),
        )),
        _ => None,
    }
}
