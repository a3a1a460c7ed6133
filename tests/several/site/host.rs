//! One host: its disk, its ports, and what runs there.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{EtcdOptions, EtcdPorts, EtcdProcess, Lifeboat, Output, Running};

/// What runs on a host.
enum Runs {
    Nothing,
    Gate(Running),
    Etcd(Box<EtcdProcess>),
}

pub struct Host {
    pub name: String,
    dir: PathBuf,
    version: String,
    ports: Arc<EtcdPorts>,
    runs: Runs,
    agent: Option<Running>,
    /// What ended gates and etcds have printed.
    pub log: String,
    /// An etcd that ends by itself is started again.
    pub restarts: bool,
    /// The gate that runs may kill itself at a point: the host is off then.
    armed: bool,
    /// What starts etcd instead of a unit, and with what.
    pub kubelet: Option<(PathBuf, Vec<String>)>,
}

impl Host {
    pub(super) fn new(site: &std::path::Path, name: &str, version: &str) -> Host {
        let home = site.join(name);
        fs::create_dir_all(&home).expect("a directory for a host");
        Host {
            name: name.to_owned(),
            dir: home,
            version: version.to_owned(),
            ports: EtcdPorts::reserve(),
            runs: Runs::Nothing,
            agent: None,
            log: String::new(),
            restarts: true,
            armed: false,
            kubelet: None,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path("etcd")
    }

    pub fn client_url(&self) -> String {
        self.ports.client_url()
    }

    pub fn peer_url(&self) -> String {
        self.ports.peer_url()
    }

    pub fn command(&self, args: &[&str]) -> Lifeboat {
        Lifeboat::new(args.iter().copied()).config(&self.path("lifeboat.toml")).limit(Duration::from_secs(120))
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).run()
    }

    /// Power on: the gate first.
    pub fn boot(&mut self) {
        assert!(matches!(self.runs, Runs::Nothing), "{} runs", self.name);
        self.runs = Runs::Gate(self.command(&["bootstrap", "--wait", "--output=json"]).spawn());
    }

    /// The same, with a gate that kills itself when it comes to this point.
    pub fn boot_armed(&mut self, point: &str) {
        assert!(matches!(self.runs, Runs::Nothing), "{} runs", self.name);
        let gate = self.command(&["bootstrap", "--wait", "--output=json"]);
        self.runs = Runs::Gate(gate.failpoints(&format!("{point}=return(kill)")).spawn());
        self.armed = true;
    }

    /// The same, with a gate that stands still when it comes to this point for the first time, until it is told to go on.
    pub fn boot_stopping_at(&mut self, point: &str) {
        assert!(matches!(self.runs, Runs::Nothing), "{} runs", self.name);
        let gate = self.command(&["bootstrap", "--wait", "--output=json"]);
        self.runs = Runs::Gate(gate.failpoints(&format!("{point}=1*return(stop)")).spawn());
    }

    /// Whether its gate stands still.
    pub fn is_stopped(&self) -> bool {
        let Runs::Gate(gate) = &self.runs else { return false };
        let stat = fs::read_to_string(format!("/proc/{}/stat", gate.pid())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }

    pub fn is_off(&self) -> bool {
        matches!(self.runs, Runs::Nothing)
    }

    /// Somebody formed a cluster of this host alone, before there was any gate.
    pub fn form_by_hand(&mut self) {
        assert!(matches!(self.runs, Runs::Nothing), "{} runs", self.name);
        let options = EtcdOptions { env: Vec::new(), ..self.bare_options() };
        self.runs = Runs::Etcd(Box::new(EtcdProcess::with(options)));
    }

    pub fn start_agent(&mut self) {
        self.agent = Some(self.command(&["agent"]).spawn());
    }

    /// One that kills itself when it comes to this point.
    pub fn start_agent_armed(&mut self, point: &str) {
        self.agent = Some(self.command(&["agent"]).failpoints(&format!("{point}=return(kill)")).spawn());
    }

    /// kill -9 of the agent alone.
    pub fn stop_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            self.log.push_str(&format!("--- agent\n{}", agent.output()));
            agent.kill9();
        }
    }

    pub fn agent_is_gone(&mut self) -> bool {
        self.agent.as_mut().is_none_or(|agent| !agent.is_running())
    }

    /// kill -9 of everything.
    pub fn power_cut(&mut self) {
        self.keep_output();
        self.stop_agent();
        self.armed = false;
        match std::mem::replace(&mut self.runs, Runs::Nothing) {
            Runs::Nothing => {}
            Runs::Gate(mut gate) => gate.kill9(),
            Runs::Etcd(mut etcd) => etcd.kill9(),
        }
    }

    pub(super) fn keep_output(&mut self) {
        let said = match &self.runs {
            Runs::Nothing => return,
            Runs::Gate(gate) => format!("--- gate\n{}", gate.output()),
            Runs::Etcd(etcd) => format!("--- etcd\n{}", etcd.output()),
        };
        self.log.push_str(&said);
    }

    /// The disk with etcd's data is gone; the one with the root file system is not.
    pub fn lose_disk(&mut self) {
        assert!(matches!(self.runs, Runs::Nothing), "{} runs", self.name);
        let dir = self.data_dir();
        if dir.exists() {
            fs::remove_dir_all(dir).expect("remove the data dir");
        }
    }

    /// Another machine takes the place of this one, under its name: nothing of before is left.
    pub fn reinstall(&mut self) {
        self.lose_disk();
        for name in ["bootstrap", "state"] {
            let _ = fs::remove_dir_all(self.path(name));
        }
    }

    /// One step of what units do. What it has become.
    pub fn tick(&mut self) {
        match &mut self.runs {
            Runs::Nothing => {}
            Runs::Gate(gate) => {
                if gate.is_running() {
                    return;
                }
                let code = gate.wait(Duration::from_secs(5));
                self.keep_output();
                if std::mem::take(&mut self.armed) && code.is_none() {
                    self.runs = Runs::Nothing;
                    return;
                }
                assert_eq!(code, Some(0), "the gate of {} failed:\n{}", self.name, self.log);
                self.runs = Runs::Etcd(Box::new(EtcdProcess::launch(self.options())));
            }
            Runs::Etcd(etcd) => {
                if !etcd.is_running() && self.restarts {
                    self.keep_output();
                    self.runs = Runs::Nothing;
                    self.boot();
                }
            }
        }
    }

    fn bare_options(&self) -> EtcdOptions {
        EtcdOptions {
            name: Some(self.name.clone()),
            data_dir: Some(self.data_dir()),
            ports: Some(self.ports.clone()),
            instead: self.kubelet.clone(),
            ..EtcdOptions::new(&self.version)
        }
    }

    fn options(&self) -> EtcdOptions {
        // A kubelet knows its manifest and nothing else.
        let env = if self.kubelet.is_some() { Vec::new() } else { self.environment() };
        EtcdOptions { env, ..self.bare_options() }
    }

    /// The last line of this boot's gate that says this (`L2 WAIT`).
    pub fn line(&self, verdict: &str) -> Option<String> {
        self.output().lines().rfind(|l| l.contains(verdict)).map(str::to_owned)
    }

    /// What the gate wrote for etcd.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.path("bootstrap/etcd.env")).expect("the environment file");
        let lines = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
        lines.map(|l| l.split_once('=').expect(l)).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    pub fn etcd(&self) -> Option<&EtcdProcess> {
        match &self.runs {
            Runs::Etcd(etcd) => Some(etcd),
            _ => None,
        }
    }

    pub fn waits(&self) -> bool {
        matches!(self.runs, Runs::Gate(_))
    }

    /// All that this boot's gate, or etcd, has printed.
    pub fn output(&self) -> String {
        match &self.runs {
            Runs::Nothing => String::new(),
            Runs::Gate(gate) => gate.output(),
            Runs::Etcd(etcd) => etcd.output(),
        }
    }

    pub fn signal(&self, signal: Signal) {
        match &self.runs {
            Runs::Nothing => {}
            Runs::Gate(gate) => gate.signal(signal),
            Runs::Etcd(etcd) => etcd.signal(signal),
        }
    }

    /// Members that were moved aside.
    pub fn quarantined(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.data_dir()) else { return Vec::new() };
        let is_aside =
            |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("member.quarantine-"));
        entries.map(|e| e.expect("an entry").path()).filter(is_aside).collect()
    }

    /// The rule that let etcd start last, and those of the steps before it.
    pub fn rules(&self) -> Vec<String> {
        let Some(at) = self.log.rfind("--- gate\n") else { return Vec::new() };
        let text = self.log.get(at..).unwrap_or_default();
        let json = text.find("\n{").and_then(|start| text.get(start..)).unwrap_or_default();
        let report: Option<Value> = serde_json::Deserializer::from_str(json).into_iter().next().and_then(Result::ok);
        let done = report.map(|r| r["done"].clone()).unwrap_or_default();
        let rule = |s: &Value| s.as_str().and_then(|s| s.split(':').next()).unwrap_or_default().to_owned();
        done.as_array().map(|all| all.iter().map(rule).collect()).unwrap_or_default()
    }

    pub async fn put(&self, key: &str, value: &str) -> bool {
        let Some(etcd) = self.etcd() else { return false };
        let put = async {
            let mut client = etcd.client().await;
            client.put(key, value, None).await.is_ok()
        };
        tokio::time::timeout(Duration::from_secs(3), put).await.unwrap_or(false)
    }
}
