//! The corpora of the fuzz targets, and every input that has ever crashed one, through the same functions, without a fuzzer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, reason = "a test binary")]
#![allow(clippy::print_stdout, reason = "figures are printed, to be read by people")]
#![allow(clippy::disallowed_methods, reason = "tests look at the clock to report")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "corpora/seeds.rs"]
mod seeds;
#[path = "../fuzz/targets/mod.rs"]
mod targets;
#[path = "corpora/texts.rs"]
mod texts;

/// Of all corpora together.
const MOST_BYTES: u64 = 2 << 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// What lies in `fuzz/<kind>/<target>/`, by name.
fn files(kind: &str, target: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(fuzz().join(kind).join(target)) else { return Vec::new() };
    let mut found: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn every_input_that_was_kept_ends_well() {
    let (mut bytes, mut bad) = (0, Vec::new());
    for (name, target) in targets::TARGETS {
        let (mut accepted, mut refused) = (0, 0);
        let crashes = files("crashes", name);
        for file in files("corpus", name).iter().chain(&crashes) {
            let data = std::fs::read(file).unwrap();
            bytes += data.len() as u64;
            match catch_unwind(AssertUnwindSafe(|| target(&data))) {
                Ok(true) => accepted += 1,
                Ok(false) => refused += 1,
                Err(_) => bad.push(file.display().to_string()),
            }
        }
        println!("{name}: {accepted} inputs accepted, {refused} refused, {} of them crashed once", crashes.len());
        // A corpus whose every input is refused at the door tests nothing.
        assert!(accepted >= 3 && refused >= 3, "{name}: {accepted} accepted, {refused} refused");
    }
    assert!(bad.is_empty(), "{} inputs panic:\n{}", bad.len(), bad.join("\n"));
    assert!(bytes <= MOST_BYTES, "the corpora have {bytes} bytes: minimise them (make fuzz-min)");
}

/// Each seed gets as far as it was made for: a target that refuses everything would be found here.
#[test]
fn every_seed_is_accepted() {
    for (target, name, data) in seeds::all() {
        let (_, run) = targets::TARGETS.iter().find(|(n, _)| *n == target).unwrap();
        assert!(run(&data), "{target}: seed {name} is refused");
    }
}

#[test]
#[ignore = "writes fuzz/corpus anew beside what is there: cargo test --features failpoints --test corpora -- --ignored"]
fn write_the_seeds() {
    for (target, name, data) in seeds::all() {
        let dir = fuzz().join("corpus").join(target);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("seed-{name}")), data).unwrap();
    }
}
