//! kill -9 at every named point of what a command does; after it nothing half-built can start or is listed, and running it again ends where an
//! undisturbed run would have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::disallowed_methods, reason = "tests clear their own directories")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::lab::Lab;
use crate::support::{Dump, EtcdProcess, Fill, Lifeboat, dump};

/// Points on the way of a bootstrap, in their order. Those of `restore.` are inside its build and its last step.
const BOOTSTRAP: &[&str] = &[
    "bootstrap.looked",
    "restore.after_copy",
    "restore.after_edit",
    "restore.before_record",
    "bootstrap.built",
    "bootstrap.synced",
    "bootstrap.sealed",
    "bootstrap.before_plan",
    "bootstrap.after_plan",
    "bootstrap.before_mark",
    "bootstrap.after_mark",
    "bootstrap.remembered",
    "bootstrap.half_quarantined",
    "bootstrap.quarantined",
    "restore.before_commit",
    "bootstrap.in_place",
    "bootstrap.environment",
];
/// Points that only a requested restore of a host with data comes by: what it replaces is saved to the store, and noted before it is moved aside.
const FORCED: &[&str] = &["prerestore.saved", "prerestore.shipped", "bootstrap.aside_noted"];
/// Points that an init does not come by: it has no snapshot.
const NOT_IN_INIT: &[&str] = &["restore.after_copy", "restore.after_edit"];
pub const RESTORE: &[&str] = &[
    "restore.after_copy",
    "restore.after_edit",
    "restore.before_record",
    "restore.built",
    "restore.before_commit",
    "restore.in_place",
];
pub const SAVE: &[&str] = &[
    "save.before_stream",
    "save.mid_stream",
    "save.after_stream",
    "save.after_fsync",
    "save.after_manifest",
    "save.after_rename",
];
pub const SHIP: &[&str] =
    &["ship.before_payload", "ship.after_payload", "ship.after_manifest", "ship.after_mark", "ship.after_trim"];
/// Reached only when another host took the same name.
pub const SHIP_RENAME: &str = "ship.before_rename";

fn kill(run: Lifeboat, point: &str) -> Lifeboat {
    run.failpoints(&format!("{point}=return(kill)"))
}

/// A new point in the product must be killed at here too.
#[test]
fn every_named_point_is_killed_at() {
    let mut there = BTreeSet::new();
    let mut dirs = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.ends_with("sys/failpoint.rs") {
                let text = fs::read_to_string(&path).unwrap();
                there
                    .extend(text.split("failpoint!(\"").skip(1).filter_map(|t| t.split('"').next()).map(str::to_owned));
            }
        }
    }
    let here: BTreeSet<String> =
        [BOOTSTRAP, FORCED, RESTORE, SAVE, SHIP, &[SHIP_RENAME]].concat().iter().map(|s| (*s).to_owned()).collect();
    // Those that only several hosts come by, or k3s.
    let others = [include_str!("../several/kills.rs"), include_str!("../stories/k3s.rs")];
    let elsewhere =
        |point: &String| !here.contains(point) && others.iter().any(|o| o.contains(&format!("\"{point}\"")));
    there.retain(|point| !elsewhere(point));
    assert_eq!(there, here);
}

/// After a kill there is no member, or a whole one that the real etcd serves with exactly one of these contents.
async fn nothing_half(lab: &Lab, point: &str, may_serve: &[&Dump]) -> &'static str {
    lab.cmd(["ls"]).run().ok();
    if !lab.has_member() {
        return "no member";
    }
    lab.inspect().ok();
    let served = lab.what_etcd_would_serve().await;
    let known = may_serve.iter().any(|d| d.entries == served.entries);
    assert!(
        known,
        "killed at {point}: etcd serves {} keys that are neither the old data nor the restored",
        served.entries.len()
    );
    "whole member"
}

/// The end state of a bootstrap: started, one more plan, one mark in it, nothing left over, the environment file there.
async fn ended_well(lab: &Lab, point: &str, plans: usize, expected: &Dump) {
    assert_eq!(lab.plans(), plans, "killed at {point}: {:?}", lab.keys("cluster/"));
    assert_eq!(lab.marks(plans), 1, "killed at {point}: {:?}", lab.keys("cluster/"));
    assert_eq!(lab.leftovers(), Vec::<std::path::PathBuf>::new(), "killed at {point}");
    let env = fs::read_to_string(lab.path("boot/etcd.env")).unwrap();
    assert!(env.contains("ETCD_INITIAL_CLUSTER_STATE=existing"), "{env}");
    let mut etcd = lab.etcd();
    expected.assert_same_keys(&dump(&etcd).await);
    etcd.client().await.put("written after", point, None).await.unwrap();
    etcd.stop();
    // And the next boot changes nothing.
    lab.bootstrap().run().ok().says(&["D7 START"]);
    assert_eq!(lab.plans(), plans);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_killed_anywhere() {
    let empty = Dump { revision: 1, entries: Default::default() };
    let points: Vec<_> = BOOTSTRAP.iter().filter(|p| !NOT_IN_INIT.contains(p)).collect();
    for point in &points {
        let lab = Lab::new();
        kill(lab.bootstrap(), point).run().killed();
        let left = nothing_half(&lab, point, &[&empty]).await;
        lab.bootstrap().run().ok();
        ended_well(&lab, point, 1, &empty).await;
        println!("init killed at {point}: {left}; again: one plan, one mark, started");
    }
    println!("init: {} points killed, all ended well", points.len());
}

async fn restored_after_kills(separate_wal: bool) {
    let (lab, dumps, _etcd) = Lab::lived(150, 2, separate_wal).await;
    let best = &dumps[1];
    let mut plans = 1;
    for (n, point) in BOOTSTRAP.iter().enumerate() {
        // In turn: the disk alone is lost, or the whole host.
        if n % 2 == 0 {
            lab.lose_data()
        } else {
            lab.lose_host()
        }
        kill(lab.bootstrap(), point).run().killed();
        let left = nothing_half(&lab, point, &[best]).await;
        assert_eq!(lab.usable().len(), 2);
        lab.bootstrap().run().ok();
        plans += 1;
        ended_well(&lab, point, plans, best).await;
        println!(
            "restore (separate WAL: {separate_wal}) killed at {point}: {left}; again: plan {plans}, one mark, all keys back"
        );
    }
    println!("restore: {} points killed, all ended well", BOOTSTRAP.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_anywhere() {
    restored_after_kills(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_with_a_separate_wal_dir_killed_anywhere() {
    restored_after_kills(true).await;
}

/// The requested restore must quarantine what is there, all of it, whatever happens.
async fn forced_after_kills(separate_wal: bool) {
    let (lab, dumps, mut etcd) = Lab::lived(150, 2, separate_wal).await;
    let (older, mut plans) = (&dumps[0], 1);
    let name = lab.usable()[0].clone();
    let mut aside = 0;
    let points = [BOOTSTRAP, FORCED].concat();
    for point in points.iter().copied() {
        etcd.restart();
        Fill { seed: 77, ..Fill::small(40) }.run(&etcd).await;
        let now = dump(&etcd).await;
        etcd.stop();
        lab.cmd(["restore-once", &name]).run().ok();
        kill(lab.bootstrap(), point).run().killed();
        let left = nothing_half(&lab, point, &[&now, older]).await;
        lab.bootstrap().run().ok();
        plans += 1;
        aside += 1;
        let quarantined: Vec<_> = lab.quarantined().into_iter().filter(|q| q.starts_with(lab.data())).collect();
        assert_eq!(quarantined.len(), aside, "killed at {point}: {quarantined:?}");
        served_from_quarantine(&lab, &now).await;
        saved_before(&lab, aside, point);
        assert!(!lab.path("etc/restore-once").exists(), "killed at {point}: the request is still armed");
        ended_well(&lab, point, plans, older).await;
        println!(
            "requested restore (separate WAL: {separate_wal}) killed at {point}: {left}; again: plan {plans}, old data quarantined whole"
        );
    }
    println!("requested restore: {} points killed, all ended well", points.len());
}

/// Each request has left what it replaced in the store: held, whole, and once, wherever it was killed.
fn saved_before(lab: &Lab, times: usize, point: &str) {
    let held: Vec<_> = lab.keys("snapshots/").into_iter().filter(|k| k.contains("pre-restore-")).collect();
    for end in [".manifest.json", ".hold.json", ".db.gz"] {
        assert_eq!(held.iter().filter(|k| k.ends_with(end)).count(), times, "killed at {point}: {held:?}");
    }
    let name = held.iter().filter(|k| k.ends_with(".manifest.json")).max().unwrap();
    let name = name.rsplit('/').next().unwrap().trim_end_matches(".manifest.json").to_owned();
    lab.cmd(["verify", &name]).run().ok();
    let left: Vec<_> = lab.path("boot/spool").read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["save.lock"], "killed at {point}: left in the spool");
}

/// The newest quarantined member still starts, and holds every key of before.
async fn served_from_quarantine(lab: &Lab, before: &Dump) {
    let mut all = lab.quarantined();
    let newest = |root: &std::path::Path, all: &mut Vec<std::path::PathBuf>| {
        let mut of: Vec<_> = all.iter().filter(|p| p.parent() == Some(root)).cloned().collect();
        of.sort_by_key(|p| fs::metadata(p).unwrap().modified().unwrap());
        of.sort();
        of.pop().unwrap()
    };
    let copy = tempfile::Builder::new().prefix("lifeboat-copy-").tempdir().unwrap();
    fs::create_dir(copy.path().join("etcd")).unwrap();
    crate::lab::copy_tree(&newest(&lab.data(), &mut all), &copy.path().join("etcd/member"));
    let wal = lab.wal().map(|wal| {
        crate::lab::copy_tree(&newest(&wal, &mut all), &copy.path().join("wal"));
        copy.path().join("wal")
    });
    let etcd = EtcdProcess::with(lab.etcd_options(&copy.path().join("etcd"), wal));
    before.assert_same_keys(&dump(&etcd).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_restore_killed_anywhere() {
    forced_after_kills(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_restore_with_a_separate_wal_dir_killed_anywhere() {
    forced_after_kills(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_by_hand_killed_anywhere() {
    let (lab, dumps, _etcd) = Lab::lived(150, 1, false).await;
    for source in ["latest", "file"] {
        for point in RESTORE {
            lab.lose_data();
            let file = lab.path("copy.db").display().to_string();
            if source == "file" && !lab.path("copy.db").exists() {
                lab.cmd(["get", "latest", "-f", &file]).run().ok();
            }
            let from = if source == "file" { file.as_str() } else { source };
            let data = lab.data().display().to_string();
            let peer = lab.peer_url();
            let run = || {
                lab.cmd(["restore", from, "--name", "m1", "--data-dir", &data])
                    .arg(format!("--initial-cluster=m1={peer}"))
                    .arg(format!("--initial-advertise-peer-urls={peer}"))
            };
            kill(run(), point).run().killed();
            let left = nothing_half(&lab, point, &[&dumps[0]]).await;
            if lab.has_member() {
                // It was done: a second one must not replace it.
                run().run().exits_with(3);
            } else {
                run().run().ok();
                assert_eq!(lab.leftovers(), Vec::<std::path::PathBuf>::new(), "killed at {point}");
            }
            dumps[0].assert_same_keys(&dump(&lab.etcd()).await);
            println!("restore of {source} by hand killed at {point}: {left}; again: all keys back");
        }
    }
    println!("restore by hand: {} points killed, all ended well", 2 * RESTORE.len());
}

/// Everything that `ls` shows as usable verifies; nothing is there twice; no payload without a manifest stays; the spool has no rubbish.
fn store_is_whole(lab: &Lab, saves: usize, point: &str) {
    let names = lab.usable();
    let unique: BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    assert_eq!(names.len(), saves, "killed at {point}: {:?}", lab.keys("snapshots/"));
    for name in &names {
        lab.cmd(["verify", name]).run().ok();
    }
    let payloads = lab.keys("snapshots/").iter().filter(|k| k.ends_with(".db.gz")).count();
    assert_eq!(payloads, saves, "killed at {point}: {:?}", lab.keys("snapshots/"));
    assert!(lab.s3.uploads_in_progress().is_empty(), "killed at {point}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_killed_anywhere() {
    for by_agent in [false, true] {
        for point in SAVE.iter().chain(SHIP) {
            let lab = Lab::new();
            lab.bootstrap().run().ok();
            let etcd = lab.etcd();
            Fill::small(100).run(&etcd).await;
            // One whole one before, so that `ls` has something to lose.
            lab.cmd(["save", "--name", "before"]).run().ok();
            kill(lab.cmd(["save", "--name", "cut"]), point).run().killed();
            let seen = lab.usable();
            for name in &seen {
                lab.cmd(["verify", name]).run().ok();
            }
            let spooled = lab.cmd(["ls", "--local", "-o", "json"]).run().ok().json()["rows"]
                .as_array()
                .unwrap()
                .iter()
                .any(|r| r["name"].as_str().unwrap().starts_with("cut"));
            let durable = spooled
                || lab.path("state/spool").read_dir().unwrap().any(|e| {
                    let name = e.unwrap().file_name().to_string_lossy().into_owned();
                    name.starts_with("cut") && name.ends_with(".manifest.json")
                });
            let mut saves = 1 + usize::from(durable);
            if by_agent {
                agent_ships(&lab);
            } else {
                lab.cmd(["save", "--name", "after"]).run().ok();
                saves += 1;
                // What a kill before the rename left is finished by the agent's start alone; it is not lost by then.
                let waits = lab
                    .path("state/spool")
                    .read_dir()
                    .unwrap()
                    .any(|e| e.unwrap().path().extension().is_some_and(|x| x == "part"));
                if waits && durable {
                    saves -= 1;
                }
            }
            store_is_whole(&lab, saves, point);
            if by_agent {
                assert_eq!(lab.leftovers(), Vec::<std::path::PathBuf>::new(), "killed at {point}");
            }
            println!(
                "save killed at {point}, then {}: {} listed right after the kill, {saves} whole in the end",
                if by_agent { "the agent" } else { "another save" },
                seen.len()
            );
        }
    }
    println!("save and ship: {} kills, all ended well", 2 * (SAVE.len() + SHIP.len()));
}

fn spool_files(lab: &Lab) -> Vec<String> {
    let Ok(entries) = lab.path("state/spool").read_dir() else { return Vec::new() };
    entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// An undisturbed agent, until nothing waits in the spool; then it is told to stop.
pub fn agent_ships(lab: &Lab) {
    let mut agent = lab.cmd(["agent"]).env("LIFEBOAT_LOG__FORMAT", "text").spawn();
    agent.wait_for("schedules: ", Duration::from_secs(60));
    crate::support::process::wait_until("the agent ships", Duration::from_secs(60), || {
        !spool_files(lab).iter().any(|name| name.ends_with(".manifest.json") || name.ends_with(".part"))
    });
    assert_eq!(agent.stop(), Some(0), "{}", agent.output());
}

/// The agent itself, with a schedule that is due at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_killed_anywhere() {
    let lab = Lab::new();
    lab.bootstrap().run().ok();
    let etcd = lab.etcd();
    Fill::small(100).run(&etcd).await;
    let config = fs::read_to_string(lab.path("etc/lifeboat.toml")).unwrap();
    lab.write("etc/lifeboat.toml", &config.replace("0 0 1 1 *", "@every 2s"));
    let points: Vec<_> = SAVE.iter().chain(SHIP).collect();
    for point in &points {
        let mut agent = kill(lab.cmd(["agent"]).env("LIFEBOAT_LOG__FORMAT", "text"), point).spawn();
        let code = agent.wait(Duration::from_secs(60));
        assert_eq!(code, None, "it was not killed at {point}: {}", agent.output());
        let listed = lab.usable();
        for name in &listed {
            lab.cmd(["verify", name]).run().ok();
        }
        println!("agent killed at {point}: {} whole snapshots listed", listed.len());
    }
    // An undisturbed start ships all that was spooled, and cleans up.
    let mut durable: BTreeSet<String> = lab.usable().into_iter().collect();
    durable.extend(spool_files(&lab).iter().filter_map(|f| f.strip_suffix(".manifest.json").map(str::to_owned)));
    lab.write("etc/lifeboat.toml", &config);
    agent_ships(&lab);
    let listed: BTreeSet<String> = lab.usable().into_iter().collect();
    assert_eq!(listed, durable, "what was durable in the spool is in the store, and nothing else");
    let listed = listed.len();
    assert!(listed >= 2, "the agent never came as far as a snapshot");
    store_is_whole(&lab, listed, "the end");
    assert_eq!(lab.leftovers(), Vec::<std::path::PathBuf>::new());
    println!("agent: {} points killed, {listed} snapshots, each whole", points.len());
}

/// Another host took the name: the entry is renamed in the spool, and killed there.
#[tokio::test(flavor = "multi_thread")]
async fn a_renaming_killed() {
    let (lab, _, mut etcd) = Lab::lived(50, 1, false).await;
    etcd.restart();
    lab.cmd(["save", "--name", "twin", "--no-ship"]).run().ok();
    let rows = lab.cmd(["ls", "--local", "-o", "json"]).run().ok().json();
    let row = rows["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["name"].as_str().unwrap().starts_with("twin"))
        .unwrap()
        .clone();
    let name = row["name"].as_str().unwrap();
    lab.s3.plant(&format!("{}snapshots/{name}.db.gz", crate::lab::FOLDER), b"another host's payload");
    kill(lab.cmd(["save", "--name", "next"]), SHIP_RENAME).run().killed();
    lab.cmd(["save", "--name", "last"]).run().ok();
    let names = lab.usable();
    for wanted in [format!("{name}-2"), "next".into(), "last".into()] {
        assert!(names.iter().any(|n| n.starts_with(&wanted)), "{wanted} is not among {names:?}");
    }
    for name in &names {
        lab.cmd(["verify", name]).run().ok();
    }
}
