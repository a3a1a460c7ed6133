//! Where etcd's data lies: a mount point of its own, a WAL on another disk, files of etcd's own user.

use super::site::{MINUTE, Site};
use crate::harness::{Etcd, Lab, Suite, Volume};

const DATA: &str = "/var/lib/etcd/default";
const WAL: &str = "/srv/etcd-wal";

/// Owner, kind and mode of everything below; the names of files differ from run to run.
fn owners_and_modes(site: &Site<'_>, dir: &str) -> Vec<String> {
    let listed = site.host.ok(&format!(
        "find {dir} -not -name 'lost+found' -not -path '*quarantine*' -printf '%u:%g %y %m\\n' | sort -u"
    ));
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn a_data_dir_that_is_a_mount_point_and_a_wal_on_another_disk() {
    let lab = Lab::new("places");
    let host = lab.host_off("cp1", Suite::Trixie);
    host.add_volume(&Volume::ext4(DATA, 300));
    host.add_volume(&Volume::ext4(WAL, 300));
    host.boot();
    host.settle(MINUTE);
    host.ok(&format!("chown etcd:etcd /var/lib/etcd {DATA} {WAL} && chmod 700 {DATA} {WAL}"));
    let etcd = Etcd { wal_dir: Some(format!("{WAL}/wal")), ..Etcd::gated() };
    let site = Site::bare(&lab, host).etcd(etcd).conf(&format!("[etcd]\nwal_dir = \"{WAL}/wal\"\n")).started();
    let host = &site.host;
    site.put("greeting", "hello");
    site.save("kept");
    let before = [DATA, WAL].map(|dir| owners_and_modes(&site, dir));
    for dir in &before {
        assert!(dir.iter().all(|line| line.starts_with("etcd:etcd ")), "{dir:?}");
    }

    // A new disk for the data, the WAL of before on the other one; then both new.
    for wiped in [vec![DATA], vec![DATA, WAL]] {
        host.ok("systemctl stop etcd");
        for dir in &wiped {
            host.ok(&format!("find {dir} -mindepth 1 -delete"));
        }
        host.ok("systemctl start --no-block etcd");
        if wiped == [DATA] {
            // A WAL that is left may hold writes that no snapshot has: a person decides, by what the gate says.
            site.wait_gate_says("D2");
            host.ok("lifeboat quarantine add --yes");
        }
        site.wait_etcd();
        assert_eq!(site.get("greeting"), "hello", "{wiped:?} wiped");
        assert_eq!(before, [DATA, WAL].map(|dir| owners_and_modes(&site, dir)), "{wiped:?} wiped");
    }
    assert_eq!(site.restores(), 2);
    assert!(host.ok(&format!("ls {WAL}/wal")).contains(".wal"));

    // The disk is not mounted at a boot: what lies beneath looks empty, and is not restored into.
    host.next_boot(|boot| boot.without_volumes = vec![DATA.to_owned()]);
    host.reboot();
    site.wait_gate_says("mount");
    assert_eq!(host.unit_state("etcd").active(), "inactive");
    assert!(!host.ok(&format!("ls -A {DATA}")).contains("member"));
    host.next_boot(|boot| boot.without_volumes.clear());
    host.power_cut();
    host.boot();
    site.wait_etcd();
    assert_eq!((site.get("greeting").as_str(), site.restores()), ("hello", 2));
}

#[test]
fn a_data_dir_that_is_gone_comes_back_with_its_owner() {
    let lab = Lab::new("places-gone");
    let site = Site::running(&lab, Suite::Bookworm);
    site.put("greeting", "hello");
    site.save("kept");
    let before = owners_and_modes(&site, DATA);
    site.host.ok(&format!("systemctl stop etcd && rm -r {DATA}"));
    site.host.ok_for(2 * MINUTE, "systemctl start etcd");
    site.wait_etcd();
    assert_eq!((site.get("greeting").as_str(), site.restores()), ("hello", 1));
    assert_eq!(before, owners_and_modes(&site, DATA));
}
