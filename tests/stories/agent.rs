//! The daemon over hours, in seconds: schedules, a store that goes away, reloads, systemd, missed runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::host::{BUCKET, Host, StoreAt, string};
use crate::support::process::wait_until;
use crate::support::{ETCD_LATEST, Lifeboat, Running, Weed};

const LONG: Duration = Duration::from_secs(180);

fn schedule(name: &str, cron: &str) -> String {
    format!("[[schedule]]\nname = \"{name}\"\ncron = \"{cron}\"\njitter = \"0s\"\n")
}

fn agent(host: &Host) -> Running {
    host.command(&["agent"]).spawn()
}

fn names(host: &Host, args: &[&str]) -> Vec<String> {
    host.rows(args).iter().map(|r| string(&r["name"])).collect()
}

fn waiting(host: &Host) -> Vec<String> {
    let rows = host.rows(&["--local"]);
    rows.iter().filter(|r| r["status"] == "waits to be shipped").map(|r| string(&r["name"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_wait_in_the_spool_while_the_store_is_away_and_are_shipped_when_it_is_back() {
    let mut weed = tokio::task::spawn_blocking(Weed::start).await.unwrap();
    weed.create_bucket(BUCKET).await;
    let host = Host::on(ETCD_LATEST, "outage", StoreAt::weed(&weed));
    host.configure(&schedule("tick", "@every 2s"));
    let etcd = host.start_etcd();
    etcd.etcdctl(&["put", "a", "1"]);
    let mut running = agent(&host);
    wait_until("a scheduled snapshot in the store", LONG, || !names(&host, &["--remote"]).is_empty());
    assert!(names(&host, &["--remote"]).iter().all(|n| n.starts_with("tick-")));

    weed.go_down();
    wait_until("two snapshots that wait", LONG, || waiting(&host).len() >= 2);
    running.wait_for("could not be shipped, and is kept", LONG);
    // A store that does not answer is no empty store.
    host.run(&["ls"]).exits_with(1).says(&["127.0.0.1"]);
    host.command(&["save", "--name", "by-hand"]).run().exits_with(1).says(&["is whole in the spool", "by-hand"]);
    assert_eq!(running.stop(), Some(0), "{}", running.output());
    let kept = waiting(&host);
    assert!(kept.len() >= 3 && kept.iter().any(|n| n.starts_with("by-hand-")), "{kept:?}");

    // Another agent, while the store is still away, and then it is back.
    let mut running = agent(&host);
    running.wait_for("could not be shipped, and is kept", LONG);
    assert!(kept.iter().all(|name| waiting(&host).contains(name)), "nothing is lost by a restart");
    weed.go_up();
    wait_until("all that waited is in the store", LONG, || {
        let there = host.command(&["ls", "--remote", "-o", "json"]).run();
        there.code == Some(0) && kept.iter().all(|name| there.stdout.contains(name.as_str()))
    });
    wait_until("the spool is empty again", LONG, || waiting(&host).iter().all(|name| !kept.contains(name)));
    assert_eq!(running.stop(), Some(0));
    for name in &kept {
        assert_eq!(host.json(&["verify", name])["ok"], true, "{name}");
    }
    // The stop may have come between a payload and its manifest: the next pass commits that one, too.
    host.save("last");
    assert_eq!(host.json(&["ls", "--remote"])["uncommitted"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_a_good_file_and_keeps_the_old_one_when_it_is_bad() {
    let host = Host::new(ETCD_LATEST, "reload").await;
    let etcd = host.start_etcd();
    etcd.etcdctl(&["put", "a", "1"]);
    let file = host.configure_agent(&schedule("first", "@every 2s"));
    let mut running = Lifeboat::new(["agent"]).config(&file).spawn();
    let count = |prefix: &str| names(&host, &["--remote"]).iter().filter(|n| n.starts_with(prefix)).count();
    wait_until("the first schedule", LONG, || count("first-") >= 1);

    host.configure_agent(&schedule("second", "every now and then"));
    running.signal(Signal::SIGHUP);
    running.wait_for("the new configuration is not used, the old one goes on", LONG);
    assert!(running.output().contains("every now and then"), "it says what is wrong: {}", running.output());
    let before = count("first-");
    wait_until("the old schedule goes on", LONG, || count("first-") > before + 1);

    host.configure_agent(&schedule("second", "@every 2s"));
    running.signal(Signal::SIGHUP);
    running.wait_for("the configuration was loaded again", LONG);
    wait_until("the new schedule", LONG, || count("second-") >= 2);
    let before = count("first-");
    let more = count("second-");
    wait_until("two more of the new one", LONG, || count("second-") >= more + 2);
    assert_eq!(count("first-"), before, "the old schedule still runs");
    // Twice in a row, as impatient people and certificate tools do it.
    running.signal(Signal::SIGHUP);
    running.signal(Signal::SIGHUP);
    let more = count("second-");
    wait_until("it goes on", LONG, || count("second-") >= more + 2);
    assert_eq!(running.stop(), Some(0), "{}", running.output());
    assert!(waiting(&host).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_how_the_agent_is_doing() {
    let host = Host::new(ETCD_LATEST, "notify").await;
    let etcd = host.start_etcd();
    etcd.etcdctl(&["put", "a", "1"]);
    host.configure(&schedule("tick", "@every 2s"));
    let path = host.path("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    let manager = Manager { socket, heard: Vec::new() };
    let mut manager = manager.listening();
    let command = host.command(&["agent"]).env("NOTIFY_SOCKET", path.display().to_string());
    let mut running = command.env("WATCHDOG_USEC", "1000000").spawn();
    manager.until("READY=1", |heard| heard.iter().any(|m| m == "READY=1"));
    assert!(manager.heard.iter().take_while(|m| *m != "READY=1").all(|m| m.starts_with("STATUS=")));
    manager.until("three signs of life", |heard| heard.iter().filter(|m| *m == "WATCHDOG=1").count() >= 3);
    manager.until("what it shipped", |heard| heard.iter().any(|m| m.starts_with("STATUS=last snapshot tick-")));

    running.signal(Signal::SIGHUP);
    manager.until("a reload that ends", |heard| {
        let begun = heard.iter().position(|m| m.starts_with("RELOADING=1"));
        begun.is_some_and(|at| heard.iter().skip(at).any(|m| m == "READY=1"))
    });
    let reload = manager.heard.iter().find(|m| m.starts_with("RELOADING=1")).unwrap();
    assert!(reload.contains("MONOTONIC_USEC="), "systemd 253 and later ask for it: {reload}");
    fs::write(host.config(), "cluster = 1").unwrap();
    running.signal(Signal::SIGHUP);
    manager.until("that the file is wrong", |heard| heard.iter().any(|m| m.starts_with("STATUS=the configuration")));
    let readies = manager.heard.iter().filter(|m| *m == "READY=1").count();
    let reloads = manager.heard.iter().filter(|m| m.starts_with("RELOADING=1")).count();
    assert_eq!((reloads, readies), (2, 3), "each reload ends: {:?}", manager.heard);

    let beats = manager.heard.iter().filter(|m| *m == "WATCHDOG=1").count();
    manager.until("more signs of life", |heard| heard.iter().filter(|m| *m == "WATCHDOG=1").count() > beats);
    assert_eq!(running.stop(), Some(0));
    manager.until("STOPPING=1", |heard| heard.iter().any(|m| m == "STOPPING=1"));
    let after = manager.heard.iter().skip_while(|m| *m != "STOPPING=1").skip(1);
    assert!(after.clone().all(|m| m != "READY=1"), "{:?}", after.collect::<Vec<_>>());
}

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn listening(self) -> Manager {
        self.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        self
    }

    fn until(&mut self, what: &str, done: impl Fn(&[String]) -> bool) {
        let end = Instant::now() + LONG;
        let mut buffer = [0u8; 8192];
        while !done(&self.heard) {
            assert!(Instant::now() < end, "never heard {what}: {:?}", self.heard);
            if let Ok(n) = self.socket.recv(&mut buffer) {
                self.heard.push(String::from_utf8_lossy(&buffer[..n]).trim_end().to_owned());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_run_is_caught_up_once_after_a_restart() {
    let host = Host::new(ETCD_LATEST, "missed").await;
    let etcd = host.start_etcd();
    etcd.etcdctl(&["put", "a", "1"]);
    // A first start with no history runs nothing: no slot has passed. The period is longer than any test.
    let sparse = schedule("yearly", "@every 8784h");
    host.configure(&format!("{sparse}\n{}", schedule("tick", "@every 2s")));
    let mut running = agent(&host);
    wait_until("the other schedule", LONG, || names(&host, &["--remote"]).len() >= 2);
    assert_eq!(running.stop(), Some(0));
    assert!(names(&host, &[]).iter().all(|n| n.starts_with("tick-")), "{:?}", names(&host, &[]));

    // Down for years: many slots of `tick` and of `yearly` have passed since, and each schedule runs once for all of them.
    let file = host.path("state/last-runs.json");
    let mut runs: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(runs["tick"].is_string(), "{runs}");
    runs["tick"] = "2020-01-01T00:00:00Z".into();
    runs["yearly"] = "2020-01-01T00:00:00Z".into();
    fs::write(&file, runs.to_string()).unwrap();
    host.configure(&sparse);
    let yearly = || names(&host, &["--remote"]).iter().filter(|n| n.starts_with("yearly-")).count();
    let mut running = agent(&host);
    wait_until("the missed run", LONG, || yearly() >= 1);
    let due = |text: &str| text.lines().filter(|l| l.contains("schedule yearly is due")).count();
    let said = running.output();
    let line = said.lines().find(|l| l.contains("schedule yearly is due")).unwrap();
    assert!(line.contains("missed=") && !line.contains("missed=0"), "{line}");
    // kill -9, too: what was run is remembered before the snapshot counts as done.
    wait_until("the run is remembered", LONG, || {
        fs::read_to_string(&file).is_ok_and(|text| !text.contains("\"yearly\":\"2020"))
    });
    running.kill9();
    for _ in 0..2 {
        host.configure(&format!("{sparse}\n{}", schedule("tock", "@every 2s")));
        let before = names(&host, &["--remote"]).len();
        let mut running = agent(&host);
        // When another schedule has run twice, the yearly one has had every chance to.
        wait_until("the other schedule", LONG, || names(&host, &["--remote"]).len() >= before + 2);
        assert_eq!(running.stop(), Some(0));
        assert_eq!((due(&running.output()), yearly()), (0, 1), "{}", running.output());
    }
}
