//! Records in the bucket that are not this cluster's, or not of now, beside three hosts that have lost everything: the hosts restore the right snapshot,
//! or they stop with a message that names the object. `catalog/planted_tests.rs` has the same for each reader.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::site::{Host, Site};
use crate::support::{Dump, ETCD_LATEST, Fill};

const LIMIT: Duration = Duration::from_secs(120);
const FOLDER: &str = "several/";

/// What a store holds, by key without the folder.
type Objects = BTreeMap<String, Vec<u8>>;

fn objects(site: &Site) -> Objects {
    let all = site.store.keys().into_iter();
    all.filter_map(|k| Some((k.strip_prefix(FOLDER)?.to_owned(), site.store.object(&k)?))).collect()
}

fn fill_store(site: &Site, with: &Objects) {
    for key in site.store.keys() {
        site.store.lose(&key);
    }
    with.iter().for_each(|(key, body)| site.store.plant(&format!("{FOLDER}{key}"), body));
}

/// A life, from three empty hosts on: one of each kind of record, and a snapshot that holds everything. The entries of the roll call are those of hosts
/// that stand there without data.
async fn live(site: &mut Site, generation: u64, fill: usize) -> (Objects, Dump) {
    site.boot_all();
    let entry = |s: &Site, host: &Host| s.store.object(&format!("{FOLDER}cluster/rollcall/{}.json", host.name));
    let empty = |body: &[u8]| serde_json::from_slice::<Value>(body).is_ok_and(|v| v["body"]["state"] == "empty");
    let mut standing = Objects::new();
    let limit = std::time::Instant::now() + LIMIT;
    while standing.len() < 3 {
        assert!(std::time::Instant::now() < limit, "they never stood in the roll call:\n{}", site.said());
        for host in &site.hosts {
            if let Some(body) = entry(site, host).filter(|b| empty(b)) {
                standing.insert(format!("cluster/rollcall/{}.json", host.name), body);
            }
        }
        site.pass(Duration::from_millis(20)).await;
    }
    site.until_serving(&[0, 1, 2], LIMIT).await;
    // One that is lost and joins makes records of voters. It has no agent: if that were the elected one, its lease would have to run out first.
    site.hosts[..2].iter_mut().for_each(Host::start_agent);
    site.hosts[2].power_cut();
    site.hosts[2].lose_disk();
    site.hosts[2].boot();
    site.until_serving(&[2], LIMIT).await;
    let fourth = format!("cluster/plans/{generation}/voters/4.json");
    let heartbeat = |s: &Site| {
        let there = s.store.object(&format!("{FOLDER}cluster/heartbeat.json")).is_some();
        there && s.record("cluster/heartbeat.json")["generation"] == generation
    };
    let recorded = |s: &Site| s.store.object(&format!("{FOLDER}{fourth}")).is_some() && heartbeat(s);
    site.until("voters and heartbeat", LIMIT, recorded).await;
    Fill::small(fill).run(site.hosts[0].etcd().expect("etcd runs")).await;
    let held = site.dump(0).await;
    site.hosts[0].run(&["save", "--name", &format!("life{generation}")]).ok();
    site.hosts.iter_mut().for_each(Host::power_cut);
    let mut all = objects(site);
    all.extend(standing);
    (all, held)
}

/// The name of the snapshot in there.
fn snapshot(of: &Objects, life: u64) -> String {
    let name = |k: &String| {
        Some(
            k.strip_prefix("snapshots/")?
                .strip_suffix(".manifest.json")
                .filter(|n| n.starts_with(&format!("life{life}-")))?
                .to_owned(),
        )
    };
    of.keys().find_map(name).expect("a snapshot")
}

fn edited(record: &[u8], edit: impl Fn(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(record).expect("a record");
    edit(&mut value);
    value.to_string().into_bytes()
}

#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// All wait, and say which object.
    Named,
    /// It says nothing that counts: the newest snapshot is restored, and the log names these.
    Restored(Vec<String>),
}

struct Case {
    what: &'static str,
    plant: Objects,
    /// A part of the message that tells what is wrong with it.
    why: &'static str,
    then: Then,
}

/// Every kind of record, each in four ways that are not to be followed.
fn cases(good: &Objects, older: &Objects, token: &Objects, cluster: &Objects) -> Vec<Case> {
    let (other_token, other_cluster, altered) =
        ("another cluster token", "belongs to cluster \"another\"", "signature does not match");
    let mut all = Vec::new();
    for (what, key, from_now, from_old) in [
        ("a plan", "cluster/plans/3.json", "cluster/plans/2.json", "cluster/plans/1.json"),
        (
            "a mark",
            "cluster/plans/2/started/cp1.json",
            "cluster/plans/2/started/cp1.json",
            "cluster/plans/1/started/cp1.json",
        ),
        ("voters", "cluster/plans/2/voters/5.json", "cluster/plans/2/voters/4.json", "cluster/plans/1/voters/4.json"),
        ("a heartbeat", "cluster/heartbeat.json", "cluster/heartbeat.json", "cluster/heartbeat.json"),
        (
            "a place in the roll call",
            "cluster/rollcall/cp4.json",
            "cluster/rollcall/cp3.json",
            "cluster/rollcall/cp3.json",
        ),
    ] {
        // As it would have to look to be followed, but for the signature.
        let unsigned = edited(&good[from_now], |v| {
            drop(v.as_object_mut().expect("a record").remove("hmac"));
            match what {
                "a plan" => (v["generation"], v["body"]["generation"]) = (3.into(), 3.into()),
                "voters" => v["body"]["number"] = 5.into(),
                "a place in the roll call" => v["body"]["node"] = "cp4".into(),
                _ => {}
            }
        });
        let mut forged: Value = serde_json::from_slice(&unsigned).expect("a record");
        forged["hmac"] = "00".repeat(32).into();
        for (body, why) in [
            (unsigned, "missing field `hmac`"),
            (forged.to_string().into_bytes(), altered),
            (token[from_old].clone(), other_token),
            (cluster[from_old].clone(), other_cluster),
            (older[from_old].clone(), altered),
        ] {
            // Under its own key, an old heartbeat is what it was: it can make hosts wait, and these three all stand there.
            let own_key = key == from_old && body == older[from_old];
            let then = if own_key { Then::Restored(Vec::new()) } else { Then::Named };
            all.push(Case { what, plant: Objects::from([(key.to_owned(), body)]), why, then });
        }
    }
    // Each host writes its own place anew; one that is not there cannot, and then all must know that it stands there without data.
    let place = "cluster/rollcall/cp3.json";
    for from in [token, cluster, older] {
        let plant = Objects::from([(place.to_owned(), from[place].clone())]);
        all.push(Case {
            what: "the own place of one in the roll call",
            plant,
            why: "",
            then: Then::Restored(Vec::new()),
        });
    }
    // Snapshots: what is not trusted is passed over loudly. All at once, with whatever could make them look the best.
    let mut plant = Objects::new();
    let mut named = Vec::new();
    let now = snapshot(good, 2);
    for (name, from, of, sign) in [
        ("planted-2099-01-01T00-00-00Z", good, now.as_str(), false),
        ("renamed-2099-01-01T00-00-00Z", older, &snapshot(older, 1), true),
        (&*format!("token-{}", snapshot(token, 1)), token, &snapshot(token, 1), true),
        (&*format!("cluster-{}", snapshot(cluster, 1)), cluster, &snapshot(cluster, 1), true),
    ] {
        let manifest = &from[&format!("snapshots/{of}.manifest.json")];
        let body = if sign {
            manifest.clone()
        } else {
            edited(manifest, |v| {
                drop(v.as_object_mut().expect("a record").remove("hmac"));
                (v["body"]["name"], v["body"]["revision"]) = (name.into(), 1_000_000.into());
            })
        };
        plant.insert(format!("snapshots/{name}.manifest.json"), body);
        plant.insert(format!("snapshots/{name}.db.gz"), from[&format!("snapshots/{of}.db.gz")].clone());
        named.push(name.to_owned());
    }
    all.push(Case { what: "manifests", plant, why: "", then: Then::Restored(named) });
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_and_replayed_records_are_never_followed() {
    let mut site = Site::new(3, ETCD_LATEST).await;
    // Others have used this folder: hosts of the same names and URLs, once with another token and once under another name.
    let ours = (site.cluster.clone(), site.token.clone());
    let mut others = Vec::new();
    for (cluster, token) in [(ours.0.as_str(), "another token, another token, another"), ("another", &ours.1)] {
        (site.cluster, site.token) = (cluster.to_owned(), token.to_owned());
        site.configure("");
        others.push(live(&mut site, 1, 300).await.0);
        site.hosts.iter_mut().for_each(Host::reinstall);
        fill_store(&site, &Objects::new());
    }
    (site.cluster, site.token) = ours;
    site.configure("");
    let (older, _) = live(&mut site, 1, 200).await;
    site.lose_all();
    let (good, held) = live(&mut site, 2, 50).await;
    let newest = snapshot(&good, 2);
    let mut seen = (0, 0);
    for case in cases(&good, &older, &others[0], &others[1]) {
        let shown = format!("{} ({:?}, {})", case.what, case.plant.keys(), case.why);
        fill_store(&site, &good);
        case.plant.iter().for_each(|(key, body)| site.store.plant(&format!("{FOLDER}{key}"), body));
        // They remember nothing, so that the store alone can lead them astray.
        for host in &mut site.hosts {
            host.power_cut();
            host.reinstall();
            host.log.clear();
        }
        site.configure("");
        site.boot_all();
        match case.then {
            Then::Named => {
                site.until(&shown, LIMIT, |s| s.hosts.iter().all(|h| h.line("P1 WAIT").is_some())).await;
                let key = case.plant.keys().next().expect("one");
                for host in &site.hosts {
                    let line = host.line("P1 WAIT").expect("a wait");
                    assert!(line.contains(key) && line.contains(case.why), "{shown}: {line}");
                }
                site.pass(Duration::from_millis(500)).await;
                assert!(site.hosts.iter().all(Host::waits), "{shown}: etcd was started");
                seen.0 += 1;
            }
            Then::Restored(named) => {
                site.until_serving(&[0, 1, 2], LIMIT).await;
                assert_eq!(
                    (site.plans(), &site.record("cluster/plans/3.json")["snapshot"]["name"]),
                    (vec![1, 2, 3], &newest.as_str().into())
                );
                held.assert_same_keys(&site.dump(0).await);
                for name in named {
                    assert!(
                        site.hosts.iter().any(|h| h.log.contains(&name)),
                        "{shown}: {name} was passed over in silence"
                    );
                }
                seen.1 += 1;
            }
        }
    }
    eprintln!("stopped by name: {}, restored: {}", seen.0, seen.1);
    assert_eq!(seen, (24, 5));
    // The last one took nothing with it: what is planted is taken away while they wait, and they go on.
    fill_store(&site, &good);
    site.store.plant(&format!("{FOLDER}cluster/plans/3.json"), &older["cluster/plans/1.json"]);
    for host in &mut site.hosts {
        host.power_cut();
        host.reinstall();
    }
    site.configure("");
    site.boot_all();
    let said = site.until_said(&[0, 1, 2], "P1 WAIT").await;
    assert!(said.contains("cluster/plans/3.json"), "{said}");
    assert!(site.store.lose(&format!("{FOLDER}cluster/plans/3.json")));
    site.until_serving(&[0, 1, 2], LIMIT).await;
    site.assert_same_hash(&[0, 1, 2]).await;
    held.assert_same_keys(&site.dump(1).await);
}
