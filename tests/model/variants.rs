//! The variants: each switches on a part of what can happen, so that all its worlds fit.

use super::raft;
use super::variant::{Safeguard, Variant};
use super::world::{Budget, Cause, Config, Entry, Goal, MOST, Mark, Member, PIN, Phase, Snapshot, Staging, World};

/// Nothing more may go wrong.
pub fn calm(generations: u8) -> Budget {
    Budget { generations, ..Budget::default() }
}

fn all(hosts: usize) -> u8 {
    (1 << hosts) - 1
}

/// A life that all hosts have formed and run, with a snapshot of its beginning in the store.
fn formed(hosts: usize, left: Budget) -> World {
    World::blank(hosts, left).with_life(Cause::Init, all(hosts), all(hosts)).with_snapshot()
}

/// Every host has lost everything; a snapshot is there that is older than all plans.
fn lost(hosts: usize, left: Budget) -> World {
    World::blank(hosts, left).with_snapshot()
}

/// A life of two, and a third host that lifeboat does not know.
fn pair(left: Budget) -> World {
    World::blank(3, left).with_life(Cause::Init, 0b011, 0b011).with_snapshot()
}

/// A life of two, and two hosts under new names.
fn pair_and_new_names(left: Budget) -> World {
    World::blank(4, left).with_life(Cause::Init, 0b0011, 0b0011).with_snapshot()
}

/// Who made a plan and its only other member went for good before they followed it. A host of the life before it came back with its data.
fn survivor(left: Budget) -> World {
    let mut world = pair_and_new_names(left).with_life(Cause::Restore, 0b1010, 0);
    world.plans[1].snapshot = Some(0);
    for h in [1, 3] {
        world.hosts[h].member = None;
        world.hosts[h].phase = Phase::Gone;
    }
    raft::count_disks(&mut world);
    world
}

/// A life of three whose members were removed until one was left, which is recorded. The two others stand empty.
fn shrunk(left: Budget) -> World {
    let mut world = formed(3, left);
    for h in [1, 2] {
        world.hosts[h].member = None;
        world.hosts[h].phase = Phase::Gate;
    }
    let one = Config::planned(1, 0);
    if let Some(m) = &mut world.hosts[0].member {
        m.config = one;
        m.index = 3;
    }
    let plan = &mut world.plans[0];
    plan.records = vec![(0b011, false), (0b001, true)];
    plan.ghost_config = one;
    plan.ghost_index = 3;
    world
}

/// A forced plan is on its way and can still be taken back: the first host is about to move its data aside for it.
fn following(left: Budget) -> World {
    let mut world = formed(3, left).with_life(Cause::Forced, 0b111, 0);
    let (g, plan) = (2, &mut world.plans[1]);
    plan.snapshot = Some(0);
    plan.marks[0] = Some(Mark::Apply);
    world.hosts[0].started |= 1 << g;
    world.hosts[0].highest = g;
    world.hosts[0].staging = Some(Staging { generation: g, of_mark: true });
    world.hosts[0].phase = Phase::MoveAside(Goal::Apply(g));
    // Since the snapshot, a write was acknowledged by the others.
    for host in &mut world.hosts {
        if let Some(m) = &mut host.member {
            (m.index, m.writes) = (2, 0b11);
        }
    }
    world.next_write = 2;
    world.ghost_acked = 0b11;
    world.ghost_excused = 0b10;
    world.plans[0].ghost_acked = 0b10;
    world.plans[0].ghost_index = 2;
    world
}

/// The same, after a forced plan that was taken back.
fn shrunk_and_taken_back(left: Budget) -> World {
    let mut world = shrunk(left);
    let old = world.hosts.clone();
    world = world.with_life(Cause::Forced, 0b111, 0);
    world.hosts = old;
    world.plans[1].cancelled = true;
    world.plans[1].snapshot = Some(0);
    world.plans[1].marks = [Some(Mark::Barred); MOST];
    world
}

/// Runs in `make test`, in a build that is not optimised.
pub fn short() -> Vec<Variant> {
    vec![
        Variant::new("init", World::blank(3, calm(1))),
        Variant::new("lost", lost(3, calm(1))),
        Variant::new("one wiped, joins", formed(3, Budget { wipes: 1, writes: 1, ..calm(2) })),
        Variant::new("two wiped", formed(3, Budget { wipes: 2, ..calm(2) })),
        Variant::new("forced", formed(3, Budget { requests: 1, crashes: 2, ..calm(2) })),
        Variant::new("adopted alone", World::blank(3, calm(2)).with_life(Cause::Adopted, 1, 1).with_snapshot()),
        Variant::new("shrunk, forced", shrunk(Budget { requests: 1, ..calm(2) })),
        Variant::new("shrunk, taken back", shrunk_and_taken_back(calm(3))),
        Variant::new("taken back half way", following(Budget { crashes: 1, cancels: 1, wipes: 1, ..calm(3) })),
        Variant { heartbeat: true, ..Variant::new("heartbeat", formed(3, Budget { wipes: 2, ..calm(2) })) },
        Variant::new("stale entries", lost(3, Budget { expiries: 1, ..calm(1) })),
        Variant { members: 0b011, ..Variant::new("added by hand", pair(Budget { members: 1, wipes: 1, ..calm(2) })) },
        Variant { pinned: true, ..Variant::new("pinned", pinned_and_burnt(Budget { wipes: 1, ..calm(3) })) },
        Variant {
            requested: Some(0),
            ..Variant::new(
                "forced by name",
                formed(3, Budget { requests: 1, crashes: 2, ..calm(2) }).with_better_snapshot(),
            )
        },
        Variant { expected: Some(2), ..Variant::new("new names, a survivor", survivor(calm(3))) },
        Variant { expected: Some(2), ..Variant::new("new names", pair_and_new_names(Budget { gone: 2, ..calm(2) })) },
        Variant { k3s: true, ..Variant::new("k3s", lost(3, calm(1))) },
        Variant {
            k3s: true,
            ..Variant::new("k3s, taken back", formed(3, Budget { requests: 1, cancels: 1, crashes: 3, ..calm(2) }))
        },
    ]
}

/// Runs in `make model`.
pub fn long() -> Vec<Variant> {
    vec![
        Variant::new("init", World::blank(3, Budget { crashes: 1, wipes: 1, writes: 1, ..calm(2) })),
        Variant::new("init, disks", World::blank(3, Budget { wipes: 2, writes: 1, ..calm(3) })),
        Variant::new("lost", lost(3, Budget { crashes: 1, wipes: 1, writes: 1, ..calm(2) })),
        Variant {
            partial_views: true,
            late_starts: true,
            ..Variant::new("lost, partial and late", lost(3, Budget { crashes: 1, wipes: 1, ..calm(2) }))
        },
        Variant { partial_views: true, ..Variant::new("disks", formed(3, Budget { wipes: 2, writes: 2, ..calm(2) })) },
        Variant::new("disks and crashes", formed(3, Budget { wipes: 2, crashes: 2, writes: 1, ..calm(2) })),
        Variant {
            spooled: true,
            ..Variant::new("late snapshots", formed(3, Budget { wipes: 3, writes: 1, snapshots: 1, ..calm(3) }))
        },
        Variant {
            change_urls: true,
            ..Variant::new("replaced", formed(3, Budget { replaced: 2, writes: 1, ..calm(2) }))
        },
        Variant {
            change_urls: true,
            ..Variant::new("replaced and wiped", formed(3, Budget { replaced: 2, wipes: 1, ..calm(2) }))
        },
        Variant {
            late_starts: true,
            ..Variant::new("forced", formed(3, Budget { requests: 1, crashes: 3, writes: 1, failures: 1, ..calm(2) }))
        },
        Variant::new("forced, disks", formed(3, Budget { requests: 1, crashes: 2, wipes: 1, writes: 1, ..calm(3) })),
        Variant::new("forced twice", formed(3, Budget { requests: 2, crashes: 3, ..calm(3) })),
        Variant {
            late_starts: true,
            ..Variant::new(
                "forced and taken back",
                formed(3, Budget { requests: 1, crashes: 3, cancels: 1, writes: 1, ..calm(2) }),
            )
        },
        Variant::new(
            "taken back, disks",
            formed(3, Budget { requests: 1, crashes: 2, cancels: 1, wipes: 1, writes: 1, ..calm(3) }),
        ),
        Variant::new("adopted alone", {
            World::blank(3, Budget { crashes: 1, wipes: 1, writes: 1, ..calm(2) })
                .with_life(Cause::Adopted, 1, 1)
                .with_snapshot()
        }),
        Variant::new("adopted alone, forced", {
            World::blank(3, Budget { crashes: 2, requests: 1, cancels: 1, ..calm(3) })
                .with_life(Cause::Adopted, 1, 1)
                .with_snapshot()
        }),
        Variant::new(
            "members removed by hand",
            formed(3, Budget { members: 2, wipes: 1, crashes: 1, writes: 1, ..calm(2) }),
        ),
        Variant {
            members: 0b011,
            ..Variant::new(
                "members added by hand",
                pair(Budget { members: 2, wipes: 2, crashes: 1, writes: 1, ..calm(2) }),
            )
        },
        Variant::new("adopted alone, members by hand", {
            World::blank(3, Budget { members: 2, crashes: 1, wipes: 1, ..calm(2) })
                .with_life(Cause::Adopted, 1, 1)
                .with_snapshot()
        }),
        Variant {
            heartbeat: true,
            ..Variant::new("heartbeat", formed(3, Budget { wipes: 2, crashes: 1, writes: 1, ..calm(2) }))
        },
        Variant::new("stale entries", lost(3, Budget { expiries: 2, crashes: 1, wipes: 1, ..calm(2) })),
        Variant {
            pinned: true,
            ..Variant::new("pinned", lost(3, Budget { crashes: 1, wipes: 2, ..calm(3) }).with_better_snapshot())
        },
        Variant {
            requested: Some(0),
            ..Variant::new(
                "forced by name",
                formed(3, Budget { requests: 1, crashes: 2, wipes: 1, writes: 1, ..calm(2) }).with_better_snapshot(),
            )
        },
        Variant {
            expected: Some(2),
            ..Variant::new("new names", pair_and_new_names(Budget { gone: 2, crashes: 1, wipes: 1, ..calm(2) }))
        },
        Variant {
            expected: Some(3),
            ..Variant::new("new names, three", {
                World::blank(5, Budget { gone: 3, ..calm(2) }).with_life(Cause::Init, 0b111, 0b111).with_snapshot()
            })
        },
        Variant::new("declared lost", formed(3, Budget { declared: 1, wipes: 1, crashes: 1, ..calm(2) })),
        Variant {
            dead_stay_dead: false,
            none_beside: false,
            ..Variant::new("late entries", formed(3, Budget { wipes: 2, delayed: 2, writes: 1, ..calm(2) }))
        },
        Variant { k3s: true, ..Variant::new("k3s", lost(3, Budget { crashes: 1, wipes: 1, writes: 1, ..calm(2) })) },
        Variant {
            k3s: true,
            ..Variant::new("k3s, forced", formed(3, Budget { requests: 1, crashes: 3, writes: 1, ..calm(2) }))
        },
        Variant {
            k3s: true,
            ..Variant::new(
                "k3s, taken back",
                formed(3, Budget { requests: 1, cancels: 1, crashes: 3, wipes: 1, writes: 1, ..calm(3) }),
            )
        },
        Variant {
            k3s: true,
            partial_views: true,
            ..Variant::new("k3s, partial", lost(3, Budget { wipes: 1, ..calm(2) }))
        },
        Variant {
            static_seed: Some(0),
            conditional: false,
            dead_stay_dead: false,
            none_beside: false,
            ..Variant::new(
                "no conditional writes, static seed",
                lost(3, Budget { crashes: 1, wipes: 1, writes: 1, ..calm(2) }),
            )
        },
        Variant::new("five", formed(5, Budget { wipes: 3, ..calm(2) })),
        Variant::new("five, lost", lost(5, calm(1))),
    ]
}

/// A plan was made a moment ago, and nobody has followed it: all stand in the roll call.
fn planned(hosts: usize, left: Budget) -> World {
    let mut world = lost(hosts, left).with_life(Cause::Restore, all(hosts), 0);
    world.plans[0].snapshot = Some(0);
    for host in &mut world.hosts {
        host.entry = Entry::Fresh;
    }
    world
}

/// A plan for the snapshot that the configuration names, whose seed has lost its disk between its mark and its start.
fn pinned_and_burnt(left: Budget) -> World {
    let mut world = lost(3, left).with_better_snapshot().with_life(Cause::Restore, 0b111, 0);
    let plan = &mut world.plans[0];
    (plan.snapshot, plan.request) = (Some(0), Some(PIN));
    plan.marks = [Some(Mark::Apply), Some(Mark::Barred), Some(Mark::Barred), None, None];
    for host in &mut world.hosts {
        host.entry = Entry::Fresh;
    }
    world
}

/// As [`planned`]; the first hosts are about to follow the plan, and the last one has followed it and lost its disk.
fn followed(left: Budget) -> World {
    let mut world = planned(3, left);
    for host in &mut world.hosts[..2] {
        host.staging = Some(Staging { generation: 1, of_mark: false });
        host.phase = Phase::Withdraw(Goal::Apply(1));
    }
    world.hosts[2].started = 1 << 1;
    world.hosts[2].highest = 1;
    world.plans[0].marks[2] = Some(Mark::Apply);
    world.plans[0].ghost_fresh = 0b100;
    world
}

/// Two of three have lost their disks after a write was acknowledged; the third holds it.
fn two_of_three_lost(left: Budget) -> World {
    let mut world = formed(3, left);
    for h in [0, 1] {
        world.hosts[h].member = None;
        world.hosts[h].phase = Phase::Gate;
        world.hosts[h].entry = Entry::Fresh;
    }
    if let Some(m) = &mut world.hosts[2].member {
        m.index = 3;
    }
    raft::count_disks(&mut world);
    world
}

/// An adopted life of one host was taken for lost, since its data had been moved aside by hand, and a plan of all has taken over; the two others follow
/// it. Then a person has forced a plan, for which the first host has built, and which is taken back. What lies aside there is not of that plan.
fn empty_and_marked(left: Budget) -> World {
    let mut world = World::blank(3, left).with_life(Cause::Adopted, 0b001, 0b001).with_snapshot();
    let old = world.hosts[0].member.take();
    world = world.with_life(Cause::Restore, 0b111, 0b110).with_life(Cause::Forced, 0b111, 0);
    for host in &mut world.hosts[1..] {
        if let Some(m) = &mut host.member {
            m.writes = 1;
        }
    }
    for plan in &mut world.plans[1..] {
        plan.snapshot = Some(0);
    }
    world.plans[2].marks[0] = Some(Mark::Apply);
    let host = &mut world.hosts[0];
    host.aside = old.map(|m| (0, m)).into_iter().collect();
    host.started |= 1 << 3;
    host.highest = 3;
    host.staging = Some(Staging { generation: 3, of_mark: true });
    host.phase = Phase::MoveAside(Goal::Apply(3));
    world
}

/// k3s: the seed has restored and serves alone; a renewal from before that is still on its way. The last host lost its disk.
fn renewal_on_its_way(left: Budget) -> World {
    let mut world = planned(3, left);
    let one = Config::planned(1, 0);
    let plan = &mut world.plans[0];
    (plan.initial, plan.ghost_config, plan.ghost_served, plan.ghost_fresh) = (one, one, true, 0b101);
    (plan.marks[0], plan.marks[2]) = (Some(Mark::Apply), Some(Mark::Join));
    (world.hosts[0].started, world.hosts[2].started) = (1 << 1, 1 << 1);
    let seed = &mut world.hosts[0];
    seed.member =
        Some(Member { cluster: 1, number: 0, index: 1, writes: 1, config: one, new_urls: false, virgin: false });
    (seed.phase, seed.entry, seed.in_flight) = (Phase::Running, Entry::Withdrawn, true);
    world
}

/// Each safeguard, a world in which it is missed, and the invariant that breaks then. With it, the same world holds.
pub fn without() -> Vec<Variant> {
    let v = |safeguard, breaks, begin| Variant { without: Some(safeguard), breaks, ..Variant::new("", begin) };
    let mut restored_late = two_of_three_lost(calm(2));
    restored_late.spooled = Some(Snapshot { cluster: 1, writes: 0b11, voters: 0b111 });
    // Two of three run; the third was never started, and has other URLs than the plan says.
    let mut renamed = World::blank(3, Budget { replaced: 1, ..calm(1) }).with_life(Cause::Init, 0b111, 0b011);
    renamed.hosts[2].new_urls = true;
    // Two of three run; the third was never started.
    let never_started = World::blank(3, Budget { wipes: 1, ..calm(1) }).with_life(Cause::Init, 0b111, 0b011);
    let adopted = World::blank(3, calm(2)).with_life(Cause::Adopted, 1, 1).with_snapshot();
    vec![
        v(Safeguard::MarkAtApply, "I3", planned(3, Budget { wipes: 1, ..calm(1) })),
        v(Safeguard::MarkAtJoin, "I3", never_started),
        // It joins with new URLs, and gets its old ones back after that.
        Variant { change_urls: true, ..v(Safeguard::MarkAtJoinAnew, "I3", renamed) },
        v(Safeguard::HealthyStarts, "I2", formed(3, Budget { crashes: 1, wipes: 1, writes: 1, ..calm(2) })),
        v(Safeguard::FreshToken, "I9", two_of_three_lost(Budget { writes: 1, ..calm(2) })),
        v(Safeguard::StoreUnknown, "I5", lost(3, calm(1))),
        v(Safeguard::RecordedVoters, "I5", adopted),
        Variant { spooled: true, ..v(Safeguard::StillTheBest, "I6", restored_late) },
        v(Safeguard::PutBackItsOwn, "I4", empty_and_marked(Budget { cancels: 1, crashes: 1, ..calm(3) })),
        Variant { k3s: true, ..v(Safeguard::RenewalsInOrder, "I5", renewal_on_its_way(calm(2))) },
        v(Safeguard::WithdrawnEntries, "I5", followed(calm(2))),
        v(Safeguard::MarksTakenBySeed, "I5", followed(calm(2))),
        Variant { heartbeat: true, ..v(Safeguard::FreshHeartbeat, "I5", formed(3, Budget { wipes: 2, ..calm(2) })) },
    ]
}

/// As [`without`], and only in `make model`.
pub fn without_long() -> Vec<Variant> {
    vec![Variant {
        without: Some(Safeguard::VotersBefore),
        breaks: "I5",
        ..Variant::new("", formed(5, Budget { wipes: 3, crashes: 2, ..calm(2) }))
    }]
}
