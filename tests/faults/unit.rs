//! The gate as its unit runs it: it never fails, it says what it waits for, and what is mended counts without a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::support::lifeboat::{Running, binary};
use crate::support::process::{guarded, spawn, wait_child};
use crate::support::{Fault, Lifeboat, Op};

const SOON: Duration = Duration::from_secs(60);

/// `lifeboat bootstrap --wait` with a service manager that listens.
struct Unit {
    running: Running,
    socket: UnixDatagram,
    status: String,
    _dir: tempfile::TempDir,
}

impl Unit {
    fn start(lab: &Lab) -> Unit {
        Unit::of(lab.bootstrap().arg("--wait"))
    }

    fn of(command: Lifeboat) -> Unit {
        let dir = tempfile::Builder::new().prefix("lifeboat-unit-").tempdir().unwrap();
        let path: PathBuf = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let running = command.env("NOTIFY_SOCKET", path.display().to_string()).spawn();
        Unit { running, socket, status: String::new(), _dir: dir }
    }

    /// What `systemctl status` would show now.
    fn status(&mut self) -> &str {
        let mut buffer = [0u8; 8192];
        while let Ok(n) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..n].to_vec()).unwrap();
            if let Some(status) = text.trim_end().strip_prefix("STATUS=") {
                assert!(status.len() <= 1024 && !status.contains('\n'), "{status}");
                self.status = status.to_owned();
            }
        }
        &self.status
    }

    /// Waits until its status, at its beginning, holds all of these.
    #[track_caller]
    fn shows(&mut self, words: &[&str]) {
        let end = std::time::Instant::now() + SOON;
        loop {
            let glance: String = self.status().chars().take(240).collect();
            if words.iter().all(|w| glance.contains(w)) {
                break;
            }
            let over = std::time::Instant::now() > end;
            assert!(!over, "not in the status: {words:?}; it is {:?}:\n{}", self.status, self.running.output());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(self.running.is_running(), "it ended: {}", self.running.output());
        println!("  {}", self.status);
    }

    fn lines(&self, word: &str) -> usize {
        self.running.output().lines().filter(|l| l.contains(word)).count()
    }

    /// etcd may start.
    #[track_caller]
    fn starts(&mut self) {
        assert_eq!(self.running.wait(SOON), Some(0), "{}", self.running.output());
    }
}

fn edit(lab: &Lab, from: &str, to: &str) {
    let text = fs::read_to_string(lab.path("etc/lifeboat.toml")).unwrap();
    assert!(text.contains(from), "{text}");
    lab.write("etc/lifeboat.toml", &text.replace(from, to));
}

type Change = fn(&Lab);

#[test]
fn it_waits_for_what_makes_it_fail_by_hand() {
    let cases: [(&str, Change, &[&str], Change); 7] = [
        (
            "no configuration",
            |lab| fs::rename(lab.path("etc/lifeboat.toml"), lab.path("etc/away")).unwrap(),
            &["WAIT", "cannot read the configuration", "lifeboat.toml", "to do: create it"],
            |lab| fs::rename(lab.path("etc/away"), lab.path("etc/lifeboat.toml")).unwrap(),
        ),
        (
            "a wrong key",
            |lab| edit(lab, "bucket =", "buket ="),
            &["WAIT", "unknown key \"buket\" in [store.s3] | to do: did you mean \"bucket\"?"],
            |lab| edit(lab, "buket =", "bucket ="),
        ),
        (
            "two mistakes",
            |lab| {
                edit(lab, "bucket =", "buket =");
                edit(lab, "insecure = true", "insecure = \"yes\"");
            },
            &["WAIT", "2 problems in the configuration; ", "buket", "to do: mend them"],
            |lab| {
                edit(lab, "buket =", "bucket =");
                edit(lab, "insecure = \"yes\"", "insecure = true");
            },
        ),
        (
            "a token that all may read",
            |lab| fs::set_permissions(lab.path("etc/token"), Permissions::from_mode(0o644)).unwrap(),
            &["P1 WAIT", "the store could not be read", "to do: chmod o-rwx"],
            |lab| fs::set_permissions(lab.path("etc/token"), Permissions::from_mode(0o600)).unwrap(),
        ),
        (
            "no S3 key",
            |lab| fs::remove_file(lab.path("etc/access")).unwrap(),
            &["P1 WAIT", "the store could not be read", "etc/access", "to do: create"],
            |lab| lab.write("etc/access", &lab.s3.access_key),
        ),
        (
            "a lock that is none",
            |lab| fs::create_dir(lab.path("boot/bootstrap.lock")).unwrap(),
            &["WAIT", "bootstrap.lock", "to do: a directory stands where a file is needed"],
            |lab| fs::remove_dir(lab.path("boot/bootstrap.lock")).unwrap(),
        ),
        (
            "a memory that is none",
            |lab| lab.write("boot/memory.json", "{"),
            &["P1 WAIT", "memory", "to do: move", "memory.json"],
            |lab| fs::remove_file(lab.path("boot/memory.json")).unwrap(),
        ),
    ];
    for (what, damage, shows, mend) in cases {
        println!("{what}");
        let lab = Lab::new();
        damage(&lab);
        let by_hand = lab.bootstrap().arg("--deadline=0s").run();
        assert!(by_hand.code.is_some_and(|c| c != 0), "{what}: {}", by_hand.text());
        let mut unit = Unit::start(&lab);
        unit.shows(shows);
        // It looks again, and says the same thing once.
        std::thread::sleep(Duration::from_secs(5));
        unit.shows(shows);
        let lines = unit.lines("the gate cannot decide, and waits") + unit.lines("P1 WAIT");
        assert_eq!(lines, 1, "{what}: {}", unit.running.output());
        mend(&lab);
        unit.starts();
        assert!(lab.has_member(), "{what}");
    }
}

/// Secrets and certificates are for the store: healthy data starts without them.
#[test]
fn healthy_data_starts_whatever_of_the_store_is_wrong() {
    let lab = Lab::new();
    lab.bootstrap().run().ok();
    lab.write("etc/garbage", "garbage");
    let garbage = lab.path("etc/garbage").display().to_string();
    let text = fs::read_to_string(lab.path("etc/lifeboat.toml")).unwrap();
    let cases: [(&str, &dyn Fn()); 4] = [
        ("no S3 key", &|| fs::remove_file(lab.path("etc/access")).unwrap()),
        ("a CA that is none", &|| edit(&lab, "ca_file = \"\"", &format!("ca_file = \"{garbage}\""))),
        ("a password that is missing", &|| {
            edit(&lab, "data_dir =", "username = \"root\"\npassword_file = \"/nothing\"\ndata_dir =");
        }),
        ("a short token", &|| lab.write("etc/token", "short")),
    ];
    for (what, damage) in cases {
        damage();
        let mut unit = Unit::start(&lab);
        unit.starts();
        println!("{what}: {}", unit.status());
        assert!(unit.status.starts_with("D7 START"), "{what}: {}", unit.running.output());
        lab.write("etc/lifeboat.toml", &text);
        lab.write("etc/access", &lab.s3.access_key);
        if what != "a short token" {
            lab.bootstrap().run().ok();
        }
    }
    // An empty host does not start on what it cannot know.
    lab.lose_data();
    let mut unit = Unit::start(&lab);
    unit.shows(&["P1 WAIT", "to do: on one host: head -c 32 /dev/urandom"]);
    lab.write("etc/token", "a-token-of-the-faults-lab-0123456789");
    unit.shows(&["S5 REFUSE"]);
}

/// Without a flag it knows its unit by what systemd tells it.
#[test]
fn it_knows_its_unit() {
    let lab = Lab::new();
    edit(&lab, "bucket =", "buket =");
    let config = lab.path("etc/lifeboat.toml");
    let run = |env: &str| {
        let script = format!("{env} exec \"$0\" bootstrap --config \"$1\"");
        let mut command = guarded(std::path::Path::new("sh"));
        command.args(["-c", &script]).arg(binary()).arg(&config).env_remove("NOTIFY_SOCKET");
        let mut child = spawn(command);
        let ended = wait_child(&mut child, Duration::from_secs(5)).and_then(|s| s.code());
        let _ = child.kill();
        let _ = child.wait();
        ended
    };
    assert_eq!(run(""), Some(78));
    assert_eq!(run("INVOCATION_ID=1"), Some(78), "a shell of a unit");
    assert_eq!(run("INVOCATION_ID=1 SYSTEMD_EXEC_PID=1"), Some(78), "a child of a unit");
    assert_eq!(run("INVOCATION_ID=1 SYSTEMD_EXEC_PID=$$"), None, "the unit itself waits");
}

#[test]
fn a_defect_is_said_and_tried_again() {
    let lab = Lab::new();
    let mut unit = Unit::of(lab.bootstrap().arg("--wait").failpoints("bootstrap.looked=2*panic(a bad day)"));
    unit.shows(&["WAIT", "a defect of this program", "a bad day", "to do: it tries again"]);
    unit.starts();
    assert_eq!(unit.lines("a defect of this program"), 1, "{}", unit.running.output());
    // A step that panics in a thread of its own, too, is an error like others.
    let mut unit = Unit::of(lab.bootstrap().arg("--wait").failpoints("bootstrap.looked=3*return(error)"));
    unit.shows(&["WAIT", "failpoint bootstrap.looked"]);
    unit.starts();
}

/// The host is empty, and the configuration names a bucket that is not there.
#[test]
fn a_mended_configuration_counts_while_it_waits() {
    let lab = Lab::new();
    edit(&lab, "bucket = \"snapshots\"", "bucket = \"snapshoots\"");
    let mut unit = Unit::start(&lab);
    unit.shows(&["P1 WAIT", "to do: create the bucket \"snapshoots\""]);
    edit(&lab, "folder = ", "foolder = ");
    unit.shows(&["the changed configuration cannot be used", "foolder", "to do: did you mean \"folder\"?"]);
    std::thread::sleep(Duration::from_secs(6));
    // The old one goes on.
    unit.shows(&["the changed configuration cannot be used"]);
    assert!(unit.status().contains("P1 WAIT"), "{}", unit.status);
    assert_eq!(unit.lines("cannot be used, the old one goes on"), 1, "{}", unit.running.output());
    edit(&lab, "foolder = ", "folder = ");
    unit.shows(&["P1 WAIT", "snapshoots"]);
    edit(&lab, "snapshoots", "snapshots");
    unit.starts();
    let said = unit.running.output();
    assert_eq!(said.lines().filter(|l| l.contains("P1 WAIT")).count(), 1, "once per reason: {said}");
}

/// A person's word, typed in another terminal while the gate waits for it.
#[test]
fn what_a_person_types_counts_while_it_waits() {
    let lab = Lab::new();
    lab.bootstrap().run().ok();
    fs::remove_dir_all(lab.data().join("member/wal")).unwrap();
    let mut unit = Unit::start(&lab);
    unit.shows(&["D2 REFUSE", "to do: if the data is worthless, type: lifeboat quarantine add"]);
    lab.cmd(["quarantine", "add", "--yes"]).run().ok();
    unit.shows(&["S5 REFUSE", "to do: check bucket and folder"]);
    lab.bootstrap().arg("--init-empty").run().ok();
    unit.starts();
    assert_eq!(unit.lines("D2 REFUSE") + unit.lines("S5 REFUSE"), 2, "{}", unit.running.output());
}

/// A gate whose step has failed waits; it does not keep others from the host.
#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_hold_the_lock_while_it_waits() {
    let (lab, _, _etcd) = Lab::lived(10, 1, false).await;
    lab.lose_data();
    lab.s3.faults().always(Op::Get, ".db", Fault::Status(403, "AccessDenied"));
    let mut unit = Unit::start(&lab);
    unit.shows(&["S2 PLAN failed", ".db.gz", "to do: grant"]);
    std::thread::sleep(Duration::from_secs(3));
    let out = lab.cmd(["quarantine", "add", "--yes"]).run().exits_with(1);
    out.says(&["nothing to move aside"]);
    assert_eq!(unit.lines("S2 PLAN"), 2, "the step and its failure, once each: {}", unit.running.output());
    lab.s3.faults().clear();
    unit.starts();
}

#[test]
fn a_signal_ends_it_and_etcd_must_not_start() {
    let lab = Lab::new();
    edit(&lab, "bucket = \"snapshots\"", "bucket = \"snapshoots\"");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut unit = Unit::start(&lab);
        unit.shows(&["P1 WAIT"]);
        unit.running.signal(signal);
        assert_eq!(unit.running.wait(SOON), Some(4), "{}", unit.running.output());
        assert!(!lab.has_member());
    }
}
