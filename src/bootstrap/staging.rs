//! The staging directory beside `member/`: built whole, then renamed into place.
//!
//! `<data-dir>/lifeboat-staging-<generation>/` holds `member/` (and `wal/` for a separate WAL dir) and, once everything in it is fsynced,
//! `lifeboat.json`. Without that file it is half built and worthless.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::core::facts::{CauseCode, Observed, Staging};
use crate::core::model::{ClusterId, Generation, Nonce};
use crate::error::{Kind, Result, ResultExt};
use crate::sys::fs;

const PREFIX: &str = "lifeboat-staging-";
const SEAL: &str = "lifeboat.json";

/// What a complete staging directory says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    /// The life it was built for.
    pub generation: Generation,
    /// The plan it was built from.
    pub plan_nonce: Nonce,
    /// The started mark that belongs to it.
    pub mark_nonce: Nonce,
    /// The cluster that its WAL names.
    pub cluster_id: ClusterId,
    /// etcd's initial-cluster-token in it.
    pub token: String,
    /// The request or pin that is done once it is in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Requests that were armed beside it: done with, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<String>,
}

/// Where the staging directory of a life is.
pub(super) fn path(data_dir: &Path, generation: Generation) -> PathBuf {
    data_dir.join(format!("{PREFIX}{generation}"))
}

/// Declares a fsynced staging directory complete.
pub(super) fn seal(dir: &Path, seal: &Seal) -> Result<()> {
    let text = serde_json::to_vec_pretty(seal).or_fail(Kind::Internal, || "cannot seal the staging directory")?;
    fs::write_atomic(&dir.join(SEAL), &text, 0o600)
}

/// What a staging directory says of itself; `None` when it is absent or half built.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read_seal(dir: &Path) -> Result<Option<Seal>> {
    let path = dir.join(SEAL);
    match std::fs::read(&path) {
        // The seal is written by rename: if it does not parse, it is not ours.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e).or_fail(Kind::Io, || format!("cannot read {}", path.display())),
    }
}

/// Generations that have a staging directory, newest first.
pub(super) fn all(data_dir: &Path) -> Result<Vec<(Generation, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(e).or_fail(Kind::Io, || format!("cannot read directory {}", data_dir.display())),
    };
    for entry in entries {
        let entry = entry.or_fail(Kind::Io, || format!("cannot read directory {}", data_dir.display()))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|n| n.parse().ok());
        if let Some(number) = number {
            found.push((Generation(number), entry.path()));
        }
    }
    found.sort_by_key(|found| std::cmp::Reverse(found.0));
    Ok(found)
}

/// The newest staging directory, as a fact.
pub(super) fn observe(data_dir: &Path) -> Observed<Option<Staging>> {
    let look = || -> Result<Option<Staging>> {
        let Some((generation, path)) = all(data_dir)?.into_iter().next() else { return Ok(None) };
        let has_member = path.join("member").is_dir();
        Ok(Some(match read_seal(&path)? {
            Some(seal) if seal.generation == generation => {
                Staging { generation, nonce: seal.mark_nonce, complete: has_member }
            }
            _ => Staging { generation, nonce: Nonce([0; 16]), complete: false },
        }))
    };
    look().map_or_else(|e| Observed::unknown(CauseCode::LocalIo, e.one_line()), Observed::Known)
}

/// Removes every staging directory, those of a separate WAL dir too.
pub(super) fn clean(settings: &super::Settings) -> Result<()> {
    for (_, path) in all(&settings.data_dir)? {
        fs::remove_scratch(&path)?;
    }
    let Some(wal) = &settings.wal_dir else { return Ok(()) };
    for dir in [wal.as_path(), fs::parent(wal)] {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        for entry in entries {
            let entry = entry.or_fail(Kind::Io, || format!("cannot read directory {}", dir.display()))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|n| n.starts_with(PREFIX) && n.ends_with("-wal")) {
                fs::remove_scratch(&entry.path())?;
            }
        }
    }
    Ok(())
}
