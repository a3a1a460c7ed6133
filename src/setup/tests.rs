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

/// Units, and whether our variables may be given to them; what is said otherwise.
#[test]
fn variables_are_given_only_where_no_flag_contradicts() {
    let data = "Environment=ETCD_DATA_DIR=/var/lib/etcd\n";
    for (service, given, says) in [
        (format!("{data}ExecStart=/usr/bin/etcd"), true, ""),
        (format!("{data}ExecStart=/usr/bin/etcd --listen-client-urls=http://h:2379 --snapshot-count 5"), true, ""),
        (format!("{data}ExecStart=/bin/bash -c \"GOMAXPROCS=$(nproc) /usr/bin/etcd\""), true, ""),
        (format!("{data}ExecStart=/usr/bin/etcd --name cp1"), false, "sets --name, and etcd exits"),
        (format!("{data}ExecStart=-/usr/bin/etcd -name=cp1"), false, "sets --name"),
        ("ExecStart=/usr/bin/etcd \\\n  --data-dir /var/lib/etcd \\\n  --name=cp1".into(), false, "--name, --data-dir"),
        (
            "Environment=\"ARGS=--data-dir=/var/lib/etcd --initial-cluster-state=existing\"\nExecStart=/usr/bin/etcd $ARGS".into(),
            false,
            "etcd.env is not given to it\n",
        ),
        (
            "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --initial-cluster-state new".into(),
            false,
            "change that to --initial-cluster-state=existing",
        ),
        (
            "Environment=ETCD_NAME=cp1\nExecStart=/bin/bash -c \"/usr/bin/etcd --name=\\\"${ETCD_NAME}\\\" --data-dir=\\\"/var/lib/etcd\\\"\"".into(),
            false,
            "sets --name, --data-dir",
        ),
        ("ExecStart=/usr/bin/etcd --config-file=/etc/etcd.yml".into(), false, "configuration file /etc/etcd.yml"),
        ("Environment=ETCD_CONFIG_FILE=/etc/etcd.yml\nExecStart=/usr/bin/etcd".into(), false, "reads no variables"),
        ("ExecStart=/usr/local/bin/start-etcd.sh".into(), false, "starts /usr/local/bin/start-etcd.sh, whose flags"),
    ] {
        let plan = planned("", &service, &disk()).unwrap_or_else(|e| panic!("{service}: {e:?}"));
        assert_eq!(file(&plan, "etcd.service").contains("EnvironmentFile="), given, "{service}");
        let texts = texts(&plan);
        assert!(texts.contains(says) && texts.is_empty() == says.is_empty(), "{service}\n{texts}");
    }
}

/// etcd would work in another place than the one that is guarded and restored.
#[test]
fn a_unit_that_contradicts_the_configuration_is_refused() {
    let mut here = disk();
    here.dirs.push("/default.etcd/member");
    for (more, service, says) in [
        (
            "",
            "Environment=ETCD_DATA_DIR=/var/lib/etcd/default\nExecStart=/usr/bin/etcd",
            "/var/lib/etcd/default (ETCD_DATA_DIR)",
        ),
        ("", "ExecStart=/usr/bin/etcd --data-dir=/data", "in /data (--data-dir)"),
        ("", "ExecStart=/bin/sh -c \"etcd --data-dir '/data'\"", "in /data (--data-dir)"),
        ("", "WorkingDirectory=/srv\nExecStart=/usr/bin/etcd --data-dir data", "in /srv/data (--data-dir)"),
        ("", "ExecStart=/usr/bin/etcd --name cp1", "in /cp1.etcd (etcd's default)"),
        ("", "ExecStart=/usr/bin/etcd", "in /default.etcd (etcd's default)"),
        (
            "etcd.data_dir = \"/srv/etcd\"",
            "ExecStart=/usr/bin/etcd --config-file /etc/e.yml",
            "in /var/lib/etcd (/etc/e.yml)",
        ),
        ("", &format!("Environment=ETCD_WAL_DIR=/srv/wal\n{PLAIN}"), "WAL in /srv/wal (ETCD_WAL_DIR)"),
        ("etcd.wal_dir = \"/srv/wal\"", "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd", "without --wal-dir"),
        (
            "etcd.wal_dir = \"/srv/wal\"",
            "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --wal-dir=/srv/other",
            "WAL in /srv/other (--wal-dir)",
        ),
    ] {
        let e = planned(more, service, &here).map(|p| file(&p, "etcd.service")).unwrap_err();
        assert!(e.message().contains(says) && e.message().contains("nothing was written"), "{service}\n{e}");
        assert_eq!(e.kind(), Kind::Config);
        assert!(e.hint_text().is_some());
    }
}

#[test]
fn a_unit_that_agrees_is_accepted() {
    let with_wal = format!("{PLAIN}\nEnvironment=ETCD_WAL_DIR=/srv/wal");
    for (more, service) in [
        ("", "Environment=ETCD_DATA_DIR=/var/lib/etcd/\nExecStart=/usr/bin/etcd"),
        ("", "Environment=ETCD_DATA_DIR=/var/lib/%i\nExecStart=/usr/bin/etcd"),
        ("", "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --wal-dir=/var/lib/etcd/member/wal"),
        ("", "ExecStart=/usr/bin/etcd --config-file /etc/e.yml"),
        ("etcd.wal_dir = \"/srv/wal\"", "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --wal-dir /srv/wal"),
        ("etcd.wal_dir = \"/srv/wal\"", &with_wal),
        ("etcd.data_dir = \"/srv/my etcd\"", "ExecStart=/usr/bin/etcd --data-dir \"/srv/my etcd\" --name=cp1"),
        ("etcd.data_dir = \"/default.etcd\"", "ExecStart=/usr/bin/etcd --name default"),
    ] {
        let mut here = disk();
        here.dirs.push("/default.etcd");
        planned(more, service, &here).unwrap_or_else(|e| panic!("{service}: {e:?}"));
    }
}

#[test]
fn what_is_odd_about_etcd_is_told() {
    let mut here = disk();
    here.owners = HashMap::from([("/var/lib/etcd", "root")]);
    let user = format!("{PLAIN}\nUser=etcd");
    let wal = format!("{user}\nEnvironment=\"ETCD_WAL_DIR=/srv/the wal\"");
    for (more, service, says) in [
        (
            "",
            "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --name old",
            "! etcd's name is old (--name of etcd.service), and node.name is cp1",
        ),
        (
            "",
            "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --force-new-cluster",
            "! etcd.service starts etcd with --force-new-cluster",
        ),
        (
            "",
            &user,
            "! etcd.service runs etcd as user etcd, and /var/lib/etcd belongs to somebody else: chown -R etcd: /var/lib/etcd",
        ),
        ("etcd.wal_dir = \"/srv/the wal\"", &wal, "install -d -m 700 -o etcd -g etcd '/srv/the wal'"),
    ] {
        let texts = texts(&planned(more, service, &here).unwrap());
        assert!(texts.contains(says), "{service}\n{texts}");
    }
    let quiet = planned("", &format!("{PLAIN}\nEnvironment=ETCD_NAME=%H\nUser=root"), &here).unwrap();
    assert_eq!(texts(&quiet), "", "our variable wins over that name");
}

#[test]
fn the_gate_may_write_what_the_configuration_names() {
    let mut mounted = disk();
    mounted.mounts = vec!["/srv/disk", "/mnt/share"];
    mounted.dirs.extend(["/srv/disk", "/etcd", "/data/etcd"]);
    for (more, unit, words) in [
        ("etcd.data_dir = \"/data/etcd\"", "", "-/data"),
        ("etcd.data_dir = \"/srv/not/yet\"", "", "-/srv"),
        ("etcd.data_dir = \"/srv/disk\"", "srv-disk.mount", "-/srv/disk"),
        ("etcd.data_dir = \"/srv/disk/etcd\"", "srv-disk.mount", "-/srv/disk"),
        ("etcd.data_dir = \"/etcd\"", "", "-/etcd"),
        ("etcd.data_dir = \"/var/lib/link/etcd\"", "", "-/srv"),
        ("store.dir.path = \"/var/lib/link\"", "", "-/srv/real"),
        ("etcd.wal_dir = \"/srv/disk/wal\"", "srv-disk.mount", "-/srv/disk"),
        ("etcd.data_dir = \"/srv/a\"\netcd.wal_dir = \"/srv/disk/w\"", "srv-disk.mount", "-/srv"),
        ("store.dir.path = \"/mnt/share/etcd\"", "", "-/mnt/share/etcd"),
        ("store.dir.path = \"/mnt/share/100% x\"", "", "\"-/mnt/share/100%% x\""),
        ("bootstrap.state_dir = \"/srv/b\"", "", "-/srv"),
        ("bootstrap.request_file = \"/run/lifeboat/once\"", "", "-/run/lifeboat"),
        ("etcd.environment_file = \"/srv/env/etcd.env\"", "", "-/srv"),
        ("etcd.environment_file = \"/var/lib/other/etcd.env\"", "", ""),
    ] {
        let data = settings(more).etcd.data_dir.display().to_string();
        let wal = settings(more).etcd.wal_dir.map(|w| format!(" --wal-dir={}", w.display())).unwrap_or_default();
        let plan = planned(more, &format!("ExecStart=/usr/bin/etcd --data-dir={data}{wal}"), &mounted)
            .unwrap_or_else(|e| panic!("{more}: {e:?}"));
        let mut expected = String::new();
        if !unit.is_empty() {
            expected.push_str(&format!("[Unit]\nWants={unit}\nAfter={unit}\n"));
        }
        if !words.is_empty() {
            expected.push_str(&format!("[Service]\nReadWritePaths={words}\n"));
        }
        assert_eq!(file(&plan, GATE), expected, "{more}");
    }
}

#[test]
fn a_directory_that_is_missing_is_explained_or_refused() {
    let absent = planned("etcd.data_dir = \"/srv/a/b\"", "ExecStart=/x", &disk()).unwrap();
    assert!(texts(&absent).contains("/srv/a/b (etcd.data_dir) does not exist yet: the gate may write in /srv"));
    let mut here = disk();
    here.dirs.push("/etcd");
    let wide = planned("etcd.data_dir = \"/etcd\"", "ExecStart=/x", &here).unwrap();
    assert!(
        texts(&wide).contains("the gate may write in /etcd (etcd.data_dir), not in /: if /etcd itself"),
        "{}",
        texts(&wide)
    );
    for (more, says) in [
        ("etcd.data_dir = \"/nowhere\"", "all of / to create it"),
        ("etcd.wal_dir = \"/etc/etcd/wal\"", "all of /etc to create it"),
        ("bootstrap.state_dir = \"/opt/x\"", "all of / to create it"),
    ] {
        let e = planned(more, "ExecStart=/x", &disk()).unwrap_err();
        assert!(e.message().contains(says) && e.hint_text().unwrap().contains("mkdir -p -m 700"), "{more}\n{e}");
    }
    let mut mounted = disk();
    mounted.mounts = vec!["/mnt/share/etcd"];
    let e = planned("store.dir.path = \"/mnt/share/etcd\"", PLAIN, &mounted).unwrap_err();
    assert!(
        e.message().contains("is a mount point itself") && e.hint_text().unwrap().contains("/mnt/share/etcd/etcd"),
        "{e}"
    );
}

#[test]
fn the_agent_may_write_what_the_configuration_names() {
    let mut here = disk();
    here.owners = HashMap::from([("/mnt/share/etcd", "root"), ("/srv", "lifeboat")]);
    for (more, words, says) in [
        ("node.state_dir = \"/srv\"", "-/srv", ""),
        (
            "store.dir.path = \"/mnt/share/etcd\"",
            "-/mnt/share/etcd",
            "! the agent's user lifeboat may not write in /mnt/share/etcd",
        ),
        (
            "store.dir.path = \"/mnt/new\"",
            "-/mnt/new",
            "! /mnt/new (store.dir.path) does not exist, and the agent cannot create it: install -d",
        ),
        (
            "store.dir.path = \"/var/tmp/me\"",
            "-/var/tmp/me",
            "! store.dir.path is /var/tmp/me, which lifeboat.service hides from the agent",
        ),
    ] {
        let plan = planned(more, PLAIN, &here).unwrap();
        assert!(file(&plan, AGENT).ends_with(&format!("\nReadWritePaths={words}\n")), "{}", file(&plan, AGENT));
        let texts = texts(&plan);
        assert!(texts.contains(says) && texts.is_empty() == says.is_empty(), "{more}\n{texts}");
    }
}

const S3: &str = "store.backend = \"s3\"\nstore.s3.endpoint = \"h\"\nstore.s3.bucket = \"bbb\"\n";
const TLS: &str = "etcd.endpoint = \"https://h:1\"\netcd.ca_file = \"/pki/ca.crt\"\netcd.cert_file = \"/pki/c.crt\"\netcd.key_file = \"/pki/c.key\"\n";

#[test]
fn the_agent_is_handed_every_file_that_is_named() {
    let mut here = disk();
    here.files.extend(["/s/access", "/s/secret", "/s/ca.pem", "/s/pw", "/pki/ca.crt", "/pki/c.crt", "/pki/c.key"]);
    let more = format!(
        "{S3}{TLS}store.s3.access_key_file = \"/s/access\"\nstore.s3.secret_key_file = \"/s//secret\"\nstore.s3.ca_file = \"/s/ca.pem\"\n\
         etcd.username = \"u\"\netcd.password_file = \"/s/pw\""
    );
    let plan = planned(&more, PLAIN, &here).unwrap();
    let names = named_files::loaded(&file(&plan, AGENT));
    assert_eq!(
        names,
        ["etc-lifeboat-token", "s-pw", "s-access", "s-secret", "pki-ca.crt", "pki-c.crt", "pki-c.key", "s-ca.pem"]
    );
    assert_eq!(file(&plan, WATCH).lines().count(), 1 + names.len());
    assert!(file(&plan, WATCH).contains("\nPathChanged=/s/secret\n"));
    assert_eq!(file(&plan, AGENT).matches("SetCredential=").count(), names.len(), "none may fail the unit");
    assert_eq!(texts(&plan), "");
    // One file for two keys is handed over once.
    let twice = planned(
        &format!("{S3}store.s3.access_key_file = \"/s/pw\"\nstore.s3.secret_key_file = \"/s/./pw\""),
        PLAIN,
        &here,
    );
    assert_eq!(named_files::loaded(&file(&twice.unwrap(), AGENT)), ["etc-lifeboat-token", "s-pw"]);
}

#[test]
fn files_that_are_missing() {
    let mut here = disk();
    let later = planned(TLS, PLAIN, &here).unwrap();
    assert_eq!(named_files::loaded(&file(&later, AGENT)).len(), 4, "kubeadm makes them later");
    assert!(texts(&later).contains("/pki/c.key (etcd.key_file) does not exist yet"), "{}", texts(&later));
    let keys = format!("{S3}store.s3.access_key_file = \"/s/a\"\nstore.s3.secret_key_file = \"/s/b\"");
    let e = planned(&keys, PLAIN, &here).unwrap_err();
    assert!(
        e.message().contains("/s/a (store.s3.access_key_file), /s/b (store.s3.secret_key_file) do not exist"),
        "{e}"
    );
    here.files.clear();
    let e = planned(&keys, PLAIN, &here).unwrap_err();
    assert!(e.message().contains("/etc/lifeboat/token (cluster.token_file)"), "{e}");
    assert!(e.hint_text().unwrap().contains("head -c 32 /dev/urandom | base64 > /etc/lifeboat/token"), "{e:?}");
    let image = plan(&settings(&keys), None, &here, Host { image: true, ..Host::default() }).unwrap();
    assert_eq!(texts(&image).matches("does not exist yet").count(), 3, "{}", texts(&image));
}

#[test]
fn names_of_credentials_are_checked() {
    let mut here = disk();
    here.files.extend(["/a-b/c", "/a/b-c"]);
    for (more, says) in [
        ("cluster.token_file = \"/s/to ken\"", "no blank"),
        ("cluster.token_file = \"/s/to:ken\"", "no ':'"),
        ("cluster.token_file = \"/s/../token\"", "\"..\""),
        (
            "cluster.token_file = \"/a-b/c\"\netcd.username = \"u\"\netcd.password_file = \"/a/b-c\"",
            "would be one and the same credential, a-b-c",
        ),
    ] {
        let e = planned(more, PLAIN, &here).unwrap_err();
        assert!(e.message().contains(says) && e.hint_text().is_some(), "{more}\n{e:?}");
    }
    let bare = planned("cluster.token_file = \"token\"", PLAIN, &here).unwrap();
    assert_eq!((file(&bare, AGENT), file(&bare, WATCH)), (String::new(), String::new()));
    assert!(
        texts(&bare).contains("cluster.token_file is the credential \"token\": give it to lifeboat.service"),
        "{}",
        texts(&bare)
    );
}

#[test]
fn what_the_agent_is_not_given_is_named() {
    let drop_in = file(&planned("", PLAIN, &disk()).unwrap(), AGENT);
    let now = settings(TLS);
    let lines = named_files::ungiven(&now, &drop_in, |path| path != Path::new("/pki/c.key"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("/pki/c.key, which etcd.key_file names: run 'lifeboat setup' again"), "{lines:?}");
    assert!(named_files::ungiven(&settings(""), &drop_in, |_| false).is_empty());
}

#[test]
fn variables_of_units_are_put_in() {
    let env = variables("# c\n; d\nA=one two\n B = \"three four\" \nC='x'\nnonsense\nA=five six\n").unwrap();
    assert_eq!(env.len(), 4);
    assert_eq!(variables("A=\"one\\\n two\"\n"), None);
    assert_eq!(variables("A=\"one\nB=two\"\n"), None);
    assert_eq!(variables("A=one \\\nB=two\n"), None);
    let words: Vec<String> = ["etcd", "$A", "${B}", "--x=${C}/${D}y", "$none", "${open", "$"].map(str::to_owned).into();
    assert_eq!(expand(&words, &env), ["etcd", "five", "six", "three four", "--x=x/y", "open", "$"]);
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

/// What the gate is told of the flags: only what is certain, and what our own variables do not override.
#[test]
fn facts_of_how_etcd_starts() {
    let told = |more: &str, service: &str| {
        let start = start_of(service);
        let f = super::flags::facts(&settings(more), Some(&start), None, &disk());
        let show = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let cluster = format!("{} {}", show(f.initial_cluster), show(f.initial_cluster_state));
        format!("{} {} {} {cluster}", show(f.data_dir), show(f.wal_dir), f.force_new_cluster)
    };
    let gated = "ExecStart=/usr/bin/etcd";
    for (more, service, expected) in [
        ("", gated, "- - false - -"),
        // Variables of others: ours come last, and win; there is none of ours for this one.
        (
            "",
            "ExecStart=/usr/bin/etcd\nEnvironment=ETCD_DATA_DIR=/elsewhere ETCD_INITIAL_CLUSTER=cp1=http://a:1",
            "- - false - -",
        ),
        ("", "ExecStart=/usr/bin/etcd --initial-cluster=cp1=http://a:1", "- - false cp1=http://a:1 -"),
        ("", "ExecStart=/usr/bin/etcd --data-dir=/elsewhere", "/elsewhere - false - -"),
        ("", "ExecStart=/usr/bin/etcd --data-dir /var/lib/etcd/ --force-new-cluster", "/var/lib/etcd - true - -"),
        ("", "ExecStart=/usr/bin/etcd --data-dir=$WHERE", "- - false - -"),
        ("", "ExecStart=/usr/bin/etcd --force-new-cluster=false", "- - false - -"),
        ("", "ExecStart=/usr/bin/etcd\nEnvironment=ETCD_FORCE_NEW_CLUSTER=true", "- - true - -"),
        ("", "ExecStart=/usr/bin/etcd --config-file=/etc/etcd.yaml", "/var/lib/etcd - false - -"),
        // Where ours are not given to it, those of others count.
        ("", "ExecStart=/usr/bin/etcd --name cp1\nEnvironment=ETCD_DATA_DIR=/elsewhere", "/elsewhere - false - -"),
        ("", "ExecStart=/usr/bin/etcd --name=cp1 --initial-cluster-state=new", "- - false - new"),
        ("", "ExecStart=/usr/bin/etcd --wal-dir=/var/lib/etcd/member/wal", "- - false - -"),
        ("", "ExecStart=/usr/bin/etcd --wal-dir=/fast", "- /fast false - -"),
        // A script's flags cannot be seen.
        ("", "ExecStart=/usr/local/bin/run-it --data-dir=/elsewhere", "- - false - -"),
        (
            "[etcd]\ndata_dir = \"/var/lib/link/etcd\"",
            "ExecStart=/usr/bin/etcd --data-dir=/srv/real/etcd",
            "/var/lib/link/etcd - false - -",
        ),
    ] {
        assert_eq!(told(more, service), expected, "{service}");
    }
}
