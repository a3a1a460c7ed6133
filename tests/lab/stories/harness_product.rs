//! The harness itself, proven: it installs the package and configures it, and what lifeboat stores can be seen.

use std::time::Duration;

use crate::harness::{Etcd, HostConfig, Lab, Suite};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_package_is_installed_and_its_snapshot_is_in_the_store() {
    for suite in [Suite::Bookworm, Suite::Trixie] {
        let lab = Lab::new(&format!("harness-product-{}", suite.name()));
        let host = lab.host("cp1", suite);
        Etcd::forming(&[&host]).configure(&host);
        host.ok("systemctl enable --now etcd");
        host.etcd_put("greeting", "hello");

        host.install_package();
        host.configure(&HostConfig::new(lab.s3(), &[&host]).with("10-quiet", "schedule = []\n"));
        host.ok("lifeboat config check");
        assert!(host.ok("lifeboat config show").contains("10.98.0.100:8333"));
        host.ok("lifeboat save --name by-hand");
        let name = lab.s3().wait_for_snapshot("lab", "by-hand", MINUTE);
        assert!(host.ok("lifeboat ls --remote").contains(&name));
        let manifest = lab.s3().get_json(&format!("lab/snapshots/{name}.manifest.json")).expect("a manifest");
        assert!(manifest.to_string().contains(&name), "{manifest}");
    }
}
