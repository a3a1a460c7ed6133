//! A cluster of several real etcd members, each with a configuration of lifeboat of its own, over one store.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::s3::S3Server;
use super::{EtcdOptions, EtcdPorts, EtcdProcess, Lifeboat, Running};

/// Where snapshots go.
pub enum Store {
    /// A directory that all hosts share.
    Dir(PathBuf),
    /// An S3 server of this test.
    S3 { endpoint: String, bucket: String, access_key: String, secret_key: String },
}

impl Store {
    pub fn s3(server: &S3Server) -> Store {
        Store::S3 {
            endpoint: server.endpoint(),
            bucket: server.bucket().to_owned(),
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
        }
    }
}

/// The hosts `cp1`, `cp2`, ... Their disks are in one temporary directory.
pub struct Cluster {
    pub dir: TempDir,
    pub version: String,
    pub ports: Vec<Arc<EtcdPorts>>,
    /// Members that run; `None` for hosts that are down or were never up.
    pub members: Vec<Option<EtcdProcess>>,
    store: Store,
    /// `user:password`, once auth is on.
    user: Option<String>,
}

impl Cluster {
    /// `hosts` configured hosts, none of them up.
    pub fn new(version: &str, hosts: usize, store: Option<Store>) -> Cluster {
        let dir = tempfile::Builder::new().prefix("lifeboat-cluster-").tempdir().expect("a directory for a cluster");
        let store = store.unwrap_or_else(|| {
            let path = dir.path().join("store");
            fs::create_dir(&path).expect("the store");
            private(&path, 0o700);
            Store::Dir(path)
        });
        let cluster = Cluster {
            version: version.to_owned(),
            ports: (0..hosts).map(|_| EtcdPorts::reserve()).collect(),
            members: (0..hosts).map(|_| None).collect(),
            store,
            user: None,
            dir,
        };
        let write = |name: &str, text: &str| {
            fs::write(cluster.path(name), text).expect("a secret");
            private(&cluster.path(name), 0o600);
        };
        write("token", "0123456789abcdef0123456789abcdef");
        if let Store::S3 { access_key, secret_key, .. } = &cluster.store {
            write("access-key", access_key);
            write("secret-key", secret_key);
        }
        for host in 0..hosts {
            fs::create_dir(cluster.path(&Cluster::name(host))).expect("a host");
            cluster.configure(host, "");
        }
        cluster
    }

    /// All of them up, as a cluster that nobody's gate has formed.
    pub fn up(version: &str, hosts: usize, store: Option<Store>) -> Cluster {
        let mut cluster = Cluster::new(version, hosts, store);
        let all: Vec<usize> = (0..hosts).collect();
        cluster.form(&all);
        cluster
    }

    pub fn name(host: usize) -> String {
        format!("cp{}", host + 1)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of one host.
    pub fn of(&self, host: usize, name: &str) -> PathBuf {
        self.path(&Cluster::name(host)).join(name)
    }

    fn member_options(&self, host: usize, initial: &[usize], state: &str) -> EtcdOptions {
        let one = |h: &usize| format!("{}={}", Cluster::name(*h), self.ports[*h].peer_url());
        EtcdOptions {
            name: Some(Cluster::name(host)),
            data_dir: Some(self.of(host, "etcd")),
            ports: Some(self.ports[host].clone()),
            initial_cluster: Some(initial.iter().map(one).collect::<Vec<_>>().join(",")),
            initial_cluster_state: Some(state.to_owned()),
            user: self.user.clone(),
            // Elections within tests, not within minutes.
            extra_args: vec!["--heartbeat-interval=50".into(), "--election-timeout=500".into()],
            ..EtcdOptions::new(&self.version)
        }
    }

    /// Forms a cluster of these hosts by etcd's own means.
    pub fn form(&mut self, hosts: &[usize]) {
        for host in hosts {
            self.members[*host] = Some(EtcdProcess::launch(self.member_options(*host, hosts, "new")));
        }
        for host in hosts {
            self.member(*host).wait_healthy();
        }
    }

    /// Starts a host that was added to the cluster of `others`, without waiting.
    pub fn launch_added(&mut self, host: usize, others: &[usize]) {
        let all = [others, &[host]].concat();
        self.members[host] = Some(EtcdProcess::launch(self.member_options(host, &all, "existing")));
    }

    pub fn member(&self, host: usize) -> &EtcdProcess {
        self.members[host].as_ref().expect("the member is up")
    }

    /// kill -9; its disk stays.
    pub fn kill(&mut self, host: usize) {
        if let Some(member) = &mut self.members[host] {
            member.kill9();
        }
    }

    /// Starts it again on its data.
    pub fn restart(&mut self, host: usize) {
        self.members[host].as_mut().expect("it was up before").restart();
    }

    /// The same without a quorum: it answers on its peer port alone. Returns when that is open.
    pub fn relaunch_alone(&mut self, host: usize) {
        self.members[host].as_mut().expect("it was up before").relaunch();
        let url = self.ports[host].peer_url();
        let at = url.trim_start_matches("http://").to_owned();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while std::net::TcpStream::connect(&at).is_err() {
            assert!(std::time::Instant::now() < end, "{url} stays closed");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    pub fn peer_url(&self, host: usize) -> String {
        self.ports[host].peer_url()
    }

    pub fn etcdctl(&self, host: usize, args: &[&str]) -> String {
        self.member(host).etcdctl(args)
    }

    /// Our own calls carry this user from now on, and so do configurations that are written from now on.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.user = Some(format!("{user}:{password}"));
        for member in self.members.iter_mut().flatten() {
            member.options().user = self.user.clone();
        }
    }

    /// The configuration file of a host, with further lines.
    pub fn config(&self, host: usize) -> PathBuf {
        self.of(host, "lifeboat.toml")
    }

    /// Writes the configuration of a host. `more` begins with keys of `[bootstrap]`.
    pub fn configure(&self, host: usize, more: &str) {
        let member = |h: usize| {
            format!(
                "{{ name = \"{}\", peer_urls = [\"{}\"], client_urls = [\"{}\"] }}",
                Cluster::name(h),
                self.ports[h].peer_url(),
                self.ports[h].client_url()
            )
        };
        let members: Vec<String> = (0..self.ports.len()).map(member).collect();
        let login = self.user.as_deref().and_then(|u| u.split_once(':')).map(|(user, password)| {
            let file = self.path("etcd-password");
            fs::write(&file, password).expect("a password");
            private(&file, 0o600);
            format!("username = \"{user}\"\npassword_file = \"{}\"\n", file.display())
        });
        let store = match &self.store {
            Store::Dir(path) => format!("[store]\nbackend = \"dir\"\ndir.path = \"{}\"\n", path.display()),
            Store::S3 { endpoint, bucket, .. } => format!(
                "[store]\nbackend = \"s3\"\n[store.s3]\nendpoint = \"{}\"\nbucket = \"{bucket}\"\nfolder = \"alive\"\ninsecure = true\n\
                 access_key_file = \"{}\"\nsecret_key_file = \"{}\"\n",
                endpoint.trim_start_matches("http://"),
                self.path("access-key").display(),
                self.path("secret-key").display()
            ),
        };
        let text = format!(
            "[cluster]\nname = \"alive\"\ntoken_file = \"{token}\"\nmembers = [{members}]\n\n\
             [node]\nname = \"{name}\"\nstate_dir = \"{state}\"\n\n\
             [etcd]\ndata_dir = \"{data}\"\nendpoint = \"{endpoint}\"\nenvironment_file = \"{environment}\"\n{login}\n{store}\n\
             [bootstrap]\nstate_dir = \"{bootstrap}\"\nrequest_file = \"{request}\"\n{more}\n",
            token = self.path("token").display(),
            members = members.join(", "),
            name = Cluster::name(host),
            state = self.of(host, "state").display(),
            data = self.of(host, "etcd").display(),
            endpoint = self.ports[host].client_url(),
            environment = self.of(host, "bootstrap/etcd.env").display(),
            login = login.unwrap_or_default(),
            bootstrap = self.of(host, "bootstrap").display(),
            request = self.of(host, "restore-once").display(),
        );
        fs::write(self.config(host), text).expect("the configuration");
    }

    /// `lifeboat ARGS` on a host, not started yet.
    pub fn lifeboat(&self, host: usize, args: &[&str]) -> Lifeboat {
        Lifeboat::new(args.iter().copied()).config(&self.config(host)).limit(Duration::from_secs(120))
    }

    /// The report of a command that must succeed.
    #[track_caller]
    pub fn json(&self, host: usize, args: &[&str]) -> serde_json::Value {
        self.lifeboat(host, args).arg("--output=json").run().ok().json()
    }

    /// The agent of a host.
    pub fn agent(&self, host: usize) -> Running {
        self.lifeboat(host, &["agent"]).spawn()
    }

    /// The body of a record of ours in a directory store, unchecked; `None` when there is none.
    pub fn record(&self, key: &str) -> Option<serde_json::Value> {
        let Store::Dir(path) = &self.store else { panic!("only for a directory") };
        let text = fs::read(path.join(key)).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        Some(record["body"].clone())
    }
}

fn private(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}
