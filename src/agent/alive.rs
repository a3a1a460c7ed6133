//! What the elected member writes down about the cluster that it is part of: that it is alive, who votes, and which life it is.
//!
//! Each look reads what the store knows, reads linearizably from the own member, and puts the heartbeat right after that: a heartbeat is the word
//! of a cluster that had a quorum a moment ago, not of an agent that is up. Every part of it may be done twice, by two hosts at once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Parts;
use super::election::Roles;
use crate::catalog::changes::{Announced, Changes};
use crate::catalog::plans::Plans;
use crate::catalog::presence::Heartbeat;
use crate::catalog::records::{Created, Records};
use crate::catalog::{heartbeat, voters as recorded};
use crate::core::facts::LocalVoter;
use crate::core::model::{ClusterId, Generation};
use crate::core::plan::{Voter, VotersRecord};
use crate::core::voters::{self, Note};
use crate::error::{Error, Kind, Result};
use crate::event;
use crate::failpoint;
use crate::ports::Promoted;
use crate::snapshot::adoption::{Adopter, Adoption, adopted, local_voters};
use crate::sys::random;

/// The heartbeat is renewed this often; it counts for 90 s.
pub(super) const BEAT: Duration = Duration::from_secs(20);
/// A host that joins is made a voter as soon as it has caught up.
const WHILE_JOINING: Duration = Duration::from_secs(3);
/// One look with all that it writes. A longer one is cut off and begun again.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// A failure that lasts is said again after this time.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// The life that this cluster is, once that is known. A cluster id never changes its life.
struct Known {
    cluster_id: ClusterId,
    generation: Generation,
    planned: Vec<Voter>,
    records: Vec<VotersRecord>,
}

/// Runs until `stop`; does nothing while another host acts for the cluster.
pub(super) async fn run(parts: &Parts, roles: &Roles, stop: &CancellationToken) {
    let mut writer = Writer { parts, known: None, said: None };
    loop {
        tokio::select! {
            () = roles.acting() => {}
            () = stop.cancelled() => return,
        }
        let looked = tokio::select! {
            looked = tokio::time::timeout(LOOK_LIMIT, writer.look()) => looked,
            () = stop.cancelled() => return,
        };
        let ended = looked.unwrap_or_else(|_| {
            Err(Error::new(Kind::Store, format!("a look at the cluster took longer than {} s", LOOK_LIMIT.as_secs())))
        });
        let mut pause = BEAT;
        match ended {
            Ok(joining) => {
                roles.store_answered(true);
                pause = if joining { WHILE_JOINING } else { BEAT };
            }
            Err(e) => {
                if e.kind() == Kind::Store {
                    roles.store_answered(false);
                }
                let hint = e.hint_text().map(|h| format!(" | hint: {h}")).unwrap_or_default();
                writer.say(format!("the heartbeat of the cluster is not renewed: {}{hint}", e.one_line()));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.9 + 0.2 * random::fraction())) => {}
            () = stop.cancelled() => return,
        }
    }
}

struct Writer<'a> {
    parts: &'a Parts,
    known: Option<Known>,
    /// What was said last, and when by the monotonic clock.
    said: Option<(String, Duration)>,
}

impl Writer<'_> {
    fn records(&self) -> &Records {
        self.parts.snapshots.records()
    }

    /// Once, and again when something else is wrong or much time has passed.
    fn say(&mut self, text: String) {
        let now = self.parts.clock.monotonic();
        let again = self.said.as_ref().is_none_or(|(said, at)| *said != text || now.saturating_sub(*at) >= SAY_AGAIN);
        if again {
            tracing::warn!("{text}");
            self.said = Some((text, now));
        }
    }

    /// Whether a host waits to become a voter.
    async fn look(&mut self) -> Result<bool> {
        let Some(mut known) = self.life().await? else { return Ok(false) };
        let looked = self.look_at(&mut known).await;
        self.known = Some(known);
        if looked.is_ok() {
            self.said = None;
        }
        looked
    }

    async fn look_at(&self, known: &mut Known) -> Result<bool> {
        let parts = self.parts;
        // Both come before the read: nothing but the put stands between the read and the heartbeat.
        recorded::read_on(self.records(), known.generation, &mut known.records).await?;
        let nonce = random::nonce()?;
        let revision = parts.etcd.linearizable_read().await?;
        let beat = Heartbeat {
            generation: known.generation,
            cluster_id: known.cluster_id,
            by: parts.node.clone(),
            revision,
            nonce,
        };
        heartbeat::beat(self.records(), &beat).await?;
        tracing::debug!(generation = known.generation.0, revision = revision.0, "the cluster is alive");
        // The list comes after a linearizable read of the same member, so it holds every change that was acknowledged before.
        let members = local_voters(parts.etcd.members().await?);
        self.record(known, &members).await?;
        self.promote(known, &members).await
    }

    /// The life of the member's cluster, adopted where that needs nobody's word.
    async fn life(&mut self) -> Result<Option<Known>> {
        let parts = self.parts;
        let cluster_id = parts.etcd.status().await?.cluster_id;
        if let Some(known) = self.known.take().filter(|k| k.cluster_id == cluster_id) {
            return Ok(Some(known));
        }
        let generation = match parts.adopter().by_itself().await? {
            Adoption::Known(life) => life.generation,
            Adoption::Adopted(plan) => {
                event!(PlanCreated, generation = plan.generation.0, "{}", adopted(&plan));
                plan.generation
            }
            Adoption::Left(id, why) => {
                self.say(format!(
                    "cluster {id} is in no plan of {}, so no heartbeat is written and the gate knows nothing of it: {why} | hint: if this cluster \
                     is the right one for this store, type: lifeboat adopt",
                    self.records().store().location()
                ));
                return Ok(None);
            }
        };
        let Some(plan) = Plans::new(self.records().clone()).plan(generation).await? else {
            let text = format!("plan {generation} was there a moment ago and is gone");
            return Err(Error::new(Kind::Store, text));
        };
        Ok(Some(Known { cluster_id, generation, planned: plan.voters, records: Vec::new() }))
    }

    /// Writes down voters that no record names, and confirms those that took effect.
    async fn record(&self, known: &mut Known, members: &[LocalVoter]) -> Result<()> {
        let Some(live) = voters::of_members(members, &self.parts.members) else { return Ok(()) };
        match voters::to_record(&known.planned, &known.records, &live) {
            Some(note) => self.write(known, note).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether it is ours that was written; another host's is read at the next look.
    async fn write(&self, known: &mut Known, note: Note) -> Result<bool> {
        let record = VotersRecord {
            number: note.number,
            voters: note.voters,
            confirmed: note.confirmed,
            cluster_id: None,
            by: self.parts.node.clone(),
            nonce: random::nonce()?,
        };
        let created = recorded::create(self.records(), known.generation, &record).await?;
        if created == Created::Taken {
            return Ok(false);
        }
        let names: Vec<String> = record.voters.iter().map(|v| v.name.to_string()).collect();
        tracing::info!(
            generation = known.generation.0,
            "voters of generation {}: {} (record {}, {})",
            known.generation,
            names.join(", "),
            record.number,
            if record.confirmed { "in force" } else { "not confirmed yet" }
        );
        known.records.push(record);
        Ok(true)
    }

    /// Promotes the learner that a gate has added, one at a time, with the voters recorded before. Whether there is one.
    async fn promote(&self, known: &Known, members: &[LocalVoter]) -> Result<bool> {
        let configured = &self.parts.members;
        let Some(live) = voters::of_members(members, configured) else { return Ok(false) };
        for learner in members.iter().filter(|m| m.is_learner) {
            let Some(host) = self.of_a_gate(known.generation, learner).await? else { continue };
            let mut after = live.clone();
            after.push(host.clone());
            let plans = Plans::new(self.records().clone());
            let changes = Changes { plans: &plans, generation: known.generation, me: &self.parts.node };
            if let Announced::Busy { by } = changes.announce(&after, &live, random::nonce()?).await? {
                tracing::debug!("{by} is changing the members of the cluster: the learner of {} waits", host.name);
                return Ok(true);
            }
            failpoint!("promote.announced");
            if !changes.is_last(&after).await? {
                tracing::debug!(
                    "another host has changed the members of the cluster: the learner of {} waits",
                    host.name
                );
                return Ok(true);
            }
            match self.parts.learners.promote_learner(learner.id).await {
                Ok(Promoted::Done) => {
                    tracing::info!("the member {} of {} has caught up and votes now", learner.id, host.name);
                }
                Ok(Promoted::NotYet) => tracing::debug!("the learner of {} has not caught up yet", host.name),
                Err(e) => return Err(Error::from(e).context(format!("{} cannot be made a voter", host.name))),
            }
            // One change at a time: the next look begins with what is in force then.
            return Ok(true);
        }
        Ok(false)
    }

    async fn of_a_gate(&self, generation: Generation, learner: &LocalVoter) -> Result<Option<Voter>> {
        let configured = &self.parts.members;
        if let Some(host) = voters::joined_by_gate(learner, configured, &[]) {
            return Ok(Some(host));
        }
        let Some(host) = voters::slot(learner.id, &learner.name, &learner.peer_urls, configured) else {
            return Ok(None);
        };
        let marked = Plans::new(self.records().clone()).mark(generation, &host.name).await?.is_some();
        Ok(if marked { voters::joined_by_gate(learner, configured, &[host.name]) } else { None })
    }
}

impl Parts {
    pub(super) fn adopter(&self) -> Adopter<'_> {
        Adopter {
            etcd: self.etcd.as_ref(),
            snapshots: &self.snapshots,
            clock: self.clock.as_ref(),
            node: &self.node,
            configured: &self.members,
            seed: self.seed.as_ref(),
            state_dir: &self.state_dir,
        }
    }
}
