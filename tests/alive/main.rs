//! The side of the living cluster: who takes the snapshots, the heartbeat, recorded voters, adoption, and a person's word about a life.
//! Real clusters of three etcd members, real agents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, reason = "a test binary")]
#![allow(clippy::disallowed_methods, reason = "tests run children, read clocks and clear their own directories")]

mod adoption;
mod election;
mod seed;
#[path = "../support/mod.rs"]
mod support;
mod voters;
mod words;

use std::time::Duration;

/// Longer than any wait of the product in these stories.
const LONG: Duration = Duration::from_secs(150);

/// Lines for `[bootstrap]` and schedules behind it.
fn every(seconds: u32, run_on: &str) -> String {
    format!("[[schedule]]\nname = \"tick\"\ncron = \"@every {seconds}s\"\njitter = \"0s\"\nrun_on = \"{run_on}\"\n")
}
