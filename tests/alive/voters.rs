//! What is recorded of who votes: changes that people make with etcdctl, and learners that are promoted.

use serde_json::Value;

use crate::support::process::wait_until;
use crate::support::{Cluster, ETCD_3_4, ETCD_LATEST};
use crate::{LONG, every};

/// (names, confirmed) of a record.
fn record(cluster: &Cluster, generation: u64, number: u64) -> Option<(Vec<String>, bool)> {
    let body = cluster.record(&format!("cluster/plans/{generation}/voters/{number}.json"))?;
    let name = |v: &Value| v["name"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = body["voters"].as_array().unwrap().iter().map(name).collect();
    names.sort();
    Some((names, body["confirmed"].as_bool().unwrap()))
}

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn id_of(cluster: &Cluster, name: &str) -> String {
    let list = cluster.etcdctl(0, &["member", "list"]);
    let line = list.lines().find(|l| l.contains(&format!(" {name},"))).expect(name);
    line.split(',').next().unwrap().to_owned()
}

/// Sees that this member, the first host's, leads.
fn lead(cluster: &Cluster, name: &str) {
    let leads = |host: &usize| {
        let status: serde_json::Value =
            serde_json::from_str(&cluster.etcdctl(*host, &["endpoint", "status", "-w", "json"])).unwrap();
        status[0]["Status"]["leader"] == status[0]["Status"]["header"]["member_id"]
    };
    let leader = (0..3).find(leads).unwrap();
    if leader != 0 {
        cluster.etcdctl(leader, &["move-leader", &id_of(cluster, name)]);
    }
}

#[test]
fn what_people_change_is_recorded_and_a_learner_of_a_host_is_promoted() {
    for version in [ETCD_3_4, ETCD_LATEST] {
        let mut cluster = Cluster::up(version, 3, None);
        for host in 0..3 {
            cluster.configure(host, &every(3600, "one-member"));
        }
        let mut agent = cluster.agent(0);
        wait_until("the plan", LONG, || cluster.record("cluster/plans/1.json").is_some());
        // A person removes a member; etcd lets him when all members have been connected for five seconds.
        std::thread::sleep(std::time::Duration::from_secs(6));
        let gone = id_of(&cluster, "cp3");
        cluster.etcdctl(0, &["member", "remove", &gone]);
        cluster.kill(2);
        wait_until("its record", LONG, || record(&cluster, 1, 1).is_some());
        assert_eq!(record(&cluster, 1, 1), Some((names("cp1 cp2"), false)), "{version}");
        wait_until("its confirmation", LONG, || record(&cluster, 1, 2).is_some());
        assert_eq!(record(&cluster, 1, 2), Some((names("cp1 cp2"), true)), "{version}");

        // The host comes back as a learner, as a gate adds it, and is promoted when it has caught up.
        let url = format!("--peer-urls={}", cluster.ports[2].peer_url());
        cluster.etcdctl(0, &["member", "add", "cp3", "--learner", &url]);
        std::fs::remove_dir_all(cluster.of(2, "etcd")).unwrap();
        cluster.launch_added(2, &[0, 1]);
        wait_until("its promotion", LONG, || record(&cluster, 1, 4).is_some());
        assert_eq!(record(&cluster, 1, 3), Some((names("cp1 cp2 cp3"), false)), "{version}: before the change");
        assert_eq!(record(&cluster, 1, 4), Some((names("cp1 cp2 cp3"), true)), "{version}");
        let list = cluster.etcdctl(0, &["member", "list"]);
        assert!(list.lines().all(|l| !l.ends_with("true")) && list.lines().count() == 3, "{version}: {list}");

        // A learner that is nobody's host stays one.
        cluster.etcdctl(0, &["member", "add", "mirror", "--learner", "--peer-urls=http://127.0.0.1:1"]);
        std::thread::sleep(std::time::Duration::from_secs(25));
        let list = cluster.etcdctl(0, &["member", "list"]);
        assert_eq!(list.lines().filter(|l| l.ends_with("true")).count(), 1, "{version}: {list}");
        assert_eq!(record(&cluster, 1, 5), None, "{version}");
        // Peer URLs that are changed are a change of the voters, too. A leader whose URL is wrong would take the quorum with it.
        lead(&cluster, "cp1");
        let other = crate::support::EtcdPorts::reserve();
        let update = [&*id_of(&cluster, "cp2"), &format!("--peer-urls={}", other.peer_url())].map(str::to_owned);
        cluster.etcdctl(0, &["member", "update", &update[0], &update[1]]);
        wait_until("the new URL", LONG, || record(&cluster, 1, 5).is_some());
        let body = cluster.record("cluster/plans/1/voters/5.json").unwrap().to_string();
        assert!(body.contains(&other.peer_url()), "{version}: {body}");
        assert_eq!(agent.stop(), Some(0));
    }
}
