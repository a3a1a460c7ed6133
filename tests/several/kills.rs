//! kill -9 at every named point of a join and of putting data back: the next boot takes it up.

use std::time::Duration;

use crate::site::{Host, Site};
use crate::support::ETCD_LATEST;

const LIMIT: Duration = Duration::from_secs(120);

async fn running() -> Site {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    assert!(site.hosts[0].put("kept", "yes").await);
    site.hosts[0].run(&["save", "--name", "before"]).ok();
    site
}

fn killed_at(site: &Site, host: usize, point: &str) {
    let gate = site.hosts[host].command(&["bootstrap", "--wait"]).failpoints(&format!("{point}=return(kill)"));
    gate.run().killed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_killed_anywhere_is_taken_up_again() {
    let mut site = running().await;
    // Whoever is elected makes voters of those that join.
    site.hosts[0].start_agent();
    for point in [
        "bootstrap.withdrawn",
        "join.marked",
        "join.announced",
        "join.removed",
        "join.added",
        "join.released",
        "join.environment",
    ] {
        site.hosts[2].power_cut();
        site.hosts[2].lose_disk();
        killed_at(&site, 2, point);
        site.hosts[2].boot();
        site.hosts[2].start_agent();
        site.until_serving(&[2], LIMIT).await;
        site.assert_same_hash(&[0, 1, 2]).await;
        assert!(site.dump(2).await.entries.contains_key(&b"kept"[..]), "{point}");
        assert_eq!(site.plans(), [1], "{point}");
        // It votes again: without that, the next round would remove a voter of two.
        let voters = || async {
            let mut client = site.hosts[0].etcd().expect("etcd runs").client().await;
            let list = client.member_list().await.expect("members");
            list.members().iter().filter(|m| !m.is_learner()).count()
        };
        let end = std::time::Instant::now() + LIMIT;
        while voters().await < 3 {
            assert!(std::time::Instant::now() < end, "{point}: it was never promoted");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_put_back_and_killed_anywhere_is_put_back() {
    let mut site = running().await;
    for (n, point) in
        ["putback.intended", "bootstrap.half_quarantined", "putback.aside", "putback.in_place"].into_iter().enumerate()
    {
        site.hosts[0].run(&["restore-once", "latest"]).ok();
        site.hosts[0].power_cut();
        site.hosts[0].boot();
        site.until("it follows its request", LIMIT, |s| s.hosts[0].etcd().is_some()).await;
        site.hosts[1].run(&["restore-once", "--cancel"]).ok();
        site.hosts[0].power_cut();
        killed_at(&site, 0, point);
        site.hosts[0].boot();
        site.until_serving(&[0, 1, 2], LIMIT).await;
        site.assert_same_hash(&[0, 1, 2]).await;
        assert!(site.dump(0).await.entries.contains_key(&b"kept"[..]), "{point}");
        assert_eq!(site.hosts[0].quarantined().len(), n + 1, "{point}: only what the cancelled plans made stays aside");
    }
}

/// The agent that makes the learner a voter (of whichever voter is elected) is killed when it has said so, and before it has done so: the next one
/// does it.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_is_killed_when_it_is_announced_is_taken_up_again() {
    let mut site = running().await;
    site.hosts[2].power_cut();
    site.hosts[2].lose_disk();
    site.hosts[2].boot();
    site.until("it joins", LIMIT, |s| s.hosts[2].etcd().is_some()).await;
    for host in &mut site.hosts[..2] {
        host.start_agent_armed("promote.announced");
    }
    // One that has no part in it.
    site.hosts[2].start_agent();
    let end = std::time::Instant::now() + LIMIT;
    while !site.hosts[..2].iter_mut().any(Host::agent_is_gone) {
        assert!(std::time::Instant::now() < end, "no voter's agent came to the promotion:\n{}", site.said());
        site.pass(Duration::from_millis(20)).await;
    }
    assert!(!site.hosts[2].agent_is_gone(), "a learner's agent promotes nobody");
    assert!(!site.hosts[2].put("by", "a learner").await);
    let last = last_voters(&site);
    assert_eq!((last["voters"].as_array().map(Vec::len), &last["confirmed"]), (Some(3), &false.into()), "{last}");
    // Without the armed ones: whoever is elected next finds what was said.
    for host in &mut site.hosts[..2] {
        host.stop_agent();
        host.start_agent();
    }
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    let confirmed = |s: &Site| {
        let last = last_voters(s);
        last["confirmed"] == true && last["voters"].as_array().is_some_and(|v| v.len() == 3)
    };
    site.until("it is confirmed", LIMIT, confirmed).await;
    assert_eq!(site.plans(), [1]);
}

/// The newest record of the voters of the first life.
fn last_voters(site: &Site) -> serde_json::Value {
    let count = site.store.keys().iter().filter(|k| k.contains("/plans/1/voters/")).count();
    site.record(&format!("cluster/plans/1/voters/{count}.json"))
}
