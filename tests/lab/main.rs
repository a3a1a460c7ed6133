//! The lab: hosts with real systemd, the real package, real etcd units and a network of their own, in containers.
//!
//! Run by `make lab` (root or sudo), never by plain `cargo test`. `harness` has what a story is made of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "a test binary; not every story uses all of the harness")]
#![allow(clippy::disallowed_methods, reason = "tests run programs, read clocks and clear their own directories")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "outcomes and times are printed, to be read by people")]

#[allow(unused_imports, reason = "what the harness offers is not all used by every story")]
mod harness;
mod stories;
