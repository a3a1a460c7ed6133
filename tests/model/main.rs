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

use std::io::Write;

use search::{Found, search};
use variant::Variant;

/// A line that is seen in a passing `cargo test`, too: the harness keeps back only what is printed by `println!`.
fn tell(line: &str) {
    // Nobody to tell is no failure of the model.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn figures(name: &str, found: &Found) -> String {
    let all = if found.complete { "all" } else { "the first" };
    format!(
        "model: {name:36} {all:9} {:9} worlds, depth {:3}, {:6} views decided on, {:6.1} s",
        found.states, found.depth, found.views, found.seconds
    )
}

fn holds(variants: &[Variant], limit: usize, every: usize) {
    let mut broken = Vec::new();
    for variant in variants {
        if std::env::var("LIFEBOAT_MODEL_ONLY").is_ok_and(|only| !variant.name.contains(&only)) {
            continue;
        }
        let found = search(variant, limit, every);
        let mut decider = view::Decider::default();
        let mut longest = 0;
        for world in &found.samples {
            match ends::settle(world, variant, &mut decider) {
                Ok((rounds, _)) => longest = longest.max(rounds),
                Err(why) => {
                    broken.push(format!("{}: I8: {why}", variant.name));
                    break;
                }
            }
            if let Err(why) = ends::requests_are_done(world, variant, &mut decider) {
                broken.push(format!("{}: I7: {why}", variant.name));
                break;
            }
        }
        let ends = format!("{} of them run on to an end, in at most {longest} rounds", found.samples.len());
        tell(&format!("{}; {ends}", figures(variant.name, &found)));
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
#[ignore = "takes minutes: make model"]
fn long_variants_hold() {
    holds(&variants::long(), std::env::var("LIFEBOAT_MODEL_LIMIT").map_or(1_000_000, |l| l.parse().unwrap()), 200);
}

/// Each safeguard is there for something: without it, the invariant that it is there for breaks; with it, the very same world holds.
#[test]
fn without_a_safeguard_an_invariant_breaks() {
    let mut wrong = Vec::new();
    let mut all = variants::without();
    // A control run sees at least twice as many worlds as were needed to find what is broken.
    let mut least = 50_000;
    if std::env::var("LIFEBOAT_MODEL").is_ok_and(|m| m == "long") {
        all.extend(variants::without_long());
        least = 500_000;
    }
    for variant in all {
        let safeguard = variant.without.unwrap();
        if std::env::var("LIFEBOAT_MODEL_ONLY").is_ok_and(|only| !format!("{safeguard:?}").contains(&only)) {
            continue;
        }
        let found = search(&variant, 2_000_000, 1000);
        let control = search(&Variant { without: None, ..variant.clone() }, least.max(found.states * 2), 1000);
        tell(&figures(&format!("without {safeguard:?}"), &found));
        tell(&figures("  and with it", &control));
        match &found.broken {
            Some((why, way)) => {
                println!("\nwithout {safeguard:?}:\n{}\n=> {why}", way.join("\n"));
                if !why.starts_with(&format!("{}:", variant.breaks)) {
                    wrong.push(format!(
                        "without {safeguard:?}, not {} breaks, but {why}\n{}",
                        variant.breaks,
                        way.join("\n")
                    ));
                }
            }
            None => wrong.push(format!("nothing breaks without {safeguard:?}")),
        }
        if let Some((why, way)) = control.broken {
            wrong.push(format!("with {safeguard:?}, the same world breaks: {why}\n{}", way.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}
