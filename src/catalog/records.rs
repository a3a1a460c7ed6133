//! Signed records over an [`ObjectStore`]: read at an exact key, create once, or renew.
//!
//! "Absent" is said only on the store's own word. A record that cannot be followed is an error that names its key.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::model::{ClusterName, Generation, Timestamp};
use crate::core::record::{MAX_RECORD_BYTES, RecordKind, RecordProblem};
use crate::crypto::Keyring;
use crate::error::{Error, Kind};
use crate::ports::{ObjectStore, PutMode, StoreError, StoreErrorKind};

/// Records are read so many at once: one after the other, those of a long life would not be there within any time limit.
pub(super) const AT_ONCE: usize = 16;

/// A record that was found, verified and understood.
#[derive(Debug, Clone)]
pub struct Record<T> {
    /// Its content.
    pub body: T,
    /// Its generation.
    pub generation: Generation,
    /// When the store says that it was written.
    pub modified: Option<Timestamp>,
    /// The store's clock when it answered.
    pub store_time: Option<Timestamp>,
}

/// Why a record could not be read. Never "absent".
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store did not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is there, and must not be followed.
    #[error("{key} in {location} cannot be trusted: {problem}")]
    Problem {
        /// Where.
        location: String,
        /// Which object.
        key: String,
        /// Why.
        problem: RecordProblem,
    },
}

impl From<ReadError> for Error {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::Store(e) => e.into(),
            ReadError::Problem { ref problem, .. } => {
                let out = Error::new(Kind::Verification, e.to_string());
                match problem.hint() {
                    Some(hint) => out.hint(hint),
                    None => out,
                }
            }
        }
    }
}

/// Whose record is there after a create-only write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// Ours: this call, or an earlier try of the very same record, made it.
    Ours,
    /// Somebody else's was there first.
    Taken,
}

/// The records of one cluster in one store.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn ObjectStore>,
    keyring: Arc<Keyring>,
    cluster: ClusterName,
    /// What a race has shown of the store; see [`super::probe`].
    conditions: super::probe::Cached,
}

impl Records {
    /// Records of `cluster`, signed and checked with `keyring`.
    pub fn new(store: Arc<dyn ObjectStore>, keyring: Arc<Keyring>, cluster: ClusterName) -> Self {
        Records { store, keyring, cluster, conditions: super::probe::Cached::default() }
    }

    /// The store beneath.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(super) fn conditions(&self) -> &super::probe::Cached {
        &self.conditions
    }

    /// The cluster whose records these are.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Fingerprint of the token that signs.
    pub fn token_fingerprint(&self) -> &str {
        self.keyring.fingerprint()
    }

    /// The signed bytes of a record, without writing it.
    ///
    /// # Errors
    /// When `body` has no canonical JSON, which is a defect of the caller.
    pub fn seal<T: Serialize>(
        &self,
        kind: RecordKind,
        key: &str,
        generation: Generation,
        body: &T,
    ) -> Result<Bytes, StoreError> {
        self.keyring.seal(kind, key, &self.cluster, generation, body).map(Bytes::from).map_err(|e| {
            StoreError::new(StoreErrorKind::Rejected, format!("cannot make the record {key}")).caused_by(e)
        })
    }

    /// Checks bytes that were read from elsewhere (the spool) as the record of `key`.
    ///
    /// # Errors
    /// When they are not a record of ours under this key.
    pub fn unseal<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        key: &str,
        bytes: &[u8],
    ) -> Result<(T, Generation), RecordProblem> {
        self.keyring.open(kind, key, &self.cluster, bytes)
    }

    /// Reads the record at exactly `key`. `Ok(None)` only when the store says that there is none.
    ///
    /// # Errors
    /// When the store fails, or the record must not be followed.
    pub async fn read<T: DeserializeOwned>(&self, kind: RecordKind, key: &str) -> Result<Option<Record<T>>, ReadError> {
        let found = match self.store.get(key, MAX_RECORD_BYTES).await {
            Ok(found) => found,
            Err(e) if e.kind == StoreErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let (body, generation) = self
            .keyring
            .open(kind, key, &self.cluster, &found.body)
            .map_err(|problem| ReadError::Problem { location: self.store.location(), key: key.to_owned(), problem })?;
        Ok(Some(Record { body, generation, modified: found.meta.modified, store_time: found.store_time }))
    }

    /// Writes a record that must not exist yet. Its body carries a nonce, so an unclear answer is settled by reading it back.
    ///
    /// # Errors
    /// When the store fails, or it cannot be found out whose record is there.
    pub async fn create<T: Serialize>(
        &self,
        kind: RecordKind,
        key: &str,
        generation: Generation,
        body: &T,
    ) -> Result<Created, StoreError> {
        let bytes = self.seal(kind, key, generation, body)?;
        self.create_sealed(key, bytes).await
    }

    /// As [`Records::create`], for bytes that [`Records::seal`] made earlier.
    ///
    /// # Errors
    /// As [`Records::create`].
    pub async fn create_sealed(&self, key: &str, bytes: Bytes) -> Result<Created, StoreError> {
        let refused = match self.store.put(key, bytes.clone(), PutMode::CreateOnly).await {
            Ok(_) => None,
            Err(e) if matches!(e.kind, StoreErrorKind::AlreadyExists | StoreErrorKind::Unclear) => Some(e),
            Err(e) => return Err(e),
        };
        // Read back also after a success: a store that ignores the condition answers 200 to everybody.
        match self.store.get(key, MAX_RECORD_BYTES).await {
            Ok(found) if found.body == bytes => Ok(Created::Ours),
            Ok(_) => Ok(Created::Taken),
            Err(e) => Err(refused.unwrap_or(e)),
        }
    }

    /// Writes a record that is renewed in place (roll call, heartbeat, verified).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn renew<T: Serialize>(
        &self,
        kind: RecordKind,
        key: &str,
        generation: Generation,
        body: &T,
    ) -> Result<(), StoreError> {
        let bytes = self.seal(kind, key, generation, body)?;
        self.store.put(key, bytes, PutMode::Overwrite).await.map(drop)
    }
}
