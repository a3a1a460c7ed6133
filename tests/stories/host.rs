//! One control-plane host: its configuration, its etcd, and `lifeboat` as its units would run it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::guarded;
use crate::support::{EtcdOptions, EtcdPorts, EtcdProcess, Lifeboat, Output, S3Server, Weed, tools};

/// What the bootstrap adds to the revision unless it is configured otherwise.
pub const BUMP: i64 = 1_000_000_000;
pub const BUCKET: &str = "stories";

/// Where snapshots go.
#[derive(Clone)]
pub struct StoreAt {
    pub endpoint: String,
    pub bucket: String,
    pub access_key: String,
    pub secret_key: String,
}

impl StoreAt {
    pub fn weed(weed: &Weed) -> StoreAt {
        StoreAt {
            endpoint: weed.endpoint(),
            bucket: BUCKET.to_owned(),
            access_key: weed.access_key.clone(),
            secret_key: weed.secret_key.clone(),
        }
    }

    pub fn server(server: &S3Server) -> StoreAt {
        StoreAt {
            endpoint: server.endpoint(),
            bucket: server.bucket().to_owned(),
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
        }
    }

    /// The bucket by plain S3: nothing of ours in between.
    pub fn plain(&self) -> Box<s3::Bucket> {
        let region = s3::Region::Custom { region: "us-east-1".to_owned(), endpoint: self.endpoint.clone() };
        let credentials =
            s3::creds::Credentials::new(Some(&self.access_key), Some(&self.secret_key), None, None, None).unwrap();
        s3::Bucket::new(&self.bucket, region, credentials).unwrap().with_path_style()
    }
}

/// SeaweedFS with a bucket, shared by the tests that run at the same time, and gone after the last of them.
async fn shared_weed() -> Arc<Weed> {
    static SHARED: Mutex<Weak<Weed>> = Mutex::new(Weak::new());
    static BUCKET_MADE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = BUCKET_MADE.lock().await;
    let there = SHARED.lock().unwrap().upgrade();
    if let Some(weed) = there {
        return weed;
    }
    let weed = Arc::new(tokio::task::spawn_blocking(Weed::start).await.unwrap());
    weed.create_bucket(BUCKET).await;
    *SHARED.lock().unwrap() = Arc::downgrade(&weed);
    weed
}

/// A host. Its disk is `dir`.
pub struct Host {
    pub dir: TempDir,
    pub version: String,
    pub store: StoreAt,
    pub folder: String,
    ports: Arc<EtcdPorts>,
    wal_dir: Option<PathBuf>,
    _weed: Option<Arc<Weed>>,
}

impl Host {
    /// With snapshots in a folder of its own in the shared SeaweedFS.
    pub async fn new(version: &str, folder: &str) -> Host {
        let weed = shared_weed().await;
        let mut host = Host::on(version, folder, StoreAt::weed(&weed));
        host._weed = Some(weed);
        host
    }

    /// With snapshots in this store.
    pub fn on(version: &str, folder: &str, store: StoreAt) -> Host {
        let dir = tempfile::Builder::new().prefix("lifeboat-story-").tempdir().expect("a directory for a host");
        let host = Host {
            dir,
            version: version.to_owned(),
            store,
            folder: folder.to_owned(),
            ports: EtcdPorts::reserve(),
            wal_dir: None,
            _weed: None,
        };
        // Secrets are readable by their owner only, or the configuration is refused.
        fs::write(host.path("token"), "0123456789abcdef0123456789abcdef").unwrap();
        fs::write(host.path("access-key"), &host.store.access_key).unwrap();
        fs::write(host.path("secret-key"), &host.store.secret_key).unwrap();
        for secret in ["token", "access-key", "secret-key"] {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(host.path(secret), fs::Permissions::from_mode(0o600)).unwrap();
        }
        host.configure("");
        host
    }

    /// The same, with the WAL on a disk of its own.
    pub fn with_wal_dir(mut self) -> Host {
        self.wal_dir = Some(self.path("wal"));
        self.configure("");
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("lifeboat.toml")
    }

    pub fn peer_url(&self) -> String {
        self.ports.peer_url()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path("etcd")
    }

    pub fn request_file(&self) -> PathBuf {
        self.path("restore-once")
    }

    pub fn environment_file(&self) -> PathBuf {
        self.path("bootstrap/etcd.env")
    }

    /// Writes the configuration, with further lines such as schedules.
    pub fn configure(&self, more: &str) {
        fs::write(self.config(), self.text(more)).unwrap();
    }

    /// Writes another file, for the agent alone: what it loads again is not what the commands read.
    pub fn configure_agent(&self, more: &str) -> PathBuf {
        let path = self.path("agent.toml");
        fs::write(&path, self.text(more)).unwrap();
        path
    }

    fn text(&self, more: &str) -> String {
        let path = |name: &str| self.path(name).display().to_string();
        let wal = self.wal_dir.as_ref().map(|w| format!("wal_dir = \"{}\"\n", w.display())).unwrap_or_default();
        format!(
            r#"[cluster]
name = "story"
token_file = "{token}"
members = [{{ name = "cp1", peer_urls = ["{peer}"], client_urls = ["{client}"] }}]

[node]
name = "cp1"
state_dir = "{state}"

[etcd]
data_dir = "{data}"
{wal}endpoint = "{client}"
environment_file = "{environment}"

[store]
backend = "s3"

[store.s3]
endpoint = "{endpoint}"
bucket = "{bucket}"
folder = "{folder}"
insecure = true
access_key_file = "{access}"
secret_key_file = "{secret}"

[bootstrap]
state_dir = "{bootstrap}"
request_file = "{request}"

{more}
"#,
            token = path("token"),
            peer = self.ports.peer_url(),
            client = self.ports.client_url(),
            state = path("state"),
            data = path("etcd"),
            environment = self.environment_file().display(),
            endpoint = self.store.endpoint.trim_start_matches("http://"),
            bucket = self.store.bucket,
            folder = self.folder,
            access = path("access-key"),
            secret = path("secret-key"),
            bootstrap = path("bootstrap"),
            request = self.request_file().display(),
        )
    }

    /// `lifeboat ARGS`, not started yet.
    pub fn command(&self, args: &[&str]) -> Lifeboat {
        Lifeboat::new(args.iter().copied()).config(&self.config()).limit(Duration::from_secs(180))
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).run()
    }

    /// The report of a command that must succeed.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.command(args).arg("--output=json").run().ok().json()
    }

    /// The snapshots that `ls` shows, oldest first.
    pub fn rows(&self, args: &[&str]) -> Vec<Value> {
        let report = self.json(&[&["ls"], args].concat());
        report["rows"].as_array().expect("rows").clone()
    }

    /// On-demand snapshot in the store; its manifest.
    #[track_caller]
    pub fn save(&self, name: &str) -> Value {
        let report = self.json(&["save", "--name", name]);
        assert_eq!(report["shipped"], true, "{report}");
        report["manifest"].clone()
    }

    /// The gate lets etcd start; its report.
    #[track_caller]
    pub fn bootstrap(&self) -> Value {
        let report = self.json(&["bootstrap", "--deadline", "90s"]);
        assert_eq!(report["outcome"], "start", "{report}");
        report
    }

    fn options(&self) -> EtcdOptions {
        EtcdOptions {
            name: Some("cp1".to_owned()),
            data_dir: Some(self.data_dir()),
            wal_dir: self.wal_dir.clone(),
            ports: Some(self.ports.clone()),
            ..EtcdOptions::new(&self.version)
        }
    }

    /// etcd as it was before anybody installed us: flags only.
    pub fn start_etcd(&self) -> EtcdProcess {
        EtcdProcess::with(self.options())
    }

    /// etcd as its unit starts it behind the gate: what the environment file says, and flags for the rest.
    pub fn start_gated(&self) -> EtcdProcess {
        EtcdProcess::with(self.gated_options())
    }

    pub fn gated_options(&self) -> EtcdOptions {
        EtcdOptions { env: self.environment(), ..self.options() }
    }

    /// What the gate wrote for etcd.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.environment_file()).expect("the environment file");
        let lines = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
        lines.map(|l| l.split_once('=').expect(l)).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    /// kill -9, and both disks are gone.
    pub fn lose(&self, mut etcd: EtcdProcess) {
        etcd.kill9();
        self.lose_disks();
    }

    pub fn lose_disks(&self) {
        fs::remove_dir_all(self.data_dir()).expect("remove the data dir");
        if let Some(wal) = &self.wal_dir {
            fs::remove_dir_all(wal).expect("remove the WAL dir");
        }
    }

    pub fn wal_dir(&self) -> Option<&Path> {
        self.wal_dir.as_deref()
    }

    /// Members that were moved aside, oldest first.
    pub fn quarantined(&self) -> Vec<PathBuf> {
        let listed = self.json(&["quarantine", "ls"]);
        listed.as_array().expect("a list").iter().map(|l| PathBuf::from(l["path"].as_str().expect("a path"))).collect()
    }
}

/// The rule that let etcd start, and those of the steps before it.
pub fn rules(report: &Value) -> Vec<String> {
    let done = report["done"].as_array().expect("steps");
    done.iter().map(|s| s.as_str().expect("a step").split(':').next().expect("a rule").to_owned()).collect()
}

/// Runs a tool of the system or of etcd; what it printed. Panics when it fails.
pub fn tool(program: &Path, args: &[&str]) -> String {
    let out = guarded(program).args(args).output().unwrap_or_else(|e| panic!("cannot run {}: {e}", program.display()));
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{} {args:?}: {stdout}{stderr}", program.display());
    stdout.into_owned()
}

/// `etcdutl` of the newest release.
pub fn etcdutl(args: &[&str]) -> String {
    tool(&tools::etcd(crate::support::ETCD_LATEST, "etcdutl"), args)
}

pub fn text(path: &Path) -> String {
    path.display().to_string()
}

pub fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("no number: {value}"))
}

pub fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
