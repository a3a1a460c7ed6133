//! Temporary files of a store directory: where an object is written before it gets its name.
//!
//! They exist in one folder of their own, so that a listing never meets them and what a killed process left behind is found.
//! A writer holds a lock on its file; only an unlocked file that has not been touched for a while is removed.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::core::model::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::sys;

use super::owner;

/// The folder, directly below the store's root. No object key may have a component of this name.
pub(super) const FOLDER: &str = ".lifeboat-tmp";

/// Seconds; covers the moment between creating a file and locking it.
const GRACE: i64 = 60;

/// A locked temporary file; removed when dropped, unless a rename has taken it away.
pub(super) struct Temporary {
    path: PathBuf,
    file: Flock<File>,
}

impl Temporary {
    pub(super) fn create(root: &Path) -> Result<Self> {
        let folder = root.join(FOLDER);
        owner::create_dirs(root, &folder)?;
        let path = folder.join(format!("{}.part", sys::random::nonce()?));
        let file = sys::fs::create_new(&path, 0o600)?;
        owner::give(root, &file);
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Temporary { path, file }),
            Err((_, errno)) => {
                let _ = fs::remove_file(&path);
                Err(Error::new(Kind::Io, format!("cannot lock {}", path.display()))
                    .caused_by(std::io::Error::from(errno)))
            }
        }
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what writers that are gone have left. Failures are no reason not to store: the next start tries again.
pub(super) fn clean(root: &Path, now: Timestamp) {
    let Ok(entries) = fs::read_dir(root.join(FOLDER)) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if !meta.is_file() || now.as_second().saturating_sub(meta.mtime()) < GRACE {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() && fs::remove_file(&path).is_ok() {
            tracing::debug!(path = %path.display(), "removed a temporary file that a stopped writer left");
        }
    }
}
