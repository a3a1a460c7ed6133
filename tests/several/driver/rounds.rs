//! What goes wrong in a round of the driver, and how much of it.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use super::{Drive, LIMIT};
use crate::site::Host;

/// What goes wrong in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
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
    /// All disks are lost, the store is away at boot, and comes back.
    AllDisksAndStoreDown,
    /// All disks are lost; the gate that makes the plan stands still before it takes its mark, and goes on later.
    AllDisksAndSeedFrozen,
    /// All disks are lost; the third host comes up when the others serve.
    AllDisksAndThirdLate,
}

impl Round {
    /// Whether a host may be killed in the moment in which etcd makes its first files.
    pub(super) fn kills_joining_hosts(self) -> bool {
        matches!(self, Round::OneDiskAndKilled | Round::AllDisksAndGatesKilled)
    }
}

pub(super) const ROUNDS: [Round; 13] = [
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
    Round::AllDisksAndStoreDown,
    Round::AllDisksAndSeedFrozen,
    Round::AllDisksAndThirdLate,
];

impl Drive {
    /// One round. Whether a majority of the disks survived it.
    pub(super) async fn fault(&mut self, what: Round) -> bool {
        // Two of three restore only what three have voted in; who joined in the round before may not vote yet.
        if matches!(what, Round::TwoDisks | Round::AllDisksAndThirdLate | Round::AllDisksAndSeedFrozen) {
            self.site.until("all three vote, by the record", LIMIT, |s| s.has_recorded_voters(3)).await;
        }
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
            Round::TwoDisks | Round::AllDisksAndThirdLate => {
                (0..3).for_each(|h| self.off(h));
                let lost = if what == Round::TwoDisks { 2 } else { 3 };
                order[..lost].iter().for_each(|h| self.lose(*h));
                // The heartbeat of before is young, or the power was off for longer than that counts.
                if self.random.below(2) == 0 {
                    self.store_ahead += 100;
                    self.site.store.set_clock_skew(self.store_ahead);
                }
                order[..2].iter().for_each(|h| self.on(*h));
                self.site.until_serving(&order[..2], LIMIT).await;
                let before: BTreeSet<String> = self.acknowledged.keys().cloned().collect();
                self.write(4).await;
                let new = self.acknowledged.iter_mut().filter(|(key, _)| !before.contains(*key));
                new.for_each(|(_, (_, kept))| *kept = true);
                self.on(order[2]);
                return false;
            }
            Round::AllDisksAndSeedFrozen => {
                self.lose_all();
                for host in &order {
                    self.site.hosts[*host].boot_stopping_at("bootstrap.after_plan");
                    self.site.hosts[*host].start_agent();
                }
                self.site
                    .until("the seed stands still behind its plan", LIMIT, |s| s.hosts.iter().any(Host::is_stopped))
                    .await;
                let others: Vec<usize> = order.into_iter().filter(|h| !self.site.hosts[*h].is_stopped()).collect();
                if others.len() == 2 && self.random.below(2) == 0 {
                    self.site.until_serving(&others, LIMIT).await;
                } else {
                    let time = self.random.millis(10, 4000);
                    self.pass(time).await;
                }
                self.site.hosts.iter().filter(|h| h.is_stopped()).for_each(|h| h.signal(Signal::SIGCONT));
                return false;
            }
            Round::AllDisks | Round::AllDisksAndGatesKilled | Round::AllDisksAndStoreDown => {
                self.lose_all();
                if what == Round::AllDisksAndStoreDown {
                    self.site.store.go_down();
                }
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
                if what == Round::AllDisksAndStoreDown {
                    let time = self.random.millis(1000, 6000);
                    self.pass(time).await;
                    assert!(self.site.hosts.iter().all(Host::waits), "etcd was started without the store");
                    self.site.store.go_up();
                }
                return false;
            }
        }
        true
    }

    fn lose_all(&mut self) {
        for host in 0..3 {
            self.off(host);
            self.lose(host);
        }
    }
}
