//! A real etcd of a chosen release, in a directory and on ports of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use tempfile::TempDir;

use super::ports::Port;
use super::process::{Process, minimal_env, wait_until};
use super::tls::CertFiles;
use super::tools;

const START_LIMIT: Duration = Duration::from_secs(40);

/// How to start a member. `EtcdOptions::new(version)` is a cluster of one, without TLS.
#[derive(Debug, Clone, Default)]
pub struct EtcdOptions {
    pub version: String,
    /// Default: `m1`.
    pub name: Option<String>,
    /// Default: inside the member's own temporary directory.
    pub data_dir: Option<PathBuf>,
    pub wal_dir: Option<PathBuf>,
    /// `name=url,...`; default: this member alone. Peer URLs come from [`EtcdPorts::peer_url`].
    pub initial_cluster: Option<String>,
    /// `new` unless set.
    pub initial_cluster_state: Option<String>,
    pub initial_cluster_token: Option<String>,
    /// Ports that were reserved before, to know the peer URL in time.
    pub ports: Option<std::sync::Arc<EtcdPorts>>,
    /// Serve clients over TLS: (CA file, server certificate). Clients need a certificate of the same CA.
    pub tls: Option<(PathBuf, CertFiles)>,
    /// `user:password` for our own calls, once auth is enabled.
    pub user: Option<String>,
    /// Appended to the command line.
    pub extra_args: Vec<String>,
    /// Started instead of etcd, with these arguments alone: something that starts etcd its own way.
    pub instead: Option<(PathBuf, Vec<String>)>,
    /// Added to the environment, for instance from `lifeboat`'s environment file. What it names is left out of the command line.
    pub env: Vec<(String, String)>,
}

impl EtcdOptions {
    pub fn new(version: &str) -> EtcdOptions {
        EtcdOptions { version: version.to_owned(), ..Default::default() }
    }
}

/// A member's two ports.
#[derive(Debug)]
pub struct EtcdPorts {
    client: Port,
    peer: Port,
}

impl EtcdPorts {
    pub fn reserve() -> std::sync::Arc<EtcdPorts> {
        std::sync::Arc::new(EtcdPorts { client: Port::reserve(), peer: Port::reserve() })
    }

    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer.number())
    }

    /// Client URL of a member without TLS.
    pub fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client.number())
    }
}

/// A running member. Dropping it kills it.
pub struct EtcdProcess {
    options: EtcdOptions,
    ports: std::sync::Arc<EtcdPorts>,
    home: TempDir,
    process: Option<Process>,
}

impl EtcdProcess {
    /// Starts a cluster of one and waits until it is healthy.
    pub fn start(version: &str) -> EtcdProcess {
        EtcdProcess::with(EtcdOptions::new(version))
    }

    /// Starts and waits until it is healthy.
    pub fn with(options: EtcdOptions) -> EtcdProcess {
        let member = EtcdProcess::launch(options);
        member.wait_healthy();
        member
    }

    /// Starts without waiting: members of a larger cluster become healthy together.
    pub fn launch(options: EtcdOptions) -> EtcdProcess {
        let ports = options.ports.clone().unwrap_or_else(EtcdPorts::reserve);
        let home = tempfile::Builder::new().prefix("lifeboat-etcd-").tempdir().expect("a directory for etcd");
        let mut member = EtcdProcess { options, ports, home, process: None };
        member.run();
        member
    }

    /// Starts it again, without waiting for a quorum that may not come.
    pub fn relaunch(&mut self) {
        self.process = None;
        self.run();
    }

    /// Starts it again, on the same data dir and ports, and waits until it is healthy.
    pub fn restart(&mut self) {
        self.relaunch();
        self.wait_healthy();
    }

    /// Changes the options for the next [`EtcdProcess::restart`].
    pub fn options(&mut self) -> &mut EtcdOptions {
        &mut self.options
    }

    fn run(&mut self) {
        let (program, args) = match &self.options.instead {
            Some((program, args)) => (program.clone(), args.clone()),
            None => (tools::etcd(&self.options.version, "etcd"), self.args()),
        };
        let (env, log) = (self.options.env.clone(), self.home.path().join("etcd.log"));
        self.process = Some(Process::start(&program, &args, &env, &log));
    }

    fn args(&self) -> Vec<String> {
        let o = &self.options;
        let (name, peer) = (self.name(), self.ports.peer_url());
        let mut args = Vec::new();
        let mut flag = |name: &str, value: String| {
            // etcd refuses to start when a flag and its variable disagree, and warns when both are there.
            let variable = format!("ETCD_{}", name.to_uppercase().replace('-', "_"));
            if !o.env.iter().any(|(k, _)| *k == variable) {
                args.push(format!("--{name}={value}"));
            }
        };
        flag("name", name.clone());
        flag("data-dir", self.data_dir().display().to_string());
        if let Some(wal) = &o.wal_dir {
            flag("wal-dir", wal.display().to_string());
        }
        flag("listen-client-urls", self.endpoint());
        flag("advertise-client-urls", self.endpoint());
        flag("listen-peer-urls", peer.clone());
        flag("initial-advertise-peer-urls", peer.clone());
        flag("initial-cluster", o.initial_cluster.clone().unwrap_or_else(|| format!("{name}={peer}")));
        flag("initial-cluster-state", o.initial_cluster_state.clone().unwrap_or_else(|| "new".to_owned()));
        if let Some(token) = &o.initial_cluster_token {
            flag("initial-cluster-token", token.clone());
        }
        if let Some((ca, files)) = &o.tls {
            flag("cert-file", files.cert.display().to_string());
            flag("key-file", files.key.display().to_string());
            flag("trusted-ca-file", ca.display().to_string());
            flag("client-cert-auth", "true".to_owned());
        }
        flag("logger", "zap".to_owned());
        args.extend(o.extra_args.iter().cloned());
        args
    }

    /// Waits until a linearizable read succeeds; panics with etcd's output after a while.
    pub fn wait_healthy(&self) {
        let end = std::time::Instant::now() + START_LIMIT;
        loop {
            let (healthy, text) =
                self.etcdctl_raw(&["endpoint", "health", "--command-timeout=2s", "--dial-timeout=1s"]);
            if healthy {
                return;
            }
            let log = super::process::tail(&self.output(), 20);
            let process = self.process.as_ref().expect("it was started");
            let gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid().cast_signed()), None).is_err();
            assert!(
                !gone && std::time::Instant::now() < end,
                "etcd {} at {} is not healthy: {text}\n{log}",
                self.options.version,
                self.endpoint()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs `etcdctl` of the same release against this member; its output. Panics when it fails.
    pub fn etcdctl(&self, args: &[&str]) -> String {
        let (ok, text) = self.etcdctl_raw(args);
        assert!(ok, "etcdctl {args:?} failed: {text}");
        text
    }

    fn etcdctl_raw(&self, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(tools::etcd(&self.options.version, "etcdctl"));
        command.env_clear().envs(minimal_env()).env("ETCDCTL_API", "3").stdin(Stdio::null());
        command.arg(format!("--endpoints={}", self.endpoint()));
        if let Some((ca, files)) = &self.options.tls {
            command.arg("--cacert").arg(ca).arg("--cert").arg(&files.cert).arg("--key").arg(&files.key);
        }
        if let Some(user) = &self.options.user {
            command.arg(format!("--user={user}"));
        }
        let out = command.args(args).output().expect("run etcdctl");
        let text = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// A client for this member, with the decode limit raised for large ranges.
    pub async fn client(&self) -> Client {
        let mut options = ConnectOptions::new().with_connect_timeout(Duration::from_secs(5));
        if let Some((ca, files)) = &self.options.tls {
            let read = |path: &Path| fs::read(path).expect("a certificate file");
            let tls = TlsOptions::new()
                .ca_certificate(Certificate::from_pem(read(ca)))
                .identity(Identity::from_pem(read(&files.cert), read(&files.key)));
            options = options.with_tls(tls);
        }
        if let Some((user, password)) = self.options.user.as_deref().and_then(|u| u.split_once(':')) {
            options = options.with_user(user, password);
        }
        Client::connect([self.endpoint()], Some(options)).await.expect("a client for etcd")
    }

    /// Client URL.
    pub fn endpoint(&self) -> String {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports.client.number())
    }

    pub fn peer_url(&self) -> String {
        self.ports.peer_url()
    }

    pub fn name(&self) -> String {
        self.options.name.clone().unwrap_or_else(|| "m1".to_owned())
    }

    pub fn version(&self) -> &str {
        &self.options.version
    }

    pub fn data_dir(&self) -> PathBuf {
        self.options.data_dir.clone().unwrap_or_else(|| self.home.path().join("data"))
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.home.path().join("etcd.log")).unwrap_or_default()
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Removes the data dir: the disk is lost. Stop or kill it first.
    pub fn lose_data(&mut self) {
        assert!(self.process.is_none(), "etcd still runs on {}", self.data_dir().display());
        fs::remove_dir_all(self.data_dir()).expect("remove the data dir");
    }

    /// Sends a signal, for instance SIGSTOP.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        self.process.as_ref().expect("etcd runs").signal(signal);
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Waits until the process has ended by itself.
    pub fn wait_ended(&mut self) {
        wait_until("the end of etcd", Duration::from_secs(30), || !self.is_running());
    }
}
