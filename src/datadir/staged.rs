//! Where the parts of a data dir are built: each on the file system where it is to stay, so that a rename puts it into place.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys;

/// Where the parts are staged.
pub(super) struct Dirs {
    pub(super) snap: PathBuf,
    pub(super) wal: PathBuf,
    /// A WAL that is not inside the data dir.
    pub(super) staged_wal: Option<PathBuf>,
}

impl Dirs {
    pub(super) fn create(staging_dir: &Path, wal_dir: Option<&Path>) -> Result<Self> {
        sys::fs::create_dir_all(staging_dir, 0o700)?;
        let failed = || format!("cannot read directory {}", staging_dir.display());
        if fs::read_dir(staging_dir).or_fail(Kind::Io, failed)?.next().is_some() {
            return Err(Error::new(Kind::Io, format!("staging directory {} is not empty", staging_dir.display())));
        }
        let member = staging_dir.join("member");
        let snap = member.join("snap");
        sys::fs::create_dir_all(&snap, 0o700)?;
        let (wal, staged_wal) = match wal_dir {
            None => (member.join("wal"), None),
            Some(final_dir) => {
                let staged = staged_wal_dir(staging_dir, final_dir)?;
                (staged.clone(), Some(staged))
            }
        };
        // What an attempt before this one left there is incomplete: its staging directory is gone.
        if staged_wal.is_some() {
            sys::fs::remove_scratch(&wal)?;
        }
        sys::fs::create_dir_all(&wal, 0o700)?;
        Ok(Dirs { snap, wal, staged_wal })
    }
}

/// A WAL dir that exists (a mount point, as a rule) is staged inside itself, one that does not exist beside itself: either
/// way on its own file system.
fn staged_wal_dir(staging_dir: &Path, wal_dir: &Path) -> Result<PathBuf> {
    let name = staging_dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if !sys::fs::SCRATCH_PREFIXES.iter().any(|p| name.starts_with(p)) {
        return Err(Error::new(Kind::Internal, format!("{} is no staging directory of ours", staging_dir.display())));
    }
    let name = format!("{name}-wal");
    Ok(if wal_dir.is_dir() { wal_dir.join(name) } else { sys::fs::parent(wal_dir).join(name) })
}
