//! One-shot restores from each source, boot after boot: done once, never lost, never in the way of a healthy host for good.

use std::fs;

use bytes::Bytes;
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::*;
use crate::catalog::keys;
use crate::core::facts::RequestSource;
use crate::core::manifest::tests::sample;
use crate::core::manifest::{Content, Manifest};
use crate::core::model;
use crate::core::plan::PersonsWord;
use crate::core::record::RecordKind;

/// A snapshot of etcd 3.5.30 with 29 keys.
const SNAPSHOT: &[u8] = include_bytes!("../../../tests/fixtures/snapshot/etcd-3.5.30-revision-32.db.gz");

fn content(bytes: &[u8]) -> Content {
    Content { size: bytes.len() as u64, sha256: model::Sha256(Sha256::digest(bytes).into()) }
}

impl Host {
    /// A host that has formed its cluster, with these snapshots of it in the store.
    async fn lived(dir: &Path, snapshots: &[&str]) -> Host {
        let host = Host::new(dir, None);
        assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
        for name in snapshots {
            host.snapshot(name).await;
        }
        host
    }

    pub(super) async fn snapshot(&self, name: &str) {
        let mut raw = Vec::new();
        std::io::Read::read_to_end(&mut GzDecoder::new(SNAPSHOT), &mut raw).unwrap();
        let catalog = &self.gate.snapshots;
        let manifest = Manifest {
            cluster_id: self.cluster().await.unwrap(),
            raw: content(&raw),
            stored: content(SNAPSHOT),
            ..sample(name, 1, 32)
        };
        self.store.set(&manifest.payload_key(), Bytes::from_static(SNAPSHOT));
        let key = keys::manifest(&manifest.name);
        let sealed = catalog.records().seal(RecordKind::Manifest, &key, manifest.generation, &manifest).unwrap();
        catalog.commit(&manifest, sealed).await.unwrap();
    }

    fn kernel(&self, text: &str) {
        fs::write(self.dir.join("cmdline"), text).unwrap();
    }

    fn credential(&self, text: &str) {
        fs::write(self.dir.join("credential"), text).unwrap();
    }

    fn memory(&self) -> crate::core::facts::Memory {
        self.gate.memory.observe().known().cloned().unwrap()
    }

    fn plans(&self) -> usize {
        self.store.keys().iter().filter(|k| k.starts_with("cluster/plans/") && k.matches('/').count() == 2).count()
    }

    fn rules(report: &Report) -> Vec<String> {
        report.done.iter().map(|s| s.split(':').next().unwrap().to_owned()).collect()
    }
}

const RESTORED: [&str; 3] = ["F2", "F1", "D7"];

#[tokio::test]
async fn what_stays_on_the_kernel_command_line_or_in_a_credential_is_done_once() {
    type Ask = fn(&Host, &str);
    let sources: [(RequestSource, &str, Ask); 2] = [
        (RequestSource::KernelCommandLine, "cmdline:latest", |h, v| {
            h.kernel(&format!("ro lifeboat.restore={v} quiet"))
        }),
        (RequestSource::Credential, "credential:latest", Host::credential),
    ];
    for (source, id, ask) in sources {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::lived(dir.path(), &["a"]).await;
        let before = host.cluster().await;
        ask(&host, "latest");
        let (facts, dry) = host.gate.dry_run().await;
        let seen = facts.requests().next().unwrap();
        assert_eq!((seen.source, seen.id.as_str(), dry.rule), (source, id, Rule::F2));
        let report = host.run().await.unwrap();
        assert_eq!(Host::rules(&report), RESTORED, "{source:?}");
        assert_ne!(host.cluster().await, before);
        let (restored, plans) = (host.cluster().await, host.plans());

        // Reboots: with the store, without it, and on a host that has lost its memory.
        let report = host.run().await.unwrap();
        assert_eq!(Host::rules(&report), ["D7"]);
        let notes = report.verdict.notes.join("\n");
        assert!(notes.contains(id) && notes.contains("add ,id="), "{notes}");
        host.store_is_away();
        assert_eq!(
            Host::rules(&host.run().await.unwrap()),
            ["D7"],
            "{source:?}: a request that is done waits for no store"
        );
        host.store.heal();
        fs::remove_file(dir.path().join("state/memory.json")).unwrap();
        assert_eq!(Host::rules(&host.run().await.unwrap()), ["D7"], "{source:?}: the plan remembers");
        assert!(host.memory().consumed.iter().any(|c| c == id), "noted again");
        assert_eq!((host.cluster().await, host.plans()), (restored, plans));

        // Another word is another request.
        ask(&host, "latest,id=again");
        assert_eq!(Host::rules(&host.run().await.unwrap()), RESTORED, "{source:?}");
        assert_ne!(host.cluster().await, restored);
        assert_eq!(Host::rules(&host.run().await.unwrap()), ["D7"]);
    }
}

#[tokio::test]
async fn of_several_requests_the_file_is_done_and_the_others_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::lived(dir.path(), &["a", "b", "c"]).await;
    host.gate.requests.file.arm("a").unwrap();
    host.kernel("lifeboat.restore=b");
    host.credential("c,id=1");
    let report = host.run().await.unwrap();
    assert_eq!(Host::rules(&report), RESTORED);
    let plan = report.facts.store.known().unwrap().plan.clone().unwrap().plan;
    assert_eq!((plan.snapshot.unwrap().name.as_str(), host.plans()), ("a", 2));
    let told = host.told.lock().unwrap().join("\n");
    assert!(told.contains("cmdline:b was armed at the same time") && told.contains("request 1 was armed"), "{told}");
    assert_eq!(Host::rules(&host.run().await.unwrap()), ["D7"]);
    assert_eq!(host.plans(), 2);
}

/// The power goes while a restore is put into place: nothing of what was armed with it comes back.
#[tokio::test]
async fn requests_beside_an_interrupted_one_are_done_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::lived(dir.path(), &[]).await;
    host.kernel("lifeboat.restore=b");
    let staging = staging::path(&host.gate.settings.data_dir, Generation(1));
    let seal = Seal {
        generation: Generation(1),
        plan_nonce: Nonce([1; 16]),
        mark_nonce: Nonce([2; 16]),
        cluster_id: host.cluster().await.unwrap(),
        token: "t".into(),
        request: Some("r".into()),
        superseded: vec!["cmdline:b".into()],
    };
    crate::sys::fs::create_dir_all(&staging, 0o700).unwrap();
    staging::seal(&staging, &seal).unwrap();
    host.store_is_away();
    assert_eq!(Host::rules(&host.run().await.unwrap()), ["D7"]);
    assert_eq!(host.memory().consumed, ["r", "cmdline:b"]);
}

#[tokio::test]
async fn what_cannot_be_understood_waits_for_a_person_and_goes_on_at_his_word() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::lived(dir.path(), &["a"]).await;
    for (text, says) in [("lifeboat.restore=a,b", "only ,id="), ("lifeboat.restore=a lifeboat.restore=b", "several")] {
        host.kernel(text);
        let report = host.run().await.unwrap();
        assert_eq!((report.outcome, report.verdict.rule), (Outcome::Undecided, Rule::F0), "{text}");
        assert!(report.verdict.because.contains(says), "{report:?}");
        assert!(report.verdict.hint.unwrap().contains("restore-once --cancel"));
        assert_eq!(host.gate.requests.take_back(&host.gate.memory).unwrap().len(), 1);
        let report = host.run().await.unwrap();
        assert_eq!((report.outcome, report.verdict.rule), (Outcome::Start, Rule::D7), "{text}");
        assert!(report.verdict.notes[0].contains("taken back"), "{report:?}");
    }
    fs::remove_file(dir.path().join("cmdline")).unwrap();
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::F0, "unreadable is not none");
    host.kernel("lifeboat.retsore=a");
    let report = host.run().await.unwrap();
    assert_eq!(report.verdict.rule, Rule::D7, "a slip in the key is said and not waited for");
    assert!(report.verdict.notes[0].contains("lifeboat.retsore=a"), "{report:?}");
}

/// A request that cannot be removed, while the store is away: a person gives it up on this host.
#[tokio::test]
async fn a_lasting_request_that_is_taken_back_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::lived(dir.path(), &["a"]).await;
    host.kernel("lifeboat.restore=a");
    host.credential("a");
    host.store_is_away();
    let report = host.run().await.unwrap();
    assert_eq!((report.outcome, report.verdict.rule), (Outcome::Undecided, Rule::F0));
    assert!(report.verdict.because.contains("kernel command line"), "{report:?}");
    host.gate.requests.take_back(&host.gate.memory).unwrap();
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::D7);
    host.store.heal();
    assert_eq!(Host::rules(&host.run().await.unwrap()), ["D7"]);
    assert_eq!(host.plans(), 1);
}

/// The disk is gone, and an older snapshot was asked for by name; its first download breaks. Another one is never taken instead.
#[tokio::test]
async fn a_host_without_data_waits_for_the_snapshot_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::lived(dir.path(), &["asked", "better"]).await;
    crate::sys::fs::rename(&host.gate.settings.data_dir.join("member"), &dir.path().join("lost")).unwrap();
    host.gate.requests.file.arm("asked").unwrap();
    let mut left = 2;
    host.store.on(move |operation, key| {
        let fails = operation == "open" && key.contains("asked") && left > 0;
        left -= i32::from(fails);
        fails.then_some(Fault::Refuse(StoreErrorKind::Unreachable))
    });
    let deadline = Some(Duration::from_secs(60));
    let report = host.gate.run(RunOptions { deadline, ..RunOptions::default() }).await.unwrap();
    assert_eq!(Host::rules(&report), RESTORED);
    let restored = report.facts.store.known().unwrap().plan.clone().unwrap().plan.snapshot.unwrap();
    assert_eq!(restored.name.as_str(), "asked");
}

/// `restore-once --cancel` was typed after the last look of the gate, right before it writes the plan: what it was told must be true.
#[tokio::test]
async fn a_request_that_is_taken_back_at_the_last_moment_gets_no_plan() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::lived(dir.path(), &["a"]).await;
    let before = host.cluster().await;
    let id = host.gate.requests.file.arm("a").unwrap();
    let staging = staging::path(&host.gate.settings.data_dir, Generation(2));
    let (requests, memory) = (host.gate.requests.clone(), host.gate.memory.clone());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let done = taken.clone();
    host.store.on(move |operation, key| {
        // The data is built: this is the look before the plan, which has read the requests already.
        if operation == "list" && key == keys::SNAPSHOT_FOLDER && staging.join("member").is_dir() {
            done.lock().unwrap().extend(requests.take_back(&memory).unwrap());
        }
        None
    });
    let report = host.run().await.unwrap();
    assert!(!taken.lock().unwrap().is_empty(), "nothing was taken back: {report:?}");
    assert_eq!(host.plans(), 1, "a plan was written for it: {report:?}");
    host.store.heal();
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::D7);
    assert_eq!((host.cluster().await, host.plans()), (before, 1));
    assert!(host.memory().consumed.contains(&id));
}

/// Another host has done the restore that this one was asked for, too, and this one's data belongs to no member of that life.
#[tokio::test]
async fn a_request_that_another_life_has_consumed_is_noted_unless_that_was_taken_back() {
    for cancelled in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::lived(dir.path(), &[]).await;
        let plans = Plans::new(host.gate.snapshots.records().clone());
        let mut other = plans.plan(Generation(1)).await.unwrap().unwrap();
        let elsewhere = Voter { name: NodeName::new("cp9").unwrap(), peer_urls: vec!["http://cp9:2380".into()] };
        (other.generation, other.cause, other.request) = (Generation(2), PlanCause::Forced, Some("r".into()));
        (other.cluster_id, other.seed, other.voters) =
            (model::ClusterId(9), elsewhere.name.clone(), vec![elsewhere.clone()]);
        plans.create(&other).await.unwrap();
        if cancelled {
            let (generation, by, at) = (other.generation, elsewhere.name, host.gate.clock.now());
            let word = PersonsWord { generation, by, reason: "x".into(), at, nonce: Nonce([3; 16]) };
            plans.cancel(&word).await.unwrap();
        }
        host.gate.requests.file.arm_as("latest", Some("r")).unwrap();
        let report = host.run().await.unwrap();
        assert_eq!((report.outcome, report.verdict.rule), (Outcome::Start, Rule::D7), "{report:?}");
        let noted = !cancelled;
        assert_eq!(host.memory().consumed.contains(&"r".to_owned()), noted, "cancelled: {cancelled}");
        assert_eq!(host.gate.requests.file.path().exists(), !noted, "cancelled: {cancelled}");
        host.store_is_away();
        let rule = if noted { Rule::D7 } else { Rule::F0 };
        assert_eq!(host.run().await.unwrap().verdict.rule, rule, "the next boot, without the store");
    }
}
