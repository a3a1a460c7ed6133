//! What a user of several hosts lives through.

use std::time::{Duration, Instant};

use crate::site::Site;
use crate::support::{ETCD_LATEST, Fill};

const LIMIT: Duration = Duration::from_secs(120);

/// Three hosts that have formed a cluster, hold data, and have saved it once.
async fn running() -> Site {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    Fill::small(300).run(site.hosts[0].etcd().expect("etcd runs")).await;
    site.hosts[0].run(&["save", "--name", "before"]).ok();
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn three_empty_hosts_form_one_cluster_and_all_three_lost_are_restored_as_one_life() {
    let mut site = running().await;
    assert_eq!(site.plans(), [1]);
    site.assert_same_hash(&[0, 1, 2]).await;
    let before = site.dump(0).await;
    for host in &mut site.hosts {
        host.power_cut();
        host.lose_disk();
    }
    let begun = Instant::now();
    site.boot_all();
    let standing = |s: &Site| {
        s.hosts.iter().all(|h| {
            let key = format!("cluster/rollcall/{}.json", h.name);
            s.record(&key)["state"] == "empty"
        })
    };
    let staged =
        |s: &Site, file: &str| s.hosts.iter().any(|h| h.path(&format!("etcd/lifeboat-staging-2/{file}")).exists());
    let mut parts = Vec::new();
    for (name, done) in [
        ("facts (each host's first look)", &standing as &dyn Fn(&Site) -> bool),
        ("roll call and seed", &|s| staged(s, "") || s.plans().len() == 2),
        ("download and restore on the seed", &|s| staged(s, "lifeboat.json") || s.plans().len() == 2),
        ("plan", &|s| s.plans().len() == 2),
        ("download and restore on the others", &|s| s.hosts.iter().filter(|h| h.etcd().is_some()).count() >= 2),
    ] {
        parts.push((name, site.until(name, LIMIT, done).await));
    }
    parts.push(("election, to the first write", {
        let begun = Instant::now();
        'served: loop {
            site.tick();
            for host in &site.hosts {
                if host.put("first", "write").await {
                    break 'served begun.elapsed();
                }
            }
        }
    }));
    let total = begun.elapsed();
    println!("all three lost, from three empty hosts to the first accepted write: {:.2} s", total.as_secs_f64());
    for (name, took) in &parts {
        println!("  {name}: {:.2} s", took.as_secs_f64());
    }
    site.until_serving(&[0, 1, 2], LIMIT).await;
    for i in 0..3 {
        let mut after = site.dump(i).await;
        after.entries.remove(&b"first"[..]);
        before.assert_same_keys(&after);
    }
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
    let plan = site.record("cluster/plans/2.json");
    assert_eq!((&plan["cause"], plan["voters"].as_array().map(Vec::len)), (&"restore".into(), Some(3)), "{plan}");
    let mut applied = 0;
    for host in &site.hosts {
        let mark = site.record(&format!("cluster/plans/2/started/{}.json", host.name));
        // Where the other two serve before it has looked again, the third joins them.
        assert!(mark["purpose"] == "apply" || mark["purpose"] == "join", "{mark}");
        assert_eq!(mark["by"], host.name.as_str(), "{mark}");
        applied += usize::from(mark["purpose"] == "apply");
        let entry = site.record(&format!("cluster/rollcall/{}.json", host.name));
        assert_eq!(entry["state"], "withdrawn", "{entry}");
    }
    assert!(applied >= 2, "{applied} of three applied the plan");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_wiped_never_restores_and_joins() {
    let mut site = running().await;
    site.hosts[1].put("written", "after the snapshot").await;
    site.hosts[2].power_cut();
    site.hosts[2].lose_disk();
    site.hosts[2].boot();
    site.hosts[2].start_agent();
    // Whoever is elected makes a voter of it.
    site.hosts[0].start_agent();
    site.until_serving(&[2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1], "a wiped host made a plan");
    assert!(site.dump(2).await.entries.contains_key(&b"written"[..]));
    // Whoever made a voter of it confirms that at its next look.
    let confirmed = |s: &Site| s.store.object("several/cluster/plans/1/voters/4.json").is_some();
    site.until("its vote is confirmed", LIMIT, confirmed).await;
    let voters: Vec<(u64, bool, usize)> = (1..=4)
        .map(|n| site.record(&format!("cluster/plans/1/voters/{n}.json")))
        .map(|r| {
            let count = r["voters"].as_array().map_or(0, Vec::len);
            (r["number"].as_u64().unwrap(), r["confirmed"].as_bool().unwrap(), count)
        })
        .collect();
    assert_eq!(voters, [(1, false, 2), (2, true, 2), (3, false, 3), (4, true, 3)]);
    // What was there for that one start is taken out by etcd's unit, and by the gate at the next start.
    let joining = |site: &Site| site.hosts[2].environment().iter().any(|(k, _)| k == "ETCD_INITIAL_CLUSTER");
    assert!(joining(&site));
    site.hosts[2].run(&["bootstrap", "--started"]).ok();
    assert!(!joining(&site));
    site.hosts[2].power_cut();
    site.hosts[2].boot();
    site.until_serving(&[2], LIMIT).await;
    assert!(!joining(&site));
    assert_eq!(site.hosts[2].rules(), ["D7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_wiped_and_the_third_unreachable_are_restored_and_the_third_is_superseded_and_joins() {
    let mut site = running().await;
    let before = site.dump(0).await;
    for host in &mut site.hosts {
        host.power_cut();
    }
    site.hosts[0].lose_disk();
    site.hosts[1].lose_disk();
    site.hosts[0].boot();
    site.hosts[1].boot();
    site.until_serving(&[0, 1], LIMIT).await;
    assert_eq!(site.plans(), [1, 2]);
    before.assert_same_keys(&site.dump(0).await);
    site.hosts[2].boot();
    site.hosts[2].start_agent();
    // Whoever is elected makes a voter of it.
    site.hosts[0].start_agent();
    site.until_serving(&[2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.hosts[2].rules(), ["D5", "L1", "D7"]);
    assert_eq!(site.hosts[2].quarantined().len(), 1, "its data was not moved aside");
    assert_eq!(site.plans(), [1, 2]);
    let mark = site.record("cluster/plans/2/started/cp3.json");
    assert_eq!(mark["purpose"], "join", "{mark}");
}

/// Two disks are lost, the third member is up without quorum: nothing is restored behind its back, and what the message says to type works.
#[tokio::test(flavor = "multi_thread")]
async fn two_wiped_and_the_third_up_wait_and_the_commands_bring_the_survivors_data_back() {
    let mut site = running().await;
    // A person types, and the machine may be slow: the two do not go ahead while the survivor is restarted.
    site.configure("peer_wait = \"2m\"");
    assert!(site.hosts[2].put("written", "after the snapshot").await);
    for i in [0, 1] {
        site.hosts[i].power_cut();
        site.hosts[i].lose_disk();
        site.hosts[i].boot();
    }
    site.until("both wait for the quorum", LIMIT, |s| s.hosts[..2].iter().all(|h| h.output().contains("L2 WAIT")))
        .await;
    let said = site.hosts[0].output();
    let hint = said.lines().find(|l| l.contains("L2 WAIT")).expect("the verdict").to_owned();
    eprintln!("{hint}");
    assert!(hint.contains("what cp3 holds can be kept") && hint.contains("Type there"), "{hint}");
    assert_eq!(site.plans(), [1]);
    // What stands between quotes, typed on the survivor, each as it is.
    let typed: Vec<&str> = hint.split('\'').skip(1).step_by(2).collect();
    let (last, ours) = typed.split_last().expect("commands");
    for command in ours {
        let args: Vec<&str> = command.strip_prefix("lifeboat ").expect(command).split(' ').collect();
        eprintln!("{command}\n{}", site.hosts[2].run(&args).ok().stdout);
    }
    assert_eq!((ours.len(), *last), (2, "systemctl restart --no-block etcd.service"), "{hint}");
    site.hosts[2].power_cut();
    site.hosts[2].boot();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    let saved = site.store.keys().into_iter().find_map(|k| {
        let name = k.strip_prefix("several/snapshots/")?.strip_suffix(".manifest.json")?;
        name.starts_with("survivor-").then(|| name.to_owned())
    });
    let name = saved.expect("what was saved");
    assert_eq!(site.plans(), [1, 2]);
    let plan = site.record("cluster/plans/2.json");
    assert_eq!((&plan["cause"], &plan["snapshot"]["name"]), (&"forced".into(), &name.as_str().into()), "{plan}");
    assert!(site.dump(0).await.entries.contains_key(&b"written"[..]), "the survivor's last write is lost");
    assert_eq!(site.hosts[2].quarantined().len(), 1);
}

/// One after the other, as a person restarts etcd.
async fn restart(site: &mut Site, host: usize) {
    site.hosts[host].power_cut();
    site.hosts[host].boot();
    let gate = format!("the gate of {host}");
    site.until(&gate, LIMIT, |s| s.hosts[host].etcd().is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_on_one_host_rolls_the_whole_cluster_back_and_so_does_a_second_one() {
    let mut site = running().await;
    let before = site.dump(0).await;
    let snapshot = site.hosts[0].run(&["ls", "--output=json"]).ok().json();
    let name = snapshot["rows"][0]["name"].as_str().expect("a name").to_owned();
    for plan in [2, 3] {
        assert!(site.hosts[2].put("undone", "by the restore").await);
        site.hosts[0].run(&["restore-once", &name]).ok();
        restart(&mut site, 0).await;
        assert_eq!(site.hosts[0].rules(), ["F2", "F1", "D7"]);
        // The others live on, and follow at their next start.
        assert!(site.hosts[1].put("undone", "still").await, "a request on one host took the others down");
        restart(&mut site, 1).await;
        site.until_serving(&[0, 1], LIMIT).await;
        restart(&mut site, 2).await;
        site.until_serving(&[0, 1, 2], LIMIT).await;
        assert_eq!(site.hosts[2].rules().first().map(String::as_str), Some("F1"), "{:?}", site.hosts[2].rules());
        site.assert_same_hash(&[0, 1, 2]).await;
        for host in 0..3 {
            before.assert_same_keys(&site.dump(host).await);
            assert_eq!(site.hosts[host].quarantined().len(), plan - 1);
        }
        assert_eq!(site.plans().len(), plan);
        // Another start changes nothing: each request is done once.
        restart(&mut site, 0).await;
        assert_eq!(site.hosts[0].rules(), ["D7"]);
        site.until_serving(&[0], LIMIT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_taken_back_gives_the_data_of_before_back() {
    let mut site = running().await;
    assert!(site.hosts[2].put("written", "after the snapshot").await);
    site.hosts[0].run(&["restore-once", "latest"]).ok();
    restart(&mut site, 0).await;
    assert_eq!(site.hosts[0].rules(), ["F2", "F1", "D7"]);
    site.hosts[1].run(&["restore-once", "--cancel"]).ok();
    for host in ["cp2", "cp3"] {
        let mark = site.record(&format!("cluster/plans/2/started/{host}.json"));
        assert_eq!(mark["purpose"], "barred", "{mark}");
    }
    restart(&mut site, 0).await;
    site.until_serving(&[0, 1, 2], LIMIT).await;
    assert_eq!(site.hosts[0].rules(), ["D3", "D7"]);
    assert_eq!(site.hosts[0].quarantined().len(), 1, "the member of the cancelled plan is kept");
    for host in [1, 2] {
        restart(&mut site, host).await;
        site.until_serving(&[host], LIMIT).await;
        assert_eq!(site.hosts[host].rules(), ["D7"]);
    }
    site.assert_same_hash(&[0, 1, 2]).await;
    assert!(site.dump(0).await.entries.contains_key(&b"written"[..]), "an acknowledged write is lost");
}

/// Whoever follows when a majority has followed before is too late to take it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_majority_has_followed_is_not_taken_back() {
    let mut site = running().await;
    site.hosts[0].run(&["restore-once", "latest"]).ok();
    restart(&mut site, 0).await;
    restart(&mut site, 1).await;
    let refused = site.hosts[2].run(&["restore-once", "--cancel"]).exits_with(3);
    eprintln!("{}", refused.stderr);
    let refused = refused.says(&[
        "too late: so many hosts have followed plan 2 that its cluster may serve already",
        "cp3 will follow at the next start of etcd",
        "to have the data of before again, restore a snapshot of it: 'lifeboat ls', then lifeboat restore-once NAME",
    ]);
    assert_eq!(refused.stdout, "");
    assert!(!site.store.keys().iter().any(|k| k.ends_with("cancelled.json")));
    assert!(
        site.store.object("several/cluster/plans/2/started/cp3.json").is_none(),
        "it was barred, and could not follow"
    );
    restart(&mut site, 2).await;
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    // When all have followed, there is nothing left to take back.
    let nothing = site.hosts[2].run(&["restore-once", "--cancel"]).ok();
    assert!(nothing.stdout.contains("nothing was armed"), "{}", nothing.text());
}

/// The last host was asked, too, and stopped when it had taken its mark.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_being_done_is_not_taken_back() {
    let mut site = running().await;
    for host in [0, 2] {
        site.hosts[host].run(&["restore-once", "latest", "--id", "window"]).ok();
    }
    restart(&mut site, 0).await;
    restart(&mut site, 1).await;
    site.hosts[2].power_cut();
    site.hosts[2].boot_armed("bootstrap.after_mark");
    site.until("it has taken its mark", LIMIT, |s| s.hosts[2].is_off()).await;
    let refused = site.hosts[2].run(&["restore-once", "--cancel"]).exits_with(3);
    eprintln!("{}", refused.stderr);
    refused.says(&[
        "too late: the restore has been done, or is being done, as plan 2",
        "a majority of the hosts has followed it",
        "lifeboat quarantine ls",
        "lifeboat ls",
    ]);
    site.hosts[2].boot();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!((site.plans(), site.hosts[2].quarantined().len()), (vec![1, 2], 1));
}
