//! Full disks and disks that fail to sync. A tmpfs of a chosen size stands for the first, strace's injection for the second.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::disallowed_methods, reason = "tests run mount and strace")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::lab::Lab;
use crate::support::lifeboat::binary;
use crate::support::process::{guarded, minimal_env, spawn, wait_child};
use crate::support::{Fill, dump};

/// A small file system; unmounted when it is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, kib: u64) -> Small {
        std::fs::create_dir_all(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={kib}k,mode=0700"))
            .arg("lifeboat-faults")
            .arg(at)
            .status();
        assert!(done.is_ok_and(|s| s.success()), "cannot mount a tmpfs at {}: run these tests as root", at.display());
        Small(at.to_owned())
    }

    fn grow(&self, kib: u64) {
        let done = Command::new("mount").arg("-o").arg(format!("remount,size={kib}k")).arg(&self.0).status().unwrap();
        assert!(done.success(), "cannot resize {}", self.0.display());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn by_hand(lab: &Lab) -> crate::support::Lifeboat {
    let peer = lab.peer_url();
    lab.cmd(["restore", "latest", "--name", "m1", "--data-dir", &lab.data().display().to_string()])
        .arg(format!("--initial-cluster=m1={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_disk_that_is_too_small() {
    let (lab, dumps, _etcd) = Lab::lived(400, 1, false).await;
    let mut plans = 1;
    // Too small for the db, for the WAL, for what comes at the end; with `restore` there is no check before.
    for kib in [64, 400, 4_000, 60_000, 62_900] {
        for gate in [true, false] {
            lab.lose_data();
            let disk = Small::mount(&lab.data(), kib);
            let run = || if gate { lab.bootstrap().arg("--deadline").arg("2s") } else { by_hand(&lab) };
            let out = run().run();
            let said = out.stderr.lines().find(|l| !l.trim().is_empty()).unwrap_or_default().to_owned();
            println!(
                "{kib} KiB for the data dir, {}: exit {:?}: {said}",
                if gate { "bootstrap" } else { "restore" },
                out.code
            );
            let out = out.exits_with(if gate { 4 } else { 1 });
            assert!(out.stderr.contains(&lab.data().display().to_string()), "which disk? {}", out.text());
            assert!(
                out.stderr.contains("free") || out.stderr.contains("space") || out.stderr.contains("room"),
                "{}",
                out.text()
            );
            assert!(!lab.has_member(), "{kib}: {}", out.text());
            assert_eq!(lab.plans(), plans, "a plan for what does not fit");
            if !gate {
                assert_eq!(lab.leftovers(), Vec::<PathBuf>::new());
            }
            disk.grow(400_000);
            run().limit(std::time::Duration::from_secs(60)).run().ok();
            plans += usize::from(gate);
            dumps[0].assert_same_keys(&dump(&lab.etcd()).await);
            // A mount point cannot be removed.
            drop(disk);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_too_small() {
    let lab = Lab::new();
    lab.bootstrap().run().ok();
    let etcd = lab.etcd();
    Fill { large: 3, ..Fill::small(200) }.run(&etcd).await;
    let spool = lab.path("state/spool");
    // Below the reserve for others it is refused before anything is asked of etcd; the sizes around it, and much less.
    for kib in [16, 1_000, 200_000, 262_100] {
        let disk = Small::mount(&spool, kib);
        let out = lab.cmd(["save", "--name", "tight"]).run().exits_with(1);
        println!("{kib} KiB for the spool: {}", out.stderr.trim());
        let out = out.says(&["tight", "free", "hint: "]);
        assert!(out.stderr.contains(&spool.display().to_string()), "which disk? {}", out.text());
        assert_eq!(lab.leftovers(), Vec::<PathBuf>::new());
        let left: Vec<_> =
            spool.read_dir().unwrap().map(|e| e.unwrap().file_name()).filter(|n| n != "save.lock").collect();
        assert!(left.is_empty(), "{left:?}");
        disk.grow(600_000);
        lab.cmd(["save", "--name", "roomy"]).run().ok();
        drop(disk);
    }
    assert_eq!(lab.usable().len(), 4);
    for name in lab.usable() {
        lab.cmd(["verify", &name]).run().ok();
    }
}

/// Runs it under strace with the nth fsync or fdatasync failing; exit code and what it said. `None`: there were fewer.
fn with_a_failing_sync(lab: &Lab, args: &[&str], nth: u32) -> Option<(Option<i32>, String)> {
    let (out, trace) = (lab.path("strace.out"), lab.path("strace.log"));
    let file = std::fs::File::create(&out).unwrap();
    let mut command = guarded(Path::new("strace"));
    command
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-e"])
        .arg(format!("inject=fsync,fdatasync:error=EIO:when={nth}"))
        .arg("-o")
        .arg(&trace);
    command.arg(binary()).args(args).arg("--config").arg(lab.path("etc/lifeboat.toml"));
    command.env_clear().envs(minimal_env()).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = spawn(command);
    let status = wait_child(&mut child, std::time::Duration::from_secs(90));
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let said = std::fs::read_to_string(&out).unwrap();
    assert!(status.is_some(), "{args:?} with the failing sync {nth} did not end: {said}");
    let injected = std::fs::read_to_string(&trace).unwrap().contains("INJECTED");
    injected.then(|| (status.unwrap().code(), said))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_sync_while_restoring() {
    let (lab, dumps, _etcd) = Lab::lived(100, 1, false).await;
    let (peer, data) = (lab.peer_url(), lab.data().display().to_string());
    let (cluster, urls) = (format!("--initial-cluster=m1={peer}"), format!("--initial-advertise-peer-urls={peer}"));
    let args = ["restore", "latest", "--name", "m1", "--data-dir", &data, &cluster, &urls];
    let mut failed = 0;
    for nth in 1..60 {
        lab.lose_data();
        let Some((code, said)) = with_a_failing_sync(&lab, &args, nth) else { break };
        // strace counts for each thread: one place may be hit in several runs.
        failed += u32::from(code != Some(0));
        if code == Some(0) {
            lab.inspect().ok();
        } else {
            assert_eq!(code, Some(1), "sync {nth}: {said}");
            assert!(said.contains("error: ") && said.contains("os error 5"), "sync {nth}: {said}");
            if lab.has_member() {
                // Only the sync after the last rename failed: what is there is whole.
                lab.inspect().ok();
            } else {
                by_hand(&lab).run().ok();
            }
        }
        dumps[0].assert_same_keys(&lab.what_etcd_would_serve().await);
    }
    println!("restore: {failed} syncs failed in turn, each with a message, nothing half built");
    assert!(failed >= 8, "only {failed} syncs failed: does the injection work?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_sync_while_saving() {
    let (lab, _, mut etcd) = Lab::lived(100, 1, false).await;
    etcd.restart();
    let (mut failed, mut good) = (0, 1);
    for nth in 1..40 {
        let Some((code, said)) = with_a_failing_sync(&lab, &["save", "--name", "eio"], nth) else { break };
        if code != Some(0) {
            failed += 1;
            assert_eq!(code, Some(1), "sync {nth}: {said}");
            assert!(said.contains("os error 5"), "sync {nth}: {said}");
        }
        let names = lab.usable();
        for name in names.iter().skip(good) {
            lab.cmd(["verify", name]).run().ok();
        }
        good = names.len();
        lab.cmd(["save", "--name", "again"]).run().ok();
        let names = lab.usable();
        assert!(names.len() > good, "sync {nth}: {names:?}");
        for name in names.iter().skip(good) {
            lab.cmd(["verify", name]).run().ok();
        }
        good = names.len();
    }
    println!("save: {failed} syncs failed in turn, each with a message; {good} snapshots listed, all whole");
    assert!(failed >= 3, "only {failed} syncs failed: does the injection work?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_sync_in_the_gate() {
    let (lab, dumps, _etcd) = Lab::lived(100, 1, false).await;
    let (mut failed, mut plans) = (0, 1);
    for nth in 1..60 {
        lab.lose_data();
        let Some((code, said)) = with_a_failing_sync(&lab, &["bootstrap", "--deadline", "1s"], nth) else { break };
        failed += u32::from(said.contains("os error 5"));
        assert!(matches!(code, Some(0 | 1 | 4)), "sync {nth}: {code:?} {said}");
        if lab.has_member() {
            lab.inspect().ok();
        }
        lab.bootstrap().run().ok();
        // A mark whose staging was given up for a failing disk is burnt; what follows is a further plan, never none.
        assert!(lab.plans() > plans, "sync {nth}: {said}");
        plans = lab.plans();
        assert!((1..=plans).all(|g| lab.marks(g) <= 1));
        dumps[0].assert_same_keys(&lab.what_etcd_would_serve().await);
    }
    println!("bootstrap: {failed} syncs failed in turn, {plans} plans, all keys back each time");
    assert!(failed >= 8, "only {failed} syncs failed: does the injection work?");
}
