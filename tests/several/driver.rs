//! Random faults from a seed, and after each round what must always hold.
//!
//! `LIFEBOAT_ROUNDS` and `LIFEBOAT_SEED` choose how many rounds, and which; a failure prints the seed and keeps the evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::site::Site;
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

/// What goes wrong in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// kill -9 of one member.
    Killed,
    /// One member stands still for a while.
    Frozen,
    /// The power goes for all, and comes back one by one.
    PowerCut,
    /// One disk is lost.
    OneDisk,
    /// One machine is replaced by another of the same name.
    Replaced,
    /// The power goes, the store is away at boot, and comes back.
    StoreDown,
    /// Two disks are lost; the third host comes up when the others serve.
    TwoDisks,
    /// All disks are lost.
    AllDisks,
    /// All disks are lost, and gates are killed at random while they work.
    AllDisksAndGatesKilled,
    /// One disk is lost, and the host is killed at random while it joins.
    OneDiskAndKilled,
}

const ROUNDS: [Round; 10] = [
    Round::Killed,
    Round::OneDisk,
    Round::AllDisks,
    Round::Frozen,
    Round::TwoDisks,
    Round::Replaced,
    Round::StoreDown,
    Round::AllDisksAndGatesKilled,
    Round::OneDiskAndKilled,
    Round::PowerCut,
];

struct Drive {
    site: Site,
    random: Random,
    seed: u64,
    round: usize,
    /// Acknowledged writes, and whether a snapshot holds them.
    acknowledged: BTreeMap<String, (String, bool)>,
    written: u64,
    /// What was moved aside, by host.
    aside: Vec<BTreeSet<PathBuf>>,
}

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

    fn save(&mut self) {
        let host = self.random.below(3);
        let out = self.site.hosts[host].run(&["save", "--name", "soak"]);
        if out.code == Some(0) {
            for (_, saved) in self.acknowledged.values_mut() {
                *saved = true;
            }
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
    }

    /// One round. Whether a majority of the disks survived it.
    async fn fault(&mut self, what: Round) -> bool {
        let order = self.random.order(3);
        let one = order[0];
        match what {
            Round::Killed => {
                self.off(one);
                self.write(3).await;
                self.on(one);
            }
            Round::Frozen => {
                self.site.hosts[one].signal(Signal::SIGSTOP);
                self.write(3).await;
                let time = self.random.millis(500, 4000);
                self.pass(time).await;
                self.site.hosts[one].signal(Signal::SIGCONT);
            }
            Round::PowerCut | Round::StoreDown => {
                (0..3).for_each(|h| self.off(h));
                if what == Round::StoreDown {
                    self.site.store.go_down();
                }
                for host in order {
                    self.on(host);
                    let time = self.random.millis(10, 3000);
                    self.pass(time).await;
                }
                if what == Round::StoreDown {
                    self.site.store.go_up();
                }
            }
            Round::OneDisk | Round::Replaced | Round::OneDiskAndKilled => {
                self.off(one);
                self.write(2).await;
                self.lose(one);
                if what == Round::Replaced {
                    self.site.hosts[one].reinstall();
                }
                self.on(one);
                if what == Round::OneDiskAndKilled {
                    for _ in 0..3 {
                        let time = self.random.millis(50, 4000);
                        self.pass(time).await;
                        self.off(one);
                        self.on(one);
                    }
                }
                self.write(2).await;
            }
            Round::TwoDisks => {
                (0..3).for_each(|h| self.off(h));
                for host in &order[..2] {
                    self.lose(*host);
                    self.on(*host);
                }
                self.site.until_serving(&order[..2], LIMIT).await;
                self.on(order[2]);
                return false;
            }
            Round::AllDisks | Round::AllDisksAndGatesKilled => {
                (0..3).for_each(|h| {
                    self.off(h);
                    self.lose(h);
                });
                let late = self.random.below(2) == 0;
                for host in &order {
                    self.on(*host);
                    let time = self.random.millis(10, if late { 3000 } else { 100 });
                    self.pass(time).await;
                }
                if what == Round::AllDisksAndGatesKilled {
                    for _ in 0..5 {
                        let time = self.random.millis(20, 1500);
                        self.pass(time).await;
                        let host = self.random.below(3);
                        self.off(host);
                        self.on(host);
                    }
                }
                return false;
            }
        }
        true
    }

    async fn check(&mut self, what: Round, survived: bool, plans: &[u64]) {
        let round = self.round;
        let told = format!("seed {}, round {round} ({what:?})", self.seed);
        self.site.until_serving(&[0, 1, 2], LIMIT).await;
        self.site.assert_same_hash(&[0, 1, 2]).await;
        let now = self.site.plans();
        let expected: Vec<u64> = (1..=now.len() as u64).collect();
        assert_eq!(now, expected, "{told}: a generation is missing");
        if survived {
            assert_eq!(now, plans, "{told}: a plan was made though a majority of the disks survived");
        } else {
            assert_eq!(now.len(), plans.len() + 1, "{told}: {now:?} after {plans:?}");
        }
        let dump = self.site.dump(self.random.below(3)).await;
        let mut lost = Vec::new();
        for (key, (value, saved)) in &self.acknowledged {
            let there = dump.entries.get(key.as_bytes()).is_some_and(|e| e.value == value.as_bytes());
            if !there && (survived || *saved) {
                lost.push(key.clone());
            }
        }
        assert!(lost.is_empty(), "{told}: acknowledged writes are lost: {lost:?}");
        // What a snapshot did not hold is gone with the disks, as it must be.
        self.acknowledged.retain(|key, _| dump.entries.contains_key(key.as_bytes()));
        for (host, before) in self.site.hosts.iter().zip(&mut self.aside) {
            let now: BTreeSet<PathBuf> = host.quarantined().into_iter().collect();
            let gone: Vec<_> = before.difference(&now).collect();
            assert!(gone.is_empty(), "{told}: member data of {} was deleted: {gone:?}", host.name);
            *before = now;
        }
    }
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
        seed,
        round: 0,
        acknowledged: BTreeMap::new(),
        written: 0,
        aside: vec![BTreeSet::new(); 3],
    };
    (0..3).for_each(|h| drive.on(h));
    drive.site.until_serving(&[0, 1, 2], LIMIT).await;
    for round in 0..rounds {
        // Each of them once, then by chance.
        let by_chance = drive.random.below(ROUNDS.len());
        let what = ROUNDS.get(round).copied().unwrap_or(ROUNDS[by_chance]);
        drive.round = round;
        drive.write(4).await;
        drive.save();
        drive.write(4).await;
        let plans = drive.site.plans();
        let begun = Instant::now();
        let survived = drive.fault(what).await;
        drive.check(what, survived, &plans).await;
        println!("round {round}: {what:?} {:.1} s, {} plans", begun.elapsed().as_secs_f64(), drive.site.plans().len());
    }
}
