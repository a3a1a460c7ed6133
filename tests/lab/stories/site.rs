//! Control-plane hosts as the README's install section leaves them: etcd behind its gate, the agent running.

use std::time::Duration;

use super::readme;
use crate::harness::{Etcd, Host, Lab, S3, Suite};

pub const MINUTE: Duration = Duration::from_secs(60);

/// The host, and what the stories do with it all the time.
pub struct Site<'lab> {
    pub lab: &'lab Lab,
    pub host: Host,
    etcd: Etcd,
    /// Names and addresses of the cluster's hosts, this one among them.
    members: Vec<(String, String)>,
    /// Goes into `conf.d` before `lifeboat setup`.
    more: String,
}

impl<'lab> Site<'lab> {
    /// A host with an etcd that has never been started; nothing of ours on it.
    pub fn bare(lab: &'lab Lab, host: Host) -> Self {
        let members = vec![(host.name().to_owned(), host.address().to_owned())];
        Site { lab, host, etcd: Etcd::gated(), members, more: String::new() }
    }

    /// One of several hosts.
    pub fn one_of(mut self, hosts: &[Host]) -> Self {
        self.members = hosts.iter().map(|h| (h.name().to_owned(), h.address().to_owned())).collect();
        self
    }

    /// Another etcd than Debian's default.
    pub fn etcd(mut self, etcd: Etcd) -> Self {
        self.etcd = etcd;
        self
    }

    /// More configuration.
    pub fn conf(mut self, toml: &str) -> Self {
        self.more = toml.to_owned();
        self
    }

    /// Installed by the README's own commands, etcd running behind the gate.
    pub fn running(lab: &'lab Lab, suite: Suite) -> Self {
        let host = lab.host("cp1", suite);
        host.settle(MINUTE);
        Site::bare(lab, host).started()
    }

    /// The same on a host that was made by the story.
    pub fn started(self) -> Self {
        self.installed();
        self.host.ok_for(2 * MINUTE, &readme::block("enable"));
        self.wait_etcd();
        self.host.ok_for(2 * MINUTE, &readme::block("first"));
        self
    }

    /// Installed and configured by the README's own commands; nothing runs yet.
    pub fn installed(&self) {
        self.packaged();
        self.host.ok(&readme::block("token"));
        self.configured();
    }

    /// etcd and the package are there.
    pub fn packaged(&self) {
        self.configure_etcd();
        let package = self.lab.package().expect("LIFEBOAT_DEB names the package; run: make lab");
        let name = package.file_name().and_then(|n| n.to_str()).expect("a file name").to_owned();
        self.host.copy_in(&package, &format!("/srv/{name}"), 0o644);
        self.host.ok_for(3 * MINUTE, &format!("cd /srv && {}", readme::block("install")));
    }

    /// `/etc/default/etcd`.
    pub fn configure_etcd(&self) {
        self.etcd.configure(&self.host);
    }

    /// The rest of it, when the token is there.
    pub fn configured(&self) {
        self.host.ok(&self.localized(&readme::block("configure")));
        if !self.more.is_empty() {
            // After site.toml, which it corrects.
            self.host.write_config("conf.d/story.toml", &self.more);
        }
    }

    /// The README's examples are those of a production site of three hosts; only names, addresses and keys differ here.
    fn localized(&self, block: &str) -> String {
        let (s3, keys) = (self.lab.s3(), self.lab.s3().keys());
        let mut block = block.to_owned();
        for number in 1..=3 {
            let (name, address) = (format!("{{ name = \"cp{number}\""), format!("10.0.0.{number}"));
            block = match self.members.get(number - 1) {
                Some((ours, at)) => block.replace(&name, &format!("{{ name = \"{ours}\"")).replace(&address, at),
                None => block.split_inclusive('\n').filter(|line| !line.contains(&name)).collect(),
            };
        }
        let own = format!("[node]\nname = {:?}", self.host.name());
        block
            .replace("[node]\nname = \"cp1\"", &own)
            .replace("\"/var/lib/etcd\"", &format!("{:?}", self.etcd.data_dir))
            .replace("https://s3.eu-west-2.amazonaws.com\"", &format!("{}\"\ninsecure = true", s3.endpoint()))
            .replace("my-etcd-snapshots", S3::BUCKET)
            .replace("eu-west-2", "us-east-1")
            .replace("YOUR-ACCESS-KEY", &keys.access)
            .replace("YOUR-SECRET-KEY", &keys.secret)
    }

    #[track_caller]
    pub fn wait_etcd(&self) {
        self.host.wait_etcd(2 * MINUTE);
    }

    #[track_caller]
    pub fn put(&self, key: &str, value: &str) {
        self.host.etcd_put(key, value);
    }

    /// Empty when the key is not there.
    #[track_caller]
    pub fn get(&self, key: &str) -> String {
        self.host.etcd_get(key).unwrap_or_default()
    }

    /// A snapshot now; its name.
    #[track_caller]
    pub fn save(&self, begins: &str) -> String {
        let report = self.host.ok(&format!("lifeboat save --name {begins} -o json"));
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["shipped"], true, "{report}");
        report["manifest"]["name"].as_str().expect("a name").to_owned()
    }

    /// etcd is down and its data gone, as with a new disk.
    #[track_caller]
    pub fn wipe(&self) {
        self.host.ok(&format!("systemctl stop etcd && find {} -mindepth 1 -delete", self.etcd.data_dir));
    }

    /// How often the gate has restored, by the journal of all boots.
    pub fn restores(&self) -> usize {
        self.host.journal("-u lifeboat-bootstrap LIFEBOAT_EVENT=RestoreSuccessful -o cat").lines().count()
    }

    /// What was moved aside.
    pub fn aside(&self) -> String {
        self.host.run(&format!("ls -d {}/member.quarantine-*", self.etcd.data_dir)).stdout
    }

    /// What the gate says with STATUS=.
    pub fn gate_says(&self) -> String {
        self.host.unit_state("lifeboat-bootstrap").status_text().to_owned()
    }

    #[track_caller]
    pub fn wait_gate_says(&self, part: &str) {
        self.host
            .wait_for(&format!("the gate to say {part:?}"), MINUTE, |_| self.gate_says().contains(part).then_some(()));
    }

    pub fn pid(&self, unit: &str) -> u32 {
        self.host.unit_state(unit).main_pid()
    }

    /// Units of systemd's own now and then cannot be spawned in a container, whatever runs there.
    #[track_caller]
    pub fn nothing_failed(&self) {
        let failed = self.host.ok("systemctl --failed --no-legend --plain");
        let failed: Vec<&str> = failed.lines().filter(|unit| !unit.trim_start().starts_with("systemd-")).collect();
        assert_eq!(failed, Vec::<&str>::new(), "failed units");
    }

    pub fn data_dir(&self) -> &str {
        &self.etcd.data_dir
    }
}
