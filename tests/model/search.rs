//! Breadth-first search over all worlds of a variant, and the trace to the first broken invariant.
//!
//! Visited worlds are kept as 64-bit hashes (SipHash with fixed keys): a collision would hide a world, with a chance of about one in a million for
//! six million worlds. How each was reached is kept beside it, so that a trace can be replayed.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry as Slot};
use std::hash::{Hash, Hasher};
use std::time::Instant;

use super::environment::{self, Action};
use super::raft;
use super::step;
use super::variant::Variant;
use super::view::{self, Decider};
use super::world::{Cause, Phase, World};

/// What a search has come to.
pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// All was seen, not only as much as the limit allows.
    pub complete: bool,
    pub views: usize,
    pub seconds: f64,
    /// The first broken invariant, with the way to it.
    pub broken: Option<(String, Vec<String>)>,
    /// Worlds to try other things from: one of each so many.
    pub samples: Vec<World>,
}

fn key(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// What must be true of every world.
pub fn broken(world: &World, variant: &Variant) -> Option<String> {
    if let Some(two) = raft::two_lives(world) {
        return Some(two);
    }
    for leader in raft::leaders(world) {
        let Some(g) = world.life(leader.cluster) else { continue };
        if world.plan(g).cancelled {
            return Some(format!("I5: life {g} serves, which was taken back"));
        }
        let dead = (g + 1..=world.newest()).find(|later| {
            matches!(world.plan(*later).cause, Cause::Init | Cause::Restore) && !world.plan(*later).cancelled
        });
        if let Some(later) = dead.filter(|_| variant.dead_stay_dead) {
            return Some(format!("I5: life {g} serves, which plan {later} has declared dead"));
        }
    }
    None
}

/// The world after `action`.
pub fn after(world: &World, variant: &Variant, decider: &mut Decider, action: Action) -> step::After {
    match action {
        Action::Step(h) => step::step(world, variant, h as usize),
        Action::Look(h, which) => {
            let views = view::views(world, variant, h as usize);
            let view = views.get(which as usize)?;
            step::look(world, variant, decider, h as usize, view)
        }
        other => environment::act(world, variant, other),
    }
}

/// All that can happen next, with what follows.
pub fn successors(world: &World, variant: &Variant, decider: &mut Decider) -> Vec<(Action, Result<World, String>)> {
    let mut all = Vec::new();
    for action in environment::actions(world, variant) {
        all.extend(after(world, variant, decider, action).map(|next| (action, next)));
    }
    for (h, host) in world.hosts.iter().enumerate() {
        if !matches!(host.phase, Phase::Gate | Phase::Built(_) | Phase::LookAgain(_)) || !variant.gated(h) {
            continue;
        }
        for (v, view) in view::views(world, variant, h).iter().enumerate() {
            let next = step::look(world, variant, decider, h, view);
            all.extend(next.map(|next| (Action::Look(h as u8, v as u8), next)));
        }
    }
    all
}

/// The representative of a world, and the order of hosts that it has.
fn representative(world: World, variant: &Variant) -> (World, Vec<usize>) {
    let order = if variant.symmetric() { world.order() } else { (0..world.hosts.len()).collect() };
    (world.permuted(&order), order)
}

/// Every world of the variant, up to `limit` of them.
pub fn search(variant: &Variant, limit: usize, every: usize) -> Found {
    let begun = Instant::now();
    let mut decider = Decider::default();
    let mut from: HashMap<u64, (u64, Action)> = HashMap::new();
    let (begin, _) = representative(variant.begin.clone(), variant);
    let start = key(&begin);
    from.insert(start, (start, Action::Ship));
    let mut level = vec![begin];
    let mut found = Found {
        states: 1,
        depth: 0,
        complete: true,
        views: 0,
        seconds: 0.0,
        broken: None,
        samples: vec![variant.begin.clone()],
    };
    'all: while !level.is_empty() {
        let mut further = Vec::new();
        for world in &level {
            let here = key(world);
            for (action, next) in successors(world, variant, &mut decider) {
                let (next, why) = match next {
                    Err(why) => (None, Some(why)),
                    Ok(next) => {
                        let why = broken(&next, variant);
                        (Some(representative(next, variant).0), why)
                    }
                };
                if let Some(why) = why {
                    let mut way = trace(&from, start, here);
                    way.push(action);
                    found.broken = Some((why, tell(variant, &way)));
                    found.complete = false;
                    break 'all;
                }
                let Some(next) = next else { continue };
                if let Slot::Vacant(slot) = from.entry(key(&next)) {
                    slot.insert((here, action));
                    found.states += 1;
                    if found.states.is_multiple_of(every) {
                        found.samples.push(next.clone());
                    }
                    further.push(next);
                }
            }
            if found.states >= limit {
                found.complete = false;
                break 'all;
            }
        }
        level = further;
        found.depth += 1;
    }
    found.views = decider.asked();
    found.seconds = begun.elapsed().as_secs_f64();
    found
}

fn trace(from: &HashMap<u64, (u64, Action)>, start: u64, mut at: u64) -> Vec<Action> {
    let mut way = Vec::new();
    while at != start {
        let (before, action) = from[&at];
        way.push(action);
        at = before;
    }
    way.reverse();
    way
}

/// The way in words: each action, and what was decided or done.
fn tell(variant: &Variant, way: &[Action]) -> Vec<String> {
    let mut decider = Decider::default();
    let (mut world, mut names) = representative(variant.begin.clone(), variant);
    let mut lines = Vec::new();
    for (n, action) in way.iter().enumerate() {
        let mut line = format!("{:3}. {}", n + 1, action.tell(&names));
        match action {
            Action::Look(h, which) => {
                let view = &view::views(&world, variant, *h as usize)[*which as usize];
                let verdict = Decider::verdict(variant, view);
                line += &format!(", and decides {}: {}", verdict.rule, verdict.decision);
            }
            Action::Step(h) => line += &format!(" {:?}", world.hosts[*h as usize].phase),
            _ => {}
        }
        lines.push(line);
        let Some(Ok(next)) = after(&world, variant, &mut decider, *action) else { break };
        let (next, order) = representative(next, variant);
        names = order.iter().map(|old| names[*old]).collect();
        world = next;
    }
    lines
}
