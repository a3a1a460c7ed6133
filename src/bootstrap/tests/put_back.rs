//! A plan that is taken back: what was moved aside for it comes back, and nothing else ever does.

use super::*;
use crate::core::model::ClusterId;
use crate::core::plan::PersonsWord;
use crate::datadir::ids;

const ONE: Generation = Generation(1);
const TWO: Generation = Generation(2);

struct Followed {
    host: Host,
    plans: Plans,
    before: ClusterId,
    after: ClusterId,
    _dir: tempfile::TempDir,
}

impl Followed {
    /// A host that has followed the forced plan 2.
    async fn new(separate_wal: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wal = separate_wal.then(|| dir.path().join("wal"));
        if let Some(wal) = &wal {
            std::fs::create_dir(wal).unwrap();
        }
        let host = Host::new(dir.path(), wal);
        host.run().await.unwrap();
        let before = host.cluster().await.unwrap();
        let plans = Plans::new(host.gate.snapshots.records().clone());
        let mut forced = plans.plan(ONE).await.unwrap().unwrap();
        (forced.generation, forced.cause, forced.request) = (TWO, PlanCause::Forced, Some("r1".into()));
        forced.token = "another".into();
        let me = ids::member_id(&forced.voters[0].peer_urls, &forced.token);
        forced.cluster_id = ids::cluster_id_of(&[me]);
        plans.create(&forced).await.unwrap();
        let report = host.run().await.unwrap();
        assert_eq!((report.outcome, host.cluster().await), (Outcome::Start, Some(forced.cluster_id)), "{report:?}");
        Followed { host, plans, before, after: forced.cluster_id, _dir: dir }
    }

    async fn take_back(&self) {
        let by = self.host.gate.settings.policy.node.clone();
        let at = self.host.gate.clock.now();
        let word = PersonsWord { generation: TWO, by, reason: String::new(), at, nonce: Nonce([9; 16]) };
        self.plans.cancel(&word).await.unwrap();
    }

    fn aside(&self) -> Vec<Generation> {
        self.host.gate.memory.observe().known().unwrap().aside.iter().map(|a| a.generation).collect()
    }

    fn member(&self) -> PathBuf {
        self.host.gate.settings.data_dir.join("member")
    }

    fn quarantined_member(&self) -> PathBuf {
        let settings = &self.host.gate.settings;
        let all = quarantine::list(settings).unwrap();
        all.into_iter().find(|p| p.starts_with(&settings.data_dir)).unwrap()
    }
}

#[tokio::test]
async fn what_was_moved_aside_for_the_plan_is_put_back() {
    for separate_wal in [false, true] {
        let lab = Followed::new(separate_wal).await;
        assert_eq!(lab.aside(), [TWO]);
        lab.take_back().await;
        let report = lab.host.run().await.unwrap();
        assert_eq!((report.verdict.rule, lab.host.cluster().await), (Rule::D7, Some(lab.before)), "{report:?}");
        assert_eq!(lab.aside(), []);
        // Member and WAL of the plan that was taken back are kept.
        assert_eq!(lab.host.quarantined(), 1 + usize::from(separate_wal) * 2, "one more is the emptied WAL directory");
    }
}

/// It may be years old, and its votes forgotten: this slot may have joined since, and been asked for promises that it does not know of.
#[tokio::test]
async fn an_older_member_that_was_not_moved_aside_for_this_plan_never_comes_back() {
    for (what, forget) in [
        ("nothing is noted", (|lab: &Followed| lab.host.gate.memory.nothing_aside().unwrap()) as fn(&Followed)),
        ("noted for another plan", |lab| {
            let mut noted = lab.host.gate.memory.observe().known().unwrap().aside[0].clone();
            lab.host.gate.memory.nothing_aside().unwrap();
            noted.generation = Generation(7);
            lab.host.gate.memory.moves_aside(&noted).unwrap();
        }),
        ("another one has its name", |lab| {
            let mut noted = lab.host.gate.memory.observe().known().unwrap().aside[0].clone();
            noted.member_id = crate::core::model::MemberId(1);
            lab.host.gate.memory.moves_aside(&noted).unwrap();
        }),
        ("it lost its log", |lab| {
            let wal = lab.quarantined_member().join("wal");
            crate::sys::fs::rename(&wal, &lab.host.dir.join("elsewhere")).unwrap();
        }),
    ] {
        let lab = Followed::new(false).await;
        let old = lab.quarantined_member();
        forget(&lab);
        lab.take_back().await;
        let report = lab.host.run().await.unwrap();
        assert_ne!(report.outcome, Outcome::Start, "{what}: {report:?}");
        assert_eq!(lab.host.cluster().await, None, "{what}");
        assert!(old.exists() && lab.host.quarantined() == 2, "{what}: something is gone");
        assert!(!lab.aside().contains(&TWO), "{what}");
        let told = lab.host.told.lock().unwrap().join("\n");
        assert!(told.contains("nothing older is put back"), "{what}: {told}");
    }
}

/// The power went after the old member was moved aside and before the new one was in place; then a person took the plan back.
#[tokio::test]
async fn a_host_without_data_gets_its_own_back_before_what_was_built_goes() {
    for gone in [false, true] {
        let lab = Followed::new(false).await;
        let settings = &lab.host.gate.settings;
        let staging = staging::path(&settings.data_dir, TWO);
        let mark = lab.plans.mark(TWO, &settings.policy.node).await.unwrap().unwrap();
        crate::sys::fs::create_dir_all(&staging, 0o700).unwrap();
        crate::sys::fs::rename_new(&lab.member(), &staging.join("member")).unwrap();
        let seal = Seal {
            generation: TWO,
            plan_nonce: Nonce([1; 16]),
            mark_nonce: mark.nonce,
            cluster_id: lab.after,
            token: "another".into(),
            request: None,
            superseded: vec![],
        };
        staging::seal(&staging, &seal).unwrap();
        lab.take_back().await;
        if gone {
            lab.host.gate.memory.nothing_aside().unwrap();
        }
        let report = lab.host.run().await.unwrap();
        assert!(report.done.iter().any(|d| d.starts_with("D3")), "{report:?}");
        assert!(!staging.exists(), "what was built is still there");
        let expected = if gone { None } else { Some(lab.before) };
        assert_eq!(lab.host.cluster().await, expected);
        assert_eq!(report.outcome == Outcome::Start, !gone);
    }
}

/// Between any two renames the next run goes on, and the two logs of a separate WAL directory are never mixed.
#[tokio::test]
async fn a_put_back_that_was_interrupted_is_ended_first() {
    for (point, cleared, wal_too, log_is_back) in [
        ("member/ was moved, its WAL was not", false, false, false),
        ("both were moved", false, true, false),
        ("cleared", true, true, false),
        ("the log is back, and member/ is not", true, true, true),
    ] {
        let lab = Followed::new(true).await;
        lab.take_back().await;
        let settings = &lab.host.gate.settings;
        let noted = lab.host.gate.memory.observe().known().unwrap().aside[0].clone();
        let text = serde_json::json!({ "aside": noted, "cleared": cleared });
        std::fs::write(settings.state_dir.join("put-back.json"), text.to_string()).unwrap();
        if wal_too {
            data_dir::quarantine(settings, lab.host.gate.clock.now()).unwrap();
        } else {
            let name = data_dir::free_name(settings, lab.host.gate.clock.now());
            crate::sys::fs::rename_new(&lab.member(), &settings.data_dir.join(name)).unwrap();
        }
        if log_is_back {
            let wal = settings.wal_dir.clone().unwrap();
            for entry in std::fs::read_dir(wal.join(&noted.name)).unwrap() {
                let segment = entry.unwrap();
                crate::sys::fs::rename_new(&segment.path(), &wal.join(segment.file_name())).unwrap();
            }
        }
        // The store is not needed for that.
        lab.host.store_is_away();
        let report = lab.host.run().await.unwrap();
        assert_eq!(
            (report.verdict.rule, lab.host.cluster().await),
            (Rule::D7, Some(lab.before)),
            "{point}: {report:?}"
        );
        assert!(!settings.state_dir.join("put-back.json").exists(), "{point}");
    }
}
