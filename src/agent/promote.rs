//! A member that joined as a learner is made a voter when it has caught up.
//!
//! The gate ends before etcd starts, so that this is the agent's part. The voters are recorded before the change and confirmed after it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::catalog::changes::{Announced, Changes, voters_of};
use crate::catalog::plans::Plans;
use crate::core::model::Generation;
use crate::core::plan::Voter;
use crate::error::{Error, Kind, Result};
use crate::ports::{MemberStatus, Membership, Peer};
use crate::sys::random;

/// Between two looks at a member that votes.
const SELDOM: Duration = Duration::from_secs(30);
/// Between two tries while it is a learner, and while etcd does not answer.
const OFTEN: Duration = Duration::from_secs(3);
/// What failed for the same reason is said again after so many tries.
const SAID_EACH: u32 = 20;

/// Whom to ask for a promotion: a learner's own endpoint does not answer that.
#[derive(Clone)]
pub struct Promotion {
    /// Client endpoints of the other configured members.
    pub others: Vec<Arc<dyn Membership>>,
    /// This member's own peer ports: they tell where the others serve clients, also those that are in nobody's configuration.
    pub own: Vec<Arc<dyn Peer>>,
    /// Makes a client for such a URL.
    pub client: Arc<dyn Fn(&str) -> Option<Arc<dyn Membership>> + Send + Sync>,
    /// The configured members.
    pub members: Vec<Voter>,
}

/// Runs until `stop`.
pub(super) async fn run(parts: &Parts, stop: &CancellationToken) {
    let mut tries = 0u32;
    loop {
        let pause = match parts.etcd.status().await {
            Ok(status) if status.is_learner => {
                match promote(parts, &status).await {
                    Ok(()) => {
                        tracing::info!("member {} has caught up and is a voter now", status.member_id);
                        tries = 0;
                    }
                    Err(e) => {
                        if tries.is_multiple_of(SAID_EACH) {
                            tracing::warn!("this member is a learner and not a voter yet: {}", e.one_line());
                        }
                        tries = tries.saturating_add(1);
                    }
                }
                OFTEN
            }
            Ok(_) => SELDOM,
            // Whoever saves says why it does not answer.
            Err(_) => OFTEN,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.mul_f64(0.75 + 0.5 * random::fraction())) => {}
        }
    }
}

/// The configured ones first, then those that this member itself knows.
async fn others(promotion: &Promotion, me: &MemberStatus) -> Vec<Arc<dyn Membership>> {
    let mut all = promotion.others.clone();
    for port in &promotion.own {
        let Ok(answer) = port.ask().await else { continue };
        let others = answer.members.iter().filter(|m| m.id != me.member_id && !m.is_learner);
        for url in others.flat_map(|m| &m.client_urls) {
            if !all.iter().any(|e| e.endpoint() == url) {
                all.extend((promotion.client)(url));
            }
        }
    }
    all
}

async fn promote(parts: &Parts, me: &MemberStatus) -> Result<()> {
    let plans = Plans::new(parts.snapshots.records().clone());
    let (lives, _) = plans.history(Generation(0)).await?;
    let life = lives.iter().find(|l| l.cluster_id == me.cluster_id).ok_or_else(|| {
        Error::new(Kind::Refused, format!("cluster {} is in no plan of the store", me.cluster_id))
            .hint("type: lifeboat adopt")
    })?;
    let mut last = Error::new(Kind::Etcd, "no other member is configured to be asked");
    for other in &others(&parts.promotion, me).await {
        let asked = async {
            let theirs = other.status().await?;
            if theirs.cluster_id != me.cluster_id {
                return Err(Error::new(Kind::Etcd, format!("{} is of another cluster", other.endpoint())));
            }
            other.linearizable_read().await?;
            Ok(other.members().await?)
        };
        let members = match asked.await {
            Ok(members) => members,
            Err(e) => {
                last = e;
                continue;
            }
        };
        let Some(mine) = members.iter().find(|m| m.id == me.member_id) else {
            return Err(Error::new(Kind::Etcd, format!("{} does not list member {}", other.endpoint(), me.member_id)));
        };
        let before = voters_of(&members, &parts.promotion.members);
        let mut after = before.clone();
        let slot = Voter { name: parts.node.clone(), peer_urls: mine.peer_urls.clone() };
        if mine.is_learner {
            after.push(slot);
        }
        let changes = Changes { plans: &plans, generation: life.generation, me: &parts.node };
        if let Announced::Busy { by } = changes.announce(&after, &before, random::nonce()?).await? {
            return Err(Error::new(Kind::Etcd, format!("{by} is changing the members of the cluster: one at a time")));
        }
        crate::failpoint!("promote.announced");
        if mine.is_learner {
            other.promote(me.member_id).await?;
        }
        let now = voters_of(&other.members().await?, &parts.promotion.members);
        return changes.confirm(&now, random::nonce()?).await.map_err(Into::into);
    }
    Err(last)
}
