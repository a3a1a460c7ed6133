//! What the store shows: lives, who waits, what can be restored.

use serde::{Deserialize, Serialize};

use super::{Cause, CauseCode, Memory, Observed};
use crate::core::model::{ClusterId, Generation, NodeName};
use crate::core::plan::{Plan, PlanCause, StartedMark, Voter, VotersRecord};
use crate::core::select::SnapshotFact;

/// The newest plan and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFacts {
    /// The plan.
    pub plan: Plan,
    /// A person took it back.
    pub cancelled: bool,
    /// A person declared its life lost.
    pub lost: bool,
    /// Started marks, one per marked slot.
    pub marks: Vec<StartedMark>,
    /// Recorded voters, by number.
    pub voters: Vec<VotersRecord>,
    /// Seconds since the plan was written, by the store's clock, if that tells the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
}

/// An older (or the newest) plan, as far as it tells lives apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Its number.
    pub generation: Generation,
    /// Its cluster id.
    pub cluster_id: ClusterId,
    /// Why it began.
    pub cause: PlanCause,
    /// A person took it back.
    pub cancelled: bool,
    /// The request or pin that it consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Configurations in which it may still live although newer plans exist: those were forced, or were taken back. Empty for all other lives, and
    /// for the newest, whose records stand beside its plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_live: Vec<Configuration>,
}

/// The sign of life of a cluster of this store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatFact {
    /// The life that beats.
    pub generation: Generation,
    /// Seconds since it was written, by the store's clock.
    pub age_seconds: u64,
}

/// A node without data, waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollEntry {
    /// Its name.
    pub node: NodeName,
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
    /// What it waits as.
    pub state: RollState,
    /// Highest generation that it remembers.
    pub remembers: Generation,
    /// Whether it remembers a cluster at all.
    pub remembers_cluster: bool,
    /// Seconds since it last renewed its entry, by the store's clock.
    pub age_seconds: u64,
    /// Seconds since its first entry of this wait, by the store's clock.
    pub waiting_seconds: u64,
}

impl RollEntry {
    /// Whether it says, and has said it lately, that its node has no data.
    pub fn counts(&self) -> bool {
        self.age_seconds < ROLL_CALL_TTL_SECONDS && self.state == RollState::Empty
    }
}

/// What a node waits as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RollState {
    /// It has no data.
    Empty,
    /// It stopped its etcd for this request.
    Stopped(String),
    /// It has withdrawn: it applies or joins.
    Withdrawn,
}

/// An entry older than this does not count.
pub const ROLL_CALL_TTL_SECONDS: u64 = 60;

/// What the store shows. Known only as a whole: a record that could not be read or trusted makes all of it unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreFacts {
    /// The newest plan.
    pub plan: Option<PlanFacts>,
    /// All lives, oldest first, the newest included.
    pub lives: Vec<Life>,
    /// The heartbeat.
    pub heartbeat: Option<HeartbeatFact>,
    /// Nodes that wait, whatever the age of their entries; not this node's own.
    pub roll_call: Vec<RollEntry>,
    /// This node's own entry, as the store shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_entry: Option<RollEntry>,
    /// All snapshots with a manifest object.
    pub snapshots: Vec<SnapshotFact>,
}

impl StoreFacts {
    /// A store that shows less than this host remembers was rolled back, replaced or planted: what it says must not be followed.
    pub fn against_memory(self, memory: &Memory) -> Observed<StoreFacts> {
        let newest = self.plan.as_ref().map_or(Generation(0), |p| p.plan.generation);
        if newest >= memory.highest_generation {
            return Observed::Known(self);
        }
        let shows = match &self.plan {
            Some(_) => format!("shows generation {newest} as the newest"),
            None => "shows no plan at all".to_owned(),
        };
        Observed::Unknown(Cause {
            code: CauseCode::StoreForgot,
            text: format!(
                "the store {shows}, but this host has seen generation {}: wrong bucket or folder, or the store was rolled back",
                memory.highest_generation
            ),
            hint: Some("check bucket and folder under [store] with 'lifeboat config show' and 'lifeboat ls'".into()),
        })
    }

    /// What older lives recorded counts until a newer one has ended them. A restore that a person asked for ends them as soon as its own life has
    /// served: with a majority of its members, of which enough were members of the older ones. That it has served shows in what only a quorate cluster
    /// leaves: a heartbeat, or a snapshot that was taken with quorum. A mark alone does not.
    #[must_use]
    pub fn without_ended_lives(mut self) -> StoreFacts {
        let served = |life: &Life| {
            let of_it = |s: &SnapshotFact| {
                s.manifest.as_ref().is_ok_and(|c| c.cluster_id == life.cluster_id && c.quorum && c.damaged.is_none())
            };
            !life.cancelled
                && (self.snapshots.iter().any(of_it)
                    || self.heartbeat.as_ref().is_some_and(|b| b.generation == life.generation))
        };
        let last_served = self.lives.iter().rposition(served).unwrap_or(0);
        for ended in self.lives.iter_mut().take(last_served) {
            ended.may_live.clear();
        }
        self
    }

    /// The life that a cluster id belongs to.
    pub fn life_of(&self, id: ClusterId) -> Option<&Life> {
        self.lives.iter().find(|l| l.cluster_id == id)
    }
}

/// The voters that a majority is counted of: a recorded configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Where it is recorded.
    pub recorded_in: String,
    /// Its voters.
    pub voters: Vec<Voter>,
}

impl Configuration {
    /// The configurations of a life since the last confirmed one, that one included: any of them may be in effect.
    pub fn of_life(plan: &Plan, records: &[VotersRecord]) -> Vec<Configuration> {
        let last_confirmed = records.iter().rposition(|v| v.confirmed);
        let planned = Configuration { recorded_in: format!("plan {}", plan.generation), voters: plan.voters.clone() };
        let recorded = records.iter().skip(last_confirmed.unwrap_or(0)).map(|v| Configuration {
            recorded_in: format!("voters record {} of plan {}", v.number, plan.generation),
            voters: v.voters.clone(),
        });
        Some(planned).filter(|_| last_confirmed.is_none()).into_iter().chain(recorded).collect()
    }
}
