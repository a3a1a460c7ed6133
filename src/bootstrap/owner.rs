//! Who owns etcd's directories: remembered while they are healthy, given back when they have to be made again.
//!
//! An etcd with a user of its own cannot use what root made. Which user that is, say (first to last) the configuration, the directory itself, and this
//! host's memory.

use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{Gid, Uid, fchownat};

use super::Settings;
use crate::core::facts::{DirOwner, Memory};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys::{fs, label};

/// Of a directory that is made for etcd, as etcd makes it.
const MODE: u32 = 0o700;

/// Whom etcd's directories are made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Owners {
    /// The configured user and its group.
    configured: Option<(u32, u32)>,
    data_dir: Option<DirOwner>,
    wal_dir: Option<DirOwner>,
}

impl Owners {
    /// What configuration and memory say.
    ///
    /// # Errors
    /// When the configured user does not exist.
    pub(super) fn new(settings: &Settings, memory: Option<&Memory>) -> Result<Owners> {
        let configured = settings.etcd_user.as_ref().map(crate::config::EtcdUser::ids).transpose()?;
        let (data_dir, wal_dir) =
            memory.map(|m| (m.data_dir_owner.clone(), m.wal_dir_owner.clone())).unwrap_or_default();
        Ok(Owners { configured, data_dir, wal_dir })
    }

    /// Makes the data dir, and whatever is missing above it and above a separate WAL dir. One that is there and holds no member is given to
    /// etcd's user: the configured one, or, where root owns it as it does a fresh file system, the one of before.
    ///
    /// # Errors
    /// When something cannot be made or given away.
    pub(super) fn make_dirs(&self, settings: &Settings) -> Result<()> {
        let dir = &settings.data_dir;
        self.make(dir, self.data_dir.as_ref(), dir.join("member").symlink_metadata().is_ok())?;
        let Some(wal) = &settings.wal_dir else { return Ok(()) };
        fs::create_dir_all(fs::parent(wal), 0o755)?;
        if wal.is_dir() {
            // What lies in it was not made by us; only its owner may be root's by a fresh mount.
            let used = std::fs::read_dir(wal).is_ok_and(|all| {
                all.filter_map(io::Result::ok)
                    .any(|e| Path::new(&e.file_name()).extension().is_some_and(|x| x == "wal"))
            });
            self.make(wal, self.wal_dir.as_ref().or(self.data_dir.as_ref()), used)?;
        }
        Ok(())
    }

    fn make(&self, dir: &Path, before: Option<&DirOwner>, used: bool) -> Result<()> {
        let is_new = !dir.exists();
        // A package that makes /var/lib/etcd for etcd's user leaves what is below it to etcd.
        let above =
            if is_new { dir.ancestors().skip(1).find_map(|a| stat(a).ok()).map(|m| (m.uid(), m.gid())) } else { None };
        if is_new {
            // Others may pass, as through every directory above a data dir.
            fs::create_dir_all(fs::parent(dir), 0o755)?;
            fs::create_dir(dir, before.map_or(MODE, |b| b.mode))?;
        }
        let now = stat(dir)?;
        let of_before = before.filter(|_| is_new || now.uid() == 0).map(|b| (b.uid, b.gid));
        if let Some(owner) = self.configured.or(of_before).or(above).filter(|_| !used) {
            give(dir, &now, owner)?;
        }
        if let Some(label) = before.filter(|_| is_new).and_then(|b| b.label.as_ref()) {
            relabel(dir, label.as_bytes());
        }
        Ok(())
    }

    /// Gives a tree that was built for the data dir to the owner of the data dir, with its label.
    ///
    /// # Errors
    /// When the owner differs from ours and the files cannot be given away.
    pub(super) fn hand_over_data(&self, settings: &Settings, tree: &Path) -> Result<()> {
        let dir = &settings.data_dir;
        let owner = stat(dir)?;
        hand_over(tree, (owner.uid(), owner.gid()), label_of(dir).as_deref())
    }

    /// Gives a WAL that was built for a separate WAL dir to its owner; where there is no such dir, the tree becomes it.
    ///
    /// # Errors
    /// As [`Owners::hand_over_data`].
    pub(super) fn hand_over_wal(&self, settings: &Settings, wal: &Path, tree: &Path) -> Result<()> {
        if wal.is_dir() {
            let owner = stat(wal)?;
            return hand_over(tree, (owner.uid(), owner.gid()), label_of(wal).as_deref());
        }
        let Some(before) = &self.wal_dir else { return self.hand_over_data(settings, tree) };
        let label = before.label.as_ref().map(|l| l.as_bytes().to_vec());
        hand_over(tree, self.configured.unwrap_or((before.uid, before.gid)), label.as_deref())?;
        std::fs::set_permissions(tree, Permissions::from_mode(before.mode))
            .or_fail(Kind::Io, || format!("cannot set the mode of {}", tree.display()))
    }
}

/// Owner, mode and label of a directory; `None` when it is not there.
///
/// # Errors
/// When it cannot be looked at.
pub(super) fn of(dir: &Path) -> Result<Option<DirOwner>> {
    match std::fs::metadata(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).or_fail(Kind::Io, || format!("cannot stat {}", dir.display())),
        Ok(m) => Ok(Some(DirOwner {
            uid: m.uid(),
            gid: m.gid(),
            // Without set-group-id and the like, which the sandbox of the unit does not let us set.
            mode: m.mode() & 0o777,
            label: label_of(dir).and_then(|l| String::from_utf8(l).ok()),
        })),
    }
}

fn stat(path: &Path) -> Result<Metadata> {
    std::fs::metadata(path).or_fail(Kind::Io, || format!("cannot stat {}", path.display()))
}

fn label_of(path: &Path) -> Option<Vec<u8>> {
    label::of(path).unwrap_or_else(|e| {
        tracing::warn!("{}", e.one_line());
        None
    })
}

/// A wrong label is said, and no reason to lose a restore: SELinux may be permissive, and it is a person's command away.
fn relabel(path: &Path, label: &[u8]) {
    if let Err(e) = label::set(path, label) {
        tracing::warn!("{}; if etcd may not open it, type: restorecon -RFv {}", e.one_line(), path.display());
    }
}

fn give(path: &Path, now: &Metadata, (uid, gid): (u32, u32)) -> Result<()> {
    if (now.uid(), now.gid()) == (uid, gid) {
        return Ok(());
    }
    // Never through a link: whoever owns the directory may have put one there.
    fchownat(AT_FDCWD, path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(
        |e| {
            let text = format!("cannot give {} to uid {uid} and gid {gid}, who etcd runs as", path.display());
            Error::new(Kind::Io, text).caused_by(io::Error::from(e)).hint("run it as root, as the unit does")
        },
    )
}

fn hand_over(tree: &Path, owner: (u32, u32), label: Option<&[u8]>) -> Result<()> {
    let mut pending = vec![tree.to_path_buf()];
    let mut all = Vec::new();
    while let Some(path) = pending.pop() {
        let meta = path.symlink_metadata().or_fail(Kind::Io, || format!("cannot stat {}", path.display()))?;
        if meta.is_dir() {
            for entry in std::fs::read_dir(&path).or_fail(Kind::Io, || format!("cannot read {}", path.display()))? {
                pending.push(entry.or_fail(Kind::Io, || format!("cannot read {}", path.display()))?.path());
            }
        }
        all.push((path, meta));
    }
    // What is in a directory before the directory: its new owner may change what lies there.
    for (path, meta) in all.iter().rev() {
        give(path, meta, owner)?;
        if let Some(label) = label {
            relabel(path, label);
        }
    }
    Ok(())
}
