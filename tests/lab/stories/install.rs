//! From the package to the first snapshot, and what `journalctl` and `systemctl` show of the agent.

use std::time::Duration;

use super::site::{MINUTE, Site};
use crate::harness::{Lab, Suite};

#[test]
fn bookworm_ships_its_first_snapshot() {
    first_snapshot(Suite::Bookworm);
}

#[test]
fn trixie_ships_its_first_snapshot() {
    first_snapshot(Suite::Trixie);
}

fn first_snapshot(suite: Suite) {
    let lab = Lab::new(&format!("install-{}", suite.name()));
    let site = Site::running(&lab, suite);
    let host = &site.host;
    site.put("greeting", "hello");

    // A scheduled one, that nobody asked for.
    let often = "[[schedule]]\nname = \"often\"\ncron = \"@every 5s\"\njitter = \"0s\"\n";
    host.write_config("conf.d/50-often.toml", often);
    host.ok("systemctl reload lifeboat");
    let name = lab.s3().wait_for_snapshot("prod-eu1", "often-", MINUTE);
    let verified = host.ok(&format!("lifeboat verify {name}"));
    assert!(verified.contains(&name), "{verified}");

    // Fields for programs, and an explanation for people.
    let record = host.wait_for("the event", MINUTE, |h| {
        h.journal_records("-u lifeboat LIFEBOAT_EVENT=BackupSuccessful").first().cloned()
    });
    for field in ["SNAPSHOT", "REVISION", "MESSAGE_ID", "PRIORITY"] {
        assert!(record[field].is_string(), "{field} is not in {record}");
    }
    assert_eq!(
        (&record["_SYSTEMD_UNIT"], &record["SYSLOG_IDENTIFIER"]),
        (&"lifeboat.service".into(), &"lifeboat".into())
    );
    let explained = host.journal("-x -u lifeboat LIFEBOAT_EVENT=BackupSuccessful");
    assert!(explained.contains("Subject:") && explained.contains("lifeboat verify"), "{explained}");

    // SIGHUP with a bad file: it is named, and the old configuration goes on.
    let pid = site.pid("lifeboat");
    host.write_config("conf.d/99-typo.toml", "[store]\nbuckend = \"s3\"\n");
    let _ = host.run("systemctl reload lifeboat");
    host.wait_for("the typo to be named", MINUTE, |h| {
        h.journal("-u lifeboat -o cat").contains("buckend").then_some(())
    });
    let before = lab.s3().keys_below("prod-eu1/snapshots/").len();
    host.wait_for("the next snapshot", MINUTE, |_| {
        (lab.s3().keys_below("prod-eu1/snapshots/").len() > before).then_some(())
    });
    host.ok("rm /etc/lifeboat/conf.d/99-typo.toml /etc/lifeboat/conf.d/50-often.toml && systemctl reload lifeboat");
    host.wait_for("the good file to be in use", MINUTE, |h| {
        h.journal("-u lifeboat -o cat -n 4").contains("schedules: etcd-snapshot").then_some(())
    });
    assert_eq!(pid, site.pid("lifeboat"), "a reload is no restart");

    // Nothing failed, the agent is not root, and no secret is in the journal.
    site.nothing_failed();
    assert_eq!(host.unit_state("lifeboat").get("User"), "lifeboat");
    assert_eq!(host.ok(&format!("stat -c %U /proc/{pid}")).trim(), "lifeboat");
    let journal = host.ok("journalctl --no-pager -o export");
    for secret in [host.ok("cat /etc/lifeboat/token").trim(), &lab.s3().keys().secret] {
        assert!(!secret.is_empty() && !journal.contains(secret), "a secret is in the journal");
    }
}

#[test]
fn the_watchdog_ends_an_agent_that_hangs_and_it_comes_back() {
    let lab = Lab::new("watchdog");
    let site = Site::running(&lab, Suite::Trixie);
    let host = &site.host;
    // The package's limits are minutes; the mechanism is the same.
    let short = "[Service]\nWatchdogSec=4s\nRestartSec=1s\n";
    host.write("/etc/systemd/system/lifeboat.service.d/99-lab.conf", short, 0o644);
    host.ok("systemctl daemon-reload && systemctl restart lifeboat");
    let (etcd, agent) = (site.pid("etcd"), site.pid("lifeboat"));
    std::thread::sleep(Duration::from_secs(9));
    assert_eq!(agent, site.pid("lifeboat"), "a healthy agent was ended");
    host.ok("systemctl kill -s STOP lifeboat");
    host.wait_for("the watchdog", MINUTE, |h| (h.unit_state("lifeboat").restarts() == 1).then_some(()));
    host.wait_for("a new agent", MINUTE, |h| (h.unit_state("lifeboat").active() == "active").then_some(()));
    assert_ne!(agent, site.pid("lifeboat"));
    assert!(host.journal("-u lifeboat -o cat").contains("Watchdog timeout"));
    assert_eq!(etcd, site.pid("etcd"), "etcd was touched");
}
