//! Members that only records name: hosts that come and go by design are in nobody's configuration, and neither are hosts that were replaced under
//! other names. Their data is what a restore would roll back, so they are asked wherever it matters that nobody lives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::gather::etcd_cause;
use super::{Endpoint, PeerPort};
use crate::core::decide::Policy;
use crate::core::facts::{Cause, CauseCode, Configuration, Life, Observed, PlanFacts, SilentEndpoint, StoreFacts};
use crate::core::model::ClusterId;
use crate::core::peer_url;
use crate::core::plan::Voter;
use crate::ports::{EtcdErrorKind, Peer, PeerAnswer};

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
    /// Those that answered.
    pub peers: Vec<PeerPort>,
    pub silent: Vec<SilentEndpoint>,
}

/// The recorded voters that a gate asks beside the configured ones. Of configured members those that may still vote: hosts that were replaced for
/// good long ago would only make each boot slower. Of hosts that come and go all that the newest life has seen: that none of them answers is what
/// takes it for lost.
fn asked_by_gate(policy: &Policy, newest: &PlanFacts, lives: &[Life]) -> Vec<Voter> {
    let mut voters: Vec<Voter> = match policy.expected_members {
        Some(_) => newest.voters.iter().flat_map(|r| &r.voters).chain(&newest.plan.voters).cloned().collect(),
        None => Configuration::of_life(&newest.plan, &newest.voters).into_iter().flat_map(|c| c.voters).collect(),
    };
    voters.extend(lives.iter().flat_map(|l| &l.may_live).flat_map(|c| c.voters.iter().cloned()));
    voters
}

/// The distinct URLs of `voters` that are none of `known`.
fn urls<'a>(voters: impl IntoIterator<Item = &'a Voter>, known: &[String]) -> BTreeSet<String> {
    let known: BTreeSet<String> = known.iter().map(|u| peer_url::canonical(u)).collect();
    let all = voters.into_iter().flat_map(|v| &v.peer_urls).map(|u| peer_url::canonical(u));
    all.filter(|u| !known.contains(u)).collect()
}

/// Asks the peer ports that the store has recorded, and that nothing here is configured for, where their members serve clients.
pub(super) async fn recorded(reach: &Reach, policy: &Policy, store: &Observed<StoreFacts>, limit: Duration) -> Found {
    let Some((store, newest)) = store.known().and_then(|s| Some((s, s.plan.as_ref()?))) else {
        return Found::default();
    };
    let configured: Vec<String> = match policy.expected_members {
        // The roll call names them, and nobody has asked there.
        Some(_) => policy.peer_urls().to_vec(),
        None => policy.members.iter().flat_map(|m| m.peer_urls.clone()).collect(),
    };
    let mut found = Found::default();
    let mut known = BTreeSet::new();
    for (url, port, answer) in ask(reach, urls(&asked_by_gate(policy, newest, &store.lives), &configured), limit).await
    {
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => {
                let cause = match e {
                    Silent::NoAnswer => Cause {
                        code: CauseCode::NoAnswer,
                        text: format!("{url} gave no answer within {} s", limit.as_secs()),
                        hint: None,
                    },
                    Silent::Failed(e) => etcd_cause(e),
                };
                found.silent.push(SilentEndpoint { url, cause });
                continue;
            }
        };
        let mut client_urls = Vec::new();
        for member in answer.members {
            if peer_url::among(&url, &member.peer_urls) {
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

enum Silent {
    NoAnswer,
    Failed(crate::ports::EtcdError),
}

async fn ask(
    reach: &Reach,
    urls: BTreeSet<String>,
    limit: Duration,
) -> Vec<(String, Arc<dyn Peer>, Result<PeerAnswer, Silent>)> {
    let ports: Vec<_> = urls.into_iter().filter_map(|url| (reach.peer)(&url).map(|port| (url, port))).collect();
    let asked = join_all(ports.iter().map(|(_, port)| async move { timeout(limit, port.ask()).await })).await;
    let answers = asked.into_iter().map(|answer| match answer {
        Ok(answer) => answer.map_err(Silent::Failed),
        Err(_) => Err(Silent::NoAnswer),
    });
    ports.into_iter().zip(answers).map(|((url, port), answer)| (url, port, answer)).collect()
}

/// What answers at the recorded peer URL of a voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtRecorded {
    /// The URL.
    pub url: String,
    /// Its cluster; `None`: something answers there, and which cluster it is part of could not be found out, for this reason.
    pub cluster: Result<ClusterId, String>,
}

/// Asks at every peer URL of `voters`. What does not answer at all is left out.
pub async fn who_answers(reach: &Reach, voters: &[Voter], limit: Duration) -> Vec<AtRecorded> {
    let asked = ask(reach, urls(voters, &[]), limit).await;
    let answers = asked.into_iter().filter_map(|(url, _, answer)| match answer {
        Ok(answer) => Some(AtRecorded { url, cluster: Ok(answer.cluster_id) }),
        Err(Silent::Failed(e)) if e.kind != EtcdErrorKind::Unreachable => {
            Some(AtRecorded { url, cluster: Err(e.text) })
        }
        Err(_) => None,
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::core::model::{Generation, MemberId};
    use crate::core::plan::PlanCause;
    use crate::core::plan::tests::{sample_plan, voters, voters_records};
    use crate::ports::{EtcdError, EtcdResult, Member};

    struct Port(String, Option<u64>);

    #[async_trait]
    impl Peer for Port {
        fn url(&self) -> &str {
            &self.0
        }

        async fn ask(&self) -> EtcdResult<PeerAnswer> {
            let Some(cluster) = self.1 else {
                return Err(EtcdError { kind: EtcdErrorKind::Unreachable, text: "refused".into(), hint: None });
            };
            let member = Member {
                id: MemberId(1),
                name: String::new(),
                peer_urls: vec![self.0.to_uppercase().replace("HTTP", "http")],
                client_urls: vec![],
                is_learner: false,
            };
            Ok(PeerAnswer { cluster_id: ClusterId(cluster), members: vec![member] })
        }
    }

    /// Members answer where `alive` says so; all others refuse.
    fn reach(alive: &[(&str, u64)]) -> Reach {
        let alive: Vec<(String, u64)> = alive.iter().map(|(n, c)| (format!("http://{n}:2380"), *c)).collect();
        Reach {
            peer: Arc::new(move |url| {
                let cluster = alive.iter().find(|(u, _)| u == url).map(|(_, c)| *c);
                Some(Arc::new(Port(url.to_owned(), cluster)) as Arc<dyn Peer>)
            }),
            client: Arc::new(|_| None),
        }
    }

    fn store(planned: &str, records: &[(&str, bool)], behind: &str) -> Observed<StoreFacts> {
        let newest = PlanFacts {
            plan: sample_plan(2, PlanCause::Forced, voters(planned)),
            cancelled: false,
            lost: false,
            marks: vec![],
            voters: voters_records(records),
            age_seconds: None,
        };
        let older = Life {
            generation: Generation(1),
            cluster_id: ClusterId(1),
            cause: PlanCause::Init,
            cancelled: false,
            request: None,
            may_live: vec![Configuration { recorded_in: "plan 1".into(), voters: voters(behind) }],
        };
        Observed::Known(StoreFacts { plan: Some(newest), lives: vec![older], ..StoreFacts::default() })
    }

    fn policy(expected: Option<u32>, members: &str) -> Policy {
        let text = serde_json::json!({
            "node": "a", "members": voters(members), "managed_by": "systemd", "data_dir": "/var/lib/etcd", "autorestore": true,
            "existing_only": false, "peer_wait_seconds": 0, "expected_members": expected, "heartbeat_ttl_seconds": 90,
            "replace_damaged": false, "fallback": 3,
        });
        serde_json::from_value(text).unwrap()
    }

    /// Voters that are not configured here are asked, too, whatever the members come from: they may hold the cluster's data.
    #[tokio::test]
    async fn recorded_voters_are_asked_in_all_modes() {
        type Records<'a> = &'a [(&'a str, bool)];
        let moved: Records<'_> = &[("x y", false), ("y z", true)];
        for (story, expected, members, records, behind, asked) in [
            ("all are configured", None, "a b c", &[][..], "", ""),
            ("a plan of other hosts", None, "a b d", &[][..], "", "c"),
            ("since the last confirmed record", None, "a b", moved, "", "y z"),
            ("and lives behind a forced plan", None, "a b y z", moved, "q", "q"),
            ("hosts that come and go: all", Some(3), "a", moved, "q", "b c q x y z"),
        ] {
            let found = recorded(
                &reach(&[("c", 2), ("y", 2), ("q", 1)]),
                &policy(expected, members),
                &store("a b c", records, behind),
                Duration::from_secs(5),
            )
            .await;
            let of = |url: &str| url.trim_start_matches("http://").trim_end_matches(":2380").to_owned();
            let mut all: Vec<String> = found.peers.iter().map(|p| of(p.port.url())).collect();
            assert!(all.iter().all(|n| ["c", "y", "q"].contains(&n.as_str())), "{story}: {all:?}");
            all.extend(found.silent.iter().map(|s| of(&s.url)));
            all.sort();
            assert_eq!(all.join(" "), asked, "{story}");
        }
    }

    #[tokio::test]
    async fn who_answers_is_named_with_its_cluster() {
        let found = who_answers(&reach(&[("b", 7)]), &voters("a b c"), Duration::from_secs(5)).await;
        assert_eq!(found, [AtRecorded { url: "http://b:2380".into(), cluster: Ok(ClusterId(7)) }]);
    }
}
