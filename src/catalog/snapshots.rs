//! The snapshots of one cluster in one store. A snapshot exists exactly when its manifest does.
//!
//! What is listed was read by GET and its signature was checked; one failing call makes the whole listing fail, because a shorter list
//! looks like a cluster with less history. Objects that are not ours are counted and left alone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::attached::Verification;
use super::keys::{self, SnapshotObject};
pub use super::listing::{Committed, Entry, Listing, Payload};
use super::records::{Created, ReadError, Record, Records};
use crate::core::manifest::{Manifest, PAYLOAD_FORMATS};
use crate::core::model::{Compression, SnapshotName};
use crate::core::record::{MAX_RECORD_BYTES, RecordKind, RecordProblem};
use crate::error::{Error, Kind, Result};
use crate::ports::{ObjectMeta, ObjectStore, StoreErrorKind, StoreResult};

/// Manifests that are read at the same time. Enough to hide the latency, too few to be throttled.
const READS_AT_ONCE: usize = 8;

/// The snapshots of one cluster in one store.
#[derive(Clone)]
pub struct Snapshots {
    records: Records,
}

#[derive(Default)]
struct Found {
    manifest: bool,
    payloads: BTreeMap<String, u64>,
    verified: bool,
    held: bool,
}

impl Snapshots {
    /// Snapshots beside these records.
    pub fn new(records: Records) -> Self {
        Snapshots { records }
    }

    /// The records beneath.
    pub fn records(&self) -> &Records {
        &self.records
    }

    fn store(&self) -> &dyn ObjectStore {
        self.records.store().as_ref()
    }

    /// Lists everything: one LIST, and one GET for each manifest and verification.
    ///
    /// # Errors
    /// When any call fails. A manifest that does not verify is an entry, not an error.
    pub async fn list(&self) -> StoreResult<Listing> {
        let mut listing = Listing::default();
        let mut found: BTreeMap<SnapshotName, Found> = BTreeMap::new();
        for ObjectMeta { key, size, .. } in self.store().list(keys::SNAPSHOT_FOLDER).await? {
            match keys::classify(&key) {
                SnapshotObject::Manifest(name) => found.entry(name).or_default().manifest = true,
                SnapshotObject::Payload(name, _) => {
                    found.entry(name).or_default().payloads.insert(key, size);
                }
                SnapshotObject::Verified(name) => found.entry(name).or_default().verified = true,
                SnapshotObject::Hold(name) => found.entry(name).or_default().held = true,
                SnapshotObject::Foreign => listing.foreign = listing.foreign.saturating_add(1),
            }
        }
        let mut present = Vec::new();
        for (name, found) in found {
            if found.manifest {
                present.push((name, found));
            } else if !found.payloads.is_empty() {
                listing.uncommitted.push(name);
            }
        }
        let read: Vec<Option<Entry>> = stream::iter(present)
            .map(|(name, found)| self.entry(name, found))
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;
        listing.entries = read.into_iter().flatten().collect();
        listing.entries.sort_by(|a, b| match (&a.state, &b.state) {
            (Ok(x), Ok(y)) => x.manifest.order().cmp(&y.manifest.order()),
            (x, y) => x.is_ok().cmp(&y.is_ok()).then_with(|| a.name.cmp(&b.name)),
        });
        Ok(listing)
    }

    /// `None`: deleted between the LIST and the GET.
    async fn entry(&self, name: SnapshotName, found: Found) -> StoreResult<Option<Entry>> {
        let state = match self.read_manifest(&name).await {
            Ok(None) => return Ok(None),
            Ok(Some(manifest)) => {
                let payload = match found.payloads.get(&manifest.payload_key()) {
                    None => Payload::Missing,
                    Some(size) if *size == manifest.stored.size => Payload::Present,
                    Some(size) => Payload::WrongSize(*size),
                };
                let verified = if found.verified { self.verification(&manifest).await? } else { None };
                Ok(Box::new(Committed { manifest, payload, verified, held: found.held }))
            }
            Err(ReadError::Store(e)) => return Err(e),
            Err(ReadError::Problem { problem, .. }) => Err(problem),
        };
        Ok(Some(Entry { name, state }))
    }

    /// The manifest of `name`, read at its exact key and checked. `None` only when the store says that there is none.
    ///
    /// # Errors
    /// When the store fails, or the manifest must not be followed.
    pub async fn read_manifest(&self, name: &SnapshotName) -> std::result::Result<Option<Manifest>, ReadError> {
        let key = keys::manifest(name);
        let Some(Record { body, generation, .. }) = self.records.read::<Manifest>(RecordKind::Manifest, &key).await?
        else {
            return Ok(None);
        };
        let checked = body.check().map_err(|e| e.to_string());
        let problem = match checked {
            Err(why) => why,
            Ok(()) if &body.name != name => format!("it is about {}", body.name),
            Ok(()) if body.generation != generation => "its generation differs from the envelope's".into(),
            Ok(()) => return Ok(Some(body)),
        };
        let location = self.store().location();
        Err(ReadError::Problem { location, key, problem: RecordProblem::BadBody(problem) })
    }

    /// A result that does not verify, or is about other content, is no result.
    async fn verification(&self, manifest: &Manifest) -> StoreResult<Option<Verification>> {
        match self.records.read::<Verification>(RecordKind::Verified, &keys::verified(&manifest.name)).await {
            Ok(Some(r)) if r.body.name == manifest.name && r.body.stored_sha256 == manifest.stored.sha256 => {
                Ok(Some(r.body))
            }
            Ok(_) | Err(ReadError::Problem { .. }) => Ok(None),
            Err(ReadError::Store(e)) => Err(e),
        }
    }

    /// The manifest of a snapshot that must exist; `latest` is the greatest by (generation, revision).
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none; otherwise as [`Snapshots::read_manifest`].
    pub async fn resolve(&self, name_or_latest: &str) -> Result<Manifest> {
        let location = self.store().location();
        let missing = |what: String| Error::new(Kind::NotFound, what).hint("see what is there with: lifeboat ls");
        if name_or_latest == "latest" {
            let listing = self.list().await?;
            return listing.latest().map(|c| c.manifest.clone()).ok_or_else(|| {
                // The newest speaks for the others: mostly all of them have the same fault.
                let why = listing.entries.iter().rev().find_map(|e| e.state.as_ref().err().map(|p| (&e.name, p)));
                let n = listing.entries.len();
                match why {
                    None if n == 0 => missing(format!("there is no snapshot in {location}")),
                    None => missing(format!("none of the {n} snapshots in {location} can be the latest one")),
                    Some((name, problem)) => Error::new(
                        Kind::Verification,
                        format!("none of the {n} snapshots in {location} can be the latest one; of {name}: {problem}"),
                    )
                    .hint(problem.hint().unwrap_or("see what is there with: lifeboat ls")),
                }
            });
        }
        let name = SnapshotName::new(name_or_latest)
            .map_err(|e| missing("cannot look for the snapshot".to_owned()).of_kind(Kind::Usage).caused_by(e))?;
        self.read_manifest(&name).await?.ok_or_else(|| missing(format!("there is no snapshot {name} in {location}")))
    }

    /// Makes a snapshot exist: its payload lies there in full, and then the sealed manifest is written, create-only.
    ///
    /// # Errors
    /// When the payload is not there as the manifest says, or the store fails.
    pub async fn commit(&self, manifest: &Manifest, sealed: Bytes) -> StoreResult<Created> {
        let key = manifest.payload_key();
        let there = self.store().head(&key).await?;
        if there.size != manifest.stored.size {
            return Err(crate::ports::StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "{}/{key} has {} bytes after the upload, {} were sent",
                    self.store().location(),
                    there.size,
                    manifest.stored.size
                ),
            ));
        }
        self.records.create_sealed(&keys::manifest(&manifest.name), sealed).await
    }

    /// Records the result of a verification, replacing an older one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn record_verification(&self, manifest: &Manifest, result: &Verification) -> StoreResult<()> {
        let key = keys::verified(&manifest.name);
        self.records.renew(RecordKind::Verified, &key, manifest.generation, result).await
    }

    /// Deletes a snapshot: the manifest first, so that it does not exist from then on, then what belongs to it. Reported only after
    /// the store has said that each object is gone. Doing it again finishes what was broken off.
    ///
    /// `force` also deletes one that is held, whose manifest does not verify, or that never had a manifest.
    ///
    /// # Errors
    /// [`Kind::Refused`] without `force` in those cases; [`Kind::NotFound`]; or the store's failure.
    pub async fn delete(&self, name: &SnapshotName, force: bool) -> Result<Vec<String>> {
        let location = self.store().location();
        let refused = |why: &str, hint: String| {
            Error::new(Kind::Refused, format!("snapshot {name} in {location} {why}; nothing was deleted")).hint(hint)
        };
        let by_force = format!("to delete it all the same: lifeboat delete {name} --force");
        if !force && self.exists(&keys::hold(name)).await? {
            return Err(refused("is held", format!("release it first: lifeboat release {name}")));
        }
        let payloads: Vec<String> = match self.read_manifest(name).await {
            Ok(Some(manifest)) => vec![manifest.payload_key()],
            Ok(None) => {
                let left = self.payloads(name).await?;
                if left.is_empty() {
                    let what = format!("there is no snapshot {name} in {location}");
                    return Err(Error::new(Kind::NotFound, what).hint("see what is there with: lifeboat ls"));
                }
                if !force {
                    let why = "has a payload and no manifest: an upload may be in progress, or was broken off";
                    return Err(refused(why, by_force));
                }
                left
            }
            Err(ReadError::Problem { problem, .. }) if force => {
                tracing::warn!(snapshot = %name, %problem, "deleting a snapshot whose manifest does not verify");
                self.payloads(name).await?
            }
            Err(ReadError::Problem { problem, .. }) => {
                return Err(refused("has a manifest that cannot be trusted", by_force).caused_by(problem));
            }
            Err(ReadError::Store(e)) => return Err(e.into()),
        };
        let mut gone = vec![keys::manifest(name)];
        gone.extend(payloads);
        gone.extend([keys::verified(name), keys::hold(name)]);
        let mut deleted = Vec::new();
        for key in gone {
            if self.delete_object(&key).await? {
                deleted.push(key);
            }
        }
        Ok(deleted)
    }

    async fn payloads(&self, name: &SnapshotName) -> StoreResult<Vec<String>> {
        let mut there = BTreeSet::new();
        for compression in PAYLOAD_FORMATS {
            let key = keys::payload(name, compression);
            if self.exists(&key).await? {
                there.insert(key);
            }
        }
        Ok(there.into_iter().collect())
    }

    async fn exists(&self, key: &str) -> StoreResult<bool> {
        match self.store().head(key).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind == StoreErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether it was there. A store that says yes to DELETE and keeps the object is found out.
    async fn delete_object(&self, key: &str) -> Result<bool> {
        if !self.exists(key).await? {
            return Ok(false);
        }
        self.store().delete(key).await?;
        match self.store().get(key, MAX_RECORD_BYTES).await {
            Err(e) if e.kind == StoreErrorKind::NotFound => Ok(true),
            // Too large to be read whole is as good as there.
            Ok(_) => Err(self.still_there(key)),
            Err(e) if e.kind == StoreErrorKind::Corrupt => Err(self.still_there(key)),
            Err(e) => Err(e.into()),
        }
    }

    fn still_there(&self, key: &str) -> Error {
        Error::new(Kind::Store, format!("{}/{key} is still there after its deletion", self.store().location()))
            .hint("check that the access key may delete objects and that no object lock holds them")
    }

    /// Whether the object at a payload's key has exactly this content. Reads all of it when the size agrees.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn payload_is(&self, manifest: &Manifest) -> StoreResult<bool> {
        use sha2::Digest;
        use tokio::io::AsyncReadExt;
        let key = manifest.payload_key();
        let mut opened = self.store().open(&key, 0).await?;
        if opened.meta.size != manifest.stored.size {
            return Ok(false);
        }
        let mut digest = sha2::Sha256::new();
        let mut buffer = vec![0u8; 256 * 1024];
        loop {
            let n = opened.body.read(&mut buffer).await.map_err(|e| {
                let text = format!("reading {}/{key} broke off", self.store().location());
                crate::ports::StoreError::new(StoreErrorKind::Unreachable, text).caused_by(e)
            })?;
            match buffer.get(..n) {
                Some([]) | None => break,
                Some(piece) => digest.update(piece),
            }
        }
        Ok(digest.finalize().as_slice() == manifest.stored.sha256.0.as_slice())
    }

    /// Key of the payload for `compression`, for messages.
    pub fn payload_location(&self, name: &SnapshotName, compression: Compression) -> String {
        format!("{}/{}", self.store().location(), keys::payload(name, compression))
    }
}
