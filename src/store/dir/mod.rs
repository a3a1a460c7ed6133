//! A directory as a snapshot store: the default of a first try, and what a mounted share is used through.
//!
//! It exists with the same promises as S3: create-only by hard link, whole or absent by temporary file, fsync and link or
//! rename. It may not create its own root: a missing mount must look like a missing bucket, never like an empty store.

mod error;
mod files;
mod list;
mod owner;
mod temporary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::core::model::Sha256;
use crate::error::{Error, Kind, Result};
use crate::ports::{
    Clock, Fetched, ObjectKey, ObjectMeta, ObjectStore, Opened, Page, PutMode, StoreError, StoreErrorKind, StoreResult,
};

use files::Files;

/// Objects per page of a listing, as S3 has it.
const PAGE: usize = 1000;

/// A directory that holds objects as files, one per key. Files are 0600, directories 0700.
pub struct DirStore {
    files: Arc<Files>,
    clock: Arc<dyn Clock>,
    page: usize,
}

impl DirStore {
    /// Names the directory. It is looked at by the calls, not here; a missing one is
    /// [`StoreErrorKind::NoSuchBucket`] and is never created.
    ///
    /// # Errors
    /// [`Kind::Config`] when the path is not absolute.
    pub fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self> {
        let root = path.as_ref();
        if !root.is_absolute() {
            return Err(Error::new(
                Kind::Config,
                format!("the store directory {} is not an absolute path", root.display()),
            )
            .hint("write the whole path, as in /var/backups/etcd"));
        }
        Ok(DirStore { files: Arc::new(Files::new(root.to_path_buf(), clock.clone())), clock, page: PAGE })
    }

    /// Lists in pages of `page` objects (at least one) instead of 1000.
    #[must_use]
    pub fn with_page_size(mut self, page: usize) -> Self {
        self.page = page.max(1);
        self
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let files = self.files.clone();
        let location = self.location();
        tokio::task::spawn_blocking(move || work(&files)).await.unwrap_or_else(|e| {
            Err(StoreError::new(StoreErrorKind::Unavailable, format!("the work on {location} was cut short"))
                .caused_by(e))
        })
    }
}

#[async_trait]
impl ObjectStore for DirStore {
    fn location(&self) -> String {
        self.files.location()
    }

    async fn put(&self, key: &ObjectKey, body: Bytes, mode: PutMode) -> StoreResult<ObjectMeta> {
        let key = key.to_owned();
        self.blocking(move |files| files.put(&key, &body, mode)).await
    }

    async fn put_file(
        &self,
        key: &ObjectKey,
        file: &Path,
        sha256: &Sha256,
        mode: PutMode,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> StoreResult<ObjectMeta> {
        // The copy waits for room here, so it sees within one chunk that this future was dropped.
        let (copied, mut seen) = mpsc::channel(1);
        let (key, file, sha256): (String, PathBuf, Sha256) = (key.to_owned(), file.to_owned(), *sha256);
        let copy = self.blocking(move |files| files.put_file(&key, &file, &sha256, mode, &copied));
        tokio::pin!(copy);
        loop {
            tokio::select! {
                biased;
                Some(bytes) = seen.recv() => progress(bytes),
                done = &mut copy => return done,
            }
        }
    }

    async fn get(&self, key: &ObjectKey, limit: u64) -> StoreResult<Fetched> {
        let key = key.to_owned();
        let (body, meta) = self.blocking(move |files| files.get(&key, limit)).await?;
        Ok(Fetched { body, meta, store_time: Some(self.clock.now()) })
    }

    async fn open(&self, key: &ObjectKey, offset: u64) -> StoreResult<Opened> {
        let key = key.to_owned();
        let (file, meta) = self.blocking(move |files| files.open_at(&key, offset)).await?;
        let left = meta.size.saturating_sub(offset);
        let body = files::Exact::new(tokio::fs::File::from_std(file), left, self.files.show(&meta.key));
        Ok(Opened { meta, body: Box::pin(body) })
    }

    async fn head(&self, key: &ObjectKey) -> StoreResult<ObjectMeta> {
        let key = key.to_owned();
        self.blocking(move |files| files.head(&key)).await
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> StoreResult<Page> {
        let (prefix, token, page) = (prefix.to_owned(), token.map(str::to_owned), self.page);
        let (objects, next) = self.blocking(move |files| list::page(files, &prefix, token.as_deref(), page)).await?;
        Ok(Page { objects, next, store_time: Some(self.clock.now()) })
    }

    async fn delete(&self, key: &ObjectKey) -> StoreResult<()> {
        let key = key.to_owned();
        self.blocking(move |files| files.delete(&key)).await
    }
}
