//! One host with its configuration, its etcd and its store, to be broken by the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::disallowed_methods, reason = "tests clear their own directories")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::support::etcd::EtcdPorts;
use crate::support::{Dump, ETCD_3_5, EtcdOptions, EtcdProcess, Fill, Lifeboat, Output, S3Options, S3Server, dump};

pub const FOLDER: &str = "lab/";

/// A host. Everything goes with it.
pub struct Lab {
    pub dir: TempDir,
    pub s3: S3Server,
    ports: Arc<EtcdPorts>,
    separate_wal: bool,
    client: String,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with(S3Options::default(), false)
    }

    pub fn with(options: S3Options, separate_wal: bool) -> Lab {
        let dir = tempfile::Builder::new().prefix("lifeboat-faults-").tempdir().unwrap();
        let ports = EtcdPorts::reserve();
        let client = ports.client_url();
        let lab = Lab { s3: S3Server::start_blocking(options), dir, ports, separate_wal, client };
        for name in ["etc", "state", "boot", "etcd"] {
            fs::create_dir(lab.path(name)).unwrap();
        }
        fs::remove_dir(lab.data()).unwrap();
        lab.write("etc/token", "a-token-of-the-faults-lab-0123456789");
        lab.write("etc/access", &lab.s3.access_key);
        lab.write("etc/secret", &lab.s3.secret_key);
        let at = |name: &str| lab.path(name).display().to_string();
        let wal = if separate_wal { at("wal") } else { String::new() };
        let ca =
            if lab.s3.endpoint().starts_with("https") { lab.s3.ca_file().display().to_string() } else { String::new() };
        lab.write(
            "etc/lifeboat.toml",
            &format!(
                r#"[cluster]
name = "lab"
token_file = "{token}"
members = [{{ name = "m1", peer_urls = ["{peer}"], client_urls = ["{client}"] }}]
[node]
name = "m1"
state_dir = "{state}"
[etcd]
data_dir = "{data}"
wal_dir = "{wal}"
endpoint = "{client}"
environment_file = "{env}"
[store]
backend = "s3"
[store.s3]
endpoint = "{s3}"
bucket = "snapshots"
folder = "lab"
insecure = {insecure}
ca_file = "{ca}"
access_key_file = "{access}"
secret_key_file = "{secret}"
[[schedule]]
name = "yearly"
cron = "0 0 1 1 *"
jitter = "0s"
[bootstrap]
state_dir = "{boot}"
request_file = "{request}"
"#,
                token = at("etc/token"),
                peer = lab.ports.peer_url(),
                client = lab.client,
                state = at("state"),
                data = at("etcd"),
                env = at("boot/etcd.env"),
                s3 = lab.s3.endpoint(),
                insecure = ca.is_empty(),
                access = at("etc/access"),
                secret = at("etc/secret"),
                boot = at("boot"),
                request = at("etc/restore-once"),
            ),
        );
        lab
    }

    /// A host that has lived: formed, filled, `snapshots` times saved, and stopped. Gives what was in it at the last save.
    pub async fn lived(keys: usize, snapshots: usize, separate_wal: bool) -> (Lab, Vec<Dump>, EtcdProcess) {
        let lab = Lab::with(S3Options::default(), separate_wal);
        lab.bootstrap().run().ok();
        let mut etcd = lab.etcd();
        let mut dumps = Vec::new();
        for n in 0..snapshots {
            Fill { seed: n as u64 + 1, ..Fill::small(keys) }.run(&etcd).await;
            dumps.push(dump(&etcd).await);
            lab.cmd(["save", "--name", &format!("s{n}")]).run().ok();
        }
        etcd.stop();
        (lab, dumps, etcd)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("etcd")
    }

    pub fn wal(&self) -> Option<PathBuf> {
        self.separate_wal.then(|| self.path("wal"))
    }

    pub fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn cmd<S: Into<String>>(&self, args: impl IntoIterator<Item = S>) -> Lifeboat {
        Lifeboat::new(args).config(&self.path("etc/lifeboat.toml")).limit(std::time::Duration::from_secs(180))
    }

    pub fn peer_url(&self) -> String {
        self.ports.peer_url()
    }

    pub fn bootstrap(&self) -> Lifeboat {
        self.cmd(["bootstrap"])
    }

    pub fn etcd_options(&self, data: &Path, wal: Option<PathBuf>) -> EtcdOptions {
        EtcdOptions {
            name: Some("m1".to_owned()),
            data_dir: Some(data.to_owned()),
            wal_dir: wal,
            ports: Some(self.ports.clone()),
            initial_cluster_state: Some("existing".to_owned()),
            ..EtcdOptions::new(ETCD_3_5)
        }
    }

    /// The host's own etcd, as its unit would start it after the gate: `existing`, so that it never forms a cluster by itself.
    pub fn etcd(&self) -> EtcdProcess {
        EtcdProcess::with(self.etcd_options(&self.data(), self.wal()))
    }

    /// Starts the real etcd on a copy of what lies there, and reads every key.
    pub async fn what_etcd_would_serve(&self) -> Dump {
        let copy = tempfile::Builder::new().prefix("lifeboat-copy-").tempdir().unwrap();
        copy_tree(&self.data(), &copy.path().join("etcd"));
        let wal = self.wal().map(|wal| {
            copy_tree(&wal, &copy.path().join("wal"));
            copy.path().join("wal")
        });
        let etcd = EtcdProcess::with(self.etcd_options(&copy.path().join("etcd"), wal));
        dump(&etcd).await
    }

    /// The disk with etcd's data is lost (a mount point stays).
    pub fn lose_data(&self) {
        for dir in [Some(self.data()), self.wal()].into_iter().flatten() {
            if dir.exists() {
                fs::remove_dir_all(&dir).unwrap();
            }
        }
    }

    /// The whole host is lost, its memory too.
    pub fn lose_host(&self) {
        self.lose_data();
        for dir in ["boot", "state"] {
            fs::remove_dir_all(self.path(dir)).unwrap();
            fs::create_dir(self.path(dir)).unwrap();
        }
    }

    /// Whether there is something that an etcd would start on.
    pub fn has_member(&self) -> bool {
        self.data().join("member").exists()
    }

    /// `lifeboat inspect` of the data dir.
    pub fn inspect(&self) -> Output {
        let mut args = vec!["inspect".to_owned(), self.data().display().to_string()];
        args.extend(self.wal().map(|w| format!("--wal-dir={}", w.display())));
        Lifeboat::new(args).run()
    }

    pub fn keys(&self, part: &str) -> Vec<String> {
        self.s3.keys().into_iter().filter(|k| k.contains(part)).collect()
    }

    pub fn plans(&self) -> usize {
        self.keys("cluster/plans/").iter().filter(|k| k.matches('/').count() == 3).count()
    }

    pub fn marks(&self, generation: usize) -> usize {
        self.keys(&format!("cluster/plans/{generation}/started/")).len()
    }

    /// Names of the snapshots that `ls` calls usable, oldest first.
    pub fn usable(&self) -> Vec<String> {
        let out = self.cmd(["ls", "--remote", "-o", "json"]).run().ok();
        let rows = out.json()["rows"].as_array().unwrap().clone();
        rows.iter().filter(|r| r["usable"] == true).map(|r| r["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Everything moved aside: entries of the data dir and of the WAL dir.
    pub fn quarantined(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for dir in [Some(self.data()), self.wal()].into_iter().flatten() {
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            found.extend(
                entries
                    .map(|e| e.unwrap().path())
                    .filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("member.quarantine-")),
            );
        }
        found
    }

    /// Names in the data dir and in the spool that only a run in progress may have.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for dir in [
            Some(self.data()),
            self.wal(),
            Some(self.path("state")),
            Some(self.path("state/spool")),
            Some(self.path("")),
        ]
        .into_iter()
        .flatten()
        {
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            found.extend(entries.map(|e| e.unwrap().path()).filter(|p| {
                let name = p.file_name().unwrap().to_string_lossy().into_owned();
                name.ends_with(".part") || name.contains("lifeboat-staging") || name.contains("lifeboat-scratch")
            }));
        }
        found
    }
}

/// Copies a tree, holes and all.
pub fn copy_tree(from: &Path, to: &Path) {
    let mut command = std::process::Command::new("cp");
    let done = command.args(["-a", "--sparse=always"]).arg(from).arg(to).status().unwrap();
    assert!(done.success(), "cannot copy {}", from.display());
}
