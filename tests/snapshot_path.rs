//! The snapshot path with real etcd processes: save under load, ship, verify, fetch; what a person reads when etcd cannot be
//! reached; and kill -9 at every step.

#![allow(clippy::print_stderr)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_lifeboat::catalog::records::Records;
use etcd_lifeboat::catalog::snapshots::Snapshots;
use etcd_lifeboat::config::ConfiguredFile;
use etcd_lifeboat::core::manifest::Origin;
use etcd_lifeboat::core::model::{ClusterName, Compression, Generation, NodeName, Revision};
use etcd_lifeboat::crypto::{Keyring, Token};
use etcd_lifeboat::etcd::{EndpointOptions, EtcdEndpoint, Limits};
use etcd_lifeboat::ports::{Etcd, EtcdErrorKind};
use etcd_lifeboat::snapshot::save::SaveRequest;
use etcd_lifeboat::snapshot::spool::Spool;
use etcd_lifeboat::snapshot::{FAILPOINTS, commands, save, ship};
use etcd_lifeboat::store::dir::DirStore;
use etcd_lifeboat::sys::clock::SystemClock;
use secrecy::SecretString;
use support::process::{guarded, minimal_env, spawn, wait_child};
use support::{ETCD_LATEST, ETCD_VERSIONS, EtcdOptions, EtcdProcess, Fill, TestCa, tools};

/// One host's spool and the store, below one directory.
struct Site {
    spool: Spool,
    snapshots: Snapshots,
    clock: SystemClock,
}

impl Site {
    fn below(dir: &Path) -> Site {
        let clock = SystemClock::new();
        std::fs::create_dir_all(dir.join("store")).unwrap();
        let store = DirStore::open(dir.join("store"), Arc::new(clock.clone())).unwrap();
        let token = Token::new(&SecretString::from("a token for the snapshot path")).unwrap();
        let cluster = ClusterName::new("test").unwrap();
        let records = Records::new(Arc::new(store), Arc::new(Keyring::new(token)), cluster);
        Site { spool: Spool::open(&dir.join("spool"), 3, 0).unwrap(), snapshots: Snapshots::new(records), clock }
    }

    async fn save(&self, etcd: &dyn Etcd, request: &SaveRequest) -> etcd_lifeboat::error::Result<commands::SaveReport> {
        commands::save(etcd, &self.snapshots, &self.clock, &self.spool, request, &|_, _| ()).await
    }
}

fn request() -> SaveRequest {
    SaveRequest {
        prefix: "etcd-snapshot".into(),
        origin: Origin::OnDemand,
        compression: Compression::Gzip,
        ships: true,
        effort: etcd_lifeboat::snapshot::effort::Effort::default(),
        generation: Generation(1),
        node: NodeName::new("cp1").unwrap(),
        tags: BTreeMap::new(),
        hash_check: true,
        newest_known: None,
    }
}

fn plain(url: &str) -> EndpointOptions {
    EndpointOptions { url: url.to_owned(), ..EndpointOptions::default() }
}

/// Writes without pause until it is told to stop.
fn writer(etcd: &EtcdProcess, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let url = etcd.endpoint();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = etcd_client::Client::connect([url], None).await.unwrap();
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                client.put(format!("load/{}", written % 50), vec![7u8; 500], None).await.unwrap();
                written += 1;
            }
            written
        })
    })
}

/// What `etcdutl snapshot status` says: (revision, keys as it counts them).
fn status(file: &Path) -> i64 {
    let mut command = guarded(&tools::etcd(ETCD_LATEST, "etcdutl"));
    let out = command.args(["snapshot", "status", "-w", "json"]).arg(file).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    json["revision"].as_i64().unwrap()
}

#[test]
fn under_a_load_of_writes_the_manifest_tells_the_revision_of_the_file_itself() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for version in ETCD_VERSIONS {
        let member = EtcdProcess::start(version);
        runtime.block_on(Fill { compact: true, ..Fill::small(2_000) }.run(&member));
        let dir = tempfile::tempdir().unwrap();
        let site = Site::below(dir.path());
        let etcd = EtcdEndpoint::new(plain(&member.endpoint()));
        let stop = Arc::new(AtomicBool::new(false));
        let load = writer(&member, stop.clone());
        let reports: Vec<_> = (0..3)
            .map(|n| {
                let compression = [Compression::Gzip, Compression::Zstd, Compression::None][n];
                runtime.block_on(site.save(&etcd, &SaveRequest { compression, ..request() })).unwrap()
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        assert!(load.join().unwrap() > 0);

        for report in &reports {
            assert!(report.shipped, "{version}: {:?}", report.not_shipped);
            assert!(report.warnings.is_empty(), "{version}: {:?}", report.warnings);
            let m = &report.manifest;
            assert_eq!(m.etcd_version, *version);
            assert_eq!(m.voters.len(), 1);
            assert!(m.quorum && m.hash_kv.is_some());
            let name = m.name.as_str();
            let file = dir.path().join("plain.db");
            runtime.block_on(commands::get(&site.snapshots, name, Some(&file), |_| ())).unwrap();
            assert_eq!(status(&file), m.revision.0, "{version}: {name}");
            std::fs::remove_file(&file).unwrap();
            let node = NodeName::new("cp1").unwrap();
            let proof =
                runtime.block_on(commands::verify(&site.snapshots, name, dir.path(), &node, &site.clock)).unwrap();
            assert!(proof.ok, "{version}: {:?}", proof.problem);
            assert_eq!(proof.hash_kv, m.hash_kv, "{version}: the server's HashKV was computed again from the file");
        }
        let revisions: Vec<Revision> = reports.iter().map(|r| r.manifest.revision).collect();
        assert!(revisions.is_sorted() && revisions[0] < revisions[2], "{version}: the load went on: {revisions:?}");
        let latest = runtime.block_on(site.snapshots.resolve("latest")).unwrap();
        assert_eq!(latest.revision, revisions[2]);
    }
}

#[test]
fn the_payload_restores_without_us() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let member = EtcdProcess::start(ETCD_LATEST);
    runtime.block_on(Fill::small(500).run(&member));
    let before = runtime.block_on(support::dump(&member));
    let dir = tempfile::tempdir().unwrap();
    let site = Site::below(dir.path());
    let report = runtime.block_on(site.save(&EtcdEndpoint::new(plain(&member.endpoint())), &request())).unwrap();
    let object = dir.path().join("store").join(report.manifest.payload_key());
    let file = dir.path().join("by-hand.db");
    let unpacked = guarded(Path::new("/bin/gunzip")).arg("-c").arg(&object).output().unwrap();
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    std::fs::write(&file, unpacked.stdout).unwrap();
    let data = dir.path().join("restored");
    // etcdutl checks the digest here, and refuses without it.
    let ports = support::etcd::EtcdPorts::reserve();
    let out = guarded(&tools::etcd(ETCD_LATEST, "etcdutl"))
        .args(["snapshot", "restore", "--name", "m1", "--data-dir"])
        .arg(&data)
        .arg("--initial-cluster")
        .arg(format!("m1={}", ports.peer_url()))
        .arg("--initial-advertise-peer-urls")
        .arg(ports.peer_url())
        .arg(&file)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let restored =
        EtcdProcess::with(EtcdOptions { data_dir: Some(data), ports: Some(ports), ..EtcdOptions::new(ETCD_LATEST) });
    let after = runtime.block_on(support::dump(&restored));
    assert_eq!(before.revision, after.revision);
    before.assert_same_keys(&after);
}

/// Fails the call and gives kind, text and hint.
fn refusal(runtime: &tokio::runtime::Runtime, options: EndpointOptions) -> (EtcdErrorKind, String) {
    let etcd = EtcdEndpoint::new(options);
    let failed = runtime.block_on(async {
        match etcd.linearizable_read().await {
            Err(e) => Err(e),
            Ok(_) => etcd.snapshot().await.map(drop),
        }
    });
    let e = failed.expect_err("this must fail");
    eprintln!("{}\n    hint: {}", e.text, e.hint.as_deref().unwrap_or("-"));
    (e.kind, format!("{} {}", e.text, e.hint.unwrap_or_default()))
}

#[test]
fn tls_failures_say_which_file_to_change() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (ours, other) = (TestCa::new("ours"), TestCa::new("other"));
    let server = ours.issue("127.0.0.1");
    let member =
        EtcdProcess::with(EtcdOptions { tls: Some((ours.ca_file(), server)), ..EtcdOptions::new(ETCD_LATEST) });
    let pair = |ca: &TestCa| {
        let files = ca.issue("127.0.0.1");
        Some((ConfiguredFile::new("etcd.cert_file", files.cert), ConfiguredFile::new("etcd.key_file", files.key)))
    };
    let trust = |ca: &TestCa| Some(ConfiguredFile::new("etcd.ca_file", ca.ca_file()));
    let good = EndpointOptions { ca_file: trust(&ours), cert_and_key: pair(&ours), ..plain(&member.endpoint()) };
    runtime.block_on(EtcdEndpoint::new(good.clone()).linearizable_read()).unwrap();

    for (options, kind, word) in [
        (EndpointOptions { ca_file: trust(&other), ..good.clone() }, EtcdErrorKind::Tls, "etcd.ca_file"),
        (EndpointOptions { ca_file: None, ..good.clone() }, EtcdErrorKind::Tls, "etcd.ca_file"),
        (EndpointOptions { cert_and_key: None, ..good.clone() }, EtcdErrorKind::Tls, "etcd.cert_file"),
        (EndpointOptions { cert_and_key: pair(&other), ..good.clone() }, EtcdErrorKind::Tls, "etcd.cert_file"),
        (plain(&member.endpoint().replace("https", "http")), EtcdErrorKind::Unreachable, "https"),
    ] {
        let (is, text) = refusal(&runtime, options);
        assert_eq!(is, kind, "{text}");
        assert!(text.contains(word), "{text}");
    }
    let clear = EtcdProcess::start(ETCD_LATEST);
    let (is, text) = refusal(&runtime, EndpointOptions { url: clear.endpoint().replace("http", "https"), ..good });
    assert_eq!(is, EtcdErrorKind::Tls, "{text}");
    assert!(text.contains("http://"), "{text}");
}

#[test]
fn auth_failures_say_which_setting_to_change_and_hold_no_password() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for version in ETCD_VERSIONS {
        let member = EtcdProcess::start(version);
        let login = |name: &str, password: &str| EndpointOptions {
            login: Some((name.to_owned(), SecretString::from(password.to_owned()))),
            ..plain(&member.endpoint())
        };
        // Auth is off and a user is configured: that works.
        runtime.block_on(EtcdEndpoint::new(login("root", "correct-horse")).linearizable_read()).unwrap();
        for args in [
            &["user", "add", "root:correct-horse"][..],
            &["user", "grant-role", "root", "root"],
            &["user", "add", "plain:battery-staple"],
            &["auth", "enable"],
        ] {
            member.etcdctl(args);
        }
        for (options, word) in [
            (plain(&member.endpoint()), "etcd.username"),
            (login("root", "wrong-battery"), "etcd.password_file"),
            (login("nobody", "wrong-battery"), "etcd.password_file"),
        ] {
            let (is, text) = refusal(&runtime, options);
            assert_eq!(is, EtcdErrorKind::Denied, "{version}: {text}");
            assert!(text.contains(word) && !text.contains("battery"), "{version}: {text}");
        }
        assert!(!format!("{:?}", login("root", "correct-horse")).contains("horse"));

        let dir = tempfile::tempdir().unwrap();
        let site = Site::below(dir.path());
        let root = EtcdEndpoint::new(login("root", "correct-horse"));
        let report = runtime.block_on(site.save(&root, &request())).unwrap();
        assert!(report.shipped && report.manifest.auth && report.manifest.quorum, "{version}: {report:?}");
        // A user without any role still proves the quorum, where etcd lets it ask for the status (until 3.5.30).
        let unprivileged = EtcdEndpoint::new(login("plain", "battery-staple"));
        match runtime.block_on(unprivileged.linearizable_read()) {
            Ok(revision) => assert!(revision >= Revision(1), "{version}"),
            Err(e) => {
                assert_eq!((e.kind, version), (EtcdErrorKind::Denied, ETCD_LATEST), "{e}");
                assert!(e.hint.is_some_and(|h| h.contains("root")));
            }
        }
    }
}

#[test]
fn an_etcd_that_is_down_or_frozen_ends_every_wait() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut member = EtcdProcess::start(ETCD_LATEST);
    runtime.block_on(Fill { large: 30, ..Fill::small(100) }.run(&member));
    let second = Duration::from_secs(1);
    let limits = Limits { connect: second, call: second, hash: second, stall: second };
    let options = EndpointOptions { limits, ..plain(&member.endpoint()) };
    let etcd = EtcdEndpoint::new(options.clone());
    let dir = tempfile::tempdir().unwrap();
    let site = Site::below(dir.path());

    let stalled = runtime.block_on(async {
        let mut stream = etcd.snapshot().await.unwrap();
        stream.next().await.unwrap().unwrap();
        member.signal(nix::sys::signal::Signal::SIGSTOP);
        loop {
            match stream.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a frozen etcd ended the stream well"),
                Err(e) => break e,
            }
        }
    });
    assert_eq!(stalled.kind, EtcdErrorKind::BrokenStream, "{stalled}");
    let failed = runtime.block_on(site.save(&etcd, &request())).unwrap_err();
    println!("{}", failed.one_line());
    assert!(failed.message().contains("no answer"), "{failed:?}");
    member.signal(nix::sys::signal::Signal::SIGCONT);
    runtime.block_on(site.save(&EtcdEndpoint::new(plain(&member.endpoint())), &request())).unwrap();
    member.kill9();
    let (is, text) = refusal(&runtime, options);
    assert_eq!(is, EtcdErrorKind::Unreachable, "{text}");
    assert!(text.contains("is etcd running"), "{text}");
    let waiting = site.spool.list(site.snapshots.records()).unwrap();
    assert_eq!(waiting.entries.len(), 1, "what failed left nothing in the spool");
}

const CHILD: &str = "LIFEBOAT_TEST_CHILD";

/// Not a test of its own: the process that is killed. It saves and ships once, below the directory in the environment.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    etcd_lifeboat::sys::failpoint::arm();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let site = Site::below(Path::new(&dir));
    let url = std::env::var("LIFEBOAT_TEST_ETCD").unwrap();
    site.spool.clean(site.snapshots.records()).unwrap();
    let report = runtime.block_on(site.save(&EtcdEndpoint::new(plain(&url)), &request())).unwrap();
    assert!(report.shipped);
}

#[test]
fn kill_9_at_every_step_loses_nothing_and_lists_only_whole_snapshots() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let member = EtcdProcess::start(ETCD_LATEST);
    runtime.block_on(Fill::small(300).run(&member));
    // It has its own rung: a name that is taken in the store.
    for point in FAILPOINTS.iter().filter(|p| **p != "ship.before_rename") {
        let dir = tempfile::tempdir().unwrap();
        let run = |failpoints: &str| {
            let mut command = guarded(&std::env::current_exe().unwrap());
            command.args(["--exact", "child", "--test-threads", "1"]).env_clear().envs(minimal_env());
            command.env(CHILD, dir.path()).env("LIFEBOAT_TEST_ETCD", member.endpoint());
            command.env("FAILPOINTS", failpoints).stdout(Stdio::null()).stderr(Stdio::null());
            wait_child(&mut spawn(command), Duration::from_secs(60)).expect("the child ended")
        };
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(run(&format!("{point}=return(kill)")).signal(), Some(9), "{point} was not reached");

        let site = Site::below(dir.path());
        let whole = |when: &str| {
            let listing = runtime.block_on(site.snapshots.list()).unwrap();
            for entry in &listing.entries {
                let c = entry.state.as_deref().expect("a manifest that verifies");
                assert_eq!(c.damage(), None, "{point}: {when}");
                assert!(runtime.block_on(site.snapshots.payload_is(&c.manifest)).unwrap(), "{point}: {when}");
            }
            listing.entries.len()
        };
        whole("right after the kill");
        site.spool.clean(site.snapshots.records()).unwrap();
        runtime.block_on(ship::ship_all(&site.snapshots, &site.spool, &|_, _| ())).unwrap();
        let saved_before =
            FAILPOINTS.iter().position(|p| p == point) >= FAILPOINTS.iter().position(|p| *p == "save.after_manifest");
        assert_eq!(whole("after the next start"), usize::from(saved_before), "{point}");
        assert!(run("").success(), "{point}: the next run");
        assert_eq!(whole("after the next run"), usize::from(saved_before) + 1, "{point}");
        for file in std::fs::read_dir(site.spool.dir()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(!name.contains(".part") && !name.contains(".manifest.json"), "{point}: {name} was left");
        }
    }
}

#[test]
fn kill_9_while_a_taken_name_is_changed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let member = EtcdProcess::start(ETCD_LATEST);
    let dir = tempfile::tempdir().unwrap();
    let site = Site::below(dir.path());
    let etcd = EtcdEndpoint::new(plain(&member.endpoint()));
    let saved =
        runtime.block_on(save::save(&etcd, site.snapshots.records(), &site.clock, &site.spool, &request())).unwrap();
    let taken = dir.path().join("store").join(saved.manifest.payload_key());
    std::fs::create_dir_all(taken.parent().unwrap()).unwrap();
    std::fs::write(&taken, "another host's upload").unwrap();
    let mut command = guarded(&std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--test-threads", "1"]).env_clear().envs(minimal_env());
    command.env(CHILD, dir.path()).env("LIFEBOAT_TEST_ETCD", member.endpoint());
    command.env("FAILPOINTS", "ship.before_rename=return(kill)").stdout(Stdio::null()).stderr(Stdio::null());
    let status = wait_child(&mut spawn(command), Duration::from_secs(60)).expect("the child ended");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(9));
    site.spool.clean(site.snapshots.records()).unwrap();
    let report = runtime.block_on(ship::ship_all(&site.snapshots, &site.spool, &|_, _| ())).unwrap();
    assert_eq!((report.shipped.len(), report.failed.len()), (2, 0), "{report:?}");
    assert_eq!(std::fs::read(&taken).unwrap(), b"another host's upload");
    assert_eq!(runtime.block_on(site.snapshots.list()).unwrap().committed().count(), 2);
}
