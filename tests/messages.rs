//! What a person reads at 3 a.m.: for each wrong situation the exit code, the object, the cause, and what to type next.
//!
//! The built binary against a real etcd and an S3 server; every output is also searched for secrets and for Rust's
//! `Debug` forms. See `messages/lab.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "messages/lab.rs"]
mod lab;
mod support;

use lab::{Case, Lab, case};
use nix::sys::signal::Signal;
use support::{ETCD_LATEST, EtcdOptions, EtcdProcess, Fault, Op, S3Options, S3Server, TestCa};

#[test]
#[rustfmt::skip]
fn of_the_configuration() {
    let lab = Lab::without_etcd();
    lab.file("open", "a-token-of-16-characters", 0o644);
    lab.file("empty", "", 0o600);
    lab.file("short", "short", 0o600);
    lab.file("garbage", "garbage", 0o600);
    let check = &["config", "check"];
    lab.all(&[
        case("syntax", &[("raw", "[node")], check, 78, &["{conf}:", "unclosed table", "[node"]),
        case("unknown key", &[("store.s3.buket", "\"b\"")], check, 78, &["unknown key \"buket\"", "did you mean \"bucket\""]),
        case("wrong type", &[("store.s3.insecure", "\"yes\"")], check, 78, &["{conf}:", "store.s3.insecure", "true or false"]),
        case("no name", &[("cluster.name", "-")], check, 78, &["error: cluster.name", "not set", "hint:"]),
        case("no bucket", &[("store.s3.bucket", "-")], check, 78, &["error: store.s3.bucket", "hint: set it in [store.s3]"]),
        case("half of the keys", &[("store.s3.access_key_file", "-")], &["ls"], 78, &["store.s3.access_key", "access_key_file"]),
        case("relative path", &[("etcd.data_dir", "\"data\"")], check, 78, &["etcd.data_dir", "absolute"]),
        case("no URL", &[("etcd.endpoint", "\"127.0.0.1:2379\"")], check, 78, &["etcd.endpoint", "not a URL", "https://10.0.0.1"]),
        case("no unit", &[("bootstrap.peer_wait", "90")], check, 78, &["bootstrap.peer_wait", "\"90s\""]),
        case("other node", &[("node.name", "\"cp9\"")], check, 78, &["node.name", "cp9", "cp1", "hint: set node.name"]),
        case("user without password", &[("etcd.username", "\"root\"")], check, 78, &["etcd.password_file", "both or neither"]),
        case("unknown user", &[("etcd.user", "\"no-such-user\"")], check, 78, &["etcd.user", "no-such-user", "no such user", "hint:", "getent passwd"]),
        case("variable", &[("env.LIFEBOAT_STORE__S3__BUKET", "x")], check, 78, &["LIFEBOAT_STORE__S3__BUKET", "did you mean LIFEBOAT_STORE__S3__BUCKET"]),
        case("variable's value", &[("env.LIFEBOAT_LOG__LEVEL", "loud")], check, 78, &["LIFEBOAT_LOG__LEVEL", "\"loud\"", "\"trace\""]),
        case("token missing", &[("cluster.token_file", "\"{dir}/nothing\"")], &["ls"], 78, &["{dir}/nothing", "cluster.token_file", "create {dir}/nothing"]),
        case("token open", &[("cluster.token_file", "\"{dir}/open\"")], &["ls"], 78, &["{dir}/open", "mode 0644", "chmod o-rwx {dir}/open"]),
        case("token empty", &[("cluster.token_file", "\"{dir}/empty\"")], &["ls"], 78, &["{dir}/empty", "is empty", "hint:"]),
        case("token short", &[("cluster.token_file", "\"{dir}/short\"")], &["save"], 78, &["{dir}/short", "fewer than 16", "/dev/urandom"]),
        case("CA is no PEM", &[("store.s3.ca_file", "\"{dir}/garbage\"")], &["ls"], 78, &["store.s3.ca_file", "{dir}/garbage", "hint:"]),
        case("https without CA", &[("etcd.endpoint", "\"https://127.0.0.1:2379\"")], check, 78, &["etcd.ca_file", "etcd/ca.crt"]),
    ]);
    for (path, says) in [("nothing.toml", "No such file"), (".", "not a file")] {
        let config = lab.path(path);
        let out = support::Lifeboat::new(["ls"]).config(&config).run().exits_with(78);
        lab.decent("configuration path", &out.says(&[says, "--config", &config.display().to_string(), "hint:"]));
    }
}

#[test]
#[rustfmt::skip]
fn of_the_store() {
    let mut lab = Lab::start();
    lab.file("secret", "CANARY-wrong-secret", 0o600);
    lab.file("token2", "CANARY-another-token", 0o600);
    let tls = S3Server::start_blocking(S3Options { tls: true, ..S3Options::default() });
    let other_ca = TestCa::new("another");
    let (https, http) = (format!("\"{}\"", tls.endpoint()), format!("\"{}\"", tls.endpoint().replace("https", "http")));
    let ca = format!("\"{}\"", other_ca.ca_file().display());
    let key: &[(&str, &str)] = &[("store.s3.access_key_file", "\"{dir}/secret\"")];
    let bucket: &[(&str, &str)] = &[("store.s3.bucket", "\"nothing\"")];
    let token: &[(&str, &str)] = &[("cluster.token_file", "\"{dir}/token2\"")];
    lab.all(&[
        case("bucket: ls", bucket, &["ls"], 1, &["s3://nothing/", "NoSuchBucket", "create the bucket \"nothing\"", "store.s3.bucket"]),
        case("bucket: save", bucket, &["save"], 1, &["whole in the spool", "NoSuchBucket", "create the bucket"]),
        case("bucket: restore", bucket, &["restore", "latest", "--data-dir", "{dir}/r"], 1, &["NoSuchBucket", "store.s3.bucket"]),
        case("key id", key, &["ls"], 1, &["InvalidAccessKeyId", "store.s3.access_key"]),
        case("secret", &[("store.s3.secret_key_file", "\"{dir}/secret\"")], &["ls"], 1, &["SignatureDoesNotMatch", "store.s3.secret_key"]),
        case("unknown CA", &[("store.s3.endpoint", &https), ("store.s3.insecure", "false")], &["ls"], 1, &[&https[1..20], "does not trust", "store.s3.ca_file"]),
        case("wrong CA", &[("store.s3.endpoint", &https), ("store.s3.insecure", "false"), ("store.s3.ca_file", &ca)], &["ls"], 1, &["CA", "store.s3.ca_file"]),
        case("http to https", &[("store.s3.endpoint", &http)], &["ls"], 1, &["hint:", "store.s3.endpoint"]),
        case("https to http", &[("store.s3.endpoint", "\"{s3host}\""), ("store.s3.insecure", "false")], &["ls"], 1, &["does not speak TLS", "store.s3.insecure = true"]),
        case("unknown host", &[("store.s3.endpoint", "\"http://no-such-host.invalid\"")], &["ls"], 1, &["no-such-host.invalid", "cannot be resolved", "getent hosts"]),
        case("token: ls", token, &["ls"], 0, &["{snap}", "another cluster token", "hint: put the token"]),
        case("token: save", token, &["save"], 5, &["no snapshot is taken with this cluster token", "another cluster token", "hint: put the token"]),
        case("token: verify", token, &["verify"], 5, &["{snap}", "another cluster token", "cluster.token_file"]),
        case("token: by name", token, &["verify", "{snap}"], 5, &["{snap}.manifest.json in s3://", "another cluster token", "cluster.token_file"]),
        case("token: restore", token, &["restore", "{snap}", "--data-dir", "{dir}/r"], 5, &["another cluster token", "cluster.token_file"]),
        case("token: restore-once", token, &["restore-once", "latest"], 5, &["another cluster token", "cluster.token_file"]),
        case("token: gate", &[("cluster.token_file", "\"{dir}/token2\""), ("etcd.data_dir", "\"{dir}/none\""), ("etcd.endpoint", "\"http://127.0.0.1:1\"")], &["bootstrap", "--deadline", "5s"], 4, &["P1 WAIT", "another cluster token", "hint:"]),
        case("other cluster", &[("cluster.name", "\"other\"")], &["verify", "{snap}"], 5, &["belongs to cluster \"demo\"", "cluster.name"]),
        case("no such name", &[], &["verify", "nothing"], 1, &["no snapshot nothing in s3://snapshots/demo", "lifeboat ls"]),
        case("no such name, JSON", &[], &["get", "nothing", "-o", "json"], 1, &["{\"error\":\"there is no snapshot nothing", "\"kind\":\"not_found\"", "\"hint\":\"", "\"exit_code\":1"]),
        case("delete asks", &[], &["delete", "{snap}"], 3, &["{snap}", "no terminal", "--yes"]),
        case("delete nothing", &[], &["delete", "nothing", "--yes"], 1, &["no snapshot nothing", "lifeboat ls"]),
        case("delete latest", &[], &["delete", "latest", "--yes"], 2, &["latest is not deleted", "lifeboat ls"]),
        case("no life", &[("store.s3.folder", "\"new\"")], &["declare-lost", "--reason", "x", "--yes"], 1, &["s3://snapshots/new", "no plan", "--dry-run"]),
        case("a life that answers", &[], &["declare-lost", "--reason", "x", "--yes"], 3, &["members of generation 1 answer", "lifeboat save --name survivor"]),
    ]);
    assert!(!lab.path("r").exists() && !lab.path("none").exists() && !lab.path("restore-once").exists());
    lab.s3().faults().always(Op::List, "", Fault::Hang);
    lab.all(&[case("silent store", &[], &["ls"], 1, &["still waiting", "did not answer for 20 s", "hint:"])]);
    lab.s3().faults().clear();
    lab.s3().go_down();
    let refused = ["refuses the connection", "store.s3.endpoint"];
    lab.all(&[
        case("down: ls", &[], &["ls"], 1, &refused),
        case("down: save", &[], &["save"], 1, &["still trying", "whole in the spool", refused[0], refused[1]]),
        case("down: ls --local", &[], &["ls", "--local"], 0, &["waits to be shipped"]),
        case("down: gate", &[("etcd.data_dir", "\"{dir}/none\""), ("etcd.endpoint", "\"http://127.0.0.1:1\"")], &["bootstrap", "--deadline", "4s"], 4, &["P1 WAIT", "is not an empty store", refused[0], refused[1], "etcd must not start"]),
    ]);
    assert!(!lab.path("none").exists());
}

#[test]
#[rustfmt::skip]
fn of_etcd() {
    let lab = Lab::start();
    lab.file("password", "CANARY-wrong-password", 0o600);
    lab.file("bob", "CANARY-password-of-bob", 0o600);
    let ca = TestCa::new("etcd");
    let strict =
        EtcdProcess::with(EtcdOptions { tls: Some((ca.ca_file(), ca.issue("etcd"))), ..EtcdOptions::new(ETCD_LATEST) });
    let (ours, other) = (ca.ca_file().display().to_string(), TestCa::new("another"));
    let tls = format!("\"{}\"", strict.endpoint());
    let (right, wrong) = (format!("\"{ours}\""), format!("\"{}\"", other.ca_file().display()));
    let plain_to_tls = tls.replace("https", "http");
    let save: &[&str] = &["save"];
    lab.all(&[
        case("down", &[("etcd.endpoint", "\"http://127.0.0.1:1\"")], save, 1, &["etcd http://127.0.0.1:1", "Connection refused", "is etcd running"]),
        case("unknown host", &[("etcd.endpoint", "\"http://no-such-host.invalid:2379\"")], save, 1, &["no-such-host.invalid", "etcd.endpoint"]),
        case("not etcd", &[("etcd.endpoint", "\"{s3}\"")], save, 1, &["{s3}", "etcd.endpoint"]),
        case("wrong CA", &[("etcd.endpoint", &tls), ("etcd.ca_file", &wrong)], save, 1, &["UnknownIssuer", "etcd.ca_file"]),
        case("no client certificate", &[("etcd.endpoint", &tls), ("etcd.ca_file", &right)], save, 1, &["etcd.cert_file", "etcd.key_file"]),
        case("http to https", &[("etcd.endpoint", &plain_to_tls)], save, 1, &["https://", "etcd.endpoint"]),
        case("state dir", &[("node.state_dir", "\"/proc/none\"")], save, 1, &["/proc/none", "node.state_dir"]),
        case("name", &[], &["save", "--name", "a b"], 2, &["--name", "\"a b\"", "hint:"]),
    ]);
    lab.etcd().signal(Signal::SIGSTOP);
    lab.all(&[case("hangs", &[], save, 1, &["no answer", "within 10 s", "journalctl -u etcd"])]);
    lab.etcd().signal(Signal::SIGCONT);
    lab.etcd().wait_healthy();
    for args in [
        &["user", "add", "root:CANARY-password-of-root"][..],
        &["user", "add", "bob:CANARY-password-of-bob"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        lab.etcd().etcdctl(args);
    }
    let login = |user, file| [("etcd.username", user), ("etcd.password_file", file)];
    lab.all(&[
        case("auth, no user", &[], save, 1, &["user name is empty", "etcd.username", "etcd.password_file"]),
        case("wrong password", &login("\"root\"", "\"{dir}/password\""), save, 1, &["invalid user ID or password", "etcd.password_file"]),
        case("no role", &login("\"bob\"", "\"{dir}/bob\""), save, 1, &["permission denied", "role"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn of_files_and_arguments() {
    let lab = Lab::start();
    let whole = lab.path("whole.db");
    lab.run(&[], &["get", "{snap}", "-f", "{dir}/whole.db"]).ok();
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(lab.path("cut.db"), &bytes[..bytes.len() - 600]).unwrap();
    lab.file("garbage.db", &"garbage ".repeat(800), 0o600);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &bytes).unwrap();
    let gz = gz.finish().unwrap();
    std::fs::write(lab.path("cut.db.gz"), &gz[..gz.len() / 2]).unwrap();
    lab.file("full/file", "x", 0o600);
    let restore =
        |more: &[&'static str]| [&["restore", "{dir}/whole.db", "--data-dir", "{dir}/new"][..], more].concat();
    let file = |name: &'static str| ["restore", name, "--data-dir", "{dir}/new"];
    lab.all(&[
        case("get: exists", &[], &["get", "{snap}", "-f", "{dir}/whole.db"], 3, &["{dir}/whole.db exists", "another file"]),
        case("get: no directory", &[], &["get", "{snap}", "-f", "{dir}/no/x.db"], 1, &["cannot write {dir}/no/x.db", "hint:"]),
        case("restore: not empty", &[], &["restore", "{snap}", "--data-dir", "{dir}/full"], 3, &["{dir}/full is not empty", "another directory"]),
        case("restore: no file", &[], &file("{dir}/no.db"), 1, &["no file {dir}/no.db", "lifeboat ls"]),
        case("restore: garbage", &[], &file("{dir}/garbage.db"), 5, &["{dir}/garbage.db", "hint:"]),
        case("restore: cut off", &[], &file("{dir}/cut.db"), 5, &["{dir}/cut.db", "nothing was put in place", "hint:"]),
        case("restore: cut gzip", &[], &file("{dir}/cut.db.gz"), 5, &["{dir}/cut.db.gz is damaged: it does not decompress", "hint:"]),
        case("restore: no name", &[], &file("nothing"), 1, &["no snapshot nothing", "lifeboat ls"]),
        case("restore: target is a file", &[], &["restore", "{snap}", "--data-dir", "{dir}/whole.db"], 1, &["{dir}/whole.db", "hint:"]),
        case("restore: bump alone", &[], &restore(&["--bump-revision", "9"]), 2, &["--mark-compacted"]),
        case("restore: mark alone", &[], &restore(&["--mark-compacted"]), 2, &["--bump-revision"]),
        case("restore: other name", &[], &restore(&["--name", "a"]), 2, &["member \"a\"", "initial cluster", "--name as one of: default"]),
        case("restore: other URL", &[], &restore(&["--name", "a", "--initial-cluster", "a=http://10.0.0.1:2380"]), 2, &["10.0.0.1", "localhost", "--initial-advertise-peer-urls"]),
        case("restore: no URL", &[], &restore(&["--initial-cluster", "default"]), 2, &["--initial-cluster \"default\"", "https://10.0.0.1:2380"]),
        case("inspect: nothing", &[], &["inspect", "{dir}/no"], 1, &["{dir}/no", "hint:"]),
        case("inspect: garbage", &[], &["inspect", "{dir}/garbage.db"], 5, &["{dir}/garbage.db", "hint:"]),
        case("facts: nothing", &[], &["bootstrap", "--facts", "{dir}/no"], 2, &["{dir}/no", "history"]),
        case("facts: garbage", &[], &["bootstrap", "--facts", "{dir}/garbage.db"], 2, &["{dir}/garbage.db", "history"]),
        case("deadline", &[], &["bootstrap", "--deadline", "5"], 2, &["'5'", "90s, 10m"]),
        case("ls both", &[], &["ls", "--local", "--remote"], 2, &["--local", "--remote", "--help"]),
        case("restore-once alone", &[], &["restore-once"], 2, &["<NAME>", "--help"]),
        case("no command", &[], &["lst"], 2, &["lst", "--help"]),
        case("quarantine: nothing", &[("etcd.data_dir", "\"{dir}/none\"")], &["quarantine", "add", "--yes"], 1, &["{dir}/none/member", "etcd.data_dir"]),
        case("quarantine asks", &[], &["quarantine", "add"], 3, &["member", "no terminal", "--yes"]),
    ]);
    assert!(!lab.path("new").exists(), "a failed restore left something behind");
    let none = support::Lifeboat::new([] as [&str; 0]).run().exits_with(2);
    lab.decent("no arguments", &none.says(&["Usage: lifeboat", "bootstrap", "Exit codes"]));
}

#[test]
#[rustfmt::skip]
fn of_the_gate() {
    let mut lab = Lab::start();
    let dry: &[&str] = &["bootstrap", "--dry-run"];
    let away = |dir: &'static str| [("etcd.data_dir", dir), ("etcd.endpoint", "\"http://127.0.0.1:1\"")];
    lab.file("damaged/member/snap/db", "not a db", 0o600);
    lab.file("odd/file", "x", 0o600);
    let members =
        "[{ name = \"cp9\", peer_urls = [\"http://127.0.0.1:2380\"], client_urls = [\"http://127.0.0.1:2379\"] }]";
    let renamed = [("node.name", "\"cp9\""), ("cluster.members", members), ("store.s3.folder", "\"demo\"")];
    let with = |key, value| [&away("\"{dir}/none\"")[..], &[(key, value)]].concat();
    lab.all(&[
        case("runs", &[], dry, 0, &["in use", "D0", "start: etcd may start now", "nothing was changed"]),
        case("lost", &away("\"{dir}/none\""), dry, 0, &["absent", "S2", "make plan 2 (restore): restore snapshot {snap}", "1. fetch and verify"]),
        case("first boot", &with("store.s3.folder", "\"new\""), dry, 0, &["N1", "make plan 1 (init): form a new, empty cluster"]),
        case("no snapshots", &[&with("store.s3.folder", "\"new\"")[..], &[("bootstrap.initial_cluster_state", "\"existing\"")]].concat(), dry, 3, &["S5", "refuse, a person must choose", "--init-empty"]),
        case("autorestore off", &with("bootstrap.autorestore", "false"), dry, 3, &["S3", "autorestore", "{snap}"]),
        case("pin", &with("bootstrap.snapshot", "\"nothing\""), dry, 3, &["S1", "bootstrap.snapshot names nothing", "lifeboat ls"]),
        case("damaged", &away("\"{dir}/damaged\""), dry, 3, &["D2", "{dir}/damaged/member", "lifeboat quarantine add"]),
        case("odd", &away("\"{dir}/odd\""), &["bootstrap", "--deadline", "2s"], 3, &["D2 REFUSE", "{dir}/odd", "hint:", "by hand"]),
        case("store down", &with("store.s3.endpoint", "\"http://127.0.0.1:1\""), dry, 4, &["P1", "wait for the store", "refuses the connection", "store.s3.endpoint"]),
        case("renamed, and the old one serves", &[&away("\"{dir}/none\"")[..], &renamed].concat(), dry, 0, &["L1", "join the live cluster anew"]),
        case("renamed: save", &renamed, &["save"], 0, &["warning: etcd's members cp1 are not in cluster.members"]),
        case("two causes", &with("store.s3.bucket", "\"nothing\""), dry, 4, &["P1", "NoSuchBucket", "create the bucket"]),
    ]);
    lab.stop_etcd();
    lab.all(&[
        case("renamed", &[&away("\"{dir}/none\"")[..], &renamed].concat(), dry, 4, &["C1", "voters that are no longer configured", "(cp1)", "cluster.members", "lifeboat declare-lost --reason WHY"]),
    ]);
    let said = lab.run(&with("store.s3.bucket", "\"nothing\""), &["bootstrap", "--deadline", "3s"]).exits_with(4);
    assert_eq!(said.stderr.matches("P1 WAIT").count(), 1, "the same is said twice: {}", said.text());
    let restored = lab.run(&away("\"{dir}/none\""), &["bootstrap", "--deadline", "60s"]).ok();
    lab.decent("restore", &restored.says(&["S2 PLAN", "R1 APPLY", "D7 START"]));
    let history = std::fs::read_dir(lab.path("gate/history")).unwrap().map(|f| f.unwrap().path()).min().unwrap();
    let replay: &[&str] = &["bootstrap", "--facts", &history.display().to_string()];
    let replayed: &[Case<'_>] = &[case("replay", &[], replay, 3, &["D2", "{dir}/odd", "the data dir is damaged", "nothing was changed"])];
    lab.all(replayed);
}
