//! The gate over an upgrade: snapshots of before and after it, the host lost, and an etcd that is the old one again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::time::Duration;

use crate::host::{BUMP, Host, rules, string};
use crate::matrix::is_here;
use crate::older::with_program;
use crate::support::process::wait_until;
use crate::support::{ETCD_3_6, ETCD_3_7, ETCD_LATEST, Fill, dump, tools};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_host_with_an_etcd_that_is_too_old_waits_and_takes_no_older_snapshot() {
    for (old, new) in [(ETCD_LATEST, ETCD_3_6), (ETCD_3_6, ETCD_3_7)] {
        if !is_here(new) || !is_here(old) {
            return;
        }
        let mut host = Host::new(old, &format!("upgraded-{new}")).await;
        host.bootstrap();
        let etcd = host.start_gated();
        Fill::small(300).run(&etcd).await;
        let earlier = string(&host.save("before-the-upgrade")["name"]);
        drop(etcd);
        host.version = new.to_owned();
        assert_eq!(rules(&host.bootstrap()), ["D7"]);
        let etcd = host.start_gated();
        etcd.etcdctl(&["put", "written", "after the upgrade"]);
        let storage = format!("{}.0", &new[..3]);
        // The storage follows the cluster's version, some seconds after the start.
        let mut later = String::new();
        wait_until("the storage is upgraded", Duration::from_secs(60), || {
            let manifest = host.save("after-the-upgrade");
            later = string(&manifest["name"]);
            manifest["storage_version"].as_str() == Some(storage.as_str())
        });
        let before = dump(&etcd).await;
        let configured = fs::read_to_string(host.config()).unwrap();
        fs::write(host.config(), with_program(&configured, &tools::etcd(old, "etcd"))).unwrap();

        // A request on a host with data: it is not done, and the host starts with what it has.
        let mut etcd = etcd;
        etcd.stop();
        host.run(&["restore-once", &later]).ok();
        let report = host.bootstrap();
        assert_eq!(rules(&report), ["D7"]);
        let notes = report["verdict"]["notes"].to_string();
        assert!(notes.contains("was NOT done") && notes.contains(&storage) && notes.contains(old), "{notes}");
        host.run(&["restore-once", "--cancel"]).ok();
        host.lose_disks();

        let refused = host.run(&["bootstrap", "--deadline", "60s", "-o", "json"]).exits_with(3).json();
        let verdict = &refused["verdict"];
        println!("{}\nhint: {}", verdict["because"].as_str().unwrap(), verdict["hint"].as_str().unwrap());
        assert_eq!((verdict["rule"].as_str(), refused["outcome"].as_str()), (Some("J0"), Some("refused")), "{refused}");
        for words in [later.as_str(), &storage, old] {
            assert!(verdict["because"].as_str().unwrap().contains(words), "{verdict}");
        }
        assert!(verdict["hint"].as_str().unwrap().contains("bootstrap.snapshot"), "{verdict}");
        assert!(!host.data_dir().join("member").exists(), "nothing was restored");

        fs::write(host.config(), with_program(&configured, &tools::etcd(new, "etcd"))).unwrap();
        assert_eq!(rules(&host.bootstrap()), ["S2", "R1", "D7"]);
        let etcd = host.start_gated();
        let after = dump(&etcd).await;
        assert_eq!(after.revision, before.revision + BUMP);
        before.assert_same_keys(&after);

        // A person may go back, by name: that data is of the older release.
        host.lose(etcd);
        host.version = old.to_owned();
        let pinned =
            format!("{configured}\n").replace("[bootstrap]\n", &format!("[bootstrap]\nsnapshot = \"{earlier}\"\n"));
        fs::write(host.config(), with_program(&pinned, &tools::etcd(old, "etcd"))).unwrap();
        assert_eq!(rules(&host.bootstrap()), ["S1", "R1", "D7"]);
        let back = dump(&host.start_gated()).await;
        assert_eq!(back.entries.len() + 1, before.entries.len());
        assert!(!back.entries.contains_key(&b"written"[..]));
    }
}
