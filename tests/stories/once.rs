//! The one-shot flag: "at the next boot, go back to this snapshot", done once, and never at the price of a healthy host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::host::{BUMP, Host, int, rules, string, tool};
use crate::support::{ETCD_LATEST, ETCD_VERSIONS, EtcdOptions, EtcdProcess, Lifeboat};

fn value(etcd: &EtcdProcess, key: &str) -> String {
    etcd.etcdctl(&["get", key, "--print-value-only"]).trim().to_owned()
}

/// A stopped host whose data says `new`, and a snapshot in the store that says `old`; its full name.
async fn upgraded(version: &str, folder: &str) -> (Host, String) {
    let host = Host::new(version, folder).await;
    let mut etcd = host.start_etcd();
    etcd.etcdctl(&["put", "schema", "old"]);
    let name = string(&host.save("before-upgrade")["name"]);
    etcd.etcdctl(&["put", "schema", "new"]);
    etcd.etcdctl(&["put", "only/in/new", "1"]);
    etcd.stop();
    (host, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_armed_restore_rolls_back_once_and_keeps_what_was_there() {
    for version in ETCD_VERSIONS {
        let (host, name) = upgraded(version, &format!("once-{version}")).await;
        let armed = host.json(&["restore-once", &name]);
        assert_eq!((armed["armed"].as_bool(), armed["snapshot"].as_str()), (Some(true), Some(&*name)));
        assert!(host.request_file().exists());
        // A second one is refused while the first is armed.
        host.run(&["restore-once", "latest"]).exits_with(3).says(&["--cancel"]);

        let report = host.bootstrap();
        assert_eq!(rules(&report), ["F2", "F1", "D7"], "{version}");
        assert!(!host.request_file().exists(), "the request is consumed");
        let aside = host.quarantined();
        assert_eq!(aside.len(), 1, "{aside:?}");
        let mut etcd = host.start_gated();
        assert_eq!((&*value(&etcd, "schema"), &*value(&etcd, "only/in/new")), ("old", ""), "{version}");
        etcd.etcdctl(&["put", "schema", "old, and more"]);
        etcd.stop();

        // Two more boots change nothing, and what was written since stays.
        for boot in 0..2 {
            assert_eq!(rules(&host.bootstrap()), ["D7"], "{version} boot {boot}");
            etcd = host.start_gated();
            assert_eq!(value(&etcd, "schema"), "old, and more", "{version} boot {boot}");
            etcd.stop();
        }
        assert_eq!(host.quarantined(), aside);
        assert_eq!(quarantined_value(&host, &aside[0], "schema"), "new", "{version}: nothing was deleted");

        // Another request, later: the latest is by (life, revision), so it is this life's.
        let mut etcd = host.start_gated();
        let later = host.save("later");
        assert_eq!(int(&later["generation"]), 2);
        etcd.etcdctl(&["put", "schema", "later still"]);
        etcd.stop();
        host.json(&["restore-once", "latest"]);
        let report = host.bootstrap();
        assert_eq!(rules(&report), ["F2", "F1", "D7"], "{version}");
        let plan = &report["facts"]["store"]["known"]["plan"]["plan"];
        assert_eq!((int(&plan["generation"]), &plan["snapshot"]["name"]), (3, &later["name"]), "{plan}");
        let etcd = host.start_gated();
        assert_eq!(value(&etcd, "schema"), "old, and more", "{version}");
        assert_eq!(host.quarantined().len(), 2, "{version}");
        assert_eq!(int(&host.save("third")["revision"]), int(&later["revision"]) + BUMP);
    }
}

/// Starts etcd on a copy of a member that was moved aside, as a person would to look at it.
fn quarantined_value(host: &Host, aside: &Path, key: &str) -> String {
    let copy = host.path("looked-at");
    fs::create_dir(&copy).unwrap();
    let (from, to) = (aside.display().to_string(), copy.join("member").display().to_string());
    tool(Path::new("cp"), &["-a", &from, &to]);
    let etcd = EtcdProcess::with(EtcdOptions {
        data_dir: Some(copy.clone()),
        name: Some("cp1".to_owned()),
        ..EtcdOptions::new(&host.version)
    });
    let found = value(&etcd, key);
    drop(etcd);
    fs::remove_dir_all(copy).unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_armed_restore_that_is_taken_back_does_nothing() {
    let (host, name) = upgraded(ETCD_LATEST, "once-cancel").await;
    host.run(&["restore-once", "no-such-snapshot"]).exits_with(1).says(&["no-such-snapshot", "lifeboat ls"]);
    assert!(!host.request_file().exists());
    host.json(&["restore-once", &name]);
    let taken = host.json(&["restore-once", "--cancel"]);
    assert_eq!((taken["armed"].as_bool(), host.request_file().exists()), (Some(false), false));
    assert_eq!(rules(&host.bootstrap()), ["D7"]);
    assert!(host.quarantined().is_empty());
    let mut etcd = host.start_gated();
    assert_eq!(value(&etcd, "schema"), "new");
    etcd.stop();
    // With nothing armed, and armed again after that.
    host.run(&["restore-once", "--cancel"]).ok();
    host.json(&["restore-once", &name]);
    assert_eq!(rules(&host.bootstrap()), ["F2", "F1", "D7"]);
    assert_eq!(value(&host.start_gated(), "schema"), "old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_broken_snapshot_never_keeps_a_healthy_host_down() {
    type Break = fn(&mut Vec<u8>);
    let cases: [(&str, Option<Break>); 4] = [
        ("payload deleted", None),
        ("payload cut", Some(|b| b.truncate(b.len() / 2))),
        ("one bit flipped", Some(|b| b[700] ^= 4)),
        ("payload replaced", Some(|b| b.fill(b'x'))),
    ];
    for (i, (what, damage)) in cases.into_iter().enumerate() {
        let (host, name) = upgraded(ETCD_LATEST, &format!("once-broken-{i}")).await;
        host.json(&["restore-once", &name]);
        let bucket = host.store.plain();
        let key = format!("{}/snapshots/{name}.db.gz", host.folder);
        let sound = bucket.get_object(&key).await.unwrap().to_vec();
        match damage {
            None => drop(bucket.delete_object(&key).await.unwrap()),
            Some(damage) => {
                let mut body = sound.clone();
                damage(&mut body);
                assert_ne!(body, sound);
                bucket.put_object(&key, &body).await.unwrap();
            }
        }
        for boot in 0..2 {
            let out = host.command(&["bootstrap", "--deadline", "60s", "-o", "json"]).run().ok();
            let report = out.json();
            assert_eq!(report["outcome"], "start", "{what} boot {boot}");
            assert_eq!(report["verdict"]["rule"], "D7", "{what} boot {boot}: {}", out.text());
            // Loudly: which snapshot, and that it goes on without the restore.
            let out = out.says(&[&name, "going on without it"]);
            let notes = report["verdict"]["notes"].to_string();
            assert!(notes.contains("request"), "{what}: the verdict does not say what became of it: {}", out.text());
            assert!(host.quarantined().is_empty(), "{what}");
            let mut etcd = host.start_gated();
            assert_eq!(value(&etcd, "schema"), "new", "{what} boot {boot}");
            etcd.stop();
        }
        let plans: Vec<Value> = plans(&host).await;
        // The first one is that of the adoption.
        assert_eq!(plans.len(), 1, "{what}: a plan was written for what cannot be restored: {plans:?}");
        assert_eq!(leftovers(&host), ["member"], "{what}");
        // Mended: the request, which nobody took back, is still to be done.
        bucket.put_object(&key, &sound).await.unwrap();
        assert_eq!(rules(&host.bootstrap()), ["F2", "F1", "D7"], "{what}");
        assert_eq!(value(&host.start_gated(), "schema"), "old", "{what}");
    }
}

async fn plans(host: &Host) -> Vec<Value> {
    let prefix = format!("{}/cluster/plans/", host.folder);
    let pages = host.store.plain().list(prefix, None).await.unwrap();
    pages.iter().flat_map(|p| &p.contents).map(|o| Value::from(o.key.clone())).collect()
}

fn leftovers(host: &Host) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(host.data_dir()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// `lifeboat ARGS` as its unit is given the credential `lifeboat.restore`.
fn given(host: &Host, args: &[&str], value: &str) -> Lifeboat {
    let dir = host.path("credentials");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("lifeboat.restore"), value).unwrap();
    host.command(args).env("CREDENTIALS_DIRECTORY", dir.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_rolls_back_once_however_often_the_host_boots() {
    let (host, name) = upgraded(ETCD_LATEST, "once-credential").await;
    let boot = |text: &str| given(&host, &["bootstrap", "--deadline=90s", "-o=json"], text).run().ok().json();
    let asked = format!("{name}\n");
    let dry = given(&host, &["bootstrap", "--dry-run"], &asked).run().ok();
    let (id, found_in) =
        (format!("credential:{name}"), host.path("credentials/lifeboat.restore").display().to_string());
    assert!(dry.stdout.contains(&format!("{name} (id {id}, in the credential {found_in})")), "{}", dry.text());

    let report = boot(&asked);
    assert_eq!(rules(&report), ["F2", "F1", "D7"]);
    assert_eq!(report["facts"]["request"]["known"]["source"], "credential", "{report}");
    let mut etcd = host.start_gated();
    assert_eq!(value(&etcd, "schema"), "old");
    etcd.etcdctl(&["put", "schema", "old, and more"]);
    etcd.stop();
    for reboot in 0..2 {
        let report = boot(&asked);
        assert_eq!(rules(&report), ["D7"], "reboot {reboot}");
        let notes = report["verdict"]["notes"].to_string();
        assert!(notes.contains(&id) && notes.contains(",id=<a new word>"), "{notes}");
        etcd = host.start_gated();
        assert_eq!(value(&etcd, "schema"), "old, and more", "reboot {reboot}");
        etcd.stop();
    }
    assert_eq!(host.quarantined().len(), 1);

    // The same snapshot once more: with a word.
    assert_eq!(rules(&boot(&format!("{name},id=second"))), ["F2", "F1", "D7"]);
    etcd = host.start_gated();
    assert_eq!(value(&etcd, "schema"), "old");
    etcd.stop();
    assert_eq!(host.quarantined().len(), 2);

    // Armed in a file beside it: the file is the later word, and the credential does not undo it.
    let later = string(
        &{
            let etcd = host.start_gated();
            etcd.etcdctl(&["put", "schema", "later"]);
            let saved = host.save("later");
            drop(etcd);
            saved
        }["name"],
    );
    let third = format!("{name},id=third");
    let armed = given(&host, &["restore-once", &later], &third).run().ok();
    assert!(armed.stdout.contains("note: the credential") && armed.stdout.contains("id third"), "{}", armed.text());
    assert_eq!(rules(&boot(&third)), ["F2", "F1", "D7"]);
    etcd = host.start_gated();
    assert_eq!(value(&etcd, "schema"), "later");
    etcd.stop();
    assert_eq!(rules(&boot(&third)), ["D7"]);

    // A slip keeps etcd down, loudly, until a person gives it up.
    let slip = format!("{name};id=fourth");
    given(&host, &["bootstrap", "--deadline=1s"], &slip).run().exits_with(4).says(&[
        "F0 WAIT",
        &found_in,
        "not allowed",
        "restore-once --cancel",
    ]);
    let taken = given(&host, &["restore-once", "--cancel"], &slip).run().ok();
    assert!(taken.stdout.contains("taken back") && taken.stdout.contains("credential"), "{}", taken.text());
    assert_eq!(rules(&boot(&slip)), ["D7"]);
    assert_eq!(value(&host.start_gated(), "schema"), "later");
}
