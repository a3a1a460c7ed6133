//! C1: whether enough hosts stand without data, so that no older life can serve; and what to say when they do not.

use super::cluster::{expected, missing_members, present};
use super::lives::recorded;
use super::{Look, Rule, Verdict, WaitReason};
use crate::core::plan::majority;

/// C1: too few hosts stand without data to be sure that no older life can serve.
pub(super) fn roll_call_too_small(look: &Look<'_>) -> Option<Verdict> {
    let configured = look.configured();
    let present = present(look);
    let missing: Vec<String> = missing_members(look).iter().map(ToString::to_string).collect();
    let expected = expected(look);
    if look.policy.expected_members.is_some() && !present.contains(&look.policy.node) {
        let first: Vec<String> = present.iter().map(ToString::to_string).collect();
        return Some(
            Verdict::wait(
                Rule::C1,
                WaitReason::Peers,
                format!(
                    "{expected} hosts are expected, and as many wait for longer than this one: {}",
                    first.join(", ")
                ),
            )
            .hint("it joins when they serve, or takes the place of one that ends to wait"),
        );
    }
    let survivor = survivor(look);
    if present.len() < majority(expected) {
        return Some(
            Verdict::wait(
                Rule::C1,
                WaitReason::RollCall,
                format!(
                    "{} of {} {} stand in the roll call, {} are needed; missing: {}{}",
                    present.len(),
                    expected,
                    if look.policy.expected_members.is_some() { "expected hosts" } else { "configured members" },
                    majority(expected),
                    missing.join(", "),
                    survivor.as_deref().unwrap_or_default()
                ),
            )
            .hint(if survivor.is_some() { DATA_OF_AN_OLDER_LIFE } else { START_MISSING }),
        );
    }
    if look.plan().is_some_and(|p| p.lost || look.timed_out(p)) {
        return None;
    }
    recorded(look).into_iter().find_map(|recorded| {
        let needed = majority(recorded.voters.len());
        let standing = recorded.voters.iter().filter(|v| present.contains(&v.name)).count();
        if standing >= needed {
            return None;
        }
        let gone: Vec<String> = recorded
            .voters
            .iter()
            .filter(|v| !configured.contains(&v.name))
            .map(|v| v.name.to_string())
            .collect();
        let could_come = recorded.voters.len() - gone.len();
        Some(if could_come < needed {
            let (last_sign, by_itself) = last_sign(look).unzip();
            let wait = Verdict::wait(
                Rule::C1,
                WaitReason::VotersGone,
                format!(
                    "{} names voters that are not configured here ({}), and they may still hold the cluster's data{}",
                    recorded.recorded_in,
                    gone.join(", "),
                    last_sign.unwrap_or_default()
                ),
            );
            if let Some(hint) = by_itself {
                return Some(wait.hint(hint));
            }
            // Without a plan there is no life yet that could be declared lost.
            wait.hint(if look.plan().is_some() {
                "if they are other names of configured hosts, correct node.name and cluster.members to the names of etcd's members; if these hosts are gone for good, type: lifeboat declare-lost --reason WHY"
            } else {
                "if they are other names of configured hosts, correct node.name and cluster.members to the names of etcd's members; if these hosts are gone for good, restore by hand: lifeboat restore NAME --data-dir DIR, with --name and the --initial-cluster flags of this host"
            })
        } else {
            Verdict::wait(
                Rule::C1,
                WaitReason::RollCall,
                format!(
                    "{standing} of {} voters in {} stand without data, {needed} are needed; missing: {}{}",
                    recorded.voters.len(),
                    recorded.recorded_in,
                    missing.join(", "),
                    survivor.as_deref().unwrap_or_default()
                ),
            )
            .hint(match look.plan() {
                _ if survivor.is_some() => DATA_OF_AN_OLDER_LIFE,
                Some(_) => GONE_FOR_GOOD,
                None => START_MISSING,
            })
        })
    })
}

/// A member of an older life that answers without quorum: its host is not missing, and will not come without data by itself.
fn survivor(look: &Look<'_>) -> Option<String> {
    let newest = look.plan()?.plan.generation;
    look.facts.live.clusters.iter().filter(|c| !c.quorate).find_map(|c| {
        let life = look.store()?.life_of(c.cluster_id).filter(|l| l.generation < newest)?;
        let members: Vec<String> = c.answering.iter().map(ToString::to_string).collect();
        Some(format!(
            "; member(s) {} of cluster {} answer without quorum: generation {}, which plan {newest} has taken over from",
            members.join(", "),
            c.cluster_id,
            life.generation
        ))
    })
}

const DATA_OF_AN_OLDER_LIFE: &str = "start the missing hosts. Where a member of an older life answers, its data is kept with 'lifeboat save --name survivor' on \
     that host, and restored with: lifeboat restore-once survivor-<time>; to give it up, stop etcd there, type: lifeboat quarantine add, and start its unit again: \
     that host then stands here without data";

const START_MISSING: &str = "start the missing hosts; one that was reinstalled under the same name counts, too";

const GONE_FOR_GOOD: &str = "start the missing hosts; one that was reinstalled under the same name counts, too. If they are gone for good, with their disks, \
     type: lifeboat declare-lost --reason WHY";

/// Hosts that come and go: how long ago the newest life gave a sign, and when that is long enough.
fn last_sign(look: &Look<'_>) -> Option<(String, String)> {
    look.policy.expected_members?;
    let newest = look.plan()?;
    let beat = look.store()?.heartbeat.as_ref().map(|b| b.age_seconds);
    let age = beat.into_iter().chain(newest.age_seconds).min()?;
    Some((
        format!("; generation {} gave its last sign of life {age} s ago", newest.plan.generation),
        format!(
            "this goes on by itself when that is {} s ago and nobody answers at their URLs; if these hosts are known to be gone for good, type: lifeboat \
             declare-lost --reason WHY",
            look.policy.lost_after_seconds
        ),
    ))
}
