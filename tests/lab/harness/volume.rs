//! File systems of their own that a host has mounted somewhere: a disk for etcd, a small one that gets full.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::machine::{run, text, try_run};

/// A file system that is a mount point in the host. It keeps its content over reboots and power cuts.
#[derive(Clone, Debug)]
pub struct Volume {
    at: String,
    mib: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ext4,
    Tmpfs,
}

impl Volume {
    /// A disk image of this size with an ext4 on it.
    pub fn ext4(at: &str, mib: u32) -> Volume {
        Volume { at: at.to_owned(), mib, kind: Kind::Ext4 }
    }

    /// A file system in memory: fast, and full to the byte.
    pub fn tmpfs(at: &str, mib: u32) -> Volume {
        Volume { at: at.to_owned(), mib, kind: Kind::Tmpfs }
    }
}

/// A volume that exists, mounted on the machine (where only the lab sees it).
#[derive(Debug)]
pub(super) struct Mounted {
    pub(super) at: String,
    pub(super) source: PathBuf,
}

impl Mounted {
    /// Makes the file system. Its root gets owner and mode of the directory that it covers in the host.
    pub(super) fn create(volume: &Volume, dir: &Path, stage: &Path, host_root: &Path, id: &str) -> Mounted {
        let source = stage.join("volumes").join(id);
        fs::create_dir_all(&source).unwrap_or_else(|e| panic!("cannot create {}: {e}", source.display()));
        match volume.kind {
            Kind::Ext4 => {
                let image = dir.join(format!("{id}.img"));
                let file =
                    fs::File::create(&image).unwrap_or_else(|e| panic!("cannot create {}: {e}", image.display()));
                file.set_len(u64::from(volume.mib) << 20).unwrap_or_else(|e| panic!("{}: {e}", image.display()));
                run("mkfs.ext4", &["-q", "-F", "-m", "0", text(&image)]);
                run("mount", &["-o", "loop", text(&image), text(&source)]);
                // As on a disk of one's own, lost+found would be there; stories want to see how that is taken.
            }
            Kind::Tmpfs => {
                run("mount", &["-t", "tmpfs", "-o", &format!("size={}m", volume.mib), "tmpfs", text(&source)]);
            }
        }
        let covered = host_root.join(volume.at.trim_start_matches('/'));
        fs::create_dir_all(&covered).unwrap_or_else(|e| panic!("cannot create {}: {e}", covered.display()));
        let like = fs::metadata(&covered).expect("the directory that the volume covers");
        chown(&source, Some(like.uid()), Some(like.gid())).expect("an owner for the volume");
        fs::set_permissions(&source, fs::Permissions::from_mode(like.mode() & 0o7777)).expect("a mode for the volume");
        Mounted { at: volume.at.clone(), source }
    }

    pub(super) fn unmount(&self) -> Result<(), String> {
        try_run("umount", &[text(&self.source)]).map(|_| ())
    }
}
