//! The store's clock is wrong by an hour, or by years.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use crate::lab::Lab;
use crate::support::{Fault, Op, dump};

const YEARS: i64 = 10 * 366 * 24 * 3600;

/// It accepts our requests and shows a wrong date: everything works, and one line a run says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_only_shows_a_wrong_date_is_used() {
    for skew in [3612, -3612, YEARS, -YEARS] {
        let (lab, dumps, _etcd) = Lab::lived(40, 1, false).await;
        lab.s3.set_clock_skew(skew);
        lab.lose_host();
        let seen = |name: &str, stderr: &str| {
            let lines: Vec<&str> = stderr.lines().filter(|l| l.contains("differ by")).collect();
            println!("{skew} {name}: {lines:?}");
            assert_eq!(lines.len(), 1, "{name} with {skew}: {stderr}");
            assert!(lines[0].contains("timedatectl"), "{lines:?}");
        };
        let restored = lab.bootstrap().run().ok();
        seen("bootstrap", &restored.stderr);
        let etcd = lab.etcd();
        dumps[0].assert_same_keys(&dump(&etcd).await);
        let saved = lab.cmd(["save", "--name", "skewed"]).run().ok();
        seen("save", &saved.stderr);
        seen("verify", &lab.cmd(["verify", "latest"]).run().ok().stderr);
        assert_eq!(lab.usable().len(), 2, "{skew}");
        drop(etcd);
        assert_eq!(lab.bootstrap().run().ok().stderr.matches("D7 START").count(), 1, "{skew}");
    }
}

/// It refuses them: the gate waits, and names the difference.
#[test]
fn a_store_that_refuses_our_date_is_waited_for_by_name() {
    let lab = Lab::new();
    lab.s3.set_clock_skew(3612);
    lab.s3.faults().always(Op::Any, "", Fault::Status(403, "RequestTimeTooSkewed"));
    let out = lab.bootstrap().arg("--deadline=5s").run().exits_with(4);
    let out = out.says(&[
        "P1 WAIT",
        "RequestTimeTooSkewed",
        "this host's clock and the store's differ by 361",
        "timedatectl",
    ]);
    println!("{}", out.stderr);
    assert!(!lab.has_member());
}
