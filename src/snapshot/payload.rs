//! From the stream's pieces to a durable payload file: trailer and revision, compression, digests. Blocking; memory is bounded.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::Digest;
use tokio::sync::{mpsc, watch};

use super::spool::Spool;
use crate::codec::Encoder;
use crate::core::manifest::Content;
use crate::core::model::{Compression, Sha256};
use crate::datadir::stream_index::{RevisionIndex, StreamFacts};
use crate::datadir::trailer::TrailerSplitter;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys;

/// Etcd's own fsync of its WAL waits for what is being written here, so that little may be under way at any time. One large fsync at the
/// end was measured to hold up etcd's writes for half a second (p99), one of 8 MiB at a time for twice as long as one of 1 MiB.
const SYNC_EVERY: u64 = 1024 * 1024;

/// What travels from the stream to the writer.
pub(super) enum Piece {
    Data(Bytes),
    /// The stream ended well. A channel that closes without it means that the snapshot was given up.
    End,
}

/// A payload that is whole and durable under its temporary name.
pub(super) struct Written {
    pub(super) raw: Content,
    pub(super) stored: Content,
    pub(super) facts: StreamFacts,
}

/// The temporary file of a payload, which goes away unless it is kept. It belongs to whoever waits for the payload, not to the thread that writes
/// it: at a stop the process ends before such a thread may get any time.
pub(super) struct Part {
    path: PathBuf,
    kept: bool,
}

impl Part {
    /// # Errors
    /// When the file is there already or cannot be made.
    pub(super) fn create(spool: &Spool, path: PathBuf) -> Result<(Self, File)> {
        let file = spool.create(&path)?;
        Ok((Part { path, kept: false }, file))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept
            && let Err(e) = sys::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %e.one_line(), "a half-written snapshot was left behind");
        }
    }
}

/// How a payload is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    pub(super) compression: Compression,
    /// Threads that compress.
    pub(super) threads: NonZeroUsize,
}

/// The file, its digest, and the watch over the disk.
struct Sink {
    file: File,
    digest: sha2::Sha256,
    size: u64,
    unsynced: u64,
    spool: Spool,
    written: watch::Sender<u64>,
}

impl Sink {
    fn sync(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        self.file.sync_data()?;
        self.written.send_replace(self.size);
        let free = sys::fs::free_space(self.spool.dir()).map_err(io::Error::other)?;
        if free < self.spool.reserve() {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("only {free} bytes are free, and {} stay reserved for etcd and others", self.spool.reserve()),
            ));
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        if let Some(written) = buf.get(..n) {
            self.digest.update(written);
        }
        self.size = self.size.saturating_add(n as u64);
        self.unsynced = self.unsynced.saturating_add(n as u64);
        if self.unsynced >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes the file of a [`Part`] from the pieces and fsyncs it; `written` is told how far it is.
pub(super) fn write(
    spool: &Spool,
    path: &Path,
    file: File,
    format: Format,
    endpoint: &str,
    mut pieces: mpsc::Receiver<Piece>,
    written: watch::Sender<u64>,
) -> Result<Written> {
    let cannot = |e: io::Error| cannot_write(spool, path, e);
    let mut sink = Sink { file, digest: sha2::Sha256::new(), size: 0, unsynced: 0, spool: spool.clone(), written };
    // A disk that is nearly full is found out before anything is asked of etcd's.
    sink.sync().map_err(cannot)?;
    let mut encoder = Encoder::new(
        format.compression,
        format.threads,
        sink,
        sys::background::give_way,
        sys::background::give_way_but_write,
    )
    .map_err(cannot)?;
    let mut splitter = TrailerSplitter::new();
    let mut index = RevisionIndex::new();
    // What the index finds wrong is told only if the digest is right: a cut stream is a cut stream first.
    let mut indexed = Ok(());
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Data(piece)) => {
                splitter.push(&piece, &mut |image| {
                    if indexed.is_ok() {
                        indexed = index.push(image);
                    }
                    Ok(())
                })?;
                if encoder.push(piece).is_err() {
                    let failed = encoder.finish().map(drop);
                    return Err(cannot(failed.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())));
                }
                crate::failpoint!("save.mid_stream");
            }
            Some(Piece::End) => break,
            None => return Err(Error::new(Kind::Internal, "the snapshot was given up before its end")),
        }
    }
    crate::failpoint!("save.after_stream");
    let thrown_away = |why: &str| {
        Error::new(Kind::Verification, format!("the snapshot from {endpoint} was thrown away: {why}"))
            .hint("look into etcd's own log; the next run takes a new snapshot")
    };
    // Without a trailer the bytes held back are handed on here, and by then nobody wants them.
    let digest = splitter.finish(&mut |_| Ok(()))?;
    if digest.trailer.is_none() || digest.image_len == 0 {
        return Err(thrown_away("it does not end with etcd's digest: the stream was cut"));
    }
    if !digest.is_sound() {
        return Err(thrown_away("its content does not match the digest that etcd appended"));
    }
    let facts = indexed
        .and_then(|()| index.finish())
        .map_err(|e| thrown_away("its digest is right, but it is no sound database").caused_by(e))?;
    let sink = encoder.finish().map_err(cannot)?;
    sink.file.sync_all().or_fail(Kind::Io, || format!("cannot fsync {}", path.display()))?;
    sink.written.send_replace(sink.size);
    Ok(Written {
        raw: Content { size: digest.file_len, sha256: digest.file_sha256 },
        stored: Content { size: sink.size, sha256: Sha256(sink.digest.finalize().into()) },
        facts,
    })
}

fn cannot_write(spool: &Spool, path: &Path, e: io::Error) -> Error {
    let free = sys::fs::free_space(spool.dir()).map_or_else(|_| "unknown".into(), |n| n.to_string());
    let full = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let out =
        Error::new(Kind::Io, format!("cannot write {} ({free} bytes are free there)", path.display())).caused_by(e);
    if full {
        return out.hint(format!(
            "free some space at {} or move node.state_dir to a larger file system; nothing was left behind",
            spool.dir().display()
        ));
    }
    out
}
