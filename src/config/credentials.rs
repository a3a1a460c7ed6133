//! A file that the configuration names, and the copy of it that systemd may hand to a service as a credential.
//!
//! It exists so that the agent, which runs as a user of its own, can use root's tokens and keys: `lifeboat setup` lists
//! them as `LoadCredential=`, and everybody who reads such a file looks there first. It may not interpret a content.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Component, Path, PathBuf};

/// What `lifeboat setup` gives as a credential when the file is missing, as a unit file writes it. Without it, one
/// missing file would keep the whole agent down, and systemd would not say which key of ours names it.
pub const ABSENT: &str = "\\n";

/// A credential of at most this many blanks stands for a file that is missing.
const LONGEST_ABSENT: usize = 8;

/// The name of the credential that holds the file at `path`: the path without its first slash, `-` for the others.
/// `None` when systemd takes no such name.
pub fn name_of(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let name = parts.join("-");
    // systemd 257 cannot start a service with a blank in the name or the path of a credential ("Failed to deserialize").
    let fits = |c: char| c.is_ascii_graphic() && !":\\".contains(c);
    (!name.is_empty() && name.len() <= 255 && name.chars().all(fits)).then_some(name)
}

/// A file that a key of the configuration names.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfiguredFile {
    key: &'static str,
    path: PathBuf,
    credential: Option<PathBuf>,
}

impl ConfiguredFile {
    /// The file that `key` names, at its path and nowhere else.
    pub fn new(key: &'static str, path: impl Into<PathBuf>) -> Self {
        ConfiguredFile { key, path: path.into(), credential: None }
    }

    /// The same, looked up first in systemd's credentials directory.
    #[must_use]
    pub fn in_credentials(mut self, dir: Option<&Path>) -> Self {
        self.credential = dir.zip(name_of(&self.path)).map(|(dir, name)| dir.join(name));
        self
    }

    /// The key that names it.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// The path that is configured, wherever the content is read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the credential if there is one, else the path itself.
    ///
    /// # Errors
    /// When neither can be opened. The caller's message names [`ConfiguredFile::path`].
    pub fn open(&self) -> std::io::Result<File> {
        match self.credential.as_deref().map(open_credential).transpose()?.flatten() {
            Some(file) => Ok(file),
            None => File::open(&self.path),
        }
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// As [`ConfiguredFile::open`], or when it is larger than `largest` bytes.
    pub fn read(&self, largest: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open()?.take(largest.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > largest {
            return Err(std::io::Error::other(format!("it is larger than {} KiB", largest >> 10)));
        }
        Ok(bytes)
    }

    /// What to type when it cannot be opened.
    pub fn hint(&self, error: &std::io::Error) -> String {
        let (shown, key) = (self.path.display(), self.key);
        match error.kind() {
            ErrorKind::NotFound => format!("create {shown}, or set {key} to where it is"),
            ErrorKind::PermissionDenied if !nix::unistd::geteuid().is_root() => format!(
                "by hand: run it with sudo; for the agent: 'sudo lifeboat setup' hands it {shown} as a credential, \
                 then 'sudo systemctl restart lifeboat'"
            ),
            ErrorKind::PermissionDenied => format!("let the user that runs lifeboat read {shown}: namei -l {shown}"),
            _ => format!("look at {shown}, or set {key} to another file"),
        }
    }
}

impl fmt::Debug for ConfiguredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}", self.path.display())
    }
}

/// `None`: there is no such credential, or it only says that the file was missing when the service started.
fn open_credential(path: &Path) -> std::io::Result<Option<File>> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(LONGEST_ABSENT as u64 + 1).read_to_end(&mut head)?;
    if head.len() <= LONGEST_ABSENT && head.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    file.rewind()?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_paths_without_slashes() {
        for (path, name) in [
            ("/a/b-c/d.key", Some("a-b-c-d.key")),
            ("/a//b/./c/", Some("a-b-c")),
            ("/a-b/100%", Some("a-b-100%")),
            ("/with blank", None),
            ("/", None),
            ("/a/../b", None),
            ("/a:b", None),
            ("/a\\b", None),
            ("/a\nb", None),
            ("/\u{e9}", None),
        ] {
            assert_eq!(name_of(Path::new(path)).as_deref(), name, "{path}");
        }
        assert_eq!(name_of(Path::new(&format!("/{}", "x".repeat(256)))), None);
    }

    #[test]
    fn the_credential_comes_first_and_a_missing_file_is_told_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let credentials = dir.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        let file = ConfiguredFile::new("etcd.ca_file", &path).in_credentials(Some(&credentials));
        assert_eq!(file.read(9).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(&path, "path").unwrap();
        assert_eq!(file.read(9).unwrap(), b"path");
        let credential = credentials.join(name_of(&path).unwrap());
        fs::write(&credential, "\n").unwrap();
        assert_eq!(file.read(9).unwrap(), b"path", "a blank credential stands for a missing file");
        fs::write(&credential, "copy").unwrap();
        assert_eq!(file.read(9).unwrap(), b"copy");
        assert_eq!(file.read(4).unwrap(), b"copy");
        assert!(file.read(3).unwrap_err().to_string().contains("larger"));
        assert_eq!(ConfiguredFile::new("k", &path).in_credentials(None).read(9).unwrap(), b"path");
        assert_eq!(format!("{file:?}"), format!("file {}", path.display()));
    }
}
