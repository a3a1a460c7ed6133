//! What a snapshot takes from the host, seen from outside: the scheduling class and the niceness of each thread of the real program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use crate::host::{Host, StoreAt};
use crate::support::process::wait_until;
use crate::support::{ETCD_LATEST, Fill, S3Options, S3Server};

/// Idle work waits for the tests beside this one to end.
const LONG: Duration = Duration::from_secs(600);

/// `sched.h`.
const NORMAL: u32 = 0;
const BATCH: u32 = 3;
const IDLE: u32 = 5;

/// Class and niceness of each thread, by its name.
fn threads(pid: u32) -> BTreeMap<String, (u32, i32)> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return BTreeMap::new() };
    // One that has ended meanwhile has no status any more.
    let one = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, rest) = (stat.split_once('(')?.1.rsplit_once(')')?.0.to_owned(), stat.rsplit_once(") ")?.1);
        // proc_pid_stat(5), where the first behind the name is field 3.
        let field = |number: usize| rest.split_whitespace().nth(number - 3);
        Some((name, (field(41)?.parse().ok()?, field(19)?.parse().ok()?)))
    };
    tasks.filter_map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_threads_of_a_snapshot_have_the_class_that_is_configured() {
    let server = S3Server::start(S3Options::default()).await;
    let host = Host::on(ETCD_LATEST, "classes", StoreAt::server(&server));
    let etcd = host.start_etcd();
    Fill { keys: 60, large: 20, compact: false, seed: 9 }.run(&etcd).await;
    // Nothing gives way by niceness, which is another way to starve.
    let ours = threads(std::process::id()).values().map(|(_, nice)| *nice).max().unwrap();
    for (scheduling, work, writes) in [("idle", IDLE, BATCH), ("batch", BATCH, BATCH), ("normal", NORMAL, NORMAL)] {
        let command = host.command(&["save", "--name", scheduling]);
        // Slow enough to be looked at.
        let mut running =
            command.env("LIFEBOAT_NODE__SCHEDULING", scheduling).env("LIFEBOAT_ETCD__RATE_LIMIT", "2MiB").spawn();
        let mut seen = BTreeMap::new();
        wait_until("the threads of a snapshot, at their work", LONG, || {
            seen = threads(running.pid());
            // A thread takes its class first of all, though not in the same moment.
            seen.get("write").is_some_and(|(class, _)| *class == writes)
                && seen.get("compress-0").is_some_and(|(class, _)| *class == work)
        });
        for (thread, class) in [("digest", work), ("compress-0", work), ("write", writes), ("lifeboat", NORMAL)] {
            let found = seen.get(thread).map(|(class, nice)| (*class, *nice <= ours));
            assert_eq!(found, Some((class, true)), "{scheduling}, {thread}: {seen:?}, started with {ours}");
        }
        assert_eq!(running.wait(LONG), Some(0), "{}", running.output());
    }
}
