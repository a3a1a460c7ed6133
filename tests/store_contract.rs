//! The contract of a snapshot store, over a directory, the in-process S3 server and a real SeaweedFS, and what the S3
//! backend does when things go wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, reason = "a test binary")]
#![allow(clippy::print_stdout, reason = "messages are printed, to be read by people")]
#![allow(clippy::disallowed_methods, reason = "tests run themselves again with another environment")]

#[path = "store_contract/credentials.rs"]
mod credentials;
#[path = "store_contract/early.rs"]
mod early;
#[path = "store_contract/faults.rs"]
mod faults;
#[path = "store_contract/messages.rs"]
mod messages;
#[path = "store_contract/minio_rclone.rs"]
mod minio_rclone;
#[path = "store_contract/parts.rs"]
mod parts;
#[path = "store_contract/places.rs"]
mod places;
#[path = "store_contract/raw.rs"]
mod raw;
#[path = "store_contract/signing.rs"]
mod signing;
#[path = "store_contract/suite.rs"]
mod suite;
mod support;
#[path = "store_contract/sweep.rs"]
mod sweep;
#[path = "store_contract/table/mod.rs"]
mod table;
#[path = "store_contract/ways.rs"]
mod ways;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_the_contract() {
    suite::run(&places::Directory::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_in_process_server_keeps_the_contract() {
    suite::run(&places::InProcess::start(support::S3Options::default()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seaweedfs_keeps_the_contract() {
    let (_weed, place) = places::S3::of_seaweedfs().await;
    suite::run(&place).await;
}
