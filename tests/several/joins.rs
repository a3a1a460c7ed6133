//! What a join refuses to do, and how it goes on when a person has done what the message says.

use std::fs;
use std::time::Duration;

use crate::site::{Host, Site};
use crate::support::ETCD_LATEST;

const LIMIT: Duration = Duration::from_secs(120);

async fn running(count: usize) -> Site {
    let mut site = Site::new(count, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&(0..count).collect::<Vec<_>>(), LIMIT).await;
    assert!(site.hosts[0].put("kept", "yes").await);
    site.hosts[0].run(&["save", "--name", "before"]).ok();
    site
}

/// Members as the first host's lists them: how many vote, and the ids of the learners.
async fn members(site: &Site) -> (usize, Vec<String>) {
    let mut client = site.hosts[0].etcd().expect("etcd runs").client().await;
    let list = client.member_list().await.expect("members");
    let learners: Vec<_> = list.members().iter().filter(|m| m.is_learner()).map(|m| format!("{:x}", m.id())).collect();
    (list.members().len() - learners.len(), learners)
}

/// Until so many vote, which is what the agents of voters bring about.
async fn until_voters(site: &mut Site, count: usize) {
    let end = std::time::Instant::now() + LIMIT;
    while members(site).await.0 < count {
        assert!(std::time::Instant::now() < end, "not {count} voters:\n{}", site.said());
        site.pass(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_does_not_join_before_the_first_one_votes() {
    let mut site = running(5).await;
    for host in [3, 4] {
        site.hosts[host].power_cut();
        site.hosts[host].lose_disk();
    }
    // No agent runs that would make a voter of it.
    site.hosts[3].boot();
    site.until("the first joins", LIMIT, |s| s.hosts[3].etcd().is_some()).await;
    let (voters, learners) = members(&site).await;
    assert_eq!((voters, learners.len()), (4, 1));
    site.hosts[4].boot();
    let said = site.until_said(&[4], "[the step failed").await;
    for part in [
        learners[0].as_str(),
        &site.hosts[3].peer_url(),
        "has not been promoted yet",
        "lifeboat agent",
        "etcdctl member remove",
    ] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    site.pass(Duration::from_secs(5)).await;
    assert!(site.hosts[4].waits());
    assert_eq!(members(&site).await, (4, learners), "something was changed");
    // What it waits for comes.
    site.hosts.iter_mut().for_each(Host::start_agent);
    site.until_serving(&[0, 1, 2, 3, 4], LIMIT).await;
    until_voters(&mut site, 5).await;
    site.assert_same_hash(&[0, 1, 2, 3, 4]).await;
    assert_eq!(site.plans(), [1]);
}

/// The configuration was copied from another host, which runs. The cluster could bear to lose that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_runs_as_another_one_takes_nobodys_place() {
    let mut site = running(4).await;
    site.hosts[3].power_cut();
    site.hosts[3].lose_disk();
    let file = site.hosts[3].path("lifeboat.toml");
    let right = fs::read_to_string(&file).expect("the configuration");
    let wrong = right.replace("[node]\nname = \"cp4\"", "[node]\nname = \"cp2\"");
    assert_ne!(wrong, right);
    fs::write(&file, wrong).expect("a configuration");
    site.hosts[3].boot();
    let said = site.until_said(&[3], "[the step failed").await;
    for part in [
        "it is not removed",
        "waiting since",
        &*site.hosts[1].peer_url(),
        "(cp2, ",
        "answers",
        "node.name",
        "another host runs as this one",
    ] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    site.pass(Duration::from_secs(5)).await;
    assert!(site.hosts[3].waits());
    assert_eq!(members(&site).await, (4, Vec::new()), "a member that lives was removed");
    assert!(site.hosts[1].put("still", "there").await);
    // Corrected while it waits.
    fs::write(&file, right).expect("a configuration");
    site.hosts.iter_mut().for_each(Host::start_agent);
    site.until_serving(&[3], LIMIT).await;
    until_voters(&mut site, 4).await;
    site.assert_same_hash(&[0, 1, 2, 3]).await;
    assert_eq!(site.plans(), [1]);
}
