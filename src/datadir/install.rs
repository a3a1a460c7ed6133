//! Puts a data dir that was built in staging into place. The rename of `member/` is the commit point.
//!
//! Every step can be repeated after a crash; none of them overwrites or removes member data.

use std::fs;
use std::path::Path;

use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys;

use super::restore::{Built, RECORD_NAME};
use super::{damaged, wal};

/// Checks, as etcdutl does, that nothing is in the way of a restore by hand: the data dir is missing or empty (what is
/// left by us, and `lost+found`, do not count), a separate WAL dir likewise.
///
/// # Errors
/// `Refused` when something is in the way; `Io`.
pub fn check_target(data_dir: &Path, wal_dir: Option<&Path>) -> Result<()> {
    for dir in [Some(data_dir), wal_dir].into_iter().flatten() {
        if let Some(name) = first_foreign_entry(dir)? {
            return Err(Error::new(Kind::Refused, format!("{} is not empty: it holds {name:?}", dir.display()))
                .hint("choose another directory, or move what is there aside; nothing was changed"));
        }
    }
    Ok(())
}

/// The first entry of a directory that is not ours; `None` also when there is no directory.
pub(super) fn first_foreign_entry(dir: &Path) -> Result<Option<String>> {
    let failed = || format!("cannot read directory {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.or_fail(Kind::Io, failed)?,
    };
    for entry in entries {
        let name = entry.or_fail(Kind::Io, failed)?.file_name().to_string_lossy().into_owned();
        let ours = name.starts_with("lifeboat-") || name.starts_with("member.quarantine-") || name == "lost+found";
        if !ours {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The record of a complete staging directory; `None` when there is none, or it was not finished.
///
/// # Errors
/// `Io` when it cannot be read; `Verification` when the record is malformed.
pub fn load(staging_dir: &Path) -> Result<Option<Built>> {
    let path = staging_dir.join(RECORD_NAME);
    let bytes = match fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.or_fail(Kind::Io, || format!("cannot read {}", path.display()))?,
    };
    serde_json::from_slice(&bytes).map(Some).or_fail(Kind::Verification, || format!("{} is malformed", path.display()))
}

/// Puts a complete staging directory into place: first a separate WAL, then `member/`, whose rename is the commit point.
///
/// Can be repeated after a crash at any point, with the same arguments. Afterwards the staging directory holds only its
/// record; the caller removes it.
///
/// # Errors
/// `Refused` when another `member/` or WAL is in the way; `Verification` when the staging directory is not complete; `Io`.
pub fn install(staging_dir: &Path, data_dir: &Path, wal_dir: Option<&Path>) -> Result<()> {
    let built = load(staging_dir)?
        .ok_or_else(|| damaged(format!("staging directory {} is not complete", staging_dir.display())))?;
    let (staged, target) = (staging_dir.join("member"), data_dir.join("member"));
    let inner_wal = target.join("wal");
    if !exists(&staged)? {
        // A crash after the commit point leads here.
        return is_ours(wal_dir.unwrap_or(&inner_wal), &built);
    }
    if exists(&target)? {
        return Err(in_the_way(&target));
    }
    match (&built.staged_wal, wal_dir) {
        (None, None) => {}
        (Some(staged_wal), Some(wal_dir)) => install_wal(staged_wal, wal_dir, &built)?,
        _ => {
            return Err(Error::new(
                Kind::Refused,
                format!("{} was built for another WAL directory than the one given", staging_dir.display()),
            )
            .hint(
                "the WAL directory in the configuration changed since: remove the staging directory and restore again",
            ));
        }
    }
    crate::failpoint!("restore.before_commit");
    sys::fs::create_dir_all(data_dir, 0o700)?;
    sys::fs::rename_new(&staged, &target)
}

fn install_wal(staged: &Path, wal_dir: &Path, built: &Built) -> Result<()> {
    if !exists(staged)? {
        return is_ours(wal_dir, built);
    }
    if !wal::segments(wal_dir)?.is_empty() {
        // The segment was moved, the emptied directory was not yet removed.
        is_ours(wal_dir, built)?;
        return sys::fs::remove_scratch(staged);
    }
    if sys::fs::parent(staged) != wal_dir {
        return sys::fs::rename_new(staged, wal_dir);
    }
    let name = wal::first_segment_name();
    sys::fs::rename_new(&staged.join(&name), &wal_dir.join(&name))?;
    sys::fs::remove_scratch(staged)
}

fn is_ours(wal_dir: &Path, built: &Built) -> Result<()> {
    let found = wal::inspect(wal_dir)?;
    if (found.member_id, found.cluster_id) == (built.member_id, built.cluster_id) {
        return Ok(());
    }
    Err(in_the_way(wal_dir))
}

fn in_the_way(path: &Path) -> Error {
    Error::new(Kind::Refused, format!("{} exists already and is not what is to be installed", path.display()))
        .hint("lifeboat quarantine add moves it aside; nothing was changed")
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().or_fail(Kind::Io, || format!("cannot stat {}", path.display()))
}
