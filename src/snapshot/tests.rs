//! Save, ship, fetch and verify together, against a scripted member and a store with faults.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use sha2::Digest;

use super::spool::Spool;
use super::testing::{FakeEtcd, HASH_KV, Host, LIVE_KEYS, REVISION, fixture, quiet, request};
use super::{commands, fetch, save, ship};
use crate::catalog::memory::Fault;
use crate::core::model::{Compression, Generation, NodeName, Revision};
use crate::error::Kind;
use crate::ports::{EtcdErrorKind, StoreErrorKind};

const NAME: &str = "etcd-snapshot-2024-01-15T10-30-00Z";

async fn saved(host: &Host) -> save::Saved {
    save::save(&FakeEtcd::healthy(), host.records(), &host.clock, &host.spool, &request()).await.unwrap()
}

async fn shipped(host: &Host) -> ship::ShipReport {
    ship::ship_all(&host.snapshots, &host.spool, &quiet).await.unwrap()
}

fn stored_keys(name: &str) -> Vec<String> {
    vec![format!("snapshots/{name}.db.gz"), format!("snapshots/{name}.manifest.json")]
}

#[tokio::test]
async fn a_snapshot_goes_to_the_store_and_comes_back_byte_for_byte() {
    for (compression, extension) in [(Compression::Gzip, ".gz"), (Compression::Zstd, ".zst"), (Compression::None, "")] {
        let host = Host::new();
        let mut wanted = request();
        (wanted.compression, wanted.hash_check) = (compression, true);
        let report = commands::save(&FakeEtcd::healthy(), &host.snapshots, &host.clock, &host.spool, &wanted, &quiet)
            .await
            .unwrap();
        assert!(report.shipped, "{:?}", report.not_shipped);
        let m = &report.manifest;
        assert_eq!((m.revision, m.raw.size), (REVISION, fixture().len() as u64));
        assert_eq!(m.raw.sha256.0, <[u8; 32]>::from(sha2::Sha256::digest(fixture())));
        assert_eq!(m.hash_kv.map(|h| (h.hash, h.compact_revision)), Some(HASH_KV));
        assert!(m.quorum && !m.auth);
        assert_eq!(m.voters.len(), 1, "learners do not vote");
        assert_eq!(host.files(), [format!("{NAME}.db{extension}"), format!("{NAME}.shipped.json")]);
        for file in host.files() {
            let mode = std::fs::metadata(host.spool.dir().join(&file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }

        let to = host.dir.path().join("out.db");
        commands::get(&host.snapshots, "latest", Some(&to), |_| ()).await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), fixture());
        let again = commands::get(&host.snapshots, NAME, Some(&to), |_| ()).await.unwrap_err();
        assert_eq!(again.kind(), Kind::Refused, "an existing file is not replaced");

        let node = NodeName::new("cp2").unwrap();
        let proof = commands::verify(&host.snapshots, "latest", host.dir.path(), &node, &host.clock).await.unwrap();
        assert!(proof.ok && proof.recorded, "{proof:?}");
        assert_eq!((proof.revision, proof.keys), (Some(REVISION), Some(LIVE_KEYS)));
        assert_eq!(proof.hash_kv.map(|h| h.hash), Some(HASH_KV.0));
        let rows = commands::ls(&host.snapshots, Some(&host.spool), true).await.unwrap().rows;
        assert_eq!((rows.len(), rows[0].status.as_str(), rows[0].place), (1, "verified", commands::Place::Both));
        let left: Vec<_> = std::fs::read_dir(host.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "scratch or temporary files were left: {left:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_whole_leaves_nothing() {
    let whole = fixture();
    let mut flipped = whole.clone();
    flipped[9000] ^= 1;
    let mut wrong_trailer = whole.clone();
    *wrong_trailer.last_mut().unwrap() ^= 1;
    let broken = |raw: &[u8], kind| FakeEtcd { ends_with: Some(kind), ..FakeEtcd::sending(raw) };
    let short = FakeEtcd { announced: Some(whole.len() as u64), ..FakeEtcd::sending(&whole[..whole.len() - 4096]) };
    for (what, etcd, kind) in [
        ("nothing", FakeEtcd::sending(b""), Kind::Verification),
        ("a flipped bit", FakeEtcd::sending(&flipped), Kind::Verification),
        ("a wrong trailer", FakeEtcd::sending(&wrong_trailer), Kind::Verification),
        ("no trailer", FakeEtcd::sending(&whole[..whole.len() - 32]), Kind::Verification),
        ("cut in the trailer", FakeEtcd::sending(&whole[..whole.len() - 1]), Kind::Verification),
        ("garbage", FakeEtcd::sending(&[7; 5000]), Kind::Verification),
        ("less than announced", short, Kind::Etcd),
        ("a stall at the end", broken(&whole, EtcdErrorKind::BrokenStream), Kind::Etcd),
        ("a break in the middle", broken(&whole[..10_000], EtcdErrorKind::Unreachable), Kind::Etcd),
    ] {
        let host = Host::new();
        let failed = save::save(&etcd, host.records(), &host.clock, &host.spool, &request()).await.expect_err(what);
        assert_eq!(failed.kind(), kind, "{what}: {failed:?}");
        assert!(host.files().is_empty(), "{what}: {:?}", host.files());
    }
}

/// At a stop the process ends before the writing thread may get any time: whoever gives the snapshot up removes its file.
#[tokio::test]
async fn a_snapshot_that_is_given_up_leaves_nothing_at_once() {
    let host = Host::new();
    let etcd = FakeEtcd { hangs: true, ..FakeEtcd::healthy() };
    let request = request();
    let mut saving = Box::pin(save::save(&etcd, host.records(), &host.clock, &host.spool, &request));
    let limit = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(limit, &mut saving).await.is_err(), "its end never comes");
    assert_eq!(host.files(), ["etcd-snapshot-2024-01-15T10-30-00Z.part"]);
    drop(saving);
    assert_eq!(host.files(), [""; 0]);
}

#[tokio::test]
async fn an_unfit_member_is_refused_and_a_lagging_one_thrown_away() {
    let mut learner = FakeEtcd::healthy();
    learner.status.is_learner = true;
    let mut corrupt = FakeEtcd::healthy();
    corrupt.status.errors = vec!["memberID:1 alarm:CORRUPT ".into()];
    let lagging = FakeEtcd { read: Ok(Revision(REVISION.0 + 1)), ..FakeEtcd::healthy() };
    let denied = FakeEtcd { read: Err(EtcdErrorKind::Denied), ..FakeEtcd::healthy() };
    for (etcd, kind, word) in [
        (learner, Kind::Refused, "learner"),
        (corrupt, Kind::Refused, "CORRUPT"),
        (lagging, Kind::Etcd, "thrown away"),
        (denied, Kind::Etcd, "Denied"),
    ] {
        let host = Host::new();
        let failed = save::save(&etcd, host.records(), &host.clock, &host.spool, &request()).await.unwrap_err();
        assert_eq!(failed.kind(), kind, "{failed:?}");
        assert!(failed.message().contains(word), "{failed:?}");
        assert!(host.files().is_empty());
    }
}

#[tokio::test]
async fn without_quorum_it_is_an_emergency_snapshot() {
    for kind in [EtcdErrorKind::NoQuorum, EtcdErrorKind::Unreachable] {
        let host = Host::new();
        let etcd = FakeEtcd { read: Err(kind), ..FakeEtcd::healthy() };
        let saved = save::save(&etcd, host.records(), &host.clock, &host.spool, &request()).await.unwrap();
        assert!(!saved.manifest.quorum);
        assert!(saved.warnings[0].contains("restored only by name"), "{:?}", saved.warnings);
        shipped(&host).await;
        assert!(host.snapshots.list().await.unwrap().latest().is_none());
        assert!(host.snapshots.resolve(NAME).await.is_ok());
    }
}

#[tokio::test]
async fn an_emptied_cluster_is_warned_of_loudly() {
    for (known, warned) in [
        (Some((Generation(1), Revision(1000))), true),
        (Some((Generation(0), Revision(1000))), false),
        (Some((Generation(1), Revision(33))), false),
        (None, false),
    ] {
        let host = Host::new();
        let wanted = save::SaveRequest { newest_known: known, ..request() };
        let saved = save::save(&FakeEtcd::healthy(), host.records(), &host.clock, &host.spool, &wanted).await.unwrap();
        assert_eq!(!saved.warnings.is_empty(), warned, "{known:?}: {:?}", saved.warnings);
    }
}

#[tokio::test]
async fn two_in_one_second_do_not_collide_on_one_host_nor_on_two() {
    let host = Host::new();
    let first = saved(&host).await.manifest.name;
    let second = saved(&host).await.manifest.name;
    assert_eq!((first.as_str(), second.as_str()), (NAME, format!("{NAME}-2").as_str()));

    let other = Host::beside(&host.store);
    let wanted = save::SaveRequest { node: NodeName::new("cp2").unwrap(), ..request() };
    let mut etcd = FakeEtcd::healthy();
    etcd.status.member_id = crate::core::model::MemberId(0xb2);
    // The very same bytes, and still another snapshot: its manifest differs.
    save::save(&etcd, other.records(), &other.clock, &other.spool, &wanted).await.unwrap();
    assert_eq!(shipped(&host).await.shipped.len(), 2);
    let third = shipped(&other).await;
    assert_eq!(third.shipped[0].name.as_str(), format!("{NAME}-3"), "{third:?}");
    assert_eq!(other.files(), [format!("{NAME}-3.db.gz"), format!("{NAME}-3.shipped.json")]);
    assert_eq!(host.snapshots.list().await.unwrap().committed().count(), 3);
}

#[tokio::test]
async fn a_payload_of_somebody_else_under_our_name_is_left_alone() {
    let host = Host::new();
    saved(&host).await;
    host.store.set(&format!("snapshots/{NAME}.db.gz"), "an upload of another host that is not committed yet");
    let report = shipped(&host).await;
    assert_eq!(report.shipped[0].name.as_str(), format!("{NAME}-2"));
    assert!(host.store.body(&format!("snapshots/{NAME}.db.gz")).unwrap().starts_with(b"an upload"));
    let to = host.dir.path().join("x.db");
    commands::get(&host.snapshots, &format!("{NAME}-2"), Some(&to), |_| ()).await.unwrap();
    assert_eq!(std::fs::read(to).unwrap(), fixture());
}

/// What is not finished holds parts in the bucket, and buffers and a file here.
#[tokio::test]
async fn an_upload_that_began_early_is_not_left_when_the_snapshot_goes_another_way() {
    let wanted = save::SaveRequest { ships: true, ..request() };
    let etcd = FakeEtcd::healthy();
    let mut other_etcd = FakeEtcd::healthy();
    other_etcd.status.member_id = crate::core::model::MemberId(0xb2);
    for case in ["shipped", "name taken", "by another process", "by a killed process", "store away", "replaced"] {
        let host = Host::new();
        let take = async || save::save(&etcd, host.records(), &host.clock, &host.spool, &wanted).await.unwrap();
        take().await;
        assert_eq!(host.store.early_uploads(), 1, "{case}");
        match case {
            "name taken" => {
                let other = Host::beside(&host.store);
                save::save(&other_etcd, other.records(), &other.clock, &other.spool, &request()).await.unwrap();
                shipped(&other).await;
            }
            "by another process" | "by a killed process" => {
                let spool = Spool::open(host.spool.dir(), 2, 0).unwrap();
                ship::ship_all(&host.snapshots, &spool, &quiet).await.unwrap();
                if case == "by a killed process" {
                    let file = |kind: &str| spool.dir().join(format!("{NAME}.{kind}.json"));
                    crate::sys::fs::rename(&file("shipped"), &file("manifest")).unwrap();
                }
            }
            "store away" => {
                host.store.on(|_, _| Some(Fault::Refuse(StoreErrorKind::Unreachable)));
                shipped(&host).await;
                assert_eq!(host.store.early_uploads(), 1, "it is finished when the store is back");
                host.store.heal();
            }
            "replaced" => {
                take().await;
                assert_eq!(host.store.early_uploads(), 1, "that of the last one");
            }
            _ => {}
        }
        shipped(&host).await;
        assert_eq!(host.store.early_uploads(), 0, "{case}");
        assert!(host.snapshots.list().await.unwrap().committed().count() > 0, "{case}");
    }

    // The command ends with it.
    let host = Host::new();
    let other = Host::beside(&host.store);
    save::save(&other_etcd, other.records(), &other.clock, &other.spool, &request()).await.unwrap();
    shipped(&other).await;
    let report = commands::save(&etcd, &host.snapshots, &host.clock, &host.spool, &wanted, &quiet).await.unwrap();
    assert_eq!((report.shipped, report.manifest.name.as_str()), (true, format!("{NAME}-2").as_str()));
    assert_eq!(host.store.early_uploads(), 0);
}

#[tokio::test]
async fn while_the_store_is_away_nothing_is_lost_and_later_all_is_shipped_oldest_first() {
    let host = Host::new();
    host.store.on(|_, _| Some(Fault::Refuse(StoreErrorKind::Unreachable)));
    for _ in 0..4 {
        let report =
            commands::save(&FakeEtcd::healthy(), &host.snapshots, &host.clock, &host.spool, &request(), &quiet)
                .await
                .unwrap();
        assert!(!report.shipped && report.not_shipped.is_some());
        assert_eq!(report.ship_error.map(|e| e.kind()), Some(Kind::Store));
        host.clock.advance(60);
    }
    assert_eq!(host.files().len(), 8, "more than `keep`, and all of them waiting");
    assert!(host.store.keys().is_empty());

    host.store.heal();
    // After a restart: another value over the same directory.
    let spool = Spool::open(host.spool.dir(), 2, 0).unwrap();
    assert!(spool.clean(host.records()).unwrap().is_empty());
    let report = ship::ship_all(&host.snapshots, &spool, &quiet).await.unwrap();
    let starts: Vec<_> = report.shipped.iter().map(|m| m.started).collect();
    assert_eq!(starts.len(), 4);
    assert!(starts.is_sorted());
    assert_eq!(report.trimmed.len(), 2, "the newest two stay on the host");
    assert_eq!(host.files().len(), 4);
    assert_eq!(host.snapshots.list().await.unwrap().committed().count(), 4);
}

#[tokio::test]
async fn every_failing_or_lost_call_of_ship_is_mended_by_the_next_pass() {
    for lose in [false, true] {
        for nth in 1..12 {
            let host = Host::new();
            saved(&host).await;
            let mut seen = 0;
            host.store.on(move |op, _| {
                seen += 1;
                let fault = if lose && op.starts_with("put") {
                    Fault::LoseAnswer
                } else {
                    Fault::Refuse(StoreErrorKind::Unavailable)
                };
                (seen == nth).then_some(fault)
            });
            let first = shipped(&host).await;
            let listed = host.snapshots.list().await;
            host.store.heal();
            if let Ok(listed) = listed {
                for c in listed.committed() {
                    assert_eq!(c.damage(), None, "call {nth}: listed before it was whole");
                }
            }
            let second = shipped(&host).await;
            assert_eq!(first.shipped.len() + second.shipped.len(), 1, "call {nth}, lost {lose}");
            assert_eq!(host.store.keys(), stored_keys(NAME), "call {nth}, lost {lose}");
            assert_eq!(host.files(), [format!("{NAME}.db.gz"), format!("{NAME}.shipped.json")]);
            assert!(shipped(&host).await.shipped.is_empty(), "shipped once");
        }
    }
}

#[tokio::test]
async fn one_broken_entry_does_not_hold_up_the_others() {
    let host = Host::new();
    let first = saved(&host).await;
    host.clock.advance(60);
    saved(&host).await;
    std::fs::write(&first.payload, "rotten").unwrap();
    std::fs::write(host.spool.dir().join("foreign.manifest.json"), "{}").unwrap();
    let report = shipped(&host).await;
    assert_eq!((report.shipped.len(), report.failed.len(), report.problems.len()), (1, 1, 1), "{report:?}");
    assert_eq!(report.failed[0].0, first.manifest.name);
    assert!(first.payload.exists(), "what was not shipped is never removed");
    assert_eq!(host.store.keys(), stored_keys("etcd-snapshot-2024-01-15T10-31-00Z"));
}

#[tokio::test]
async fn a_spool_is_put_in_order_after_a_crash() {
    let host = Host::new();
    let whole = saved(&host).await;
    let dir = host.spool.dir();
    let at = |name: &str| dir.join(name);
    // Power went between the manifest and the last rename.
    crate::sys::fs::rename(&whole.payload, &at(&format!("{NAME}.part"))).unwrap();
    // Half-written ones, with and without a manifest that does not fit.
    std::fs::write(at("half.part"), "half").unwrap();
    std::fs::write(at(".x.db.0011.part"), "temporary").unwrap();
    // None of ours: left alone.
    std::fs::write(at("notes.txt"), "hello").unwrap();
    std::fs::write(at("other-token.manifest.json"), "{}").unwrap();

    let held = host.spool.lock().unwrap();
    assert!(host.spool.clean(host.records()).unwrap().is_empty(), "not while a snapshot is being taken");
    drop(held);
    let removed = host.spool.clean(host.records()).unwrap();
    assert_eq!(removed.len(), 2, "{removed:?}");
    let expected = [
        format!("{NAME}.db.gz"),
        format!("{NAME}.manifest.json"),
        "notes.txt".into(),
        "other-token.manifest.json".into(),
    ];
    assert_eq!(host.files(), expected);
    assert_eq!(shipped(&host).await.shipped.len(), 1);

    // A manifest whose payload never came, and one whose `.part` is not whole.
    let host = Host::new();
    let (a, b) = (saved(&host).await, saved(&host).await);
    std::fs::remove_file(&a.payload).unwrap();
    std::fs::remove_file(&b.payload).unwrap();
    std::fs::write(host.spool.dir().join(format!("{}.part", b.manifest.name)), "half").unwrap();
    host.spool.clean(host.records()).unwrap();
    host.spool.clean(host.records()).unwrap();
    assert!(host.files().is_empty(), "{:?}", host.files());
}

#[tokio::test]
async fn one_snapshot_at_a_time_on_a_host() {
    let host = Host::new();
    let held = host.spool.lock().unwrap();
    let refused = save::save(&FakeEtcd::healthy(), host.records(), &host.clock, &host.spool, &request()).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Refused);
    drop(held);
    saved(&host).await;
}

#[tokio::test]
async fn a_nearly_full_disk_fails_before_etcd_feels_it() {
    let host = Host::new();
    let spool = Spool::open(host.spool.dir(), 2, u64::MAX).unwrap();
    let failed = save::save(&FakeEtcd::healthy(), host.records(), &host.clock, &spool, &request()).await.unwrap_err();
    assert_eq!(failed.kind(), Kind::Io);
    assert!(failed.message().contains("bytes are free"), "{failed:?}");
    assert!(failed.hint_text().is_some_and(|h| h.contains("node.state_dir")));
    assert!(host.files().is_empty());
}

#[tokio::test]
async fn damage_in_the_store_is_found_named_and_recorded() {
    let host = Host::new();
    let manifest = {
        saved(&host).await;
        shipped(&host).await.shipped.remove(0)
    };
    let key = manifest.payload_key();
    let good = host.store.body(&key).unwrap();
    let node = NodeName::new("cp1").unwrap();
    let flip = |at: usize| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0x40;
        bytes
    };
    let to = host.dir.path().join("x.db");
    let mut damages = vec![good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat(), vec![]];
    damages.extend((0..good.len()).step_by(61).map(flip));
    for (n, damaged) in damages.into_iter().enumerate() {
        host.store.set(&key, damaged);
        let failed = fetch::get_to_file(&host.snapshots, &manifest, &to, |_| ()).await.unwrap_err();
        assert_eq!(failed.kind(), Kind::Verification, "damage {n}: {failed:?}");
        assert!(failed.message().contains(NAME), "{failed:?}");
        assert!(!to.exists());
        let report = commands::verify(&host.snapshots, NAME, host.dir.path(), &node, &host.clock).await.unwrap();
        assert!(!report.ok && report.recorded, "damage {n}");
        let rows = commands::ls(&host.snapshots, None, true).await.unwrap().rows;
        assert!(rows[0].status.starts_with("damaged") && !rows[0].usable, "{}", rows[0].status);
    }
    // A broken connection is no damage: nothing is recorded against the snapshot.
    host.store.set(&key, good);
    assert!(commands::verify(&host.snapshots, NAME, host.dir.path(), &node, &host.clock).await.unwrap().ok);
    host.store.on(|op, _| (op == "open").then_some(Fault::Lie));
    let failed = commands::verify(&host.snapshots, NAME, host.dir.path(), &node, &host.clock).await.unwrap_err();
    assert_eq!(failed.kind(), Kind::Store, "{failed:?}");
    assert_eq!(commands::ls(&host.snapshots, None, true).await.unwrap().rows[0].status, "verified");
    host.store.heal();
    host.store.remove(&key);
    let report = commands::verify(&host.snapshots, NAME, host.dir.path(), &node, &host.clock).await.unwrap();
    assert_eq!(report.problem.as_deref(), Some("its payload is missing"));
}

#[tokio::test]
async fn a_signed_manifest_that_lies_is_found_by_verify() {
    let host = Host::new();
    let saved = saved(&host).await;
    type Lie = fn(&mut crate::core::manifest::Manifest);
    let lies: [(&str, Lie); 2] = [
        ("revision", |m| m.revision = Revision(31)),
        ("HashKV", |m| {
            m.hash_kv = Some(crate::core::manifest::HashKv {
                hash: HASH_KV.0 ^ 1,
                compact_revision: HASH_KV.1,
                revision: REVISION,
            });
        }),
    ];
    let payload = std::fs::read(&saved.payload).unwrap();
    for (n, (word, lie)) in lies.into_iter().enumerate() {
        let mut m = saved.manifest.clone();
        m.name = crate::core::model::SnapshotName::new(&format!("lie-{n}")).unwrap();
        lie(&mut m);
        host.store.set(&m.payload_key(), payload.clone());
        let key = crate::catalog::keys::manifest(&m.name);
        let sealed = host.records().seal(crate::core::record::RecordKind::Manifest, &key, m.generation, &m).unwrap();
        host.snapshots.commit(&m, sealed).await.unwrap();
        let node = NodeName::new("cp1").unwrap();
        let report =
            commands::verify(&host.snapshots, m.name.as_str(), host.dir.path(), &node, &host.clock).await.unwrap();
        assert!(report.problem.as_deref().is_some_and(|p| p.contains(word)), "{report:?}");
    }
}

#[test]
fn local_files_are_read_in_any_format_and_bombs_stop() {
    let dir = tempfile::tempdir().unwrap();
    let raw = fixture();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let path = dir.path().join("misnamed.bin");
        std::fs::write(&path, crate::codec::encode(compression, &raw).unwrap()).unwrap();
        let mut out = Vec::new();
        fetch::open_file(&path, raw.len() as u64).unwrap().read_to_end(&mut out).unwrap();
        assert_eq!(out, raw, "{compression}");
        let mut bomb = fetch::open_file(&path, raw.len() as u64 - 1).unwrap();
        let failed = fetch::error_of(bomb.read_to_end(&mut Vec::new()).unwrap_err(), String::new);
        assert_eq!(failed.kind(), Kind::Verification, "{compression}");
    }
    let refused = fetch::open_file(&dir.path().join("none"), 1).err().unwrap();
    assert_eq!(refused.kind(), Kind::Io);
    std::fs::write(dir.path().join("page.html"), "<!DOCTYPE html>").unwrap();
    let refused = fetch::open_file(&dir.path().join("page.html"), 1).err().unwrap();
    assert!(refused.hint_text().is_some() && refused.message().contains("page.html"), "{refused:?}");
}
