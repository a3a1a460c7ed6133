//! Taking a living cluster over as a life of its own, so that its snapshots, its heartbeat and its voters have a place in the store.
//!
//! A cluster that existed before lifeboat is adopted by itself where the store speaks of no other; anything else is a person's word
//! (`lifeboat adopt`). The plan is create-only, so of two hosts one adopts.

use std::path::Path;

use super::life;
use crate::catalog::keys::{self, SnapshotObject};
use crate::catalog::plans::Plans;
use crate::catalog::probe;
use crate::catalog::records::Created;
use crate::catalog::snapshots::Snapshots;
use crate::core::adopt::{self, NotAdopted, Seen};
use crate::core::facts::{Life, LocalVoter, PlanFacts};
use crate::core::model::{ClusterId, Generation, NodeName};
use crate::core::plan::{Plan, Voter};
use crate::core::voters;
use crate::error::{Error, Kind, Result};
use crate::ports::{Clock, Etcd, Member};
use crate::sys::random;

/// The host that adopts, and what it knows.
#[derive(Clone, Copy)]
pub struct Adopter<'a> {
    /// The member on this host.
    pub etcd: &'a dyn Etcd,
    /// The store.
    pub snapshots: &'a Snapshots,
    /// For the record's date.
    pub clock: &'a dyn Clock,
    /// This host.
    pub node: &'a NodeName,
    /// The configured members.
    pub configured: &'a [Voter],
    /// `bootstrap.seed`.
    pub seed: Option<&'a NodeName>,
    /// State of the agent: the lives that were seen.
    pub state_dir: &'a Path,
}

/// The cluster on this host beside what the store holds.
#[derive(Debug)]
pub struct Found {
    /// Its id.
    pub cluster_id: ClusterId,
    /// Its life, if it is in a plan.
    pub life: Option<Life>,
    /// All lives that the store shows.
    pub lives: Vec<Life>,
    /// The newest plan, whosever it is.
    pub newest: Option<PlanFacts>,
    /// What an adoption would rest on.
    pub seen: Seen,
}

/// What became of a cluster that may have no plan yet.
#[derive(Debug)]
pub enum Adoption {
    /// It has a life already.
    Known(Life),
    /// It was adopted just now.
    Adopted(Box<Plan>),
    /// Only a person may adopt it.
    Left(ClusterId, NotAdopted),
}

/// The members of a list in the core's words.
pub fn local_voters(members: Vec<Member>) -> Vec<LocalVoter> {
    let member = |m: Member| LocalVoter { id: m.id, name: m.name, peer_urls: m.peer_urls, is_learner: m.is_learner };
    members.into_iter().map(member).collect()
}

impl Adopter<'_> {
    fn plans(&self) -> Plans {
        Plans::new(self.snapshots.records().clone())
    }

    /// Looks at the cluster and at the store.
    ///
    /// # Errors
    /// When either does not answer, or a record cannot be trusted.
    pub async fn look(&self) -> Result<Found> {
        let cluster_id = self.etcd.status().await?.cluster_id;
        let (lives, newest) = self.plans().history(Generation(0)).await?;
        let objects = self.snapshots.records().store().list(keys::SNAPSHOT_FOLDER).await?;
        let manifests = objects.iter().filter(|o| matches!(keys::classify(&o.key), SnapshotObject::Manifest(_)));
        let seen = Seen {
            newest: newest.as_ref().map(|n| n.plan.generation),
            snapshots: manifests.count(),
            remembered: life::highest_seen(self.state_dir)?,
        };
        let life = lives.iter().find(|l| l.cluster_id == cluster_id).cloned();
        Ok(Found { cluster_id, life, lives, newest, seen })
    }

    /// Adopts the cluster where nothing speaks of another one.
    ///
    /// # Errors
    /// When it could not be found out, the cluster has no quorum, or the store cannot take a plan from this host.
    pub async fn by_itself(&self) -> Result<Adoption> {
        let found = self.look().await?;
        life::saw(self.state_dir, &found.lives);
        if let Some(life) = found.life {
            return Ok(Adoption::Known(life));
        }
        match adopt::by_itself(&found.seen) {
            Err(why) => Ok(Adoption::Left(found.cluster_id, why)),
            Ok(generation) => match self.adopt(found.cluster_id, generation).await? {
                Some(plan) => {
                    life::saw(self.state_dir, &[adopt::life(&plan)]);
                    Ok(Adoption::Adopted(Box::new(plan)))
                }
                // Another host was first: its plan is this very cluster's, or it is a person's matter.
                None => {
                    let found = self.look().await?;
                    life::saw(self.state_dir, &found.lives);
                    let newest = found.seen.newest.unwrap_or(generation);
                    Ok(found.life.map_or(Adoption::Left(found.cluster_id, NotAdopted::Plans(newest)), Adoption::Known))
                }
            },
        }
    }

    /// The voters of the cluster, right after a linearizable read.
    ///
    /// # Errors
    /// When it has no quorum or does not list them.
    pub async fn voters(&self) -> Result<Vec<Voter>> {
        self.etcd.linearizable_read().await?;
        let members = local_voters(self.etcd.members().await?);
        voters::of_members(&members, self.configured).ok_or_else(|| {
            Error::new(Kind::Etcd, format!("{} lists no voters that could be written down", self.etcd.endpoint()))
                .hint("look at: etcdctl member list")
        })
    }

    /// Writes the plan of an adopted life; `None` when that generation has a plan already.
    ///
    /// # Errors
    /// When the cluster has no quorum, another one answers there now, or the store fails.
    pub async fn adopt(&self, cluster_id: ClusterId, generation: Generation) -> Result<Option<Plan>> {
        let records = self.snapshots.records();
        probe::may_write_plans(records, random::nonce()?, self.node, self.seed).await?;
        let voters = self.voters().await?;
        if self.etcd.status().await?.cluster_id != cluster_id {
            let text = format!("{} was cluster {cluster_id} a moment ago and is another now", self.etcd.endpoint());
            return Err(Error::new(Kind::Etcd, text));
        }
        let (node, now) = (self.node.clone(), self.clock.now());
        let plan = adopt::plan(generation, cluster_id, voters, node, now, random::nonce()?);
        Ok(match self.plans().create(&plan).await? {
            Created::Ours => Some(plan),
            Created::Taken => None,
        })
    }
}

/// What to say of an adoption.
pub fn adopted(plan: &Plan) -> String {
    let names: Vec<String> = plan.voters.iter().map(|v| v.name.to_string()).collect();
    format!("adopted cluster {} as generation {} (voters {})", plan.cluster_id, plan.generation, names.join(", "))
}
