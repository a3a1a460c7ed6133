//! This host's own entry in the roll call: written and renewed while it waits without data, withdrawn before it applies or joins.
//!
//! Others count on what stands there: that this host has nothing it could start an older life with.

use std::future::Future;
use std::time::Duration;

use super::run::Bootstrap;
use super::{lock, reset, staging};
use crate::catalog::presence::{self, Presence};
use crate::core::decide::{Decision, Rule, Verdict};
use crate::core::facts::{DataDir, Facts, RollState, StoreFacts};
use crate::core::plan::MarkUse;
use crate::error::Result;
use crate::sys::random;

/// Entries live for a minute; three renewals in that time may fail.
const RENEWED_EACH: Duration = Duration::from_secs(15);

/// What this host waits as, if it waits: what the others may count on.
pub(super) fn state(facts: &Facts, verdict: &Verdict, resets_one_node: bool) -> Option<RollState> {
    let store = facts.store.known()?;
    let waits = matches!(verdict.decision, Decision::Wait { .. } | Decision::Refuse { .. } | Decision::MakePlan(_));
    if !waits || facts.memory.known().is_none() {
        return None;
    }
    match facts.data_dir.known()? {
        DataDir::Absent | DataDir::Empty => (!marked_staging(facts, store)).then_some(RollState::Empty),
        // k3s and rke2 restore on one node alone: that may only begin when every other one has stopped for it.
        DataDir::Healthy(_) if resets_one_node && verdict.rule == Rule::F2 => {
            let consumed = |id: &String| {
                facts.memory.known().is_some_and(|m| m.consumed.contains(id))
                    || store.lives.iter().any(|l| !l.cancelled && l.request.as_ref() == Some(id))
            };
            facts.requests().find(|r| !consumed(&r.id)).map(|r| RollState::Stopped(r.id.clone()))
        }
        DataDir::Healthy(_) if resets_one_node && verdict.rule == Rule::F1 => {
            store.plan.as_ref().and_then(|p| p.plan.request.clone()).map(RollState::Stopped)
        }
        _ => None,
    }
}

/// A host with a complete staging directory for its own mark may start in that life at any moment: it does not stand without data.
fn marked_staging(facts: &Facts, store: &StoreFacts) -> bool {
    let Some(staging) = facts.staging.known() else { return true };
    staging.as_ref().is_some_and(|staging| {
        let mine = |m: &crate::core::plan::StartedMark| m.nonce == staging.nonce && m.purpose != MarkUse::Barred;
        staging.complete && store.plan.as_ref().is_some_and(|p| p.marks.iter().any(mine))
    })
}

impl Bootstrap {
    /// Alone nobody counts on it, and no store needs to be written to for that.
    fn has_peers(&self) -> bool {
        let policy = &self.settings.policy;
        policy.expected_members.is_some() || policy.members.iter().any(|m| m.name != policy.node)
    }

    fn presence(&self, facts: &Facts, state: RollState) -> Result<Presence> {
        let policy = &self.settings.policy;
        let memory = facts.memory.known().cloned().unwrap_or_default();
        let newest = facts.store.known().and_then(|s| s.plan.as_ref()).map(|p| p.plan.generation).unwrap_or_default();
        Ok(Presence {
            node: policy.node.clone(),
            peer_urls: policy.peer_urls().to_vec(),
            state,
            remembers: memory.highest_generation.max(newest),
            remembers_cluster: memory.remembers_cluster(),
            waiting_seconds: 0,
            nonce: random::nonce()?,
        })
    }

    /// Writes or renews this host's entry, if it waits without data. That it could not be written is no reason to end.
    pub(super) async fn stand(&self, facts: &Facts, verdict: &Verdict) {
        let resets = self.settings.policy.managed_by.resets_one_node();
        let (Some(state), true) = (state(facts, verdict, resets), self.has_peers()) else { return };
        let before = facts.store.known().and_then(|s| s.own_entry.as_ref());
        match self.without_tried_staging(facts, &state) {
            Ok(true) => {}
            Ok(false) => return,
            Err(e) => {
                self.warn("roll call", &format!("this host does not stand in the roll call: {}", e.one_line()));
                return;
            }
        }
        // Before it is promised: whatever happens then (a disk that is mounted late), it is taken back before this host starts.
        if !facts.memory.known().is_some_and(|m| m.stopped)
            && let Err(e) = self.memory.stopped(true)
        {
            self.warn("roll call", &format!("this host does not stand in the roll call: {}", e.one_line()));
            return;
        }
        let written = match self.presence(facts, state) {
            Ok(now) => presence::stand(self.quick.records(), before, now).await.map_err(Into::into),
            Err(e) => Err(e),
        };
        if let Err(e) = written {
            self.warn(
                "roll call",
                &format!("this host's entry in the roll call could not be written: {}", e.one_line()),
            );
        }
    }

    /// Whether nothing is left here that a mark which is still on its way would make startable. What was built for such a mark is given up first: others
    /// may count this host as one that will not start in that life.
    fn without_tried_staging(&self, facts: &Facts, state: &RollState) -> Result<bool> {
        let tried = facts.memory.known().and_then(|m| m.mark_tried);
        let staged = facts.staging.known().and_then(Option::as_ref).filter(|s| s.complete && tried == Some(s.nonce));
        if staged.is_none() || *state != RollState::Empty {
            return Ok(true);
        }
        let Some(_held) = lock::try_take(&self.settings.state_dir)? else { return Ok(false) };
        if self.settings.policy.managed_by.resets_one_node() {
            reset::give_up(&self.settings)?;
        } else {
            staging::clean(&self.settings)?;
        }
        self.say("what was built for a started mark that could not be taken is given up: looking again");
        Ok(false)
    }

    /// Does a long piece of work, and keeps the entry fresh meanwhile: a host that builds still has no data. No write is under way when this
    /// returns, so that none can come after a withdrawal.
    pub(super) async fn standing<T>(&self, facts: &Facts, work: impl Future<Output = T>) -> T {
        let stands = |state: &RollState| match state {
            RollState::Empty => facts.data_dir.known().is_some_and(DataDir::is_void),
            RollState::Stopped(_) => self.memory.observe().known().is_some_and(|m| m.stopped),
            RollState::Withdrawn => false,
        };
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(RENEWED_EACH), if self.has_peers() => {
                    // What it waited until now is in the entry itself.
                    let node = &self.settings.policy.node;
                    if let Ok((Some(own), _)) = presence::roll_call(self.quick.records(), node).await
                        && stands(&own.state)
                        && let Ok(now) = self.presence(facts, own.state.clone())
                        && let Err(e) = presence::stand(self.quick.records(), Some(&own), now).await
                    {
                        self.warn("roll call", &format!("this host's entry in the roll call could not be renewed: {e}"));
                    }
                }
            }
        }
    }

    /// Whether others may count on it that this host does not start. That ends with a look that shows it as withdrawn, and no earlier: who counted
    /// on it wrote a plan before, which the same look shows, too.
    pub(super) fn has_promised(&self, facts: &Facts) -> bool {
        let own = facts.store.known().and_then(|s| s.own_entry.as_ref());
        let withdrawn = own.is_some_and(|e| e.state == RollState::Withdrawn);
        facts.memory.known().is_some_and(|m| m.stopped) && self.has_peers() && !withdrawn
    }

    /// Takes this host's entry out of the roll call, and sees that it is out.
    ///
    /// # Errors
    /// When the store fails, or does not show it yet: then nothing may be applied.
    pub(super) async fn withdraw(&self, facts: &Facts) -> Result<()> {
        if !self.has_peers() {
            return Ok(());
        }
        let gone = self.presence(facts, RollState::Withdrawn)?;
        // An entry that was promised and is not there may be on its way.
        let promised = self.memory.observe().known().is_some_and(|m| m.stopped);
        presence::withdraw(self.snapshots.records(), &gone, promised).await?;
        crate::failpoint!("bootstrap.withdrawn");
        Ok(())
    }
}
