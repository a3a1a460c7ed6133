//! A store in memory for tests, with faults on demand. Only compiled for tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use crate::core::model::{Sha256, Timestamp};
use crate::ports::{
    EarlyUpload, Fetched, GrowingFile, ObjectMeta, ObjectStore, Opened, Page, PutMode, StoreError, StoreErrorKind,
    StoreResult,
};

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and nothing happened.
    Refuse(StoreErrorKind),
    /// It happened, and the answer is lost.
    LoseAnswer,
    /// A `delete` that says yes and does nothing; an `open` that ends half way.
    Lie,
}

type Hook = Box<dyn FnMut(&str, &str) -> Option<Fault> + Send>;

/// Objects by key.
#[derive(Default)]
pub(crate) struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
    hook: Mutex<Option<Hook>>,
    /// Held by each early upload.
    early: Arc<()>,
}

/// Nothing of it is sent, and the file goes the usual way.
struct Early(#[allow(dead_code, reason = "it counts")] Arc<()>);

#[async_trait]
impl EarlyUpload for Early {
    async fn finish(self: Box<Self>, _: &Sha256, _: PutMode) -> StoreResult<Option<ObjectMeta>> {
        Ok(None)
    }
}

impl MemoryStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(MemoryStore::default())
    }

    /// `hook(operation, key)` decides for each call.
    pub(crate) fn on(&self, hook: impl FnMut(&str, &str) -> Option<Fault> + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    pub(crate) fn heal(&self) {
        *self.hook.lock().unwrap() = None;
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn body(&self, key: &str) -> Option<Bytes> {
        self.objects.lock().unwrap().get(key).cloned()
    }

    pub(crate) fn set(&self, key: &str, body: impl Into<Bytes>) {
        self.objects.lock().unwrap().insert(key.to_owned(), body.into());
    }

    pub(crate) fn remove(&self, key: &str) {
        self.objects.lock().unwrap().remove(key);
    }

    /// Early uploads that nobody has finished or given up.
    pub(crate) fn early_uploads(&self) -> usize {
        Arc::strong_count(&self.early) - 1
    }

    fn fault(&self, operation: &str, key: &str) -> StoreResult<Option<Fault>> {
        let fault = self.hook.lock().unwrap().as_mut().and_then(|hook| hook(operation, key));
        match fault {
            Some(Fault::Refuse(kind)) => {
                Err(StoreError::new(kind, format!("cannot {operation} memory:/{key}: {}", kind.label())))
            }
            other => Ok(other),
        }
    }

    fn write(&self, operation: &str, key: &str, body: Bytes, mode: PutMode) -> StoreResult<ObjectMeta> {
        let fault = self.fault(operation, key)?;
        {
            let mut objects = self.objects.lock().unwrap();
            if mode == PutMode::CreateOnly && objects.contains_key(key) {
                return Err(StoreError::new(StoreErrorKind::AlreadyExists, format!("memory:/{key} exists")));
            }
            objects.insert(key.to_owned(), body);
        }
        match fault {
            Some(Fault::LoseAnswer) => {
                Err(StoreError::new(StoreErrorKind::Unclear, format!("no answer to {operation} memory:/{key}")))
            }
            _ => self.meta(key),
        }
    }

    fn meta(&self, key: &str) -> StoreResult<ObjectMeta> {
        let objects = self.objects.lock().unwrap();
        let body = objects
            .get(key)
            .ok_or_else(|| StoreError::new(StoreErrorKind::NotFound, format!("memory:/{key} does not exist")))?;
        Ok(ObjectMeta {
            key: key.to_owned(),
            size: body.len() as u64,
            etag: None,
            modified: Some(Timestamp::UNIX_EPOCH),
        })
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn location(&self) -> String {
        "memory:".into()
    }

    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> StoreResult<ObjectMeta> {
        self.write("put", key, body, mode)
    }

    async fn put_file(
        &self,
        key: &str,
        file: &Path,
        sha256: &Sha256,
        mode: PutMode,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> StoreResult<ObjectMeta> {
        use sha2::Digest;
        let body = std::fs::read(file).map_err(|e| StoreError::new(StoreErrorKind::LocalIo, e.to_string()))?;
        if sha2::Sha256::digest(&body).as_slice() != sha256.0 {
            return Err(StoreError::new(StoreErrorKind::Corrupt, format!("{} has another digest", file.display())));
        }
        progress(body.len() as u64);
        self.write("put_file", key, body.into(), mode)
    }

    fn send_early(&self, _: &str, _: GrowingFile) -> StoreResult<Option<Box<dyn EarlyUpload>>> {
        Ok(Some(Box::new(Early(self.early.clone()))))
    }

    async fn get(&self, key: &str, limit: u64) -> StoreResult<Fetched> {
        self.fault("get", key)?;
        let meta = self.meta(key)?;
        if meta.size > limit {
            return Err(StoreError::new(StoreErrorKind::Corrupt, format!("memory:/{key} is too large")));
        }
        Ok(Fetched { body: self.body(key).unwrap_or_default(), meta, store_time: Some(Timestamp::UNIX_EPOCH) })
    }

    async fn open(&self, key: &str, offset: u64) -> StoreResult<Opened> {
        let fault = self.fault("open", key)?;
        let meta = self.meta(key)?;
        let body = self.body(key).unwrap_or_default().slice(offset as usize..);
        if fault == Some(Fault::Lie) {
            let half = std::io::Cursor::new(body.slice(..body.len() / 2));
            let broken = tokio_util::io::StreamReader::new(futures::stream::iter([Err::<Bytes, _>(
                std::io::Error::from(std::io::ErrorKind::ConnectionReset),
            )]));
            return Ok(Opened { meta, body: Box::pin(tokio::io::AsyncReadExt::chain(half, broken)) });
        }
        Ok(Opened { meta, body: Box::pin(std::io::Cursor::new(body)) })
    }

    async fn head(&self, key: &str) -> StoreResult<ObjectMeta> {
        self.fault("head", key)?;
        self.meta(key)
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> StoreResult<Page> {
        self.fault("list", prefix)?;
        let objects = self.objects.lock().unwrap();
        let mut page = Page::default();
        for (key, body) in objects.iter().filter(|(k, _)| k.starts_with(prefix) && token.is_none_or(|t| k.as_str() > t))
        {
            if page.objects.len() == 100 {
                page.next = page.objects.last().map(|o: &ObjectMeta| o.key.clone());
                break;
            }
            page.objects.push(ObjectMeta { key: key.clone(), size: body.len() as u64, etag: None, modified: None });
        }
        Ok(page)
    }

    async fn delete(&self, key: &str) -> StoreResult<()> {
        if self.fault("delete", key)? != Some(Fault::Lie) {
            self.remove(key);
        }
        Ok(())
    }
}
