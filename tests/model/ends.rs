//! I8: when faults have ended and all hosts and the store are up, every host reaches an end in a bounded number of rounds: etcd runs, or it waits for or
//! refuses what only a person can decide.

use etcd_lifeboat::core::decide::{Decision, Rule, WaitReason};

use super::environment::{self, Action};
use super::raft;
use super::step;
use super::variant::Variant;
use super::view::{self, Decider};
use super::world::{Budget, Phase, World};

/// More rounds than any end needs: each host does one step in each.
const MOST_ROUNDS: usize = 150;

/// Whether a host may stay in this: a person must act, and is told what to do.
fn names_a_person(rule: Rule, decision: &Decision) -> bool {
    match decision {
        Decision::Refuse { .. } => true,
        Decision::Wait { reason: WaitReason::QuorumLost | WaitReason::VotersGone } => true,
        // On k3s: that the others are stopped for the restore that was asked for.
        Decision::Wait { reason: WaitReason::Peers } => matches!(rule, Rule::F1 | Rule::F2),
        _ => false,
    }
}

/// Whether a host waits for one that holds data of an older life, and says what to type there.
fn told_to_choose(world: &World, variant: &Variant, h: usize) -> bool {
    let view = view::views(world, variant, h).into_iter().next();
    let hint = view.and_then(|v| Decider::verdict(variant, &v).hint);
    hint.is_some_and(|hint| hint.contains("lifeboat quarantine add"))
}

fn one_step(world: &World, variant: &Variant, decider: &mut Decider, h: usize) -> step::After {
    match world.hosts[h].phase {
        _ if !variant.gated(h) => None,
        Phase::Gate | Phase::Built(_) | Phase::LookAgain(_) => {
            let view = view::views(world, variant, h).into_iter().next()?;
            step::look(world, variant, decider, h, &view)
        }
        _ => step::step(world, variant, h),
    }
}

/// Runs the world on without faults. `Err`: what does not end, or ends where no person is named.
pub fn settle(world: &World, variant: &Variant, decider: &mut Decider) -> Result<(usize, World), String> {
    let mut now = world.clone();
    now.left = Budget { generations: world.newest() + 4, ..Budget::default() };
    now.heartbeat = now.heartbeat.map(|(g, _)| (g, false));
    if let Some(ships) = now.spooled.take() {
        now.snapshots.push(ships);
    }
    // A person's command that was not finished is not gone on with.
    now.cancel = None;
    let hosts = now.hosts.len();
    for round in 1..=MOST_ROUNDS {
        let before = now.clone();
        for action in environment::actions(&now, variant) {
            let enters = matches!(
                action,
                Action::Enter(_)
                    | Action::Eject(_)
                    | Action::Replicate(_)
                    | Action::RecordByAgent(_)
                    | Action::StartByHand(_)
                    | Action::ClockSaysLost
            );
            // A member that was removed ends for good, at the latest when it hears of that.
            let listed = |h: usize| {
                let leader = now.hosts[h].member.and_then(|m| raft::leader_of(&now, m.cluster));
                leader.is_none_or(|l| l.config.number(h) == now.hosts[h].member.map(|m| m.number))
            };
            let enters = enters && !matches!(action, Action::StartByHand(h) if !listed(h as usize));
            // Each of them may have become impossible by the one before it.
            if enters
                && environment::actions(&now, variant).contains(&action)
                && let Some(next) = environment::act(&now, variant, action)
            {
                now = next?;
            }
        }
        for h in 0..hosts {
            if let Some(next) = one_step(&now, variant, decider, h) {
                now = next?;
            }
        }
        if now == before {
            let waits = |h: &usize| !raft::is_up(&now, *h) && now.hosts[*h].phase != Phase::Gone && variant.gated(*h);
            let down = (0..hosts).filter(waits);
            let stay: Vec<(usize, Rule, Decision)> = down
                .filter_map(|h| {
                    let view = view::views(&now, variant, h).into_iter().next()?;
                    let (rule, decision, _) = decider.decide(variant, &view);
                    Some((h, rule, decision))
                })
                .collect();
            // Who waits for the data or the vote of a host that a person must decide on, waits for that person.
            let asked = stay
                .iter()
                .any(|(h, rule, decision)| names_a_person(*rule, decision) || told_to_choose(&now, variant, *h));
            for (h, rule, decision) in &stay {
                // Hosts that come and go: with so few left, more have to be created.
                let for_new = variant.expected.is_some_and(|n| {
                    let here = now.hosts.iter().filter(|h| h.phase != Phase::Gone).count();
                    here < usize::from(n) && matches!(decision, Decision::Wait { reason: WaitReason::RollCall })
                });
                let for_others =
                    asked && matches!(decision, Decision::Wait { reason: WaitReason::RollCall | WaitReason::Peers });
                if !names_a_person(*rule, decision) && !for_others && !for_new {
                    return Err(format!(
                        "h{h} stays with {rule} {decision}, which no person is asked to end:\n{now:#?}"
                    ));
                }
            }
            return Ok((round, now));
        }
    }
    Err(format!("no end after {MOST_ROUNDS} rounds:\n{now:#?}"))
}

/// I7, the other half of it: a request is not lost. When all hosts have rebooted, it has made its plan, and the life of that plan serves; or a person is
/// told why not.
pub fn requests_are_done(world: &World, variant: &Variant, decider: &mut Decider) -> Result<(), String> {
    let taken_back = world.cancel.is_some() || world.plans.iter().any(|p| p.cancelled);
    if world.next_request == 0 || taken_back {
        return Ok(());
    }
    let mut end = world.clone();
    // Each host follows at its next start: who had started before the plan was made follows when it starts once more.
    for _ in 0..=world.next_request {
        for host in end.hosts.iter_mut().filter(|h| h.phase != Phase::Gone) {
            host.phase = Phase::Gate;
            host.request_failed = false;
        }
        end = settle(&end, variant, decider)?.1;
    }
    let waits = (0..end.hosts.len()).any(|h| variant.gated(h) && !raft::is_up(&end, h));
    for r in 0..world.next_request {
        let armed = world.hosts.iter().any(|h| h.request == Some(r));
        let plan = (1..=end.newest()).find(|g| end.plan(*g).request == Some(r));
        match plan {
            // A host that was set up anew takes what was asked for on it with it.
            None if !armed && variant.begin.left.replaced == 0 => {
                return Err(format!("request r{r} is armed nowhere, and no plan has consumed it:\n{world:#?}"));
            }
            None if armed && !waits => {
                return Err(format!(
                    "request r{r} is armed, all hosts have started, and no plan has consumed it:\n{end:#?}"
                ));
            }
            Some(g) if g == end.newest() && !waits && raft::leader_of(&end, end.plan(g).cluster).is_none() => {
                return Err(format!(
                    "request r{r} has made plan {g}, all hosts have started, and that life does not serve:\n{end:#?}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
