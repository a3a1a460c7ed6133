//! The table of stories of a bootstrap (`fixtures/bootstrap/*.toml`): facts in words, the rule and decision that follow, and what is said.
//!
//! Each failure of the catalogue's sections on choosing and on quorum that loses data or splits a cluster has a story. The README's table of rules
//! comes from `rules.toml` there; `LIFEBOAT_UPDATE_README=1` writes it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::disallowed_methods, reason = "a test reads its tables")]
#![allow(dead_code, reason = "the words are shared with the exhaustive table")]

#[path = "exhaustive/facts.rs"]
mod facts;
#[path = "exhaustive/words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use etcd_lifeboat::core::decide::{Rule, decide};
use serde::Deserialize;

/// Numbers in the failure catalogue: those that lose data or split a cluster, of its sections 1.1 (choosing what to restore) and 1.2 (bootstrap,
/// quorum, identity).
const ANSWERED: &[u32] =
    &[1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 22, 24, 26, 27, 28, 31, 32, 33, 34, 35];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Story {
    name: String,
    #[serde(default)]
    failures: Vec<u32>,
    given: BTreeMap<String, String>,
    rule: Rule,
    decision: String,
    says: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    story: Vec<Story>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn stories() -> Vec<Story> {
    ["choosing", "hosts", "requests"]
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(path(&format!("tests/fixtures/bootstrap/{file}.toml"))).unwrap();
            toml::from_str::<Table>(&text).unwrap_or_else(|e| panic!("{file}.toml: {e}")).story
        })
        .collect()
}

#[test]
fn each_story_ends_as_it_is_told() {
    let mut wrong = Vec::new();
    for story in stories() {
        for name in story.given.keys() {
            assert!(facts::NAMES.contains(&name.as_str()), "{}: no such fact: {name}", story.name);
        }
        let (facts, policy) = facts::build(&|name| story.given.get(name).map(String::as_str));
        let verdict = decide(&facts, &policy);
        let said = format!(
            "{}\n{}\n{}\n{}",
            verdict.decision,
            verdict.because,
            verdict.hint.as_deref().unwrap_or_default(),
            verdict.notes.join("\n")
        );
        let decision = words::short(&verdict.decision);
        if (verdict.rule, decision.as_str()) != (story.rule, story.decision.as_str()) {
            wrong.push(format!("{}: {} {decision}, not {} {}", story.name, verdict.rule, story.rule, story.decision));
        }
        for fragment in story.says.iter().filter(|f| !said.contains(*f)) {
            wrong.push(format!("{}: does not say {fragment:?}:\n{said}", story.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_failure_that_loses_data_has_a_story() {
    let stories = stories();
    let answered: BTreeSet<u32> = stories.iter().flat_map(|s| s.failures.iter().copied()).collect();
    let expected: BTreeSet<u32> = ANSWERED.iter().copied().collect();
    assert_eq!(answered, expected, "failures of the catalogue");
    let names: BTreeSet<&str> = stories.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names.len(), stories.len(), "two stories have one name");
    let told: BTreeSet<Rule> = stories.iter().map(|s| s.rule).collect();
    let missing: Vec<_> = Rule::ALL.into_iter().filter(|r| !told.contains(r)).collect();
    assert!(missing.is_empty(), "rules without a story: {missing:?}");
}

#[test]
fn the_readme_has_the_table_of_rules() {
    let rules: BTreeMap<String, [String; 2]> =
        toml::from_str(&std::fs::read_to_string(path("tests/fixtures/bootstrap/rules.toml")).unwrap()).unwrap();
    assert_eq!(rules.len(), Rule::ALL.len(), "a rule that is none");
    let rows = Rule::ALL.map(|rule| {
        let [when, then] = rules.get(&rule.to_string()).unwrap_or_else(|| panic!("rules.toml lacks {rule}"));
        format!("| {rule} | {when} | {then} |\n")
    });
    let table = format!("| rule | when | then |\n|---|---|---|\n{}", rows.concat());
    let readme = std::fs::read_to_string(path("README.md")).unwrap();
    let begin = readme.find("| rule | when | then |").expect("the table's head");
    let length = readme[begin..].find("\n\n").expect("the table's end") + 1;
    let old = &readme[begin..begin + length];
    if old != table && std::env::var_os("LIFEBOAT_UPDATE_README").is_some() {
        std::fs::write(path("README.md"), readme.replace(old, &table)).unwrap();
        return;
    }
    assert_eq!(old, table, "LIFEBOAT_UPDATE_README=1 cargo test --test bootstrap_stories writes it");
}
