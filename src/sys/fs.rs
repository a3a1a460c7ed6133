//! Files that survive a power cut: every function here that returns `Ok` has fsynced the file and the directory entry.
//!
//! The only owner of `rename` and of the removal of trees. Nothing here removes member data: [`remove_scratch`] refuses
//! any directory whose name is not one of ours.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};

use crate::error::{Error, Kind, Result, ResultExt};

/// Names of directories that are ours to delete start with one of these.
pub const SCRATCH_PREFIXES: [&str; 2] = ["lifeboat-staging-", "lifeboat-scratch-"];

/// The directory that holds `path`; `.` for a bare file name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Fsyncs a directory, so that the entries in it survive a power cut.
///
/// # Errors
/// When it cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let f = File::open(dir).or_fail(Kind::Io, || format!("cannot open directory {}", dir.display()))?;
    f.sync_all().or_fail(Kind::Io, || format!("cannot fsync directory {}", dir.display()))
}

/// Fsyncs every file and directory below `root`, leaves first, and `root` itself. Symbolic links are refused.
///
/// # Errors
/// When anything in the tree cannot be synced or is neither file nor directory.
pub fn sync_tree(root: &Path) -> Result<()> {
    let mut dirs = vec![root.to_path_buf()];
    let mut order = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).or_fail(Kind::Io, || format!("cannot read directory {}", dir.display()))? {
            let entry = entry.or_fail(Kind::Io, || format!("cannot read directory {}", dir.display()))?;
            let path = entry.path();
            let kind = entry.file_type().or_fail(Kind::Io, || format!("cannot stat {}", path.display()))?;
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() {
                let f = File::open(&path).or_fail(Kind::Io, || format!("cannot open {}", path.display()))?;
                f.sync_all().or_fail(Kind::Io, || format!("cannot fsync {}", path.display()))?;
            } else {
                return Err(Error::new(Kind::Io, format!("{} is neither a file nor a directory", path.display())));
            }
        }
        order.push(dir);
    }
    for dir in order.iter().rev() {
        sync_dir(dir)?;
    }
    Ok(())
}

/// Asks the disk to begin with writing a range of a file, so that there is less left to do at its fsync. No promise: it never fails.
pub fn begin_flush(file: &File, offset: u64, len: u64) {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    if let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) {
        let _ = posix_fadvise(file, offset, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}

/// Creates `dir` (not its parents) with exactly `mode`, whatever the umask, and fsyncs the parent. An existing directory is kept as it is.
///
/// # Errors
/// When it cannot be created, or something else has that name.
pub fn create_dir(dir: &Path, mode: u32) -> Result<()> {
    match fs::DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => {
            fs::set_permissions(dir, Permissions::from_mode(mode))
                .or_fail(Kind::Io, || format!("cannot set the mode of {}", dir.display()))?;
            sync_dir(parent(dir))
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(e) => Err(Error::new(Kind::Io, format!("cannot create directory {}", dir.display())).caused_by(e)),
    }
}

/// Creates `dir` and its missing parents, each with `mode`.
///
/// # Errors
/// As [`create_dir`].
pub fn create_dir_all(dir: &Path, mode: u32) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = dir;
    while !at.exists() {
        missing.push(at.to_path_buf());
        at = parent(at);
    }
    for dir in missing.iter().rev() {
        create_dir(dir, mode)?;
    }
    if dir.is_dir() { Ok(()) } else { Err(Error::new(Kind::Io, format!("{} is not a directory", dir.display()))) }
}

/// Creates a new file with exactly `mode`, whatever the umask. Fails when it exists; never follows a link.
///
/// # Errors
/// When it exists or cannot be created.
pub fn create_new(path: &Path, mode: u32) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .or_fail(Kind::Io, || format!("cannot create {}", path.display()))?;
    file.set_permissions(Permissions::from_mode(mode))
        .or_fail(Kind::Io, || format!("cannot set the mode of {}", path.display()))?;
    Ok(file)
}

fn temporary_name(path: &Path) -> Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::new(Kind::Io, format!("{} has no file name", path.display())))?
        .to_string_lossy();
    Ok(parent(path).join(format!(".{name}.{}.part", super::random::nonce()?)))
}

fn write_temporary(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf> {
    let temporary = temporary_name(path)?;
    let mut file = create_new(&temporary, mode)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(e) = written {
        let _ = fs::remove_file(&temporary);
        return Err(Error::new(Kind::Io, format!("cannot write {}", temporary.display())).caused_by(e));
    }
    Ok(temporary)
}

/// Replaces `path` by `content`: a reader, or a boot after a power cut, sees the old file or the new one.
///
/// # Errors
/// When any step fails; the old file is then still there.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let temporary = write_temporary(path, content, mode)?;
    let renamed = rename(&temporary, path);
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// Creates `path` with `content`, whole or not at all. `Ok(false)`: it exists already and was left alone.
///
/// # Errors
/// When any step fails.
pub fn write_create_only(path: &Path, content: &[u8], mode: u32) -> Result<bool> {
    let temporary = write_temporary(path, content, mode)?;
    let linked = link_create_only(&temporary, path);
    let _ = fs::remove_file(&temporary);
    linked
}

/// Gives the file `from` the name `to` as well, unless that name is taken (`Ok(false)`). The caller has fsynced the file.
///
/// # Errors
/// When the link or the fsync of the directory fails.
pub fn link_create_only(from: &Path, to: &Path) -> Result<bool> {
    match fs::hard_link(from, to) {
        Ok(()) => sync_dir(parent(to)).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(Error::new(Kind::Io, format!("cannot create {}", to.display())).caused_by(e)),
    }
}

/// Renames, replacing a file at `to`, and fsyncs both directories.
///
/// # Errors
/// When the rename or an fsync fails.
#[allow(clippy::disallowed_methods, reason = "this module owns rename")]
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).or_fail(Kind::Io, || format!("cannot rename {} to {}", from.display(), to.display()))?;
    sync_both_parents(from, to)
}

/// Renames only if `to` does not exist, and fsyncs both directories. For directories: the commit point of a restore.
///
/// # Errors
/// When `to` exists, or the rename or an fsync fails.
pub fn rename_new(from: &Path, to: &Path) -> Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => sync_both_parents(from, to),
        Err(e) => Err(Error::new(Kind::Io, format!("cannot rename {} to {}", from.display(), to.display()))
            .caused_by(io::Error::from(e))),
    }
}

fn sync_both_parents(from: &Path, to: &Path) -> Result<()> {
    sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        sync_dir(parent(from))?;
    }
    Ok(())
}

/// Removes a file if it is there, and fsyncs its directory.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::new(Kind::Io, format!("cannot remove {}", path.display())).caused_by(e)),
    }
}

/// Removes a tree of ours: its name starts with one of [`SCRATCH_PREFIXES`].
///
/// # Errors
/// When the name is not one of ours, or the removal fails.
#[allow(clippy::disallowed_methods, reason = "this module owns the removal of trees, and checks the name")]
pub fn remove_scratch(dir: &Path) -> Result<()> {
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if !SCRATCH_PREFIXES.iter().any(|p| name.starts_with(p)) {
        return Err(Error::new(Kind::Internal, format!("{} is not a scratch directory of ours", dir.display())));
    }
    match fs::remove_dir_all(dir) {
        Ok(()) => sync_dir(parent(dir)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::new(Kind::Io, format!("cannot remove {}", dir.display())).caused_by(e)),
    }
}

/// Bytes that an unprivileged writer may still use on the file system that holds `path`.
///
/// # Errors
/// When the file system cannot be asked.
pub fn free_space(path: &Path) -> Result<u64> {
    let s = nix::sys::statvfs::statvfs(path)
        .map_err(io::Error::from)
        .or_fail(Kind::Io, || format!("cannot ask for the free space at {}", path.display()))?;
    Ok(s.blocks_available().saturating_mul(s.fragment_size()))
}

/// Whether another process holds a lock on this file, as a running etcd does on `member/snap/db`.
///
/// # Errors
/// When the file cannot be opened or asked.
pub fn is_locked(path: &Path) -> Result<bool> {
    let file = File::open(path).or_fail(Kind::Io, || format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_unlocked_on_drop) => Ok(false),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, e)) => Err(Error::new(Kind::Io, format!("cannot ask for the lock on {}", path.display()))
            .caused_by(io::Error::from(e))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_only_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert!(write_create_only(&path, b"one", 0o600).unwrap());
        assert!(!write_create_only(&path, b"two", 0o600).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn rename_new_refuses_an_existing_target() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        create_dir(&a, 0o700).unwrap();
        create_dir(&b, 0o700).unwrap();
        assert!(rename_new(&a, &b).is_err());
        assert!(a.is_dir() && b.is_dir());
    }

    #[test]
    fn only_scratch_directories_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let member = dir.path().join("member");
        create_dir(&member, 0o700).unwrap();
        assert!(remove_scratch(&member).is_err());
        assert!(member.is_dir());
        let scratch = dir.path().join("lifeboat-staging-1");
        create_dir_all(&scratch.join("x/y"), 0o700).unwrap();
        remove_scratch(&scratch).unwrap();
        assert!(!scratch.exists());
    }

    #[test]
    fn a_lock_held_elsewhere_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        fs::write(&path, b"x").unwrap();
        assert!(!is_locked(&path).unwrap());
        let held = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
        assert!(is_locked(&path).unwrap());
        drop(held);
        assert!(!is_locked(&path).unwrap());
    }
}
