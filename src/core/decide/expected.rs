//! Hosts that come and go by design: the roll call tells who the members are, and a clock when a life counts as lost.

use super::Policy;
use crate::core::facts::{CauseCode, DataDir, Facts, PlanFacts};
use crate::core::model::NodeName;
use crate::core::peer_url;
use crate::core::plan::Voter;
use crate::core::seed::{SeedCandidate, rank};

/// The policy with the members of now: this host and those that stand in the roll call, the oldest first when there are more than expected.
/// A host with data that is asked for a restore rolls its whole cluster back: then they are the voters of that cluster.
/// `None`: members are configured.
pub(super) fn members_of_now(facts: &Facts, policy: &Policy) -> Option<Policy> {
    let expected = usize::try_from(policy.expected_members?).unwrap_or(usize::MAX);
    let store = facts.store.known();
    if let Some(voters) = voters_to_roll_back(facts, policy) {
        return Some(Policy { members: voters, ..policy.clone() });
    }
    let me = Voter { name: policy.node.clone(), peer_urls: policy.peer_urls().to_vec() };
    let others = store.into_iter().flat_map(|s| &s.roll_call).filter(|e| e.counts() && e.node != me.name);
    let mut waiting: Vec<(SeedCandidate, Voter)> = others
        .map(|e| {
            let candidate = SeedCandidate { node: e.node.clone(), waiting_seconds: e.waiting_seconds };
            (candidate, Voter { name: e.node.clone(), peer_urls: e.peer_urls.clone() })
        })
        .collect();
    let own = store.and_then(|s| s.own_entry.as_ref()).map_or(facts.waited_seconds, |e| e.waiting_seconds);
    waiting.push((SeedCandidate { node: me.name.clone(), waiting_seconds: own }, me));
    let order = rank(waiting.iter().map(|(candidate, _)| candidate.clone()).collect());
    let oldest = order.into_iter().take(expected);
    let members = oldest.filter_map(|node| waiting.iter().find(|(_, v)| v.name == node).map(|(_, v)| v.clone()));
    Some(Policy { members: members.collect(), ..policy.clone() })
}

/// The voters of this host's own cluster, when a request is armed here and this host is one of them.
fn voters_to_roll_back(facts: &Facts, policy: &Policy) -> Option<Vec<Voter>> {
    let Some(DataDir::Healthy(member)) = facts.data_dir.known() else { return None };
    facts.requests().next()?;
    let newest = facts.store.known().and_then(|s| s.plan.as_ref()).filter(|p| p.plan.cluster_id == member.cluster_id);
    let voters = match newest {
        Some(newest) => newest.voters.last().map_or(&newest.plan.voters, |record| &record.voters).clone(),
        None => {
            let voters = member.members.iter().filter(|m| !m.is_learner);
            let named = |m: &crate::core::facts::LocalVoter| NodeName::new(&m.name).ok();
            voters.map(|m| Some(Voter { name: named(m)?, peer_urls: m.peer_urls.clone() })).collect::<Option<_>>()?
        }
    };
    voters.iter().any(|v| v.name == policy.node).then_some(voters)
}

/// Places of the expected number that nobody stands in yet, as names for messages.
pub(super) fn empty_places(policy: &Policy, members: usize) -> Vec<NodeName> {
    let expected = policy.expected_members.map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let place = |n: usize| NodeName::new(&format!("host-{n}-of-{expected}")).ok();
    (members.saturating_add(1)..=expected).filter_map(place).collect()
}

/// Whether the newest life, and each that may live behind it, may be taken for lost: by the store's clock it has given no sign for `lost_after`, and
/// each of the recorded URLs was asked a moment ago and nobody was there. Who answers with a refusal is there. This rests on a clock, and whoever relies on it says so.
pub(super) fn timed_out(facts: &Facts, policy: &Policy, newest: &PlanFacts) -> bool {
    let Some(store) = facts.store.known() else { return false };
    let of_a_life = |id| newest.plan.cluster_id == id || store.life_of(id).is_some();
    if policy.expected_members.is_none() || facts.live.clusters.iter().any(|c| of_a_life(c.cluster_id)) {
        return false;
    }
    let old = |age: u64| age >= policy.lost_after_seconds;
    let quiet =
        newest.age_seconds.is_some_and(old) && store.heartbeat.as_ref().is_none_or(|beat| old(beat.age_seconds));
    let older = store.lives.iter().flat_map(|l| &l.may_live).flat_map(|c| &c.voters);
    let recorded = newest.voters.iter().flat_map(|r| &r.voters).chain(&newest.plan.voters).chain(older);
    let nobody = |code: CauseCode| code == CauseCode::NoAnswer;
    let asked = |url: &String| {
        peer_url::among(url, policy.peer_urls())
            || facts.live.silent.iter().any(|s| peer_url::same(&s.url, url) && nobody(s.cause.code))
            || store.roll_call.iter().any(|e| e.counts() && peer_url::among(url, &e.peer_urls))
    };
    quiet && recorded.flat_map(|v| &v.peer_urls).all(asked)
}
