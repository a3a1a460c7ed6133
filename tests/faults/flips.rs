//! A single byte changed anywhere in a snapshot of 64 MiB: in the db image, in its payload (gzip and zstd), in its manifest. Each is found
//! before anything can reach a data dir, by the same code that `restore` and the gate run.
//!
//! `make test` tries a few of each; LIFEBOAT_DAMAGES=1000 (`make damages`) tries so many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::print_stdout, reason = "figures are printed, to be read by people")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use etcd_lifeboat::bolt::check::{Visitor, check};
use etcd_lifeboat::bolt::reader::Image;
use etcd_lifeboat::catalog::records::Records;
use etcd_lifeboat::catalog::snapshots::Snapshots;
use etcd_lifeboat::core::manifest::{Manifest, Origin, TRAILER_BYTES, manifest_file};
use etcd_lifeboat::core::model::{ClusterName, Compression, Generation, NodeName};
use etcd_lifeboat::crypto::{Keyring, Token};
use etcd_lifeboat::datadir::hash::hash_kv;
use etcd_lifeboat::datadir::install::{install, load};
use etcd_lifeboat::datadir::restore::{Expected, InitialMember, RestoreSpec, build};
use etcd_lifeboat::error::{Error, Kind, Result};
use etcd_lifeboat::etcd::{EndpointOptions, EtcdEndpoint};
use etcd_lifeboat::snapshot::save::SaveRequest;
use etcd_lifeboat::snapshot::spool::Spool;
use etcd_lifeboat::snapshot::watched::Watched;
use etcd_lifeboat::snapshot::{commands, fetch};
use etcd_lifeboat::store::dir::DirStore;
use etcd_lifeboat::sys::clock::SystemClock;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use crate::seeded::Chance;
use crate::support::{ETCD_LATEST, EtcdProcess};

const SIZE: u64 = 64 << 20;

fn count() -> u64 {
    std::env::var("LIFEBOAT_DAMAGES").map_or(8, |n| n.parse().expect("LIFEBOAT_DAMAGES is a number"))
}

/// A store with one snapshot of each compression, and the plain file.
struct Taken {
    dir: tempfile::TempDir,
    snapshots: Snapshots,
    manifests: Vec<Manifest>,
    plain: PathBuf,
}

impl Taken {
    /// One for all tests of this file, which change different files of it; the last one clears it away.
    fn shared() -> Arc<Taken> {
        static SHARED: Mutex<Weak<Taken>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let taken = Arc::new(tokio::runtime::Runtime::new().unwrap().block_on(Taken::from_a_real_etcd()));
            *shared = Arc::downgrade(&taken);
            taken
        })
    }

    async fn from_a_real_etcd() -> Taken {
        let etcd = EtcdProcess::start(ETCD_LATEST);
        fill(&etcd).await;
        let dir = tempfile::Builder::new().prefix("lifeboat-flips-").tempdir().unwrap();
        let clock = SystemClock::new();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        let store = DirStore::open(dir.path().join("store"), Arc::new(clock.clone())).unwrap();
        let token = Token::new(&SecretString::from("a token for flipped bits")).unwrap();
        let keyring = Arc::new(Keyring::new(token));
        let snapshots = Snapshots::new(Records::new(Arc::new(store), keyring, ClusterName::new("test").unwrap()));
        let spool = Spool::open(&dir.path().join("spool"), 3, 0).unwrap();
        let endpoint = EtcdEndpoint::new(EndpointOptions { url: etcd.endpoint(), ..EndpointOptions::default() });
        let mut manifests = Vec::new();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let request = SaveRequest {
                prefix: compression.to_string(),
                origin: Origin::OnDemand,
                compression,
                generation: Generation(1),
                node: NodeName::new("cp1").unwrap(),
                tags: BTreeMap::new(),
                ships: false,
                effort: etcd_lifeboat::snapshot::effort::Effort::default(),
                hash_check: true,
                newest_known: None,
            };
            let saved = commands::save(&endpoint, &snapshots, &clock, &spool, &request, &|_, _| ()).await.unwrap();
            assert!(saved.shipped && saved.manifest.hash_kv.is_some(), "{saved:?}");
            manifests.push(saved.manifest);
        }
        let plain = dir.path().join("plain.db");
        commands::get(&snapshots, manifests[0].name.as_str(), Some(&plain), |_| ()).await.unwrap();
        assert!(plain.metadata().unwrap().len() >= SIZE, "the db is too small");
        std::fs::copy(&plain, dir.path().join("same.db")).unwrap();
        Taken { dir, snapshots, manifests, plain }
    }

    fn stored(&self, key: &str) -> PathBuf {
        self.dir.path().join("store").join(key)
    }
}

/// Values that compress well and values that do not, half and half, a third of them overwritten once.
async fn fill(etcd: &EtcdProcess) {
    let mut client = etcd.client().await;
    let mut chance = Chance(64);
    let mut n = 0;
    while std::fs::metadata(etcd.data_dir().join("member/snap/db")).unwrap().len() < SIZE + (1 << 20) {
        for _ in 0..50 {
            let len = 500 + chance.below(30_000) as usize;
            let value: Vec<u8> = match n % 2 {
                0 => (0..len / 8 + 1).flat_map(|_| chance.below(u64::MAX).to_le_bytes()).collect(),
                _ => b"{\"kind\":\"Pod\",\"name\":\"".repeat(len / 22 + 1),
            };
            client.put(format!("/registry/pods/{}", n % 3_000), value, None).await.unwrap();
            n += 1;
        }
    }
}

fn spec() -> RestoreSpec {
    let members = vec![InitialMember { name: "m1".into(), peer_urls: vec!["http://10.0.0.1:2380".into()] }];
    RestoreSpec { members, me: "m1".into(), token: "t".into(), ..RestoreSpec::default() }
}

/// Where a data dir would come to be; in memory where there is some, since it is written thousands of times.
struct Target(tempfile::TempDir);

impl Target {
    fn new() -> Target {
        let shm = Path::new("/dev/shm");
        let builder = &mut tempfile::Builder::new();
        let builder = builder.prefix("lifeboat-flips-");
        Target(if shm.is_dir() { builder.tempdir_in(shm) } else { builder.tempdir() }.unwrap())
    }

    /// What `restore` and the gate do: build beside the data dir, then put in place. The failure, and nothing is there.
    fn refuses(&self, reader: fetch::RawReader, expected: &Expected, what: &str) -> Error {
        let staging = self.0.path().join("lifeboat-staging-0");
        let (mut reader, watch) = Watched::new(reader);
        let failed = watch.explain(build(&mut reader, expected, false, &staging, &spec()).expect_err(what));
        assert_eq!(failed.kind(), Kind::Verification, "{what}: {failed:?}");
        assert!(load(&staging).unwrap().is_none(), "{what}: the staging dir counts as complete");
        assert!(install(&staging, self.0.path(), None).is_err(), "{what}: it was put in place");
        assert!(!self.0.path().join("member").exists(), "{what}");
        std::fs::remove_dir_all(&staging).unwrap();
        failed
    }
}

/// Changes one byte of a file for the time of `look`.
fn flipped<T>(file: &Path, chance: &mut Chance, look: impl FnOnce(u64) -> T) -> T {
    let at = chance.below(file.metadata().unwrap().len());
    let open = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    open.read_exact_at(&mut byte, at).unwrap();
    open.write_all_at(&[byte[0] ^ (1 + chance.below(255) as u8)], at).unwrap();
    let found = look(at);
    open.write_all_at(&byte, at).unwrap();
    found
}

/// By what it was found, in the words of the message.
fn finder(e: &Error) -> &'static str {
    let said = e.one_line();
    let words = [
        ("does not decompress", "the decompressor"),
        ("its manifest says", "the digests of the manifest"),
        ("the digest at its end", "etcd's digest at the end"),
        ("HashKV", "HashKV"),
        ("SHA-256", "the digests of the manifest"),
        ("is no snapshot", "the format"),
        ("no digest at its end", "the length"),
    ];
    words.iter().find(|(word, _)| said.contains(word)).map_or("the check of the structure", |(_, by)| by)
}

/// All damages of one part, and who found them.
fn each(what: &str, mut one: impl FnMut(&mut Chance) -> &'static str) {
    let mut chance = Chance(std::env::var("LIFEBOAT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1));
    let mut found = BTreeMap::<&'static str, u64>::new();
    for _ in 0..count() {
        *found.entry(one(&mut chance)).or_default() += 1;
    }
    let list: Vec<_> = found.iter().map(|(by, n)| format!("{n} by {by}")).collect();
    println!("{what}: {} damages; {}", count(), list.join(", "));
}

#[test]
fn a_changed_byte_of_a_file_is_found_before_it_reaches_a_data_dir() {
    let taken = Taken::shared();
    let target = Target::new();
    println!("the db has {} bytes", taken.plain.metadata().unwrap().len());
    each("the db image, as a file that is restored", |chance| image_flipped(&taken, &target, chance));
}

#[test]
fn a_changed_byte_of_a_db_without_a_digest_is_found_or_is_none_that_users_wrote() {
    let taken = Taken::shared();
    let original = Original::of(&taken);
    each("the db image, as if it had no digest", |chance| original.flipped(&taken, chance));
}

fn payload(compression: Compression) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let taken = Taken::shared();
    let manifest = taken.manifests.iter().find(|m| m.compression == compression).unwrap();
    let target = Target::new();
    each(&format!("the {compression} payload"), |chance| payload_flipped(&runtime, &taken, manifest, &target, chance));
    // Undamaged again, it restores.
    let _guard = runtime.enter();
    let mut reader = runtime.block_on(fetch::open_raw(&taken.snapshots, manifest)).unwrap();
    let staging = target.0.path().join("lifeboat-staging-0");
    build(&mut reader, &Expected::from(manifest), false, &staging, &spec()).unwrap();
    install(&staging, target.0.path(), None).unwrap();
}

#[test]
fn a_changed_byte_of_a_gzip_payload_is_found_before_it_reaches_a_data_dir() {
    payload(Compression::Gzip);
}

#[test]
fn a_changed_byte_of_a_zstd_payload_is_found_before_it_reaches_a_data_dir() {
    payload(Compression::Zstd);
}

#[test]
fn a_changed_byte_of_a_manifest_is_found_or_says_the_same() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let taken = Taken::shared();
    each("the manifest", |chance| {
        let manifest = &taken.manifests[chance.below(2) as usize];
        manifest_flipped(&runtime, &taken, manifest, chance)
    });
}

/// `lifeboat restore FILE`.
fn image_flipped(taken: &Taken, target: &Target, chance: &mut Chance) -> &'static str {
    flipped(&taken.plain, chance, |at| match fetch::open_file(&taken.plain, u64::MAX) {
        Ok(reader) => finder(&target.refuses(reader, &Expected::default(), &format!("byte {at}"))),
        Err(e) => finder(&e),
    })
}

/// From the store, by the manifest.
fn payload_flipped(
    runtime: &tokio::runtime::Runtime,
    taken: &Taken,
    manifest: &Manifest,
    target: &Target,
    chance: &mut Chance,
) -> &'static str {
    flipped(&taken.stored(&manifest.payload_key()), chance, |at| {
        let _guard = runtime.enter();
        let what = format!("{} byte {at}", manifest.name);
        match runtime.block_on(fetch::open_raw(&taken.snapshots, manifest)) {
            Ok(reader) => finder(&target.refuses(reader, &Expected::from(manifest), &what)),
            Err(e) => finder(&e),
        }
    })
}

/// A manifest that was changed is not followed; one whose change is white space still says the same.
fn manifest_flipped(
    runtime: &tokio::runtime::Runtime,
    taken: &Taken,
    manifest: &Manifest,
    chance: &mut Chance,
) -> &'static str {
    let file = taken.stored(&format!("snapshots/{}", manifest_file(&manifest.name)));
    flipped(&file, chance, |at| match runtime.block_on(taken.snapshots.resolve(manifest.name.as_str())) {
        Ok(same) => {
            assert_eq!(same, *manifest, "byte {at} of the manifest changed what is restored");
            "nobody: only white space differs, and it says the same"
        }
        Err(e) => {
            let said = e.one_line();
            assert!(said.contains(manifest.name.as_str()), "byte {at}: which one? {said}");
            let words = [
                ("signature does not match", "the signature"),
                ("not a record of ours", "the format of records"),
                ("another cluster token", "the fingerprint of the token"),
                ("format version", "the version"),
                ("record, which does not belong", "the kind of the record"),
                ("belongs to cluster", "the name of the cluster"),
            ];
            words.iter().find(|(word, _)| said.contains(word)).unwrap_or_else(|| panic!("by what? {said}")).1
        }
    })
}

/// The image in memory, and what is in its `key` bucket.
struct Original {
    bytes: std::cell::RefCell<Vec<u8>>,
    keys: [u8; 32],
}

#[derive(Default)]
struct KeyDigest(Sha256, bool);

impl Visitor for KeyDigest {
    fn bucket(&mut self, name: &[u8], _: usize) -> Result<()> {
        self.1 = name == b"key";
        Ok(())
    }

    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.1 {
            for part in [key, value] {
                self.0.update((part.len() as u64).to_be_bytes());
                self.0.update(part);
            }
        }
        Ok(())
    }
}

impl Original {
    fn of(taken: &Taken) -> Original {
        // Not `plain`, which another test may be changing.
        let mut bytes = std::fs::read(taken.dir.path().join("same.db")).unwrap();
        bytes.truncate(bytes.len() - TRAILER_BYTES as usize);
        let mut digest = KeyDigest::default();
        check(&Image::new(bytes.as_slice(), "image").unwrap(), &mut digest).unwrap();
        Original { bytes: bytes.into(), keys: digest.0.finalize().into() }
    }

    /// Without any digest: the structure and the server's HashKV find it, or nothing that users wrote has changed.
    fn flipped(&self, taken: &Taken, chance: &mut Chance) -> &'static str {
        let mut bytes = self.bytes.borrow_mut();
        let at = chance.below(bytes.len() as u64) as usize;
        let kept = bytes[at];
        bytes[at] ^= 1 + chance.below(255) as u8;
        let theirs = taken.manifests[0].hash_kv.unwrap();
        let mut digest = KeyDigest::default();
        let found = Image::new(bytes.as_slice(), "image").and_then(|image| {
            let ours = hash_kv(&image, theirs.revision, theirs.compact_revision)?;
            check(&image, &mut digest)?;
            Ok(ours.hash == theirs.hash)
        });
        bytes[at] = kept;
        match found {
            Err(e) => {
                assert_eq!(e.kind(), Kind::Verification, "byte {at}: {e:?}");
                "the check of the structure"
            }
            Ok(false) => "HashKV",
            Ok(true) => {
                let keys: [u8; 32] = digest.0.finalize().into();
                assert_eq!(keys, self.keys, "byte {at}: HashKV did not see a change of what users wrote");
                "nobody without the digest: it lies in free space or outside of what users wrote"
            }
        }
    }
}
