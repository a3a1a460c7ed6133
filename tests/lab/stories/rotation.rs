//! Keys of the store and certificates of etcd are replaced while the agent runs.

use super::site::{MINUTE, Site};
use crate::harness::{Etcd, Lab, Suite, TestCa};

const OFTEN: &str = "[[schedule]]\nname = \"often\"\ncron = \"@every 5s\"\njitter = \"0s\"\n";

#[test]
fn rotated_keys_and_certificates_are_taken_up_without_a_person() {
    let lab = Lab::new("rotation");
    let host = lab.host("cp1", Suite::Trixie);
    host.settle(MINUTE);
    let first = TestCa::new("first");
    Etcd::write_certificates(&host, &first);
    // As kubeadm leaves it: only root can read the client's key.
    host.ok("chmod 600 /etc/etcd/client.key");
    let tls = "[etcd]\nendpoint = \"https://127.0.0.1:2379\"\nca_file = \"/etc/etcd/ca.crt\"\n\
               cert_file = \"/etc/etcd/client.crt\"\nkey_file = \"/etc/etcd/client.key\"\n";
    let site =
        Site::bare(&lab, host).etcd(Etcd { tls: true, ..Etcd::gated() }).conf(&format!("{tls}\n{OFTEN}")).started();
    let host = &site.host;
    let snapshots = || lab.s3().keys_below("prod-eu1/snapshots/often-").len();
    let another = |why: &str| {
        let before = snapshots();
        host.wait_for(why, 2 * MINUTE, |_| (snapshots() > before + 1).then_some(()));
    };
    another("a snapshot with the first keys");

    // New keys of the store; the old ones are refused.
    let keys = lab.s3().add_keys();
    host.write("/etc/lifeboat/access-key", &keys.access, 0o600);
    host.write("/etc/lifeboat/secret-key", &keys.secret, 0o600);
    lab.s3().revoke_old_keys();
    another("a snapshot with the second keys");

    // A new CA and new certificates; etcd trusts only these.
    let etcd = site.pid("etcd");
    Etcd::write_certificates(host, &TestCa::new("second"));
    host.ok("chmod 600 /etc/etcd/client.key");
    assert_eq!(etcd, site.pid("etcd"));
    host.ok_for(2 * MINUTE, "systemctl restart etcd");
    another("a snapshot with the second certificates");
    assert_eq!(host.unit_state("lifeboat").get("User"), "lifeboat");
}
