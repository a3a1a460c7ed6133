//! The abstract world: hosts with their disks and memory, the store, and what etcd's Raft keeps.
//!
//! A state is small and hashable. Fields named `ghost_*` are not seen by any host: only the checks read them.

/// The request that stands for a snapshot that the configuration names.
pub const PIN: u8 = 7;
/// Most hosts in one world.
pub const MOST: usize = 5;
/// Set in a configuration entry of a learner.
const LEARNER: u8 = 0x40;
/// Set when the member has the second set of peer URLs.
const NEW_URLS: u8 = 0x20;
const NUMBER: u8 = 0x1f;

/// Members of a configuration, one entry per host: 0 is none; else the number of the member id, a flag for a learner, a flag for the URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Config(pub [u8; MOST]);

impl Config {
    /// The members of a plan, with the URLs that it lists.
    pub fn planned(hosts: u8, urls: u8) -> Self {
        let mut all = [0; MOST];
        for (h, entry) in all.iter_mut().enumerate() {
            if hosts & (1 << h) != 0 {
                *entry = 1 | if urls & (1 << h) != 0 { NEW_URLS } else { 0 };
            }
        }
        Config(all)
    }

    /// The number of this host's member id, learner or not.
    pub fn number(self, h: usize) -> Option<u8> {
        (self.0[h] != 0).then(|| (self.0[h] & NUMBER) - 1)
    }

    pub fn is_learner(self, h: usize) -> bool {
        self.0[h] & LEARNER != 0
    }

    pub fn has_new_urls(self, h: usize) -> bool {
        self.0[h] & NEW_URLS != 0
    }

    pub fn is_voter(self, h: usize, number: u8) -> bool {
        self.number(h) == Some(number) && !self.is_learner(h)
    }

    pub fn voters(self) -> u8 {
        (0..MOST).filter(|h| self.0[*h] != 0 && !self.is_learner(*h)).fold(0, |all, h| all | 1 << h)
    }

    pub fn majority(self) -> u32 {
        self.voters().count_ones() / 2 + 1
    }

    pub fn remove(&mut self, h: usize) {
        self.0[h] = 0;
    }

    pub fn add_learner(&mut self, h: usize, number: u8, new_urls: bool) {
        self.0[h] = (number + 1) | LEARNER | if new_urls { NEW_URLS } else { 0 };
    }

    pub fn add_voter(&mut self, h: usize, number: u8, new_urls: bool) {
        self.add_learner(h, number, new_urls);
        self.promote(h);
    }

    pub fn promote(&mut self, h: usize) {
        self.0[h] &= !LEARNER;
    }
}

/// A member on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its cluster.
    pub cluster: u8,
    /// Which of the host's member ids in that cluster it is.
    pub number: u8,
    /// Entries in its log.
    pub index: u8,
    /// Writes that it holds.
    pub writes: u16,
    /// The configuration that it knows; all zero for a joining member that has received nothing.
    pub config: Config,
    /// Its URLs.
    pub new_urls: bool,
    /// Built and never started.
    pub virgin: bool,
}

/// What a host builds beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Staging {
    /// Index of the plan.
    pub generation: u8,
    /// It carries the nonce of this host's mark.
    pub of_mark: bool,
}

/// Where a host goes after it has withdrawn its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Follow the plan.
    Apply(u8),
    /// Join with the data of the plan.
    JoinWithData(u8),
    /// Join anew.
    JoinAnew(u8),
    /// Start after all, having stood in the roll call.
    Start,
    /// Put back what was moved aside for a plan that was taken back, having stood in the roll call.
    PutBack(u8),
}

impl Goal {
    pub fn generation(self) -> u8 {
        match self {
            Goal::Apply(g) | Goal::JoinWithData(g) | Goal::JoinAnew(g) | Goal::PutBack(g) => g,
            Goal::Start => 0,
        }
    }
}

/// A plan that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Making {
    pub generation: u8,
    pub cause: Cause,
    /// Index of the snapshot.
    pub snapshot: Option<u8>,
    pub request: Option<u8>,
    /// Its voters.
    pub members: u8,
}

/// How far a host has come. Between any two the world may change, and the host may crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Between two looks; a host that is switched off does not look.
    Gate,
    /// Decided that etcd may start; it has not yet.
    Starting,
    /// etcd runs.
    Running,
    /// Its learner runs, is caught up, and the voters with it are recorded.
    Promoting,
    /// The voters with it are in effect; that is to be recorded.
    Confirming,
    /// Built for a plan of its own.
    Built(Making),
    /// Has looked again; takes the marks of these hosts.
    Barring(Making, u8),
    /// Is about to withdraw its entry.
    Withdraw(Goal),
    /// Has withdrawn it; is about to look again.
    LookAgain(Goal),
    /// Is about to take its mark.
    Mark(Goal),
    /// Marked; is about to write its memory.
    Remember(Goal),
    /// Is about to move its old data aside.
    MoveAside(Goal),
    /// Is about to rename its staging into place.
    Rename(Goal),
    /// Joining anew: is about to record the voters without its old member.
    RecordRemoval(u8),
    /// Is about to remove its old member.
    Remove(u8),
    /// Is about to record that this is in effect.
    RecordRemoved(u8),
    /// Is about to add its learner and start it.
    AddLearner(u8),
    /// Decided by this rule to move its data aside.
    Quarantine,
    /// k3s: decided to make room for the seed of this plan.
    MakeRoom(u8),
    /// Decided to put its older data back.
    PutBack(u8),
    /// Gone for good, and its name with it.
    Gone,
}

/// A host's entry in the roll call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Entry {
    #[default]
    None,
    /// Renewed within its time.
    Fresh,
    /// Older than that.
    Stale,
    Withdrawn,
    /// Stands with its data, etcd stopped for this request.
    Stopped(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    pub phase: Phase,
    pub member: Option<Member>,
    /// Oldest first, with the plan that each was moved aside for; 0: for a join.
    pub aside: Vec<(u8, Member)>,
    pub staging: Option<Staging>,
    /// Bits of generations.
    pub started: u8,
    pub highest: u8,
    /// Bits of requests.
    pub consumed: u8,
    /// A request that is armed here.
    pub request: Option<u8>,
    pub request_failed: bool,
    /// Its host was set up anew with other peer URLs.
    pub new_urls: bool,
    pub entry: Entry,
    /// What the entry says of its memory.
    pub entry_remembers: bool,
    /// A renewal of its entry that may still arrive at the store.
    pub in_flight: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    Init,
    Restore,
    Forced,
    Adopted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    Apply,
    Join,
    Barred,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    pub cause: Cause,
    pub cluster: u8,
    pub seed: u8,
    pub snapshot: Option<u8>,
    pub request: Option<u8>,
    pub cancelled: bool,
    pub lost: bool,
    /// The initial cluster; one host on k3s.
    pub initial: Config,
    /// The voters that the record names.
    pub listed: u8,
    pub listed_urls: u8,
    pub marks: [Option<Mark>; MOST],
    /// Voters and whether that was confirmed.
    pub records: Vec<(u8, bool)>,
    /// Next number of a member id, per host.
    pub next_number: [u8; MOST],
    /// What is in effect.
    pub ghost_config: Config,
    /// Its newest entry.
    pub ghost_index: u8,
    /// It was quorate once.
    pub ghost_served: bool,
    /// Fewer than a majority of its disks were left at some time.
    pub ghost_broken: bool,
    /// Writes that were acknowledged in it.
    pub ghost_acked: u16,
    /// Hosts that have started in it, with the plan's data or as a new member: each may have voted.
    pub ghost_fresh: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The cluster that it was taken from; 0 is older than all plans.
    pub cluster: u8,
    pub writes: u16,
    /// Voters of that cluster.
    pub voters: u8,
}

/// What may still go wrong, and what people may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    pub crashes: u8,
    pub wipes: u8,
    pub replaced: u8,
    pub writes: u8,
    pub snapshots: u8,
    pub requests: u8,
    pub failures: u8,
    pub cancels: u8,
    pub members: u8,
    pub declared: u8,
    pub generations: u8,
    pub delayed: u8,
    /// Entries that age while their host is not there.
    pub expiries: u8,
    /// Hosts that go for good.
    pub gone: u8,
}

/// A person's `restore-once --cancel` on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cancel {
    pub generation: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub hosts: Vec<Host>,
    /// By generation, from 1.
    pub plans: Vec<Plan>,
    pub snapshots: Vec<Snapshot>,
    /// Taken, and not in the store yet.
    pub spooled: Option<Snapshot>,
    /// The life that wrote the heartbeat, and whether it is young.
    pub heartbeat: Option<(u8, bool)>,
    pub cancel: Option<Cancel>,
    /// The life that the store's clock has told to be lost, with `expected_members`; 0: none.
    pub quiet: u8,
    pub left: Budget,
    /// Next write.
    pub next_write: u8,
    /// Next request.
    pub next_request: u8,
    /// Acknowledged, by whatever life.
    pub ghost_acked: u16,
    /// Of those: lost with a majority of disks, or by a person's word.
    pub ghost_excused: u16,
}

/// An empty host.
pub fn blank_host() -> Host {
    Host {
        phase: Phase::Gate,
        member: None,
        aside: Vec::new(),
        staging: None,
        started: 0,
        highest: 0,
        consumed: 0,
        request: None,
        request_failed: false,
        new_urls: false,
        entry: Entry::None,
        entry_remembers: false,
        in_flight: false,
    }
}

fn permuted(mask: u8, order: &[usize]) -> u8 {
    order.iter().enumerate().filter(|(_, old)| mask & (1 << **old) != 0).fold(0, |all, (new, _)| all | 1 << new)
}

impl Config {
    fn permuted(self, order: &[usize]) -> Self {
        let mut all = [0; MOST];
        for (new, old) in order.iter().enumerate() {
            all[new] = self.0[*old];
        }
        Config(all)
    }
}

/// Hosts are alike but for what has happened to them: worlds that differ by their names only are searched once.
impl World {
    /// The order in which the hosts stand in the world's representative.
    pub fn order(&self) -> Vec<usize> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let sign = |h: usize| {
            let mut hasher = DefaultHasher::new();
            let host = &self.hosts[h];
            std::mem::discriminant(&host.phase).hash(&mut hasher);
            for m in host.member.iter().chain(host.aside.iter().map(|(_, m)| m)) {
                (m.cluster, m.number, m.index, m.writes, m.new_urls, m.virgin).hash(&mut hasher);
            }
            (host.aside.len(), host.staging, host.started, host.highest, host.consumed, host.request).hash(&mut hasher);
            (host.request_failed, host.new_urls, host.entry, host.entry_remembers, host.in_flight).hash(&mut hasher);
            for p in &self.plans {
                (p.seed as usize == h, p.initial.0[h], p.listed >> h & 1, p.listed_urls >> h & 1, p.marks[h])
                    .hash(&mut hasher);
                (p.next_number[h], p.ghost_config.0[h], p.ghost_fresh >> h & 1).hash(&mut hasher);
                for (voters, _) in &p.records {
                    (voters >> h & 1).hash(&mut hasher);
                }
            }
            for s in self.snapshots.iter().chain(&self.spooled) {
                (s.voters >> h & 1).hash(&mut hasher);
            }
            hasher.finish()
        };
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        order.sort_by_key(|h| sign(*h));
        order
    }

    /// The same world with its hosts in another order.
    pub fn permuted(mut self, order: &[usize]) -> Self {
        if order.iter().enumerate().all(|(new, old)| new == *old) {
            return self;
        }
        self.hosts = order.iter().map(|old| self.hosts[*old].clone()).collect();
        for host in &mut self.hosts {
            for m in host.member.iter_mut().chain(host.aside.iter_mut().map(|(_, m)| m)) {
                m.config = m.config.permuted(order);
            }
            if let Phase::Barring(_, todo) = &mut host.phase {
                *todo = permuted(*todo, order);
            }
            if let Phase::Barring(making, _) | Phase::Built(making) = &mut host.phase {
                making.members = permuted(making.members, order);
            }
        }
        for p in &mut self.plans {
            p.seed = order.iter().position(|old| *old == p.seed as usize).unwrap_or(0) as u8;
            p.initial = p.initial.permuted(order);
            p.ghost_config = p.ghost_config.permuted(order);
            for mask in [&mut p.listed, &mut p.listed_urls, &mut p.ghost_fresh] {
                *mask = permuted(*mask, order);
            }
            for (voters, _) in &mut p.records {
                *voters = permuted(*voters, order);
            }
            let (marks, numbers) = (p.marks, p.next_number);
            for (new, old) in order.iter().enumerate() {
                p.marks[new] = marks[*old];
                p.next_number[new] = numbers[*old];
            }
        }
        for s in self.snapshots.iter_mut().chain(&mut self.spooled) {
            s.voters = permuted(s.voters, order);
        }
        self
    }
}

impl World {
    /// Empty hosts and an empty store.
    pub fn blank(hosts: usize, left: Budget) -> Self {
        World {
            hosts: vec![blank_host(); hosts],
            plans: Vec::new(),
            snapshots: Vec::new(),
            spooled: None,
            heartbeat: None,
            cancel: None,
            quiet: 0,
            left,
            next_write: 0,
            next_request: 0,
            ghost_acked: 0,
            ghost_excused: 0,
        }
    }

    /// A better snapshot of the same life, with a write that was acknowledged after the first.
    pub fn with_better_snapshot(mut self) -> Self {
        let first = self.snapshots[0];
        self.snapshots.push(Snapshot { writes: 0b11, ..first });
        self.ghost_acked = 0b11;
        self.next_write = 2;
        for m in self.hosts.iter_mut().filter_map(|h| h.member.as_mut()) {
            (m.index, m.writes) = (2, 0b11);
        }
        if let Some(plan) = self.plans.last_mut() {
            (plan.ghost_index, plan.ghost_acked) = (2, 0b11);
        }
        self
    }

    pub fn everyone(&self) -> u8 {
        (1 << self.hosts.len()) - 1
    }

    pub fn urls(&self) -> u8 {
        self.hosts.iter().enumerate().filter(|(_, h)| h.new_urls).fold(0, |all, (i, _)| all | 1 << i)
    }

    pub fn plan(&self, generation: u8) -> &Plan {
        &self.plans[generation as usize - 1]
    }

    pub fn plan_mut(&mut self, generation: u8) -> &mut Plan {
        &mut self.plans[generation as usize - 1]
    }

    pub fn newest(&self) -> u8 {
        self.plans.len() as u8
    }

    /// The newest life with this cluster id.
    pub fn life(&self, cluster: u8) -> Option<u8> {
        (1..=self.newest()).rev().find(|g| self.plan(*g).cluster == cluster)
    }

    /// Life of a snapshot, its revision: the order of snapshots.
    pub fn rank(&self, s: &Snapshot) -> (u8, u32) {
        let first = (1..=self.newest()).find(|g| self.plan(*g).cluster == s.cluster);
        (first.unwrap_or(0), s.writes.count_ones())
    }

    /// The best snapshot in the store.
    pub fn best(&self) -> Option<usize> {
        (0..self.snapshots.len()).max_by_key(|i| (self.rank(&self.snapshots[*i]), *i))
    }

    /// A life that existed already: these voters hold its data.
    pub fn with_life(mut self, cause: Cause, voters: u8, started: u8) -> Self {
        let cluster = self.newest() + 1;
        let config = Config::planned(voters, 0);
        let mut marks = [None; MOST];
        let mut fresh = 0;
        for (h, host) in self.hosts.iter_mut().enumerate() {
            if started & (1 << h) == 0 {
                continue;
            }
            host.member =
                Some(Member { cluster, number: 0, index: 1, writes: 0, config, new_urls: false, virgin: false });
            host.highest = cluster;
            host.phase = Phase::Running;
            fresh |= 1 << h;
            if cause != Cause::Adopted {
                host.started |= 1 << cluster;
                marks[h] = Some(Mark::Apply);
            }
        }
        self.plans.push(Plan {
            cause,
            cluster,
            seed: 0,
            snapshot: None,
            request: None,
            cancelled: false,
            lost: false,
            initial: config,
            listed: voters,
            listed_urls: 0,
            marks,
            records: Vec::new(),
            next_number: [1; MOST],
            ghost_config: config,
            ghost_index: 1,
            ghost_served: started.count_ones() >= config.majority(),
            ghost_broken: false,
            ghost_acked: 0,
            ghost_fresh: fresh,
        });
        self
    }

    /// A snapshot that is in the store already, of the newest life or older than all; it holds a write that was acknowledged.
    pub fn with_snapshot(mut self) -> Self {
        let cluster = self.newest();
        let voters = self.plans.last().map_or(self.everyone(), |p| p.listed);
        self.snapshots.push(Snapshot { cluster, writes: 1, voters });
        self.ghost_acked = 1;
        self.next_write = 1;
        for host in &mut self.hosts {
            if let Some(m) = &mut host.member {
                m.writes = 1;
            }
        }
        self
    }
}
