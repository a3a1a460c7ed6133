//! Who takes the scheduled snapshots: one elected member, every member, or each for itself when the quorum is gone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::process::wait_until;
use crate::support::{Cluster, ETCD_3_4, ETCD_LATEST};
use crate::{LONG, every};

fn rows(cluster: &Cluster) -> Vec<Value> {
    rows_at(cluster, 0)
}

fn rows_at(cluster: &Cluster, host: usize) -> Vec<Value> {
    cluster.json(host, &["ls", "--remote"])["rows"].as_array().unwrap().clone()
}

fn nodes(rows: &[Value]) -> BTreeSet<String> {
    rows.iter().map(|r| r["node"].as_str().unwrap().to_owned()).collect()
}

fn beat(cluster: &Cluster) -> Option<String> {
    Some(cluster.record("cluster/heartbeat.json")?["by"].as_str().unwrap().to_owned())
}

fn nonce(cluster: &Cluster) -> Value {
    cluster.record("cluster/heartbeat.json").unwrap()["nonce"].clone()
}

fn host(name: &str) -> usize {
    name.trim_start_matches("cp").parse::<usize>().unwrap() - 1
}

#[test]
fn one_of_three_takes_the_snapshots_and_another_follows_it() {
    for version in [ETCD_3_4, ETCD_LATEST] {
        let cluster = Cluster::up(version, 3, None);
        for host in 0..3 {
            cluster.configure(host, &every(2, "one-member"));
        }
        let mut agents: Vec<_> = (0..3).map(|h| Some(cluster.agent(h))).collect();
        wait_until("a heartbeat", LONG, || beat(&cluster).is_some());
        let first = beat(&cluster).unwrap();
        wait_until("three snapshots", LONG, || rows(&cluster).len() >= 3);
        assert_eq!(nodes(&rows(&cluster)), BTreeSet::from([first.clone()]), "{version}: one host takes all of them");
        let plan = cluster.record("cluster/plans/1.json").expect("the cluster was adopted");
        assert_eq!((plan["cause"].as_str(), plan["voters"].as_array().unwrap().len()), (Some("adopted"), 3), "{plan}");
        assert!(rows(&cluster).iter().all(|r| r["generation"] == 1 && r["quorum"] == true), "{:?}", rows(&cluster));

        // A stop hands the office over at once.
        let begun = Instant::now();
        assert_eq!(agents[host(&first)].take().unwrap().stop(), Some(0));
        wait_until("another one's heartbeat", LONG, || beat(&cluster).is_some_and(|by| by != first));
        assert!(begun.elapsed() < Duration::from_secs(20), "{version}: a stop resigns, {:?}", begun.elapsed());
        let second = beat(&cluster).unwrap();
        wait_until("its snapshots", LONG, || nodes(&rows(&cluster)).contains(&second));

        // kill -9 leaves it until the lease runs out.
        agents[host(&second)].take().unwrap().kill9();
        wait_until("the third one's heartbeat", LONG, || beat(&cluster).is_some_and(|by| by != first && by != second));
        let third = beat(&cluster).unwrap();
        wait_until("its snapshots", LONG, || nodes(&rows(&cluster)).contains(&third));
        let heartbeat = cluster.record("cluster/heartbeat.json").unwrap();
        assert_eq!((&heartbeat["generation"], &heartbeat["cluster_id"]), (&1.into(), &plan["cluster_id"]), "{version}");
    }
}

#[test]
fn every_member_takes_its_own_where_that_is_configured() {
    let cluster = Cluster::up(ETCD_LATEST, 3, None);
    for host in 0..3 {
        cluster.configure(host, &every(2, "every-member"));
    }
    let _agents: Vec<_> = (0..3).map(|h| cluster.agent(h)).collect();
    wait_until("snapshots of all three", LONG, || nodes(&rows(&cluster)).len() == 3);
}

#[test]
fn without_quorum_each_member_that_answers_saves_emergency_snapshots() {
    for version in [ETCD_3_4, ETCD_LATEST] {
        let mut cluster = Cluster::up(version, 3, None);
        cluster.etcdctl(0, &["put", "a", "1"]);
        for host in 0..3 {
            cluster.configure(host, &every(2, "one-member"));
        }
        let agents: Vec<_> = (0..3).map(|h| cluster.agent(h)).collect();
        wait_until("a heartbeat", LONG, || beat(&cluster).is_some());
        wait_until("a first snapshot", LONG, || !rows(&cluster).is_empty());
        cluster.kill(1);
        cluster.kill(2);
        let emergency = || rows(&cluster).into_iter().filter(|r| r["quorum"] == false).collect::<Vec<_>>();
        wait_until("an emergency snapshot", LONG, || !emergency().is_empty());
        let found = emergency();
        assert_eq!(nodes(&found), BTreeSet::from(["cp1".to_owned()]), "{version}: {found:?}");
        assert_eq!((&found[0]["usable"], &found[0]["generation"]), (&false.into(), &1.into()), "{version}: {found:?}");
        let name = found[0]["name"].as_str().unwrap();
        assert_eq!(cluster.json(0, &["verify", name])["ok"], true, "{version}");
        // Nobody beats without quorum.
        let before = nonce(&cluster);
        std::thread::sleep(Duration::from_secs(25));
        assert_eq!(nonce(&cluster), before, "{version}: a heartbeat without quorum");

        cluster.restart(1);
        cluster.restart(2);
        wait_until("the heartbeat again", LONG, || nonce(&cluster) != before);
        drop(agents);
    }
}

#[test]
fn with_auth_the_election_needs_its_prefix_and_nothing_else_fails_without() {
    for version in [ETCD_3_4, ETCD_LATEST] {
        let mut cluster = Cluster::up(version, 3, None);
        for args in [
            &["user", "add", "root:rootpw"][..],
            &["role", "add", "root"],
            &["user", "grant-role", "root", "root"],
            &["role", "add", "saver"],
            &["role", "grant-permission", "saver", "read", "", "--prefix=true"],
            &["user", "add", "saver:saverpw"],
            &["user", "grant-role", "saver", "saver"],
            &["auth", "enable"],
        ] {
            cluster.etcdctl(0, args);
        }
        cluster.log_in("saver", "saverpw");
        for host in 0..3 {
            cluster.configure(host, &every(2, "one-member"));
        }
        let mut agents: Vec<_> = (0..3).map(|h| cluster.agent(h)).collect();
        if version == ETCD_3_4 {
            // Nobody can be elected, and that is not "nobody acts". 3.4 gives the status to everybody, and snapshots to root alone.
            agents[0].wait_for("grant-permission", LONG);
            agents[0].wait_for("etcdctl user grant-role USER root", LONG);
            wait_until("a heartbeat", LONG, || beat(&cluster).is_some());
        } else {
            agents[0].wait_for("snapshots need root", LONG);
        }
        drop(agents);

        cluster.log_in("root", "rootpw");
        cluster.etcdctl(0, &["user", "grant-role", "saver", "root"]);
        cluster.log_in("saver", "saverpw");
        let agents: Vec<_> = (0..3).map(|h| cluster.agent(h)).collect();
        let before = rows(&cluster).len();
        wait_until("three more snapshots", LONG, || rows(&cluster).len() >= before + 3);
        let after = rows(&cluster).split_off(before);
        assert_eq!(nodes(&after).len(), 1, "{version}: {after:?}");
        drop(agents);
    }
}

/// The elected host cannot save (here: its spool is gone): it resigns, and another one takes this very slot and those after it.
#[test]
fn a_host_that_cannot_save_leaves_the_office_and_its_slot_to_another() {
    let cluster = Cluster::up(ETCD_LATEST, 3, None);
    for host in 0..3 {
        cluster.configure(host, &every(75, "one-member"));
    }
    let agents: Vec<_> = (0..3).map(|h| cluster.agent(h)).collect();
    wait_until("a heartbeat", LONG, || beat(&cluster).is_some());
    let first = beat(&cluster).unwrap();
    let spool = cluster.of(host(&first), "state/spool");
    std::fs::remove_dir_all(&spool).unwrap();
    std::fs::write(&spool, "in the way").unwrap();
    let other = (host(&first) + 1) % 3;
    let others = || nodes(&rows_at(&cluster, other)).into_iter().find(|by| *by != first);
    wait_until("another one's snapshot", LONG, || others().is_some());
    let second = others().unwrap();
    let output = agents[host(&first)].output();
    assert!(output.contains("leaves the scheduled snapshots to others: its last snapshot failed"), "{output}");
    wait_until("its heartbeat", LONG, || beat(&cluster).is_some_and(|by| by == second));
}

/// The elected host dies right before the slot. Until its lease is over the others leave the slot to it; then one of them takes it.
#[test]
fn a_slot_at_which_the_elected_host_is_gone_is_taken_by_the_next() {
    const PERIOD: u64 = 60;
    let cluster = Cluster::up(ETCD_LATEST, 3, None);
    for host in 0..3 {
        cluster.configure(host, &every(60, "one-member"));
    }
    let mut agents: Vec<_> = (0..3).map(|h| Some(cluster.agent(h))).collect();
    wait_until("a heartbeat", LONG, || beat(&cluster).is_some());
    let since_1970 = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let to_slot = || PERIOD - since_1970() % PERIOD;
    wait_until("the last seconds before a slot", LONG, || (3..8).contains(&to_slot()));
    agents[host(&beat(&cluster).unwrap())].take().unwrap().kill9();
    let before = rows(&cluster).len();
    // Before the next slot, which would be taken in any case.
    let limit = Duration::from_secs(to_slot() + PERIOD - 3);
    wait_until("another one's snapshot", limit, || rows(&cluster).len() > before);
    let said: String = agents.iter().flatten().map(|a| a.output()).collect();
    assert_eq!(said.matches("has no snapshot of this slot").count(), 1, "{said}");
}
