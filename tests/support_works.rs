//! The processes and data sets of the test support, tried for real: what the other tests rest on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use support::{ETCD_LATEST, EtcdOptions, EtcdProcess, Fill, Lifeboat, TestCa, Weed, dump};

#[tokio::test(flavor = "multi_thread")]
async fn each_etcd_is_filled_dumped_killed_and_restarted() {
    for version in support::tools::etcd_versions() {
        let mut etcd = EtcdProcess::start(version);
        assert!(etcd.etcdctl(&["version"]).contains(version));
        let fill = Fill { keys: 600, large: 1, compact: true, seed: 7 };
        fill.run(&etcd).await;
        let before = dump(&etcd).await;
        assert_eq!(before.entries.len(), 600, "etcd {version}");
        let entries = || before.entries.values();
        assert!(entries().any(|e| e.lease != 0) && entries().any(|e| e.lease == 0), "leases");
        assert!(entries().any(|e| e.version > 1), "second versions");
        assert!(entries().any(|e| e.value.len() == 1 << 20) && entries().any(|e| e.value.is_empty()), "sizes");
        assert!(before.entries.keys().any(|k| k.contains(&0)), "binary keys");
        let revisions: HashSet<_> = entries().map(|e| e.mod_revision).collect();
        assert!(revisions.len() < before.entries.len() / 2, "transactions with several operations");
        etcd.kill9();
        etcd.restart();
        let after = dump(&etcd).await;
        assert_eq!(after.revision, before.revision);
        before.assert_same_keys(&after);
        etcd.stop();
        assert!(!etcd.is_running());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fill_has_ten_thousand_keys_and_a_difference_is_found() {
    let etcd = EtcdProcess::start(ETCD_LATEST);
    Fill::default().run(&etcd).await;
    let before = dump(&etcd).await;
    assert_eq!(before.entries.len(), 10_000);
    let key = before.entries.keys().nth(5000).unwrap().clone();
    etcd.client().await.put(key, before.entries.values().nth(5000).unwrap().value.clone(), None).await.unwrap();
    let after = dump(&etcd).await;
    let found = std::panic::catch_unwind(|| before.assert_same_keys(&after)).unwrap_err();
    assert!(found.downcast_ref::<String>().unwrap().starts_with("1 of 10000 keys differ"));
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_with_tls_and_auth() {
    let ca = TestCa::new("etcd CA");
    let tls = Some((ca.ca_file(), ca.issue("member")));
    let mut etcd = EtcdProcess::with(EtcdOptions { tls, ..EtcdOptions::new(ETCD_LATEST) });
    for line in ["user add root:secret", "user grant-role root root", "auth enable"] {
        etcd.etcdctl(&line.split(' ').collect::<Vec<_>>());
    }
    let refused = etcd.client().await.put("k", "v", None).await;
    assert!(refused.is_err(), "a client without a name may write");
    etcd.options().user = Some("root:secret".to_owned());
    etcd.client().await.put("k", "v", None).await.unwrap();
    assert_eq!(dump(&etcd).await.entries.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_stores_and_refuses() {
    let weed = Weed::start();
    weed.create_bucket("lab").await;
    let region = s3::Region::Custom { region: "us-east-1".to_owned(), endpoint: weed.endpoint() };
    let open = |secret: &str| {
        let credentials = s3::creds::Credentials::new(Some(&weed.access_key), Some(secret), None, None, None).unwrap();
        s3::Bucket::new("lab", region.clone(), credentials).unwrap().with_path_style()
    };
    let bucket = open(&weed.secret_key);
    bucket.put_object("a/b", b"content").await.unwrap();
    assert_eq!(bucket.get_object("a/b").await.unwrap().as_slice(), b"content");
    let again = bucket.put_object_builder("a/b", b"other").with_header("if-none-match", "*").unwrap().execute().await;
    assert!(matches!(again, Err(s3::error::S3Error::HttpFailWithBody(412, _))), "{again:?}");
    let wrong = open("wrong").get_object("a/b").await;
    assert!(matches!(wrong, Err(s3::error::S3Error::HttpFailWithBody(403, _))), "{wrong:?}");
}

#[test]
fn the_binary_runs_in_an_environment_of_its_own() {
    let help = Lifeboat::new(["--help"]).limit(Duration::from_secs(20)).run();
    assert_eq!(help.signal, None, "{}", help.text());
}
