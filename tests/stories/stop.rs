//! SIGTERM while a snapshot is on its way: the agent ends soon, nothing is orphaned in the store, nothing half is listed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use crate::host::{Host, StoreAt, string};
use crate::support::process::wait_until;
use crate::support::{ETCD_LATEST, Fault, Fill, Op, S3Options, S3Server, dump};

/// systemd's patience is 90 s; a person's is shorter.
const SOON: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_an_upload_orphans_nothing() {
    let minute = Fault::Delay(Duration::from_secs(60));
    let cases: [(&str, Op, &str, Fault); 7] = [
        ("the first part is slow", Op::UploadPart, "", minute.clone()),
        ("a part is never answered", Op::UploadPart, "", Fault::HangAnswer),
        ("the upload is never begun", Op::CreateUpload, "", Fault::Hang),
        ("the completion is slow", Op::CompleteUpload, "", minute),
        ("the completion happened, unheard", Op::CompleteUpload, "", Fault::HangAnswer),
        ("the manifest is never answered", Op::Put, ".manifest.json", Fault::Hang),
        ("the manifest is there, unheard", Op::Put, ".manifest.json", Fault::HangAnswer),
    ];
    for (what, op, key, fault) in cases {
        let server = S3Server::start(S3Options::default()).await;
        let host = Host::on(ETCD_LATEST, "stop", StoreAt::server(&server));
        let etcd = host.start_etcd();
        // Random bytes do not compress: three parts.
        Fill { keys: 60, large: 20, compact: false, seed: 9 }.run(&etcd).await;
        let before = dump(&etcd).await;
        let saved = host.json(&["save", "--name", "big", "--no-ship"]);
        let name = string(&saved["manifest"]["name"]);
        // The schedule is due never: what is uploaded is what waits.
        host.configure("[[schedule]]\nname = \"rare\"\ncron = \"@every 8784h\"\n");

        server.faults().always(op, key, fault);
        let mut running = host.command(&["agent"]).spawn();
        wait_until(what, LONG, || server.faults().count(op, key) > 0);
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.wait(SOON), Some(0), "{what}: {}", running.output());
        assert_eq!(server.uploads_in_progress(), [], "{what}: {}", running.output());
        server.faults().clear();
        // The snapshot is listed when its manifest is there, and not before.
        let committed = server.keys().iter().any(|k| k.ends_with(".manifest.json"));
        assert_eq!(committed, what == "the manifest is there, unheard", "{what}");
        assert_eq!(host.rows(&["--remote"]).len(), usize::from(committed), "{what}");
        let local = host.rows(&["--local"]);
        assert_eq!((local.len(), &local[0]["status"]), (1, &"waits to be shipped".into()), "{what}");

        let mut running = host.command(&["agent"]).spawn();
        wait_until("it is shipped at the next start", LONG, || host.rows(&["--local"])[0]["status"] == "shipped");
        assert_eq!(running.stop(), Some(0), "{what}");
        let verified = host.json(&["verify", &name]);
        assert_eq!((&verified["ok"], &verified["revision"]), (&true.into(), &before.revision.into()), "{what}");
        let listed = host.json(&["ls", "--remote"]);
        assert_eq!((listed["rows"].as_array().unwrap().len(), &listed["uncommitted"]), (1, &0.into()), "{what}");
        assert_eq!(server.uploads_in_progress(), [], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_snapshot_leaves_nothing_half() {
    let server = S3Server::start(S3Options::default()).await;
    let host = Host::on(ETCD_LATEST, "stop-save", StoreAt::server(&server));
    let etcd = host.start_etcd();
    Fill { keys: 60, large: 40, compact: false, seed: 9 }.run(&etcd).await;
    host.configure("[[schedule]]\nname = \"tick\"\ncron = \"@every 1s\"\njitter = \"0s\"\ncompression = \"zstd\"\n");
    for _ in 0..5 {
        let mut running = host.command(&["agent"]).spawn();
        running.wait_for("schedule tick is due", LONG);
        assert_eq!(running.stop(), Some(0), "{}", running.output());
        assert_eq!(server.uploads_in_progress(), []);
    }
    // Whatever the five left, each listed snapshot is whole, and the next start finds a spool that it can use.
    let mut running = host.command(&["agent"]).spawn();
    wait_until("a snapshot in the store", LONG, || !host.rows(&["--remote"]).is_empty());
    assert_eq!(running.stop(), Some(0));
    assert_eq!(host.json(&["ls"])["problems"], serde_json::json!([]));
    for row in host.rows(&["--remote"]) {
        assert_eq!(host.json(&["verify", &string(&row["name"])])["ok"], true, "{row}");
    }
    let left: Vec<_> = std::fs::read_dir(host.path("state/spool")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().ends_with(".part")), "{left:?}");
}

/// What is sent while the snapshot is taken is no half upload in the spool's name: nothing else would ever end it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_an_early_upload_orphans_nothing() {
    let denied = Some((Op::Get, ".manifest.json", Fault::Status(403, "AccessDenied")));
    for (what, rate, fault, until) in [
        ("the snapshot is being taken", "4MiB", None, ""),
        ("it is whole, and its shipping waits for the store", "64MiB", denied, "could not be shipped"),
    ] {
        let server = S3Server::start(S3Options::default()).await;
        let host = Host::on(ETCD_LATEST, "stop-early", StoreAt::server(&server));
        let etcd = host.start_etcd();
        Fill { keys: 60, large: 20, compact: false, seed: 9 }.run(&etcd).await;
        host.configure("[[schedule]]\nname = \"tick\"\ncron = \"@every 1s\"\njitter = \"0s\"\n");
        // An abort that nobody waits for does not get there.
        server.faults().always(Op::AbortUpload, "", Fault::Delay(Duration::from_millis(500)));
        if let Some((op, key, fault)) = fault {
            server.faults().always(op, key, fault);
        }
        let mut running = host.command(&["agent"]).env("LIFEBOAT_ETCD__RATE_LIMIT", rate).spawn();
        wait_until(what, LONG, || server.faults().count(Op::UploadPart, "") > 0);
        running.wait_for(until, LONG);
        assert_ne!(server.uploads_in_progress(), [], "{what}: {}", running.output());
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.wait(SOON), Some(0), "{what}: {}", running.output());
        assert_eq!(server.uploads_in_progress(), [], "{what}: {}", running.output());
        assert!(!server.keys().iter().any(|k| k.contains("/tick-")), "{what}: {:?}", server.keys());
    }
}

/// Ctrl-C during `lifeboat save` is what people do when it takes long.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_is_interrupted_orphans_nothing_and_keeps_the_snapshot() {
    use nix::sys::signal::Signal;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let server = S3Server::start(S3Options::default()).await;
        let host = Host::on(ETCD_LATEST, "interrupted", StoreAt::server(&server));
        let etcd = host.start_etcd();
        Fill { keys: 60, large: 20, compact: false, seed: 9 }.run(&etcd).await;
        server.faults().always(Op::UploadPart, "", Fault::Delay(Duration::from_secs(60)));
        let mut running = host.command(&["save"]).spawn();
        wait_until("a part on its way", LONG, || server.faults().count(Op::UploadPart, "") > 0);
        // Its upload begins before it is whole.
        wait_until("a whole snapshot", LONG, || !host.rows(&["--local"]).is_empty());
        running.signal(signal);
        assert_eq!(running.wait(SOON), Some(1), "{signal}: {}", running.output());
        assert!(running.output().contains("lifeboat ls shows"), "{}", running.output());
        assert_eq!(server.uploads_in_progress(), [], "{signal}: {}", running.output());
        server.faults().clear();
        assert!(host.rows(&["--remote"]).is_empty());
        let waits = string(&host.rows(&["--local"])[0]["name"]);
        host.save("next");
        assert_eq!(host.json(&["verify", &waits])["ok"], true, "the next save ships it, too");
    }
}
