//! Compares the keys of a merged configuration with each other and makes [`Settings`] of them.
//!
//! It exists so that every contradiction is found before anything starts, all of them at once, each with the place
//! of the key that is to be changed. It may not open files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use url::Url;

use crate::core::model::{ClusterName, NodeName, SnapshotName};
use crate::core::schedule::Schedule;

use super::ConfiguredFile;
use super::merged::{self, Merged};
use super::problem::Problem;
use super::schema;
use super::secret::SecretSource;
use super::settings::*;

/// What the checks need besides the values.
pub(super) struct Context<'a> {
    /// Where each key was set.
    pub(super) origin: &'a dyn Fn(&str) -> String,
    /// The host name, for the default of `node.name`.
    pub(super) hostname: &'a str,
    /// systemd's credentials directory.
    pub(super) credentials: Option<&'a Path>,
}

/// Gaps between slots that are compared with the jitter.
const SLOTS_COMPARED: usize = 100;

/// A live cluster renews its heartbeat within this time.
const SHORTEST_LOST_AFTER: u64 = 90;

struct Checker<'a> {
    context: Context<'a>,
    problems: Vec<Problem>,
}

/// The settings, or every problem that stands in their way.
pub(super) fn settings(merged: Merged, context: Context<'_>) -> Result<Settings, Vec<Problem>> {
    let mut c = Checker { context, problems: Vec::new() };
    let made = c.all(merged);
    match made {
        Some(settings) if c.problems.is_empty() => Ok(settings),
        _ => Err(c.problems),
    }
}

fn path(text: String) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

impl Checker<'_> {
    fn problem(&mut self, key: &str, text: impl std::fmt::Display) {
        let at = (self.context.origin)(key);
        self.problems.push(Problem::new(at, format!("{key}: {text}")));
    }

    fn hinted(&mut self, key: &str, text: impl std::fmt::Display, hint: impl Into<String>) {
        let at = (self.context.origin)(key);
        self.problems.push(Problem::new(at, format!("{key}: {text}")).hint(hint));
    }

    fn ok<T, E: std::fmt::Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|e| self.problem(key, e)).ok()
    }

    fn all(&mut self, m: Merged) -> Option<Settings> {
        let cluster = self.cluster(m.cluster);
        let node = self.node(m.node, cluster.as_ref());
        let etcd = self.etcd(m.etcd);
        let name = cluster.as_ref().map(|c| c.name.as_str()).unwrap_or_default().to_owned();
        let store = self.store(m.store, &name);
        let schedules = m.schedule.into_iter().filter_map(|s| self.schedule(s)).collect();
        let bootstrap = self.bootstrap(m.bootstrap, cluster.as_ref());
        let log = Log { level: m.log.level, format: m.log.format };
        Some(Settings {
            cluster: cluster?,
            node: node?,
            etcd: etcd?,
            store: store?,
            schedules,
            bootstrap: bootstrap?,
            log,
        })
    }

    fn cluster(&mut self, c: merged::Cluster) -> Option<Cluster> {
        let mut members: Vec<ConfiguredMember> = Vec::new();
        let mut urls: HashMap<Url, (String, &str)> = HashMap::new();
        for (n, member) in c.members.into_iter().enumerate() {
            let key = format!("cluster.members[{n}]");
            let name = self.ok(&key, NodeName::new(&member.name))?;
            if members.iter().any(|m| m.name == name) {
                self.problem(&key, format!("a second member named {:?}", name.as_str()));
            }
            let mut parsed = [Vec::new(), Vec::new()];
            let fields = [("peer_urls", member.peer_urls), ("client_urls", member.client_urls)];
            for (list, (field, texts)) in parsed.iter_mut().zip(fields) {
                for text in texts {
                    let url = self.ok(&key, schema::parse_etcd_url(&text))?;
                    if let Some((other, as_what)) = urls.insert(url.clone(), (name.to_string(), field)) {
                        self.problem(&key, format!("{text} in {field} of {name} is also in {as_what} of {other}"));
                    }
                    list.push(url);
                }
            }
            let [peer_urls, client_urls] = parsed;
            members.push(ConfiguredMember { name, peer_urls, client_urls });
        }
        if members.is_empty() {
            self.hinted(
                "cluster.members",
                "it is not set: which hosts form the control plane?",
                "members = [ { name = \"cp1\", peer_urls = [\"https://10.0.0.1:2380\"], client_urls = [\"https://10.0.0.1:2379\"] } ] in [cluster]",
            );
        }
        let token_file = self.secret_file("cluster.token_file", &c.token_file);
        let Some(name) = c.name else {
            self.hinted(
                "cluster.name",
                "it is not set",
                "name = \"prod-eu1\" in [cluster]; it never changes afterwards",
            );
            return None;
        };
        let name = self.ok("cluster.name", ClusterName::new(&name))?;
        let expected_members = Some(c.expected_members).filter(|n| *n > 0);
        if expected_members.is_some() && members.len() > 1 {
            self.hinted(
                "cluster.expected_members",
                format!("cluster.members has {} hosts; here it may hold this host alone", members.len()),
                "leave only this host's own entry in cluster.members (the roll call tells the others), or remove expected_members",
            );
        }
        Some(Cluster { name, token_file: token_file?, members, expected_members })
    }

    fn node(&mut self, n: merged::Node, cluster: Option<&Cluster>) -> Option<Node> {
        let from_host = n.name.is_empty();
        let text = if from_host { self.context.hostname } else { &n.name };
        let parsed = NodeName::new(text);
        let name = self.ok("node.name", parsed)?;
        let known: Vec<&str> = cluster.iter().flat_map(|c| &c.members).map(|m| m.name.as_str()).collect();
        if !known.is_empty() && !known.contains(&name.as_str()) {
            let what = if from_host { "the name of this host is" } else { "it is" };
            let list = schema::quoted_list(&known);
            self.hinted(
                "node.name",
                format!("{what} {:?}, but cluster.members has {list}", name.as_str()),
                "set node.name in [node] to this host's entry of cluster.members, or add the entry",
            );
        }
        Some(Node { name, state_dir: PathBuf::from(n.state_dir) })
    }

    fn etcd(&mut self, e: merged::Etcd) -> Option<Etcd> {
        let endpoint = self.ok("etcd.endpoint", schema::parse_etcd_url(&e.endpoint))?;
        let cert = self.file("etcd.cert_file", e.cert_file);
        let key = self.file("etcd.key_file", e.key_file);
        let ca = self.file("etcd.ca_file", e.ca_file);
        let unit = self.unit(e.unit, e.managed_by);
        if endpoint.scheme() == "http" && (cert.is_some() || ca.is_some()) {
            let used = if ca.is_some() { "etcd.ca_file" } else { "etcd.cert_file" };
            self.hinted(
                "etcd.endpoint",
                format!("{endpoint} is plain http, but {used} is set"),
                "write https:// in etcd.endpoint, or remove the certificates",
            );
        }
        if endpoint.scheme() == "https" && ca.is_none() {
            self.hinted(
                "etcd.endpoint",
                format!("{endpoint} is https, but etcd.ca_file is not set"),
                "set etcd.ca_file (kubeadm: /etc/kubernetes/pki/etcd/ca.crt); for a public CA: /etc/ssl/certs/ca-certificates.crt",
            );
        }
        let client_certificate = match (cert, key) {
            (Some(cert_file), Some(key_file)) => Some(ClientCertificate { cert_file, key_file }),
            (None, None) => None,
            (Some(_), None) => {
                self.hinted("etcd.cert_file", "etcd.key_file is not set", "set both or neither");
                None
            }
            (None, Some(_)) => {
                self.hinted("etcd.key_file", "etcd.cert_file is not set", "set both or neither");
                None
            }
        };
        let login = match (e.username.is_empty(), e.password_file.is_empty()) {
            (true, true) => None,
            (false, false) => self
                .secret_file("etcd.password_file", &e.password_file)
                .map(|password| Login { username: e.username, password }),
            (false, true) => {
                self.hinted("etcd.username", "etcd.password_file is not set", "set both or neither");
                None
            }
            (true, false) => {
                self.hinted("etcd.password_file", "etcd.username is not set", "set both or neither");
                None
            }
        };
        let data_dir = PathBuf::from(e.data_dir);
        let wal_dir = path(e.wal_dir);
        if wal_dir.as_ref().is_some_and(|w| data_dir.starts_with(w) || *w == data_dir.join("member")) {
            self.problem(
                "etcd.wal_dir",
                "it may not hold the data dir, nor be its member/; leave it empty for the usual place",
            );
        }
        Some(Etcd {
            managed_by: e.managed_by,
            unit,
            program: path(e.program),
            reset_program: e.reset_program,
            data_dir,
            wal_dir,
            user: (!e.user.is_empty()).then(|| EtcdUser::new(&e.user)),
            endpoint,
            ca_file: ca,
            client_certificate,
            login,
            election_prefix: e.election_prefix,
            manifest: PathBuf::from(e.manifest),
            environment_file: PathBuf::from(e.environment_file),
        })
    }

    fn store(&mut self, s: merged::Store, cluster: &str) -> Option<Store> {
        let s3_is_meant = !s.s3.bucket.is_empty() || !s.s3.endpoint.is_empty();
        match s.backend.as_str() {
            "dir" if s3_is_meant => {
                self.hinted(
                    "store.backend",
                    "it is \"dir\", but [store.s3] is filled in",
                    "backend = \"s3\" in [store]",
                );
                None
            }
            "dir" => Some(Store::Dir { path: PathBuf::from(s.dir.path) }),
            _ => self.s3(s.s3, cluster),
        }
    }

    fn s3(&mut self, s: merged::S3, cluster: &str) -> Option<Store> {
        for (key, value) in [("store.s3.endpoint", &s.endpoint), ("store.s3.bucket", &s.bucket)] {
            if value.is_empty() {
                self.hinted(key, "store.backend = \"s3\" needs it", "set it in [store.s3]");
            }
        }
        if !s.bucket.is_empty()
            && (!s.bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) || s.bucket.len() < 3)
        {
            self.problem("store.s3.bucket", format!("{:?} is not the name of a bucket", s.bucket));
        }
        let folder = s.folder.trim_matches('/').to_owned();
        let fits = |part: &str| NodeName::new(part).is_ok() && part != "..";
        if !s.folder.is_empty() && !folder.split('/').all(fits) {
            self.problem(
                "store.s3.folder",
                format!("{:?}: use names of letters, digits, '.', '_' and '-', with '/' between", s.folder),
            );
        }
        let endpoint = self.s3_endpoint(&s);
        let credentials = self.s3_credentials(&s);
        Some(Store::S3(Box::new(S3 {
            endpoint: endpoint?,
            bucket: s.bucket,
            folder: if folder.is_empty() { cluster.to_owned() } else { folder },
            region: s.region,
            path_style: s.path_style,
            ca_file: self.file("store.s3.ca_file", s.ca_file),
            credentials,
        })))
    }

    fn s3_endpoint(&mut self, s: &merged::S3) -> Option<Url> {
        const KEY: &str = "store.s3.endpoint";
        if s.endpoint.is_empty() {
            return None;
        }
        let default_scheme = if s.insecure { "http" } else { "https" };
        let with_scheme =
            if s.endpoint.contains("://") { s.endpoint.clone() } else { format!("{default_scheme}://{}", s.endpoint) };
        let url = self.ok(KEY, schema::parse_url(&with_scheme))?;
        if url.scheme() == "http" && !s.insecure {
            self.hinted(
                KEY,
                format!("{url} sends everything in the clear"),
                "write https://, or set insecure = true in [store.s3]",
            );
        }
        if url.scheme() == "https" && s.insecure {
            self.hinted("store.s3.insecure", format!("it is true, but the endpoint is {url}"), "remove one of the two");
        }
        let of_host = url.host_str().and_then(|h| h.strip_prefix("s3.")?.strip_suffix(".amazonaws.com"));
        if let Some(region) = of_host.filter(|r| !r.contains('.') && *r != s.region) {
            self.hinted(
                "store.s3.region",
                format!("it is {:?}, but the endpoint is that of {region}", s.region),
                format!("region = {region:?} in [store.s3]"),
            );
        }
        Some(url)
    }

    fn s3_credentials(&mut self, s: &merged::S3) -> Option<S3Credentials> {
        let access = self.secret("store.s3.access_key", &s.access_key, "store.s3.access_key_file", &s.access_key_file);
        let secret = self.secret("store.s3.secret_key", &s.secret_key, "store.s3.secret_key_file", &s.secret_key_file);
        let session = self.secret(
            "store.s3.session_token",
            &s.session_token,
            "store.s3.session_token_file",
            &s.session_token_file,
        );
        match (access, secret) {
            (Some(access_key), Some(secret_key)) => {
                Some(S3Credentials { access_key, secret_key, session_token: session })
            }
            (None, None) if session.is_none() => None,
            (access, _) => {
                let (set, unset) = match access {
                    Some(_) => ("access_key", "secret_key"),
                    None => ("secret_key or session_token", "access_key"),
                };
                self.hinted(
                    &format!("store.s3.{unset}"),
                    format!("it is not set, but {set} is"),
                    format!("set {unset} or {unset}_file, or remove all of them to use an instance role"),
                );
                None
            }
        }
    }

    fn secret(&mut self, key: &str, value: &str, file_key: &'static str, file: &str) -> Option<SecretSource> {
        match (value.is_empty(), file.is_empty()) {
            (true, true) => None,
            (false, true) => Some(SecretSource::Inline(SecretString::from(value))),
            (true, false) => self.secret_file(file_key, file),
            (false, false) => {
                self.hinted(file_key, format!("{key} is set as well"), "remove one of the two");
                None
            }
        }
    }

    fn file(&self, key: &'static str, text: String) -> Option<ConfiguredFile> {
        path(text).map(|path| ConfiguredFile::new(key, path).in_credentials(self.context.credentials))
    }

    fn unit(&mut self, text: String, managed_by: ManagedBy) -> String {
        if matches!(text.as_str(), "lifeboat.service" | "lifeboat-bootstrap.service" | "lifeboat-credentials.service") {
            let usual = managed_by.unit();
            self.hinted(
                "etcd.unit",
                format!("{text} is a unit of ours"),
                format!("name the unit that starts etcd, such as {usual:?}"),
            );
        }
        if text.is_empty() { managed_by.unit().to_owned() } else { text }
    }

    fn secret_file(&mut self, key: &'static str, text: &str) -> Option<SecretSource> {
        let path = match (Path::new(text), self.context.credentials) {
            (p, _) if p.is_absolute() => p.to_owned(),
            (p, Some(dir)) if p.components().all(|c| matches!(c, std::path::Component::Normal(_))) => dir.join(p),
            _ => {
                self.hinted(
                    key,
                    format!("{text:?} is not an absolute path"),
                    "a relative one is looked up in systemd's credentials directory, which is not set here",
                );
                return None;
            }
        };
        // A bare name is the name of a credential already.
        let credentials = self.context.credentials.filter(|_| Path::new(text).is_absolute());
        Some(SecretSource::File(ConfiguredFile::new(key, path).in_credentials(credentials)))
    }

    fn schedule(&mut self, s: merged::Schedule) -> Option<ScheduleSettings> {
        let key = |field: &str| format!("schedule[{}].{field}", s.name);
        let zone = self.ok(&key("timezone"), schema::parse_zone(&s.timezone))?;
        let schedule = self.ok(&key("cron"), Schedule::parse(&s.cron, zone))?;
        let jitter = self.ok(&key("jitter"), schema::parse_period(&s.jitter))?;
        let mut at = crate::core::model::Timestamp::UNIX_EPOCH;
        for n in 0..SLOTS_COMPARED {
            let Some(next) = schedule.next_after(at) else { break };
            let gap = next.duration_since(at).unsigned_abs();
            // The first gap begins at no slot.
            if n > 0 && jitter >= gap {
                self.hinted(
                    &key("jitter"),
                    format!(
                        "{:?} is not shorter than the {}s between two runs of {:?}",
                        s.jitter,
                        gap.as_secs(),
                        s.cron
                    ),
                    "jitter = \"0s\" in this [[schedule]], or run less often",
                );
                break;
            }
            at = next;
        }
        Some(ScheduleSettings { name: s.name, schedule, run_on: s.run_on, compression: s.compression, jitter })
    }

    fn bootstrap(&mut self, b: merged::Bootstrap, cluster: Option<&Cluster>) -> Option<Bootstrap> {
        let snapshot = match b.snapshot.as_str() {
            "latest" => SnapshotChoice::Latest,
            name => SnapshotChoice::Named(self.ok("bootstrap.snapshot", SnapshotName::new(name))?),
        };
        let seed = match b.seed.as_str() {
            "" => None,
            name => Some(self.ok("bootstrap.seed", NodeName::new(name))?),
        };
        if let (Some(seed), Some(cluster)) = (&seed, cluster)
            && cluster.member(seed).is_none()
        {
            self.hinted(
                "bootstrap.seed",
                format!("{:?} is not in cluster.members", seed.as_str()),
                "name one of them, or remove it",
            );
        }
        let peer_wait = self.ok("bootstrap.peer_wait", schema::parse_period(&b.peer_wait))?;
        let lost_after = self.ok("bootstrap.lost_after", schema::parse_period(&b.lost_after))?;
        if lost_after.as_secs() < SHORTEST_LOST_AFTER {
            self.hinted(
                "bootstrap.lost_after",
                format!("{:?} is shorter than the {SHORTEST_LOST_AFTER} s for which a heartbeat counts", b.lost_after),
                "lost_after = \"10m\" in [bootstrap]",
            );
        }
        Some(Bootstrap {
            lost_after,
            autorestore: b.autorestore,
            snapshot,
            initial_cluster_state: b.initial_cluster_state,
            peer_wait,
            fallback: b.fallback,
            seed,
            replace_damaged: b.replace_damaged,
            bump_revision: b.bump_revision,
            state_dir: PathBuf::from(b.state_dir),
            request_file: PathBuf::from(b.request_file),
        })
    }
}
