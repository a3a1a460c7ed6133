//! The lives of a cluster: it is formed, lost, and comes back; each time as a generation of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::host::{BUMP, Host, int, rules, string};
use crate::support::{ETCD_VERSIONS, Lifeboat, dump};

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_host_with_an_empty_store_forms_a_cluster_and_outlives_its_disks() {
    for version in ETCD_VERSIONS {
        let host = Host::new(version, &format!("lives-{version}")).await;
        // Looking changes nothing.
        let dry = host.json(&["bootstrap", "--dry-run"]);
        assert_eq!((dry["verdict"]["rule"].as_str(), host.data_dir().exists()), (Some("N1"), false), "{version}");
        assert!(host.store.plain().list(host.folder.clone(), None).await.unwrap()[0].contents.is_empty());

        let report = host.bootstrap();
        assert_eq!(rules(&report), ["N1", "R1", "D7"], "{version}");
        let state = ("ETCD_INITIAL_CLUSTER_STATE".to_owned(), "existing".to_owned());
        assert!(host.environment().contains(&state), "{version}");
        let mut etcd = host.start_gated();
        etcd.etcdctl(&["put", "life", "1"]);
        let listed = etcd.etcdctl(&["member", "list"]);
        assert!(listed.contains("cp1") && listed.lines().count() == 1, "{listed}");

        // While etcd runs, and after it has stopped.
        assert_eq!(rules(&host.bootstrap()), ["D0"], "{version}");
        etcd.stop();
        assert_eq!(rules(&host.bootstrap()), ["D7"], "{version}");
        let mut etcd = host.start_gated();
        assert_eq!(value(&etcd, "life"), "1");

        // A snapshot of each life; the disks go; the next life has all of it.
        let mut expected = dump(&etcd).await;
        for generation in 1..=4 {
            let name = format!("life-{generation}");
            let manifest = host.save(&name);
            assert_eq!((int(&manifest["generation"]), int(&manifest["revision"])), (generation, expected.revision));
            let cluster = string(&manifest["cluster_id"]);
            host.lose(etcd);

            let report = host.bootstrap();
            assert_eq!(rules(&report), ["S2", "R1", "D7"], "{version} generation {generation}");
            let life = &report["facts"]["store"]["known"]["plan"]["plan"];
            let (newest, restored) = (int(&life["generation"]), string(&life["snapshot"]["name"]));
            assert_eq!(newest, generation + 1, "{life}");
            assert!(restored.starts_with(&name), "{restored}: the newest life's snapshot, whatever its revision");
            assert_ne!(string(&life["cluster_id"]), cluster, "each life is a cluster of its own");
            etcd = host.start_gated();
            let found = dump(&etcd).await;
            assert_eq!(found.revision, expected.revision + BUMP, "{version} generation {generation}");
            expected.assert_same_keys(&found);
            let next = (generation + 1).to_string();
            etcd.etcdctl(&["put", "life", &next]);
            assert_eq!(value(&etcd, "life"), next);
            expected = dump(&etcd).await;
        }

        let rows = host.rows(&["--remote"]);
        let generations: Vec<i64> = rows.iter().map(|r| int(&r["generation"])).collect();
        assert_eq!(generations, [1, 2, 3, 4], "{version}: {rows:?}");
        let table = host.run(&["ls", "--remote"]).ok().stdout;
        let column = table.lines().next().unwrap().split_whitespace().position(|c| c == "GENERATION").unwrap();
        let shown: Vec<&str> =
            table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(column)).take(4).collect();
        assert_eq!(shown, ["1", "2", "3", "4"], "{table}");
    }
}

fn value(etcd: &crate::support::EtcdProcess, key: &str) -> String {
    etcd.etcdctl(&["get", key, "--print-value-only"]).trim().to_owned()
}

/// What the environment file is for: a disk that is lost behind the gate's back does not become an empty cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_etcd_that_is_started_by_hand_fails_instead_of_forming_an_empty_cluster() {
    for version in ETCD_VERSIONS {
        let host = Host::new(version, &format!("wiped-{version}")).await;
        host.bootstrap();
        let etcd = host.start_gated();
        etcd.etcdctl(&["put", "life", "1"]);
        host.lose(etcd);
        let mut wiped = crate::support::EtcdProcess::launch(host.gated_options());
        wiped.wait_ended();
        // What it left behind has a db and no WAL: that is never taken for a member, nor for nothing.
        let report = host.run(&["bootstrap", "--deadline", "20s", "-o", "json"]).exits_with(3).json();
        assert_eq!(report["verdict"]["rule"], "D2", "{version}: {report}");
        assert!(report["verdict"]["hint"].as_str().unwrap().contains("lifeboat quarantine add"), "{report}");
        host.run(&["quarantine", "add", "--yes"]).ok();
        // The store has a plan and no snapshot, the host remembers a cluster: only a person may give it up.
        let report = host.run(&["bootstrap", "--deadline", "20s", "-o", "json"]).exits_with(3).json();
        assert_eq!((report["verdict"]["rule"].as_str(), report["outcome"].as_str()), (Some("S5"), Some("refused")));
        assert!(report["verdict"]["hint"].as_str().unwrap().contains("--init-empty"), "{report}");
        let report = host.json(&["bootstrap", "--deadline", "60s", "--init-empty"]);
        assert_eq!(report["outcome"], "start", "{report}");
        let etcd = host.start_gated();
        assert_eq!(etcd.etcdctl(&["get", "--prefix", ""]), "", "an empty cluster, as the person asked");
        assert_eq!(int(&host.save("second-life")["generation"]), 2, "{version}");
    }
}

/// A cluster that was there before we were: adopted as generation 1 before its first snapshot, and the first restore is generation 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_from_before_us_is_restored_too() {
    let host = Host::new(crate::support::ETCD_3_5, "older-than-us").await;
    let etcd = host.start_etcd();
    etcd.etcdctl(&["put", "old", "value"]);
    assert_eq!(int(&host.save("first")["generation"]), 1);
    etcd.etcdctl(&["put", "old", "newer"]);
    assert_eq!(int(&host.save("second")["generation"]), 1);
    // A disk lost together with all that the host remembered: a new machine.
    host.lose(etcd);
    assert!(!host.path("bootstrap").exists());
    assert_eq!(rules(&host.bootstrap()), ["S2", "R1", "D7"]);
    let etcd = host.start_gated();
    assert_eq!(value(&etcd, "old"), "newer");
    assert_eq!(int(&host.save("third")["generation"]), 2);
    // The facts of each run can be looked at again, without a store and without a host.
    let history = host.path("bootstrap/history");
    let mut files: Vec<_> = std::fs::read_dir(history).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let replay = Lifeboat::new(["bootstrap", "--output=json", "--facts", &files[0].display().to_string()]).run().ok();
    assert_eq!(replay.json()["verdict"]["rule"], "D7");
}
