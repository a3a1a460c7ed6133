//! Steps that write a plan or follow it: the plan itself, the mark, the last rename.

use super::super::raft;
use super::super::variant::{Safeguard, Variant};
use super::super::world::{Cause, Config, Goal, MOST, Making, Mark, Member, PIN, Phase, Plan, World};
use super::unmarked_by_design;

pub(super) fn take_mark(next: &mut World, variant: &Variant, h: usize, goal: Goal) {
    let g = goal.generation();
    let mark = if matches!(goal, Goal::Apply(_)) { Mark::Apply } else { Mark::Join };
    let taken = next.plan(g).marks[h];
    let host = &mut next.hosts[h];
    if matches!(goal, Goal::JoinAnew(_)) {
        // No older member of this slot may ever vote again.
        for (plan, _) in &mut host.aside {
            *plan = 0;
        }
    }
    let mine = host.staging.is_some_and(|s| s.generation == g && s.of_mark);
    let overwrites = !variant.conditional;
    if unmarked_by_design(variant, goal) {
        host.phase = Phase::Remember(goal);
    } else if taken.is_none() || overwrites {
        if let Some(s) = &mut host.staging
            && s.generation == g
        {
            s.of_mark = true;
        }
        host.phase = Phase::Remember(goal);
        next.plan_mut(g).marks[h] = Some(mark);
    } else if mine || matches!(goal, Goal::JoinAnew(_)) {
        host.phase = Phase::Remember(goal);
    } else {
        host.staging = None;
        host.phase = Phase::Gate;
    }
}

/// Writes the plan, unless there is one.
pub(super) fn create(next: &mut World, variant: &Variant, h: usize, plan: Making) -> Result<(), String> {
    let host = &mut next.hosts[h];
    host.phase = Phase::Gate;
    if next.newest() >= plan.generation {
        next.hosts[h].staging = None;
        return Ok(());
    }
    if plan.cause != Cause::Forced
        && let Some(older) = raft::leaders(next).first()
        && variant.none_beside
    {
        return Err(format!("I5: plan {} is made while cluster {} serves", plan.generation, older.cluster));
    }
    let listed = plan.members;
    // It was renewed after the last look: then who wrote it holds data, or did a moment ago.
    let holds_data = |h: &super::super::world::Host| h.member.is_some();
    if plan.cause != Cause::Forced
        && matches!(next.heartbeat, Some((_, true)))
        && next.hosts.iter().any(holds_data)
        && !variant.lacks(Safeguard::FreshHeartbeat)
    {
        return Err(format!("I5: plan {} is made while a heartbeat is young", plan.generation));
    }
    let urls = next.urls();
    let cluster = match next.plans.first() {
        Some(first) if variant.lacks(Safeguard::FreshToken) => first.cluster,
        _ => plan.generation,
    };
    if plan.cause == Cause::Forced
        && let Some(request) = plan.request
        && next.plans.iter().any(|p| p.request == Some(request) && !p.cancelled)
    {
        return Err(format!("I7: request r{request} is consumed a second time, by plan {}", plan.generation));
    }
    if plan.cause == Cause::Forced || plan.request == Some(PIN) {
        let kept = plan.snapshot.map_or(0, |s| next.snapshots[s as usize].writes);
        next.ghost_excused |= next.ghost_acked & !kept;
    }
    let initial = Config::planned(if variant.k3s { 1 << h } else { listed }, urls);
    next.plans.push(Plan {
        cause: plan.cause,
        cluster,
        seed: h as u8,
        snapshot: plan.snapshot,
        request: plan.request,
        cancelled: false,
        lost: false,
        initial,
        listed,
        listed_urls: urls & listed,
        marks: [None; MOST],
        records: Vec::new(),
        next_number: [1; MOST],
        ghost_config: initial,
        ghost_index: 1,
        ghost_served: false,
        ghost_broken: false,
        ghost_acked: 0,
        ghost_fresh: 0,
    });
    Ok(())
}

pub(super) fn rename(next: &mut World, h: usize, g: u8) {
    let plan = next.plan(g).clone();
    let writes = plan.snapshot.map_or(0, |s| next.snapshots[s as usize].writes);
    let host = &mut next.hosts[h];
    host.phase = Phase::Gate;
    host.staging = None;
    host.member = Some(Member {
        cluster: plan.cluster,
        number: 0,
        index: 1,
        writes,
        config: plan.initial,
        new_urls: plan.listed_urls & (1 << h) != 0,
        virgin: true,
    });
    if let Some(r) = plan.request {
        host.consumed |= 1 << r;
        if host.request == Some(r) {
            host.request = None;
        }
    }
}
