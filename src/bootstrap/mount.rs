//! On which file system the data dir lies, and whether that is the one it was on before.
//!
//! A data dir whose disk was not mounted looks empty. Restoring into the empty directory beneath the mount point would roll the cluster back while
//! its data lies on the disk, intact.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::MemoryFile;
use crate::core::facts::{Cause, CauseCode, DataDir, Memory, Observed};
use crate::error::{Error, Kind, Result, ResultExt};

/// Mount point of the file system that holds `path` (or would hold it); `None` for the root's.
///
/// # Errors
/// When a directory on the way cannot be looked at.
pub(super) fn point_of(path: &Path) -> Result<Option<PathBuf>> {
    let failed = |at: &Path| format!("cannot find out which file system holds {}", at.display());
    let mut at = path.to_path_buf();
    let mut here = loop {
        match at.canonicalize() {
            Ok(found) => break found,
            Err(e) if e.kind() == io::ErrorKind::NotFound && at.pop() => {}
            Err(e) => return Err(Error::new(Kind::Io, failed(path)).caused_by(e)),
        }
    };
    let device = |p: &Path| std::fs::metadata(p).map(|m| m.dev()).or_fail(Kind::Io, || failed(p));
    let own = device(&here)?;
    while let Some(up) = here.parent().map(Path::to_path_buf) {
        if device(&up)? != own {
            return Ok(Some(here));
        }
        here = up;
    }
    Ok(None)
}

/// Keeps in mind which file system the data dir is on, when that is not the root's and nothing is remembered yet: a host whose etcd has not passed
/// the gate so far may find its disk missing at the next boot.
///
/// # Errors
/// When it cannot be found out, or the memory in `state_dir` cannot be read or written.
pub fn remember(state_dir: &Path, data_dir: &Path) -> Result<()> {
    let Some(point) = point_of(data_dir)? else { return Ok(()) };
    MemoryFile::new(state_dir).change(|memory| {
        memory.data_dir_mount.get_or_insert_with(|| point.display().to_string());
    })
}

/// `seen`, unless the data dir lies on the file system beneath the one that it was on when etcd last started: then nothing is known of it.
pub(super) fn judge(seen: Observed<DataDir>, data_dir: &Path, memory: &Memory) -> Observed<DataDir> {
    let Some(before) = &memory.data_dir_mount else { return seen };
    if matches!(seen, Observed::Unknown(_) | Observed::Known(DataDir::InUse)) {
        return seen;
    }
    let now = match point_of(data_dir) {
        Ok(now) => now.unwrap_or_else(|| PathBuf::from("/")),
        Err(e) => return Observed::unknown(CauseCode::LocalIo, e.one_line()),
    };
    // The same mount, or one that was put over a part of it since.
    if now.starts_with(before) {
        return seen;
    }
    Observed::Unknown(Cause {
        code: CauseCode::MountMissing,
        text: format!(
            "it was on the file system mounted at {before}, and is now on that of {}: the mount is missing",
            now.display()
        ),
        hint: Some(format!(
            "mount {before} ('findmnt --fstab {before}', 'journalctl -b -u local-fs.target') and it goes on by itself; if the data was moved to another \
             file system for good, remove the line \"data_dir_mount\" from memory.json in bootstrap.state_dir"
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_now_is_kept_in_mind_once() {
        let dir = tempfile::tempdir().unwrap();
        let mount = |dir: &Path| MemoryFile::new(dir).observe().known().unwrap().data_dir_mount.clone();
        remember(dir.path(), Path::new("/proc/etcd")).unwrap();
        assert_eq!(mount(dir.path()).as_deref(), Some("/proc"));
        remember(dir.path(), Path::new("/sys/etcd")).unwrap();
        assert_eq!(mount(dir.path()).as_deref(), Some("/proc"), "what the gate has seen since is not replaced");
        let other = tempfile::tempdir().unwrap();
        remember(other.path(), Path::new("/")).unwrap();
        assert_eq!(mount(other.path()), None);
    }

    #[test]
    fn a_missing_mount_is_unknown_and_never_empty() {
        let dir = tempfile::tempdir().unwrap();
        let here = point_of(dir.path()).unwrap().unwrap_or_else(|| PathBuf::from("/"));
        assert_eq!(point_of(&dir.path().join("not/there")).unwrap(), point_of(dir.path()).unwrap());
        assert_eq!(point_of(Path::new("/")).unwrap(), None);
        assert_eq!(point_of(Path::new("/proc/self")).unwrap(), Some(PathBuf::from("/proc")));
        let empty = || Observed::Known(DataDir::Empty);
        let lost = dir.path().join("disk");
        for (before, missing) in [
            (None, false),
            (Some(here.display().to_string()), false),
            (Some("/".to_owned()), false),
            (Some(lost.display().to_string()), true),
        ] {
            let memory = Memory { data_dir_mount: before.clone(), ..Memory::default() };
            let judged = judge(empty(), &lost.join("etcd"), &memory);
            let found =
                matches!(&judged, Observed::Unknown(c) if c.code == CauseCode::MountMissing && c.hint.is_some());
            assert_eq!(found, missing, "{before:?}: {judged:?}");
            let used = judge(Observed::Known(DataDir::InUse), &lost, &memory);
            assert_eq!(used, Observed::Known(DataDir::InUse), "{before:?}");
        }
    }
}
