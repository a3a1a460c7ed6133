//! A model checker for bootstraps of several hosts: every order of what can happen, with the product's own `decide`.
//!
//! `cargo test --test model` runs the short variants; `make model` the long ones (`LIFEBOAT_MODEL=long`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

mod environment;
mod raft;
mod search;
mod step;
mod variant;
mod view;
mod world;

use search::search;
use variant::{Safeguard, Variant};
use world::{Budget, Cause, World};

#[test]
fn smoke() {
    let begin = World::blank(3, Budget { crashes: 1, wipes: 1, writes: 1, generations: 2, ..Budget::default() });
    let v = Variant::new("init", begin);
    let f = search(&v, 3_000_000, 1000);
    println!("{} {} states depth {} complete {} views {} {:.1}s", v.name, f.states, f.depth, f.complete, f.views, f.seconds);
    if let Some((why, way)) = f.broken {
        println!("{}\n{why}", way.join("\n"));
    }
    let _ = (Safeguard::MarkAtApply, Cause::Adopted);
}
