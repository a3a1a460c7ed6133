//! The abstract world: hosts with their disks and memory, the store, and what etcd's Raft keeps.
//!
//! A state is small and hashable. Fields named `ghost_*` are not seen by any host: only the checks read them.

mod config;
mod host;
mod representative;

pub use config::{Config, MOST};
pub use host::{Entry, Goal, Host, Making, Member, Phase, Staging, blank_host};

/// The request that stands for a snapshot that the configuration names.
pub const PIN: u8 = 7;

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
