//! Members that only records name: hosts that come and go by design are in nobody's configuration.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::{Endpoint, PeerPort};
use crate::core::decide::Policy;
use crate::core::facts::{Observed, StoreFacts};
use crate::ports::Peer;

/// Makes clients for URLs that were read from records.
#[derive(Clone)]
pub struct Reach {
    /// For a peer URL.
    pub peer: Arc<dyn Fn(&str) -> Option<Arc<dyn Peer>> + Send + Sync>,
    /// For a client URL.
    pub client: Arc<dyn Fn(&str) -> Option<Endpoint> + Send + Sync>,
}

/// What was found behind the recorded URLs.
#[derive(Clone, Default)]
pub(super) struct Found {
    pub endpoints: Vec<Endpoint>,
    pub peers: Vec<PeerPort>,
}

/// Asks the peer ports that the newest life has recorded where their members serve clients. With configured members there is nothing to find.
pub(super) async fn recorded(reach: &Reach, policy: &Policy, store: &Observed<StoreFacts>, limit: Duration) -> Found {
    let newest = store.known().and_then(|s| s.plan.as_ref());
    let (Some(newest), Some(_)) = (newest, policy.expected_members) else { return Found::default() };
    let voters = newest.voters.iter().flat_map(|r| &r.voters).chain(&newest.plan.voters);
    let urls: BTreeSet<&String> =
        voters.flat_map(|v| &v.peer_urls).filter(|u| !policy.peer_urls().contains(u)).collect();
    let ports: Vec<_> = urls.into_iter().filter_map(|url| (reach.peer)(url)).collect();
    let asked = join_all(ports.iter().map(|port| async move { timeout(limit, port.ask()).await })).await;
    let mut found = Found::default();
    let mut known = BTreeSet::new();
    for (port, answer) in ports.into_iter().zip(asked) {
        let mut client_urls = Vec::new();
        for member in answer.into_iter().flatten().flat_map(|a| a.members) {
            if member.peer_urls.iter().any(|u| u.trim_end_matches('/') == port.url()) {
                client_urls = member.client_urls.clone();
            }
            for url in member.client_urls {
                if known.insert(url.clone()) {
                    found.endpoints.extend((reach.client)(&url));
                }
            }
        }
        found.peers.push(PeerPort { port, client_urls });
    }
    found
}
