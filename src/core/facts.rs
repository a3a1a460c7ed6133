//! All that a bootstrap decision may look at.
//!
//! Every observation is `Known` or `Unknown`. Silence, time-outs, refusals and parse errors are `Unknown`; "absent" is a `Known` value that needs
//! positive evidence. Facts can be written to a file and replayed.

mod host;
mod store;

use serde::{Deserialize, Serialize};

pub use host::{Aside, DataDir, DirOwner, LocalEtcd, LocalMember, LocalVoter, Memory, Staging, StartFlags};
pub use store::{
    Configuration, HeartbeatFact, Life, PlanFacts, ROLL_CALL_TTL_SECONDS, RollEntry, RollState, StoreFacts,
};

use super::model::{ClusterId, MemberId};
use super::plan::Excluded;

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
