//! Snapshot to S3, lose the host, boot, everything is back; and the payload restores without us.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use etcd_client::WatchOptions;

use crate::host::{BUMP, Host, etcdutl, int, string, text, tool};
use crate::support::{ETCD_3_4, ETCD_3_5, ETCD_LATEST, EtcdOptions, EtcdProcess, Fill, dump};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_come_back_one_by_one_on_etcd_3_4() {
    round_trip(Host::new(ETCD_3_4, "trip-34").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_come_back_one_by_one_on_etcd_3_5_16() {
    round_trip(Host::new(ETCD_3_5, "trip-3516").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_come_back_one_by_one_on_the_newest_etcd() {
    round_trip(Host::new(ETCD_LATEST, "trip-3530").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_come_back_with_a_wal_on_its_own_disk() {
    round_trip(Host::new(ETCD_LATEST, "trip-wal").await.with_wal_dir()).await;
}

/// Ids and granted times of the leases: what outlives a restore. The remaining time starts anew, as at any change of the leader.
async fn leases(etcd: &EtcdProcess) -> BTreeMap<i64, i64> {
    let mut client = etcd.client().await;
    let mut found = BTreeMap::new();
    for lease in client.leases().await.unwrap().leases() {
        let life = client.lease_time_to_live(lease.id(), None).await.unwrap();
        assert!(life.ttl() > 0, "lease {:x} has run out", lease.id());
        found.insert(lease.id(), life.granted_ttl());
    }
    found
}

async fn round_trip(host: Host) {
    let etcd = host.start_etcd();
    Fill::default().run(&etcd).await;
    let before = dump(&etcd).await;
    let leases_before = leases(&etcd).await;
    assert_eq!((before.entries.len(), leases_before.len()), (10_000, 5), "the data set");
    assert!(before.entries.values().any(|e| e.value.len() == 1 << 20), "values of 1 MiB");

    let manifest = host.save("before-the-fire");
    assert_eq!(int(&manifest["revision"]), before.revision);
    assert_eq!(string(&manifest["etcd_version"]), host.version);
    host.lose(etcd);
    assert!(!host.data_dir().exists());

    let report = host.bootstrap();
    assert_eq!(crate::host::rules(&report), ["S2", "R1", "D7"], "{}", report["done"]);
    if let Some(wal) = host.wal_dir() {
        assert!(fs::read_dir(wal).unwrap().any(|e| e.unwrap().path().extension().is_some_and(|x| x == "wal")));
        assert!(!host.data_dir().join("member/wal").exists(), "a second WAL inside the data dir");
    }
    let environment = host.environment();
    assert!(environment.contains(&("ETCD_INITIAL_CLUSTER_STATE".to_owned(), "existing".to_owned())));

    let mut etcd = host.start_gated();
    let after = dump(&etcd).await;
    assert_eq!(after.revision, before.revision + BUMP);
    before.assert_same_keys(&after);
    assert_eq!(leases(&etcd).await, leases_before);
    old_watchers_hear_of_the_restore(&etcd, before.revision).await;

    etcd.etcdctl(&["put", "written/after", "the restore"]);
    etcd.restart();
    let mut again = dump(&etcd).await;
    // The watcher's key was put and deleted, and this one was put.
    assert_eq!(again.revision, after.revision + 3);
    assert_eq!(again.entries.remove(&b"written/after"[..]).unwrap().value, b"the restore");
    before.assert_same_keys(&again);
    assert_eq!(leases(&etcd).await, leases_before);
    etcd.etcdctl(&["compaction", &again.revision.to_string()]);
    etcd.etcdctl(&["defrag"]);
    before.assert_same_keys(&{
        let mut last = dump(&etcd).await;
        last.entries.remove(&b"written/after"[..]);
        last
    });
    assert!(etcd.etcdctl(&["alarm", "list"]).trim().is_empty());
}

/// A watcher that goes on from a revision of before must be told to read everything anew, and one from now on works.
async fn old_watchers_hear_of_the_restore(etcd: &EtcdProcess, old: i64) {
    let mut client = etcd.client().await;
    for from in [old - 10, old, old + 1, old + BUMP / 2] {
        let options = WatchOptions::new().with_all_keys().with_start_revision(from);
        let mut stream = client.watch("", Some(options)).await.unwrap();
        let told = async {
            loop {
                let answer = stream.message().await.unwrap().expect("an answer");
                if answer.canceled() {
                    return answer.compact_revision();
                }
                assert!(answer.events().is_empty(), "a watcher from {from} got events");
            }
        };
        let compacted = tokio::time::timeout(Duration::from_secs(30), told).await.expect("the watcher is cancelled");
        assert!(compacted > from, "from {from}: compacted at {compacted}");
    }
    let mut stream = client.watch("fresh", None).await.unwrap();
    client.put("fresh", "1", None).await.unwrap();
    client.delete("fresh", None).await.unwrap();
    let first = async {
        loop {
            let answer = stream.message().await.unwrap().expect("an answer");
            if let Some(event) = answer.events().first() {
                return event.kv().unwrap().value().to_vec();
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(30), first).await.expect("an event"), b"1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_in_the_bucket_restores_without_us() {
    for (version, compression) in [(ETCD_3_4, "gzip"), (ETCD_3_5, "zstd"), (ETCD_LATEST, "none")] {
        let host = Host::new(version, &format!("without-{compression}")).await;
        let etcd = host.start_etcd();
        Fill { keys: 1000, large: 2, compact: true, seed: 11 }.run(&etcd).await;
        let before = dump(&etcd).await;
        let saved = host.json(&["save", "--compression", compression]);
        let name = string(&saved["manifest"]["name"]);
        host.lose(etcd);

        // From here on nothing of ours is used: plain S3, the system's tools, etcd's own tool.
        let ending = match compression {
            "gzip" => ".gz",
            "zstd" => ".zst",
            _ => "",
        };
        let key = format!("{}/snapshots/{name}.db{ending}", host.folder);
        let object = host.store.plain().get_object(&key).await.unwrap();
        let packed = host.path(&format!("fetched.db{ending}"));
        fs::write(&packed, object.as_slice()).unwrap();
        let plain = host.path("fetched.db");
        match compression {
            "gzip" => drop(tool("gunzip".as_ref(), &[&text(&packed)])),
            "zstd" => fs::write(&plain, zstd::decode_all(fs::File::open(&packed).unwrap()).unwrap()).unwrap(),
            _ => {}
        }
        // It checks the digest at the end of the file: without it, it refuses.
        let target = host.path("by-etcdutl");
        etcdutl(&["snapshot", "restore", &text(&plain), "--data-dir", &text(&target)]);
        let restored = EtcdProcess::with(EtcdOptions {
            data_dir: Some(target),
            name: Some("default".to_owned()),
            ..EtcdOptions::new(version)
        });
        let after = dump(&restored).await;
        assert_eq!(after.revision, before.revision, "{compression} on {version}");
        before.assert_same_keys(&after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_names_the_revision_that_the_restored_etcd_has_under_load() {
    let host = Host::new(ETCD_LATEST, "load").await;
    let etcd = host.start_etcd();
    Fill { keys: 2000, large: 20, compact: false, seed: 5 }.run(&etcd).await;
    for round in 0..5 {
        let load = Load::start(&etcd).await;
        load.wait_for(50).await;
        let low = load.newest();
        let manifest = host.save("under-load");
        let high = load.newest();
        let busy = load.stop().await;
        let (name, revision) = (string(&manifest["name"]), int(&manifest["revision"]));
        assert!(high - low >= 20, "round {round}: only {} writes while the snapshot was taken", high - low);
        assert!((low..=high + 8).contains(&revision), "round {round}: {low} <= {revision} <= {high}");

        let target = host.path(&format!("restored-{round}"));
        let report = host.json(&["restore", &name, "--data-dir", &text(&target)]);
        assert_eq!(int(&report["revision"]), revision, "round {round}");
        let restored = EtcdProcess::with(EtcdOptions {
            data_dir: Some(target),
            name: Some("default".to_owned()),
            ..EtcdOptions::new(ETCD_LATEST)
        });
        let found = dump(&restored).await;
        assert_eq!(found.revision, revision, "round {round}: manifest and restored etcd");
        // No write of before the snapshot is missing, none of after it is there.
        for (worker, newest) in busy {
            let key = format!("load/{worker}").into_bytes();
            let entry = found.entries.get(&key).expect("every worker wrote before the snapshot");
            assert!(entry.mod_revision <= revision);
            let was = etcd.client().await;
            let options = etcd_client::GetOptions::new().with_revision(revision);
            let then = was.kv_client().get(key, Some(options)).await.unwrap();
            let then = then.kvs().first().unwrap();
            assert_eq!((then.mod_revision(), then.value()), (entry.mod_revision, &entry.value[..]), "round {round}");
            assert!(newest > entry.mod_revision, "worker {worker} went on after the snapshot");
        }
    }
}

/// Writers that never pause.
struct Load {
    stop: Arc<AtomicBool>,
    newest: Arc<AtomicI64>,
    written: Arc<AtomicI64>,
    workers: Vec<tokio::task::JoinHandle<(usize, i64)>>,
}

impl Load {
    async fn start(etcd: &EtcdProcess) -> Load {
        let (stop, newest, written) = <(Arc<AtomicBool>, Arc<AtomicI64>, Arc<AtomicI64>)>::default();
        let mut workers = Vec::new();
        for worker in 0..6 {
            let mut client = etcd.client().await;
            let (stop, newest, written) = (stop.clone(), newest.clone(), written.clone());
            workers.push(tokio::spawn(async move {
                let mut last = 0;
                let mut n = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let put = client.put(format!("load/{worker}"), n.to_le_bytes().repeat(200), None).await.unwrap();
                    last = put.header().unwrap().revision();
                    newest.fetch_max(last, Ordering::Relaxed);
                    written.fetch_add(1, Ordering::Relaxed);
                }
                (worker, last)
            }));
        }
        Load { stop, newest, written, workers }
    }

    fn newest(&self) -> i64 {
        self.newest.load(Ordering::Relaxed)
    }

    async fn wait_for(&self, writes: i64) {
        while self.written.load(Ordering::Relaxed) < writes {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) -> Vec<(usize, i64)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ended = Vec::new();
        for worker in self.workers {
            ended.push(worker.await.unwrap());
        }
        ended
    }
}
