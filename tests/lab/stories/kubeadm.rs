//! kubeadm: the kubelet is gated, and starts etcd from its static pod manifest. The kubelet here is a stand-in, the etcd is real.

use super::site::{MINUTE, Site};
use crate::harness::{Etcd, Lab, Suite};

const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";
/// Runs what the manifest says, as a kubelet would, when there is one.
const KUBELET: &str = "#!/bin/bash
while true; do
    if [ -e /etc/kubernetes/manifests/etcd.yaml ]; then
        eval \"$(sed -n 's/^ *command: //p' /etc/kubernetes/manifests/etcd.yaml)\"
    fi
    sleep 1
done
";
const UNIT: &str =
    "[Service]\nExecStart=/usr/local/bin/kubelet\nRestart=always\n[Install]\nWantedBy=multi-user.target\n";

#[test]
fn a_host_before_kubeadm_init_is_not_held_up_and_a_lost_one_is_restored_before_the_kubelet() {
    let lab = Lab::new("kubeadm");
    let host = lab.host("cp1", Suite::Trixie);
    host.settle(MINUTE);
    host.write("/usr/local/bin/kubelet", KUBELET, 0o755);
    host.write("/etc/systemd/system/kubelet.service", UNIT, 0o644);
    let etcd = Etcd { data_dir: "/var/lib/etcd".to_owned(), ..Etcd::gated() };
    let site = Site::bare(&lab, host).etcd(etcd).conf("[etcd]\nmanaged_by = \"kubeadm\"\n");
    site.installed();
    let host = &site.host;
    host.ok("rm -rf /var/lib/etcd && systemctl daemon-reload && lifeboat setup");
    assert!(host.unit_state("kubelet").get("Requires").contains("lifeboat-bootstrap"));

    // Before kubeadm init, with the store at hand.
    host.ok_for(MINUTE, "systemctl enable --now kubelet");
    assert_eq!(host.unit_state("kubelet").active(), "active");
    assert!(host.journal("-u lifeboat-bootstrap -o cat").contains("B0"));
    assert!(!host.run("ls /var/lib/etcd/member").success(), "the gate made a data dir for kubeadm");

    // kubeadm init.
    let address = host.address().to_owned();
    let line = format!(
        "etcd --name cp1 --data-dir /var/lib/etcd --listen-peer-urls http://{address}:2380 \
         --initial-advertise-peer-urls http://{address}:2380 --listen-client-urls http://127.0.0.1:2379,http://{address}:2379 \
         --advertise-client-urls http://{address}:2379 --initial-cluster cp1=http://{address}:2380"
    );
    host.write(MANIFEST, format!("kind: Pod\n    command: {line}\n"), 0o600);
    site.wait_etcd();
    site.put("greeting", "hello");
    host.ok("systemctl enable --now lifeboat");
    site.save("kept");

    // The disk is lost; the manifest is still there.
    host.ok("systemctl stop kubelet && rm -rf /var/lib/etcd");
    host.reboot();
    site.wait_etcd();
    assert_eq!((site.get("greeting").as_str(), site.restores()), ("hello", 1));
    let stamp =
        |unit: &str, property: &str| -> u64 { host.unit_state(unit).get(property).parse().expect("a time stamp") };
    let ended = stamp("lifeboat-bootstrap", "ExecMainExitTimestampMonotonic");
    assert!(0 < ended && ended <= stamp("kubelet", "ExecMainStartTimestampMonotonic"));
}
