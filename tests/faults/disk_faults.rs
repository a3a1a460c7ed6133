//! Disks that are full after any number of bytes, or fail one fsync or rename: the command says which file and why, what was there before is
//! usable, nothing half-built can start, and the next run succeeds.
//!
//! `make test` tries a few of each; LIFEBOAT_DISKS=100 (`make disks`) tries so many offsets, and every sync and rename there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::disks::by_hand;
use crate::lab::Lab;
use crate::support::{DiskFault, Dump, FaultyRun, Fill, Lifeboat};

/// What a command is, and what must hold after it failed or not.
struct Case<'a> {
    name: &'static str,
    command: &'a dyn Fn() -> Lifeboat,
    /// Puts everything as it must be before a run.
    before: &'a dyn Fn(),
    /// `true`: the run reported success.
    after: &'a mut dyn FnMut(&str, bool),
    /// Exit codes of a failure.
    fails_with: &'static [i32],
    /// Some failures are mended on the way (a sync of what is only a note, or another try of the gate).
    may_recover: bool,
}

/// Offsets, or as many syncs and renames; 0: the short form.
fn wanted() -> Option<u64> {
    std::env::var("LIFEBOAT_DISKS").ok().map(|n| n.parse().expect("LIFEBOAT_DISKS is a number"))
}

/// Which of `total` calls, from 1, spread over all of them: the first and the last always, all of them when so many are wanted.
fn spread(total: u64, wanted: u64) -> BTreeSet<u64> {
    if total <= wanted {
        return (1..=total).collect();
    }
    (0..wanted).map(|n| 1 + n * (total - 1) / (wanted - 1)).collect()
}

/// `wanted` offsets: in each write of the run, as evenly as it goes, the first at its beginning, further ones inside.
fn offsets(after_each: &[u64], wanted: u64) -> BTreeSet<u64> {
    let writes = after_each.len() as u64;
    let place = |k: u64| {
        let (index, round) =
            if wanted <= writes { (k * (writes - 1) / (wanted - 1), 0) } else { (k % writes, k / writes) };
        let end = after_each[index as usize];
        let start = if index == 0 { 0 } else { after_each[index as usize - 1] };
        start + (end - start) * round / (wanted / writes + 1)
    };
    (0..wanted).map(place).collect()
}

fn judge(case: &mut Case<'_>) {
    (case.before)();
    let whole = FaultyRun::of((case.command)(), DiskFault::None);
    assert_eq!(whole.output.code, Some(0), "{}: {}", case.name, whole.output.text());
    (case.after)("nothing", true);
    assert!(
        whole.bytes.last().is_some_and(|n| *n > 10_000) && whole.syncs > 2 && whole.renames > 0,
        "{}: nothing is counted",
        case.name
    );
    let (places, calls) = match wanted() {
        Some(n) => (n, u64::MAX),
        None => (4, 4),
    };
    let mut faults: Vec<_> = offsets(&whole.bytes, places).into_iter().map(DiskFault::FullAfter).collect();
    faults.extend(spread(whole.syncs, calls).into_iter().map(DiskFault::Sync));
    faults.extend(spread(whole.renames, calls).into_iter().map(DiskFault::Rename));
    let (mut failed, mut mended, mut unreached) = (0, 0, 0);
    for fault in &faults {
        (case.before)();
        let run = FaultyRun::of((case.command)(), *fault);
        let what = format!("{}, {fault}, {:?}", case.name, run.hit);
        let text = run.output.text();
        let good = run.output.code == Some(0);
        match (&run.hit, good) {
            // Threads: a run may need one call less than the one that was counted.
            (None, true) => unreached += 1,
            // The gate's deadline, on a busy machine.
            (None, false) if run.output.code == Some(4) => unreached += 1,
            (None, false) => panic!("{what}: failed without a fault: {text}"),
            (Some(_), true) => {
                assert!(case.may_recover || run.output.stderr.contains("os error"), "{what}: unnoticed: {text}");
                mended += 1;
            }
            (Some(_), false) => {
                assert!(run.output.code.is_some_and(|c| case.fails_with.contains(&c)), "{what}: {text}");
                let cause = if matches!(fault, DiskFault::FullAfter(_)) { "os error 28" } else { "os error 5" };
                assert!(run.output.stderr.contains(cause), "{what}: why? {text}");
                assert!(run.output.stderr.contains('/'), "{what}: which file? {text}");
                failed += 1;
            }
        }
        (case.after)(&what, good);
    }
    println!(
        "{}: {:?} bytes in {} writes, {} syncs, {} renames; {} faults: {failed} failed with a message, {mended} mended, {unreached} not reached",
        case.name,
        whole.bytes.last().unwrap_or(&0),
        whole.bytes.len(),
        whole.syncs,
        whole.renames,
        faults.len()
    );
    assert!(case.may_recover || failed * 2 > faults.len(), "{}: most faults go unnoticed", case.name);
}

/// A member that the real etcd serves with exactly this, or none.
fn whole_or_none(lab: &Lab, what: &str, expected: &Dump, runtime: &tokio::runtime::Runtime) -> bool {
    if !lab.has_member() {
        return false;
    }
    lab.inspect().ok();
    expected.assert_same_keys(&runtime.block_on(lab.what_etcd_would_serve()));
    assert!(lab.leftovers().is_empty() || what.contains("hit"), "{what}: {:?}", lab.leftovers());
    true
}

#[test]
fn a_restore_on_a_disk_that_fills_or_fails() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (lab, dumps, _etcd) = runtime.block_on(Lab::lived(200, 1, false));
    judge(&mut Case {
        name: "restore",
        command: &|| by_hand(&lab),
        before: &|| lab.lose_data(),
        after: &mut |what, good| {
            let whole = whole_or_none(&lab, what, &dumps[0], &runtime);
            assert!(whole || !good, "{what}: nothing was restored");
            if !whole {
                by_hand(&lab).run().ok();
                assert_eq!(lab.leftovers(), Vec::<PathBuf>::new(), "{what}");
                lab.inspect().ok();
            }
        },
        fails_with: &[1],
        may_recover: false,
    });
}

#[test]
fn a_gate_on_a_disk_that_fills_or_fails() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (lab, dumps, _etcd) = runtime.block_on(Lab::lived(100, 1, false));
    let plans = std::cell::Cell::new(lab.plans());
    judge(&mut Case {
        name: "bootstrap",
        command: &|| lab.bootstrap().arg("--deadline").arg("4s"),
        before: &|| lab.lose_data(),
        after: &mut |what, good| {
            let whole = whole_or_none(&lab, what, &dumps[0], &runtime);
            assert!(whole || !good, "{what}: etcd may start, and there is no member");
            lab.bootstrap().run().ok();
            // A mark whose staging was given up for a failing disk is burnt; what follows is a further plan, never none.
            assert!(lab.plans() > plans.replace(lab.plans()), "{what}: no plan");
            assert!((1..=plans.get()).all(|g| lab.marks(g) <= 1), "{what}: two marks");
            if !whole {
                dumps[0].assert_same_keys(&runtime.block_on(lab.what_etcd_would_serve()));
            }
        },
        fails_with: &[1, 4],
        may_recover: true,
    });
}

#[test]
fn a_save_on_a_disk_that_fills_or_fails() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lab = Lab::new();
    lab.bootstrap().run().ok();
    let etcd = lab.etcd();
    runtime.block_on(Fill { large: 1, ..Fill::small(200) }.run(&etcd));
    lab.cmd(["save", "--name", "before"]).run().ok();
    let good_before = std::cell::RefCell::new(lab.usable());
    judge(&mut Case {
        name: "save",
        command: &|| lab.cmd(["save", "--name", "tight"]),
        before: &|| (),
        after: &mut |what, good| {
            let mut names = lab.usable();
            let before = good_before.borrow().clone();
            assert!(before.iter().all(|n| names.contains(n)), "{what}: a snapshot is gone");
            assert!(!good || names.len() > before.len(), "{what}: nothing was saved");
            if !good {
                lab.cmd(["save", "--name", "roomy"]).run().ok();
                names = lab.usable();
                assert!(names.len() > before.len(), "{what}: the next run");
            }
            for name in names.iter().filter(|n| !before.contains(n)) {
                lab.cmd(["verify", name]).run().ok();
            }
            let payloads = lab.keys("snapshots/").iter().filter(|k| k.contains(".db")).count();
            assert_eq!(payloads, names.len(), "{what}: {:?}", lab.keys("snapshots/"));
            let left: Vec<_> = lab.leftovers();
            assert!(left.is_empty(), "{what}: {left:?}");
            *good_before.borrow_mut() = names;
        },
        fails_with: &[1],
        may_recover: true,
    });
}

#[test]
fn a_fetch_on_a_disk_that_fills_or_fails() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (lab, _dumps, _etcd) = runtime.block_on(Lab::lived(200, 1, false));
    let dir = lab.path("fetched");
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("got.db");
    let get = || lab.cmd(["get", "latest", "-f", &file.display().to_string()]);
    get().run().ok();
    let right = std::fs::read(&file).unwrap();
    judge(&mut Case {
        name: "get",
        command: &get,
        before: &|| drop(std::fs::remove_file(&file)),
        after: &mut |what, good| {
            // The file appears whole, or not at all.
            let there = std::fs::read(&file).ok();
            assert!(there.as_ref().is_none_or(|t| *t == right), "{what}: half a file");
            assert!(there.is_some() || !good, "{what}: no file");
            if there.is_none() {
                get().run().ok();
                assert!(std::fs::read(&file).unwrap() == right, "{what}: the next run");
            }
            let left: Vec<_> = dir.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left, ["got.db"], "{what}: left behind");
        },
        fails_with: &[1],
        may_recover: false,
    });
}
