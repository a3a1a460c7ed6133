//! Whole configurations: what they make, and what their mistakes say.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

mod mistakes;

const MINIMAL: &str = r#"
[cluster]
name = "prod-eu1"
members = [{ name = "cp1", peer_urls = ["https://10.0.0.1:2380"], client_urls = ["https://10.0.0.1:2379"] }]
"#;

/// A main file and what lies in conf.d.
fn files(main: &str, drop_ins: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: PathBuf, text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    };
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    write(dir.path().join("lifeboat.toml"), main);
    for (name, text) in drop_ins {
        write(dir.path().join("conf.d").join(name), text);
    }
    dir
}

fn load_from(dir: &TempDir, env: &[(&str, &str)]) -> Result<Loaded> {
    let env: Vec<(String, String)> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    load_on(Some(&dir.path().join("lifeboat.toml")), env.into_iter(), "cp1")
}

fn load_text(main: &str) -> Result<Loaded> {
    load_from(&files(main, &[]), &[])
}

/// Message and hint, with the name of the directory left out.
fn failure(main: &str, drop_ins: &[(&str, &str)], env: &[(&str, &str)]) -> String {
    let dir = files(main, drop_ins);
    let e = load_from(&dir, env).map(|l| l.settings).unwrap_err();
    assert_eq!(e.kind(), Kind::Config, "{e:?}");
    let text = format!("{}\n{}", e.message(), e.hint_text().unwrap_or("no hint"));
    text.replace(&format!("{}/", dir.path().display()), "")
}

fn shipped() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/lifeboat.toml")).unwrap()
}

#[test]
fn the_shipped_file_is_valid_and_names_what_must_be_set() {
    let text = failure(&shipped(), &[], &[]);
    assert!(text.starts_with("2 problems"), "{text}");
    assert!(text.contains("cluster.name: it is not set") && text.contains("cluster.members: it is not set"), "{text}");
}

#[test]
fn the_shipped_file_states_the_defaults() {
    let uncommented: String = shipped()
        .lines()
        .map(|l| match l.strip_prefix("#!").or_else(|| l.strip_prefix('#')) {
            Some(rest) if !rest.starts_with(' ') || l.starts_with("#!") => format!("{rest}\n"),
            _ => format!("{l}\n"),
        })
        .collect();
    let stated = load_text(&uncommented).unwrap();
    let built_in = load_text(MINIMAL).unwrap();
    assert_eq!(format!("{:#?}", stated.settings), format!("{:#?}", built_in.settings));
    let keys = |l: &Loaded| l.explain().into_iter().map(|e| (e.key, e.value)).collect::<Vec<_>>();
    assert_eq!(keys(&stated), keys(&built_in));
    let not_stated: Vec<String> =
        stated.explain().into_iter().filter(|e| e.origin == "default").map(|e| e.key).collect();
    assert!(not_stated.is_empty(), "keys that the shipped file does not mention: {not_stated:?}");
}

#[test]
fn defaults_are_what_the_design_says() {
    let s = load_text(MINIMAL).unwrap().settings;
    assert_eq!(s.node.name.as_str(), "cp1");
    assert_eq!(s.node.spool_dir(), Path::new("/var/lib/lifeboat/spool"));
    assert_eq!(s.bootstrap.bump_revision, 1_000_000_000);
    assert_eq!(s.bootstrap.peer_wait.as_secs(), 120);
    assert_eq!(s.bootstrap.snapshot, SnapshotChoice::Latest);
    assert!(s.etcd.wal_dir.is_none() && s.etcd.login.is_none() && s.etcd.client_certificate.is_none());
    assert!(matches!(s.store, Store::Dir { path } if path == Path::new("/var/lib/lifeboat/store")));
    let [one] = &s.schedules[..] else { panic!("{:?}", s.schedules) };
    assert_eq!(
        (one.name.as_str(), one.schedule.as_str(), one.run_on),
        ("etcd-snapshot", "0 * * * *", RunOn::OneMember)
    );
}

#[test]
fn the_unit_of_etcd_follows_from_what_starts_it() {
    for (more, unit) in [
        ("", "etcd.service"),
        ("managed_by = \"kubeadm\"", "kubelet.service"),
        ("managed_by = \"k3s\"", "k3s.service"),
        ("managed_by = \"rke2\"", "rke2-server.service"),
        ("managed_by = \"k3s\"\nunit = \"k3s-server@a\\\\x2db.service\"", "k3s-server@a\\x2db.service"),
    ] {
        assert_eq!(load_text(&format!("{MINIMAL}[etcd]\n{more}\n")).unwrap().settings.etcd.unit, unit);
    }
}

/// As in the agent's service: the files themselves are root's, and systemd has handed out copies.
#[test]
fn credentials_come_before_the_paths() {
    let dir = files(
        &format!(
            "{MINIMAL}[etcd]\nendpoint = \"https://h:1\"\nca_file = \"/nowhere/ca.crt\"\nusername = \"u\"\npassword_file = \"pw\"\n[store]\nbackend = \"s3\"\n[store.s3]\nendpoint = \"h\"\nbucket = \"bbb\"\nca_file = \"/nowhere/s3.crt\"\naccess_key_file = \"/nowhere/access\"\nsecret_key_file = \"/nowhere/secret\"\n"
        ),
        &[],
    );
    let credentials = dir.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let env =
        [("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()), ("LIFEBOAT_CLUSTER__TOKEN_FILE", "/nowhere/to-ken")];
    let loaded = load_from(&dir, &env).unwrap();
    let missing = loaded.check().unwrap_err();
    for needle in
        ["6 problems", "/nowhere/to-ken", "/nowhere/ca.crt", "/nowhere/s3.crt", "/nowhere/access", "/nowhere/secret"]
    {
        assert!(missing.message().contains(needle), "{needle}: {missing}");
    }
    assert!(!missing.message().contains("nowhere-"), "the configured path is named: {missing}");
    for (name, text) in [
        ("nowhere-to-ken", "0123456789abcdef"),
        ("nowhere-ca.crt", "-----BEGIN CERTIFICATE-----"),
        ("nowhere-s3.crt", "-----BEGIN CERTIFICATE-----"),
        ("nowhere-access", "a"),
        ("nowhere-secret", "s"),
        ("pw", "p"),
    ] {
        fs::write(credentials.join(name), text).unwrap();
        fs::set_permissions(credentials.join(name), Permissions::from_mode(0o400)).unwrap();
    }
    loaded.check().unwrap();
}

#[test]
fn later_layers_win_and_say_so() {
    let main = format!("{MINIMAL}[store.s3]\nbucket = \"a\"\nregion = \"r1\"\n[log]\nlevel = \"warn\"\n");
    let dir = files(
        &main,
        &[
            ("20-b.toml", "store.s3.bucket = \"from-20\"\n"),
            ("10-a.toml", "store.backend = \"s3\"\n[store.s3]\nbucket = \"from-10\"\nendpoint = \"minio:9000\"\n"),
            (".hidden.toml", "nonsense = 1\n"),
            ("note.txt", "nonsense\n"),
        ],
    );
    let env = [
        ("LIFEBOAT_STORE__S3__REGION", "r2"),
        ("LIFEBOAT_BOOTSTRAP__FALLBACK", "7"),
        ("LIFEBOAT_BOOTSTRAP__AUTORESTORE", "false"),
        ("LIFEBOAT_CONFIG", "ignored"),
        ("PATH", "/bin"),
    ];
    let loaded = load_from(&dir, &env).unwrap();
    let Store::S3(s3) = &loaded.settings.store else { panic!("{:?}", loaded.settings.store) };
    assert_eq!((s3.bucket.as_str(), s3.region.as_str()), ("from-20", "r2"));
    assert_eq!((s3.endpoint.as_str(), s3.folder.as_str()), ("https://minio:9000/", "prod-eu1"));
    assert_eq!((loaded.settings.bootstrap.fallback, loaded.settings.bootstrap.autorestore), (7, false));
    let shown = |key: &str| {
        let all = loaded.explain();
        let e = all.iter().find(|e| e.key == key).unwrap();
        format!("{} <- {}", e.value, e.origin.replace(&format!("{}/", dir.path().display()), ""))
    };
    assert_eq!(shown("store.s3.bucket"), "\"from-20\" <- conf.d/20-b.toml:1");
    assert_eq!(shown("store.s3.endpoint"), "\"minio:9000\" <- conf.d/10-a.toml:4");
    assert_eq!(shown("store.s3.region"), "\"r2\" <- environment variable LIFEBOAT_STORE__S3__REGION");
    assert_eq!(shown("log.level"), "\"warn\" <- lifeboat.toml:9");
    assert_eq!(shown("log.format"), "\"auto\" <- default");
    assert_eq!(shown("cluster.members[cp1].name"), "\"cp1\" <- lifeboat.toml:4");
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn schedules_merge_by_name() {
    let names = |main: &str, later: &str| {
        let dir = files(&format!("{main}\n{MINIMAL}"), &[("x.toml", later)]);
        let schedules = load_from(&dir, &[]).unwrap().settings.schedules;
        schedules.iter().map(|s| format!("{} {}", s.name, s.schedule.as_str())).collect::<Vec<_>>().join("; ")
    };
    let two =
        "[[schedule]]\nname = \"a\"\ncron = \"@daily\"\ntimezone = \"Europe/Berlin\"\n[[schedule]]\nname = \"b\"\n";
    assert_eq!(names(two, ""), "a @daily; b 0 * * * *");
    assert_eq!(names(two, "[[schedule]]\nname = \"c\"\n"), "a @daily; b 0 * * * *; c 0 * * * *");
    assert_eq!(names(two, "[[schedule]]\nname = \"a\"\ncron = \"@weekly\"\n"), "a @weekly; b 0 * * * *");
    assert_eq!(names("schedule = []", ""), "");
    assert_eq!(names("", "[[schedule]]\ncron = \"@every 12h\""), "etcd-snapshot @every 12h");
}

#[test]
fn secrets_stay_hidden() {
    let good = format!(
        "{MINIMAL}[store]\nbackend = \"s3\"\n[store.s3]\nendpoint = \"h\"\nbucket = \"bbb\"\naccess_key = \"AKhunter2\"\nsecret_key = \"hunter2\"\n"
    );
    let loaded = load_text(&good).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let shown = loaded.explain();
    assert!(shown.iter().any(|e| e.key == "store.s3.secret_key" && e.value == "(set, not shown)"));
    assert!(shown.iter().all(|e| !e.value.contains("hunter2")));
    for broken in [
        "secret_key = \"hunter2",
        "secret_kye = \"hunter2\"",
        "secret_key = \"\"\"\nhunter2 = hunter2\n",
        "secret_key = hunter2",
        "secret_key = [\"hunter2\"]",
        "secret_key = \"hun\\u0007ter2 hunter2\"",
        "bucket = \"b\", secret_key = \"hunter2",
        "access_key = \"hunter2\" secret_key = \"hunter2\"",
        "secret_key = \"a\"\nsecret_key = \"hunter2\"",
        "s3 = { secret_key = \"hunter2\", buckett = 1 }",
        "x = { secret_key = \"hunter2\"",
        "\"hunter2",
        "secret_key \"hunter2\"",
    ] {
        let text = failure(&format!("{MINIMAL}[store.s3]\n{broken}\n"), &[], &[]);
        assert!(!text.contains("hunter2"), "{broken}\n{text}");
    }
    let text = failure(MINIMAL, &[], &[("LIFEBOAT_STORE__S3__SECRET_KEY", "hunter2\n")]);
    assert!(text.contains("SECRET_KEY") && !text.contains("hunter2"), "{text}");
}

#[test]
fn check_opens_what_is_named() {
    let dir = files(
        &format!(
            "{MINIMAL}[etcd]\nendpoint = \"https://h:1\"\nca_file = \"/does/not/exist\"\nusername = \"root\"\npassword_file = \"pw\"\n"
        ),
        &[],
    );
    let credentials = dir.path().to_str().unwrap();
    let token = dir.path().join("token");
    let env = [("CREDENTIALS_DIRECTORY", credentials), ("LIFEBOAT_CLUSTER__TOKEN_FILE", token.to_str().unwrap())];
    let loaded = load_from(&dir, &env).unwrap();
    let e = loaded.check().unwrap_err();
    assert!(e.message().starts_with("3 problems"), "{e}");
    for needle in ["cluster.token_file", "/does/not/exist", "/pw, which etcd.password_file names"] {
        assert!(e.message().contains(needle), "{needle}: {e}");
    }
    let secret = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o600)).unwrap();
    };
    secret("pw", "x");
    secret("token", "0123456789abcde");
    secret("ca", "-----BEGIN CERTIFICATE-----\n");
    let ca = dir.path().join("ca");
    let env: Vec<(&str, &str)> = env.into_iter().chain([("LIFEBOAT_ETCD__CA_FILE", ca.to_str().unwrap())]).collect();
    let e = load_from(&dir, &env).unwrap().check().unwrap_err();
    assert!(e.message().contains("fewer than 16") && !e.message().contains("0123456789"), "{e}");
    secret("token", "0123456789abcdef\n");
    load_from(&dir, &env).unwrap().check().unwrap();
}
