//! Damaged input of every kind: it must end in an error or in an answer, never in a panic, a loop or a large allocation.

use std::path::Path;

use proptest::prelude::*;
use sha2::{Digest, Sha256 as Hasher};

use crate::bolt::check::check;
use crate::bolt::reader::Image;
use crate::core::model::Revision;
use crate::error::Kind;

use super::hash::hash_kv;
use super::inspect_file::Content;
use super::restore::{Expected, InitialMember, RestoreSpec, build, build_empty, install, load};
use super::stream_index::RevisionIndex;
use super::wal;

const SNAPSHOT: &[u8] = include_bytes!("../../tests/fixtures/formats/etcd-3.5.30.db");

fn image() -> &'static [u8] {
    &SNAPSHOT[..SNAPSHOT.len() - 32]
}

/// Everything that reads an image. `Ok` when the structure was found to be sound.
fn read_all(bytes: &[u8]) -> crate::error::Result<()> {
    let mut index = RevisionIndex::new();
    // The index judges less than the check does; it only has to end.
    let _ = index.push(bytes).and_then(|()| index.finish());
    let opened = Image::new(bytes, "damaged.db")?;
    let _ = hash_kv(&opened, Revision(45), Revision(20));
    let mut content = Content::new();
    check(&opened, &mut content)?;
    content.finish(&opened).map(|_| ())
}

fn spec() -> RestoreSpec {
    RestoreSpec {
        members: vec![InitialMember { name: "a".into(), peer_urls: vec!["http://127.0.0.1:1".into()] }],
        me: "a".into(),
        token: "t".into(),
        ..RestoreSpec::default()
    }
}

fn try_build(bytes: &[u8], skip_hash_check: bool, spec: &RestoreSpec) -> (tempfile::TempDir, crate::error::Result<()>) {
    let dir = tempfile::tempdir().unwrap();
    let staging = dir.path().join("lifeboat-staging-1");
    let built = build(&mut &bytes[..], &Expected::default(), skip_hash_check, &staging, spec);
    assert_eq!(load(&staging).unwrap().is_some(), built.is_ok(), "the record says something else than the result");
    if built.is_err() {
        assert!(install(&staging, dir.path(), None).is_err());
        assert!(!dir.path().join("member").exists());
    }
    (dir, built.map(|_| ()))
}

#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Number(usize, u64),
    CopyPage(usize, usize),
    Cut(usize),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    // Headers and descriptors are where structure lives; most of the rest is values.
    let header = (0usize..6, 0usize..200).prop_map(|(page, at)| page * 4096 + at);
    let at = prop_oneof![3 => header, 1 => 0usize..24_576];
    let number = prop_oneof![0u64..10, any::<u64>(), Just(u64::MAX), any::<u32>().prop_map(u64::from)];
    let one = prop_oneof![
        4 => (at.clone(), 1u8..).prop_map(|(a, b)| Damage::Flip(a, b)),
        4 => (at, number).prop_map(|(a, n)| Damage::Number(a, n)),
        1 => (0usize..6, 2usize..6).prop_map(|(a, b)| Damage::CopyPage(a, b)),
        1 => (0usize..24_576).prop_map(Damage::Cut),
    ];
    prop::collection::vec(one, 1..5)
}

fn apply(damages: &[Damage]) -> Vec<u8> {
    let mut bytes = image().to_vec();
    for damage in damages {
        match damage {
            Damage::Flip(at, bits) => bytes.iter_mut().skip(*at).take(1).for_each(|b| *b ^= bits),
            Damage::Number(at, n) => bytes.iter_mut().skip(*at).zip(n.to_le_bytes()).for_each(|(b, new)| *b = new),
            Damage::CopyPage(from, to) if bytes.len() == image().len() => {
                bytes.copy_within(from * 4096..(from + 1) * 4096, to * 4096);
            }
            Damage::CopyPage(..) => {}
            Damage::Cut(len) => bytes.truncate(*len),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_damaged_image_ends_in_an_error_or_an_answer(damages in damage()) {
        if let Err(e) = read_all(&apply(&damages)) {
            prop_assert!(matches!(e.kind(), Kind::Verification), "{e:?}");
        }
    }

    #[test]
    fn a_damaged_wal_ends_in_an_error_or_an_answer(at in 0usize..600, bits in 1u8.., cut in prop::option::of(0usize..600)) {
        thread_local! {
            static LOG: (tempfile::TempDir, Vec<u8>) = {
                let dir = tempfile::tempdir().unwrap();
                let staging = dir.path().join("lifeboat-staging-1");
                build_empty(&staging, &spec()).unwrap();
                let path = staging.join("member/wal").join(wal::first_segment_name());
                let head = std::fs::read(path).unwrap()[..600].to_vec();
                (dir, head)
            };
        }
        LOG.with(|(dir, head)| {
            let mut log = head.clone();
            log[at] ^= bits;
            log.truncate(cut.unwrap_or(log.len()));
            let wal_dir = dir.path().join("x");
            std::fs::create_dir_all(&wal_dir).unwrap();
            std::fs::write(wal_dir.join(wal::first_segment_name()), &log).unwrap();
            if let Err(e) = wal::inspect(&wal_dir) {
                assert_eq!(e.kind(), Kind::Verification, "{e:?}");
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Without the digest a restore rests on the check of the structure: it fails, or what it built is sound.
    #[test]
    fn a_restore_of_a_damaged_image_fails_or_is_sound(damages in damage()) {
        let (dir, built) = try_build(&apply(&damages), true, &spec());
        match built {
            Ok(()) => {
                let db = std::fs::read(dir.path().join("lifeboat-staging-1/member/snap/db")).unwrap();
                prop_assert!(read_all(&db).is_ok());
            }
            Err(e) => prop_assert!(matches!(e.kind(), Kind::Verification), "{e:?}"),
        }
    }

    /// With the digest, any changed bit is found.
    #[test]
    fn a_restore_finds_any_flipped_bit(at in 0usize..24_608, bit in 0u8..8) {
        let mut bytes = SNAPSHOT.to_vec();
        bytes[at] ^= 1 << bit;
        let (_, built) = try_build(&bytes, false, &spec());
        prop_assert_eq!(built.map_err(|e| e.kind()), Err(Kind::Verification));
    }
}

#[test]
fn the_undamaged_snapshot_is_accepted() {
    assert!(read_all(image()).is_ok());
    assert!(try_build(SNAPSHOT, false, &spec()).1.is_ok());
    assert!(try_build(image(), true, &spec()).1.is_ok());
}

#[test]
fn a_snapshot_cut_anywhere_is_refused() {
    for len in 0..image().len() {
        let cut = image().get(..len).unwrap_or_default();
        assert_eq!(Image::new(cut, "x").map(|_| ()).unwrap_err().kind(), Kind::Verification, "cut at {len}");
    }
    for len in [0, 1, 31, 32, 4096, 4096 + 32, 24_576, 24_607] {
        assert!(try_build(&SNAPSHOT[..len], false, &spec()).1.is_err(), "cut at {len}");
    }
}

/// A reader that breaks half-way.
struct Breaks<'a>(&'a [u8]);

impl std::io::Read for Breaks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        let n = self.0.len().min(buf.len()).min(1000);
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

#[test]
fn what_was_expected_is_held_against_what_came() {
    let sha = crate::core::model::Sha256(Hasher::digest(SNAPSHOT).into());
    let other = crate::core::model::Sha256([0; 32]);
    let cases = [
        (Expected { size: Some(24_608), sha256: Some(sha), hash_kv: None }, true),
        (Expected { size: Some(24_607), ..Expected::default() }, false),
        (Expected { size: Some(24_609), ..Expected::default() }, false),
        (Expected { size: Some(10), ..Expected::default() }, false),
        (Expected { sha256: Some(other), ..Expected::default() }, false),
    ];
    for (expected, good) in cases {
        let dir = tempfile::tempdir().unwrap();
        let staging = dir.path().join("lifeboat-staging-1");
        assert_eq!(build(&mut &SNAPSHOT[..], &expected, false, &staging, &spec()).is_ok(), good, "{expected:?}");
    }
    let opened = Image::new(image(), "x").unwrap();
    let right = hash_kv(&opened, Revision(45), Revision(20)).unwrap();
    let wrong = super::hash::HashKv { hash: right.hash ^ 1, ..right };
    for (hash, good) in [(right, true), (wrong, false)] {
        let dir = tempfile::tempdir().unwrap();
        let expected = Expected { hash_kv: Some(hash), ..Expected::default() };
        let built = build(&mut &SNAPSHOT[..], &expected, false, &dir.path().join("lifeboat-staging-1"), &spec());
        assert_eq!(built.is_ok(), good);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut broken = Breaks(&SNAPSHOT[..9000]);
    let staging = dir.path().join("lifeboat-staging-1");
    let failed = build(&mut broken, &Expected::default(), false, &staging, &spec()).unwrap_err();
    assert_eq!(failed.kind(), Kind::Io);
}

#[test]
fn bumps_that_do_not_fit_are_refused() {
    for (bump, mark) in [(Some(5), false), (None, true), (Some(i64::MAX as u64), true), (Some(u64::MAX), true)] {
        let spec = RestoreSpec { bump_revision: bump, mark_compacted: mark, ..spec() };
        assert_eq!(try_build(SNAPSHOT, false, &spec).1.map_err(|e| e.kind()), Err(Kind::Usage), "{bump:?} {mark}");
    }
}

#[test]
fn a_foreign_member_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let data: &Path = dir.path();
    let staging = data.join("lifeboat-staging-1");
    build_empty(&staging, &spec()).unwrap();
    std::fs::create_dir(data.join("member")).unwrap();
    std::fs::write(data.join("member/precious"), "x").unwrap();
    assert_eq!(install(&staging, data, None).map_err(|e| e.kind()), Err(Kind::Refused));
    assert_eq!(std::fs::read(data.join("member/precious")).unwrap(), b"x");
    assert!(load(&staging).unwrap().is_some());
}
