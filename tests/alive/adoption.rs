//! A cluster that existed before lifeboat was installed.

use crate::support::process::wait_until;
use crate::support::{Cluster, ETCD_LATEST};
use crate::{LONG, every};

#[test]
fn a_cluster_of_one_that_is_configured_as_three_is_adopted_with_its_one_voter() {
    let mut cluster = Cluster::new(ETCD_LATEST, 3, None);
    cluster.form(&[0]);
    cluster.etcdctl(0, &["put", "a", "1"]);
    // On demand, without an agent: the adoption comes before the first snapshot.
    let saved = cluster.json(0, &["save", "--name", "first"]);
    assert_eq!((&saved["manifest"]["generation"], &saved["warnings"]), (&1.into(), &serde_json::json!([])), "{saved}");
    let plan = cluster.record("cluster/plans/1.json").unwrap();
    assert_eq!(plan["cause"], "adopted");
    let voters = plan["voters"].as_array().unwrap();
    assert_eq!((voters.len(), &voters[0]["name"]), (1, &"cp1".into()), "{plan}");
    assert_eq!(saved["manifest"]["voters"].as_array().unwrap().len(), 1);
    // The gate knows that life, and so does a person's command.
    let report = cluster.json(0, &["bootstrap", "--dry-run"]);
    assert_eq!(report["verdict"]["rule"], "D0", "{report}");
    let again = cluster.json(0, &["adopt"]);
    assert_eq!((&again["adopted"], &again["generation"]), (&false.into(), &1.into()), "{again}");
    // Two hosts that wait without data may not restore beside it: the one recorded voter is not among them.
    for host in [1, 2] {
        let dry = cluster.lifeboat(host, &["bootstrap", "--dry-run", "-o=json"]).run().json();
        assert_eq!(dry["verdict"]["rule"], "L1", "{dry}");
    }
    cluster.kill(0);
    let dry = cluster.lifeboat(1, &["bootstrap", "--dry-run", "-o=json"]).run().json();
    assert!(dry["verdict"]["rule"] == "C1" || dry["verdict"]["rule"] == "P2", "{dry}");
}

#[test]
fn what_the_store_knows_of_another_cluster_is_a_persons_matter() {
    let mut cluster = Cluster::new(ETCD_LATEST, 1, None);
    cluster.form(&[0]);
    cluster.json(0, &["save", "--name", "first"]);
    let first = cluster.record("cluster/plans/1.json").unwrap();
    // Somebody forms another cluster by hand; the store still speaks of the first.
    cluster.kill(0);
    std::fs::remove_dir_all(cluster.of(0, "etcd")).unwrap();
    cluster.configure(0, &every(3600, "one-member"));
    cluster.members[0].as_mut().unwrap().options().initial_cluster_token = Some("another".to_owned());
    cluster.restart(0);
    let mut agent = cluster.agent(0);
    agent.wait_for("lifeboat adopt", LONG);
    assert!(agent.output().contains("is in no plan of"), "{}", agent.output());
    assert!(cluster.record("cluster/heartbeat.json").is_none(), "no heartbeat of a cluster that is in no plan");
    assert!(cluster.record("cluster/plans/2.json").is_none());
    let saved = cluster.json(0, &["save", "--name", "unknown"]);
    assert_eq!(saved["manifest"]["generation"], 0, "{saved}");
    assert!(saved["warnings"].to_string().contains("lifeboat adopt"), "{saved}");

    // It asks first, and says what is given up.
    let text = "Given up is generation 1";
    cluster.lifeboat(0, &["adopt"]).run().exits_with(3).says(&[text, "--yes", "cp1"]);
    assert!(cluster.record("cluster/plans/2.json").is_none());
    let adopted = cluster.json(0, &["adopt", "--yes"]);
    assert_eq!((&adopted["adopted"], &adopted["generation"]), (&true.into(), &2.into()), "{adopted}");
    let second = cluster.record("cluster/plans/2.json").unwrap();
    assert_ne!(first["cluster_id"], second["cluster_id"]);
    wait_until("the heartbeat", LONG, || {
        cluster.record("cluster/heartbeat.json").is_some_and(|h| h["generation"] == 2 && h["by"] == "cp1")
    });
    assert_eq!(cluster.json(0, &["save", "--name", "known"])["manifest"]["generation"], 2);
    assert_eq!(agent.output().matches("is in no plan of").count(), 1, "said once: {}", agent.output());
    // The other cluster, back again beside this one's heartbeat, is not adopted.
    cluster.kill(0);
    std::fs::remove_dir_all(cluster.of(0, "etcd")).unwrap();
    cluster.members[0].as_mut().unwrap().options().initial_cluster_token = Some("a third".to_owned());
    cluster.restart(0);
    cluster.lifeboat(0, &["adopt", "--yes"]).run().exits_with(3).says(&[
        "heartbeat",
        "both are alive",
        "folder of its own",
    ]);
}

/// Adopted as generation 1 once more, every host whose gate remembers more would find a store that has forgotten, for ever.
#[test]
fn a_wiped_store_is_not_adopted_by_a_host_that_has_seen_more() {
    let mut cluster = Cluster::new(ETCD_LATEST, 1, None);
    cluster.form(&[0]);
    cluster.json(0, &["save", "--name", "first"]);
    assert!(cluster.record("cluster/plans/1.json").is_some());
    for name in ["second", "third"] {
        std::fs::remove_dir_all(cluster.path("store")).unwrap();
        std::fs::create_dir(cluster.path("store")).unwrap();
        let saved = cluster.json(0, &["save", "--name", name]);
        assert!(saved["warnings"].to_string().contains("has seen generation 1"), "{saved}");
        assert!(cluster.record("cluster/plans/1.json").is_none(), "{name}");
    }
}
