//! The steps of a verdict. Each is idempotent and durable; after any of them a look around leads to the next.
//!
//! Order for a restore: fetch, verify, build, inspect, fsync, seal (`build`), then plan, then started mark, memory, quarantine, rename into place (the
//! commit point), environment file, consumed request.

use super::build::{self, Order, blocking};
use super::etcd_version;
use super::owner::Owners;
use super::run::Bootstrap;
use super::{data_dir, environment, events, lock, staging};
use crate::catalog::plans::Plans;
use crate::catalog::records::Created;
use crate::core::decide::{Decision, decide};
use crate::core::facts::{DataDir, Facts, Observed};
use crate::core::model::Generation;
use crate::core::plan::{MarkUse, Plan, StartedMark};
use crate::datadir::restore;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::sys::random;

/// A step that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub error: Error,
    /// The started mark is taken, or may be: there is no way back to the data of before.
    pub marked: bool,
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed { error: error.into(), marked: false }
    }
}

pub(super) fn past_the_mark(error: impl Into<Error>) -> Failed {
    Failed { error: error.into(), marked: true }
}

/// How a step ended.
pub(super) type StepResult = std::result::Result<Step, Failed>;

/// How far a step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Done; look around again.
    Done,
    /// Somebody else was first, or the world has changed; look around again.
    Lost,
    /// etcd may start, and makes its data dir itself.
    MayStart,
}

impl Bootstrap {
    pub(super) fn plans(&self) -> Plans {
        Plans::new(self.snapshots.records().clone())
    }

    pub(super) fn mark(
        &self,
        generation: Generation,
        node: &crate::core::model::NodeName,
        purpose: MarkUse,
        nonce: crate::core::model::Nonce,
    ) -> StartedMark {
        StartedMark {
            node: node.clone(),
            generation,
            purpose,
            by: self.settings.policy.node.clone(),
            nonce,
            at: self.clock.now(),
        }
    }

    /// Builds what the newest plan describes (unless that is done), takes the mark, and puts the data into place. `decision`: the one that led here.
    pub(super) async fn apply(
        &self,
        generation: Generation,
        facts: &Facts,
        decision: &Decision,
        purpose: MarkUse,
    ) -> StepResult {
        let settings = &self.settings;
        let Some(plan) = self.plans().plan(generation).await? else {
            return Err(Error::new(Kind::Store, format!("plan {generation} was there a moment ago and is gone")).into());
        };
        if plan.reset {
            return self.apply_reset(&plan, facts, decision).await;
        }
        if let Some(snapshot) = &plan.snapshot {
            etcd_version::takes(facts, &snapshot.name)?;
        }
        let staging_dir = staging::path(&settings.data_dir, generation);
        let seal = match staging::read_seal(&staging_dir)? {
            Some(seal) if seal.plan_nonce == plan.nonce => seal,
            _ => {
                let order = Order {
                    generation,
                    snapshot: plan.snapshot.as_ref().map(|s| s.name.clone()),
                    voters: plan.voters.clone(),
                    token: plan.token.clone(),
                    plan_nonce: plan.nonce,
                    mark_nonce: random::nonce()?,
                    bump_revision: plan.bump_revision,
                    request: plan.request.clone(),
                    superseded: Vec::new(),
                    raw_sha256: plan.snapshot.as_ref().map(|s| s.raw_sha256),
                };
                let owners = Owners::new(settings, facts.memory.known())?;
                let work = build::build(settings, &self.snapshots, &order, &owners, &*self.progress);
                let ready = self.standing(facts, work).await?;
                if ready.cluster_id != plan.cluster_id {
                    return Err(Error::new(
                        Kind::Verification,
                        format!(
                            "plan {generation} says cluster id {}, and its members and token give {}",
                            plan.cluster_id, ready.cluster_id
                        ),
                    )
                    .into());
                }
                staging::read_seal(&staging_dir)?
                    .ok_or_else(|| Error::new(Kind::Io, format!("the seal of {} is gone", staging_dir.display())))?
            }
        };
        data_dir::try_rename(settings, &staging_dir)?;

        if !self.last_look(&plan, facts, decision).await? {
            return Ok(Step::Lost);
        }
        failpoint!("bootstrap.before_mark");
        if !self.take_own_mark(generation, purpose, seal.mark_nonce).await? {
            staging::clean(settings)?;
            return Ok(Step::Lost);
        }
        failpoint!("bootstrap.after_mark");
        self.put_in_place(&plan).await.map_err(past_the_mark)
    }

    /// Out of the roll call, and the last look before the point of no return: still the newest plan, not taken back, and nothing has come to life or
    /// to the data dir while the data was built (an etcd that somebody started by hand).
    pub(super) async fn last_look(&self, plan: &Plan, facts: &Facts, decision: &Decision) -> Result<bool> {
        // Nobody may count this host any more as one without data.
        self.withdraw(facts).await?;
        let now = self.look(facts.waited_seconds, facts.attempts.clone(), None).await;
        let again = decide(&now, &self.settings.policy);
        let same = now.store.known().and_then(|s| s.plan.as_ref()).is_some_and(|n| n.plan.nonce == plan.nonce);
        let still = same && again.decision == *decision;
        if !still {
            self.say(&format!(
                "the situation changed before plan {} was applied (now rule {}): looking again",
                plan.generation, again.rule
            ));
        }
        Ok(still)
    }

    /// Takes this host's mark, or finds the one that belongs to `nonce`.
    pub(super) async fn take_own_mark(
        &self,
        generation: Generation,
        purpose: MarkUse,
        nonce: crate::core::model::Nonce,
    ) -> std::result::Result<bool, Failed> {
        let me = &self.settings.policy.node;
        let mark = self.mark(generation, me, purpose, nonce);
        self.memory.tries_mark(nonce)?;
        if self.plans().take_mark(&mark).await.map_err(past_the_mark)? == Created::Ours {
            return Ok(true);
        }
        let theirs = self.plans().mark(generation, me).await.map_err(past_the_mark)?;
        let ours = theirs.is_some_and(|m| m.nonce == nonce && m.purpose != MarkUse::Barred);
        if !ours {
            self.say(&format!(
                "this host's mark in generation {generation} is taken: it never starts in that life again"
            ));
        }
        Ok(ours)
    }

    /// Finishes what was interrupted between mark and rename.
    pub(super) async fn resume(&self, generation: Generation) -> StepResult {
        let Some(plan) = self.plans().plan(generation).await? else {
            return Err(Error::new(Kind::Store, format!("plan {generation} was there a moment ago and is gone")).into());
        };
        if plan.reset {
            return self.resume_reset(&plan).await;
        }
        self.put_in_place(&plan).await.map_err(past_the_mark)
    }

    async fn put_in_place(&self, plan: &Plan) -> Result<Step> {
        let settings = &self.settings;
        let generation = plan.generation;
        self.memory.started(&settings.cluster, generation)?;
        // Out of the roll call, and what goes into place is no older life.
        self.memory.stopped(false)?;
        failpoint!("bootstrap.remembered");
        let staging_dir = staging::path(&settings.data_dir, generation);
        let ids = restore::load(&staging_dir)?.map(|built| (built.cluster_id, built.member_id));
        self.make_room(generation, ids)?;
        failpoint!("bootstrap.quarantined");
        let (data, wal) = (settings.data_dir.clone(), settings.wal_dir.clone());
        let from = staging_dir.clone();
        blocking(move || restore::install(&from, &data, wal.as_deref())).await?;
        failpoint!("bootstrap.in_place");
        if let Some(path) = &settings.environment_file {
            environment::write(path, &settings.policy)?;
        }
        failpoint!("bootstrap.environment");
        if let Some(request) = &plan.request {
            self.consume(request)?;
        }
        let superseded = staging::read_seal(&staging_dir)?.map(|seal| seal.superseded).unwrap_or_default();
        for request in &superseded {
            self.consume(request)?;
            self.say(&format!(
                "the request {request} was armed at the same time and counts as done: one restore at a time, or it would be undone at once. To have it, \
                 ask again"
            ));
        }
        staging::clean(settings)?;
        match &plan.snapshot {
            Some(snapshot) => events::restore_successful(plan, snapshot),
            None => events::restore_skipped(plan),
        }
        Ok(Step::Done)
    }

    /// Finishes what a power cut after the commit point left undone, without asking the store: the request that this data was made for is done.
    /// Without that it would still be armed, and keep the host down as long as the store is away.
    pub(super) async fn settle(&self) -> Result<()> {
        let settings = &self.settings;
        let Some((_, path)) = staging::all(&settings.data_dir)?.into_iter().next() else { return Ok(()) };
        let Some(_held) = lock::try_take(&settings.state_dir)? else { return Ok(()) };
        let Some(seal) = staging::read_seal(&path)? else { return Ok(()) };
        // With its `member/` in it, it was never put into place.
        if path.join("member").symlink_metadata().is_ok() {
            return Ok(());
        }
        match data_dir::observe(settings).await {
            Observed::Known(DataDir::Healthy(member)) if member.cluster_id == seal.cluster_id => {}
            _ => return Ok(()),
        }
        self.memory.started(&settings.cluster, seal.generation)?;
        for request in seal.request.iter().chain(&seal.superseded) {
            self.consume(request)?;
        }
        staging::clean(settings)
    }

    /// Makes the data dir, for the etcd that is about to fill it, as the one of before was.
    pub(super) fn own_dirs(&self, facts: &Facts) -> Result<()> {
        Owners::new(&self.settings, facts.memory.known())?.make_dirs(&self.settings)
    }

    /// Remembers a consumed request first, and removes its file after that: in the other order a power cut would forget it.
    pub(super) fn consume(&self, request: &str) -> Result<()> {
        self.memory.consumed(request)?;
        let armed = self.requests.file.observe();
        if let Some(Some(armed)) = armed.known()
            && armed.id == request
        {
            self.requests.file.remove()?;
        }
        Ok(())
    }

    /// Moves the data aside for a join.
    pub(super) fn quarantine_now(&self) -> Result<Step> {
        if let Some(aside) = data_dir::quarantine(&self.settings, self.clock.now())? {
            events::quarantined(&aside, Generation(0));
            self.say(&format!("the member was moved to {}; nothing was deleted", aside.display()));
        }
        Ok(Step::Done)
    }
}
