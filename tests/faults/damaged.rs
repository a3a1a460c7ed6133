//! Damaged, forged and misplaced snapshots: never restored, never handed out, and each found by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use crate::lab::{FOLDER, Lab};
use crate::support::dump;

fn payload(name: &str) -> String {
    format!("{FOLDER}snapshots/{name}.db.gz")
}

fn manifest(name: &str) -> String {
    format!("{FOLDER}snapshots/{name}.manifest.json")
}

fn change(lab: &Lab, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut body = lab.s3.object(key).unwrap_or_else(|| panic!("{key} is not there"));
    change(&mut body);
    lab.s3.plant(key, &body);
}

/// As long as before, and wrong: only reading it tells.
fn flip(lab: &Lab, name: &str) {
    change(lab, &payload(name), |b| {
        let at = b.len() / 2;
        b[at] ^= 1;
    });
}

type Damage = fn(&Lab, &str, &str);

/// What is wrong with the newest one (`name`) and how (`other` is an older, sound one).
const DAMAGE: &[(&str, Damage)] = &[
    ("a flipped bit in the payload", |l, n, _| {
        change(l, &payload(n), |b| {
            let at = b.len() / 2;
            b[at] ^= 1
        })
    }),
    ("a flipped bit in the payload's last bytes", |l, n, _| {
        change(l, &payload(n), |b| {
            let at = b.len() - 3;
            b[at] ^= 1
        })
    }),
    ("a truncated payload", |l, n, _| change(l, &payload(n), |b| b.truncate(b.len() / 2))),
    ("a longer payload", |l, n, _| change(l, &payload(n), |b| b.extend_from_slice(b"more"))),
    ("another snapshot's payload", |l, n, o| {
        let body = l.s3.object(&payload(o)).unwrap();
        l.s3.plant(&payload(n), &body)
    }),
    ("an empty payload", |l, n, _| l.s3.plant(&payload(n), b"")),
    ("no payload", |l, n, _| assert!(l.s3.lose(&payload(n)))),
    ("an altered manifest", |l, n, _| {
        change(l, &manifest(n), |b| {
            let text = String::from_utf8(b.clone()).unwrap();
            let at = text.find("\"revision\":").unwrap() + 11;
            let digit = text[at..].find(|c: char| c.is_ascii_digit()).unwrap() + at;
            b[digit] = if b[digit] == b'9' { b'8' } else { b'9' };
        })
    }),
    ("a manifest without its seal", |l, n, _| {
        change(l, &manifest(n), |b| {
            let mut json: serde_json::Value = serde_json::from_slice(b).unwrap();
            let seals: Vec<String> = json
                .as_object()
                .unwrap()
                .keys()
                .filter(|k| k.contains("mac") || k.contains("sig") || k.contains("seal"))
                .cloned()
                .collect();
            assert!(!seals.is_empty(), "which field is the seal? {json}");
            for seal in seals {
                json.as_object_mut().unwrap().remove(&seal);
            }
            *b = json.to_string().into_bytes();
        })
    }),
    ("a truncated manifest", |l, n, _| change(l, &manifest(n), |b| b.truncate(b.len() / 2))),
    ("an empty manifest", |l, n, _| l.s3.plant(&manifest(n), b"")),
    ("another snapshot's manifest under this name", |l, n, o| {
        let body = l.s3.object(&manifest(o)).unwrap();
        l.s3.plant(&manifest(n), &body)
    }),
];

/// Puts the store back as it was.
fn repair(lab: &Lab, kept: &[(String, Vec<u8>)]) {
    for key in lab.s3.keys() {
        lab.s3.lose(&key);
    }
    for (key, body) in kept {
        lab.s3.plant(key, body);
    }
}

fn everything(lab: &Lab) -> Vec<(String, Vec<u8>)> {
    lab.s3.keys().into_iter().map(|k| (k.clone(), lab.s3.object(&k).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_passed_over_loudly_and_found_by_each_command() {
    let (lab, dumps, _etcd) = Lab::lived(60, 2, false).await;
    let kept = everything(&lab);
    let names = lab.usable();
    let (older, newest) = (&names[0], &names[1]);
    for (what, damage) in DAMAGE {
        repair(&lab, &kept);
        lab.lose_host();
        damage(&lab, newest, older);

        // Not pinned: the one before, and it says so.
        let out = lab.bootstrap().run().ok();
        assert!(out.stderr.contains(older.as_str()), "{what}: {}", out.text());
        assert!(
            (out.stderr.contains("passed over") || out.stderr.contains("not considered"))
                && out.stderr.contains(newest.as_str()),
            "{what}: quietly: {}",
            out.text()
        );
        dumps[0].assert_same_keys(&dump(&lab.etcd()).await);
        lab.lose_host();

        let verified = lab.cmd(["verify", newest]).run().exits_with(5);
        let got = lab.cmd(["get", newest, "-f", &lab.path("got.db").display().to_string()]).run();
        assert!(matches!(got.code, Some(1 | 3 | 5)), "{what}: {}", got.text());
        assert!(!lab.path("got.db").exists(), "{what}: get left a file");
        let peer = lab.peer_url();
        let by_hand = lab
            .cmd(["restore", newest, "--name", "m1", "--data-dir", &lab.data().display().to_string()])
            .arg(format!("--initial-cluster=m1={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .run();
        assert!(matches!(by_hand.code, Some(1 | 3 | 5)), "{what}: {}", by_hand.text());
        assert!(!lab.data().exists(), "{what}: restore left a data dir");
        for out in [&verified, &got, &by_hand] {
            let said = format!("{}{}", out.stdout, out.stderr);
            assert!(said.contains(newest.as_str()), "{what}: which one? {}", out.text());
        }
        assert_eq!(lab.leftovers(), Vec::<std::path::PathBuf>::new(), "{what}");

        // Pinned and broken: another one is never taken instead.
        let pinned =
            lab.bootstrap().env("LIFEBOAT_BOOTSTRAP__SNAPSHOT", newest.as_str()).arg("--deadline").arg("20s").run();
        let pinned = pinned.exits_with(3).says(&["S1 REFUSE", newest, "another one is not taken instead"]);
        assert!(!lab.has_member(), "{what}");

        println!(
            "{what}: verify {:?}, get {:?}, restore {:?}, pinned {:?}, bootstrap took the one before\n  verify: {}\n  get: {}",
            verified.code,
            got.code,
            by_hand.code,
            pinned.code,
            verified.stderr.trim(),
            got.stderr.trim()
        );
    }
    println!("{} kinds of damage, none restored", DAMAGE.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_or_renamed_snapshot_is_not_another_one() {
    let (lab, dumps, _etcd) = Lab::lived(60, 1, false).await;
    let name = lab.usable()[0].clone();
    let (p, m) = (lab.s3.object(&payload(&name)).unwrap(), lab.s3.object(&manifest(&name)).unwrap());
    // A later date in the name does not make it later, nor trusted.
    let copy = "z-2099-01-01T00-00-00Z";
    lab.s3.plant(&payload(copy), &p);
    lab.s3.plant(&manifest(copy), &m);
    assert_eq!(lab.usable(), [name.as_str()]);
    lab.cmd(["verify", copy]).run().exits_with(5);
    lab.lose_host();
    let out = lab.bootstrap().run().ok();
    assert!(!out.stderr.contains(&format!("{copy} is the best")), "{}", out.text());
    dumps[0].assert_same_keys(&dump(&lab.etcd()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn fallback_ends_and_a_wrong_token_or_cluster_is_refused() {
    let (lab, _, _etcd) = Lab::lived(40, 3, false).await;
    let names = lab.usable();
    // The two newest are broken, and one may be passed over.
    for name in &names[1..] {
        flip(&lab, name);
    }
    let kept = everything(&lab);
    for (allowed, code) in [("0", 3), ("1", 3), ("2", 0)] {
        repair(&lab, &kept);
        lab.lose_host();
        let out = lab.bootstrap().env("LIFEBOAT_BOOTSTRAP__FALLBACK", allowed).run().exits_with(code);
        println!("fallback {allowed}: exit {code}: {}", out.stderr.trim());
        assert_eq!(lab.has_member(), code == 0);
        if code == 3 {
            out.says(&["S4 REFUSE", "bootstrap.fallback", &names[2]]);
            assert_eq!(lab.plans(), 1, "a plan was written for a snapshot that cannot be restored");
        }
    }
    // All broken: refused, with the reason of each.
    repair(&lab, &kept);
    lab.lose_host();
    flip(&lab, &names[0]);
    let out = lab.bootstrap().run().exits_with(3).says(&["S4 REFUSE", &names[0], &names[1], &names[2]]);
    println!("all broken: {}", out.stderr.trim());
    assert!(!lab.has_member());

    // With another token, nothing of the store is trusted; and nothing is formed.
    repair(&lab, &kept);
    for (what, name, file) in
        [("token", "etc/token", "another-token-of-sixteen-bytes-or-more-0123"), ("cluster", "", "")]
    {
        let mut run = lab.bootstrap().arg("--deadline").arg("3s");
        let old = std::fs::read_to_string(lab.path("etc/token")).unwrap();
        if name.is_empty() {
            run = run.env("LIFEBOAT_CLUSTER__NAME", "another");
        } else {
            lab.write(name, file);
        }
        let out = run.run();
        println!("another {what}: exit {:?}: {}", out.code, out.stderr.trim());
        assert!(matches!(out.code, Some(3 | 4)), "{what}: {}", out.text());
        assert!(out.stderr.contains(what), "{what}: {}", out.text());
        assert!(!lab.has_member());
        lab.write("etc/token", &old);
    }
}
