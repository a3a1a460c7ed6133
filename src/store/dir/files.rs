//! The calls of a store directory, blocking: they run in `spawn_blocking`.
//!
//! It exists to hold the order of steps in one place: temporary file, fsync, digest, then link (create-only) or rename.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use nix::fcntl::OFlag;
use sha2::Digest;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

use crate::core::model::{Sha256, Timestamp};
use crate::ports::{Clock, ObjectMeta, PutMode, StoreError, StoreErrorKind, StoreResult};
use crate::store::key;
use crate::sys;

use super::error::{from_fs, from_io};
use super::owner;
use super::temporary::{self, Temporary};

/// Bytes copied between two reports of progress.
const CHUNK: usize = 1 << 20;

pub(super) struct Files {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    cleaned: AtomicBool,
}

impl Files {
    pub(super) fn new(root: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Files { root, clock, cleaned: AtomicBool::new(false) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn location(&self) -> String {
        format!("dir://{}", self.root.display())
    }

    pub(super) fn show(&self, key: &str) -> String {
        format!("{}/{key}", self.location())
    }

    fn path(&self, key: &str) -> StoreResult<PathBuf> {
        let reserved = key.split('/').any(|component| component == temporary::FOLDER);
        let checked = if reserved {
            Err("a component of it is reserved for temporary files".to_owned())
        } else {
            key::check(key)
        };
        match checked {
            Ok(()) => Ok(self.root.join(key)),
            Err(why) => {
                Err(StoreError::new(StoreErrorKind::Rejected, format!("the object key {key:?} is refused: {why}")))
            }
        }
    }

    pub(super) fn put(&self, key: &str, body: &[u8], mode: PutMode) -> StoreResult<ObjectMeta> {
        let path = self.path(key)?;
        let what = || format!("cannot write {}", self.show(key));
        let mut temporary = self.temporary(key)?;
        temporary.file().write_all(body).map_err(|e| from_io(&self.root, what(), e))?;
        self.commit(key, &path, temporary, mode)
    }

    /// Copies `source`, reports the bytes copied so far, and stops when nobody listens any more.
    pub(super) fn put_file(
        &self,
        key: &str,
        source: &Path,
        sha256: &Sha256,
        mode: PutMode,
        copied: &mpsc::Sender<u64>,
    ) -> StoreResult<ObjectMeta> {
        let path = self.path(key)?;
        let local = |e| {
            StoreError::new(StoreErrorKind::LocalIo, format!("cannot read {} to store it", source.display()))
                .caused_by(e)
        };
        let mut from = File::open(source).map_err(local)?;
        let mut temporary = self.temporary(key)?;
        let mut digest = sha2::Sha256::new();
        let mut buffer = vec![0u8; CHUNK];
        let mut total = 0u64;
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(local(e)),
            };
            let piece = buffer.get(..n).unwrap_or_default();
            digest.update(piece);
            temporary
                .file()
                .write_all(piece)
                .map_err(|e| from_io(&self.root, format!("cannot write {}", self.show(key)), e))?;
            total = total.saturating_add(u64::try_from(n).unwrap_or(0));
            copied.blocking_send(total).map_err(|_| cancelled(&self.show(key)))?;
        }
        let found = Sha256(digest.finalize().into());
        if found != *sha256 {
            return Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "cannot store {} as {}: its sha256 is {found}, expected {sha256}; nothing was stored",
                    source.display(),
                    self.show(key)
                ),
            )
            .hint("the file changed after it was written, or its disk is failing: check the kernel log (dmesg)"));
        }
        if copied.is_closed() {
            return Err(cancelled(&self.show(key)));
        }
        self.commit(key, &path, temporary, mode)
    }

    fn temporary(&self, key: &str) -> StoreResult<Temporary> {
        if !self.cleaned.swap(true, Ordering::Relaxed) {
            temporary::clean(&self.root, self.clock.now());
        }
        Temporary::create(&self.root).map_err(|e| from_fs(&self.root, format!("cannot write {}", self.show(key)), e))
    }

    fn commit(&self, key: &str, path: &Path, mut temporary: Temporary, mode: PutMode) -> StoreResult<ObjectMeta> {
        let what = || format!("cannot write {}", self.show(key));
        let file = temporary.file();
        file.sync_all().map_err(|e| from_io(&self.root, what(), e))?;
        let meta = file.metadata().map_err(|e| from_io(&self.root, what(), e))?;
        let meta = describe(key, &meta);
        // The root must exist by now: the temporary file lies below it.
        owner::create_dirs(&self.root, sys::fs::parent(path)).map_err(|e| from_fs(&self.root, what(), e))?;
        match mode {
            PutMode::CreateOnly => {
                let created =
                    sys::fs::link_create_only(temporary.path(), path).map_err(|e| from_fs(&self.root, what(), e))?;
                if !created {
                    return Err(StoreError::new(
                        StoreErrorKind::AlreadyExists,
                        format!("{} exists already", self.show(key)),
                    ));
                }
            }
            PutMode::Overwrite => {
                sys::fs::rename(temporary.path(), path).map_err(|e| from_fs(&self.root, what(), e))?
            }
        }
        Ok(meta)
    }

    fn open(&self, key: &str) -> StoreResult<(File, ObjectMeta)> {
        let path = self.path(key)?;
        let what = || format!("cannot read {}", self.show(key));
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(&path)
            .map_err(|e| from_io(&self.root, what(), e))?;
        let meta = file.metadata().map_err(|e| from_io(&self.root, what(), e))?;
        if meta.is_dir() {
            return Err(from_io(&self.root, what(), io::ErrorKind::NotFound.into()));
        }
        if !meta.is_file() {
            return Err(from_io(&self.root, what(), io::ErrorKind::IsADirectory.into()));
        }
        Ok((file, describe(key, &meta)))
    }

    pub(super) fn get(&self, key: &str, limit: u64) -> StoreResult<(Bytes, ObjectMeta)> {
        let (file, meta) = self.open(key)?;
        if meta.size > limit {
            return Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!("{} has {} bytes, more than the {limit} that it may have", self.show(key), meta.size),
            ));
        }
        let mut body = Vec::new();
        file.take(meta.size)
            .read_to_end(&mut body)
            .map_err(|e| from_io(&self.root, format!("cannot read {}", self.show(key)), e))?;
        if u64::try_from(body.len()) != Ok(meta.size) {
            return Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!("{} ended after {} of {} bytes", self.show(key), body.len(), meta.size),
            ));
        }
        Ok((Bytes::from(body), meta))
    }

    pub(super) fn open_at(&self, key: &str, offset: u64) -> StoreResult<(File, ObjectMeta)> {
        let (mut file, meta) = self.open(key)?;
        if offset > meta.size {
            return Err(StoreError::new(
                StoreErrorKind::Rejected,
                format!("cannot read {} from byte {offset} on: it has {} bytes", self.show(key), meta.size),
            ));
        }
        file.seek(SeekFrom::Start(offset))
            .map_err(|e| from_io(&self.root, format!("cannot read {}", self.show(key)), e))?;
        Ok((file, meta))
    }

    pub(super) fn head(&self, key: &str) -> StoreResult<ObjectMeta> {
        self.open(key).map(|(_, meta)| meta)
    }

    pub(super) fn delete(&self, key: &str) -> StoreResult<()> {
        let path = self.path(key)?;
        let what = || format!("cannot delete {}", self.show(key));
        if !self.root.is_dir() {
            return Err(from_io(&self.root, what(), io::ErrorKind::NotFound.into()));
        }
        match fs::symlink_metadata(&path) {
            // As in S3, a folder is no object.
            Ok(meta) if meta.is_dir() => Ok(()),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
            _ => sys::fs::remove_file(&path).map_err(|e| from_fs(&self.root, what(), e)),
        }
    }
}

fn cancelled(object: &str) -> StoreError {
    StoreError::new(StoreErrorKind::LocalIo, format!("storing {object} was cancelled; nothing was stored"))
}

/// Inode, size and time of the last write: every write makes a new file.
pub(super) fn describe(key: &str, meta: &Metadata) -> ObjectMeta {
    let modified = i32::try_from(meta.mtime_nsec()).ok().and_then(|ns| Timestamp::new(meta.mtime(), ns).ok());
    ObjectMeta {
        key: key.to_owned(),
        size: meta.len(),
        etag: Some(format!("{:x}-{:x}-{:x}.{:x}", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())),
        modified,
    }
}

/// A reader of exactly `left` bytes: an early end is an error, never silence.
pub(super) struct Exact<R> {
    inner: R,
    left: u64,
    object: String,
}

impl<R> Exact<R> {
    pub(super) fn new(inner: R, left: u64, object: String) -> Self {
        Exact { inner, left, object }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Exact<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.remaining());
        let this = &mut *self;
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        let filled = part.filled().len();
        if filled == 0 {
            let text = format!("{} ended {} bytes early: it was truncated while it was read", this.object, this.left);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        this.left = this.left.saturating_sub(u64::try_from(filled).unwrap_or(0));
        buf.advance(filled);
        Poll::Ready(Ok(()))
    }
}
