//! Whose the files of a store directory are: those of the directory's owner, whoever writes.
//!
//! It exists because the gate writes as root what the agent, a user of its own, must read and add to. Only what this
//! process has just made is given away, and never through a link, since that user may move things meanwhile.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::error::Result;
use crate::sys;

/// Gives a file or directory that was just made to the owner of `root`. A file server may forbid it: it is then as if
/// nobody had tried.
pub(super) fn give(root: &Path, made: &File) {
    let (Ok(wanted), Ok(own)) = (fs::metadata(root), made.metadata()) else { return };
    if own.uid() == wanted.uid() || !nix::unistd::geteuid().is_root() {
        return;
    }
    if let Err(e) = std::os::unix::fs::fchown(made, Some(wanted.uid()), Some(wanted.gid())) {
        tracing::debug!(root = %root.display(), "cannot give a file to the owner of the store: {e}");
    }
}

/// Creates `dir` and what is missing above it, 0700 each; `root` is there already.
///
/// # Errors
/// When one of them cannot be created.
pub(super) fn create_dirs(root: &Path, dir: &Path) -> Result<()> {
    let missing: Vec<PathBuf> =
        dir.ancestors().take_while(|d| *d != root && d.symlink_metadata().is_err()).map(Path::to_path_buf).collect();
    for new in missing.iter().rev() {
        sys::fs::create_dir(new, 0o700)?;
        let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
        if let Ok(made) = OpenOptions::new().read(true).custom_flags(flags).open(new) {
            give(root, &made);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    /// As the gate does it: root writes into the directory of the agent. (Who is not root writes as himself, and that is all.)
    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        fs::create_dir(&root).unwrap();
        let own = nix::unistd::geteuid();
        let (uid, gid) = if own.is_root() { (4321, 4322) } else { (own.as_raw(), nix::unistd::getegid().as_raw()) };
        chown(&root, Some(uid), Some(gid)).unwrap();
        fs::create_dir(root.join("old")).unwrap();
        create_dirs(&root, &root.join("old/a/b")).unwrap();
        create_dirs(&root, &root.join("old/a/b")).unwrap();
        let path = root.join("old/a/b/file");
        give(&root, &sys::fs::create_new(&path, 0o600).unwrap());
        for made in ["old/a", "old/a/b", "old/a/b/file"] {
            let meta = fs::symlink_metadata(root.join(made)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{made}");
        }
        let old = fs::metadata(root.join("old")).unwrap();
        assert_eq!(old.uid(), own.as_raw(), "what was there before is left alone");
        assert!(create_dirs(&root, &root.join("old/a/b/file/below")).is_err());
        assert!(create_dirs(&dir.path().join("none"), &dir.path().join("none/x")).is_err());
    }
}
