//! Everything is destroyed and recreated under new host names: only the bucket, and what hosts are told (`expected_members`), say what was there.

use std::time::{Duration, Instant};

use crate::site::Site;
use crate::support::{Dump, ETCD_LATEST, Fill};

const LIMIT: Duration = Duration::from_secs(120);
const NEW: [&str; 3] = ["new1", "new2", "new3"];

/// Three hosts that lived, saved and beat; then they, and all that they knew, are gone.
async fn destroyed() -> (Site, Dump) {
    let mut site = Site::of_expected(3, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    Fill::small(100).run(site.hosts[0].etcd().expect("etcd runs")).await;
    site.hosts[0].run(&["save", "--name", "before"]).ok();
    let before = site.dump(0).await;
    site.hosts.iter_mut().for_each(|h| h.start_agent());
    site.until("a heartbeat", LIMIT, |s| s.store.object("several/cluster/heartbeat.json").is_some()).await;
    site.recreate(&NEW, ETCD_LATEST);
    (site, before)
}

async fn restored(site: &mut Site, before: &Dump) {
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
    for host in 0..3 {
        before.assert_same_keys(&site.dump(host).await);
    }
    let plan = site.record("cluster/plans/2.json");
    let seed = plan["seed"].as_str().expect("a name");
    let mut client = site.hosts[0].etcd().expect("etcd runs").client().await;
    let members = client.member_list().await.expect("members");
    let mut voters: Vec<&str> = members.members().iter().filter(|m| !m.is_learner()).map(|m| m.name()).collect();
    voters.sort_unstable();
    assert_eq!(voters, NEW);
    let seed = site.hosts.iter().find(|h| h.name == seed).expect("one of the new hosts");
    assert!(seed.log.contains("rests on a clock"), "{}", seed.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_heartbeat_of_20_minutes_ago_they_are_restored_with_no_hand() {
    let (mut site, before) = destroyed().await;
    site.store.set_clock_skew(20 * 60);
    let begun = Instant::now();
    site.boot_all();
    restored(&mut site, &before).await;
    println!("three new hosts, first write on each after {:.1} s", begun.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_fresh_heartbeat_they_wait_and_say_for_what() {
    let (mut site, before) = destroyed().await;
    site.boot_all();
    let said = site.until_said(&[0, 1, 2], "C1 WAIT").await;
    for part in ["cp1", "cp2", "cp3", "goes on by itself", "600 s", "lifeboat declare-lost --reason"] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    // Old enough for a cluster that may live, and too young for one that is lost.
    for minutes in [0, 5, 9] {
        site.store.set_clock_skew(minutes * 60);
        site.pass(Duration::from_secs(6)).await;
        assert_eq!(site.plans(), [1], "restored {minutes} minutes after the last sign of life");
        assert!(site.hosts.iter().all(|h| h.waits() && h.output().contains("VotersGone")));
    }
    // At this moment every entry of the roll call is minutes old, too: two may go first, and the third joins them.
    site.store.set_clock_skew(20 * 60);
    site.hosts.iter_mut().for_each(|h| h.start_agent());
    restored(&mut site, &before).await;
}

/// Nobody knows better than a person who has seen the old hosts go.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_knows_that_they_are_gone_does_not_wait_for_the_clock() {
    let (mut site, before) = destroyed().await;
    site.boot_all();
    site.until_said(&[0, 1, 2], "C1 WAIT").await;
    let asked = site.hosts[1].run(&["declare-lost", "--reason", "the old group was deleted"]);
    assert_eq!(asked.code, Some(3), "it asks first: {}", asked.text());
    println!("{}", asked.text());
    // While the heartbeat is fresh, a person may be wrong, too.
    let told = site.hosts[1].run(&["declare-lost", "--reason", "the old group was deleted", "--yes"]);
    println!("{}", told.text());
    if told.code != Some(0) {
        assert!(told.text().contains("heartbeat"), "{}", told.text());
        site.store.set_clock_skew(120);
        site.hosts[1].run(&["declare-lost", "--reason", "the old group was deleted", "--yes"]).ok();
    }
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
    before.assert_same_keys(&site.dump(2).await);
}
