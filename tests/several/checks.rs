//! What must hold after each round of faults, judged from what was seen: values in, violations out, so that a test can show that each check fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use crate::member_on_disk::MemberOnDisk;

/// What a violation breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// All members are of the cluster of the newest plan.
    OneCluster,
    /// All members hold the same.
    SameHash,
    /// One plan per generation, none missing; a new one exactly when a majority of the disks was lost.
    Plans,
    /// A record that is created once never changes and never goes.
    Rewritten,
    /// No acknowledged write is lost that a majority of the disks, or the best snapshot, held.
    Acknowledged,
    /// No member data is deleted.
    Deleted,
    /// What was planned, and what was applied, was the best eligible snapshot of that moment.
    Best,
}

pub const CHECKS: [Check; 7] = [
    Check::OneCluster,
    Check::SameHash,
    Check::Plans,
    Check::Rewritten,
    Check::Acknowledged,
    Check::Deleted,
    Check::Best,
];

/// A snapshot in the store.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub name: String,
    pub cluster_id: String,
    pub revision: i64,
    pub started: String,
    /// Taken with quorum, and neither damaged nor planted by the driver.
    pub eligible: bool,
    /// When the store got its manifest.
    pub at: SystemTime,
}

/// A plan in the store.
#[derive(Debug, Clone)]
pub struct Plan {
    pub generation: u64,
    pub cluster_id: String,
    pub snapshot: Option<String>,
    pub at: SystemTime,
    /// When each host that applied it took its mark.
    pub applied: Vec<(String, SystemTime)>,
}

/// What was seen after a round, beside what was there before it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whether a majority of the disks survived the round.
    pub survived: bool,
    pub plans_before: usize,
    pub plans: Vec<Plan>,
    pub snapshots: Vec<Snapshot>,
    /// Records that are created once, and what stands in them: before and now.
    pub created_before: BTreeMap<String, String>,
    pub created: BTreeMap<String, String>,
    /// By host.
    pub cluster_ids: Vec<String>,
    pub hashes: Vec<Result<(u32, i64), String>>,
    /// Acknowledged writes, and whether the best snapshot held them before the round.
    pub acknowledged: BTreeMap<String, (String, bool)>,
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Member data that was moved aside on disks that still are: before and now.
    pub aside_before: Vec<PathBuf>,
    pub aside: Vec<PathBuf>,
    /// Members on disks that still are, in place or moved aside, by host: before and now.
    pub members_before: Vec<BTreeSet<MemberOnDisk>>,
    pub members: Vec<BTreeSet<MemberOnDisk>>,
}

impl Seen {
    /// The best eligible one of those that the store held then: by generation, revision, start. An own judgement, not the product's.
    pub fn best(&self, then: SystemTime) -> Option<&Snapshot> {
        let generation =
            |s: &Snapshot| self.plans.iter().find(|p| p.cluster_id == s.cluster_id).map_or(0, |p| p.generation);
        self.snapshots
            .iter()
            .filter(|s| s.eligible && s.at < then)
            .max_by_key(|s| (generation(s), s.revision, s.started.clone(), s.name.clone()))
    }
}

/// Everything that does not hold.
pub fn violations(seen: &Seen) -> Vec<(Check, String)> {
    let mut found = Vec::new();
    let newest = seen.plans.last().map(|p| p.cluster_id.clone()).unwrap_or_default();
    if seen.cluster_ids.is_empty() || seen.cluster_ids.iter().any(|id| *id != newest) {
        found.push((Check::OneCluster, format!("members are of {:?}, the newest plan is {newest}", seen.cluster_ids)));
    }
    let same = seen.hashes.windows(2).all(|w| w[0] == w[1]);
    if seen.hashes.is_empty() || !same || seen.hashes.iter().any(Result::is_err) {
        found.push((Check::SameHash, format!("{:?}", seen.hashes)));
    }
    let numbers: Vec<u64> = seen.plans.iter().map(|p| p.generation).collect();
    let expected = seen.plans_before + usize::from(!seen.survived);
    if numbers != (1..=expected as u64).collect::<Vec<_>>() {
        let text = format!("plans {numbers:?} after {}, majority survived: {}", seen.plans_before, seen.survived);
        found.push((Check::Plans, text));
    }
    for (key, before) in &seen.created_before {
        match seen.created.get(key) {
            Some(now) if now == before => {}
            Some(_) => found.push((Check::Rewritten, format!("{key} was written anew"))),
            None => found.push((Check::Rewritten, format!("{key} is gone"))),
        }
    }
    for (key, (value, saved)) in &seen.acknowledged {
        let there = seen.entries.get(key.as_bytes()).is_some_and(|v| v == value.as_bytes());
        if !there && (seen.survived || *saved) {
            found.push((Check::Acknowledged, format!("{key} = {value} is lost (in a snapshot: {saved})")));
        }
    }
    for path in &seen.aside_before {
        if !seen.aside.contains(path) {
            found.push((Check::Deleted, format!("{} is gone", path.display())));
        }
    }
    for (host, before) in seen.members_before.iter().enumerate() {
        let there = |m: &MemberOnDisk| {
            let now = seen.members.get(host).into_iter().flatten();
            now.into_iter().any(|n| (n.cluster_id, n.member_id) == (m.cluster_id, m.member_id))
        };
        for member in before.iter().filter(|m| !there(m)) {
            let text = format!("{member} was on the disk of host {host}, and is neither in place nor aside");
            found.push((Check::Deleted, text));
        }
    }
    for plan in seen.plans.iter().skip(seen.plans_before) {
        let moments = plan.applied.iter().map(|(host, at)| (format!("when {host} applied it"), *at));
        for (when, then) in moments.chain([("when it was made".to_owned(), plan.at)]) {
            let best = seen.best(then).map(|s| &s.name);
            if best != plan.snapshot.as_ref() {
                let text =
                    format!("plan {} restores {:?}, the best {when} was {best:?}", plan.generation, plan.snapshot);
                found.push((Check::Best, text));
            }
        }
    }
    found
}

/// The same history with one thing wrong, for each check in several ways: what it must be caught by.
pub fn mutations(good: &Seen) -> Vec<(Check, &'static str, Seen)> {
    type Change = fn(&mut Seen);
    let changes: [(Check, &'static str, Change); 20] = [
        (Check::OneCluster, "one member is of another cluster", |s| s.cluster_ids[1] = "1".into()),
        (Check::OneCluster, "all are of an older life", |s| s.cluster_ids.fill("1".into())),
        (Check::OneCluster, "nobody was asked", |s| s.cluster_ids.clear()),
        (Check::SameHash, "one member differs", |s| s.hashes[2] = Ok((1, 1))),
        (Check::SameHash, "no member tells its hash", |s| s.hashes.fill(Err("no".into()))),
        (Check::Plans, "a plan though a majority survived, or none though it did not", |s| s.survived = !s.survived),
        (Check::Plans, "two plans of one generation", |s| s.plans.extend(s.plans.last().cloned())),
        (Check::Plans, "a generation was left out", |s| s.plans.iter_mut().for_each(|p| p.generation += 1)),
        (Check::Rewritten, "a plan was written anew", |s| {
            drop(s.created.insert("several/cluster/plans/1.json".into(), "x".into()))
        }),
        (Check::Rewritten, "a plan is gone", |s| drop(s.created.remove("several/cluster/plans/1.json"))),
        (Check::Acknowledged, "a write is lost that a majority held", |s| {
            (s.survived, s.plans_before) = (true, s.plans.len());
            s.acknowledged.insert("w/lost".into(), ("1".into(), false));
        }),
        (Check::Acknowledged, "a write is lost that the snapshot held", |s| {
            s.acknowledged.insert("w/lost".into(), ("1".into(), true));
        }),
        (Check::Acknowledged, "a write has another value", |s| {
            s.acknowledged.insert("w/other".into(), ("1".into(), true));
            s.entries.insert(b"w/other".to_vec(), b"2".to_vec());
        }),
        (Check::Deleted, "what was moved aside is gone", |s| s.aside_before.push("/data/member.quarantine-x".into())),
        (Check::Deleted, "a member that was in place is gone", |s| {
            s.members_before[0].insert(MemberOnDisk { cluster_id: 7, member_id: 7, in_place: true });
        }),
        (Check::Deleted, "all disks that were not lost are empty", |s| {
            s.members_before = s.members.clone();
            s.members.iter_mut().for_each(BTreeSet::clear);
        }),
        (Check::Best, "there was a better one of the same life", |s| {
            let (plan, mut better) = restored(s);
            (better.name, better.revision) = ("better".into(), better.revision + 1);
            better.at = plan.at - std::time::Duration::from_millis(1);
            s.snapshots.push(better);
        }),
        (Check::Best, "a better one came before it was applied", |s| {
            let (plan, mut better) = restored(s);
            (better.name, better.revision) = ("later".into(), better.revision + 1);
            better.at = plan.at;
            s.snapshots.push(better);
        }),
        (Check::Best, "it was not eligible", |s| {
            let (_, chosen) = restored(s);
            s.snapshots.iter_mut().filter(|x| x.name == chosen.name).for_each(|x| x.eligible = false);
        }),
        (Check::Best, "an empty cluster was formed beside snapshots", |s| {
            restored(s);
            s.plans.last_mut().expect("a plan").snapshot = None;
        }),
    ];
    changes
        .into_iter()
        .filter(|(check, ..)| *check != Check::Best || newest_restores(good))
        .map(|(check, what, change)| {
            let mut seen = good.clone();
            change(&mut seen);
            (check, what, seen)
        })
        .collect()
}

fn newest_restores(seen: &Seen) -> bool {
    seen.plans.last().is_some_and(|p| p.snapshot.is_some() && !p.applied.is_empty())
}

/// The newest plan, which this round made, and what it restores.
fn restored(seen: &mut Seen) -> (Plan, Snapshot) {
    (seen.survived, seen.plans_before) = (false, seen.plans.len() - 1);
    let plan = seen.plans.last().expect("a plan").clone();
    let chosen = seen.snapshots.iter().find(|s| Some(&s.name) == plan.snapshot.as_ref()).expect("its snapshot");
    (plan.clone(), chosen.clone())
}

/// Each change of a good history is found, and by the check that it is for.
pub fn assert_that_checks_can_fail(good: &Seen) {
    assert_eq!(violations(good), [], "the history is not good to begin with");
    for (check, what, seen) in mutations(good) {
        let found = violations(&seen);
        assert!(found.iter().any(|(by, _)| *by == check), "{what}: {check:?} did not find it, but {found:?}");
    }
}

#[test]
fn each_check_of_the_driver_can_fail() {
    use std::time::Duration;
    let at = |s: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
    let snapshot = |name: &str, cluster: &str, revision: i64, s: u64, eligible: bool| Snapshot {
        name: name.into(),
        cluster_id: cluster.into(),
        revision,
        started: format!("2026-01-01T00:00:{s:02}Z"),
        eligible,
        at: at(s),
    };
    let plan = |generation: u64, cluster: &str, snapshot: Option<&str>, s: u64| Plan {
        generation,
        cluster_id: cluster.into(),
        snapshot: snapshot.map(str::to_owned),
        at: at(s),
        applied: ["cp1", "cp2", "cp3"].map(|h| (h.to_owned(), at(s + 1))).to_vec(),
    };
    let member = |cluster: &str, in_place: bool| {
        let cluster_id = u64::from_str_radix(cluster, 16).expect("an id");
        MemberOnDisk { cluster_id, member_id: cluster_id + 1, in_place }
    };
    let created = BTreeMap::from([("several/cluster/plans/1.json".to_owned(), "etag".to_owned())]);
    let good = Seen {
        survived: false,
        plans_before: 2,
        plans: vec![plan(1, "a", None, 1), plan(2, "b", Some("s1"), 20), plan(3, "c", Some("s3"), 40)],
        snapshots: vec![
            // Of an older life with a higher revision; the chosen one; a damaged one; one of no life at all; one that came later.
            snapshot("s1", "a", 900, 10, true),
            snapshot("s2", "b", 100, 30, true),
            snapshot("s3", "b", 101, 31, true),
            snapshot("s4", "b", 102, 32, false),
            snapshot("s5", "foreign", 9999, 33, true),
            snapshot("s6", "c", 200, 50, true),
        ],
        created_before: created.clone(),
        created,
        cluster_ids: vec!["c".into(); 3],
        hashes: vec![Ok((7, 3)); 3],
        acknowledged: BTreeMap::from([("w/1".into(), ("v".into(), true)), ("w/2".into(), ("v".into(), false))]),
        entries: BTreeMap::from([(b"w/1".to_vec(), b"v".to_vec())]),
        members_before: vec![BTreeSet::from([member("b", true)]), BTreeSet::new(), BTreeSet::new()],
        members: vec![
            BTreeSet::from([member("b", false), member("c", true)]),
            BTreeSet::from([member("c", true)]),
            BTreeSet::from([member("c", true)]),
        ],
        aside_before: vec!["/cp1/member.quarantine-1".into()],
        aside: vec!["/cp1/member.quarantine-1".into(), "/cp1/member.quarantine-2".into()],
    };
    assert_that_checks_can_fail(&good);
    for check in CHECKS {
        assert!(mutations(&good).iter().any(|(by, ..)| *by == check), "nothing shows that {check:?} can fail");
    }
    // Histories that are good, too: a round that a majority survived, and a first life.
    let survived = Seen { survived: true, plans_before: 3, ..good.clone() };
    let lost = violations(&survived);
    assert!(matches!(lost.as_slice(), [(Check::Acknowledged, _)]), "{lost:?}");
    let mut kept = survived;
    kept.entries.insert(b"w/2".to_vec(), b"v".to_vec());
    assert_that_checks_can_fail(&kept);
}
