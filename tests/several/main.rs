//! Several hosts as real processes: three etcd, three gates, agents and an S3 server, on loopback.
//!
//! `stories.rs` has what a user lives through; `driver.rs` plays random faults from a seed and checks what must always hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, clippy::print_stderr, reason = "a test binary")]
#![allow(clippy::disallowed_methods, reason = "tests run children, read clocks and clear their own directories")]

mod away;
mod checks;
mod driver;
mod joins;
mod kills;
mod kubeadm;
mod member_on_disk;
mod new_names;
mod planted;
mod refusals;
mod requests;
mod site;
mod stories;
#[path = "../support/mod.rs"]
mod support;
