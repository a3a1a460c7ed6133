//! What is never begun, on hosts that would agree on it: each says what a person must decide, and what they type then works.

use std::process::Command;
use std::time::Duration;

use crate::site::{Host, Site};
use crate::support::{ETCD_LATEST, Fill};

const LIMIT: Duration = Duration::from_secs(120);

async fn running() -> Site {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    Fill::small(100).run(site.hosts[0].etcd().expect("etcd runs")).await;
    site.hosts[0].run(&["save", "--name", "before"]).ok();
    site
}

fn plans_in(site: &Site, folder: &str) -> Vec<String> {
    let start = format!("{folder}/cluster/plans/");
    site.store.keys().into_iter().filter(|k| k.starts_with(&start)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_folder_is_not_taken_for_a_new_cluster_by_hosts_that_remember_one() {
    let mut site = running().await;
    let before = site.dump(0).await;
    site.lose_all();
    site.folder = "wrong".to_owned();
    site.configure("");
    site.boot_all();
    site.until("all wait", LIMIT, |s| s.hosts.iter().all(|h| h.line("P1 WAIT").is_some())).await;
    let said = site.until_said(&[0, 1, 2], "P1 WAIT").await;
    for part in ["wrong", "no plan at all", "seen generation 1", "wrong bucket or folder", "lifeboat config show"] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    site.pass(Duration::from_secs(12)).await;
    assert_eq!(plans_in(&site, "wrong"), [""; 0]);
    assert!(site.hosts.iter().all(Host::waits));
    // Two of them are reinstalled and remember nothing: what the third remembers is enough.
    for host in [1, 2] {
        site.hosts[host].power_cut();
        site.hosts[host].reinstall();
    }
    site.configure("");
    site.hosts[1].boot();
    site.hosts[2].boot();
    site.pass(Duration::from_secs(15)).await;
    assert_eq!(plans_in(&site, "wrong"), [""; 0]);
    assert!(site.hosts.iter().all(Host::waits), "an empty cluster was formed");
    for host in &site.hosts {
        println!("{}: {}", host.name, host.output().lines().rfind(|l| l.contains("WAIT")).unwrap_or_default());
    }
    // The folder is corrected while they wait.
    site.folder = "several".to_owned();
    site.configure("");
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
    before.assert_same_keys(&site.dump(2).await);
}

/// The folder holds the plans, and not one snapshot any more.
#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_are_gone_are_not_taken_for_a_new_cluster() {
    let mut site = running().await;
    site.lose_all();
    for key in site.store.keys().into_iter().filter(|k| k.contains("/snapshots/")) {
        assert!(site.store.lose(&key));
    }
    site.boot_all();
    let said = site.until_said(&[0, 1, 2], "S5 REFUSE").await;
    for part in ["holds plan 1", "no snapshot", "would hide that loss", "--init-empty", "waiting since"] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    site.pass(Duration::from_secs(5)).await;
    assert_eq!(site.plans(), [1]);
    assert!(site.hosts.iter().all(Host::waits));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_cluster_that_is_promised_is_not_formed_anew_until_a_person_says_so() {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.configure("initial_cluster_state = \"existing\"");
    site.boot_all();
    let said = site.until_said(&[0, 1, 2], "S5 REFUSE").await;
    for part in
        ["initial_cluster_state is \"existing\"", "neither a plan nor a snapshot", "lifeboat bootstrap --init-empty"]
    {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    site.pass(Duration::from_secs(12)).await;
    assert_eq!(site.plans(), [0; 0]);
    assert!(site.hosts.iter().all(Host::waits));
    // Typed on one host, beside its unit that waits.
    let by_hand = site.hosts[1].run(&["bootstrap", "--init-empty"]);
    println!("{}", by_hand.text());
    assert_eq!(by_hand.code, Some(0), "{}", by_hand.text());
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1]);
}

/// A disk was cloned: the data of one member stands on two hosts.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_data_dir_of_another_member_is_never_started() {
    let mut site = running().await;
    for host in [1, 2] {
        site.hosts[host].power_cut();
    }
    site.hosts[2].lose_disk();
    let copied = Command::new("cp").arg("-a").arg(site.hosts[1].data_dir()).arg(site.hosts[2].data_dir()).status();
    assert!(copied.expect("cp").success());
    // Without a quorum beside it, and with one.
    site.hosts[2].boot();
    let said = site.until_said(&[2], "D2 REFUSE").await;
    let (theirs, mine) = (site.hosts[1].peer_url(), site.hosts[2].peer_url());
    for part in ["not this host's", &theirs, &mine, "lifeboat quarantine add", "no quorate cluster answers"] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    site.hosts[1].boot();
    site.until_serving(&[0, 1], LIMIT).await;
    site.until("it sees the cluster", LIMIT, |s| {
        s.hosts[2].line("D2 REFUSE").is_some_and(|l| l.contains("the quorate cluster"))
    })
    .await;
    println!("{}", site.hosts[2].line("D2 REFUSE").unwrap_or_default());
    assert!(site.hosts[2].waits());
    // As it says; a terminal would be asked.
    site.hosts[2].run(&["quarantine", "add", "--yes"]).ok();
    site.hosts[2].start_agent();
    // Whoever is elected makes a voter of it.
    site.hosts[0].start_agent();
    site.until_serving(&[2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.hosts[2].quarantined().len(), 1);
    assert_eq!(site.plans(), [1]);
}
