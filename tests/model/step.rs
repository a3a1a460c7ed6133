//! What a host does on a decision, in the small steps of the product. Any two of them may lie far apart, and a crash may come between.

mod membership;
mod plan;

use etcd_lifeboat::core::decide::{Decision, JoinHow, Rule};
use etcd_lifeboat::core::plan::PlanCause;

use membership::{add_learner, change, life_of, promote, record_in_effect, record_removal};
use plan::{create, rename, take_mark};

use super::raft;
use super::variant::{Safeguard, Variant};
use super::view::{self, Decider, View};
use super::world::{Cause, Entry, Goal, MOST, Making, Mark, PIN, Phase, Plan, Staging, World};

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
