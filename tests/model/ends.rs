//! I8: when faults have ended and all hosts and the store are up, every host reaches an end in a bounded number of rounds: etcd runs, or it waits for or
//! refuses what only a person can decide.

use etcd_lifeboat::core::decide::{Decision, WaitReason};

use super::environment::{self, Action};
use super::raft;
use super::step;
use super::variant::Variant;
use super::view::{self, Decider};
use super::world::{Budget, Phase, World};

/// More rounds than any end needs: each host does one step in each.
const MOST_ROUNDS: usize = 150;

/// Whether a host may stay in this: a person must act.
fn names_a_person(decision: &Decision) -> bool {
    matches!(
        decision,
        Decision::Refuse { .. } | Decision::Wait { reason: WaitReason::QuorumLost | WaitReason::VotersGone }
    )
}

fn one_step(world: &World, variant: &Variant, decider: &mut Decider, h: usize) -> step::After {
    match world.hosts[h].phase {
        Phase::Gate | Phase::Built(_) | Phase::LookAgain(_) => {
            let view = view::views(world, variant, h).into_iter().next()?;
            step::look(world, variant, decider, h, &view)
        }
        _ => step::step(world, variant, h),
    }
}

/// Runs the world on without faults. `Err`: what does not end, or ends where no person is named.
pub fn settle(world: &World, variant: &Variant, decider: &mut Decider) -> Result<usize, String> {
    let mut now = world.clone();
    now.left = Budget { generations: world.newest() + 4, ..Budget::default() };
    now.heartbeat = now.heartbeat.map(|(g, _)| (g, false));
    if let Some(ships) = now.spooled.take() {
        now.snapshots.push(ships);
    }
    if let Some(cancel) = now.cancel.take() {
        // The person's command goes on to its end, or gives up.
        let _ = cancel;
    }
    let hosts = now.hosts.len();
    for round in 1..=MOST_ROUNDS {
        let before = now.clone();
        for action in environment::actions(&now, variant) {
            let enters =
                matches!(action, Action::Enter(_) | Action::Eject(_) | Action::Replicate(_) | Action::RecordByAgent(_));
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
            for h in (0..hosts).filter(|h| !raft::is_up(&now, *h)) {
                let Some(view) = view::views(&now, variant, h).into_iter().next() else { continue };
                let (rule, decision) = decider.decide(variant, &view);
                if !names_a_person(&decision) {
                    return Err(format!(
                        "h{h} stays in {:?} with {rule} {decision}, which no person is asked to end:\n{now:#?}",
                        now.hosts[h].phase
                    ));
                }
            }
            return Ok(round);
        }
    }
    Err(format!("no end after {MOST_ROUNDS} rounds:\n{now:#?}"))
}
