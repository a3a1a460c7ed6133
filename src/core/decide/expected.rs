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

#[cfg(test)]
mod tests {
    use super::super::tests::{blank, node, plan, policy, snapshot, voter, waits, with_store};
    use super::*;
    use crate::core::decide::{Rule, decide};
    use crate::core::facts::{
        Cause, CauseCode, HeartbeatFact, LiveCluster, RollEntry, RollState, SilentEndpoint, StoreFacts,
    };
    use crate::core::model::{ClusterId, Generation, Nonce};
    use crate::core::plan::{PlanCause, VotersRecord};

    fn silent(url: &str) -> SilentEndpoint {
        let cause = Cause { code: CauseCode::NoAnswer, text: "no answer".into(), hint: None };
        SilentEndpoint { url: url.into(), cause }
    }

    fn store(facts: &mut Facts, change: impl FnOnce(&mut StoreFacts)) {
        with_store(facts, change);
    }

    fn newest(facts: &mut Facts, change: impl FnOnce(&mut PlanFacts)) {
        with_store(facts, |s| s.plan.iter_mut().for_each(|p| p.plan.voters = vec![voter("old1"), voter("old2")]));
        with_store(facts, |s| s.plan.as_mut().map_or((), change));
    }

    fn beat(facts: &mut Facts, age_seconds: u64) {
        with_store(facts, |s| s.heartbeat = Some(HeartbeatFact { generation: Generation(1), age_seconds }));
    }

    /// Two hosts are expected; `old1` and `old2` are gone for 1000 s, and `new1`, which is this one, and `new2` stand there in their place.
    fn recreated() -> (Facts, Policy) {
        let mut facts = blank();
        facts.waited_seconds = 1000;
        store(&mut facts, |s| {
            s.snapshots = vec![snapshot("a", 1, 5)];
            s.plan = Some(plan(1, PlanCause::Init, None));
            s.roll_call = vec![waits("new2", 900)];
            s.own_entry = Some(waits("new1", 950));
        });
        newest(&mut facts, |p| p.age_seconds = Some(1000));
        beat(&mut facts, 1000);
        facts.live.silent = vec![silent("http://old1:2380"), silent("http://old2:2380")];
        let policy = Policy { node: node("new1"), members: vec![voter("new1")], expected_members: Some(2), ..policy() };
        (facts, policy)
    }

    type Change = fn(&mut Facts, &mut Policy);

    /// What is different from [`recreated`], the rule that follows, and parts of what is said.
    const CASES: &[(&str, Change, Rule, &[&str])] = &[
        ("nothing: restored, and the clock is named", |_, _| (), Rule::S2, &["generation 1 is lost rests on a clock"]),
        (
            "one waits for longer, and one for less",
            |f, _| store(f, |s| s.roll_call.push(waits("new3", 960))),
            Rule::S2,
            &[],
        ),
        (
            "this one is the last of three",
            |f, _| {
                store(f, |s| {
                    s.roll_call.push(waits("new3", 960));
                    s.own_entry = Some(waits("new1", 10));
                });
            },
            Rule::C1,
            &[
                "2 hosts are expected, and as many wait for longer than this one: new3, new2",
                "joins when they serve, or takes the place of one that ends to wait",
            ],
        ),
        (
            "three wait equally long: the names decide, the same for all",
            |f, _| {
                store(f, |s| {
                    s.roll_call = vec![waits("new0", 900), waits("new00", 900)];
                    s.own_entry = Some(waits("new1", 900));
                });
            },
            Rule::C1,
            &["new0, new00"],
        ),
        (
            "an entry that is too old takes no place",
            |f, _| {
                store(f, |s| {
                    s.roll_call.push(RollEntry { age_seconds: 61, ..waits("new3", 5000) });
                    s.own_entry = Some(waits("new1", 10));
                });
            },
            Rule::S2,
            &[],
        ),
        (
            "a place is empty",
            |f, _| store(f, |s| s.roll_call.clear()),
            Rule::C1,
            &["1 of 2 expected hosts stand", "missing: host-2-of-2"],
        ),
        (
            "a place is empty, and a majority stands",
            |f, p| {
                p.expected_members = Some(3);
                f.waited_seconds = 10;
            },
            Rule::C2,
            &["for host-3-of-3", "it goes on without them in 110 s"],
        ),
        (
            "the heartbeat is old, and the plan is young",
            |f, _| newest(f, |p| p.age_seconds = Some(20)),
            Rule::C1,
            &["old1, old2", "gave its last sign of life 20 s ago", "goes on by itself when that is 600 s ago"],
        ),
        (
            "the plan is old, and the heartbeat is not old enough",
            |f, _| beat(f, 599),
            Rule::C1,
            &["gave its last sign of life 599 s ago", "lifeboat declare-lost"],
        ),
        ("just old enough", |f, _| beat(f, 600), Rule::S2, &["for 600 s"]),
        (
            "another limit",
            |f, p| {
                beat(f, 600);
                p.lost_after_seconds = 3600;
            },
            Rule::C1,
            &["goes on by itself when that is 3600 s ago"],
        ),
        ("there never was a heartbeat", |f, _| store(f, |s| s.heartbeat = None), Rule::S2, &["rests on a clock"]),
        (
            "a young heartbeat: not even that",
            |f, _| {
                beat(f, 20);
                store(f, |s| s.roll_call.clear());
            },
            Rule::P2,
            &["alive 20 seconds ago"],
        ),
        (
            "the store tells no time",
            |f, _| newest(f, |p| p.age_seconds = None),
            Rule::C1,
            &["may still hold the cluster's data"],
        ),
        (
            "one of the recorded URLs was not asked, or answers",
            |f, _| f.live.silent.truncate(1),
            Rule::C1,
            &["may still hold the cluster's data"],
        ),
        (
            "a member of that life answers",
            |f, _| {
                let cluster_id = ClusterId(0xc1);
                f.live.clusters = vec![LiveCluster { cluster_id, quorate: false, members: vec![], answering: vec![] }];
            },
            Rule::L2,
            &["have no quorum"],
        ),
        (
            "the life has grown since its plan: the recorded voter was asked, too",
            |f, _| {
                newest(f, |p| {
                    p.voters = vec![VotersRecord {
                        number: 1,
                        voters: vec![voter("old1"), voter("old2"), voter("old3")],
                        confirmed: true,
                        cluster_id: None,
                        by: node("old1"),
                        nonce: Nonce([1; 16]),
                    }];
                });
            },
            Rule::C1,
            &["voters record 1", "old1, old2, old3"],
        ),
        (
            "an old host stands there without data under its old name",
            |f, _| {
                f.live.silent.truncate(1);
                store(f, |s| s.roll_call = vec![waits("old2", 900)]);
            },
            Rule::S2,
            &["rests on a clock"],
        ),
        (
            "a URL with a slash at its end is the same URL",
            |f, _| f.live.silent = vec![silent("http://old1:2380/"), silent("http://old2:2380/")],
            Rule::S2,
            &["rests on a clock"],
        ),
        (
            "a person said so: no clock is needed",
            |f, _| {
                beat(f, 100);
                newest(f, |p| (p.lost, p.age_seconds) = (true, Some(100)));
            },
            Rule::S2,
            &[],
        ),
        (
            "members are configured: no clock says anything",
            |_, p| {
                p.expected_members = None;
                p.members = vec![voter("new1"), voter("new2")];
            },
            Rule::C1,
            &["old1, old2", "are gone for good, type: lifeboat declare-lost"],
        ),
    ];

    #[test]
    fn hosts_that_come_and_go() {
        for (case, change, rule, says) in CASES {
            let (mut facts, mut policy) = recreated();
            change(&mut facts, &mut policy);
            let verdict = decide(&facts, &policy);
            assert_eq!(verdict.rule, *rule, "{case}: {verdict:#?}");
            let said = format!("{} {:?} {:?}", verdict.because, verdict.hint, verdict.notes);
            for part in *says {
                assert!(said.contains(part), "{case}: does not say {part:?}: {said}");
            }
            // A plan that needs the clock says so, whatever the case is about.
            let newest = facts.store.known().and_then(|s| s.plan.as_ref());
            let needs_it = *rule == Rule::S2 && newest.is_some_and(|p| !p.lost && timed_out(&facts, &policy, p));
            assert_eq!(said.contains("rests on a clock"), needs_it, "{case}");
        }
    }

    /// The oldest make the cluster, whoever asks; a host that has not written its entry yet counts by its own time.
    #[test]
    fn the_oldest_are_the_members() {
        for (own, others, expected) in [
            (Some(10), &[("b", 20), ("c", 30)][..], "b c"),
            (Some(25), &[("b", 20), ("c", 30)][..], "c me"),
            (Some(20), &[("b", 20), ("c", 20)][..], "b c"),
            (None, &[("b", 20), ("c", 30)][..], "c me"),
            (Some(10), &[("b", 20)][..], "b me"),
            (Some(10), &[][..], "me"),
        ] {
            let mut facts = blank();
            facts.waited_seconds = 1000;
            store(&mut facts, |s| {
                s.own_entry = own.map(|waiting| waits("me", waiting));
                s.roll_call = others.iter().map(|(name, waiting)| waits(name, *waiting)).collect();
                s.roll_call.push(RollEntry { state: RollState::Withdrawn, ..waits("gone", 5000) });
            });
            let policy = Policy { node: node("me"), members: vec![voter("me")], expected_members: Some(2), ..policy() };
            let mut names: Vec<_> =
                members_of_now(&facts, &policy).unwrap().members.iter().map(|m| m.name.to_string()).collect();
            names.sort();
            assert_eq!(names.join(" "), expected, "{own:?} {others:?}");
        }
        assert!(members_of_now(&blank(), &policy()).is_none(), "members are configured");
    }
}
