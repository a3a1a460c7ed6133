//! What happens to the hosts: power, disks, the network, etcd's own work, and people.

use super::raft;
use super::step::After;
use super::variant::{Safeguard, Variant};
use super::world::{Cancel, Cause, Config, Entry, Host, Mark, Member, Phase, Snapshot, World, blank_host};

/// One thing that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The host writes its entry into the roll call.
    Enter(u8),
    /// The host looks; which of its possible views.
    Look(u8, u8),
    /// The host does its next step.
    Step(u8),
    Crash(u8),
    /// The disk is lost.
    Wipe(u8),
    /// Disk and memory are lost.
    Replace(u8),
    /// The entry is older than its limit.
    Age(u8),
    /// A renewal of the entry that was on its way arrives.
    Arrive(u8),
    /// etcd ends, because its member was removed.
    Eject(u8),
    /// The leader on this host replicates its log.
    Replicate(u8),
    /// A write through the leader on this host, acknowledged by these.
    Write(u8, u8),
    /// A snapshot of the leader on this host.
    TakeSnapshot(u8),
    Ship,
    Beat(u8),
    BeatAges,
    /// A person asks for a restore on this host.
    Ask(u8),
    /// What was asked for cannot be fetched.
    Fail(u8),
    CancelBegins,
    CancelBars(u8),
    CancelEnds,
    DeclareLost,
    /// A person removes the member of this host.
    RemoveByHand(u8),
    /// A person adds this host as a voter.
    AddByHand(u8),
    /// etcd starts on a host without a gate.
    StartByHand(u8),
    /// The host goes for good, with its name.
    Leave(u8),
    /// `expected_members`: the newest life has given no sign for `lost_after`.
    ClockSaysLost,
    /// The agent of a live cluster records voters that people have changed.
    RecordByAgent(u8),
}

impl Action {
    /// The action in words, with the hosts' own names.
    pub fn tell(self, names: &[usize]) -> String {
        let n = |h: u8| format!("h{}", names[h as usize]);
        let set = |mask: u8| {
            let hosts: Vec<String> = (0..names.len() as u8).filter(|h| mask & (1 << h) != 0).map(n).collect();
            hosts.join(",")
        };
        match self {
            Action::Enter(h) => format!("{} writes its entry into the roll call", n(h)),
            Action::Look(h, _) => format!("{} looks", n(h)),
            Action::Step(h) => format!("{} does", n(h)),
            Action::Crash(h) => format!("{} crashes", n(h)),
            Action::Wipe(h) => format!("{} loses its disk", n(h)),
            Action::Replace(h) => format!("{} is replaced: disk and memory are gone", n(h)),
            Action::Age(h) => format!("the entry of {} is too old", n(h)),
            Action::Arrive(h) => format!("a renewal of {} that was on its way arrives", n(h)),
            Action::Eject(h) => format!("etcd on {} ends: its member was removed", n(h)),
            Action::Replicate(h) => format!("{} leads and replicates its log", n(h)),
            Action::Write(h, q) => format!("a write through {}, acknowledged by {}", n(h), set(q)),
            Action::TakeSnapshot(h) => format!("a snapshot is taken from {}", n(h)),
            Action::Ship => "the snapshot reaches the store".into(),
            Action::Beat(h) => format!("{} renews the heartbeat", n(h)),
            Action::BeatAges => "the heartbeat is too old".into(),
            Action::Ask(h) => format!("a person asks for a restore on {}", n(h)),
            Action::Fail(h) => format!("{} cannot fetch what was asked for", n(h)),
            Action::CancelBegins => "a person takes the forced plan back".into(),
            Action::CancelBars(h) => format!("for that, the mark of {} is taken", n(h)),
            Action::CancelEnds => "and the plan is recorded as cancelled".into(),
            Action::DeclareLost => "a person declares the life lost".into(),
            Action::RemoveByHand(h) => format!("a person removes the member of {}", n(h)),
            Action::AddByHand(h) => format!("a person adds {} as a voter", n(h)),
            Action::StartByHand(h) => format!("etcd starts on {}, which has no gate", n(h)),
            Action::Leave(h) => format!("{} goes for good", n(h)),
            Action::ClockSaysLost => "the newest life has given no sign for lost_after".into(),
            Action::RecordByAgent(h) => format!("the agent on {} records the voters", n(h)),
        }
    }
}

/// All but looks, which depend on what is seen.
pub fn actions(world: &World, variant: &Variant) -> Vec<Action> {
    let mut all = Vec::new();
    let left = &world.left;
    for (i, host) in world.hosts.iter().enumerate() {
        let h = i as u8;
        if host.phase == Phase::Gone {
            if host.entry == Entry::Fresh {
                all.push(Action::Age(h));
            }
            continue;
        }
        if left.gone > 0 {
            all.push(Action::Leave(h));
        }
        if !variant.gated(i) && host.phase == Phase::Gate && host.member.is_some() {
            all.push(Action::StartByHand(h));
        }
        if left.crashes > 0 && host.phase != Phase::Gate {
            all.push(Action::Crash(h));
        }
        let stands = host.phase == Phase::Gate && !host.staging.is_some_and(|s| s.of_mark) && variant.gated(i);
        if stands && host.entry != entry(host, variant) {
            all.push(Action::Enter(h));
        }
        if !matches!(host.phase, Phase::Gate | Phase::Built(_) | Phase::LookAgain(_)) {
            all.push(Action::Step(h));
        }
        let holds = host.member.is_some() || host.staging.is_some() || !host.aside.is_empty();
        if left.wipes > 0 && holds {
            all.push(Action::Wipe(h));
        }
        if left.replaced > 0 && (holds || host.started > 0) {
            all.push(Action::Replace(h));
        }
        if left.expiries > 0 && host.entry == Entry::Fresh {
            all.push(Action::Age(h));
        }
        if host.in_flight {
            all.push(Action::Arrive(h));
        }
        if left.failures > 0 && matches!(host.phase, Phase::Built(m) if m.cause == Cause::Forced) {
            all.push(Action::Fail(h));
        }
        if left.requests > 0 && host.request.is_none() && variant.gated(i) {
            all.push(Action::Ask(h));
        }
    }
    for leader in raft::leaders(world) {
        let h = leader.host as u8;
        all.push(Action::Replicate(h));
        if left.writes > 0 {
            all.extend(raft::small_quorums(&leader).into_iter().map(|q| Action::Write(h, q)));
        }
        if left.snapshots > 0 && world.spooled.is_none() {
            all.push(Action::TakeSnapshot(h));
        }
        if variant.heartbeat {
            all.push(Action::Beat(h));
        }
        for o in 0..world.hosts.len() {
            if raft::is_up(world, o)
                && let Some(m) = world.hosts[o].member
                && m.cluster == leader.cluster
                && leader.config.number(o) != Some(m.number)
            {
                all.push(Action::Eject(o as u8));
            }
            // Not two at once that nobody has recorded.
            if left.members > 0
                && o != leader.host
                && leader.config.number(o).is_some()
                && recorded(world, leader.cluster)
            {
                all.push(Action::RemoveByHand(o as u8));
            }
            let elsewhere = world.hosts[o].member.is_some() || world.hosts[o].phase != Phase::Gate;
            if left.members > 0
                && leader.config.number(o).is_none()
                && !elsewhere
                && recorded(world, leader.cluster)
                && nobody_changes(world)
            {
                all.push(Action::AddByHand(o as u8));
            }
        }
        if !recorded(world, leader.cluster) && nobody_changes(world) {
            all.push(Action::RecordByAgent(h));
        }
    }
    if world.spooled.is_some() {
        all.push(Action::Ship);
    }
    if matches!(world.heartbeat, Some((_, true))) {
        all.push(Action::BeatAges);
    }
    let forced = world.plans.last().is_some_and(|p| p.cause == Cause::Forced && !p.cancelled);
    match world.cancel {
        None if left.cancels > 0 && forced => all.push(Action::CancelBegins),
        Some(Cancel { generation }) => {
            let plan = world.plan(generation);
            let hosts = |which: &dyn Fn(&Option<Mark>) -> bool| -> Vec<usize> {
                (0..world.hosts.len()).filter(|h| plan.listed & (1 << h) != 0 && which(&plan.marks[*h])).collect()
            };
            let open = hosts(&Option::is_none);
            let bars = |h: &usize| Action::CancelBars(*h as u8);
            if variant.k3s {
                // A reset serves as soon as the seed has done it: whoever comes first with the seed's mark has decided.
                match plan.marks[plan.seed as usize] {
                    None => all.push(Action::CancelBars(plan.seed)),
                    Some(Mark::Barred) => {
                        all.push(Action::CancelEnds);
                        all.extend(open.iter().map(bars));
                    }
                    Some(_) => {}
                }
            } else if (hosts(&|m| *m != Some(Mark::Barred)).len() as u32) < plan.initial.majority() {
                all.push(Action::CancelEnds);
            } else {
                all.extend(open.iter().map(bars));
            }
        }
        None => {}
    }
    if variant.expected.is_some() && world.newest() > world.quiet && never_again(world) {
        all.push(Action::ClockSaysLost);
    }
    if left.declared > 0 && world.plans.last().is_some_and(|p| !p.lost) {
        all.push(Action::DeclareLost);
    }
    all
}

/// What a host that waits has in the roll call.
fn entry(host: &Host, variant: &Variant) -> Entry {
    match (host.member, host.request) {
        (None, _) => Entry::Fresh,
        (Some(_), Some(r)) if variant.k3s && !host.request_failed => Entry::Stopped(r),
        _ => host.entry,
    }
}

/// What the clock may be taken to say: fewer hosts than a majority of the newest life's voters are left anywhere, and its heartbeat is old.
fn never_again(world: &World) -> bool {
    let config = world.plan(world.newest()).ghost_config;
    let left =
        (0..world.hosts.len()).filter(|h| config.voters() & (1 << h) != 0 && world.hosts[*h].phase != Phase::Gone);
    (left.count() as u32) < config.majority() && !matches!(world.heartbeat, Some((_, true)))
}

/// Whether the configuration in effect is the one that was recorded last.
fn recorded(world: &World, cluster: u8) -> bool {
    let (Some(g), Some(leader)) = (world.life(cluster), raft::leader_of(world, cluster)) else { return true };
    let plan = world.plan(g);
    plan.records.last().map_or(plan.listed, |r| r.0) == leader.config.voters()
}

/// No host is between a record of ours and its confirmation.
fn nobody_changes(world: &World) -> bool {
    let busy =
        |p: Phase| matches!(p, Phase::Remove(_) | Phase::RecordRemoved(_) | Phase::Promoting | Phase::Confirming);
    !world.hosts.iter().any(|h| busy(h.phase))
}

/// What an action of the environment does.
pub fn act(world: &World, variant: &Variant, action: Action) -> After {
    let mut next = world.clone();
    let left = &mut next.left;
    let host = |h: u8| h as usize;
    match action {
        Action::Enter(h) => {
            let delayed = left.delayed > 0;
            if delayed {
                left.delayed -= 1;
            }
            let host = &mut next.hosts[host(h)];
            host.entry = entry(host, variant);
            host.entry_remembers = host.started > 0 || host.highest > 0;
            host.in_flight = delayed;
        }
        Action::Crash(h) => {
            left.crashes -= 1;
            next.hosts[host(h)].phase = Phase::Gate;
            next.hosts[host(h)].request_failed = false;
        }
        Action::Wipe(h) => {
            left.wipes -= 1;
            let host = &mut next.hosts[host(h)];
            host.phase = Phase::Gate;
            host.member = None;
            host.staging = None;
            host.aside.clear();
            raft::count_disks(&mut next);
        }
        Action::Replace(h) => {
            left.replaced -= 1;
            let old = next.hosts[host(h)].clone();
            next.hosts[host(h)] = super::world::Host {
                new_urls: old.new_urls ^ variant.change_urls,
                entry: old.entry,
                entry_remembers: old.entry_remembers,
                in_flight: old.in_flight,
                ..blank_host()
            };
            raft::count_disks(&mut next);
        }
        Action::Age(h) => {
            left.expiries = left.expiries.saturating_sub(u8::from(world.hosts[host(h)].phase != Phase::Gone));
            next.hosts[host(h)].entry = Entry::Stale;
        }
        Action::Arrive(h) => {
            let host = &mut next.hosts[host(h)];
            host.in_flight = false;
            // The product waits for a renewal that is on its way before it withdraws; k3s rests on that.
            let in_order = variant.k3s && !variant.lacks(Safeguard::RenewalsInOrder);
            if !(in_order && host.entry == Entry::Withdrawn) {
                host.entry = Entry::Fresh;
            }
        }
        Action::Eject(h) => next.hosts[host(h)].phase = Phase::Gate,
        Action::Replicate(h) => {
            let leader = raft::leaders(world).into_iter().find(|l| l.host == host(h))?;
            if let Err(e) = raft::replicate(&mut next, &leader, leader.grants, true) {
                return Some(Err(e));
            }
        }
        Action::Write(h, quorum) => {
            let leader = raft::leaders(world).into_iter().find(|l| l.host == host(h))?;
            if let Err(e) = raft::write(&mut next, &leader, quorum) {
                return Some(Err(e));
            }
        }
        Action::TakeSnapshot(h) => {
            left.snapshots -= 1;
            let leader = raft::leaders(world).into_iter().find(|l| l.host == host(h))?;
            let writes = world.hosts[host(h)].member?.writes;
            let snapshot = Snapshot { cluster: leader.cluster, writes, voters: leader.config.voters() };
            if variant.spooled {
                next.spooled = Some(snapshot);
            } else {
                next.snapshots.push(snapshot);
            }
        }
        Action::Ship => next.snapshots.extend(next.spooled.take()),
        Action::Beat(h) => next.heartbeat = Some((world.life(world.hosts[host(h)].member?.cluster)?, true)),
        Action::BeatAges => next.heartbeat = next.heartbeat.map(|(g, _)| (g, false)),
        Action::Ask(h) => {
            left.requests -= 1;
            // On k3s the person asks on every host.
            let all = variant.k3s;
            for (_, host) in next.hosts.iter_mut().enumerate().filter(|(o, _)| all || *o == host(h)) {
                host.request = Some(world.next_request);
            }
            next.next_request += 1;
        }
        Action::Fail(h) => {
            left.failures -= 1;
            let host = &mut next.hosts[host(h)];
            host.request_failed = true;
            host.staging = None;
            host.phase = Phase::Gate;
        }
        Action::CancelBegins => {
            left.cancels -= 1;
            next.cancel = Some(Cancel { generation: world.newest() });
        }
        Action::CancelBars(h) => {
            let generation = world.cancel?.generation;
            next.plan_mut(generation).marks[host(h)] = Some(Mark::Barred);
            if variant.k3s && h == world.plan(generation).seed {
                // As the product's catalog reads it: nobody else restores.
                next.plan_mut(generation).cancelled = true;
                raft::not_given_up(&mut next, generation);
            }
        }
        Action::CancelEnds => {
            let generation = world.cancel?.generation;
            next.plan_mut(generation).cancelled = true;
            next.cancel = None;
            raft::not_given_up(&mut next, generation);
        }
        Action::DeclareLost => {
            left.declared -= 1;
            let newest = next.newest();
            next.plan_mut(newest).lost = true;
            next.ghost_excused |= next.ghost_acked;
        }
        Action::RemoveByHand(o) => {
            let leader = raft::leaders(world).into_iter().find(|l| l.config.number(host(o)).is_some())?;
            next.left.members -= 1;
            if let Err(e) = raft::commit(&mut next, &leader, leader.grants, true, |m| m.config.remove(host(o))) {
                return Some(Err(e));
            }
        }
        Action::AddByHand(o) => {
            let o = host(o);
            // By the leader of the life that it is no member of.
            let leader = raft::leaders(world).into_iter().find(|l| l.config.number(o).is_none())?;
            let g = world.life(leader.cluster)?;
            next.left.members -= 1;
            let number = next.plan(g).next_number[o];
            next.plan_mut(g).next_number[o] += 1;
            let new_urls = next.hosts[o].new_urls;
            if let Err(e) =
                raft::commit(&mut next, &leader, leader.grants, true, |m| m.config.add_voter(o, number, new_urls))
            {
                return Some(Err(e));
            }
            // Its etcd is started by hand, too, where no gate is asked.
            if !variant.gated(o) {
                next.plan_mut(g).ghost_fresh |= 1 << o;
                let config = Config::default();
                let cluster = leader.cluster;
                next.hosts[o].member =
                    Some(Member { cluster, number, index: 0, writes: 0, config, new_urls, virgin: false });
                next.hosts[o].phase = Phase::Running;
            }
        }
        Action::StartByHand(h) => next.hosts[host(h)].phase = Phase::Running,
        Action::Leave(h) => {
            left.gone -= 1;
            let old = next.hosts[host(h)].clone();
            next.hosts[host(h)] =
                Host { phase: Phase::Gone, entry: old.entry, entry_remembers: old.entry_remembers, ..blank_host() };
            raft::count_disks(&mut next);
        }
        Action::ClockSaysLost => next.quiet = world.newest(),
        Action::RecordByAgent(h) => {
            let leader = raft::leaders(world).into_iter().find(|l| l.host == host(h))?;
            let g = world.life(leader.cluster)?;
            next.plan_mut(g).records.push((leader.config.voters(), true));
        }
        Action::Look(..) | Action::Step(_) => return None,
    }
    Some(Ok(next))
}
