//! Tables: from a configuration and a unit to drop-ins, notes and refusals. No systemd and no disk is asked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::machine::Disk;
use super::plan::{Host, Plan, plan};
use super::start::{EtcdUnit, Start, expand, variables};
use super::*;
use crate::config;

/// A disk from a table.
#[derive(Clone)]
struct Fake {
    dirs: Vec<&'static str>,
    files: Vec<&'static str>,
    mounts: Vec<&'static str>,
    owners: HashMap<&'static str, &'static str>,
}

impl Disk for Fake {
    fn real(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("/var/lib/link") {
            Ok(below) => Path::new("/srv/real").join(below).components().collect(),
            Err(_) => path.components().collect(),
        }
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.dirs.iter().any(|d| Path::new(d).starts_with(path))
    }

    fn has_file(&self, path: &Path) -> bool {
        self.files.iter().any(|f| Path::new(f) == path)
    }

    fn mount_point(&self, path: &Path) -> Option<PathBuf> {
        self.mounts.iter().filter(|m| path.starts_with(m)).max_by_key(|m| m.len()).map(PathBuf::from)
    }

    fn belongs_to(&self, path: &Path, user: &str) -> Option<bool> {
        self.owners.get(path.to_str().unwrap()).map(|owner| *owner == user)
    }

    fn agent_may_write(&self, dir: &Path) -> Option<bool> {
        self.owners.get(dir.to_str().unwrap()).map(|owner| *owner == "lifeboat")
    }
}

fn disk() -> Fake {
    Fake {
        dirs: vec![
            "/var/lib/etcd",
            "/var/lib/lifeboat/store",
            "/etc/lifeboat",
            "/srv",
            "/mnt/share/etcd",
            "/var/tmp/me",
        ],
        files: vec!["/etc/lifeboat/token"],
        mounts: vec![],
        owners: HashMap::new(),
    }
}

mod etcd_unit;
mod named_files;
mod writable;

const MINIMAL: &str = "cluster.name = \"x\"\nnode.name = \"cp1\"\ncluster.members = [{ name = \"cp1\", \
    peer_urls = [\"http://h:2380\"], client_urls = [\"http://h:2379\"] }]\n";

fn settings(more: &str) -> Settings {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lifeboat.toml");
    std::fs::write(&path, format!("{MINIMAL}{more}\n")).unwrap();
    let bare = ("CREDENTIALS_DIRECTORY".to_owned(), BARE_NAMES.to_owned());
    config::load(Some(&path), [bare].into_iter()).unwrap().settings
}

/// A unit from its file's `[Service]` section.
fn start_of(service: &str) -> Start {
    let mut unit = EtcdUnit { working_directory: Some("/".into()), ..EtcdUnit::default() };
    unit_files::add(&mut unit, &format!("[Service]\n{service}\n"));
    let environment = unit.environment.clone();
    let mut start = Start::of_unit("etcd.service", &unit, environment);
    start.config_file = start
        .config_file_path()
        .map(|p| (p.into(), Some("name: cp1\ndata-dir: /var/lib/etcd # here\nwal-dir:\n".to_owned())));
    start
}

const PLAIN: &str = "ExecStart=/usr/bin/etcd $DAEMON_ARGS\nEnvironment=ETCD_DATA_DIR=/var/lib/etcd";

fn planned(more: &str, service: &str, disk: &Fake) -> Result<Plan> {
    plan(&settings(more), Some(&start_of(service)), disk, Host::default())
}

/// The file of a unit, without its two lines of comment.
fn file(plan: &Plan, unit: &str) -> String {
    let Some(file) = plan.files.iter().find(|f| f.unit == unit) else { return String::new() };
    let mut lines = file.content.lines();
    assert_eq!(lines.next(), Some(FIRST_LINE));
    assert!(lines.next().unwrap().starts_with("# "));
    lines.map(|l| format!("{l}\n")).collect()
}

fn texts(plan: &Plan) -> String {
    plan.notes.iter().map(|n| format!("{}{}\n", if n.warning { "! " } else { "" }, n.text)).collect()
}

#[test]
fn a_usual_host_needs_little() {
    let plan = planned("", PLAIN, &disk()).unwrap();
    assert_eq!(texts(&plan), "");
    assert_eq!(file(&plan, GATE), "", "its own unit allows all of that");
    assert_eq!(
        file(&plan, AGENT),
        "[Service]\nLoadCredential=etc-lifeboat-token:/etc/lifeboat/token\nSetCredential=etc-lifeboat-token:\\n\n"
    );
    assert_eq!(file(&plan, WATCH), "[Path]\nPathChanged=/etc/lifeboat/token\n");
    assert_eq!(
        file(&plan, "etcd.service"),
        "[Unit]\nRequires=lifeboat-bootstrap.service\nAfter=lifeboat-bootstrap.service\n[Service]\nEnvironmentFile=-/var/lib/lifeboat-bootstrap/etcd.env\nExecStartPost=-+/usr/bin/lifeboat bootstrap --started\n"
    );
    assert_eq!(plan.files.last().unwrap().unit, "etcd.service", "etcd waits once the gate has what it needs");
}

#[test]
fn the_unit_that_waits_is_the_one_that_starts_etcd() {
    for (more, unit) in [
        ("etcd.managed_by = \"kubeadm\"", "kubelet.service"),
        ("etcd.managed_by = \"k3s\"", "k3s.service"),
        ("etcd.managed_by = \"rke2\"", "rke2-server.service"),
        ("etcd.unit = \"etcd@cp1.service\"", "etcd@cp1.service"),
    ] {
        let plan = plan(&settings(more), None, &disk(), Host::default()).unwrap();
        assert_eq!(
            file(&plan, unit),
            "[Unit]\nRequires=lifeboat-bootstrap.service\nAfter=lifeboat-bootstrap.service\n",
            "without having seen the flags, no variables are given: {unit}"
        );
    }
    let plan = plan(&settings("etcd.managed_by = \"k3s\""), None, &disk(), Host::default()).unwrap();
    assert!(texts(&plan).contains("/var/lib/rancher/k3s/server/db/etcd"), "{}", texts(&plan));
}

/// As systemd 252 and 257 print it.
#[test]
fn the_words_of_systemctl_are_understood() {
    let text = "LoadState=loaded\nFragmentPath=/lib/systemd/system/etcd.service\n\
        ExecStart={ path=/usr/bin/etcd ; argv[]=/usr/bin/etcd $DAEMON_ARGS --name x ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }\n\
        Environment=DAEMON_ARGS= ETCD_NAME=vm \"ETCD_DATA_DIR=/srv/my etcd 100%\" \"G=x\\\"y\"\n\
        EnvironmentFiles=/etc/default/etcd (ignore_errors=yes)\nEnvironmentFiles=/var/lib/lifeboat-bootstrap/etcd.env (ignore_errors=yes)\n\
        WorkingDirectory=\nUser=etcd\nActiveState=inactive\n\nLoadState=not-found\nActiveState=active\n";
    let shown = show::parse(text);
    assert_eq!(shown.len(), 2);
    assert_eq!((shown[1].get("LoadState"), shown[1].get("User")), ("not-found", ""));
    let unit = shown[0].etcd_unit();
    assert_eq!(unit.words, ["/usr/bin/etcd", "$DAEMON_ARGS", "--name", "x"]);
    assert_eq!(unit.environment.len(), 4);
    assert_eq!(unit.environment[2], ("ETCD_DATA_DIR".into(), "/srv/my etcd 100%".into()));
    assert_eq!(unit.environment[3].1, "x\"y");
    assert_eq!(unit.environment_files[1], Path::new("/var/lib/lifeboat-bootstrap/etcd.env"));
    assert_eq!((unit.working_directory, unit.user.as_str()), (Some("/".into()), "etcd"));
}

#[test]
fn a_misspelled_unit_is_hinted_at() {
    let here = ["ssh.service", "etcd-cluster.service", "etcd.service", "kubelet.service", "k3s.service"];
    let near = |unit: &str| systemctl::candidates(unit, here.into_iter());
    assert_eq!(near("etdc.service")[0], "etcd.service");
    assert_eq!(near("kublet.service")[0], "kubelet.service");
    assert_eq!(near("x.service"), ["k3s.service", "etcd.service", "etcd-cluster.service"]);
    assert!(systemctl::candidates("etcd.service", ["ssh.service"].into_iter()).is_empty());
}

/// Older systemds do not know `RestartMode=`, and would fail etcd's start all the same.
#[test]
fn a_gate_that_is_killed_starts_again_where_systemd_can() {
    let again = "Restart=on-abnormal\nRestartMode=direct\n";
    for (version, can) in [
        ("Version=247.3-7+deb11u5\n", false),
        ("Version=252.39-1~deb12u2\n", false),
        ("Version=254-1.el9\n", true),
        ("Version=257 (257.13-1~deb13u1)\n", true),
        ("Version=\n", false),
        ("", false),
    ] {
        let restarts_directly = show::major(version).is_some_and(|major| major >= 254);
        let plan = plan(&settings(""), None, &disk(), Host { restarts_directly, ..Host::default() }).unwrap();
        let told = plan.files.iter().any(|f| f.unit == GATE && f.content.contains(again));
        assert_eq!(told, can, "{version:?}");
    }
}
