//! What this host itself shows: its disk, its memory, and how etcd will be started on it.

use super::Observed;
use serde::{Deserialize, Serialize};

use crate::core::model::{ClusterId, ClusterName, Generation, MemberId, Nonce};

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
