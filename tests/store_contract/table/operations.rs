//! The operations of the table: what is there before, what is done, and what must be there after.

use std::path::PathBuf;

use bytes::Bytes;
use etcd_lifeboat::core::model::Sha256;
use etcd_lifeboat::ports::{ObjectStore, PutMode, StoreError, StoreErrorKind};
use tokio::io::AsyncReadExt;

use super::super::suite::{content, file};
use super::super::support::Op;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Put,
    Get,
    /// Get, as a stream.
    Open,
    List,
    Delete,
    /// A file in parts.
    Multipart,
    /// A put that must not replace.
    Create,
    /// The same where something lies already.
    CreateTaken,
    /// A file in parts that must not replace.
    CreateFile,
}

/// The operations, and the requests of each that suffer.
pub const PLACES: [(Operation, Op); 13] = [
    (Operation::Put, Op::Put),
    (Operation::Get, Op::Get),
    (Operation::Open, Op::Get),
    (Operation::List, Op::List),
    (Operation::Delete, Op::Delete),
    (Operation::Multipart, Op::CreateUpload),
    (Operation::Multipart, Op::UploadPart),
    (Operation::Multipart, Op::CompleteUpload),
    (Operation::Multipart, Op::Head),
    (Operation::Create, Op::Put),
    (Operation::CreateTaken, Op::Put),
    (Operation::CreateFile, Op::CompleteUpload),
    (Operation::CreateFile, Op::Head),
];

pub const OLD: &[u8] = b"what was there before";
pub const NEW: &[u8] = b"what is written now, and longer";

/// The contents of files, which take a while to make.
pub struct Files {
    _dirs: [tempfile::TempDir; 2],
    old: (PathBuf, Sha256),
    new: (PathBuf, Sha256),
    pub new_bytes: Vec<u8>,
    pub old_bytes: Vec<u8>,
}

impl Files {
    /// Of three parts.
    pub fn new(part: u64) -> Files {
        let (old_bytes, new_bytes) = (content(2 * part + 11), content(2 * part + 12));
        let (one, old, old_sha256) = file(&old_bytes);
        let (two, new, new_sha256) = file(&new_bytes);
        Files { _dirs: [one, two], old: (old, old_sha256), new: (new, new_sha256), new_bytes, old_bytes }
    }
}

/// A success, and what a read has seen.
pub enum Seen {
    Done,
    Content(Vec<u8>),
    Keys(Vec<String>),
}

impl Operation {
    pub fn writes(self) -> bool {
        !matches!(self, Operation::Get | Operation::Open | Operation::List)
    }

    pub fn in_parts(self) -> bool {
        matches!(self, Operation::Multipart | Operation::CreateFile)
    }

    pub fn key(self, folder: &str) -> String {
        format!("{folder}k")
    }

    /// Makes what is there before: twice, so that older answers exist.
    pub async fn prepare(self, store: &dyn ObjectStore, folder: &str, files: &Files) -> Result<(), StoreError> {
        let key = self.key(folder);
        let put =
            async |body: &'static [u8]| store.put(&key, Bytes::from_static(body), PutMode::Overwrite).await.map(drop);
        match self {
            Operation::Put | Operation::Delete | Operation::CreateTaken => {
                put(NEW).await?;
                store.delete(&key).await?;
                put(OLD).await
            }
            Operation::Get | Operation::Open => {
                put(OLD).await?;
                self.act(store, folder, files).await?;
                put(NEW).await
            }
            Operation::List => {
                for name in ["a", "b", "c"] {
                    store.put(&format!("{folder}{name}"), Bytes::from_static(OLD), PutMode::Overwrite).await?;
                }
                self.act(store, folder, files).await?;
                store.put(&format!("{folder}d"), Bytes::from_static(OLD), PutMode::Overwrite).await.map(drop)
            }
            Operation::Multipart => {
                let (path, sha256) = &files.old;
                store.put_file(&key, path, sha256, PutMode::Overwrite, &|_| ()).await.map(drop)
            }
            Operation::Create | Operation::CreateFile => Ok(()),
        }
    }

    pub async fn act(self, store: &dyn ObjectStore, folder: &str, files: &Files) -> Result<Seen, StoreError> {
        let key = self.key(folder);
        let (path, sha256) = &files.new;
        let done = |_| Seen::Done;
        match self {
            Operation::Put => store.put(&key, Bytes::from_static(NEW), PutMode::Overwrite).await.map(done),
            Operation::Create | Operation::CreateTaken => {
                store.put(&key, Bytes::from_static(NEW), PutMode::CreateOnly).await.map(done)
            }
            Operation::Get => store.get(&key, 1 << 20).await.map(|f| Seen::Content(f.body.to_vec())),
            Operation::Open => {
                let mut opened = store.open(&key, 0).await?;
                let mut body = Vec::new();
                // The text of a broken stream is that of the store.
                opened.body.read_to_end(&mut body).await.map_err(stream_error)?;
                Ok(Seen::Content(body))
            }
            Operation::List => store.list(folder).await.map(|l| Seen::Keys(l.into_iter().map(|m| m.key).collect())),
            Operation::Delete => store.delete(&key).await.map(|()| Seen::Done),
            Operation::Multipart => store.put_file(&key, path, sha256, PutMode::Overwrite, &|_| ()).await.map(done),
            Operation::CreateFile => store.put_file(&key, path, sha256, PutMode::CreateOnly, &|_| ()).await.map(done),
        }
    }

    /// What lies at the key before, and after a success.
    pub fn contents(self, files: &Files) -> (Option<&[u8]>, Option<&[u8]>) {
        match self {
            Operation::Put => (Some(OLD), Some(NEW)),
            Operation::Create => (None, Some(NEW)),
            Operation::CreateTaken => (Some(OLD), Some(OLD)),
            Operation::Get | Operation::Open => (Some(NEW), Some(NEW)),
            Operation::Delete => (Some(OLD), None),
            Operation::Multipart => (Some(&files.old_bytes), Some(&files.new_bytes)),
            Operation::CreateFile => (None, Some(&files.new_bytes)),
            Operation::List => (None, None),
        }
    }
}

fn stream_error(e: std::io::Error) -> StoreError {
    let text = e.to_string();
    match e.into_inner().and_then(|inner| inner.downcast::<StoreError>().ok()) {
        Some(e) => *e,
        None => StoreError::new(StoreErrorKind::LocalIo, text),
    }
}
