//! A site: hosts with a disk, a memory and ports of their own, beside one store.
//!
//! A host does what its units do: the gate runs before each start of etcd, and an etcd that ends by itself is started again, through the gate.

mod host;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Dump, S3Options, S3Server, dump};

pub use host::Host;

pub struct Site {
    pub store: S3Server,
    pub hosts: Vec<Host>,
    dir: TempDir,
    kept: bool,
    /// Hosts know only themselves, and how many they are.
    expected: bool,
    /// Folder of the store in everybody's configuration.
    pub folder: String,
    /// The name of the cluster there, and its token.
    pub cluster: String,
    pub token: String,
    /// More lines for `[etcd]` of a host.
    pub etcd: fn(&Host) -> String,
}

/// Names of hosts in tests.
pub const NAMES: [&str; 5] = ["cp1", "cp2", "cp3", "cp4", "cp5"];

impl Site {
    /// `count` hosts, off, with nothing on their disks.
    pub async fn new(count: usize, version: &str) -> Site {
        let store = S3Server::start(S3Options::default()).await;
        let dir = tempfile::Builder::new().prefix("lifeboat-several-").tempdir().expect("a directory for a site");
        let hosts = NAMES.iter().take(count).map(|name| Host::new(dir.path(), name, version)).collect();
        let (folder, etcd): (_, fn(&Host) -> String) = ("several".to_owned(), |_| String::new());
        let (cluster, token) = ("several".to_owned(), "0123456789abcdef0123456789abcdef".to_owned());
        let site = Site { store, hosts, dir, kept: false, expected: false, folder, cluster, token, etcd };
        site.configure("");
        site
    }

    /// The same, with hosts that come and go: each knows itself, and how many they are.
    pub async fn of_expected(count: usize, version: &str) -> Site {
        let mut site = Site::new(count, version).await;
        site.expected = true;
        site.configure("");
        site
    }

    /// Other machines under other names take the place of all.
    pub fn recreate(&mut self, names: &[&str], version: &str) {
        for host in &mut self.hosts {
            host.power_cut();
        }
        self.hosts = names.iter().map(|name| Host::new(self.dir.path(), name, version)).collect();
        self.configure("");
    }

    /// Writes the configuration of every host; `more` goes into `[bootstrap]`.
    pub fn configure(&self, more: &str) {
        let member = |h: &Host| {
            format!(
                "{{ name = \"{}\", peer_urls = [\"{}\"], client_urls = [\"{}\"] }}",
                h.name,
                h.peer_url(),
                h.client_url()
            )
        };
        let all = self.hosts.iter().map(member).collect::<Vec<_>>().join(", ");
        for host in &self.hosts {
            let members = if self.expected { member(host) } else { all.clone() };
            let expected =
                if self.expected { format!("expected_members = {}", self.hosts.len()) } else { String::new() };
            for (file, secret) in
                [("token", &self.token), ("access-key", &self.store.access_key), ("secret-key", &self.store.secret_key)]
            {
                use std::os::unix::fs::PermissionsExt;
                fs::write(host.path(file), secret).unwrap();
                fs::set_permissions(host.path(file), fs::Permissions::from_mode(0o600)).unwrap();
            }
            let path = |name: &str| host.path(name).display().to_string();
            let peer_wait = if more.contains("peer_wait") { "" } else { "peer_wait = \"10s\"" };
            let text = format!(
                r#"[cluster]
name = "{cluster}"
token_file = "{token}"
members = [{members}]
{expected}

[node]
name = "{name}"
state_dir = "{state}"

[etcd]
data_dir = "{data}"
endpoint = "{client}"
environment_file = "{environment}"
{etcd}

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
{peer_wait}
{more}
"#,
                cluster = self.cluster,
                name = host.name,
                token = path("token"),
                state = path("state"),
                data = path("etcd"),
                client = host.client_url(),
                environment = path("bootstrap/etcd.env"),
                endpoint = self.store.endpoint().trim_start_matches("http://"),
                bucket = self.store.bucket(),
                folder = self.folder,
                etcd = (self.etcd)(host),
                access = path("access-key"),
                secret = path("secret-key"),
                bootstrap = path("bootstrap"),
                request = path("restore-once"),
            );
            fs::write(host.path("lifeboat.toml"), text).unwrap();
        }
    }

    pub fn boot_all(&mut self) {
        for host in &mut self.hosts {
            host.boot();
        }
    }

    pub fn tick(&mut self) {
        for host in &mut self.hosts {
            host.tick();
        }
    }

    /// Lets time pass until `done`; panics with what every host says after `limit`.
    pub async fn until(&mut self, what: &str, limit: Duration, mut done: impl FnMut(&Site) -> bool) -> Duration {
        let begun = Instant::now();
        while !done(self) {
            if begun.elapsed() > limit {
                let evidence = self.keep();
                panic!("waited {limit:?} for: {what}; evidence in {}\n{}", evidence.display(), self.said());
            }
            self.tick();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begun.elapsed()
    }

    /// Waits until one of these hosts' gates says this, prints the line for people to judge, and hands it back.
    pub async fn until_said(&mut self, who: &[usize], verdict: &str) -> String {
        let limit = Duration::from_secs(120);
        self.until(verdict, limit, |s| who.iter().any(|i| s.hosts[*i].line(verdict).is_some())).await;
        let line = who.iter().find_map(|i| self.hosts[*i].line(verdict)).expect("it was said");
        eprintln!("{line}");
        line
    }

    /// Power off everywhere, and all disks with etcd's data are gone.
    pub fn lose_all(&mut self) {
        for host in &mut self.hosts {
            host.power_cut();
            host.lose_disk();
        }
    }

    /// Lets time pass.
    pub async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.tick();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until these hosts' members answer a write; each writes a key of its own.
    pub async fn until_serving(&mut self, who: &[usize], limit: Duration) -> Duration {
        let begun = Instant::now();
        loop {
            self.tick();
            let mut serving = true;
            for host in who.iter().map(|i| &self.hosts[*i]) {
                serving = serving && host.put(&format!("serving/{}", host.name), "yes").await;
            }
            if serving {
                return begun.elapsed();
            }
            if begun.elapsed() > limit {
                let evidence = self.keep();
                panic!("waited {limit:?} for {who:?} to serve; evidence in {}\n{}", evidence.display(), self.said());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The last lines of every host.
    pub fn said(&self) -> String {
        let mut text = String::new();
        for host in &self.hosts {
            let output = host.output();
            let lines: Vec<&str> = output.lines().collect();
            let last = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n");
            text.push_str(&format!(
                "=== {} ({})\n{last}\n",
                host.name,
                if host.waits() { "gate" } else { "etcd or off" }
            ));
        }
        text
    }

    /// Keeps logs, histories and the keys of the store beside the disks; where that is.
    pub fn keep(&mut self) -> PathBuf {
        self.kept = true;
        for host in &mut self.hosts {
            host.keep_output();
            let _ = fs::write(host.path("log.txt"), &host.log);
        }
        let objects: String = self
            .store
            .objects()
            .iter()
            .filter(|o| o.key.contains("/cluster/"))
            .map(|o| {
                format!("{}\n{}\n\n", o.key, String::from_utf8_lossy(&self.store.object(&o.key).unwrap_or_default()))
            })
            .collect();
        let _ = fs::write(self.dir.path().join("cluster-objects.txt"), objects);
        let _ = fs::write(self.dir.path().join("keys.txt"), self.store.keys().join("\n"));
        self.dir.path().to_owned()
    }

    /// Numbers of the plans in the store.
    pub fn plans(&self) -> Vec<u64> {
        let number = |k: String| k.strip_prefix("several/cluster/plans/")?.strip_suffix(".json")?.parse().ok();
        let mut all: Vec<u64> = self.store.keys().into_iter().filter_map(number).collect();
        all.sort_unstable();
        all
    }

    /// A record of ours: what it says, without its signature.
    pub fn record(&self, key: &str) -> Value {
        let bytes = self.store.object(&format!("several/{key}")).unwrap_or_else(|| panic!("no {key}"));
        serde_json::from_slice::<Value>(&bytes).expect("a record")["body"].clone()
    }

    /// Whether the store has it confirmed that so many vote in the newest life: then, and no sooner, a majority of them is enough to restore.
    pub fn has_recorded_voters(&self, count: usize) -> bool {
        let Some(newest) = self.plans().last().copied() else { return false };
        let key = |number: usize| format!("several/cluster/plans/{newest}/voters/{number}.json");
        let records = (1..).take_while(|n| self.store.object(&key(*n)).is_some()).count();
        if records == 0 {
            return true;
        }
        let last = self.record(&format!("cluster/plans/{newest}/voters/{records}.json"));
        last["confirmed"] == true && last["voters"].as_array().is_some_and(|v| v.len() == count)
    }

    /// Every member holds the same keys, by their own HashKV at one revision and one compaction.
    pub async fn assert_same_hash(&self, who: &[usize]) {
        let hashes = self.hashes(who).await;
        let same = hashes.windows(2).all(|w| w[0] == w[1]);
        assert!(same && hashes.iter().all(Result::is_ok), "members differ: {hashes:?}\n{}", self.said());
    }

    /// HashKV and compacted revision of each member, at one revision; looked at again until they are the same, for a while.
    pub async fn hashes(&self, who: &[usize]) -> Vec<Result<(u32, i64), String>> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut hashes = Vec::new();
            let mut revision = 0;
            for i in who {
                let etcd = self.hosts[*i].etcd().expect("etcd runs");
                let mut client = etcd.client().await;
                if revision == 0 {
                    revision = client.get("\0", None).await.expect("a read").header().expect("a header").revision();
                }
                let h = client.maintenance_client().hash_kv(revision).await;
                hashes.push(h.map(|h| (h.hash(), h.compact_version())).map_err(|e| format!("{revision}: {e}")));
            }
            let same = hashes.windows(2).all(|w| w[0] == w[1]) && hashes.iter().all(Result::is_ok);
            if same || Instant::now() >= end {
                return hashes;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// The cluster that each member says it is of.
    pub async fn cluster_ids(&self, who: &[usize]) -> Vec<String> {
        let mut ids = Vec::new();
        for i in who {
            let mut client = self.hosts[*i].etcd().expect("etcd runs").client().await;
            let status = client.status().await.expect("a status");
            ids.push(format!("{:x}", status.header().expect("a header").cluster_id()));
        }
        ids
    }

    /// Every key, as the members hold it.
    pub async fn dump(&self, host: usize) -> Dump {
        let mut all = dump(self.hosts[host].etcd().expect("etcd runs")).await;
        all.entries.retain(|key, _| !key.starts_with(b"serving/") && !key.starts_with(b"/lifeboat/election"));
        all
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            host.power_cut();
        }
        if self.kept || std::thread::panicking() || std::env::var_os("SEVERAL_KEEP").is_some() {
            let evidence = self.keep();
            let kept =
                evidence.with_file_name(format!("kept-{}", evidence.file_name().unwrap_or_default().to_string_lossy()));
            if fs::rename(&evidence, &kept).is_ok() {
                eprintln!("evidence is kept in {}", kept.display());
            }
        }
    }
}
