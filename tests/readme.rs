//! The README is run: its quick start word by word, and its tables are compared with the program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod support;

use std::process::Command;

use clap::CommandFactory;
use etcd_lifeboat::cli::args::Cli;
use etcd_lifeboat::core::decide::Rule;
use support::ports::Port;

const README: &str = include_str!("../README.md");

/// The shell blocks that are marked `<!-- run: ... -->`, in order.
fn blocks() -> Vec<&'static str> {
    let block = |part: &'static str| part.split("```sh\n").nth(1).expect("a shell block").split("```").next();
    README.split("<!-- run: ").skip(1).map(|part| block(part).expect("its end")).collect()
}

#[test]
fn the_quick_start_works_as_written() {
    let blocks = blocks();
    assert_eq!(blocks.len(), 3, "quick start, first snapshot, first restore");
    let dir = tempfile::tempdir().unwrap();
    let (peer, client) = (Port::reserve(), Port::reserve());
    // The only liberties: free ports, and the etcd is ended with the script.
    let script = format!("set -eu\ntrap 'kill -9 $! 2>/dev/null' EXIT\n{}\n", blocks.join("\n"))
        .replace("2380", &peer.number().to_string())
        .replace("2379", &client.number().to_string());
    let etcd = support::tools::etcd(support::ETCD_LATEST, "etcd");
    let lifeboat = std::path::Path::new(env!("CARGO_BIN_EXE_lifeboat"));
    let path = [lifeboat.parent().unwrap(), etcd.parent().unwrap()].map(|p| p.display().to_string()).join(":");
    let out = Command::new("timeout")
        .args(["120", "bash", "-c", &script])
        .env_clear()
        .env("PATH", format!("{path}:/usr/bin:/bin"))
        .env("HOME", dir.path())
        .env("ETCDCTL_API", "3")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{text}");
    for expected in ["first-20", "etcd may start now", "digests, structure and content", "S2", "greeting\nhello"] {
        assert!(text.contains(expected), "the output lacks {expected:?}:\n{text}");
    }
}

#[test]
fn every_rule_and_command_is_in_the_readme() {
    let table: String = README.lines().filter(|l| l.starts_with("| ")).collect();
    for rule in Rule::ALL {
        assert!(table.contains(&rule.to_string()), "rule {rule} is not in the table");
    }
    for command in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()) {
        let line = format!("lifeboat {}", command.get_name());
        assert!(README.contains(&line), "{line} is not in the README");
    }
}
