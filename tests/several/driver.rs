//! Random faults from a seed, and after each round what must always hold.
//!
//! `LIFEBOAT_ROUNDS` and `LIFEBOAT_SEED` choose how many rounds, and which; a failure prints the seed and keeps the evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

mod rounds;

use self::rounds::{ROUNDS, Round};
use crate::checks::{Check, Plan, Seen, Snapshot, assert_that_checks_can_fail, violations};
use crate::member_on_disk::{MemberOnDisk, members_on};
use crate::site::{Host, Site};
use crate::support::ETCD_LATEST;

/// Everything ends as it should within this time, on a busy machine with two cores.
const LIMIT: Duration = Duration::from_secs(240);

/// SplitMix64: the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n as u64)).unwrap_or_default()
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }

    fn order(&mut self, n: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            all.swap(i, self.below(i + 1));
        }
        all
    }
}

struct Drive {
    site: Site,
    random: Random,
    /// Seconds that the store's clock is ahead: so long was the power off, in all.
    store_ahead: i64,
    seed: u64,
    round: usize,
    /// Acknowledged writes, and whether they survive the loss of all disks of this round: a snapshot holds them, or they came after the restore.
    acknowledged: BTreeMap<String, (String, bool)>,
    written: u64,
    /// What was moved aside, by host.
    aside: Vec<BTreeSet<PathBuf>>,
    /// Members on disks that were not lost, in place or moved aside, by host.
    members: Vec<BTreeSet<MemberOnDisk>>,
    /// Records that are created once, as they were when they were first seen.
    created: BTreeMap<String, String>,
    /// Snapshots that nobody may restore: damaged after they were taken, or planted.
    unfit: BTreeSet<String>,
}

const SNAPSHOTS: &str = "several/snapshots/";
const PLANS: &str = "several/cluster/plans/";

impl Drive {
    /// A few writes, each to a random member; those that were acknowledged must survive.
    async fn write(&mut self, n: usize) {
        for _ in 0..n {
            let host = self.random.below(3);
            let (key, value) = (format!("w/{:06}", self.written), format!("{:016x}", self.random.next()));
            self.written += 1;
            if self.site.hosts[host].put(&key, &value).await {
                self.acknowledged.insert(key, (value, false));
            }
            self.site.tick();
        }
    }

    /// Lets so much time pass, with writes if anybody serves.
    async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.site.tick();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The name of the new snapshot.
    fn save_one(&mut self) -> Option<String> {
        let host = self.random.below(3);
        let out = self.site.hosts[host].run(&["save", "--name", "soak", "--output=json"]);
        (out.code == Some(0)).then(|| out.json()["manifest"]["name"].as_str().expect("a name").to_owned())
    }

    /// One that holds all that was acknowledged; and now and then a newer one that is damaged, or a planted one that claims to be the newest.
    async fn save(&mut self) {
        if self.save_one().is_some() {
            self.acknowledged.values_mut().for_each(|(_, saved)| *saved = true);
        }
        match self.random.below(3) {
            0 => {
                self.write(2).await;
                let Some(name) = self.save_one() else { return };
                let key = format!("{SNAPSHOTS}{name}.db.gz");
                let mut payload = self.site.store.object(&key).expect("a payload");
                let middle = payload.len() / 2;
                payload[middle..].iter_mut().take(16).for_each(|b| *b ^= 0x5a);
                self.site.store.plant(&key, &payload);
                self.unfit.insert(name);
            }
            1 => {
                let store = &self.site.store;
                let all = store.keys();
                let Some(name) = all.iter().filter_map(|k| name_of(k)).next_back() else { return };
                let planted = format!("soak-2099-01-01T00-00-{:02}Z", self.round % 60);
                for ending in [".db.gz", ".manifest.json"] {
                    let body = store.object(&format!("{SNAPSHOTS}{name}{ending}")).expect("an object");
                    let body =
                        String::from_utf8(body.clone()).map_or(body, |t| t.replace(&name, &planted).into_bytes());
                    store.plant(&format!("{SNAPSHOTS}{planted}{ending}"), &body);
                }
                self.unfit.insert(planted);
            }
            _ => {}
        }
    }

    fn on(&mut self, host: usize) {
        self.site.hosts[host].boot();
        self.site.hosts[host].start_agent();
    }

    fn off(&mut self, host: usize) {
        self.site.hosts[host].power_cut();
    }

    fn lose(&mut self, host: usize) {
        self.site.hosts[host].lose_disk();
        self.aside[host].clear();
        self.members[host].clear();
    }

    /// What there is to be judged, when all serve again.
    async fn look(&mut self, survived: bool, plans_before: usize) -> Seen {
        let all = [0, 1, 2];
        let hashes = self.site.hashes(&all).await;
        let cluster_ids = self.site.cluster_ids(&all).await;
        let dump = self.site.dump(self.random.below(3)).await;
        let now: Vec<BTreeSet<PathBuf>> =
            self.site.hosts.iter().map(|h| h.quarantined().into_iter().collect()).collect();
        let before = std::mem::replace(&mut self.aside, now);
        let members = self.members_now();
        let members_before = std::mem::replace(&mut self.members, members);
        let created = self.created_now();
        Seen {
            survived,
            plans_before,
            plans: self.plans(),
            snapshots: self.snapshots(),
            created_before: std::mem::replace(&mut self.created, created.clone()),
            created,
            cluster_ids,
            hashes,
            acknowledged: self.acknowledged.clone(),
            entries: dump.entries.into_iter().map(|(k, e)| (k, e.value)).collect(),
            aside_before: before.into_iter().flatten().collect(),
            aside: self.aside.iter().flatten().cloned().collect(),
            members_before,
            members: self.members.clone(),
        }
    }

    fn members_now(&self) -> Vec<BTreeSet<MemberOnDisk>> {
        self.site.hosts.iter().map(|h| members_on(&h.data_dir())).collect()
    }

    fn created_now(&self) -> BTreeMap<String, String> {
        let objects = self.site.store.objects().into_iter().filter(|o| o.key.starts_with(PLANS));
        objects.map(|o| (o.key, o.etag)).collect()
    }

    fn plans(&self) -> Vec<Plan> {
        let at: BTreeMap<String, SystemTime> =
            self.site.store.objects().into_iter().map(|o| (o.key, o.modified)).collect();
        let plan = |generation: u64| {
            let body = self.site.record(&format!("cluster/plans/{generation}.json"));
            let started = format!("{PLANS}{generation}/started/");
            let applied = at.range(started.clone()..).take_while(|(key, _)| key.starts_with(&started));
            let applied = applied.filter_map(|(key, at)| {
                let mark = self.site.record(key.strip_prefix("several/")?);
                (mark["purpose"] == "apply").then(|| (text(&mark["node"]), *at))
            });
            Plan {
                generation,
                cluster_id: text(&body["cluster_id"]),
                snapshot: body["snapshot"]["name"].as_str().map(str::to_owned),
                at: at[&format!("{PLANS}{generation}.json")],
                applied: applied.collect(),
            }
        };
        self.site.plans().into_iter().map(plan).collect()
    }

    fn snapshots(&self) -> Vec<Snapshot> {
        let objects = self.site.store.objects();
        let manifests = objects.iter().filter_map(|o| Some((name_of(&o.key)?, o)));
        let snapshot = |(name, o): (String, &crate::support::s3::Stored)| {
            let body = self.site.record(o.key.strip_prefix("several/").expect("of this cluster"));
            Snapshot {
                eligible: body["quorum"] == true && body["kind"] == "snapshot" && !self.unfit.contains(&name),
                name,
                cluster_id: text(&body["cluster_id"]),
                revision: body["revision"].as_i64().expect("a revision"),
                started: text(&body["started"]),
                at: o.modified,
            }
        };
        manifests.map(snapshot).collect()
    }

    async fn check(&mut self, what: Round, survived: bool, plans_before: usize) -> Seen {
        if what.kills_joining_hosts() {
            self.type_what_is_said().await;
        }
        self.site.until_serving(&[0, 1, 2], LIMIT).await;
        let seen = self.look(survived, plans_before).await;
        let found = violations(&seen);
        if !found.is_empty() {
            let mut told = format!("seed {}, round {} ({what:?}):\n", self.seed, self.round);
            found.iter().for_each(|(check, text)| writeln!(told, "  {check:?}: {text}").expect("a text"));
            let evidence = self.site.keep();
            panic!("{told}evidence in {}\n{}", evidence.display(), self.site.said());
        }
        // What no snapshot held is gone with the disks, as it must be.
        self.acknowledged.retain(|key, _| seen.entries.contains_key(key.as_bytes()));
        seen
    }

    /// A host that joins starts etcd with an empty data dir. Killed between the first two files that etcd makes, it has a database without a log, which
    /// the gate never judges by itself: a person types what it says.
    async fn type_what_is_said(&mut self) {
        fn cut(host: &Host) -> Option<String> {
            host.line("D2 REFUSE").filter(|l| l.contains("holds no WAL"))
        }
        let settled = |s: &Site| s.hosts.iter().all(|h| h.etcd().is_some() || cut(h).is_some());
        self.site.until("etcd, or what to type", LIMIT, settled).await;
        for host in &self.site.hosts {
            let Some(line) = cut(host).filter(|_| host.waits()) else { continue };
            assert!(line.contains("type: lifeboat quarantine add"), "{line}");
            host.run(&["quarantine", "add", "--yes"]).ok();
            eprintln!("round {}: typed as the gate of {} said: {line}", self.round, host.name);
        }
    }

    /// The checks see what really happens, too: each of these is done to the hosts and the store, and found.
    async fn assert_that_harm_is_found(&mut self) {
        let plans = self.site.plans().len();
        let (key, body) = (format!("{PLANS}1.json"), self.site.store.object(&format!("{PLANS}1.json")));
        self.site.store.plant(&key, b"{}");
        self.created.insert(format!("{PLANS}1/started/nobody.json"), "was there".into());
        let written = self.created_now();
        assert_ne!(written.get(&key), self.created.get(&key));
        self.site.store.plant(&key, &body.expect("plan 1"));
        let (lost, _) = self.acknowledged.first_key_value().expect("acknowledged writes");
        let mut client = self.site.hosts[0].etcd().expect("etcd runs").client().await;
        client.delete(lost.as_str(), None).await.expect("a key is deleted");
        let aside = self.site.hosts[1].data_dir().join("member.quarantine-2026-01-01T00-00-00Z");
        self.aside[1].insert(aside.clone());
        // Somebody takes the member of a host away, which then joins like any empty one.
        self.off(2);
        let data = self.site.hosts[2].data_dir();
        let taken = self.members[2].iter().find(|m| m.in_place).expect("it was in place").clone();
        std::fs::rename(data.join("member"), self.site.hosts[2].path("taken-away")).expect("the member is taken away");
        self.on(2);
        self.site.until_serving(&[2], LIMIT).await;
        let seen = self.look(true, plans).await;
        let found = violations(&seen);
        let gone = found.iter().filter(|(check, text)| *check == Check::Deleted && text.contains(&taken.to_string()));
        assert_eq!(gone.count(), 1, "{taken}: {found:?}");
        let found: BTreeSet<Check> = found.into_iter().map(|(check, _)| check).collect();
        assert_eq!(found, BTreeSet::from([Check::Rewritten, Check::Acknowledged, Check::Deleted]));
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The snapshot whose manifest this is.
fn name_of(key: &str) -> Option<String> {
    Some(key.strip_prefix(SNAPSHOTS)?.strip_suffix(".manifest.json")?.to_owned())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|v| !v.is_empty()).map(|v| v.parse().unwrap_or_else(|_| panic!("{name}={v:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_there_is_one_cluster_and_it_holds_what_it_acknowledged() {
    let rounds = usize::try_from(number("LIFEBOAT_ROUNDS").unwrap_or(10)).unwrap_or(10);
    let seed = number("LIFEBOAT_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{rounds} rounds with LIFEBOAT_SEED={seed}");
    let site = Site::new(3, ETCD_LATEST).await;
    let mut drive = Drive {
        site,
        random: Random(seed),
        store_ahead: 0,
        seed,
        round: 0,
        acknowledged: BTreeMap::new(),
        written: 0,
        aside: vec![BTreeSet::new(); 3],
        members: vec![BTreeSet::new(); 3],
        created: BTreeMap::new(),
        unfit: BTreeSet::new(),
    };
    (0..3).for_each(|h| drive.on(h));
    drive.site.until_serving(&[0, 1, 2], LIMIT).await;
    drive.created = drive.created_now();
    drive.members = drive.members_now();
    assert!(drive.members.iter().all(|m| m.len() == 1), "{:?}", drive.members);
    let order = drive.random.order(ROUNDS.len());
    for round in 0..rounds {
        // Each of them once, in any order, then by chance.
        let by_chance = drive.random.below(ROUNDS.len());
        let what = ROUNDS[order.get(round).copied().unwrap_or(by_chance)];
        drive.round = round;
        drive.write(4).await;
        drive.save().await;
        drive.write(4).await;
        let plans = drive.site.plans().len();
        let begun = Instant::now();
        let survived = drive.fault(what).await;
        let seen = drive.check(what, survived, plans).await;
        println!("round {round}: {what:?} {:.1} s, {} plans", begun.elapsed().as_secs_f64(), seen.plans.len());
        // On what really happened, the first time that a round restored and the last time at all.
        if !survived && seen.plans.len() == 2 || round + 1 == rounds {
            assert_that_checks_can_fail(&seen);
        }
    }
    drive.assert_that_harm_is_found().await;
}
