//! What this module takes for granted about the package's units, compared with their files.

use std::fs;

use super::machine::AGENT_USER;
use super::writable::{AGENT_WRITES, GATE_WRITES, HIDDEN_FROM_AGENT};
use super::*;

/// The values of a key in a unit file of the package.
fn values(unit: &str, key: &str) -> Vec<String> {
    let path = format!("{}/systemd/{unit}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let lines = text.lines().filter_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[test]
fn the_units_are_as_setup_takes_them() {
    assert_eq!(values(GATE, "ReadWritePaths"), GATE_WRITES.map(|p| format!("-{p}")));
    assert_eq!(values(GATE, "ProtectSystem"), ["strict"]);
    assert_eq!(values(GATE, "Type"), ["oneshot"], "a gate at work is 'activating'");
    let state: Vec<String> = values(AGENT, "StateDirectory").iter().map(|d| format!("/var/lib/{d}")).collect();
    assert_eq!((state, values(AGENT, "ReadWritePaths")), (AGENT_WRITES.map(str::to_owned).to_vec(), vec![]));
    assert_eq!(values(AGENT, "User"), [AGENT_USER]);
    assert_eq!(
        (values(AGENT, "ProtectHome"), values(AGENT, "PrivateTmp")),
        (vec!["yes".to_owned()], vec!["yes".to_owned()])
    );
    assert_eq!(HIDDEN_FROM_AGENT.len(), 5, "what these two hide");
    // Nobody has to enable it.
    assert!(values(AGENT, "Wants").contains(&WATCH.to_owned()));
}
