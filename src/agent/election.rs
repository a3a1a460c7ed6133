//! Which member of the cluster takes the scheduled snapshots and writes the heartbeat.
//!
//! It exists to keep one member elected through etcd's own election, to resign when this one is unfit, and to say what this host is at any time.
//! What it says may be out of date by seconds: nothing that must happen once rests on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::catalog::keys;
use crate::core::health::{self, Observation, Part, Unfit};
use crate::ports::{Campaign, EtcdError, EtcdErrorKind, EtcdResult, MemberStatus, Office, StoreErrorKind};
use crate::sys::random;

/// The member is looked at this often.
const LOOK: Duration = Duration::from_secs(10);
/// An elected host that is gone is replaced after this time.
const OFFICE_TTL: Duration = Duration::from_secs(30);
/// First pause after a campaign that failed; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a host whose store is away leaves the office to others, before it stands although no store answers: saved is saved.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(30);
/// It then tries again this often whether another host has more luck with the store.
const TERM_WITHOUT_STORE: Duration = Duration::from_secs(600);
/// A host whose snapshot failed leaves the office to others for this long, as long as there is one who takes it.
const TERM_OF_OTHERS: Duration = Duration::from_secs(600);
/// A campaign that is not won at once is somebody else's for now.
const WON_AT_ONCE: Duration = Duration::from_secs(2);

/// What this host is in its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// Not found out yet.
    Unsettled,
    /// It acts for the cluster: elected, or the only voter.
    Elected,
    /// etcd does not let us hold elections; each host acts for itself.
    NotHeld,
    /// Another one acts, or will in a moment.
    Follower,
    /// It must not act.
    Unfit(Unfit),
    /// Nobody can be elected.
    NoQuorum,
    /// The local member does not answer.
    Silent,
}

impl Role {
    /// Whether it renews the heartbeat.
    pub(super) fn acts(&self) -> bool {
        matches!(self, Role::Elected | Role::NotHeld)
    }
}

/// What the agent's parts tell each other about this host's role.
pub(super) struct Roles {
    role: watch::Sender<Role>,
    /// Whether the store answered when it was asked last.
    store: AtomicBool,
    /// Wakes the holder of the office when its run has failed.
    failed: tokio::sync::Notify,
}

impl Roles {
    pub(super) fn new() -> Self {
        Roles {
            role: watch::channel(Role::Unsettled).0,
            store: AtomicBool::new(true),
            failed: tokio::sync::Notify::new(),
        }
    }

    pub(super) fn now(&self) -> Role {
        self.role.borrow().clone()
    }

    /// The role, as soon as there is one; at most after `limit`.
    pub(super) async fn settled(&self, limit: Duration) -> Role {
        let mut changes = self.role.subscribe();
        let _ = tokio::time::timeout(limit, changes.wait_for(|r| *r != Role::Unsettled)).await;
        self.now()
    }

    /// Returns when this host acts for the cluster.
    pub(super) async fn acting(&self) {
        let mut changes = self.role.subscribe();
        // The sender lives as long as `self`.
        let _ = changes.wait_for(Role::acts).await;
    }

    /// A run on this host has failed. Whoever holds the office leaves it to another, who may have more luck.
    pub(super) fn run_failed(&self) {
        self.failed.notify_waiters();
    }

    pub(super) fn store_answered(&self, yes: bool) {
        self.store.store(yes, Ordering::Relaxed);
    }

    fn store_answers(&self) -> bool {
        self.store.load(Ordering::Relaxed)
    }

    fn set(&self, role: Role) {
        self.role.send_if_modified(|now| {
            let changed = *now != role;
            if changed {
                tracing::info!("{}", said(&role));
                *now = role;
            }
            changed
        });
    }
}

fn said(role: &Role) -> String {
    match role {
        Role::Unsettled => "this host's part in the election is not known yet".to_owned(),
        Role::Elected => "this host takes the scheduled snapshots of the cluster and renews its heartbeat".to_owned(),
        Role::NotHeld => "no election: each host takes the scheduled snapshots".to_owned(),
        Role::Follower => "another member takes the scheduled snapshots of the cluster".to_owned(),
        Role::Unfit(why) => format!("this host leaves the scheduled snapshots to others: {why}"),
        Role::NoQuorum => {
            "the cluster has no quorum, so nobody can be elected: scheduled snapshots of this member are emergency snapshots now".to_owned()
        }
        Role::Silent => "the local member does not answer".to_owned(),
    }
}

/// Runs until `stop`.
pub(super) async fn run(parts: &Parts, roles: &Roles, stop: &CancellationToken) {
    let mut candidacy = Candidacy { parts, roles, pause: FIRST_PAUSE, without_store: None, failed: None, said: false };
    while !stop.is_cancelled() {
        candidacy.turn(stop).await;
    }
}

/// A pause that a stop ends.
async fn rest(stop: &CancellationToken, limit: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(limit) => {}
    }
}

struct Candidacy<'a> {
    parts: &'a Parts,
    roles: &'a Roles,
    pause: Duration,
    /// Monotonic time since when the store has been away from this host.
    without_store: Option<Duration>,
    /// Monotonic time of a failed run, after which this host resigned.
    failed: Option<Duration>,
    /// Whether it was said that no election can be held.
    said: bool,
}

impl Candidacy<'_> {
    /// One look, and what follows from it. Ends after a while, or when an office is over.
    async fn turn(&mut self, stop: &CancellationToken) {
        let looked = tokio::select! {
            looked = self.look() => looked,
            () = stop.cancelled() => return,
        };
        match looked {
            Err(e) => {
                tracing::debug!("{e}");
                self.roles.set(Role::Silent);
                self.back_off(stop).await;
            }
            Ok(Part::Alone) => {
                self.roles.set(Role::Elected);
                rest(stop, LOOK).await;
            }
            Ok(Part::NoQuorum) => {
                self.roles.set(Role::NoQuorum);
                rest(stop, LOOK).await;
            }
            Ok(Part::Unfit(why)) if !self.stands_without_store(why).await => {
                self.roles.set(Role::Unfit(why));
                rest(stop, LOOK).await;
            }
            Ok(Part::Unfit(_) | Part::Candidate) if self.leaves_it_to_others().await => {
                self.roles.set(Role::Unfit(Unfit::Failing));
                rest(stop, LOOK).await;
            }
            Ok(Part::Unfit(_) | Part::Candidate) => self.campaign(stop).await,
        }
    }

    /// A host without a store stands only when nobody else holds the office for a while.
    async fn stands_without_store(&mut self, why: Unfit) -> bool {
        if why != Unfit::NoStore {
            return false;
        }
        // It may be back: nobody else asks while this host is no candidate.
        match self.parts.snapshots.records().store().head(keys::HEARTBEAT).await {
            Ok(_) => self.roles.store_answered(true),
            Err(e) if e.kind == StoreErrorKind::NotFound => self.roles.store_answered(true),
            Err(_) => {}
        }
        if self.roles.store_answers() {
            self.without_store = None;
            return true;
        }
        let now = self.parts.clock.monotonic();
        let since = *self.without_store.get_or_insert(now);
        if now.saturating_sub(since) < LEFT_TO_OTHERS {
            return false;
        }
        matches!(self.parts.election.holder(&self.parts.election_prefix).await, Ok(None))
    }

    /// After a failed run: somebody else's term, unless nobody takes the office. A heartbeat is owed all the same.
    async fn leaves_it_to_others(&mut self) -> bool {
        let Some(failed) = self.failed else { return false };
        let since = self.parts.clock.monotonic().saturating_sub(failed);
        let held = || async { !matches!(self.parts.election.holder(&self.parts.election_prefix).await, Ok(None)) };
        if since < LEFT_TO_OTHERS || (since < TERM_OF_OTHERS && held().await) {
            return true;
        }
        self.failed = None;
        false
    }

    async fn look(&self) -> EtcdResult<Part> {
        let status = self.parts.etcd.status().await?;
        let read = self.parts.etcd.linearizable_read().await;
        let read = match read {
            Ok(_) => true,
            Err(e) if matches!(e.kind, EtcdErrorKind::NoQuorum | EtcdErrorKind::Unreachable) => false,
            Err(e) => return Err(e),
        };
        let voters = if read { self.voters(&status).await } else { None };
        Ok(health::part(&health::Standing {
            member: Observation { is_learner: status.is_learner, errors: &status.errors },
            has_leader: status.leader.is_some(),
            read,
            voters,
            store: self.roles.store_answers(),
        }))
    }

    /// How many voters there are, this member among them.
    async fn voters(&self, status: &MemberStatus) -> Option<usize> {
        let members = self.parts.etcd.members().await.ok()?;
        let voters = members.iter().filter(|m| !m.is_learner);
        voters.clone().any(|m| m.id == status.member_id).then(|| voters.count())
    }

    async fn campaign(&mut self, stop: &CancellationToken) {
        let campaign =
            Campaign { prefix: self.parts.election_prefix.clone(), name: self.parts.node.to_string(), ttl: OFFICE_TTL };
        let mut won = self.parts.election.campaign(&campaign);
        let begun = self.parts.clock.monotonic();
        let mut next_look = WON_AT_ONCE;
        let office = loop {
            tokio::select! {
                won = &mut won => break won,
                () = stop.cancelled() => return,
                () = tokio::time::sleep(next_look) => {}
            }
            next_look = LOOK;
            self.roles.set(Role::Follower);
            // A candidate that has become unfit must not be elected.
            match self.look().await {
                Ok(Part::Candidate) => {}
                Ok(Part::Unfit(Unfit::NoStore)) if self.without_store.is_some() => {}
                _ => return,
            }
        };
        match office {
            Ok(office) => {
                self.pause = FIRST_PAUSE;
                self.said = false;
                self.hold(office, stop).await;
            }
            Err(e) => {
                // An office that was waited for long and then lost its stream is no reason to wait longer.
                if self.parts.clock.monotonic().saturating_sub(begun) > LONGEST_PAUSE {
                    self.pause = FIRST_PAUSE;
                }
                self.failed(&e);
                self.back_off(stop).await;
            }
        }
    }

    fn failed(&mut self, e: &EtcdError) {
        // Without an answer there is nobody to be elected by; a lease that was lost is asked for again.
        if !matches!(e.kind, EtcdErrorKind::Denied | EtcdErrorKind::Failed | EtcdErrorKind::Tls) {
            tracing::debug!("{e}");
            return;
        }
        // The member is fit and has a quorum. That nobody can be elected must not mean that nobody saves.
        self.roles.set(Role::NotHeld);
        if !self.said {
            self.said = true;
            tracing::warn!(
                "etcd does not let this host take part in the election of who takes the snapshots, so each host takes them: {e} | hint: where etcd \
                 has authentication on: etcdctl role grant-permission ROLE readwrite --prefix=true {}",
                self.parts.election_prefix
            );
        }
    }

    /// Acts until the office is lost, or this host is not fit for it any more.
    async fn hold(&mut self, mut office: Box<dyn Office>, stop: &CancellationToken) {
        self.roles.set(Role::Elected);
        let begun = self.parts.clock.monotonic();
        let failed = self.roles.failed.notified();
        tokio::pin!(failed);
        loop {
            tokio::select! {
                () = &mut failed => {
                    self.failed = Some(self.parts.clock.monotonic());
                    self.roles.set(Role::Unfit(Unfit::Failing));
                    break;
                }
                lost = office.lost() => {
                    tracing::debug!("{lost}");
                    self.roles.set(Role::Follower);
                    return;
                }
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            match self.look().await {
                Ok(Part::Candidate) => self.without_store = None,
                Ok(Part::Unfit(Unfit::NoStore))
                    if self.without_store.is_some()
                        && self.parts.clock.monotonic().saturating_sub(begun) < TERM_WITHOUT_STORE => {}
                Ok(Part::Unfit(why)) => {
                    self.without_store = None;
                    self.roles.set(Role::Unfit(why));
                    break;
                }
                Ok(Part::Alone) => break,
                Ok(Part::NoQuorum) => {
                    self.roles.set(Role::NoQuorum);
                    break;
                }
                Err(e) => {
                    tracing::debug!("{e}");
                    self.roles.set(Role::Silent);
                    break;
                }
            }
        }
        office.resign().await;
    }

    async fn back_off(&mut self, stop: &CancellationToken) {
        rest(stop, self.pause.mul_f64(0.75 + 0.5 * random::fraction())).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
