//! All that a bootstrap decision may look at.
//!
//! Every observation is `Known` or `Unknown`. Silence, time-outs, refusals and parse errors are `Unknown`; "absent" is a `Known` value that needs
//! positive evidence. Facts can be written to a file and replayed.

use serde::{Deserialize, Serialize};

use super::model::{ClusterId, ClusterName, Generation, MemberId, NodeName, Nonce};
use super::plan::{Excluded, Plan, PlanCause, StartedMark, Voter, VotersRecord};
use super::select::SnapshotFact;

/// Why something could not be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Class of the cause.
    pub code: CauseCode,
    /// What was tried, on which object, and what came back.
    pub text: String,
    /// What to type or change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Class of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseCode {
    /// No answer, or not in time.
    NoAnswer,
    /// It answered that we may not.
    Denied,
    /// It answered with a failure.
    Failed,
    /// A record that must not be followed.
    BadRecord,
    /// The store shows less than this host remembers.
    StoreForgot,
    /// A file or directory could not be read.
    LocalIo,
    /// The mount that should be there is not.
    MountMissing,
    /// Nothing was configured to look at, or it was not looked at.
    NotLooked,
}

/// An observation. There is no default: "could not find out" is never "no".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Observed<T> {
    /// It was seen.
    Known(T),
    /// It could not be found out.
    Unknown(Cause),
}

impl<T> Observed<T> {
    /// The value, if known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Observed::Known(value) => Some(value),
            Observed::Unknown(_) => None,
        }
    }

    /// Shorthand for an unknown value.
    pub fn unknown(code: CauseCode, text: impl Into<String>) -> Self {
        Observed::Unknown(Cause { code, text: text.into(), hint: None })
    }
}

/// The local data dir.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum DataDir {
    /// There is no such directory.
    Absent,
    /// It holds no member.
    Empty,
    /// A WAL and a db, both readable.
    Healthy(LocalMember),
    /// Something of a member is there, and etcd must not start on it.
    Damaged {
        /// What is wrong.
        what: String,
        /// Whether there is a `member/` directory that would be in the way of a restored one.
        member_present: bool,
    },
    /// A member of somebody else: a copied directory.
    Foreign {
        /// How that was seen.
        what: String,
    },
    /// The db is locked: an etcd runs on it.
    InUse,
}

impl DataDir {
    /// Whether nothing of a member is there.
    pub fn is_void(&self) -> bool {
        matches!(self, DataDir::Absent | DataDir::Empty)
    }
}

/// The member in the local data dir.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalMember {
    /// Cluster that its WAL belongs to.
    pub cluster_id: ClusterId,
    /// Its own id.
    pub member_id: MemberId,
    /// Members in its db, as id and peer URLs.
    #[serde(default)]
    pub members: Vec<LocalVoter>,
    /// Its newest revision, if the db was read that far.
    #[serde(default)]
    pub revision: Option<i64>,
}

/// A member as the local db knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalVoter {
    /// Id.
    pub id: MemberId,
    /// Name; empty until it has published itself.
    #[serde(default)]
    pub name: String,
    /// Peer URLs.
    pub peer_urls: Vec<String>,
    /// Whether it is a learner.
    #[serde(default)]
    pub is_learner: bool,
}

/// A staging directory beside the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// The life that it was built for.
    pub generation: Generation,
    /// Nonce of the started mark that belongs to it.
    pub nonce: Nonce,
    /// Built, inspected and fsynced to the end.
    pub complete: bool,
}

/// What this host remembers, root-owned, outside the data dir.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The cluster, once this host has held or formed it.
    #[serde(default)]
    pub cluster: Option<ClusterName>,
    /// Highest generation ever seen in the store.
    #[serde(default)]
    pub highest_generation: Generation,
    /// Lives in which this host was allowed to start.
    #[serde(default)]
    pub started: Vec<Generation>,
    /// Ids of consumed requests and pins.
    #[serde(default)]
    pub consumed: Vec<String>,
    /// Mount point of the file system that the data dir was on when etcd was last allowed to start; none for the root's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir_mount: Option<String>,
    /// Whose the data dir was when etcd was last allowed to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir_owner: Option<DirOwner>,
    /// Whose a separate WAL dir was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_dir_owner: Option<DirOwner>,
    /// This host stands in the roll call: without data, or as one that has stopped for a request (k3s, rke2). Before it starts, it withdraws.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Nonce of the last started mark that this host tried to take. Its write may land long after it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark_tried: Option<Nonce>,
    /// Members that were moved aside for a plan, and have not joined anything since: only these may ever be put back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<Aside>,
}

/// A member that was moved aside for a plan. When that plan is taken back, it goes on where it stopped. Any other quarantined member may be years
/// old: what it has promised since, in votes and acknowledged writes, nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// The plan.
    pub generation: Generation,
    /// What `member/` is called now; a separate WAL lies in its directory under the same name.
    pub name: String,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its id there.
    pub member_id: MemberId,
}

/// Owner and permissions of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirOwner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// SELinux label, where there are such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Memory {
    /// Whether this host ever was part of a cluster.
    pub fn remembers_cluster(&self) -> bool {
        self.cluster.is_some() || self.highest_generation > Generation(0)
    }

    /// What was moved aside for a plan.
    pub fn aside_for(&self, plan: Generation) -> Option<&Aside> {
        self.aside.iter().find(|a| a.generation == plan)
    }
}

/// A cluster that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveCluster {
    /// Its id.
    pub cluster_id: ClusterId,
    /// Whether a linearizable read was answered.
    pub quorate: bool,
    /// Its members as it lists them.
    pub members: Vec<LocalVoter>,
    /// Members that answered themselves.
    pub answering: Vec<MemberId>,
}

/// What was seen of live etcd members.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Live {
    /// One entry per cluster id.
    pub clusters: Vec<LiveCluster>,
    /// Endpoints that gave no usable answer, with the cause.
    pub silent: Vec<SilentEndpoint>,
}

/// An endpoint that gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentEndpoint {
    /// Its URL.
    pub url: String,
    /// Why.
    pub cause: Cause,
}

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

/// A one-shot request to restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Consumed once per id.
    pub id: String,
    /// Name of a snapshot, or `latest`.
    pub snapshot: String,
    /// Where it was found, in words.
    pub found_in: String,
    /// What kind of place that is.
    #[serde(default)]
    pub source: RequestSource,
}

/// What carries a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestSource {
    /// A file, which is removed when the request is done.
    #[default]
    File,
    /// The kernel command line, which stays as it is.
    KernelCommandLine,
    /// A system credential, which stays as it is.
    Credential,
}

/// How etcd is going to be started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StartFlags {
    /// Where that was read.
    pub read_from: String,
    /// `--data-dir`.
    #[serde(default)]
    pub data_dir: Option<String>,
    /// `--wal-dir`.
    #[serde(default)]
    pub wal_dir: Option<String>,
    /// `--force-new-cluster`.
    #[serde(default)]
    pub force_new_cluster: bool,
    /// `--initial-cluster`.
    #[serde(default)]
    pub initial_cluster: Option<String>,
    /// `--initial-cluster-state`.
    #[serde(default)]
    pub initial_cluster_state: Option<String>,
    /// kubeadm: the static pod manifest is there.
    #[serde(default)]
    pub manifest_present: Option<bool>,
    /// The etcd that will start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<Observed<LocalEtcd>>,
}

/// The program that will start as etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalEtcd {
    /// Its version, as in `3.5.16`.
    pub version: String,
    /// What told that: a program, or a manifest.
    pub found_in: String,
}

/// What this run of the bootstrap has tried already.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attempts {
    /// The pending request (or forced plan) could not be fetched, verified or built: go on without it, loudly.
    #[serde(default)]
    pub request_failed: Option<String>,
    /// Snapshots that were found broken on the way to a plan.
    #[serde(default)]
    pub excluded: Vec<Excluded>,
}

/// All observations of one look around.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The data dir; read first.
    pub data_dir: Observed<DataDir>,
    /// The staging directory, if there is one.
    pub staging: Observed<Option<Staging>>,
    /// What this host remembers.
    pub memory: Observed<Memory>,
    /// Live members.
    pub live: Live,
    /// The store.
    pub store: Observed<StoreFacts>,
    /// The first one-shot request that is armed; unknown when any place that may hold one is.
    pub request: Observed<Option<Request>>,
    /// Further requests, in the order in which they count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_requested: Vec<Request>,
    /// What was seen where requests are looked for, and is not acted on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// How etcd will start.
    pub start: Observed<StartFlags>,
    /// This host's own note says that etcd was let start as a member that was added for it, and nowhere is a log: it had only begun to make its data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joined_without_log: bool,
    /// Seconds since this run began to wait.
    pub waited_seconds: u64,
    /// What this run has tried.
    #[serde(default)]
    pub attempts: Attempts,
}

impl Facts {
    /// All requests that are armed, in the order in which they count.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.request.known().into_iter().flatten().chain(&self.also_requested)
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
