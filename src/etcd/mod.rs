//! The live etcd, one endpoint at a time.
//!
//! It exists because the client library has no time limits of its own, balances at random over endpoints and tells failures apart by
//! text only. It decides nothing: what a member says is handed on. A client is built for each operation, so renewed
//! certificates and passwords count at once.

mod election;
mod errors;
mod peer;
mod stream;
mod tls;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, ConnectOptions, GetOptions, MemberAddOptions};
use secrecy::{ExposeSecret, SecretString};

use crate::config::ConfiguredFile;
use crate::core::model::{ClusterId, MemberId, Revision};
use crate::ports::{Etcd, EtcdError, EtcdErrorKind, EtcdResult, Member, MemberStatus, Membership, SnapshotStream};

pub use peer::PeerEndpoint;

/// Limits of every wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// TCP and TLS.
    pub connect: Duration,
    /// One call and its answer.
    pub call: Duration,
    /// HashKV reads the whole key space: seconds for each gigabyte.
    pub hash: Duration,
    /// Between two messages of the snapshot stream. The stream as a whole has no limit while bytes flow.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(10),
            hash: Duration::from_secs(300),
            stall: Duration::from_secs(30),
        }
    }
}

/// How to reach one member. Its Debug output holds no secret.
#[derive(Debug, Clone, Default)]
pub struct EndpointOptions {
    /// `https://127.0.0.1:2379` (`etcd.endpoint`).
    pub url: String,
    /// PEM file of the CA that signed etcd's certificate (`etcd.ca_file`).
    pub ca_file: Option<ConfiguredFile>,
    /// PEM files of our client certificate (`etcd.cert_file`) and its key (`etcd.key_file`).
    pub cert_and_key: Option<(ConfiguredFile, ConfiguredFile)>,
    /// User and password, where etcd's auth is on.
    pub login: Option<(String, SecretString)>,
    /// Limits of waiting.
    pub limits: Limits,
}

/// One etcd member behind [`Etcd`].
#[derive(Debug, Clone)]
pub struct EtcdEndpoint {
    options: EndpointOptions,
}

impl EtcdEndpoint {
    /// Does not connect.
    pub fn new(options: EndpointOptions) -> Self {
        EtcdEndpoint { options }
    }

    async fn client(&self, call: &str) -> EtcdResult<Client> {
        let o = &self.options;
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(o.limits.connect)
            .with_tcp_keepalive(Duration::from_secs(15))
            .with_keep_alive(Duration::from_secs(10), o.limits.stall);
        if let Some(tls) = tls::options(o)? {
            connect = connect.with_tls(tls);
        }
        let Some((user, password)) = &o.login else {
            return self.limited(call, o.limits.call, Client::connect([&o.url], Some(connect))).await;
        };
        let with_user = connect.clone().with_user(user, password.expose_secret());
        match self.limited(call, o.limits.call, Client::connect([&o.url], Some(with_user))).await {
            // A restore or an operator may have switched auth off; the configuration is then ahead of etcd, not wrong.
            Err(e) if e.text.contains(errors::AUTH_IS_OFF) => {
                self.limited(call, o.limits.call, Client::connect([&o.url], Some(connect))).await
            }
            other => other,
        }
    }

    async fn limited<T>(
        &self,
        call: &str,
        limit: Duration,
        future: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> EtcdResult<T> {
        match tokio::time::timeout(limit, future).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => Err(errors::explain(&self.options.url, call, &e)),
            Err(_) => Err(errors::no_answer(&self.options.url, call, limit)),
        }
    }

    fn incomplete(&self, call: &str) -> EtcdError {
        EtcdError {
            kind: EtcdErrorKind::Failed,
            text: format!("etcd {}: the answer to {call} has no header", self.options.url),
            hint: None,
        }
    }
}

/// The key of the linearizable read; nobody has it, and nothing of it is looked at.
const NO_KEY: &str = "\0lifeboat";

#[async_trait]
impl Etcd for EtcdEndpoint {
    fn endpoint(&self) -> &str {
        &self.options.url
    }

    async fn status(&self) -> EtcdResult<MemberStatus> {
        let call = "Status";
        let mut client = self.client(call).await?.maintenance_client();
        let s = self.limited(call, self.options.limits.call, client.status()).await?;
        let header = s.header().ok_or_else(|| self.incomplete(call))?;
        Ok(MemberStatus {
            cluster_id: ClusterId(header.cluster_id()),
            member_id: MemberId(header.member_id()),
            version: s.version().to_owned(),
            storage_version: Some(s.storage_version().to_owned()).filter(|v| !v.is_empty()),
            revision: Revision(header.revision()),
            db_size: u64::try_from(s.db_size()).unwrap_or_default(),
            raft_term: s.raft_term(),
            raft_index: s.raft_index(),
            leader: Some(s.leader()).filter(|id| *id != 0).map(MemberId),
            is_learner: s.is_learner(),
            errors: s.errors().to_vec(),
        })
    }

    async fn linearizable_read(&self) -> EtcdResult<Revision> {
        let call = "Range (linearizable)";
        let mut client = self.client(call).await?.kv_client();
        let read = client.get(NO_KEY, Some(GetOptions::new().with_count_only()));
        match self.limited(call, self.options.limits.call, read).await {
            Ok(answer) => answer.header().map(|h| Revision(h.revision())).ok_or_else(|| self.incomplete(call)),
            // etcd judges the permission only after it has asked the quorum (EtcdServer.Range: linearizableReadNotify, then
            // IsRangePermitted), and by then this member has applied all that the quorum knew.
            Err(e) if e.text.contains(errors::NO_PERMISSION) => self.status().await.map(|s| s.revision),
            Err(e) => Err(e),
        }
    }

    async fn members(&self) -> EtcdResult<Vec<Member>> {
        let call = "MemberList";
        let mut client = self.client(call).await?.cluster_client();
        let answer = self.limited(call, self.options.limits.call, client.member_list()).await?;
        Ok(answer.members().iter().map(member).collect())
    }

    async fn snapshot(&self) -> EtcdResult<Box<dyn SnapshotStream>> {
        let call = "Snapshot";
        let mut client = self.client(call).await?.maintenance_client();
        let stream = self.limited(call, self.options.limits.stall, client.snapshot()).await?;
        Ok(Box::new(stream::Stream::new(stream, self.options.url.clone(), self.options.limits.stall)))
    }

    async fn hash_kv(&self, revision: Revision) -> EtcdResult<(u32, Revision)> {
        let call = "HashKV";
        let mut client = self.client(call).await?.maintenance_client();
        let answer = self.limited(call, self.options.limits.hash, client.hash_kv(revision.0)).await?;
        Ok((answer.hash(), Revision(answer.compact_version())))
    }
}

fn member(m: &etcd_client::Member) -> Member {
    Member {
        id: MemberId(m.id()),
        name: m.name().to_owned(),
        peer_urls: m.peer_urls().to_vec(),
        client_urls: m.client_urls().to_vec(),
        is_learner: m.is_learner(),
    }
}

#[async_trait]
impl Membership for EtcdEndpoint {
    async fn add_learner(&self, peer_urls: &[String]) -> EtcdResult<(MemberId, Vec<Member>)> {
        let call = "MemberAdd (learner)";
        let mut client = self.client(call).await?.cluster_client();
        let add = client.member_add(peer_urls, Some(MemberAddOptions::new().with_is_learner()));
        let answer = self.limited(call, self.options.limits.call, add).await?;
        let added = answer.member().ok_or_else(|| self.incomplete(call))?;
        Ok((MemberId(added.id()), answer.member_list().iter().map(member).collect()))
    }

    async fn promote(&self, id: MemberId) -> EtcdResult<()> {
        let call = "MemberPromote";
        let mut client = self.client(call).await?.cluster_client();
        self.limited(call, self.options.limits.call, client.member_promote(id.0)).await.map(drop)
    }

    async fn remove(&self, id: MemberId) -> EtcdResult<()> {
        let call = "MemberRemove";
        let mut client = self.client(call).await?.cluster_client();
        self.limited(call, self.options.limits.call, client.member_remove(id.0)).await.map(drop)
    }
}
