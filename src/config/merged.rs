//! The merged configuration as plain values, every key present.
//!
//! It exists as the step between layers and [`super::settings`]: names and shapes are right, nothing has been compared
//! yet. It has no Debug, since some of its texts are secrets.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Merged {
    pub(super) cluster: Cluster,
    pub(super) node: Node,
    pub(super) etcd: Etcd,
    pub(super) store: Store,
    pub(super) schedule: Vec<Schedule>,
    pub(super) bootstrap: Bootstrap,
    pub(super) log: Log,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub(super) name: Option<String>,
    pub(super) token_file: String,
    #[serde(default)]
    pub(super) members: Vec<Member>,
    pub(super) expected_members: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) peer_urls: Vec<String>,
    pub(super) client_urls: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) state_dir: String,
    pub(super) compression_threads: usize,
    pub(super) scheduling: super::settings::Scheduling,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Etcd {
    pub(super) managed_by: super::settings::ManagedBy,
    pub(super) unit: String,
    pub(super) program: String,
    pub(super) reset_program: String,
    pub(super) data_dir: String,
    pub(super) wal_dir: String,
    pub(super) user: String,
    pub(super) endpoint: String,
    pub(super) ca_file: String,
    pub(super) cert_file: String,
    pub(super) key_file: String,
    pub(super) username: String,
    pub(super) password_file: String,
    pub(super) election_prefix: String,
    pub(super) manifest: String,
    pub(super) environment_file: String,
    pub(super) rate_limit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    pub(super) backend: String,
    pub(super) dir: Dir,
    pub(super) s3: S3,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dir {
    pub(super) path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct S3 {
    pub(super) endpoint: String,
    pub(super) bucket: String,
    pub(super) folder: String,
    pub(super) region: String,
    pub(super) insecure: bool,
    pub(super) path_style: bool,
    pub(super) rate_limit: String,
    pub(super) ca_file: String,
    pub(super) access_key: String,
    pub(super) access_key_file: String,
    pub(super) secret_key: String,
    pub(super) secret_key_file: String,
    pub(super) session_token: String,
    pub(super) session_token_file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedule {
    pub(super) name: String,
    pub(super) cron: String,
    pub(super) timezone: String,
    pub(super) run_on: super::settings::RunOn,
    pub(super) compression: crate::core::model::Compression,
    pub(super) jitter: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bootstrap {
    pub(super) autorestore: bool,
    pub(super) snapshot: String,
    pub(super) initial_cluster_state: super::settings::InitialClusterState,
    pub(super) peer_wait: String,
    pub(super) lost_after: String,
    pub(super) fallback: u32,
    pub(super) seed: String,
    pub(super) replace_damaged: bool,
    pub(super) bump_revision: u64,
    pub(super) state_dir: String,
    pub(super) request_file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) level: super::settings::LogLevel,
    pub(super) format: super::settings::LogFormat,
}
