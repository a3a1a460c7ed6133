//! What a host sees of the world, as the `Facts` of the product, and what the product decides on them.
//!
//! A [`View`] holds just what the facts are made of, so that equal views are decided on once.

use std::collections::HashMap;
use std::rc::Rc;

use etcd_lifeboat::core::decide::{Decision, ManagedBy, Policy, Rule, Verdict, decide_without, members_of_now};
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

use super::raft;
use super::variant::{Safeguard, Variant};
use super::world::{self, Config, Entry, MOST, Mark, Member, PIN, World};

/// A cluster that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SeenCluster {
    cluster: u8,
    quorate: bool,
    config: Config,
    /// Hosts whose member answered, with its number.
    answering: u8,
    numbers: [u8; MOST],
}

/// What belongs to a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SeenPlan {
    cause: world::Cause,
    cluster: u8,
    seed: u8,
    request: Option<u8>,
    snapshot: Option<u8>,
    cancelled: bool,
    lost: bool,
    listed: u8,
    listed_urls: u8,
    marks: [Option<Mark>; MOST],
    records: Vec<(u8, bool)>,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SeenStore {
    plans: Vec<SeenPlan>,
    entries: Vec<(Entry, bool)>,
    snapshots: Vec<(u8, u8, u32, u8)>,
    heartbeat: Option<(u8, bool)>,
}

/// All that one host sees in one look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    me: u8,
    hosts: u8,
    urls: u8,
    member: Option<Member>,
    staging: Option<(u8, bool)>,
    started: u8,
    highest: u8,
    consumed: u8,
    request: Option<u8>,
    request_failed: bool,
    /// Bits of the plans that something was moved aside for.
    aside: u8,
    live: Vec<SeenCluster>,
    store: Option<Rc<SeenStore>>,
    /// The store did not answer, and that was taken for an empty one.
    blanked: bool,
    /// By the store's clock, the newest life has given no sign for long.
    quiet: bool,
}

/// All views that a look of `h` may come to.
pub fn views(world: &World, variant: &Variant, h: usize) -> Vec<View> {
    let up = (0..world.hosts.len()).filter(|o| *o != h && raft::is_up(world, *o)).fold(0u8, |all, o| all | 1 << o);
    let mut seen = if up == 0 { vec![0] } else { vec![up, 0] };
    if variant.partial_views {
        seen = (0..1u8 << world.hosts.len()).filter(|s| s & !up == 0).rev().collect();
    }
    let full = look(world, variant, h, up, true, true);
    let quorate = full.quorate().is_some();
    // An empty host only ever waits for an unknown store: nothing happens, so that this is not looked at.
    let may_act = full.member.is_some() || variant.lacks(Safeguard::StoreUnknown);
    let mut all: Vec<View> = Vec::new();
    for see in seen {
        for store in [true, false] {
            if !store && !may_act {
                continue;
            }
            all.push(look(world, variant, h, see, true, store));
            if see != 0 && quorate {
                all.push(look(world, variant, h, see, false, store));
            }
        }
    }
    all
}

/// What `h` sees when it reaches the hosts `see`, when reads of a quorum are answered, and when the store answers.
pub fn look(world: &World, variant: &Variant, h: usize, see: u8, reads: bool, store: bool) -> View {
    let host = &world.hosts[h];
    let mut live: Vec<SeenCluster> = Vec::new();
    for o in (0..world.hosts.len()).filter(|o| see & (1 << o) != 0 && raft::is_up(world, *o)) {
        let Some(m) = world.hosts[o].member else { continue };
        let seen = match live.iter_mut().find(|c| c.cluster == m.cluster) {
            Some(seen) => seen,
            None => {
                let leader = raft::leader_of(world, m.cluster).filter(|_| reads);
                live.push(SeenCluster {
                    cluster: m.cluster,
                    quorate: leader.is_some(),
                    config: leader.map(|l| l.config).unwrap_or_default(),
                    answering: 0,
                    numbers: [0; MOST],
                });
                let last = live.len() - 1;
                &mut live[last]
            }
        };
        seen.answering |= 1 << o;
        seen.numbers[o] = m.number;
    }
    let blanked = !store && variant.lacks(Safeguard::StoreUnknown);
    let mut store = store.then(|| seen_store(world, h));
    match &mut store {
        Some(s) => blank_facts(s, variant, world),
        // The mistake that this safeguard is about: an error that reads as "there is nothing".
        None if blanked => {
            let entries = vec![(Entry::Fresh, false); world.hosts.len()];
            store = Some(SeenStore { plans: vec![], entries, snapshots: vec![], heartbeat: None });
        }
        None => {}
    }
    View {
        me: h as u8,
        hosts: world.hosts.len() as u8,
        urls: world.urls(),
        member: host.member.map(|m| Member { index: 0, writes: 0, virgin: false, ..m }),
        staging: host.staging.map(|s| (s.generation, s.of_mark)),
        started: host.started,
        highest: host.highest,
        consumed: host.consumed,
        request: host.request,
        request_failed: host.request_failed,
        aside: host.aside.iter().fold(0, |all, (plan, _)| all | 1 << plan) & !1,
        live,
        store: store.map(Rc::new),
        blanked,
        quiet: world.quiet > 0 && world.quiet == world.newest(),
    }
}

fn seen_store(world: &World, me: usize) -> SeenStore {
    let plans = world
        .plans
        .iter()
        .map(|p| SeenPlan {
            cause: p.cause,
            cluster: p.cluster,
            seed: p.seed,
            request: p.request,
            snapshot: p.snapshot,
            cancelled: p.cancelled,
            lost: p.lost,
            listed: p.listed,
            listed_urls: p.listed_urls,
            marks: p.marks,
            records: p.records.clone(),
        })
        .collect();
    let entries = world
        .hosts
        .iter()
        .enumerate()
        .map(|(h, host)| if h == me { (Entry::None, false) } else { (host.entry, host.entry_remembers) })
        .collect();
    let snapshots = world
        .snapshots
        .iter()
        .map(|s| {
            let (life, revision) = world.rank(s);
            (s.cluster, life, revision, s.voters)
        })
        .collect();
    SeenStore { plans, entries, snapshots, heartbeat: world.heartbeat }
}

/// What a safeguard looks at is taken out of the facts.
fn blank_facts(store: &mut SeenStore, variant: &Variant, world: &World) {
    let Some(newest) = store.plans.last_mut() else { return };
    match variant.without {
        Some(Safeguard::RecordedVoters) => newest.lost = true,
        Some(Safeguard::StillTheBest) => {
            if let Some(planned) = newest.snapshot {
                let keep = world.snapshots[planned as usize];
                let rank = world.rank(&keep);
                store.snapshots.retain(|s| (s.1, s.2) <= rank);
            }
        }
        _ => {}
    }
}

fn node(h: usize) -> NodeName {
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

    fn policy(&self, variant: &Variant) -> Policy {
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
            storage_version: None,
        }
    }

    /// Other hosts that stand in the roll call, as this view shows it.
    pub fn present(&self) -> u8 {
        let Some(s) = &self.store else { return 0 };
        s.entries
            .iter()
            .enumerate()
            .filter(|(_, (e, _))| *e == Entry::Fresh)
            .fold(1 << self.me, |all, (h, _)| all | 1 << h)
    }

    /// The heartbeat, as this view shows it, is young.
    pub fn heartbeat_is_young(&self) -> bool {
        self.store.as_ref().is_some_and(|s| matches!(s.heartbeat, Some((_, true))))
    }

    pub fn store_is_unknown(&self) -> bool {
        self.blanked || self.store.is_none()
    }

    /// The first cluster that is quorate, as the rules look for it.
    pub fn quorate(&self) -> Option<u8> {
        self.live.iter().find(|c| c.quorate).map(|c| c.cluster)
    }
}

/// Remembers what was decided on a view.
#[derive(Default)]
pub struct Decider {
    known: HashMap<View, (Rule, Decision, u8)>,
}

impl Decider {
    /// The product's decision, and the members that a plan of now would have.
    pub fn decide(&mut self, variant: &Variant, view: &View) -> (Rule, Decision, u8) {
        if let Some(known) = self.known.get(view) {
            return known.clone();
        }
        let verdict = Self::verdict(variant, view);
        let members = members_of_now(&view.facts(variant), &view.policy(variant));
        let members = (0..MOST).filter(|h| members.iter().any(|m| m.name == node(*h))).fold(0, |all, h| all | 1 << h);
        let decided = (verdict.rule, verdict.decision, members);
        self.known.insert(view.clone(), decided.clone());
        decided
    }

    pub fn verdict(variant: &Variant, view: &View) -> Verdict {
        let left_out: &[Rule] = match variant.without {
            Some(Safeguard::HealthyStarts) => &[Rule::D7],
            Some(Safeguard::FreshHeartbeat) => &[Rule::P2],
            _ => &[],
        };
        decide_without(&view.facts(variant), &view.policy(variant), left_out)
    }

    /// Views that were decided on.
    pub fn asked(&self) -> usize {
        self.known.len()
    }
}
