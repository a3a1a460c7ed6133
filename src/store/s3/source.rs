//! The local file of an upload: read once from start to end, in parts, its digest taken on the way.
//!
//! It exists so that what is compared with the expected digest is exactly what was sent, also if the file changes meanwhile.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::Digest;

use crate::core::model::Sha256;
use crate::ports::{StoreError, StoreErrorKind, StoreResult};

pub(super) struct Source {
    file: Arc<File>,
    path: PathBuf,
    pub(super) size: u64,
    at: u64,
    digest: sha2::Sha256,
}

/// A piece of the file.
pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// Hexadecimal.
    pub(super) sha256: String,
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
            Ok(Source { file: Arc::new(file), path, size: meta.len(), at: 0, digest: sha2::Sha256::new() })
        })
        .await
    }

    /// The next `length` bytes, fewer at the end; `None` behind it.
    pub(super) async fn next(&mut self, length: u64) -> StoreResult<Option<Part>> {
        let length = length.min(self.size.saturating_sub(self.at));
        if length == 0 {
            return Ok(None);
        }
        let (file, at, mut digest) = (self.file.clone(), self.at, self.digest.clone());
        let (part, digest) = blocking(self.path.clone(), move || {
            let room = usize::try_from(length).map_err(std::io::Error::other)?;
            let mut bytes = vec![0u8; room];
            file.read_exact_at(&mut bytes, at)?;
            digest.update(&bytes);
            let sha256 = hex::encode(sha2::Sha256::digest(&bytes));
            Ok((Part { bytes: Bytes::from(bytes), sha256 }, digest))
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

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> StoreResult<T> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    done.map_err(|e| {
        StoreError::new(StoreErrorKind::LocalIo, format!("cannot read {} to store it", path.display())).caused_by(e)
    })
}
