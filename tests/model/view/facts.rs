//! A view as the facts and the policy of the product.

use etcd_lifeboat::core::decide::{ManagedBy, Policy};
use etcd_lifeboat::core::facts::{
    Aside, Attempts, Cause, CauseCode, Configuration, DataDir, Facts, HeartbeatFact, Life, Live, LiveCluster,
    LocalMember, LocalVoter, Memory, Observed, PlanFacts, Request, RequestSource, RollEntry, RollState, SilentEndpoint,
    Staging, StoreFacts,
};
use etcd_lifeboat::core::model::{
    ClusterId, ClusterName, Generation, MemberId, NodeName, Nonce, Revision, Sha256, SnapshotName,
};
use etcd_lifeboat::core::plan::{MarkUse, Plan, PlanCause, PlannedSnapshot, StartedMark, Voter, VotersRecord};
use etcd_lifeboat::core::select::{Candidate, SnapshotFact};

use super::super::variant::Variant;
use super::super::world::{self, Config, Entry, MOST, Mark, PIN};
use super::{SeenPlan, SeenStore, View};

pub(super) fn node(h: usize) -> NodeName {
    NodeName::new(&format!("h{h}")).unwrap()
}

fn urls_of(h: usize, new: bool) -> Vec<String> {
    vec![format!("http://h{h}{}:2380", if new { "-new" } else { "" })]
}

fn voters(mask: u8, new_urls: u8) -> Vec<Voter> {
    (0..MOST)
        .filter(|h| mask & (1 << h) != 0)
        .map(|h| Voter { name: node(h), peer_urls: urls_of(h, new_urls & (1 << h) != 0) })
        .collect()
}

fn member_id(cluster: u8, h: usize, number: u8) -> MemberId {
    MemberId(u64::from(cluster) << 16 | (h as u64) << 8 | u64::from(number))
}

fn members(cluster: u8, config: Config) -> Vec<LocalVoter> {
    (0..MOST)
        .filter_map(|h| {
            Some(LocalVoter {
                id: member_id(cluster, h, config.number(h)?),
                name: node(h).to_string(),
                peer_urls: urls_of(h, config.has_new_urls(h)),
                is_learner: config.is_learner(h),
            })
        })
        .collect()
}

fn request_id(r: u8) -> String {
    if r == PIN { "pin:s0".into() } else { format!("r{r}") }
}

/// The request with this id.
pub fn request_of(id: &str) -> u8 {
    if id.starts_with("pin:") { PIN } else { id[1..].parse().unwrap() }
}

fn nonce(generation: u8, of_mark: bool) -> Nonce {
    Nonce([generation, u8::from(of_mark), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn cause(c: world::Cause) -> PlanCause {
    match c {
        world::Cause::Init => PlanCause::Init,
        world::Cause::Restore => PlanCause::Restore,
        world::Cause::Forced => PlanCause::Forced,
        world::Cause::Adopted => PlanCause::Adopted,
    }
}

/// Name of a snapshot: its place in the store.
pub fn snapshot_name(index: usize) -> String {
    format!("s{index}")
}

impl View {
    fn plan_facts(&self, g: usize, s: &SeenStore) -> PlanFacts {
        let seen = &s.plans[g];
        let generation = Generation(g as u64 + 1);
        let at = "2024-01-15T10:30:00Z".parse().unwrap();
        let planned = seen.snapshot.map(|i| PlannedSnapshot {
            name: SnapshotName::new(&snapshot_name(i as usize)).unwrap(),
            generation: Generation(0),
            revision: Revision(1),
            raw_sha256: Sha256([0; 32]),
            raw_size: 1,
        });
        let marks = seen.marks.iter().enumerate().filter_map(|(h, mark)| {
            let purpose = match (*mark)? {
                Mark::Apply => MarkUse::Apply,
                Mark::Join => MarkUse::Join,
                Mark::Barred => MarkUse::Barred,
            };
            Some(StartedMark { node: node(h), generation, purpose, by: node(h), nonce: nonce(g as u8 + 1, true), at })
        });
        let records = seen.records.iter().enumerate().map(|(i, (mask, confirmed))| VotersRecord {
            number: i as u64 + 1,
            voters: voters(*mask, self.urls),
            confirmed: *confirmed,
            cluster_id: None,
            by: node(0),
            nonce: nonce(0, false),
        });
        PlanFacts {
            age_seconds: Some(if self.quiet { 1_000_000 } else { 0 }),
            plan: Plan {
                generation,
                cause: cause(seen.cause),
                request: seen.request.map(request_id),
                snapshot: planned,
                excluded: vec![],
                voters: voters(seen.listed, seen.listed_urls),
                token: String::new(),
                cluster_id: ClusterId(u64::from(seen.cluster)),
                reset: false,
                bump_revision: None,
                seed: node(seen.seed as usize),
                created: at,
                nonce: nonce(g as u8 + 1, false),
            },
            cancelled: seen.cancelled,
            lost: seen.lost,
            marks: marks.collect(),
            voters: records.collect(),
        }
    }

    fn store_facts(&self, s: &SeenStore) -> StoreFacts {
        let ends_nothing = |p: &SeenPlan| p.cancelled || p.cause == world::Cause::Forced;
        let may_live = |g: usize| {
            let behind = g + 1 < s.plans.len() && s.plans[g + 1..].iter().all(ends_nothing);
            if !behind || s.plans[g].cancelled || s.plans[g].lost {
                return vec![];
            }
            let facts = self.plan_facts(g, s);
            Configuration::of_life(&facts.plan, &facts.voters)
        };
        let lives = s.plans.iter().enumerate().map(|(g, p)| Life {
            may_live: may_live(g),
            generation: Generation(g as u64 + 1),
            cluster_id: ClusterId(u64::from(p.cluster)),
            cause: cause(p.cause),
            cancelled: p.cancelled,
            request: p.request.map(request_id),
        });
        let roll_call =
            s.entries.iter().enumerate().filter(|(_, (e, _))| *e != Entry::None).map(|(h, (e, remembers))| RollEntry {
                node: node(h),
                peer_urls: urls_of(h, self.urls & (1 << h) != 0),
                state: match e {
                    Entry::Withdrawn => RollState::Withdrawn,
                    Entry::Stopped(r) => RollState::Stopped(request_id(*r)),
                    _ => RollState::Empty,
                },
                remembers: Generation(0),
                remembers_cluster: *remembers,
                age_seconds: if *e == Entry::Stale { 1000 } else { 1 },
                waiting_seconds: 1000,
            });
        let snapshots = s.snapshots.iter().enumerate().map(|(i, (cluster, life, revision, listed))| SnapshotFact {
            name: SnapshotName::new(&snapshot_name(i)).unwrap(),
            manifest: Ok(Candidate {
                cluster_id: ClusterId(u64::from(*cluster)),
                generation: Generation(u64::from(*life)),
                revision: Revision(i64::from(*revision)),
                started: "2024-01-15T10:30:00Z".parse().unwrap(),
                raw_sha256: Sha256([0; 32]),
                raw_size: 1,
                kind: "snapshot".into(),
                quorum: true,
                storage_version: None,
                damaged: None,
                payload_present: true,
                voters: voters(*listed, 0),
            }),
        });
        StoreFacts {
            own_entry: None,
            plan: s.plans.len().checked_sub(1).map(|newest| self.plan_facts(newest, s)),
            lives: lives.collect(),
            heartbeat: s.heartbeat.map(|(g, young)| HeartbeatFact {
                generation: Generation(u64::from(g)),
                age_seconds: if young { 10 } else { 1_000_000 },
            }),
            roll_call: roll_call.collect(),
            snapshots: snapshots.collect(),
        }
        .without_ended_lives()
    }

    /// Recorded URLs at which nobody answered. Only `expected_members` looks at them.
    fn silent(&self) -> Vec<SilentEndpoint> {
        let newest = self.store.as_ref().and_then(|s| s.plans.last());
        let recorded = newest.map_or(0, |p| p.records.iter().fold(p.listed, |all, r| all | r.0));
        let answering = self.live.iter().fold(0, |all, c| all | c.answering);
        let silent = (0..MOST).filter(|h| recorded & !answering & (1 << h) != 0);
        silent
            .flat_map(|h| [urls_of(h, false), urls_of(h, true)].concat())
            .map(|url| SilentEndpoint {
                url,
                cause: Cause { code: CauseCode::NoAnswer, text: "no answer".into(), hint: None },
            })
            .collect()
    }

    /// The facts of this view.
    pub fn facts(&self, variant: &Variant) -> Facts {
        let data_dir = match &self.member {
            None => DataDir::Empty,
            Some(m) => {
                let mut list = members(m.cluster, m.config);
                if m.config.number(self.me as usize) != Some(m.number) {
                    // It has received nothing yet; its own id and URLs are in its WAL all the same.
                    list.push(LocalVoter {
                        id: member_id(m.cluster, self.me as usize, m.number),
                        name: node(self.me as usize).to_string(),
                        peer_urls: urls_of(self.me as usize, m.new_urls),
                        is_learner: true,
                    });
                }
                DataDir::Healthy(LocalMember {
                    cluster_id: ClusterId(u64::from(m.cluster)),
                    member_id: member_id(m.cluster, self.me as usize, m.number),
                    members: list,
                    revision: None,
                })
            }
        };
        let bits = |mask: u8| (0..8u8).filter(move |b| mask & (1 << b) != 0);
        Facts {
            data_dir: Observed::Known(data_dir),
            staging: Observed::Known(self.staging.map(|(generation, of_mark)| Staging {
                generation: Generation(u64::from(generation)),
                nonce: nonce(generation, of_mark),
                complete: true,
            })),
            memory: Observed::Known(Memory {
                cluster: (self.highest > 0 || self.started > 0).then(|| ClusterName::new("prod").unwrap()),
                highest_generation: Generation(u64::from(self.highest)),
                started: bits(self.started).map(|g| Generation(u64::from(g))).collect(),
                consumed: bits(self.consumed).map(request_id).collect(),
                aside: bits(self.aside)
                    .map(|g| Aside {
                        generation: Generation(u64::from(g)),
                        name: "member.quarantine-1".into(),
                        cluster_id: ClusterId(1),
                        member_id: MemberId(1),
                    })
                    .collect(),
                ..Memory::default()
            }),
            live: Live {
                clusters: self
                    .live
                    .iter()
                    .map(|c| LiveCluster {
                        cluster_id: ClusterId(u64::from(c.cluster)),
                        quorate: c.quorate,
                        members: members(c.cluster, c.config),
                        answering: bits(c.answering)
                            .map(|h| member_id(c.cluster, h as usize, c.numbers[h as usize]))
                            .collect(),
                    })
                    .collect(),
                silent: if variant.expected.is_some() { self.silent() } else { vec![] },
            },
            store: match &self.store {
                Some(s) => Observed::Known(self.store_facts(s)),
                None => Observed::unknown(CauseCode::NoAnswer, "no answer"),
            },
            request: Observed::Known(self.request.map(|r| Request {
                id: request_id(r),
                snapshot: variant.requested.map_or_else(|| "latest".into(), |s| snapshot_name(s as usize)),
                found_in: "a file".into(),
                source: RequestSource::File,
            })),
            also_requested: vec![],
            remarks: vec![],
            start: Observed::unknown(CauseCode::NotLooked, "flags"),
            joined_without_log: false,
            // All waits for a time only are over: what is decided then is more than what is decided before.
            waited_seconds: 1_000_000,
            attempts: Attempts {
                request_failed: self.request_failed.then(|| "it could not be fetched".into()),
                excluded: vec![],
            },
        }
    }

    pub(super) fn policy(&self, variant: &Variant) -> Policy {
        Policy {
            expected_members: variant.expected.map(u32::from),
            lost_after_seconds: 600,
            node: node(self.me as usize),
            members: match variant.expected {
                Some(_) => voters(1 << self.me, self.urls),
                None => voters(variant.configured(self.hosts), self.urls),
            },
            managed_by: if variant.k3s { ManagedBy::K3s } else { ManagedBy::Systemd },
            data_dir: "/var/lib/etcd".into(),
            wal_dir: None,
            autorestore: true,
            pinned: variant.pinned.then(|| SnapshotName::new("s0").unwrap()),
            existing_only: false,
            init_empty: false,
            peer_wait_seconds: 120,
            heartbeat_ttl_seconds: 90,
            seed: variant.static_seed.map(node),
            replace_damaged: false,
            fallback: 3,
        }
    }
}
