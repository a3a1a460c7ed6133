//! Disks that are too small from the beginning: file systems of a chosen size. Those that fill or fail on the way are in `disk_faults.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::disallowed_methods, reason = "tests run mount")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::Lab;
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

pub fn by_hand(lab: &Lab) -> crate::support::Lifeboat {
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
