//! Hosts that are away when the others need them: for an hour, until they are replaced, or in the middle of a join.

use std::time::Duration;

use crate::site::Site;
use crate::support::{Dump, ETCD_LATEST, Fill};

const LIMIT: Duration = Duration::from_secs(120);

/// Three hosts that hold data and have saved it; what they hold.
async fn running() -> (Site, Dump) {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    Fill::small(200).run(site.hosts[0].etcd().expect("etcd runs")).await;
    site.hosts[0].run(&["save", "--name", "before"]).ok();
    let before = site.dump(0).await;
    (site, before)
}

fn mark(site: &Site, generation: u64, host: &str) -> Option<String> {
    let key = format!("cluster/plans/{generation}/started/{host}.json");
    site.store.object(&format!("several/{key}"))?;
    Some(site.record(&key)["purpose"].as_str().expect("a purpose").to_owned())
}

async fn voters(site: &Site, host: usize) -> usize {
    let mut client = site.hosts[host].etcd().expect("etcd runs").client().await;
    let list = client.member_list().await.expect("members");
    list.members().iter().filter(|m| !m.is_learner()).count()
}

/// All disks are lost, the plan is made, and two hosts go before they apply it. The third alone has no quorum. More than an hour later they come.
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_that_stay_away_for_more_than_an_hour_after_a_plan_follow_it_then() {
    let (mut site, before) = running().await;
    site.lose_all();
    site.hosts[0].boot();
    site.hosts[1].boot_armed("bootstrap.before_mark");
    site.hosts[2].boot_armed("bootstrap.before_mark");
    site.until("two died, and one has applied the plan", LIMIT, |s| {
        s.hosts[1].is_off() && s.hosts[2].is_off() && s.hosts[0].etcd().is_some()
    })
    .await;
    assert_eq!(site.plans(), [1, 2]);
    assert_eq!(["cp1", "cp2", "cp3"].map(|h| mark(&site, 2, h).is_some()), [true, false, false]);
    site.store.set_clock_skew(4000);
    site.pass(Duration::from_secs(3)).await;
    assert!(!site.hosts[0].put("alone", "no").await, "one of three serves alone");
    // One of them is enough, and the other finds a cluster that serves.
    site.hosts[1].boot();
    site.until_serving(&[0, 1], LIMIT).await;
    assert_eq!(site.hosts[1].rules(), ["R1", "D7"]);
    assert!(site.hosts[0].put("written", "meanwhile").await);
    site.hosts[2].boot();
    site.until_serving(&[2], LIMIT).await;
    assert_eq!(site.hosts[2].rules(), ["L1", "D7"]);
    assert_eq!(mark(&site, 2, "cp3").as_deref(), Some("join"));
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!((site.plans(), voters(&site, 0).await), (vec![1, 2], 3));
    let mut after = site.dump(2).await;
    assert!(after.entries.remove(&b"written"[..]).is_some());
    // Not acknowledged then; etcd may have done it when there was a leader.
    after.entries.remove(&b"alone"[..]);
    before.assert_same_keys(&after);
}

/// The same with both away for good but reinstalled, so that they remember nothing: the plan is still theirs.
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_that_are_reinstalled_an_hour_after_a_plan_follow_it_then() {
    let (mut site, before) = running().await;
    site.lose_all();
    site.hosts[0].boot();
    site.hosts[1].boot_armed("bootstrap.before_mark");
    site.hosts[2].boot_armed("bootstrap.before_mark");
    site.until("two died, and one has applied the plan", LIMIT, |s| {
        s.hosts[1].is_off() && s.hosts[2].is_off() && s.hosts[0].etcd().is_some()
    })
    .await;
    site.store.set_clock_skew(4000);
    for host in [1, 2] {
        site.hosts[host].reinstall();
    }
    site.configure("");
    site.hosts[1].boot();
    site.hosts[2].boot();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
    before.assert_same_keys(&site.dump(2).await);
}

/// Two have applied a plan and served, one of these goes with its disk intact; the third, which was never started in that life, makes the quorum
/// with the one that is left, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_host_makes_the_quorum_of_a_cluster_of_its_own_plan() {
    let (mut site, _) = running().await;
    site.lose_all();
    site.hosts[0].boot();
    site.hosts[1].boot();
    site.hosts[2].boot_armed("bootstrap.before_mark");
    site.until_serving(&[0, 1], LIMIT).await;
    site.until("the third is off", LIMIT, |s| s.hosts[2].is_off()).await;
    assert_eq!(mark(&site, 2, "cp3"), None);
    assert!(site.hosts[0].put("written", "by two of three").await);
    site.hosts[1].power_cut();
    site.hosts[2].boot();
    site.until_serving(&[0, 2], LIMIT).await;
    assert_eq!(site.hosts[2].rules(), ["R1", "D7"]);
    assert_eq!(mark(&site, 2, "cp3").as_deref(), Some("apply"));
    assert!(site.dump(2).await.entries.contains_key(&b"written"[..]), "an acknowledged write is lost");
    site.hosts[1].boot();
    site.until_serving(&[1], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
}

/// The same, when the life has a snapshot of its own by then: the plan's data is older than what it acknowledged, so that the late host waits for the
/// quorum, says for whom, and joins.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_host_does_not_start_from_a_plan_that_has_lived_on() {
    let (mut site, _) = running().await;
    site.lose_all();
    site.hosts[0].boot();
    site.hosts[1].boot();
    site.hosts[2].boot_armed("bootstrap.before_mark");
    site.until_serving(&[0, 1], LIMIT).await;
    site.until("the third is off", LIMIT, |s| s.hosts[2].is_off()).await;
    site.hosts[0].run(&["save", "--name", "later"]).ok();
    assert!(site.hosts[0].put("written", "by two of three").await);
    site.hosts[1].power_cut();
    site.hosts[2].boot();
    let said = site.until_said(&[2], "L2 WAIT").await;
    for part in ["no answer from cp2 (http://", "waiting since", "lifeboat save --name survivor"] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    site.hosts[1].boot();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
    assert!(site.dump(2).await.entries.contains_key(&b"written"[..]), "an acknowledged write is lost");
}

/// Somebody ran one etcd, installed lifeboat on three hosts, and lost the one before the others had joined.
async fn adopted_and_lost() -> (Site, Dump) {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.hosts[0].form_by_hand();
    Fill::small(100).run(site.hosts[0].etcd().expect("etcd runs")).await;
    let before = site.dump(0).await;
    let saved = site.hosts[0].run(&["save", "--name", "before", "--output=json"]).ok().json();
    assert_eq!(saved["manifest"]["generation"], 1, "{saved}");
    let plan = site.record("cluster/plans/1.json");
    assert_eq!((&plan["cause"], plan["voters"].as_array().map(Vec::len)), (&"adopted".into(), Some(1)), "{plan}");
    site.hosts[0].power_cut();
    site.hosts[0].lose_disk();
    site.hosts[1].boot();
    site.hosts[2].boot();
    let said = site.until_said(&[1, 2], "C1 WAIT: 0 of 1 voters").await;
    for part in [
        "0 of 1 voters in",
        "missing: cp1",
        "waiting since",
        "reinstalled under the same name",
        "lifeboat declare-lost --reason",
    ] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    // Long enough for peer_wait.
    site.pass(Duration::from_secs(12)).await;
    assert_eq!(site.plans(), [1], "two of three configured hosts restored beside the one voter");
    (site, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_cluster_of_one_that_is_configured_as_three_comes_back_when_its_host_does() {
    let (mut site, before) = adopted_and_lost().await;
    site.hosts[0].reinstall();
    site.configure("");
    site.hosts[0].boot();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!((site.plans(), voters(&site, 0).await), (vec![1, 2], 3));
    before.assert_same_keys(&site.dump(1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_cluster_of_one_whose_host_is_gone_for_good_is_declared_lost() {
    let (mut site, before) = adopted_and_lost().await;
    site.hosts[1].run(&["declare-lost", "--reason", "cp1 burnt down", "--yes"]).ok();
    site.until_serving(&[1, 2], LIMIT).await;
    site.assert_same_hash(&[1, 2]).await;
    assert_eq!((site.plans(), voters(&site, 1).await), (vec![1, 2], 3));
    before.assert_same_keys(&site.dump(1).await);
}

/// One of three is wiped while another is down: it waits for the quorum, and says whom it needs. And one that is wiped and removed, when the second one
/// goes: it goes on where it was. Whoever votes is never fewer than what can serve.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_host_joins_only_with_a_quorum_that_can_bear_it() {
    let (mut site, _) = running().await;
    site.hosts.iter_mut().for_each(|h| h.start_agent());
    assert!(site.hosts[0].put("written", "after the snapshot").await);
    for host in [1, 2] {
        site.hosts[host].power_cut();
    }
    site.hosts[2].lose_disk();
    site.hosts[2].boot();
    let said = site.until_said(&[2], "L2 WAIT").await;
    for part in ["no answer from cp2 (http://", "bring the other members back", "waiting since"] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    site.pass(Duration::from_secs(12)).await;
    assert!(site.hosts[2].waits());
    assert_eq!(mark(&site, 1, "cp3").as_deref(), Some("apply"), "its first start");
    // The second one is back: now there is a quorum to join. It is killed when its old member is removed, and the second one goes again.
    site.hosts[2].power_cut();
    site.hosts[1].boot();
    site.hosts[1].start_agent();
    site.until_serving(&[0, 1], LIMIT).await;
    site.hosts[2].boot_armed("join.removed");
    site.until("its old member is removed", LIMIT, |s| s.hosts[2].is_off()).await;
    assert_eq!(voters(&site, 0).await, 2);
    site.hosts[1].power_cut();
    site.hosts[2].boot();
    let said = site.until_said(&[2], "L2 WAIT").await;
    assert!(said.contains("no answer from cp2 (http://"), "{said}");
    site.pass(Duration::from_secs(5)).await;
    site.hosts[1].boot();
    site.hosts[1].start_agent();
    site.hosts[2].start_agent();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    let end = std::time::Instant::now() + LIMIT;
    while voters(&site, 0).await < 3 {
        assert!(std::time::Instant::now() < end, "it was never promoted");
        site.pass(Duration::from_millis(200)).await;
    }
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1]);
    assert!(site.dump(2).await.entries.contains_key(&b"written"[..]), "an acknowledged write is lost");
}
