//! Ships that go wrong: whatever the way to the store does, `ls` shows whole snapshots only, and no parts stay behind for ever.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, reason = "the counts are printed, to be read by people")]

use std::time::Duration;

use crate::host::{Host, StoreAt, string};
use crate::support::process::wait_until;
use crate::support::proxy::{End, Fault};
use crate::support::{ETCD_LATEST, FaultProxy, Fill, Op, S3Options, S3Server, dump};

const LONG: Duration = Duration::from_secs(180);

fn through(proxy: &FaultProxy, server: &S3Server) -> StoreAt {
    StoreAt { endpoint: proxy.endpoint(), ..StoreAt::server(server) }
}

/// Each fault that ends soon, at each request of a ship.
#[tokio::test(flavor = "multi_thread")]
async fn a_ship_that_fails_anywhere_shows_nothing_half() {
    let server = S3Server::start(S3Options::default()).await;
    let proxy = FaultProxy::start(&server.endpoint());
    let host = Host::on(ETCD_LATEST, "faulty", through(&proxy, &server));
    let etcd = host.start_etcd();
    // Random bytes do not compress: three parts.
    Fill { keys: 60, large: 20, compact: false, seed: 9 }.run(&etcd).await;
    let before = dump(&etcd).await;
    let places = [
        (Op::CreateUpload, ""),
        (Op::UploadPart, ""),
        (Op::CompleteUpload, ""),
        (Op::Head, ".db"),
        (Op::Put, ".manifest.json"),
    ];
    // All of them, lasting, take ten minutes; `make test` runs those that end soon.
    let all = std::env::var_os("LIFEBOAT_ALL_FAULTY_SHIPS").is_some();
    let faults: Vec<(Fault, u32)> = [
        (Fault::Status(403, "AccessDenied"), u32::MAX),
        (Fault::Portal, 1),
        (Fault::Late(500, "InternalError"), 1),
        (Fault::Swallow(End::Reset), 2),
        (Fault::Status(404, "NoSuchUpload"), 0),
        (Fault::Status(400, "InvalidRequest"), 0),
        (Fault::Redirect(301, Some("eu-west-2")), 0),
        (Fault::ResetRequest(7), 0),
        (Fault::ErrorIn200("InternalError"), 0),
        (Fault::Empty, 0),
        (Fault::BadChunks, 0),
        (Fault::Strip("ETag"), 0),
        (Fault::Stale, 0),
    ]
    .into_iter()
    .filter_map(|(fault, times)| if all { Some((fault, u32::MAX)) } else { (times > 0).then_some((fault, times)) })
    .collect();
    let (mut shipped, mut failed) = (0, 0);
    for (op, key) in places {
        for (fault, times) in &faults {
            let what = format!("{fault:?} at {op:?}");
            proxy.add(op, key, 0, *times, fault.clone());
            let out = host.command(&["save"]).limit(LONG).run();
            proxy.clear("");
            match out.code {
                Some(0) => shipped += 1,
                // Kept in the spool; the next one ships it, too.
                Some(_) => failed += 1,
                None => panic!("{what}: {}", out.text()),
            }
            let listed = host.json(&["ls", "--remote"]);
            assert_eq!(listed["problems"], serde_json::json!([]), "{what}: {listed}");
            for row in listed["rows"].as_array().unwrap() {
                let payload = format!("snapshots/{}.db", string(&row["name"]));
                assert!(server.keys().iter().any(|k| k.contains(&payload)), "{what}: {row} has no payload");
            }
        }
    }
    host.save("last");
    let rows = host.rows(&["--remote"]);
    println!("faulty ships: {} saves, {shipped} shipped at once, {failed} later", places.len() * faults.len());
    assert_eq!(rows.len(), places.len() * faults.len() + 1, "each was shipped in the end");
    for row in [rows.first().unwrap(), rows.last().unwrap()] {
        let verified = host.json(&["verify", &string(&row["name"])]);
        assert_eq!((&verified["ok"], &verified["revision"]), (&true.into(), &before.revision.into()));
    }
}

/// kill -9 in the middle of uploads: each leaves one behind, and the agent removes them when they are a day old.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_removes_what_killed_uploads_have_left() {
    let server = S3Server::start(S3Options::default()).await;
    let proxy = FaultProxy::start(&server.endpoint());
    let host = Host::on(ETCD_LATEST, "killed", through(&proxy, &server));
    let etcd = host.start_etcd();
    Fill { keys: 60, large: 20, compact: false, seed: 9 }.run(&etcd).await;
    host.configure("[[schedule]]\nname = \"tick\"\ncron = \"@every 2s\"\njitter = \"0s\"\n");
    for killed in 1..=3 {
        proxy.add(Op::UploadPart, "", 1, u32::MAX, Fault::Before(End::Hang));
        let seen = proxy.count(Op::UploadPart, "");
        let mut running = host.command(&["save"]).spawn();
        wait_until("an upload is in its middle", LONG, || proxy.count(Op::UploadPart, "") > seen + 1);
        running.kill9();
        proxy.clear("");
        assert_eq!(server.uploads_in_progress().len(), killed, "one for each kill");
        assert_eq!(host.json(&["ls", "--remote"])["rows"], serde_json::json!([]));
    }

    // Young: the agent ships, looks, and leaves them.
    let listings = || proxy.count(Op::ListUploads, "snapshots");
    let mut running = host.command(&["agent"]).spawn();
    wait_until("it looked for unfinished uploads", LONG, || listings() == 1);
    wait_until("it ships on", LONG, || host.rows(&["--remote"]).len() > 5);
    assert_eq!(running.stop(), Some(0), "{}", running.output());
    assert_eq!((server.uploads_in_progress().len(), listings()), (3, 1), "once a day: {}", running.output());

    // Two days later, by the store's clock; this host's last look was a day ago.
    server.set_clock_skew(48 * 3600);
    let notes = host.path("state/last-runs.json");
    let noted = std::fs::read_to_string(&notes).unwrap();
    assert!(noted.contains("(unfinished uploads)"), "{noted}");
    let mut looked: serde_json::Value = serde_json::from_str(&noted).unwrap();
    looked["(unfinished uploads)"] = "2024-01-15T10:30:00Z".into();
    std::fs::write(&notes, looked.to_string()).unwrap();
    let mut running = host.command(&["agent"]).spawn();
    wait_until("they are gone", LONG, || server.uploads_in_progress().is_empty());
    wait_until("it says so three times", LONG, || {
        running.output().matches("that was cut off more than a day ago").count() == 3
    });
    assert_eq!(running.stop(), Some(0));
    assert_eq!(listings(), 2);
}
