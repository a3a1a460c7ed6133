//! Everything that can be said of a snapshot file offline, after one check of its whole structure.

use std::fs::File;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256 as Hasher};

use crate::bolt::check::{Visitor, check};
use crate::bolt::reader::{Image, ReadAt};
use crate::core::model::{Revision, Sha256};
use crate::error::{Kind, Result, ResultExt};

use super::buckets::{Alarm, KEY, MEMBERS, SmallFacts, StoredMember};
use super::hash::{HashKv, Newest, NewestFinder, decode_item, hash_kv_with, newest};
use super::trailer::{TRAILER_LEN, has_trailer};

/// Bytes that are digested at once.
const CHUNK: usize = 1 << 20;
/// Members that a snapshot may list.
const MAX_MEMBERS: usize = 10_000;

/// Gathers what a check of the structure passes: the `snapshot status` hash, counts, and etcd's own state.
pub struct Content {
    hash: u32,
    bucket: Vec<u8>,
    total_keys: u64,
    last: Option<i64>,
    small: SmallFacts,
    members: Vec<StoredMember>,
    keys_at: Revision,
    finder: NewestFinder,
}

/// What was gathered.
pub struct Gathered {
    /// The hash that `etcdutl snapshot status` prints: CRC-32C over all buckets. It changes by a restore.
    pub status_hash: u32,
    /// Items of all buckets, which etcd 3.4 and 3.5 print as "total keys".
    pub total_keys: u64,
    /// Keys that live, which etcd 3.6 prints.
    pub live_keys: u64,
    /// The revision.
    pub revision: Revision,
    /// etcd's own state.
    pub small: SmallFacts,
    /// Members.
    pub members: Vec<StoredMember>,
    /// The newest change of each live key.
    pub newest: Newest,
}

impl Default for Content {
    fn default() -> Self {
        Content::new()
    }
}

impl Content {
    /// Nothing yet.
    pub fn new() -> Self {
        Content::with_keys_at(Revision(i64::MAX))
    }

    /// Nothing yet; which change of a key is its newest is asked at `revision`, as if later ones were not there.
    pub fn with_keys_at(revision: Revision) -> Self {
        Content {
            hash: 0,
            bucket: Vec::new(),
            total_keys: 0,
            last: None,
            small: SmallFacts::default(),
            members: Vec::new(),
            keys_at: revision,
            finder: NewestFinder::new(revision),
        }
    }

    /// Ends the gathering. `image` is read again only if it holds more keys than fit into memory.
    ///
    /// # Errors
    /// `Verification`, `Io`.
    pub fn finish<R: ReadAt>(mut self, image: &Image<R>) -> Result<Gathered> {
        let newest =
            if self.finder.needs_another_round() { newest(image, self.keys_at)? } else { self.finder.into_newest() };
        Ok(Gathered {
            status_hash: self.hash,
            total_keys: self.total_keys,
            live_keys: newest.live_keys(),
            revision: Revision(self.small.revision(self.last)),
            small: self.small,
            members: self.members,
            newest,
        })
    }
}

impl Visitor for Content {
    fn bucket(&mut self, name: &[u8], nesting: usize) -> Result<()> {
        if nesting > 0 {
            return Err(super::damaged("there is a bucket inside a bucket, which etcd never makes"));
        }
        self.hash = crc32c::crc32c_append(self.hash, name);
        self.bucket = name.to_vec();
        Ok(())
    }

    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.hash = crc32c::crc32c_append(crc32c::crc32c_append(self.hash, key), value);
        self.total_keys += 1;
        match self.bucket.as_slice() {
            KEY => {
                let (at, kv) = decode_item(key, value)?;
                self.last = Some(at.main);
                self.finder.take(at, kv.key);
            }
            MEMBERS if self.members.len() < MAX_MEMBERS => self.members.push(StoredMember::decode(value)?),
            bucket => self.small.take(bucket, key, value)?,
        }
        Ok(())
    }
}

/// What a snapshot file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotInfo {
    /// Bytes of the file.
    pub size: u64,
    /// Whether a digest follows the image; a copied `member/snap/db` has none.
    pub has_trailer: bool,
    /// Whether that digest is right; `None` when there is none.
    pub trailer_ok: Option<bool>,
    /// SHA-256 of the image, computed.
    pub image_sha256: Sha256,
    /// Bytes per page.
    pub page_size: u32,
    /// Pages, and how many of them are in use.
    pub pages: u64,
    /// Pages in use.
    pub reachable_pages: u64,
    /// The revision.
    pub revision: Revision,
    /// The highest revision that a compaction was begun or finished at.
    pub compact_revision: Option<Revision>,
    /// Items of all buckets: "total keys" of etcd 3.4 and 3.5.
    pub total_keys: u64,
    /// Keys that live: "total keys" of etcd 3.6.
    pub live_keys: u64,
    /// The hash of `etcdutl snapshot status`.
    pub status_hash: u32,
    /// HashKV at the revision and compact revision of the file.
    pub hash_kv: HashKv,
    /// Version of the storage format.
    pub storage_version: Option<String>,
    /// Version of the cluster.
    pub cluster_version: Option<String>,
    /// Members.
    pub members: Vec<StoredMember>,
    /// Alarms.
    pub alarms: Vec<Alarm>,
    /// Whether auth is on.
    pub auth_enabled: bool,
}

/// Reads a snapshot file whole: digest, structure, every key and value. A wrong digest is reported, not an error, so that
/// the rest can still be seen.
///
/// # Errors
/// `Io`; `Verification` when the structure is damaged.
pub fn inspect_file(path: &Path) -> Result<SnapshotInfo> {
    let image = Image::open(path)?;
    let size = image.byte_len();
    let has_trailer = has_trailer(size);
    let (image_sha256, trailer) = digest(path, size, has_trailer)?;
    let mut content = Content::new();
    let structure = check(&image, &mut content)?;
    let found = content.finish(&image)?;
    let compact = found.small.compact_revision.map(Revision);
    let hash_kv = hash_kv_with(&image, found.revision, compact.unwrap_or(Revision(-1)), &found.newest)?;
    Ok(SnapshotInfo {
        size,
        has_trailer,
        trailer_ok: has_trailer.then(|| trailer == image_sha256.0),
        image_sha256,
        page_size: image.meta().page_size,
        pages: structure.pages,
        reachable_pages: structure.reachable_pages,
        revision: found.revision,
        compact_revision: compact,
        total_keys: found.total_keys,
        live_keys: found.live_keys,
        status_hash: found.status_hash,
        hash_kv,
        storage_version: found.small.storage_version,
        cluster_version: found.small.cluster_version,
        members: found.members,
        alarms: found.small.alarms,
        auth_enabled: found.small.auth_enabled,
    })
}

/// SHA-256 of the image, and the 32 bytes behind it.
fn digest(path: &Path, size: u64, has_trailer: bool) -> Result<(Sha256, [u8; TRAILER_LEN])> {
    let failed = || format!("cannot read {}", path.display());
    let file = File::open(path).or_fail(Kind::Io, failed)?;
    let image_len = if has_trailer { size.saturating_sub(TRAILER_LEN as u64) } else { size };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0u8; CHUNK];
    let mut at = 0u64;
    while at < image_len {
        let want = usize::try_from(image_len - at).unwrap_or(CHUNK).min(CHUNK);
        let piece = buffer.get_mut(..want).unwrap_or_default();
        ReadAt::read_exact_at(&file, piece, at).or_fail(Kind::Io, failed)?;
        hasher.update(&*piece);
        at += want as u64;
    }
    let mut trailer = [0u8; TRAILER_LEN];
    if has_trailer {
        ReadAt::read_exact_at(&file, &mut trailer, image_len).or_fail(Kind::Io, failed)?;
    }
    Ok((Sha256(hasher.finalize().into()), trailer))
}
