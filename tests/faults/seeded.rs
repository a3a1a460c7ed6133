//! kill -9 at every named point of save, ship and restore, on hosts with a past: the seed chooses the data, what was saved, left in the spool
//! or killed before, the order of the points, and at which passing of a point the kill comes.
//!
//! `make test` runs one seed; LIFEBOAT_KILLS=20 (`make kills SEEDS=20`) runs so many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use std::fs;

use crate::disks::by_hand;
use crate::kills::{RESTORE, SAVE, SHIP, SHIP_RENAME, agent_ships};
use crate::lab::{FOLDER, Lab};
use crate::support::{Dump, EtcdProcess, Fill, Lifeboat, dump};

/// splitmix64: the same seed, the same run.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn shuffled<T: Copy>(&mut self, items: &[T]) -> Vec<T> {
        let mut items = items.to_vec();
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
        items
    }
}

fn seeds() -> u64 {
    std::env::var("LIFEBOAT_KILLS").map_or(1, |n| n.parse().expect("LIFEBOAT_KILLS is a number"))
}

/// A host, its etcd, and what is known of it.
struct Host {
    lab: Lab,
    etcd: EtcdProcess,
    chance: Chance,
    compression: &'static str,
    kills: u64,
    later: u64,
}

impl Host {
    async fn new(seed: u64) -> Host {
        let lab = Lab::new();
        lab.bootstrap().run().ok();
        let etcd = lab.etcd();
        let mut chance = Chance(seed);
        let fill = Fill { large: chance.below(3) as usize, seed, ..Fill::small(10 + chance.below(300) as usize) };
        fill.run(&etcd).await;
        let compression = ["gzip", "zstd", "none"][chance.below(3) as usize];
        let host = Host { lab, etcd, chance, compression, kills: 0, later: 0 };
        host.save("first").run().ok();
        host
    }

    fn save(&self, name: &str) -> Lifeboat {
        self.lab.cmd(["save", "--name", name, "--compression", self.compression])
    }

    /// A save that is killed at a passing of `point` that chance chooses; where it passes by less often, at the first.
    fn save_and_kill(&mut self, point: &str, name: &str) {
        // A name that is taken is changed once.
        let nth = if point == SHIP_RENAME { 0 } else { self.chance.below(4) };
        let run = |nth| self.save(name).failpoints(&format!("{point}={nth}*off->return(kill)")).run();
        let out = if nth > 0 { Some(run(nth)).filter(|o| o.signal == Some(9) || o.code != Some(0)) } else { None };
        let later = out.is_some();
        out.unwrap_or_else(|| run(0)).killed();
        self.later += u64::from(later);
        self.kills += 1;
    }

    /// Something happens before the next kill.
    async fn live(&mut self) {
        for _ in 0..self.chance.below(3) {
            match self.chance.below(3) {
                0 => drop(self.save("waiting").arg("--no-ship").run().ok()),
                1 => {
                    let seed = self.chance.below(1 << 40);
                    Fill { seed, ..Fill::small(5 + self.chance.below(30) as usize) }.run(&self.etcd).await;
                }
                _ => {
                    let point = SAVE[self.chance.below(SAVE.len() as u64) as usize];
                    self.save_and_kill(point, "cut-before");
                }
            }
        }
    }

    /// Everything that `ls` shows and `known` has not verifies; nothing of `known` is gone.
    fn usable_after(&self, known: &[String], what: &str) -> Vec<String> {
        let names = self.lab.usable();
        assert!(known.iter().all(|k| names.contains(k)), "{what}: gone: {known:?} -> {names:?}");
        for name in names.iter().filter(|n| !known.contains(n)) {
            self.lab.cmd(["verify", name]).run().ok();
        }
        names
    }

    async fn save_killed(&mut self, point: &str, what: &str) {
        self.live().await;
        let known = self.lab.usable();
        if point == SHIP_RENAME {
            // Another host has taken the name of what waits here.
            self.save("twin").arg("--no-ship").run().ok();
            let spooled = fs::read_dir(self.lab.path("state/spool")).unwrap().map(|e| e.unwrap().file_name());
            for name in spooled.map(|n| n.to_string_lossy().into_owned()).filter(|n| n.starts_with("twin")) {
                if name.contains(".db") && !self.lab.s3.keys().iter().any(|k| k.ends_with(&name)) {
                    self.lab.s3.plant(&format!("{FOLDER}snapshots/{name}"), b"another host's payload");
                }
            }
        }
        self.save_and_kill(point, "cut");
        let seen = self.usable_after(&known, what);
        self.save("after").run().ok();
        let names = self.usable_after(&seen, what);
        assert!(names.iter().any(|n| n.starts_with("after") && !seen.contains(n)), "{what}: the next run: {names:?}");
        assert!(self.lab.s3.uploads_in_progress().is_empty(), "{what}: an upload was left");
    }

    /// A restore by hand on an empty disk, killed; what etcd would start then is the newest snapshot, or nothing.
    async fn restore_killed(&mut self, point: &str, what: &str, expected: &Dump) {
        self.lab.lose_data();
        if self.chance.below(2) == 0 {
            // An earlier one was killed, too, and left what it left.
            let earlier = RESTORE[self.chance.below(3) as usize];
            by_hand(&self.lab).failpoints(&format!("{earlier}=return(kill)")).run().killed();
            self.kills += 1;
        }
        by_hand(&self.lab).failpoints(&format!("{point}=return(kill)")).run().killed();
        self.kills += 1;
        if self.lab.has_member() {
            self.lab.inspect().ok();
            expected.assert_same_keys(&self.lab.what_etcd_would_serve().await);
            by_hand(&self.lab).run().exits_with(3);
        } else {
            by_hand(&self.lab).run().ok();
            assert!(self.lab.leftovers().is_empty(), "{what}: {:?}", self.lab.leftovers());
        }
        expected.assert_same_keys(&self.lab.what_etcd_would_serve().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_on_hosts_with_a_past() {
    let (mut kills, mut later) = (0, 0);
    let first: u64 = std::env::var("LIFEBOAT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    for seed in first..first + seeds() {
        let mut host = Host::new(seed).await;
        let points = host.chance.shuffled(&[SAVE, SHIP, &[SHIP_RENAME]].concat());
        for point in points {
            host.save_killed(point, &format!("seed {seed}, {point}")).await;
        }
        // What a killed run left half-done in the spool is the agent's to finish or to clear away.
        host.save("last").run().ok();
        agent_ships(&host.lab);
        assert!(host.lab.leftovers().is_empty(), "seed {seed}: {:?}", host.lab.leftovers());
        let known = host.usable_after(&[], &format!("seed {seed}, the end"));
        let expected = dump(&host.etcd).await;
        host.etcd.stop();
        for point in host.chance.shuffled(RESTORE) {
            host.restore_killed(point, &format!("seed {seed}, {point}"), &expected).await;
        }
        println!(
            "seed {seed}: {} kills, {} of them not at the first passing; {} snapshots, all whole",
            host.kills,
            host.later,
            known.len()
        );
        (kills, later) = (kills + host.kills, later + host.later);
    }
    println!("{} seeds: {kills} kills ({later} not at the first passing), nothing lost, nothing half", seeds());
}
