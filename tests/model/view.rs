//! What a host sees of the world, as the `Facts` of the product, and what the product decides on them.
//!
//! A [`View`] holds just what the facts are made of, so that equal views are decided on once.

mod facts;

use std::collections::HashMap;
use std::rc::Rc;

use etcd_lifeboat::core::decide::{Decision, Rule, Verdict, decide_without, members_of_now};

use facts::node;
pub use facts::request_of;

use super::raft;
use super::variant::{Safeguard, Variant};
use super::world::{self, Config, Entry, MOST, Mark, Member, World};

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

impl View {
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
