//! k3s and rke2: one host restores through the program, and the others stop, make room and wait for it. The program is a stand-in.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::catalog::keys;
use crate::core::facts::RollState;
use crate::core::model::ClusterId;
use crate::core::plan::tests::{sample_plan, voters};
use crate::core::plan::{Plan, PlannedSnapshot};
use crate::core::record::RecordKind;
use crate::datadir::ids;
use crate::datadir::restore::{InitialMember, RestoreSpec};

const NAMES: [&str; 3] = ["cp1", "cp2", "cp3"];
const REQUEST: &str = "rollback";

fn members() -> Vec<Voter> {
    voters(&NAMES.join(" "))
}

/// A member directory, as a restore leaves it.
fn member_in(dir: &Path, me: &str, of: &[&str], token: &str) -> ClusterId {
    let member = |n: &&str| InitialMember { name: (*n).into(), peer_urls: vec![format!("http://{n}:2380")] };
    let spec = RestoreSpec {
        members: of.iter().map(member).collect(),
        me: me.into(),
        advertised: None,
        token: token.into(),
        bump_revision: None,
        mark_compacted: false,
        drop_alarms: true,
        wal_dir: None,
    };
    restore::build_empty(dir, &spec).unwrap().cluster_id
}

struct Site {
    hosts: Vec<Host>,
    before: ClusterId,
    /// What the stand-in makes.
    after: ClusterId,
    dir: tempfile::TempDir,
}

impl Site {
    /// Three hosts of an adopted cluster, with their data and a snapshot of it.
    async fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let prebuilt = dir.path().join("prebuilt");
        let after = member_in(&prebuilt, "cp1", &["cp1"], "k3s");
        let store = MemoryStore::new();
        let mut hosts = Vec::new();
        let mut before = ClusterId(0);
        for name in NAMES {
            let home = dir.path().join(name);
            std::fs::create_dir_all(home.join("db")).unwrap();
            let mut host = Host::new(&home, None);
            let settings = &mut host.gate.settings;
            settings.data_dir = home.join("db/etcd");
            settings.policy.data_dir = settings.data_dir.display().to_string();
            settings.policy.node = NodeName::new(name).unwrap();
            settings.policy.members = members();
            settings.policy.managed_by = ManagedBy::K3s;
            settings.reset_program = home.join("k3s").display().to_string();
            host.gate.quick = Snapshots::new(records(store.clone(), "0123456789abcdef", "prod"));
            host.gate.snapshots = Snapshots::new(records(store.clone(), "0123456789abcdef", "prod"));
            host.store = store.clone();
            let built = home.join("built");
            before = member_in(&built, name, &NAMES, "old");
            std::fs::create_dir(&settings.data_dir).unwrap();
            crate::sys::fs::rename_new(&built.join("member"), &settings.data_dir.join("member")).unwrap();
            hosts.push(host);
        }
        let plan = Plan { cluster_id: before, token: String::new(), ..sample_plan(1, PlanCause::Adopted, members()) };
        let site = Site { hosts, before, after, dir };
        site.plans().create(&plan).await.unwrap();
        site.hosts[0].snapshot("daily").await;
        for host in 0..3 {
            site.stand_in(host, "exit 0");
        }
        site
    }

    fn plans(&self) -> Plans {
        Plans::new(self.hosts[0].gate.snapshots.records().clone())
    }

    /// The program of one host: notes its arguments, restores, and goes on as `then` says.
    fn stand_in(&self, host: usize, then: &str) {
        let home = self.dir.path().join(NAMES[host]);
        let text = format!(
            "#!/bin/sh\necho \"$@\" >>{home}/args\nfile=${{3#*=}}\ntest -s \"$file\" || exit 9\ncp -r {prebuilt}/member {data}/\n{then}\n",
            home = home.display(),
            prebuilt = self.dir.path().join("prebuilt").display(),
            data = self.hosts[host].gate.settings.data_dir.display(),
        );
        let program = home.join("k3s");
        // Written elsewhere: a program that is open for writing cannot be started.
        std::fs::write(home.join("k3s.new"), text).unwrap();
        std::fs::set_permissions(home.join("k3s.new"), std::fs::Permissions::from_mode(0o755)).unwrap();
        crate::sys::fs::rename(&home.join("k3s.new"), &program).unwrap();
    }

    fn arguments(&self, host: usize) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join(NAMES[host]).join("args")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn ask(&self, host: usize) {
        self.hosts[host].gate.requests.file.arm_as("latest", Some(REQUEST)).unwrap();
    }

    async fn run(&self, host: usize) -> Report {
        self.hosts[host].run().await.unwrap()
    }

    async fn entry(&self, host: usize) -> Option<RollState> {
        let node = NodeName::new(NAMES[host]).unwrap();
        let (own, _) =
            crate::catalog::presence::roll_call(self.hosts[0].gate.snapshots.records(), &node).await.unwrap();
        own.map(|e| e.state)
    }

    fn stopped() -> Option<RollState> {
        Some(RollState::Stopped(REQUEST.into()))
    }

    /// The plan of a reset by the first host, as it writes it.
    async fn forced_plan(&self) -> Plan {
        let mut plan = self.plans().plan(Generation(1)).await.unwrap().unwrap();
        let snapshot = self.hosts[0].gate.snapshots.list().await.unwrap().latest().unwrap().manifest.clone();
        plan.snapshot = Some(PlannedSnapshot {
            name: snapshot.name.clone(),
            generation: Generation(1),
            revision: snapshot.revision,
            raw_sha256: snapshot.raw.sha256,
            raw_size: snapshot.raw.size,
        });
        (plan.generation, plan.cause, plan.request) = (Generation(2), PlanCause::Forced, Some(REQUEST.into()));
        (plan.reset, plan.cluster_id) = (true, ClusterId(7));
        self.plans().create(&plan).await.unwrap();
        plan
    }

    /// All three stand, and the first has restored and may start.
    async fn restored() -> Site {
        let site = Site::new().await;
        for host in [1, 2] {
            site.ask(host);
            assert_eq!(site.run(host).await.verdict.rule, Rule::F2);
            assert_eq!(site.entry(host).await, Site::stopped());
        }
        site.ask(0);
        let report = site.run(0).await;
        assert_eq!(Host::rules_of(&report), ["F2", "F1", "D7"], "{report:?}");
        site
    }
}

impl Host {
    fn rules_of(report: &Report) -> Vec<String> {
        report.done.iter().map(|s| s.split(':').next().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn one_host_restores_through_the_program_and_the_others_wait_for_its_cluster() {
    let site = Site::restored().await;
    assert_eq!(site.hosts[0].cluster().await, Some(site.after));
    let file = site.dir.path().join("cp1/db/snapshots/lifeboat-daily.db");
    assert_eq!(
        site.arguments(0),
        [format!("server --cluster-reset --cluster-reset-restore-path={}", file.display())],
        "the argument vector of the program"
    );
    assert!(!file.exists(), "the copy of the snapshot is not left behind");
    let plan = site.plans().plan(Generation(2)).await.unwrap().unwrap();
    assert_eq!((plan.reset, plan.cluster_id, plan.request.as_deref()), (true, site.after, Some(REQUEST)));
    let recorded = site.plans().recorded_voters(Generation(2)).await.unwrap();
    let [(first, _)] = recorded.as_slice() else { panic!("{recorded:?}") };
    assert_eq!((first.cluster_id, first.confirmed, first.voters.as_slice()), (Some(site.after), true, &members()[..1]));
    // The others make room, and wait for the cluster: with nobody to see, for ever.
    for host in [1, 2] {
        let report = site.run(host).await;
        assert_eq!(report.outcome, Outcome::Undecided, "{report:?}");
        assert_eq!(Host::rules_of(&report)[0], "F1", "{report:?}");
        assert_eq!((site.hosts[host].cluster().await, site.hosts[host].quarantined()), (None, 1));
        assert_eq!(site.arguments(host), Vec::<String>::new(), "only the seed resets");
    }
    // Once for the request, however often it boots.
    assert_eq!(Host::rules_of(&site.run(0).await), ["D7"]);
    assert_eq!(site.arguments(0).len(), 1);
    let taken = take_back(&site.plans(), &NodeName::new("cp2").unwrap(), site.hosts[0].gate.clock.now()).await.unwrap();
    assert_eq!(taken, TakenBack::TooLate(Generation(2)), "one restored node serves");
}

/// A host that has said that it stops is counted on until it has taken that back.
#[tokio::test]
async fn a_host_that_stood_as_stopped_withdraws_before_it_starts() {
    let site = Site::new().await;
    site.ask(1);
    assert_eq!(site.run(1).await.verdict.rule, Rule::F2);
    assert_eq!(site.entry(1).await, Site::stopped());
    site.hosts[1].gate.requests.file.remove().unwrap();
    site.hosts[1].store_is_away();
    let report = site.run(1).await;
    assert_eq!(report.outcome, Outcome::Undecided, "others may count on it: {report:?}");
    site.hosts[1].store.heal();
    assert_eq!(site.run(1).await.outcome, Outcome::Start);
    assert_eq!(site.entry(1).await, Some(RollState::Withdrawn));
    // Without such a promise no store is needed.
    site.hosts[1].store_is_away();
    assert_eq!(site.run(1).await.outcome, Outcome::Start);
}

/// It has withdrawn, and then the store is gone: whether somebody has counted on it before cannot be seen, so it does not start.
#[tokio::test]
async fn a_withdrawal_counts_with_a_look_that_comes_after_it() {
    let site = Site::new().await;
    site.ask(1);
    site.run(1).await;
    site.hosts[1].gate.requests.file.remove().unwrap();
    site.hosts[1].gate.withdraw(&site.hosts[1].gate.dry_run().await.0).await.unwrap();
    site.hosts[1].store_is_away();
    assert_eq!(site.run(1).await.outcome, Outcome::Undecided);
    site.hosts[1].store.heal();
    assert_eq!(site.run(1).await.outcome, Outcome::Start);
}

#[tokio::test]
async fn a_reset_that_fails_is_tried_again_and_what_it_left_is_kept() {
    for (then, says) in
        [("echo no space >&2; exit 7", "ended with code 7: no space"), ("kill -9 $$", "ended by a signal")]
    {
        let site = Site::new().await;
        for host in [1, 2] {
            site.ask(host);
            site.run(host).await;
        }
        site.ask(0);
        site.stand_in(0, then);
        let report = site.run(0).await;
        assert_eq!(report.outcome, Outcome::Undecided, "{report:?}");
        assert!(report.verdict.because.contains(says), "{report:?}");
        assert_eq!(site.hosts[0].quarantined(), 1, "the data of before");
        site.stand_in(0, "exit 0");
        let report = site.run(0).await;
        assert_eq!((report.outcome, site.hosts[0].cluster().await), (Outcome::Start, Some(site.after)), "{report:?}");
        assert_eq!(site.hosts[0].quarantined(), 2, "and what the failed one had made");
        assert_eq!(site.arguments(0).len(), 2);
    }
}

/// The power went after the program had ended; the store is away at the next boot. The others do not know the cluster yet, so it must not serve.
#[tokio::test]
async fn a_reset_is_recorded_before_the_host_starts() {
    let site = Site::restored().await;
    let settings = &site.hosts[0].gate.settings;
    site.hosts[0].store.remove("cluster/plans/2/voters/1.json");
    let plan = site.plans().plan(Generation(2)).await.unwrap().unwrap();
    let mark = site.plans().mark(Generation(2), &settings.policy.node).await.unwrap().unwrap();
    let note = serde_json::json!({
        "generation": 2, "plan_nonce": plan.nonce, "mark_nonce": mark.nonce, "ran": true, "cluster_id": site.after,
    });
    std::fs::write(settings.state_dir.join("resetting.json"), note.to_string()).unwrap();
    site.hosts[0].store_is_away();
    assert!(site.hosts[0].run().await.is_err(), "it starts unknown to the others");
    site.hosts[0].store.heal();
    let report = site.run(0).await;
    assert_eq!((report.outcome, report.verdict.rule), (Outcome::Start, Rule::D7), "{report:?}");
    assert_eq!(site.plans().plan(Generation(2)).await.unwrap().unwrap().cluster_id, site.after);
    assert!(!settings.state_dir.join("resetting.json").exists());
}

/// Members of before could rejoin a cluster that kept its id.
#[tokio::test]
async fn a_reset_that_leaves_the_cluster_of_before_is_not_accepted() {
    let site = Site::new().await;
    let prebuilt = site.dir.path().join("prebuilt");
    crate::sys::fs::rename(&prebuilt, &site.dir.path().join("elsewhere")).unwrap();
    assert_eq!(member_in(&prebuilt, "cp1", &NAMES, "old"), site.before);
    for host in [1, 2, 0] {
        site.ask(host);
    }
    for host in [1, 2] {
        site.run(host).await;
    }
    let report = site.run(0).await;
    assert_ne!(report.outcome, Outcome::Start);
    assert!(report.verdict.because.contains("of before"), "{report:?}");
    assert!(site.plans().recorded_voters(Generation(2)).await.unwrap().is_empty());
    let me = ids::member_id(&["http://cp1:2380".to_owned()], "k3s");
    assert_eq!(ids::cluster_id_of(&[me]), site.after);
}

/// The others have made room when a person takes it back: they get their data back, withdraw first, and start.
#[tokio::test]
async fn a_plan_that_is_taken_back_before_the_reset_gives_all_hosts_their_data_back() {
    for interrupted in [false, true] {
        taken_back_before_the_reset(interrupted).await;
    }
}

/// `interrupted`: the command that takes it back ends after its first step.
async fn taken_back_before_the_reset(interrupted: bool) {
    let site = Site::new().await;
    for host in [1, 2, 0] {
        site.ask(host);
    }
    for host in [1, 2] {
        site.run(host).await;
    }
    // The seed dies after its plan.
    let plan = site.forced_plan().await;
    for host in [1, 2] {
        site.run(host).await;
        assert_eq!((site.hosts[host].cluster().await, site.entry(host).await), (None, Some(RollState::Empty)));
    }
    let now = site.hosts[0].gate.clock.now();
    let by = NodeName::new("cp3").unwrap();
    if interrupted {
        let (node, generation) = (plan.seed.clone(), plan.generation);
        let purpose = MarkUse::Barred;
        site.plans()
            .take_mark(&StartedMark { node, generation, purpose, by, nonce: Nonce([7; 16]), at: now })
            .await
            .unwrap();
    } else {
        assert_eq!(take_back(&site.plans(), &by, now).await.unwrap(), TakenBack::Plan(Generation(2)));
    }
    for host in [1, 2, 0] {
        site.hosts[host].gate.requests.file.remove().unwrap();
        let report = site.run(host).await;
        assert_eq!(
            (report.outcome, site.hosts[host].cluster().await),
            (Outcome::Start, Some(site.before)),
            "{report:?}"
        );
        assert_ne!(site.entry(host).await, Some(RollState::Empty), "it is still counted as one without data");
    }
    assert_eq!(site.arguments(0), Vec::<String>::new());
}

/// The seed takes its mark after the command has looked: its cluster serves from then on, and nobody is barred from following it.
#[tokio::test]
async fn a_seed_that_marks_meanwhile_is_too_late_to_take_back() {
    let site = Site::new().await;
    let plan = site.forced_plan().await;
    let at = site.hosts[0].gate.clock.now();
    let (node, generation) = (plan.seed.clone(), plan.generation);
    let mark = StartedMark { by: node.clone(), node, generation, purpose: MarkUse::Apply, nonce: Nonce([7; 16]), at };
    let key = keys::started(generation, &mark.node);
    let sealed = site.hosts[0].gate.snapshots.records().seal(RecordKind::Started, &key, generation, &mark).unwrap();
    let late = site.hosts[0].store.clone();
    site.hosts[0].store.on(move |operation, at| {
        if operation == "put" && at == key {
            late.set(&key, sealed.clone());
        }
        None
    });
    let by = NodeName::new("cp3").unwrap();
    assert_eq!(take_back(&site.plans(), &by, at).await.unwrap(), TakenBack::TooLate(generation));
    let marks: Vec<String> =
        site.hosts[0].store.keys().into_iter().filter(|k| k.starts_with(&keys::started_folder(generation))).collect();
    assert_eq!(marks, [keys::started(generation, &mark.node)], "the others were barred from a cluster that serves");
    assert!(!site.hosts[0].store.keys().contains(&keys::cancelled(generation)));
}
