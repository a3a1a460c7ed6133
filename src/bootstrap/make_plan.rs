//! From a draft to a plan in the store: fetch, verify, build, look again, bar what the new life declares dead, write.

use super::apply::{Step, StepResult};
use super::build::{self, Order};
use super::etcd_version;
use super::owner::Owners;
use super::run::Bootstrap;
use super::{data_dir, events, staging};
use crate::catalog::probe;
use crate::catalog::records::Created;
use crate::core::decide::{Decision, Draft, decide, members_of_now};
use crate::core::facts::{Facts, Observed, StoreFacts};
use crate::core::model::Generation;
use crate::core::plan::{MarkUse, Plan, PlanCause, PlannedSnapshot, Voter};
use crate::core::{select, voters};
use crate::datadir::ids;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::sys::random;

/// Requests that are armed beside the one that a forced plan is for. Done after it, they would undo it.
fn beside(draft: &Draft, facts: &Facts) -> Vec<String> {
    match &draft.request {
        Some(request) if draft.cause == PlanCause::Forced => {
            let consumed = |id| facts.memory.known().is_some_and(|m| m.consumed.contains(id));
            facts.requests().map(|r| &r.id).filter(|id| *id != request && !consumed(id)).cloned().collect()
        }
        _ => Vec::new(),
    }
}

impl Bootstrap {
    /// Fetches, verifies, builds, looks again, bars what the new life declares dead, and only then writes the plan.
    pub(super) async fn make_plan(&self, draft: &Draft, facts: &Facts) -> StepResult {
        let settings = &self.settings;
        let reset = settings.policy.managed_by.resets_one_node();
        if reset && draft.cause == PlanCause::Init {
            // Nobody is bound to a plan by that: the cluster that comes up is adopted as one that existed before.
            self.withdraw(facts).await?;
            self.say(&format!("{} forms its cluster by itself", settings.policy.managed_by.unit()));
            return Ok(Step::MayStart);
        }
        let generation = draft.generation;
        let (plan_nonce, mark_nonce) = (random::nonce()?, random::nonce()?);
        let bumps = draft.cause != PlanCause::Init;
        // Before anything is built: a store that lets two hosts write one plan takes it from one host alone.
        let (records, seed) = (self.snapshots.records(), settings.policy.seed.as_ref());
        probe::may_write_plans(records, random::nonce()?, &settings.policy.node, seed).await?;
        self.tell_seed(draft);
        let order = Order {
            generation,
            snapshot: draft.snapshot.clone(),
            voters: members_of_now(facts, &settings.policy),
            token: random::nonce()?.to_string(),
            plan_nonce,
            mark_nonce,
            bump_revision: settings.bump_revision.filter(|_| bumps),
            request: draft.request.clone(),
            superseded: beside(draft, facts),
            raw_sha256: None,
        };
        let store = facts.store.known();
        let planned = match &draft.snapshot {
            // Only an init builds an empty cluster. A request that leads to no snapshot must not become one.
            None if draft.cause != PlanCause::Init => {
                let asked = facts.requests().find(|r| draft.request.as_ref() == Some(&r.id));
                let why = match asked {
                    Some(r) => {
                        format!("no snapshot in the store can be restored for {:?} ({})", r.snapshot, r.found_in)
                    }
                    None => "no snapshot in the store can be restored".to_owned(),
                };
                return Err(Error::new(Kind::NotFound, why).hint("'lifeboat ls' shows what there is").into());
            }
            Some(name) => {
                let fact = store.and_then(|s| s.snapshots.iter().find(|s| s.name == *name));
                if let Some(why) = fact.and_then(|f| select::ineligible(f, true)) {
                    return Err(Error::new(Kind::Verification, format!("{name} cannot be restored: {why}")).into());
                }
                etcd_version::takes(facts, name)?;
                let m = self.snapshots.resolve(name.as_str()).await?;
                let life = store.and_then(|s| s.life_of(m.cluster_id));
                Some(PlannedSnapshot {
                    name: name.clone(),
                    generation: life.map_or(Generation(0), |l| l.generation),
                    revision: m.revision,
                    raw_sha256: m.raw.sha256,
                    raw_size: m.raw.size,
                })
            }
            None => None,
        };
        let cluster_id = match &planned {
            // Nobody's: the one that the reset makes is learnt afterwards.
            Some(snapshot) if reset => {
                self.standing(facts, self.fetch_for_reset(snapshot)).await?;
                let ids: Vec<_> = order.voters.iter().map(|v| ids::member_id(&v.peer_urls, &order.token)).collect();
                ids::cluster_id_of(&ids)
            }
            _ => {
                let owners = Owners::new(settings, facts.memory.known())?;
                let work = build::build(settings, &self.snapshots, &order, &owners, &*self.progress);
                let ready = self.standing(facts, work).await?;
                data_dir::try_rename(settings, &staging::path(&settings.data_dir, generation))?;
                ready.cluster_id
            }
        };

        self.save_before_restore(draft, facts).await;

        // Building and saving take minutes: what was true before need not be true now.
        let now = self.look(facts.waited_seconds, facts.attempts.clone(), None).await;
        let again = decide(&now, &settings.policy);
        // With hosts that come and go, the data was built for those that stood there then.
        let same_members = voters::same(&members_of_now(&now, &settings.policy), &order.voters);
        if again.decision != Decision::MakePlan(draft.clone()) || !same_members {
            self.say(&format!(
                "the situation changed while the data was being built (now rule {}): looking again",
                again.rule
            ));
            staging::clean(settings)?;
            return Ok(Step::Lost);
        }
        if let Some(store) = now.store.known()
            && self.bar_unmarked(store, &order.voters).await? == Step::Lost
        {
            staging::clean(settings)?;
            return Ok(Step::Lost);
        }
        failpoint!("bootstrap.before_plan");
        // A person may have taken the request back since the last look, and was told that nothing is restored.
        if let (Some(id), Observed::Known(memory)) = (&draft.request, self.memory.observe())
            && memory.consumed.contains(id)
        {
            self.say(&format!("the restore {id} was taken back: no plan is written for it"));
            staging::clean(settings)?;
            return Ok(Step::Lost);
        }
        let plan = Plan {
            generation,
            cause: draft.cause,
            request: draft.request.clone(),
            snapshot: planned,
            excluded: facts.attempts.excluded.clone(),
            voters: order.voters.clone(),
            token: order.token.clone(),
            cluster_id,
            reset,
            bump_revision: order.bump_revision,
            seed: settings.policy.node.clone(),
            created: self.clock.now(),
            nonce: plan_nonce,
        };
        let created = self.plans().create(&plan).await?;
        failpoint!("bootstrap.after_plan");
        match created {
            Created::Ours => {
                events::plan_created(&plan);
                Ok(Step::Done)
            }
            Created::Taken => {
                self.say(&format!("another node wrote plan {generation} first: following that one"));
                staging::clean(settings)?;
                Ok(Step::Lost)
            }
        }
    }

    /// Takes the marks of the hosts that the new plan counts on in the life that it declares dead, so that none of them can still start in it.
    /// Those that do not stand there now are not counted, and theirs stay free: one that has withdrawn may be about to start.
    async fn bar_unmarked(&self, store: &StoreFacts, members: &[Voter]) -> Result<Step> {
        let Some(newest) = &store.plan else { return Ok(Step::Done) };
        let me = &self.settings.policy.node;
        let counted = members
            .iter()
            .map(|m| &m.name)
            .filter(|name| *name == me || store.roll_call.iter().any(|e| e.node == **name && e.counts()));
        for node in counted {
            if newest.marks.iter().any(|m| m.node == *node) || !newest.plan.voters.iter().any(|v| v.name == *node) {
                continue;
            }
            let mark = self.mark(newest.plan.generation, node, MarkUse::Barred, random::nonce()?);
            if self.plans().take_mark(&mark).await? == Created::Taken {
                self.say(&format!(
                    "{node} has started in generation {} meanwhile: looking again",
                    newest.plan.generation
                ));
                return Ok(Step::Lost);
            }
        }
        Ok(Step::Done)
    }
}
