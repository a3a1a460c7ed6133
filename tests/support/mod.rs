//! What the integration tests share: real etcd and S3 processes, an S3 server with faults, the built binary, data sets.
//!
//! Each test binary compiles this module and uses a part of it. Everything started here listens on 127.0.0.1 only and is
//! stopped when its value is dropped; if the test process itself is killed, the kernel ends the children.
//! Calls block unless they are `async`; a failure of the surroundings panics with what to do about it.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::disallowed_methods, reason = "tests run children, read clocks and clear their own directories")]

pub mod cluster;
pub mod data;
pub mod etcd;
pub mod faulty;
pub mod lifeboat;
pub mod minio;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod rclone;
pub mod s3;
pub mod tls;
pub mod tools;
pub mod weed;

pub use cluster::Cluster;
pub use data::{Dump, Entry, Fill, dump};
pub use etcd::{EtcdOptions, EtcdPorts, EtcdProcess};
pub use faulty::{DiskFault, FaultyRun};
pub use lifeboat::{Lifeboat, Output, Running};
pub use minio::MinIo;
pub use proxy::FaultProxy;
pub use rclone::Rclone;
pub use s3::{Conditions, Fault, Op, S3Options, S3Server};
pub use tls::TestCa;
pub use tools::{ETCD_3_4, ETCD_3_5, ETCD_3_6, ETCD_3_7, ETCD_LATEST, ETCD_VERSIONS};
pub use weed::Weed;
