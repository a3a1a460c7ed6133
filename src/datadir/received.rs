//! A snapshot on its way into the db file that is made of it: digested, bounded, and compared with what is known of it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::restore::Expected;
use super::trailer::{StreamDigest, TrailerSplitter};
use super::{damaged, wal};
use crate::error::{Kind, Result, ResultExt};
use crate::sys;

/// Bytes that are copied at once.
const COPY_BYTES: usize = 1 << 20;
/// The disk begins to write this much at a time, while the rest is still on its way.
const FLUSH_EVERY: u64 = 16 << 20;

/// Copies the image into the db file, digesting it. The trailer stays behind.
pub(super) fn copy(image: &mut dyn Read, expected: &Expected, file: &File, path: &Path) -> Result<StreamDigest> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(size) = expected.size {
        wal::reserve(file, size).or_fail(Kind::Io, || format!("cannot reserve {size} bytes for {}", path.display()))?;
    }
    let mut splitter = TrailerSplitter::new();
    let mut at = 0u64;
    let mut flushed = 0u64;
    let mut sink = |piece: &[u8]| -> Result<()> {
        file.write_all_at(piece, at).or_fail(Kind::Io, failed)?;
        at += piece.len() as u64;
        if at.saturating_sub(flushed) >= FLUSH_EVERY {
            sys::fs::begin_flush(file, flushed, at.saturating_sub(flushed));
            flushed = at;
        }
        Ok(())
    };
    let mut buffer = vec![0u8; COPY_BYTES];
    loop {
        let read = match image.read(&mut buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.or_fail(Kind::Io, || format!("cannot read the snapshot for {}", path.display()))?,
        };
        if read == 0 {
            break;
        }
        splitter.push(buffer.get(..read).unwrap_or_default(), &mut sink)?;
        if let Some(size) = expected.size.filter(|s| splitter.image_len() > *s) {
            return Err(damaged(format!("the snapshot is longer than the {size} bytes that it should have")));
        }
    }
    let digest = splitter.finish(&mut sink)?;
    file.set_len(digest.image_len).or_fail(Kind::Io, failed)?;
    Ok(digest)
}

pub(super) fn verify(digest: &StreamDigest, expected: &Expected, skip_hash_check: bool) -> Result<()> {
    if let Some(size) = expected.size.filter(|s| *s != digest.file_len) {
        return Err(damaged(format!("the snapshot has {} bytes and should have {size}", digest.file_len)));
    }
    if let Some(sha256) = expected.sha256.filter(|s| *s != digest.file_sha256) {
        return Err(damaged(format!("the snapshot has the SHA-256 {} and should have {sha256}", digest.file_sha256)));
    }
    match digest.trailer {
        _ if skip_hash_check => Ok(()),
        Some(said) if said != digest.image_sha256 => Err(damaged(format!(
            "the snapshot is damaged: the digest at its end is {said}, its content has {}",
            digest.image_sha256
        ))),
        Some(_) => Ok(()),
        None => Err(damaged(format!(
            "the snapshot has {} bytes and no digest at its end: it is cut off, or a copied member/snap/db",
            digest.file_len
        ))
        .hint("for a db copied from a stopped etcd add --skip-hash-check; its structure is checked all the same")),
    }
}
