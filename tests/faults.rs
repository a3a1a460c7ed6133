//! Nothing is ever lost, half done, or startable when it should not be: the store is away, the process is killed at every step, disks are full or
//! broken, snapshots are damaged, and people start things twice. The built binary, a real etcd, an S3 server over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, reason = "a test binary")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]
#![allow(clippy::disallowed_methods, reason = "tests run children, read clocks and clear their own directories")]

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/damaged.rs"]
mod damaged;
#[path = "faults/disk_faults.rs"]
mod disk_faults;
#[path = "faults/disks.rs"]
mod disks;
#[path = "faults/flips.rs"]
mod flips;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/lab.rs"]
mod lab;
#[path = "faults/seeded.rs"]
mod seeded;
#[path = "faults/store_down.rs"]
mod store_down;
mod support;
#[path = "faults/twice.rs"]
mod twice;
#[path = "faults/unit.rs"]
mod unit;
