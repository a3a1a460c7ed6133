//! The gate of one host over a store in memory: what is decided is tested in `core`, here is what the steps leave behind.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::build::Order;
use super::staging::Seal;
use super::*;
use crate::catalog::memory::{Fault, MemoryStore};
use crate::catalog::plans::Plans;
use crate::catalog::snapshots::Snapshots;
use crate::catalog::snapshots_tests::records;
use crate::core::decide::{ManagedBy, Rule};
use crate::core::facts::{DataDir, Observed, StartFlags};
use crate::core::model::{Generation, NodeName, Nonce};
use crate::core::plan::{MarkUse, PlanCause, StartedMark, Voter};
use crate::datadir::restore;
use crate::error::Kind;
use crate::ports::StoreErrorKind;
use crate::sys::clock::SystemClock;

mod joins;
mod owners;
mod put_back;
mod requests;
mod reset;
mod roll;

/// What a kubeadm host tells of its manifest.
fn start_source(manifest: PathBuf) -> StartSource {
    Arc::new(move || {
        let manifest_present = Some(manifest.is_file());
        Box::pin(async move { Observed::Known(StartFlags { manifest_present, ..StartFlags::default() }) })
    })
}

struct Host {
    dir: PathBuf,
    gate: Bootstrap,
    store: Arc<MemoryStore>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Host {
    fn new(dir: &Path, wal_dir: Option<PathBuf>) -> Self {
        let node = NodeName::new("cp1").unwrap();
        let data_dir = dir.join("etcd");
        let policy = Policy {
            node: node.clone(),
            members: vec![Voter { name: node, peer_urls: vec!["http://127.0.0.1:2380".into()] }],
            managed_by: ManagedBy::Systemd,
            data_dir: data_dir.display().to_string(),
            wal_dir: wal_dir.as_ref().map(|d| d.display().to_string()),
            autorestore: true,
            pinned: None,
            existing_only: false,
            init_empty: false,
            peer_wait_seconds: 0,
            expected_members: None,
            lost_after_seconds: 600,
            heartbeat_ttl_seconds: 90,
            seed: None,
            replace_damaged: false,
            fallback: 3,
        };
        let settings = Settings {
            cluster: ClusterName::new("prod").unwrap(),
            policy,
            data_dir,
            wal_dir,
            etcd_user: None,
            state_dir: dir.join("state"),
            request_file: dir.join("restore-once"),
            reset_program: String::new(),
            environment_file: Some(dir.join("run/etcd.env")),
            bump_revision: None,
        };
        std::fs::write(dir.join("cmdline"), "ro quiet\n").unwrap();
        let store = MemoryStore::new();
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let gate = Bootstrap {
            memory: MemoryFile::new(&settings.state_dir),
            requests: RequestSources {
                file: RequestFile::new(&settings.request_file),
                kernel: KernelCommandLine::at(&dir.join("cmdline")),
                credential: Credential::at(vec![dir.join("credential")]),
            },
            quick: Snapshots::new(records(store.clone(), "0123456789abcdef", "prod")),
            snapshots: Snapshots::new(records(store.clone(), "0123456789abcdef", "prod")),
            settings,
            endpoints: vec![],
            peers: vec![],
            reach: Reach { peer: Arc::new(|_| None), client: Arc::new(|_| None) },
            clock: Arc::new(SystemClock::new()),
            start: start_source(dir.join("manifests/etcd.yaml")),
            voice: Arc::new(Voice::new(move |text| heard.lock().unwrap().push(text.to_owned()), |_| ())),
            progress: Box::new(|_, _| ()),
        };
        Host { dir: dir.to_owned(), gate, store, told }
    }

    async fn run(&self) -> Result<Report, crate::error::Error> {
        self.gate.run(RunOptions { deadline: Some(Duration::ZERO), ..RunOptions::default() }).await
    }

    async fn cluster(&self) -> Option<crate::core::model::ClusterId> {
        match data_dir::observe(&self.gate.settings).await {
            Observed::Known(DataDir::Healthy(m)) => Some(m.cluster_id),
            _ => None,
        }
    }

    fn quarantined(&self) -> usize {
        quarantine::list(&self.gate.settings).unwrap().len()
    }

    fn store_is_away(&self) {
        self.store.on(|_, _| Some(Fault::Refuse(StoreErrorKind::Unreachable)));
    }
}

#[tokio::test]
async fn a_request_that_leads_to_no_snapshot_never_becomes_an_empty_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path(), None);
    assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
    let before = host.cluster().await.unwrap();
    host.gate.requests.file.arm("latest").unwrap();
    let report = host.run().await.unwrap();
    assert_eq!((report.outcome, report.verdict.rule), (Outcome::Start, Rule::D7));
    assert_eq!(host.cluster().await, Some(before), "the data was replaced");
    assert_eq!(host.quarantined(), 0);
    assert!(!host.store.keys().contains(&"cluster/plans/2.json".to_owned()), "{:?}", host.store.keys());
    let told = host.told.lock().unwrap().join("\n");
    assert!(told.contains("no snapshot in the store can be restored for \"latest\""), "{told}");
}

/// Nor is another snapshot, or an empty cluster, put in the place of what was asked for on a host that has nothing to go on with.
#[tokio::test]
async fn a_request_that_cannot_be_done_on_an_empty_host_is_refused_until_it_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path(), None);
    for asked in ["latest", "no-such-snapshot"] {
        host.gate.requests.file.arm(asked).unwrap();
        let report = host.run().await.unwrap();
        assert_eq!((report.outcome, report.verdict.rule), (Outcome::Refused, Rule::F2), "{asked}: {report:?}");
        let hint = report.verdict.hint.unwrap();
        assert!(hint.contains("lifeboat restore-once --cancel") && hint.contains("lifeboat ls"), "{hint}");
        assert!(!host.store.keys().iter().any(|k| k.starts_with("cluster/plans/")), "{:?}", host.store.keys());
        host.gate.requests.file.remove().unwrap();
    }
    assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
}

#[tokio::test]
async fn one_gate_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path(), None);
    let other = lock::try_take(&host.gate.settings.state_dir).unwrap().unwrap();
    let e = host.run().await.unwrap_err();
    assert_eq!(e.kind(), Kind::Refused, "{e}");
    assert!(e.hint_text().is_some());
    assert_eq!(host.store.keys(), Vec::<String>::new());
    let aside = quarantine::add(&host.gate.settings, host.gate.clock.now()).await;
    assert_eq!(aside.unwrap_err().kind(), Kind::Refused);
    drop(other);
    assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
    // A host that only starts needs no lock.
    let _other = lock::try_take(&host.gate.settings.state_dir).unwrap().unwrap();
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::D7);
}

/// The power went after `member/` was in place, before the request was noted as done; at the next boot the store is away.
#[tokio::test]
async fn a_request_that_was_done_does_not_keep_the_host_down() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path(), None);
    host.run().await.unwrap();
    let id = host.gate.requests.file.arm("latest").unwrap();
    host.store_is_away();
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::F0, "a request that was not done waits for the store");
    let staging = staging::path(&host.gate.settings.data_dir, Generation(1));
    let seal = Seal {
        generation: Generation(1),
        plan_nonce: Nonce([1; 16]),
        mark_nonce: Nonce([2; 16]),
        cluster_id: host.cluster().await.unwrap(),
        token: "t".into(),
        request: Some(id),
        superseded: vec![],
    };
    crate::sys::fs::create_dir_all(&staging.join("member"), 0o700).unwrap();
    staging::seal(&staging, &seal).unwrap();
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::F0, "with its member/ in it, it was never in place");
    std::fs::remove_dir(staging.join("member")).unwrap();
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::D7);
    assert!(!host.gate.requests.file.path().exists() && !staging.exists());
}

/// A full or read-only disk under our own files is no reason to keep a healthy member down.
#[tokio::test]
async fn a_healthy_member_starts_when_nothing_can_be_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::new(dir.path(), None);
    host.run().await.unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    host.gate.settings.environment_file = Some(dir.path().join("file/etcd.env"));
    assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
    assert!(host.told.lock().unwrap().iter().any(|t| t.starts_with("warning: etcd may start")));
}

#[tokio::test]
async fn a_member_that_etcd_runs_on_is_never_moved() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path(), None);
    host.run().await.unwrap();
    let settings = &host.gate.settings;
    let db = settings.data_dir.join("member/snap/db");
    let running = Flock::lock(std::fs::File::open(&db).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    let e = data_dir::quarantine(settings, host.gate.clock.now()).unwrap_err();
    assert_eq!(e.kind(), Kind::Refused);
    assert!(db.is_file());
    drop(running);
    assert!(data_dir::quarantine(settings, host.gate.clock.now()).unwrap().is_some());
    assert!(!db.exists());
}

/// Power loss between the separate WAL and `member/`: the WAL that is in place belongs to what is being installed.
#[tokio::test]
async fn a_new_wal_that_is_in_place_is_not_quarantined_by_the_second_try() {
    let dir = tempfile::tempdir().unwrap();
    let wal_dir = dir.path().join("wal");
    std::fs::create_dir(&wal_dir).unwrap();
    let host = Host::new(dir.path(), Some(wal_dir.clone()));
    let settings = &host.gate.settings;
    let order = Order {
        generation: Generation(1),
        snapshot: None,
        voters: settings.policy.members.clone(),
        token: "t".into(),
        plan_nonce: Nonce([1; 16]),
        mark_nonce: Nonce([2; 16]),
        bump_revision: None,
        request: None,
        superseded: vec![],
        raw_sha256: None,
    };
    let built =
        build::build(settings, &host.gate.snapshots, &order, &owner::Owners::default(), &|_, _| ()).await.unwrap();
    let staged = built.staged_wal.clone().unwrap();
    let segment = std::fs::read_dir(&staged).unwrap().next().unwrap().unwrap().file_name();
    crate::sys::fs::rename_new(&staged.join(&segment), &wal_dir.join(&segment)).unwrap();
    crate::sys::fs::remove_scratch(&staged).unwrap();

    data_dir::quarantine_as(settings, "member.quarantine-1", Some((built.cluster_id, built.member_id))).unwrap();
    let staging_dir = staging::path(&settings.data_dir, Generation(1));
    restore::install(&staging_dir, &settings.data_dir, Some(&wal_dir)).unwrap();
    assert_eq!(host.cluster().await, Some(built.cluster_id));
    // Another cluster's WAL is moved.
    crate::sys::fs::rename_new(&settings.data_dir.join("member"), &dir.path().join("elsewhere")).unwrap();
    let others = Some((crate::core::model::ClusterId(1), built.member_id));
    data_dir::quarantine_as(settings, "member.quarantine-2", others).unwrap();
    assert!(!wal_dir.join(&segment).exists());
}

/// A data dir that was wiped while its separate WAL stayed: D2 says `quarantine add`, which must then find something to move.
#[tokio::test]
async fn a_wal_without_its_member_is_moved_aside_by_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let wal_dir = dir.path().join("wal");
    std::fs::create_dir(&wal_dir).unwrap();
    let host = Host::new(dir.path(), Some(wal_dir.clone()));
    assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
    let settings = &host.gate.settings;
    crate::sys::fs::rename_new(&settings.data_dir.join("member"), &dir.path().join("lost")).unwrap();
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::D2);
    let aside = quarantine::add(settings, host.gate.clock.now()).await.unwrap().unwrap();
    assert_eq!(aside.parent(), Some(wal_dir.as_path()));
    assert!(std::fs::read_dir(&aside).unwrap().count() > 0);
    assert_eq!(quarantine::list(settings).unwrap(), [aside]);
    assert_eq!(quarantine::add(settings, host.gate.clock.now()).await.unwrap(), None);
    assert_ne!(host.run().await.unwrap().verdict.rule, Rule::D2);
}

/// A forced plan that was written and not followed waits in the store: only its cancellation takes the restore back.
#[tokio::test]
async fn a_restore_is_taken_back_until_it_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path(), None);
    host.run().await.unwrap();
    let plans = Plans::new(host.gate.snapshots.records().clone());
    let me = host.gate.settings.policy.node.clone();
    let now = host.gate.clock.now();
    assert_eq!(take_back(&plans, &me, now).await.unwrap(), TakenBack::Nothing, "an init is not a restore");
    let before = host.cluster().await;

    let mut forced = plans.plan(Generation(1)).await.unwrap().unwrap();
    forced.cause = PlanCause::Forced;
    forced.request = Some("r1".into());
    for (generation, expected) in [(2, TakenBack::Plan(Generation(2))), (3, TakenBack::TooLate(Generation(3)))] {
        forced.generation = Generation(generation);
        forced.cluster_id = crate::core::model::ClusterId(generation);
        plans.create(&forced).await.unwrap();
        let (_, verdict) = host.gate.dry_run().await;
        assert_eq!(verdict.rule, Rule::F1, "a forced plan is followed: {verdict:?}");
        if expected == TakenBack::TooLate(Generation(3)) {
            let nonce = Nonce([7; 16]);
            let purpose = MarkUse::Apply;
            let (node, by) = (me.clone(), me.clone());
            let mark = StartedMark { node, generation: Generation(3), purpose, by, nonce, at: now };
            plans.take_mark(&mark).await.unwrap();
        }
        assert_eq!(take_back(&plans, &me, now).await.unwrap(), expected);
        let report = host.run().await.unwrap();
        assert_eq!((report.verdict.rule, host.cluster().await), (Rule::D7, before), "generation {generation}");
    }
    host.store_is_away();
    assert!(take_back(&plans, &me, now).await.is_err(), "silence is not 'nothing to take back'");
}

#[tokio::test]
async fn a_host_before_kubeadm_init_starts_and_remembers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::new(dir.path(), None);
    host.gate.settings.policy.managed_by = ManagedBy::Kubeadm;
    let report = host.run().await.unwrap();
    assert_eq!((report.outcome, report.verdict.rule), (Outcome::Start, Rule::B0));
    assert!(!host.gate.memory.observe().known().unwrap().remembers_cluster());
    assert!(!host.gate.settings.data_dir.exists() && host.store.keys().is_empty());
    // A kubeadm that failed half way and is tried again is not held up either.
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::B0);
    // With the manifest it is a control plane like any other.
    std::fs::create_dir_all(dir.path().join("manifests")).unwrap();
    std::fs::write(dir.path().join("manifests/etcd.yaml"), "kind: Pod").unwrap();
    let report = host.run().await.unwrap();
    assert_eq!((report.outcome, report.verdict.rule), (Outcome::Start, Rule::D7));
    assert!(report.done.iter().any(|step| step.starts_with("N1")), "{:?}", report.done);
    // And without it again, the data is not lost on it.
    std::fs::remove_file(dir.path().join("manifests/etcd.yaml")).unwrap();
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::D7);
}
