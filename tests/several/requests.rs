//! Requests and pins over several hosts: done once whatever is killed, and never with another snapshot than the one that was named.

use std::fs;
use std::time::Duration;

use crate::site::Site;
use crate::support::{ETCD_LATEST, Fill};

const LIMIT: Duration = Duration::from_secs(120);

/// Points of a requested restore on the host that was asked and on those that follow, in their order; a host does not come by all of them.
const POINTS: [[&str; 3]; 6] = [
    ["bootstrap.looked", "restore.after_copy", "restore.after_edit"],
    ["restore.before_record", "bootstrap.built", "bootstrap.synced"],
    ["bootstrap.sealed", "bootstrap.before_plan", "bootstrap.after_plan"],
    ["bootstrap.withdrawn", "bootstrap.before_mark", "bootstrap.after_mark"],
    ["bootstrap.remembered", "bootstrap.half_quarantined", "bootstrap.quarantined"],
    ["restore.before_commit", "bootstrap.in_place", "bootstrap.environment"],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_kill_at_every_step_on_three_hosts_is_done_once() {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    Fill::small(100).run(site.hosts[0].etcd().expect("etcd runs")).await;
    let saved = site.hosts[0].run(&["save", "--name", "before", "--output=json"]).ok().json();
    let name = saved["manifest"]["name"].as_str().expect("a name").to_owned();
    let before = site.dump(0).await;
    let mut killed = [0; 3];
    for (round, points) in POINTS.iter().enumerate() {
        let plans = round + 2;
        assert!(site.hosts[2].put("undone", &format!("by round {round}")).await);
        site.hosts[0].run(&["restore-once", &name]).ok();
        for (host, killed) in killed.iter_mut().enumerate() {
            site.hosts[host].power_cut();
            for point in points {
                site.hosts[host].boot_armed(point);
                site.until(point, LIMIT, |s| s.hosts[host].is_off() || s.hosts[host].etcd().is_some()).await;
                *killed += usize::from(site.hosts[host].is_off());
                site.hosts[host].power_cut();
            }
            site.hosts[host].boot();
            let what = format!("{points:?}: etcd of host {host}");
            site.until(&what, LIMIT, |s| s.hosts[host].etcd().is_some()).await;
        }
        site.until_serving(&[0, 1, 2], LIMIT).await;
        site.assert_same_hash(&[0, 1, 2]).await;
        assert_eq!(site.plans().len(), plans, "{points:?}");
        let plan = site.record(&format!("cluster/plans/{plans}.json"));
        assert_eq!((&plan["cause"], &plan["snapshot"]["name"]), (&"forced".into(), &name.as_str().into()), "{plan}");
        for host in 0..3 {
            before.assert_same_keys(&site.dump(host).await);
            assert_eq!(site.hosts[host].quarantined().len(), round + 1, "{points:?}: host {host}");
            assert!(!site.hosts[host].path("restore-once").exists(), "{points:?}: still armed on host {host}");
        }
    }
    // The host that was asked comes by all but one (it does not stand in the roll call), the others by those of a plan that is there.
    println!("killed: {killed:?} of {}", POINTS.len() * 3);
    assert!(killed[0] >= 16 && killed[1] >= 13 && killed[2] >= 13, "{killed:?}");
    for host in 0..3 {
        site.hosts[host].power_cut();
        site.hosts[host].boot();
        site.until_serving(&[host], LIMIT).await;
        assert_eq!(site.hosts[host].rules(), ["D7"]);
    }
    assert_eq!(site.plans().len(), POINTS.len() + 1);
}

async fn restart(site: &mut Site, host: usize) {
    site.hosts[host].power_cut();
    site.hosts[host].boot();
    site.until(&format!("etcd of host {host}"), LIMIT, |s| s.hosts[host].etcd().is_some()).await;
}

/// The hosts that have data go on with it, whoever was asked and whoever would follow; when the snapshot can be had again, they follow.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_snapshot_cannot_be_fetched_keeps_no_healthy_host_down() {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    Fill::small(100).run(site.hosts[0].etcd().expect("etcd runs")).await;
    let saved = site.hosts[0].run(&["save", "--name", "before", "--output=json"]).ok().json();
    let name = saved["manifest"]["name"].as_str().expect("a name").to_owned();
    let before = site.dump(0).await;
    assert!(site.hosts[2].put("written", "after the snapshot").await);
    let payload = format!("several/snapshots/{name}.db.gz");
    let body = site.store.object(&payload).expect("a payload");
    let mut damaged = body.clone();
    let middle = damaged.len() / 2;
    damaged[middle..].iter_mut().take(16).for_each(|b| *b ^= 0x5a);

    // F2, on the host that was asked: gone, and damaged.
    site.hosts[0].run(&["restore-once", &name]).ok();
    for broken in [None, Some(&damaged)] {
        match broken {
            None => assert!(site.store.lose(&payload)),
            Some(damaged) => site.store.plant(&payload, damaged),
        }
        restart(&mut site, 0).await;
        site.until_serving(&[0, 1, 2], LIMIT).await;
        assert_eq!((site.hosts[0].rules(), site.plans()), (vec!["D7".to_owned()], vec![1]));
        assert!(site.hosts[0].log.contains("going on without it"), "{}", site.hosts[0].log);
        assert!(site.hosts[0].path("restore-once").exists(), "the request is forgotten");
    }
    site.store.plant(&payload, &body);
    restart(&mut site, 0).await;
    assert_eq!((site.hosts[0].rules(), site.plans()), (["F2", "F1", "D7"].map(str::to_owned).to_vec(), vec![1, 2]));

    // F1, on a host that would follow.
    for broken in [None, Some(&damaged)] {
        match broken {
            None => assert!(site.store.lose(&payload)),
            Some(damaged) => site.store.plant(&payload, damaged),
        }
        restart(&mut site, 1).await;
        site.until_serving(&[1, 2], LIMIT).await;
        assert_eq!(site.hosts[1].rules(), ["D7"]);
        let told =
            site.hosts[1].log.lines().rfind(|l| l.contains("going on without it")).expect("it is said").to_owned();
        eprintln!("{told}");
        assert!(told.contains(&name), "{told}");
        assert!(site.store.object("several/cluster/plans/2/started/cp2.json").is_none(), "marked, and not followed");
        assert_eq!(site.hosts[1].quarantined().len(), 0);
    }
    assert!(site.dump(1).await.entries.contains_key(&b"written"[..]));
    site.store.plant(&payload, &body);
    for host in [1, 2] {
        restart(&mut site, host).await;
        assert_eq!(site.hosts[host].rules(), ["F1", "D7"]);
    }
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
    before.assert_same_keys(&site.dump(2).await);
}

/// A person, or a script, armed it everywhere. One after the other, and all at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_on_all_hosts_restores_once() {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    Fill::small(100).run(site.hosts[0].etcd().expect("etcd runs")).await;
    let saved = site.hosts[0].run(&["save", "--name", "before", "--output=json"]).ok().json();
    let name = saved["manifest"]["name"].as_str().expect("a name").to_owned();
    let before = site.dump(0).await;
    for (round, id) in ["window-1", "window-2"].into_iter().enumerate() {
        assert!(site.hosts[2].put("undone", "by the restore").await);
        for host in &site.hosts {
            host.run(&["restore-once", &name, "--id", id]).ok();
        }
        if id == "window-1" {
            for host in 0..3 {
                restart(&mut site, host).await;
            }
        } else {
            site.hosts.iter_mut().for_each(crate::site::Host::power_cut);
            site.boot_all();
        }
        site.until_serving(&[0, 1, 2], LIMIT).await;
        site.assert_same_hash(&[0, 1, 2]).await;
        assert_eq!(site.plans().len(), round + 2, "{id}");
        let plan = site.record(&format!("cluster/plans/{}.json", round + 2));
        assert_eq!((&plan["cause"], &plan["request"]), (&"forced".into(), &id.into()), "{plan}");
        for host in 0..3 {
            before.assert_same_keys(&site.dump(host).await);
            assert_eq!(site.hosts[host].quarantined().len(), round + 1, "{id}: host {host}");
            assert!(!site.hosts[host].path("restore-once").exists(), "{id}: still armed on host {host}");
        }
        assert!(site.hosts[0].put("later", "kept").await);
        for host in 0..3 {
            restart(&mut site, host).await;
            assert_eq!(site.hosts[host].rules(), ["D7"], "{id}");
        }
        site.until_serving(&[0, 1, 2], LIMIT).await;
        assert!(site.dump(1).await.entries.contains_key(&b"later"[..]), "{id} was done again");
    }
}

/// Copies a snapshot within the store, under another name or from another folder.
fn copy(site: &Site, from: &str, to: &str) {
    for ending in [".db.gz", ".manifest.json"] {
        let body = site.store.object(&format!("{from}{ending}")).expect("a snapshot");
        site.store.plant(&format!("{to}{ending}"), &body);
    }
}

/// A snapshot of this host's etcd, made by a configuration in which `from` stands in the place of `to`; its name.
fn save_as(site: &Site, name: &str, changes: &[(&str, &str)]) -> String {
    let host = &site.hosts[0];
    let mut text = fs::read_to_string(host.path("lifeboat.toml")).expect("the configuration");
    for (from, to) in changes {
        assert!(text.contains(from), "{from} in {text}");
        text = text.replace(from, to);
    }
    let file = host.path("other.toml");
    fs::write(&file, text).expect("a configuration");
    let run = crate::support::Lifeboat::new(["save", "--name", name, "--output=json"]).config(&file).run().ok();
    run.json()["manifest"]["name"].as_str().expect("a name").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_snapshot_that_cannot_be_restored_is_refused_and_never_replaced_by_another() {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    Fill::small(100).run(site.hosts[0].etcd().expect("etcd runs")).await;
    let good = site.hosts[0].run(&["save", "--name", "good", "--output=json"]).ok().json();
    let good = good["manifest"]["name"].as_str().expect("a name").to_owned();
    let before = site.dump(0).await;
    assert!(site.hosts[0].put("written", "after the good one").await);
    let damaged = site.hosts[0].run(&["save", "--name", "damaged", "--output=json"]).ok().json();
    let damaged = damaged["manifest"]["name"].as_str().expect("a name").to_owned();
    let key = format!("several/snapshots/{damaged}.db.gz");
    let mut payload = site.store.object(&key).expect("a payload");
    let middle = payload.len() / 2;
    payload[middle..].iter_mut().take(16).for_each(|b| *b ^= 0x5a);
    site.store.plant(&key, &payload);
    let other = site.hosts[0].path("other-token");
    fs::write(&other, "another token, another token, another").expect("a token");
    let token = site.hosts[0].path("token").display().to_string();
    fs::set_permissions(&other, fs::metadata(&token).expect("a token").permissions()).expect("its mode");
    let folder = ("folder = \"several\"", "folder = \"foreign\"");
    let foreign = save_as(&site, "foreign", &[("name = \"several\"", "name = \"another\""), folder]);
    let changes = [(token.as_str(), &*other.display().to_string()), folder];
    let untrusted = save_as(&site, "untrusted", &changes);
    for name in [&foreign, &untrusted] {
        copy(&site, &format!("foreign/snapshots/{name}"), &format!("several/snapshots/{name}"));
    }
    site.hosts[0].run(&["save", "--name", "newest"]).ok();
    for (pin, why) in [
        ("missing-2026-01-01T00-00-00Z", &["has no such snapshot"][..]),
        (&foreign, &["cannot be restored", "another"]),
        (&damaged, &["cannot be restored", "is damaged"]),
        (&untrusted, &["cannot be restored", "token"]),
    ] {
        site.lose_all();
        site.configure(&format!("snapshot = \"{pin}\""));
        site.boot_all();
        let said = site.until_said(&[0, 1, 2], "S1 REFUSE").await;
        for part in [why, &[pin, "another one is not taken instead", "'lifeboat ls'", "waiting since"]].concat() {
            assert!(said.contains(part), "{pin}: {part:?} is missing: {said}");
        }
        assert!(said.matches("is damaged").count() <= 1, "said twice: {said}");
        site.pass(Duration::from_secs(3)).await;
        assert!(site.hosts.iter().all(crate::site::Host::waits), "{pin}: etcd was started");
        assert_eq!(site.plans(), [1], "{pin}");
    }
    // What a person mends while they wait counts at once, and the pin stands above a newer one.
    site.configure(&format!("snapshot = \"{good}\""));
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
    before.assert_same_keys(&site.dump(1).await);
    // Another start with the same pin restores nothing.
    for host in 0..3 {
        site.hosts[host].power_cut();
    }
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    assert_eq!(site.plans(), [1, 2]);
}
