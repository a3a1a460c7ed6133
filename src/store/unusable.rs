//! A store that cannot be used because of this host: a secret or a certificate that cannot be read, a value that is wrong.
//!
//! It exists for the gate, which looks at everything it can: what the store holds is then unknown, and a host with healthy data starts all the same.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use crate::core::model::Sha256;
use crate::error::Error;
use crate::ports::{
    Fetched, ObjectKey, ObjectMeta, ObjectStore, Opened, Page, PutMode, StoreError, StoreErrorKind, StoreResult,
};

/// Every call fails, and says why.
#[derive(Debug, Clone)]
pub struct Unusable {
    why: String,
    hint: Option<String>,
}

impl Unusable {
    /// Because of this.
    pub fn new(e: &Error) -> Self {
        // One line: it becomes a part of others.
        Unusable { why: e.one_line(), hint: e.advice() }
    }

    fn fail<T>(&self) -> StoreResult<T> {
        let mut e = StoreError::new(StoreErrorKind::LocalIo, self.why.clone());
        e.hint.clone_from(&self.hint);
        Err(e)
    }
}

#[async_trait]
impl ObjectStore for Unusable {
    fn location(&self) -> String {
        "the store (its configuration cannot be used)".to_owned()
    }

    async fn put(&self, _: &ObjectKey, _: Bytes, _: PutMode) -> StoreResult<ObjectMeta> {
        self.fail()
    }

    async fn put_file(
        &self,
        _: &ObjectKey,
        _: &Path,
        _: &Sha256,
        _: PutMode,
        _: &(dyn Fn(u64) + Send + Sync),
    ) -> StoreResult<ObjectMeta> {
        self.fail()
    }

    async fn get(&self, _: &ObjectKey, _: u64) -> StoreResult<Fetched> {
        self.fail()
    }

    async fn open(&self, _: &ObjectKey, _: u64) -> StoreResult<Opened> {
        self.fail()
    }

    async fn head(&self, _: &ObjectKey) -> StoreResult<ObjectMeta> {
        self.fail()
    }

    async fn list_page(&self, _: &str, _: Option<&str>) -> StoreResult<Page> {
        self.fail()
    }

    async fn delete(&self, _: &ObjectKey) -> StoreResult<()> {
        self.fail()
    }
}
