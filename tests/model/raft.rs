//! The abstract Raft: who can lead, what a commit does, and what must be true whenever a leader is there.

use super::world::{Config, MOST, Phase, World};

/// A member that a majority of its configuration's voters would elect, with those voters.
#[derive(Debug, Clone, Copy)]
pub struct Leader {
    pub host: usize,
    pub cluster: u8,
    /// Running voters that hold no longer log.
    pub grants: u8,
    pub config: Config,
}

fn runs(phase: Phase) -> bool {
    matches!(phase, Phase::Running | Phase::Promoting | Phase::Confirming)
}

/// Whether etcd runs on the host.
pub fn is_up(world: &World, h: usize) -> bool {
    runs(world.hosts[h].phase) && world.hosts[h].member.is_some()
}

/// All that can lead now.
pub fn leaders(world: &World) -> Vec<Leader> {
    let mut all = Vec::new();
    for (host, candidate) in world.hosts.iter().enumerate() {
        let Some(own) = candidate.member else { continue };
        if !runs(candidate.phase) || !own.config.is_voter(host, own.number) {
            continue;
        }
        let grants =
            (0..world.hosts.len()).filter(|h| is_up(world, *h)).fold(0u8, |grants, h| match world.hosts[h].member {
                Some(m) if m.cluster == own.cluster && own.config.is_voter(h, m.number) && m.index <= own.index => {
                    grants | 1 << h
                }
                _ => grants,
            });
        if grants.count_ones() >= own.config.majority() {
            all.push(Leader { host, cluster: own.cluster, grants, config: own.config });
        }
    }
    all
}

/// The leader of a cluster with the longest log.
pub fn leader_of(world: &World, cluster: u8) -> Option<Leader> {
    leaders(world)
        .into_iter()
        .filter(|l| l.cluster == cluster)
        .max_by_key(|l| world.hosts[l.host].member.map_or(0, |m| m.index))
}

/// The voters of smallest majorities that contain the leader.
pub fn small_quorums(leader: &Leader) -> Vec<u8> {
    (1u8..1 << MOST)
        .filter(|q| {
            q & !leader.grants == 0 && q & (1 << leader.host) != 0 && q.count_ones() == leader.config.majority()
        })
        .collect()
}

/// The leader's log reaches `quorum` and, with `everyone`, the learners that run. What must be true of a leader is checked here.
pub fn replicate(world: &mut World, leader: &Leader, quorum: u8, everyone: bool) -> Result<(), String> {
    let Some(log) = world.hosts[leader.host].member else { return Ok(()) };
    let life = world.life(leader.cluster);
    let lost = world.ghost_acked & !world.ghost_excused & !log.writes;
    if lost != 0 {
        return Err(format!(
            "I9: cluster {} serves without the acknowledged write(s) {lost:#b}; they were not lost with a majority of disks, and no person gave them up",
            leader.cluster
        ));
    }
    for h in 0..world.hosts.len() {
        let up = is_up(world, h);
        let Some(m) = &mut world.hosts[h].member else { continue };
        let learns = everyone && leader.config.number(h) == Some(m.number) && m.index <= log.index;
        if !up || m.cluster != leader.cluster || !(quorum & (1 << h) != 0 || learns) {
            continue;
        }
        m.index = log.index;
        m.writes = log.writes;
        m.config = log.config;
    }
    if let Some(g) = life {
        let plan = world.plan_mut(g);
        plan.ghost_served = true;
        if log.index >= plan.ghost_index {
            plan.ghost_index = log.index;
            plan.ghost_config = log.config;
        }
    }
    Ok(())
}

/// Appends an entry to the leader's log and replicates it.
pub fn commit(
    world: &mut World,
    leader: &Leader,
    quorum: u8,
    everyone: bool,
    entry: impl FnOnce(&mut super::world::Member),
) -> Result<(), String> {
    // An elected leader's log is the quorum's before anything new is.
    replicate(world, leader, quorum, everyone)?;
    if let Some(m) = &mut world.hosts[leader.host].member {
        m.index += 1;
        entry(m);
    }
    replicate(world, leader, quorum, everyone)
}

/// A client's write, acknowledged by `quorum`.
pub fn write(world: &mut World, leader: &Leader, quorum: u8) -> Result<(), String> {
    let bit = 1u16 << world.next_write;
    commit(world, leader, quorum, false, |m| m.writes |= bit)?;
    world.next_write += 1;
    world.left.writes -= 1;
    world.ghost_acked |= bit;
    if let Some(g) = world.life(leader.cluster) {
        world.plan_mut(g).ghost_acked |= bit;
        // What is still written into a life that a person's plan has taken back is lost by that person's word.
        let forced = (g + 1..=world.newest())
            .map(|later| world.plan(later))
            .any(|p| p.cause == super::world::Cause::Forced && !p.cancelled);
        if forced || world.plan(g).ghost_broken {
            world.ghost_excused |= bit;
        }
    }
    Ok(())
}

/// After disks were lost: are fewer than a majority left of what a life had in effect? Then its writes may be lost.
pub fn count_disks(world: &mut World) {
    for g in 1..=world.newest() {
        let plan = world.plan(g);
        if !plan.ghost_served || plan.ghost_broken {
            continue;
        }
        let config = plan.ghost_config;
        let intact = (0..world.hosts.len())
            .filter(|h| {
                let host = &world.hosts[*h];
                host.member
                    .iter()
                    .chain(host.aside.iter().map(|(_, m)| m))
                    .any(|m| m.cluster == plan.cluster && config.is_voter(*h, m.number))
            })
            .count() as u32;
        if intact < config.majority() {
            let acked = plan.ghost_acked;
            world.plan_mut(g).ghost_broken = true;
            world.ghost_excused |= acked;
        }
    }
}

/// A forced plan was taken back before it came alive: what the life before it has acknowledged is not given up after all.
pub fn not_given_up(world: &mut World, generation: u8) {
    for g in 1..generation {
        let plan = world.plan(g);
        if !plan.ghost_broken && !plan.lost && (g + 1..=world.newest()).all(|later| world.plan(later).cancelled) {
            world.ghost_excused &= !world.plan(g).ghost_acked;
        }
    }
}

/// Two lives that can both be written to, if there are.
pub fn two_lives(world: &World) -> Option<String> {
    let all = leaders(world);
    let first = all.first()?;
    let second = all.iter().find(|l| l.cluster != first.cluster)?;
    Some(format!("I4: clusters {} and {} are quorate at the same time", first.cluster, second.cluster))
}
