//! Where a secret comes from, and reading it when it is needed.
//!
//! It exists so that a secret stays out of the settings until somebody uses it, is read again after a rotation, and
//! is refused when every user of the host could read it. It may not log or show one.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use secrecy::{ExposeSecret, SecretString};

use super::ConfiguredFile;
use crate::error::{Error, Kind, Result, ResultExt};

/// No token, key or password is longer.
const LARGEST_SECRET: u64 = 64 << 10;

/// Others may read it / write it.
const OPEN_TO_OTHERS: u32 = 0o006;

/// A secret, or the file that holds it.
#[derive(Clone)]
pub enum SecretSource {
    /// In the configuration itself.
    Inline(SecretString),
    /// In a file of its own.
    File(ConfiguredFile),
}

impl SecretSource {
    /// The file that holds it, if it is in one.
    pub(super) fn file(&self) -> Option<&ConfiguredFile> {
        match self {
            SecretSource::File(file) => Some(file),
            SecretSource::Inline(_) => None,
        }
    }

    /// The secret, read anew from its file, without blanks and line breaks around it.
    ///
    /// # Errors
    /// When the file is missing, empty, not text, larger than 64 KiB, or open to all users of this host.
    pub fn read(&self) -> Result<SecretString> {
        match self {
            SecretSource::Inline(secret) => Ok(secret.clone()),
            SecretSource::File(file) => read_file(file),
        }
    }
}

fn read_file(named: &ConfiguredFile) -> Result<SecretString> {
    let (key, shown) = (named.key(), named.path().display());
    let failed = || format!("cannot read {shown}, which {key} names");
    let file = named.open().map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::NotFound => format!("create {shown} with mode 0600, or set {key} to where it is"),
            _ => named.hint(&e),
        };
        Error::new(Kind::Config, failed()).caused_by(e).hint(hint)
    })?;
    let meta = file.metadata().or_fail(Kind::Config, failed)?;
    if !meta.is_file() {
        return Err(Error::new(Kind::Config, format!("{shown}, which {key} names, is not a file")));
    }
    if meta.mode() & OPEN_TO_OTHERS != 0 {
        let text = format!(
            "{shown}, which {key} names, is open to every user of this host (mode {:04o})",
            meta.mode() & 0o7777
        );
        return Err(Error::new(Kind::Config, text).hint(format!("chmod o-rwx {shown}")));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_SECRET + 1).read_to_end(&mut bytes).or_fail(Kind::Config, failed)?;
    if bytes.len() as u64 > LARGEST_SECRET {
        return Err(Error::new(Kind::Config, format!("{shown}, which {key} names, is larger than 64 KiB")));
    }
    // The error of the library would carry the bytes.
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::new(Kind::Config, format!("{shown}, which {key} names, is not UTF-8 text")))?;
    let secret = SecretString::from(text.trim().to_owned());
    if secret.expose_secret().is_empty() {
        return Err(Error::new(Kind::Config, format!("{shown}, which {key} names, is empty"))
            .hint(format!("write the secret into {shown}, or set {key} to where it is")));
    }
    Ok(secret)
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::Inline(_) => f.write_str("(set, not shown)"),
            SecretSource::File(file) => write!(f, "{file:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_file_is_checked_before_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let source = SecretSource::File(ConfiguredFile::new("cluster.token_file", &path));
        let e = source.read().unwrap_err();
        assert!(e.one_line().contains("cluster.token_file") && e.hint_text().unwrap().contains("create"), "{e:?}");
        let cases: [(&[u8], u32, std::result::Result<&str, &str>); 7] = [
            (b" hunter2-hunter2\n", 0o600, Ok("hunter2-hunter2")),
            (b"hunter2", 0o640, Ok("hunter2")),
            (b"hunter2", 0o644, Err("mode 0644")),
            (b"hunter2", 0o602, Err("mode 0602")),
            (b" \n\t", 0o600, Err("is empty")),
            (b"hunter2\xff", 0o600, Err("not UTF-8")),
            (&[b'x'; 70_000], 0o600, Err("larger than")),
        ];
        for (content, mode, expected) in cases {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match (source.read(), expected) {
                (Ok(s), Ok(text)) => assert_eq!(s.expose_secret(), text),
                (Err(e), Err(text)) => {
                    assert!(e.message().contains(text), "{e:?}");
                    assert!(!format!("{e:?}").contains("hunter2"), "{e:?}");
                    assert_eq!(e.kind(), Kind::Config);
                }
                (got, expected) => panic!("{:?} for {expected:?}", got.map(|_| "a secret")),
            }
        }
    }
}
