//! One look around: every fact in parallel, each within its own time limit, reading only.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio::time::timeout;

use super::{
    MemoryFile, Reach, RequestSources, Settings, StartSource, data_dir, discover, joining, mount, reset, staging,
};
use crate::catalog::plans::Plans;
use crate::catalog::presence;
use crate::catalog::records::ReadError;
use crate::catalog::snapshots::{Entry, Snapshots};
use crate::core::facts::{
    Attempts, Cause, CauseCode, DataDir, Facts, Life, Live, LiveCluster, LocalVoter, Memory, Observed, SilentEndpoint,
    StoreFacts,
};
use crate::core::model::{Generation, NodeName};
use crate::core::peer_url;
use crate::core::select::SnapshotFact;
use crate::ports::{Etcd, EtcdError, EtcdErrorKind, Membership, Peer, StoreError, StoreErrorKind};

/// All of the store's facts must be there within this time; a store that is slower is unknown.
const STORE_LIMIT: Duration = Duration::from_secs(60);
/// A host with healthy data and nothing asked of it starts without the store, so it does not wait long for one that hangs.
const STORE_LIMIT_IF_HEALTHY: Duration = Duration::from_secs(10);
/// A look is worth nothing if it may not even wait this long.
const LEAST: Duration = Duration::from_secs(1);
/// An endpoint that says nothing within this time is silent.
pub(super) const ENDPOINT_LIMIT: Duration = Duration::from_secs(5);

/// etcd opens its client port at once and answers there only when it has seen a quorum. Where the peer port of the same member has answered, the
/// client port is given this much longer; a cluster that serves needs milliseconds.
const GRACE_IF_VOID: Duration = Duration::from_secs(1);
/// The same, for a host with data: to take it for part of a life that serves, or not, is worth a second more.
const GRACE: Duration = Duration::from_secs(2);

/// A client endpoint of a configured member.
pub type Endpoint = Arc<dyn Membership>;
/// The peer port of a configured member, and the client URLs of the same one.
#[derive(Clone)]
pub struct PeerPort {
    /// The port.
    pub port: Arc<dyn Peer>,
    /// Where the same member would serve clients.
    pub client_urls: Vec<String>,
}

/// What is looked at.
pub(super) struct Sources<'a> {
    pub settings: &'a Settings,
    pub snapshots: &'a Snapshots,
    pub endpoints: &'a [Endpoint],
    pub peers: &'a [PeerPort],
    pub memory: &'a MemoryFile,
    pub requests: &'a RequestSources,
    pub start: &'a StartSource,
    pub reach: &'a Reach,
}

/// Looks around once. `limit`: time that is left for it, if somebody waits.
pub(super) async fn gather(
    sources: &Sources<'_>,
    waited: Duration,
    attempts: Attempts,
    limit: Option<Duration>,
) -> Facts {
    // The data dir first: an etcd that starts while the store is slow must not be mistaken for damage.
    let data_dir = data_dir::observe(sources.settings).await;
    let memory = sources.memory.observe();
    let remembered = memory.known().cloned().unwrap_or_default();
    let data_dir = mount::judge(data_dir, &sources.settings.data_dir, &remembered);
    let asked = sources.requests.observe(&memory);
    let done = asked
        .request
        .known()
        .is_some_and(|first| first.iter().chain(&asked.also).all(|request| remembered.consumed.contains(&request.id)));
    let needs_no_store = matches!(data_dir, Observed::Known(DataDir::Healthy(_) | DataDir::InUse)) && done;
    let longest = if needs_no_store { STORE_LIMIT_IF_HEALTHY } else { STORE_LIMIT };
    let limit = limit.map_or(longest, |left| left.clamp(LEAST, longest));
    let grace = if data_dir.known().is_some_and(DataDir::is_void) { GRACE_IF_VOID } else { GRACE };
    let policy = &sources.settings.policy;
    let store = observe_store(sources.snapshots, &policy.node, &remembered, limit);
    let endpoint_limit = limit.min(ENDPOINT_LIMIT);
    let (store, mut live, start) =
        tokio::join!(store, observe_live(sources.endpoints, sources.peers, endpoint_limit, grace), (sources.start)());
    // Whom else to ask is in the store: voters that are not configured here, or not any more.
    let found = discover::recorded(sources.reach, policy, &store, endpoint_limit).await;
    live.silent.extend(found.silent);
    let recorded = observe_live(&found.endpoints, &found.peers, endpoint_limit, grace).await;
    live.silent.extend(recorded.silent);
    for cluster in recorded.clusters {
        merge(&mut live.clusters, cluster);
    }
    let damaged = matches!(data_dir, Observed::Known(DataDir::Damaged { .. }));
    Facts {
        joined_without_log: damaged && joining::without_log(sources.settings),
        data_dir,
        staging: reset::observe(sources.settings).unwrap_or_else(|| staging::observe(&sources.settings.data_dir)),
        memory,
        live,
        store,
        request: asked.request,
        also_requested: asked.also,
        remarks: asked.remarks,
        start,
        waited_seconds: waited.as_secs(),
        attempts,
    }
}

async fn observe_store(snapshots: &Snapshots, me: &NodeName, memory: &Memory, limit: Duration) -> Observed<StoreFacts> {
    let location = snapshots.records().store().location();
    let read = timeout(limit, read_store(snapshots, me, memory.highest_generation)).await;
    match read {
        Ok(Ok(facts)) => match facts.against_memory(memory) {
            // The pure rule knows what the store shows, not which store it is.
            Observed::Unknown(cause) => {
                Observed::Unknown(Cause { text: format!("{location}: {}", cause.text), ..cause })
            }
            known => known,
        },
        Ok(Err(e)) => Observed::Unknown(store_cause(e)),
        Err(_) => Observed::unknown(
            CauseCode::NoAnswer,
            format!("{location} did not give all records within {} s", limit.as_secs()),
        ),
    }
}

async fn read_store(snapshots: &Snapshots, me: &NodeName, at_least: Generation) -> Result<StoreFacts, ReadError> {
    let records = snapshots.records();
    let plans = Plans::new(records.clone());
    let (lives, plan) = plans.history(at_least).await?;
    let heartbeat = presence::heartbeat(records).await?;
    let (own_entry, roll_call) = presence::roll_call(records, me).await?;
    let listing = snapshots.list().await?;
    let snapshots = listing.entries.into_iter().map(|entry| snapshot_fact(entry, &lives)).collect();
    Ok(StoreFacts { plan, lives, heartbeat, roll_call, own_entry, snapshots }.without_ended_lives())
}

/// A snapshot's generation follows from its cluster id through the plans, never from what the manifest claims.
fn snapshot_fact(entry: Entry, lives: &[Life]) -> SnapshotFact {
    let mut fact = entry.fact();
    if let Ok(candidate) = &mut fact.manifest {
        let life = lives.iter().find(|l| l.cluster_id == candidate.cluster_id);
        candidate.generation = life.map_or(Generation(0), |l| l.generation);
    }
    fact
}

fn store_cause(e: ReadError) -> Cause {
    let code = match &e {
        ReadError::Problem { .. } => CauseCode::BadRecord,
        ReadError::Store(StoreError { kind, .. }) => match kind {
            StoreErrorKind::Denied => CauseCode::Denied,
            StoreErrorKind::Unreachable => CauseCode::NoAnswer,
            StoreErrorKind::LocalIo => CauseCode::LocalIo,
            _ => CauseCode::Failed,
        },
    };
    let e = crate::error::Error::from(e);
    Cause { code, text: e.one_line(), hint: e.hint_text().map(str::to_owned) }
}

async fn observe_live(endpoints: &[Endpoint], peers: &[PeerPort], limit: Duration, grace: Duration) -> Live {
    let looks = peers.iter().map(|p| async move { (p, look_at_peer(p.port.as_ref(), limit).await) });
    let looks = join_all(looks).shared();
    let clients = endpoints.iter().map(|e| {
        let peers = looks.clone();
        async move {
            let no_clients = async {
                let is_its = |p: &PeerPort| p.client_urls.iter().any(|url| url == e.endpoint());
                if peers.await.iter().any(|(p, seen)| is_its(p) && seen.is_ok()) {
                    tokio::time::sleep(grace).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            let seen = tokio::select! {
                seen = look_at(e.as_ref(), limit) => seen,
                () = no_clients => {
                    Err(Cause {
                        code: CauseCode::NoAnswer,
                        text: format!("{} does not serve clients, though the member answers its peers: it has no quorum, or still starts", e.endpoint()),
                        hint: None,
                    })
                }
            };
            (e.endpoint().to_owned(), seen)
        }
    });
    let (clients, peers) = tokio::join!(join_all(clients), looks);
    let mut live = Live::default();
    for (url, seen) in clients {
        match seen {
            Ok((seen, refused)) => {
                merge(&mut live.clusters, seen);
                live.silent.extend(refused.map(|cause| SilentEndpoint { url, cause }));
            }
            Err(cause) => live.silent.push(SilentEndpoint { url, cause }),
        }
    }
    for (peer, seen) in peers {
        match seen {
            Ok(seen) => merge(&mut live.clusters, seen),
            Err(cause) => live.silent.push(SilentEndpoint { url: peer.port.url().to_owned(), cause }),
        }
    }
    live
}

/// A member without quorum, or one that still starts, answers here alone. Its list of members may lag behind: it tells who answers, and nothing else.
async fn look_at_peer(peer: &dyn Peer, limit: Duration) -> Result<LiveCluster, Cause> {
    let silent = || Cause {
        code: CauseCode::NoAnswer,
        text: format!("{} gave no answer within {} s", peer.url(), limit.as_secs()),
        hint: None,
    };
    let answer = timeout(limit, peer.ask()).await.map_err(|_| silent())?.map_err(etcd_cause)?;
    let is_it = |m: &&crate::ports::Member| peer_url::among(peer.url(), &m.peer_urls);
    Ok(LiveCluster {
        cluster_id: answer.cluster_id,
        quorate: false,
        members: Vec::new(),
        answering: answer.members.iter().filter(is_it).map(|m| m.id).collect(),
    })
}

/// With why it was not let to read, where that is so: then nothing is known of the quorum.
async fn look_at(etcd: &dyn Etcd, limit: Duration) -> Result<(LiveCluster, Option<Cause>), Cause> {
    let silent = || Cause {
        code: CauseCode::NoAnswer,
        text: format!("{} gave no answer within {} s", etcd.endpoint(), limit.as_secs()),
        hint: None,
    };
    let status = timeout(limit, etcd.status()).await.map_err(|_| silent())?.map_err(etcd_cause)?;
    let read = timeout(limit, etcd.linearizable_read()).await;
    let quorate = matches!(read, Ok(Ok(_)));
    let refused = match read {
        Ok(Err(e)) if matches!(e.kind, EtcdErrorKind::Denied | EtcdErrorKind::Tls) => Some(etcd_cause(e)),
        _ => None,
    };
    // Only a member that has just answered a linearizable read is known to have applied every change of the members: the list of one that lags
    // may lack a member that was added since, and that must not look like a removed one. Empty: not known.
    let members = match quorate {
        true => timeout(limit, etcd.members()).await.ok().and_then(Result::ok).unwrap_or_default(),
        false => Vec::new(),
    };
    let seen = LiveCluster {
        cluster_id: status.cluster_id,
        quorate,
        members: members
            .into_iter()
            .map(|m| LocalVoter { id: m.id, name: m.name, peer_urls: m.peer_urls, is_learner: m.is_learner })
            .collect(),
        answering: vec![status.member_id],
    };
    Ok((seen, refused))
}

pub(super) fn etcd_cause(e: EtcdError) -> Cause {
    let code = match e.kind {
        EtcdErrorKind::Unreachable | EtcdErrorKind::BrokenStream => CauseCode::NoAnswer,
        EtcdErrorKind::Denied | EtcdErrorKind::Tls => CauseCode::Denied,
        EtcdErrorKind::NoQuorum | EtcdErrorKind::Failed => CauseCode::Failed,
    };
    Cause { code, text: e.text, hint: e.hint }
}

fn merge(clusters: &mut Vec<LiveCluster>, seen: LiveCluster) {
    match clusters.iter_mut().find(|c| c.cluster_id == seen.cluster_id) {
        Some(known) => {
            known.quorate |= seen.quorate;
            if known.members.is_empty() {
                known.members = seen.members;
            }
            for id in seen.answering {
                if !known.answering.contains(&id) {
                    known.answering.push(id);
                }
            }
        }
        None => clusters.push(seen),
    }
}
