//! The order of the hosts: worlds that differ by it only are searched once.

use super::{Config, MOST, Phase, World};

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
