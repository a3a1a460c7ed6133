//! Rules about other hosts: live clusters, the heartbeat, the roll call and the seed.

use super::lives::recorded;
use super::{Decision, JoinHow, Look, RefuseReason, Rule, Verdict, WaitReason};
use crate::core::facts::{CauseCode, LiveCluster, ROLL_CALL_TTL_SECONDS, RollState};
use crate::core::model::{ClusterId, NodeName};
use crate::core::peer_url;
use crate::core::plan::Voter;
use crate::core::seed::{self, SeedCandidate};

pub(super) fn quorate<'a>(look: &Look<'a>) -> Option<&'a LiveCluster> {
    look.facts.live.clusters.iter().find(|c| c.quorate)
}

/// Configured members that stand in the roll call, empty or stopped for `request`; this node always does when it gets this far.
fn standing(look: &Look<'_>, request: Option<&str>) -> Vec<NodeName> {
    let counts = |state: &RollState| match state {
        RollState::Empty => true,
        RollState::Stopped(id) => request == Some(id.as_str()),
        RollState::Withdrawn => false,
    };
    let fresh = |name: &NodeName| {
        look.store().is_some_and(|s| {
            s.roll_call.iter().any(|e| e.node == *name && e.age_seconds < ROLL_CALL_TTL_SECONDS && counts(&e.state))
        })
    };
    look.configured().into_iter().filter(|n| *n == look.policy.node || fresh(n)).collect()
}

pub(super) fn present(look: &Look<'_>) -> Vec<NodeName> {
    standing(look, None)
}

/// Configured members that do not.
pub(super) fn missing_members(look: &Look<'_>) -> Vec<NodeName> {
    missing_for(look, None)
}

/// How many hosts make the cluster.
pub(super) fn expected(look: &Look<'_>) -> usize {
    look.policy.expected_members.map_or(look.configured().len(), |n| usize::try_from(n).unwrap_or(usize::MAX))
}

fn missing_for(look: &Look<'_>, request: Option<&str>) -> Vec<NodeName> {
    let present = standing(look, request);
    let configured = look.configured();
    let mut missing: Vec<NodeName> = configured.iter().filter(|n| !present.contains(n)).cloned().collect();
    missing.extend(super::expected::empty_places(look.policy, configured.len()));
    missing
}

/// Hosts that come and go, and have no data: a request does not make a cluster of those that happen to be up first.
pub(super) fn too_few_for_request(look: &Look<'_>, request: &str) -> Option<Verdict> {
    look.policy.expected_members?;
    let missing = missing_members(look);
    if !look.data_known()?.is_void() || missing.is_empty() {
        return None;
    }
    let expected = expected(look);
    Some(
        Verdict::wait(
            Rule::F2,
            WaitReason::Peers,
            format!(
                "the restore {request} forms a cluster of {expected} hosts (cluster.expected_members), and {} stand in the roll call",
                expected.saturating_sub(missing.len())
            ),
        )
        .hint("start the other hosts; it goes on by itself. To have fewer members, change cluster.expected_members"),
    )
}

/// k3s and rke2: one restored node has quorum alone, so that no other may run meanwhile. All must stand in the roll call, before the plan and after it.
pub(super) fn others_not_stopped(look: &Look<'_>, rule: Rule, request: &str) -> Option<Verdict> {
    let missing = missing_for(look, Some(request));
    if !look.policy.managed_by.resets_one_node() || missing.is_empty() {
        return None;
    }
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Some(
        Verdict::wait(
            rule,
            WaitReason::Peers,
            format!(
                "the restore {request} is done by one node alone, when all others are stopped for it; not stopped yet: {}",
                names.join(", ")
            ),
        )
        .hint(format!(
            "on {}: lifeboat restore-once, with the name of the same snapshot and --id {request}, then restart {} there (it stays down until the \
             restore is done); or take it back: lifeboat restore-once --cancel",
            names.join(", "),
            look.policy.managed_by.unit()
        )),
    )
}

/// L1: a live cluster can be joined.
pub(super) fn join(look: &Look<'_>) -> Option<Verdict> {
    let cluster = quorate(look)?;
    let store = look.store()?;
    let Some(life) = store.life_of(cluster.cluster_id) else {
        return Some(
            Verdict::refuse(
                Rule::L1,
                RefuseReason::NotAdopted,
                format!("a quorate cluster {} answers that is in no plan of the store", cluster.cluster_id),
            )
            .hint("check etcd.data_dir (is another etcd running here?) and the folder of the store; if the cluster is the right one, type on a host where its etcd runs: lifeboat adopt"),
        );
    };
    // The plan's member may have been removed from it since; a list that could not be read does not say so.
    let urls = look.policy.peer_urls();
    let member_there =
        cluster.members.is_empty() || cluster.members.iter().any(|m| peer_url::share_one(&m.peer_urls, urls));
    let how = match look.plan() {
        Some(newest)
            if newest.plan.generation == life.generation
                && newest.plan.is_built()
                // k3s and rke2 build the seed's data only.
                && !look.policy.managed_by.resets_one_node()
                && member_there
                && !newest.cancelled
                && newest.plan.lists(&look.policy.node, look.policy.peer_urls())
                && !look.marked(newest) =>
        {
            JoinHow::WithPlanData
        }
        _ => JoinHow::ReplaceMember,
    };
    Some(Verdict::new(
        Rule::L1,
        Decision::Join { how },
        format!(
            "the quorate cluster {} of plan {} answers, and this host has no data",
            cluster.cluster_id, life.generation
        ),
    ))
}

/// `--initial-cluster` of a member that joins in the place of this slot's old one.
pub(super) fn initial_cluster(look: &Look<'_>) -> Option<String> {
    let me = (look.policy.node.as_str(), look.policy.peer_urls());
    let others = quorate(look)?.members.iter().filter(|m| m.name != me.0 && !peer_url::share_one(&m.peer_urls, me.1));
    let all = others.map(|m| (m.name.as_str(), m.peer_urls.as_slice())).chain([me]);
    let each = all.flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
    Some(each.collect::<Vec<_>>().join(","))
}

/// Whether a cluster is one whose data would be rolled back by a restore: the newest life, one that a forced or cancelled plan did not end, or, where
/// nothing was ever planned, the one that the snapshots are from.
fn may_still_serve(look: &Look<'_>, id: ClusterId) -> bool {
    let Some(store) = look.store() else { return false };
    let Some(newest) = &store.plan else {
        return store.snapshots.iter().any(|s| s.manifest.as_ref().is_ok_and(|c| c.cluster_id == id));
    };
    newest.plan.cluster_id == id || store.lives.iter().any(|l| l.cluster_id == id && !l.may_live.is_empty())
}

/// L2: the cluster lives, without quorum.
pub(super) fn quorum_lost(look: &Look<'_>) -> Option<Verdict> {
    let cluster = look.facts.live.clusters.iter().find(|c| !c.quorate && may_still_serve(look, c.cluster_id))?;
    let id = cluster.cluster_id;
    let members: Vec<String> = cluster.answering.iter().map(ToString::to_string).collect();
    let voters = recorded(look).into_iter().last().map(|c| c.voters).unwrap_or_default();
    let silent = |url: &String| look.facts.live.silent.iter().any(|s| peer_url::same(&s.url, url));
    let others = voters.iter().filter(|v| v.name != look.policy.node);
    let (silent, answering): (Vec<&Voter>, Vec<&Voter>) = others.partition(|v| v.peer_urls.iter().any(silent));
    let missing: Vec<String> = silent.iter().map(|v| format!("{} ({})", v.name, v.peer_urls.join(","))).collect();
    let missing = if missing.is_empty() { String::new() } else { format!("; no answer from {}", missing.join(", ")) };
    // Without quorum nobody lists the members: who is not silent is who answers, when their number says the same.
    let survivors: Vec<&str> = answering.iter().map(|v| v.name.as_str()).collect();
    let survivors = match survivors.as_slice() {
        [one] if members.len() == 1 => (*one).to_owned(),
        several if several.len() == members.len() => format!("one of them ({})", several.join(", ")),
        _ => format!("the host of member {}", members.join(" or ")),
    };
    // Who was not let in has not seen that there is no quorum.
    if let Some(refused) = look.facts.live.silent.iter().find(|s| s.cause.code == CauseCode::Denied) {
        let hint = "correct user, password, CA or certificate under [etcd] on this host; it goes on by itself";
        return Some(
            Verdict::wait(
                Rule::L2,
                WaitReason::QuorumLost,
                format!(
                    "members of cluster {id} answer ({}), and whether they have quorum could not be asked: {}",
                    members.join(", "),
                    refused.cause.text
                ),
            )
            .hint(refused.cause.hint.clone().unwrap_or_else(|| hint.to_owned())),
        );
    }
    Some(
        Verdict::wait(
            Rule::L2,
            WaitReason::QuorumLost,
            format!(
                "members of cluster {id} answer ({}) and have no quorum: their data is newer than any snapshot, and this host joins when they serve{missing}",
                members.join(", ")
            ),
        )
        .hint(format!(
            "bring the other members back; if they are lost, what {survivors} holds can be kept, and what only the lost ones held cannot. Type there: \
             'lifeboat save --name survivor', then 'lifeboat restore-once survivor', then '{}' (etcd there must start again; this host then follows by itself)",
            look.policy.managed_by.restart()
        )),
    )
}

/// P2: the heartbeat is fresh, and nobody answers from here.
pub(super) fn alive_elsewhere(look: &Look<'_>) -> Option<Verdict> {
    let beat = look.store()?.heartbeat.as_ref()?;
    if beat.age_seconds >= look.policy.heartbeat_ttl_seconds || missing_members(look).is_empty() {
        return None;
    }
    Some(
        Verdict::wait(
            Rule::P2,
            WaitReason::AliveElsewhere,
            format!(
                "a cluster of this store was alive {} seconds ago (generation {}), and none of its members answers from here",
                beat.age_seconds, beat.generation
            ),
        )
        .hint(format!(
            "mend the network to the other members; if the cluster is really gone, this goes on by itself when its last heartbeat is {} s old",
            look.policy.heartbeat_ttl_seconds
        )),
    )
}

/// C2: the missing members may still come.
pub(super) fn peers_may_still_come(look: &Look<'_>) -> Option<Verdict> {
    let missing = missing_members(look);
    let for_ever = look.policy.managed_by.resets_one_node();
    if missing.is_empty() || (!for_ever && look.facts.waited_seconds >= look.policy.peer_wait_seconds) {
        return None;
    }
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let limit = if for_ever { "for ever".into() } else { format!("at most {} s", look.policy.peer_wait_seconds) };
    let names = names.join(", ");
    let hint = if for_ever {
        format!(
            "start {names} and {} there, which waits as this one does: one restored node has quorum alone, so that all members must stand without data \
             before it; one that was reinstalled under the same name counts, too. A host that is gone for good: take it out of cluster.members on all others",
            look.policy.managed_by.unit()
        )
    } else {
        let left = look.policy.peer_wait_seconds.saturating_sub(look.facts.waited_seconds);
        format!("start {names}; nothing has to be typed, it goes on without them in {left} s")
    };
    Some(
        Verdict::wait(
            Rule::C2,
            WaitReason::Peers,
            format!("waiting since {} s ({limit}) for {names}", look.facts.waited_seconds),
        )
        .hint(hint),
    )
}

/// C3: another node tries first.
pub(super) fn not_the_seed(look: &Look<'_>) -> Option<Verdict> {
    let me = &look.policy.node;
    if let Some(fixed) = &look.policy.seed {
        return (fixed != me).then(|| {
            Verdict::wait(Rule::C3, WaitReason::Seed, format!("bootstrap.seed says that only {fixed} plans"))
                .hint(format!("start {fixed}, or set bootstrap.seed to a host that runs"))
        });
    }
    let present = present(look);
    // This node's own time, too, as the others see it: by the store's clock.
    let waiting = |node: &NodeName| {
        let all = |s: &'_ crate::core::facts::StoreFacts| {
            s.roll_call.iter().chain(&s.own_entry).find(|e| e.node == *node).map(|e| e.waiting_seconds)
        };
        look.store().and_then(all)
    };
    let candidates = present
        .iter()
        .map(|node| SeedCandidate {
            node: node.clone(),
            waiting_seconds: waiting(node).unwrap_or(look.facts.waited_seconds),
        })
        .collect();
    let order = seed::rank(candidates);
    let rank = order.iter().position(|n| n == me).unwrap_or(0) as u64;
    // Each rank before this one has a share of time as long as peer_wait.
    let share = look.policy.peer_wait_seconds.saturating_mul(rank.saturating_add(1));
    let first = order.first()?;
    (rank > 0 && look.facts.waited_seconds < share).then(|| {
        Verdict::wait(Rule::C3, WaitReason::Seed, format!("{first} tries first; this host follows after {share} s"))
            .hint(format!(
                "nothing has to be typed: it goes on when {first} has made a plan, or in {} s without it; what holds {first} up stands in its own log \
                 (journalctl -u lifeboat-bootstrap)",
                share.saturating_sub(look.facts.waited_seconds)
            ))
    })
}
