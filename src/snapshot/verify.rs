//! Proof that a stored snapshot is what its manifest says: read back, decompressed, walked page by page, counted, hashed.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::fetch;
use crate::bolt::reader::Image;
use crate::catalog::attached::Verification;
use crate::catalog::snapshots::Snapshots;
use crate::core::manifest::{HashKv, Manifest};
use crate::core::model::{NodeName, Revision, SnapshotName};
use crate::datadir::hash;
use crate::datadir::inspect_file::inspect_file;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::ports::Clock;
use crate::sys;

/// What a verification found. A snapshot that is not good is a result here, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Which snapshot.
    pub name: SnapshotName,
    /// Whether it is what its manifest says.
    pub ok: bool,
    /// What is wrong with it, when it is not.
    pub problem: Option<String>,
    /// Revision found in the file.
    pub revision: Option<Revision>,
    /// Live keys in the file.
    pub keys: Option<u64>,
    /// HashKV of the file, compared with the server's, when the manifest has one.
    pub hash_kv: Option<HashKv>,
    /// Bytes in the store.
    pub stored_size: u64,
    /// Bytes of the plain file.
    pub raw_size: u64,
    /// Whether the result was written beside the snapshot.
    pub recorded: bool,
}

struct Findings {
    revision: Revision,
    keys: u64,
    hash_kv: Option<HashKv>,
}

/// A scratch directory that goes away with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Self> {
        sys::fs::create_dir_all(parent, 0o700)?;
        let dir = parent.join(format!("lifeboat-scratch-{}", sys::random::nonce()?));
        sys::fs::create_dir(&dir, 0o700)?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = sys::fs::remove_scratch(&self.0) {
            tracing::warn!(path = %self.0.display(), error = %e.one_line(), "a scratch directory was left behind");
        }
    }
}

/// Removes scratch directories that a killed run left under `parent`. Call it when the daemon starts.
///
/// # Errors
/// When one of them cannot be removed.
pub fn clean_scratch(parent: &Path) -> Result<()> {
    let cannot = || format!("cannot read {}", parent.display());
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).or_fail(Kind::Io, cannot),
    };
    for entry in entries {
        let entry = entry.or_fail(Kind::Io, cannot)?;
        if entry.file_name().to_string_lossy().starts_with("lifeboat-scratch-") {
            sys::fs::remove_scratch(&entry.path())?;
        }
    }
    Ok(())
}

/// Verifies a stored snapshot in scratch space under `scratch` (as large as the plain file) and records the result beside it.
///
/// # Errors
/// When the question could not be answered: the store or the disk failed. Then nothing is recorded.
pub async fn verify(
    snapshots: &Snapshots,
    manifest: &Manifest,
    scratch: &Path,
    node: &NodeName,
    clock: &dyn Clock,
) -> Result<VerifyReport> {
    let (findings, problem) = match check(snapshots, manifest, scratch).await {
        Ok(findings) => (Some(findings), None),
        Err(e) if e.kind() == Kind::Verification => (None, Some(e.one_line())),
        // The manifest is there (it was just read), its payload is not: that is an answer.
        Err(e) if e.kind() == Kind::NotFound => (None, Some("its payload is missing".to_owned())),
        Err(e) => return Err(e),
    };
    let result = Verification {
        name: manifest.name.clone(),
        stored_sha256: manifest.stored.sha256,
        ok: problem.is_none(),
        problem,
        checked: clock.now(),
        node: node.clone(),
        revision: findings.as_ref().map(|f| f.revision),
        keys: findings.as_ref().map(|f| f.keys),
        hash_kv: findings.as_ref().and_then(|f| f.hash_kv),
        nonce: sys::random::nonce()?,
    };
    let recorded = match snapshots.record_verification(manifest, &result).await {
        Ok(()) => true,
        Err(e) => {
            tracing::warn!(snapshot = %manifest.name, error = %e, "the result of the verification was not recorded");
            false
        }
    };
    Ok(VerifyReport {
        name: result.name,
        ok: result.ok,
        problem: result.problem,
        revision: result.revision,
        keys: result.keys,
        hash_kv: result.hash_kv,
        stored_size: manifest.stored.size,
        raw_size: manifest.raw.size,
        recorded,
    })
}

async fn check(snapshots: &Snapshots, manifest: &Manifest, scratch: &Path) -> Result<Findings> {
    let scratch = Scratch::new(scratch)?;
    let free = sys::fs::free_space(&scratch.0)?;
    if free < manifest.raw.size {
        let what = format!(
            "{} has {free} bytes free; verifying {} takes {}",
            scratch.0.display(),
            manifest.name,
            manifest.raw.size
        );
        return Err(Error::new(Kind::Io, what).hint("free some space, or move node.state_dir"));
    }
    let mut reader = fetch::open_raw(snapshots, manifest).await?;
    let manifest = manifest.clone();
    tokio::task::spawn_blocking(move || {
        let path = scratch.0.join("snapshot.db");
        let out = sys::fs::create_new(&path, 0o600)?;
        fetch::copy(&mut reader, &out, &|_| (), || format!("cannot write {}", path.display()))?;
        drop(out);
        compare(&manifest, &path)
    })
    .await
    .or_fail(Kind::Internal, || "the verification panicked")?
}

/// The plain file against its manifest. Digests were compared while it was read.
fn compare(manifest: &Manifest, path: &Path) -> Result<Findings> {
    let differs = |what: String| {
        Err(Error::new(Kind::Verification, format!("snapshot {} differs from its manifest: {what}", manifest.name)))
    };
    let found = inspect_file(path)?;
    if found.trailer_ok != Some(true) {
        return differs("its content does not match the digest that etcd appended".to_owned());
    }
    if found.revision != manifest.revision {
        return differs(format!(
            "the file ends at revision {}, the manifest says {}",
            found.revision, manifest.revision
        ));
    }
    if let Some(theirs) = manifest.hash_kv {
        let ours = match found.hash_kv {
            same if (same.revision, same.compact_revision) == (theirs.revision, theirs.compact_revision) => same,
            // The member had compacted more, or less, than the file says when it was asked.
            _ => hash::hash_kv(&Image::open(path)?, theirs.revision, theirs.compact_revision)?,
        };
        if ours.hash != theirs.hash {
            return differs(format!(
                "HashKV is {}, etcd said {} at revision {} compacted at {}",
                ours.hash, theirs.hash, theirs.revision, theirs.compact_revision
            ));
        }
    }
    Ok(Findings { revision: found.revision, keys: found.live_keys, hash_kv: manifest.hash_kv })
}
