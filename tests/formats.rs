//! etcd's file formats against real etcd: what we read is what it says, what we build is what etcdutl builds, and boots.
//!
//! Needs the etcd binaries of `make tools`; without them every test fails and says so.
#![allow(clippy::disallowed_methods, reason = "these tests start real etcd processes and wait for them")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test; the lint knows only #[test] functions"
)]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use etcd_client::{Client, CompactionOptions, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp};
use etcd_lifeboat::bolt::reader::Image;
use etcd_lifeboat::core::model::Revision;
use etcd_lifeboat::datadir::hash::{HashKv, hash_kv};
use etcd_lifeboat::datadir::inspect_dir::{DirState, inspect_dir};
use etcd_lifeboat::datadir::inspect_file::inspect_file;
use etcd_lifeboat::datadir::restore::{self, Expected, InitialMember, RestoreSpec};
use etcd_lifeboat::datadir::stream_index::{RevisionIndex, StreamFacts};
use etcd_lifeboat::datadir::trailer::TrailerSplitter;
use support::ports::Port;

const VERSIONS: [&str; 3] = ["3.4.23", "3.5.16", "3.5.30"];

fn tool(version: &str, name: &str) -> PathBuf {
    let root = std::env::var_os("LIFEBOAT_TOOLS").map(PathBuf::from).unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        cache.unwrap_or_else(home).join("etcd-lifeboat").join("tools")
    });
    let path = root.join(format!("etcd-{version}")).join(name);
    assert!(path.is_file(), "{} is missing: run `make tools`, or set LIFEBOAT_TOOLS", path.display());
    path
}

fn run(command: &mut Command) -> String {
    let out = command.env("ETCDCTL_API", "3").stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Held until the process ends: etcd is restarted on it.
fn free_port() -> u16 {
    static HELD: Mutex<Vec<Port>> = Mutex::new(Vec::new());
    let port = Port::reserve();
    let number = port.number();
    HELD.lock().unwrap().push(port);
    number
}

/// A running etcd; killed when dropped.
struct Etcd {
    child: Child,
    url: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    fn start(version: &str, dir: &Path, name: &str, peer: &str, cluster: &str, more: &[&str]) -> Etcd {
        let url = format!("http://127.0.0.1:{}", free_port());
        let log = File::options().create(true).append(true).open(dir.with_extension("log")).unwrap();
        let child = Command::new(tool(version, "etcd"))
            .args(["--data-dir".as_ref(), dir.as_os_str()])
            .args(["--name", name, "--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", cluster, "--log-level", "warn", "--logger", "zap"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Etcd { child, url }
    }

    /// A new single-member cluster.
    fn single(version: &str, dir: &Path) -> Etcd {
        let peer = format!("http://127.0.0.1:{}", free_port());
        Etcd::start(version, dir, "n1", &peer, &format!("n1={peer}"), &[])
    }

    /// A client, once the member serves linearizable reads.
    async fn ready(&mut self) -> Client {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("etcd at {} ended: {status}", self.url);
            }
            if let Ok(mut client) = Client::connect([&self.url], None).await {
                let read = tokio::time::timeout(Duration::from_secs(2), client.get("x", None)).await;
                if matches!(read, Ok(Ok(_))) {
                    return client;
                }
            }
            assert!(Instant::now() < until, "etcd at {} did not serve in time", self.url);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// SIGTERM, so that it closes its files.
    fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }

    fn save(&self, version: &str, to: &Path) {
        run(Command::new(tool(version, "etcdctl")).args(["--endpoints", &self.url, "snapshot", "save"]).arg(to));
    }
}

async fn revision(client: &mut Client) -> i64 {
    client.get("x", None).await.unwrap().header().unwrap().revision()
}

/// Puts, overwrites, deletions, transactions of several operations, leases, binary and large values.
async fn populate(client: &mut Client, rounds: usize) {
    for round in 0..rounds {
        for n in 0..20 {
            client.put(format!("/registry/pods/{n}"), format!("value {round} {n}"), None).await.unwrap();
        }
        let lease = client.lease_grant(3600, None).await.unwrap().id();
        client.put(format!("/lease/{round}"), "x", Some(PutOptions::new().with_lease(lease))).await.unwrap();
        client.put(format!("/big/{}", round % 3), vec![round as u8; 9000], None).await.unwrap();
        client.put(vec![0xff, round as u8, 0], vec![0, 1, 2], None).await.unwrap();
        client.delete(format!("/registry/pods/{}", round % 20), None).await.unwrap();
        let ops = vec![
            TxnOp::put("/txn/a", format!("{round}"), None),
            TxnOp::put("/txn/b", format!("{round}"), None),
            TxnOp::delete(format!("/lease/{}", round.saturating_sub(5)), None),
        ];
        client.txn(Txn::new().and_then(ops)).await.unwrap();
        let range = DeleteOptions::new().with_range("/registry/pods/15");
        client.delete("/registry/pods/10", Some(range)).await.unwrap();
    }
}

async fn all_keys(client: &mut Client) -> BTreeMap<Vec<u8>, (Vec<u8>, i64, i64, i64, i64)> {
    let all = client.get("\0", Some(GetOptions::new().with_from_key())).await.unwrap();
    let of =
        |k: &etcd_client::KeyValue| (k.value().to_vec(), k.create_revision(), k.mod_revision(), k.version(), k.lease());
    all.kvs().iter().map(|k| (k.key().to_vec(), of(k))).collect()
}

async fn server_hash(client: &mut Client, at: i64) -> HashKv {
    // Asked for by number, servers refuse the compact revision itself, though it may be the newest one.
    let asked = if at == revision(client).await { 0 } else { at };
    let answer = client.hash_kv(asked).await.unwrap();
    let compact_revision = Revision(answer.compact_version());
    HashKv { hash: answer.hash(), revision: Revision(at), compact_revision }
}

fn stream_facts(snapshot: &Path) -> StreamFacts {
    let bytes = std::fs::read(snapshot).unwrap();
    let (mut splitter, mut index) = (TrailerSplitter::new(), RevisionIndex::new());
    for piece in bytes.chunks(32 << 10) {
        splitter.push(piece, &mut |b| index.push(b)).unwrap();
    }
    assert!(splitter.finish(&mut |b| index.push(b)).unwrap().is_sound());
    index.finish().unwrap()
}

fn status_hash(db: &Path) -> (u64, u64, u64) {
    let text = run(Command::new(tool("3.5.30", "etcdutl")).args(["snapshot", "status", "-w", "json"]).arg(db));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |k: &str| json[k].as_u64().unwrap();
    (number("hash"), number("revision"), number("totalKey"))
}

fn members(list: &[(&str, &str)]) -> Vec<InitialMember> {
    list.iter().map(|(n, u)| InitialMember { name: n.to_string(), peer_urls: vec![u.to_string()] }).collect()
}

fn spec(list: &[(&str, &str)], me: &str, bump: Option<u64>) -> RestoreSpec {
    RestoreSpec {
        members: members(list),
        me: me.into(),
        token: "etcd-cluster".into(),
        bump_revision: bump,
        mark_compacted: bump.is_some(),
        ..RestoreSpec::default()
    }
}

/// Builds and installs; returns what was built.
fn restore_into(snapshot: &Path, data_dir: &Path, spec: &RestoreSpec) -> restore::Built {
    let staging = data_dir.join("lifeboat-staging-1");
    let mut file = File::open(snapshot).unwrap();
    let built = restore::build(&mut file, &Expected::default(), false, &staging, spec).unwrap();
    restore::install(&staging, data_dir, spec.wal_dir.as_deref()).unwrap();
    // A repetition after a crash changes nothing.
    restore::install(&staging, data_dir, spec.wal_dir.as_deref()).unwrap();
    etcd_lifeboat::sys::fs::remove_scratch(&staging).unwrap();
    built
}

const WAL: &str = "member/wal/0000000000000000-0000000000000000.wal";

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_writes_what_etcdutl_writes() {
    let tmp = tempfile::tempdir().unwrap();
    let one = [("default", "http://localhost:2380")];
    let odd = [("a&b<c>", "http://127.0.0.1:1?x=a&b"), ("é\"x", "http://127.0.0.1:2"), ("z", "https://[::1]:3")];
    for version in VERSIONS {
        let dir = tmp.path().join(version);
        let mut etcd = Etcd::single(version, &dir);
        let mut client = etcd.ready().await;
        populate(&mut client, 8).await;
        client.compact(60, None).await.unwrap();
        let snapshot = tmp.path().join(format!("{version}.db"));
        etcd.save(version, &snapshot);
        let now = revision(&mut client).await;
        assert_eq!(stream_facts(&snapshot).revision.0, now);
        etcd.stop();

        for (case, (list, bump)) in
            [(&one[..], None), (&one[..], Some(1_000_000)), (&odd[..], None), (&odd[..], Some(7))]
                .into_iter()
                .enumerate()
        {
            let (me, my_url) = list[0];
            let theirs = tmp.path().join(format!("{version}-{case}-theirs"));
            let ours = tmp.path().join(format!("{version}-{case}-ours"));
            let cluster: Vec<_> = list.iter().map(|(n, u)| format!("{n}={u}")).collect();
            let mut etcdutl = Command::new(tool("3.5.30", "etcdutl"));
            etcdutl.args(["snapshot", "restore"]).arg(&snapshot).arg("--data-dir").arg(&theirs);
            etcdutl.args(["--name", me, "--initial-cluster", &cluster.join(",")]);
            etcdutl.args(["--initial-advertise-peer-urls", my_url]);
            if let Some(bump) = bump {
                etcdutl.args(["--bump-revision", &bump.to_string(), "--mark-compacted"]);
            }
            run(&mut etcdutl);
            let built = restore_into(&snapshot, &ours, &spec(list, me, bump));

            let snap = format!("member/snap/0000000000000001-{:016x}.snap", list.len());
            for file in [WAL, &snap] {
                let (a, b) = (std::fs::read(theirs.join(file)).unwrap(), std::fs::read(ours.join(file)).unwrap());
                assert!(a == b, "{version} case {case}: {file} differs");
            }
            let (a, b) = (status_hash(&theirs.join("member/snap/db")), status_hash(&ours.join("member/snap/db")));
            assert_eq!(a, b, "{version} case {case}: status of the db differs");
            assert_eq!(u64::from(built.status_hash), b.0, "{version} case {case}");
            assert_eq!(built.revision.0, now + bump.unwrap_or(0).cast_signed());
            assert_eq!(built.snapshot_revision.0, now);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_clusters_boot_and_work() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("source");
    let mut etcd = Etcd::single("3.4.23", &source);
    let mut client = etcd.ready().await;
    populate(&mut client, 6).await;
    client.compact(40, None).await.unwrap();
    let snapshot = tmp.path().join("s.db");
    etcd.save("3.4.23", &snapshot);
    let before = all_keys(&mut client).await;
    let last = revision(&mut client).await;
    let wanted = server_hash(&mut client, last).await;
    etcd.stop();
    assert_eq!(inspect_file(&snapshot).unwrap().hash_kv, wanted);

    for version in VERSIONS {
        for (count, bump) in [(1, None), (3, Some(1_000_000u64))] {
            let urls: Vec<_> =
                (0..count).map(|i| (format!("m{i}"), format!("http://127.0.0.1:{}", free_port()))).collect();
            let list: Vec<_> = urls.iter().map(|(n, u)| (n.as_str(), u.as_str())).collect();
            let dirs: Vec<_> = (0..count).map(|i| tmp.path().join(format!("{version}-{count}-{i}"))).collect();
            for (dir, (name, _)) in dirs.iter().zip(&list) {
                restore_into(&snapshot, dir, &spec(&list, name, bump));
                assert!(matches!(inspect_dir(dir, None).unwrap(), DirState::Healthy(_)));
            }
            let start = || -> Vec<Etcd> {
                let one = |(dir, (name, url)): (&PathBuf, &(&str, &str))| {
                    // The flags are wrong on purpose: with a WAL in place etcd must not look at them.
                    Etcd::start(
                        version,
                        dir,
                        name,
                        url,
                        &format!("{name}={url}"),
                        &["--initial-cluster-state", "existing"],
                    )
                };
                dirs.iter().zip(&list).map(one).collect()
            };
            let mut running = start();
            let mut hashes = Vec::new();
            let at = last + bump.unwrap_or(0).cast_signed();
            for etcd in &mut running {
                let mut client = etcd.ready().await;
                assert_eq!(revision(&mut client).await, at, "{version} {count}");
                let mut keys = all_keys(&mut client).await;
                // The bump leaves a key without a name behind, as etcdutl's does.
                keys.remove(&Vec::new());
                assert_eq!(keys, before, "{version} {count}");
                hashes.push(server_hash(&mut client, at).await);
            }
            let image = Image::open(&dirs[0].join("member/snap/db")).unwrap();
            let offline = hash_kv(&image, Revision(at), hashes[0].compact_revision).unwrap();
            assert!(hashes.iter().all(|h| *h == offline), "{version} {count}: {hashes:?}, offline {offline:?}");

            let mut client = running[0].ready().await;
            populate(&mut client, 2).await;
            let now = revision(&mut client).await;
            client.compact(now, Some(CompactionOptions::new().with_physical())).await.unwrap();
            client.defragment().await.unwrap();
            // Restored and bumped once more, by what the server says of its data: the change that the first bump made is in its hash.
            for n in 0..2 {
                client.put("between", format!("{n}"), None).await.unwrap();
            }
            let now = now + 2;
            let snapshot = tmp.path().join(format!("{version}-{count}.db"));
            running[0].save(version, &snapshot);
            for (at, bump) in [(now, None), (now, Some(7)), (now - 1, Some(1_000_000))] {
                let expected = Expected { hash_kv: Some(server_hash(&mut client, at).await), ..Expected::default() };
                let dir = tmp.path().join(format!("{version}-{count}-again"));
                let mut image = File::open(&snapshot).unwrap();
                let built = restore::build(&mut image, &expected, false, &dir, &spec(&list, list[0].0, bump)).unwrap();
                assert_eq!(built.hash_kv, expected.hash_kv, "{version} {count} {bump:?}");
                std::fs::remove_dir_all(&dir).unwrap();
            }
            running.into_iter().for_each(Etcd::stop);
            let mut running = start();
            let mut client = running[0].ready().await;
            assert_eq!(revision(&mut client).await, now, "{version} {count} after a restart");
            client.put("after", "restart", None).await.unwrap();
            let listed = client.member_list().await.unwrap();
            assert_eq!(listed.members().len(), count, "old members are left");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_kv_offline_is_the_servers() {
    let tmp = tempfile::tempdir().unwrap();
    for version in VERSIONS {
        let dir = tmp.path().join(version);
        let mut etcd = Etcd::single(version, &dir);
        let mut client = etcd.ready().await;
        for step in 0..4 {
            populate(&mut client, 4).await;
            let now = revision(&mut client).await;
            let snapshot = tmp.path().join(format!("{version}-{step}.db"));
            etcd.save(version, &snapshot);
            let info = inspect_file(&snapshot).unwrap();
            let (hash, last, total) = status_hash(&snapshot);
            assert_eq!((u64::from(info.status_hash), info.total_keys), (hash, total), "{version} {step}");
            assert_eq!(i64::try_from(last).unwrap(), info.revision.0);
            assert_eq!((info.trailer_ok, info.revision.0), (Some(true), now));
            assert_eq!(info.live_keys, all_keys(&mut client).await.len() as u64);
            let image = Image::open(&snapshot).unwrap();
            for back in [0, 1, 2, 9, 30] {
                let server = server_hash(&mut client, now - back).await;
                let offline = hash_kv(&image, server.revision, server.compact_revision).unwrap();
                assert_eq!(offline, server, "{version} step {step}, {back} back");
            }
            // The server goes on to compact; the same snapshot still gives its answers.
            let target = now - 40 + step * 13;
            client.compact(target, Some(CompactionOptions::new().with_physical())).await.unwrap();
            for at in [target + 1, now - 1, now].into_iter().filter(|at| *at > target) {
                let server = server_hash(&mut client, at).await;
                assert_eq!(server.compact_revision.0, target);
                let offline = hash_kv(&image, server.revision, server.compact_revision).unwrap();
                assert_eq!(offline, server, "{version} step {step} at {at} compacted at {target}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tree_is_read_restored_and_bumped() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("d");
    let mut etcd = Etcd::single("3.5.30", &dir);
    let client = etcd.ready().await;
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let mut client = client.clone();
        tasks.spawn(async move {
            for batch in 0..130 {
                let op = |n| TxnOp::put(format!("/k/{worker}/{batch}/{n}"), vec![b'v'; 40], None);
                client.txn(Txn::new().and_then((0..100).map(op).collect::<Vec<_>>())).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let mut client = client;
    let now = revision(&mut client).await;
    let snapshot = tmp.path().join("s.db");
    etcd.save("3.5.30", &snapshot);
    assert_eq!(stream_facts(&snapshot).revision.0, now);
    let info = inspect_file(&snapshot).unwrap();
    assert_eq!((info.live_keys, info.revision.0), (104_000, now));
    assert_eq!(info.hash_kv.hash, server_hash(&mut client, now).await.hash);
    // A compaction frees most pages: stale ones must not be taken for real ones.
    for n in 0..50 {
        client.put("churn", format!("{n}"), None).await.unwrap();
    }
    // A hundred thousand keys in one request take etcd longer than its own limit when the machine is busy, and are deleted all the same.
    let mut tries = 0;
    while let Err(e) = client.delete("/k/", Some(DeleteOptions::new().with_prefix())).await {
        tries += 1;
        assert!(tries < 10, "{e}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let now = revision(&mut client).await;
    client.compact(now, Some(CompactionOptions::new().with_physical())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let thin = tmp.path().join("thin.db");
    etcd.save("3.5.30", &thin);
    let facts = stream_facts(&thin);
    assert_eq!((facts.revision.0, facts.compact_revision), (now, Some(Revision(now))));
    etcd.stop();

    let peer = format!("http://127.0.0.1:{}", free_port());
    let restored = tmp.path().join("r");
    let built = restore_into(&snapshot, &restored, &spec(&[("m", &peer)], "m", Some(1000)));
    let mut etcd = Etcd::start("3.5.30", &restored, "m", &peer, &format!("m={peer}"), &[]);
    let mut client = etcd.ready().await;
    assert_eq!(revision(&mut client).await, built.revision.0);
    let count = client.get("/k/", Some(GetOptions::new().with_prefix().with_count_only())).await.unwrap();
    assert_eq!(count.count(), 104_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_dirs_are_told_apart() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("d");
    assert_eq!(inspect_dir(&dir, None).unwrap(), DirState::Absent);
    std::fs::create_dir_all(dir.join("lost+found")).unwrap();
    assert_eq!(inspect_dir(&dir, None).unwrap(), DirState::Empty);
    let what = |dir: &Path, wal: Option<&Path>| match inspect_dir(dir, wal).unwrap() {
        DirState::Damaged { what } => what,
        other => panic!("{} should be damaged and is {other:?}", dir.display()),
    };
    for version in VERSIONS {
        let dir = tmp.path().join(version);
        let mut etcd = Etcd::single(version, &dir);
        let mut client = etcd.ready().await;
        populate(&mut client, 2).await;
        assert_eq!(inspect_dir(&dir, None).unwrap(), DirState::InUse);
        let now = revision(&mut client).await;
        let status = client.member_list().await.unwrap();
        let header = status.header().unwrap().clone();
        etcd.stop();
        let DirState::Healthy(found) = inspect_dir(&dir, None).unwrap() else { panic!("{version} is not healthy") };
        assert_eq!((found.cluster_id.0, found.member_id.0), (header.cluster_id(), header.member_id()));
        assert_eq!(found.revision.0, now);
        let voters: Vec<_> = found.voters.iter().map(|v| (v.id.0, v.peer_urls.clone())).collect();
        let listed: Vec<_> = status.members().iter().map(|m| (m.id(), m.peer_urls().to_vec())).collect();
        assert_eq!(voters, listed);
        assert!(found.wal.hard_state.is_some_and(|s| s.commit > 0));

        let (db, wal) = (dir.join("member/snap/db"), dir.join("member/wal"));
        let good = std::fs::read(&db).unwrap();
        let moved = tmp.path().join(format!("{version}-aside"));
        let aside = |path: &Path| etcd_lifeboat::sys::fs::rename(path, &moved).unwrap();
        let back = |path: &Path| etcd_lifeboat::sys::fs::rename(&moved, path).unwrap();
        aside(&db);
        assert!(what(&dir, None).contains("member/snap/db is missing"));
        back(&db);
        aside(&wal);
        assert!(what(&dir, None).contains("no WAL"));
        // The same WAL found elsewhere is a whole member again.
        assert!(matches!(inspect_dir(&dir, Some(&moved)).unwrap(), DirState::Healthy(_)));
        back(&wal);
        aside(&dir.join("member"));
        std::fs::write(dir.join("stray"), "x").unwrap();
        assert!(what(&dir, None).contains("stray"));
        std::fs::remove_file(dir.join("stray")).unwrap();
        back(&dir.join("member"));
        std::fs::write(&db, &good[..8192]).unwrap();
        assert!(what(&dir, None).contains("cut off"));
        std::fs::write(&db, vec![0x5a; 65_536]).unwrap();
        assert!(what(&dir, None).contains("no bolt file"));
        std::fs::write(&db, &good).unwrap();
        assert!(matches!(inspect_dir(&dir, None).unwrap(), DirState::Healthy(_)));
        let segment = std::fs::read_dir(&wal).unwrap().map(|e| e.unwrap().path());
        let segment = segment.filter(|p| p.extension().is_some_and(|e| e == "wal")).min().unwrap();
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&segment, &bytes).unwrap();
        assert!(what(&dir, None).contains("checksum"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_boots_from_its_data_dirs() {
    let tmp = tempfile::tempdir().unwrap();
    for version in VERSIONS {
        for count in [1, 3] {
            let urls: Vec<_> =
                (0..count).map(|i| (format!("m{i}"), format!("http://127.0.0.1:{}", free_port()))).collect();
            let list: Vec<_> = urls.iter().map(|(n, u)| (n.as_str(), u.as_str())).collect();
            let mut running = Vec::new();
            let mut expected = None;
            for (name, url) in &list {
                let dir = tmp.path().join(format!("{version}-{count}-{name}"));
                let wal_dir = tmp.path().join(format!("{version}-{count}-{name}-wal"));
                if *name == "m0" {
                    // A mount point exists already.
                    std::fs::create_dir_all(wal_dir.join("lost+found")).unwrap();
                }
                let mut spec = spec(&list, name, None);
                spec.wal_dir = Some(wal_dir.clone());
                let staging = dir.join("lifeboat-staging-1");
                let built = restore::build_empty(&staging, &spec).unwrap();
                restore::install(&staging, &dir, Some(&wal_dir)).unwrap();
                restore::install(&staging, &dir, Some(&wal_dir)).unwrap();
                let DirState::Healthy(found) = inspect_dir(&dir, Some(&wal_dir)).unwrap() else {
                    panic!("not healthy")
                };
                assert_eq!((found.cluster_id, found.revision), (built.cluster_id, Revision(1)));
                expected = Some(built.cluster_id.0);
                let wal_dir = wal_dir.to_str().unwrap().to_owned();
                let flags = ["--initial-cluster-state", "existing", "--wal-dir", &wal_dir];
                running.push(Etcd::start(version, &dir, name, url, &format!("{name}={url}"), &flags));
            }
            for etcd in &mut running {
                let mut client = etcd.ready().await;
                let list = client.member_list().await.unwrap();
                assert_eq!(list.header().map(|h| h.cluster_id()), expected, "{version} {count}");
                assert_eq!(list.members().len(), count);
            }
            let mut client = running[0].ready().await;
            assert_eq!(revision(&mut client).await, 1);
            populate(&mut client, 1).await;
            assert!(all_keys(&mut client).await.len() > 10);
        }
    }
}
