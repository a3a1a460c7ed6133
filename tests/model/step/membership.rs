//! Steps that change who is a member: records of voters, learners, promotions.

use super::super::raft;
use super::super::variant::{Safeguard, Variant};
use super::super::world::{Config, Member, Phase, World};
use super::After;

pub(super) fn life_of(world: &World, h: usize) -> Option<u8> {
    world.life(world.hosts[h].member?.cluster)
}

/// The configuration in effect in a life, as a linearizable read gives it.
pub(super) fn in_effect(world: &World, g: u8) -> Option<Config> {
    raft::leader_of(world, world.plan(g).cluster).map(|l| l.config)
}

pub(super) fn record(next: &mut World, g: u8, voters: u8, confirmed: bool) {
    let records = &mut next.plan_mut(g).records;
    if records.last() != Some(&(voters, confirmed)) {
        records.push((voters, confirmed));
    }
}

pub(super) fn record_removal(next: &mut World, variant: &Variant, h: usize, g: u8) {
    let Some(config) = in_effect(next, g) else {
        next.hosts[h].phase = Phase::Gate;
        return;
    };
    if config.number(h).is_none() {
        next.hosts[h].phase = Phase::AddLearner(g);
        return;
    }
    next.hosts[h].phase = Phase::Remove(g);
    if config.is_learner(h) {
        return;
    }
    let rest = config.voters() & !(1 << h);
    let up = (0..next.hosts.len()).filter(|o| rest & (1 << o) != 0 && raft::is_up(next, *o)).count() as u32;
    if up < rest.count_ones() / 2 + 1 {
        // Never below quorum.
        next.hosts[h].phase = Phase::Gate;
        return;
    }
    if !variant.lacks(Safeguard::VotersBefore) {
        record(next, g, rest, false);
    }
}

/// A change of the members, through the leader.
pub(super) fn change(
    next: &mut World,
    h: usize,
    g: u8,
    then: Phase,
    edit: impl FnOnce(&mut Config),
) -> Result<(), String> {
    let Some(leader) = raft::leader_of(next, next.plan(g).cluster) else {
        let up = raft::is_up(next, h);
        next.hosts[h].phase = if up { Phase::Running } else { Phase::Gate };
        return Ok(());
    };
    next.hosts[h].phase = then;
    raft::commit(next, &leader, leader.grants, true, |m| edit(&mut m.config))
}

pub(super) fn record_in_effect(next: &mut World, h: usize, g: u8, then: Phase) {
    next.hosts[h].phase = then;
    if let Some(config) = in_effect(next, g) {
        record(next, g, config.voters(), true);
    }
}

pub(super) fn add_learner(next: &mut World, h: usize, g: u8) -> Result<(), String> {
    let cluster = next.plan(g).cluster;
    let Some(leader) = raft::leader_of(next, cluster) else {
        next.hosts[h].phase = Phase::Gate;
        return Ok(());
    };
    // Somebody may have added it meanwhile: look again.
    if leader.config.number(h).is_some() {
        next.hosts[h].phase = Phase::Gate;
        return Ok(());
    }
    let number = next.plan(g).next_number[h];
    next.plan_mut(g).next_number[h] += 1;
    let new_urls = next.hosts[h].new_urls;
    raft::commit(next, &leader, leader.grants, true, |m| m.config.add_learner(h, number, new_urls))?;
    let host = &mut next.hosts[h];
    host.member =
        Some(Member { cluster, number, index: 0, writes: 0, config: Config::default(), new_urls, virgin: false });
    host.staging = None;
    host.phase = Phase::Running;
    // From here on it may have voted: the plan's data is not for this slot any more.
    next.plan_mut(g).ghost_fresh |= 1 << h;
    Ok(())
}

/// A learner that has caught up: its voters are recorded, then it is promoted.
pub(super) fn promote(world: &World, variant: &Variant, h: usize) -> After {
    let m = world.hosts[h].member?;
    let g = world.life(m.cluster)?;
    let leader = raft::leader_of(world, m.cluster)?;
    let log = world.hosts[leader.host].member?;
    if !leader.config.is_learner(h) || leader.config.number(h) != Some(m.number) || m.index != log.index {
        return None;
    }
    let mut next = world.clone();
    next.hosts[h].phase = Phase::Promoting;
    if !variant.lacks(Safeguard::VotersBefore) {
        record(&mut next, g, leader.config.voters() | 1 << h, false);
    }
    Some(Ok(next))
}
