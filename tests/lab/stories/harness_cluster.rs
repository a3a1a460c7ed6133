//! The harness itself, proven: three hosts with etcd, and a network between them that can be cut.

use std::time::Duration;

use crate::harness::{Block, Etcd, Host, Lab, Suite, TestCa};

const MINUTE: Duration = Duration::from_secs(60);

/// A write that nobody acknowledges. It may still be done later, when the member is back.
fn cannot_write(host: &Host, key: &str) {
    let output = host.etcdctl(&format!("--command-timeout 3s put {key} lost"));
    assert!(!output.success(), "a member without a majority has taken a write:\n{output}");
}

#[test]
fn three_hosts_form_a_cluster_and_survive_cuts_and_power() {
    let lab = Lab::new("harness-cluster");
    let hosts = ["cp1", "cp2", "cp3"].map(|name| lab.host_off(name, Suite::Trixie));
    std::thread::scope(|scope| hosts.iter().for_each(|host| drop(scope.spawn(|| host.boot()))));
    let [cp1, cp2, cp3] = &hosts;
    for host in &hosts {
        assert_eq!(host.settle(MINUTE), "running");
        assert_eq!(host.unit_state("etcd.service").active(), "inactive", "etcd waits to be configured");
        if lab.package().is_some() {
            host.install_package();
        }
        Etcd::forming(&[cp1, cp2, cp3]).configure(host);
        host.ok("systemctl enable --no-block --now etcd.service");
    }
    hosts.iter().for_each(|host| host.wait_etcd(MINUTE));
    assert_eq!(cp1.unit_state("etcd.service").get("User"), "etcd");
    cp1.etcd_put("a", "1");
    assert_eq!(cp3.etcd_get("a").as_deref(), Some("1"));

    // One is cut off: the others go on, it does not; then it catches up.
    lab.cut(cp3);
    cp1.wait_etcd(MINUTE);
    cp1.etcd_put("b", "2");
    cannot_write(cp3, "c");
    lab.heal(cp3);
    cp3.wait_etcd(MINUTE);
    assert_eq!(cp3.etcd_get("b").as_deref(), Some("2"));

    // The same between two of them only, and by a host that stands still.
    lab.block(cp3, cp1.address(), Block::Drop);
    lab.block(cp3, cp2.address(), Block::Reject);
    cp1.wait_etcd(MINUTE);
    cannot_write(cp3, "d");
    lab.unblock(cp3);
    cp3.wait_etcd(MINUTE);
    cp1.freeze();
    cp2.wait_etcd(MINUTE);
    cp2.etcd_put("e", "3");
    cp1.thaw();
    cp1.wait_etcd(MINUTE);
    assert_eq!(cp1.etcd_get("e").as_deref(), Some("3"));

    // Power: in good order, and not.
    cp2.reboot();
    cp2.wait_etcd(MINUTE);
    assert_eq!(cp2.etcd_get("e").as_deref(), Some("3"));
    cp1.power_cut();
    cp2.wait_etcd(MINUTE);
    cp2.etcd_put("f", "4");
    cp1.boot();
    cp1.wait_etcd(MINUTE);
    let all = cp1.etcd_dump();
    assert!(["a=1\n", "b=2\n", "e=3\n", "f=4\n"].iter().all(|line| all.contains(line)), "{all}");
    let boots = cp1.ok("journalctl --list-boots --quiet --no-pager | wc -l");
    assert_eq!(boots.trim(), "2", "the journal survives a power cut");
    assert_eq!(cp3.etcd_dump(), all);
}

#[test]
fn etcd_can_have_certificates_and_a_wal_dir_of_its_own() {
    for suite in [Suite::Bookworm, Suite::Trixie] {
        let lab = Lab::new(&format!("harness-tls-{}", suite.name()));
        let host = lab.host("cp1", suite);
        let ca = TestCa::new("first");
        Etcd::write_certificates(&host, &ca);
        let wal = "/var/lib/etcd-wal/wal";
        Etcd { tls: true, wal_dir: Some(wal.to_owned()), ..Etcd::forming(&[&host]) }.configure(&host);
        host.ok("systemctl start etcd");
        host.etcd_fill("k", 250, 1000);
        assert_eq!(host.etcd_dump().lines().count(), 250);
        assert_eq!(host.etcd_get("k0249").map(|v| v.len()), Some(1000));
        assert!(host.ok(&format!("ls {wal}")).contains(".wal"));
        assert!(!host.run("ETCDCTL_API=3 etcdctl --endpoints http://127.0.0.1:2379 get k0000").success());
        // etcd takes its new certificate with the next connection, and keeps trusting the CA that it was started with.
        Etcd::write_certificates(&host, &TestCa::new("second"));
        assert!(!host.etcdctl("get k0000").success(), "another CA's client is refused");
        Etcd::write_certificates(&host, &ca);
        assert!(host.etcd_get("k0000").is_some());
    }
}
