//! Whether the files of a configuration have changed since they were read.
//!
//! It exists so that a gate that waits takes up what a person mends, without a restart: the configuration itself, and the secrets and certificates
//! that it names. It looks at the files' metadata alone; what they say is for the one who loads them.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::settings::Settings;
use super::source;

/// What the files looked like when they were last looked at.
#[derive(Debug, Clone)]
pub struct Stamp {
    main: PathBuf,
    named: Vec<PathBuf>,
    looks: Vec<(PathBuf, Option<Look>)>,
}

/// The time of the last change of the inode counts permissions, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    file: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl From<Metadata> for Look {
    fn from(m: Metadata) -> Self {
        Look {
            file: (m.dev(), m.ino()),
            size: m.size(),
            written: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        }
    }
}

impl Stamp {
    /// Of the main file at `path` (or the default one) and its `conf.d`.
    pub fn of(path: Option<&Path>) -> Stamp {
        let main = path.unwrap_or(Path::new(super::DEFAULT_PATH)).to_owned();
        let mut stamp = Stamp { main, named: Vec::new(), looks: Vec::new() };
        stamp.renew();
        stamp
    }

    /// Looks at the files that `settings` name from now on, too.
    pub fn names(&mut self, settings: &Settings) {
        let named: Vec<_> = settings.named_files().into_iter().map(|file| file.path().to_owned()).collect();
        self.looks.extend(named.iter().cloned().map(look));
        self.named = named;
    }

    /// Looks again. Whether anything was written, replaced, made readable or taken away since the last time.
    pub fn renew(&mut self) -> bool {
        let mut files = source::places(&self.main);
        files.extend(self.named.iter().cloned());
        let looks: Vec<_> = files.into_iter().map(look).collect();
        let changed = looks != self.looks;
        self.looks = looks;
        changed
    }
}

fn look(path: PathBuf) -> (PathBuf, Option<Look>) {
    let seen = fs::metadata(&path).ok().map(Look::from);
    (path, seen)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_change_of_a_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("lifeboat.toml");
        let drop_in = dir.path().join("conf.d/a.toml");
        let token = dir.path().join("token");
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        let text = format!(
            "[cluster]\nname = \"c\"\ntoken_file = \"{}\"\nmembers = [{{ name = \"cp1\", peer_urls = [\"http://h:2380\"], client_urls = [\"http://h:2379\"] }}]\n[node]\nname = \"cp1\"\n",
            token.display()
        );
        fs::write(&main, &text).unwrap();
        let loaded = crate::config::load(Some(&main), std::iter::empty()).unwrap();
        let mut stamp = Stamp::of(Some(&main));
        stamp.names(&loaded.settings);
        assert!(!stamp.renew());
        let changes: [(&str, &dyn Fn()); 7] = [
            ("a new drop-in", &|| fs::write(&drop_in, "").unwrap()),
            ("its content", &|| fs::write(&drop_in, "x = 1").unwrap()),
            ("it goes", &|| fs::remove_file(&drop_in).unwrap()),
            ("the token comes", &|| fs::write(&token, "t").unwrap()),
            ("its permissions", &|| fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap()),
            ("the file is replaced", &|| {
                fs::copy(&main, dir.path().join("new")).unwrap();
                crate::sys::fs::rename(&dir.path().join("new"), &main).unwrap();
            }),
            ("the file goes", &|| fs::remove_file(&main).unwrap()),
        ];
        for (what, change) in changes {
            change();
            assert!(stamp.renew(), "{what}");
            assert!(!stamp.renew(), "{what}: seen twice");
        }
    }
}
