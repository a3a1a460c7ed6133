//! k3s, as far as it can be had here: a stand-in restores with `lifeboat restore`, as k3s would with its own code. k3s itself was not run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::host::{Host, rules};
use crate::support::{ETCD_LATEST, dump};

/// Turns a host into one of k3s whose program is a stand-in.
fn become_k3s(host: &Host) {
    let peer = host.peer_url();
    let script = format!(
        "#!/bin/sh\nset -e\necho \"$@\" >>{dir}/args\n[ \"$1 $2\" = 'server --cluster-reset' ]\n\
         exec {lifeboat} restore \"${{3#--cluster-reset-restore-path=}}\" --config {config} --data-dir {data} --name cp1 \
         --initial-cluster cp1={peer} --initial-advertise-peer-urls {peer} --initial-cluster-token k3s-$$\n",
        dir = host.dir.path().display(),
        lifeboat = env!("CARGO_BIN_EXE_lifeboat"),
        config = host.config().display(),
        data = host.data_dir().display(),
    );
    let program = host.path("k3s");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let etcd = format!("[etcd]\nmanaged_by = \"k3s\"\nreset_program = \"{}\"", program.display());
    let config = fs::read_to_string(host.config()).unwrap().replacen("[etcd]", &etcd, 1);
    fs::write(host.config(), config).unwrap();
}

/// The steps of a reset, in their order.
const STEPS: &[&str] = &["reset.noted", "reset.ran", "reset.learnt", "reset.recorded"];

/// Each time the program runs again, or is known to have run: it ends with one plan, one cluster, all keys, and nothing lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_killed_at_each_step_is_done_again_and_once() {
    let host = Host::new(ETCD_LATEST, "k3s-kills").await;
    host.bootstrap();
    let etcd = host.start_gated();
    for n in 0..20 {
        etcd.etcdctl(&["put", &format!("key-{n}"), "of before"]);
    }
    let expected = dump(&etcd).await;
    host.save("before");
    become_k3s(&host);
    let mut etcd = Some(etcd);
    for step in STEPS {
        host.lose(etcd.take().expect("it ran"));
        let point = format!("{step}=return(kill)");
        host.command(&["bootstrap", "--deadline", "90s"]).failpoints(&point).run().killed();
        let report = host.bootstrap();
        assert!(!rules(&report).contains(&"S2".to_owned()), "{step}: a second plan: {report}");
        let started = host.start_etcd();
        expected.assert_same_keys(&dump(&started).await);
        etcd = Some(started);
    }
    assert_eq!(rules(&host.bootstrap()), ["D0"], "an etcd runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_and_a_request_are_restored_by_the_program_of_k3s() {
    let host = Host::new(ETCD_LATEST, "k3s").await;
    host.bootstrap();
    let etcd = host.start_gated();
    for n in 0..50 {
        etcd.etcdctl(&["put", &format!("key-{n}"), "of before"]);
    }
    let expected = dump(&etcd).await;
    host.save("before");
    become_k3s(&host);
    host.lose(etcd);

    assert_eq!(rules(&host.bootstrap()), ["S2", "R1", "D7"]);
    let mut etcd = host.start_etcd();
    expected.assert_same_keys(&dump(&etcd).await);
    etcd.etcdctl(&["put", "key-0", "undone by the restore"]);
    etcd.stop();
    assert_eq!(rules(&host.bootstrap()), ["D7"], "once");

    host.run(&["restore-once", "latest", "--id", "rollback"]).ok();
    assert_eq!(rules(&host.bootstrap()), ["F2", "F1", "D7"]);
    let mut etcd = host.start_etcd();
    expected.assert_same_keys(&dump(&etcd).await);
    etcd.stop();
    assert_eq!(host.quarantined().len(), 1, "the data of before the request");
    let arguments = fs::read_to_string(host.path("args")).unwrap();
    assert_eq!(arguments.lines().count(), 2, "{arguments}");
    let file = host.path("snapshots/lifeboat-before-");
    let wanted = format!("server --cluster-reset --cluster-reset-restore-path={}", file.display());
    assert!(arguments.lines().all(|line| line.starts_with(&wanted) && line.ends_with(".db")), "{arguments}");
}
