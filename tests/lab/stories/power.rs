//! Power cuts at random moments of a restore: the next boot ends with the right data, always.

use std::time::Instant;

use super::site::{MINUTE, Site};
use crate::harness::{Lab, Suite};

const CUTS: u32 = 10;

#[test]
fn ten_power_cuts_in_a_restore_lose_nothing() {
    let lab = Lab::new("power");
    let site = Site::running(&lab, Suite::Trixie);
    let host = &site.host;
    // Large enough for a restore of a second or more: 80 MB that hardly compress.
    host.ok_for(
        3 * MINUTE,
        "export ETCDCTL_API=3; for i in $(seq 80); do head -c 750000 /dev/urandom | base64 -w0 | \
         etcdctl --endpoints http://127.0.0.1:2379 put blob/$i >/dev/null || exit 1; done",
    );
    site.put("last", "word");
    site.save("large");
    let digest =
        || host.ok_for(MINUTE, "ETCDCTL_API=3 etcdctl --endpoints http://127.0.0.1:2379 get --prefix '' | sha256sum");
    let before = digest();

    // How long an undisturbed one takes tells where to cut.
    site.wipe();
    let begun = Instant::now();
    host.ok_for(2 * MINUTE, "systemctl start etcd");
    let whole = begun.elapsed();
    site.wait_etcd();
    assert_eq!(before, digest());
    println!("lab: power: an undisturbed restore took {:.2} s", whole.as_secs_f32());

    let mut inside = 0;
    for cut in 0..CUTS {
        site.wipe();
        host.ok("systemctl start --no-block etcd");
        let at = whole.mul_f64(f64::from(cut) / f64::from(CUTS)) + whole.mul_f64(random() / f64::from(CUTS));
        std::thread::sleep(at);
        inside += u32::from(host.unit_state("lifeboat-bootstrap").active() == "activating");
        host.power_cut();
        host.boot();
        site.wait_etcd();
        assert_eq!(before, digest(), "cut {cut}, after {:.2} s", at.as_secs_f32());
    }
    println!("lab: power: {inside} of {CUTS} cuts fell into the gate's own work");
    assert!(inside >= CUTS / 3, "only {inside} cuts fell into a restore: this proves little");
}

/// From 0 to 1, so that no two runs cut at the same places.
fn random() -> f64 {
    let mut byte = [0u8; 1];
    getrandom::fill(&mut byte).expect("the kernel's random source");
    f64::from(byte[0]) / 255.0
}
