//! The same thing started twice at once, as people do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::support::process::wait_until;
use crate::support::{Lifeboat, dump};

/// Waits until the kernel has stopped it (state T).
fn wait_stopped(pid: u32) {
    wait_until("the process to stop at its failpoint", Duration::from_secs(60), || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    });
}

fn stop_at(run: Lifeboat, point: &str) -> Lifeboat {
    run.failpoints(&format!("{point}=return(stop)"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bootstraps_of_one_host() {
    let (lab, dumps, _etcd) = Lab::lived(80, 1, false).await;
    for (n, point) in ["restore.after_copy", "bootstrap.sealed", "bootstrap.after_mark"].iter().enumerate() {
        lab.lose_data();
        let mut first = stop_at(lab.bootstrap(), point).spawn();
        wait_stopped(first.pid());
        let second =
            lab.bootstrap().run().exits_with(3).says(&["another 'lifeboat bootstrap'", "bootstrap.lock", "hint: "]);
        println!("second bootstrap while the first stands at {point}: {}", second.stderr.trim());
        // Looking is always allowed.
        lab.bootstrap().arg("--dry-run").run().ok();
        first.signal(Signal::SIGCONT);
        assert_eq!(first.wait(Duration::from_secs(90)), Some(0), "{}", first.output());
        assert_eq!((lab.plans(), lab.marks(n + 2)), (n + 2, 1));
        dumps[0].assert_same_keys(&dump(&lab.etcd()).await);
    }
    // Without a pause between them: whoever is first restores, once.
    lab.lose_data();
    let mut both = [lab.bootstrap().spawn(), lab.bootstrap().spawn()];
    let codes: Vec<_> = both.iter_mut().map(|run| run.wait(Duration::from_secs(120))).collect();
    assert!(codes.contains(&Some(0)) && codes.iter().all(|c| matches!(c, Some(0 | 3))), "{codes:?}");
    assert_eq!((lab.plans(), lab.marks(5)), (5, 1));
    dumps[0].assert_same_keys(&dump(&lab.etcd()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_while_etcd_runs_touches_nothing() {
    let (lab, _, mut etcd) = Lab::lived(50, 1, false).await;
    etcd.restart();
    let before = (lab.s3.keys(), dump(&etcd).await);
    lab.bootstrap().run().ok().says(&["D0 START"]);
    lab.cmd(["restore-once", "latest"]).run().ok();
    lab.bootstrap().run().ok().says(&["D0 START"]);
    assert!(lab.path("etc/restore-once").exists(), "the request was used up by a bootstrap that did nothing");
    assert_eq!((lab.s3.keys(), dump(&etcd).await), before);
    assert!(lab.quarantined().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_saves_of_one_host() {
    let (lab, _, mut etcd) = Lab::lived(50, 1, false).await;
    etcd.restart();
    let mut first = stop_at(lab.cmd(["save", "--name", "first"]), "save.after_stream").spawn();
    wait_stopped(first.pid());
    let second =
        lab.cmd(["save", "--name", "second"]).run().exits_with(3).says(&["another snapshot is being taken", "hint: "]);
    println!("second save: {}", second.stderr.trim());
    first.signal(Signal::SIGCONT);
    assert_eq!(first.wait(Duration::from_secs(60)), Some(0), "{}", first.output());
    // Both ship the same spool at once: each snapshot is there once.
    lab.cmd(["save", "--name", "spooled", "--no-ship"]).run().ok();
    let mut shipping = stop_at(lab.cmd(["save", "--name", "third"]), "ship.after_payload").spawn();
    wait_stopped(shipping.pid());
    lab.cmd(["save", "--name", "fourth"]).run().ok();
    shipping.signal(Signal::SIGCONT);
    assert_eq!(shipping.wait(Duration::from_secs(60)), Some(0), "{}", shipping.output());
    let names = lab.usable();
    assert_eq!(names.len(), 5, "{names:?}");
    for name in &names {
        lab.cmd(["verify", name]).run().ok();
    }
    assert_eq!(lab.keys("snapshots/").len(), 10 + lab.keys(".verified.json").len(), "{:?}", lab.keys("snapshots/"));
}
