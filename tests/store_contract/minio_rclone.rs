//! The contract on MinIO, over TLS, and what is left of it on rclone, which ignores the conditions of writes.

use std::sync::Arc;
use std::time::Duration;

use etcd_lifeboat::catalog::probe::{self, Conditions};
use etcd_lifeboat::catalog::records::Records;
use etcd_lifeboat::core::model::{ClusterName, NodeName, Nonce};
use etcd_lifeboat::crypto::{Keyring, Token};
use etcd_lifeboat::error::Kind;
use etcd_lifeboat::ports::{ObjectStore, PutMode};
use futures::future::BoxFuture;
use secrecy::SecretString;

use super::places;
use super::suite::{self, Place};
use super::support::{MinIo, Rclone};

const BUCKET: &str = "snapshots";

/// MinIO tells only those unfinished uploads whose whole key is asked for, so that they are counted on its disk.
struct OnMinIo {
    s3: places::S3,
    server: MinIo,
}

impl Place for OnMinIo {
    fn store(&self, folder: &str, page: u32) -> Arc<dyn ObjectStore> {
        self.s3.store(folder, page)
    }

    fn missing(&self) -> Arc<dyn ObjectStore> {
        self.s3.missing()
    }

    fn refuses_writes_to_missing(&self) -> bool {
        self.s3.refuses_writes_to_missing
    }

    fn leftovers(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async { self.server.unfinished_uploads() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minio_keeps_the_contract() {
    let Some(server) = tokio::task::spawn_blocking(|| MinIo::start(&[BUCKET])).await.expect("MinIO") else { return };
    let s3 = places::S3 {
        endpoint: server.endpoint(),
        bucket: BUCKET.to_owned(),
        access_key: server.access_key.clone(),
        secret_key: server.secret_key.clone(),
        ca_file: Some(server.ca_file()),
        refuses_writes_to_missing: true,
    };
    let place = OnMinIo { s3, server };
    unfinished_uploads_are_seen(&place).await;
    suite::run(&place).await;
}

/// What looks for leftovers finds an upload that is under way.
async fn unfinished_uploads_are_seen(place: &OnMinIo) {
    let store = place.store("under way", 1000);
    let (_dir, path, sha256) = suite::file(&suite::content(60 << 20));
    let upload = store.put_file("k", &path, &sha256, PutMode::CreateOnly, &|_| ());
    let seen = async {
        while place.leftovers().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        () = seen => {}
        done = upload => panic!("no unfinished upload was seen: {done:?}"),
    }
    store.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rclone_keeps_the_contract_but_for_conditions_and_is_found_out() {
    let server = tokio::task::spawn_blocking(|| Rclone::start(&[BUCKET])).await.expect("rclone");
    let place = places::S3 {
        endpoint: server.endpoint(),
        bucket: BUCKET.to_owned(),
        access_key: server.access_key.clone(),
        secret_key: server.secret_key.clone(),
        ca_file: None,
        refuses_writes_to_missing: true,
    };
    let store = place.store("probed", 1000);
    let keyring = Keyring::new(Token::new(&SecretString::from("0123456789abcdef".to_owned())).expect("a token"));
    let records = Records::new(store, Arc::new(keyring), ClusterName::new("prod").expect("a name"));
    let found = probe::conditions(&records, Nonce([1; 16])).await.expect("a race");
    assert_eq!(found, Conditions::Ignored);
    let me = NodeName::new("cp1").expect("a name");
    let refused = probe::may_write_plans(&records, Nonce([2; 16]), &me, None).await.expect_err("it is not trusted");
    println!("{}", refused.one_line());
    assert_eq!(refused.kind(), Kind::Refused);
    assert!(refused.one_line().contains("ignores conditional writes"), "{}", refused.one_line());
    assert!(refused.hint_text().is_some_and(|hint| hint.contains("bootstrap.seed")));
    probe::may_write_plans(&records, Nonce([3; 16]), &me, Some(&me)).await.expect("the named host may");
    suite::run_without_conditions(&place).await;
}
