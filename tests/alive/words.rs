//! `declare-lost`: a person's word, refused while the life speaks for itself.

use crate::support::{Cluster, ETCD_LATEST};

#[test]
fn a_life_is_declared_lost_only_when_nothing_of_it_answers() {
    let mut cluster = Cluster::up(ETCD_LATEST, 3, None);
    cluster.etcdctl(0, &["put", "a", "1"]);
    cluster.json(0, &["save", "--name", "first"]);
    let lost = ["declare-lost", "--reason", "the room burnt down"];
    let yes = [&lost[..], &["--yes"]].concat();
    cluster.lifeboat(0, &yes).run().exits_with(3).says(&["answer", "127.0.0.1", "lifeboat save --name survivor"]);
    // One survivor without quorum still holds newer data than any snapshot.
    cluster.kill(1);
    cluster.kill(2);
    cluster.lifeboat(1, &yes).run().exits_with(3).says(&["answer", "lifeboat restore-once survivor'"]);
    cluster.kill(0);
    // After its own restart it has not seen a quorum, and answers on its peer port alone.
    cluster.relaunch_alone(0);
    cluster.lifeboat(1, &yes).run().exits_with(3).says(&["answer", &cluster.peer_url(0)]);
    // Also where none of the other voters is configured any more: the records say where they are.
    let configured = std::fs::read_to_string(cluster.config(1)).unwrap();
    let (peer, client) = (cluster.peer_url(1), cluster.ports[1].client_url());
    let alone = format!("members = [{{ name = \"cp2\", peer_urls = [\"{peer}\"], client_urls = [\"{client}\"] }}]");
    let lines = configured.lines().map(|line| if line.starts_with("members") { &alone } else { line });
    std::fs::write(cluster.config(1), lines.collect::<Vec<_>>().join("\n")).unwrap();
    cluster.lifeboat(1, &yes).run().exits_with(3).says(&["generation 1 answer", &cluster.peer_url(0)]);
    let dry = cluster.lifeboat(1, &["bootstrap", "--dry-run", "-o=json"]).run().json();
    assert!(dry["facts"]["live"]["clusters"][0]["quorate"] == false, "the gate sees the survivor, too: {dry}");
    std::fs::write(cluster.config(1), configured).unwrap();
    assert!(cluster.record("cluster/plans/1/lost.json").is_none());
    cluster.kill(0);
    cluster.lifeboat(1, &["declare-lost", "--reason", " ", "--yes"]).run().exits_with(2);
    cluster.lifeboat(1, &lost).run().exits_with(3).says(&["cp1, cp2, cp3", "first-", "given up", "--yes"]);
    assert!(cluster.record("cluster/plans/1/lost.json").is_none());
    let done = cluster.json(1, &yes);
    assert_eq!((&done["recorded"], &done["generation"]), (&true.into(), &1.into()), "{done}");
    let word = cluster.record("cluster/plans/1/lost.json").unwrap();
    assert_eq!((&word["reason"], &word["by"]), (&"the room burnt down".into(), &"cp2".into()), "{word}");
    assert_eq!(cluster.json(1, &yes)["recorded"], false);
}
