//! Rules about this host: its data dir, and what was begun there.

use super::{Decision, Look, ManagedBy, Policy, RefuseReason, Rule, Verdict, WaitReason};
use crate::core::facts::{CauseCode, DataDir, Facts, Observed};
use crate::core::model::Generation;
use crate::core::peer_url;

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
