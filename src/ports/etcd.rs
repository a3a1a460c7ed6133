//! etcd: one member asked, its snapshot, elections and membership.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::core::model::{ClusterId, MemberId, Revision};
use crate::error::{Error, Kind};

/// What one member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Id of the cluster.
    pub cluster_id: ClusterId,
    /// Id of the member that answered.
    pub member_id: MemberId,
    /// etcd's version, as in `3.5.16`.
    pub version: String,
    /// Version of the storage format, from etcd 3.6 on.
    pub storage_version: Option<String>,
    /// Revision at the time of the answer.
    pub revision: Revision,
    /// Bytes that the db file takes.
    pub db_size: u64,
    /// Raft term.
    pub raft_term: u64,
    /// Raft index.
    pub raft_index: u64,
    /// Raft's leader; `None` when there is none (no quorum).
    pub leader: Option<MemberId>,
    /// Whether the member is a learner.
    pub is_learner: bool,
    /// What the member complains of (alarms, as text).
    pub errors: Vec<String>,
}

/// One entry of the live member list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Id.
    pub id: MemberId,
    /// Name; empty until the member has started once.
    pub name: String,
    /// Peer URLs.
    pub peer_urls: Vec<String>,
    /// Client URLs.
    pub client_urls: Vec<String>,
    /// Whether it is a learner.
    pub is_learner: bool,
}

/// Why a call to etcd failed, as far as callers act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EtcdErrorKind {
    /// No answer.
    Unreachable,
    /// TLS failed: wrong CA, expired, wrong name, client certificate refused.
    Tls,
    /// Auth is enabled and our user or certificate is missing or not allowed.
    Denied,
    /// It answered that it has no leader or timed out on consensus.
    NoQuorum,
    /// The stream broke, stalled or had a wrong digest.
    BrokenStream,
    /// Anything else it answered.
    Failed,
}

/// A failed call to etcd. The text names the endpoint and the call.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct EtcdError {
    /// What callers act on.
    pub kind: EtcdErrorKind,
    /// For people.
    pub text: String,
    /// What to type or change next.
    pub hint: Option<String>,
}

impl From<EtcdError> for Error {
    fn from(e: EtcdError) -> Self {
        let out = Error::new(Kind::Etcd, e.text);
        match e.hint {
            Some(hint) => out.hint(hint),
            None => out,
        }
    }
}

/// Short for a result of a call to etcd.
pub type EtcdResult<T> = std::result::Result<T, EtcdError>;

/// A running snapshot stream: the pieces of the file that `etcdctl snapshot save` would write, trailer included.
#[async_trait]
pub trait SnapshotStream: Send {
    /// The next piece; `None` at the end of the stream. A stall is an error.
    async fn next(&mut self) -> EtcdResult<Option<Bytes>>;

    /// Bytes of the whole file as announced by the first message, if it was read already.
    fn announced(&self) -> Option<u64>;
}

/// How a campaign is fought: under which key, as whom, and for how long after the last sign of life.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Key prefix of the election, for users whose role may not write everywhere.
    pub prefix: String,
    /// What others read as the holder's name.
    pub name: String,
    /// The office falls this long after its holder was last heard of.
    pub ttl: Duration,
}

/// etcd's own election: one holder at a time among all who campaign under a prefix. A lease, not a lock: who was elected may not be any more when
/// he acts, so nothing that must be exclusive rests on it.
#[async_trait]
pub trait Election: Send + Sync {
    /// Campaigns until elected, however long that takes; an error ends it. Dropping the future withdraws.
    async fn campaign(&self, campaign: &Campaign) -> EtcdResult<Box<dyn Office>>;

    /// The name of the holder; `None` when there is none.
    async fn holder(&self, prefix: &str) -> EtcdResult<Option<String>>;
}

/// An office that was won.
#[async_trait]
pub trait Office: Send {
    /// Keeps it; returns when it is lost, and says why. May be cancelled and called again.
    async fn lost(&mut self) -> EtcdError;

    /// Gives it up, so that another is elected at once.
    async fn resign(self: Box<Self>);
}

/// What became of a learner that was to be promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promoted {
    /// It votes now.
    Done,
    /// It has not caught up with the leader, or too few voters are healthy: later.
    NotYet,
}

/// Learners become voters.
#[async_trait]
pub trait Learners: Send + Sync {
    /// Promotes a learner that has caught up; etcd itself judges that.
    async fn promote_learner(&self, learner: MemberId) -> EtcdResult<Promoted>;
}

/// One etcd endpoint. Every call has a time limit.
#[async_trait]
pub trait Etcd: Send + Sync {
    /// The endpoint's URL, for messages.
    fn endpoint(&self) -> &str;

    /// Maintenance.Status of this member (answered also without quorum).
    async fn status(&self) -> EtcdResult<MemberStatus>;

    /// A linearizable read of no key: succeeds only in a quorate cluster.
    async fn linearizable_read(&self) -> EtcdResult<Revision>;

    /// The members, as this endpoint lists them (linearizable where the server can).
    async fn members(&self) -> EtcdResult<Vec<Member>>;

    /// Maintenance.Snapshot of this member.
    async fn snapshot(&self) -> EtcdResult<Box<dyn SnapshotStream>>;

    /// Maintenance.HashKV at `revision`: (hash, compact revision).
    async fn hash_kv(&self, revision: Revision) -> EtcdResult<(u32, Revision)>;
}

/// Changes of who is a member, asked of one endpoint.
#[async_trait]
pub trait Membership: Etcd {
    /// Adds a learner with these peer URLs. Its id, and the members from then on.
    async fn add_learner(&self, peer_urls: &[String]) -> EtcdResult<(MemberId, Vec<Member>)>;

    /// Makes a learner that has caught up a voter.
    async fn promote(&self, id: MemberId) -> EtcdResult<()>;

    /// Removes a member.
    async fn remove(&self, id: MemberId) -> EtcdResult<()>;
}

/// What a member says on its peer port, where it also answers without quorum and before it serves clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAnswer {
    /// Id of its cluster.
    pub cluster_id: ClusterId,
    /// The members as this one knows them; it may lag behind.
    pub members: Vec<Member>,
}

/// The peer port of one member. The call has a time limit.
#[async_trait]
pub trait Peer: Send + Sync {
    /// The peer URL.
    fn url(&self) -> &str;

    /// Who answers there.
    async fn ask(&self) -> EtcdResult<PeerAnswer>;
}
