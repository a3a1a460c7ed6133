//! kubeadm with fixed members: the kubelet is gated, and starts etcd with the flags of its manifest and nothing else. The kubelet here is a script,
//! the etcds are real.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::site::{Host, Site};
use crate::support::{ETCD_LATEST, Fill};

const LIMIT: Duration = Duration::from_secs(120);

/// Starts the command of a static pod manifest as it stands there.
const KUBELET: &str = r#"#!/bin/sh
set -e
flags=$(sed -n 's/^    - \(--[^ ]*\)$/\1/p' "$1")
exec "$2" $flags
"#;

fn manifest(host: &Host) -> PathBuf {
    host.path("etcd.yaml")
}

/// What kubeadm writes: the first host knows itself alone, each other one those before it.
fn write_manifest(host: &Host, known: &[&Host], state: Option<&str>) {
    let initial: Vec<String> = known.iter().map(|h| format!("{}={}", h.name, h.peer_url())).collect();
    let mut flags = vec![
        format!("--advertise-client-urls={}", host.client_url()),
        format!("--data-dir={}", host.data_dir().display()),
        format!("--initial-advertise-peer-urls={}", host.peer_url()),
        format!("--initial-cluster={}", initial.join(",")),
        format!("--listen-client-urls={}", host.client_url()),
        format!("--listen-peer-urls={}", host.peer_url()),
        format!("--name={}", host.name),
        "--snapshot-count=10000".to_owned(),
    ];
    flags.extend(state.map(|s| format!("--initial-cluster-state={s}")));
    let flags: String = flags.iter().map(|f| format!("    - {f}\n")).collect();
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: etcd\nspec:\n  containers:\n  - command:\n    - etcd\n{flags}    image: etcd\n    name: etcd\n"
    );
    fs::write(manifest(host), text).expect("a manifest");
}

/// Hosts with a kubelet and no manifest yet.
async fn hosts() -> Site {
    let mut site = Site::new(3, ETCD_LATEST).await;
    site.etcd = |h| format!("managed_by = \"kubeadm\"\nmanifest = \"{}\"", manifest(h).display());
    site.configure("");
    let etcd = crate::support::tools::etcd(ETCD_LATEST, "etcd").display().to_string();
    for host in &mut site.hosts {
        let script = host.path("kubelet.sh");
        fs::write(&script, KUBELET).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its mode");
        host.kubelet = Some((script, vec![manifest(host).display().to_string(), etcd.clone()]));
    }
    site
}

/// `kubeadm init` on the first, `kubeadm join --control-plane` on the others, behind the gate.
async fn kubeadm() -> Site {
    let mut site = hosts().await;
    for new in 0..3 {
        if new > 0 {
            let mut client = site.hosts[0].etcd().expect("etcd runs").client().await;
            // kubeadm tries again, too: etcd takes no member while one has just come.
            let end = Instant::now() + LIMIT;
            while let Err(e) = client.member_add([site.hosts[new].peer_url()], None).await {
                assert!(Instant::now() < end, "{e}");
                site.pass(Duration::from_millis(500)).await;
            }
        }
        // The kubelet is started before kubeadm has written anything.
        let gate = site.hosts[new].run(&["bootstrap"]).ok();
        gate.says(&["B0"]);
        let known: Vec<&Host> = site.hosts[..=new].iter().collect();
        write_manifest(&site.hosts[new], &known, (new > 0).then_some("existing"));
        site.hosts[new].form_by_hand();
        site.until_serving(&[0, new], LIMIT).await;
        // lifeboat was there from the start.
        site.hosts[new].start_agent();
    }
    site.until("the cluster is adopted", LIMIT, |s| s.plans() == [1]).await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_disks_lost_and_reinstalled_with_the_manifests_of_before() {
    let mut site = kubeadm().await;
    Fill::small(200).run(site.hosts[0].etcd().expect("etcd runs")).await;
    site.until("all three voters are recorded", LIMIT, |s| {
        let all = s.store.keys();
        let last = all
            .iter()
            .rfind(|k| k.starts_with("several/cluster/plans/1/voters/"))
            .map(|k| k["several/".len()..].to_owned());
        let record = s.record(&last.unwrap_or_else(|| "cluster/plans/1.json".to_owned()));
        record["voters"].as_array().is_some_and(|v| v.len() == 3)
    })
    .await;
    site.hosts[1].run(&["save", "--name", "before"]).ok();
    let before = site.dump(0).await;
    let manifests: Vec<_> = site.hosts.iter().map(|h| fs::read(manifest(h)).expect("a manifest")).collect();
    for host in &mut site.hosts {
        host.power_cut();
        host.reinstall();
    }
    site.configure("");
    // By the store's clock, so that the heartbeat of before is old.
    site.store.set_clock_skew(300);
    let begun = Instant::now();
    site.boot_all();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    println!("kubeadm, three reinstalled hosts, first write on each after {:.1} s", begun.elapsed().as_secs_f64());
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1, 2]);
    for (host, untouched) in manifests.iter().enumerate() {
        before.assert_same_keys(&site.dump(host).await);
        assert_eq!(&fs::read(manifest(&site.hosts[host])).expect("a manifest"), untouched, "it was changed");
    }
}

/// Whoever joins needs the flags of a join. The first host's are those of `kubeadm init`, and would form a cluster of its own: the message names the edit.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_host_lost_alone_joins_after_the_edit_that_is_named() {
    let mut site = kubeadm().await;
    site.hosts[0].power_cut();
    site.hosts[0].lose_disk();
    site.hosts[0].boot();
    let said = site.until_said(&[0], "J0 REFUSE").await;
    let list: Vec<String> = site.hosts.iter().map(|h| h.peer_url()).collect();
    let path = manifest(&site.hosts[0]).display().to_string();
    for part in
        [list[0].as_str(), &list[1], &list[2], "--initial-cluster-state=existing", &path, "make it --initial-cluster="]
    {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    assert!(!site.hosts[0].data_dir().join("member").exists());
    // Typed as it says.
    let edit = said.split("make it ").nth(1).expect("the edit");
    let list = edit.split_whitespace().next().expect("a flag").to_owned();
    let text = fs::read_to_string(&path).expect("a manifest");
    let lines = text.lines().map(|l| {
        if l.contains("--initial-cluster=") {
            format!("    - {list}\n    - --initial-cluster-state=existing")
        } else {
            l.to_owned()
        }
    });
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).expect("a manifest");
    site.until("its kubelet starts", LIMIT, |s| s.hosts[0].etcd().is_some()).await;
    site.hosts[0].start_agent();
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    assert_eq!(site.plans(), [1]);
}
