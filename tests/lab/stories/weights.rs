//! A snapshot gives way to etcd, inside its unit with all that the unit forbids.

use std::collections::BTreeMap;

use super::site::{MINUTE, Site};
use crate::harness::{Lab, Suite};

/// As the kernel numbers them (`sched.h`).
const NORMAL: &str = "0";
const BATCH: &str = "3";
const IDLE: &str = "5";

#[test]
fn the_threads_of_a_snapshot_are_idle_and_its_unit_weighs_half_of_etcds() {
    let lab = Lab::new("weights");
    let site = Site::running(&lab, Suite::Trixie);
    let host = &site.host;
    host.ok("for n in $(seq 24); do head -c 700000 /dev/urandom | base64 -w 0 | ETCDCTL_API=3 etcdctl put noise/$n >/dev/null || exit 1; done");
    // Slow enough to be looked at.
    let slow = "[etcd]\nrate_limit = \"2MiB\"\n[[schedule]]\nname = \"slow\"\ncron = \"@every 1s\"\njitter = \"0s\"\n";
    host.write_config("conf.d/50-slow.toml", slow);
    host.ok("systemctl reload lifeboat");

    let threads = format!(
        "for t in /proc/{}/task/*; do echo \"$(cat $t/comm) $(sed 's/.*) //' $t/stat | cut -d ' ' -f 39)\"; done",
        site.pid("lifeboat")
    );
    let classes = host.wait_for("the threads of a snapshot", MINUTE, |h| {
        let listed = h.run(&threads).stdout;
        let classes: BTreeMap<String, String> = listed
            .lines()
            .filter_map(|line| line.rsplit_once(' ').map(|(name, class)| (name.to_owned(), class.to_owned())))
            .collect();
        classes.contains_key("write").then_some(classes)
    });
    println!("{classes:?}");
    for (thread, class) in [("compress-0", IDLE), ("digest", IDLE), ("write", BATCH), ("lifeboat", NORMAL)] {
        assert_eq!(classes.get(thread).map(String::as_str), Some(class), "{thread}: {classes:?}");
    }
    assert_eq!(host.unit_state("lifeboat").get("CPUWeight"), "50");
    let name = lab.s3().wait_for_snapshot("prod-eu1", "slow-", MINUTE);
    host.ok(&format!("lifeboat verify {name}"));
    site.nothing_failed();
}
