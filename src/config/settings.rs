//! The settings: validated and typed, defaults applied. What the rest of the crate sees of the configuration.
//!
//! It exists so that no other module parses a text or knows a default. It may not read files.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

pub use crate::core::decide::ManagedBy;
use crate::core::model::{ClusterName, Compression, NodeName};
use crate::core::schedule::Schedule;
use crate::error::{Error, Kind, Result};

use super::ConfiguredFile;
use super::secret::SecretSource;

/// A shorter cluster token could be guessed by who reads the store.
const SHORTEST_TOKEN: usize = 16;

/// Everything that is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[node]`
    pub node: Node,
    /// `[etcd]`
    pub etcd: Etcd,
    /// `[store]`
    pub store: Store,
    /// `[[schedule]]`, names unique, in the order of the files.
    pub schedules: Vec<ScheduleSettings>,
    /// `[bootstrap]`
    pub bootstrap: Bootstrap,
    /// `[log]`
    pub log: Log,
}

impl Settings {
    /// Every file that holds a secret, a certificate or a key.
    pub fn named_files(&self) -> Vec<&ConfiguredFile> {
        let mut secrets = vec![&self.cluster.token_file];
        let mut files = Vec::new();
        files.extend(&self.etcd.ca_file);
        if let Some(certificate) = &self.etcd.client_certificate {
            files.extend([&certificate.cert_file, &certificate.key_file]);
        }
        secrets.extend(self.etcd.login.as_ref().map(|login| &login.password));
        if let Store::S3(s3) = &self.store {
            files.extend(&s3.ca_file);
            if let Some(c) = &s3.credentials {
                secrets.extend([&c.access_key, &c.secret_key]);
                secrets.extend(&c.session_token);
            }
        }
        secrets.into_iter().filter_map(SecretSource::file).chain(files).collect()
    }
}

/// `[cluster]`: what all hosts of the control plane share.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The cluster's name.
    pub name: ClusterName,
    /// Where the cluster token is; see [`Cluster::token`].
    pub token_file: SecretSource,
    /// One entry per control-plane host, at least one; names and URLs are unique.
    pub members: Vec<ConfiguredMember>,
    /// Hosts come and go by design: so many make a cluster, and `members` holds this host alone.
    pub expected_members: Option<u32>,
}

impl Cluster {
    /// The cluster token, read anew.
    ///
    /// # Errors
    /// When its file cannot be used (see [`SecretSource::read`]), or the token has fewer than 16 characters.
    pub fn token(&self) -> Result<SecretString> {
        let token = self.token_file.read()?;
        if token.expose_secret().chars().count() < SHORTEST_TOKEN {
            let text = format!("the cluster token in {:?} has fewer than {SHORTEST_TOKEN} characters", self.token_file);
            return Err(Error::new(Kind::Config, text)
                .hint("on one host: head -c 32 /dev/urandom | base64 > FILE, then copy FILE to the others"));
        }
        Ok(token)
    }

    /// The configured member of this name.
    pub fn member(&self, name: &NodeName) -> Option<&ConfiguredMember> {
        self.members.iter().find(|m| m.name == *name)
    }
}

/// One control-plane host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredMember {
    /// Name of the host and of its etcd member.
    pub name: NodeName,
    /// Where the other members reach it; at least one. What was written, but for a slash at the end.
    pub peer_urls: Vec<Url>,
    /// Where clients reach it; at least one.
    pub client_urls: Vec<Url>,
}

/// `[node]`: this host.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name, one of `cluster.members`.
    pub name: NodeName,
    /// Spool and history of the agent.
    pub state_dir: PathBuf,
    /// Threads that compress a snapshot; 0: by the number of processors.
    pub compression_threads: usize,
    /// How the work on snapshots shares the processor.
    pub scheduling: Scheduling,
}

impl Node {
    /// Where snapshots lie until they are in the store.
    pub fn spool_dir(&self) -> PathBuf {
        self.state_dir.join("spool")
    }
}

/// How the work on snapshots shares the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduling {
    /// What nothing else wants.
    Idle,
    /// What other batch work gets.
    Batch,
    /// Its full share.
    Normal,
}

/// `[etcd]`: the local member.
#[derive(Debug, Clone)]
pub struct Etcd {
    /// What starts it.
    pub managed_by: ManagedBy,
    /// The systemd unit that starts it, and that waits for the gate.
    pub unit: String,
    /// etcd itself, to be asked for its version; none: what the unit starts.
    pub program: Option<PathBuf>,
    /// The program that restores on k3s and rke2; empty: that of `managed_by`, as it is found in PATH.
    pub reset_program: String,
    /// Its data dir; `member/` is inside. Its owner is that of etcd.
    pub data_dir: PathBuf,
    /// A WAL dir outside of the data dir.
    pub wal_dir: Option<PathBuf>,
    /// Whom it runs as, for a data dir that has to be made; none: whom that belonged to before.
    pub user: Option<EtcdUser>,
    /// Its client URL.
    pub endpoint: Url,
    /// CA of its certificate.
    pub ca_file: Option<ConfiguredFile>,
    /// Our client certificate and its key.
    pub client_certificate: Option<ClientCertificate>,
    /// User and password, when etcd has authentication on.
    pub login: Option<Login>,
    /// What the bootstrap writes for etcd to start with.
    pub environment_file: PathBuf,
    /// Key prefix in etcd under which one member is elected to take the snapshots.
    pub election_prefix: String,
    /// kubeadm: the static pod manifest of etcd. Without it this host is no control plane yet.
    pub manifest: PathBuf,
    /// Bytes per second that a snapshot reads from it, at most.
    pub rate_limit: Option<NonZeroU64>,
}

/// The user that etcd runs as: a name, or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdUser(String);

impl EtcdUser {
    /// A name, or a number. It is not looked up yet.
    pub fn new(text: &str) -> Self {
        EtcdUser(text.to_owned())
    }

    /// Its uid and the gid of its primary group, looked up now. A number that is no user of this host has the group of the same number.
    ///
    /// # Errors
    /// When there is no such user, or users cannot be looked up.
    pub fn ids(&self) -> Result<(u32, u32)> {
        use nix::unistd::{Uid, User};
        let text = &self.0;
        let number: Option<u32> = text.parse().ok();
        let found = match number {
            Some(uid) => User::from_uid(Uid::from_raw(uid)),
            None => User::from_name(text),
        };
        match (found, number) {
            (Ok(Some(user)), _) => Ok((user.uid.as_raw(), user.gid.as_raw())),
            (Ok(None), Some(uid)) => Ok((uid, uid)),
            (Ok(None), None) => Err(Error::new(Kind::Config, format!("etcd.user is {text:?}, and this host has no such user"))
                .hint("correct etcd.user ('systemctl show -p User etcd' tells whom etcd runs as), or leave it empty: getent passwd lists the users")),
            (Err(e), _) => Err(Error::new(Kind::Io, format!("etcd.user is {text:?}, and the users of this host cannot be looked up"))
                .caused_by(std::io::Error::from(e))
                .hint("getent passwd tries the same; a number (uid) in etcd.user needs no user database")),
        }
    }
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM, may be a chain.
    pub cert_file: ConfiguredFile,
    /// PEM.
    pub key_file: ConfiguredFile,
}

/// A user of etcd.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: SecretSource,
}

/// `[store]`: where snapshots go.
#[derive(Debug, Clone)]
pub enum Store {
    /// A directory.
    Dir {
        /// The folder of this cluster.
        path: PathBuf,
    },
    /// S3 or something that speaks it.
    S3(Box<S3>),
}

/// `[store.s3]`
#[derive(Debug, Clone)]
pub struct S3 {
    /// Scheme, host and, if it is not the usual one, port.
    pub endpoint: Url,
    /// The bucket.
    pub bucket: String,
    /// Key prefix of this cluster, without slashes at its ends; never empty.
    pub folder: String,
    /// The region that requests are signed for.
    pub region: String,
    /// `https://host/bucket` rather than `https://bucket.host`.
    pub path_style: bool,
    /// Bytes per second to and from the store, at most.
    pub rate_limit: Option<NonZeroU64>,
    /// CA of the endpoint, instead of the system's.
    pub ca_file: Option<ConfiguredFile>,
    /// `None`: environment, profile or instance role.
    pub credentials: Option<S3Credentials>,
}

/// Static credentials.
#[derive(Debug, Clone)]
pub struct S3Credentials {
    /// Access key id.
    pub access_key: SecretSource,
    /// Secret access key.
    pub secret_key: SecretSource,
    /// Of temporary credentials.
    pub session_token: Option<SecretSource>,
}

/// Which members take the snapshots of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOn {
    /// One per cluster, elected.
    OneMember,
    /// Each of them.
    EveryMember,
}

/// One `[[schedule]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSettings {
    /// Its name, which is also the prefix of its snapshots' names.
    pub name: String,
    /// When it fires.
    pub schedule: Schedule,
    /// Who runs it.
    pub run_on: RunOn,
    /// Compression of its snapshots.
    pub compression: Compression,
    /// Runs start up to this long after their slot, each host at its own share; shorter than any gap between slots.
    pub jitter: Duration,
}

/// etcd's `--initial-cluster-state`, as the answer to "may an empty cluster be formed?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitialClusterState {
    /// Where nothing is remembered, a new cluster may be formed.
    New,
    /// Never.
    Existing,
}

/// Which snapshot a restore takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotChoice {
    /// The best eligible one.
    Latest,
    /// This one, never another.
    Named(crate::core::model::SnapshotName),
}

/// `[bootstrap]`: what may happen before etcd starts.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Whether a lost control plane is restored without asking.
    pub autorestore: bool,
    /// What is restored.
    pub snapshot: SnapshotChoice,
    /// Whether an empty cluster may be formed.
    pub initial_cluster_state: InitialClusterState,
    /// How long to wait for the other members.
    pub peer_wait: Duration,
    /// With `expected_members`: a cluster that has given no sign for so long counts as lost.
    pub lost_after: Duration,
    /// How many steps back from a broken snapshot are allowed.
    pub fallback: u32,
    /// The only host that may write plans.
    pub seed: Option<NodeName>,
    /// Whether a damaged data dir is quarantined when a live cluster can be joined.
    pub replace_damaged: bool,
    /// Revisions are raised by this much in forced and automatic restores.
    pub bump_revision: u64,
    /// Root-owned memory of this host.
    pub state_dir: PathBuf,
    /// The one-shot request.
    pub request_file: PathBuf,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the usual levels")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Where and how is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal when stderr is connected to it, else text on stderr.
    Auto,
    /// Lines for people, on stderr.
    Text,
    /// One JSON object a line, on stderr.
    Json,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least level that is logged.
    pub level: LogLevel,
    /// Where and how.
    pub format: LogFormat,
}
