//! A model checker for bootstraps of several hosts: every order of what can happen, with the product's own `decide`.
//!
//! `cargo test --test model` runs the short variants; `make model` the long ones (`LIFEBOAT_MODEL=long`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, clippy::print_stdout, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long it searches")]

mod ends;
mod environment;
mod raft;
mod search;
mod step;
mod variant;
mod variants;
mod view;
mod world;

use search::{Found, search};
use variant::Variant;

fn print(variant: &Variant, found: &Found) {
    let all = if found.complete { "all" } else { "the first" };
    println!(
        "{:36} {all} {:9} states, depth {:3}, {:6} views decided on, {:6.1} s",
        variant.name, found.states, found.depth, found.views, found.seconds
    );
}

fn holds(variants: &[Variant], limit: usize, every: usize) {
    let mut broken = Vec::new();
    for variant in variants {
        if std::env::var("LIFEBOAT_MODEL_ONLY").is_ok_and(|only| !variant.name.contains(&only)) {
            continue;
        }
        let found = search(variant, limit, every);
        print(variant, &found);
        let mut decider = view::Decider::default();
        let mut longest = 0;
        for world in &found.samples {
            match ends::settle(world, variant, &mut decider) {
                Ok(rounds) => longest = longest.max(rounds),
                Err(why) => {
                    broken.push(format!("{}: I8: {why}", variant.name));
                    break;
                }
            }
        }
        println!(
            "{:36} {} of them go on without faults to an end, in at most {longest} rounds",
            "",
            found.samples.len()
        );
        if let Some((why, way)) = found.broken {
            broken.push(format!("{}: {why}\n{}", variant.name, way.join("\n")));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n\n"));
}

#[test]
fn short_variants_hold() {
    holds(&variants::short(), 1_000_000, 20);
}

#[test]
#[ignore = "minutes: make model"]
fn long_variants_hold() {
    holds(&variants::long(), std::env::var("LIFEBOAT_MODEL_LIMIT").map_or(1_000_000, |l| l.parse().unwrap()), 200);
}

/// Each safeguard is there for something: without it, an invariant breaks.
#[test]
fn without_a_safeguard_an_invariant_breaks() {
    let mut useless = Vec::new();
    let mut all = variants::without();
    if std::env::var("LIFEBOAT_MODEL").is_ok_and(|m| m == "long") {
        all.extend(variants::without_long());
    }
    for variant in all {
        let safeguard = variant.without.unwrap();
        let found = search(&variant, 2_000_000, 1000);
        match found.broken {
            Some((why, way)) => {
                println!(
                    "\nwithout {safeguard:?} ({} states, {:.1} s):\n{}\n=> {why}",
                    found.states,
                    found.seconds,
                    way.join("\n")
                );
            }
            None => useless.push(format!("{safeguard:?} ({} states, complete: {})", found.states, found.complete)),
        }
    }
    assert!(useless.is_empty(), "nothing breaks without {useless:?}");
}
