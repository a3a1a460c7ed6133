//! A store that does not honour conditional writes: no plan without a static seed.

use crate::support::cluster::Store;
use crate::support::{Cluster, Conditions, ETCD_LATEST, S3Options, S3Server};

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_takes_plans_from_the_static_seed_alone() {
    for (conditions, needs_a_seed) in
        [(Conditions::Ignored, true), (Conditions::Racy, true), (Conditions::Atomic, false)]
    {
        let server = S3Server::start(S3Options { conditions, ..S3Options::default() }).await;
        let cluster = Cluster::new(ETCD_LATEST, 1, Some(Store::s3(&server)));
        let plan = "alive/cluster/plans/1.json";
        if needs_a_seed {
            let out = cluster.lifeboat(0, &["bootstrap", "--deadline=30s"]).run().exits_with(3);
            out.says(&["ignores conditional writes", "bootstrap.seed", "on all hosts"]);
            assert_eq!(server.object(plan), None, "{conditions:?}");
            assert!(!cluster.of(0, "etcd/member").exists());
            cluster.configure(0, "seed = \"cp1\"\n");
        }
        let report = cluster.json(0, &["bootstrap", "--deadline=60s"]);
        assert_eq!(report["outcome"], "start", "{conditions:?}: {report}");
        assert!(server.object(plan).is_some(), "{conditions:?}");
        let left: Vec<String> = server.keys().into_iter().filter(|k| k.contains("/probe/")).collect();
        assert!(left.is_empty(), "{conditions:?}: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_is_a_plan_too() {
    let server = S3Server::start(S3Options { conditions: Conditions::Racy, ..S3Options::default() }).await;
    let mut cluster = Cluster::new(ETCD_LATEST, 1, Some(Store::s3(&server)));
    cluster.form(&[0]);
    let saved = cluster.json(0, &["save", "--name", "first"]);
    assert!(saved["warnings"].to_string().contains("ignores conditional writes"), "{saved}");
    assert_eq!(saved["manifest"]["generation"], 0, "{saved}");
    cluster.lifeboat(0, &["adopt", "--yes"]).run().exits_with(3).says(&["bootstrap.seed"]);
    cluster.configure(0, "seed = \"cp1\"\n");
    assert_eq!(cluster.json(0, &["adopt", "--yes"])["generation"], 1);
}
