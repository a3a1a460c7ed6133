//! Joining a live cluster: with the data of its plan, or in the place of this slot's old member.
//!
//! Mark first; the voters are recorded before each change; one change at a time, and none that the cluster could not bear. After a crash at any step the
//! next run takes it up from what the live members list, never from what this host believes, with one exception: whether the learner that it added
//! was ever allowed to start. A learner that may have started has a log that is lost, so it is removed and added anew.

use futures::future::join_all;
use tokio::time::timeout;

use super::apply::{Step, StepResult};
use super::gather::ENDPOINT_LIMIT;
use super::joining::Joining;
use super::run::Bootstrap;
use super::{Endpoint, discover, environment, staging};
use crate::catalog::changes::{Announced, Changes};
use crate::catalog::records::Created;
use crate::core::decide::{Decision, JoinHow, decide};
use crate::core::facts::{Facts, LiveCluster};
use crate::core::model::{ClusterId, Generation};
use crate::core::peer_url;
use crate::core::plan::{MarkUse, Plan, Voter, majority};
use crate::core::voters;
use crate::datadir::ids;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::ports::Member;
use crate::snapshot::adoption::local_voters;
use crate::sys::random;

/// The voters among live members, as plans know them.
fn voters_of(members: &[Member], known: &[Voter]) -> Result<Vec<Voter>> {
    let found = voters::of_members(&local_voters(members.to_vec()), known);
    found.ok_or_else(|| Error::new(Kind::Etcd, "the cluster lists no voters: nothing is changed on such a list"))
}

/// The cluster that rule L1 has seen, and its life.
fn target(facts: &Facts) -> Option<(&LiveCluster, Generation)> {
    let cluster = facts.live.clusters.iter().find(|c| c.quorate)?;
    Some((cluster, facts.store.known()?.life_of(cluster.cluster_id)?.generation))
}

impl Bootstrap {
    /// Joins the live cluster.
    pub(super) async fn join(&self, how: JoinHow, facts: &Facts) -> StepResult {
        let Some((cluster, generation)) = target(facts) else { return Ok(Step::Lost) };
        if self.settings.policy.managed_by.resets_one_node() {
            return self.join_by_itself(how, generation, facts).await;
        }
        if how == JoinHow::WithPlanData && self.plan_data_fits(generation, cluster).await? {
            let decision = Decision::Join { how };
            match self.apply(generation, facts, &decision, MarkUse::Join).await {
                // The plan's snapshot is gone or broken, nothing was marked: the live members have the data, too.
                Err(failed) if !failed.marked && matches!(failed.error.kind(), Kind::Verification | Kind::NotFound) => {
                    self.say(&format!("{}; joining without the plan's data", failed.error.one_line()));
                }
                done => return done,
            }
        }
        self.replace_member(how, generation, facts).await
    }

    /// Whether the member that a data dir of the plan would hold still votes in the cluster.
    async fn plan_data_fits(&self, generation: Generation, cluster: &LiveCluster) -> Result<bool> {
        let Some(plan) = self.plans().plan(generation).await? else { return Ok(false) };
        // Ids are made of the very text that stands in the plan.
        let Some(mine) = plan.voters.iter().find(|v| v.name == self.settings.policy.node) else { return Ok(false) };
        let me = ids::member_id(&mine.peer_urls, &plan.token);
        Ok(cluster.members.iter().any(|m| m.id == me && !m.is_learner))
    }

    /// k3s and rke2 add their member themselves when they start with nothing and know a server of the cluster.
    async fn join_by_itself(&self, how: JoinHow, generation: Generation, facts: &Facts) -> StepResult {
        if self.still(how, facts).await?.is_none() {
            return Ok(Step::Lost);
        }
        self.mark_for_join(generation).await?;
        self.memory.started(&self.settings.cluster, generation)?;
        self.say(&format!("{} adds this host to the live cluster by itself", self.settings.policy.managed_by.unit()));
        Ok(Step::MayStart)
    }

    /// Out of the roll call, and one more look: is it still the same cluster to join in the same way? What follows rests on what was seen now: the
    /// look before may be minutes old.
    async fn still(&self, how: JoinHow, facts: &Facts) -> Result<Option<Facts>> {
        self.withdraw(facts).await?;
        let now = self.look(facts.waited_seconds, facts.attempts.clone(), None).await;
        let again = decide(&now, &self.settings.policy);
        let same = target(&now).map(|t| (t.0.cluster_id, t.1)) == target(facts).map(|t| (t.0.cluster_id, t.1));
        let same = same && again.decision == (Decision::Join { how });
        if !same {
            self.say(&format!(
                "the situation changed before this host joined (now rule {}): looking again",
                again.rule
            ));
        }
        Ok(same.then_some(now))
    }

    /// From here on this slot never starts in this life with a log that is made from the plan.
    async fn mark_for_join(&self, generation: Generation) -> Result<()> {
        let mark = self.mark(generation, &self.settings.policy.node, MarkUse::Join, random::nonce()?);
        // Whoever took it, and for what: it is taken.
        let _: Created = self.plans().take_mark(&mark).await?;
        self.memory.nothing_aside()?;
        failpoint!("join.marked");
        Ok(())
    }

    /// Removes this slot's old member, adds a learner in its place, and lets etcd start as that.
    async fn replace_member(&self, how: JoinHow, generation: Generation, facts: &Facts) -> StepResult {
        let settings = &self.settings;
        let Some(facts) = &self.still(how, facts).await? else { return Ok(Step::Lost) };
        let Some((cluster, _)) = target(facts) else { return Ok(Step::Lost) };
        self.mark_for_join(generation).await?;
        self.memory.started(&settings.cluster, generation)?;
        let plan =
            self.plans().plan(generation).await?.ok_or_else(|| {
                Error::new(Kind::Store, format!("plan {generation} was there a moment ago and is gone"))
            })?;
        let etcd = self.quorate_member(cluster.cluster_id, facts).await?;
        let members = etcd.members().await?;
        let (mine, others): (Vec<Member>, Vec<Member>) = members.into_iter().partition(|m| self.is_mine(m));
        let note = Joining::read(&settings.state_dir)?;
        let resumable = |m: &Member| {
            m.is_learner
                && peer_url::same_set(&m.peer_urls, settings.policy.peer_urls())
                && note
                    .as_ref()
                    .is_some_and(|n| !n.released && (n.cluster_id, n.member_id) == (cluster.cluster_id, m.id))
        };
        let (id, members) = match mine.as_slice() {
            [added] if resumable(added) => (added.id, [others, mine.clone()].concat()),
            _ => {
                if let Some(other) = others.iter().find(|m| m.is_learner) {
                    return Err(Error::new(
                        Kind::Refused,
                        format!(
                            "the cluster takes one new member at a time, and the learner {} ({}) has not been promoted yet",
                            other.id,
                            other.peer_urls.join(",")
                        ),
                    )
                    .hint(format!(
                        "the agent of the elected voter promotes it when it has caught up, so let 'lifeboat agent' run on the voters; if that host is gone: \
                         etcdctl member remove {}",
                        other.id
                    ))
                    .into());
                }
                for old in &mine {
                    if self.remove_old(&etcd, old, &plan, cluster).await? == Step::Lost {
                        return Ok(Step::Lost);
                    }
                }
                failpoint!("join.removed");
                let (id, members) = etcd.add_learner(settings.policy.peer_urls()).await?;
                failpoint!("join.added");
                Joining { cluster_id: cluster.cluster_id, generation, member_id: id, released: false }
                    .write(&settings.state_dir)?;
                (id, members)
            }
        };
        let slots = self.known_slots(&plan);
        let name = |m: &Member| {
            if m.id == id { settings.policy.node.to_string() } else { slot_name(m, &slots) }
        };
        let one = |m: &Member| m.peer_urls.iter().map(|u| format!("{}={u}", name(m))).collect::<Vec<_>>().join(",");
        let initial_cluster = members.iter().map(one).collect::<Vec<_>>().join(",");
        staging::clean(settings)?;
        self.own_dirs(facts)?;
        // Before etcd may start with this id: from now on the learner may have a log.
        Joining { cluster_id: cluster.cluster_id, generation, member_id: id, released: true }
            .write(&settings.state_dir)?;
        failpoint!("join.released");
        if let Some(path) = &settings.environment_file {
            environment::write_joining(path, &settings.policy, &initial_cluster)?;
        }
        failpoint!("join.environment");
        self.say(&format!(
            "this host joins cluster {} as the learner {id}; the agent of the elected voter makes it a voter when it has caught up",
            cluster.cluster_id
        ));
        Ok(Step::MayStart)
    }

    /// Whether a listed member is this slot's: by its URLs, or by its name.
    fn is_mine(&self, m: &Member) -> bool {
        let policy = &self.settings.policy;
        m.name == policy.node.as_str() || peer_url::share_one(&m.peer_urls, policy.peer_urls())
    }

    fn known_slots(&self, plan: &Plan) -> Vec<Voter> {
        let mut known = self.settings.policy.members.clone();
        known.extend(
            plan.voters.iter().filter(|v| !self.settings.policy.members.iter().any(|m| m.name == v.name)).cloned(),
        );
        known
    }

    /// The first member of this cluster that answers a linearizable read now.
    async fn quorate_member(&self, cluster: ClusterId, facts: &Facts) -> Result<Endpoint> {
        let found = discover::recorded(&self.reach, &self.settings.policy, &facts.store, ENDPOINT_LIMIT).await;
        for endpoint in self.endpoints.iter().chain(&found.endpoints) {
            if endpoint.status().await.is_ok_and(|s| s.cluster_id == cluster && !s.is_learner)
                && endpoint.linearizable_read().await.is_ok()
            {
                return Ok(endpoint.clone());
            }
        }
        Err(Error::new(Kind::Etcd, format!("no member of cluster {cluster} answers with quorum any more")))
    }

    /// Whether a member answers where it has told the cluster that it does. This host asks nobody at the URLs that are configured as its own; on a
    /// host that runs as another one (a copied configuration), these are that one's.
    async fn lives(&self, m: &Member, cluster: ClusterId) -> bool {
        let clients = m.client_urls.iter().filter_map(|url| (self.reach.client)(url)).map(|etcd| async move {
            timeout(ENDPOINT_LIMIT, etcd.status()).await.is_ok_and(|s| s.is_ok_and(|s| s.member_id == m.id))
        });
        let peers = m.peer_urls.iter().filter_map(|url| (self.reach.peer)(url)).map(|port| async move {
            timeout(ENDPOINT_LIMIT, port.ask()).await.is_ok_and(|a| a.is_ok_and(|a| a.cluster_id == cluster))
        });
        let (clients, peers) = tokio::join!(join_all(clients), join_all(peers));
        clients.into_iter().chain(peers).any(|answers| answers)
    }

    /// A member that lives is another host's, whatever it is called: refused. It is asked right before it would be removed, since it may have come back
    /// after every look.
    async fn refuse_the_living(&self, old: &Member, cluster: &LiveCluster) -> Result<()> {
        if !cluster.answering.contains(&old.id) && !self.lives(old, cluster.cluster_id).await {
            return Ok(());
        }
        Err(Error::new(
            Kind::Refused,
            format!(
                "member {} ({}, {}) answers, and has the name or the peer URLs of this host: it is not removed",
                old.id,
                old.name,
                old.peer_urls.join(",")
            ),
        )
        .hint("correct node.name and cluster.members: another host runs as this one"))
    }

    /// Removes this slot's old member, if the cluster can bear that.
    async fn remove_old(&self, etcd: &Endpoint, old: &Member, plan: &Plan, cluster: &LiveCluster) -> Result<Step> {
        let policy = &self.settings.policy;
        self.refuse_the_living(old, cluster).await?;
        let known = self.known_slots(plan);
        let members = etcd.members().await?;
        let before = voters_of(&members, &known)?;
        let left: Vec<Member> = members.into_iter().filter(|m| m.id != old.id).collect();
        let after = voters_of(&left, &known)?;
        let changes = Changes { plans: &self.plans(), generation: plan.generation, me: &policy.node };
        if !old.is_learner {
            let voters = left.iter().filter(|m| !m.is_learner);
            let up = voters.clone().filter(|m| cluster.answering.contains(&m.id)).count();
            let needed = majority(voters.count());
            if up < needed {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "without the lost member {} the cluster would have {up} voters that answer, and needs {needed}: it is not removed yet",
                        old.id
                    ),
                )
                .hint("start the other hosts first; this one then joins by itself"));
            }
            match changes.announce(&after, &before, random::nonce()?).await? {
                Announced::Ready => {}
                Announced::Busy { by } => {
                    return Err(Error::new(
                        Kind::Etcd,
                        format!("{by} is changing the members of the cluster: one at a time"),
                    )
                    .hint("this host goes on by itself when that is done"));
                }
            }
            failpoint!("join.announced");
            // Announcing takes time, and a host may be stopped for minutes in between.
            self.refuse_the_living(old, cluster).await?;
            if !changes.is_last(&after).await? {
                self.say("another host has changed the members of the cluster meanwhile: looking again");
                return Ok(Step::Lost);
            }
        }
        etcd.remove(old.id).await?;
        self.say(&format!("removed this host's old member {} from cluster {}", old.id, cluster.cluster_id));
        if !old.is_learner {
            let now = voters_of(&etcd.members().await?, &known)?;
            changes.confirm(&now, random::nonce()?).await?;
        }
        Ok(Step::Done)
    }
}

/// A name for `ETCD_INITIAL_CLUSTER`; etcd compares the URLs alone.
fn slot_name(m: &Member, slots: &[Voter]) -> String {
    let by_url = slots.iter().find(|v| peer_url::share_one(&v.peer_urls, &m.peer_urls));
    match by_url {
        Some(slot) => slot.name.to_string(),
        None if m.name.is_empty() => format!("member-{}", m.id),
        None => m.name.clone(),
    }
}
