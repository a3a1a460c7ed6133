//! The harness itself, proven: three hosts with etcd, and a network between them that can be cut.

use std::time::Duration;

use crate::harness::{Block, Etcd, Host, Lab, Suite};

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
