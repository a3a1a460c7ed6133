//! What this host lets others count on.

use super::*;
use crate::catalog::presence;
use crate::core::facts::{RollState, Staging};

fn among_others(dir: &Path) -> Host {
    let mut host = Host::new(dir, None);
    let other = Voter { name: NodeName::new("cp2").unwrap(), peer_urls: vec!["http://127.0.0.1:2390".into()] };
    host.gate.settings.policy.members.push(other);
    host
}

async fn entry(host: &Host) -> Option<RollState> {
    let records = host.gate.snapshots.records();
    let (own, _) = presence::roll_call(records, &host.gate.settings.policy.node).await.unwrap();
    own.map(|e| e.state)
}

/// A write of this host's mark was given up, and may land at any time: with what was built for it, this host could start then.
#[tokio::test]
async fn a_host_stands_only_without_what_it_built_for_a_mark_that_may_still_land() {
    let dir = tempfile::tempdir().unwrap();
    let host = among_others(dir.path());
    let built = staging::path(&host.gate.settings.data_dir, Generation(1));
    std::fs::create_dir_all(&built).unwrap();
    host.gate.memory.tries_mark(Nonce([5; 16])).unwrap();
    let (mut facts, verdict) = host.gate.dry_run().await;
    facts.staging = Observed::Known(Some(Staging { generation: Generation(1), nonce: Nonce([5; 16]), complete: true }));
    host.gate.stand(&facts, &verdict).await;
    assert_eq!((entry(&host).await, built.exists()), (None, false), "it stands, and could start");
    let (facts, verdict) = host.gate.dry_run().await;
    host.gate.stand(&facts, &verdict).await;
    assert_eq!(entry(&host).await, Some(RollState::Empty));
}

/// What was built for a mark that was never tried belongs to nobody's word, and stays for the next try.
#[tokio::test]
async fn what_was_built_and_not_tried_stays() {
    let dir = tempfile::tempdir().unwrap();
    let host = among_others(dir.path());
    let built = staging::path(&host.gate.settings.data_dir, Generation(1));
    std::fs::create_dir_all(&built).unwrap();
    let (mut facts, verdict) = host.gate.dry_run().await;
    facts.staging = Observed::Known(Some(Staging { generation: Generation(1), nonce: Nonce([5; 16]), complete: true }));
    host.gate.stand(&facts, &verdict).await;
    assert_eq!((entry(&host).await, built.exists()), (Some(RollState::Empty), true));
}

/// A disk that is mounted late: it stood there as a host without data, and takes that back before it starts.
#[tokio::test]
async fn a_host_that_stood_without_data_withdraws_before_it_starts_with_data() {
    let dir = tempfile::tempdir().unwrap();
    let host = among_others(dir.path());
    let (facts, verdict) = host.gate.dry_run().await;
    host.gate.stand(&facts, &verdict).await;
    assert_eq!(entry(&host).await, Some(RollState::Empty));
    let spec = restore::RestoreSpec {
        members: vec![restore::InitialMember { name: "cp1".into(), peer_urls: vec!["http://127.0.0.1:2380".into()] }],
        me: "cp1".into(),
        advertised: None,
        token: "before".into(),
        bump_revision: None,
        mark_compacted: false,
        drop_alarms: true,
        wal_dir: None,
    };
    restore::build_empty(&host.gate.settings.data_dir, &spec).unwrap();
    host.store_is_away();
    let report = host.run().await.unwrap();
    assert_eq!(report.outcome, Outcome::Undecided, "others may count on it: {report:?}");
    let told = host.told.lock().unwrap().join(" ");
    assert!(told.contains("told the others that its etcd stays down"), "{told}");
    host.store.heal();
    let report = host.run().await.unwrap();
    assert_eq!((report.outcome, entry(&host).await), (Outcome::Start, Some(RollState::Withdrawn)), "{report:?}");
}
