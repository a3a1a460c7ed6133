//! What a host does on a decision, in the small steps of the product. Any two of them may lie far apart, and a crash may come between.

use etcd_lifeboat::core::decide::{Decision, JoinHow, Rule};
use etcd_lifeboat::core::plan::PlanCause;

use super::raft;
use super::variant::{Safeguard, Variant};
use super::view::{self, Decider, View};
use super::world::{Cause, Config, Entry, Goal, MOST, Making, Mark, Member, PIN, Phase, Plan, Staging, World};

/// The world after a step, or what is broken by it. `None`: nothing happens.
pub type After = Option<Result<World, String>>;

fn number_of(name: &str) -> u8 {
    name[1..].parse().unwrap()
}

fn making(decision: &Decision, members: u8) -> Option<Making> {
    let Decision::MakePlan(draft) = decision else { return None };
    Some(Making {
        generation: draft.generation.0 as u8,
        cause: match draft.cause {
            PlanCause::Init => Cause::Init,
            PlanCause::Restore => Cause::Restore,
            PlanCause::Forced => Cause::Forced,
            PlanCause::Adopted => Cause::Adopted,
        },
        snapshot: draft.snapshot.as_ref().map(|s| number_of(s.as_str())),
        request: draft.request.as_ref().map(|r| view::request_of(r)),
        members,
    })
}

/// The life that a decision to join is about.
fn joined(world: &World, view: &View) -> Option<u8> {
    world.life(view.quorate()?)
}

fn goal(world: &World, view: &View, decision: &Decision) -> Option<Goal> {
    match decision {
        Decision::Start => Some(Goal::Start),
        Decision::Apply { generation } => Some(Goal::Apply(generation.0 as u8)),
        Decision::Join { how: JoinHow::WithPlanData } => Some(Goal::JoinWithData(joined(world, view)?)),
        Decision::Join { how: JoinHow::ReplaceMember } => Some(Goal::JoinAnew(joined(world, view)?)),
        Decision::PutBack { generation } => Some(Goal::PutBack(generation.0 as u8)),
        _ => None,
    }
}

/// etcd starts on what is there.
fn start(world: &mut World, h: usize) -> Result<(), String> {
    let newest = world.newest();
    let host = &mut world.hosts[h];
    host.phase = Phase::Running;
    host.highest = host.highest.max(newest);
    let Some(m) = &mut host.member else { return Ok(()) };
    if m.virgin {
        m.virgin = false;
        let cluster = m.cluster;
        if let Some(g) = world.life(cluster) {
            let plan = world.plan_mut(g);
            if plan.ghost_fresh & (1 << h) != 0 {
                return Err(format!("I3: a slot that has started in life {g} starts in it again with an empty log"));
            }
            plan.ghost_fresh |= 1 << h;
        }
    }
    Ok(())
}

/// A look of `h`, and where its decision leads.
pub fn look(world: &World, variant: &Variant, decider: &mut Decider, h: usize, view: &View) -> After {
    let (rule, decision, members) = decider.decide(variant, view);
    let mut next = world.clone();
    let host = &mut next.hosts[h];
    match host.phase {
        Phase::Gate => match &decision {
            // It was seen in the roll call: nobody may count it any more, and what was decided meanwhile must be seen.
            Decision::Start if matches!(host.entry, Entry::Stopped(_)) => host.phase = Phase::Withdraw(Goal::Start),
            Decision::Start if variant.late_starts => host.phase = Phase::Starting,
            Decision::Start => {
                if let Err(e) = start(&mut next, h) {
                    return Some(Err(e));
                }
            }
            Decision::MakePlan(_) => {
                let plan = making(&decision, members)?;
                if plan.generation > world.left.generations {
                    return None;
                }
                if plan.cause != Cause::Init && plan.snapshot.is_none() {
                    host.request_failed = true;
                    return Some(Ok(next));
                }
                host.staging = Some(Staging { generation: plan.generation, of_mark: false });
                host.phase = Phase::Built(plan);
            }
            Decision::Apply { .. } | Decision::Join { .. } => {
                let goal = goal(world, view, &decision)?;
                let g = goal.generation();
                if !matches!(goal, Goal::JoinAnew(_)) && host.staging.is_none_or(|s| s.generation != g) {
                    host.staging = Some(Staging { generation: g, of_mark: false });
                }
                host.phase = Phase::Withdraw(goal);
            }
            Decision::Resume { generation } => host.phase = Phase::Remember(Goal::Apply(generation.0 as u8)),
            Decision::Quarantine if rule == Rule::F1 => host.phase = Phase::MakeRoom(world.newest()),
            Decision::Quarantine => host.phase = Phase::Quarantine,
            // It stood in the roll call as one without data.
            Decision::PutBack { generation } if variant.k3s && host.member.is_none() => {
                host.phase = Phase::Withdraw(Goal::PutBack(generation.0 as u8));
            }
            Decision::PutBack { generation } => host.phase = Phase::PutBack(generation.0 as u8),
            Decision::Wait { .. } | Decision::Refuse { .. } => return None,
        },
        Phase::Built(plan) => {
            if making(&decision, members) == Some(plan) {
                if let Some(e) = not_to_be_planned(world, variant, view, plan) {
                    return Some(Err(e));
                }
                let counted = view.present() & plan.members;
                let unmarked = |newest: &Plan| {
                    (0..MOST).filter(|o| newest.marks[*o].is_none()).fold(0u8, |all, o| all | 1 << o) & newest.listed
                };
                let mut todo = world.plans.last().map_or(0, unmarked) & counted;
                if variant.lacks(Safeguard::MarksTakenBySeed) {
                    todo = 0;
                }
                host.phase = Phase::Barring(plan, todo);
            } else {
                host.staging = None;
                host.phase = Phase::Gate;
            }
        }
        Phase::LookAgain(wanted) => {
            let same = goal(world, view, &decision) == Some(wanted);
            host.phase = match wanted {
                _ if !same => Phase::Gate,
                Goal::Start => Phase::Starting,
                Goal::PutBack(g) => Phase::PutBack(g),
                _ => Phase::Mark(wanted),
            };
            if same && let Some(e) = not_the_best(world, variant, wanted) {
                return Some(Err(e));
            }
        }
        _ => return None,
    }
    Some(Ok(next))
}

/// I5 and I6, at the last look before the plan.
fn not_to_be_planned(world: &World, variant: &Variant, view: &View, plan: Making) -> Option<String> {
    if view.store_is_unknown() {
        return Some("I5: a plan is made while the store is unknown".into());
    }
    let all_stand = plan.members & !view.present() == 0;
    if plan.cause != Cause::Forced && view.heartbeat_is_young() && !all_stand {
        return Some(format!("I5: plan {} is made while a heartbeat is young", plan.generation));
    }
    let planned = plan.snapshot? as usize;
    let best = world.best()?;
    let rank = |i: usize| world.rank(&world.snapshots[i]);
    let named = match plan.cause {
        Cause::Forced => variant.requested,
        _ if plan.request == Some(PIN) => Some(0),
        _ => None,
    };
    // Whether a life may have begun with what the configuration names.
    let pin_used = world.plans.iter().any(|p| p.request == Some(PIN) && !p.cancelled && p.ghost_fresh != 0)
        || world.hosts.iter().any(|h| h.consumed & (1 << PIN) != 0);
    match named {
        Some(named) => (planned != named as usize)
            .then(|| format!("I6: plan {} restores s{planned}, and a person has named s{named}", plan.generation)),
        None if plan.cause == Cause::Restore && variant.pinned && !pin_used => Some(format!(
            "I6: plan {} restores s{planned} as the best, and the configuration names s0",
            plan.generation
        )),
        None => (rank(planned) < rank(best))
            .then(|| format!("I6: plan {} restores s{planned}, and s{best} is better", plan.generation)),
    }
}

/// I6, at the last look before the mark.
fn not_the_best(world: &World, _variant: &Variant, goal: Goal) -> Option<String> {
    let Goal::Apply(g) = goal else { return None };
    let plan = world.plan(g);
    let (planned, best) = (plan.snapshot? as usize, world.best()?);
    let rank = |i: usize| world.rank(&world.snapshots[i]);
    // What a person has named was looked at when the plan was made, and is the only one that it ever restores.
    (plan.cause == Cause::Restore && plan.request != Some(PIN) && rank(planned) < rank(best))
        .then(|| format!("I6: plan {g} is applied with snapshot s{planned}, and s{best} is better"))
}

/// The next step of `h`, when it is in the middle of something.
pub fn step(world: &World, variant: &Variant, h: usize) -> After {
    let mut next = world.clone();
    let done = match world.hosts[h].phase {
        Phase::Starting => start(&mut next, h),
        Phase::Barring(plan, 0) => create(&mut next, variant, h, plan),
        Phase::Barring(plan, todo) => {
            let other = todo.trailing_zeros() as usize;
            let marks = &mut next.plans.last_mut()?.marks;
            if marks[other].is_some() && variant.conditional {
                next.hosts[h].staging = None;
                next.hosts[h].phase = Phase::Gate;
            } else {
                marks[other] = Some(Mark::Barred);
                next.hosts[h].phase = Phase::Barring(plan, todo & !(1 << other));
                let newest = next.newest();
                let older = next.plan_mut(newest);
                if variant.k3s && older.seed as usize == other && older.cause != Cause::Init {
                    // As the product's catalog reads it: nobody else restores.
                    older.cancelled = true;
                    raft::not_given_up(&mut next, newest);
                }
            }
            Ok(())
        }
        Phase::Withdraw(goal) => {
            let host = &mut next.hosts[h];
            if host.entry != Entry::None && !variant.lacks(Safeguard::WithdrawnEntries) {
                host.entry = Entry::Withdrawn;
            }
            host.phase = Phase::LookAgain(goal);
            Ok(())
        }
        Phase::Mark(goal) => {
            take_mark(&mut next, variant, h, goal);
            Ok(())
        }
        Phase::Remember(goal) => {
            let host = &mut next.hosts[h];
            let g = goal.generation();
            if !unmarked_by_design(variant, goal) {
                host.started |= 1 << g;
            }
            host.highest = host.highest.max(g);
            host.phase = match goal {
                Goal::JoinAnew(g) => Phase::RecordRemoval(g),
                _ => Phase::MoveAside(goal),
            };
            Ok(())
        }
        Phase::MoveAside(goal) => {
            let cause = world.plan(goal.generation()).cause;
            let host = &mut next.hosts[h];
            host.phase = Phase::Rename(goal);
            match host.member.take() {
                Some(_) if cause != Cause::Forced => Err(format!(
                    "I2: healthy data is moved aside for plan {}, which nobody asked for",
                    goal.generation()
                )),
                old => {
                    host.aside.extend(old.map(|m| (goal.generation(), m)));
                    Ok(())
                }
            }
        }
        Phase::Rename(goal) => {
            rename(&mut next, h, goal.generation());
            Ok(())
        }
        Phase::RecordRemoval(g) => {
            record_removal(&mut next, variant, h, g);
            Ok(())
        }
        Phase::Remove(g) => change(&mut next, h, g, Phase::RecordRemoved(g), |config| config.remove(h)),
        Phase::RecordRemoved(g) => {
            record_in_effect(&mut next, h, g, Phase::AddLearner(g));
            Ok(())
        }
        Phase::AddLearner(g) => add_learner(&mut next, h, g),
        Phase::Promoting => match life_of(world, h) {
            Some(g) => change(&mut next, h, g, Phase::Confirming, |config| config.promote(h)),
            None => return None,
        },
        Phase::Confirming => {
            match life_of(world, h) {
                Some(g) => record_in_effect(&mut next, h, g, Phase::Running),
                None => next.hosts[h].phase = Phase::Running,
            }
            Ok(())
        }
        Phase::Quarantine => {
            let host = &mut next.hosts[h];
            let member = host.member.take();
            host.aside.extend(member.map(|m| (0, m)));
            host.phase = Phase::Gate;
            Ok(())
        }
        Phase::MakeRoom(g) => {
            let host = &mut next.hosts[h];
            let member = host.member.take();
            host.aside.extend(member.map(|m| (g, m)));
            host.phase = Phase::Gate;
            Ok(())
        }
        Phase::PutBack(g) => {
            let any = variant.lacks(Safeguard::PutBackItsOwn);
            let host = &mut next.hosts[h];
            let newer = host.member.take();
            // Only what was moved aside for this very plan: anything else may be years old, and its votes forgotten.
            let older = host.aside.iter().rposition(|(plan, _)| any || *plan == g).map(|i| host.aside.remove(i).1);
            host.aside.extend(newer.map(|m| (0, m)));
            host.member = older;
            host.staging = None;
            host.phase = Phase::Gate;
            Ok(())
        }
        Phase::Running => return promote(world, variant, h),
        Phase::Gate | Phase::Built(_) | Phase::LookAgain(_) | Phase::Gone => return None,
    };
    Some(done.map(|()| next))
}

fn unmarked_by_design(variant: &Variant, goal: Goal) -> bool {
    match goal {
        Goal::Apply(_) => variant.lacks(Safeguard::MarkAtApply),
        Goal::Start | Goal::PutBack(_) => false,
        Goal::JoinWithData(_) => variant.lacks(Safeguard::MarkAtJoin),
        Goal::JoinAnew(_) => variant.lacks(Safeguard::MarkAtJoin) || variant.lacks(Safeguard::MarkAtJoinAnew),
    }
}

fn take_mark(next: &mut World, variant: &Variant, h: usize, goal: Goal) {
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
fn create(next: &mut World, variant: &Variant, h: usize, plan: Making) -> Result<(), String> {
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
    let holds_data = |h: &super::world::Host| h.member.is_some();
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

fn rename(next: &mut World, h: usize, g: u8) {
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

fn life_of(world: &World, h: usize) -> Option<u8> {
    world.life(world.hosts[h].member?.cluster)
}

/// The configuration in effect in a life, as a linearizable read gives it.
fn in_effect(world: &World, g: u8) -> Option<Config> {
    raft::leader_of(world, world.plan(g).cluster).map(|l| l.config)
}

fn record(next: &mut World, g: u8, voters: u8, confirmed: bool) {
    let records = &mut next.plan_mut(g).records;
    if records.last() != Some(&(voters, confirmed)) {
        records.push((voters, confirmed));
    }
}

fn record_removal(next: &mut World, variant: &Variant, h: usize, g: u8) {
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
fn change(next: &mut World, h: usize, g: u8, then: Phase, edit: impl FnOnce(&mut Config)) -> Result<(), String> {
    let Some(leader) = raft::leader_of(next, next.plan(g).cluster) else {
        let up = raft::is_up(next, h);
        next.hosts[h].phase = if up { Phase::Running } else { Phase::Gate };
        return Ok(());
    };
    next.hosts[h].phase = then;
    raft::commit(next, &leader, leader.grants, true, |m| edit(&mut m.config))
}

fn record_in_effect(next: &mut World, h: usize, g: u8, then: Phase) {
    next.hosts[h].phase = then;
    if let Some(config) = in_effect(next, g) {
        record(next, g, config.voters(), true);
    }
}

fn add_learner(next: &mut World, h: usize, g: u8) -> Result<(), String> {
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
fn promote(world: &World, variant: &Variant, h: usize) -> After {
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
