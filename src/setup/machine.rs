//! What the plan asks of this machine's disk, and the reading of the files that etcd's unit names. It may not write.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::User;

use crate::config::{ManagedBy, Settings};
use crate::error::Result;

use super::start::{EtcdUnit, Start, variables};
use super::{drop_ins, within};

/// The user of the agent's unit.
pub(super) const AGENT_USER: &str = "lifeboat";

/// Larger than any file that a unit names for its settings.
const LARGEST: u64 = 1 << 20;

/// What the plan asks about paths. Tests answer from a table.
pub(super) trait Disk {
    /// The path with symbolic links followed, as far as it exists.
    fn real(&self, path: &Path) -> PathBuf;
    /// Whether there is a directory.
    fn is_dir(&self, path: &Path) -> bool;
    /// Whether there is a file, or a link to one. A directory that may not be looked into counts as having it.
    fn has_file(&self, path: &Path) -> bool;
    /// The mount point that holds the path, unless that is the root's.
    fn mount_point(&self, path: &Path) -> Option<PathBuf>;
    /// Whether this user owns it; `None`: it cannot be told.
    fn belongs_to(&self, path: &Path, user: &str) -> Option<bool>;
    /// Whether the agent's user may write into the directory; `None`: it cannot be told.
    fn agent_may_write(&self, dir: &Path) -> Option<bool>;
}

/// The disk of this host, or what lies below another root.
pub(super) struct Machine<'a> {
    pub(super) root: Option<&'a Path>,
}

impl Machine<'_> {
    fn at(&self, path: &Path) -> PathBuf {
        within(self.root, path)
    }

    /// How etcd is started, as far as it can be seen.
    ///
    /// # Errors
    /// When our own drop-in cannot be read.
    pub(super) fn start(&self, settings: &Settings, unit: Option<EtcdUnit>) -> Result<Option<Start>> {
        match settings.etcd.managed_by {
            ManagedBy::Systemd => unit.map(|unit| self.of_unit(settings, unit)).transpose(),
            ManagedBy::Kubeadm => {
                Ok(self.text(&settings.etcd.manifest).map(|text| of_manifest(&settings.etcd.manifest, &text)))
            }
            ManagedBy::K3s | ManagedBy::Rke2 => Ok(None),
        }
    }

    fn of_unit(&self, settings: &Settings, unit: EtcdUnit) -> Result<Start> {
        // Ours says what is configured, or was until now: it does not count.
        let ours = drop_ins::environment_files(&self.at(Path::new("/etc/systemd/system")), &settings.etcd.unit)?;
        let ours: Vec<&Path> =
            ours.iter().map(PathBuf::as_path).chain([settings.etcd.environment_file.as_path()]).collect();
        let mut environment = unit.environment.clone();
        let mut unclear = None;
        for file in unit.environment_files.iter().filter(|f| !ours.contains(&f.as_path())) {
            match self.variables(&named(file, &settings.etcd.unit)) {
                Ok(more) => environment.extend(more),
                Err(why) => unclear = unclear.or(Some(format!("{}, {why}", file.display()))),
            }
        }
        let mut start = Start::of_unit(&settings.etcd.unit, &unit, environment);
        start.unclear = unclear;
        let named = start.config_file_path().map(PathBuf::from);
        start.config_file = named.map(|path| {
            let text = self.text(&path);
            (path, text)
        });
        Ok(start)
    }

    /// The variables of an environment file; why they cannot be told, otherwise. A file that is not there has none.
    fn variables(&self, file: &Path) -> std::result::Result<Vec<(String, String)>, &'static str> {
        let name = file.to_string_lossy();
        if name.contains('%') {
            return Err("whose name has a specifier in it");
        }
        if name.contains(['*', '?', '[']) {
            return Err("which is a pattern");
        }
        if !self.has_file(file) {
            return Ok(Vec::new());
        }
        let text = self.text(file).ok_or("which cannot be read")?;
        variables(&text).ok_or("whose lines are continued or quoted over several lines")
    }

    fn text(&self, path: &Path) -> Option<String> {
        let path = self.at(path);
        let small = fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= LARGEST);
        if small { fs::read_to_string(path).ok() } else { None }
    }
}

/// A path of a unit file with the specifiers of the unit's own name put in.
fn named(path: &Path, unit: &str) -> PathBuf {
    let Some(text) = path.to_str() else { return path.to_owned() };
    let bare = unit.trim_end_matches(".service");
    let (prefix, instance) = bare.split_once('@').unwrap_or((bare, ""));
    [("%n", unit), ("%N", bare), ("%p", prefix), ("%i", instance)]
        .iter()
        .fold(text.to_owned(), |t, (of, by)| t.replace(of, by))
        .into()
}

/// The arguments of etcd's container.
fn of_manifest(manifest: &Path, text: &str) -> Start {
    let arguments = text.lines().filter_map(|l| l.trim().strip_prefix("- ")).map(|a| a.trim_matches(['"', '\'']));
    let flags = arguments.filter(|a| a.starts_with("--")).map(str::to_owned);
    Start {
        source: manifest.display().to_string(),
        words: std::iter::once("etcd".to_owned()).chain(flags).collect(),
        ..Start::default()
    }
}

impl Disk for Machine<'_> {
    fn real(&self, path: &Path) -> PathBuf {
        let mut at: PathBuf = path.components().collect();
        // Links of an image lead to places of the image; what they would mean is not followed.
        if self.root.is_some() {
            return at;
        }
        let mut behind = Vec::new();
        loop {
            if let Ok(found) = at.canonicalize() {
                return behind.iter().rev().fold(found, |path, name| path.join(name));
            }
            let Some(name) = at.file_name().map(ToOwned::to_owned) else { return at };
            behind.push(name);
            at.pop();
        }
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.at(path).is_dir()
    }

    fn has_file(&self, path: &Path) -> bool {
        match fs::metadata(self.at(path)) {
            Ok(meta) => !meta.is_dir(),
            Err(e) => !matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory),
        }
    }

    fn mount_point(&self, path: &Path) -> Option<PathBuf> {
        if self.root.is_some() {
            return None;
        }
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        mount_point_of(&mounts, &self.real(path))
    }

    fn belongs_to(&self, path: &Path, user: &str) -> Option<bool> {
        if self.root.is_some() {
            return None;
        }
        let uid = match user.parse() {
            Ok(number) => number,
            Err(_) => User::from_name(user).ok()??.uid.as_raw(),
        };
        Some(fs::metadata(path).ok()?.uid() == uid)
    }

    fn agent_may_write(&self, dir: &Path) -> Option<bool> {
        if self.root.is_some() {
            return None;
        }
        let user = User::from_name(AGENT_USER).ok()??;
        Some(bits_for(&user, dir)? & 0o3 == 0o3)
    }
}

/// What the mode of a file lets this user do (rwx).
fn bits_for(user: &User, path: &Path) -> Option<u32> {
    let meta = fs::metadata(path).ok()?;
    Some(if meta.uid() == user.uid.as_raw() {
        meta.mode() >> 6
    } else if meta.gid() == user.gid.as_raw() {
        meta.mode() >> 3
    } else {
        meta.mode()
    })
}

/// Whether the agent's user could open this file by its path. `true` where that cannot be told.
pub(super) fn agent_may_read(path: &Path) -> bool {
    let Ok(Some(user)) = User::from_name(AGENT_USER) else { return true };
    let may = |path: &Path, bit| bits_for(&user, path).is_none_or(|bits| bits & bit != 0);
    may(path, 0o4) && path.ancestors().skip(1).all(|dir| may(dir, 0o1))
}

/// The longest mount point that holds `path`; `None` for the root's.
fn mount_point_of(mountinfo: &[u8], path: &Path) -> Option<PathBuf> {
    let points = mountinfo.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4)).map(unescape);
    points.filter(|p| path.starts_with(p) && p != Path::new("/")).max_by_key(|p| p.components().count())
}

/// Blanks and the like are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::new();
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_cannot_be_told_are_not_taken_for_none() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        for (name, text) in [("plain", "A=1\n"), ("etcd", "A=1\n"), ("long", "A=\"1 \\\n 2\"\n")] {
            std::fs::write(root.path().join("etc").join(name), text).unwrap();
        }
        let machine = Machine { root: Some(root.path()) };
        for (file, expected) in [
            ("/etc/plain", Some(1)),
            ("/etc/%p", Some(1)),
            ("/etc/none", Some(0)),
            ("/etc/*", None),
            ("/etc/%H", None),
            ("/etc/long", None),
        ] {
            let found = machine.variables(&named(Path::new(file), "etcd@cp1.service"));
            assert_eq!(found.ok().map(|v| v.len()), expected, "{file}");
        }
    }

    #[test]
    fn mount_points_are_found() {
        let info = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            40 22 8:2 / /srv/etcd rw - ext4 /dev/sdb1 rw\n\
            41 40 8:3 / /srv/etcd/wal\\040dir rw - ext4 /dev/sdc1 rw\n";
        for (path, point) in [
            ("/srv/etcd", Some("/srv/etcd")),
            ("/srv/etcd/member", Some("/srv/etcd")),
            ("/srv/etcd/wal dir/x", Some("/srv/etcd/wal dir")),
            ("/srv/etcd2", None),
            ("/var", None),
        ] {
            assert_eq!(mount_point_of(info, Path::new(path)).as_deref(), point.map(Path::new), "{path}");
        }
    }

    #[test]
    fn a_root_of_its_own_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine { root: Some(dir.path()) };
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        assert!(machine.is_dir(Path::new("/a/b")) && !machine.is_dir(Path::new("/proc")));
        assert!(!machine.has_file(Path::new("/a/b")) && !machine.has_file(Path::new("/a/c")));
        fs::write(dir.path().join("a/c"), "").unwrap();
        assert!(machine.has_file(Path::new("/a/c")));
    }

    #[test]
    fn links_are_followed_as_far_as_there_is_something() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("a/b")).unwrap();
        std::os::unix::fs::symlink("b", base.join("a/link")).unwrap();
        let machine = Machine { root: None };
        assert_eq!(machine.real(&base.join("a/link//new/x")), base.join("a/b/new/x"));
        assert_eq!(machine.real(&base.join("nothing/./x")), base.join("nothing/x"));
    }

    #[test]
    fn a_manifest_is_read() {
        let text = "spec:\n  containers:\n  - command:\n    - etcd\n    - --data-dir=/var/lib/etcd\n    - \"--name=cp1\"\n    image: x\n";
        let start = of_manifest(Path::new("/etc/kubernetes/manifests/etcd.yaml"), text);
        assert_eq!((start.flag("data-dir"), start.flag("name")), (Some("/var/lib/etcd"), Some("cp1")));
    }
}
