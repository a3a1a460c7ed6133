//! The store of snapshots, plans and records.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::sync::watch;

use crate::core::model::{Sha256, Timestamp};
use crate::error::{Error, Kind};

/// Key of an object, relative to the cluster's folder: `snapshots/x.db.gz`. Never absolute, never with `..`.
pub type ObjectKey = str;

/// What the store knows of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Key relative to the folder.
    pub key: String,
    /// Stored bytes.
    pub size: u64,
    /// Opaque version of the content (ETag); changes when the content does.
    pub etag: Option<String>,
    /// When the store says it was last written, by the store's clock.
    pub modified: Option<Timestamp>,
}

/// A small object, read whole.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The content.
    pub body: Bytes,
    /// What the store says of it.
    pub meta: ObjectMeta,
    /// The store's clock when it answered (its `Date` header).
    pub store_time: Option<Timestamp>,
}

/// One page of a listing, in key order.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The objects.
    pub objects: Vec<ObjectMeta>,
    /// Hand it to the next call; `None` means that this was the last page.
    pub next: Option<String>,
    /// The store's clock when it answered.
    pub store_time: Option<Timestamp>,
}

/// Whether a write may replace what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// Fails with [`StoreErrorKind::AlreadyExists`] when the key exists. Atomic against other writers
    /// on every store that honours conditional writes (`lifeboat doctor` finds out).
    CreateOnly,
    /// Replaces.
    Overwrite,
}

/// What became of uploads that nobody will finish.
#[derive(Debug, Default)]
pub struct Swept {
    /// Their keys; the parts are gone.
    pub removed: Vec<String>,
    /// How many are younger, or of unknown age, and were left.
    pub kept: usize,
    /// Those that could not be removed.
    pub failed: Vec<StoreError>,
    /// How many were not looked at, because the store went away or it took too long.
    pub left: usize,
}

/// A local file that is still being written, from its start to its end.
#[derive(Debug)]
pub struct GrowingFile {
    /// Its path, as long as it grows.
    pub path: PathBuf,
    /// Bytes that are in it and will not change. It is whole, or given up, when the sender is gone.
    pub written: watch::Receiver<u64>,
}

/// An upload that has begun before its file was whole. Nothing of it can be seen before [`EarlyUpload::finish`]; dropping it aborts it.
#[async_trait]
pub trait EarlyUpload: Send {
    /// Sends the rest of the file, which is whole now, and makes the object. `None`: nothing was sent yet, and nothing is left behind; the file
    /// is to be sent with [`ObjectStore::put_file`].
    ///
    /// # Errors
    /// As [`ObjectStore::put_file`].
    async fn finish(self: Box<Self>, sha256: &Sha256, mode: PutMode) -> StoreResult<Option<ObjectMeta>>;
}

/// An object's content as a stream.
pub type ByteStream = Pin<Box<dyn AsyncRead + Send>>;

/// An open object.
pub struct Opened {
    /// What the store says of it. `size` is that of the whole object, also for a range.
    pub meta: ObjectMeta,
    /// The content. Ends with an error, never early, when the connection breaks for good.
    pub body: ByteStream,
}

/// Why a store call failed, as far as callers act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The store answered: there is no such object. The only positive evidence of absence.
    NotFound,
    /// The store answered: the bucket (or the directory) itself does not exist.
    NoSuchBucket,
    /// A create-only write found the key taken.
    AlreadyExists,
    /// Credentials are missing, wrong or lack the permission.
    Denied,
    /// No answer: DNS, connect, TLS, reset, time-out.
    Unreachable,
    /// The store answered with a failure of its own (5xx, 429) until retries ran out.
    Unavailable,
    /// The write may or may not have happened.
    Unclear,
    /// The content is not what was expected (length, digest, too large to read whole).
    Corrupt,
    /// The request is wrong (region, name, clock skew); retrying will not help.
    Rejected,
    /// A local file that was to be sent or written failed.
    LocalIo,
}

impl StoreErrorKind {
    /// A short, stable name for logs and metric labels.
    pub fn label(self) -> &'static str {
        match self {
            StoreErrorKind::NotFound => "not_found",
            StoreErrorKind::NoSuchBucket => "no_such_bucket",
            StoreErrorKind::AlreadyExists => "already_exists",
            StoreErrorKind::Denied => "denied",
            StoreErrorKind::Unreachable => "unreachable",
            StoreErrorKind::Unavailable => "unavailable",
            StoreErrorKind::Unclear => "unclear",
            StoreErrorKind::Corrupt => "corrupt",
            StoreErrorKind::Rejected => "rejected",
            StoreErrorKind::LocalIo => "local_io",
        }
    }
}

/// A failed store call. The text names operation, location and cause, and never holds a secret or a signed URL.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    /// What callers act on.
    pub kind: StoreErrorKind,
    /// For people: operation, full location, what the store said.
    pub text: String,
    /// What to type or change next.
    pub hint: Option<String>,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// A new failure of a call on the store.
    pub fn new(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        StoreError { kind, text: text.into(), hint: None, source: None }
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        let kind = match e.kind {
            StoreErrorKind::NotFound => Kind::NotFound,
            StoreErrorKind::Corrupt => Kind::Verification,
            StoreErrorKind::LocalIo => Kind::Io,
            _ => Kind::Store,
        };
        let mut out = Error::new(kind, e.text);
        if let Some(hint) = e.hint {
            out = out.hint(hint);
        }
        if let Some(source) = e.source {
            out = out.caused_by(source);
        }
        out
    }
}

/// Short for a result of a store call.
pub type StoreResult<T> = std::result::Result<T, StoreError>;

/// A snapshot store. Implementations retry what is safe to retry, within their own limits: every call ends.
///
/// A call that returns `Ok` is durable. An object is visible whole or not at all.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Where this store is, for messages: `s3://bucket/folder at https://host` or `dir:///path`.
    fn location(&self) -> String;

    /// Writes a small object whole.
    async fn put(&self, key: &ObjectKey, body: Bytes, mode: PutMode) -> StoreResult<ObjectMeta>;

    /// Sends a local file of any size. `sha256` is the digest of the whole file; an upload whose bytes differ fails with
    /// [`StoreErrorKind::Corrupt`] and leaves no object. Cancelling the future aborts the upload.
    /// `progress` is called with the number of bytes sent so far.
    async fn put_file(
        &self,
        key: &ObjectKey,
        file: &Path,
        sha256: &Sha256,
        mode: PutMode,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> StoreResult<ObjectMeta>;

    /// Begins to send a file that is still being written. `None` from a store that gains nothing by it, such as a directory. To be called where a
    /// runtime runs; a failure on the way shows at [`EarlyUpload::finish`].
    fn send_early(&self, _key: &ObjectKey, _file: GrowingFile) -> StoreResult<Option<Box<dyn EarlyUpload>>> {
        Ok(None)
    }

    /// Reads a small object whole. More than `limit` bytes fail with [`StoreErrorKind::Corrupt`].
    async fn get(&self, key: &ObjectKey, limit: u64) -> StoreResult<Fetched>;

    /// Opens an object from byte `offset` on. A break is resumed as long as the object stays the same one.
    async fn open(&self, key: &ObjectKey, offset: u64) -> StoreResult<Opened>;

    /// What the store knows of one object.
    async fn head(&self, key: &ObjectKey) -> StoreResult<ObjectMeta>;

    /// One page of the objects whose keys start with `prefix`, in key order, after the token of the page before.
    async fn list_page(&self, prefix: &str, token: Option<&str>) -> StoreResult<Page>;

    /// Deletes one object. Deleting what is not there is no error.
    async fn delete(&self, key: &ObjectKey) -> StoreResult<()>;

    /// Waits until the clean-up that cancelled uploads left running is through; it is bounded. Call it before the runtime ends.
    async fn drain(&self) {}

    /// Removes the uploads under `prefix` that were begun longer than `age` ago, by the store's clock, and that nobody will finish: a process that was
    /// killed leaves its own. Only keys that `ours` accepts. It ends within its own limit, and where the store goes away. Stores without such uploads have nothing to do.
    async fn sweep(
        &self,
        _prefix: &str,
        _age: Duration,
        _ours: &(dyn for<'k> Fn(&'k str) -> bool + Send + Sync),
    ) -> StoreResult<Swept> {
        Ok(Swept::default())
    }

    /// All objects under `prefix`, in key order. Any failing page fails the whole.
    async fn list(&self, prefix: &str) -> StoreResult<Vec<ObjectMeta>> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = self.list_page(prefix, token.as_deref()).await?;
            all.extend(page.objects);
            match page.next {
                None => return Ok(all),
                // A server that repeats its token would keep us here for ever.
                Some(next) if Some(&next) == token.as_ref() => {
                    return Err(StoreError::new(
                        StoreErrorKind::Unavailable,
                        format!("listing {}/{prefix}: the store repeats its continuation token", self.location()),
                    ));
                }
                Some(next) => token = Some(next),
            }
        }
    }
}
