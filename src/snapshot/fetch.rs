//! Snapshots back from the store, or from a local file, as the plain file that etcd gave: checked end to end, in constant memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::Digest;

use super::received::Received;
use crate::catalog::snapshots::Snapshots;
use crate::codec::{self, Decoder, ReadAhead};
use crate::core::manifest::{Content, Manifest};
use crate::core::model::{Compression, Sha256, SnapshotName};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys;

type Source = Box<dyn Read + Send>;

/// Counts and digests what passes, and remembers whether the source itself failed.
struct Counted {
    inner: Source,
    digest: sha2::Sha256,
    size: u64,
    failed: bool,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = match self.inner.read(buf) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                self.failed = true;
                return Err(e);
            }
            other => other?,
        };
        if let Some(read) = buf.get(..n) {
            self.digest.update(read);
        }
        self.size = self.size.saturating_add(n as u64);
        Ok(n)
    }
}

/// What the digests and sizes must be.
struct Expected {
    raw: Content,
    stored: Content,
}

/// The plain file, trailer included. The last read, the one that gives 0 bytes, succeeds only when sizes and digests of the stored object **and** of the plain file
/// are those of the manifest: read to the end before you use anything.
///
/// Its errors carry an [`Error`] of ours inside; [`error_of`] gives it back. It blocks: use it on a blocking thread.
pub struct RawReader {
    decoder: Decoder<Counted>,
    digest: sha2::Sha256,
    size: u64,
    expected: Option<Expected>,
    /// What is read, for messages.
    what: String,
    source_kind: Kind,
    ended: bool,
    /// Whether the digest of the plain file is taken here.
    digested: bool,
}

impl RawReader {
    fn new(
        source: Source,
        compression: Compression,
        limit: u64,
        expected: Option<Expected>,
        what: String,
        source_kind: Kind,
    ) -> Self {
        let counted = Counted { inner: source, digest: sha2::Sha256::new(), size: 0, failed: false };
        let decoder = Decoder::new(compression, counted, limit);
        RawReader {
            decoder,
            digest: sha2::Sha256::new(),
            size: 0,
            expected,
            what,
            source_kind,
            ended: false,
            digested: true,
        }
    }

    /// Bytes that came out so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Read on threads of its own, ahead of who restores from it: one receives, one decompresses. The digest of the plain file is left to the
    /// reader, who must compare it: [`crate::datadir::restore::build`] does. Everything else is checked as before.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn ahead(mut self) -> Result<ReadAhead> {
        self.digested = false;
        ReadAhead::new("decompress", self, || {}).or_fail(Kind::Internal, || "cannot start a thread")
    }

    fn broken(&self, e: io::Error) -> io::Error {
        let (kind, what) = if self.decoder.source().is_some_and(|s| s.failed) {
            (self.source_kind, format!("reading {} broke off", self.what))
        } else {
            (Kind::Verification, format!("{} is damaged: it does not decompress", self.what))
        };
        io::Error::new(e.kind(), Error::new(kind, what).caused_by(e))
    }

    fn check_end(&self) -> io::Result<()> {
        let (Some(expected), Some(source)) = (&self.expected, self.decoder.source()) else { return Ok(()) };
        let of = |size, digest: &sha2::Sha256| Content { size, sha256: Sha256(digest.clone().finalize().into()) };
        for (part, is, should) in [
            ("stored", of(source.size, &source.digest), expected.stored),
            ("decompressed", of(self.size, &self.digest), expected.raw),
        ] {
            let left_to_others = part == "decompressed" && !self.digested && is.size == should.size;
            if is != should && !left_to_others {
                let what = format!(
                    "{} is damaged: {part} it has {} bytes with sha256 {}, its manifest says {} bytes with {}",
                    self.what, is.size, is.sha256, should.size, should.sha256
                );
                let e = Error::new(Kind::Verification, what).hint("choose another one: lifeboat ls");
                return Err(io::Error::new(io::ErrorKind::InvalidData, e));
            }
        }
        Ok(())
    }
}

impl Read for RawReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.ended || buf.is_empty() {
            return Ok(0);
        }
        let n = match self.decoder.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => return Err(self.broken(e)),
            Ok(n) => n,
        };
        if n == 0 {
            self.check_end()?;
            self.ended = true;
        }
        if let Some(read) = buf.get(..n).filter(|_| self.digested) {
            self.digest.update(read);
        }
        self.size = self.size.saturating_add(n as u64);
        Ok(n)
    }
}

/// The failure behind an I/O error of a [`RawReader`]; any other I/O error is named by `otherwise`.
pub fn error_of(e: io::Error, otherwise: impl FnOnce() -> String) -> Error {
    match e.downcast::<Error>() {
        Ok(ours) => ours,
        Err(e) => Error::new(Kind::Io, otherwise()).caused_by(e),
    }
}

/// Opens a stored snapshot. `manifest` was read and verified by [`Snapshots`].
///
/// # Errors
/// When the store fails, or the object has another size than the manifest says.
pub async fn open_raw(snapshots: &Snapshots, manifest: &Manifest) -> Result<RawReader> {
    let store = snapshots.records().store();
    let key = manifest.payload_key();
    let what = format!("snapshot {} ({}/{key})", manifest.name, store.location());
    if let Some(recipient) = manifest.encryption.first() {
        return Err(Error::new(
            Kind::Refused,
            format!("{what} is encrypted for {recipient}; this version cannot decrypt"),
        ));
    }
    let opened = store.open(&key, 0).await?;
    if opened.meta.size != manifest.stored.size {
        let sizes = format!("it has {} bytes, its manifest says {}", opened.meta.size, manifest.stored.size);
        return Err(Error::new(Kind::Verification, format!("{what} is damaged: {sizes}"))
            .hint("choose another one: lifeboat ls"));
    }
    let expected = Expected { raw: manifest.raw, stored: manifest.stored };
    let source: Source = Box::new(Received::new(opened.body));
    Ok(RawReader::new(source, manifest.compression, manifest.raw.size, Some(expected), what, Kind::Store))
}

/// Opens a local snapshot file, plain or compressed; nothing is known of its content but the trailer inside, which the restore checks.
/// `limit`: bytes that may come out of it at most (the room that there is for them).
///
/// # Errors
/// When it cannot be read or is none of the formats we know.
pub fn open_file(path: &Path, limit: u64) -> Result<RawReader> {
    let shown = path.display();
    let cannot = || format!("cannot read {shown}");
    let mut file = File::open(path).or_fail(Kind::Io, cannot)?;
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(32).read_to_end(&mut head).or_fail(Kind::Io, cannot)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let compression = codec::detect(&name, &head)
        .map_err(|e| Error::new(Kind::Verification, format!("{shown} is no snapshot: {e}")).hint(e.hint))?;
    let source: Source = Box::new(io::Cursor::new(head).chain(file));
    Ok(RawReader::new(source, compression, limit, None, shown.to_string(), Kind::Io))
}

/// What `get` did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Got {
    /// Which snapshot.
    pub name: SnapshotName,
    /// Where it lies now.
    pub file: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// Fetches a snapshot into a plain file, which appears whole and checked, or not at all. An existing file is never replaced.
/// `progress` is called with the number of plain bytes written so far.
///
/// # Errors
/// [`Kind::Refused`] when the file exists; [`Kind::Verification`] when the content is not what the manifest says; else the store's or the disk's failure.
pub async fn get_to_file(
    snapshots: &Snapshots,
    manifest: &Manifest,
    file: &Path,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<Got> {
    let exists = || {
        Error::new(Kind::Refused, format!("{} exists already and is not replaced", file.display()))
            .hint("name another file, or remove that one first")
    };
    if file.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let mut reader = open_raw(snapshots, manifest).await?;
    let name = file.file_name().ok_or_else(|| Error::new(Kind::Usage, format!("{} names no file", file.display())))?;
    let part = sys::fs::parent(file).join(format!(".{}.{}.part", name.to_string_lossy(), sys::random::nonce()?));
    let (target, shown) = (part.clone(), file.display().to_string());
    let copied = tokio::task::spawn_blocking(move || {
        let out = sys::fs::create_new(&target, 0o600).map_err(|e| e.context(format!("cannot write {shown}")))?;
        let done = copy(&mut reader, &out, &progress, || format!("cannot write {}", target.display()))
            .and_then(|()| out.sync_all().or_fail(Kind::Io, || format!("cannot fsync {}", target.display())));
        if done.is_err() {
            let _ = sys::fs::remove_file(&target);
        }
        done
    })
    .await
    .or_fail(Kind::Internal, || "the copy of the snapshot panicked")?;
    copied?;
    let placed = sys::fs::link_create_only(&part, file);
    sys::fs::remove_file(&part)?;
    if !placed? {
        return Err(exists());
    }
    Ok(Got {
        name: manifest.name.clone(),
        file: file.to_path_buf(),
        size: manifest.raw.size,
        sha256: manifest.raw.sha256,
    })
}

/// Reads to the end, so that everything is checked.
pub(super) fn copy(
    reader: &mut RawReader,
    mut out: &File,
    progress: &dyn Fn(u64),
    cannot_write: impl Fn() -> String,
) -> Result<()> {
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        let n = match reader.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(error_of(e, || "cannot read the snapshot".into())),
            Ok(n) => n,
        };
        let Some(piece) = buffer.get(..n).filter(|p| !p.is_empty()) else { return Ok(()) };
        out.write_all(piece).or_fail(Kind::Io, &cannot_write)?;
        progress(reader.size());
    }
}
