//! One cluster of one host, and cases that are run against it: a changed configuration, arguments, what must be said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(unreachable_pub, reason = "a part of one test binary")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::support::{ETCD_LATEST, EtcdOptions, EtcdProcess, Lifeboat, Output, S3Options, S3Server};

/// A wrong situation, and what a person must read.
pub struct Case<'a> {
    what: &'a str,
    set: &'a [(&'a str, &'a str)],
    args: &'a [&'a str],
    code: i32,
    says: &'a [&'a str],
}

/// `set`: settings by their full key, as TOML (`-`: left out); `raw` is appended, `env.NAME` is a variable.
/// `{dir}`, `{conf}`, `{snap}`, `{s3}`, `{s3host}` are filled in everywhere.
pub fn case<'a>(
    what: &'a str,
    set: &'a [(&'a str, &'a str)],
    args: &'a [&'a str],
    code: i32,
    says: &'a [&'a str],
) -> Case<'a> {
    Case { what, set, args, code, says }
}

pub struct Lab {
    dir: TempDir,
    s3: S3Server,
    etcd: Option<EtcdProcess>,
    snapshot: String,
}

impl Lab {
    /// With an etcd and one snapshot in the store.
    pub fn start() -> Lab {
        let mut lab = Lab::without_etcd();
        lab.etcd =
            Some(EtcdProcess::with(EtcdOptions { name: Some("cp1".to_owned()), ..EtcdOptions::new(ETCD_LATEST) }));
        lab.etcd().etcdctl(&["put", "key", "value"]);
        let saved = lab.run(&[], &["save", "-o", "json"]).ok().json();
        lab.snapshot = saved["manifest"]["name"].as_str().expect("the name of a snapshot").to_owned();
        lab
    }

    pub fn without_etcd() -> Lab {
        let dir = tempfile::Builder::new().prefix("lifeboat-messages-").tempdir().expect("a directory");
        let s3 = S3Server::start_blocking(S3Options::default());
        let lab = Lab { dir, s3, etcd: None, snapshot: String::new() };
        lab.file("token", "CANARY-cluster-token", 0o600);
        lab.file("access", &lab.s3.access_key, 0o600);
        lab.file("key", &lab.s3.secret_key, 0o600);
        lab
    }

    pub fn s3(&mut self) -> &mut S3Server {
        &mut self.s3
    }

    /// etcd ends; configurations name it as before.
    pub fn stop_etcd(&mut self) {
        self.etcd.as_mut().expect("this lab has an etcd").stop();
    }

    pub fn etcd(&self) -> &EtcdProcess {
        self.etcd.as_ref().expect("this lab has an etcd")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("write a file");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set a mode");
    }

    fn fill(&self, text: &str) -> String {
        let s3 = self.s3.endpoint();
        text.replace("{dir}", &self.dir.path().display().to_string())
            .replace("{conf}", &self.path("lifeboat.toml").display().to_string())
            .replace("{snap}", &self.snapshot)
            .replace("{s3host}", s3.trim_start_matches("http://"))
            .replace("{s3}", &s3)
    }

    fn configuration(&self, set: &[(&str, &str)]) -> String {
        let (client, peer, data) = match &self.etcd {
            Some(etcd) => (etcd.endpoint(), etcd.peer_url(), etcd.data_dir().display().to_string()),
            None => ("http://127.0.0.1:1".into(), "http://127.0.0.1:2".into(), "/nonexistent/etcd".into()),
        };
        let members = format!("[{{ name = \"cp1\", peer_urls = [\"{peer}\"], client_urls = [\"{client}\"] }}]");
        let mut all: Vec<(String, String)> = [
            ("cluster.name", "\"demo\"".to_owned()),
            ("cluster.token_file", "\"{dir}/token\"".to_owned()),
            ("cluster.members", members),
            ("node.name", "\"cp1\"".to_owned()),
            ("node.state_dir", "\"{dir}/state\"".to_owned()),
            ("etcd.data_dir", format!("\"{data}\"")),
            ("etcd.endpoint", format!("\"{client}\"")),
            ("etcd.environment_file", "\"{dir}/etcd.env\"".to_owned()),
            ("store.backend", "\"s3\"".to_owned()),
            ("store.s3.endpoint", "\"{s3}\"".to_owned()),
            ("store.s3.bucket", "\"snapshots\"".to_owned()),
            ("store.s3.folder", "\"demo\"".to_owned()),
            ("store.s3.insecure", "true".to_owned()),
            ("store.s3.access_key_file", "\"{dir}/access\"".to_owned()),
            ("store.s3.secret_key_file", "\"{dir}/key\"".to_owned()),
            ("bootstrap.state_dir", "\"{dir}/gate\"".to_owned()),
            ("bootstrap.request_file", "\"{dir}/restore-once\"".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        for (key, value) in set.iter().filter(|(key, _)| *key != "raw" && !key.starts_with("env.")) {
            all.retain(|(known, _)| known != key);
            if *value != "-" {
                all.push(((*key).to_owned(), (*value).to_owned()));
            }
        }
        let mut text = String::new();
        for section in ["cluster", "node", "etcd", "store", "store.s3", "bootstrap"] {
            text.push_str(&format!("[{section}]\n"));
            for (key, value) in &all {
                if let Some((of, last)) = key.rsplit_once('.')
                    && of == section
                {
                    text.push_str(&format!("{last} = {value}\n"));
                }
            }
        }
        text.extend(set.iter().filter(|(key, _)| *key == "raw").map(|(_, value)| *value));
        self.fill(&text)
    }

    /// Runs it, with every log line that there can be.
    pub fn run(&self, set: &[(&str, &str)], args: &[&str]) -> Output {
        self.file("lifeboat.toml", &self.configuration(set), 0o600);
        let args = args.iter().map(|arg| self.fill(arg));
        let mut command = Lifeboat::new(args).config(&self.path("lifeboat.toml")).limit(Duration::from_secs(50));
        if set.iter().all(|(key, _)| *key != "env.LIFEBOAT_LOG__LEVEL") {
            command = command.env("LIFEBOAT_LOG__LEVEL", "trace");
        }
        for (key, value) in set {
            if let Some(name) = key.strip_prefix("env.") {
                command = command.env(name, *value);
            }
        }
        command.run()
    }

    /// Runs every case and reports all that is wrong at once.
    pub fn all(&self, cases: &[Case<'_>]) {
        let mut wrong = Vec::new();
        for case in cases {
            let out = self.run(case.set, case.args);
            let said = format!("{}{}", out.stdout, out.stderr);
            let mut faults = self.faults(&out);
            if out.code != Some(case.code) {
                faults.push(format!("exit code {:?}, not {}", out.code, case.code));
            }
            faults.extend(
                case.says.iter().map(|part| self.fill(part)).filter(|p| !said.contains(p)).map(|p| format!("no {p:?}")),
            );
            if !faults.is_empty() {
                wrong.push(format!("{}: {}\n{}", case.what, faults.join("; "), out.text()));
            }
        }
        assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
    }

    /// What no output may be.
    pub fn decent(&self, what: &str, out: &Output) {
        let faults = self.faults(out);
        assert!(faults.is_empty(), "{what}: {}\n{}", faults.join("; "), out.text());
    }

    fn faults(&self, out: &Output) -> Vec<String> {
        let said = format!("{}{}", out.stdout, out.stderr);
        let secrets = ["CANARY", self.s3.secret_key.as_str(), "Signature=", "X-Amz"];
        let debug = [
            "Some(",
            "None,",
            "Ok(",
            "Err(",
            "Draft {",
            "reason: ",
            "Generation(",
            "SnapshotName(",
            "Kind::",
            "panicked",
        ];
        let mut faults: Vec<String> = secrets
            .iter()
            .filter(|s| said.contains(**s))
            .map(|s| format!("shows the secret {s}"))
            .chain(debug.iter().filter(|d| said.contains(**d)).map(|d| format!("speaks Rust: {d}")))
            .collect();
        if !matches!(out.code, Some(0)) && !["hint", "--help", "Usage"].iter().any(|h| said.contains(h)) {
            // A problem of the configuration may show the place and what was expected there instead.
            if !(out.code == Some(78) && (said.contains('^') || said.contains("environment variable"))) {
                faults.push("does not say what to do".to_owned());
            }
        }
        let mut causes: Vec<&str> = out.stderr.lines().filter(|l| l.starts_with("  caused by")).collect();
        let all = causes.len();
        causes.dedup();
        if causes.len() < all {
            faults.push("gives a cause twice".to_owned());
        }
        faults
    }
}
