//! S3-compatible storage.
//!
//! rust-s3 forms addresses, signs, reads credentials and builds the completion document; its client and its streaming
//! upload are not used (see `client.rs`, `multipart.rs` for why). What a key means is not known here.
//! Only these headers are ever sent: `host`, `user-agent`, `accept`, `authorization`, `x-amz-date`, `x-amz-content-sha256`,
//! `x-amz-security-token`, `content-length`, `range`, `if-match`, `if-none-match`, `x-amz-meta-sha256`, `x-amz-meta-upload`.

mod abort;
mod address;
mod client;
mod credentials;
mod early;
mod failure;
mod multipart;
mod options;
mod read;
mod retry;
mod sign;
mod skew;
mod source;
mod stream;
mod sweep;
mod time;
mod transport;
mod write;
mod xml;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::core::model::Sha256;
use crate::error::Result;
use crate::ports::{
    Clock, EarlyUpload, Fetched, GrowingFile, ObjectKey, ObjectMeta, ObjectStore, Opened, Page, PutMode, StoreError,
    StoreErrorKind, StoreResult, Swept,
};

use client::Client;
pub use options::{CredentialSource, Limits, S3Options};

/// Metadata of an uploaded file: its SHA-256, hexadecimal.
const META_SHA256: &str = "x-amz-meta-sha256";
/// Metadata of a file whose upload began before its digest was known: a random mark.
const META_UPLOAD: &str = "x-amz-meta-upload";

fn random_mark() -> StoreResult<String> {
    let mark = crate::sys::random::nonce().map(|nonce| nonce.to_string());
    mark.map_err(|e| StoreError::new(StoreErrorKind::LocalIo, "no random number for an upload").caused_by(e))
}

/// A folder of a bucket.
pub struct S3Store {
    client: Arc<Client>,
}

impl S3Store {
    /// Checks the options and reads the CA file. Sends nothing.
    ///
    /// # Errors
    /// [`crate::error::Kind::Config`], naming the field.
    pub fn connect(options: S3Options, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(S3Store { client: Arc::new(Client::new(options, clock)?) })
    }

    fn key(&self, key: &str) -> StoreResult<String> {
        self.client.address.full_key(key).map_err(|why| {
            StoreError::new(StoreErrorKind::Rejected, format!("the object key {key:?} is refused: {why}"))
        })
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    fn location(&self) -> String {
        self.client.address.location()
    }

    async fn put(&self, key: &ObjectKey, body: Bytes, mode: PutMode) -> StoreResult<ObjectMeta> {
        write::put(&self.client, &self.key(key)?, body, mode, None).await
    }

    async fn put_file(
        &self,
        key: &ObjectKey,
        file: &Path,
        sha256: &Sha256,
        mode: PutMode,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> StoreResult<ObjectMeta> {
        multipart::put_file(&self.client, &self.key(key)?, file, sha256, mode, progress).await
    }

    fn send_early(&self, key: &ObjectKey, file: GrowingFile) -> StoreResult<Option<Box<dyn EarlyUpload>>> {
        Ok(Some(early::begin(&self.client, self.key(key)?, file)))
    }

    async fn get(&self, key: &ObjectKey, limit: u64) -> StoreResult<Fetched> {
        read::get(&self.client, &self.key(key)?, limit).await
    }

    async fn open(&self, key: &ObjectKey, offset: u64) -> StoreResult<Opened> {
        stream::open(&self.client, &self.key(key)?, offset).await
    }

    async fn head(&self, key: &ObjectKey) -> StoreResult<ObjectMeta> {
        read::head(&self.client, &self.key(key)?).await.map(|head| head.meta)
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> StoreResult<Page> {
        read::list_page(&self.client, prefix, token).await
    }

    async fn delete(&self, key: &ObjectKey) -> StoreResult<()> {
        read::delete(&self.client, &self.key(key)?).await
    }

    async fn sweep(
        &self,
        prefix: &str,
        age: Duration,
        ours: &(dyn for<'k> Fn(&'k str) -> bool + Send + Sync),
    ) -> StoreResult<Swept> {
        sweep::sweep(&self.client, prefix, age, ours).await
    }

    async fn drain(&self) {
        abort::drain(&self.client).await;
    }
}

/// What the documents of a store are taken for: a listing as (keys and sizes, token of the next page), the code of an
/// error, the id of an upload.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod documents {
    use super::xml;

    /// Keys with their sizes, and the token of the next page.
    ///
    /// # Errors
    /// What is wrong with the document.
    pub fn listing(body: &[u8]) -> Result<(Vec<(String, u64)>, Option<String>), String> {
        let found = xml::listing(body)?;
        Ok((found.contents.into_iter().map(|c| (c.key, c.size)).collect(), found.next))
    }

    /// Code and message of an error.
    pub fn error(body: &[u8]) -> Option<(String, String)> {
        xml::error(body).map(|e| (e.code, e.message))
    }

    /// The id of an upload that began.
    pub fn upload_id(body: &[u8]) -> Option<String> {
        xml::upload_id(body)
    }
}
