//! Three control-plane hosts as the README's install section leaves them: one cluster behind three gates, three agents.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::time::Duration;

use super::readme;
use super::site::{MINUTE, Site};
use crate::harness::{Etcd, Host, Lab, Suite};

/// Name of the cluster, and folder in the store, in the README.
const CLUSTER: &str = "prod-eu1";

/// The three, in the order of `cluster.members`.
pub struct Three<'lab>(Vec<Site<'lab>>);

impl<'lab> Deref for Three<'lab> {
    type Target = [Site<'lab>];

    fn deref(&self) -> &[Site<'lab>] {
        &self.0
    }
}

/// Does the same on each host at the same time.
fn on_each<'a, T: Sync + 'a>(all: impl IntoIterator<Item = &'a T>, work: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = all.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

impl<'lab> Three<'lab> {
    /// Installed by the README's own commands, the cluster running; `more` goes into `conf.d` of each.
    pub fn running(lab: &'lab Lab, suite: Suite, more: &str) -> Self {
        let three = Three::bare(lab, suite, more, |_| Etcd::gated());
        three.install();
        three[0].host.ok_for(2 * MINUTE, &readme::block("first"));
        assert_eq!(three.plans(), [1]);
        three
    }

    /// A cluster that nobody has told of lifeboat; each host has the flags that formed it in `/etc/default/etcd`.
    pub fn without_us(lab: &'lab Lab, suite: Suite) -> Self {
        let three = Three::bare(lab, suite, "", Etcd::forming);
        on_each(three.iter(), |site| {
            site.configure_etcd();
            site.host.ok("systemctl enable --no-block --now etcd");
            site.wait_etcd();
        });
        three
    }

    /// Hosts that run, with nothing of ours.
    fn bare(lab: &'lab Lab, suite: Suite, more: &str, etcd: impl Fn(&[&Host]) -> Etcd) -> Self {
        let hosts = ["cp1", "cp2", "cp3"].map(|name| lab.host_off(name, suite));
        on_each(&hosts, |host| {
            host.boot();
            host.settle(MINUTE);
        });
        let etcd = etcd(&hosts.each_ref());
        let site = |host: &Host| Site::bare(lab, host.clone()).one_of(&hosts).etcd(etcd.clone()).conf(more);
        Three(hosts.iter().map(site).collect())
    }

    /// The README's own commands, to the line that enables the units.
    pub fn install(&self) {
        on_each(self.iter(), Site::packaged);
        // Made on one, copied to the others.
        self[0].host.ok(&readme::block("token"));
        let token = self[0].host.read("/etc/lifeboat/token");
        self[1..].iter().for_each(|site| site.host.write("/etc/lifeboat/token", &token, 0o600));
        on_each(self.iter(), |site| {
            site.configured();
            site.host.ok_for(2 * MINUTE, &readme::block("enable"));
            site.wait_etcd();
        });
    }

    /// All at once.
    pub fn power_cut(&self) {
        on_each(self.iter(), |site| site.host.power_cut());
    }

    /// All at once; none waits for another.
    pub fn boot(&self) {
        on_each(self.iter(), |site| site.host.boot());
    }

    /// Each serves, as one cluster of three voters, with the same keys.
    #[track_caller]
    pub fn one_cluster(&self) {
        on_each(self.iter(), |site| site.wait_etcd());
        let members = self[0].host.wait_for("three voters", MINUTE, |host| {
            let listed = host.etcdctl("member list");
            let voters = listed.stdout.lines().filter(|line| line.contains(", started,") && line.ends_with(", false"));
            (listed.stdout.lines().count() == 3 && voters.count() == 3).then(|| listed.stdout.clone())
        });
        let ids: BTreeSet<_> = self.iter().map(|site| site.cluster_id()).collect();
        assert_eq!(ids.len(), 1, "more than one cluster: {ids:?}\n{members}");
        let dumps: BTreeSet<_> = self.iter().map(Site::keys).collect();
        assert_eq!(dumps.len(), 1, "they hold different keys: {dumps:?}");
    }

    /// Plans in the store, in order.
    pub fn plans(&self) -> Vec<u64> {
        let plans = format!("{CLUSTER}/cluster/plans/");
        let keys = self[0].lab.s3().keys_below(&plans);
        let numbers = keys.iter().filter_map(|key| key.strip_prefix(&plans)?.strip_suffix(".json")?.parse().ok());
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    /// What a record in the cluster's folder says; null when there is none.
    pub fn record(&self, key: &str) -> serde_json::Value {
        let stored = self[0].lab.s3().get_json(&format!("{CLUSTER}/{key}"));
        stored.map(|record| record["body"].clone()).unwrap_or_default()
    }

    /// How often an event is in the journals, host by host, all boots.
    pub fn events(&self, event: &str) -> [usize; 3] {
        [0, 1, 2].map(|i| self[i].events(event))
    }

    /// Waits until the elected agent has renewed the heartbeat in this life.
    #[track_caller]
    pub fn wait_heartbeat(&self, generation: u64) {
        self[0].host.wait_for(&format!("a heartbeat of life {generation}"), 2 * MINUTE, |_| {
            (self.record("cluster/heartbeat.json")["generation"] == generation).then_some(())
        });
    }

    /// No host waits, nothing has failed.
    #[track_caller]
    pub fn nothing_failed(&self) {
        self.iter().for_each(Site::nothing_failed);
    }
}

impl Site<'_> {
    /// The disk under etcd's data dir is a new one. The host is off.
    pub fn new_disk(&self) {
        std::fs::remove_dir_all(self.host.offline(&format!("{}/member", self.data_dir()))).expect("a member to lose");
    }

    /// The host is a new one, of the same name: nothing is remembered, only the configuration is as before. It is off.
    pub fn reinstalled(&self) {
        self.new_disk();
        for dir in ["/var/lib/lifeboat", "/var/lib/lifeboat-bootstrap"] {
            std::fs::remove_dir_all(self.host.offline(dir)).expect("a directory to lose");
        }
    }

    /// Every key and value that people have written. The election's own come and go.
    #[track_caller]
    pub fn keys(&self) -> String {
        let dump = self.host.etcd_dump();
        dump.split_inclusive('\n').filter(|line| !line.starts_with("/lifeboat/election/")).collect()
    }

    /// In which cluster its member is.
    #[track_caller]
    pub fn cluster_id(&self) -> u64 {
        let status = self.host.etcdctl("endpoint status -w json");
        let status: serde_json::Value =
            serde_json::from_str(&status.stdout).unwrap_or_else(|e| panic!("{e}: {status}"));
        status[0]["Status"]["header"]["cluster_id"].as_u64().expect("a cluster id")
    }

    /// How often an event of the gate is in the journal of all boots.
    pub fn events(&self, event: &str) -> usize {
        let found = self.host.journal(&format!("-u lifeboat-bootstrap LIFEBOAT_EVENT={event} -o cat"));
        found.lines().count()
    }

    /// Waits for what the gate says of why it waits, and shows it.
    #[track_caller]
    pub fn wait_gate_says_within(&self, part: &str, limit: Duration) -> String {
        let said = self.host.wait_for(&format!("the gate to say {part:?}"), limit, |_| {
            Some(self.gate_says()).filter(|said| said.contains(part))
        });
        println!("lab: {}: {said}", self.host.name());
        said
    }

    /// What etcd's unit reads of the gate.
    pub fn environment(&self) -> String {
        self.host.read("/var/lib/lifeboat-bootstrap/etcd.env")
    }
}
