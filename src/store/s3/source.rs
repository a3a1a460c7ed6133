//! The local file of an upload: read once from start to end, in parts, its digest taken on the way.
//!
//! It exists so that what is compared with the expected digest is exactly what was sent, also if the file changes meanwhile.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::Digest;
use tokio::sync::watch;

use crate::core::model::Sha256;
use crate::ports::{GrowingFile, StoreError, StoreErrorKind, StoreResult};

/// Read and hashed while it is still in the processor's cache, bytes.
const PIECE: usize = 256 << 10;

pub(super) struct Source {
    file: Arc<File>,
    path: PathBuf,
    pub(super) size: u64,
    at: u64,
    digest: sha2::Sha256,
    idle: Idle,
    growth: Option<watch::Receiver<u64>>,
}

/// A piece of the file.
pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// Hexadecimal; of these bytes alone.
    pub(super) sha256: Option<String>,
}

/// Memory of parts that have been sent, for the next ones: fresh memory of that size would be mapped and cleared each time.
type Idle = Arc<Mutex<Vec<Vec<u8>>>>;

/// Gives its memory back when the last user of the bytes is done.
struct Lent {
    bytes: Vec<u8>,
    idle: Idle,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

impl Source {
    pub(super) async fn open(path: &Path) -> StoreResult<Self> {
        let path = path.to_owned();
        blocking(path.clone(), move || {
            let file = File::open(&path)?;
            let meta = file.metadata()?;
            if !meta.is_file() {
                return Err(std::io::Error::other("it is no regular file"));
            }
            Ok(Source {
                file: Arc::new(file),
                path,
                size: meta.len(),
                at: 0,
                digest: sha2::Sha256::new(),
                idle: Idle::default(),
                growth: None,
            })
        })
        .await
    }

    /// A file that is still being written, as soon as it has more than `least` bytes; `None` when it ends before that, or is whole and has its last
    /// name before it could be opened.
    pub(super) async fn growing(mut file: GrowingFile, least: u64) -> StoreResult<Option<Self>> {
        if file.written.wait_for(|written| *written > 0).await.is_err() {
            return Ok(None);
        }
        let source = match Source::open(&file.path).await {
            Err(e) if is_gone(&e) => return Ok(None),
            opened => opened?,
        };
        if file.written.wait_for(|written| *written > least).await.is_err() {
            return Ok(None);
        }
        let size = *file.written.borrow();
        Ok(Some(Source { size, growth: Some(file.written), ..source }))
    }

    /// Waits until a whole part can be read, or the file is whole.
    async fn grow(&mut self, length: u64) {
        let Some(growth) = &mut self.growth else { return };
        let wanted = self.at.saturating_add(length);
        let ended = growth.wait_for(|written| *written >= wanted).await.is_err();
        self.size = *growth.borrow();
        if ended {
            self.growth = None;
        }
    }

    /// The next `length` bytes, fewer at the end; `None` behind it. With their own digest if it is `wanted`.
    pub(super) async fn next(&mut self, length: u64, wanted: bool) -> StoreResult<Option<Part>> {
        self.grow(length).await;
        let length = length.min(self.size.saturating_sub(self.at));
        if length == 0 {
            return Ok(None);
        }
        let (file, start, mut digest, idle) = (self.file.clone(), self.at, self.digest.clone(), self.idle.clone());
        let (part, digest) = blocking(self.path.clone(), move || {
            let room = usize::try_from(length).map_err(std::io::Error::other)?;
            let mut bytes = idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            bytes.resize(room, 0);
            let mut own = wanted.then(sha2::Sha256::new);
            let mut at = start;
            for piece in bytes.chunks_mut(PIECE) {
                file.read_exact_at(piece, at)?;
                digest.update(&*piece);
                if let Some(own) = &mut own {
                    own.update(&*piece);
                }
                at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            }
            let sha256 = own.map(|own| hex::encode(own.finalize()));
            Ok((Part { bytes: Bytes::from_owner(Lent { bytes, idle }), sha256 }, digest))
        })
        .await?;
        self.digest = digest;
        self.at = self.at.saturating_add(length);
        Ok(Some(part))
    }

    /// Compares what was read with what was promised, and looks for bytes behind it.
    pub(super) async fn check(&self, expected: &Sha256, object: &str) -> StoreResult<()> {
        let file = self.file.clone();
        let size = blocking(self.path.clone(), move || Ok(file.metadata()?.len())).await?;
        let found = Sha256(self.digest.clone().finalize().into());
        let why = if found != *expected {
            format!("its sha256 is {found}, expected {expected}")
        } else if size != self.at {
            format!("it has {size} bytes now, {} when it was opened", self.at)
        } else {
            return Ok(());
        };
        let text = format!("cannot store {} as {object}: {why}; nothing was stored", self.path.display());
        Err(StoreError::new(StoreErrorKind::Corrupt, text)
            .hint("the file changed after it was written, or its disk is failing: check the kernel log (dmesg)"))
    }
}

fn is_gone(e: &StoreError) -> bool {
    let cause = e.source.as_deref().and_then(|source| source.downcast_ref::<std::io::Error>());
    cause.is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound)
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> StoreResult<T> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    done.map_err(|e| {
        StoreError::new(StoreErrorKind::LocalIo, format!("cannot read {} to store it", path.display())).caused_by(e)
    })
}
