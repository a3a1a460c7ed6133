//! Every release of etcd that users run: snapshots of each, restored under itself, under the next one, and never under an older one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, reason = "a test binary")]
#![allow(clippy::print_stdout, reason = "the table and the messages are printed, to be read by people")]
#![allow(clippy::disallowed_methods, reason = "tests run children, read clocks and clear their own directories")]
#![allow(dead_code, reason = "it uses a part of a host of the stories")]

#[path = "../stories/host.rs"]
mod host;
mod matrix;
mod older;
mod page_sizes;
#[path = "../support/mod.rs"]
mod support;
mod upgraded;
