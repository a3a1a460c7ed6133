//! Every combination of abstract facts with its verdict: the golden file `fixtures/bootstrap/verdicts.txt`.
//!
//! The facts are abstract (one value for each way in which a fact can matter), in pages; within a page all combinations are decided on. The file
//! shows them as a decision tree: values that lead to the same are one branch, and a fact that changes nothing is left out.
//! `LIFEBOAT_UPDATE_VERDICTS=1 cargo test --test exhaustive` writes it anew; look at the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::disallowed_methods, reason = "a test reads and writes its golden file")]
#![allow(dead_code, reason = "the words are shared with the stories")]

#[path = "exhaustive/facts.rs"]
mod facts;
#[path = "exhaustive/pages.rs"]
mod pages;
#[path = "exhaustive/tree.rs"]
mod tree;
#[path = "exhaustive/words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use etcd_lifeboat::core::decide::{Decision, Rule, decide, decide_without};
use facts::Page;
use pages::PAGES;

struct Decided {
    lines: Vec<String>,
    combinations: usize,
    /// Of each rule: combinations that it decides.
    reached: BTreeMap<Rule, usize>,
    /// Rules without which some combination would be decided otherwise.
    needed: BTreeSet<Rule>,
}

fn decide_all(page: &Page) -> Decided {
    let sizes: Vec<usize> = page.dimensions.iter().map(|d| d.values.len()).collect();
    let combinations: usize = sizes.iter().product();
    let mut names: Vec<String> = Vec::new();
    let mut leaves = Vec::with_capacity(combinations);
    let mut reached: BTreeMap<Rule, usize> = BTreeMap::new();
    let mut needed = BTreeSet::new();
    for n in 0..combinations {
        let mut rest = n;
        let mut chosen = vec![0; sizes.len()];
        for (i, size) in sizes.iter().enumerate().rev() {
            chosen[i] = rest % size;
            rest /= size;
        }
        let (facts, policy) = page.build(&chosen);
        let verdict = decide(&facts, &policy);
        *reached.entry(verdict.rule).or_default() += 1;
        if matches!(verdict.decision, Decision::Wait { .. } | Decision::Refuse { .. }) {
            // Whoever stands before it must know what to type, or what it waits for.
            let hint = verdict.hint.as_deref().unwrap_or_default();
            assert!(hint.len() > 20, "{} {:?} has no hint: {}", verdict.rule, verdict.decision, verdict.because);
        }
        if !needed.contains(&verdict.rule)
            && decide_without(&facts, &policy, &[verdict.rule]).decision != verdict.decision
        {
            needed.insert(verdict.rule);
        }
        let name = format!("{} {}", verdict.rule, words::short(&verdict.decision));
        let id = names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        leaves.push(id as u32);
    }
    Decided { lines: tree::lines(page, &leaves, &names), combinations, reached, needed }
}

#[test]
fn every_combination_has_the_verdict_of_the_golden_file() {
    let mut text = String::new();
    let mut reached: BTreeMap<Rule, usize> = BTreeMap::new();
    let mut needed = BTreeSet::new();
    for page in PAGES {
        let decided = decide_all(page);
        text += &format!("# {}: {} combinations, {} lines\n", page.name, decided.combinations, decided.lines.len());
        println!("{}: {} combinations, {} lines", page.name, decided.combinations, decided.lines.len());
        text += &decided.lines.join("\n");
        text += "\n\n";
        for (rule, n) in decided.reached {
            *reached.entry(rule).or_default() += n;
        }
        needed.extend(decided.needed);
    }
    println!("{reached:?}");
    for rule in Rule::ALL {
        assert!(reached.contains_key(&rule), "{rule} is shadowed: no combination reaches it");
        // The last rule says what the absence of a verdict would mean anyway; J0 is asked after the others.
        let last = matches!(rule, Rule::N2 | Rule::J0);
        assert!(last || needed.contains(&rule), "{rule} changes nothing: without it, all is decided as before");
    }
    assert!(text.lines().count() < 2000, "{} lines: group what does not matter", text.lines().count());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bootstrap/verdicts.txt");
    if std::env::var_os("LIFEBOAT_UPDATE_VERDICTS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let first = text.lines().zip(expected.lines()).position(|(a, b)| a != b);
    assert!(
        text == expected,
        "the verdicts have changed, first in line {:?}; if that is meant: LIFEBOAT_UPDATE_VERDICTS=1 cargo test --test exhaustive, and look at the difference",
        first.map(|l| l + 1)
    );
}
