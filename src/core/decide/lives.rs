//! D4-D6: rules about lives other than the one in the data dir, and which configurations may still live.

use super::cluster::quorate;
use super::{Decision, Look, RefuseReason, Rule, Verdict};
use crate::core::facts::{Configuration, DataDir, LiveCluster, LocalVoter};
use crate::core::model::{ClusterId, NodeName};
use crate::core::peer_url;
use crate::core::plan::{PlanCause, Voter, majority};

/// The configurations of the lives that may still live, of which a majority must stand without data: those of the newest life, and behind plans that
/// were forced or taken back those of the lives before them. A life that was taken back never begins to live, so that its own say nothing.
pub(super) fn recorded(look: &Look<'_>) -> Vec<Configuration> {
    let Some(store) = look.store() else { return Vec::new() };
    let Some(newest) = &store.plan else {
        // No plan yet: the newest snapshot carries the voters of the cluster that it was taken from.
        return crate::core::select::best(&store.snapshots, &[])
            .filter(|(_, c)| !c.voters.is_empty())
            .map(|(name, c)| Configuration { recorded_in: format!("snapshot {name}"), voters: c.voters.clone() })
            .into_iter()
            .collect();
    };
    let mut all: Vec<Configuration> = store.lives.iter().flat_map(|l| l.may_live.clone()).collect();
    if !newest.cancelled || all.is_empty() {
        all.splice(0..0, Configuration::of_life(&newest.plan, &newest.voters));
    }
    all
}

/// The recorded configurations, and those that were seen: of clusters that answer, and of the data on this host.
pub(super) fn recorded_or_seen(look: &Look<'_>) -> Vec<Configuration> {
    let lost = look.plan().is_some_and(|p| p.lost || look.timed_out(p));
    let mut all = if lost || look.plan().is_none() { Vec::new() } else { recorded(look) };
    for cluster in &look.facts.live.clusters {
        all.push(seen(look, format!("the live cluster {}", cluster.cluster_id), &cluster.members));
    }
    // Data of a life that is older than all plans is all that is known of it.
    if let (Some(DataDir::Healthy(member)), None) = (look.data_known(), look.plan()) {
        all.push(seen(look, format!("the member in {}", look.policy.data_dir), &member.members));
    }
    all
}

/// The configurations of lives other than this one, recorded and seen, that may still live.
pub(super) fn other_than(look: &Look<'_>, own: ClusterId) -> Vec<Configuration> {
    let lives = look.store().into_iter().flat_map(|s| &s.lives).filter(|l| l.cluster_id != own);
    let mut all: Vec<Configuration> = lives.flat_map(|l| l.may_live.clone()).collect();
    for cluster in look.facts.live.clusters.iter().filter(|c| c.cluster_id != own && !c.members.is_empty()) {
        all.push(seen(look, format!("the live cluster {}", cluster.cluster_id), &cluster.members));
    }
    all
}

/// Voters of a member list, under the names that the configuration gives to their URLs.
fn seen(look: &Look<'_>, recorded_in: String, members: &[LocalVoter]) -> Configuration {
    let name = |m: &LocalVoter| {
        let known = look.policy.members.iter().find(|c| peer_url::share_one(&c.peer_urls, &m.peer_urls));
        known
            .map(|c| c.name.clone())
            .or_else(|| NodeName::new(&m.name).ok())
            .or_else(|| NodeName::new(&m.id.to_string()).ok())
    };
    let voters = members.iter().filter(|m| !m.is_learner);
    let voters = voters.filter_map(|m| Some(Voter { name: name(m)?, peer_urls: m.peer_urls.clone() })).collect();
    Configuration { recorded_in, voters }
}

/// D4: the member was removed from its own cluster.
pub(super) fn removed(look: &Look<'_>) -> Option<Verdict> {
    let DataDir::Healthy(member) = look.data_known()? else { return None };
    let cluster = quorate(look).filter(|c| c.cluster_id == member.cluster_id)?;
    // No cluster is without members: an empty list is one that could not be read, which is never "removed".
    if cluster.members.is_empty() || cluster.members.iter().any(|m| m.id == member.member_id) {
        return None;
    }
    Some(Verdict::new(
        Rule::D4,
        Decision::Quarantine,
        format!(
            "cluster {} is quorate and has removed member {}: etcd would not start on this data",
            cluster.cluster_id, member.member_id
        ),
    ))
}

/// Voters of the local data that do not answer for the other, quorate life, and how many voters there are.
fn voters_elsewhere(look: &Look<'_>, other: &LiveCluster) -> Option<(Vec<String>, usize)> {
    let DataDir::Healthy(member) = look.data_known()? else { return None };
    let voters: Vec<_> = member.members.iter().filter(|m| !m.is_learner).collect();
    let answers = |urls: &[String]| {
        other.members.iter().any(|m| other.answering.contains(&m.id) && peer_url::share_one(&m.peer_urls, urls))
    };
    let silent = voters.iter().filter(|v| !answers(&v.peer_urls));
    // A member that was added and never started has no name.
    let named = |v: &&&LocalVoter| match v.name.as_str() {
        "" => format!("{} ({})", v.id, v.peer_urls.join(",")),
        name => format!("{name} ({})", v.peer_urls.join(",")),
    };
    Some((silent.map(|v| named(&v)).collect(), voters.len()))
}

fn other_life<'a>(look: &Look<'a>) -> Option<&'a LiveCluster> {
    let id = look.cluster_id()?;
    let newest_forced =
        look.plan().is_some_and(|p| p.plan.cause == PlanCause::Forced && !p.cancelled && p.plan.cluster_id == id);
    if newest_forced {
        return None;
    }
    quorate(look).filter(|c| c.cluster_id != id)
}

/// D5: another life serves, and the old one can never again.
pub(super) fn superseded(look: &Look<'_>) -> Option<Verdict> {
    let other = other_life(look)?;
    // A stranger at one of our URLs supersedes nobody.
    look.store()?.life_of(other.cluster_id)?;
    let (silent, voters) = voters_elsewhere(look, other)?;
    (voters > 0 && silent.len() < majority(voters)).then(|| {
        Verdict::new(
            Rule::D5,
            Decision::Quarantine,
            format!("the quorate cluster {} has taken over from the life in the data dir, which can have no majority any more", other.cluster_id),
        )
    })
}

/// D6: another life serves, and the old one could still.
pub(super) fn split_lives(look: &Look<'_>) -> Option<Verdict> {
    if let Some(refused) = counted_as_empty(look) {
        return Some(refused);
    }
    let other = other_life(look).filter(|other| is_of_us(look, other))?;
    let id = other.cluster_id;
    let mine = look.cluster_id()?;
    let (silent, voters) = voters_elsewhere(look, other)?;
    let list = if silent.is_empty() { String::new() } else { format!(" ({})", silent.join(", ")) };
    let votes = format!("{} of the {voters} voters in the data dir do not answer for it{list}", silent.len());
    let why = match look.store() {
        None => "the store, which could tell whether it has taken over from the life in the data dir, is unknown",
        Some(store) if store.life_of(id).is_none() => "the cluster that answers is in no plan of the store",
        Some(_) => "they may still serve the life in the data dir",
    };
    let because = format!(
        "the quorate cluster {id} answers beside the data of cluster {mine}. {votes}, and {why}: both lives may be in use"
    );
    Some(Verdict::refuse(Rule::D6, RefuseReason::SplitLives, because).hint(format!(
        "find out which of the two is the right one. If it is {id}, type: lifeboat quarantine add (it moves member/ aside, deletes nothing), and this host \
         joins it; if it is {mine}, stop etcd on the hosts that serve {id}, and this host starts by itself"
    )))
}

/// Whether a cluster that answers has to do with this host's: it stands in a plan, or some of its members are voters of the local data. A wrong
/// address that leads to a stranger's etcd keeps no healthy member down.
fn is_of_us(look: &Look<'_>, other: &LiveCluster) -> bool {
    let Some(DataDir::Healthy(member)) = look.data_known() else { return true };
    let planned = look.store().is_some_and(|s| s.life_of(other.cluster_id).is_some());
    let ours = |m: &LocalVoter| member.members.iter().any(|v| peer_url::share_one(&v.peer_urls, &m.peer_urls));
    planned || other.members.is_empty() || other.members.iter().any(ours)
}

/// What to say of a stranger that answers where a member of ours is configured.
pub(super) fn stranger(look: &Look<'_>) -> Option<String> {
    let other = other_life(look).filter(|other| !is_of_us(look, other))?;
    Some(format!(
        "a cluster {} answers at one of the configured URLs, and has nothing to do with this one: correct etcd.endpoints and cluster.members",
        other.cluster_id
    ))
}

/// This host stood in the roll call as one without data, a plan was made that may count on that, and now there is older data: a disk that came late.
fn counted_as_empty(look: &Look<'_>) -> Option<Verdict> {
    let promised = look.facts.memory.known()?.stopped;
    let newest = look.plan().filter(|p| p.plan.cause != PlanCause::Forced && !p.cancelled)?;
    let id = look.cluster_id()?;
    if !promised || id == newest.plan.cluster_id {
        return None;
    }
    let generation = newest.plan.generation;
    Some(
        Verdict::refuse(
            Rule::D6,
            RefuseReason::SplitLives,
            format!(
                "this host stood in the roll call without data, and plan {generation} may count on that; the member of cluster {id} that is in {} now \
                 could serve an older life beside it",
                look.policy.data_dir
            ),
        )
        .hint(format!(
            "was its disk mounted late? What it holds that plan {generation} lacks is kept: lifeboat quarantine add moves it aside, and this host joins"
        )),
    )
}
