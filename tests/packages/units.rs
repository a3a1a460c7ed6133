//! The units: what the gate and the agent rest on, and what this machine's systemd says of them.

use std::fs;
use std::process::Command;

use super::{files, read};

/// The values of `key` in a unit, in their order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let text = read(&format!("systemd/{unit}"));
    text.lines().filter_map(|l| l.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
}

fn value(unit: &str, key: &str) -> String {
    let [one] = &values(unit, key)[..] else { panic!("{unit}: {key}= is there {} times", values(unit, key).len()) };
    one.clone()
}

fn seconds(text: &str) -> u64 {
    let number = |unit: &str| text.strip_suffix(unit).and_then(|n| n.parse::<u64>().ok());
    number("min").map(|m| m * 60).or_else(|| number("s")).unwrap_or_else(|| panic!("{text:?} is no time"))
}

#[test]
fn the_gate_waits_and_is_passed_at_each_start() {
    let gate = "lifeboat-bootstrap.service";
    for (key, expected) in [
        ("Type", "oneshot"),
        ("NotifyAccess", "main"),
        ("TimeoutStartSec", "infinity"),
        ("RefuseManualStop", "yes"),
        ("StartLimitIntervalSec", "0"),
        ("LimitCORE", "0"),
        ("ExecStart", "/usr/bin/lifeboat bootstrap --wait"),
        ("StateDirectory", "lifeboat-bootstrap"),
        ("StateDirectoryMode", "0755"),
    ] {
        assert_eq!(value(gate, key), expected, "{key}");
    }
    // It runs again at each start; nobody else pulls it in; it starts without network and without /tmp; requests are in /proc.
    for key in ["RemainAfterExit", "WantedBy", "User", "Wants", "Requires", "PrivateTmp", "ProtectProc", "ProcSubset"] {
        assert!(values(gate, key).is_empty(), "{key}");
    }
    let after = value(gate, "After");
    assert!(!after.contains("online") && after.contains("remote-fs.target"), "{after}");
    // A path that is not there may not keep the gate from starting.
    let paths =
        [values(gate, "ReadWritePaths"), values(gate, "ReadOnlyPaths"), values(gate, "InaccessiblePaths")].concat();
    assert!(paths.len() >= 2 && paths.iter().flat_map(|p| p.split(' ')).all(|p| p.starts_with('-')), "{paths:?}");
}

#[test]
fn the_agent_has_time_to_end_and_writes_its_own_state_only() {
    let agent = "lifeboat.service";
    for (key, expected) in [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("User", "lifeboat"),
        ("StateDirectory", "lifeboat"),
        ("StateDirectoryMode", "0700"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("LimitCORE", "0"),
        ("ExecStart", "/usr/bin/lifeboat agent"),
    ] {
        assert_eq!(value(agent, key), expected, "{key}");
    }
    assert!(values(agent, "ReadWritePaths").is_empty());
    let source = read("src/agent/mod.rs");
    let grace =
        source.split("GRACE: Duration = Duration::from_secs(").nth(1).and_then(|t| t.split(')').next()).unwrap();
    let grace: u64 = grace.parse().unwrap();
    assert!(seconds(&value(agent, "TimeoutStopSec")) >= grace + 10, "a stop may take {grace} s");
    // The last sign of life may be half an interval old when a reload begins to wait.
    assert!(seconds(&value(agent, "WatchdogSec")) / 2 > grace, "a reload may take {grace} s without a sign of life");
}

/// The units with the program that was just built in place of the installed one.
fn on_this_machine() -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for file in files("systemd") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = read(&format!("systemd/{name}")).replace("/usr/bin/lifeboat", env!("CARGO_BIN_EXE_lifeboat"));
        let path = dir.path().join(&name);
        fs::write(&path, text).unwrap();
        paths.push(path.display().to_string());
    }
    assert_eq!(paths.len(), 4, "{paths:?}");
    (dir, paths)
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let out = Command::new("systemd-analyze").args(arguments).env("SYSTEMD_COLORS", "0").output();
    let out = out.unwrap_or_else(|e| panic!("systemd-analyze: {e}; apt-get install systemd"));
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.success(), text)
}

/// Unknown keys are told on standard error only.
#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let (dir, paths) = on_this_machine();
    let verify = |paths: &[String]| {
        let mut arguments = vec!["verify", "--man=no"];
        arguments.extend(paths.iter().map(String::as_str));
        analyze(&arguments)
    };
    assert_eq!(verify(&paths), (true, String::new()), "{}", analyze(&["--version"]).1);
    // And it would say something.
    let agent = dir.path().join("lifeboat.service");
    let broken = fs::read_to_string(&agent).unwrap().replace("ProtectSystem=", "ProtectSistem=");
    fs::write(&agent, broken).unwrap();
    assert!(verify(&paths).1.contains("ProtectSistem"), "an unknown key was not noticed");
}

#[test]
fn the_sandboxes_are_tight() {
    let (dir, _) = on_this_machine();
    let version = analyze(&["--version"]).1;
    for (unit, tenths) in [("lifeboat", "25"), ("lifeboat-bootstrap", "50"), ("lifeboat-credentials", "50")] {
        let path = dir.path().join(format!("{unit}.service")).display().to_string();
        let threshold = format!("--threshold={tenths}");
        let (passed, text) = analyze(&["security", "--offline=true", "--no-pager", &threshold, &path]);
        let level = text.lines().find(|l| l.contains("Overall exposure level")).unwrap_or_default();
        println!("{level} (at most {tenths} tenths; {})", version.lines().next().unwrap_or_default());
        assert!(passed, "{text}");
    }
}
