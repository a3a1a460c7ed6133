//! What the package does to a host that has etcd running: nothing.

use super::site::{MINUTE, Site};
use crate::harness::{Lab, Suite};

#[test]
fn upgrade_remove_and_purge_leave_etcd_and_its_data_alone_on_bookworm() {
    life_of_a_package(Suite::Bookworm);
}

#[test]
fn upgrade_remove_and_purge_leave_etcd_and_its_data_alone_on_trixie() {
    life_of_a_package(Suite::Trixie);
}

fn life_of_a_package(suite: Suite) {
    let lab = Lab::new(&format!("package-{}", suite.name()));
    let site = Site::running(&lab, suite);
    let host = &site.host;
    site.put("greeting", "hello");
    // Something that a restore has moved aside.
    let name = site.save("kept");
    host.ok(&format!("lifeboat restore-once {name}"));
    host.ok_for(2 * MINUTE, "systemctl restart etcd");
    site.wait_etcd();
    let aside = site.aside();
    assert!(aside.contains("member.quarantine-"), "{aside}");

    let (etcd, agent) = (site.pid("etcd"), site.pid("lifeboat"));
    host.ok("sed -i '1i # edited by a person' /etc/lifeboat/lifeboat.toml");
    host.ok("DEBIAN_FRONTEND=noninteractive dpkg -i /srv/etcd-lifeboat_*.deb");
    assert_eq!(etcd, site.pid("etcd"), "a reinstallation restarted etcd");
    assert_ne!(agent, site.pid("lifeboat"), "the agent goes on with the old program");
    assert!(host.ok("head -1 /etc/lifeboat/lifeboat.toml").contains("edited by a person"));
    host.wait_for("the agent", MINUTE, |h| (h.unit_state("lifeboat").active() == "active").then_some(()));
    assert_eq!(host.ok("dpkg --verify etcd-lifeboat | grep -v ' c '; true"), "");

    host.ok("dpkg --remove etcd-lifeboat");
    assert_eq!(etcd, site.pid("etcd"), "the removal restarted etcd");
    assert!(!host.ok("find /etc/systemd/system").contains("50-lifeboat-setup.conf"));
    host.reboot();
    site.wait_etcd();
    assert_eq!(site.get("greeting"), "hello");

    let etcd = site.pid("etcd");
    host.ok("dpkg --purge etcd-lifeboat");
    assert_eq!(etcd, site.pid("etcd"));
    assert_eq!(aside, site.aside(), "purge took what was moved aside");
    // Snapshots in the spool are data; the rest of our state is not.
    let left = host.ok("find /var/lib/lifeboat /var/lib/lifeboat-bootstrap -type f 2>/dev/null; true");
    assert!(left.lines().all(|file| file.starts_with("/var/lib/lifeboat/spool/")), "{left}");
    assert!(left.contains(&name), "the snapshot in the spool is gone: {left}");
    host.ok("systemctl restart etcd");
    site.wait_etcd();
    assert_eq!(site.get("greeting"), "hello");
    site.nothing_failed();
}
