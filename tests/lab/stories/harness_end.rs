//! The harness itself, proven: nothing is left behind, whatever becomes of the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Lab, Suite, Volume, traces, wait_for};

const MINUTE: Duration = Duration::from_secs(60);

/// A lab with all that can be left behind.
fn full(story: &str) -> Lab {
    let lab = Lab::new(story);
    let host = lab.host_off("cp1", Suite::Trixie);
    host.add_volume(&Volume::ext4("/var/lib/etcd", 64));
    host.boot();
    host.ok("systemd-run --unit=runs sleep infinity");
    lab.s3();
    lab
}

#[test]
fn a_lab_leaves_nothing_behind() {
    let lab = full("harness-end");
    let name = lab.name().to_owned();
    assert!(!traces(&name).is_empty(), "a lab that lives has traces");
    drop(lab);
    assert_eq!(traces(&name), Vec::<String>::new());
}

#[test]
fn a_story_that_panics_leaves_journals_and_nothing_else() {
    let mut name = String::new();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let lab = full("harness-panic");
        name = lab.name().to_owned();
        lab.s3().put("an/object", b"1234");
        panic!("as a story does (this one is meant to)");
    }));
    assert!(outcome.is_err());
    assert_eq!(traces(&name), Vec::<String>::new());
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory").join("lab/harness-panic");
    let text = |file: &str| fs::read_to_string(kept.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    assert!(text("cp1/journal.txt").contains("Started runs.service"));
    assert!(text("cp1/units.txt").contains("runs.service"));
    assert!(text("s3/objects.txt").contains("an/object"));
    fs::remove_dir_all(kept).expect("the evidence of a failure that is none");
}

/// One that ends must not take anything from another: removing a directory takes away what is mounted there elsewhere.
#[test]
fn two_labs_do_not_disturb_each_other() {
    let (go, wait) = std::sync::mpsc::channel();
    // Started first: it must not be in the namespace of the lab below.
    let other = std::thread::spawn(move || {
        wait.recv().expect("a sign");
        full("harness-beside").s3().put("an/object", b"other");
    });
    let lab = full("harness-first");
    lab.s3().put("an/object", b"mine");
    go.send(()).expect("the other one listens");
    other.join().expect("the other lab");
    let host = lab.host("cp2", Suite::Bookworm);
    assert!(host.ok("curl --silent --include http://s3:8333/").contains(" 403 "));
    host.reboot();
    assert_eq!(lab.s3().get("an/object").as_deref(), Some(&b"mine"[..]));
}

/// Run by the test below, in a process of its own that is then killed.
#[test]
#[ignore = "started by the test below, in a process of its own: make lab LAB=harness_end"]
fn a_lab_to_be_killed() {
    let Some(sign) = std::env::var_os("LAB_SIGN").map(PathBuf::from) else { return };
    let lab = full("harness-killed");
    fs::write(sign.with_extension("part"), lab.name()).expect("a sign of life");
    fs::rename(sign.with_extension("part"), &sign).expect("a sign of life");
    std::thread::sleep(10 * MINUTE);
}

#[test]
fn a_killed_run_takes_its_hosts_with_it_and_the_next_one_cleans_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let sign = dir.path().join("name");
    let itself = std::env::current_exe().expect("this program");
    let mut child = Command::new(itself)
        .args(["--ignored", "--exact", "stories::harness_end::a_lab_to_be_killed", "--nocapture"])
        .env("LAB_SIGN", &sign)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a second process");
    let name = wait_for("the other lab to be up", 2 * MINUTE, || {
        assert!(child.try_wait().expect("wait for a child").is_none(), "it ended by itself");
        fs::read_to_string(&sign).ok()
    });
    child.kill().and_then(|()| child.wait().map(drop)).expect("SIGKILL");
    // Processes and mounts go at once, without any help.
    wait_for("its processes and mounts to go", Duration::from_secs(10), || {
        traces(&name).iter().all(|t| !t.starts_with("process") && !t.starts_with("mount")).then_some(())
    });
    drop(Lab::new("harness-next"));
    assert_eq!(traces(&name), Vec::<String>::new());
}
