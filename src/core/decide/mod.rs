//! The bootstrap decision: ordered rules with stable ids, `(Facts, Policy) -> Verdict`. The first rule that matches wins.
//!
//! Pure: a dry run, a replayed file, the model checker and the real run call this very function. The order of [`RULES`] is the order of the table in
//! the README.

mod cluster;
mod etcd_version;
mod expected;
mod lives;
mod local;
mod requests;
mod roll_call;
mod start_flags;
mod store;
mod verdict;

use super::facts::{DataDir, Facts, Observed, PlanFacts, StoreFacts};
use super::model::{ClusterId, Generation, NodeName};
use super::plan::{MarkUse, Voter};

pub use verdict::{Decision, Draft, JoinHow, ManagedBy, Policy, RefuseReason, Rule, Verdict, WaitReason};

type RuleFn = fn(&Look<'_>) -> Option<Verdict>;

/// All rules but J0, in their order.
const RULES: [(Rule, RuleFn); 28] = [
    (Rule::B0, local::not_yet_control_plane),
    (Rule::D0, local::in_use),
    (Rule::D1, local::local_unknown),
    (Rule::F0, requests::request_without_store),
    (Rule::F1, requests::follow_forced_plan),
    (Rule::F2, requests::force_plan),
    (Rule::J1, local::resume),
    (Rule::D2, local::damaged_or_foreign),
    (Rule::D3, local::cancelled_since),
    (Rule::D4, lives::removed),
    (Rule::D5, lives::superseded),
    (Rule::D6, lives::split_lives),
    (Rule::D7, local::healthy),
    (Rule::P1, store::unknown),
    (Rule::L1, cluster::join),
    (Rule::R1, store::follow_plan),
    (Rule::L2, cluster::quorum_lost),
    (Rule::P2, cluster::alive_elsewhere),
    (Rule::C1, roll_call::roll_call_too_small),
    (Rule::C2, cluster::peers_may_still_come),
    (Rule::C3, cluster::not_the_seed),
    (Rule::S1, store::pinned),
    (Rule::S2, store::restore_best),
    (Rule::S3, store::restore_disabled),
    (Rule::S4, store::none_eligible),
    (Rule::S5, store::snapshots_missing),
    (Rule::N1, store::init),
    (Rule::N2, store::nothing_matches),
];

/// Facts and policy with what follows from both, looked at by the rules.
struct Look<'a> {
    facts: &'a Facts,
    policy: &'a Policy,
    /// The data dir, with "foreign" judged against plans and configuration.
    data: Observed<DataDir>,
}

impl<'a> Look<'a> {
    fn new(facts: &'a Facts, policy: &'a Policy) -> Self {
        Look { facts, policy, data: local::judge_data_dir(facts, policy) }
    }

    fn store(&self) -> Option<&'a StoreFacts> {
        self.facts.store.known()
    }

    fn plan(&self) -> Option<&'a PlanFacts> {
        self.store()?.plan.as_ref()
    }

    fn data_known(&self) -> Option<&DataDir> {
        self.data.known()
    }

    fn cluster_id(&self) -> Option<ClusterId> {
        match self.data_known()? {
            DataDir::Healthy(member) => Some(member.cluster_id),
            _ => None,
        }
    }

    /// Whether this slot was allowed to start in the plan's life, by the store's word or this host's own.
    fn marked(&self, plan: &PlanFacts) -> bool {
        let generation = plan.plan.generation;
        plan.marks.iter().any(|m| m.node == self.policy.node)
            || self.facts.memory.known().is_some_and(|m| m.started.contains(&generation))
    }

    /// Whether the complete staging dir belongs to this slot's own mark in the plan.
    fn staging_belongs_to_mark(&self, plan: &PlanFacts) -> bool {
        let Some(Some(staging)) = self.facts.staging.known() else { return false };
        staging.complete
            && staging.generation == plan.plan.generation
            && plan
                .marks
                .iter()
                .any(|m| m.node == self.policy.node && m.nonce == staging.nonce && m.purpose != MarkUse::Barred)
    }

    fn next_generation(&self) -> Generation {
        let newest = self.plan().map_or(Generation(0), |p| p.plan.generation);
        let remembered = self.facts.memory.known().map_or(Generation(0), |m| m.highest_generation);
        newest.max(remembered).next()
    }

    fn consumed(&self, request: &str) -> bool {
        self.facts.memory.known().is_some_and(|m| m.consumed.iter().any(|c| c == request))
            || self
                .store()
                .is_some_and(|s| s.lives.iter().any(|l| !l.cancelled && l.request.as_deref() == Some(request)))
    }

    fn timed_out(&self, newest: &PlanFacts) -> bool {
        expected::timed_out(self.facts, self.policy, newest)
    }

    fn configured(&self) -> Vec<NodeName> {
        self.policy.members.iter().map(|m| m.name.clone()).collect()
    }
}

/// The members that a plan of now would have: the configured ones, or, with `expected_members`, those of the roll call.
pub fn members_of_now(facts: &Facts, policy: &Policy) -> Vec<Voter> {
    expected::members_of_now(facts, policy).map_or_else(|| policy.members.clone(), |p| p.members)
}

/// Decides. The same facts and policy always give the same verdict.
pub fn decide(facts: &Facts, policy: &Policy) -> Verdict {
    decide_without(facts, policy, &[])
}

/// As [`decide`], with some rules left out: for tests that show what a rule is there for.
#[doc(hidden)]
pub fn decide_without(facts: &Facts, policy: &Policy, left_out: &[Rule]) -> Verdict {
    let of_now = expected::members_of_now(facts, policy);
    let look = Look::new(facts, of_now.as_ref().unwrap_or(policy));
    let verdict = RULES.iter().filter(|(rule, _)| !left_out.contains(rule)).find_map(|(rule, check)| {
        let verdict = check(&look)?;
        debug_assert_eq!(verdict.rule, *rule);
        Some(verdict)
    });
    let mut notes = Vec::new();
    let goes_on = |v: &Verdict| v.decision != Decision::Refuse { reason: RefuseReason::RequestFailed };
    if let Some(why) = facts.attempts.request_failed.as_ref().filter(|_| verdict.as_ref().is_none_or(goes_on)) {
        notes.push(format!("the requested restore was NOT done, the host goes on without it: {why}"));
    }
    // N2 always matches; a table without it must still not start anything.
    let mut verdict = verdict.unwrap_or_else(|| {
        Verdict::wait(Rule::N2, WaitReason::LocalUnknown, "no rule matches")
            .hint("look again: lifeboat bootstrap --dry-run")
    });
    // What stands in the reason already is not said once more.
    for e in facts.attempts.excluded.iter().filter(|e| !verdict.because.contains(&e.why)) {
        notes.push(format!("snapshot {} was passed over: {}", e.name, e.why));
    }
    if let Some(refused) = start_flags::start_flags_disagree(&look, &verdict) {
        verdict = refused;
    }
    notes.extend(etcd_version::not_known(&look, &verdict));
    if let Some(refused) = etcd_version::too_old(&look, &verdict) {
        verdict = refused;
    }
    if let (Decision::MakePlan(_), Some(newest)) = (&verdict.decision, look.plan())
        && !newest.lost
        && look.timed_out(newest)
    {
        notes.push(format!(
            "that generation {} is lost rests on a clock: it has given no sign for {} s, and nobody answers at its URLs",
            newest.plan.generation, look.policy.lost_after_seconds
        ));
    }
    notes.extend(store::stale_pin(&look));
    notes.extend(requests::forced_plan_left(&look));
    notes.extend(lives::stranger(&look));
    notes.extend(requests::done_requests(&look));
    notes.extend(facts.remarks.iter().cloned());
    notes.append(&mut verdict.notes);
    verdict.notes = notes;
    verdict
}

#[cfg(test)]
mod tests;
