//! Full disks, and a store whose clock is wrong.

use super::site::{MINUTE, Site};
use crate::harness::{Lab, Suite, Volume};

#[test]
fn a_full_spool_and_a_full_data_dir_are_said_and_nothing_is_half() {
    let lab = Lab::new("disk-full");
    let host = lab.host_off("cp1", Suite::Trixie);
    host.add_volume(&Volume::ext4("/var/lib/etcd/default", 300));
    host.boot();
    host.settle(MINUTE);
    host.ok("chown etcd:etcd /var/lib/etcd /var/lib/etcd/default && chmod 700 /var/lib/etcd/default");
    let site = Site::bare(&lab, host).started();
    let host = &site.host;
    host.ok_for(
        2 * MINUTE,
        "export ETCDCTL_API=3; for i in $(seq 40); do head -c 750000 /dev/urandom | base64 -w0 | \
         etcdctl --endpoints http://127.0.0.1:2379 put blob/$i >/dev/null || exit 1; done",
    );
    site.put("greeting", "hello");
    site.save("kept");

    // No room for what is to be restored: it waits, says so, and goes on when there is room.
    site.wipe();
    host.ok(
        "cd /var/lib/etcd/default && mkdir lost+found && free=$(df --output=avail -B1M . | tail -1) && fallocate -l $((free - 15))M lost+found/ballast",
    );
    host.ok("systemctl start --no-block etcd");
    site.wait_gate_says("make room on the file system of /var/lib/etcd/default");
    assert_eq!(host.unit_state("etcd").active(), "inactive");
    assert!(!host.run("ls /var/lib/etcd/default/member").success(), "half a member");
    host.ok("rm /var/lib/etcd/default/lost+found/ballast");
    site.wait_etcd();
    assert_eq!((site.get("greeting").as_str(), site.restores()), ("hello", 1));

    // No room in the spool: an error that names it, and etcd does not notice.
    let pid = site.pid("etcd");
    host.ok("install -d -o lifeboat -g lifeboat -m 700 /var/lib/lifeboat/spool && \
             mount -t tmpfs -o size=2m,uid=$(id -u lifeboat),mode=700 tmpfs /var/lib/lifeboat/spool");
    let failed = host.run("lifeboat save --name too-large");
    assert!(!failed.success() && failed.text().contains("/var/lib/lifeboat/spool"), "{failed}");
    host.ok("umount /var/lib/lifeboat/spool");
    assert_eq!(pid, site.pid("etcd"));
    site.save("roomy");
}

#[test]
fn a_store_whose_clock_is_wrong_by_an_hour_or_by_years() {
    let lab = Lab::new("store-clock");
    let clock = lab.s3().clock();
    let endpoint = clock.endpoint();
    let host = lab.host("cp1", Suite::Trixie);
    host.settle(MINUTE);
    let site = Site::bare(&lab, host).conf(&format!("[store.s3]\nendpoint = \"{endpoint}\"\n")).started();
    const HOUR: i64 = 3600;
    for (n, shift) in [HOUR, -HOUR, 10 * 365 * 24 * HOUR, -20 * 365 * 24 * HOUR].into_iter().enumerate() {
        clock.shift(shift);
        let round = format!("round-{n}");
        site.put("greeting", &round);
        site.save(&round);
        let verified = site.host.run("lifeboat verify latest");
        assert!(verified.success() && verified.text().contains("clock"), "nothing is said of {shift} s: {verified}");
        site.wipe();
        site.host.ok_for(2 * MINUTE, "systemctl start etcd");
        site.wait_etcd();
        assert_eq!((site.get("greeting"), site.restores()), (round, n + 1), "the store's clock is off by {shift} s");
    }

    // A store that refuses requests from another time: the host stays down, the reason is the clock, and it goes on by itself.
    clock.shift(HOUR);
    clock.refuse_skewed(true);
    site.wipe();
    site.host.ok("systemctl start --no-block etcd");
    site.wait_gate_says("clock");
    assert_eq!(site.host.unit_state("etcd").active(), "inactive");
    clock.shift(0);
    site.wait_etcd();
    assert_eq!((site.get("greeting").as_str(), site.restores()), ("round-3", 5));
}
