//! The only place that names backends: from settings to the ports that commands use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bootstrap::{self, Endpoint, MemoryFile, PeerPort, RequestSources};
use crate::catalog::records::Records;
use crate::catalog::snapshots::Snapshots;
use crate::config::{self, Loaded, Settings, SnapshotChoice};
use crate::core::decide::Policy;
use crate::core::model::NodeName;
use crate::core::plan::Voter;
use crate::crypto::{Keyring, Token};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::etcd::{EndpointOptions, EtcdEndpoint, PeerEndpoint};
use crate::ports::{Clock, Etcd, ObjectStore, Peer};
use crate::snapshot::effort::Effort;
use crate::snapshot::spool::{DEFAULT_KEEP, DEFAULT_RESERVE, Spool};
use crate::store::dir::DirStore;
use crate::store::s3::{CredentialSource, Limits, S3Options, S3Store};
use crate::store::unusable::Unusable;
use crate::sys::background;
use crate::sys::clock::SystemClock;
use crate::telemetry;
use secrecy::{ExposeSecret, SecretString};

/// The configuration and what is made from it.
pub struct Wire {
    /// The configuration with its origins.
    pub loaded: Loaded,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// The file that was named, for loading it again.
    pub path: Option<PathBuf>,
    /// How long the store is tried. The commands of people are less patient than the agent.
    pub limits: Limits,
}

/// A younger heartbeat means that a cluster of this store is alive.
const HEARTBEAT_TTL_SECONDS: u64 = 90;

impl Wire {
    /// Loads the configuration.
    ///
    /// # Errors
    /// Kind `Config`.
    pub fn new(path: Option<&Path>) -> Result<Self> {
        let loaded = config::load(path, std::env::vars_os().filter_map(utf8))?;
        Ok(Wire {
            loaded,
            clock: Arc::new(SystemClock::new()),
            path: path.map(Path::to_path_buf),
            // The shipping and the gate try again by themselves, with a longer backoff, and say why at each of their own tries.
            limits: Limits {
                retry_for: std::time::Duration::from_secs(30),
                tell: Some(|text| tracing::warn!("{text}")),
                warn: Some(|text| tracing::warn!("{text}")),
                ..Limits::default()
            },
        })
    }

    /// As [`Wire::new`], for a command whose answer a person waits for: a store that cannot be reached fails it soon.
    ///
    /// # Errors
    /// Kind `Config`.
    pub fn by_hand(path: Option<&Path>) -> Result<Self> {
        Ok(Wire { limits: Limits::by_hand(super::render::note, super::render::warn), ..Wire::new(path)? })
    }

    /// What is in force.
    pub fn settings(&self) -> &Settings {
        &self.loaded.settings
    }

    /// What a snapshot may use on this host. Its threads give way to others from now on.
    pub fn effort(&self) -> Effort {
        background::choose(match self.settings().node.scheduling {
            config::Scheduling::Idle => background::Scheduling::Idle,
            config::Scheduling::Batch => background::Scheduling::Batch,
            config::Scheduling::Normal => background::Scheduling::Normal,
        });
        Effort::new(self.settings().node.compression_threads, self.settings().etcd.rate_limit)
    }

    /// The configured store. No request is sent yet.
    ///
    /// # Errors
    /// When a secret cannot be read, or the configuration of the store is wrong.
    pub fn store(&self) -> Result<Arc<dyn ObjectStore>> {
        self.store_within(self.limits.clone())
    }

    /// For the gate's looks around: it looks again by itself, and a cause that is hidden behind retries is told to nobody.
    fn quick_limits(&self) -> Limits {
        use std::time::Duration;
        let quick = Duration::from_secs(10);
        Limits {
            connect: self.limits.connect.min(Duration::from_secs(5)),
            idle: Duration::from_secs(20),
            answer: Duration::from_secs(20),
            attempts: 3,
            retry_for: self.limits.retry_for.min(quick),
            backoff_cap: Duration::from_secs(1),
            tell: self.limits.tell,
            warn: self.limits.warn,
            ..Limits::default()
        }
    }

    fn store_within(&self, limits: Limits) -> Result<Arc<dyn ObjectStore>> {
        match &self.settings().store {
            config::Store::Dir { path } => Ok(Arc::new(DirStore::open(path, self.clock.clone())?)),
            config::Store::S3(s3) => {
                let credentials = match &s3.credentials {
                    None => CredentialSource::Chain,
                    Some(c) => CredentialSource::Static {
                        access_key: c.access_key.read()?.expose_secret().to_owned(),
                        secret_key: c.secret_key.read()?,
                        session_token: c.session_token.as_ref().map(config::SecretSource::read).transpose()?,
                    },
                };
                let options = S3Options {
                    endpoint: s3.endpoint.to_string(),
                    bucket: s3.bucket.clone(),
                    folder: s3.folder.clone(),
                    region: Some(s3.region.clone()),
                    insecure: s3.endpoint.scheme() == "http",
                    path_style: Some(s3.path_style),
                    ca_file: s3.ca_file.clone(),
                    credentials,
                    limits: Limits { rate: s3.rate_limit, ..limits },
                };
                Ok(Arc::new(S3Store::connect(options, self.clock.clone())?))
            }
        }
    }

    /// The signed records in the store.
    ///
    /// # Errors
    /// As [`Wire::store`], or when the token cannot be read.
    pub fn records(&self) -> Result<Records> {
        self.records_over(self.store()?)
    }

    fn records_over(&self, store: Arc<dyn ObjectStore>) -> Result<Records> {
        let cluster = &self.settings().cluster;
        let token = Token::new(&cluster.token()?).or_fail(Kind::Config, || "cluster.token_file")?;
        Ok(Records::new(store, Arc::new(Keyring::new(token)), cluster.name.clone()))
    }

    /// The snapshots in the store.
    ///
    /// # Errors
    /// As [`Wire::records`].
    pub fn snapshots(&self) -> Result<Snapshots> {
        self.records().map(Snapshots::new)
    }

    /// For a gate that never fails. What cannot be made of the configuration makes the store unknown, as one that does not answer is: a host with
    /// healthy data needs neither store nor token.
    fn snapshots_or_why(&self, limits: Limits) -> Result<Snapshots> {
        let why = match self.store_within(limits).and_then(|store| self.records_over(store)) {
            Ok(records) => return Ok(Snapshots::new(records)),
            Err(e) => e,
        };
        // Nothing is ever signed with it or checked against it: there is no store.
        let nobody = Token::new(&crate::sys::random::nonce()?.to_string().into())
            .or_fail(Kind::Internal, || "a random token is refused")?;
        let name = self.settings().cluster.name.clone();
        Ok(Snapshots::new(Records::new(Arc::new(Unusable::new(&why)), Arc::new(Keyring::new(nobody)), name)))
    }

    fn endpoint(&self, url: &url::Url) -> Result<EtcdEndpoint> {
        let login = match &self.settings().etcd.login {
            Some(login) => Some((login.username.clone(), login.password.read()?)),
            None => None,
        };
        Ok(self.endpoint_as(url, login))
    }

    fn endpoint_as(&self, url: &url::Url, login: Option<(String, SecretString)>) -> EtcdEndpoint {
        EtcdEndpoint::new(EndpointOptions { login, ..self.reach(url) })
    }

    /// With the certificates of `[etcd]`, which peers know, too, as long as one CA signs both.
    fn reach(&self, url: &url::Url) -> EndpointOptions {
        Wire::reach_with(self.settings(), url)
    }

    fn reach_with(settings: &Settings, url: &url::Url) -> EndpointOptions {
        let etcd = &settings.etcd;
        EndpointOptions {
            url: url.as_str().trim_end_matches('/').to_owned(),
            ca_file: etcd.ca_file.clone(),
            cert_and_key: etcd.client_certificate.as_ref().map(|c| (c.cert_file.clone(), c.key_file.clone())),
            ..EndpointOptions::default()
        }
    }

    /// For URLs that records of the store name.
    pub fn reach_recorded(&self) -> bootstrap::Reach {
        let options = |s: &config::Settings, url: &str| {
            let mut reached = Wire::reach_with(s, &url::Url::parse(url).ok()?);
            reached.login = s.etcd.login.as_ref().and_then(|l| Some((l.username.clone(), l.password.read().ok()?)));
            Some(reached)
        };
        let (for_peers, for_clients) = (self.settings().clone(), self.settings().clone());
        bootstrap::Reach {
            peer: Arc::new(move |url| {
                Some(Arc::new(PeerEndpoint::new(options(&for_peers, url)?)) as Arc<dyn crate::ports::Peer>)
            }),
            client: Arc::new(move |url| Some(Arc::new(EtcdEndpoint::new(options(&for_clients, url)?)) as Endpoint)),
        }
    }

    /// The peer ports of the other hosts.
    fn peer_ports(&self) -> Vec<PeerPort> {
        self.peer_ports_of(|name| *name != self.settings().node.name)
    }

    /// The peer ports of all configured members. A member without quorum answers there alone.
    pub fn all_peer_ports(&self) -> Vec<Arc<dyn Peer>> {
        self.peer_ports_of(|_| true).into_iter().map(|p| p.port).collect()
    }

    fn peer_ports_of(&self, wanted: impl Fn(&NodeName) -> bool) -> Vec<PeerPort> {
        let s = self.settings();
        let text = |url: &url::Url| url.as_str().trim_end_matches('/').to_owned();
        let port = |m: &config::ConfiguredMember, url: &url::Url| PeerPort {
            port: Arc::new(PeerEndpoint::new(self.reach(url))),
            client_urls: m.client_urls.iter().map(text).collect(),
        };
        let members = s.cluster.members.iter().filter(|m| wanted(&m.name));
        members.flat_map(|m| m.peer_urls.iter().map(move |url| port(m, url))).collect()
    }

    /// The local spool.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn spool(&self) -> Result<Spool> {
        Spool::open(&self.settings().node.spool_dir(), DEFAULT_KEEP, DEFAULT_RESERVE)
    }

    /// The member on this host.
    ///
    /// # Errors
    /// When a secret cannot be read.
    pub fn etcd(&self) -> Result<Arc<dyn Etcd>> {
        Ok(self.local_member()?)
    }

    /// The same with everything that it can do.
    ///
    /// # Errors
    /// As [`Wire::etcd`].
    pub fn local_member(&self) -> Result<Arc<EtcdEndpoint>> {
        Ok(Arc::new(self.endpoint(&self.settings().etcd.endpoint)?))
    }

    /// The client endpoints of all configured members, this host's own first.
    ///
    /// # Errors
    /// When a secret cannot be read.
    pub fn client_endpoints(&self) -> Result<Vec<Arc<dyn Etcd>>> {
        let mut all = vec![self.etcd()?];
        for member in self.settings().cluster.members.iter().filter(|m| m.name != self.settings().node.name) {
            for url in &member.client_urls {
                all.push(Arc::new(self.endpoint(url)?));
            }
        }
        Ok(all)
    }

    /// Where one-shot restores are asked for.
    pub fn requests(&self) -> RequestSources {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        RequestSources::of_this_host(&self.settings().bootstrap.request_file, credentials)
    }

    /// The gate of this host. `never_fails`: what cannot be read is unknown to it instead.
    ///
    /// # Errors
    /// As [`Wire::records`].
    pub fn bootstrap(
        &self,
        init_empty: bool,
        never_fails: bool,
        voice: Arc<bootstrap::Voice>,
        progress: Box<dyn Fn(u64, u64) + Send + Sync>,
    ) -> Result<bootstrap::Bootstrap> {
        let settings = self.bootstrap_settings(init_empty)?;
        let mut urls: Vec<url::Url> = vec![self.settings().etcd.endpoint.clone()];
        for member in &self.settings().cluster.members {
            // This host's own member answers at the endpoint above.
            if member.name != self.settings().node.name {
                urls.extend(member.client_urls.iter().cloned());
            }
        }
        let endpoint = |url| match self.endpoint(url) {
            // It then answers that we may not, which is a fact like others.
            Err(e) if never_fails => {
                tracing::warn!("etcd is asked without a password: {}", e.one_line());
                Ok(self.endpoint_as(url, None))
            }
            made => made,
        };
        let endpoints: Result<Vec<Endpoint>> =
            urls.iter().map(|url| Ok(Arc::new(endpoint(url)?) as Endpoint)).collect();
        let (snapshots, quick) = if never_fails {
            (self.snapshots_or_why(self.limits.clone())?, self.snapshots_or_why(self.quick_limits())?)
        } else {
            (self.snapshots()?, Snapshots::new(self.records_over(self.store_within(self.quick_limits())?)?))
        };
        let configured = self.settings().clone();
        let start: bootstrap::StartSource = Arc::new(move || {
            let configured = configured.clone();
            Box::pin(async move { crate::setup::start_flags(&configured).await })
        });
        Ok(bootstrap::Bootstrap {
            start,
            reach: self.reach_recorded(),
            memory: MemoryFile::new(&settings.state_dir),
            requests: self.requests(),
            settings,
            snapshots,
            quick,
            endpoints: endpoints?,
            peers: self.peer_ports(),
            clock: self.clock.clone(),
            voice,
            progress,
        })
    }

    /// The configured members, as plans name them.
    pub fn voters(&self) -> Vec<Voter> {
        let text = |url: &url::Url| url.as_str().trim_end_matches('/').to_owned();
        let voter = |m: &config::ConfiguredMember| Voter {
            name: m.name.clone(),
            peer_urls: m.peer_urls.iter().map(text).collect(),
        };
        self.settings().cluster.members.iter().map(voter).collect()
    }

    /// What the gate takes from the configuration.
    ///
    /// # Errors
    /// When this node is not among the members.
    pub fn bootstrap_settings(&self, init_empty: bool) -> Result<bootstrap::Settings> {
        let s = self.settings();
        let members = self.voters();
        if !members.iter().any(|m| m.name == s.node.name) {
            return Err(Error::new(
                Kind::Config,
                format!("node.name is {}, which is not among cluster.members", s.node.name),
            )
            .hint("set node.name to this host's name in cluster.members"));
        }
        let policy = Policy {
            node: s.node.name.clone(),
            members,
            managed_by: s.etcd.managed_by,
            data_dir: s.etcd.data_dir.display().to_string(),
            wal_dir: s.etcd.wal_dir.as_ref().map(|d| d.display().to_string()),
            autorestore: s.bootstrap.autorestore,
            pinned: match &s.bootstrap.snapshot {
                SnapshotChoice::Latest => None,
                SnapshotChoice::Named(name) => Some(name.clone()),
            },
            existing_only: s.bootstrap.initial_cluster_state == config::InitialClusterState::Existing,
            init_empty,
            peer_wait_seconds: s.bootstrap.peer_wait.as_secs(),
            expected_members: s.cluster.expected_members,
            lost_after_seconds: s.bootstrap.lost_after.as_secs(),
            heartbeat_ttl_seconds: HEARTBEAT_TTL_SECONDS,
            seed: s.bootstrap.seed.clone(),
            replace_damaged: s.bootstrap.replace_damaged,
            fallback: s.bootstrap.fallback,
        };
        Ok(bootstrap::Settings {
            cluster: s.cluster.name.clone(),
            policy,
            data_dir: s.etcd.data_dir.clone(),
            wal_dir: s.etcd.wal_dir.clone(),
            etcd_user: s.etcd.user.clone(),
            state_dir: s.bootstrap.state_dir.clone(),
            request_file: s.bootstrap.request_file.clone(),
            reset_program: s.etcd.reset_program.clone(),
            environment_file: Some(s.etcd.environment_file.clone()),
            bump_revision: Some(s.bootstrap.bump_revision).filter(|n| *n > 0),
        })
    }
}

/// Starts logging as the configuration says.
///
/// # Errors
/// When logging was started before.
pub(super) fn start_logging(wire: &Wire) -> Result<()> {
    use config::{LogFormat, LogLevel};
    let log = wire.settings().log;
    let level = match log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let format = match log.format {
        LogFormat::Auto => telemetry::Format::Auto,
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::init(level, format)
}

pub(super) fn utf8((key, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((key.into_string().ok()?, value.into_string().ok()?))
}
