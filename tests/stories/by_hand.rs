//! `lifeboat restore` by hand: three members from every kind of source, booted as one cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::host::{BUMP, Host, etcdutl, int, string, text, tool};
use crate::support::{Dump, ETCD_3_4, ETCD_3_5, ETCD_LATEST, EtcdOptions, EtcdPorts, EtcdProcess, Fill, dump};

/// A snapshot in the store, and the same as files.
struct Sources {
    host: Host,
    name: String,
    before: Dump,
}

impl Sources {
    async fn new(version: &str, folder: &str) -> Sources {
        let host = Host::new(version, folder).await;
        let mut etcd = host.start_etcd();
        Fill { keys: 700, large: 1, compact: true, seed: 23 }.run(&etcd).await;
        let before = dump(&etcd).await;
        let name = string(&host.save("by-hand")["name"]);
        etcd.stop();
        Sources { host, name, before }
    }

    fn file(&self, kind: &str) -> PathBuf {
        let plain = self.host.path("plain.db");
        if !plain.exists() {
            self.host.run(&["get", &self.name, "--file", &text(&plain)]).ok();
        }
        let to = self.host.path(&format!("source{kind}"));
        match kind {
            // As `gzip` and the zstd library write them, not as we do.
            ".db.gz" => {
                fs::copy(&plain, self.host.path("source.db")).unwrap();
                tool(Path::new("gzip"), &["--keep", "--force", "--best", &text(&self.host.path("source.db"))]);
            }
            ".db.zst" => fs::write(&to, zstd::encode_all(fs::File::open(&plain).unwrap(), 3).unwrap()).unwrap(),
            // The live file of a stopped member: it has no digest at its end.
            ".copied" => drop(fs::copy(self.host.data_dir().join("member/snap/db"), &to).unwrap()),
            _ => drop(fs::copy(&plain, &to).unwrap()),
        }
        to
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_from_every_kind_of_source_form_one_cluster() {
    let sources = Sources::new(ETCD_LATEST, "hand-3530").await;
    let cases: [(&str, &[&str]); 7] = [
        ("store", &[]),
        ("latest", &["--bump-revision", "1000000000", "--mark-compacted"]),
        (".db", &[]),
        (".db.gz", &["--bump-revision", "1000000000", "--mark-compacted"]),
        (".db.zst", &[]),
        // A name that says nothing: the content decides.
        ("", &[]),
        (".copied", &["--skip-hash-check"]),
    ];
    for (source, flags) in cases {
        three_members(&sources, source, flags, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_with_wal_dirs_of_their_own_on_each_etcd() {
    for (version, folder) in [(ETCD_3_4, "hand-34"), (ETCD_3_5, "hand-3516")] {
        let sources = Sources::new(version, folder).await;
        three_members(&sources, "store", &["--bump-revision", "1000000000", "--mark-compacted"], true).await;
        three_members(&sources, ".db.gz", &[], true).await;
    }
}

async fn three_members(sources: &Sources, source: &str, flags: &[&str], wal: bool) {
    let host = &sources.host;
    let what = format!("{source:?} {flags:?} wal {wal} on {}", host.version);
    let from = match source {
        "store" => sources.name.clone(),
        "latest" => source.to_owned(),
        kind => text(&sources.file(kind)),
    };
    let stage = tempfile::Builder::new().prefix("members-").tempdir_in(host.dir.path()).unwrap();
    let ports: Vec<_> = (0..3).map(|_| EtcdPorts::reserve()).collect();
    let cluster: Vec<String> = ports.iter().enumerate().map(|(i, p)| format!("m{i}={}", p.peer_url())).collect();
    let cluster = cluster.join(",");
    let mut members = Vec::new();
    let mut ids = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let (name, data) = (format!("m{i}"), stage.path().join(format!("data-{i}")));
        let (data_text, peer) = (text(&data), port.peer_url());
        let mut args = vec!["restore", &from, "--data-dir", &data_text, "--name", &name];
        args.extend(["--initial-cluster", &cluster, "--initial-cluster-token", "by-hand"]);
        args.extend(["--initial-advertise-peer-urls", &peer]);
        args.extend(flags);
        let wal_dir = wal.then(|| stage.path().join(format!("wal-{i}")));
        let wal_text = wal_dir.as_deref().map(text).unwrap_or_default();
        if wal {
            args.extend(["--wal-dir", &wal_text]);
        }
        let report = host.json(&args);
        ids.push((string(&report["cluster_id"]), string(&report["member_id"])));
        let bump = if flags.contains(&"--mark-compacted") { BUMP } else { 0 };
        assert_eq!(int(&report["revision"]), sources.before.revision + bump, "{what}");
        assert_eq!(int(&report["snapshot_revision"]), sources.before.revision, "{what}");
        assert_eq!(report["live_keys"], 700, "{what}");
        assert_eq!(report["digest_verified"], source != ".copied", "{what}");
        assert_eq!(data.join("member/wal").exists(), !wal, "{what}");
        let left: Vec<_> = fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["member"], "{what}: nothing else in the data dir");
        members.push(EtcdOptions {
            name: Some(name.clone()),
            data_dir: Some(data),
            wal_dir,
            initial_cluster: Some(cluster.clone()),
            initial_cluster_token: Some("by-hand".to_owned()),
            ports: Some(port.clone()),
            ..EtcdOptions::new(&host.version)
        });
    }
    assert!(ids.iter().all(|(c, _)| *c == ids[0].0) && ids[0].1 != ids[1].1 && ids[1].1 != ids[2].1, "{ids:?}");
    let mut members: Vec<EtcdProcess> = members.into_iter().map(EtcdProcess::launch).collect();
    members.iter().for_each(EtcdProcess::wait_healthy);
    for member in &members {
        sources.before.assert_same_keys(&dump(member).await);
        let listed = member.etcdctl(&["member", "list"]);
        assert_eq!(listed.lines().filter(|l| l.contains(", started, ")).count(), 3, "{what}: {listed}");
        for (_, id) in &ids {
            assert!(listed.contains(id), "{what}: {id} is not in {listed}");
        }
    }
    // Any two of three may write, so each member takes part.
    for (i, member) in members.iter().enumerate() {
        member.etcdctl(&["put", &format!("after/{i}"), "written"]);
    }
    let revision = agree(&members, &what).await;
    members[1].stop();
    members[0].etcdctl(&["put", "after/with-two", "written"]);
    members[1].restart();
    assert_eq!(agree(&members, &what).await, revision + 1, "{what}");
}

/// Waits until all members are at the same revision, and compares what they hold by their own hash.
async fn agree(members: &[EtcdProcess], what: &str) -> i64 {
    let mut revision = 0;
    for member in members {
        // A linearizable read: behind it the member has applied all that was written before.
        let got = member.client().await.get("after/0", None).await.unwrap();
        revision = revision.max(got.header().unwrap().revision());
    }
    let mut hashes = Vec::new();
    for member in members {
        let hash = member.client().await.hash_kv(revision).await.unwrap();
        hashes.push((hash.hash(), hash.compact_version()));
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{what}: HashKV {hashes:?}");
    revision
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_by_hand_is_what_etcdutl_restores() {
    let sources = Sources::new(ETCD_LATEST, "hand-utl").await;
    let file = text(&sources.file(".db"));
    for (flags, wal) in [(vec![], false), (vec!["--bump-revision", "1000", "--mark-compacted"], true)] {
        let names = if wal { ["ours-2", "theirs-2"] } else { ["ours-1", "theirs-1"] };
        let dirs = names.map(|n| sources.host.path(n));
        for dir in &dirs {
            let (data, wal_dir) = (text(&dir.join("data")), text(&dir.join("wal")));
            let mut args = vec!["restore", &file, "--data-dir", &data, "--name", "a"];
            args.extend(["--initial-cluster", "a=http://127.0.0.1:12380,b=http://127.0.0.1:12381"]);
            args.extend(["--initial-advertise-peer-urls", "http://127.0.0.1:12380"]);
            args.extend(["--initial-cluster-token", "t"]);
            args.extend(flags.iter());
            if wal {
                args.extend(["--wal-dir", &wal_dir]);
            }
            if *dir == dirs[0] {
                sources.host.run(&args).ok();
            } else {
                etcdutl(&[&["snapshot"][..], &args].concat());
            }
        }
        let wal_of = |dir: &Path| if wal { dir.join("wal") } else { dir.join("data/member/wal") };
        for (kind, ours, theirs) in [
            ("WAL", wal_of(&dirs[0]), wal_of(&dirs[1])),
            ("snap", dirs[0].join("data/member/snap"), dirs[1].join("data/member/snap")),
        ] {
            let list = |dir: &Path| {
                let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
                names.sort();
                names
            };
            assert_eq!(list(&ours), list(&theirs), "{kind}");
            for name in list(&ours).into_iter().filter(|n| n != "db") {
                let (a, b) = (fs::read(ours.join(&name)).unwrap(), fs::read(theirs.join(&name)).unwrap());
                assert!(a == b, "{kind} {name:?} differs: {} and {} bytes", a.len(), b.len());
            }
        }
        let status =
            dirs.map(|d| etcdutl(&["snapshot", "status", &text(&d.join("data/member/snap/db")), "-w", "json"]));
        let hash = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["hash"].clone();
        assert!(hash(&status[0]).is_number());
        assert_eq!(hash(&status[0]), hash(&status[1]), "{status:?}");
    }
}
