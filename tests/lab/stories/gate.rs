//! The gate between the boot and etcd: etcd starts only after it said so, and never because something failed.

use super::readme;
use super::site::{MINUTE, Site};
use crate::harness::{Lab, Suite};

const TYPO: &str = "[store]\nbuckend = \"s3\"\n";

#[test]
fn etcd_starts_only_after_the_gate_has_ended_with_0() {
    let lab = Lab::new("gate-order");
    let site = Site::running(&lab, Suite::Trixie);
    site.put("greeting", "hello");
    let host = &site.host;

    // The order is systemd's own record.
    let stamp =
        |unit: &str, property: &str| -> u64 { host.unit_state(unit).get(property).parse().expect("a time stamp") };
    let ended = stamp("lifeboat-bootstrap", "ExecMainExitTimestampMonotonic");
    let started = stamp("etcd", "ExecMainStartTimestampMonotonic");
    assert!(0 < ended && ended <= started, "the gate ended at {ended}, etcd started at {started}");
    assert_eq!(host.unit_state("lifeboat-bootstrap").get("ExecMainStatus"), "0");

    // etcd that is killed passes the gate again.
    let passed = || host.unit_state("lifeboat-bootstrap").get("InvocationID").to_owned();
    let (before, pid) = (passed(), site.pid("etcd"));
    host.ok("systemctl kill -s KILL etcd");
    host.wait_for("another etcd", MINUTE, |_| (![0, pid].contains(&site.pid("etcd"))).then_some(()));
    site.wait_etcd();
    assert_ne!(before, passed(), "the restart went past the gate");
    assert_eq!(site.get("greeting"), "hello");

    // The disk is wiped while etcd is down: the gate restores before etcd starts.
    site.save("before-the-wipe");
    site.wipe();
    host.ok_for(2 * MINUTE, "systemctl start etcd");
    site.wait_etcd();
    assert_eq!((site.get("greeting").as_str(), site.restores()), ("hello", 1));
    let owners = host.ok(&format!("find {} ! -user etcd", site.data_dir()));
    assert_eq!(owners, "", "files that etcd does not own");
    site.nothing_failed();
}

#[test]
fn a_gate_that_waits_says_why_and_goes_on_by_itself() {
    let lab = Lab::new("gate-waits");
    let site = Site::running(&lab, Suite::Bookworm);
    site.put("greeting", "hello");
    site.save("kept");
    let host = &site.host;
    site.wipe();
    lab.s3().stop();

    // At boot, with nobody there.
    host.reboot();
    site.wait_gate_says("P1");
    let status = host.run("systemctl status --no-pager --full etcd lifeboat-bootstrap").text();
    for expected in ["P1", "activating (start)", "to do: start the store"] {
        assert!(status.contains(expected), "{expected:?} is not in\n{status}");
    }
    println!("{status}");
    assert_eq!(host.unit_state("etcd").active(), "inactive");
    assert_eq!(host.ok(&format!("ls -A {}", site.data_dir())), "", "something was formed while the store was away");
    assert!(!host.run("systemctl stop lifeboat-bootstrap").success(), "the gate can be stopped by hand");

    lab.s3().start_again();
    site.wait_etcd();
    assert_eq!((site.get("greeting").as_str(), site.restores()), ("hello", 1));
}

#[test]
fn a_wrong_configuration_is_waited_for_and_mended_without_a_restart() {
    let lab = Lab::new("gate-configuration");
    let site = Site::running(&lab, Suite::Trixie);
    site.put("greeting", "hello");
    let host = &site.host;
    host.ok("systemctl stop etcd");
    host.write_config("conf.d/99-typo.toml", TYPO);
    host.ok("systemctl start --no-block etcd");
    site.wait_gate_says("buckend");
    assert_eq!(host.unit_state("etcd").active(), "inactive");
    host.ok("rm /etc/lifeboat/conf.d/99-typo.toml");
    site.wait_etcd();
    assert_eq!(site.get("greeting"), "hello");
}

#[test]
fn a_host_with_data_starts_at_once_while_the_store_is_away() {
    let lab = Lab::new("gate-data");
    let site = Site::running(&lab, Suite::Trixie);
    site.put("greeting", "hello");
    lab.cut_s3();
    site.host.reboot();
    site.host.wait_etcd(MINUTE);
    assert_eq!(site.get("greeting"), "hello");
    // An agent that cannot reach its store touches neither etcd nor the boot.
    site.nothing_failed();
    lab.heal_s3();
}

#[test]
fn the_way_round_for_the_worst_hour_works_as_the_readme_says() {
    let lab = Lab::new("gate-worst-hour");
    let site = Site::running(&lab, Suite::Trixie);
    let host = &site.host;
    site.put("greeting", "hello");

    // A gate that waits for something which nobody can mend tonight.
    host.ok("systemctl stop etcd");
    host.write_config("conf.d/99-typo.toml", TYPO);
    host.ok("systemctl start --no-block etcd");
    site.wait_gate_says("buckend");
    host.ok(&readme::block("worst hour"));
    site.wait_etcd();
    assert_eq!(site.get("greeting"), "hello");
    host.ok("rm /etc/lifeboat/conf.d/99-typo.toml");

    // A gate that cannot even run.
    host.ok("lifeboat setup");
    host.ok("mv /usr/bin/lifeboat /srv/ && printf '#!/bin/sh\\nexit 1\\n' > /usr/bin/lifeboat && chmod 755 /usr/bin/lifeboat");
    host.wait_for("the first gate to end", MINUTE, |h| {
        (h.unit_state("lifeboat-bootstrap").active() != "activating").then_some(())
    });
    assert!(!host.run("systemctl restart etcd").success(), "the gate failed, and etcd started");
    host.ok(&readme::block("worst hour"));
    site.wait_etcd();
    host.ok("mv /srv/lifeboat /usr/bin/lifeboat");

    // And back again.
    host.ok("lifeboat setup");
    host.ok_for(2 * MINUTE, "systemctl restart etcd");
    site.wait_etcd();
    assert!(host.unit_state("etcd").get("Requires").contains("lifeboat-bootstrap"));
    assert_eq!(site.get("greeting"), "hello");
    host.ok("lifeboat setup --remove");
    assert!(!host.unit_state("etcd").get("Requires").contains("lifeboat-bootstrap"));
}

/// One failure of what etcd requires would leave it down, also when the gate succeeds later.
#[test]
fn a_gate_that_is_killed_while_it_waits_goes_on() {
    let lab = Lab::new("gate-killed");
    let site = Site::running(&lab, Suite::Trixie);
    let host = &site.host;
    site.put("greeting", "hello");
    site.save("kept");
    site.wipe();
    lab.s3().stop();
    host.ok("systemctl start --no-block etcd");
    site.wait_gate_says("store");
    let first = site.pid("lifeboat-bootstrap");
    host.ok(&format!("kill -KILL {first}"));
    let next = host.wait_for("the gate to start again", MINUTE, |_| {
        Some(site.pid("lifeboat-bootstrap")).filter(|pid| *pid != first && *pid != 0)
    });
    assert_ne!(first, next);
    site.wait_gate_says("store");
    assert_eq!(host.unit_state("etcd").active(), "inactive");
    lab.s3().start_again();
    site.wait_etcd();
    assert_eq!(site.get("greeting"), "hello");
}
