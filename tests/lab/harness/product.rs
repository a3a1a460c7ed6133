//! The package under test, and its configuration.

use std::path::PathBuf;
use std::time::Duration;

use super::enter::Output;
use super::host::Host;
use super::s3::S3;

/// A token that all hosts of a lab share.
const TOKEN: &str = "lab-token-0123456789abcdef0123456789abcdef\n";

/// The package that `LIFEBOAT_DEB` names.
pub(super) fn package() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("LIFEBOAT_DEB").filter(|v| !v.is_empty())?);
    assert!(path.is_file(), "LIFEBOAT_DEB: {} is not there; run: make deb", path.display());
    Some(path)
}

/// What `/etc/lifeboat` says on a host: a cluster of the given hosts with the lab's S3 server.
#[derive(Clone, Debug)]
pub struct HostConfig {
    pub cluster: String,
    /// Name and address of each control-plane host.
    pub members: Vec<(String, String)>,
    /// Lines of the section `[etcd]`.
    pub etcd: String,
    /// URL of the store; `S3::endpoint` or the one of a [`super::ClockProxy`].
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    /// More files of `conf.d`: name and content. Sections there add to the ones above, key by key.
    pub more: Vec<(String, String)>,
}

impl HostConfig {
    /// etcd as [`super::Etcd`] configures it, on `hosts`; the default schedule.
    pub fn new(s3: &S3, hosts: &[&Host]) -> HostConfig {
        let keys = s3.keys();
        HostConfig {
            cluster: "lab".to_owned(),
            members: hosts.iter().map(|h| (h.name().to_owned(), h.address().to_owned())).collect(),
            etcd: format!("data_dir = \"{}\"\nendpoint = \"http://127.0.0.1:2379\"\n", super::etcd::DATA_DIR),
            endpoint: s3.endpoint(),
            access_key: keys.access,
            secret_key: keys.secret,
            more: Vec::new(),
        }
    }

    /// A file of `conf.d`.
    pub fn with(mut self, name: &str, content: &str) -> HostConfig {
        self.more.push((format!("{name}.toml"), content.to_owned()));
        self
    }

    /// The text of `lifeboat.toml` on one host.
    pub fn toml(&self, host: &str) -> String {
        let HostConfig { cluster, etcd, endpoint, .. } = self;
        let members: String = self
            .members
            .iter()
            .map(|(name, address)| {
                format!(
                    "  {{ name = \"{name}\", peer_urls = [\"http://{address}:2380\"], client_urls = [\"http://{address}:2379\"] }},\n"
                )
            })
            .collect();
        let bucket = S3::BUCKET;
        format!(
            "[cluster]\nname = \"{cluster}\"\ntoken_file = \"/etc/lifeboat/token\"\nmembers = [\n{members}]\n\n\
             [node]\nname = \"{host}\"\n\n[etcd]\n{etcd}\n\
             [store]\nbackend = \"s3\"\n\n[store.s3]\nendpoint = \"{endpoint}\"\nbucket = \"{bucket}\"\ninsecure = true\n\
             access_key_file = \"/etc/lifeboat/access-key\"\nsecret_key_file = \"/etc/lifeboat/secret-key\"\n"
        )
    }
}

impl Host {
    /// Installs the package as an administrator does. Nothing is enabled or configured by this.
    pub fn install_package(&self) -> Output {
        let package = package().expect("LIFEBOAT_DEB names the package; run: make lab");
        self.copy_in(&package, "/var/tmp/etcd-lifeboat.deb", 0o644);
        let line =
            "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends /var/tmp/etcd-lifeboat.deb";
        let output = self.run_for(Duration::from_secs(180), line);
        assert!(output.success(), "{output}");
        output
    }

    /// Writes `/etc/lifeboat`: configuration, token and keys, each as closed as the package wants it.
    pub fn configure(&self, config: &HostConfig) {
        self.write_config("lifeboat.toml", &config.toml(self.name()));
        self.write_config("token", TOKEN);
        self.write_config("access-key", &config.access_key);
        self.write_config("secret-key", &config.secret_key);
        for (name, content) in &config.more {
            self.write_config(&format!("conf.d/{name}"), content);
        }
    }

    /// One file below `/etc/lifeboat`, readable by the agent (if the package is there) and by nobody else.
    pub fn write_config(&self, name: &str, content: &str) {
        let path = format!("/etc/lifeboat/{name}");
        self.write(&path, content, 0o640);
        self.ok(&format!("! getent group lifeboat >/dev/null || chgrp lifeboat \"$(dirname {path})\" {path}"));
    }
}
