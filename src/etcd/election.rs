//! etcd's own election API behind [`Election`], and the promotion of learners.
//!
//! The lease is kept alive while the campaign waits, so that a candidate stays in the queue without writing again. Whatever ends the stream of
//! keep-alives ends the office: to think oneself elected for too long is worse than to campaign again.

use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, LeaderKey, LeaseKeepAliveStream, LeaseKeeper, ResignOptions};

use super::{EtcdEndpoint, errors};
use crate::ports::{Campaign, Election, EtcdError, EtcdErrorKind, EtcdResult, Learners, Office, Promoted};

/// The lease is renewed this many times in its life.
const RENEWALS: u32 = 3;

/// etcd's words for "nobody holds it".
const NO_LEADER: &str = "election: no leader";
/// etcd's words (`rpctypes/error.go`): no learner any more; a learner that lags; a cluster that is too unwell to be changed.
const VOTES_ALREADY: &str = "can only promote a learner member";
const NOT_YET: [&str; 3] = ["in sync with leader", "unhealthy cluster", "not enough started members"];

struct Lease {
    id: i64,
    ttl: Duration,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

impl Lease {
    async fn grant(endpoint: &EtcdEndpoint, client: &Client, ttl: Duration) -> EtcdResult<Lease> {
        let limit = endpoint.options.limits.call;
        let mut leases = client.lease_client();
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let id = endpoint.limited("LeaseGrant", limit, leases.grant(seconds, None)).await?.id();
        let (keeper, answers) = endpoint.limited("LeaseKeepAlive", limit, leases.keep_alive(id)).await?;
        Ok(Lease { id, ttl, keeper, answers })
    }

    /// Keeps it alive; returns when that fails.
    async fn lost(&mut self, url: &str) -> EtcdError {
        let call = "LeaseKeepAlive";
        let gone = |why: &str| EtcdError {
            kind: EtcdErrorKind::Failed,
            text: format!("etcd {url}: the lease of the election is lost: {why}"),
            hint: None,
        };
        loop {
            if let Err(e) = self.keeper.keep_alive().await {
                return errors::explain(url, call, &e);
            }
            match tokio::time::timeout(self.ttl / 2, self.answers.message()).await {
                Err(_) => return errors::no_answer(url, call, self.ttl / 2),
                Ok(Err(e)) => return errors::explain(url, call, &e),
                Ok(Ok(None)) => return gone("etcd closed the stream"),
                Ok(Ok(Some(answer))) if answer.ttl() <= 0 => return gone("it has expired"),
                Ok(Ok(Some(_))) => {}
            }
            tokio::time::sleep(self.ttl / RENEWALS).await;
        }
    }
}

struct Held {
    endpoint: EtcdEndpoint,
    client: Client,
    lease: Lease,
    key: LeaderKey,
}

#[async_trait]
impl Office for Held {
    async fn lost(&mut self) -> EtcdError {
        self.lease.lost(&self.endpoint.options.url).await
    }

    async fn resign(self: Box<Self>) {
        let limit = self.endpoint.options.limits.call;
        let options = ResignOptions::new().with_leader(self.key.clone());
        let (mut election, mut leases) = (self.client.election_client(), self.client.lease_client());
        let resigned = self.endpoint.limited("Resign", limit, election.resign(Some(options)));
        // Where it fails, the lease runs out by itself.
        if let Err(e) = resigned.await {
            tracing::debug!("{e}");
        }
        let revoked = self.endpoint.limited("LeaseRevoke", limit, leases.revoke(self.lease.id));
        if let Err(e) = revoked.await {
            tracing::debug!("{e}");
        }
    }
}

#[async_trait]
impl Election for EtcdEndpoint {
    async fn campaign(&self, campaign: &Campaign) -> EtcdResult<Box<dyn Office>> {
        let call = "Campaign";
        let client = self.client(call).await?;
        let mut lease = Lease::grant(self, &client, campaign.ttl).await?;
        let mut election = client.election_client();
        let won = tokio::select! {
            won = election.campaign(campaign.prefix.as_str(), campaign.name.as_str(), lease.id) => won,
            lost = lease.lost(&self.options.url) => return Err(lost),
        };
        let won = won.map_err(|e| errors::explain(&self.options.url, call, &e))?;
        let key = won.leader().cloned().ok_or_else(|| self.incomplete(call))?;
        Ok(Box::new(Held { endpoint: self.clone(), client, lease, key }))
    }

    async fn holder(&self, prefix: &str) -> EtcdResult<Option<String>> {
        let call = "Leader (of the election)";
        let mut election = self.client(call).await?.election_client();
        match self.limited(call, self.options.limits.call, election.leader(prefix)).await {
            Ok(answer) => Ok(answer.kv().map(|kv| String::from_utf8_lossy(kv.value()).into_owned())),
            Err(e) if e.text.contains(NO_LEADER) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[async_trait]
impl Learners for EtcdEndpoint {
    async fn promote_learner(&self, learner: crate::core::model::MemberId) -> EtcdResult<Promoted> {
        let call = "MemberPromote";
        let mut client = self.client(call).await?.cluster_client();
        match self.limited(call, self.options.limits.call, client.member_promote(learner.0)).await {
            Ok(_) => Ok(Promoted::Done),
            // Somebody else was faster.
            Err(e) if e.text.contains(VOTES_ALREADY) => Ok(Promoted::Done),
            Err(e) if NOT_YET.iter().any(|words| e.text.contains(words)) => Ok(Promoted::NotYet),
            Err(e) => Err(e),
        }
    }
}
